/* SPDX-License-Identifier: Apache-2.0 */
/* Static entries as files have them, with where; made into Entries, or printed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/problems.h"
#include "core/entries.h"

typedef struct NodeDraft {
        Entry entry;  /* owned; its `by` is the file */
        char *origin; /* "FILE:LINE" of its heading; owned */
        bool is_broken; /* a line of it was left out, and with it the whole entry */
} NodeDraft;

/* In the order in which they were read. Begins as all zero. */
typedef struct NodeDrafts {
        NodeDraft *nodes; /* owned */
        size_t n_nodes;
} NodeDrafts;

void node_drafts_done(NodeDrafts *drafts);

/* Begins an entry; what is set from now on is its. 0; -EINVAL: `*ret_why` says what is wrong with the name, and the
 * entry is broken; -ENOMEM. What is wrong is the caller's to free. */
int node_drafts_begin(NodeDrafts *drafts, const char *name, const char *file, const char *origin, char **ret_why);
/* Of the last one: "host-part", "address", "port". 0; -EINVAL and why; -ENOENT: there is no such key; -ENOMEM. */
int node_drafts_set(NodeDrafts *drafts, const char *key, const char *value, char **ret_why);
/* A line of the last one cannot be read. */
void node_drafts_break(NodeDrafts *drafts);

/* What is whole; what is not is told. 0 or -ENOMEM. */
int node_drafts_make(const NodeDrafts *drafts, Entries *ret, Problems *problems);
/* The entries, as a file that can be read again; where they come from in comments. */
void node_drafts_print(const Entries *entries, FILE *out);
