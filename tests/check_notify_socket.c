/* SPDX-License-Identifier: Apache-2.0 */

#include <poll.h>

#include "notify_socket.h"
#include "notify_test.h"

static NotifySocket *socket_to(const char *path) {
        NotifySocket *notify = NULL;

        ck_assert_int_eq(notify_socket_new(&notify, path), 0);
        return notify;
}

static int send_word(NotifySocket *notify, const char *word) {
        return notify_socket_send(notify, word, strlen(word), -1);
}

static bool is_writable(NotifySocket *notify) {
        struct pollfd pollfd = { .fd = notify_socket_fd(notify), .events = POLLOUT };

        return poll(&pollfd, 1, 0) == 1;
}

/* --- addresses ---------------------------------------------------------------------------------------- */

static const struct {
        const char *path;
        int result;
} addresses[] = {
        { "/nowhere", 0 },
        { "@nowhere", 0 },
        { "", -EINVAL },
        { "/", -EINVAL },
        { "@", -EINVAL },
        { "relative/path", -EINVAL },
        { "vsock:2:1234", -EINVAL },
};

START_TEST(test_an_address_is_a_path_or_an_abstract_name) {
        NotifySocket *notify = NULL;

        ck_assert_int_eq(notify_socket_new(&notify, addresses[_i].path), addresses[_i].result);
        ck_assert(!notify == !!addresses[_i].result);
        if (notify)
                ck_assert_str_eq(notify_socket_path(notify), addresses[_i].path);
        ck_assert_ptr_null(notify_socket_free(notify));
}
END_TEST

START_TEST(test_a_path_has_room_for_its_nul) {
        static const size_t room = sizeof ((struct sockaddr_un *)NULL)->sun_path;

        for (size_t n = room - 2; n < room + 3; n++) {
                char path[200];
                NotifySocket *notify = NULL;

                memset(path, 'x', n);
                path[0] = '/';
                path[n] = 0;
                ck_assert_int_eq(notify_socket_new(&notify, path), n < room ? 0 : -ENAMETOOLONG);
                notify_socket_free(notify);
        }
}
END_TEST

/* --- datagrams ---------------------------------------------------------------------------------------- */

START_TEST(test_each_datagram_arrives_whole_and_in_order) {
        const char *path = manager_address(_i);
        int fd = manager_new(path);
        NotifySocket *notify = socket_to(path);

        ck_assert_int_eq(send_word(notify, "READY=1"), 0);
        ck_assert_int_eq(send_word(notify, "STATUS=a\nMAINPID=1"), 0);
        expect_word(fd, "READY=1");
        expect_word(fd, "STATUS=a\nMAINPID=1");
        expect_nothing(fd);
        notify_socket_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_a_descriptor_arrives_as_a_duplicate_that_works) {
        const char *path = manager_address(_i);
        int fd = manager_new(path), pair[2], passed_fd;
        NotifySocket *notify = socket_to(path);
        char said[64], byte;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ck_assert_int_eq(notify_socket_send(notify, "FDSTORE=1", 9, pair[0]), 0);
        close(pair[0]); /* as when we are killed before the manager has read */
        ck_assert(manager_receive(fd, said, sizeof said, &passed_fd));
        ck_assert_str_eq(said, "FDSTORE=1");
        ck_assert_int_ge(passed_fd, 0);
        ck_assert_int_eq(send(passed_fd, "x", 1, 0), 1);
        ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
        close(passed_fd);
        close(pair[1]);
        notify_socket_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_a_full_queue_is_told_at_once_and_the_socket_is_writable_when_it_has_room) {
        const char *path = manager_address(_i);
        int fd = manager_new(path), r;
        NotifySocket *notify = socket_to(path);
        unsigned n = 0;

        ck_assert(is_writable(notify));
        while ((r = notify_socket_send(notify, "FDSTORE=1", 9, fd)) == 0)
                ck_assert_uint_lt(++n, 1000000);
        ck_assert_int_eq(r, -EAGAIN);
        ck_assert_uint_gt(n, 0);
        ck_assert(!is_writable(notify));
        ck_assert_int_eq(send_word(notify, "READY=1"), -EAGAIN);
        for (; n > 0; n--) {
                char said[64];
                int passed_fd;

                ck_assert(manager_receive(fd, said, sizeof said, &passed_fd));
                close(passed_fd);
        }
        ck_assert(is_writable(notify));
        ck_assert_int_eq(send_word(notify, "READY=1"), 0);
        expect_word(fd, "READY=1");
        notify_socket_free(notify);
        close(fd);
}
END_TEST

START_TEST(test_a_manager_that_comes_later_or_again_is_spoken_to) {
        const char *path = manager_address(_i);
        NotifySocket *notify = socket_to(path);

        for (unsigned i = 0; i < 3; i++) {
                int fd;

                ck_assert_int_lt(send_word(notify, "READY=1"), 0);
                fd = manager_new(path);
                ck_assert_int_eq(send_word(notify, "READY=1"), 0);
                expect_word(fd, "READY=1");
                expect_nothing(fd);
                close(fd);
                if (_i == 0)
                        ck_assert_int_eq(unlink(path), 0);
        }
        notify_socket_free(notify);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("notify_socket");
        TCase *tcase = tcase_create("addresses");

        tcase_add_loop_test(tcase, test_an_address_is_a_path_or_an_abstract_name, 0, ELEMENTS(addresses));
        tcase_add_test(tcase, test_a_path_has_room_for_its_nul);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("datagrams");
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_each_datagram_arrives_whole_and_in_order, 0, 2);
        tcase_add_loop_test(tcase, test_a_descriptor_arrives_as_a_duplicate_that_works, 0, 2);
        tcase_add_loop_test(tcase, test_a_full_queue_is_told_at_once_and_the_socket_is_writable_when_it_has_room, 0, 2);
        tcase_add_loop_test(tcase, test_a_manager_that_comes_later_or_again_is_spoken_to, 0, 2);
        suite_add_tcase(suite, tcase);
        return suite;
}
