/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: a configuration file, as the main one and as one of nodes.d. What was understood is printed as a file
 * that says the same. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "config/config_file.h"
#include "fuzz.h"

typedef struct Printed {
        char *text; /* owned */
        size_t n_errors;
} Printed;

static void printed_done(Printed *printed) {
        free(printed->text);
}

/* Without the comments, which say where a setting comes from. */
static void drop_comments(char *text) {
        char *out = text;

        for (char *line = text, *end; *line; line = end) {
                end = line + strcspn(line, "\n");
                end += *end == '\n';
                if (*line != '#') {
                        memmove(out, line, (size_t)(end - line));
                        out += end - line;
                }
        }
        *out = 0;
}

static void read_and_print(const char *text, bool has_nodes_only, Printed *ret) {
        _cleanup_(problems_done) Problems problems = { 0 };
        _cleanup_(settings_done) Settings settings = { 0 };
        _cleanup_(entries_done) Entries entries = { 0 };
        _cleanup_(draft_done) Draft draft = { 0 };
        size_t n_text;
        FILE *out;

        if (config_file_parse("f", text, strlen(text), has_nodes_only, &draft, &problems) < 0)
                abort();
        ret->n_errors = problems.n_errors;
        if (draft_make_settings(&draft, &settings, &problems) < 0 ||
            node_drafts_make(&draft.nodes, &entries, &problems) < 0)
                abort();
        out = open_memstream(&ret->text, &n_text);
        if (!out)
                abort();
        if (!has_nodes_only)
                draft_print(&draft, out);
        node_drafts_print(&entries, out);
        fclose(out);
        drop_comments(ret->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *text = strndup((const char *)data, size);

        for (int i = 0; text && i < 2; i++) {
                _cleanup_(printed_done) Printed first = { 0 };
                _cleanup_(printed_done) Printed second = { 0 };

                read_and_print(text, i, &first);
                read_and_print(first.text, i, &second);
                assert(second.n_errors == 0);
                assert(strcmp(first.text, second.text) == 0);
        }
        return 0;
}
