/* SPDX-License-Identifier: Apache-2.0 */

#include <poll.h>

#include "notify.h"
#include "notify_test.h"

static Notify *notify_to(const char *path) {
        Notify *notify = NULL;

        if (path)
                setenv("NOTIFY_SOCKET", path, 1);
        else
                unsetenv("NOTIFY_SOCKET");
        ck_assert_int_eq(notify_new(&notify), 0);
        return notify;
}

START_TEST(test_each_word_is_said_as_systemd_expects_it) {
        const char *path = manager_address(_i);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);

        ck_assert_int_ge(notify_fd(notify), 0);
        notify_status(notify, "1 node");
        expect_word(fd, "STATUS=1 node");
        notify_ready(notify);
        expect_word(fd, "READY=1");
        notify_watchdog(notify);
        expect_word(fd, "WATCHDOG=1");
        notify_reloading(notify, UINT64_C(12345678901));
        expect_word(fd, "RELOADING=1\nMONOTONIC_USEC=12345678901");
        notify_stopping(notify);
        expect_word(fd, "STOPPING=1");
        expect_nothing(fd);
        ck_assert(!notify_is_pending(notify));
        notify_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_the_variable_is_cleared_so_that_no_child_speaks_for_us) {
        const char *path = manager_address(0);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);

        ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
        notify_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_without_a_service_manager_nothing_is_said) {
        Notify *notify = notify_to(NULL);

        ck_assert_int_eq(notify_fd(notify), -1);
        ck_assert_ptr_null(notify_path(notify));
        notify_ready(notify);
        notify_status(notify, "1 node");
        notify_watchdog(notify);
        notify_reloading(notify, 1);
        notify_stopping(notify);
        notify_flush(notify);
        ck_assert(!notify_is_pending(notify));
        notify_free(notify);
        ck_assert_ptr_null(notify_free(NULL));
}
END_TEST

START_TEST(test_an_address_that_is_none_is_an_error) {
        Notify *notify = NULL;

        setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
        ck_assert_int_eq(notify_new(&notify), -EINVAL);
        ck_assert_ptr_null(notify);
        unsetenv("NOTIFY_SOCKET");
}
END_TEST

START_TEST(test_the_address_is_there_for_whoever_has_more_to_say) {
        const char *path = manager_address(_i);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);

        ck_assert_str_eq(notify_path(notify), path);
        notify_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_a_status_that_has_not_changed_is_not_said_again) {
        const char *path = manager_address(0);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);

        notify_status(notify, "1 node");
        notify_status(notify, "1 node");
        expect_word(fd, "STATUS=1 node");
        expect_nothing(fd);
        notify_status(notify, "2 nodes");
        notify_status(notify, "1 node");
        expect_word(fd, "STATUS=2 nodes");
        expect_word(fd, "STATUS=1 node");
        expect_nothing(fd);
        notify_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_a_long_status_is_cut) {
        const char *path = manager_address(0);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);
        char text[2000], said[2100];
        ssize_t n;

        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = 0;
        notify_status(notify, text);
        n = recv(fd, said, sizeof said, 0);
        ck_assert_int_gt(n, 400);
        ck_assert_int_lt(n, 600);
        ck_assert_mem_eq(said, "STATUS=xxxx", 11);
        notify_status(notify, text);
        expect_nothing(fd);
        notify_free(notify);
        close(fd);
}
END_TEST

/* Until the manager's queue takes no more. */
static unsigned fill_queue(Notify *notify) {
        unsigned n = 0;

        while (!notify_is_pending(notify)) {
                notify_watchdog(notify);
                ck_assert_uint_lt(++n, 1000000);
        }
        return n - 1;
}

START_TEST(test_a_full_queue_keeps_nobody_waiting_and_what_counts_is_said_later) {
        const char *path = manager_address(_i);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);
        unsigned n = fill_queue(notify);
        uint64_t began = test_now();

        notify_status(notify, "one");
        notify_status(notify, "two");
        notify_ready(notify);
        notify_status(notify, "three");
        notify_watchdog(notify);
        notify_flush(notify);
        ck_assert_uint_lt(test_now() - began, USEC_PER_SEC);
        ck_assert(notify_is_pending(notify));

        for (unsigned i = 0; i < n; i++)
                expect_word(fd, "WATCHDOG=1");
        expect_nothing(fd);
        notify_flush(notify);
        ck_assert(!notify_is_pending(notify));
        expect_word(fd, "READY=1");
        expect_word(fd, "WATCHDOG=1");
        expect_word(fd, "STATUS=three");
        expect_nothing(fd);
        notify_free(notify);
        close(fd);
}
END_TEST

/* A socket that is not connected to the manager always looks writable, and the loop would spin. */
START_TEST(test_the_socket_becomes_writable_when_the_queue_has_room_and_not_before) {
        const char *path = manager_address(_i);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);
        struct pollfd pollfd = { .fd = notify_fd(notify), .events = POLLOUT };

        ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
        fill_queue(notify);
        ck_assert_int_eq(poll(&pollfd, 1, 0), 0);
        while (recv(fd, (char[64]){ 0 }, 64, 0) >= 0)
                ;
        ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
        ck_assert_int_eq(pollfd.revents, POLLOUT);
        notify_flush(notify);
        ck_assert(!notify_is_pending(notify));
        notify_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_nobody_at_the_address_is_no_error) {
        const char *path = manager_address(_i);
        Notify *notify = notify_to(path);

        notify_ready(notify);
        notify_status(notify, "1 node");
        ck_assert(!notify_is_pending(notify));
        notify_free(notify);
}
END_TEST

START_TEST(test_a_manager_that_goes_away_is_no_error) {
        const char *path = manager_address(_i);
        int fd = manager_new(path);
        Notify *notify = notify_to(path);

        notify_ready(notify);
        fill_queue(notify);
        close(fd);
        notify_flush(notify);
        notify_status(notify, "1 node");
        ck_assert(!notify_is_pending(notify));

        /* and its successor is spoken to */
        if (_i == 0)
                ck_assert_int_eq(unlink(path), 0);
        fd = manager_new(path);
        notify_status(notify, "2 nodes");
        expect_word(fd, "STATUS=2 nodes");
        close(fd);
        notify_free(notify);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("notify");
        TCase *tcase = tcase_create("words");

        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_each_word_is_said_as_systemd_expects_it, 0, 2);
        tcase_add_test(tcase, test_the_variable_is_cleared_so_that_no_child_speaks_for_us);
        tcase_add_test(tcase, test_without_a_service_manager_nothing_is_said);
        tcase_add_test(tcase, test_an_address_that_is_none_is_an_error);
        tcase_add_loop_test(tcase, test_the_address_is_there_for_whoever_has_more_to_say, 0, 2);
        tcase_add_test(tcase, test_a_status_that_has_not_changed_is_not_said_again);
        tcase_add_test(tcase, test_a_long_status_is_cut);
        tcase_add_loop_test(tcase, test_a_full_queue_keeps_nobody_waiting_and_what_counts_is_said_later, 0, 2);
        tcase_add_loop_test(tcase, test_the_socket_becomes_writable_when_the_queue_has_room_and_not_before, 0, 2);
        tcase_add_loop_test(tcase, test_nobody_at_the_address_is_no_error, 0, 2);
        tcase_add_loop_test(tcase, test_a_manager_that_goes_away_is_no_error, 0, 2);
        suite_add_tcase(suite, tcase);
        return suite;
}
