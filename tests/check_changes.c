/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/changes.h"

#define PLENTY ((size_t)1 << 30)

/* A change whose record tells its revision, `n_record` bytes long. */
static int add_bytes(Changes *changes, uint64_t revision, size_t n_record) {
        static uint8_t record[4096];
        char name[32];

        ck_assert_uint_le(n_record, sizeof record);
        memset(record, (int)(revision & 0xff), sizeof record);
        snprintf(name, sizeof name, "node%llu", (unsigned long long)revision);
        return changes_add(changes, &(ChangeRecord){
                                            .revision = revision,
                                            .scope = { { (uint8_t)revision } },
                                            .name = name,
                                            .n_name = strlen(name),
                                            .record = record,
                                            .n_record = n_record,
                                    });
}

static void add(Changes *changes, uint64_t revision) {
        ck_assert_int_eq(add_bytes(changes, revision, 10), 0);
}

static void assert_is(const ChangeRecord *change, uint64_t revision, size_t n_record) {
        char name[32];

        snprintf(name, sizeof name, "node%llu", (unsigned long long)revision);
        ck_assert_ptr_nonnull(change);
        ck_assert_uint_eq(change->revision, revision);
        ck_assert_uint_eq(change->scope.bytes[0], revision & 0xff);
        ck_assert_uint_eq(change->n_name, strlen(name));
        ck_assert_mem_eq(change->name, name, change->n_name);
        ck_assert_uint_eq(change->n_record, n_record);
        for (size_t i = 0; i < n_record; i++)
                ck_assert_uint_eq(change->record[i], revision & 0xff);
}

/* Exactly the changes after `forgotten` up to `last`. */
static void assert_remembers(const Changes *changes, uint64_t forgotten, uint64_t last) {
        ck_assert_uint_eq(changes_n(changes), last - forgotten);
        for (uint64_t revision = forgotten > 5 ? forgotten - 5 : 0; revision < last + 5; revision++) {
                bool is_remembered = revision > forgotten && revision <= last;

                ck_assert_int_eq(changes_reach_back_to(changes, revision), revision >= forgotten && revision <= last);
                ck_assert_int_eq(changes_get(changes, revision) != NULL, is_remembered);
                if (is_remembered)
                        ck_assert_uint_eq(changes_get(changes, revision)->revision, revision);
        }
}

START_TEST(test_at_first_it_reaches_back_to_where_it_began) {
        _cleanup_(changes_freep) Changes *changes = NULL;

        ck_assert_int_eq(changes_new(&changes, 4, PLENTY, 7), 0);
        assert_remembers(changes, 7, 7);
}
END_TEST

START_TEST(test_what_was_added_is_remembered_as_it_was) {
        _cleanup_(changes_freep) Changes *changes = NULL;

        ck_assert_int_eq(changes_new(&changes, 4, PLENTY, 7), 0);
        ck_assert_int_eq(add_bytes(changes, 8, 100), 0);
        ck_assert_int_eq(add_bytes(changes, 9, 0), 0);
        assert_is(changes_get(changes, 8), 8, 100);
        assert_is(changes_get(changes, 9), 9, 0);
        assert_remembers(changes, 7, 9);
}
END_TEST

START_TEST(test_beyond_so_many_the_oldest_is_forgotten) {
        _cleanup_(changes_freep) Changes *changes = NULL;

        ck_assert_int_eq(changes_new(&changes, 4, PLENTY, 0), 0);
        for (uint64_t revision = 1; revision <= 100; revision++) {
                add(changes, revision);
                assert_remembers(changes, revision < 4 ? 0 : revision - 4, revision);
                assert_is(changes_get(changes, revision), revision, 10);
        }
}
END_TEST

START_TEST(test_beyond_so_many_bytes_the_oldest_are_forgotten) {
        _cleanup_(changes_freep) Changes *changes = NULL;

        ck_assert_int_eq(changes_new(&changes, 1000, 1000, 0), 0);
        for (uint64_t revision = 1; revision <= 5; revision++)
                ck_assert_int_eq(add_bytes(changes, revision, 195), 0); /* and 5 of its name */
        assert_remembers(changes, 0, 5);
        ck_assert_uint_eq(changes_n_bytes(changes), 1000);
        ck_assert_int_eq(add_bytes(changes, 6, 1), 0);
        assert_remembers(changes, 1, 6);
        ck_assert_int_eq(add_bytes(changes, 7, 995), 0);
        assert_remembers(changes, 6, 7);
        ck_assert_uint_eq(changes_n_bytes(changes), 1000);
        /* one that is too long for all of it is forgotten at once */
        ck_assert_int_eq(add_bytes(changes, 8, 996), 0);
        assert_remembers(changes, 8, 8);
        ck_assert_uint_eq(changes_n_bytes(changes), 0);
        add(changes, 9);
        assert_remembers(changes, 8, 9);
}
END_TEST

static const uint64_t gaps[] = { 1, 2, 3, 5, 1000 };

START_TEST(test_a_gap_makes_all_before_it_forgotten) {
        _cleanup_(changes_freep) Changes *changes = NULL;

        ck_assert_int_eq(changes_new(&changes, 8, PLENTY, 0), 0);
        for (uint64_t revision = 1; revision <= 3; revision++)
                add(changes, revision);
        ck_assert_int_eq(add_bytes(changes, gaps[_i], 10), -EINVAL);
        assert_remembers(changes, gaps[_i], gaps[_i]);
        ck_assert_uint_eq(changes_n_bytes(changes), 0);
        add(changes, gaps[_i] + 1);
        assert_remembers(changes, gaps[_i], gaps[_i] + 1);
}
END_TEST

START_TEST(test_all_can_be_forgotten) {
        _cleanup_(changes_freep) Changes *changes = NULL;

        ck_assert_int_eq(changes_new(&changes, 4, PLENTY, 0), 0);
        for (uint64_t revision = 1; revision <= 6; revision++)
                add(changes, revision);
        changes_forget(changes, 6);
        assert_remembers(changes, 6, 6);
        changes_forget(changes, 9);
        add(changes, 10);
        assert_remembers(changes, 9, 10);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("changes");
        TCase *tcase = tcase_create("memory");

        tcase_add_test(tcase, test_at_first_it_reaches_back_to_where_it_began);
        tcase_add_test(tcase, test_what_was_added_is_remembered_as_it_was);
        tcase_add_test(tcase, test_beyond_so_many_the_oldest_is_forgotten);
        tcase_add_test(tcase, test_beyond_so_many_bytes_the_oldest_are_forgotten);
        tcase_add_loop_test(tcase, test_a_gap_makes_all_before_it_forgotten, 0, ELEMENTS(gaps));
        tcase_add_test(tcase, test_all_can_be_forgotten);
        suite_add_tcase(suite, tcase);
        return suite;
}
