/* SPDX-License-Identifier: Apache-2.0 */
/* A change on its way to disk, with copies of all it needs. Plain data. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/node.h"
#include "core/refusals.h"
#include "util.h"

typedef enum WriteKind {
        WRITE_PUT,       /* nodes[0] is registered, or has changed */
        WRITE_END,       /* nodes[0] is not registered any more */
        WRITE_CREATIONS, /* creations are reserved; from here on rows are of this boot */
        WRITE_WHOLE,     /* `nodes` is all there is; with it, as WRITE_CREATIONS */
        WRITE_MARK,      /* nothing: what has changed is not in the file */
        WRITE_REFUSAL,   /* `refused` was refused its name: of no revision, and dispensable */
} WriteKind;

typedef struct Write {
        struct Write *next; /* in the order in which they must reach the file */
        WriteKind kind;
        uint64_t revision; /* the registry's, which the file has reached with this change */
        size_t n_bytes;    /* of memory, all told */
        NodeEnd end;             /* WRITE_END: why */
        char *by;                /* WRITE_END: who did it, or NULL; owned */
        uint64_t until_usec;     /* WRITE_END: when, CLOCK_REALTIME */
        Refused refused;         /* WRITE_REFUSAL; owned */
        uint32_t reserved_until; /* WRITE_CREATIONS, WRITE_WHOLE */
        uint64_t n_losses;       /* WRITE_WHOLE: those that it makes good (see channel.h) */
        size_t n_nodes;
        Node *nodes[]; /* owned */
} Write;

/* With copies of `nodes`. NULL: ENOMEM. */
Write *write_new(WriteKind kind, uint64_t revision, Node *const *nodes, size_t n_nodes);
/* Of one node that has ended. NULL: ENOMEM. */
Write *write_new_end(uint64_t revision, const Node *node, NodeEnd end, const char *by, uint64_t until_usec);
/* With a copy. NULL: ENOMEM. */
Write *write_new_refusal(const Refused *refused);
/* Takes NULL. What follows it in its list is left alone. */
Write *write_free(Write *write);
DEFINE_CLEANUP(Write *, write_free)
