/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what a connection and its name in the fd store say of a node (P3: while it is open the node is alive, whatever
 * has become of its row, or stands in it). Does not know what was announced, nor which start of its unit it is of: only rows tell.
 *
 * The trap: the row can still come, from a disk that was slow, and is not of another node.
 */

#include "serve/salvage.h"

#include <string.h>

#include "core/creation.h"
#include "log.h"
#include "serve/twins.h"

/* --- rows about each other's listeners ---------------------------------------------------------- */

static bool is_crossed(const SalvageParts *parts, const Node *row, ConnectionEvidence connection, int is_listening) {
        return keeper_evidence_of(parts->keeper, row) == connection &&
               vigil_asks_listener(parts->vigil, row) == is_listening;
}

static void swap_listeners(Node *a, Node *b) {
        NodeListener listener = a->listener;
        Address scope = a->scope;

        a->listener = b->listener;
        a->scope = b->scope;
        b->listener = listener;
        b->scope = scope;
}

void salvage_uncross_rows(const SalvageParts *parts, StoreLoaded *loaded) {
        for (size_t i = 0; i < loaded->n_nodes; i++) {
                Node *dead = loaded->nodes[i];

                if (!is_crossed(parts, dead, CONNECTION_ENDED, 1))
                        continue;
                for (size_t j = 0; j < loaded->n_nodes; j++)
                        if (twins_are(dead, loaded->nodes[j]) && is_crossed(parts, loaded->nodes[j], CONNECTION_OPEN, 0)) {
                                swap_listeners(dead, loaded->nodes[j]);
                                break;
                        }
        }
}

/* --- rows that are lost ----------------------------------------------------------------------- */

/* As the kernel tells now; what was matched when it registered is not known. */
static int examine(const SalvageParts *parts, Node *node) {
        NodeFacts facts = { 0 };
        Event event = { .info = node->info };

        vigil_examine(parts->vigil, node->connection, &event);
        node->peer = event.peer;
        node->listener = event.listener;
        node->scope = registry_scope_of(&event.listener);
        node->is_unit_own = event.is_unit_own;
        node_set_facts(node, &facts, node->since_usec);
        if (!event.unit)
                return 0;
        node->unit = strdup(event.unit);
        return node->unit ? 0 : -ENOMEM;
}

/* P5: it is still the node's, and nobody else's. */
static void advance_creation(Registry *registry, uint32_t creation) {
        if (creation > CREATION_SMALL_MAX)
                registry_advance_creation(registry, creation_add(creation, 1));
}

static void salvage_node(const SalvageParts *parts, Node *salvaged) {
        _cleanup_(node_freep) Node *node = salvaged;
        int r = examine(parts, node);

        advance_creation(parts->registry, node->creation);
        if (r >= 0)
                r = registry_restore(parts->registry, &node);
        if (r >= 0)
                ledger_note_kept(parts->ledger, salvaged, "its connection was in the fd store, and says who it is");
        else
                keeper_give_up(parts->keeper, salvaged->connection);
}

void salvage_nodes(const SalvageParts *parts) {
        size_t n_before = registry_n_nodes(parts->registry), n;
        Node *node;

        while ((node = keeper_take_rowless(parts->keeper)))
                salvage_node(parts, node);
        n = registry_n_nodes(parts->registry) - n_before;
        if (n == 0)
                return;
        ledger_reserve_creations(parts->ledger);
        log_event(LOG_NOTICE, LOG_EVENT_FD_STORE, NULL,
                  "%zu node%s of which no row is known %s on by %s in the fd store", n, n == 1 ? "" : "s",
                  n == 1 ? "lives" : "live", n == 1 ? "its connection" : "their connections");
}

/* --- rows that come late ---------------------------------------------------------------------- */

static Node *find_same(const Registry *registry, const Node *row) {
        Node *node = NULL;

        while ((node = registry_find_name(registry, row->info.name, row->info.n_name, node)))
                if (node->serial == row->serial && node->since_usec == row->since_usec)
                        return node;
        return NULL;
}

/* Without memory for it, what it announced is forgotten, as if the row had not come. */
static void learn(const SalvageParts *parts, Node *node, const Node *row) {
        (void)ledger_carry(parts->ledger,
                           &(Event){
                                   .kind = EVENT_ANNOUNCED,
                                   .node = node,
                                   .now_usec = now_usec(CLOCK_REALTIME),
                                   .announced = row->facts.announced,
                                   .profile = &row->profile,
                           },
                           NULL);
}

void salvage_meet_rows(const SalvageParts *parts, StoreLoaded *loaded) {
        size_t n = 0;

        for (size_t i = 0; i < loaded->n_nodes; i++) {
                Node *row = loaded->nodes[i], *node = find_same(parts->registry, row);

                if (!node) {
                        loaded->nodes[n++] = row;
                        continue;
                }
                learn(parts, node, row);
                node_free(row);
        }
        loaded->n_nodes = n;
}
