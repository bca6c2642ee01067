/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how evidence and rows are brought together at the start. Does not know what a row is worth by which evidence
 * (core/reconcile), nor where connections have been meanwhile (serve/keeper).
 *
 * The trap: a file that is read late meets a registry in which nodes have registered. Whoever is there already is the
 * newer one, and the row gives way.
 */

#include "serve/vigil.h"

#include <string.h>

#include "core/reconcile.h"
#include "log.h"
#include "serve/vigil_private.h"

static ListenerEvidence vigil_evidence_of(Vigil *vigil, const Node *node,
                                          const SocketFacts *snapshot, size_t n_snapshot) {
        const SocketFacts *facts;
        int r;

        if (vigil->blind_reason || node->listener.cookie == 0)
                return LISTENER_UNKNOWN;
        facts = listeners_snapshot_find(snapshot, n_snapshot, node->listener.cookie);
        if (facts && facts->local_port == node->info.port)
                return LISTENER_ALIVE;
        r = listeners_is_alive(vigil->listeners, &node->listener, node->info.port);
        if (r < 0) {
                vigil_look_again_later(vigil);
                return LISTENER_UNKNOWN;
        }
        return r > 0 ? LISTENER_ALIVE : LISTENER_GONE;
}

/* What the row says of its unit and its announcement stays until more is heard. */
static void set_verdict(Node *node, const ReconcileVerdict *verdict, uint64_t now_usec) {
        NodeFacts facts = node->facts;

        facts.is_awaited = verdict->is_awaited;
        facts.is_listener_gone = verdict->is_listener_gone;
        node->await_until_usec = verdict->await_until_usec;
        node_set_facts(node, &facts, now_usec);
}

/* Whether its unit is its own is not in the files of earlier daemons. */
static void vigil_find_unit_again(Vigil *vigil, Node *node) {
        const char *unit;
        bool is_own;

        if (node->unit && vigil->cgroups && node->peer.cgroup_id != 0 &&
            cgroups_find_unit(vigil->cgroups, node->peer.cgroup_id, &unit, &is_own) == 0 &&
            strcmp(unit, node->unit) == 0)
                node->is_unit_own = is_own;
}

static void vigil_reconcile_node(Vigil *vigil, Keeper *keeper, Node **node, const ReconcileFacts *facts) {
        ReconcileVerdict verdict = reconcile_plan(facts);
        uint64_t now = vigil_now(vigil, CLOCK_REALTIME);
        Node *kept = *node;
        int r;

        set_verdict(kept, &verdict, now);
        vigil_find_unit_again(vigil, kept);
        if (!verdict.keep) {
                ledger_note_ended(vigil->ledger, *node, verdict.end, now);
                kept->end = verdict.end;
                kept->until_usec = now;
                registry_restore_former(vigil->registry, node);
                return;
        }
        /* One that is there already has registered while the disk kept us waiting: it is the newer. */
        r = registry_restore(vigil->registry, node);
        if (r == -EEXIST)
                ledger_note_ended(vigil->ledger, *node, NODE_END_REPLACED, now);
        else if (r < 0)
                log_error("%s is forgotten: %s", kept->info.name, strerror(-r));
        if (r < 0)
                return;
        if (facts->connection == CONNECTION_OPEN && keeper_adopt(keeper, kept) < 0)
                log_error("%s cannot be watched", kept->info.name);
        ledger_note_kept(vigil->ledger, kept, reconcile_reason(facts));
        if (facts->connection == CONNECTION_OPEN && !kept->connection)
                vigil_tell(vigil, EVENT_CONNECTION_ENDED, kept);
}

void vigil_reconcile(Vigil *vigil, Keeper *keeper, StoreLoaded *loaded, const char *boot_id) {
        _cleanup_(freep) SocketFacts *snapshot = NULL;
        size_t n_snapshot = 0;
        ReconcileFacts facts = {
                .other_boot = boot_id && loaded->boot_id && strcmp(boot_id, loaded->boot_id) != 0,
                .now_monotonic_usec = vigil_now(vigil, CLOCK_MONOTONIC),
        };

        registry_advance_creation(vigil->registry, loaded->first_creation);
        registry_advance_serial(vigil->registry, loaded->last_serial);
        if (!vigil->blind_reason && loaded->n_nodes > 0 &&
            listeners_snapshot(vigil->listeners, &snapshot, &n_snapshot) < 0)
                n_snapshot = 0;

        for (size_t i = 0; i < loaded->n_formers; i++)
                registry_restore_former(vigil->registry, loaded->formers + i);
        for (size_t i = 0; i < loaded->n_nodes; i++) {
                facts.listener = LISTENER_UNKNOWN;
                if (!facts.other_boot)
                        facts.listener =
                                vigil_evidence_of(vigil, loaded->nodes[i], snapshot, n_snapshot);
                facts.connection = keeper_evidence_of(keeper, loaded->nodes[i]);
                facts.is_static = node_is_static(loaded->nodes[i]);
                vigil_reconcile_node(vigil, keeper, loaded->nodes + i, &facts);
        }
        vigil->grace_until_usec = facts.now_monotonic_usec + RECONCILE_GRACE_USEC;
        ledger_reserve_creations(vigil->ledger);
        vigil_arm_expiry(vigil);
}
