/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes somebody wants to hear of: by names, prefixes, patterns, states, address. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/control.h"
#include "core/registry.h"

/* P6: NAME, PREFIX and PATTERN together are bounded by a request's bytes, patterns by GLOB_ITEMS_MAX, too (once for
 * PATTERN, once for EXCLUDE). */
typedef struct Filter Filter;

/* filter_new(): the selection makes no sense. */
#define FILTER_E_SENSELESS 1

/* The selection of a request: NAME, PREFIX, PATTERN, EXCLUDE, STATE, HIDDEN, SCOPE (PROTOCOL.md). 0; FILTER_E_SENSELESS,
 * and in `*ret_wrong` one sentence that says why; -ENOMEM. Keeps nothing of the request. One reference, the caller's. */
int filter_new(Filter **ret, const ControlRequest *request, const char **ret_wrong);
Filter *filter_ref(Filter *filter);
/* Takes NULL, returns NULL. */
Filter *filter_unref(Filter *filter);
DEFINE_CLEANUP(Filter *, filter_unref)

/* True if the same was asked for, in the same words. */
bool filter_equal(const Filter *a, const Filter *b);

/* What of a node cannot change is as was asked for: all but its state. */
bool filter_matches(const Filter *filter, const char *name, size_t n_name, const Address *scope, bool is_hidden);
bool filter_wants_state(const Filter *filter, NodeState state);
/* Both. */
bool filter_selects(const Filter *filter, const Node *node);
/* Hidden to those who do not ask for it: a hidden node, or a helper. */
bool filter_is_hidden(const Node *node);

/* A walk over the nodes that are selected, by name and then by scope: filter_walk() begins it. Good until the registry
 * changes. It looks at those nodes only whose names begin like one that is asked for. */
typedef struct FilterWalk {
        const Filter *filter;
        const Registry *registry;
        size_t range;
        size_t position;
        bool is_in_range;
} FilterWalk;

FilterWalk filter_walk(const Filter *filter, const Registry *registry);
/* The next one, or NULL. */
Node *filter_walk_next(FilterWalk *walk);
