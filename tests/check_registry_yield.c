/* SPDX-License-Identifier: Apache-2.0 */
/* Who is in the way of whom, and who yields. check_conflicts has tables of every case. */

#include "check_main.h"
#include "registry_test.h"

/* --- who yields to whom (P4, P5) ---------------------------------------------------------------- */

typedef enum Outcome {
        OUTCOME_REFUSED,
        OUTCOME_REPLACES,
        OUTCOME_RETURNS,
} Outcome;

static const struct {
        const char *what;
        NodeState state;
        uint64_t holder_cookie;
        bool without_limit; /* awaited until its listener closes */
        uint64_t newcomer_cookie;
        bool same_info;
        Outcome outcome;
} conflicts[] = {
        { "a living holder, a stranger", NODE_UP, HOLDER_COOKIE, false, OTHER_COOKIE, true, OUTCOME_REFUSED },
        { "a living holder, somebody without a listener", NODE_UP, HOLDER_COOKIE, false, 0, true, OUTCOME_REFUSED },
        { "a living holder, its own listener again", NODE_UP, HOLDER_COOKIE, false, HOLDER_COOKIE, true, OUTCOME_REFUSED },
        { "a living holder without a listener, a stranger", NODE_UP, 0, false, OTHER_COOKIE, true, OUTCOME_REFUSED },
        { "two without a listener", NODE_UP, 0, false, 0, true, OUTCOME_REFUSED },

        { "a stopping holder, a stranger", NODE_STOPPING, HOLDER_COOKIE, false, OTHER_COOKIE, true, OUTCOME_REPLACES },
        { "a stopping holder, somebody without a listener", NODE_STOPPING, HOLDER_COOKIE, false, 0, true, OUTCOME_REPLACES },
        { "a stopping holder, its own listener", NODE_STOPPING, HOLDER_COOKIE, false, HOLDER_COOKIE, true, OUTCOME_REPLACES },

        { "awaited by its listener, a stranger", NODE_AWAITED, HOLDER_COOKIE, true, OTHER_COOKIE, true, OUTCOME_REFUSED },
        { "awaited by its listener, somebody without one", NODE_AWAITED, HOLDER_COOKIE, true, 0, true, OUTCOME_REFUSED },
        { "awaited by its listener, itself", NODE_AWAITED, HOLDER_COOKIE, true, HOLDER_COOKIE, true, OUTCOME_RETURNS },
        { "awaited by its listener, that listener with other words", NODE_AWAITED, HOLDER_COOKIE, true, HOLDER_COOKIE,
          false, OUTCOME_REPLACES },

        { "awaited for the grace, a stranger", NODE_AWAITED, 0, false, OTHER_COOKIE, true, OUTCOME_REPLACES },
        { "awaited for the grace, nobody has a listener", NODE_AWAITED, 0, false, 0, true, OUTCOME_REPLACES },
        { "awaited for the grace though its listener was known, a stranger", NODE_AWAITED, HOLDER_COOKIE, false,
          OTHER_COOKIE, true, OUTCOME_REPLACES },
        { "awaited for the grace though its listener was known, itself", NODE_AWAITED, HOLDER_COOKIE, false,
          HOLDER_COOKIE, true, OUTCOME_RETURNS },
        { "awaited for the grace though its listener was known, that listener with other words", NODE_AWAITED,
          HOLDER_COOKIE, false, HOLDER_COOKIE, false, OUTCOME_REPLACES },
};

START_TEST(test_a_newcomer_is_refused_replaces_or_returns_by_the_evidence) {
        Registry *registry = make_registry(10, 10);
        Node *holder = make_holder(registry, conflicts[_i].state, conflicts[_i].holder_cookie,
                                   conflicts[_i].without_limit);
        uint32_t creation = holder->creation;
        uint64_t since = holder->since_usec, serial = holder->serial;
        Event event = newcomer_at("a", "*", conflicts[_i].newcomer_cookie);
        Reply reply;
        unsigned n_changes;

        event.now_usec = 7777;
        event.peer = (NodePeer){ .uid = UID_B, .cgroup_id = 3 };
        event.connection = connections + 1;
        event.connection_fd = 8;
        if (!conflicts[_i].same_info)
                event.info.port++;
        n_changes = carry(registry, &event, &reply);
        switch (conflicts[_i].outcome) {
        case OUTCOME_REFUSED:
                ck_assert_msg(reply.refusal == REFUSAL_NAME_TAKEN, "%s", conflicts[_i].what);
                ck_assert_ptr_eq(reply.holder, holder);
                ck_assert_uint_eq(n_changes, 0);
                break;
        case OUTCOME_REPLACES:
                ck_assert_msg(reply.refusal == REFUSAL_NONE, "%s", conflicts[_i].what);
                ck_assert_uint_eq(n_changes, 2);
                ck_assert_uint_ne(reply.creation, creation);
                ck_assert_uint_eq(reply.node->since_usec, 7777);
                ck_assert_uint_gt(reply.node->serial, serial);
                break;
        case OUTCOME_RETURNS:
                ck_assert_msg(reply.refusal == REFUSAL_NONE, "%s", conflicts[_i].what);
                ck_assert_ptr_eq(reply.node, holder);
                ck_assert_uint_eq(n_changes, 1);
                ck_assert_uint_eq(reply.creation, creation);
                ck_assert_uint_eq(holder->creation, creation);
                ck_assert_uint_eq(holder->since_usec, since);
                ck_assert_uint_eq(holder->serial, serial);
                ck_assert_uint_eq(holder->peer.uid, UID_B);
                ck_assert_uint_eq(holder->peer.cgroup_id, 3);
                break;
        }
        if (conflicts[_i].outcome != OUTCOME_REFUSED) {
                ck_assert_ptr_eq(find(registry, "a", "*"), reply.node);
                ck_assert_int_eq(reply.node->state, NODE_UP);
                ck_assert_ptr_eq(reply.node->connection, connections + 1);
                ck_assert_int_eq(reply.node->connection_fd, 8);
        }
        ck_assert_uint_eq(registry_n_nodes(registry), 1);
        ck_assert_ptr_null(registry_oldest_former(registry));
        registry_free(registry);
}
END_TEST

/* Each field of what a node says of itself, but its name, must be the same for it to be taken for itself. */
START_TEST(test_a_node_that_returns_with_other_words_is_another_node) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer_at("a", "*", HOLDER_COOKIE);
        Reply reply;

        make_holder(registry, NODE_AWAITED, HOLDER_COOKIE, true);
        switch (_i) {
        case 0:
                event.info.port++;
                break;
        case 1:
                event.info.type = 'H';
                break;
        case 2:
                event.info.protocol++;
                break;
        case 3:
                event.info.highest_version++;
                break;
        case 4:
                event.info.lowest_version--;
                break;
        case 5:
                event.info.extra = (const uint8_t *)"x";
                event.info.n_extra = 1;
                break;
        }
        carry(registry, &event, &reply);
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        ck_assert_uint_ne(reply.creation, 1234);
        registry_free(registry);
}
END_TEST

static const struct {
        const char *was, *is;
        size_t n;
        bool is_itself;
} extras[] = {
        { "", "", 0, true },
        { "xy", "xy", 2, true },
        { "x\0y", "x\0y", 3, true },
        { "x\0y", "x\0z", 3, false },
        { "xy", "zy", 2, false },
};

START_TEST(test_what_a_node_says_beside_is_compared_whole) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer_at("a", "*", HOLDER_COOKIE);
        Node *node;
        Reply reply;

        event.info.extra = (const uint8_t *)extras[_i].was;
        event.info.n_extra = extras[_i].n;
        node = node_new(&event.info);
        ck_assert_ptr_nonnull(node);
        node->listener = event.listener;
        node->creation = 1234;
        node->serial = 1;
        node->await_until_usec = USEC_INFINITE;
        restore(registry, node);
        event.info.extra = (const uint8_t *)extras[_i].is;
        carry(registry, &event, &reply);
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        ck_assert_int_eq(reply.creation == 1234, extras[_i].is_itself);
        registry_free(registry);
}
END_TEST

/* --- scopes --------------------------------------------------------------------------------------- */

static const struct {
        const char *there[4]; /* scopes at which the name is held */
        const char *newcomer;
        const char *in_the_way; /* the first that is, or NULL */
} scopes[] = {
        { { NULL }, "*", NULL },
        { { NULL }, "127.0.0.1", NULL },
        { { "*" }, "*", "*" },
        { { "*" }, "127.0.0.1", "*" },
        { { "127.0.0.1" }, "*", "127.0.0.1" },
        { { "127.0.0.1" }, "127.0.0.1", "127.0.0.1" },
        { { "127.0.0.1" }, "127.0.0.2", NULL },
        { { "127.0.0.2" }, "127.0.0.1", NULL },
        { { "127.0.0.1", "127.0.0.2" }, "127.0.0.3", NULL },
        { { "127.0.0.1", "127.0.0.2", "::1" }, "127.0.0.2", "127.0.0.2" },
        { { "127.0.0.2", "127.0.0.1", "::1" }, "*", "::1" },
        { { "::1" }, "127.0.0.1", NULL },
        { { "::1" }, "::1", "::1" },
        { { "::1" }, "::", "::1" },
        { { "0.0.0.0" }, "::1", "*" },
};

START_TEST(test_scopes_conflict_as_addresses_do_with_bind) {
        Registry *registry = make_registry(10, 10);
        Event event;
        Reply reply;
        char text[ADDRESS_TEXT_MAX];

        for (unsigned i = 0; i < ELEMENTS(scopes[_i].there) && scopes[_i].there[i]; i++) {
                event = newcomer_at("a", scopes[_i].there[i], 100 + i);
                must_register(registry, &event);
        }
        event = newcomer_at("a", scopes[_i].newcomer, 200);
        carry(registry, &event, &reply);
        if (scopes[_i].in_the_way) {
                ck_assert_int_eq(reply.refusal, REFUSAL_NAME_TAKEN);
                ck_assert_str_eq(address_format(&reply.holder->scope, text), scopes[_i].in_the_way);
        } else
                ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        registry_free(registry);
}
END_TEST

/* Without a listener the scope is `*`, whatever its address field says. */
START_TEST(test_a_node_without_a_known_listener_is_everywhere) {
        NodeListener listener = { .cookie = 0, .address = make_address("127.0.0.2") };
        Address scope = registry_scope_of(&listener);

        ck_assert(address_is_any(&scope));
        listener.cookie = 1;
        scope = registry_scope_of(&listener);
        ck_assert(address_equal(&scope, &listener.address));
}
END_TEST

START_TEST(test_those_in_the_way_are_found_one_after_the_other) {
        static const char *const there[] = { "127.0.0.1", "127.0.0.2", "fd00::1" };
        Registry *registry = make_registry(10, 10);
        Address any = ADDRESS_ANY, one = make_address("127.0.0.2"), none = make_address("127.0.0.9");
        Event event = newcomer("ab");
        Node *node = NULL;

        must_register(registry, &event);
        for (unsigned i = 0; i < ELEMENTS(there); i++) {
                event = newcomer_at("a", there[i], 100 + i);
                must_register(registry, &event);
        }
        for (unsigned i = 0; i < ELEMENTS(there); i++) {
                Address scope = make_address(there[i]);

                node = registry_find_conflict(registry, "a", 1, &any, node);
                ck_assert_ptr_nonnull(node);
                ck_assert(address_equal(&node->scope, &scope));
        }
        ck_assert_ptr_null(registry_find_conflict(registry, "a", 1, &any, node));

        node = registry_find_conflict(registry, "a", 1, &one, NULL);
        ck_assert_ptr_nonnull(node);
        ck_assert(address_equal(&node->scope, &one));
        ck_assert_ptr_null(registry_find_conflict(registry, "a", 1, &one, node));
        ck_assert_ptr_null(registry_find_conflict(registry, "a", 1, &none, NULL));
        ck_assert_ptr_null(registry_find_conflict(registry, "b", 1, &any, NULL));
        registry_free(registry);
}
END_TEST

START_TEST(test_a_newcomer_everywhere_replaces_all_that_are_going) {
        Registry *registry = make_registry(10, 10);
        static const char *const there[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3" };
        Event event;
        Reply reply;

        for (unsigned i = 0; i < ELEMENTS(there); i++) {
                event = newcomer_at("a", there[i], 100 + i);
                tell(registry, EVENT_LISTENER_GONE, must_register(registry, &event));
        }
        event = newcomer_at("a", "*", 200);
        ck_assert_uint_eq(carry(registry, &event, &reply), 4);
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        ck_assert_uint_eq(registry_n_nodes(registry), 1);
        ck_assert_ptr_eq(find(registry, "a", "127.0.0.2"), reply.node);
        ck_assert_ptr_null(registry_oldest_former(registry));
        registry_free(registry);
}
END_TEST

/* All or nothing: if one of those in the way is alive, none is ended. */
START_TEST(test_a_newcomer_everywhere_is_refused_if_one_is_alive_and_nobody_is_replaced) {
        Registry *registry = make_registry(10, 10);
        static const char *const there[] = { "127.0.0.1", "127.0.0.2", "127.0.0.3" };
        Node *nodes[ELEMENTS(there)];
        Event event;
        Reply reply;

        for (unsigned i = 0; i < ELEMENTS(there); i++) {
                event = newcomer_at("a", there[i], 100 + i);
                nodes[i] = must_register(registry, &event);
                if ((int)i != _i)
                        tell(registry, EVENT_LISTENER_GONE, nodes[i]);
        }
        event = newcomer_at("a", "*", 200);
        ck_assert_uint_eq(carry(registry, &event, &reply), 0);
        ck_assert_int_eq(reply.refusal, REFUSAL_NAME_TAKEN);
        ck_assert_ptr_eq(reply.holder, nodes[_i]);
        ck_assert_uint_eq(registry_n_nodes(registry), 3);
        registry_free(registry);
}
END_TEST

/* --- */

static void add_holders(Suite *suite) {
        TCase *tcase = tcase_create("holders");

        tcase_add_loop_test(tcase, test_a_newcomer_is_refused_replaces_or_returns_by_the_evidence, 0,
                            ELEMENTS(conflicts));
        tcase_add_loop_test(tcase, test_a_node_that_returns_with_other_words_is_another_node, 0, 6);
        tcase_add_loop_test(tcase, test_what_a_node_says_beside_is_compared_whole, 0, ELEMENTS(extras));
        suite_add_tcase(suite, tcase);
}

static void add_scopes(Suite *suite) {
        TCase *tcase = tcase_create("scopes");

        tcase_add_loop_test(tcase, test_scopes_conflict_as_addresses_do_with_bind, 0, ELEMENTS(scopes));
        tcase_add_test(tcase, test_a_node_without_a_known_listener_is_everywhere);
        tcase_add_test(tcase, test_those_in_the_way_are_found_one_after_the_other);
        tcase_add_test(tcase, test_a_newcomer_everywhere_replaces_all_that_are_going);
        tcase_add_loop_test(tcase, test_a_newcomer_everywhere_is_refused_if_one_is_alive_and_nobody_is_replaced, 0, 3);
        suite_add_tcase(suite, tcase);
}

Suite *suite(void) {
        Suite *suite = suite_create("registry_yield");

        add_holders(suite);
        add_scopes(suite);
        return suite;
}
