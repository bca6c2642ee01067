/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets a name, what becomes of him, and how many there may be. */

#include <stdio.h>

#include "check_main.h"
#include "core/creation.h"
#include "registry_test.h"

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

/* --- */

static void add_registrations(Suite *suite) {
        TCase *tcase = tcase_create("registrations");

        tcase_add_test(tcase, test_a_registration_keeps_all_that_is_known_of_the_node);
        tcase_add_loop_test(tcase, test_what_a_node_may_not_say_is_refused_and_changes_nothing, 0, ELEMENTS(infos));
        tcase_add_test(tcase, test_a_name_of_256_characters_is_refused);
        tcase_add_test(tcase, test_a_decision_that_is_dropped_has_changed_nothing);
        tcase_add_test(tcase, test_what_is_no_registration_is_dropped_without_freeing_its_node);
        tcase_add_test(tcase, test_every_refusal_has_a_word_of_its_own);
        suite_add_tcase(suite, tcase);
}

static void add_ends(Suite *suite) {
        TCase *tcase = tcase_create("ends");

        tcase_add_loop_test(tcase, test_what_happens_to_a_node_follows_from_its_state, 0, ELEMENTS(ends));
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

Suite *suite(void) {
        Suite *suite = suite_create("registry_decide");

        add_registrations(suite);
        add_ends(suite);
        add_limits(suite);
        return suite;
}
