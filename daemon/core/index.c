/* SPDX-License-Identifier: Apache-2.0 */
/* Knows two orders of nodes and binary search. Owns the array, never the nodes. */

#include "core/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_AT_FIRST 64

void index_done(Index *index) {
        free(index->nodes);
        *index = (Index){ 0 };
}

int index_reserve(Index *index, size_t n) {
        size_t n_room = index->n_room ? index->n_room : ROOM_AT_FIRST;
        Node **nodes;

        while (n_room < index->n_nodes + n)
                n_room *= 2;
        if (n_room == index->n_room)
                return 0;
        nodes = reallocarray(index->nodes, n_room, sizeof *nodes);
        if (!nodes)
                return -ENOMEM;
        index->nodes = nodes;
        index->n_room = n_room;
        return 0;
}

size_t index_seek_name(const Index *index, const char *name, size_t n_name, const Address *scope) {
        size_t low = 0, high = index->n_nodes;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Node *node = index->nodes[middle];

                if (node_compare_key(node->info.name, node->info.n_name, &node->scope, name, n_name,
                                     scope) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

size_t index_seek_cookie(const Index *index, uint64_t cookie, uint64_t serial) {
        size_t low = 0, high = index->n_nodes;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Node *node = index->nodes[middle];

                if (node->listener.cookie < cookie ||
                    (node->listener.cookie == cookie && node->serial < serial))
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

void index_insert(Index *index, size_t position, Node *node) {
        assert(index->n_nodes < index->n_room);
        assert(position <= index->n_nodes);

        memmove(index->nodes + position + 1, index->nodes + position,
                (index->n_nodes - position) * sizeof *index->nodes);
        index->nodes[position] = node;
        index->n_nodes++;
}

void index_remove(Index *index, size_t position) {
        assert(position < index->n_nodes);

        index->n_nodes--;
        memmove(index->nodes + position, index->nodes + position + 1,
                (index->n_nodes - position) * sizeof *index->nodes);
}
