/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the connections that stay: held until there is an answer, streaming, or registered. Does not know what they
 * wait for. They have no timeout and are never shed, so that there is a bound on each kind elsewhere (P6).
 *
 * The trap: a stream's user sends from within its callbacks and may close the connection there, too. So nothing is
 * called from within conn_stream_send(): the loop sends, and tells when all is sent.
 */

#include "serve/conn.h"

#include <assert.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "serve/conn_private.h"

static size_t conns_share(const Conns *conns) {
        return conns->options.n_conns_max / CONN_SHARE;
}

/* --- held ------------------------------------------------------------------------------------- */

/* What was read stays: whoever holds it may still look at its request. */
int conn_hold(Conn *conn, const ConnHolder *holder) {
        int r;

        assert(conn->state == CONN_READING);
        if (conn->conns->held.n_conns >= conns_share(conn->conns))
                return -EBUSY;
        r = conn_enter_state(conn, CONN_HELD, EPOLLIN);
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

int conn_stream_begin(Conn *conn, const ConnStream *stream) {
        int r;

        assert(conn_may_be_answered(conn));
        if (conn->conns->streaming.n_conns >= conns_share(conn->conns))
                return -EBUSY;
        r = conn_enter_state(conn, CONN_STREAMING, EPOLLIN);
        if (r < 0)
                return r;
        conn->stream = *stream;
        return 0;
}

bool conn_stream_is_idle(const Conn *conn) {
        assert(conn->state == CONN_STREAMING);
        return !conn->blob;
}

void conn_stream_send(Conn *conn, Blob *blob) {
        int r;

        assert(conn_stream_is_idle(conn));
        conn->blob = blob;
        conn->n_blob_sent = 0;
        conn->active_usec = conns_now(conn->conns);
        r = conn_watch(conn, EPOLLIN | EPOLLOUT);
        if (r >= 0)
                r = conn_arm_timer(conn);
        if (r < 0)
                shutdown(conn->fd, SHUT_RDWR); /* the loop sees its end and reports it */
}

static void conn_stream_end(Conn *conn) {
        conn->stream.on_left(conn->stream.userdata, conn);
        conn_finish(conn);
}

/* Between two blobs nothing is looked for but the client's end, and no time runs. */
static void conn_stream_rest(Conn *conn) {
        if (conn_watch(conn, EPOLLIN) < 0)
                shutdown(conn->fd, SHUT_RDWR);
        if (conn->timer)
                sd_event_source_set_enabled(conn->timer, SD_EVENT_OFF);
}

static void conn_stream_continue(Conn *conn) {
        int r = conn_send(conn, 0);

        if (r < 0) {
                conn_stream_end(conn);
                return;
        }
        if (r == 0) {
                if (conn_arm_timer(conn) < 0)
                        shutdown(conn->fd, SHUT_RDWR);
                return;
        }
        conn->blob = blob_unref(conn->blob);
        conn->stream.on_idle(conn->stream.userdata, conn);
        if (conn->state == CONN_STREAMING && conn_stream_is_idle(conn))
                conn_stream_rest(conn);
}

void conn_on_stream_ready(Conn *conn, uint32_t events) {
        if ((events & ~(uint32_t)EPOLLOUT) && conn_has_something_to_say(conn))
                conn_stream_end(conn);
        else if (!conn_stream_is_idle(conn))
                conn_stream_continue(conn);
}

void conn_on_stream_timeout(Conn *conn) {
        conn->stream.on_left(conn->stream.userdata, conn);
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

void conn_on_registered_ready(Conn *conn) {
        Conns *conns = conn->conns;

        if (!conn_has_ended(conn))
                return;
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
        *ret = conn;
        return 0;
}

void conn_set_stored(Conn *conn, FdstoreEntry *entry) {
        conn->stored = entry;
}

FdstoreEntry *conn_stored(const Conn *conn) {
        return conn->stored;
}
