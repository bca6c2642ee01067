/* SPDX-License-Identifier: Apache-2.0 */
/* Newcomers who wait for a holder that is going: their answer is held until the name is free (P4). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "core/node.h"
#include "serve/conn.h"

/* P6: who waits beyond these is refused at once. Of users that are not known all count as one. */
#define HELD_MAX 1024
#define HELD_PER_UID_MAX (HELD_MAX / 4)
#define HELD_PER_NAME_MAX 16 /* of one user for one name: his crowd keeps nobody else from waiting */

typedef struct Held Held;

/* One who waits. */
typedef struct HeldTurn {
        Conn *conn;
        const NodeInfo *info;
        uint64_t since_usec; /* CLOCK_MONOTONIC: when he came */
        unsigned n_turns;    /* that he has had before */
        bool is_over;        /* his time is up */
} HeldTurn;

typedef struct HeldHandler {
        /* Something has changed for one who waits, or his time is up: he is to be answered, or goes on waiting
         * until the returned time (CLOCK_MONOTONIC; 0: he was answered, or is gone). */
        uint64_t (*on_turn)(void *userdata, const HeldTurn *turn);
        void *userdata;
} HeldHandler;

/* Borrows `event`. 0 or -ENOMEM. */
int held_new(Held **ret, sd_event *event, const HeldHandler *handler);
/* Those who wait are left to their connections. */
Held *held_free(Held *held);
DEFINE_CLEANUP(Held *, held_free)

/* `conn`, of `uid`, waits until `until_usec` (CLOCK_MONOTONIC) at most. Copies `info`. 0; -EBUSY: too many wait; -ENOMEM; other
 * negative errno: it cannot be watched. On failure it is as it was. */
int held_add(Held *held, Conn *conn, uid_t uid, const NodeInfo *info, uint64_t until_usec);
/* Something has happened to a holder of this name: all who wait for it have a turn when the loop comes by, in the
 * order in which they came. */
void held_poke(Held *held, const char *name, size_t n_name);
/* The same for all. */
void held_poke_all(Held *held);
/* Gives them their turns now: for a newcomer who must not come before them. */
void held_take_turns(Held *held);
size_t held_n(const Held *held);
