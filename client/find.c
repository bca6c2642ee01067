/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall find`: knows what one wants to see of nodes on several machines, and that a list is not the whole truth
 * where a machine has not answered. How they are asked is crowd.c's. */

#include "find.h"

#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complaint.h"
#include "crowd.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "table.h"
#include "text.h"
#include "util.h"

#define TIMEOUT_USEC (5 * USEC_PER_SEC)

/* What one machine has told so far. */
typedef struct Told {
        Rows rows;
        size_t n_unknown; /* left out: their states are not known, and states were asked for */
} Told;

typedef struct Finder {
        const Options *options;
        Choice choice;
        LineManner manner;
        Crowd crowd;
        Told *told; /* owned; of each line */
} Finder;

/* --- the table -------------------------------------------------------------------------------- */

static char *cell_node(const Row *row) {
        _cleanup_(freep) char *name = row_full_name(row, text_for_people);

        return table_word(name);
}

static char *cell_host_source(const Row *row) {
        _cleanup_(freep) char *source = row_text(row, ROW_HOST_SOURCE);

        if (row->assumed_host.value)
                return strdup("assumed");
        return table_word(source ? source : row->texts[ROW_HOST].value ? "announced" : NULL);
}

static char *cell_machine(const Row *row) {
        return table_word(row->machine);
}

static const TableColumn columns[] = {
        { "NODE", 0, cell_node },
        { "HOST", 0, cell_host_source },
        { "STATE", 0, table_state },
        { "PORT", SCOLS_FL_RIGHT, table_port },
        { "ADDRESS", 0, table_scope },
        { "UNIT", SCOLS_FL_TRUNC, table_unit },
        { "MACHINE", SCOLS_FL_TRUNC, cell_machine },
};

/* --- what is told ----------------------------------------------------------------------------- */

static int take_node(Finder *finder, const Line *line, const Record *record) {
        Told *told = &finder->told[line - finder->crowd.lines];
        Row row;

        row_read(record, &row);
        row.machine = line->machine->text;
        row.is_by_stock = line->is_stock;
        if (!choice_fits_name(&finder->choice, &row, crowd_hosts(&finder->crowd, line)))
                return 0;
        if (!row.is_by_stock || choice_states_fit(&finder->choice.states, &row))
                return rows_add(&told->rows, &row); /* of states a rollcalld has told those that were asked for */
        told->n_unknown++;
        return 0;
}

/* 0 or -ENOMEM. Afterwards each line has ended, or has not in time. */
static int ask_all(Finder *finder) {
        uint64_t deadline_usec = now_usec(CLOCK_MONOTONIC) + finder->manner.timeout_usec + 100 * USEC_PER_MSEC;
        Record record;
        Line *line;

        for (;;)
                switch (crowd_next(&finder->crowd, deadline_usec, &line, &record)) {
                case CROWD_RECORD:
                        if (record.kind == CONTROL_NODE_RECORD && take_node(finder, line, &record) < 0)
                                return -ENOMEM;
                        break;
                case CROWD_FAILED:
                        break;
                case CROWD_OVER:
                case CROWD_TIME_OVER:
                        return 0;
                }
}

/* Of those that have answered. */
static int collect(const Finder *finder, Rows *ret) {
        for (size_t i = 0; i < finder->crowd.n_lines; i++) {
                const Rows *rows = &finder->told[i].rows;

                for (size_t k = 0; finder->crowd.lines[i].failure == LINE_FINE && k < rows->n_rows; k++)
                        if (rows_add(ret, &rows->rows[k]) < 0)
                                return -ENOMEM;
        }
        rows_sort_by_name(ret);
        return 0;
}

/* --- what is said beside it ------------------------------------------------------------------- */

static void tell_of_stock(const Line *line, const Told *told) {
        complaint_print("%s: not a rollcalld, but another epmd: only names and ports are known of its nodes",
                        line_place(line));
        if (told->n_unknown > 0)
                complaint_print("%s: %zu %s not shown, since no state is known", line_place(line), told->n_unknown,
                                told->n_unknown == 1 ? "node is" : "nodes are");
}

/* Returns how many machines could not be asked. */
static size_t tell_of_machines(const Finder *finder) {
        size_t n_failed = 0;

        for (size_t i = 0; i < finder->crowd.n_lines; i++) {
                const Line *line = &finder->crowd.lines[i];
                _cleanup_(freep) char *words = line_failure_in_words(line);

                if (line->failure != LINE_FINE) {
                        complaint_print("%s: %s", line_place(line), words ? words : "");
                        n_failed++;
                } else if (line->is_stock)
                        tell_of_stock(line, &finder->told[i]);
        }
        return n_failed;
}

/* ---------------------------------------------------------------------------------------------- */

static RollcallExit show(const Finder *finder) {
        _cleanup_(rows_done) Rows rows = { 0 };
        RollcallExit status = ROLLCALL_EXIT_OK;
        size_t n_failed;

        if (collect(finder, &rows) < 0)
                return output_out_of_memory();
        n_failed = finder->crowd.n_lines;
        for (size_t i = 0; i < finder->crowd.n_lines; i++)
                n_failed -= finder->crowd.lines[i].failure == LINE_FINE;
        if (n_failed < finder->crowd.n_lines)
                status = finder->options->is_json ? output_json(rows_to_json(&rows, row_found_to_json))
                                                  : table_print(columns, ELEMENTS(columns), &rows);
        tell_of_machines(finder);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (n_failed == finder->crowd.n_lines)
                return ROLLCALL_EXIT_UNREACHABLE;
        if (n_failed > 0)
                return ROLLCALL_EXIT_PARTLY;
        return rows.n_rows > 0 ? ROLLCALL_EXIT_OK : ROLLCALL_EXIT_NO;
}

static void finder_done(Finder *finder) {
        for (size_t i = 0; finder->told && i < finder->crowd.n_lines; i++)
                rows_done(&finder->told[i].rows);
        free(finder->told);
        crowd_done(&finder->crowd);
        choice_done(&finder->choice);
}

static RollcallExit finder_init(Finder *finder, const Options *options) {
        RollcallExit status;

        finder->options = options;
        finder->manner = (LineManner){
                .purpose = LINE_FIND,
                .choice = &finder->choice,
                .control = options->control,
                .is_port_given = options->port != NULL,
                .timeout_usec = TIMEOUT_USEC,
        };
        status = choice_parse(options, false, &finder->choice);
        if (status == ROLLCALL_EXIT_OK)
                status = options_duration(options->timeout, &finder->manner.timeout_usec);
        if (status == ROLLCALL_EXIT_OK)
                status = crowd_init(&finder->crowd, options, &finder->manner);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        finder->told = calloc(finder->crowd.n_lines, sizeof(*finder->told));
        return finder->told ? ROLLCALL_EXIT_OK : output_out_of_memory();
}

RollcallExit find_run(const Options *options) {
        _cleanup_(finder_done) Finder finder = { 0 };
        RollcallExit status = finder_init(&finder, options);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        return ask_all(&finder) < 0 ? output_out_of_memory() : show(&finder);
}
