/* SPDX-License-Identifier: Apache-2.0 */
/* Who is found, in which order and by which listener; what is restored, and what is remembered of the past. */

#include <errno.h>
#include <stdio.h>

#include "check_main.h"
#include "registry_test.h"

/* --- who is found ------------------------------------------------------------------------------ */

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

START_TEST(test_nothing_can_be_freed) {
        ck_assert_ptr_null(registry_free(NULL));
}
END_TEST

/* --- */

static void add_lookups(Suite *suite) {
        TCase *tcase = tcase_create("lookups");

        tcase_add_test(tcase, test_a_lookup_means_the_exact_scope_else_everywhere_else_the_oldest);
        tcase_add_test(tcase, test_who_has_a_name_alone_is_found_on_any_address);
        tcase_add_test(tcase, test_a_name_that_begins_another_is_not_that_one);
        tcase_add_test(tcase, test_nodes_that_share_a_listener_are_found_oldest_first);
        tcase_add_test(tcase, test_nodes_that_share_a_listener_and_a_serial_are_told_apart);
        tcase_add_test(tcase, test_the_revision_grows_with_changes_and_only_with_them);
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
}

static void add_formers(Suite *suite) {
        TCase *tcase = tcase_create("formers");

        tcase_add_test(tcase, test_nodes_are_listed_newest_first_and_formers_oldest_first);
        tcase_add_test(tcase, test_one_of_two_scopes_that_ends_is_a_former_until_the_name_comes_again);
        tcase_add_test(tcase, test_beyond_1000_formers_the_oldest_is_forgotten);
        tcase_add_test(tcase, test_the_16_bit_creation_of_a_name_is_not_crowded_out_by_helpers);
        tcase_add_test(tcase, test_a_node_that_ended_is_a_former_whatever_the_others_are);
        tcase_add_test(tcase, test_restored_formers_are_bounded_too);
        tcase_add_test(tcase, test_a_name_that_is_restored_is_no_former);
        tcase_add_test(tcase, test_nothing_can_be_freed);
        suite_add_tcase(suite, tcase);
}

Suite *suite(void) {
        Suite *suite = suite_create("registry");

        add_lookups(suite);
        add_start(suite);
        add_formers(suite);
        return suite;
}
