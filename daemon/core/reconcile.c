/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what a row of an earlier run is worth. Does not gather the evidence.
 *
 * The trap: an equal boot id proves nothing (containers share their machine's), and an equal cookie
 * proves life only within one boot, since a kernel counts from the beginning after each. A connection in
 * the fd store is of this boot whatever the row says: systemd, too, was started with it.
 */

#include "core/reconcile.h"

#include <assert.h>

static ReconcileVerdict end_with(NodeEnd end) {
        return (ReconcileVerdict){ .end = end };
}

static ReconcileVerdict await_until(uint64_t usec) {
        return (ReconcileVerdict){ .keep = true, .is_awaited = true, .await_until_usec = usec };
}

static ReconcileVerdict plan_without_connection(const ReconcileFacts *facts) {
        if (facts->other_boot)
                return end_with(NODE_END_MACHINE_RESTARTED);
        switch (facts->listener) {
        case LISTENER_ALIVE:
                if (facts->is_static)
                        return (ReconcileVerdict){ .keep = true };
                return await_until(USEC_INFINITE);
        case LISTENER_GONE:
                return end_with(NODE_END_FOUND_DEAD);
        case LISTENER_UNKNOWN:
                break;
        }
        return await_until(facts->now_monotonic_usec + RECONCILE_GRACE_USEC);
}

ReconcileVerdict reconcile_plan(const ReconcileFacts *facts) {
        switch (facts->connection) {
        case CONNECTION_OPEN:
                return (ReconcileVerdict){
                        .keep = true,
                        .is_listener_gone = facts->listener == LISTENER_GONE,
                };
        case CONNECTION_ENDED:
                return end_with(NODE_END_LEFT);
        case CONNECTION_NONE:
                break;
        }
        return plan_without_connection(facts);
}

const char *reconcile_reason(const ReconcileFacts *facts) {
        switch (facts->connection) {
        case CONNECTION_OPEN:
                return "its connection was in the fd store and is open";
        case CONNECTION_ENDED:
                return "its connection was in the fd store and has ended";
        case CONNECTION_NONE:
                break;
        }
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
