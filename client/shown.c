/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the last line of each node, by its name and scope. Does not know what lines say. */

#include "shown.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

typedef struct ShownLine {
        char *line; /* owned */
        size_t n_name, n_scope;
        uint8_t key[]; /* the name, and the scope behind it */
} ShownLine;

static ShownLine *line_free(ShownLine *line) {
        if (line)
                free(line->line);
        free(line);
        return NULL;
}
DEFINE_CLEANUP(ShownLine *, line_free)

static void free_node(void *line) {
        line_free(line);
}

static size_t n_of(const Row *row, RowText text) {
        return row->texts[text].value ? row->texts[text].n_value : 0;
}

static void put(uint8_t *at, const Row *row, RowText text) {
        if (n_of(row, text) > 0)
                memcpy(at, row->texts[text].value, n_of(row, text));
}

static ShownLine *line_new(const Row *row) {
        size_t n_name = n_of(row, ROW_NAME), n_scope = n_of(row, ROW_SCOPE);
        ShownLine *line = calloc(1, sizeof(*line) + n_name + n_scope);

        if (!line)
                return NULL;
        line->n_name = n_name;
        line->n_scope = n_scope;
        put(line->key, row, ROW_NAME);
        put(line->key + n_name, row, ROW_SCOPE);
        return line;
}

/* Some order, and the same one always. */
static int compare(const void *a, const void *b) {
        const ShownLine *line_a = a, *line_b = b;

        if (line_a->n_name != line_b->n_name)
                return line_a->n_name < line_b->n_name ? -1 : 1;
        if (line_a->n_scope != line_b->n_scope)
                return line_a->n_scope < line_b->n_scope ? -1 : 1;
        return memcmp(line_a->key, line_b->key, line_a->n_name + line_a->n_scope);
}

void shown_done(Shown *shown) {
        shown_forget_all(shown);
}

void shown_forget_all(Shown *shown) {
        tdestroy(shown->tree, free_node);
        shown->tree = NULL;
}

void shown_forget(Shown *shown, const Row *row) {
        _cleanup_(line_freep) ShownLine *wanted = line_new(row);
        ShownLine **place = wanted ? tfind(wanted, &shown->tree, compare) : NULL, *line;

        if (!place)
                return;
        line = *place;
        tdelete(line, &shown->tree, compare);
        line_free(line);
}

int shown_learn(Shown *shown, const Row *row, const char *line) {
        _cleanup_(line_freep) ShownLine *wanted = line_new(row);
        _cleanup_(freep) char *copy = strdup(line);
        ShownLine **place = wanted && copy ? tsearch(wanted, &shown->tree, compare) : NULL;
        ShownLine *found;

        if (!place)
                return -ENOMEM;
        found = *place;
        if (found == wanted)
                wanted = NULL; /* the tree's now */
        else if (strcmp(found->line, line) == 0)
                return 1;
        free(found->line);
        found->line = TAKE_PTR(copy);
        return 0;
}
