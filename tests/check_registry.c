/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/creation.h"
#include "core/registry.h"

#define UID_A ((uid_t)1000)
#define UID_B ((uid_t)1001)

/* Where so many are made that ck_assert(), which notes each of them in a file, would take most of the time. */
#define must(condition)                                  \
        do {                                             \
                if (!(condition))                        \
                        ck_abort_msg("%s", #condition);  \
        } while (0)

/* Something that a connection can be; never looked into. */
static int connections[4];

static Registry *make_registry(size_t n_nodes_max, size_t n_nodes_per_uid_max) {
        Registry *registry = NULL;

        must(registry_new(&registry, &(RegistryLimits){ n_nodes_max, n_nodes_per_uid_max }) == 0);
        return registry;
}

static Address make_address(const char *text) {
        Address address;

        must(address_parse(text, &address) == 0);
        return address;
}

/* A newcomer as it is most of the time; tests change what they are about. */
static Event newcomer(const char *name) {
        return (Event){
                .kind = EVENT_REGISTER,
                .now_usec = 1000,
                .info = { .name = name,
                          .n_name = strlen(name),
                          .extra = (const uint8_t *)"",
                          .port = 40000,
                          .highest_version = 6,
                          .lowest_version = 5,
                          .type = 'M' },
                .peer = { .uid = NODE_UID_UNKNOWN },
                .connection = connections,
                .connection_fd = 7,
        };
}

static Event newcomer_at(const char *name, const char *scope, uint64_t cookie) {
        Event event = newcomer(name);

        event.listener = (NodeListener){ .cookie = cookie, .address = make_address(scope) };
        return event;
}

/* What the ledger does: decide and apply until nothing more follows. Returns how many changes that took. */
static unsigned carry(Registry *registry, const Event *event, Reply *ret_reply) {
        unsigned n_changes = 0;
        Change change;
        int r;

        do {
                uint64_t revision = registry_revision(registry);

                r = registry_decide(registry, event, &change, ret_reply);
                must(r >= 0);
                must(registry_revision(registry) == revision);
                if (change.kind != CHANGE_NONE) {
                        registry_apply(registry, &change);
                        must(registry_revision(registry) == revision + 1);
                        n_changes++;
                }
        } while (r == REGISTRY_E_AGAIN);
        return n_changes;
}

static Node *must_register(Registry *registry, const Event *event) {
        Reply reply;

        carry(registry, event, &reply);
        must(reply.refusal == REFUSAL_NONE);
        must(reply.node);
        return reply.node;
}

static Refusal try_register(Registry *registry, const Event *event) {
        Reply reply;

        carry(registry, event, &reply);
        return reply.refusal;
}

static void tell(Registry *registry, EventKind kind, Node *node) {
        carry(registry, &(Event){ .kind = kind, .node = node, .now_usec = 2000 }, NULL);
}

static Node *find(const Registry *registry, const char *name, const char *local) {
        Address address = make_address(local);

        return registry_find(registry, name, strlen(name), &address);
}

/* A node of an earlier run, as the store would bring it. */
static Node *former_node(const char *name, uint32_t creation, uint64_t serial) {
        Event event = newcomer(name);
        Node *node = node_new(&event.info);

        ck_assert_ptr_nonnull(node);
        node->creation = creation;
        node->serial = serial;
        node->since_usec = 500;
        return node;
}

static void set_awaited(Node *node) {
        NodeFacts facts = node->facts;

        facts.is_awaited = true;
        facts.is_listener_gone = false;
        node_set_facts(node, &facts, 500);
}

/* Awaited, as a row without a connection is. */
static void restore(Registry *registry, Node *node) {
        set_awaited(node);
        ck_assert_int_eq(registry_restore(registry, &node), 0);
        ck_assert_ptr_null(node);
}

static void restore_former(Registry *registry, const char *name, uint32_t creation) {
        Node *node = former_node(name, creation, 1);

        ck_assert_int_eq(registry_restore_former(registry, &node), 0);
        ck_assert_ptr_null(node);
}

/* An entry's node, whose listener was found. */
static Event static_event(const char *name, const char *scope, uint64_t cookie) {
        Event event = newcomer(name);

        event.kind = EVENT_STATIC;
        event.scope = make_address(scope);
        event.listener = (NodeListener){ .cookie = cookie, .address = make_address("*") };
        event.connection = NULL;
        event.connection_fd = -1;
        return event;
}

static Event elsewhere_event(const char *name, const char *scope) {
        Event event = static_event(name, scope, 0);

        event.is_elsewhere = true;
        return event;
}

/* --- one registration ------------------------------------------------------------------------- */

START_TEST(test_a_registration_keeps_all_that_is_known_of_the_node) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer_at("a", "127.0.0.2", 55);
        Reply reply;
        Node *node;

        event.info.extra = (const uint8_t *)"x\0y";
        event.info.n_extra = 3;
        event.peer = (NodePeer){ .uid = UID_A, .cgroup_id = 9 };
        event.listener.ipv6 = true;
        event.unit = "a.service";
        registry_advance_creation(registry, 77);
        ck_assert_uint_eq(carry(registry, &event, &reply), 1);
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        ck_assert_uint_eq(reply.creation, 77);

        node = find(registry, "a", "127.0.0.2");
        ck_assert_ptr_eq(node, reply.node);
        ck_assert_str_eq(node->info.name, "a");
        ck_assert_mem_eq(node->info.extra, "x\0y", 3);
        ck_assert_uint_eq(node->info.port, 40000);
        ck_assert_str_eq(node->unit, "a.service");
        ck_assert_ptr_ne(node->unit, event.unit);
        ck_assert_uint_eq(node->peer.uid, UID_A);
        ck_assert_uint_eq(node->peer.cgroup_id, 9);
        ck_assert_uint_eq(node->listener.cookie, 55);
        ck_assert(node->listener.ipv6);
        ck_assert_int_eq(node->state, NODE_UP);
        ck_assert_uint_eq(node->creation, 77);
        ck_assert_uint_eq(node->since_usec, 1000);
        ck_assert_ptr_eq(node->connection, connections);
        ck_assert_int_eq(node->connection_fd, 7);
        ck_assert_uint_eq(node->serial, 1);
        ck_assert_uint_eq(registry_n_nodes(registry), 1);
        ck_assert_uint_eq(registry_n_in_state(registry, NODE_UP), 1);
        registry_free(registry);
}
END_TEST

static const struct {
        const char *name;
        size_t n_name, n_extra;
        Refusal refusal;
} infos[] = {
        { "a", 1, 0, REFUSAL_NONE },
        { "a", 1, NODE_EXTRA_BYTES_MAX, REFUSAL_NONE },
        { "a", 1, NODE_EXTRA_BYTES_MAX + 1, REFUSAL_EXTRA_TOO_LONG },
        { "", 0, 0, REFUSAL_NAME_EMPTY },
        { "", 0, NODE_EXTRA_BYTES_MAX + 1, REFUSAL_NAME_EMPTY },
        { "a\nb", 3, 0, REFUSAL_NAME_CONTROL_CHARACTER },
        { "a\0b", 3, 0, REFUSAL_NAME_CONTROL_CHARACTER },
        { "\xff", 1, 0, REFUSAL_NAME_NOT_UTF8 },
};

START_TEST(test_what_a_node_may_not_say_is_refused_and_changes_nothing) {
        static const uint8_t extra[NODE_EXTRA_BYTES_MAX + 1];
        Registry *registry = make_registry(10, 10);
        Event event = newcomer("");
        Reply reply;
        unsigned n_changes;

        event.info.name = infos[_i].name;
        event.info.n_name = infos[_i].n_name;
        event.info.extra = extra;
        event.info.n_extra = infos[_i].n_extra;
        n_changes = carry(registry, &event, &reply);
        ck_assert_int_eq(reply.refusal, infos[_i].refusal);
        ck_assert_uint_eq(n_changes, infos[_i].refusal == REFUSAL_NONE);
        ck_assert_uint_eq(registry_n_nodes(registry), infos[_i].refusal == REFUSAL_NONE);
        ck_assert_ptr_null(reply.holder);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_name_of_256_characters_is_refused) {
        Registry *registry = make_registry(10, 10);
        char name[257];
        Event event;

        memset(name, 'a', 256);
        name[256] = 0;
        event = newcomer(name);
        ck_assert_int_eq(try_register(registry, &event), REFUSAL_NAME_TOO_LONG);
        event.info.n_name = 255;
        ck_assert_int_eq(try_register(registry, &event), REFUSAL_NONE);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_decision_that_is_dropped_has_changed_nothing) {
        Registry *registry = make_registry(10, 1);
        Event event = newcomer_at("a", "127.0.0.1", 5);
        Change change;
        Reply reply;

        event.peer.uid = UID_A;
        event.unit = "a.service";
        for (unsigned i = 0; i < 100; i++) {
                ck_assert_int_eq(registry_decide(registry, &event, &change, &reply), 0);
                ck_assert_int_eq(change.kind, CHANGE_REGISTER);
                ck_assert_uint_eq(reply.creation, CREATION_MIN);
                change_done(&change);
                ck_assert_int_eq(change.kind, CHANGE_NONE);
        }
        ck_assert_uint_eq(registry_n_nodes(registry), 0);
        ck_assert_uint_eq(registry_revision(registry), 0);
        ck_assert_uint_eq(registry_next_creation(registry), CREATION_MIN);
        ck_assert_ptr_null(find(registry, "a", "127.0.0.1"));
        ck_assert_ptr_null(registry_find_by_cookie(registry, 5));
        ck_assert_ptr_null(registry_newest(registry));
        ck_assert_int_eq(try_register(registry, &event), REFUSAL_NONE);
        registry_free(registry);
}
END_TEST

START_TEST(test_what_is_no_registration_is_dropped_without_freeing_its_node) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer("a");
        Node *node = must_register(registry, &event);
        Change change;

        ck_assert_int_eq(registry_decide(registry, &(Event){ .kind = EVENT_CONNECTION_ENDED, .node = node },
                                         &change, NULL),
                         0);
        ck_assert_int_eq(change.kind, CHANGE_END);
        change_done(&change);
        ck_assert_ptr_eq(find(registry, "a", "*"), node);
        ck_assert_str_eq(node->info.name, "a");
        registry_free(registry);
}
END_TEST

/* --- nodes that do not register ----------------------------------------------------------------- */

START_TEST(test_a_static_node_is_there_by_its_listener_and_ends_with_it) {
        Registry *registry = make_registry(10, 10);
        Event event = static_event("a", "127.0.0.1", 5);
        NodeProfile profile = { .host = (char *)(uintptr_t)"h", .is_host_static = true };
        uint32_t next_creation = registry_next_creation(registry);
        Node *node;

        event.peer.uid = UID_A;
        event.unit = "a.service";
        event.profile = &profile;
        event.pinned_port = 9100;
        node = must_register(registry, &event);
        ck_assert_ptr_eq(find(registry, "a", "127.0.0.1"), node);
        ck_assert_int_eq(node->state, NODE_UP);
        ck_assert_int_eq(node->state_source, NODE_SOURCE_LISTENER);
        ck_assert_uint_eq(node->creation, 0);
        ck_assert_uint_eq(node->pinned_port, 9100);
        ck_assert_str_eq(node->profile.host, "h");
        ck_assert_str_eq(node_profile_host_source(&node->profile), "static");
        ck_assert_str_eq(node->unit, "a.service");
        ck_assert_uint_eq(registry_next_creation(registry), next_creation);
        ck_assert_uint_eq(registry_n_in_state(registry, NODE_UP), 1);
        tell(registry, EVENT_LISTENER_GONE, registry_find_by_cookie(registry, 5));
        ck_assert_uint_eq(registry_n_nodes(registry), 0);
        ck_assert_uint_eq(registry_n_in_state(registry, NODE_UP), 0);
        ck_assert_int_eq(registry_find_former(registry, "a", 1)->end, NODE_END_LISTENER_GONE);
        registry_free(registry);
}
END_TEST

/* Who has the name, who comes, and what becomes of it. Cookie 5 is the entry's listener. */
static const struct {
        const char *what;
        const char *holder_scope;
        uint64_t holder_cookie;
        NodeOrigin holder;
        bool holder_is_going; /* its listener has closed, its connection has not */
        bool holder_is_awaited;
        const char *comer_scope;
        uint64_t comer_cookie;
        NodeOrigin comer;
        bool is_taken; /* the name, for the one who comes */
        unsigned n_after;
} meetings[] = {
        { "the entry's own node registers", "*", 5, NODE_ORIGIN_STATIC, false, false, "*", 5, NODE_ORIGIN_REGISTERED, false, 1 },
        { "at another scope", "127.0.0.1", 5, NODE_ORIGIN_STATIC, false, false, "*", 5, NODE_ORIGIN_REGISTERED, false, 1 },
        { "another node registers", "*", 5, NODE_ORIGIN_STATIC, false, false, "*", 6, NODE_ORIGIN_REGISTERED, true, 1 },
        { "one without a listener", "*", 5, NODE_ORIGIN_STATIC, false, false, "*", 0, NODE_ORIGIN_REGISTERED, true, 1 },
        { "beside it", "127.0.0.1", 5, NODE_ORIGIN_STATIC, false, false, "127.0.0.2", 6, NODE_ORIGIN_REGISTERED, false, 2 },
        { "the entry finds a node that lives", "*", 6, NODE_ORIGIN_REGISTERED, false, false, "*", 5, NODE_ORIGIN_STATIC, true, 1 },
        { "which is its own", "*", 5, NODE_ORIGIN_REGISTERED, false, false, "*", 5, NODE_ORIGIN_STATIC, true, 1 },
        { "which is going", "*", 6, NODE_ORIGIN_REGISTERED, true, false, "*", 5, NODE_ORIGIN_STATIC, false, 1 },
        { "which is awaited", "*", 6, NODE_ORIGIN_REGISTERED, false, true, "*", 5, NODE_ORIGIN_STATIC, true, 1 },
        /* It comes back to its own row, and to its creation. */
        { "which is awaited and its own", "*", 5, NODE_ORIGIN_REGISTERED, false, true, "*", 5, NODE_ORIGIN_STATIC, true, 1 },
        { "two entries of one name", "*", 5, NODE_ORIGIN_STATIC, false, false, "127.0.0.1", 6, NODE_ORIGIN_STATIC, true, 1 },
        { "at two addresses", "127.0.0.1", 5, NODE_ORIGIN_STATIC, false, false, "127.0.0.2", 6, NODE_ORIGIN_STATIC, false, 2 },
        { "elsewhere there is one, too", "192.0.2.1", 0, NODE_ORIGIN_ELSEWHERE, false, false, "*", 6, NODE_ORIGIN_REGISTERED, false, 2 },
        { "and here an entry", "192.0.2.1", 0, NODE_ORIGIN_ELSEWHERE, false, false, "*", 5, NODE_ORIGIN_STATIC, false, 2 },
        { "two elsewhere", "192.0.2.1", 0, NODE_ORIGIN_ELSEWHERE, false, false, "192.0.2.2", 0, NODE_ORIGIN_ELSEWHERE, false, 2 },
        { "the address has come here", "192.0.2.1", 0, NODE_ORIGIN_ELSEWHERE, false, false, "192.0.2.1", 6, NODE_ORIGIN_REGISTERED, false, 1 },
        { "and is said to be elsewhere", "192.0.2.1", 6, NODE_ORIGIN_REGISTERED, false, false, "192.0.2.1", 0, NODE_ORIGIN_ELSEWHERE, true, 1 },
        { "one here has the name at all addresses", "*", 6, NODE_ORIGIN_REGISTERED, false, false, "192.0.2.1", 0, NODE_ORIGIN_ELSEWHERE, false, 2 },
};

static Event event_of(NodeOrigin origin, const char *scope, uint64_t cookie) {
        switch (origin) {
        case NODE_ORIGIN_REGISTERED:
                return newcomer_at("a", scope, cookie);
        case NODE_ORIGIN_STATIC:
                return static_event("a", scope, cookie);
        case NODE_ORIGIN_ELSEWHERE:
                return elsewhere_event("a", scope);
        }
        ck_abort_msg("no origin");
}

START_TEST(test_a_static_node_meets_others_of_its_name) {
        Registry *registry = make_registry(10, 10);
        Event first = event_of(meetings[_i].holder, meetings[_i].holder_scope, meetings[_i].holder_cookie);
        Event second = event_of(meetings[_i].comer, meetings[_i].comer_scope, meetings[_i].comer_cookie);
        Node *holder = must_register(registry, &first);
        Reply reply;

        if (meetings[_i].holder_is_going)
                tell(registry, EVENT_LISTENER_GONE, holder);
        if (meetings[_i].holder_is_awaited)
                carry(registry, &(Event){ .kind = EVENT_CONNECTION_LOST, .node = holder, .await_until_usec = USEC_INFINITE }, NULL);
        carry(registry, &second, &reply);
        ck_assert_msg((reply.refusal == REFUSAL_NAME_TAKEN) == meetings[_i].is_taken, "%s", meetings[_i].what);
        ck_assert_msg(registry_n_nodes(registry) + registry_n_elsewhere(registry) == meetings[_i].n_after, "%s",
                      meetings[_i].what);
        if (meetings[_i].is_taken)
                ck_assert_ptr_eq(reply.holder, holder);
        else
                ck_assert_int_eq(reply.node->facts.origin, meetings[_i].comer);
        registry_free(registry);
}
END_TEST

START_TEST(test_limits_neither_keep_static_nodes_out_nor_count_them) {
        Registry *registry = make_registry(1, 1);
        Event statics[] = { static_event("a", "*", 1), static_event("b", "*", 2), elsewhere_event("c", "192.0.2.1") };
        Event event = newcomer_at("d", "*", 4), other = newcomer_at("e", "*", 5);

        event.peer.uid = other.peer.uid = UID_A;
        for (size_t i = 0; i < ELEMENTS(statics); i++) {
                statics[i].peer.uid = UID_A;
                must_register(registry, statics + i);
        }
        must_register(registry, &event);
        ck_assert_int_eq(try_register(registry, &other), REFUSAL_NODES_LIMIT);
        /* A static node that registers itself counts from then on. */
        other = newcomer_at("a", "*", 1);
        other.peer.uid = UID_A;
        ck_assert_int_eq(try_register(registry, &other), REFUSAL_NODES_LIMIT);
        registry_free(registry);
}
END_TEST

START_TEST(test_what_is_elsewhere_is_found_by_its_name_and_in_no_lookup) {
        Registry *registry = make_registry(10, 10);
        Event event = elsewhere_event("a", "192.0.2.1"), here = newcomer_at("a", "127.0.0.1", 5);
        Node *node = must_register(registry, &event), *other;
        bool is_sole = false;

        ck_assert_int_eq(node->state_source, NODE_SOURCE_ENTRY);
        ck_assert_ptr_null(find(registry, "a", "192.0.2.1"));
        ck_assert_ptr_null(find(registry, "a", "127.0.0.1"));
        ck_assert_ptr_null(registry_find_sole(registry, "a", 1, &is_sole));
        ck_assert(is_sole);
        ck_assert_ptr_eq(registry_find_name(registry, "a", 1, NULL), node);
        ck_assert_ptr_eq(registry_find_key(registry, "a", 1, &node->scope), node);
        ck_assert_uint_eq(registry_n_nodes(registry), 0);
        ck_assert_uint_eq(registry_n_in_state(registry, NODE_UP), 0);
        other = must_register(registry, &here);
        ck_assert_ptr_eq(find(registry, "a", "192.0.2.1"), other);
        ck_assert_ptr_eq(registry_find_sole(registry, "a", 1, &is_sole), other);
        ck_assert(is_sole);
        tell(registry, EVENT_ENTRY_REMOVED, node);
        /* It was never here: nobody has had the name. */
        ck_assert_ptr_null(registry_find_former(registry, "a", 1));
        ck_assert_uint_eq(registry_n_elsewhere(registry), 0);
        registry_free(registry);
}
END_TEST

START_TEST(test_the_entry_that_is_removed_takes_its_node_along) {
        Registry *registry = make_registry(10, 10);
        Event event = static_event("a", "*", 5);
        Node *node = must_register(registry, &event);

        carry(registry, &(Event){ .kind = EVENT_ENTRY_REMOVED, .node = node, .by = "uid 0" }, NULL);
        ck_assert_uint_eq(registry_n_nodes(registry), 0);
        ck_assert_int_eq(registry_find_former(registry, "a", 1)->end, NODE_END_REMOVED);
        ck_assert_str_eq(registry_find_former(registry, "a", 1)->ended_by, "uid 0");
        registry_free(registry);
}
END_TEST

START_TEST(test_a_pin_is_known_of_the_node_and_said_once) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer("a");
        Node *node = must_register(registry, &event);
        Event pinned = { .kind = EVENT_PINNED, .node = node, .pinned_port = 9100 };

        ck_assert_uint_eq(carry(registry, &pinned, NULL), 1);
        ck_assert_uint_eq(carry(registry, &pinned, NULL), 0);
        ck_assert_uint_eq(node->pinned_port, 9100);
        tell(registry, EVENT_LISTENER_GONE, node);
        ck_assert_uint_eq(node->pinned_port, 9100);
        pinned.pinned_port = 0;
        ck_assert_uint_eq(carry(registry, &pinned, NULL), 1);
        ck_assert_uint_eq(node->pinned_port, 0);
        registry_free(registry);
}
END_TEST

/* The row of a node that was left over says so by which start of its unit it is of. */
START_TEST(test_a_node_that_was_left_over_is_known_as_that_after_a_restart) {
        Registry *registry = make_registry(10, 10);
        Node *node = former_node("a", 4, 1);
        Event heard = { .kind = EVENT_UNIT, .node = node, .unit_phase = UNIT_PHASE_PLAIN, .unit_invocation = 2 };

        node->unit_invocation = 1;
        restore(registry, node);
        carry(registry, &heard, NULL);
        ck_assert(node->facts.is_left_over);
        heard.unit_invocation = 1;
        carry(registry, &heard, NULL);
        ck_assert(!node->facts.is_left_over);
        registry_free(registry);
}
END_TEST

/* --- who yields to whom (P4, P5) ---------------------------------------------------------------- */

typedef enum Outcome {
        OUTCOME_REFUSED,
        OUTCOME_REPLACES,
        OUTCOME_RETURNS,
} Outcome;

enum { HOLDER_COOKIE = 10, OTHER_COOKIE = 11 };

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

static Node *make_holder(Registry *registry, NodeState state, uint64_t cookie, bool without_limit) {
        Event event = newcomer_at("a", "*", cookie);
        Node *node;

        event.peer.uid = UID_A;
        if (state != NODE_AWAITED) {
                node = must_register(registry, &event);
                if (state == NODE_STOPPING)
                        tell(registry, EVENT_LISTENER_GONE, node);
        } else {
                node = node_new(&event.info);
                ck_assert_ptr_nonnull(node);
                node->listener = event.listener;
                node->peer = event.peer;
                node->creation = 1234;
                node->since_usec = 500;
                node->serial = 50;
                node->await_until_usec = without_limit ? USEC_INFINITE : 99;
                restore(registry, node);
                node = find(registry, "a", "*");
        }
        ck_assert_int_eq(node->state, state);
        return node;
}

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

/* --- how registrations end ---------------------------------------------------------------------- */

static const struct {
        EventKind event;
        NodeState state;
        ChangeKind change;
        NodeEnd end;
} ends[] = {
        { EVENT_CONNECTION_ENDED, NODE_UP, CHANGE_END, NODE_END_LEFT },
        { EVENT_CONNECTION_ENDED, NODE_STOPPING, CHANGE_END, NODE_END_LEFT },
        /* An open connection keeps the name: the match of the listener may have been wrong. */
        { EVENT_LISTENER_GONE, NODE_UP, CHANGE_FACTS, _NODE_END_N },
        { EVENT_LISTENER_GONE, NODE_STOPPING, CHANGE_NONE, _NODE_END_N },
        { EVENT_LISTENER_GONE, NODE_AWAITED, CHANGE_END, NODE_END_LISTENER_GONE },
        { EVENT_AWAIT_EXPIRED, NODE_AWAITED, CHANGE_END, NODE_END_DID_NOT_RETURN },
        { EVENT_AWAIT_EXPIRED, NODE_UP, CHANGE_NONE, _NODE_END_N },
        { EVENT_AWAIT_EXPIRED, NODE_STOPPING, CHANGE_NONE, _NODE_END_N },
        { EVENT_STOP, NODE_UP, CHANGE_END, NODE_END_STOPPED },
        { EVENT_STOP, NODE_STOPPING, CHANGE_END, NODE_END_STOPPED },
        { EVENT_STOP, NODE_AWAITED, CHANGE_END, NODE_END_STOPPED },
};

START_TEST(test_what_happens_to_a_node_follows_from_its_state) {
        Registry *registry = make_registry(10, 10);
        Node *node = make_holder(registry, ends[_i].state, HOLDER_COOKIE, true);
        Change change;

        ck_assert_int_eq(registry_decide(registry, &(Event){ .kind = ends[_i].event, .node = node }, &change,
                                         NULL),
                         0);
        ck_assert_int_eq(change.kind, ends[_i].change);
        if (change.kind == CHANGE_NONE) {
                registry_free(registry);
                return;
        }
        ck_assert_ptr_eq(change.node, node);
        registry_apply(registry, &change);
        ck_assert_uint_eq(registry_n_in_state(registry, ends[_i].state), 0);
        if (ends[_i].change == CHANGE_END) {
                ck_assert_int_eq(change.end, ends[_i].end);
                ck_assert_uint_eq(registry_n_nodes(registry), 0);
                ck_assert_ptr_null(find(registry, "a", "*"));
                ck_assert_ptr_null(registry_find_by_cookie(registry, HOLDER_COOKIE));
                ck_assert_ptr_eq(registry_oldest_former(registry), node);
        } else {
                ck_assert_int_eq(node->state, NODE_STOPPING);
                ck_assert_uint_eq(registry_n_in_state(registry, NODE_STOPPING), 1);
                ck_assert_ptr_eq(find(registry, "a", "*"), node);
        }
        registry_free(registry);
}
END_TEST

START_TEST(test_the_revision_grows_with_changes_and_only_with_them) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer("a");
        Node *node;

        ck_assert_uint_eq(registry_revision(registry), 0);
        node = must_register(registry, &event);
        ck_assert_uint_eq(registry_revision(registry), 1);
        ck_assert_int_eq(try_register(registry, &event), REFUSAL_NAME_TAKEN);
        ck_assert_uint_eq(registry_revision(registry), 1);
        registry_apply(registry, &(Change){ .kind = CHANGE_NONE });
        ck_assert_uint_eq(registry_revision(registry), 1);
        tell(registry, EVENT_CONNECTION_ENDED, node);
        ck_assert_uint_eq(registry_revision(registry), 2);
        registry_free(registry);
}
END_TEST

/* --- creations (P5) ----------------------------------------------------------------------------- */

/* Lets a name be registered and end; returns its creation. */
static uint32_t come_and_go(Registry *registry, const char *name, uint16_t highest_version) {
        Event event = newcomer(name);
        Node *node;
        uint32_t creation;

        event.info.highest_version = highest_version;
        node = must_register(registry, &event);
        creation = node->creation;
        tell(registry, EVENT_CONNECTION_ENDED, node);
        return creation;
}

START_TEST(test_a_32_bit_creation_is_never_given_twice) {
        enum { N = 100000 };
        uint8_t *seen = calloc(1, N);
        Registry *registry = make_registry(10, 10);

        must(seen);
        registry_advance_creation(registry, 1700000000);
        for (unsigned i = 0; i < N; i++) {
                uint32_t creation;

                if (registry_wants_creations(registry))
                        registry_reserve_creations(registry);
                creation = come_and_go(registry, i % 2 ? "a" : "b", 6);
                must(creation < registry_reserved_creation(registry));
                must(creation >= 1700000000);
                must(creation - 1700000000 < N);
                must(seen[creation - 1700000000]++ == 0);
        }
        registry_free(registry);
        free(seen);
}
END_TEST

START_TEST(test_creations_of_mixed_widths_are_not_given_twice_either) {
        Registry *registry = make_registry(10, 10);
        uint32_t last = 0;

        for (unsigned i = 0; i < 1000; i++) {
                uint32_t creation = come_and_go(registry, "a", i % 3 ? 6 : 5);

                if (i % 3 == 0) {
                        must(creation >= 1);
                        must(creation <= 3);
                        continue;
                }
                must(creation > last);
                last = creation;
        }
        registry_free(registry);
}
END_TEST

START_TEST(test_creations_begin_at_4_and_can_only_be_advanced) {
        Registry *registry = make_registry(10, 10);

        for (uint32_t first = 0; first <= CREATION_MIN; first++) {
                registry_advance_creation(registry, first);
                ck_assert_uint_eq(registry_next_creation(registry), CREATION_MIN);
        }
        registry_advance_creation(registry, 100);
        ck_assert_uint_eq(registry_next_creation(registry), 100);
        registry_advance_creation(registry, 99);
        ck_assert_uint_eq(registry_next_creation(registry), 100);
        ck_assert_uint_eq(come_and_go(registry, "a", 6), 100);
        ck_assert_uint_eq(registry_next_creation(registry), 101);
        registry_free(registry);
}
END_TEST

START_TEST(test_above_the_greatest_creation_they_begin_at_4_again) {
        static const uint32_t expected[] = { UINT32_MAX - 2, UINT32_MAX - 1, UINT32_MAX, 4, 5, 6 };
        Registry *registry = make_registry(10, 10);

        registry_advance_creation(registry, UINT32_MAX - 2);
        for (size_t i = 0; i < ELEMENTS(expected); i++)
                ck_assert_uint_eq(come_and_go(registry, "a", 6), expected[i]);
        registry_free(registry);
}
END_TEST

/* How many creations there are from `from` up to, not including, `to`. */
static uint64_t n_creations_between(uint32_t from, uint32_t to) {
        return to >= from ? to - from : UINT32_MAX - (uint64_t)from + 1 + to - CREATION_MIN;
}

static const uint32_t block_starts[] = {
        0, 1000, 1700000000, UINT32_MAX - 2000, UINT32_MAX - 1000, UINT32_MAX - 999, UINT32_MAX - 500,
        UINT32_MAX - 1, UINT32_MAX,
};

/* Half a block is always ahead of what is given, so that nobody waits for the disk to reserve. */
START_TEST(test_a_block_of_creations_is_wanted_when_half_of_the_last_is_used) {
        Registry *registry = make_registry(10, 10);
        unsigned n_reservations = 0;

        registry_advance_creation(registry, block_starts[_i]);
        ck_assert(registry_wants_creations(registry));
        for (unsigned i = 0; i < 3000; i++) {
                uint32_t next = registry_next_creation(registry), reserved;

                if (registry_wants_creations(registry)) {
                        reserved = registry_reserve_creations(registry);
                        must(reserved == registry_reserved_creation(registry));
                        must(n_creations_between(next, reserved) == CREATION_BLOCK);
                        must(reserved >= CREATION_MIN);
                        ck_assert(!registry_wants_creations(registry));
                        n_reservations++;
                }
                reserved = registry_reserved_creation(registry);
                must(n_creations_between(next, reserved) >= CREATION_BLOCK / 2);
                must(come_and_go(registry, "a", 6) == next);
        }
        /* one at first, then one each 501 registrations */
        must(n_reservations == 6);
        registry_free(registry);
}
END_TEST

/* Where the file could not be read in time, say. */
START_TEST(test_a_block_is_wanted_as_long_as_creations_are_given_that_were_not_reserved) {
        Registry *registry = make_registry(10, 10);

        registry_advance_creation(registry, 1000000);
        for (unsigned i = 0; i < 2000; i++) {
                ck_assert(registry_wants_creations(registry));
                come_and_go(registry, "a", 6);
        }
        ck_assert_uint_eq(registry_reserve_creations(registry), 1000000 + 2000 + CREATION_BLOCK);
        ck_assert(!registry_wants_creations(registry));
        registry_free(registry);
}
END_TEST

START_TEST(test_advancing_gives_up_what_was_reserved_below) {
        Registry *registry = make_registry(10, 10);

        registry_reserve_creations(registry);
        ck_assert(!registry_wants_creations(registry));
        registry_advance_creation(registry, 500000);
        ck_assert(registry_wants_creations(registry));
        ck_assert_uint_eq(registry_reserve_creations(registry), 500000 + CREATION_BLOCK);
        registry_free(registry);
}
END_TEST

/* Whatever else is registered in between, and thus wherever the counter stands. */
START_TEST(test_a_16_bit_creation_is_1_to_3_and_not_the_previous_one_of_its_name) {
        Registry *registry = make_registry(10, 10);
        unsigned seed = 16 + (unsigned)_i;
        uint32_t last = 0, n_seen[4] = { 0 };

        for (unsigned i = 0; i < 3000; i++) {
                uint32_t creation = come_and_go(registry, "old", (uint16_t)(rand_r(&seed) % 6));

                must(creation >= 1);
                must(creation <= 3);
                must(creation != last);
                n_seen[creation]++;
                last = creation;
                for (int n = rand_r(&seed) % 4; n > 0; n--)
                        come_and_go(registry, "other", rand_r(&seed) % 2 ? 6 : 5);
        }
        for (unsigned creation = 1; creation <= 3; creation++)
                must(n_seen[creation] > 100);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_16_bit_creation_differs_from_the_previous_one_across_a_restart) {
        for (uint32_t previous = 1; previous <= 3; previous++)
                for (uint32_t next = 4; next < 10; next++) {
                        Registry *registry = make_registry(10, 10);
                        uint32_t creation;

                        registry_advance_creation(registry, next);
                        restore_former(registry, "old", previous);
                        creation = come_and_go(registry, "old", 5);
                        ck_assert_uint_ne(creation, previous);
                        ck_assert_uint_ge(creation, 1);
                        ck_assert_uint_le(creation, 3);
                        registry_free(registry);
                }
}
END_TEST

/* An entry's node has not registered: it has no creation of its own, and its name's last one is not forgotten for it. */
START_TEST(test_a_16_bit_creation_differs_also_where_the_name_was_an_entrys_meanwhile) {
        static const char *const scopes[] = { "127.0.0.1", "127.0.0.2" };
        Registry *registry = make_registry(10, 10);
        unsigned seed = 61;
        uint32_t last = 0;

        for (unsigned i = 0; i < 300; i++) {
                Node *nodes[ELEMENTS(scopes)];
                uint32_t creation;

                for (size_t k = 0; k < ELEMENTS(scopes); k++) {
                        Event event = static_event("old", scopes[k], 10 + k);

                        nodes[k] = must_register(registry, &event);
                }
                if (i % 3 > 0)
                        for (size_t k = 0; k < ELEMENTS(scopes); k++)
                                tell(registry, EVENT_LISTENER_GONE, nodes[(i + k) % ELEMENTS(scopes)]);
                else
                        tell(registry, EVENT_LISTENER_GONE, nodes[1]);
                for (int n = rand_r(&seed) % 4; n > 0; n--)
                        come_and_go(registry, "other", 5);
                if (i % 3 == 0) {
                        /* It registers by itself, with its entry's listener. */
                        Event event = newcomer_at("old", "127.0.0.1", 10);
                        Node *node;

                        event.info.highest_version = 5;
                        node = must_register(registry, &event);
                        creation = node->creation;
                        tell(registry, EVENT_CONNECTION_ENDED, node);
                } else
                        creation = come_and_go(registry, "old", 5);
                must(creation >= 1);
                must(creation <= 3);
                must(creation != last);
                last = creation;
        }
        registry_free(registry);
}
END_TEST

/* The row of an entry's node takes the place of what the name was before, or ends in it. */
START_TEST(test_a_static_row_keeps_the_last_creation_of_its_name) {
        for (int is_over = 0; is_over < 2; is_over++)
                for (uint32_t next = 4; next < 10; next++) {
                        Registry *registry = make_registry(10, 10);
                        Node *row = former_node("old", 0, 2);

                        registry_advance_creation(registry, next);
                        restore_former(registry, "old", 2);
                        row->facts.origin = NODE_ORIGIN_STATIC;
                        if (is_over) {
                                row->until_usec = 99;
                                ck_assert_int_eq(registry_restore_former(registry, &row), 0);
                        } else {
                                Node *node = row;

                                restore(registry, row);
                                tell(registry, EVENT_LISTENER_GONE, node);
                        }
                        ck_assert_uint_eq(registry_find_former(registry, "old", 3)->creation, 0);
                        ck_assert_uint_ne(come_and_go(registry, "old", 5), 2);
                        registry_free(registry);
                }
}
END_TEST

START_TEST(test_a_16_bit_creation_differs_from_that_of_the_holder_it_replaces) {
        for (uint32_t previous = 1; previous <= 3; previous++)
                for (uint32_t next = 4; next < 10; next++) {
                        Registry *registry = make_registry(10, 10);
                        Node *awaited = former_node("old", previous, 1);

                        awaited->await_until_usec = 99;
                        registry_advance_creation(registry, next);
                        restore(registry, awaited);
                        ck_assert_uint_ne(come_and_go(registry, "old", 5), previous);
                        registry_free(registry);
                }
}
END_TEST

START_TEST(test_the_width_of_a_creation_is_decided_by_the_highest_version_alone) {
        Registry *registry = make_registry(10, 10);

        registry_advance_creation(registry, 1000);
        ck_assert_uint_le(come_and_go(registry, "a", 0), 3);
        ck_assert_uint_le(come_and_go(registry, "a", 5), 3);
        ck_assert_uint_ge(come_and_go(registry, "a", 6), 1000);
        ck_assert_uint_ge(come_and_go(registry, "a", 7), 1000);
        ck_assert_uint_ge(come_and_go(registry, "a", 65535), 1000);
        registry_free(registry);
}
END_TEST

/* --- limits (P6) -------------------------------------------------------------------------------- */

START_TEST(test_one_user_cannot_take_more_than_his_share) {
        Registry *registry = make_registry(10, 2);
        Event a = newcomer("a"), b = newcomer("b"), c = newcomer("c");
        Node *node;

        a.peer.uid = b.peer.uid = c.peer.uid = UID_A;
        node = must_register(registry, &a);
        must_register(registry, &b);
        ck_assert_int_eq(try_register(registry, &c), REFUSAL_UID_LIMIT);
        c.peer.uid = UID_B;
        must_register(registry, &c);
        tell(registry, EVENT_CONNECTION_ENDED, node);
        must_register(registry, &a);
        registry_free(registry);
}
END_TEST

START_TEST(test_users_that_are_not_known_count_as_one) {
        Registry *registry = make_registry(9, 2);
        Event a = newcomer("a"), b = newcomer("b"), c = newcomer("c"), d = newcomer("d");

        must_register(registry, &a);
        must_register(registry, &b);
        ck_assert_int_eq(try_register(registry, &c), REFUSAL_UID_LIMIT);
        d.peer.uid = UID_A;
        must_register(registry, &d);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_taken_name_is_told_before_a_limit) {
        Registry *registry = make_registry(1, 1);
        Event a = newcomer("a");

        a.peer.uid = UID_A;
        must_register(registry, &a);
        ck_assert_int_eq(try_register(registry, &a), REFUSAL_NAME_TAKEN);
        registry_free(registry);
}
END_TEST

/* Whoever is replaced makes room, for the same user and in all. */
START_TEST(test_a_replaced_holder_does_not_count_against_its_successor) {
        Registry *registry = make_registry(2, 2);
        Event a = newcomer_at("a", "*", 5), b = newcomer("b");
        Node *node;

        a.peer.uid = b.peer.uid = UID_A;
        node = must_register(registry, &a);
        must_register(registry, &b);
        tell(registry, EVENT_LISTENER_GONE, node);
        a.listener.cookie = 6;
        must_register(registry, &a);
        ck_assert_uint_eq(registry_n_nodes(registry), 2);

        /* another user in its place counts for that one */
        tell(registry, EVENT_LISTENER_GONE, find(registry, "a", "*"));
        a.listener.cookie = 7;
        a.peer.uid = UID_B;
        must_register(registry, &a);
        a = newcomer("c");
        a.peer.uid = UID_A;
        ck_assert_int_eq(try_register(registry, &a), REFUSAL_NODES_LIMIT);
        registry_free(registry);
}
END_TEST

/* P4: `*` replaces several; that one of them is of the same user must count whichever comes first. */
START_TEST(test_all_replaced_holders_count_not_only_the_first) {
        static const uid_t orders[][2] = { { UID_A, UID_B }, { UID_B, UID_A } };
        Registry *registry = make_registry(2, 1);
        Event first = newcomer_at("a", "127.0.0.1", 5), second = newcomer_at("a", "127.0.0.2", 6);
        Event everywhere = newcomer_at("a", "*", 7);

        first.peer.uid = orders[_i][0];
        second.peer.uid = orders[_i][1];
        everywhere.peer.uid = UID_A;
        tell(registry, EVENT_LISTENER_GONE, must_register(registry, &first));
        tell(registry, EVENT_LISTENER_GONE, must_register(registry, &second));
        ck_assert_int_eq(try_register(registry, &everywhere), REFUSAL_NONE);
        ck_assert_uint_eq(registry_n_nodes(registry), 1);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_limit_refuses_before_anybody_is_replaced) {
        Registry *registry = make_registry(10, 1);
        Event a = newcomer_at("a", "*", 5), b = newcomer("b");
        Node *node;

        a.peer.uid = UID_B;
        b.peer.uid = UID_A;
        node = must_register(registry, &a);
        must_register(registry, &b);
        tell(registry, EVENT_LISTENER_GONE, node);
        a.peer.uid = UID_A;
        a.listener.cookie = 6;
        ck_assert_int_eq(try_register(registry, &a), REFUSAL_UID_LIMIT);
        ck_assert_ptr_eq(find(registry, "a", "*"), node);
        registry_free(registry);
}
END_TEST

/* The node counts for whoever it returned as. */
START_TEST(test_a_return_moves_the_count_to_the_user_who_returned) {
        Registry *registry = make_registry(10, 1);
        Event event = newcomer_at("a", "*", HOLDER_COOKIE), other = newcomer("b");

        make_holder(registry, NODE_AWAITED, HOLDER_COOKIE, true); /* of UID_A */
        event.peer.uid = UID_B;
        ck_assert_int_eq(try_register(registry, &event), REFUSAL_NONE);
        other.peer.uid = UID_B;
        ck_assert_int_eq(try_register(registry, &other), REFUSAL_UID_LIMIT);
        other.peer.uid = UID_A;
        ck_assert_int_eq(try_register(registry, &other), REFUSAL_NONE);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_node_may_return_whatever_the_limits_say) {
        Registry *registry = make_registry(0, 0);
        Event event = newcomer_at("a", "*", HOLDER_COOKIE);

        make_holder(registry, NODE_AWAITED, HOLDER_COOKIE, true);
        event.peer.uid = UID_A;
        ck_assert_int_eq(try_register(registry, &event), REFUSAL_NONE);
        registry_free(registry);
}
END_TEST

START_TEST(test_the_counts_of_many_users_are_kept_apart) {
        enum { N_USERS = 200 };
        Registry *registry = make_registry(10000, 3);

        for (unsigned round = 0; round < 2; round++) {
                char name[32];
                Event event;

                for (unsigned user = 0; user < N_USERS; user++)
                        for (unsigned i = 0; i < 4; i++) {
                                snprintf(name, sizeof name, "n%u-%u", user, i);
                                event = newcomer(name);
                                event.peer.uid = 5000 + user;
                                ck_assert_int_eq(try_register(registry, &event),
                                                 i < 3 ? REFUSAL_NONE : REFUSAL_UID_LIMIT);
                        }
                must(registry_n_nodes(registry) == N_USERS * 3);
                for (unsigned user = 0; user < N_USERS; user++)
                        for (unsigned i = 0; i < 3; i++) {
                                snprintf(name, sizeof name, "n%u-%u", user, i);
                                tell(registry, EVENT_CONNECTION_ENDED, find(registry, name, "*"));
                        }
        }
        must(registry_n_nodes(registry) == 0);
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

START_TEST(test_a_lookup_means_the_exact_scope_else_everywhere_else_the_oldest) {
        Registry *registry = make_registry(10, 10);
        Event second = newcomer_at("a", "127.0.0.2", 2), first = newcomer_at("a", "127.0.0.1", 1);
        Event ipv6 = newcomer_at("a", "::1", 3), everywhere = newcomer_at("b", "*", 4);
        Node *oldest = must_register(registry, &second), *middle = must_register(registry, &first),
             *newest = must_register(registry, &ipv6), *b = must_register(registry, &everywhere);

        ck_assert_ptr_eq(find(registry, "a", "127.0.0.1"), middle);
        ck_assert_ptr_eq(find(registry, "a", "127.0.0.2"), oldest);
        ck_assert_ptr_eq(find(registry, "a", "::1"), newest);
        ck_assert_ptr_eq(find(registry, "a", "10.0.0.1"), oldest);
        ck_assert_ptr_eq(find(registry, "a", "*"), oldest);
        ck_assert_ptr_eq(find(registry, "b", "127.0.0.1"), b);
        ck_assert_ptr_eq(find(registry, "b", "*"), b);
        ck_assert_ptr_null(find(registry, "c", "127.0.0.1"));
        ck_assert_ptr_null(find(registry, "", "127.0.0.1"));
        ck_assert_ptr_null(find(registry, "aa", "127.0.0.1"));

        tell(registry, EVENT_CONNECTION_ENDED, oldest);
        ck_assert_ptr_eq(find(registry, "a", "127.0.0.2"), middle);
        registry_free(registry);
}
END_TEST

START_TEST(test_who_has_a_name_alone_is_found_on_any_address) {
        Registry *registry = make_registry(10, 10);
        Event one = newcomer_at("a", "127.0.0.1", 1), two = newcomer_at("a", "127.0.0.2", 2),
              other = newcomer_at("b", "127.0.0.2", 3);
        Node *first = must_register(registry, &one), *second = must_register(registry, &two),
             *b = must_register(registry, &other);
        bool is_sole = true;

        ck_assert_ptr_null(registry_find_sole(registry, "a", 1, &is_sole));
        ck_assert(!is_sole);
        ck_assert_ptr_eq(registry_find_sole(registry, "b", 1, &is_sole), b);
        ck_assert(is_sole);
        tell(registry, EVENT_CONNECTION_ENDED, first);
        ck_assert_ptr_eq(registry_find_sole(registry, "a", 1, &is_sole), second);
        ck_assert(is_sole);
        is_sole = false;
        ck_assert_ptr_null(registry_find_sole(registry, "ab", 2, &is_sole));
        ck_assert(is_sole);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_name_that_begins_another_is_not_that_one) {
        Registry *registry = make_registry(10, 10);
        Event a = newcomer("a"), ab = newcomer("ab");
        Node *node_a = must_register(registry, &a), *node_ab = must_register(registry, &ab);

        ck_assert_ptr_eq(find(registry, "a", "*"), node_a);
        ck_assert_ptr_eq(find(registry, "ab", "*"), node_ab);
        ck_assert_ptr_eq(registry_find(registry, "abc", 2, &ADDRESS_ANY), node_ab);
        ck_assert_ptr_null(registry_find(registry, "a\0", 2, &ADDRESS_ANY));
        registry_free(registry);
}
END_TEST

/* --- listeners shared by several names ---------------------------------------------------------- */

START_TEST(test_nodes_that_share_a_listener_are_found_oldest_first) {
        Registry *registry = make_registry(10, 10);
        Event z = newcomer_at("z", "*", 9), a = newcomer_at("a", "*", 9), m = newcomer_at("m", "*", 9);
        Event other = newcomer_at("o", "*", 10), none = newcomer("n");
        Node *first = must_register(registry, &z), *second = must_register(registry, &a);
        Node *third;

        must_register(registry, &other);
        must_register(registry, &none);
        third = must_register(registry, &m);
        ck_assert_ptr_eq(registry_find_by_cookie(registry, 9), first);
        ck_assert_ptr_eq(registry_next_by_cookie(registry, first), second);
        ck_assert_ptr_eq(registry_next_by_cookie(registry, second), third);
        ck_assert_ptr_null(registry_next_by_cookie(registry, third));
        ck_assert_ptr_null(registry_find_by_cookie(registry, 8));
        ck_assert_ptr_null(registry_find_by_cookie(registry, 11));

        tell(registry, EVENT_CONNECTION_ENDED, second);
        ck_assert_ptr_eq(registry_next_by_cookie(registry, first), third);
        tell(registry, EVENT_CONNECTION_ENDED, first);
        ck_assert_ptr_eq(registry_find_by_cookie(registry, 9), third);
        tell(registry, EVENT_CONNECTION_ENDED, third);
        ck_assert_ptr_null(registry_find_by_cookie(registry, 9));
        registry_free(registry);
}
END_TEST

/* A file that is read late brings serials that have meanwhile been given again. */
START_TEST(test_nodes_that_share_a_listener_and_a_serial_are_told_apart) {
        Registry *registry = make_registry(10, 10);
        Node *a = former_node("a", 5, 1), *b = former_node("b", 6, 1);

        a->listener.cookie = b->listener.cookie = 9;
        a->await_until_usec = b->await_until_usec = USEC_INFINITE;
        restore(registry, a);
        restore(registry, b);
        tell(registry, EVENT_LISTENER_GONE, a);
        ck_assert_ptr_eq(registry_find_by_cookie(registry, 9), b);
        tell(registry, EVENT_LISTENER_GONE, b);
        ck_assert_ptr_null(registry_find_by_cookie(registry, 9));
        registry_free(registry);
}
END_TEST

/* --- start -------------------------------------------------------------------------------------- */

START_TEST(test_a_restored_node_is_what_its_facts_say) {
        bool is_awaited = _i == 0;
        Registry *registry = make_registry(10, 10);
        Node *node = former_node("a", 5, 77), *found;

        node->connection = is_awaited ? NULL : connections;
        node->connection_fd = is_awaited ? -1 : 9;
        node->peer.uid = UID_A;
        node->await_until_usec = 123;
        node_set_facts(node, &(NodeFacts){ .is_awaited = is_awaited }, 500);
        ck_assert_int_eq(registry_restore(registry, &node), 0);
        found = find(registry, "a", "*");
        ck_assert_int_eq(found->state, is_awaited ? NODE_AWAITED : NODE_UP);
        ck_assert_ptr_eq(found->connection, is_awaited ? NULL : connections);
        ck_assert_int_eq(found->connection_fd, is_awaited ? -1 : 9);
        ck_assert_uint_eq(found->creation, 5);
        ck_assert_uint_eq(found->since_usec, 500);
        ck_assert_uint_eq(found->serial, 77);
        ck_assert_uint_eq(found->await_until_usec, 123);
        ck_assert_uint_eq(registry_n_in_state(registry, NODE_AWAITED), is_awaited);
        ck_assert_uint_eq(registry_n_awaited(registry), is_awaited);
        ck_assert_uint_eq(registry_n_in_state(registry, NODE_UP), !is_awaited);
        registry_free(registry);
}
END_TEST

START_TEST(test_newcomers_come_after_all_that_were_restored) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer("c");

        restore(registry, former_node("a", 5, 77));
        restore(registry, former_node("b", 6, 76));
        ck_assert_uint_eq(registry_revision(registry), 2);
        ck_assert_uint_eq(must_register(registry, &event)->serial, 78);
        event = newcomer("d");
        ck_assert_uint_eq(must_register(registry, &event)->serial, 79);
        registry_free(registry);
}
END_TEST

START_TEST(test_serials_go_on_behind_the_highest_that_was_ever_given) {
        Registry *registry = make_registry(10, 10);
        Event a = newcomer("a"), b = newcomer("b");

        registry_advance_serial(registry, 500);
        ck_assert_uint_eq(must_register(registry, &a)->serial, 501);
        registry_advance_serial(registry, 400);
        ck_assert_uint_eq(must_register(registry, &b)->serial, 502);
        registry_free(registry);
}
END_TEST

static const struct {
        const char *there, *restored;
        int result;
} restores[] = {
        { "*", "*", -EEXIST },
        { "*", "127.0.0.1", -EEXIST },
        { "127.0.0.1", "*", -EEXIST },
        { "127.0.0.1", "127.0.0.1", -EEXIST },
        { "127.0.0.1", "127.0.0.2", 0 },
};

START_TEST(test_a_name_that_is_taken_is_not_restored_and_stays_the_callers) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer_at("a", restores[_i].there, 5);
        Node *node = former_node("a", 5, 77);

        node->scope = make_address(restores[_i].restored);
        must_register(registry, &event);
        ck_assert_int_eq(registry_restore(registry, &node), restores[_i].result);
        ck_assert_int_eq(node == NULL, restores[_i].result == 0);
        ck_assert_uint_eq(registry_n_nodes(registry), restores[_i].result == 0 ? 2 : 1);
        node_free(node);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_former_that_is_known_or_registered_is_not_restored_and_stays_the_callers) {
        Registry *registry = make_registry(10, 10);
        Event event = newcomer_at("a", "127.0.0.1", 5);
        Node *node = former_node("a", 5, 77), *other = former_node("b", 5, 78);

        must_register(registry, &event);
        restore_former(registry, "b", 2);
        ck_assert_int_eq(registry_restore_former(registry, &node), -EEXIST);
        ck_assert_int_eq(registry_restore_former(registry, &other), -EEXIST);
        ck_assert_ptr_nonnull(node);
        ck_assert_ptr_nonnull(other);
        node_free(node);
        node_free(other);
        registry_free(registry);
}
END_TEST

/* --- formers, and the order of DUMP --------------------------------------------------------------- */

static void assert_order(const Registry *registry, const char *nodes, const char *formers) {
        char text[256] = "";

        for (Node *node = registry_newest(registry); node; node = node->older)
                strcat(strcat(text, node->info.name), " ");
        ck_assert_str_eq(text, nodes);
        text[0] = 0;
        for (Node *node = registry_oldest_former(registry); node; node = node->newer)
                strcat(strcat(text, node->info.name), " ");
        ck_assert_str_eq(text, formers);
}

START_TEST(test_nodes_are_listed_newest_first_and_formers_oldest_first) {
        Registry *registry = make_registry(10, 10);
        Event a = newcomer("a"), b = newcomer("b"), c = newcomer("c"), d = newcomer("d");

        assert_order(registry, "", "");
        must_register(registry, &a);
        must_register(registry, &b);
        must_register(registry, &c);
        must_register(registry, &d);
        assert_order(registry, "d c b a ", "");
        tell(registry, EVENT_CONNECTION_ENDED, find(registry, "c", "*"));
        assert_order(registry, "d b a ", "c ");
        tell(registry, EVENT_CONNECTION_ENDED, find(registry, "a", "*"));
        assert_order(registry, "d b ", "c a ");
        tell(registry, EVENT_CONNECTION_ENDED, find(registry, "d", "*"));
        assert_order(registry, "b ", "c a d ");
        /* a name that returns is no former any more */
        must_register(registry, &a);
        assert_order(registry, "a b ", "c d ");
        tell(registry, EVENT_CONNECTION_ENDED, find(registry, "a", "*"));
        assert_order(registry, "b ", "c d a ");
        must_register(registry, &c);
        must_register(registry, &d);
        must_register(registry, &a);
        assert_order(registry, "a d c b ", "");
        registry_free(registry);
}
END_TEST

START_TEST(test_one_of_two_scopes_that_ends_is_a_former_until_the_name_comes_again) {
        Registry *registry = make_registry(10, 10);
        Event first = newcomer_at("a", "127.0.0.1", 5), second = newcomer_at("a", "127.0.0.2", 6);
        Node *node = must_register(registry, &first), *other = must_register(registry, &second);

        tell(registry, EVENT_CONNECTION_ENDED, node);
        assert_order(registry, "a ", "a ");
        tell(registry, EVENT_CONNECTION_ENDED, other);
        assert_order(registry, "", "a ");
        must_register(registry, &second);
        assert_order(registry, "a ", "");
        registry_free(registry);
}
END_TEST

static size_t n_formers(const Registry *registry) {
        size_t n = 0;

        for (Node *node = registry_oldest_former(registry); node; node = node->newer)
                n++;
        return n;
}

START_TEST(test_beyond_1000_formers_the_oldest_is_forgotten) {
        Registry *registry = make_registry(10, 10);
        char name[32];

        for (unsigned i = 0; i < 2500; i++) {
                snprintf(name, sizeof name, "n%u", i);
                come_and_go(registry, name, 6);
                must(n_formers(registry) <= REGISTRY_FORMERS_MAX);
        }
        must(n_formers(registry) == REGISTRY_FORMERS_MAX);
        ck_assert_str_eq(registry_oldest_former(registry)->info.name, "n1500");
        registry_free(registry);
}
END_TEST

START_TEST(test_the_16_bit_creation_of_a_name_is_not_crowded_out_by_helpers) {
        Registry *registry = make_registry(10, 10);
        uint32_t creation = come_and_go(registry, "old", 5);
        char name[32];

        for (unsigned i = 0; i < 2000; i++) {
                snprintf(name, sizeof name, "rabbitmqcli-%u-rabbit", i);
                come_and_go(registry, name, 6);
        }
        ck_assert_uint_eq(n_formers(registry), REGISTRY_FORMERS_MAX);
        ck_assert_str_eq(registry_oldest_former(registry)->info.name, "old");
        ck_assert_uint_ne(come_and_go(registry, "old", 5), creation);
        registry_free(registry);
}
END_TEST

/* When all are small, the oldest goes; the change's node is good until the next one all the same. */
START_TEST(test_a_node_that_ended_is_a_former_whatever_the_others_are) {
        Registry *registry = make_registry(10, 10);
        char name[32];

        for (unsigned i = 0; i < REGISTRY_FORMERS_MAX + 50; i++) {
                snprintf(name, sizeof name, "old%u", i);
                come_and_go(registry, name, 5);
        }
        ck_assert_uint_eq(n_formers(registry), REGISTRY_FORMERS_MAX);
        ck_assert_str_eq(registry_oldest_former(registry)->info.name, "old50");
        for (unsigned i = 0; i < 3; i++) {
                Event event = newcomer("new");
                Node *node = must_register(registry, &event), *last = NULL;

                tell(registry, EVENT_CONNECTION_ENDED, node);
                ck_assert_str_eq(node->info.name, "new");
                for (Node *former = registry_oldest_former(registry); former; former = former->newer)
                        last = former;
                ck_assert_ptr_eq(last, node);
        }
        registry_free(registry);
}
END_TEST

START_TEST(test_restored_formers_are_bounded_too) {
        Registry *registry = make_registry(10, 10);
        char name[32];

        for (unsigned i = 0; i < REGISTRY_FORMERS_MAX + 10; i++) {
                snprintf(name, sizeof name, "n%u", i);
                restore_former(registry, name, 100);
        }
        ck_assert_uint_eq(n_formers(registry), REGISTRY_FORMERS_MAX);
        ck_assert_str_eq(registry_oldest_former(registry)->info.name, "n10");
        registry_free(registry);
}
END_TEST

START_TEST(test_a_name_that_is_restored_is_no_former) {
        Registry *registry = make_registry(10, 10);

        restore_former(registry, "a", 2);
        restore(registry, former_node("a", 5, 1));
        ck_assert_ptr_null(registry_oldest_former(registry));
        registry_free(registry);
}
END_TEST

START_TEST(test_every_refusal_has_a_word_of_its_own) {
        for (Refusal a = 0; a < _REFUSAL_N; a++) {
                ck_assert_ptr_nonnull(refusal_to_string(a));
                for (Refusal b = 0; b < a; b++)
                        ck_assert_str_ne(refusal_to_string(a), refusal_to_string(b));
        }
        ck_assert_str_eq(refusal_to_string(REFUSAL_NAME_TAKEN), "name-taken");
        ck_assert_str_eq(refusal_to_string(REFUSAL_UID_LIMIT), "uid-limit");
}
END_TEST

START_TEST(test_nothing_can_be_freed) {
        ck_assert_ptr_null(registry_free(NULL));
}
END_TEST

/* --- against a model -------------------------------------------------------------------------------- */

/* The rules once more, as an array and nothing else. Names are letters; listener N is bound to scope N % 4, of
 * which 0 is `*`. */
#define MODEL_NAMES 6
#define MODEL_SCOPES 4
#define MODEL_USERS 3
#define MODEL_LISTENERS 40
#define MODEL_NODES_MAX 14
#define MODEL_PER_USER_MAX 6

typedef struct ModelNode {
        int name, scope, user;
        uint64_t cookie;
        uint16_t version;
        NodeState state;
        bool without_limit;
        uint32_t creation;
        Node *node; /* the registry's */
} ModelNode;

typedef struct Model {
        ModelNode nodes[64]; /* oldest first */
        int n_nodes;
        ModelNode formers[64]; /* oldest first */
        int n_formers;
        uint32_t last_creation; /* the last 32-bit one */
} Model;

static const char *const model_scopes[MODEL_SCOPES] = { "*", "127.0.0.1", "127.0.0.2", "::1" };

static void model_forget_former(Model *model, int name) {
        for (int i = 0; i < model->n_formers; i++)
                if (model->formers[i].name == name) {
                        memmove(model->formers + i, model->formers + i + 1,
                                (size_t)(--model->n_formers - i) * sizeof *model->formers);
                        i--;
                }
}

static void model_end(Model *model, int i) {
        ModelNode node = model->nodes[i];

        memmove(model->nodes + i, model->nodes + i + 1, (size_t)(--model->n_nodes - i) * sizeof *model->nodes);
        model_forget_former(model, node.name);
        model->formers[model->n_formers++] = node;
}

static bool model_conflicts(const ModelNode *a, const ModelNode *b) {
        return a->name == b->name && (a->scope == 0 || b->scope == 0 || a->scope == b->scope);
}

static bool model_yields(const ModelNode *holder, const ModelNode *newcomer_) {
        if (holder->state == NODE_STOPPING)
                return true;
        return holder->state == NODE_AWAITED &&
               (!holder->without_limit || (newcomer_->cookie && newcomer_->cookie == holder->cookie));
}

static bool model_is_return(const ModelNode *holder, const ModelNode *newcomer_) {
        return holder->state == NODE_AWAITED && holder->cookie && holder->cookie == newcomer_->cookie &&
               holder->version == newcomer_->version;
}

/* What must follow; carries it out, but for the creation of a new node. */
static Refusal model_register(Model *model, const ModelNode *newcomer_, bool *ret_returned) {
        int n_nodes = model->n_nodes, n_of_user = 0;

        *ret_returned = false;
        for (int i = 0; i < model->n_nodes; i++) {
                ModelNode *holder = model->nodes + i;

                n_of_user += holder->user == newcomer_->user;
                if (!model_conflicts(holder, newcomer_))
                        continue;
                if (model_is_return(holder, newcomer_)) {
                        holder->state = NODE_UP;
                        holder->user = newcomer_->user;
                        *ret_returned = true;
                        return REFUSAL_NONE;
                }
                if (!model_yields(holder, newcomer_))
                        return REFUSAL_NAME_TAKEN;
                n_nodes--;
                n_of_user -= holder->user == newcomer_->user;
        }
        if (n_nodes >= MODEL_NODES_MAX)
                return REFUSAL_NODES_LIMIT;
        if (n_of_user >= MODEL_PER_USER_MAX)
                return REFUSAL_UID_LIMIT;
        for (int i = 0; i < model->n_nodes; i++)
                if (model_conflicts(model->nodes + i, newcomer_))
                        model_end(model, i--);
        model->nodes[model->n_nodes++] = *newcomer_;
        return REFUSAL_NONE;
}

static const ModelNode *model_find(const Model *model, int name, int local) {
        const ModelNode *found = NULL;

        for (int i = 0; i < model->n_nodes; i++) {
                const ModelNode *node = model->nodes + i;

                if (node->name != name)
                        continue;
                if (node->scope == 0 || node->scope == local)
                        return node;
                if (!found)
                        found = node;
        }
        return found;
}

static uid_t model_uid(int user) {
        return user ? (uid_t)(1000 + user) : NODE_UID_UNKNOWN;
}

static void model_check_creation(Model *model, const ModelNode *newcomer_, uint32_t creation,
                                 const ModelNode *former) {
        if (newcomer_->version >= NODE_VERSION_CREATION_32) {
                must(creation > model->last_creation);
                model->last_creation = creation;
        } else {
                must(creation >= 1);
                must(creation <= 3);
                if (former)
                        must(creation != former->creation);
        }
}

static void step_register(Model *model, Registry *registry, unsigned *seed) {
        uint64_t cookie = (uint64_t)rand_r(seed) % MODEL_LISTENERS;
        ModelNode node = {
                .name = rand_r(seed) % MODEL_NAMES,
                .scope = (int)(cookie % MODEL_SCOPES),
                .user = rand_r(seed) % MODEL_USERS,
                .cookie = cookie,
                .version = rand_r(seed) % 2 ? 6 : 5,
        };
        char name[2] = { (char)('a' + node.name), 0 };
        Event event = newcomer_at(name, model_scopes[node.scope], cookie);
        ModelNode former = { 0 };
        bool has_former = false, returned;
        int n_replaced = 0;
        Refusal expected;
        Reply reply;

        event.peer.uid = model_uid(node.user);
        event.info.highest_version = node.version;
        for (int i = 0; i < model->n_formers; i++)
                if (model->formers[i].name == node.name) {
                        former = model->formers[i];
                        has_former = true;
                }
        /* A holder that is replaced is the former by the time the newcomer is given its creation; of several
         * it is the last one, which the model does not order. */
        for (int i = 0; i < model->n_nodes; i++)
                if (model_conflicts(model->nodes + i, &node)) {
                        former = model->nodes[i];
                        has_former = ++n_replaced == 1;
                }
        expected = model_register(model, &node, &returned);
        carry(registry, &event, &reply);
        must(reply.refusal == expected);
        if (expected != REFUSAL_NONE)
                return;
        if (returned) {
                must(reply.creation == reply.node->creation);
                return;
        }
        model_check_creation(model, &node, reply.creation, has_former ? &former : NULL);
        model_forget_former(model, node.name);
        model->nodes[model->n_nodes - 1].creation = reply.creation;
        model->nodes[model->n_nodes - 1].node = reply.node;
}

static void step_event(Model *model, Registry *registry, unsigned *seed) {
        static const EventKind kinds[] = { EVENT_CONNECTION_ENDED, EVENT_LISTENER_GONE, EVENT_LISTENER_GONE,
                                           EVENT_AWAIT_EXPIRED, EVENT_STOP };
        EventKind kind = kinds[(size_t)rand_r(seed) % ELEMENTS(kinds)];
        int i;
        ModelNode *node;

        if (model->n_nodes == 0)
                return;
        i = rand_r(seed) % model->n_nodes;
        node = model->nodes + i;
        if (kind == EVENT_CONNECTION_ENDED && node->state == NODE_AWAITED)
                return; /* it has none */
        tell(registry, kind, node->node);
        switch (kind) {
        case EVENT_REGISTER:
                break;
        case EVENT_CONNECTION_ENDED:
        case EVENT_STOP:
                model_end(model, i);
                break;
        case EVENT_LISTENER_GONE:
                if (node->state == NODE_UP)
                        node->state = NODE_STOPPING;
                else if (node->state == NODE_AWAITED)
                        model_end(model, i);
                break;
        case EVENT_AWAIT_EXPIRED:
                if (node->state == NODE_AWAITED)
                        model_end(model, i);
                break;
        case EVENT_CONNECTION_LOST:
        case EVENT_CONNECTION_FOUND:
        case EVENT_UNIT:
        case EVENT_ANNOUNCED:
        case EVENT_RELEASE:
        case EVENT_STATIC:
        case EVENT_ENTRY_REMOVED:
        case EVENT_PINNED:
                break;
        }
}

/* The daemon is ended and started: what is copied out is restored, as the vigil does. */
static void step_restart(Model *model, Registry **registry) {
        Registry *next = make_registry(MODEL_NODES_MAX, MODEL_PER_USER_MAX);

        registry_advance_creation(next, registry_next_creation(*registry));
        for (int i = 0; i < model->n_formers; i++) {
                Node *copy = node_copy(model->formers[i].node);

                must(copy);
                must(registry_restore_former(next, &copy) == 0);
        }
        for (int i = 0; i < model->n_nodes; i++) {
                ModelNode *node = model->nodes + i;
                Node *copy = node_copy(node->node);

                must(copy);
                node->state = NODE_AWAITED;
                node->without_limit = node->cookie % 3 != 0;
                copy->await_until_usec = node->without_limit ? USEC_INFINITE : 12345;
                node->node = copy;
                restore(next, copy);
                model_forget_former(model, node->name);
        }
        registry_free(*registry);
        *registry = next;
        for (Node *former = registry_oldest_former(next); former; former = former->newer)
                for (int i = 0; i < model->n_formers; i++)
                        if (model->formers[i].name == former->info.name[0] - 'a')
                                model->formers[i].node = former;
}

static void assert_same(const Model *model, const Registry *registry) {
        size_t n_in_state[_NODE_STATE_N] = { 0 };
        Node *node = registry_newest(registry), *former = registry_oldest_former(registry);

        must(registry_n_nodes(registry) == (size_t)model->n_nodes);
        for (int i = model->n_nodes - 1; i >= 0; i--, node = node->older) {
                must(node == model->nodes[i].node);
                must(node->state == model->nodes[i].state);
                must(node->creation == model->nodes[i].creation);
                must(node->peer.uid == model_uid(model->nodes[i].user));
                n_in_state[node->state]++;
        }
        must(!node);
        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                must(registry_n_in_state(registry, state) == n_in_state[state]);
        for (int i = 0; i < model->n_formers; i++, former = former->newer)
                must(former == model->formers[i].node);
        must(!former);

        for (int name = 0; name < MODEL_NAMES; name++)
                for (int local = 1; local < MODEL_SCOPES; local++) {
                        const ModelNode *expected = model_find(model, name, local);
                        char text[2] = { (char)('a' + name), 0 };

                        must(find(registry, text, model_scopes[local]) == (expected ? expected->node : NULL));
                }
        for (uint64_t cookie = 1; cookie < MODEL_LISTENERS; cookie++) {
                Node *found = registry_find_by_cookie(registry, cookie);

                for (int i = 0; i < model->n_nodes; i++) {
                        if (model->nodes[i].cookie != cookie)
                                continue;
                        must(found == model->nodes[i].node);
                        found = registry_next_by_cookie(registry, found);
                }
                must(!found);
        }
}

START_TEST(test_random_events_lead_where_a_model_of_the_rules_says) {
        Registry *registry = make_registry(MODEL_NODES_MAX, MODEL_PER_USER_MAX);
        Model *model = calloc(1, sizeof *model);
        unsigned seed = 1 + (unsigned)_i;

        must(model);
        for (unsigned step = 0; step < 5000; step++) {
                int dice = rand_r(&seed) % 100;

                if (dice < 55)
                        step_register(model, registry, &seed);
                else if (dice < 99)
                        step_event(model, registry, &seed);
                else
                        step_restart(model, &registry);
                assert_same(model, registry);
        }
        registry_free(registry);
        free(model);
}
END_TEST

/* --- */

static void add_rules(Suite *suite) {
        TCase *tcase = tcase_create("registrations");

        tcase_add_test(tcase, test_a_registration_keeps_all_that_is_known_of_the_node);
        tcase_add_loop_test(tcase, test_what_a_node_may_not_say_is_refused_and_changes_nothing, 0, ELEMENTS(infos));
        tcase_add_test(tcase, test_a_name_of_256_characters_is_refused);
        tcase_add_test(tcase, test_a_static_node_is_there_by_its_listener_and_ends_with_it);
        tcase_add_loop_test(tcase, test_a_static_node_meets_others_of_its_name, 0, ELEMENTS(meetings));
        tcase_add_test(tcase, test_limits_neither_keep_static_nodes_out_nor_count_them);
        tcase_add_test(tcase, test_what_is_elsewhere_is_found_by_its_name_and_in_no_lookup);
        tcase_add_test(tcase, test_the_entry_that_is_removed_takes_its_node_along);
        tcase_add_test(tcase, test_a_pin_is_known_of_the_node_and_said_once);
        tcase_add_test(tcase, test_a_node_that_was_left_over_is_known_as_that_after_a_restart);
        tcase_add_test(tcase, test_a_decision_that_is_dropped_has_changed_nothing);
        tcase_add_test(tcase, test_what_is_no_registration_is_dropped_without_freeing_its_node);
        tcase_add_loop_test(tcase, test_a_newcomer_is_refused_replaces_or_returns_by_the_evidence, 0,
                            ELEMENTS(conflicts));
        tcase_add_loop_test(tcase, test_a_node_that_returns_with_other_words_is_another_node, 0, 6);
        tcase_add_loop_test(tcase, test_what_a_node_says_beside_is_compared_whole, 0, ELEMENTS(extras));
        tcase_add_loop_test(tcase, test_what_happens_to_a_node_follows_from_its_state, 0, ELEMENTS(ends));
        tcase_add_test(tcase, test_the_revision_grows_with_changes_and_only_with_them);
        tcase_add_test(tcase, test_every_refusal_has_a_word_of_its_own);
        tcase_add_test(tcase, test_nothing_can_be_freed);
        suite_add_tcase(suite, tcase);
}

static void add_creations(Suite *suite) {
        TCase *tcase = tcase_create("creations");

        tcase_set_timeout(tcase, 30);
        tcase_add_test(tcase, test_a_32_bit_creation_is_never_given_twice);
        tcase_add_test(tcase, test_creations_of_mixed_widths_are_not_given_twice_either);
        tcase_add_test(tcase, test_creations_begin_at_4_and_can_only_be_advanced);
        tcase_add_test(tcase, test_above_the_greatest_creation_they_begin_at_4_again);
        tcase_add_loop_test(tcase, test_a_block_of_creations_is_wanted_when_half_of_the_last_is_used, 0,
                            ELEMENTS(block_starts));
        tcase_add_test(tcase, test_a_block_is_wanted_as_long_as_creations_are_given_that_were_not_reserved);
        tcase_add_test(tcase, test_advancing_gives_up_what_was_reserved_below);
        tcase_add_loop_test(tcase, test_a_16_bit_creation_is_1_to_3_and_not_the_previous_one_of_its_name, 0, 4);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_from_the_previous_one_across_a_restart);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_also_where_the_name_was_an_entrys_meanwhile);
        tcase_add_test(tcase, test_a_static_row_keeps_the_last_creation_of_its_name);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_from_that_of_the_holder_it_replaces);
        tcase_add_test(tcase, test_the_width_of_a_creation_is_decided_by_the_highest_version_alone);
        suite_add_tcase(suite, tcase);
}

static void add_limits(Suite *suite) {
        TCase *tcase = tcase_create("limits");

        tcase_add_test(tcase, test_one_user_cannot_take_more_than_his_share);
        tcase_add_test(tcase, test_users_that_are_not_known_count_as_one);
        tcase_add_test(tcase, test_a_taken_name_is_told_before_a_limit);
        tcase_add_test(tcase, test_a_replaced_holder_does_not_count_against_its_successor);
        tcase_add_loop_test(tcase, test_all_replaced_holders_count_not_only_the_first, 0, 2);
        tcase_add_test(tcase, test_a_limit_refuses_before_anybody_is_replaced);
        tcase_add_test(tcase, test_a_return_moves_the_count_to_the_user_who_returned);
        tcase_add_test(tcase, test_a_node_may_return_whatever_the_limits_say);
        tcase_add_test(tcase, test_the_counts_of_many_users_are_kept_apart);
        suite_add_tcase(suite, tcase);
}

static void add_scopes(Suite *suite) {
        TCase *tcase = tcase_create("scopes");

        tcase_add_loop_test(tcase, test_scopes_conflict_as_addresses_do_with_bind, 0, ELEMENTS(scopes));
        tcase_add_test(tcase, test_a_node_without_a_known_listener_is_everywhere);
        tcase_add_test(tcase, test_those_in_the_way_are_found_one_after_the_other);
        tcase_add_test(tcase, test_a_newcomer_everywhere_replaces_all_that_are_going);
        tcase_add_loop_test(tcase, test_a_newcomer_everywhere_is_refused_if_one_is_alive_and_nobody_is_replaced, 0, 3);
        tcase_add_test(tcase, test_a_lookup_means_the_exact_scope_else_everywhere_else_the_oldest);
        tcase_add_test(tcase, test_who_has_a_name_alone_is_found_on_any_address);
        tcase_add_test(tcase, test_a_name_that_begins_another_is_not_that_one);
        tcase_add_test(tcase, test_nodes_that_share_a_listener_are_found_oldest_first);
        tcase_add_test(tcase, test_nodes_that_share_a_listener_and_a_serial_are_told_apart);
        suite_add_tcase(suite, tcase);
}

static void add_start(Suite *suite) {
        TCase *tcase = tcase_create("start");

        tcase_add_loop_test(tcase, test_a_restored_node_is_what_its_facts_say, 0, 2);
        tcase_add_test(tcase, test_newcomers_come_after_all_that_were_restored);
        tcase_add_test(tcase, test_serials_go_on_behind_the_highest_that_was_ever_given);
        tcase_add_loop_test(tcase, test_a_name_that_is_taken_is_not_restored_and_stays_the_callers, 0,
                            ELEMENTS(restores));
        tcase_add_test(tcase, test_a_former_that_is_known_or_registered_is_not_restored_and_stays_the_callers);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("formers");
        tcase_add_test(tcase, test_nodes_are_listed_newest_first_and_formers_oldest_first);
        tcase_add_test(tcase, test_one_of_two_scopes_that_ends_is_a_former_until_the_name_comes_again);
        tcase_add_test(tcase, test_beyond_1000_formers_the_oldest_is_forgotten);
        tcase_add_test(tcase, test_the_16_bit_creation_of_a_name_is_not_crowded_out_by_helpers);
        tcase_add_test(tcase, test_a_node_that_ended_is_a_former_whatever_the_others_are);
        tcase_add_test(tcase, test_restored_formers_are_bounded_too);
        tcase_add_test(tcase, test_a_name_that_is_restored_is_no_former);
        suite_add_tcase(suite, tcase);
}

Suite *suite(void) {
        Suite *suite = suite_create("registry");
        TCase *tcase = tcase_create("model");

        add_rules(suite);
        add_creations(suite);
        add_limits(suite);
        add_scopes(suite);
        add_start(suite);
        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, test_random_events_lead_where_a_model_of_the_rules_says, 0, 8);
        suite_add_tcase(suite, tcase);
        return suite;
}
