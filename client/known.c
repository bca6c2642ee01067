/* SPDX-License-Identifier: Apache-2.0 */
/* Knows that a node is known by its name and scope. */

#include "known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

void known_forget_all(Known *known) {
        for (size_t i = 0; i < known->n_nodes; i++)
                free(known->nodes[i].fields);
        known->n_nodes = 0;
}

void known_done(Known *known) {
        known_forget_all(known);
        free(known->nodes);
        *known = (Known){ 0 };
}

static bool is_same(const ControlField *a, const ControlField *b) {
        return a->n_value == b->n_value && (a->n_value == 0 || memcmp(a->value, b->value, a->n_value) == 0);
}

void known_forget(Known *known, const Row *row) {
        for (size_t i = 0; i < known->n_nodes; i++)
                if (is_same(&known->nodes[i].row.texts[ROW_NAME], &row->texts[ROW_NAME]) &&
                    is_same(&known->nodes[i].row.texts[ROW_SCOPE], &row->texts[ROW_SCOPE])) {
                        free(known->nodes[i].fields);
                        known->nodes[i] = known->nodes[--known->n_nodes];
                        return;
                }
}

static int make_room(Known *known) {
        size_t n_room = 2 * known->n_room + 16;
        KnownNode *nodes;

        if (known->n_nodes < known->n_room)
                return 0;
        nodes = reallocarray(known->nodes, n_room, sizeof(*nodes));
        if (!nodes)
                return -ENOMEM;
        known->nodes = nodes;
        known->n_room = n_room;
        return 0;
}

/* Of what was assumed only what the record says itself moves with it. */
static ControlField moved(const ControlField *field, const Record *from, const uint8_t *to) {
        ControlField copy = *field;

        if (field->value >= from->fields && field->value < from->fields + from->n_fields)
                copy.value = to + (field->value - from->fields);
        return copy;
}

int known_learn(Known *known, const Row *row) {
        Record copy = row->record;
        KnownNode *node;
        uint8_t *fields;

        if (make_room(known) < 0)
                return -ENOMEM;
        fields = malloc(copy.n_fields + 1);
        if (!fields)
                return -ENOMEM;
        if (copy.n_fields > 0)
                memcpy(fields, copy.fields, copy.n_fields);
        copy.fields = fields;
        node = &known->nodes[known->n_nodes++];
        node->fields = fields;
        row_read(&copy, &node->row);
        node->row.machine = row->machine;
        node->row.is_by_stock = row->is_by_stock;
        node->row.assumed_host = moved(&row->assumed_host, &row->record, fields);
        return 0;
}
