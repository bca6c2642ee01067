/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that do not register, and what operators order about names. */

#include "check_main.h"
#include "registry_test.h"

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

/* --- */

Suite *suite(void) {
        Suite *suite = suite_create("registry_static");
        TCase *tcase = tcase_create("static");

        tcase_add_test(tcase, test_a_static_node_is_there_by_its_listener_and_ends_with_it);
        tcase_add_loop_test(tcase, test_a_static_node_meets_others_of_its_name, 0, ELEMENTS(meetings));
        tcase_add_test(tcase, test_limits_neither_keep_static_nodes_out_nor_count_them);
        tcase_add_test(tcase, test_what_is_elsewhere_is_found_by_its_name_and_in_no_lookup);
        tcase_add_test(tcase, test_the_entry_that_is_removed_takes_its_node_along);
        tcase_add_test(tcase, test_a_pin_is_known_of_the_node_and_said_once);
        tcase_add_test(tcase, test_a_node_that_was_left_over_is_known_as_that_after_a_restart);
        suite_add_tcase(suite, tcase);
        return suite;
}
