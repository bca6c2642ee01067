/* SPDX-License-Identifier: Apache-2.0 */
/* Client connections: read, answered, bounded in number and time, closed. No rule of the registry. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "core/culprits.h"
#include "core/node.h"
#include "core/party.h"
#include "core/shares.h"
#include "serve/counters.h"
#include "serve/listing.h"
#include "state/fdstore.h"

/* Of --packet-timeout, the bound on silence: */
#define CONN_REQUEST_TIMES 5 /* a whole request may take this many times as long */
#define CONN_ANSWER_TIMES 10 /* a whole answer may */

/* P6: at most one in so many connections is held, and one in so many is a stream; of these nobody gets so many that nothing
 * is left for others (core/shares). One in so many is left to those that come and go. */
#define CONN_SHARE 4
#define CONN_RESERVE 16

typedef struct Conns Conns;
typedef struct Conn Conn;

typedef enum ConnKind {
        CONN_EPMD,    /* TCP */
        CONN_CONTROL, /* AF_UNIX: the control protocol only */
} ConnKind;

typedef struct ConnOptions {
        uint64_t packet_timeout_usec;
        size_t n_conns_max; /* P6: beyond it one is shed that neither is held nor streams nor is registered */
        unsigned delay_write_sec; /* stock epmd's, for tests of clients */
} ConnOptions;

/* Somebody has more connections than there is room for. */
typedef struct ConnOffence {
        Conn *conn; /* which is closed, or told that it is one too many */
        const Party *party;
        CulpritDeed deed;
} ConnOffence;

typedef struct ConnHandler {
        /* A whole request. The handler answers with one of conn_answer...(), conn_register() or
         * conn_finish(). */
        void (*on_request)(void *userdata, Conn *conn, const uint8_t *body, size_t n_body);
        /* The connection of a registered node has ended; the handler ends the registration, which calls
         * conn_finish(). */
        void (*on_end)(void *userdata, Conn *conn);
        /* True if the request may take longer than to say so: where there are many such, users and addresses take turns.
         * NULL: none does. */
        bool (*is_dear)(void *userdata, const Conn *conn, const uint8_t *body, size_t n_body);
        /* Whose the connection is; asked when places become scarce. NULL: that is not to be known, the oldest is shed. */
        Party (*find_party)(void *userdata, Conn *conn);
        /* Changes nothing about connections. NULL with find_party. */
        void (*on_offence)(void *userdata, const ConnOffence *offence);
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
/* Makes room: of those that are read from or answered the oldest is closed of whoever has most of them. False: there are
 * none. */
bool conns_make_room(Conns *conns);
size_t conns_n(const Conns *conns);
size_t conns_n_max(const Conns *conns);
/* For those that come, and for those that are there from their next byte on. */
void conns_set_packet_timeout(Conns *conns, uint64_t packet_timeout_usec);
/* Where what is read slowly takes too much memory, readers are closed of whoever holds most of it (P6). */
void conns_shed_slow_readers(Conns *conns, Listings *listings);

ConnKind conn_kind(const Conn *conn);
/* Whose it is. Of one that is held or streams it is known; else it costs system calls. */
Party conn_find_party(Conn *conn);
int conn_fd(const Conn *conn);
const struct sockaddr *conn_peer(const Conn *conn);
/* The address and port the client asked on. NULL if the kernel did not tell. */
const struct sockaddr *conn_local(Conn *conn);
uint16_t conn_listener_port(const Conn *conn);
/* "10.0.0.1:4711", "[::1]:4711", "control socket"; good until the next call. */
const char *conn_peer_text(const Conn *conn);

/* True if nobody could read an answer any more: the client has broken off. */
bool conn_is_broken(const Conn *conn);

/* Sends and closes; the last bytes and the FIN leave together. */
void conn_answer(Conn *conn, const void *data, size_t n_data);
/* Sends `head` (at most CONN_HEAD_MAX bytes), then `blob`, of which it takes the reference; then closes. */
#define CONN_HEAD_MAX 8
void conn_answer_blob(Conn *conn, const void *head, size_t n_head, Blob *blob);

/* The same with a listing; where slow readers hold too many old ones, some of them are shed (P6). */
void conn_answer_listing(Conn *conn, Listings *listings, const void *head, size_t n_head, Blob *blob);

/* conn_answer() of what may be long: the rest, if the client does not take all at once, counts as a listing. */
void conn_answer_listed(Conn *conn, Listings *listings, const void *data, size_t n_data);

/* --- held: the answer takes its time ---------------------------------------------------------------- */

typedef struct ConnHolder {
        /* The client has hung up, or has sent more than its request; it is closed after this call. */
        void (*on_left)(void *userdata, Conn *conn);
        void *userdata;
} ConnHolder;

/* Puts a connection aside whose request was read, and counts it as one of `kind`, of which `n_max` may be (0: no fewer
 * than may be held): no timeout, never shed. Whoever holds it sees to the time, and
 * lets go of it by answering, registering or finishing it, or by making it a stream. 0; -EBUSY: too many are held, or
 * too many of the same user or address (P6); other negative errno: it cannot be watched. On failure it is as it was. */
int conn_hold(Conn *conn, PlaceKind kind, size_t n_max, const ConnHolder *holder);

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
        size_t n_max;       /* of all streams, where that is less than CONN_SHARE allows; 0: it is not */
        void *userdata;
} ConnStream;

/* Makes a connection whose request was read (or that is held) a stream: never shed. What the client sends from
 * now on is its end. The request's body is gone afterwards. 0; -EBUSY: there are too many, or too many of the same user
 * or address (P6); other negative errno: it cannot be watched. On failure it is as it was. */
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
/* systemd has been given a duplicate, and may have it whatever its place in the fd store is now. An adopted one is so from
 * the beginning. */
void conn_set_shared(Conn *conn);
FdstoreEntry *conn_stored(const Conn *conn);
/* Who is at the other end of a control connection, by the kernel's word (SO_PEERCRED). 0 or negative errno. */
int conn_get_peer_uid(const Conn *conn, uid_t *ret);

/* False: so many connections stay already that there would be no room for those that come and go (P6). */
bool conn_may_stay(const Conn *conn);
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

/* Closes at once, without a byte more; one that has a place in the fd store or is shared is shut down, too, lest it stays
 * open there. The object goes when nobody up the stack can still need it. */
void conn_finish(Conn *conn);

/* For whoever keeps lists of connections that wait for a commit. */
typedef struct ConnWait {
        Conn *next, *previous;
        uint64_t revision;
        uint64_t since_usec; /* CLOCK_MONOTONIC */
        bool is_waiting;
} ConnWait;
ConnWait *conn_wait(Conn *conn);
