/* SPDX-License-Identifier: Apache-2.0 */
/* Whose request comes next, where many wait: one of each party in turn. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/party.h"

#define TURNS_QUEUES_MAX 64 /* of so many parties each has a queue; all others share one */

/* One that waits; part of whatever does, and zero to begin with. */
typedef struct Turn {
        struct Turn *next, *previous;
        struct TurnQueue *queue; /* NULL: it does not wait */
} Turn;

typedef struct TurnQueue {
        Party party;
        Turn *first, *last; /* oldest first; NULL: the queue is nobody's */
} TurnQueue;

typedef struct Turns {
        TurnQueue queues[1 + TURNS_QUEUES_MAX]; /* the first: of all who have none of their own */
        size_t next;    /* party, whose queue is looked at first */
        bool is_of_all; /* the last turn was the shared queue's */
        size_t n_waiting;
} Turns;

/* `party` NULL: it is not known whose it is. */
void turns_wait(Turns *turns, Turn *turn, const Party *party);
/* Fine with one that does not wait. */
void turns_leave(Turns *turns, Turn *turn);
/* Takes the oldest of whoever is next: of all who share a queue every second time, else of one party after the other.
 * NULL: nobody waits. */
Turn *turns_take(Turns *turns);
