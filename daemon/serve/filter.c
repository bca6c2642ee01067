/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which nodes are meant. Does not know what they are wanted for. */

#include "serve/filter.h"

#include <string.h>

#include "serve/selection.h"

static void filter_set_text(Filter *filter, FilterKind kind, const void *text, size_t n_text) {
        filter->kind = kind;
        filter->n_text = n_text;
        memcpy(filter->text, text, n_text);
}

/* Whatever a name may begin with; nothing means all. */
static const char *parse_prefix(const ControlField *field, Filter *filter) {
        if (field->n_value == 0)
                return NULL;
        if (node_name_check((const char *)field->value, field->n_value) != NODE_NAME_OK)
                return "No node's name can begin like that.";
        filter_set_text(filter, FILTER_PREFIX, field->value, field->n_value);
        return NULL;
}

const char *filter_parse(const ControlRequest *request, Filter *ret) {
        Filter filter = { .kind = FILTER_ALL };
        Selection selection;
        ControlField prefix;
        bool has_prefix = control_find_field(request->fields, request->n_fields, CONTROL_TAG_PREFIX, &prefix);
        const char *wrong = selection_parse(request, false, &selection);

        if (!wrong && selection.name && has_prefix)
                wrong = "The request has a name and a prefix.";
        if (!wrong && has_prefix)
                wrong = parse_prefix(&prefix, &filter);
        if (wrong)
                return wrong;
        if (selection.name)
                filter_set_text(&filter, FILTER_NAME, selection.name, selection.n_name);
        filter.has_scope = selection.has_scope;
        filter.scope = selection.scope;
        *ret = filter;
        return NULL;
}

static bool filter_matches_name(const Filter *filter, const char *name, size_t n_name) {
        switch (filter->kind) {
        case FILTER_ALL:
                break;
        case FILTER_NAME:
                if (n_name != filter->n_text)
                        return false;
                return memcmp(name, filter->text, n_name) == 0;
        case FILTER_PREFIX:
                return n_name >= filter->n_text && memcmp(name, filter->text, filter->n_text) == 0;
        }
        return true;
}

bool filter_matches(const Filter *filter, const char *name, size_t n_name, const Address *scope) {
        return filter_matches_name(filter, name, n_name) &&
               (!filter->has_scope || address_equal(&filter->scope, scope));
}

bool filter_is_open(const Filter *filter) {
        return filter->kind == FILTER_ALL && !filter->has_scope;
}

/* One name is looked up, all else is a walk. */
static Node *step(const Filter *filter, const Registry *registry, const Node *after) {
        if (filter->kind == FILTER_NAME)
                return registry_find_name(registry, filter->text, filter->n_text, after);
        return after ? after->older : registry_newest(registry);
}

Node *filter_next(const Filter *filter, const Registry *registry, const Node *after) {
        Node *node = step(filter, registry, after);

        while (node && !filter_matches(filter, node->info.name, node->info.n_name, &node->scope))
                node = step(filter, registry, node);
        return node;
}
