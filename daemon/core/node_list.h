/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes in the order in which they came, by their own `newer` and `older`. Pure. */
#pragma once

#include <stddef.h>

#include "core/node.h"

typedef struct NodeList {
        Node *newest, *oldest;
        size_t n_nodes;
} NodeList;

/* Frees the nodes, too. */
void node_list_done(NodeList *list);
void node_list_push_newest(NodeList *list, Node *node);
/* Owned by the caller from then on. */
void node_list_remove(NodeList *list, Node *node);
