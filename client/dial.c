/* SPDX-License-Identifier: Apache-2.0 */
/* Knows that a host has several addresses, some of which may be silent: each is tried a quarter of a second after the
 * one before, or at once if that has failed, and the first that answers is it. */

#include "dial.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

#define STAGGER_USEC (250 * USEC_PER_MSEC)

static void add_loopback(Dial *dial) {
        dial->addresses[0].in = (struct sockaddr_in){
                .sin_family = AF_INET,
                .sin_port = htons(dial->port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        dial->addresses[1].in6 = (struct sockaddr_in6){
                .sin6_family = AF_INET6,
                .sin6_port = htons(dial->port),
                .sin6_addr = IN6ADDR_LOOPBACK_INIT,
        };
        dial->n_addresses = 2;
}

int dial_begin(Dial *dial, const char *host, uint16_t port) {
        *dial = (Dial){ .port = port };
        if (!host) {
                add_loopback(dial);
                return 0;
        }
        dial->resolution = resolution_new(host);
        return dial->resolution ? 0 : -ENOMEM;
}

static void close_all(Dial *dial) {
        for (size_t i = 0; i < dial->n_tried; i++)
                close_fdp(&dial->fds[i]);
        dial->n_tried = 0;
}

void dial_again(Dial *dial) {
        SocketAddress address = dial->addresses[dial->winner];

        close_all(dial);
        *dial = (Dial){ .port = dial->port, .n_addresses = 1 };
        dial->addresses[0] = address;
}

void dial_done(Dial *dial) {
        close_all(dial);
        resolution_free(dial->resolution);
        *dial = (Dial){ 0 };
}

size_t dial_poll(const Dial *dial, struct pollfd items[static DIAL_FDS_MAX], uint64_t *wake_usec) {
        size_t n = 0;

        if (dial->resolution) {
                items[n++] = (struct pollfd){ .fd = resolution_fd(dial->resolution), .events = POLLIN };
                return n;
        }
        for (size_t i = 0; i < dial->n_tried; i++)
                if (dial->fds[i] >= 0)
                        items[n++] = (struct pollfd){ .fd = dial->fds[i], .events = POLLOUT };
        if (dial->n_tried < dial->n_addresses)
                *wake_usec = min_u64(*wake_usec, dial->next_usec);
        return n;
}

static void fail(Dial *dial, size_t i, int error) {
        close_fdp(&dial->fds[i]);
        dial->fds[i] = -1;
        if (dial->error == 0)
                dial->error = -error;
        dial->next_usec = 0;
}

static void try_next(Dial *dial) {
        const SocketAddress *address = &dial->addresses[dial->n_tried];
        size_t i = dial->n_tried++;

        dial->next_usec = now_usec(CLOCK_MONOTONIC) + STAGGER_USEC;
        dial->fds[i] = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (dial->fds[i] < 0 || (connect(dial->fds[i], &address->sa, sizeof(*address)) < 0 && errno != EINPROGRESS))
                fail(dial, i, errno);
}

/* True if it is connected. */
static bool look_at(Dial *dial, size_t i) {
        struct pollfd item = { .fd = dial->fds[i], .events = POLLOUT };
        socklen_t n_error = sizeof(int);
        int error = 0;

        if (poll(&item, 1, 0) <= 0)
                return false;
        if (getsockopt(dial->fds[i], SOL_SOCKET, SO_ERROR, &error, &n_error) < 0)
                error = errno;
        if (error == 0)
                return true;
        fail(dial, i, error);
        return false;
}

static bool is_trying(const Dial *dial) {
        for (size_t i = 0; i < dial->n_tried; i++)
                if (dial->fds[i] >= 0)
                        return true;
        return false;
}

static int connect_step(Dial *dial, int *ret_fd) {
        for (;;) {
                for (size_t i = 0; i < dial->n_tried; i++)
                        if (dial->fds[i] >= 0 && look_at(dial, i)) {
                                *ret_fd = TAKE_FD(dial->fds[i]);
                                dial->winner = i;
                                close_all(dial);
                                return 1;
                        }
                if (dial->n_tried == dial->n_addresses)
                        return is_trying(dial) ? 0 : dial->error;
                if (is_trying(dial) && now_usec(CLOCK_MONOTONIC) < dial->next_usec)
                        return 0;
                try_next(dial);
        }
}

int dial_step(Dial *dial, int *ret_fd) {
        if (dial->resolution) {
                if (!resolution_is_done(dial->resolution))
                        return 0;
                dial->resolution_error =
                        resolution_get(dial->resolution, dial->port, dial->addresses, &dial->n_addresses);
                dial->resolution = resolution_free(dial->resolution);
        }
        return dial->resolution_error != 0 ? -ENXIO : connect_step(dial, ret_fd);
}
