/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a library that a program is started with (LD_PRELOAD) and by which its stream sockets take and give a
 * byte at a time. Datagrams are left whole.
 */

#undef _FORTIFY_SOURCE /* its inline functions would be taken for ours */

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The next function of that name: `NEXT(recv)(fd, ...)`. */
#define NEXT(function) ((typeof(&function))next_of(#function))

static void *next_of(const char *name) {
        void *next = dlsym(RTLD_NEXT, name);

        if (!next)
                abort();
        return next;
}

static bool is_stream(int fd) {
        int type = 0, saved = errno;
        socklen_t n = sizeof type;
        bool is = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;

        errno = saved;
        return is;
}

static size_t cut(int fd, size_t n) {
        return n > 1 && is_stream(fd) ? 1 : n;
}

ssize_t recv(int fd, void *data, size_t n_data, int flags) {
        return NEXT(recv)(fd, data, cut(fd, n_data), flags);
}

ssize_t send(int fd, const void *data, size_t n_data, int flags) {
        return NEXT(send)(fd, data, cut(fd, n_data), flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
        struct msghdr shorter = *message;
        struct iovec byte;

        if (!is_stream(fd) || message->msg_control)
                return NEXT(sendmsg)(fd, message, flags);
        for (size_t i = 0; i < message->msg_iovlen; i++)
                if (message->msg_iov[i].iov_len > 0) {
                        byte = (struct iovec){ message->msg_iov[i].iov_base, 1 };
                        shorter.msg_iov = &byte;
                        shorter.msg_iovlen = 1;
                        break;
                }
        return NEXT(sendmsg)(fd, &shorter, flags);
}
