/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "core/creation.h"
#include "util.h"

static const struct {
        uint32_t a, b, later;
} pairs[] = {
        { 0, 0, 0 },
        { 0, 5, 5 },
        { 1000, 1000, 1000 },
        { 1000, 2000, 2000 },
        { 1763687473, 1763688473, 1763688473 },
        { 4294966296, 4294967295, 4294967295 },
        { 4294967000, 4, 4 }, /* begun again */
        { 4294967295, 1003, 1003 },
};

START_TEST(test_the_later_of_two_marks_is_found_also_beyond_the_end_of_the_range) {
        ck_assert_uint_eq(creation_later(pairs[_i].a, pairs[_i].b), pairs[_i].later);
        ck_assert_uint_eq(creation_later(pairs[_i].b, pairs[_i].a), pairs[_i].later);
}
END_TEST

static const struct {
        uint32_t mark;
        uint64_t unix_seconds;
        uint32_t first;
        const char *why;
} starts[] = {
        { 0, 1763687473, 1763687473, "a new registry begins at the time" },
        { 0, 0, CREATION_MIN, "a clock that was never set" },
        { 0, 4000000000, 4000000000, "nothing better is known" },
        { 5000, 1763687473, 1763687473, "the time is ahead of what was given" },
        { 1863687473, 1763687473, 1863687473, "a clock that was set back" },
        { 1863687473, 0, 1863687473, "a clock that is not set yet" },
        { 1863687473, 4000000000, 1863687473, "a clock that is not believed" },
        { 1863687473, UINT64_C(1) << 40, 1863687473, "a clock that is beyond the range" },
        { 4294967295, 1763687473, 4294967295, "the end of the range" },
        { 1004, 1763687473, 1763687473, "begun again: forward, to what was given longest ago" },
};

START_TEST(test_a_run_begins_at_a_creation_that_was_never_given) {
        ck_assert_msg(creation_first(starts[_i].mark, starts[_i].unix_seconds) == starts[_i].first,
                      "%s", starts[_i].why);
}
END_TEST

static const struct {
        uint32_t creation, previous, small;
} smalls[] = {
        { 3, 0, 1 },
        { 4, 0, 2 },
        { 5, 0, 3 },
        { 3, 1, 2 },
        { 4, 2, 3 },
        { 5, 3, 1 },
        { 5, 1795225885, 3 }, /* what it had was a big one */
};

START_TEST(test_a_small_creation_is_not_the_one_the_name_had_last) {
        ck_assert_uint_eq(creation_small(smalls[_i].creation, smalls[_i].previous), smalls[_i].small);
}
END_TEST

START_TEST(test_creations_begin_again_above_the_end_of_the_range) {
        ck_assert_uint_eq(creation_add(UINT32_MAX, 1), CREATION_MIN);
        ck_assert_uint_eq(creation_add(UINT32_MAX - 1, 3), CREATION_MIN + 1);
        ck_assert_uint_eq(creation_distance(UINT32_MAX, CREATION_MIN), 1);
        for (uint32_t n = 0; n < 3 * CREATION_BLOCK; n += 7) {
                uint32_t from = UINT32_MAX - CREATION_BLOCK;

                ck_assert_uint_eq(creation_distance(from, creation_add(from, n)), n);
        }
}
END_TEST

START_TEST(test_what_is_not_known_is_far_beyond_the_time) {
        ck_assert_uint_eq(creation_unknown(1795225885, 0), UINT32_C(1795225885) + (1 << 24));
        ck_assert_uint_eq(creation_unknown(1795225885, UINT32_MAX),
                          UINT32_C(1795225885) + (1 << 24) + (UINT32_MAX >> 4));
        ck_assert_uint_ge(creation_unknown(UINT32_MAX, UINT32_MAX), CREATION_MIN);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("creation");
        TCase *tcase = tcase_create("creation");

        tcase_add_loop_test(tcase, test_the_later_of_two_marks_is_found_also_beyond_the_end_of_the_range, 0,
                            (int)ELEMENTS(pairs));
        tcase_add_loop_test(tcase, test_a_run_begins_at_a_creation_that_was_never_given, 0,
                            (int)ELEMENTS(starts));
        tcase_add_loop_test(tcase, test_a_small_creation_is_not_the_one_the_name_had_last, 0,
                            ELEMENTS(smalls));
        tcase_add_test(tcase, test_creations_begin_again_above_the_end_of_the_range);
        tcase_add_test(tcase, test_what_is_not_known_is_far_beyond_the_time);
        suite_add_tcase(suite, tcase);
        return suite;
}
