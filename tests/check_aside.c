/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "state/aside.h"
#include "state_test.h"

#define NOON ((time_t)1763726400) /* 2025-11-21 12:00:00 UTC */

static void set_up(void) {
        use_path("registry.db");
}

static void make(const char *name) {
        write_file(in_dir("%s", name), name, strlen(name));
}

START_TEST(test_the_three_files_are_renamed_together) {
        char name[PATH_MAX];

        make("registry.db");
        make("registry.db-wal");
        make("registry.db-shm");
        ck_assert_int_eq(aside_set(path, NOON, name), 0);
        ck_assert_str_eq(name, in_dir("registry.db.corrupt-20251121T120000Z"));
        ck_assert(exists(name));
        ck_assert(exists(in_dir("registry.db.corrupt-20251121T120000Z-wal")));
        ck_assert(exists(in_dir("registry.db.corrupt-20251121T120000Z-shm")));
        ck_assert(!exists(path));
        ck_assert(!exists(in_dir("registry.db-wal")));
        ck_assert(!exists(in_dir("registry.db-shm")));
}
END_TEST

START_TEST(test_nothing_that_is_set_aside_is_overwritten) {
        static const char *const expected[] = { "", "-2", "-3" };
        char name[PATH_MAX];

        for (size_t i = 0; i < ELEMENTS(expected); i++) {
                make("registry.db");
                ck_assert_int_eq(aside_set(path, NOON, name), 0);
                ck_assert_str_eq(name, in_dir("registry.db.corrupt-20251121T120000Z%s", expected[i]));
        }
}
END_TEST

START_TEST(test_a_file_that_is_not_there_is_an_error) {
        char name[PATH_MAX];

        ck_assert_int_eq(aside_set(path, NOON, name), -ENOENT);
}
END_TEST

START_TEST(test_the_oldest_sets_beyond_the_bound_go_and_nothing_else) {
        static const struct {
                const char *name;
                bool goes;
        } files[] = {
                { "registry.db", false },
                { "registry.db.corrupt-20240101T000000Z", true },
                { "registry.db.corrupt-20240101T000000Z-wal", true },
                { "registry.db.corrupt-20240101T000000Z-shm", true },
                { "registry.db.corrupt-20240101T000000Z-2", true },
                { "registry.db.corrupt-20240101T000000Z-10", false },
                { "registry.db.corrupt-20240101T000000Z-10-wal", false },
                { "registry.db.corrupt-20250101T000000Z", false },
                { "registry.db.corrupt-20250102T000000Z", false },
                { "registry.db.corrupt-20250103T000000Z", false },
                { "registry.db.corrupt-20250104T000000Z", false },
                /* not ours */
                { "registry.db.corrupt-2023", false },
                { "registry.db.corrupt-20230101T000000Z.bak", false },
                { "registry.db.corrupt-20230101T000000Z-", false },
                { "registry.db.corrupt-20230101T000000Z-keep", false },
                { "another.db.corrupt-20230101T000000Z", false },
                { "registry.db2.corrupt-20230101T000000Z", false },
        };

        for (size_t i = 0; i < ELEMENTS(files); i++)
                make(files[i].name);
        aside_prune(path);
        for (size_t i = 0; i < ELEMENTS(files); i++)
                ck_assert_msg(exists(in_dir("%s", files[i].name)) != files[i].goes, "%s", files[i].name);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("aside");
        TCase *tcase = tcase_create("aside");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_add_test(tcase, test_the_three_files_are_renamed_together);
        tcase_add_test(tcase, test_nothing_that_is_set_aside_is_overwritten);
        tcase_add_test(tcase, test_a_file_that_is_not_there_is_an_error);
        tcase_add_test(tcase, test_the_oldest_sets_beyond_the_bound_go_and_nothing_else);
        suite_add_tcase(suite, tcase);
        return suite;
}
