/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes that want one name: the conflict rule and the scope rule, as tables of every case. */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/registry.h"

#define NOW UINT64_C(1700000000000000)

static Registry *registry;

static void setup(void) {
        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1), 0);
}

static void teardown(void) {
        registry = registry_free(registry);
}

static Address address(const char *text) {
        Address parsed;

        ck_assert_int_eq(address_parse(text, &parsed), 0);
        return parsed;
}

/* `cookie` 0: no listener is known. */
static Event newcomer(const char *name, const char *scope, uint64_t cookie) {
        return (Event){
                .kind = EVENT_REGISTER,
                .now_usec = NOW,
                .info = { .name = name, .n_name = strlen(name), .port = 6789, .highest_version = 6,
                          .lowest_version = 5, .type = NODE_TYPE_NORMAL },
                .peer = { .uid = 1000, .cgroup_id = 7 },
                .listener = { .cookie = cookie, .address = address(scope) },
                .connection = &registry, /* anything: it is never looked into */
                .connection_fd = 9,
        };
}

/* Carries an event out, as the ledger does; the last reply. */
static Reply carry(const Event *event) {
        Reply reply = { 0 };
        Change change;
        int r;

        do {
                r = registry_decide(registry, event, &change, &reply);
                ck_assert_int_ge(r, 0);
                registry_apply(registry, &change);
        } while (r == REGISTRY_E_AGAIN);
        return reply;
}

static Node *enter(const char *name, const char *scope, uint64_t cookie) {
        Event event = newcomer(name, scope, cookie);
        Reply reply = carry(&event);

        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        return reply.node;
}

static void tell(EventKind kind, Node *node, UnitPhase phase) {
        carry(&(Event){ .kind = kind, .node = node, .now_usec = NOW, .unit_phase = phase });
}

/* --- the conflict rule ------------------------------------------------------------------------ */

typedef enum Holder {
        HOLDER_UP,
        HOLDER_READY_BY_UNIT,
        HOLDER_DRAINING,          /* by its own word */
        HOLDER_UNIT_STOPPING,
        HOLDER_BARE,              /* its listener has closed, its connection is open */
        HOLDER_BARE_UNIT_STOPPING,
        HOLDER_AWAITED_ALIVE,     /* after our restart: its listener is open */
        HOLDER_AWAITED_UNKNOWN,   /* after our restart: no listener is known */
        HOLDER_AWAITED_STOPPING,  /* its listener is open, its unit is being stopped */
} Holder;

typedef enum Outcome { REFUSED, WAITS, TAKES_OVER, RETURNS } Outcome;

static const struct {
        Holder holder;
        uint64_t newcomer_cookie; /* the holder's is 11, if it has one */
        Outcome outcome;
} conflicts[] = {
        { HOLDER_UP, 12, REFUSED },
        { HOLDER_UP, 11, REFUSED }, /* one listener, two connections: the first has the name */
        { HOLDER_UP, 0, REFUSED },
        { HOLDER_READY_BY_UNIT, 12, REFUSED },
        { HOLDER_DRAINING, 12, REFUSED }, /* that may take hours */
        { HOLDER_UNIT_STOPPING, 12, WAITS },
        { HOLDER_UNIT_STOPPING, 0, WAITS },
        { HOLDER_BARE, 12, TAKES_OVER },
        { HOLDER_BARE, 0, TAKES_OVER },
        { HOLDER_BARE_UNIT_STOPPING, 12, TAKES_OVER },
        { HOLDER_AWAITED_ALIVE, 11, RETURNS },
        { HOLDER_AWAITED_ALIVE, 12, REFUSED },
        { HOLDER_AWAITED_ALIVE, 0, REFUSED },
        { HOLDER_AWAITED_UNKNOWN, 12, TAKES_OVER },
        { HOLDER_AWAITED_UNKNOWN, 0, TAKES_OVER },
        { HOLDER_AWAITED_STOPPING, 12, WAITS },
        { HOLDER_AWAITED_STOPPING, 11, RETURNS },
};

static Node *restore(const char *name, const char *scope, uint64_t cookie, uint64_t until_usec) {
        Event like = newcomer(name, scope, cookie);
        Node *node = node_new(&like.info), *restored = node;

        ck_assert_ptr_nonnull(node);
        node->listener = like.listener;
        node->scope = registry_scope_of(&node->listener);
        node->peer = like.peer;
        node->serial = 1;
        node->await_until_usec = until_usec;
        node_set_facts(node, &(NodeFacts){ .is_awaited = true }, NOW);
        ck_assert_int_eq(registry_restore(registry, &node), 0);
        return restored;
}

static Node *make_holder(Holder holder) {
        Node *node;

        switch (holder) {
        case HOLDER_AWAITED_ALIVE:
                return restore("app", "*", 11, USEC_INFINITE);
        case HOLDER_AWAITED_UNKNOWN:
                return restore("app", "*", 0, 12 * USEC_PER_SEC);
        case HOLDER_AWAITED_STOPPING:
                node = restore("app", "*", 11, USEC_INFINITE);
                tell(EVENT_UNIT, node, UNIT_PHASE_STOPPING);
                return node;
        case HOLDER_UP:
        case HOLDER_READY_BY_UNIT:
        case HOLDER_DRAINING:
        case HOLDER_UNIT_STOPPING:
        case HOLDER_BARE:
        case HOLDER_BARE_UNIT_STOPPING:
                break;
        }
        node = enter("app", "*", 11);
        if (holder == HOLDER_READY_BY_UNIT)
                tell(EVENT_UNIT, node, UNIT_PHASE_READY);
        if (holder == HOLDER_UNIT_STOPPING || holder == HOLDER_BARE_UNIT_STOPPING)
                tell(EVENT_UNIT, node, UNIT_PHASE_STOPPING);
        if (holder == HOLDER_BARE || holder == HOLDER_BARE_UNIT_STOPPING)
                tell(EVENT_LISTENER_GONE, node, UNIT_PHASE_UNKNOWN);
        if (holder == HOLDER_DRAINING)
                carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = node, .announced = NODE_ANNOUNCED_DRAINING });
        return node;
}

START_TEST(test_a_name_is_refused_only_if_its_holder_will_stay) {
        Node *holder = make_holder(conflicts[_i].holder);
        uint32_t creation = holder->creation;
        Event event = newcomer("app", "*", conflicts[_i].newcomer_cookie);
        Reply reply = carry(&event);

        switch (conflicts[_i].outcome) {
        case REFUSED:
        case WAITS:
                ck_assert_int_eq(reply.refusal, REFUSAL_NAME_TAKEN);
                ck_assert_ptr_eq(reply.holder, holder);
                ck_assert_int_eq(reply.is_holder_going, conflicts[_i].outcome == WAITS);
                break;
        case TAKES_OVER:
                ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
                ck_assert_uint_ne(reply.creation, creation);
                ck_assert_ptr_eq(registry_find(registry, "app", 3, &ADDRESS_ANY), reply.node);
                ck_assert_int_eq(registry_find_conflict(registry, "app", 3, &ADDRESS_ANY, reply.node) == NULL, 1);
                break;
        case RETURNS:
                ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
                ck_assert_ptr_eq(reply.node, holder);
                ck_assert_uint_eq(reply.creation, creation);
                ck_assert(!holder->facts.is_awaited);
                break;
        }
        ck_assert_uint_eq(registry_n_nodes(registry), 1);
}
END_TEST

START_TEST(test_of_several_in_the_way_the_one_that_stays_is_the_reason) {
        Node *going = enter("app", "127.0.0.1", 21), *staying = enter("app", "127.0.0.2", 22);
        Event event = newcomer("app", "*", 23);
        Reply reply;

        tell(EVENT_UNIT, going, UNIT_PHASE_STOPPING);
        reply = carry(&event);
        ck_assert_int_eq(reply.refusal, REFUSAL_NAME_TAKEN);
        ck_assert_ptr_eq(reply.holder, staying);
        ck_assert(!reply.is_holder_going);

        tell(EVENT_UNIT, staying, UNIT_PHASE_STOPPING);
        reply = carry(&event);
        ck_assert_int_eq(reply.refusal, REFUSAL_NAME_TAKEN);
        ck_assert(reply.is_holder_going);
        ck_assert_uint_eq(registry_n_nodes(registry), 2);
}
END_TEST

START_TEST(test_nobody_is_ended_for_a_newcomer_who_is_refused) {
        Node *bare = enter("app", "127.0.0.1", 21), *staying = enter("app", "127.0.0.2", 22);
        Event event = newcomer("app", "*", 23);
        Reply reply;

        tell(EVENT_LISTENER_GONE, bare, UNIT_PHASE_UNKNOWN);
        reply = carry(&event);
        ck_assert_int_eq(reply.refusal, REFUSAL_NAME_TAKEN);
        ck_assert_ptr_eq(reply.holder, staying);
        ck_assert_uint_eq(registry_n_nodes(registry), 2);
}
END_TEST

/* --- the scope rule --------------------------------------------------------------------------- */

static const struct {
        const char *holder, *newcomer;
        bool conflicts;
} scopes[] = {
        { "*", "*", true },
        { "*", "127.0.0.1", true },
        { "127.0.0.1", "*", true },
        { "127.0.0.1", "127.0.0.1", true },
        { "127.0.0.1", "127.0.0.2", false },
        { "127.0.0.1", "10.0.0.1", false },
        { "127.0.0.1", "::1", false },
        { "::1", "::1", true },
        { "::1", "fd00::1", false },
        { "fd00::1", "fd00::2", false },
        { "10.0.0.1", "::ffff:10.0.0.1", true }, /* one address, written twice */
        { "*", "fd00::1", true },
        { "fd00::1", "*", true },
};

START_TEST(test_scopes_conflict_as_addresses_do_with_bind) {
        Event event = newcomer("app", scopes[_i].newcomer, 12);
        Reply reply;

        enter("app", scopes[_i].holder, 11);
        reply = carry(&event);
        ck_assert_int_eq(reply.refusal == REFUSAL_NAME_TAKEN, scopes[_i].conflicts);
        ck_assert_uint_eq(registry_n_nodes(registry), scopes[_i].conflicts ? 1 : 2);
}
END_TEST

START_TEST(test_another_name_never_conflicts) {
        enter("app", "*", 11);
        enter("ap", "*", 12);
        enter("app2", "*", 13);
        ck_assert_uint_eq(registry_n_nodes(registry), 3);
}
END_TEST

/* Which of the nodes at these scopes a lookup means. */
static const struct {
        const char *at[3]; /* in the order of their registration */
        const char *local, *found;
} lookups[] = {
        { { "127.0.0.1", "127.0.0.2", "127.0.0.3" }, "127.0.0.1", "127.0.0.1" },
        { { "127.0.0.1", "127.0.0.2", "127.0.0.3" }, "127.0.0.3", "127.0.0.3" },
        { { "127.0.0.2", "127.0.0.1" }, "10.0.0.1", "127.0.0.2" }, /* the one that has had the name longest */
        { { "127.0.0.2", "127.0.0.1" }, "::1", "127.0.0.2" },
        { { "::1", "127.0.0.1" }, "::1", "::1" },
        { { "*" }, "127.0.0.9", "*" },
        { { "10.0.0.1" }, "127.0.0.1", "10.0.0.1" },
};

START_TEST(test_a_lookup_means_the_node_at_its_own_address) {
        Address local = address(lookups[_i].local), found = address(lookups[_i].found);
        const Node *node;

        for (size_t i = 0; i < 3 && lookups[_i].at[i]; i++)
                enter("app", lookups[_i].at[i], 11 + i);
        node = registry_find(registry, "app", 3, &local);
        ck_assert_ptr_nonnull(node);
        ck_assert(address_equal(&node->scope, &found));
}
END_TEST

/* --- twins ------------------------------------------------------------------------------------ */

START_TEST(test_a_connection_can_turn_out_to_be_the_twins) {
        Node *a = enter("app", "127.0.0.1", 11), *b = enter("app", "127.0.0.2", 12);
        int connection;

        NodeProfile said = { .host = strdup("127.0.0.2") };

        b->connection = &connection;
        carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = b, .announced = NODE_ANNOUNCED_READY, .profile = &said });
        node_profile_done(&said);
        carry(&(Event){ .kind = EVENT_CONNECTION_LOST, .node = a, .now_usec = NOW, .await_until_usec = 5 });
        ck_assert(a->facts.is_awaited);
        ck_assert_ptr_null(a->connection);
        ck_assert_uint_eq(a->await_until_usec, 5);
        ck_assert_uint_eq(registry_n_awaited(registry), 1);

        carry(&(Event){ .kind = EVENT_CONNECTION_FOUND, .node = a, .twin = b, .now_usec = NOW });
        ck_assert(!a->facts.is_awaited);
        ck_assert_ptr_eq(a->connection, &connection);
        ck_assert_ptr_null(b->connection);
        /* What was announced comes with the one who said it. */
        ck_assert_int_eq(a->state, NODE_READY);
        ck_assert_str_eq(a->profile.host, "127.0.0.2");
        ck_assert_ptr_null(b->profile.host);
        ck_assert_uint_eq(registry_n_awaited(registry), 0);
}
END_TEST

/* --- what a node announces -------------------------------------------------------------------- */

START_TEST(test_what_is_not_said_again_stays) {
        Node *node = enter("app", "*", 11);
        NodeProfile said = { 0 };
        const char *key, *value;
        size_t offset = 0;

        said.host = strdup("mail.example.org");
        ck_assert_int_eq(node_profile_set(&said, "zone", 4, "a", 1), 0);
        carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = node, .announced = NODE_ANNOUNCED_READY, .profile = &said });
        node_profile_done(&said);
        ck_assert_int_eq(node->state, NODE_READY);
        ck_assert_int_eq(node->state_source, NODE_SOURCE_ANNOUNCEMENT);

        ck_assert_int_eq(node_profile_set(&said, "app", 3, "1.2", 3), 0);
        carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = node, .profile = &said });
        node_profile_done(&said);
        ck_assert_int_eq(node->state, NODE_READY);
        ck_assert_str_eq(node->profile.host, "mail.example.org");
        ck_assert(node_profile_next(&node->profile, &offset, &key, &value));
        ck_assert_str_eq(key, "app");
        ck_assert_str_eq(value, "1.2");
        ck_assert(node_profile_next(&node->profile, &offset, &key, &value));
        ck_assert_str_eq(key, "zone");
        ck_assert(!node_profile_next(&node->profile, &offset, &key, &value));
}
END_TEST

START_TEST(test_saying_the_same_again_is_no_change) {
        Node *node = enter("app", "*", 11);
        uint64_t revision;

        carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = node, .announced = NODE_ANNOUNCED_READY });
        revision = registry_revision(registry);
        carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = node, .announced = NODE_ANNOUNCED_READY });
        tell(EVENT_UNIT, node, UNIT_PHASE_UNKNOWN);
        ck_assert_uint_eq(registry_revision(registry), revision);
}
END_TEST

START_TEST(test_no_more_pairs_than_may_be) {
        Node *node = enter("app", "*", 11);
        NodeProfile said = { 0 };
        char key[16];
        Change change;
        Reply reply;

        for (int i = 0; i < NODE_METADATA_PAIRS_MAX; i++) {
                snprintf(key, sizeof key, "k%d", i);
                ck_assert_int_eq(node_profile_set(&said, key, strlen(key), "v", 1), 0);
        }
        ck_assert_int_eq(node_profile_set(&said, "more", 4, "v", 1), -E2BIG);
        carry(&(Event){ .kind = EVENT_ANNOUNCED, .node = node, .profile = &said });
        node_profile_done(&said);

        ck_assert_int_eq(node_profile_set(&said, "more", 4, "v", 1), 0);
        ck_assert_int_eq(registry_decide(registry,
                                         &(Event){ .kind = EVENT_ANNOUNCED, .node = node, .profile = &said },
                                         &change, &reply),
                         -E2BIG);
        ck_assert_int_eq(change.kind, CHANGE_NONE);
        node_profile_done(&said);
}
END_TEST

/* --- who was left over by his unit ---------------------------------------------------------------- */

static void hear_of_unit(Node *node, uint64_t invocation, bool is_over) {
        carry(&(Event){
                .kind = EVENT_UNIT,
                .node = node,
                .now_usec = NOW,
                .unit_phase = UNIT_PHASE_PLAIN,
                .unit_invocation = invocation,
                .is_unit_over = is_over,
        });
}

START_TEST(test_a_late_word_of_an_end_makes_nobody_a_leftover_for_good) {
        Node *node = enter("app", "*", 11);

        /* The bus hung while its unit was started anew: it is told of the end before, and then of the start. */
        hear_of_unit(node, 5, true);
        ck_assert(node_is_going(&node->facts));
        hear_of_unit(node, 6, false);
        ck_assert(!node_is_going(&node->facts));
        hear_of_unit(node, 7, false);
        ck_assert(node_is_going(&node->facts));
        hear_of_unit(node, 0, false);
        ck_assert(!node_is_going(&node->facts));
}
END_TEST

/* --- rules on names --------------------------------------------------------------------------- */

START_TEST(test_a_reserved_name_is_refused_to_others) {
        _cleanup_(rules_done) Rules rules = { 0 };
        char text[] = "uid:0";
        Reservation *reservation = rules_add_reservation(&rules, "root's");
        Event event = newcomer("rabbit", "*", 11);
        Reply reply;

        ck_assert_int_eq(reservation_add_pattern(reservation, "rab*"), 0);
        ck_assert_int_eq(reservation_add_owner(reservation, &(RuleOwner){ .kind = RULE_OWNER_UID, .text = text }), 0);
        registry_set_rules(registry, &rules, &(RegistryLimits){ 100, 100 });
        reply = carry(&event);
        ck_assert_int_eq(reply.refusal, REFUSAL_NAME_RESERVED);
        ck_assert_str_eq(reply.reservation->label, "root's");

        event.peer.uid = 0;
        ck_assert_int_eq(carry(&event).refusal, REFUSAL_NONE);
        registry_set_rules(registry, NULL, &(RegistryLimits){ 100, 100 });
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("conflicts");
        TCase *tcase = tcase_create("two want one name");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, test_a_name_is_refused_only_if_its_holder_will_stay, 0, ELEMENTS(conflicts));
        tcase_add_test(tcase, test_of_several_in_the_way_the_one_that_stays_is_the_reason);
        tcase_add_test(tcase, test_nobody_is_ended_for_a_newcomer_who_is_refused);
        tcase_add_loop_test(tcase, test_scopes_conflict_as_addresses_do_with_bind, 0, ELEMENTS(scopes));
        tcase_add_test(tcase, test_another_name_never_conflicts);
        tcase_add_loop_test(tcase, test_a_lookup_means_the_node_at_its_own_address, 0, ELEMENTS(lookups));
        tcase_add_test(tcase, test_a_connection_can_turn_out_to_be_the_twins);
        tcase_add_test(tcase, test_what_is_not_said_again_stays);
        tcase_add_test(tcase, test_saying_the_same_again_is_no_change);
        tcase_add_test(tcase, test_no_more_pairs_than_may_be);
        tcase_add_test(tcase, test_a_late_word_of_an_end_makes_nobody_a_leftover_for_good);
        tcase_add_test(tcase, test_a_reserved_name_is_refused_to_others);
        suite_add_tcase(suite, tcase);
        return suite;
}
