/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "check_main.h"
#include "pattern.h"
#include "util.h"

static const struct {
        const char *text;
        PatternKind kind;
        const char *name, *host;
} patterns[] = {
        { "web", PATTERN_EXACT, "web", NULL },
        { "web_*", PATTERN_PREFIX, "web_", NULL },
        { "web_?", PATTERN_SHELL, "web_?", NULL },
        { "*_web", PATTERN_SHELL, "*_web", NULL },
        { "w*b*", PATTERN_SHELL, "w*b*", NULL },
        { "web\\*", PATTERN_SHELL, "web\\*", NULL },
        { "web**", PATTERN_SHELL, "web**", NULL },
        { "*", PATTERN_ALL, "*", NULL },
        { "", PATTERN_ALL, "", NULL },
        { "mynode@*", PATTERN_EXACT, "mynode", NULL },
        { "mynode@", PATTERN_EXACT, "mynode", NULL },
        { "web_*@db1", PATTERN_PREFIX, "web_", "db1" },
        { "*@db?", PATTERN_ALL, "*", "db?" },
        { "@db1", PATTERN_ALL, "", "db1" },
        { "a@b@c", PATTERN_EXACT, "a@b", "c" },
        { "app@::1", PATTERN_EXACT, "app", "::1" },
};

START_TEST(test_a_pattern_is_a_name_and_a_host) {
        Pattern pattern;

        ck_assert_int_eq(pattern_parse(patterns[_i].text, &pattern), 0);
        ck_assert_int_eq(pattern.kind, patterns[_i].kind);
        ck_assert_str_eq(pattern.name, patterns[_i].name);
        ck_assert_pstr_eq(pattern.host, patterns[_i].host);
        pattern_done(&pattern);
}
END_TEST

static const struct {
        const char *pattern, *name, *host;
        bool fits;
} cases[] = {
        { "web", "web", "a", true },
        { "web", "web_", "a", false },
        { "web", "we", "a", false },
        { "web_*", "web_", "a", true },
        { "web_*", "web", "a", false },
        { "web_[12]", "web_2", "a", true },
        { "web_[12]", "web_3", "a", false },
        { "?", "\xc3\xa9", "a", false }, /* a byte, in whatever locale */
        { "??", "\xc3\xa9", "a", true },
        { "mynode@*", "mynode", "anywhere.example.org", true },
        { "mynode@*", "mynode2", "a", false },
        { "*@db?", "x", "db1", true },
        { "*@db?", "x", "db10", false },
        { "*@*.example.org", "x", "a.example.org", true },
        { "*@A", "x", "a", false },
        { "web_*@db1", "web_1", "db1", true },
        { "web_*@db1", "web_1", "db2", false },
        { "web\\*", "web*", "a", true },
        { "web\\*", "web1", "a", false },
};

START_TEST(test_who_fits) {
        Pattern pattern;
        bool fits;

        ck_assert_int_eq(pattern_parse(cases[_i].pattern, &pattern), 0);
        fits = pattern_fits_name(&pattern, cases[_i].name, strlen(cases[_i].name)) &&
               pattern_fits_host(&pattern, cases[_i].host, strlen(cases[_i].host));
        ck_assert_msg(fits == cases[_i].fits, "%s: %s@%s", cases[_i].pattern, cases[_i].name, cases[_i].host);
        pattern_done(&pattern);
}
END_TEST

START_TEST(test_what_is_no_pattern) {
        static const char *const texts[] = { "[", "web_[a", "a@[", "a\\", "\xff", "\xff*", "a\nb" };
        Pattern pattern;

        for (size_t i = 0; i < ELEMENTS(texts); i++)
                ck_assert_msg(pattern_parse(texts[i], &pattern) == -EINVAL, "%s", texts[i]);
        ck_assert_int_eq(pattern_from_prefix("\xff", &pattern), -EINVAL);
        ck_assert_int_eq(pattern_parse("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                       "aaaaaaaaaaaaaaaa", &pattern), -E2BIG);
}
END_TEST

START_TEST(test_a_prefix_has_no_special_characters) {
        Pattern pattern;

        ck_assert_int_eq(pattern_from_prefix("a*@", &pattern), 0);
        ck_assert(pattern_fits_name(&pattern, "a*@1", 4));
        ck_assert(!pattern_fits_name(&pattern, "ab@1", 4));
        ck_assert(pattern_fits_host(&pattern, "b", 1));
        pattern_done(&pattern);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("pattern");
        TCase *t = tcase_create("pattern");

        tcase_add_loop_test(t, test_a_pattern_is_a_name_and_a_host, 0, (int)ELEMENTS(patterns));
        tcase_add_loop_test(t, test_who_fits, 0, (int)ELEMENTS(cases));
        tcase_add_test(t, test_what_is_no_pattern);
        tcase_add_test(t, test_a_prefix_has_no_special_characters);
        suite_add_tcase(s, t);
        return s;
}
