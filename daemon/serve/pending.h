/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the control protocol that leave when what they tell is on disk (P1). */
#pragma once

#include "core/control.h"
#include "serve/conn.h"
#include "serve/ledger.h"
#include "serve/listing.h"

/* P6: what answers that wait may take together; of one user or address, half of it. */
#define PENDING_BYTES_MAX ((size_t)64 * 1024 * 1024)

typedef struct Pending Pending;

/* All of these are borrowed. */
typedef struct PendingParts {
        const Registry *registry;
        Ledger *ledger;
        Listings *listings;
} PendingParts;

/* 0 or -ENOMEM. */
int pending_new(Pending **ret, const PendingParts *parts);
/* Those who still wait are left to their connections. */
Pending *pending_free(Pending *pending);
DEFINE_CLEANUP(Pending *, pending_free)

/* Sends `buffer`, an answer without its end, to `conn` once the registry as it is now is on disk; at once if it is
 * already. Meanwhile it counts as `kind` and `n_max` say (conn_hold()). 0: it is taken care of, and the buffer is empty; -EBUSY: too many wait; other negative errno: it cannot wait.
 * On failure all is as it was. */
int pending_answer(Pending *pending, Conn *conn, ControlBuffer *buffer, PlaceKind kind, size_t n_max);

/* How many wait. */
size_t pending_n(const Pending *pending);

/* Changes up to `revision` may be told. */
void pending_tell(Pending *pending, uint64_t revision);
