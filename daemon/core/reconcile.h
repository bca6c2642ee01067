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

typedef enum ConnectionEvidence {
        CONNECTION_NONE,  /* it was not in the fd store */
        CONNECTION_OPEN,  /* it was, and is open */
        CONNECTION_ENDED, /* it was, and the node has closed it */
} ConnectionEvidence;

typedef struct ReconcileFacts {
        bool is_static; /* the row is of a node that has not registered: nobody awaits its connection */
        bool other_boot; /* the row is known to be of another boot of the machine */
        ListenerEvidence listener;
        ConnectionEvidence connection;
        uint64_t now_monotonic_usec;
} ReconcileFacts;

typedef struct ReconcileVerdict {
        bool keep;
        NodeEnd end; /* if it is not kept */
        bool is_awaited;           /* if it is kept: something that was known of it is missing */
        bool is_listener_gone;     /* if it is kept with its connection */
        uint64_t await_until_usec; /* if it is awaited: CLOCK_MONOTONIC, or USEC_INFINITE */
} ReconcileVerdict;

/* P3: keep exactly what evidence says is alive; without evidence either way, for the grace. */
ReconcileVerdict reconcile_plan(const ReconcileFacts *facts);
/* One sentence for the log and for people: "its listening socket is gone", ... */
const char *reconcile_reason(const ReconcileFacts *facts);
