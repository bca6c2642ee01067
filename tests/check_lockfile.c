/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "state/lockfile.h"
#include "state_test.h"

#define NOBODY 65534

static void set_up(void) {
        use_path("registry.db.lock");
}

static Lockfile *acquire(void) {
        Lockfile *lock = NULL;
        pid_t holder;

        ck_assert_int_eq(lockfile_acquire(&lock, path, &holder), 0);
        return lock;
}

static void assert_text(const char *expected) {
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
        char text[128] = "";

        ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
        ck_assert_str_eq(text, expected);
}

START_TEST(test_the_file_says_for_people_who_holds_the_lock_and_how_far_creations_were_given) {
        _cleanup_(lockfile_releasep) Lockfile *lock = acquire();
        char expected[128];

        snprintf(expected, sizeof expected, "pid %-10ld\ncreations 0         \n", (long)getpid());
        assert_text(expected);
        ck_assert_uint_eq(lockfile_creations(lock), 0);
        ck_assert_int_eq(lockfile_raise_creations(lock, 1763687473), 0);
        snprintf(expected, sizeof expected, "pid %-10ld\ncreations 1763687473\n", (long)getpid());
        assert_text(expected);
        ck_assert_uint_eq(file_mode(path), 0600);
}
END_TEST

START_TEST(test_a_lock_that_was_made_for_the_group_is_so_no_more) {
        lockfile_release(acquire());
        ck_assert_int_eq(chmod(path, 0640), 0);
        lockfile_release(acquire());
        ck_assert_uint_eq(file_mode(path), 0600);
}
END_TEST

START_TEST(test_a_lock_is_held_once_and_the_other_is_told_by_whom) {
        Lockfile *first = acquire(), *second = NULL;
        pid_t holder = 0;

        ck_assert_int_eq(lockfile_acquire(&second, path, &holder), -EBUSY);
        ck_assert_int_eq(holder, getpid());
        lockfile_release(first);
        second = acquire();
        lockfile_release(second);
}
END_TEST

static int hold_and_die(const char *where) {
        Lockfile *lock;
        pid_t holder;

        return lockfile_acquire(&lock, where, &holder) == 0 &&
                               lockfile_raise_creations(lock, 77000) == 0
                       ? 0
                       : 1;
}

START_TEST(test_a_lock_ends_with_its_holder_and_creations_stay) {
        Lockfile *lock;

        ck_assert_int_eq(run_child(0, 0, hold_and_die, path), 0);
        lock = acquire();
        ck_assert_uint_eq(lockfile_creations(lock), 77000);
        lockfile_release(lock);
}
END_TEST

START_TEST(test_creations_are_only_raised) {
        Lockfile *lock = acquire();

        ck_assert_int_eq(lockfile_raise_creations(lock, 5000), 0);
        ck_assert_int_eq(lockfile_raise_creations(lock, 4000), 0);
        ck_assert_int_eq(lockfile_raise_creations(lock, 0), 0);
        ck_assert_uint_eq(lockfile_creations(lock), 5000);
        lockfile_release(lock);
        lock = acquire();
        ck_assert_uint_eq(lockfile_creations(lock), 5000);
        lockfile_release(lock);
}
END_TEST

START_TEST(test_a_lock_file_that_is_deleted_or_replaced_is_noticed) {
        _cleanup_(lockfile_releasep) Lockfile *lock = acquire();
        _cleanup_(lockfile_releasep) Lockfile *again = NULL;

        ck_assert(lockfile_is_in_place(lock));
        ck_assert_int_eq(unlink(path), 0);
        ck_assert(!lockfile_is_in_place(lock));
        again = acquire();
        ck_assert(lockfile_is_in_place(again));
        ck_assert(!lockfile_is_in_place(lock));
}
END_TEST

START_TEST(test_directories_are_made_and_those_that_exist_are_left_as_they_are) {
        mode_t former = umask(077);
        Lockfile *lock;

        ck_assert_int_eq(mkdir(in_dir("there"), 0700), 0);
        use_path("there/deep/er/registry.db.lock");
        lock = acquire();
        umask(former);
        ck_assert_uint_eq(file_mode(in_dir("there")), 0700);
        ck_assert_uint_eq(file_mode(in_dir("there/deep")), 0755);
        ck_assert_uint_eq(file_mode(in_dir("there/deep/er")), 0750);
        ck_assert_uint_eq(file_mode(path), 0600);
        lockfile_release(lock);
}
END_TEST

START_TEST(test_a_path_without_a_directory_is_in_the_current_one) {
        Lockfile *lock;

        ck_assert_int_eq(mkdir(in_dir("cwd"), 0755), 0);
        ck_assert_int_eq(chdir(in_dir("cwd")), 0);
        snprintf(path, sizeof path, "r.lock");
        lock = acquire();
        ck_assert(lockfile_is_in_place(lock));
        lockfile_release(lock);
        ck_assert(exists(in_dir("cwd/r.lock")));
}
END_TEST

START_TEST(test_what_is_not_a_lock_file_is_refused) {
        static const struct {
                const char *what;
                int r;
        } cases[] = { { "directory", -EISDIR }, { "symbolic link", -ELOOP }, { "fifo", -EINVAL } };
        Lockfile *lock = NULL;
        pid_t holder;

        switch (_i) {
        case 0:
                ck_assert_int_eq(mkdir(path, 0755), 0);
                break;
        case 1:
                ck_assert_int_eq(symlink("/etc/passwd", path), 0);
                break;
        default:
                ck_assert_int_eq(mkfifo(path, 0600), 0);
                break;
        }
        ck_assert_msg(lockfile_acquire(&lock, path, &holder) == cases[_i].r, "%s", cases[_i].what);
        ck_assert_ptr_null(lock);
}
END_TEST

START_TEST(test_a_lock_file_with_garbage_is_taken_and_remembers_nothing) {
        static const char *const garbage[] = { "", "\n", "pid", "pid x\ncreations y\n",
                                               "creations 5\npid 5\n" };
        Lockfile *lock;

        write_file(path, garbage[_i], strlen(garbage[_i]));
        lock = acquire();
        ck_assert_uint_eq(lockfile_creations(lock), 0);
        ck_assert_int_eq(lockfile_raise_creations(lock, 5000), 0);
        lockfile_release(lock);
        lock = acquire();
        ck_assert_uint_eq(lockfile_creations(lock), 5000);
        lockfile_release(lock);
}
END_TEST

static int lock_what_may_only_be_read(const char *where) {
        Lockfile *lock, *second;
        pid_t holder;

        if (lockfile_acquire(&lock, where, &holder) != 0)
                return 1;
        if (lockfile_creations(lock) != 5000)
                return 2;
        if (lockfile_raise_creations(lock, 6000) != -EROFS)
                return 3;
        if (lockfile_acquire(&second, where, &holder) != -EBUSY)
                return 4;
        return 0;
}

START_TEST(test_a_file_that_may_only_be_read_is_locked_all_the_same) {
        Lockfile *lock;

        if (geteuid() != 0)
                return; /* only root can be somebody else */
        lock = acquire();
        ck_assert_int_eq(lockfile_raise_creations(lock, 5000), 0);
        lockfile_release(lock);
        ck_assert_int_eq(chmod(path, 0644), 0);
        ck_assert_int_eq(run_child(NOBODY, NOBODY, lock_what_may_only_be_read, path), 0);
}
END_TEST

static int fail_to_make(const char *where) {
        Lockfile *lock;
        pid_t holder;

        return -lockfile_acquire(&lock, where, &holder);
}

START_TEST(test_why_a_file_or_directory_cannot_be_made_is_told) {
        if (geteuid() != 0)
                return; /* only root can be somebody else */
        ck_assert_int_eq(run_child(NOBODY, NOBODY, fail_to_make, path), EACCES);
        ck_assert_int_eq(run_child(NOBODY, NOBODY, fail_to_make, in_dir("a/b/c.lock")), EACCES);
        write_file(in_dir("file"), "", 0);
        ck_assert_int_eq(run_child(0, 0, fail_to_make, in_dir("file/c.lock")), ENOTDIR);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("lockfile");
        TCase *tcase = tcase_create("lockfile");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_add_test(tcase, test_the_file_says_for_people_who_holds_the_lock_and_how_far_creations_were_given);
        tcase_add_test(tcase, test_a_lock_that_was_made_for_the_group_is_so_no_more);
        tcase_add_test(tcase, test_a_lock_is_held_once_and_the_other_is_told_by_whom);
        tcase_add_test(tcase, test_a_lock_ends_with_its_holder_and_creations_stay);
        tcase_add_test(tcase, test_creations_are_only_raised);
        tcase_add_test(tcase, test_a_lock_file_that_is_deleted_or_replaced_is_noticed);
        tcase_add_test(tcase, test_directories_are_made_and_those_that_exist_are_left_as_they_are);
        tcase_add_test(tcase, test_a_path_without_a_directory_is_in_the_current_one);
        tcase_add_loop_test(tcase, test_what_is_not_a_lock_file_is_refused, 0, 3);
        tcase_add_loop_test(tcase, test_a_lock_file_with_garbage_is_taken_and_remembers_nothing, 0, 5);
        tcase_add_test(tcase, test_a_file_that_may_only_be_read_is_locked_all_the_same);
        tcase_add_test(tcase, test_why_a_file_or_directory_cannot_be_made_is_told);
        suite_add_tcase(suite, tcase);
        return suite;
}
