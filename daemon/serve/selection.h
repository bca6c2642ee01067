/* SPDX-License-Identifier: Apache-2.0 */
/* Which node a request of the control protocol means: a name, and an address where that is not enough. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/control.h"
#include "core/registry.h"

typedef struct Selection {
        const char *name; /* borrows from the request; not terminated */
        size_t n_name;
        bool has_scope;
        Address scope;
} Selection;

/* The address of a SCOPE field; false: it is none. */
bool selection_parse_scope(const ControlField *field, Address *ret);
/* The NAME and SCOPE of a request. NULL, or what is wrong with them, in words. `is_name_needed`: without a name it
 * is wrong, too. */
const char *selection_parse(const ControlRequest *request, bool is_name_needed, Selection *ret);

/* Steps through the nodes that are meant; `after` NULL: the first. */
Node *selection_next(const Selection *selection, const Registry *registry, const Node *after);

/* The one node that is meant. 0 and `*ret`; else CONTROL_E_NOT_FOUND or CONTROL_E_AMBIGUOUS, and one sentence in
 * `text`. */
int selection_find_one(const Selection *selection, const Registry *registry, Node **ret, char *text, size_t n_text);
