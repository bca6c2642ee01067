/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what memory a change on its way to disk takes. Does not know what becomes of it. */

#include "state/write.h"

#include <string.h>

static size_t node_bytes(const Node *node) {
        return sizeof *node + node->info.n_name + node->info.n_extra + 2 +
               (node->unit ? strlen(node->unit) + 1 : 0);
}

Write *write_free(Write *write) {
        if (write) {
                for (size_t i = 0; i < write->n_nodes; i++)
                        node_free(write->nodes[i]);
                free(write->nodes);
        }
        free(write);
        return NULL;
}

Write *write_new(WriteKind kind, uint64_t revision, Node *const *nodes, size_t n_nodes) {
        _cleanup_(write_freep) Write *write = calloc(1, sizeof *write);

        if (!write)
                return NULL;
        write->kind = kind;
        write->revision = revision;
        write->nodes = calloc(n_nodes > 0 ? n_nodes : 1, sizeof *write->nodes);
        if (!write->nodes)
                return NULL;
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
