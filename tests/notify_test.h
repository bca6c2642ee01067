/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of what is said to the service manager: its side of the socket. */
#pragma once

#include "loop_test.h"

/* Bound, non-blocking. `name` as in NOTIFY_SOCKET: an '@' stands for an abstract address. */
static inline int manager_new(const char *name) {
        TestAddress address = { .un = { .sun_family = AF_UNIX } };
        socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        ck_assert_int_ge(fd, 0);
        memcpy(address.un.sun_path, name, strlen(name));
        if (name[0] == '@')
                address.un.sun_path[0] = 0;
        else
                n++;
        ck_assert_int_eq(bind(fd, &address.sa, n), 0);
        return fd;
}

/* In the file system, and abstract: two addresses, for loop tests. */
static inline const char *manager_address(int i) {
        static char name[80];

        if (i == 0)
                snprintf(name, sizeof name, "%s/notify", new_directory());
        else
                snprintf(name, sizeof name, "@rollcall-check-notify-%ld", (long)getpid());
        return name;
}

/* One datagram, and the descriptor that came with it or -1. False: there is none. */
static inline bool manager_receive(int fd, char *said, size_t n_said, int *ret_fd) {
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec bytes = { .iov_base = said, .iov_len = n_said - 1 };
        struct msghdr message = {
                .msg_iov = &bytes,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control,
        };
        ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        struct cmsghdr *header;

        if (n < 0) {
                ck_assert_int_eq(errno, EAGAIN);
                return false;
        }
        said[n] = 0;
        *ret_fd = -1;
        header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
                memcpy(ret_fd, CMSG_DATA(header), sizeof *ret_fd);
        return true;
}

/* The next word, which comes without a descriptor. */
static inline void expect_word(int fd, const char *expected) {
        char said[1024];
        int passed_fd;

        ck_assert_msg(manager_receive(fd, said, sizeof said, &passed_fd), "nothing was said, not '%s'", expected);
        ck_assert_str_eq(said, expected);
        ck_assert_int_eq(passed_fd, -1);
}

static inline void expect_nothing(int fd) {
        char said[1024] = "";
        int passed_fd;

        ck_assert_msg(!manager_receive(fd, said, sizeof said, &passed_fd), "said: %s", said);
}
