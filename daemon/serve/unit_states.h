/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd says of the nodes' units, carried over to the nodes. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "core/registry.h"
#include "serve/ledger.h"

typedef struct UnitStates UnitStates;

typedef struct UnitStatesHandler {
        /* systemd has answered about a unit that was asked for, whatever the answer was. */
        void (*on_heard)(void *userdata, const char *unit);
        void *userdata;
} UnitStatesHandler;

/* Borrows all it is given. 0 or -ENOMEM; a bus that cannot be had is no error. */
int unit_states_new(UnitStates **ret, sd_event *event, Registry *registry, Ledger *ledger,
                    const UnitStatesHandler *handler);
UnitStates *unit_states_free(UnitStates *states);
DEFINE_CLEANUP(UnitStates *, unit_states_free)

/* Fills event->unit_phase and unit_pid from event->unit, as far as they are known now. */
void unit_states_fill(UnitStates *states, Event *event);
/* Asks about the unit of `node` once more, unless that was done just now: on_heard() follows. 0; -ENOENT: it has
 * none; -EALREADY: what is known is fresh; -ENOTCONN: systemd cannot be asked. */
int unit_states_ask(UnitStates *states, const Node *node);
/* True while that answer has not come. */
bool unit_states_is_asked(UnitStates *states, const Node *node);
/* True if it has come, at `since_usec` (CLOCK_MONOTONIC) or later. */
bool unit_states_is_heard(UnitStates *states, const Node *node, uint64_t since_usec);

/* To be told all news of the ledger. */
void unit_states_on_news(UnitStates *states, const LedgerNews *news);
/* Why systemd cannot be asked, in words; NULL: it can. */
const char *unit_states_unseen_reason(const UnitStates *states);
/* Tries at once what waits for its time (SIGHUP). */
void unit_states_look_again(UnitStates *states);
