/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/hash.h"
#include "core/names.h"
#include "hash_test.h"

#define SEED 7

static Node *make_node(const char *name, const char *scope) {
        Node *node = node_new(&(NodeInfo){ .name = name, .n_name = strlen(name) });

        ck_assert_ptr_nonnull(node);
        ck_assert_int_eq(address_parse(scope, &node->scope), 0);
        return node;
}

static Node *insert(Names *names, const char *name, const char *scope) {
        Node *node = make_node(name, scope);

        ck_assert_int_eq(names_reserve(names, 1), 0);
        names_insert(names, node);
        return node;
}

static void take_out(Names *names, Node *node) {
        names_remove(names, node);
        ck_assert_ptr_null(names_next(node)); /* of another table it may be the first */
        node_free(node);
}

static Node *find(const Names *names, const char *name) {
        return names_find(names, name, strlen(name));
}

START_TEST(test_nothing_is_found_in_an_empty_table) {
        Names names;

        names_init(&names, SEED);
        ck_assert_ptr_null(find(&names, "a"));
        ck_assert_int_eq(names_reserve(&names, 1), 0);
        ck_assert_ptr_null(find(&names, "a"));
        ck_assert_ptr_null(find(&names, ""));
        names_done(&names);
        ck_assert_ptr_null(find(&names, "a"));
}
END_TEST

START_TEST(test_a_name_is_found_whole_and_by_its_bytes) {
        static const char *const others[] = { "", "a", "app", "appl", "application1", "applicatioN", "application " };
        Names names;
        Node *node, *one;

        names_init(&names, SEED);
        node = insert(&names, "application", "*");
        one = insert(&names, "n", "*");
        for (size_t i = 0; i < ELEMENTS(others); i++)
                ck_assert_ptr_null(find(&names, others[i]));
        ck_assert_ptr_eq(find(&names, "application"), node);
        ck_assert_ptr_eq(names_find(&names, "application1", 11), node);
        ck_assert_ptr_eq(find(&names, "n"), one);
        ck_assert_ptr_null(names_next(node));
        take_out(&names, node);
        ck_assert_ptr_null(find(&names, "application"));
        ck_assert_ptr_eq(find(&names, "n"), one);
        take_out(&names, one);
        names_done(&names);
}
END_TEST

START_TEST(test_names_of_one_hash_are_told_apart) {
        char names_alike[2][ALIKE_BYTES + 1];
        Names names;
        Node *nodes[2][2];

        choose_alike(names_alike[0], names_alike[1], SEED);
        names_init(&names, SEED);
        nodes[0][0] = insert(&names, names_alike[0], "127.0.0.1");
        ck_assert_ptr_null(find(&names, names_alike[1]));
        nodes[1][1] = insert(&names, names_alike[1], "127.0.0.2");
        nodes[0][1] = insert(&names, names_alike[0], "127.0.0.2");
        nodes[1][0] = insert(&names, names_alike[1], "127.0.0.1");
        for (int i = 0; i < 2; i++) {
                ck_assert_ptr_eq(find(&names, names_alike[i]), nodes[i][0]);
                ck_assert_ptr_eq(names_next(nodes[i][0]), nodes[i][1]);
                ck_assert_ptr_null(names_next(nodes[i][1]));
        }
        take_out(&names, nodes[0][0]);
        take_out(&names, nodes[0][1]);
        ck_assert_ptr_null(find(&names, names_alike[0]));
        ck_assert_ptr_eq(find(&names, names_alike[1]), nodes[1][0]);
        take_out(&names, nodes[1][0]);
        take_out(&names, nodes[1][1]);
        names_done(&names);
}
END_TEST

/* In whatever order they come. */
START_TEST(test_those_of_one_name_follow_each_other_by_scope) {
        static const char *const scopes[] = { "*", "127.0.0.1", "127.0.0.2" };
        static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
        const int *order = orders[_i];
        Node *nodes[3], *other;
        Names names;

        names_init(&names, SEED);
        for (int i = 0; i < 3; i++)
                nodes[order[i]] = insert(&names, "a", scopes[order[i]]);
        other = insert(&names, "b", "*");
        ck_assert_ptr_eq(find(&names, "a"), nodes[0]);
        ck_assert_ptr_eq(names_next(nodes[0]), nodes[1]);
        ck_assert_ptr_eq(names_next(nodes[1]), nodes[2]);
        ck_assert_ptr_null(names_next(nodes[2]));
        take_out(&names, nodes[1]);
        ck_assert_ptr_eq(names_next(nodes[0]), nodes[2]);
        take_out(&names, nodes[0]);
        ck_assert_ptr_eq(find(&names, "a"), nodes[2]);
        take_out(&names, nodes[2]);
        ck_assert_ptr_null(find(&names, "a"));
        take_out(&names, other);
        names_done(&names);
}
END_TEST

START_TEST(test_reserved_room_is_enough_without_allocation) {
        Node *nodes[1000];
        Names names;
        Node **buckets;

        names_init(&names, SEED);
        ck_assert_int_eq(names_reserve(&names, 1000), 0);
        buckets = names.buckets;
        for (int i = 0; i < 1000; i++) {
                char name[16];

                snprintf(name, sizeof name, "n%d", i);
                nodes[i] = make_node(name, "*");
                names_insert(&names, nodes[i]);
        }
        ck_assert_int_eq(names_reserve(&names, 0), 0);
        ck_assert_ptr_eq(names.buckets, buckets);
        for (int i = 0; i < 1000; i++)
                take_out(&names, nodes[i]);
        ck_assert_uint_eq(names.n_nodes, 0);
        names_done(&names);
}
END_TEST

/* Against an array, while the table grows: names of one bucket, of several, and of many scopes. */
START_TEST(test_random_insertions_and_removals_are_as_in_a_list) {
        enum { N_NAMES = 300, N_SCOPES = 4 };
        /* In their order: IPv4 is mapped into IPv6. */
        static const char *const scopes[N_SCOPES] = { "*", "::1", "10.0.0.1", "10.0.0.2" };
        Node *model[N_NAMES][N_SCOPES] = { 0 };
        unsigned seed = 1 + (unsigned)_i;
        Names names;

        names_init(&names, (uint64_t)_i * 12345);
        for (int step = 0; step < 5000; step++) {
                int n = rand_r(&seed) % N_NAMES, s = rand_r(&seed) % N_SCOPES;
                char name[64];
                Node *node;

                snprintf(name, sizeof name, "%.*s%d", n % 40, "a-name-as-long-as-those-that-tools-make-up", n);
                if (model[n][s]) {
                        take_out(&names, model[n][s]);
                        model[n][s] = NULL;
                } else
                        model[n][s] = insert(&names, name, scopes[s]);
                node = find(&names, name);
                for (s = 0; s < N_SCOPES; s++)
                        if (model[n][s]) {
                                ck_assert_ptr_eq(node, model[n][s]);
                                node = names_next(node);
                        }
                ck_assert_ptr_null(node);
        }
        for (int n = 0; n < N_NAMES; n++)
                for (int s = 0; s < N_SCOPES; s++)
                        if (model[n][s])
                                take_out(&names, model[n][s]);
        ck_assert_uint_eq(names.n_nodes, 0);
        names_done(&names);
}
END_TEST

/* However alike the names are: of as many buckets as there are names, a third is empty by chance (1/e), and few have more
 * than six. */
START_TEST(test_names_that_are_alike_fall_far_from_each_other) {
        enum { N = 4096 };
        unsigned counts[N] = { 0 }, n_empty = 0, n_full = 0;

        for (unsigned i = 0; i < N; i++) {
                char name[64];
                int n = snprintf(name, sizeof name, _i == 0 ? "node%05u" : _i == 1 ? "rabbitmqcli-%u-rabbit" : "%u", i);

                counts[hash_bytes(name, (size_t)n, SEED) % N]++;
        }
        for (unsigned i = 0; i < N; i++) {
                n_empty += counts[i] == 0;
                n_full += counts[i] > 6;
        }
        ck_assert_uint_ge(n_empty, N * 33 / 100);
        ck_assert_uint_le(n_empty, N * 41 / 100);
        ck_assert_uint_le(n_full, 6);
}
END_TEST

START_TEST(test_another_seed_is_another_hash) {
        ck_assert_uint_ne(hash_bytes("node", 4, 1), hash_bytes("node", 4, 2));
        ck_assert_uint_eq(hash_bytes("node", 4, 1), hash_bytes("node00001", 4, 1));
        /* Zeroes at the end count. */
        ck_assert_uint_ne(hash_bytes("a\0", 1, 1), hash_bytes("a\0", 2, 1));
        ck_assert_uint_ne(hash_bytes("12345678", 8, 1), hash_bytes("12345678\0", 9, 1));
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("names");
        TCase *tcase = tcase_create("names");

        tcase_add_test(tcase, test_nothing_is_found_in_an_empty_table);
        tcase_add_test(tcase, test_a_name_is_found_whole_and_by_its_bytes);
        tcase_add_test(tcase, test_names_of_one_hash_are_told_apart);
        tcase_add_loop_test(tcase, test_those_of_one_name_follow_each_other_by_scope, 0, 6);
        tcase_add_test(tcase, test_reserved_room_is_enough_without_allocation);
        tcase_add_loop_test(tcase, test_random_insertions_and_removals_are_as_in_a_list, 0, 5);
        tcase_add_loop_test(tcase, test_names_that_are_alike_fall_far_from_each_other, 0, 3);
        tcase_add_test(tcase, test_another_seed_is_another_hash);
        suite_add_tcase(suite, tcase);
        return suite;
}
