/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes by name: a hash table, in which a lookup costs the same however many there are. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/node.h"

/* At least twice as many buckets as nodes; 8 bytes each. */
typedef struct Names {
        Node **buckets; /* each the first of a list, by Node.next_in_names */
        size_t n_buckets; /* 0, or a power of 2 */
        size_t n_nodes;
        uint64_t seed;
} Names;

void names_init(Names *names, uint64_t seed);
void names_done(Names *names);
/* Makes sure that `n` more nodes can be inserted without allocation. 0 or -ENOMEM. */
int names_reserve(Names *names, size_t n);

/* The first of that name, by scope; NULL: there is none. */
Node *names_find(const Names *names, const char *name, size_t n_name);
/* The next of that name, or NULL. `node` is in a table: where one leaves, the next is asked for before that. */
Node *names_next(const Node *node);
/* There must be room; and none of that name and scope. */
void names_insert(Names *names, Node *node);
/* It must be in there. */
void names_remove(Names *names, Node *node);
