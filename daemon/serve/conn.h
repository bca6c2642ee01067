/* SPDX-License-Identifier: Apache-2.0 */
/* Client connections: read, answered, bounded in number and time, closed. No rule of the registry. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "core/node.h"
#include "serve/counters.h"
#include "serve/listing.h"
#include "state/fdstore.h"

/* Of --packet-timeout, the bound on silence: */
#define CONN_REQUEST_TIMES 5 /* a whole request may take this many times as long */
#define CONN_ANSWER_TIMES 10 /* a whole answer may */

/* P6: at most one in so many connections is held, and one in so many is a stream. */
#define CONN_SHARE 4

typedef struct Conns Conns;
typedef struct Conn Conn;

typedef enum ConnKind {
        CONN_EPMD,    /* TCP */
        CONN_CONTROL, /* AF_UNIX: the control protocol only */
} ConnKind;

typedef struct ConnOptions {
        uint64_t packet_timeout_usec;
        size_t n_conns_max; /* P6: beyond it the oldest is shed that neither is held nor streams nor is registered */
        unsigned delay_write_sec; /* stock epmd's, for tests of clients */
} ConnOptions;

typedef struct ConnHandler {
        /* A whole request. The handler answers with one of conn_answer...(), conn_register() or
         * conn_finish(). */
        void (*on_request)(void *userdata, Conn *conn, const uint8_t *body, size_t n_body);
        /* The connection of a registered node has ended; the handler ends the registration, which calls
         * conn_finish(). */
        void (*on_end)(void *userdata, Conn *conn);
        void *userdata;
} ConnHandler;

/* `event` and `counters` outlive the connections. */
int conns_new(Conns **ret, sd_event *event, const ConnOptions *options, const ConnHandler *handler,
              Counters *counters);
/* Closes all; those in the fd store live on there. */
Conns *conns_free(Conns *conns);
DEFINE_CLEANUP(Conns *, conns_free)

/* Takes `fd`, a connection that was just accepted (non-blocking), and serves it. `port` (host order) is what
 * the client is told is EPMD's port. */
void conns_take(Conns *conns, int fd, ConnKind kind, uint16_t port, const SocketAddress *peer);
/* Makes room by closing the oldest connection that is read from or answered; false: there is none. */
bool conns_shed_oldest(Conns *conns);
size_t conns_n(const Conns *conns);
size_t conns_n_max(const Conns *conns);
/* For those that come, and for those that are there from their next byte on. */
void conns_set_packet_timeout(Conns *conns, uint64_t packet_timeout_usec);
/* Closes those who still read `blob` (P6). */
void conns_shed_readers_of(Conns *conns, const Blob *blob);

ConnKind conn_kind(const Conn *conn);
int conn_fd(const Conn *conn);
const struct sockaddr *conn_peer(const Conn *conn);
/* The address and port the client asked on. NULL if the kernel did not tell. */
const struct sockaddr *conn_local(Conn *conn);
uint16_t conn_listener_port(const Conn *conn);
/* "10.0.0.1:4711", "[::1]:4711", "control socket"; good until the next call. */
const char *conn_peer_text(const Conn *conn);

/* Sends and closes; the last bytes and the FIN leave together. */
void conn_answer(Conn *conn, const void *data, size_t n_data);
/* Sends `head` (at most CONN_HEAD_MAX bytes), then `blob`, of which it takes the reference; then closes. */
#define CONN_HEAD_MAX 8
void conn_answer_blob(Conn *conn, const void *head, size_t n_head, Blob *blob);

/* The same with a listing; where slow readers hold too many old ones, those of the oldest are shed (P6). */
void conn_answer_listing(Conn *conn, Listings *listings, const void *head, size_t n_head, Blob *blob);

/* conn_answer() of what may be long: the rest, if the client does not take all at once, counts as a listing. */
void conn_answer_listed(Conn *conn, Listings *listings, const void *data, size_t n_data);

/* --- held: the answer takes its time ---------------------------------------------------------------- */

typedef struct ConnHolder {
        /* The client has hung up, or has sent more than its request; it is closed after this call. */
        void (*on_left)(void *userdata, Conn *conn);
        void *userdata;
} ConnHolder;

/* Puts a connection aside whose request was read: no timeout, never shed. Whoever holds it sees to the time, and
 * lets go of it by answering, registering or finishing it, or by making it a stream. 0; -EBUSY: too many are held
 * (P6); other negative errno: it cannot be watched. On failure it is as it was. */
int conn_hold(Conn *conn, const ConnHolder *holder);

/* --- streams: answers without an end ----------------------------------------------------------------- */

typedef struct ConnStream {
        /* All that was sent has left: more may be sent now. */
        void (*on_idle)(void *userdata, Conn *conn);
        /* The client has hung up; it is closed after this call. */
        void (*on_left)(void *userdata, Conn *conn);
        /* It takes nothing for so long as a whole answer may take: it is to be closed, by conn_stream_cut(). */
        void (*on_slow)(void *userdata, Conn *conn);
        /* Nothing was sent for `rest_usec`, and all before has left: something should be sent now. */
        void (*on_rested)(void *userdata, Conn *conn);
        uint64_t rest_usec; /* 0: never */
        void *userdata;
} ConnStream;

/* Makes a connection whose request was read (or that is held) a stream: never shed. What the client sends from
 * now on is its end. The request's body is gone afterwards. 0; -EBUSY: there are too many (P6); other negative
 * errno: it cannot be watched. On failure it is as it was. */
int conn_stream_begin(Conn *conn, const ConnStream *stream);
bool conn_stream_is_idle(const Conn *conn);
/* Sends `blob`, of which it takes the reference; the stream must be idle. on_idle() comes later, never from
 * within this call. */
void conn_stream_send(Conn *conn, Blob *blob);
/* How many bytes of the blob that is on its way have left. The stream must not be idle. */
size_t conn_stream_n_sent(const Conn *conn);
/* The last words to one who does not read: of the blob on its way the bytes up to `upto` (idle: none), then `last`; as
 * far as the socket takes them at once, which is given more room for it. Then closes. */
void conn_stream_cut(Conn *conn, size_t upto, const void *last, size_t n_last);

/* --- registered --------------------------------------------------------------------------------------- */

/* Takes `*fd`, the connection of a node that registered with an earlier process of this daemon, on success. `port`
 * as for conns_take(). 0 or negative errno. */
int conns_adopt(Conns *conns, int *fd, uint16_t port, Node *node, Conn **ret);
/* Its place in the fd store, or NULL. Whoever sets it sees to it (serve/keeper). */
void conn_set_stored(Conn *conn, FdstoreEntry *entry);
FdstoreEntry *conn_stored(const Conn *conn);
/* Who is at the other end of a control connection, by the kernel's word (SO_PEERCRED). 0 or negative errno. */
int conn_get_peer_uid(const Conn *conn, uid_t *ret);

/* From now on the connection stands for `node`: no timeout, and its end is reported to on_end(). The answer
 * (at most CONN_HEAD_MAX bytes) is kept until conn_release_answer(). 0; negative errno: it cannot be
 * watched, and is as it was. */
int conn_register(Conn *conn, Node *node, const void *answer, size_t n_answer);
bool conn_is_unanswered(const Conn *conn);
void conn_release_answer(Conn *conn);
Node *conn_node(const Conn *conn);
/* The connection turns out to be of another node. */
void conn_set_node(Conn *conn, Node *node);

/* Looks whether a registered connection has ended, without waiting for the loop to come by: true if it has
 * (P4: a newcomer's request can overtake the close before it). Calls nothing. */
bool conn_has_ended(const Conn *conn);

/* Closes at once, without a byte more; a registered one is shut down, too, lest it stays open in the fd store. The
 * object goes when nobody up the stack can still need it. */
void conn_finish(Conn *conn);

/* For whoever keeps lists of connections that wait for a commit. */
typedef struct ConnWait {
        Conn *next, *previous;
        uint64_t revision;
        uint64_t since_usec; /* CLOCK_MONOTONIC */
        bool is_waiting;
} ConnWait;
ConnWait *conn_wait(Conn *conn);
