/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the address of the service manager and how a datagram gets there. Does not know what is said.
 *
 * The trap: a socket that is not connected looks writable however full the manager's queue is, and a loop
 * that watches it would spin.
 */

#include "notify_socket.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct NotifySocket {
        int fd;
        struct sockaddr_un address;
        socklen_t n_address;
        char path[sizeof ((struct sockaddr_un *)NULL)->sun_path];
};

static int notify_socket_set_address(NotifySocket *notify, const char *path) {
        size_t n_path = strlen(path);

        if ((path[0] != '/' && path[0] != '@') || n_path < 2)
                return -EINVAL;
        if (n_path >= sizeof notify->path)
                return -ENAMETOOLONG;
        memcpy(notify->path, path, n_path + 1);
        notify->address.sun_family = AF_UNIX;
        memcpy(notify->address.sun_path, path, n_path + 1);
        notify->n_address = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n_path);
        if (path[0] == '@')
                notify->address.sun_path[0] = 0;
        else
                notify->n_address++;
        return 0;
}

static int notify_socket_connect(const NotifySocket *notify) {
        return connect(notify->fd, (const struct sockaddr *)&notify->address, notify->n_address);
}

int notify_socket_new(NotifySocket **ret, const char *path) {
        _cleanup_(notify_socket_freep) NotifySocket *notify = calloc(1, sizeof *notify);
        int r;

        if (!notify)
                return -ENOMEM;
        notify->fd = -1;
        r = notify_socket_set_address(notify, path);
        if (r < 0)
                return r;
        notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (notify->fd < 0)
                return -errno;
        /* If nobody is there yet, that is tried again with each datagram. */
        (void)notify_socket_connect(notify);
        *ret = TAKE_PTR(notify);
        return 0;
}

NotifySocket *notify_socket_free(NotifySocket *notify) {
        if (!notify)
                return NULL;
        close_fdp(&notify->fd);
        free(notify);
        return NULL;
}

const char *notify_socket_path(const NotifySocket *notify) {
        return notify->path;
}

int notify_socket_fd(const NotifySocket *notify) {
        return notify->fd;
}

static void attach_fd(struct msghdr *message, int fd) {
        struct cmsghdr *header;

        header = CMSG_FIRSTHDR(message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
}

static int notify_socket_try(const NotifySocket *notify, const struct msghdr *message) {
        return sendmsg(notify->fd, message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int notify_socket_send(NotifySocket *notify, const char *text, size_t n_text, int passed_fd) {
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { .bytes = { 0 } };
        struct iovec bytes = { .iov_len = n_text };
        struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };
        int r;

        assert(passed_fd >= -1);
        memcpy(&bytes.iov_base, &text, sizeof text); /* sendmsg() only reads it */
        if (passed_fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = sizeof control.bytes;
                attach_fd(&message, passed_fd);
        }
        r = notify_socket_try(notify, &message);
        /* A manager that went away took the connection with it; there may be another one by now. */
        if ((r == -ECONNREFUSED || r == -ENOTCONN) && notify_socket_connect(notify) == 0)
                r = notify_socket_try(notify, &message);
        return r;
}
