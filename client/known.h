/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes that are registered at the moment, as a watch tells of them: copies of their records. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "row.h"

typedef struct KnownNode {
        uint8_t *fields; /* owned */
        Row row;         /* borrows from it */
} KnownNode;

/* Begins as all zero. */
typedef struct Known {
        KnownNode *nodes;
        size_t n_nodes, n_room;
} Known;

void known_done(Known *known);
void known_forget_all(Known *known);
/* The one of that name and scope, if it is there. */
void known_forget(Known *known, const Row *row);
/* Takes a copy of what the row is made of, and with it what was added to the row. 0 or -ENOMEM. */
int known_learn(Known *known, const Row *row);
