/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what memory a change on its way to disk takes. Does not know what becomes of it. */

#include "state/write.h"

#include <string.h>

static size_t node_bytes(const Node *node) {
        return sizeof *node + node->info.n_name + node->info.n_extra + 2 +
               (node->unit ? strlen(node->unit) + 1 : 0) +
               (node->profile.host ? strlen(node->profile.host) + 1 : 0) + node->profile.n_metadata;
}

Write *write_free(Write *write) {
        if (write) {
                for (size_t i = 0; i < write->n_nodes; i++)
                        node_free(write->nodes[i]);
                free(write->by);
                refused_done(&write->refused);
        }
        free(write);
        return NULL;
}

Write *write_new(WriteKind kind, uint64_t revision, Node *const *nodes, size_t n_nodes) {
        _cleanup_(write_freep) Write *write = calloc(1, sizeof *write + n_nodes * sizeof *write->nodes);

        if (!write)
                return NULL;
        write->kind = kind;
        write->revision = revision;
        write->n_bytes = sizeof *write + n_nodes * sizeof *write->nodes;
        for (; write->n_nodes < n_nodes; write->n_nodes++) {
                Node *copy = node_copy(nodes[write->n_nodes]);

                if (!copy)
                        return NULL;
                write->nodes[write->n_nodes] = copy;
                write->n_bytes += node_bytes(copy);
        }
        return TAKE_PTR(write);
}

Write *write_new_end(uint64_t revision, const Node *node, NodeEnd end, const char *by, uint64_t until_usec) {
        /* A const Node is copied, never changed; an array of nodes just is not const in its depth. */
        Node *nodes[] = { (Node *)(uintptr_t)node };
        _cleanup_(write_freep) Write *write = write_new(WRITE_END, revision, nodes, 1);

        if (!write)
                return NULL;
        write->end = end;
        write->until_usec = until_usec;
        if (by && !(write->by = strdup(by)))
                return NULL;
        write->n_bytes += by ? strlen(by) + 1 : 0;
        return TAKE_PTR(write);
}

Write *write_new_refusal(const Refused *refused) {
        _cleanup_(write_freep) Write *write = write_new(WRITE_REFUSAL, 0, NULL, 0);

        if (!write || refused_copy(refused, &write->refused) < 0)
                return NULL;
        write->n_bytes += refused->n_name + (refused->unit ? strlen(refused->unit) + 1 : 0);
        return TAKE_PTR(write);
}
