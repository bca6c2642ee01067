/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/glob.h"

static int compile(const char *text, Glob **ret) {
        return glob_new(ret, &(GlobPattern){ text, strlen(text) }, 1);
}

static bool matches(const Glob *glob, const char *name) {
        return glob_matches(glob, name, strlen(name));
}

static const struct {
        const char *pattern, *name;
        bool matches;
} cases[] = {
        { "a", "a", true },
        { "a", "ab", false },
        { "ab", "a", false },
        { "a", "A", false },
        { "*", "", true },
        { "*", "anything", true },
        { "**", "a", true },
        { "web_*", "web_1", true },
        { "web_*", "web_", true },
        { "web_*", "web", false },
        { "*_web", "a_web", true },
        { "*_web", "a_web_", false },
        { "*web*", "my_web_1", true },
        { "a*b*c", "abc", true },
        { "a*b*c", "a-b-b-c", true },
        { "a*b*c", "acb", false },
        { "*aab", "aaab", true },
        { "*abab", "abaabab", true },
        { "?", "a", true },
        { "?", "", false },
        { "?", "ab", false },
        { "??", "\xc3\xa9", true }, /* one character, two bytes */
        { "?", "\xc3\xa9", false },
        { "\xc3\xa9*", "\xc3\xa9t\xc3\xa9", true },
        { "a?c", "abc", true },
        { "*?", "", false },
        { "*?*?*", "ab", true },
        { "*?*?*", "a", false },
        { "[abc]", "b", true },
        { "[abc]", "d", false },
        { "[a-c]x", "bx", true },
        { "[a-c]", "-", false },
        { "[a-]", "-", true },
        { "[-a]", "-", true },
        { "[c-a]", "b", false },
        { "[!a-c]", "d", true },
        { "[!a-c]", "b", false },
        { "[^a]", "b", true },
        { "[^a]", "a", false },
        { "[]a]", "]", true },
        { "[!]a]", "]", false },
        { "[!]a]", "b", true },
        { "[a!]", "!", true },
        { "[[]", "[", true },
        { "[a[]b", "[b", true },
        { "n[0-9][0-9]", "n07", true },
        { "n[0-9][0-9]", "n7", false },
        { "[[:digit:]]", "7", true },
        { "[[:digit:]]", "a", false },
        { "[[:alpha:]_]*", "_1", true },
        { "[![:upper:]]", "a", true },
        { "[![:upper:]]", "A", false },
        { "[[:digit:]-z]", "-", true },
        { "\\*", "*", true },
        { "\\*", "a", false },
        { "a\\bc", "abc", true },
        { "[\\]]", "]", true },
        { "[a\\-z]", "-", true },
        { "[a\\-z]", "b", false },
        { "]", "]", true },
        { "a-b", "a-b", true },
        { "*/.*", "a/.b", true }, /* of paths it knows nothing */
};

START_TEST(test_what_a_pattern_matches) {
        _cleanup_(glob_freep) Glob *glob = NULL;

        ck_assert_int_eq(compile(cases[_i].pattern, &glob), 0);
        ck_assert_msg(matches(glob, cases[_i].name) == cases[_i].matches, "%s, %s", cases[_i].pattern, cases[_i].name);
        ck_assert_int_eq(fnmatch(cases[_i].pattern, cases[_i].name, 0) == 0, cases[_i].matches);
}
END_TEST

static const char *const bad_ones[] = {
        "[", "[a", "a[", "[]", "[!]", "[^", "[a-", "[a-]\\", "[[:digit:]", "[[:digit]]", "[[:foo:]]", "[[::]]", "[[:",
        "[[.a.]]", "[[=a=]]", "[a-[.z.]]", "\\", "a\\", "[\\", "[a\\", "[a-\\", "web[",
};

START_TEST(test_what_is_no_pattern_is_refused) {
        Glob *glob = NULL;

        ck_assert_msg(compile(bad_ones[_i], &glob) == -EINVAL, "%s", bad_ones[_i]);
        ck_assert_ptr_null(glob);
}
END_TEST

START_TEST(test_several_patterns_match_what_one_of_them_does) {
        static const GlobPattern patterns[] = { { "a*", 2 }, { "b", 1 }, { "[cd]?", 5 } };
        static const char *const in[] = { "a", "ab", "b", "cx", "dy" }, *const out[] = { "", "ba", "bb", "c", "cxy", "e" };
        _cleanup_(glob_freep) Glob *glob = NULL;

        ck_assert_int_eq(glob_new(&glob, patterns, ELEMENTS(patterns)), 0);
        for (size_t i = 0; i < ELEMENTS(in); i++)
                ck_assert_msg(matches(glob, in[i]), "%s", in[i]);
        for (size_t i = 0; i < ELEMENTS(out); i++)
                ck_assert_msg(!matches(glob, out[i]), "%s", out[i]);
}
END_TEST

START_TEST(test_no_pattern_matches_nothing) {
        _cleanup_(glob_freep) Glob *glob = NULL;

        ck_assert_int_eq(glob_new(&glob, NULL, 0), 0);
        ck_assert(!matches(glob, "a"));
        ck_assert(!matches(glob, ""));
}
END_TEST

/* Where the items of one end the word of the machine, the next begins in another. */
START_TEST(test_patterns_of_any_length_do_not_touch_each_other) {
        char first[300], second[] = "b*c";
        _cleanup_(glob_freep) Glob *glob = NULL;

        for (size_t n = 1; n < 200; n++) {
                memset(first, 'a', n);
                first[n] = 0;
                glob = glob_free(glob);
                ck_assert_int_eq(glob_new(&glob, (const GlobPattern[]){ { first, n }, { second, 3 } }, 2), 0);
                ck_assert(matches(glob, first));
                ck_assert(matches(glob, "bxc"));
                ck_assert(!matches(glob, first + 1));
                first[n] = 'b';
                first[n + 1] = 'c';
                ck_assert(!glob_matches(glob, first, n + 1));
                ck_assert(!glob_matches(glob, first, n + 2));
                ck_assert(!glob_matches(glob, first + n, 1));
                ck_assert(glob_matches(glob, first + n, 2));
        }
}
END_TEST

START_TEST(test_patterns_that_are_too_long_are_refused) {
        char text[GLOB_ITEMS_MAX + 1];
        Glob *glob = NULL;

        memset(text, 'a', sizeof text);
        ck_assert_int_eq(glob_new(&glob, &(GlobPattern){ text, GLOB_ITEMS_MAX }, 1), -E2BIG);
        /* the second has no room to begin in */
        ck_assert_int_eq(glob_new(&glob, (GlobPattern[]){ { text, GLOB_ITEMS_MAX - 1 }, { text, 1 } }, 2), -E2BIG);
        ck_assert_ptr_null(glob);
        ck_assert_int_eq(glob_new(&glob, &(GlobPattern){ text, GLOB_ITEMS_MAX - 1 }, 1), 0);
        ck_assert(glob_matches(glob, text, GLOB_ITEMS_MAX - 1));
        ck_assert(!glob_matches(glob, text, GLOB_ITEMS_MAX));
        glob_free(glob);
}
END_TEST

static const struct {
        const char *pattern;
        size_t n;
        bool is_whole;
} beginnings[] = {
        { "abc", 3, true }, { "abc*", 3, false }, { "*", 0, false },     { "a?c", 1, false },
        { "[a]", 0, false }, { "a\\*", 1, false }, { "web_[0-9]", 4, false },
};

START_TEST(test_what_every_match_begins_with) {
        GlobPattern pattern = { beginnings[_i].pattern, strlen(beginnings[_i].pattern) };
        bool is_whole;

        ck_assert_uint_eq(glob_literal_beginning(&pattern, &is_whole), beginnings[_i].n);
        ck_assert_int_eq(is_whole, beginnings[_i].is_whole);
}
END_TEST

/* Made of what is special, and of little else. */
static void make_text(unsigned *seed, const char *alphabet, size_t n_max, char *ret) {
        size_t n = (size_t)rand_r(seed) % n_max, n_alphabet = strlen(alphabet);

        for (size_t i = 0; i < n; i++)
                ret[i] = alphabet[(size_t)rand_r(seed) % n_alphabet];
        ret[n] = 0;
}

START_TEST(test_it_is_as_fnmatch_says) {
        unsigned seed = (unsigned)_i + 1, n_compared = 0, n_matched = 0;

        for (unsigned i = 0; i < 50000; i++) {
                _cleanup_(glob_freep) Glob *glob = NULL;
                char pattern[16], name[12];
                bool expected;

                make_text(&seed, i % 2 ? "aab*?" : "abc**??[[]]!^-\\", sizeof pattern, pattern);
                make_text(&seed, i % 2 ? "aab" : "abc[]!^-\\", sizeof name, name);
                if (compile(pattern, &glob) < 0)
                        continue;
                expected = fnmatch(pattern, name, 0) == 0;
                ck_assert_msg(matches(glob, name) == expected, "'%s' '%s'", pattern, name);
                n_compared++;
                n_matched += expected;
        }
        ck_assert_uint_gt(n_compared, 20000);
        ck_assert_uint_gt(n_matched, 1000);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("glob");
        TCase *tcase = tcase_create("glob");

        tcase_add_loop_test(tcase, test_what_a_pattern_matches, 0, ELEMENTS(cases));
        tcase_add_loop_test(tcase, test_what_is_no_pattern_is_refused, 0, ELEMENTS(bad_ones));
        tcase_add_test(tcase, test_several_patterns_match_what_one_of_them_does);
        tcase_add_test(tcase, test_no_pattern_matches_nothing);
        tcase_add_test(tcase, test_patterns_of_any_length_do_not_touch_each_other);
        tcase_add_test(tcase, test_patterns_that_are_too_long_are_refused);
        tcase_add_loop_test(tcase, test_what_every_match_begins_with, 0, ELEMENTS(beginnings));
        tcase_add_loop_test(tcase, test_it_is_as_fnmatch_says, 0, 4);
        suite_add_tcase(suite, tcase);
        return suite;
}
