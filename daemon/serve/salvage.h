/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes whose connections are to be had at a start, but whose rows are not (the file was lost, or cannot be read or
 * written), or are about their twins. */
#pragma once

#include "core/registry.h"
#include "serve/keeper.h"
#include "serve/ledger.h"
#include "serve/vigil.h"

/* Borrowed. */
typedef struct SalvageParts {
        Registry *registry;
        Ledger *ledger;
        Vigil *vigil;
        Keeper *keeper;
} SalvageParts;

/* Of two rows of twins that were matched crosswise (serve/twins.h) one lost its connection and the other its listener
 * while nobody looked: they are of one node, which has died. The other one's row gets the listener that lives. */
void salvage_uncross_rows(const SalvageParts *parts, StoreLoaded *loaded);
/* At start, when all rows that there are have been looked at: registers those of whom a connection in the fd store tells,
 * as they were. Who finds his name taken is closed. */
void salvage_nodes(const SalvageParts *parts);
/* Rows of a file that is read late: those whose nodes were salvaged meanwhile are taken out of `loaded`, and their nodes
 * learn what only the row knew. */
void salvage_meet_rows(const SalvageParts *parts, StoreLoaded *loaded);
