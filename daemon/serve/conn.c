/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows one connection's life: reading, then answering and gone, or one that stays (conn_stay.c). Does not know what
 * a request means. Every socket is non-blocking, what a client can make us hold is bounded (P6), and nobody
 * waits for anybody else.
 *
 * The first trap: a handler may close any connection, also the one whose callback is on the stack. So
 * conn_finish() closes and unlinks, and the memory goes in conns_reap(), which only outermost callbacks
 * call.
 *
 * The second: sd-event dispatches one source a turn and has epoll tell it of all that are ready before each,
 * so that thousands of connections that end at once would cost the square of their number. They have an
 * epoll of their own, which is one source to sd-event and hands out a few at a time, in turn.
 */

#include "serve/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "log.h"
#include "serve/conn_private.h"

/* Timeouts may come this much late (never early): timers that are close together fire together. */
#define TIMER_ACCURACY_USEC (1 * USEC_PER_SEC)

/* --- lists ------------------------------------------------------------------------------------ */

static void conn_list_append(ConnList *list, Conn *conn) {
        conn->next = NULL;
        conn->previous = list->last;
        if (list->last)
                list->last->next = conn;
        else
                list->first = conn;
        list->last = conn;
        list->n_conns++;
}

static void conn_list_remove(ConnList *list, Conn *conn) {
        if (conn->previous)
                conn->previous->next = conn->next;
        else
                list->first = conn->next;
        if (conn->next)
                conn->next->previous = conn->previous;
        else
                list->last = conn->previous;
        conn->next = conn->previous = NULL;
        list->n_conns--;
}

static ConnList *conns_list_of(Conns *conns, ConnState state) {
        switch (state) {
        case CONN_READING:
        case CONN_DELAYED:
        case CONN_ANSWERING:
                break;
        case CONN_HELD:
                return &conns->held;
        case CONN_STREAMING:
                return &conns->streaming;
        case CONN_REGISTERED:
                return &conns->registered;
        case CONN_FINISHED:
                return &conns->finished;
        case _CONN_STATE_N:
                break;
        }
        return &conns->passing;
}

void conn_set_state(Conn *conn, ConnState state) {
        ConnList *from = conns_list_of(conn->conns, conn->state), *to = conns_list_of(conn->conns, state);

        conn->state = state;
        if (from == to)
                return;
        shares_leave(conn->conns->shares, &conn->place);
        turns_leave(&conn->conns->turns, &conn->turn);
        conn_list_remove(from, conn);
        conn_list_append(to, conn);
}

bool conn_may_be_answered(const Conn *conn) {
        return conn->state == CONN_READING || conn->state == CONN_HELD;
}

/* --- what the loop is to tell us ----------------------------------------------------------------- */

static void conn_unwatch(Conn *conn) {
        if (conn->watched != 0)
                epoll_ctl(conn->conns->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
        conn->watched = 0;
}

int conn_watch(Conn *conn, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = conn };

        if (events == conn->watched)
                return 0;
        if (events == 0) {
                conn_unwatch(conn);
                return 0;
        }
        if (epoll_ctl(conn->conns->epoll_fd, conn->watched != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd,
                      &event) < 0)
                return -errno;
        conn->watched = events;
        return 0;
}

int conn_enter_state(Conn *conn, ConnState state, uint32_t events) {
        int r = conn_watch(conn, events);

        if (r < 0)
                return r;
        conn_set_state(conn, state);
        conn->timer = sd_event_source_disable_unref(conn->timer);
        return 0;
}

/* --- life and death --------------------------------------------------------------------------- */

static Conn *conn_free(Conn *conn) {
        sd_event_source_disable_unref(conn->timer);
        blob_unref(conn->blob);
        free(conn->in);
        free(conn);
        return NULL;
}

static void conns_reap(Conns *conns) {
        while (conns->finished.first) {
                Conn *conn = conns->finished.first;

                conn_list_remove(&conns->finished, conn);
                conn_free(conn);
        }
}

void conns_enter(Conns *conns) {
        conns->depth++;
}

void conns_leave(Conns *conns) {
        assert(conns->depth > 0);
        if (--conns->depth == 0)
                conns_reap(conns);
}

static int conns_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);

static int conns_on_reap(sd_event_source *source, void *userdata) {
        Conns *conns = userdata;

        (void)source;
        conns_reap(conns);
        return 0;
}

/* systemd may hold a duplicate. */
static bool conn_is_shared(const Conn *conn) {
        return conn->is_shared || conn->stored;
}

static void conn_close(Conn *conn) {
        Conns *conns = conn->conns;

        assert(!conn->wait.is_waiting);
        conn->node = NULL;
        conns->n_conns--;
        /* close() takes it out of epoll, but for one that somebody else holds, which would go on waking us. */
        if (conn_is_shared(conn))
                conn_unwatch(conn);
        conn_stream_unqueue(conn);
        conn->timer = sd_event_source_disable_unref(conn->timer);
        close_fdp(&conn->fd);
        conn->fd = -1;
        /* Now, not when it is reaped: whoever sheds readers counts on what they held being free. */
        conn->blob = blob_unref(conn->blob);
        conn_set_state(conn, CONN_FINISHED);
        if (conns->depth == 0)
                sd_event_source_set_enabled(conns->reaper, SD_EVENT_ONESHOT);
}

void conn_finish(Conn *conn) {
        if (conn->state == CONN_FINISHED)
                return;
        /* Closing alone would tell the node nothing. */
        if (conn->state == CONN_REGISTERED && conn_is_shared(conn))
                shutdown(conn->fd, SHUT_RDWR);
        conn_close(conn);
}

int conns_new(Conns **ret, sd_event *event, const ConnOptions *options, const ConnHandler *handler,
              Counters *counters) {
        _cleanup_(conns_freep) Conns *conns = calloc(1, sizeof *conns);
        int r;

        if (!conns)
                return -ENOMEM;
        conns->event = event;
        conns->epoll_fd = conns->outgoing_fd = -1;
        r = shares_new(&conns->shares, random_u64());
        if (r < 0)
                return r;
        conns->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (conns->epoll_fd < 0)
                return -errno;
        conns->options = *options;
        conns->handler = *handler;
        conns->counters = counters;
        r = sd_event_add_io(event, &conns->io, conns->epoll_fd, EPOLLIN, conns_on_io, conns);
        if (r < 0)
                return r;
        r = sd_event_add_defer(event, &conns->reaper, conns_on_reap, conns);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(conns->reaper, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = conn_streams_init(conns);
        if (r < 0)
                return r;
        r = conns_open_turns(conns);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(conns);
        return 0;
}

/* Closed, not shut down: what is in the fd store lives on there. */
static void conn_list_close(ConnList *list) {
        while (list->first) {
                list->first->wait.is_waiting = false;
                conn_close(list->first);
        }
}

Conns *conns_free(Conns *conns) {
        if (!conns)
                return NULL;
        conn_list_close(&conns->registered);
        conn_list_close(&conns->streaming);
        conn_list_close(&conns->held);
        conn_list_close(&conns->passing);
        conns_reap(conns);
        sd_event_source_disable_unref(conns->turn_source);
        sd_event_source_disable_unref(conns->reaper);
        sd_event_source_disable_unref(conns->io);
        close_fdp(&conns->outgoing_fd);
        close_fdp(&conns->epoll_fd);
        shares_free(conns->shares);
        free(conns);
        return NULL;
}

size_t conns_n(const Conns *conns) {
        return conns->n_conns;
}

size_t conns_n_max(const Conns *conns) {
        return conns->options.n_conns_max;
}

void conns_set_packet_timeout(Conns *conns, uint64_t usec) {
        conns->options.packet_timeout_usec = usec;
}

/* --- time ------------------------------------------------------------------------------------- */

uint64_t conns_now(Conns *conns) {
        uint64_t now = 0;

        sd_event_now(conns->event, CLOCK_MONOTONIC, &now);
        return now;
}

static uint64_t conn_deadline(const Conn *conn) {
        uint64_t timeout = conn->conns->options.packet_timeout_usec;
        unsigned times = conn->state == CONN_READING ? CONN_REQUEST_TIMES : CONN_ANSWER_TIMES;

        if (conn->state == CONN_DELAYED)
                return conn->began_usec + conn->conns->options.delay_write_sec * USEC_PER_SEC;
        /* A stream has no end by which all must be taken. */
        if (conn->state == CONN_STREAMING && conn_stream_is_idle(conn))
                return conn->active_usec + conn->stream.rest_usec;
        if (conn->state == CONN_STREAMING)
                return conn->active_usec + times * timeout;
        return min_u64(conn->active_usec + timeout, conn->began_usec + times * timeout);
}

static void conn_time_out(Conn *conn) {
        conn->conns->counters->n_timed_out++;
        log_debug("%s: timed out", conn_peer_text(conn));
        conn_finish(conn);
}

static int conn_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Conn *conn = userdata;
        Conns *conns = conn->conns;

        (void)source;
        (void)usec;
        conns_enter(conns);
        if (conn->state == CONN_DELAYED) {
                conn_set_state(conn, CONN_ANSWERING);
                conn->began_usec = conn->active_usec = conns_now(conns);
                conn_send_answer(conn);
        } else if (conn->state == CONN_STREAMING)
                conn_on_stream_timeout(conn);
        else
                conn_time_out(conn);
        conns_leave(conns);
        return 0;
}

int conn_arm_timer(Conn *conn) {
        uint64_t deadline = conn_deadline(conn);
        int r;

        if (!conn->timer)
                return sd_event_add_time(conn->conns->event, &conn->timer, CLOCK_MONOTONIC, deadline,
                                         TIMER_ACCURACY_USEC, conn_on_timer, conn);
        r = sd_event_source_set_time(conn->timer, deadline);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(conn->timer, SD_EVENT_ONESHOT);
}

/* --- the loop's side -------------------------------------------------------------------------- */

static void conn_read(Conn *conn);

static void conn_on_ready(Conn *conn, uint32_t events) {
        switch (conn->state) {
        case CONN_READING:
                conn_read(conn);
                break;
        case CONN_ANSWERING:
                conn_send_answer(conn);
                break;
        case CONN_HELD:
                conn_on_held_ready(conn);
                break;
        case CONN_STREAMING:
                conn_on_stream_ready(conn, events);
                break;
        case CONN_REGISTERED:
                conn_on_registered_ready(conn);
                break;
        case CONN_DELAYED:
        case CONN_FINISHED: /* by one that came before it in the batch */
        case _CONN_STATE_N:
                break;
        }
}

/* Whoever has no turn in a batch is told of again, in the same order, and most who had one are ready no more. Streams may be
 * for long: they go first every other time at most, so that others have the time that there is for a batch. */
static void conns_order(Conns *conns, struct epoll_event *ready, int n) {
        struct epoll_event first = ready[0];

        if (conns->has_sent && !first.data.ptr) {
                ready[0] = ready[n - 1];
                ready[n - 1] = first;
        }
        conns->has_sent = false;
}

static int conns_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct epoll_event ready[SERVE_BATCH];
        Conns *conns = userdata;
        int n = epoll_wait(fd, ready, SERVE_BATCH, 0);
        uint64_t until = now_usec(CLOCK_MONOTONIC) + CONNS_DISPATCH_USEC;

        (void)source;
        (void)events;
        conns_enter(conns);
        if (n > 1)
                conns_order(conns, ready, n);
        for (int i = 0; i < n && (i == 0 || now_usec(CLOCK_MONOTONIC) < until); i++)
                if (ready[i].data.ptr)
                        conn_on_ready(ready[i].data.ptr, ready[i].events);
                else {
                        conns_on_outgoing(conns);
                        conns->has_sent = true;
                }
        conns_serve_overdue(conns);
        conns_leave(conns);
        return 0;
}

void conn_park(Conn *conn, uint32_t events) {
        int r = conn_watch(conn, events);

        if (r >= 0)
                r = conn_arm_timer(conn);
        if (r < 0) {
                log_error("A connection cannot be watched and is closed: %s", strerror(-r));
                conn_finish(conn);
                return;
        }
        conn_take_place(conn);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void conn_garbage(Conn *conn, const uint8_t *data, size_t n_data) {
        conn->conns->counters->n_malformed++;
        log_event(LOG_NOTICE, LOG_EVENT_GARBAGE, &(LogFields){ .peer = conn_peer_text(conn) },
                  "%s sent what is no request; closed", conn_peer_text(conn));
        log_hex("garbage", data, n_data);
        conn_finish(conn);
}

/* What has come so far is kept with the connection. False: there is no memory for it, and it is closed. */
static bool conn_keep_input(Conn *conn, size_t n_data) {
        Conns *conns = conn->conns;

        if (!conn->in) {
                conn->in = malloc(sizeof conns->scratch);
                if (!conn->in) {
                        conn_finish(conn);
                        return false;
                }
                memcpy(conn->in, conns->scratch, n_data);
        }
        conn->n_in = (uint16_t)n_data;
        return true;
}

/* Not before its handler is done with it: what the handler knows of the client borrows from the request. */
void conn_forget_input(Conn *conn) {
        free(conn->in);
        conn->in = NULL;
        conn->n_in = 0;
}

/* Of recv(), of a byte that stays where it is. */
static ssize_t conn_peek(const Conn *conn) {
        uint8_t byte;
        ssize_t n;

        do
                n = recv(conn->fd, &byte, 1, MSG_PEEK);
        while (n < 0 && errno == EINTR);
        return n;
}

bool conn_has_something_to_say(const Conn *conn) {
        /* That the kernel is short of memory is no word of the client's. */
        return !(conn_peek(conn) < 0 && (errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS));
}

/* One who has only shut down his side can read. */
bool conn_is_broken(const Conn *conn) {
        return conn_peek(conn) < 0 && (errno == ECONNRESET || errno == EPIPE || errno == ETIMEDOUT);
}

static void conn_read(Conn *conn) {
        Conns *conns = conn->conns;
        uint8_t *buffer = conn->in ? conn->in : conns->scratch;
        const uint8_t *body;
        size_t n_body, n_data;
        ssize_t n;

        n = recv(conn->fd, buffer + conn->n_in, sizeof conns->scratch - conn->n_in, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
                conn_park(conn, EPOLLIN);
                return;
        }
        if (n <= 0) {
                conn_finish(conn);
                return;
        }
        conn->active_usec = conns_now(conns);
        n_data = conn->n_in + (size_t)n;
        switch (wire_frame(buffer, n_data, &body, &n_body)) {
        case WIRE_FRAME_INCOMPLETE:
                if (conn_keep_input(conn, n_data))
                        conn_park(conn, EPOLLIN);
                break;
        case WIRE_FRAME_BAD:
                conn_garbage(conn, buffer, n_data);
                break;
        case WIRE_FRAME_COMPLETE:
                if (conn_serve(conn, body, n_body))
                        conn_forget_input(conn);
                else
                        (void)conn_keep_input(conn, n_data);
                break;
        }
}

/* --- newcomers ---------------------------------------------------------------------------------- */

Conn *conn_new(Conns *conns, int *fd, ConnKind kind, ConnState state, uint16_t port, const SocketAddress *peer) {
        Conn *conn = malloc(sizeof *conn); /* calloc() takes nothing from the thread's own pieces */
        uint64_t now = conns_now(conns);

        if (!conn)
                return NULL;
        *conn = (Conn){
                .conns = conns,
                .fd = TAKE_FD(*fd),
                .kind = kind,
                .state = state,
                .listener_port = port,
                .peer = *peer,
                .began_usec = now,
                .active_usec = now,
        };
        conn_list_append(conns_list_of(conns, state), conn);
        conns->n_conns++;
        return conn;
}

/* Most clients have sent their request by the time they are accepted: they are served without a turn of the
 * loop. */
void conns_take(Conns *conns, int fd, ConnKind kind, uint16_t port, const SocketAddress *peer) {
        _cleanup_(close_fdp) int taken = fd;
        Conn *conn;

        conns_enter(conns);
        if (conns->passing.n_conns >= conns_n_passing_max(conns) && !conns_make_room(conns)) {
                conns->counters->n_shed++;
                log_event(LOG_WARNING, LOG_EVENT_SHED, NULL,
                          "None of %zu connections can make room: a new one is closed", conns->n_conns);
        } else {
                conns->counters->n_accepted++;
                conn = conn_new(conns, &taken, kind, CONN_READING, port, peer);
                if (conn)
                        conn_read(conn);
        }
        conns_serve_overdue(conns);
        conns_leave(conns);
}

/* --- facts ------------------------------------------------------------------------------------ */

ConnKind conn_kind(const Conn *conn) {
        return conn->kind;
}

int conn_fd(const Conn *conn) {
        return conn->fd;
}

const struct sockaddr *conn_peer(const Conn *conn) {
        return &conn->peer.sa;
}

const struct sockaddr *conn_local(Conn *conn) {
        socklen_t n = sizeof conn->local;

        if (!conn->has_local && getsockname(conn->fd, &conn->local.sa, &n) < 0)
                return NULL;
        conn->has_local = true;
        return &conn->local.sa;
}

int conn_get_peer_uid(const Conn *conn, uid_t *ret) {
        struct ucred credentials;
        socklen_t n = sizeof credentials;

        if (conn->kind != CONN_CONTROL)
                return -EAFNOSUPPORT;
        if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n) < 0)
                return -errno;
        *ret = credentials.uid;
        return 0;
}

ConnWait *conn_wait(Conn *conn) {
        return &conn->wait;
}

uint16_t conn_listener_port(const Conn *conn) {
        return conn->listener_port;
}

const char *conn_peer_text(const Conn *conn) {
        static char text[ADDRESS_TEXT_MAX + 16];
        char address_text[ADDRESS_TEXT_MAX];
        Address address;
        uint16_t port;

        if (conn->kind == CONN_CONTROL)
                return "control socket";
        if (address_from_sockaddr(&conn->peer.sa, &address, &port) < 0)
                return "an unknown peer";
        snprintf(text, sizeof text, address_is_ipv4(&address) ? "%s:%u" : "[%s]:%u",
                 address_format(&address, address_text), port);
        return text;
}
