/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows one connection's life: reading, then answering and gone, or registered. Does not know what a
 * request means. Every socket is non-blocking, what a client can make us hold is bounded (P6), and nobody
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
#include <sys/uio.h>

#include "core/wire.h"
#include "log.h"

/* Connections served in one turn of the loop. */
#define SERVE_BATCH 64
/* Timeouts may come this much late (never early): timers that are close together fire together. */
#define TIMER_ACCURACY_USEC (1 * USEC_PER_SEC)

typedef enum ConnState {
        CONN_READING,
        CONN_DELAYED, /* --delay-write: the answer is ready */
        CONN_ANSWERING,
        CONN_HELD, /* its answer takes its time */
        CONN_STREAMING,
        CONN_REGISTERED,
        CONN_FINISHED,
} ConnState;

typedef struct ConnList {
        Conn *first, *last;
} ConnList;

struct Conns {
        sd_event *event;
        sd_event_source *io; /* of epoll_fd */
        int epoll_fd;        /* the connections; listening sockets are sd-event's */
        ConnOptions options;
        ConnHandler handler;
        Counters *counters;
        ConnList unregistered; /* oldest first */
        ConnList registered;
        ConnList patient; /* held, and streams: whoever asked for them bounds them */
        ConnList finished;
        sd_event_source *reaper;
        unsigned depth; /* callbacks of ours on the stack */
        size_t n_conns; /* without the finished ones */
        bool is_ending; /* what is in the fd store lives on */
        uint8_t scratch[WIRE_FRAME_MAX + 1];
};

struct Conn {
        Conns *conns;
        Conn *next, *previous; /* in the list of its state */
        sd_event_source *timer;
        Node *node;
        FdstoreEntry *stored;
        ConnWait wait;
        ConnHolder holder; /* CONN_HELD */
        ConnStream stream; /* CONN_STREAMING */

        uint8_t *in; /* what was read of an incomplete request; NULL: nothing */
        Blob *blob;  /* what is to be sent after `head` */
        size_t n_blob_sent;
        uint8_t head[CONN_HEAD_MAX];
        uint8_t n_head, n_head_sent;

        uint16_t n_in;
        uint16_t listener_port;
        ConnKind kind;
        ConnState state;
        int fd;
        bool has_local, has_answer, is_watched;
        SocketAddress peer, local;
        uint64_t active_usec;  /* CLOCK_MONOTONIC of the last byte */
        uint64_t began_usec;   /* of the request, then of the answer */
};

/* --- lists ------------------------------------------------------------------------------------ */

static void conn_list_append(ConnList *list, Conn *conn) {
        conn->next = NULL;
        conn->previous = list->last;
        if (list->last)
                list->last->next = conn;
        else
                list->first = conn;
        list->last = conn;
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
}

static ConnList *conn_list_of(Conn *conn) {
        switch (conn->state) {
        case CONN_REGISTERED:
                return &conn->conns->registered;
        case CONN_HELD:
        case CONN_STREAMING:
                return &conn->conns->patient;
        case CONN_FINISHED:
                return &conn->conns->finished;
        case CONN_READING:
        case CONN_DELAYED:
        case CONN_ANSWERING:
                break;
        }
        return &conn->conns->unregistered;
}

static void conn_set_state(Conn *conn, ConnState state) {
        conn_list_remove(conn_list_of(conn), conn);
        conn->state = state;
        conn_list_append(conn_list_of(conn), conn);
}

/* --- what the loop is to tell us ----------------------------------------------------------------- */

static void conn_unwatch(Conn *conn) {
        if (conn->is_watched)
                epoll_ctl(conn->conns->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
        conn->is_watched = false;
}

/* `events` 0 leaves the socket alone, also its errors, which epoll would report again and again. */
static int conn_watch(Conn *conn, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = conn };

        if (events == 0) {
                conn_unwatch(conn);
                return 0;
        }
        if (epoll_ctl(conn->conns->epoll_fd, conn->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd,
                      &event) < 0)
                return -errno;
        conn->is_watched = true;
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

static void conns_enter(Conns *conns) {
        conns->depth++;
}

static void conns_leave(Conns *conns) {
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

void conn_finish(Conn *conn) {
        Conns *conns = conn->conns;

        if (conn->state == CONN_FINISHED)
                return;
        assert(!conn->wait.is_waiting);
        /* Closing a descriptor that systemd holds, too, tells the peer nothing. */
        if (conn->state == CONN_REGISTERED && !conns->is_ending)
                shutdown(conn->fd, SHUT_RDWR);
        conn_set_state(conn, CONN_FINISHED);
        conn->node = NULL;
        conns->n_conns--;
        /* Out of epoll before it is closed: a descriptor that somebody else holds too (an fd store) would
         * go on waking us. */
        conn_unwatch(conn);
        conn->timer = sd_event_source_disable_unref(conn->timer);
        close_fdp(&conn->fd);
        conn->fd = -1;
        /* Now, not when it is reaped: whoever sheds readers counts on what they held being free. */
        conn->blob = blob_unref(conn->blob);
        if (conns->depth == 0)
                sd_event_source_set_enabled(conns->reaper, SD_EVENT_ONESHOT);
}

int conns_new(Conns **ret, sd_event *event, const ConnOptions *options, const ConnHandler *handler,
              Counters *counters) {
        _cleanup_(conns_freep) Conns *conns = calloc(1, sizeof *conns);
        int r;

        if (!conns)
                return -ENOMEM;
        conns->event = event;
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
        *ret = TAKE_PTR(conns);
        return 0;
}

static void conn_list_finish(ConnList *list) {
        while (list->first) {
                list->first->wait.is_waiting = false;
                conn_finish(list->first);
        }
}

Conns *conns_free(Conns *conns) {
        if (!conns)
                return NULL;
        conns->is_ending = true;
        conn_list_finish(&conns->registered);
        conn_list_finish(&conns->patient);
        conn_list_finish(&conns->unregistered);
        conns_reap(conns);
        sd_event_source_disable_unref(conns->reaper);
        sd_event_source_disable_unref(conns->io);
        close_fdp(&conns->epoll_fd);
        free(conns);
        return NULL;
}

size_t conns_n(const Conns *conns) {
        return conns->n_conns;
}

size_t conns_n_max(const Conns *conns) {
        return conns->options.n_conns_max;
}

void conns_set_packet_timeout(Conns *conns, uint64_t packet_timeout_usec) {
        conns->options.packet_timeout_usec = packet_timeout_usec;
}

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t conns_now(Conns *conns) {
        uint64_t now = 0;

        sd_event_now(conns->event, CLOCK_MONOTONIC, &now);
        return now;
}

static uint64_t conn_deadline(const Conn *conn) {
        uint64_t timeout = conn->conns->options.packet_timeout_usec;
        unsigned times = conn->state == CONN_READING ? CONN_REQUEST_TIMES : CONN_ANSWER_TIMES;

        if (conn->state == CONN_DELAYED)
                return conn->began_usec + conn->conns->options.delay_write_sec * USEC_PER_SEC;
        /* A stream has no end: only silence counts. */
        if (conn->state == CONN_STREAMING)
                return conn->active_usec + times * timeout;
        return min_u64(conn->active_usec + timeout, conn->began_usec + times * timeout);
}

static void conn_send_answer(Conn *conn);
static void conn_on_left(Conn *conn);

static int conn_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Conn *conn = userdata;
        Conns *conns = conn->conns;

        (void)source;
        (void)usec;
        conns_enter(conns);
        if (conn->state == CONN_DELAYED) {
                conn->state = CONN_ANSWERING;
                conn->began_usec = conn->active_usec = conns_now(conns);
                conn_send_answer(conn);
        } else {
                conns->counters->n_timed_out++;
                log_debug("%s: timed out", conn_peer_text(conn));
                conn_on_left(conn);
        }
        conns_leave(conns);
        return 0;
}

/* Sees to it that the connection is looked at again by its deadline. */
static int conn_arm_timer(Conn *conn) {
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
static void conn_on_ended(Conn *conn);
static void conn_on_stream_ready(Conn *conn);
static bool conn_peeks_end(const Conn *conn);
static void conn_forget_input(Conn *conn);
static Conn *conn_new(Conns *conns, int *fd, ConnKind kind, uint16_t port, const SocketAddress *peer);

static void conn_on_ready(Conn *conn) {
        switch (conn->state) {
        case CONN_READING:
                conn_read(conn);
                break;
        case CONN_ANSWERING:
                conn_send_answer(conn);
                break;
        case CONN_REGISTERED:
                if (conn_has_ended(conn))
                        conn_on_ended(conn);
                break;
        case CONN_HELD:
                if (conn_peeks_end(conn))
                        conn_on_left(conn);
                break;
        case CONN_STREAMING:
                conn_on_stream_ready(conn);
                break;
        case CONN_DELAYED:
        case CONN_FINISHED: /* by one that came before it in the batch */
                break;
        }
}

static int conns_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct epoll_event ready[SERVE_BATCH];
        Conns *conns = userdata;
        int n = epoll_wait(fd, ready, SERVE_BATCH, 0);

        (void)source;
        (void)events;
        conns_enter(conns);
        for (int i = 0; i < n; i++)
                conn_on_ready(ready[i].data.ptr);
        conns_leave(conns);
        return 0;
}

/* Waits for `events`, at most until the deadline of its state. A connection that cannot be watched is
 * closed: it could not be served. */
static void conn_park(Conn *conn, uint32_t events) {
        int r = conn_watch(conn, events);

        if (r >= 0)
                r = conn_arm_timer(conn);
        if (r < 0) {
                log_error("A connection cannot be watched and is closed: %s", strerror(-r));
                conn_finish(conn);
        }
}

/* --- reading ---------------------------------------------------------------------------------- */

static void conn_garbage(Conn *conn, const uint8_t *data, size_t n_data) {
        conn->conns->counters->n_malformed++;
        log_event(LOG_NOTICE, LOG_EVENT_GARBAGE, &(LogFields){ .peer = conn_peer_text(conn) },
                  "%s sent what is no request; closed", conn_peer_text(conn));
        log_hex("garbage", data, n_data);
        conn_finish(conn);
}

/* What has come so far is kept with the connection; complete requests never get here. */
static void conn_keep_input(Conn *conn, size_t n_data) {
        Conns *conns = conn->conns;

        if (!conn->in) {
                conn->in = malloc(sizeof conns->scratch);
                if (!conn->in) {
                        conn_finish(conn);
                        return;
                }
                memcpy(conn->in, conns->scratch, n_data);
        }
        conn->n_in = (uint16_t)n_data;
        conn_park(conn, EPOLLIN);
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
                conn_keep_input(conn, n_data);
                break;
        case WIRE_FRAME_BAD:
                conn_garbage(conn, buffer, n_data);
                break;
        case WIRE_FRAME_COMPLETE:
                conns->handler.on_request(conns->handler.userdata, conn, body, n_body);
                break;
        }
}

/* --- answering -------------------------------------------------------------------------------- */

static bool conn_is_sent(const Conn *conn) {
        return conn->n_head_sent == conn->n_head &&
               (!conn->blob || conn->n_blob_sent == conn->blob->n_data);
}

static void conn_advance(Conn *conn, size_t n) {
        size_t n_head_left = (size_t)(conn->n_head - conn->n_head_sent);

        if (n < n_head_left)
                conn->n_head_sent = (uint8_t)(conn->n_head_sent + n);
        else {
                conn->n_head_sent = conn->n_head;
                conn->n_blob_sent += n - n_head_left;
        }
}

/* 1: all is sent; 0: the socket takes no more now; negative errno. */
static int conn_send(Conn *conn, int flags) {
        while (!conn_is_sent(conn)) {
                struct iovec parts[2] = {
                        { conn->head + conn->n_head_sent, (size_t)(conn->n_head - conn->n_head_sent) },
                        { conn->blob ? conn->blob->data + conn->n_blob_sent : NULL,
                          conn->blob ? conn->blob->n_data - conn->n_blob_sent : 0 },
                };
                struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
                ssize_t n = sendmsg(conn->fd, &message, MSG_NOSIGNAL | flags);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                conn_advance(conn, (size_t)n);
                conn->active_usec = conns_now(conn->conns);
        }
        return 1;
}

/* MSG_MORE holds the last segment back until close() adds the FIN to it. */
static void conn_send_answer(Conn *conn) {
        if (conn_send(conn, MSG_MORE) == 0)
                conn_park(conn, EPOLLOUT);
        else
                conn_finish(conn);
}

static void conn_begin_answer(Conn *conn) {
        Conns *conns = conn->conns;

        conn_forget_input(conn);
        conn->began_usec = conns_now(conns);
        if (conns->options.delay_write_sec > 0) {
                conn_set_state(conn, CONN_DELAYED);
                conn_park(conn, 0);
        } else {
                conn_set_state(conn, CONN_ANSWERING);
                conn_send_answer(conn);
        }
}

void conn_answer_blob(Conn *conn, const void *head, size_t n_head, Blob *blob) {
        assert(n_head <= CONN_HEAD_MAX);
        assert(conn->state == CONN_READING || conn->state == CONN_HELD);

        if (n_head > 0)
                memcpy(conn->head, head, n_head);
        conn->n_head = (uint8_t)n_head;
        conn->n_head_sent = 0;
        conn->blob = blob;
        conn->n_blob_sent = 0;
        conn_begin_answer(conn);
}

void conn_answer_listing(Conn *conn, Listings *listings, const void *head, size_t n_head, Blob *blob) {
        Conns *conns = conn->conns;
        const Blob *excess;

        conn_answer_blob(conn, head, n_head, blob);
        while ((excess = listings_find_excess(listings)))
                conns_shed_readers_of(conns, excess);
}

void conn_answer(Conn *conn, const void *data, size_t n_data) {
        Blob *blob;
        ssize_t n;

        /* The common case needs no copy. */
        if (conn->conns->options.delay_write_sec == 0) {
                n = send(conn->fd, data, n_data, MSG_NOSIGNAL | MSG_MORE);
                if (n == (ssize_t)n_data || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                        conn_finish(conn);
                        return;
                }
                if (n > 0) {
                        data = (const uint8_t *)data + n;
                        n_data -= (size_t)n;
                }
        }
        blob = blob_new(data, n_data);
        if (blob)
                conn_answer_blob(conn, NULL, 0, blob);
        else
                conn_finish(conn);
}

/* --- registered ------------------------------------------------------------------------------- */

int conn_register(Conn *conn, Node *node, const void *answer, size_t n_answer) {
        int r;

        assert(conn->state == CONN_READING || conn->state == CONN_HELD);
        assert(n_answer <= CONN_HEAD_MAX);
        r = conn_watch(conn, EPOLLIN);
        if (r < 0)
                return r;
        conn_set_state(conn, CONN_REGISTERED);
        conn->timer = sd_event_source_disable_unref(conn->timer);
        conn->node = node;
        memcpy(conn->head, answer, n_answer);
        conn->n_head = (uint8_t)n_answer;
        conn->n_head_sent = 0;
        conn->has_answer = true;
        conn_forget_input(conn);
        return 0;
}

int conns_adopt(Conns *conns, int *fd, uint16_t port, Node *node, Conn **ret) {
        SocketAddress peer = { 0 };
        socklen_t n = sizeof peer;
        Conn *conn;
        int r;

        /* One that has just been reset has no peer any more: then the loop sees its end. */
        if (getpeername(*fd, &peer.sa, &n) < 0)
                peer = (SocketAddress){ 0 };
        conn = conn_new(conns, fd, CONN_EPMD, port, &peer);
        if (!conn)
                return -ENOMEM;
        r = conn_watch(conn, EPOLLIN);
        if (r < 0) {
                conn_finish(conn);
                return r;
        }
        conn_set_state(conn, CONN_REGISTERED);
        conn->node = node;
        *ret = conn;
        return 0;
}

void conn_set_stored(Conn *conn, FdstoreEntry *entry) {
        conn->stored = entry;
}

FdstoreEntry *conn_stored(const Conn *conn) {
        return conn->stored;
}

bool conn_is_unanswered(const Conn *conn) {
        return conn->has_answer;
}

/* Stock epmd answers with one write and OTP's client counts on it; six bytes always fit an empty socket
 * buffer, so a short count cannot happen and an error is the connection's end. */
void conn_release_answer(Conn *conn) {
        assert(conn->state == CONN_REGISTERED && conn->has_answer);
        conn->has_answer = false;
        if (conn_send(conn, 0) <= 0)
                shutdown(conn->fd, SHUT_RDWR); /* the loop sees its end and reports it */
}

Node *conn_node(const Conn *conn) {
        return conn->node;
}

void conn_set_node(Conn *conn, Node *node) {
        conn->node = node;
}

static void conn_on_ended(Conn *conn) {
        Conns *conns = conn->conns;

        conns->handler.on_end(conns->handler.userdata, conn);
        assert(conn->state == CONN_FINISHED);
}

/* EOF, an error, or any byte: whoever has made his request has nothing to say. */
static bool conn_peeks_end(const Conn *conn) {
        uint8_t byte;
        ssize_t n;

        do
                n = recv(conn->fd, &byte, 1, MSG_PEEK);
        while (n < 0 && errno == EINTR);
        return !(n < 0 && errno == EAGAIN);
}

bool conn_has_ended(const Conn *conn) {
        if (conn->state != CONN_REGISTERED)
                return conn->state == CONN_FINISHED;
        return conn_peeks_end(conn);
}

/* --- held, and streams ------------------------------------------------------------------------ */

static void conn_forget_input(Conn *conn) {
        free(conn->in);
        conn->in = NULL;
        conn->n_in = 0;
}

/* The client has gone, or its time is up: whoever waits for it is told. */
static void conn_on_left(Conn *conn) {
        if (conn->state == CONN_HELD)
                conn->holder.on_left(conn->holder.userdata, conn);
        else if (conn->state == CONN_STREAMING)
                conn->stream.on_left(conn->stream.userdata, conn);
        conn_finish(conn);
}

int conn_hold(Conn *conn, const ConnHolder *holder) {
        int r;

        assert(conn->state == CONN_READING);
        r = conn_watch(conn, EPOLLIN);
        if (r < 0)
                return r;
        conn->timer = sd_event_source_disable_unref(conn->timer);
        conn->holder = *holder;
        conn_forget_input(conn);
        conn_set_state(conn, CONN_HELD);
        return 0;
}

int conn_stream_begin(Conn *conn, const ConnStream *stream) {
        int r;

        assert(conn->state == CONN_READING || conn->state == CONN_HELD);
        r = conn_watch(conn, EPOLLIN);
        if (r < 0)
                return r;
        conn->timer = sd_event_source_disable_unref(conn->timer);
        conn->stream = *stream;
        conn_forget_input(conn);
        conn_set_state(conn, CONN_STREAMING);
        return 0;
}

bool conn_stream_is_idle(const Conn *conn) {
        return !conn->blob;
}

/* What cannot be watched is cut, which the loop sees as its end. */
static void conn_stream_want_room(Conn *conn) {
        if (conn_watch(conn, EPOLLIN | EPOLLOUT) < 0 || conn_arm_timer(conn) < 0)
                shutdown(conn->fd, SHUT_RDWR);
}

/* Sent from the loop, so that nothing happens to the one who calls while he does. */
void conn_stream_send(Conn *conn, Blob *blob) {
        assert(conn->state == CONN_STREAMING && !conn->blob);
        conn->blob = blob;
        conn->n_blob_sent = 0;
        conn->n_head = conn->n_head_sent = 0;
        conn->began_usec = conn->active_usec = conns_now(conn->conns);
        conn_stream_want_room(conn);
}

static void conn_stream_rest(Conn *conn) {
        conn->blob = blob_unref(conn->blob);
        conn->timer = sd_event_source_disable_unref(conn->timer);
        if (conn_watch(conn, EPOLLIN) < 0)
                conn_on_left(conn);
        else
                conn->stream.on_idle(conn->stream.userdata, conn);
}

static void conn_on_stream_ready(Conn *conn) {
        int r;

        if (conn_peeks_end(conn)) {
                conn_on_left(conn);
                return;
        }
        if (!conn->blob)
                return;
        r = conn_send(conn, 0);
        if (r < 0)
                conn_on_left(conn);
        else if (r > 0)
                conn_stream_rest(conn);
        else
                conn_stream_want_room(conn);
}

ConnWait *conn_wait(Conn *conn) {
        return &conn->wait;
}

/* --- room for newcomers -------------------------------------------------------------------------------- */

/* Makes room by closing the oldest connection that no node stands behind. */
bool conns_shed_oldest(Conns *conns) {
        Conn *conn = conns->unregistered.first;

        if (!conn)
                return false;
        conns->counters->n_shed++;
        log_event(LOG_WARNING, LOG_EVENT_SHED, &(LogFields){ .peer = conn_peer_text(conn) },
                  "Too many connections (%zu): closed the oldest without a node, of %s",
                  conns->n_conns, conn_peer_text(conn));
        conn_finish(conn);
        return true;
}

void conns_shed_readers_of(Conns *conns, const Blob *blob) {
        for (Conn *conn = conns->unregistered.first, *next; conn; conn = next) {
                next = conn->next;
                if (conn->blob != blob)
                        continue;
                conns->counters->n_shed++;
                log_event(LOG_WARNING, LOG_EVENT_SHED, &(LogFields){ .peer = conn_peer_text(conn) },
                          "Closed %s, which reads an old listing too slowly", conn_peer_text(conn));
                conn_finish(conn);
        }
}

static Conn *conn_new(Conns *conns, int *fd, ConnKind kind, uint16_t port, const SocketAddress *peer) {
        Conn *conn = calloc(1, sizeof *conn);

        if (!conn)
                return NULL;
        conn->conns = conns;
        conn->fd = TAKE_FD(*fd);
        conn->kind = kind;
        conn->listener_port = port;
        conn->peer = *peer;
        conn->began_usec = conn->active_usec = conns_now(conns);
        conn_list_append(&conns->unregistered, conn);
        conns->n_conns++;
        conns->counters->n_accepted++;
        return conn;
}

/* Most clients have sent their request by the time they are accepted: they are served without a turn of the
 * loop. */
void conns_take(Conns *conns, int fd, ConnKind kind, uint16_t port, const SocketAddress *peer) {
        _cleanup_(close_fdp) int taken = fd;
        Conn *conn;

        conns_enter(conns);
        if (conns->n_conns >= conns->options.n_conns_max && !conns_shed_oldest(conns)) {
                conns->counters->n_shed++;
                log_event(LOG_WARNING, LOG_EVENT_SHED, NULL,
                          "All %zu connections belong to registered nodes: a new one is closed",
                          conns->n_conns);
        } else {
                conn = conn_new(conns, &taken, kind, port, peer);
                if (conn)
                        conn_read(conn);
        }
        conns_leave(conns);
}

/* --- facts ------------------------------------------------------------------------------------ */

ConnKind conn_kind(const Conn *conn) {
        return conn->kind;
}

int conn_fd(const Conn *conn) {
        return conn->fd;
}

int conn_get_peer_uid(const Conn *conn, uid_t *ret) {
        struct ucred credentials;
        socklen_t n = sizeof credentials;

        if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n) < 0)
                return -errno;
        *ret = credentials.uid;
        return 0;
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

uint16_t conn_listener_port(const Conn *conn) {
        return conn->listener_port;
}

const char *conn_peer_text(const Conn *conn) {
        static char text[ADDRESS_TEXT_MAX + 16];
        char address_text[ADDRESS_TEXT_MAX];
        Address address;
        uint16_t port;

        if (conn->kind == CONN_CONTROL || address_from_sockaddr(&conn->peer.sa, &address, &port) < 0)
                return "control socket";
        snprintf(text, sizeof text, address_is_ipv4(&address) ? "%s:%u" : "[%s]:%u",
                 address_format(&address, address_text), port);
        return text;
}
