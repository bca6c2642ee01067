/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/refusals.h"

#define NOW UINT64_C(1763700000000000)

static Refusals *refusals;

static void set_up(void) {
        ck_assert_int_eq(refusals_new(&refusals), 0);
}

static void tear_down(void) {
        refusals = refusals_free(refusals);
}

/* As it comes from a request: the name borrowed, and not terminated. */
static int note_of(const char *name, uint64_t at_usec, Refusal reason, uint16_t port) {
        char unterminated[64];
        Refused refused = { .name = unterminated,
                            .n_name = strlen(name),
                            .at_usec = at_usec,
                            .reason = reason,
                            .port = port,
                            .uid = 1000 };

        memset(unterminated, 'x', sizeof unterminated);
        memcpy(unterminated, name, strlen(name));
        return refusals_note(refusals, &refused);
}

static int note(const char *name, uint64_t at_usec) {
        return note_of(name, at_usec, REFUSAL_NAME_TAKEN, 4711);
}

static const Refused *find(const char *name) {
        return refusals_find(refusals, name, strlen(name));
}

START_TEST(test_the_last_refusal_of_each_name_is_remembered_as_a_copy) {
        char name[] = "a", unit[] = "a.service";
        Refused refused = { .name = name,
                            .n_name = 1,
                            .at_usec = NOW,
                            .reason = REFUSAL_NAME_RESERVED,
                            .port = 39449,
                            .uid = NODE_UID_UNKNOWN,
                            .unit = unit };
        const Refused *found;

        ck_assert_ptr_null(find("a"));
        ck_assert_int_eq(refusals_note(refusals, &refused), 1);
        name[0] = unit[0] = 'X';
        found = find("a");
        ck_assert_ptr_nonnull(found);
        ck_assert_uint_eq(found->n_name, 1);
        ck_assert_mem_eq(found->name, "a", 1);
        ck_assert_uint_eq(found->at_usec, NOW);
        ck_assert_int_eq(found->reason, REFUSAL_NAME_RESERVED);
        ck_assert_uint_eq(found->port, 39449);
        ck_assert_uint_eq(found->uid, NODE_UID_UNKNOWN);
        ck_assert_str_eq(found->unit, "a.service");

        ck_assert_int_eq(note_of("a", NOW + 5, REFUSAL_NAME_TAKEN, 1), 0);
        found = find("a");
        ck_assert_uint_eq(found->at_usec, NOW + 5);
        ck_assert_int_eq(found->reason, REFUSAL_NAME_TAKEN);
        ck_assert_uint_eq(found->port, 1);
        ck_assert_uint_eq(found->uid, 1000);
        ck_assert_ptr_null(found->unit);
}
END_TEST

START_TEST(test_names_are_told_apart_by_all_their_bytes) {
        static const char *const names[] = { "web", "we", "webs", "Web", "v", "x", "\xc3\xa9", "web_1" };

        for (size_t i = 0; i < ELEMENTS(names); i++)
                ck_assert_int_eq(note_of(names[i], NOW, REFUSAL_NAME_TAKEN, (uint16_t)i), 1);
        for (size_t i = 0; i < ELEMENTS(names); i++)
                ck_assert_uint_eq(find(names[i])->port, i);
        ck_assert_ptr_null(find("w"));
        ck_assert_ptr_null(find("web_"));
        ck_assert_ptr_null(find("zz"));
        ck_assert_ptr_null(find(""));
}
END_TEST

START_TEST(test_a_name_is_written_once_a_second_however_often_it_is_refused) {
        static const struct {
                uint64_t at; /* microseconds after NOW */
                int worth;
        } steps[] = {
                { 0, 1 },           { 0, 0 },           { 500000, 0 },      { 999999, 0 },
                { 1000000, 1 },     { 1999999, 0 },     { 2000001, 1 },     { 90 * USEC_PER_SEC, 1 },
                { 90500000, 0 },    { 3, 1 /* the clock was set back */ }, { 4, 0 }, { 1000003, 1 },
        };

        for (size_t i = 0; i < ELEMENTS(steps); i++) {
                ck_assert_msg(note("a", NOW + steps[i].at) == steps[i].worth, "step %zu", i);
                ck_assert_uint_eq(find("a")->at_usec, NOW + steps[i].at);
        }
        ck_assert_int_eq(note("b", NOW), 1);
}
END_TEST

START_TEST(test_what_is_no_name_is_not_remembered) {
        static const char *const names[] = { "", "\xff", "a\nb", "\x7f" };

        ck_assert_int_eq(note(names[_i], NOW), 0);
        ck_assert_ptr_null(find(names[_i]));
}
END_TEST

static const char *numbered(unsigned i) {
        static char name[32];

        snprintf(name, sizeof name, "n%u", i * 7919 % 10007); /* in no order */
        return name;
}

START_TEST(test_beyond_the_bound_the_one_refused_longest_ago_is_forgotten) {
        for (unsigned i = 0; i < REFUSALS_MAX; i++)
                ck_assert_int_eq(note(numbered(i), NOW + i), 1);
        /* The first one again: now it is the newest. */
        (void)note(numbered(0), NOW + 2 * USEC_PER_SEC);
        for (unsigned i = REFUSALS_MAX; i < REFUSALS_MAX + 10; i++)
                ck_assert_int_eq(note(numbered(i), NOW + 3 * USEC_PER_SEC), 1);
        for (unsigned i = 0; i < REFUSALS_MAX + 10; i++)
                ck_assert_msg(!find(numbered(i)) == (i >= 1 && i <= 10), "%u", i);
}
END_TEST

START_TEST(test_a_copy_is_ones_own) {
        Refused refused = { .name = (char[]){ 'a', 'b' }, .n_name = 2, .port = 7, .unit = (char[]){ "u" } }, copy;

        ck_assert_int_eq(refused_copy(&refused, &copy), 0);
        ck_assert_ptr_ne(copy.name, refused.name);
        ck_assert_ptr_ne(copy.unit, refused.unit);
        ck_assert_mem_eq(copy.name, "ab", 2);
        ck_assert_str_eq(copy.unit, "u");
        ck_assert_uint_eq(copy.port, 7);
        refused_done(&copy);
        ck_assert_ptr_null(copy.name);
        refused_done(&copy);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("refusals");
        TCase *tcase = tcase_create("refusals");

        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_the_last_refusal_of_each_name_is_remembered_as_a_copy);
        tcase_add_test(tcase, test_names_are_told_apart_by_all_their_bytes);
        tcase_add_test(tcase, test_a_name_is_written_once_a_second_however_often_it_is_refused);
        tcase_add_loop_test(tcase, test_what_is_no_name_is_not_remembered, 0, 4);
        tcase_add_test(tcase, test_beyond_the_bound_the_one_refused_longest_ago_is_forgotten);
        tcase_add_test(tcase, test_a_copy_is_ones_own);
        suite_add_tcase(suite, tcase);
        return suite;
}
