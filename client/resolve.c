/* SPDX-License-Identifier: Apache-2.0 */
/* Knows getaddrinfo(), which waits for as long as a DNS server is silent, and cannot be told to stop: it runs in a
 * thread of its own, which keeps what it needs for itself and is forgotten when the time is over. */

#include "resolve.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#define STACK_BYTES (256 * 1024)

/* Of two owners, the thread and whoever asked; the last one frees it. */
struct Resolution {
        atomic_int n_owners;
        char *host;
        int event_fd;
        /* The thread's until event_fd is readable. */
        int error;
        struct addrinfo *found;
};

Resolution *resolution_free(Resolution *resolution) {
        if (!resolution || atomic_fetch_sub(&resolution->n_owners, 1) > 1)
                return NULL;
        if (resolution->found)
                freeaddrinfo(resolution->found);
        close_fdp(&resolution->event_fd);
        free(resolution->host);
        free(resolution);
        return NULL;
}

static void look_up(Resolution *resolution, int flags) {
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };

        resolution->error = getaddrinfo(resolution->host, NULL, &hints, &resolution->found);
        if (resolution->error != 0)
                resolution->found = NULL;
}

static void tell_done(const Resolution *resolution) {
        eventfd_write(resolution->event_fd, 1);
}

static void *run(void *data) {
        Resolution *resolution = data;

        look_up(resolution, 0);
        tell_done(resolution);
        resolution_free(resolution);
        return NULL;
}

static int start_thread(Resolution *resolution) {
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        if (pthread_attr_init(&attributes) != 0)
                return -ENOMEM;
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        atomic_fetch_add(&resolution->n_owners, 1);
        r = pthread_create(&thread, &attributes, run, resolution);
        pthread_attr_destroy(&attributes);
        if (r != 0)
                atomic_fetch_sub(&resolution->n_owners, 1);
        return -r;
}

Resolution *resolution_new(const char *host) {
        _cleanup_(resolution_freep) Resolution *resolution = calloc(1, sizeof(*resolution));

        if (!resolution)
                return NULL;
        atomic_init(&resolution->n_owners, 1);
        resolution->host = strdup(host);
        resolution->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (!resolution->host || resolution->event_fd < 0)
                return NULL;
        look_up(resolution, AI_NUMERICHOST); /* an address needs no thread */
        if (resolution->error == 0)
                tell_done(resolution);
        else if (start_thread(resolution) < 0)
                return NULL;
        return TAKE_PTR(resolution);
}

int resolution_fd(const Resolution *resolution) {
        return resolution->event_fd;
}

bool resolution_is_done(const Resolution *resolution) {
        struct pollfd item = { .fd = resolution->event_fd, .events = POLLIN };

        return poll(&item, 1, 0) > 0;
}

static bool add(const struct addrinfo *found, uint16_t port, SocketAddress *addresses, size_t *n_addresses) {
        SocketAddress address = { 0 };

        if (*n_addresses == RESOLVE_ADDRESSES_MAX || found->ai_addrlen > sizeof(address) ||
            (found->ai_family != AF_INET && found->ai_family != AF_INET6))
                return false;
        memcpy(&address, found->ai_addr, found->ai_addrlen);
        if (found->ai_family == AF_INET)
                address.in.sin_port = htons(port);
        else
                address.in6.sin6_port = htons(port);
        for (size_t i = 0; i < *n_addresses; i++)
                if (memcmp(&addresses[i], &address, sizeof(address)) == 0)
                        return false;
        addresses[(*n_addresses)++] = address;
        return true;
}

int resolution_get(const Resolution *resolution, uint16_t port, SocketAddress addresses[static RESOLVE_ADDRESSES_MAX],
                   size_t *ret_n_addresses) {
        size_t n_addresses = 0;

        if (resolution->error != 0)
                return resolution->error;
        for (const struct addrinfo *found = resolution->found; found; found = found->ai_next)
                add(found, port, addresses, &n_addresses);
        if (n_addresses == 0)
                return EAI_NONAME;
        *ret_n_addresses = n_addresses;
        return 0;
}

const char *resolution_error_to_string(int error) {
        return gai_strerror(error);
}
