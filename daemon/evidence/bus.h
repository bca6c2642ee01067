/* SPDX-License-Identifier: Apache-2.0 */
/* The line to systemd over the system bus: made again whenever it is lost, never waited for. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "evidence/units.h"
#include "util.h"

typedef struct Bus Bus;

/* Some of systemd's words on a unit. */
typedef struct BusWords {
        bool has_type, has_active, has_sub, has_main_pid, has_invocation; /* which of `facts` are told */
        bool is_partial; /* others have changed as well, and must be asked for */
        UnitFacts facts;
} BusWords;

/* None of these is called from within a function of this file. */
typedef struct BusHandler {
        /* systemd answers: changes are told from now on, and what was before must be asked for. */
        void (*on_up)(void *userdata);
        /* It does not any more; what was asked will not be answered. */
        void (*on_down)(void *userdata);
        /* systemd says, unasked, what has changed. Also of units that nobody asked about. */
        void (*on_change)(void *userdata, const char *unit, const BusWords *words);
        /* A part of an answer. What comes later is newer, be it this or a change. */
        void (*on_words)(void *userdata, const char *unit, const BusWords *words);
        /* The answer is complete; or systemd has refused to give it. */
        void (*on_answer)(void *userdata, const char *unit, bool is_refused);
        void *userdata;
} BusHandler;

/* Begins to connect: to DBUS_SYSTEM_BUS_ADDRESS, else to the usual place. Where that fails it is tried again,
 * 1 s later, then after twice as long each time, at most 30 s. Borrows `event`. 0 or -ENOMEM. */
int bus_new(Bus **ret, sd_event *event, const BusHandler *handler);
Bus *bus_free(Bus *bus);
DEFINE_CLEANUP(Bus *, bus_free)

bool bus_is_up(const Bus *bus);
/* True while it is not up, but an answer of the bus or of systemd is waited for: on_up() or on_down() follows. */
bool bus_is_coming(const Bus *bus);
/* In words, while it is not up. */
const char *bus_why_down(const Bus *bus);
/* What waits for its time is tried at once. */
void bus_poke(Bus *bus);

/* Asks for all of UnitFacts; only while the bus is up, and only about what is shorter than UNIT_NAME_MAX. 0; -EBUSY:
 * as much is asked already as may be (P6): again after the next answer. What cannot be sent ends the connection. */
int bus_ask(Bus *bus, const char *unit);
