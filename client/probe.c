/* SPDX-License-Identifier: Apache-2.0 */
/* Knows sockets and their deadlines, and which addresses are ours. Does not know what is said. */

#include "probe.h"

#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "util.h"

/* 0: there is something; -ETIMEDOUT; negative errno. */
static int wait_for(int fd, short events, uint64_t deadline_usec) {
        for (;;) {
                struct pollfd item = { .fd = fd, .events = events };
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                uint64_t msec = now < deadline_usec ? (deadline_usec - now + 999) / 1000 : 0;
                int r = poll(&item, 1, (int)min_u64(msec, INT_MAX));

                if (r > 0)
                        return 0;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0 && msec == 0)
                        return -ETIMEDOUT;
        }
}

int probe_connect(const SocketAddress *address, uint64_t deadline_usec, int *ret_fd) {
        _cleanup_(close_fdp) int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t n_error = sizeof(int);
        int error = 0, r;

        if (fd < 0)
                return -errno;
        if (connect(fd, &address->sa, sizeof(*address)) < 0) {
                if (errno != EINPROGRESS)
                        return -errno;
                r = wait_for(fd, POLLOUT, deadline_usec);
                if (r < 0)
                        return r;
                if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_error) < 0)
                        return -errno;
        }
        if (error != 0)
                return -error;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int probe_send(int fd, const uint8_t *data, size_t n_data) {
        ssize_t n = send(fd, data, n_data, MSG_NOSIGNAL);

        if (n == (ssize_t)n_data || (n < 0 && (errno == EPIPE || errno == ECONNRESET)))
                return 0;
        return n < 0 ? -errno : -EIO;
}

int probe_read(int fd, uint8_t *data, size_t n_room, uint64_t deadline_usec) {
        for (;;) {
                ssize_t n;
                int r = wait_for(fd, POLLIN, deadline_usec);

                if (r < 0)
                        return r;
                n = recv(fd, data, min_u64(n_room, INT_MAX), MSG_DONTWAIT);
                if (n >= 0)
                        return (int)n;
                if (errno == ECONNRESET)
                        return 0;
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
}

int probe_read_all(int fd, uint8_t *data, size_t n_room, uint64_t deadline_usec) {
        size_t n_data = 0;

        while (n_data < n_room) {
                int n = probe_read(fd, data + n_data, n_room - n_data, deadline_usec);

                if (n < 0)
                        return n;
                if (n == 0)
                        break;
                n_data += (size_t)n;
        }
        return (int)n_data;
}

bool probe_is_own(const SocketAddress *socket_address) {
        struct ifaddrs *all = NULL;
        Address address, other;
        bool is_own;

        if (address_from_sockaddr(&socket_address->sa, &address, NULL) < 0)
                return false;
        is_own = address_is_loopback(&address);
        if (is_own || getifaddrs(&all) < 0)
                return is_own;
        for (const struct ifaddrs *one = all; one && !is_own; one = one->ifa_next)
                is_own = one->ifa_addr && address_from_sockaddr(one->ifa_addr, &other, NULL) == 0 &&
                         address_equal(&address, &other);
        freeifaddrs(all);
        return is_own;
}
