/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the connections that stay: held until there is an answer, streaming, or registered. Does not know what they
 * wait for. They have no timeout and are never shed, so that there is a bound on each kind elsewhere (P6).
 *
 * The trap: a stream's user sends from within its callbacks and may close the connection there, too. So nothing is
 * called from within conn_stream_send(): the loop sends, in its next turns, so many a turn, and tells when all is
 * sent. It asks epoll about those alone whose socket does not take all.
 */

#include "serve/conn.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "serve/conn_private.h"
#include "timer.h"

/* Of a stream over TCP: a peer that has vanished is noticed after twice that; the kernel's memory for it is twice this. */
#define STREAM_KEEPALIVE_SEC 60
#define STREAM_SEND_BYTES (64 * 1024)
/* What a socket is given for the last words. The kernel allows less, as a rule: /proc/sys/net/core/wmem_max. */
#define LAST_SEND_BYTES (4 * 1024 * 1024)

/* --- held ------------------------------------------------------------------------------------- */

/* What was read stays: whoever holds it may still look at its request. */
int conn_hold(Conn *conn, PlaceKind kind, size_t n_max, const ConnHolder *holder) {
        int r;

        assert(conn->state == CONN_READING);
        r = conn_settle(conn, CONN_HELD, EPOLLIN, kind, n_max);
        if (r < 0)
                return r;
        conn->holder = *holder;
        return 0;
}

void conn_on_held_ready(Conn *conn) {
        if (!conn_has_something_to_say(conn))
                return;
        conn->holder.on_left(conn->holder.userdata, conn);
        conn_finish(conn);
}

/* --- streams ---------------------------------------------------------------------------------- */

static void set_option(const Conn *conn, int level, int option, int value) {
        (void)setsockopt(conn->fd, level, option, &value, sizeof value);
}

/* Over TCP one whose machine is gone would be there for ever, and hold what the kernel keeps for him; and the kernel
 * would make his buffer as large as it can, so that there is no room left for conn_stream_cut(). */
static void conn_set_stream_options(const Conn *conn) {
        if (conn->kind != CONN_EPMD)
                return;
        set_option(conn, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(conn, IPPROTO_TCP, TCP_KEEPIDLE, STREAM_KEEPALIVE_SEC);
        set_option(conn, IPPROTO_TCP, TCP_KEEPINTVL, STREAM_KEEPALIVE_SEC / 6);
        set_option(conn, IPPROTO_TCP, TCP_KEEPCNT, 6);
        set_option(conn, SOL_SOCKET, SO_SNDBUF, STREAM_SEND_BYTES);
}

int conn_stream_begin(Conn *conn, const ConnStream *stream) {
        int r;

        assert(conn_may_be_answered(conn));
        r = conn_settle(conn, CONN_STREAMING, EPOLLIN, PLACE_STREAM, stream->n_max);
        if (r < 0)
                return r;
        conn->stream = *stream;
        conn_set_stream_options(conn);
        return 0;
}

bool conn_stream_is_idle(const Conn *conn) {
        assert(conn->state == CONN_STREAMING);
        return !conn->blob;
}

/* The socket is to say when it takes more; that must not take too long. */
static void conn_stream_wait(Conn *conn) {
        int r = conn_watch(conn, EPOLLIN | EPOLLOUT);

        if (r >= 0)
                r = conn_arm_timer(conn);
        if (r < 0)
                shutdown(conn->fd, SHUT_RDWR); /* the loop sees its end and reports it */
}

/* Neither can fail for a counter that is 0 or 1. */
static void conns_set_outgoing(Conns *conns, bool is_outgoing) {
        eventfd_t n;

        if (is_outgoing)
                (void)eventfd_write(conns->outgoing_fd, 1);
        else
                (void)eventfd_read(conns->outgoing_fd, &n);
}

static void conn_stream_queue(Conn *conn) {
        Conns *conns = conn->conns;

        if (!conns->outgoing_first)
                conns_set_outgoing(conns, true);
        conn->outgoing_previous = conns->outgoing_last;
        if (conns->outgoing_last)
                conns->outgoing_last->outgoing_next = conn;
        else
                conns->outgoing_first = conn;
        conns->outgoing_last = conn;
        conn->is_outgoing = true;
}

void conn_stream_unqueue(Conn *conn) {
        Conns *conns = conn->conns;

        if (!conn->is_outgoing)
                return;
        if (conn->outgoing_previous)
                conn->outgoing_previous->outgoing_next = conn->outgoing_next;
        else
                conns->outgoing_first = conn->outgoing_next;
        if (conn->outgoing_next)
                conn->outgoing_next->outgoing_previous = conn->outgoing_previous;
        else
                conns->outgoing_last = conn->outgoing_previous;
        conn->outgoing_next = conn->outgoing_previous = NULL;
        conn->is_outgoing = false;
        if (!conns->outgoing_first)
                conns_set_outgoing(conns, false);
}

void conn_stream_send(Conn *conn, Blob *blob) {
        assert(conn_stream_is_idle(conn));
        conn->blob = blob;
        conn->n_blob_sent = 0;
        conn->active_usec = conns_now(conn->conns);
        if (conn->timer)
                timer_stop(conn->timer); /* of its rest */
        conn_stream_queue(conn);
}

static void conn_stream_end(Conn *conn) {
        conn->stream.on_left(conn->stream.userdata, conn);
        conn_finish(conn);
}

/* Between two blobs nothing is looked for but the client's end, and no time runs but that of its rest. */
static void conn_stream_rest(Conn *conn) {
        int r = conn_watch(conn, EPOLLIN);

        if (conn->timer)
                timer_stop(conn->timer);
        if (r >= 0 && conn->stream.rest_usec > 0)
                r = conn_arm_timer(conn);
        if (r < 0)
                shutdown(conn->fd, SHUT_RDWR);
}

static void conn_stream_continue(Conn *conn) {
        int r = conn_send(conn, 0);

        conn_stream_unqueue(conn);
        if (r < 0) {
                conn_stream_end(conn);
                return;
        }
        if (r == 0) {
                conn_stream_wait(conn);
                return;
        }
        conn->blob = blob_unref(conn->blob);
        conn->stream.on_idle(conn->stream.userdata, conn);
        if (conn->state == CONN_STREAMING && conn_stream_is_idle(conn))
                conn_stream_rest(conn);
}

/* Who sends from within his callback has his turn after all others (P6). */
void conns_on_outgoing(Conns *conns) {
        for (size_t i = 0; i < SERVE_BATCH && conns->outgoing_first; i++)
                conn_stream_continue(conns->outgoing_first);
}

int conn_streams_init(Conns *conns) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

        conns->outgoing_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (conns->outgoing_fd < 0 || epoll_ctl(conns->epoll_fd, EPOLL_CTL_ADD, conns->outgoing_fd, &event) < 0)
                return -errno;
        return 0;
}

void conn_on_stream_ready(Conn *conn, uint32_t events) {
        if ((events & ~(uint32_t)EPOLLOUT) && conn_has_something_to_say(conn))
                conn_stream_end(conn);
        else if (!conn_stream_is_idle(conn))
                conn_stream_continue(conn);
}

void conn_on_stream_timeout(Conn *conn) {
        if (!conn_stream_is_idle(conn)) {
                conn->conns->counters->n_timed_out++;
                conn->stream.on_slow(conn->stream.userdata, conn);
                assert(conn->state == CONN_FINISHED);
                return;
        }
        conn->stream.on_rested(conn->stream.userdata, conn);
        if (conn->state == CONN_STREAMING && conn_stream_is_idle(conn)) {
                conn->active_usec = conns_now(conn->conns);
                conn_stream_rest(conn);
        }
}

size_t conn_stream_n_sent(const Conn *conn) {
        assert(!conn_stream_is_idle(conn));
        return conn->n_blob_sent;
}

/* As large as it may be; a buffer that is larger already is left alone. */
static void conn_make_room(const Conn *conn) {
        int n_room = 0;
        socklen_t n = sizeof n_room;

        if (getsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &n_room, &n) == 0 && n_room < LAST_SEND_BYTES)
                set_option(conn, SOL_SOCKET, SO_SNDBUF, LAST_SEND_BYTES);
}

void conn_stream_cut(Conn *conn, size_t upto, const void *last, size_t n_last) {
        const uint8_t *rest = conn->blob ? conn->blob->data + conn->n_blob_sent : NULL;
        size_t n_rest = conn->blob ? upto - conn->n_blob_sent : 0;
        ssize_t n = 0;

        assert(conn->state == CONN_STREAMING);
        conn_make_room(conn);
        /* What is written in part is no record, and must not be followed by one. */
        if (n_rest > 0)
                n = send(conn->fd, rest, n_rest, MSG_NOSIGNAL | MSG_MORE);
        if (n == (ssize_t)n_rest)
                (void)!send(conn->fd, last, n_last, MSG_NOSIGNAL);
        conn_finish(conn);
}

/* --- registered ------------------------------------------------------------------------------- */

int conn_register(Conn *conn, Node *node, const void *answer, size_t n_answer) {
        int r;

        assert(conn_may_be_answered(conn));
        assert(n_answer <= CONN_HEAD_MAX);
        r = conn_enter_state(conn, CONN_REGISTERED, EPOLLIN);
        if (r < 0)
                return r;
        conn->node = node;
        memcpy(conn->head, answer, n_answer);
        conn->n_head = (uint8_t)n_answer;
        conn->n_head_sent = 0;
        conn->has_answer = true;
        return 0;
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

/* Whatever epoll tells of is its end: what it tells of an EOF, an error or a byte, conn_has_ended() would only say again. */
void conn_on_registered_ready(Conn *conn) {
        Conns *conns = conn->conns;

        conns->handler.on_end(conns->handler.userdata, conn);
        assert(conn->state == CONN_FINISHED);
}

/* EOF, an error, or any byte: a registered node has nothing to say. */
bool conn_has_ended(const Conn *conn) {
        if (conn->state != CONN_REGISTERED)
                return conn->state == CONN_FINISHED;
        return conn_has_something_to_say(conn);
}

/* --- adopted ---------------------------------------------------------------------------------- */

/* One whose peer is gone has no peer's address any more; its end is seen as any other. */
static SocketAddress peer_of(int fd) {
        SocketAddress peer = { .sa.sa_family = AF_UNSPEC };
        socklen_t n = sizeof peer;

        if (getpeername(fd, &peer.sa, &n) < 0)
                peer.sa.sa_family = AF_UNSPEC;
        return peer;
}

int conns_adopt(Conns *conns, int *fd, uint16_t port, Node *node, Conn **ret) {
        SocketAddress peer = peer_of(*fd);
        int given = *fd, r;
        Conn *conn = conn_new(conns, fd, CONN_EPMD, CONN_REGISTERED, port, &peer);

        if (!conn)
                return -ENOMEM;
        r = conn_watch(conn, EPOLLIN);
        if (r < 0) {
                conn->fd = -1; /* still the caller's */
                *fd = given;
                conn_finish(conn);
                return r;
        }
        conn->node = node;
        conn->is_shared = true;
        *ret = conn;
        return 0;
}

void conn_set_shared(Conn *conn) {
        conn->is_shared = true;
}

void conn_set_stored(Conn *conn, FdstoreEntry *entry) {
        conn->stored = entry;
}

FdstoreEntry *conn_stored(const Conn *conn) {
        return conn->stored;
}
