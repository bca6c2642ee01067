/* SPDX-License-Identifier: Apache-2.0 */
/* Pinned ports: which port a name was given for good, and what that means for the nodes there are. */
#pragma once

#include "core/entries.h"
#include "core/registry.h"
#include "serve/ledger.h"

typedef struct Pins Pins;

/* Borrows both. 0 or -ENOMEM. */
int pins_new(Pins **ret, const Registry *registry, Ledger *ledger);
Pins *pins_free(Pins *pins);
DEFINE_CLEANUP(Pins *, pins_free)

/* 0: none. `pins` may be NULL. */
uint16_t pins_port_of(const Pins *pins, const char *name, size_t n_name);
const Entries *pins_get(const Pins *pins);

/* Takes `loaded`, what the file has. Tell all nodes afterwards. */
void pins_take_loaded(Pins *pins, Entries *loaded);
/* Takes what `pin` has: it is on disk. 0 or -ENOMEM. */
int pins_put(Pins *pins, Entry *pin);
/* Its removal is on disk. */
void pins_remove(Pins *pins, const char *name, size_t n_name);
/* Every node that is there hears of the port that its name has now. */
void pins_tell_all(Pins *pins);
