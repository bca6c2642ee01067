/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd says of units, over the system bus. Nothing waits for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "core/node_state.h"
#include "util.h"

/* A unit's name, with its NUL. */
#define UNIT_NAME_MAX 256

/* The words of systemd on one unit. */
typedef struct UnitFacts {
        char type[24];   /* Type= of a service; "" for any other kind of unit */
        char active[24]; /* ActiveState; "" while nothing is known: not asked yet, no such unit, no bus */
        char sub[24];    /* SubState */
        pid_t main_pid;  /* of a service; 0: none, or unknown */
        uint64_t invocation; /* which start of it: the first half of the InvocationID; 0: none, or unknown */
} UnitFacts;

typedef struct Units Units;

typedef struct UnitsHandler {
        /* What is known of a watched unit has changed; also once after each units_refresh(), changed or not. A
         * bus or a systemd that is away for less than 10 s changes nothing; after that `active` is "" for every
         * watched unit. Not called from within a function of this file; may call all of them but units_free().
         */
        void (*on_unit)(void *userdata, const char *unit, const UnitFacts *facts);
        void *userdata;
} UnitsHandler;

/* Connects to the system bus without waiting for it; where it is absent, or goes away, that is tried again
 * (1 s later, then less and less often, at least every 30 s) and every watched unit is asked about afresh.
 * Borrows `event`. 0 or -ENOMEM; a bus that cannot be had is no error. */
int units_new(Units **ret, sd_event *event, const UnitsHandler *handler);
Units *units_free(Units *units);
DEFINE_CLEANUP(Units *, units_free)

/* Follows a unit from now on; as many calls of units_unwatch() end that (it is remembered for some seconds
 * more, so that nodes which come and go in one unit do not touch PID 1: on_unit() does not follow for one
 * that was remembered, ask units_get() first). 0; -ENOMEM; -EINVAL: no unit can have that name (a file may say
 * anything). units_unwatch() may follow all the same. */
int units_watch(Units *units, const char *unit);
void units_unwatch(Units *units, const char *unit);
/* What is known now, also of a unit that is remembered only; of such a one without the invocation. False: it is
 * neither watched nor remembered, or nothing is known. */
bool units_get(const Units *units, const char *unit, UnitFacts *ret);
/* Asks systemd afresh, or as soon as the bus that is being connected to is there; on_unit() follows with the answer, or
 * with what is known if none comes within 1 s. 0; -ENOTCONN: no bus, nothing follows; -ENOENT: it is not watched. */
int units_refresh(Units *units, const char *unit);

/* True while systemd answers on the bus. */
bool units_is_connected(const Units *units);
/* Tries at once what waits for its time (SIGHUP). */
void units_poke(Units *units);
