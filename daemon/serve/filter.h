/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes a watcher wants to hear of: one name, those with a prefix, or all; at one address, or at any. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/control.h"
#include "core/registry.h"

typedef enum FilterKind {
        FILTER_ALL,
        FILTER_NAME,
        FILTER_PREFIX,
} FilterKind;

typedef struct Filter {
        FilterKind kind;
        bool has_scope;
        Address scope;
        size_t n_text; /* bytes */
        char text[NODE_NAME_BYTES_MAX];
} Filter;

/* The NAME or PREFIX and the SCOPE of a request. NULL, or what is wrong with them, in words. */
const char *filter_parse(const ControlRequest *request, Filter *ret);
bool filter_matches(const Filter *filter, const char *name, size_t n_name, const Address *scope);
/* True if it matches whatever there is. */
bool filter_is_open(const Filter *filter);

/* Steps through the nodes that match; `after` NULL: the first. */
Node *filter_next(const Filter *filter, const Registry *registry, const Node *after);
