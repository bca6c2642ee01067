/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of conn share: conn.c (life and reading), conn_answer.c (sending), conn_room.c (whose places they are),
 * conn_stay.c (those that stay), conn_turns.c (whose request is next). */
#pragma once

#include "core/shares.h"
#include "core/turns.h"
#include "core/wire.h"
#include "serve/conn.h"
#include "util.h"

/* What connections that are ready, and dear requests, may each take of one dispatch of the loop. */
#define CONNS_DISPATCH_USEC (USEC_PER_MSEC / 4)

/* Connections served in one turn of the loop, at most. */
#define SERVE_BATCH 64

typedef enum ConnState {
        CONN_READING,
        CONN_DELAYED, /* --delay-write: the answer is ready */
        CONN_ANSWERING,
        CONN_HELD,
        CONN_STREAMING,
        CONN_REGISTERED,
        CONN_FINISHED,
        _CONN_STATE_N,
} ConnState;

typedef struct ConnList {
        Conn *first, *last;
        size_t n_conns;
} ConnList;

struct Conns {
        sd_event *event;
        sd_event_source *io; /* of epoll_fd */
        int epoll_fd;        /* the connections; listening sockets are sd-event's */
        ConnOptions options;
        ConnHandler handler;
        Counters *counters;
        Shares *shares;
        Turns turns; /* reading, with a whole request that waits for its turn */
        sd_event_source *turn_source;
        uint64_t iteration, spent_usec; /* of the loop, and what dear requests took of it */
        uint64_t served_iteration;      /* in which those that wait were served last */
        ConnList passing; /* reading, delayed or answering: oldest first. They may be shed */
        ConnList held, streaming, registered;
        ConnList finished;
        sd_event_source *reaper;
        Conn *outgoing_first, *outgoing_last; /* streams with something that the loop is to send */
        int outgoing_fd;                      /* an eventfd in epoll_fd, readable while there are any */
        bool has_sent;                        /* to them, in the last batch */
        unsigned depth; /* callbacks of ours on the stack */
        size_t n_conns; /* without the finished ones */
        uint8_t scratch[WIRE_FRAME_MAX + 1];
};

struct Conn {
        Conns *conns;
        Conn *next, *previous; /* in the list of its state */
        sd_event_source *timer;
        Node *node;
        FdstoreEntry *stored;
        ConnWait wait;
        Place place; /* taken by all that are held or stream, and by those of the passing that wait for the client */
        Turn turn;
        union {
                ConnHolder holder; /* CONN_HELD */
                ConnStream stream; /* CONN_STREAMING */
        };

        uint8_t *in; /* what was read of an incomplete request; NULL: nothing */
        Blob *blob;  /* what is to be sent after `head` */
        size_t n_blob_sent;
        uint8_t head[CONN_HEAD_MAX];
        uint8_t n_head, n_head_sent;

        Conn *outgoing_next, *outgoing_previous; /* CONN_STREAMING */
        bool is_outgoing;

        uint16_t n_in;
        uint16_t listener_port;
        uint32_t watched; /* the events that epoll looks for; 0: none */
        ConnKind kind;
        ConnState state;
        int fd;
        bool has_local, has_answer;
        bool is_shared; /* systemd was given a duplicate, whatever `stored` is */
        SocketAddress peer, local;
        uint64_t active_usec; /* CLOCK_MONOTONIC of the last byte */
        uint64_t began_usec;  /* of the request, then of the answer */
};

/* --- conn.c --- */

/* READING or HELD. */
bool conn_may_be_answered(const Conn *conn);
/* On the list of `state` from now on; at its end, if it is another one. */
void conn_set_state(Conn *conn, ConnState state);
/* The same, watched for `events` and without a timer. 0; negative errno: it cannot be watched, and is as it
 * was. */
int conn_enter_state(Conn *conn, ConnState state, uint32_t events);
/* `events` 0 leaves the socket alone, also its errors, which epoll would report again and again. 0 or negative
 * errno. */
int conn_watch(Conn *conn, uint32_t events);
/* Waits for `events`, at most until the deadline of its state. A connection that cannot be watched is closed: it
 * could not be served. */
void conn_park(Conn *conn, uint32_t events);
/* Sees to it that the connection is looked at again by its deadline. 0 or negative errno. */
int conn_arm_timer(Conn *conn);
uint64_t conns_now(Conns *conns);
/* True if there is something to be read: the end, an error, or a byte that should not be there. */
bool conn_has_something_to_say(const Conn *conn);
/* A connection in `state`, on its list, not watched. Takes `*fd` on success; NULL on ENOMEM. */
Conn *conn_new(Conns *conns, int *fd, ConnKind kind, ConnState state, uint16_t port, const SocketAddress *peer);

/* Around all that calls handlers: connections that they finish are freed by the outermost of these. */
void conns_enter(Conns *conns);
void conns_leave(Conns *conns);
/* What was read is not needed any more. */
void conn_forget_input(Conn *conn);

/* --- conn_turns.c --- */

/* Has a whole request served, or has it wait for its turn: false, and what was read must stay. */
bool conn_serve(Conn *conn, const uint8_t *body, size_t n_body);
/* From within what is ready before them: those that wait have waited for long enough. */
void conns_serve_overdue(Conns *conns);
int conns_open_turns(Conns *conns);

/* --- conn_room.c --- */

/* So many may pass at a time. */
size_t conns_n_passing_max(const Conns *conns);
/* A passing connection that waits for its client counts from now on. */
void conn_take_place(Conn *conn);
/* One that has its place is known by name from now on, and so much is kept for it. */
void conn_weigh_place(Conn *conn, size_t n_bytes);
/* As conn_enter_state(), where there is a place of `kind` for it, of which there are `n_max` (0: one in CONN_SHARE of all).
 * -EBUSY: he has too many, or all have. */
int conn_settle(Conn *conn, ConnState state, uint32_t events, PlaceKind kind, size_t n_max);

/* --- conn_answer.c --- */

/* 1: all is sent; 0: the socket takes no more now; negative errno. */
int conn_send(Conn *conn, int flags);
/* CONN_ANSWERING: goes on with the answer. */
void conn_send_answer(Conn *conn);

/* --- conn_stay.c --- */

/* conns_free() closes conns->outgoing_fd. 0 or negative errno. */
int conn_streams_init(Conns *conns);
/* The loop's word that it is their turn. */
void conns_on_outgoing(Conns *conns);
/* For whoever closes it: there is nothing to be sent any more. */
void conn_stream_unqueue(Conn *conn);
/* The loop's word that something is ready, or that its time is up. */
void conn_on_held_ready(Conn *conn);
void conn_on_registered_ready(Conn *conn);
void conn_on_stream_ready(Conn *conn, uint32_t events);
void conn_on_stream_timeout(Conn *conn);
