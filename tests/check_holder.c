/* SPDX-License-Identifier: Apache-2.0 */
/* evidence/holder: who has a port, told of this process and of its children. */

#include <arpa/inet.h>
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "check_main.h"
#include "evidence/holder.h"
#include "core/node.h"
#include "network_test.h"
#include "util.h"

#define SOMEONE_ELSE 65534

#define SKIP(reason) skip(__func__, reason)

/* check calls the function of test_x test_x_fn. */
static void skip(const char *function, const char *reason) {
        const char *suffix = strstr(function, "_fn");

        printf("SKIP: %.*s: %s\n", suffix ? (int)(suffix - function) : INT_MAX, function, reason);
}

/* Listens on `text`, on any free port if `port` is 0. Returns the port. */
static uint16_t listen_at(const char *text, uint16_t port, int *ret_fd) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
        socklen_t n = sizeof(sa);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(inet_pton(AF_INET, text, &sa.sin_addr), 1);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
        *ret_fd = fd;
        return ntohs(sa.sin_port);
}

static Address address_of(const char *text) {
        Address address;

        ck_assert_int_eq(address_parse(text, &address), 0);
        return address;
}

/* A child that does nothing but hold what it has inherited, until `*ret_pipe` is closed. */
static pid_t start_holder(int *ret_pipe, uid_t uid) {
        int pipe_fds[2], ready_fds[2];
        char byte;

        ck_assert_int_eq(pipe(pipe_fds), 0);
        ck_assert_int_eq(pipe(ready_fds), 0);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                close(pipe_fds[1]);
                if (uid != NODE_UID_UNKNOWN && setresuid(uid, uid, uid) < 0)
                        _exit(1);
                (void)prctl(PR_SET_NAME, "a \x1b[1mholder");
                if (write(ready_fds[1], "", 1) != 1)
                        _exit(1);
                _exit(read(pipe_fds[0], &byte, 1) == 0 ? 0 : 1);
        }
        close(pipe_fds[0]);
        ck_assert_int_eq(read(ready_fds[0], &byte, 1), 1);
        *ret_pipe = pipe_fds[1];
        return pid;
}

static void stop_holder(pid_t pid, int pipe_fd) {
        close(pipe_fd);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static const struct {
        const char *bound_to, *wanted;
        int r;
} conflicts[] = {
        { "127.0.0.1", "127.0.0.1", 0 }, { "0.0.0.0", "127.0.0.1", 0 },
        { "127.0.0.1", "*", 0 },         { "0.0.0.0", "*", 0 },
        { "0.0.0.0", "::1", 0 },         { "127.0.0.1", "127.0.0.2", -ENOENT },
};

START_TEST(test_who_keeps_an_address_from_being_bound_is_found) {
        const Address wanted = address_of(conflicts[_i].wanted);
        PortHolder holder = { .pid = -1 };
        int fd;
        uint16_t port = listen_at(conflicts[_i].bound_to, 0, &fd);

        (void)prctl(PR_SET_NAME, "the-holder");
        ck_assert_int_eq(holder_find(&wanted, port, &holder), conflicts[_i].r);
        ck_assert_int_eq(holder.pid, conflicts[_i].r == 0 ? getpid() : -1);
        if (conflicts[_i].r == 0) {
                ck_assert_uint_eq(holder.uid, geteuid());
                ck_assert_str_eq(holder.program, "the-holder");
        }
        close(fd);
        ck_assert_int_eq(holder_find(&wanted, port, &holder), -ENOENT);
}
END_TEST

/* The one that stands in the way, not just any that has the port; and with a name that a log can
 * bear. */
START_TEST(test_of_two_holders_the_one_in_the_way_is_told) {
        const Address mine = address_of("127.0.0.1"), theirs = address_of("127.0.0.2");
        PortHolder holder = { 0 };
        int my_fd, their_fd, pipe_fd;
        uint16_t port = listen_at("127.0.0.2", 0, &their_fd);
        pid_t pid = start_holder(&pipe_fd, NODE_UID_UNKNOWN);

        close(their_fd);
        listen_at("127.0.0.1", port, &my_fd);
        ck_assert_int_eq(holder_find(&mine, port, &holder), 0);
        ck_assert_int_eq(holder.pid, getpid());
        ck_assert_int_eq(holder_find(&theirs, port, &holder), 0);
        ck_assert_int_eq(holder.pid, pid);
        ck_assert_str_eq(holder.program, "a??[1mholder");
        stop_holder(pid, pipe_fd);
}
END_TEST

static int find_as_someone_else(uint16_t port) {
        const Address any = ADDRESS_ANY;
        PortHolder holder = { 0 };

        if (setresuid(SOMEONE_ELSE, SOMEONE_ELSE, SOMEONE_ELSE) < 0)
                return 1;
        if (holder_find(&any, port, &holder) != 0)
                return 2;
        if (holder.pid != 0 || holder.program[0])
                return 3;
        return holder.uid == 0 ? 0 : 4;
}

START_TEST(test_of_another_users_process_only_the_uid_is_told) {
        int fd, status;
        uint16_t port = listen_at("127.0.0.1", 0, &fd);

        if (geteuid() != 0) {
                SKIP("needs root to become another user");
                return;
        }
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                close(fd); /* else the child is a holder itself */
                _exit(find_as_someone_else(port));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

static const struct {
        PortHolder holder;
        const char *text;
} words[] = {
        { { "epmd", 812, 101, "epmd.service", "" }, "epmd (pid 812, unit epmd.service)" },
        { { "epmd", 812, 101, "epmd.service", "epmd.socket" },
          "epmd (pid 812, unit epmd.service, socket unit epmd.socket)" },
        { { "systemd", 1, 0, "", "epmd.socket" }, "systemd (pid 1, socket unit epmd.socket)" },
        { { "beam.smp", 7, 0, "", "" }, "beam.smp (pid 7)" },
        { { "", 7, 0, "", "" }, "a process (pid 7)" },
        { { "", 0, 1000, "a.service", "" }, "a process of uid 1000 (unit a.service)" },
        { { "", 0, 0, "", "a.socket" }, "a process of uid 0 (socket unit a.socket)" },
        { { "", 0, 1000, "", "" }, "a process of uid 1000" },
        { { "", 0, NODE_UID_UNKNOWN, "", "" }, "a process that cannot be seen" },
};

START_TEST(test_a_holder_is_put_into_words) {
        char text[256];

        ck_assert_str_eq(holder_format(&words[_i].holder, text, sizeof(text)), words[_i].text);
}
END_TEST

/* Each test has all ports for itself. */
static void set_up(void) {
        (void)enter_own_network();
}

Suite *suite(void) {
        Suite *s = suite_create("holder");
        TCase *t = tcase_create("holder");

        tcase_add_checked_fixture(t, set_up, NULL);
        tcase_add_loop_test(t, test_who_keeps_an_address_from_being_bound_is_found, 0,
                            ELEMENTS(conflicts));
        tcase_add_test(t, test_of_two_holders_the_one_in_the_way_is_told);
        tcase_add_test(t, test_of_another_users_process_only_the_uid_is_told);
        tcase_add_loop_test(t, test_a_holder_is_put_into_words, 0, ELEMENTS(words));
        suite_add_tcase(s, t);
        return s;
}
