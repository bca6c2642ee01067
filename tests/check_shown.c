/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "shown.h"

static Row row_of(const char *name, const char *scope) {
        Row row = { 0 };

        row.texts[ROW_NAME] = (ControlField){ .value = (const uint8_t *)name, .n_value = (uint16_t)strlen(name) };
        if (scope)
                row.texts[ROW_SCOPE] = (ControlField){ .value = (const uint8_t *)scope, .n_value = (uint16_t)strlen(scope) };
        return row;
}

static int learn(Shown *shown, const char *name, const char *scope, const char *line) {
        Row row = row_of(name, scope);

        return shown_learn(shown, &row, line);
}

START_TEST(test_a_line_is_repeated_if_it_was_the_nodes_last_one) {
        Shown shown = { 0 };

        ck_assert_int_eq(learn(&shown, "a", "*", "up"), 0);
        ck_assert_int_eq(learn(&shown, "a", "*", "up"), 1);
        ck_assert_int_eq(learn(&shown, "a", "*", "ready"), 0);
        ck_assert_int_eq(learn(&shown, "a", "*", "up"), 0);
        ck_assert_int_eq(learn(&shown, "a", "*", "up"), 1);
        shown_done(&shown);
}
END_TEST

START_TEST(test_nodes_are_told_apart_by_name_and_scope) {
        static const struct {
                const char *name, *scope;
        } nodes[] = { { "a", "*" }, { "a", "127.0.0.1" }, { "a", NULL }, { "ab", "*" }, { "a*", NULL }, { "", "a*" }, { "b", "*" } };
        Shown shown = { 0 };

        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                ck_assert_int_eq(learn(&shown, nodes[i].name, nodes[i].scope, "up"), 0);
        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                ck_assert_int_eq(learn(&shown, nodes[i].name, nodes[i].scope, "up"), 1);
        shown_done(&shown);
}
END_TEST

START_TEST(test_what_is_forgotten_is_shown_again) {
        Row a = row_of("a", "*"), nobody = row_of("nobody", "*");
        Shown shown = { 0 };

        shown_forget(&shown, &nobody);
        learn(&shown, "a", "*", "up");
        learn(&shown, "b", "*", "up");
        shown_forget(&shown, &nobody);
        shown_forget(&shown, &a);
        ck_assert_int_eq(learn(&shown, "a", "*", "up"), 0);
        ck_assert_int_eq(learn(&shown, "b", "*", "up"), 1);
        shown_forget_all(&shown);
        ck_assert_int_eq(learn(&shown, "b", "*", "up"), 0);
        shown_done(&shown);
}
END_TEST

START_TEST(test_many_nodes) {
        Shown shown = { 0 };
        char name[16];

        for (unsigned round = 0; round < 2; round++)
                for (unsigned i = 0; i < 20000; i++) {
                        snprintf(name, sizeof(name), "n%u", i);
                        ck_assert_int_eq(learn(&shown, name, "*", "up"), (int)round);
                }
        shown_done(&shown);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("shown");
        TCase *t = tcase_create("shown");

        tcase_add_test(t, test_a_line_is_repeated_if_it_was_the_nodes_last_one);
        tcase_add_test(t, test_nodes_are_told_apart_by_name_and_scope);
        tcase_add_test(t, test_what_is_forgotten_is_shown_again);
        tcase_add_test(t, test_many_nodes);
        suite_add_tcase(s, t);
        return s;
}
