/* SPDX-License-Identifier: Apache-2.0 */
/* Static entries: nodes that do not register are in the registry while somebody listens where their entries say. */
#pragma once

#include <systemd/sd-event.h>

#include "core/entries.h"
#include "core/registry.h"
#include "serve/ledger.h"
#include "serve/pins.h"
#include "serve/unit_states.h"
#include "serve/vigil.h"

typedef struct Statics Statics;

/* All of these are borrowed. */
typedef struct StaticsParts {
        Registry *registry;
        Ledger *ledger;
        Vigil *vigil;
        UnitStates *unit_states;
        Pins *pins;
} StaticsParts;

/* 0 or negative errno. */
int statics_new(Statics **ret, sd_event *event, const StaticsParts *parts);
Statics *statics_free(Statics *statics);
DEFINE_CLEANUP(Statics *, statics_free)

/* What was ordered by command, as the file has it; takes `loaded`. statics_sync() is due. */
void statics_take_loaded(Statics *statics, Entries *loaded);
/* What the configuration files say, in place of what they said; copied. Before the first time no node loses its place
 * for having no entry. statics_sync() is due. 0 or -ENOMEM: all is as it was. */
int statics_set_filed(Statics *statics, const Entries *filed);
/* One that was ordered by command: it is on disk. Takes what `entry` has. 0 or -ENOMEM. */
int statics_put(Statics *statics, Entry *entry);
/* `by`: who does it. */
void statics_remove(Statics *statics, const Entry *entry, const char *by);
const Entries *statics_ordered(const Statics *statics);
const Entries *statics_filed(const Statics *statics);

/* Brings the registry into line with the entries, as far as there is evidence. */
void statics_sync(Statics *statics);
/* The same, because somebody asks now: at most a tenth of the time is spent on it. `statics` may be NULL. */
void statics_look(Statics *statics);
/* The same, because somebody looks that name up; where the listener is easily found, however often. */
void statics_look_for(Statics *statics, const char *name, size_t n_name);

/* To be told all news of the ledger. */
void statics_on_news(Statics *statics, const LedgerNews *news);

typedef enum StaticsState {
        STATICS_UP,
        STATICS_DOWN,
        STATICS_ELSEWHERE,
        STATICS_SHADOWED, /* another node has the name */
        _STATICS_STATE_N,
} StaticsState;

const char *statics_state_to_string(StaticsState state);

/* What has become of an entry that holds, and why, in words; "" where nothing is to be said. */
typedef void (*StaticsTell)(void *userdata, const Entry *entry, StaticsState state, const char *reason);

/* What holds of the name and address of `entry`, if anything does. */
void statics_tell_one(Statics *statics, const Entry *entry, StaticsTell tell, void *userdata);
/* Those of a name that hold. */
void statics_tell_name(Statics *statics, const char *name, size_t n_name, StaticsTell tell, void *userdata);
/* What was ordered of them, also where a file says something else. */
void statics_tell_ordered(Statics *statics, const Entry *entry, StaticsTell tell, void *userdata);
/* Each that holds, in the order of names. */
void statics_tell_all(Statics *statics, StaticsTell tell, void *userdata);
