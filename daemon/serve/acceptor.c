/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows listening sockets and what accept() can say. Does not know what is sent on a connection.
 *
 * The trap: at EMFILE a level-triggered loop would spin on a listener that it cannot serve. A connection without a node
 * makes room; if there is none, the listener rests (P6).
 */

#include "serve/acceptor.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

#include "log.h"
#include "timer.h"

/* Accepted in one go, so that one busy listener does not keep the others from their turn. */
#define ACCEPT_BATCH 32
#define ACCEPT_REST_USEC (100 * USEC_PER_MSEC)

typedef struct Acceptor {
        struct Acceptor *next;
        Acceptors *acceptors;
        sd_event_source *io, *rest;
        int fd;
        ConnKind kind;
        uint16_t port;
} Acceptor;

struct Acceptors {
        sd_event *event;
        Conns *conns;
        unsigned delay_sec;
        Acceptor *first;
};

int acceptors_new(Acceptors **ret, sd_event *event, Conns *conns, unsigned delay_sec) {
        Acceptors *acceptors = calloc(1, sizeof *acceptors);

        if (!acceptors)
                return -ENOMEM;
        *acceptors = (Acceptors){ .event = event, .conns = conns, .delay_sec = delay_sec };
        *ret = acceptors;
        return 0;
}

static Acceptor *acceptor_free(Acceptor *acceptor) {
        sd_event_source_disable_unref(acceptor->rest);
        sd_event_source_disable_unref(acceptor->io);
        close_fdp(&acceptor->fd);
        free(acceptor);
        return NULL;
}

/* The objects stay: one of them may be in the middle of accepting a connection that led here. */
void acceptors_close(Acceptors *acceptors) {
        for (Acceptor *acceptor = acceptors->first; acceptor; acceptor = acceptor->next) {
                acceptor->rest = sd_event_source_disable_unref(acceptor->rest);
                acceptor->io = sd_event_source_disable_unref(acceptor->io);
                close_fdp(&acceptor->fd);
                acceptor->fd = -1;
        }
}

Acceptors *acceptors_free(Acceptors *acceptors) {
        if (!acceptors)
                return NULL;
        while (acceptors->first) {
                Acceptor *acceptor = acceptors->first;

                acceptors->first = acceptor->next;
                acceptor_free(acceptor);
        }
        free(acceptors);
        return NULL;
}

static void acceptor_rest(Acceptor *acceptor, uint64_t usec) {
        uint64_t now = 0;

        sd_event_now(acceptor->acceptors->event, CLOCK_MONOTONIC, &now);
        sd_event_source_set_enabled(acceptor->io, SD_EVENT_OFF);
        timer_arm(acceptor->rest, now + usec);
}

static int acceptor_on_rested(sd_event_source *source, uint64_t usec, void *userdata) {
        Acceptor *acceptor = userdata;

        (void)source;
        (void)usec;
        return sd_event_source_set_enabled(acceptor->io, SD_EVENT_ON);
}

/* Without a free descriptor the kernel refuses to accept before it looks whether there is anybody. */
static bool acceptor_has_client(const Acceptor *acceptor) {
        struct pollfd pollfd = { .fd = acceptor->fd, .events = POLLIN };

        return poll(&pollfd, 1, 0) > 0;
}

/* True if accepting may go on. */
static bool acceptor_survives(Acceptor *acceptor, int error) {
        switch (error) {
        case EAGAIN:
                return false;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
                if (!acceptor_has_client(acceptor))
                        return false;
                if (conns_make_room(acceptor->acceptors->conns))
                        return true;
                log_event(LOG_ERR, LOG_EVENT_SHED, NULL,
                          "No connection can be accepted: %s. Trying again every %u ms",
                          strerror(error), (unsigned)(ACCEPT_REST_USEC / USEC_PER_MSEC));
                acceptor_rest(acceptor, ACCEPT_REST_USEC);
                return false;
        case EINVAL:
        case ENOTSOCK:
        case EBADF:
                log_error("Port %u cannot accept connections any more: %s", acceptor->port,
                          strerror(error));
                sd_event_source_set_enabled(acceptor->io, SD_EVENT_OFF);
                return false;
        default:
                /* What went wrong with the one connection (see accept(2)) is its own matter. */
                return true;
        }
}

static void acceptor_accept(Acceptor *acceptor) {
        Acceptors *acceptors = acceptor->acceptors;

        for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
                SocketAddress peer = { 0 };
                socklen_t n_peer = sizeof peer;
                int fd = accept4(acceptor->fd, &peer.sa, &n_peer, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0) {
                        if (!acceptor_survives(acceptor, errno))
                                return;
                        continue;
                }
                conns_take(acceptors->conns, fd, acceptor->kind, acceptor->port, &peer);
                if (acceptor->fd < 0) /* that was a KILL */
                        return;
                if (acceptors->delay_sec > 0) {
                        acceptor_rest(acceptor, acceptors->delay_sec * USEC_PER_SEC);
                        return;
                }
        }
}

static int acceptor_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void)source;
        (void)fd;
        (void)events;
        acceptor_accept(userdata);
        return 0;
}

int acceptors_add(Acceptors *acceptors, int *fd, ConnKind kind, uint16_t port) {
        Acceptor *acceptor = calloc(1, sizeof *acceptor);
        int r;

        if (!acceptor)
                return -ENOMEM;
        *acceptor = (Acceptor){ .acceptors = acceptors, .fd = -1, .kind = kind, .port = port };
        r = sd_event_add_io(acceptors->event, &acceptor->io, *fd, EPOLLIN, acceptor_on_io, acceptor);
        if (r >= 0)
                r = timer_new(&acceptor->rest, acceptors->event, 0, acceptor_on_rested, acceptor);
        if (r < 0) {
                acceptor_free(acceptor);
                return r;
        }
        acceptor->fd = TAKE_FD(*fd);
        acceptor->next = acceptors->first;
        acceptors->first = acceptor;
        return 0;
}
