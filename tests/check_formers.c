/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/formers.h"

static Formers formers;

static void setup(void) {
        ck_assert_int_eq(formers_init(&formers, 3, 1), 0);
}

static void teardown(void) {
        formers_done(&formers);
}

/* One that had `name`, and a creation or none. */
static Node *make_node(const char *name, uint32_t creation) {
        Node *node = node_new(&(NodeInfo){ .name = name, .n_name = strlen(name) });

        ck_assert_ptr_nonnull(node);
        node->creation = creation;
        return node;
}

static void add(const char *name, uint32_t creation) {
        formers_add(&formers, make_node(name, creation));
}

static void assert_names(const char *names) {
        char text[64] = "";

        for (const Node *node = formers.nodes.oldest; node; node = node->newer)
                strcat(text, node->info.name);
        ck_assert_str_eq(text, names);
        ck_assert_uint_eq(formers.by_name.n_nodes, strlen(names));
        ck_assert_uint_eq(formers.nodes.n_nodes, strlen(names));
}

START_TEST(test_the_last_of_a_name_takes_the_place_of_the_others) {
        add("a", 10);
        add("b", 11);
        add("a", 12);
        assert_names("ba");
        ck_assert_uint_eq(formers_find(&formers, "a", 1)->creation, 12);
        ck_assert_uint_eq(formers_last_creation(&formers, "a", 1), 12);
}
END_TEST

/* However many may be kept. */
START_TEST(test_there_is_room_for_one_more_than_are_kept) {
        for (size_t n_max = 60; n_max < 70; n_max++) {
                formers_done(&formers);
                ck_assert_int_eq(formers_init(&formers, n_max, 1), 0);
                for (int i = 0; i < 80; i++) {
                        char name[16];

                        snprintf(name, sizeof name, "n%d", i);
                        add(name, 100);
                }
                ck_assert_uint_eq(formers.nodes.n_nodes, n_max);
        }
}
END_TEST

START_TEST(test_of_a_name_that_nobody_had_nothing_is_known) {
        add("ab", 10);
        ck_assert_ptr_null(formers_find(&formers, "a", 1));
        ck_assert_ptr_null(formers_find(&formers, "abc", 3));
        ck_assert_uint_eq(formers_last_creation(&formers, "a", 1), 0);
}
END_TEST

START_TEST(test_who_has_no_creation_keeps_that_of_his_name_in_mind) {
        Node *entry = make_node("a", 0);

        add("a", 2);
        formers_give_way(&formers, entry);
        assert_names("");
        ck_assert_uint_eq(entry->creation_before, 2);

        formers_add(&formers, entry);
        ck_assert_uint_eq(formers_last_creation(&formers, "a", 1), 2);
        add("a", 0);
        assert_names("a");
        ck_assert_uint_eq(formers_last_creation(&formers, "a", 1), 2);
}
END_TEST

/* Creations of four that ended in this order, and who is left of them. */
static const struct {
        uint32_t creations[4];
        const char *left;
} sheds[] = {
        { { 10, 11, 12, 13 }, "bcd" },
        { { 1, 11, 12, 13 }, "acd" }, /* 1..3 are what P5 needs */
        { { 1, 2, 12, 13 }, "abd" },
        { { 1, 2, 3, 13 }, "bcd" }, /* who has just come is not the one to go */
        { { 1, 2, 3, 1 }, "bcd" },
        { { 0, 2, 3, 1 }, "bcd" }, /* of whom nothing is known */
        { { 1, 0, 3, 1 }, "acd" },
};

START_TEST(test_beyond_the_bound_one_goes_whose_creation_matters_least) {
        for (size_t i = 0; i < 4; i++)
                add((const char *[]){ "a", "b", "c", "d" }[i], sheds[_i].creations[i]);
        assert_names(sheds[_i].left);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("formers");
        TCase *tcase = tcase_create("formers");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, test_the_last_of_a_name_takes_the_place_of_the_others);
        tcase_add_test(tcase, test_there_is_room_for_one_more_than_are_kept);
        tcase_add_test(tcase, test_of_a_name_that_nobody_had_nothing_is_known);
        tcase_add_test(tcase, test_who_has_no_creation_keeps_that_of_his_name_in_mind);
        tcase_add_loop_test(tcase, test_beyond_the_bound_one_goes_whose_creation_matters_least, 0, ELEMENTS(sheds));
        suite_add_tcase(suite, tcase);
        return suite;
}
