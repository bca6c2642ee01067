/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>

#include "check_main.h"
#include "core/access.h"
#include "util.h"

static const struct {
        const char *words[4]; /* as given one after the other */
        const char *peer;
        bool may_ask;
} cases[] = {
        { { NULL }, "10.0.0.1", false },
        { { NULL }, "::1", false }, /* the list says only who may from elsewhere */
        { { "local" }, "10.0.0.1", false },
        { { "any" }, "10.0.0.1", true },
        { { "any" }, "2001:db8::1", true },
        { { "10.0.0.0/8" }, "10.0.0.1", true },
        { { "10.0.0.0/8" }, "::ffff:10.0.0.1", true },
        { { "10.0.0.0/8" }, "11.0.0.1", false },
        { { "10.0.0.0/8", "fd00::/8" }, "fd00::1", true },
        { { "10.0.0.0/8", "fd00::/8" }, "10.0.0.1", true },
        { { "10.0.0.0/8", "fd00::/8" }, "fe80::1", false },
        { { "10.0.0.5", "10.0.0.7" }, "10.0.0.6", false },
        { { "10.0.0.5", "10.0.0.7" }, "10.0.0.7", true },
        { { "local", "any" }, "10.0.0.1", true },
        { { "any", "local" }, "10.0.0.1", true },
        { { "local", "10.0.0.0/8", "local" }, "10.0.0.1", true },
        { { "0.0.0.0/0" }, "::1", false },
        { { "::/0" }, "10.0.0.1", false }, /* IPv6 only */
        { { "::/0" }, "2001:db8::1", true },
};

START_TEST(test_a_list_contains_whom_its_words_name) {
        AccessList list = { 0 };
        Address peer;

        for (size_t i = 0; i < ELEMENTS(cases[_i].words) && cases[_i].words[i]; i++)
                ck_assert_int_eq(access_list_add(&list, cases[_i].words[i]), 0);
        ck_assert_int_eq(address_parse(cases[_i].peer, &peer), 0);
        ck_assert_int_eq(access_list_contains(&list, &peer), cases[_i].may_ask);
        access_list_done(&list);
}
END_TEST

START_TEST(test_a_word_that_is_none_changes_nothing) {
        static const char *const words[] = { "",      "Any", "LOCAL", "local ", "localhost", "*",
                                             "lo",    "10",  "10/8",  "10.1.2.3/8", "any,local",
                                             "0.0.0.0/33", "none" };
        AccessList list = { 0 };
        Address peer;

        ck_assert_int_eq(address_parse("10.0.0.1", &peer), 0);
        for (size_t i = 0; i < ELEMENTS(words); i++) {
                ck_assert_int_eq(access_list_add(&list, words[i]), -EINVAL);
                ck_assert(!access_list_contains(&list, &peer));
                ck_assert_uint_eq(list.n_networks, 0);
        }
        access_list_done(&list);
}
END_TEST

START_TEST(test_a_list_that_is_done_is_empty_again) {
        AccessList list = { 0 };
        Address peer;

        ck_assert_int_eq(access_list_add(&list, "10.0.0.0/8"), 0);
        ck_assert_int_eq(access_list_add(&list, "any"), 0);
        access_list_done(&list);
        ck_assert_int_eq(address_parse("10.0.0.1", &peer), 0);
        ck_assert(!access_list_contains(&list, &peer));
        ck_assert_int_eq(access_list_add(&list, "11.0.0.0/8"), 0);
        ck_assert(!access_list_contains(&list, &peer));
        access_list_done(&list);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("access");
        TCase *tcase = tcase_create("lists");

        tcase_add_loop_test(tcase, test_a_list_contains_whom_its_words_name, 0, ELEMENTS(cases));
        tcase_add_test(tcase, test_a_word_that_is_none_changes_nothing);
        tcase_add_test(tcase, test_a_list_that_is_done_is_empty_again);
        suite_add_tcase(suite, tcase);
        return suite;
}
