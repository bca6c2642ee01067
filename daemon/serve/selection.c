/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how a node is named by its operator. Does not know what is wanted of it. */

#include "serve/selection.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

bool selection_parse_scope(const ControlField *field, Address *ret) {
        char text[ADDRESS_TEXT_MAX];

        if (field->n_value == 0 || field->n_value >= sizeof text || memchr(field->value, 0, field->n_value))
                return false;
        memcpy(text, field->value, field->n_value);
        text[field->n_value] = 0;
        return address_parse(text, ret) == 0;
}

const char *selection_parse(const ControlRequest *request, bool is_name_needed, Selection *ret) {
        Selection selection = { 0 };
        ControlField field;
        size_t offset = 0;

        while (control_next_field(request->fields, request->n_fields, &offset, &field)) {
                if (field.tag == CONTROL_TAG_NAME) {
                        selection.name = (const char *)field.value;
                        selection.n_name = field.n_value;
                } else if (field.tag == CONTROL_TAG_SCOPE) {
                        if (!selection_parse_scope(&field, &selection.scope))
                                return "The address is none.";
                        selection.has_scope = true;
                }
        }
        if (is_name_needed && !selection.name)
                return "The request names no node.";
        if (selection.name && node_name_check(selection.name, selection.n_name) != NODE_NAME_OK)
                return "That cannot be the name of a node.";
        *ret = selection;
        return NULL;
}

Node *selection_next(const Selection *selection, const Registry *registry, const Node *after) {
        Node *node = registry_find_name(registry, selection->name, selection->n_name, after);

        while (node && selection->has_scope && !address_equal(&node->scope, &selection->scope))
                node = registry_find_name(registry, selection->name, selection->n_name, node);
        return node;
}

int selection_find_one(const Selection *selection, const Registry *registry, Node **ret, char *text, size_t n_text) {
        Node *node = selection_next(selection, registry, NULL), *other;
        char name[256], address[ADDRESS_TEXT_MAX], other_address[ADDRESS_TEXT_MAX];

        log_printable(selection->name, selection->n_name, name, sizeof name);
        if (!node) {
                snprintf(text, n_text, "No node named %s is registered%s%s.", name,
                         selection->has_scope ? " at " : "",
                         selection->has_scope ? address_format(&selection->scope, address) : "");
                return CONTROL_E_NOT_FOUND;
        }
        other = selection_next(selection, registry, node);
        if (other) {
                snprintf(text, n_text, "Several nodes are named %s: say which, for example %s@%s or %s@%s.", name, name,
                         address_format(&node->scope, address), name,
                         address_format(&other->scope, other_address));
                return CONTROL_E_AMBIGUOUS;
        }
        *ret = node;
        return 0;
}
