/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how an answer leaves: at once where the socket takes it, else as the client reads. Does not know what is in
 * it.
 *
 * The trap: clients take the first segment for the whole answer; so it leaves with one write, the FIN with it.
 */

#include "serve/conn.h"

#include <assert.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "serve/conn_private.h"

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

int conn_send(Conn *conn, int flags) {
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
void conn_send_answer(Conn *conn) {
        if (conn_send(conn, MSG_MORE) == 0)
                conn_park(conn, EPOLLOUT);
        else
                conn_finish(conn);
}

static void conn_begin_answer(Conn *conn) {
        Conns *conns = conn->conns;
        bool is_delayed = conns->options.delay_write_sec > 0;

        conn->began_usec = conn->active_usec = conns_now(conns);
        conn_set_state(conn, is_delayed ? CONN_DELAYED : CONN_ANSWERING);
        if (is_delayed)
                conn_park(conn, 0);
        else
                conn_send_answer(conn);
}

void conn_answer_blob(Conn *conn, const void *head, size_t n_head, Blob *blob) {
        assert(n_head <= CONN_HEAD_MAX);
        assert(conn_may_be_answered(conn));

        if (n_head > 0)
                memcpy(conn->head, head, n_head);
        conn->n_head = (uint8_t)n_head;
        conn->n_head_sent = 0;
        conn->blob = blob;
        conn->n_blob_sent = 0;
        conn_begin_answer(conn);
}

void conn_answer_listing(Conn *conn, Listings *listings, const void *head, size_t n_head, Blob *blob) {
        conn_answer_blob(conn, head, n_head, blob);
        if (conn->place.number != 0)
                conn_weigh_place(conn, blob->n_data);
        conns_shed_slow_readers(conn->conns, listings);
}

/* Sends what the socket takes at once: the common case needs no copy. Returns the rest; NULL: there is none, or nobody to
 * read it, and the connection is closed. */
static Blob *conn_send_first(Conn *conn, const void *data, size_t n_data) {
        size_t n_sent = 0;
        Blob *rest;
        ssize_t n;

        assert(conn_may_be_answered(conn));
        if (conn->conns->options.delay_write_sec == 0) {
                n = send(conn->fd, data, n_data, MSG_NOSIGNAL | MSG_MORE);
                if (n == (ssize_t)n_data || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                        conn_finish(conn);
                        return NULL;
                }
                n_sent = n > 0 ? (size_t)n : 0;
        }
        rest = blob_new((const uint8_t *)data + n_sent, n_data - n_sent);
        if (!rest)
                conn_finish(conn);
        return rest;
}

void conn_answer(Conn *conn, const void *data, size_t n_data) {
        Blob *rest = conn_send_first(conn, data, n_data);

        if (rest)
                conn_answer_blob(conn, NULL, 0, rest);
}

void conn_answer_listed(Conn *conn, Listings *listings, const void *data, size_t n_data) {
        Blob *rest = conn_send_first(conn, data, n_data);

        if (!rest)
                return;
        listings_keep(listings, rest);
        conn_answer_listing(conn, listings, NULL, 0, rest);
}
