/* SPDX-License-Identifier: Apache-2.0 */
/* The reconciliation at start: which rows of the file are still true. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"

/* How long a row without a known living listener is awaited: an OTP node comes back after 2 s, after 12 s
 * at worst (a registration that was not answered times out after 10 s). */
#define RECONCILE_GRACE_USEC (12 * USEC_PER_SEC)

typedef enum ListenerEvidence {
        LISTENER_UNKNOWN, /* no cookie is kept, or the kernel cannot be asked (blind) */
        LISTENER_ALIVE,
        LISTENER_GONE,
} ListenerEvidence;

typedef struct ReconcileFacts {
        bool other_boot; /* the row is known to be of another boot of the machine */
        ListenerEvidence listener;
        uint64_t now_monotonic_usec;
} ReconcileFacts;

typedef struct ReconcileVerdict {
        bool keep;                 /* as NODE_AWAITED, until await_until_usec */
        uint64_t await_until_usec; /* CLOCK_MONOTONIC; USEC_INFINITE: until its listener closes */
        NodeEnd end;               /* if not kept: why not */
} ReconcileVerdict;

/* P3: keep exactly what evidence says is alive; without evidence either way, for the grace. */
ReconcileVerdict reconcile_plan(const ReconcileFacts *facts);

/* One sentence for the log and for people: "its listener is alive", ... */
const char *reconcile_reason(const ReconcileFacts *facts);
