/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who waits, since when and until when. Does not know why, nor what he will be told.
 *
 * The trap: whoever has a turn may be answered, may go on waiting, or may be found gone, and each of these touches
 * the list. So turns are never taken from within one, or from within a change to the registry: one after the other
 * from the front, each by its number.
 */

#include "serve/held.h"

#include "timer.h"

typedef struct Waiter {
        struct Waiter *next, *previous; /* oldest first */
        Held *held;
        Conn *conn;
        Node *described; /* what it announced, and its user; owned. A Node for its storage only */
        uint64_t since_usec, until_usec;
        uint64_t number;
        unsigned n_turns;
        bool is_poked;
} Waiter;

struct Held {
        sd_event *event;
        HeldHandler handler;
        Waiter *first, *last;
        size_t n_waiters;
        uint64_t next_number;
        sd_event_source *turns; /* somebody was poked */
        sd_event_source *timer; /* the first whose time is up */
};

static uint64_t held_now(const Held *held) {
        uint64_t now = 0;

        sd_event_now(held->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void held_arm_timer(Held *held) {
        uint64_t first = USEC_INFINITE;

        for (Waiter *waiter = held->first; waiter; waiter = waiter->next)
                first = min_u64(first, waiter->until_usec);
        if (first == USEC_INFINITE) {
                timer_stop(held->timer);
                return;
        }
        timer_arm(held->timer, first);
}

static void waiter_remove(Waiter *waiter) {
        Held *held = waiter->held;

        if (waiter->previous)
                waiter->previous->next = waiter->next;
        else
                held->first = waiter->next;
        if (waiter->next)
                waiter->next->previous = waiter->previous;
        else
                held->last = waiter->previous;
        held->n_waiters--;
        node_free(waiter->described);
        free(waiter);
}

static void held_on_left(void *userdata, Conn *conn) {
        Waiter *waiter = userdata;

        (void)conn;
        waiter_remove(waiter);
}

static bool held_has_room(const Held *held, uid_t uid, const NodeInfo *info) {
        size_t n_of_uid = 0, n_of_name = 0;

        for (const Waiter *waiter = held->first; waiter; waiter = waiter->next) {
                if (waiter->described->peer.uid != uid)
                        continue;
                n_of_uid++;
                n_of_name += node_info_has_name(&waiter->described->info, info->name, info->n_name);
        }
        return held->n_waiters < HELD_MAX && n_of_uid < HELD_PER_UID_MAX && n_of_name < HELD_PER_NAME_MAX;
}

static void waiter_append(Held *held, Waiter *waiter) {
        waiter->previous = held->last;
        if (held->last)
                held->last->next = waiter;
        else
                held->first = waiter;
        held->last = waiter;
        held->n_waiters++;
}

int held_add(Held *held, Conn *conn, uid_t uid, const NodeInfo *info, uint64_t until_usec) {
        _cleanup_(node_freep) Node *described = NULL;
        _cleanup_(freep) Waiter *waiter = NULL;
        int r;

        if (!held_has_room(held, uid, info))
                return -EBUSY;
        described = node_new(info);
        waiter = calloc(1, sizeof *waiter);
        if (!described || !waiter)
                return -ENOMEM;
        described->peer.uid = uid;
        r = conn_hold(conn, PLACE_HELD, 0, &(ConnHolder){ held_on_left, waiter });
        if (r < 0)
                return r;
        *waiter = (Waiter){
                .held = held,
                .conn = conn,
                .described = TAKE_PTR(described),
                .since_usec = held_now(held),
                .until_usec = until_usec,
                .number = held->next_number++,
        };
        waiter_append(held, TAKE_PTR(waiter));
        held_arm_timer(held);
        return 0;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void waiter_poke(Waiter *waiter) {
        waiter->is_poked = true;
        sd_event_source_set_enabled(waiter->held->turns, SD_EVENT_ONESHOT);
}

void held_poke(Held *held, const char *name, size_t n_name) {
        for (Waiter *waiter = held->first; waiter; waiter = waiter->next)
                if (node_info_has_name(&waiter->described->info, name, n_name))
                        waiter_poke(waiter);
}

void held_poke_all(Held *held) {
        for (Waiter *waiter = held->first; waiter; waiter = waiter->next)
                waiter_poke(waiter);
}

/* The first that came no earlier than `number`; NULL: none. */
static Waiter *held_find_from(Held *held, uint64_t number) {
        Waiter *waiter = held->first;

        while (waiter && waiter->number < number)
                waiter = waiter->next;
        return waiter;
}

/* Frees the waiter where he was answered. */
static void waiter_take_turn(Waiter *waiter, bool is_over) {
        HeldTurn turn = {
                .conn = waiter->conn,
                .info = &waiter->described->info,
                .since_usec = waiter->since_usec,
                .n_turns = waiter->n_turns++,
                .is_over = is_over,
        };
        uint64_t until = waiter->held->handler.on_turn(waiter->held->handler.userdata, &turn);

        if (until == 0)
                waiter_remove(waiter);
        else
                waiter->until_usec = until;
}

void held_take_turns(Held *held) {
        uint64_t now = held_now(held);

        for (Waiter *waiter = held->first; waiter;) {
                uint64_t next_number = waiter->number + 1;
                bool is_over = waiter->until_usec <= now;

                if (waiter->is_poked || is_over) {
                        waiter->is_poked = false;
                        waiter_take_turn(waiter, is_over);
                }
                waiter = held_find_from(held, next_number);
        }
        held_arm_timer(held);
}

static int held_on_turns(sd_event_source *source, void *userdata) {
        (void)source;
        held_take_turns(userdata);
        return 0;
}

static int held_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        (void)source;
        (void)usec;
        held_take_turns(userdata);
        return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

int held_new(Held **ret, sd_event *event, const HeldHandler *handler) {
        _cleanup_(held_freep) Held *held = calloc(1, sizeof *held);
        int r;

        if (!held)
                return -ENOMEM;
        held->event = event;
        held->handler = *handler;
        r = sd_event_add_defer(event, &held->turns, held_on_turns, held);
        if (r >= 0)
                r = sd_event_source_set_enabled(held->turns, SD_EVENT_OFF);
        if (r >= 0)
                r = timer_new(&held->timer, event, 10 * USEC_PER_MSEC, held_on_timer, held);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(held);
        return 0;
}

Held *held_free(Held *held) {
        if (!held)
                return NULL;
        while (held->first)
                waiter_remove(held->first);
        sd_event_source_disable_unref(held->timer);
        sd_event_source_disable_unref(held->turns);
        free(held);
        return NULL;
}

size_t held_n(const Held *held) {
        return held->n_waiters;
}
