/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how rows become lines. Does not know which columns a table has.
 *
 * The trap: in a pipe each line is cut into columns by blanks, so no cell may be empty or contain one. */

#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "colour.h"
#include "core/node.h"
#include "output.h"
#include "text.h"
#include "user.h"

/* --- cells ------------------------------------------------------------------------------------ */

char *table_word(const char *text) {
        char *word, *end;

        if (!text || text[0] == '\0')
                return strdup("-");
        word = end = malloc(4 * strlen(text) + 1);
        if (!word)
                return NULL;
        for (const char *c = text; *c; c++)
                if (*c == ' ')
                        end = stpcpy(end, "\\x20");
                else
                        *end++ = *c;
        *end = '\0';
        return word;
}

static char *word_of(const Row *row, RowText text) {
        _cleanup_(freep) char *clean = row_text(row, text);

        return table_word(clean);
}

static char *word_of_number(uint64_t number) {
        char *word;

        return asprintf(&word, "%" PRIu64, number) < 0 ? NULL : word;
}

char *table_time(uint64_t usec) {
        char when[TEXT_TIME_MAX];

        text_time_local(usec, when);
        if (isatty(STDOUT_FILENO) && strlen(when) > strlen("+00:00"))
                when[strlen(when) - strlen("+00:00")] = '\0';
        return table_word(when);
}

char *table_name(const Row *row) {
        return word_of(row, ROW_NAME);
}

char *table_host(const Row *row) {
        return word_of(row, ROW_HOST);
}

char *table_port(const Row *row) {
        return word_of_number(row->numbers[ROW_PORT]);
}

char *table_type(const Row *row) {
        uint64_t type = row->numbers[ROW_TYPE];
        const char *name = type <= UINT8_MAX ? node_type_to_string((uint8_t)type) : NULL;

        return name ? strdup(name) : word_of_number(type);
}

char *table_state(const Row *row) {
        return word_of(row, ROW_STATE);
}

char *table_state_source(const Row *row) {
        return word_of(row, ROW_STATE_SOURCE);
}

char *table_scope(const Row *row) {
        return word_of(row, ROW_SCOPE);
}

char *table_since(const Row *row) {
        return table_time(row->numbers[ROW_SINCE_USEC]);
}

char *table_user(const Row *row) {
        const char *name;

        if (!row->has_number[ROW_UID])
                return strdup("-");
        name = user_name(row->numbers[ROW_UID]);
        return name ? table_word(name) : word_of_number(row->numbers[ROW_UID]);
}

char *table_unit(const Row *row) {
        return word_of(row, ROW_UNIT);
}

char *table_unit_pid(const Row *row) {
        return row->has_number[ROW_UNIT_PID] ? word_of_number(row->numbers[ROW_UNIT_PID]) : strdup("-");
}

/* "uid 0" in one word that one can read. */
char *table_by(const Row *row) {
        _cleanup_(freep) char *by = row_text(row, ROW_BY);

        if (by && strncmp(by, "uid ", 4) == 0)
                by[3] = ':';
        return table_word(by);
}

/* --- the table -------------------------------------------------------------------------------- */

static struct libscols_table *unref_table(struct libscols_table *table) {
        scols_unref_table(table);
        return NULL;
}
DEFINE_CLEANUP(struct libscols_table *, unref_table)

static struct libscols_table *table_new(const TableColumn *columns, size_t n_columns) {
        _cleanup_(unref_tablep) struct libscols_table *table = scols_new_table();

        if (!table)
                return NULL;
        /* The cells are clean already, and it would escape our escapes. */
        scols_table_enable_noencoding(table, 1);
        scols_table_enable_colors(table, colour_is_wanted());
        for (size_t i = 0; i < n_columns; i++) {
                int flags = columns[i].flags;

                if (!isatty(STDOUT_FILENO))
                        flags &= ~SCOLS_FL_TRUNC;
                if (!scols_table_new_column(table, columns[i].heading, 0, flags))
                        return NULL;
        }
        return TAKE_PTR(table);
}

static int table_add(struct libscols_table *table, const TableColumn *columns, size_t n_columns, const Row *row) {
        struct libscols_line *line = scols_table_new_line(table, NULL);

        if (!line)
                return -ENOMEM;
        for (size_t i = 0; i < n_columns; i++) {
                char *text = columns[i].cell(row);

                if (!text || scols_line_refer_data(line, i, text) < 0) {
                        free(text);
                        return -ENOMEM;
                }
                if (columns[i].cell == table_state)
                        scols_cell_set_color(scols_line_get_cell(line, i), colour_of_state(row));
        }
        return 0;
}

/* The table's printing has no line without rows, not even the headings. */
static void print_headings(const TableColumn *columns, size_t n_columns) {
        for (size_t i = 0; i < n_columns; i++)
                printf("%s%c", columns[i].heading, i + 1 < n_columns ? ' ' : '\n');
}

RollcallExit table_print(const TableColumn *columns, size_t n_columns, const Rows *rows) {
        _cleanup_(unref_tablep) struct libscols_table *table = table_new(columns, n_columns);

        if (!table)
                return output_out_of_memory();
        for (size_t i = 0; i < rows->n_rows; i++)
                if (table_add(table, columns, n_columns, &rows->rows[i]) < 0)
                        return output_out_of_memory();
        if (rows->n_rows == 0)
                print_headings(columns, n_columns);
        else if (scols_print_table(table) < 0)
                return output_out_of_memory();
        return output_finish();
}
