/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what a row of an earlier run is worth. Does not gather the evidence.
 *
 * The trap: an equal boot id proves nothing (containers share their machine's), and an equal cookie
 * proves life only within one boot, since a kernel counts from the beginning after each.
 */

#include "core/reconcile.h"

#include <assert.h>

ReconcileVerdict reconcile_plan(const ReconcileFacts *facts) {
        if (facts->other_boot)
                return (ReconcileVerdict){ .end = NODE_END_MACHINE_RESTARTED };

        switch (facts->listener) {
        case LISTENER_ALIVE:
                return (ReconcileVerdict){ .keep = true, .await_until_usec = USEC_INFINITE };
        case LISTENER_GONE:
                return (ReconcileVerdict){ .end = NODE_END_FOUND_DEAD };
        case LISTENER_UNKNOWN:
                break;
        }
        return (ReconcileVerdict){
                .keep = true,
                .await_until_usec = facts->now_monotonic_usec + RECONCILE_GRACE_USEC,
        };
}

const char *reconcile_reason(const ReconcileFacts *facts) {
        if (facts->other_boot)
                return "the machine was restarted since it registered";
        switch (facts->listener) {
        case LISTENER_ALIVE:
                return "its listening socket is open";
        case LISTENER_GONE:
                return "its listening socket is gone";
        case LISTENER_UNKNOWN:
                break;
        }
        return "no listening socket of it is known, so it is given 12 s to come back";
}
