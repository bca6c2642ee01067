/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/index.h"

static Node *make_node(const char *name, const char *scope, uint64_t cookie, uint64_t serial) {
        Node *node = node_new(&(NodeInfo){ .name = name, .n_name = strlen(name) });

        ck_assert_ptr_nonnull(node);
        ck_assert_int_eq(address_parse(scope, &node->scope), 0);
        node->listener.cookie = cookie;
        node->serial = serial;
        return node;
}

static void free_nodes(Index *index) {
        while (index->n_nodes > 0) {
                Node *node = index->nodes[index->n_nodes - 1];

                index_remove(index, index->n_nodes - 1);
                node_free(node);
        }
        index_done(index);
}

static size_t seek_name(const Index *index, const char *name, const char *scope) {
        Address address;

        ck_assert_int_eq(address_parse(scope, &address), 0);
        return index_seek_name(index, name, strlen(name), &address);
}

static void insert_by_name(Index *index, Node *node) {
        ck_assert_int_eq(index_reserve(index, 1), 0);
        index_insert(index, index_seek_name(index, node->info.name, node->info.n_name, &node->scope), node);
}

START_TEST(test_an_empty_index_has_every_key_at_0) {
        Index index = { 0 };

        ck_assert_uint_eq(seek_name(&index, "a", "*"), 0);
        ck_assert_uint_eq(index_seek_cookie(&index, 1, 0), 0);
        index_done(&index);
}
END_TEST

START_TEST(test_a_key_is_sought_at_the_first_node_that_is_not_before_it) {
        static const struct {
                const char *name, *scope;
                size_t position;
        } sought[] = {
                { "A", "*", 0 },         { "a", "*", 0 },         { "a", "::1", 0 },
                { "a", "127.0.0.1", 0 }, { "a", "127.0.0.2", 1 }, { "a", "127.0.0.3", 2 },
                { "aa", "*", 2 },        { "b", "*", 2 },         { "b", "127.0.0.1", 3 },
                { "ba", "*", 3 },        { "c", "*", 3 },         { "d", "*", 4 },
        };
        Index index = { 0 };

        insert_by_name(&index, make_node("c", "*", 0, 1));
        insert_by_name(&index, make_node("a", "127.0.0.2", 0, 2));
        insert_by_name(&index, make_node("b", "*", 0, 3));
        insert_by_name(&index, make_node("a", "127.0.0.1", 0, 4));
        ck_assert_uint_eq(index.n_nodes, 4);
        ck_assert_uint_eq(index.nodes[0]->serial, 4);
        ck_assert_uint_eq(index.nodes[1]->serial, 2);
        ck_assert_uint_eq(index.nodes[2]->serial, 3);
        ck_assert_uint_eq(index.nodes[3]->serial, 1);
        for (size_t i = 0; i < ELEMENTS(sought); i++)
                ck_assert_msg(seek_name(&index, sought[i].name, sought[i].scope) == sought[i].position,
                              "%s at %s", sought[i].name, sought[i].scope);
        free_nodes(&index);
}
END_TEST

START_TEST(test_cookies_are_sought_with_their_serials) {
        static const struct {
                uint64_t cookie, serial;
        } ascending[] = { { 5, 1 }, { 5, 7 }, { 5, 9 }, { 6, 2 }, { UINT64_MAX, 3 } };
        Index index = { 0 };

        ck_assert_int_eq(index_reserve(&index, ELEMENTS(ascending)), 0);
        for (size_t i = 0; i < ELEMENTS(ascending); i++) {
                /* backwards, each at the front */
                size_t j = ELEMENTS(ascending) - 1 - i;
                size_t at = index_seek_cookie(&index, ascending[j].cookie, ascending[j].serial);

                ck_assert_uint_eq(at, 0);
                index_insert(&index, at, make_node("a", "*", ascending[j].cookie, ascending[j].serial));
        }
        ck_assert_uint_eq(index_seek_cookie(&index, 0, 0), 0);
        ck_assert_uint_eq(index_seek_cookie(&index, 5, 0), 0);
        ck_assert_uint_eq(index_seek_cookie(&index, 5, 2), 1);
        ck_assert_uint_eq(index_seek_cookie(&index, 5, 9), 2);
        ck_assert_uint_eq(index_seek_cookie(&index, 5, 10), 3);
        ck_assert_uint_eq(index_seek_cookie(&index, 6, 0), 3);
        ck_assert_uint_eq(index_seek_cookie(&index, 7, 0), 4);
        ck_assert_uint_eq(index_seek_cookie(&index, UINT64_MAX, 4), 5);
        free_nodes(&index);
}
END_TEST

START_TEST(test_what_is_reserved_can_be_inserted_without_moving_the_array) {
        Index index = { 0 };
        Node **before;

        ck_assert_int_eq(index_reserve(&index, 1000), 0);
        ck_assert_uint_ge(index.n_room, 1000);
        before = index.nodes;
        for (unsigned i = 0; i < 1000; i++)
                index_insert(&index, i, make_node("a", "*", 0, i + 1));
        ck_assert_ptr_eq(index.nodes, before);
        ck_assert_int_eq(index_reserve(&index, 0), 0);
        ck_assert_ptr_eq(index.nodes, before);
        free_nodes(&index);
}
END_TEST

START_TEST(test_an_index_that_is_done_can_be_used_again) {
        Index index = { 0 };

        insert_by_name(&index, make_node("a", "*", 0, 1));
        free_nodes(&index);
        ck_assert_uint_eq(index.n_nodes, 0);
        insert_by_name(&index, make_node("b", "*", 0, 1));
        ck_assert_uint_eq(seek_name(&index, "b", "*"), 0);
        free_nodes(&index);
}
END_TEST

/* 3,000 insertions and removals at random, against a check of the whole order now and then. */
START_TEST(test_the_order_holds_under_random_insertions_and_removals) {
        unsigned seed = 1 + (unsigned)_i;
        Index index = { 0 };

        for (unsigned step = 0; step < 3000; step++) {
                if (index.n_nodes == 0 || rand_r(&seed) % 3) {
                        char name[16];

                        snprintf(name, sizeof name, "n%d", rand_r(&seed) % 500);
                        insert_by_name(&index, make_node(name, "*", 0, step + 1));
                } else {
                        size_t at = (size_t)rand_r(&seed) % index.n_nodes;
                        Node *node = index.nodes[at];

                        index_remove(&index, at);
                        node_free(node);
                }
                if (step % 100)
                        continue;
                for (size_t i = 1; i < index.n_nodes; i++)
                        ck_assert_int_le(strcmp(index.nodes[i - 1]->info.name, index.nodes[i]->info.name), 0);
        }
        free_nodes(&index);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("index");
        TCase *tcase = tcase_create("order");

        tcase_add_test(tcase, test_an_empty_index_has_every_key_at_0);
        tcase_add_test(tcase, test_a_key_is_sought_at_the_first_node_that_is_not_before_it);
        tcase_add_test(tcase, test_cookies_are_sought_with_their_serials);
        tcase_add_test(tcase, test_what_is_reserved_can_be_inserted_without_moving_the_array);
        tcase_add_test(tcase, test_an_index_that_is_done_can_be_used_again);
        tcase_add_loop_test(tcase, test_the_order_holds_under_random_insertions_and_removals, 0, 4);
        suite_add_tcase(suite, tcase);
        return suite;
}
