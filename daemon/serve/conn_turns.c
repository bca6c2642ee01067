/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which requests are put off when there are many, and who comes next. Does not know what they ask for: which are
 * dear, the handler says.
 *
 * A lookup takes microseconds and is answered as it comes. Others may take a hundred times as long: when those of one
 * dispatch of the loop have had their time, further ones wait for turns of their own, which users and addresses take one
 * by one. So a flood of them delays lookups by little, and others by one of the flood's for each of theirs (P6).
 *
 * The first trap: whoever waits for us must not time out, nor be read on from. So he is not watched; that he has left is
 * found out when his turn comes, and what he asked for is not done for nobody.
 *
 * The second: of sources that are ready sd-event may take the same one again and again; so turns have a priority of their
 * own, below that of whoever comes, and are not left to it alone.
 */

#include "serve/conn.h"

#include <assert.h>
#include <stddef.h>

#include "serve/conn_private.h"

/* They are served when nothing else is ready, or every so many iterations of the loop. */
#define SERVED_EVERY 4
/* Whose they are is asked of the kernel where more than so many wait. */
#define NAMED_FROM 8

static Conn *conn_of(Turn *turn) {
        return (Conn *)((char *)turn - offsetof(Conn, turn));
}

/* The loop dispatches one source in an iteration. */
static bool conns_have_time(Conns *conns) {
        uint64_t iteration = 0;

        sd_event_get_iteration(conns->event, &iteration);
        if (iteration != conns->iteration) {
                conns->iteration = iteration;
                conns->spent_usec = 0;
        }
        return conns->spent_usec < CONNS_DISPATCH_USEC;
}

static void conn_serve_dear(Conn *conn, const uint8_t *body, size_t n_body) {
        Conns *conns = conn->conns;
        uint64_t began = now_usec(CLOCK_MONOTONIC);

        conns->handler.on_request(conns->handler.userdata, conn, body, n_body);
        conns->spent_usec += now_usec(CLOCK_MONOTONIC) - began;
}

static void conn_postpone(Conn *conn) {
        Conns *conns = conn->conns;

        (void)conn_watch(conn, 0);
        conn->timer = sd_event_source_disable_unref(conn->timer);
        conn_take_place(conn);
        if (conns->turns.n_waiting >= NAMED_FROM) {
                Party party = conn_find_party(conn);

                turns_wait(&conns->turns, &conn->turn, &party);
        } else
                turns_wait(&conns->turns, &conn->turn, NULL);
        sd_event_source_set_enabled(conns->turn_source, SD_EVENT_ONESHOT);
}

bool conn_serve(Conn *conn, const uint8_t *body, size_t n_body) {
        Conns *conns = conn->conns;
        const ConnHandler *handler = &conns->handler;

        if (!handler->is_dear || !handler->is_dear(handler->userdata, conn, body, n_body)) {
                handler->on_request(handler->userdata, conn, body, n_body);
                return true;
        }
        if (conns->turns.n_waiting > 0 || !conns_have_time(conns)) {
                conn_postpone(conn);
                return false;
        }
        conn_serve_dear(conn, body, n_body);
        return true;
}

static void conns_serve_next(Conns *conns) {
        Conn *conn = conn_of(turns_take(&conns->turns));
        const uint8_t *body;
        size_t n_body;
        WireFrame frame = wire_frame(conn->in, conn->n_in, &body, &n_body);

        assert(frame == WIRE_FRAME_COMPLETE);
        (void)frame;
        if (conn_is_broken(conn)) {
                conn_finish(conn);
                return;
        }
        conn->active_usec = conns_now(conns);
        conn_serve_dear(conn, body, n_body);
        conn_forget_input(conn);
}

static void conns_serve_waiting(Conns *conns) {
        for (unsigned n = 0; n < SERVE_BATCH && conns->turns.n_waiting > 0 && conns_have_time(conns); n++)
                conns_serve_next(conns);
        conns->served_iteration = conns->iteration;
        if (conns->turns.n_waiting > 0)
                sd_event_source_set_enabled(conns->turn_source, SD_EVENT_ONESHOT);
}

void conns_serve_overdue(Conns *conns) {
        uint64_t iteration = 0;

        if (conns->turns.n_waiting == 0)
                return;
        sd_event_get_iteration(conns->event, &iteration);
        if (iteration - conns->served_iteration >= SERVED_EVERY)
                conns_serve_waiting(conns);
}

static int conns_on_turn(sd_event_source *source, void *userdata) {
        Conns *conns = userdata;

        (void)source;
        conns_enter(conns);
        conns_serve_waiting(conns);
        conns_leave(conns);
        return 0;
}

int conns_open_turns(Conns *conns) {
        int r = sd_event_add_defer(conns->event, &conns->turn_source, conns_on_turn, conns);

        if (r >= 0)
                r = sd_event_source_set_priority(conns->turn_source, SD_EVENT_PRIORITY_NORMAL + 1);
        if (r >= 0)
                r = sd_event_source_set_enabled(conns->turn_source, SD_EVENT_OFF);
        return r;
}
