/* SPDX-License-Identifier: Apache-2.0 */
/* Which orders about names are carried out. Pure. */
#pragma once

#include <stdbool.h>

#include "core/control.h"
#include "core/entries.h"
#include "state/store.h"

/* What holds, and what is on its way to disk. */
typedef struct EntryFacts {
        const Entries *ordered, *filed, *pins;
        bool is_pending;      /* another order about this name */
        bool is_port_pending; /* another pin of this port */
        size_t n_pending;     /* orders of this kind */
} EntryFacts;

/* Why an order is not carried out. */
typedef struct Objection {
        ControlError error; /* 0: it is, unless */
        bool is_done;       /* it holds already: nothing is to be written */
        char text[512];     /* one sentence */
} Objection;

/* `has_address`: the order says of which address the entry is. Of what is removed `order` learns address and port. */
Objection entry_rules_judge(const EntryFacts *facts, bool has_address, StoreOrder *order);
