/* SPDX-License-Identifier: Apache-2.0 */
/* Formers: nodes that are not registered any more and whose names have not come back. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/names.h"
#include "core/node.h"
#include "core/node_list.h"

typedef struct Formers {
        Names by_name;
        NodeList nodes; /* in the order in which they ended */
        size_t n_max;
} Formers;

/* For `n_max` of them, at least one. `seed` as for registry_new(). 0 or -ENOMEM. */
int formers_init(Formers *formers, size_t n_max, uint64_t seed);
void formers_done(Formers *formers);

/* The last holder of a name, or NULL: none is remembered. */
const Node *formers_find(const Formers *formers, const char *name, size_t n_name);
/* What was given to the name last (P5), of either kind; 0: not known. */
uint32_t formers_last_creation(const Formers *formers, const char *name, size_t n_name);

/* Takes a node that has ended, in place of the others of its name. Does not allocate. Beyond `n_max` one is freed:
 * never the one that has just come. */
void formers_add(Formers *formers, Node *node);
/* `node` has come: its name is one of the past no more. Where it has no creation of its own it keeps in mind
 * what its name was given last. */
void formers_give_way(Formers *formers, Node *node);
