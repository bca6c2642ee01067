/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall wait --count N PATTERN`: knows how many nodes there are on all machines together. How machines are asked,
 * and asked again, is line.c's.
 *
 * The trap: of a machine whose connection was lost nothing is known, whatever was known before; its nodes do not count
 * until it has told all of them again. */

#include "wait_count.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complaint.h"
#include "crowd.h"
#include "known.h"
#include "output.h"
#include "row_json.h"
#include "sentence.h"
#include "text.h"
#include "util.h"

#define COUNT_MAX 1000000
/* More than a machine takes that says nothing, on whatever ways it is asked. */
#define FIRST_ANSWERS_USEC (4 * LINE_PATIENCE_USEC)

typedef struct Gatherer {
        const Options *options;
        size_t n_wanted;
        uint64_t begun_usec, deadline_usec;
        Choice choice;
        LineManner manner;
        Crowd crowd;
        Known *known;  /* owned; of each line */
        bool *is_told; /* owned; of each line: that it is away */
} Gatherer;

/* --- who there is ----------------------------------------------------------------------------- */

/* One whose state is not wanted (any more) is told, too. */
static int take_record(Gatherer *gatherer, const Line *line, const Record *record) {
        Known *known = &gatherer->known[line - gatherer->crowd.lines];
        Row row;

        if (record->kind == CONTROL_EPOCH_RECORD)
                known_forget_all(known);
        if (record->kind == CONTROL_SYNCED_RECORD)
                gatherer->is_told[line - gatherer->crowd.lines] = false;
        if (record->kind != CONTROL_NODE_RECORD && record->kind != CONTROL_GONE_RECORD)
                return 0;
        row_read(record, &row);
        row.machine = line->machine->text;
        row.is_by_stock = line->is_stock;
        known_forget(known, &row);
        if (record->kind == CONTROL_GONE_RECORD || !choice_states_fit(&gatherer->choice.states, &row) ||
            !choice_fits_name(&gatherer->choice, &row, crowd_hosts(&gatherer->crowd, line)))
                return 0;
        return known_learn(known, &row);
}

static size_t count(const Gatherer *gatherer) {
        size_t n = 0;

        for (size_t i = 0; i < gatherer->crowd.n_lines; i++)
                if (gatherer->crowd.lines[i].is_synced)
                        n += gatherer->known[i].n_nodes;
        return n;
}

/* --- what is said ----------------------------------------------------------------------------- */

static int collect(const Gatherer *gatherer, Rows *ret) {
        for (size_t i = 0; i < gatherer->crowd.n_lines; i++)
                for (size_t k = 0; gatherer->crowd.lines[i].is_synced && k < gatherer->known[i].n_nodes; k++)
                        if (rows_add(ret, &gatherer->known[i].nodes[k].row) < 0)
                                return -ENOMEM;
        rows_sort_by_name(ret);
        return 0;
}

static void print_node(const Row *row) {
        _cleanup_(freep) char *name = row_full_name(row, text_for_people);
        _cleanup_(freep) char *state = row->is_by_stock ? strdup("registered") : sentence_state(row);
        _cleanup_(freep) char *where = sentence_where(row);

        printf("%s is %s: %s, on %s\n", name ? name : "", state ? state : "", where ? where : "", row->machine);
}

static RollcallExit tell_found(const Gatherer *gatherer) {
        _cleanup_(rows_done) Rows rows = { 0 };

        if (collect(gatherer, &rows) < 0)
                return output_out_of_memory();
        if (gatherer->options->is_quiet)
                return ROLLCALL_EXIT_OK;
        if (gatherer->options->is_json)
                return output_json(rows_to_json(&rows, row_found_to_json));
        for (size_t i = 0; i < rows.n_rows; i++)
                print_node(&rows.rows[i]);
        return output_finish();
}

static bool is_anybody_there(const Gatherer *gatherer) {
        for (size_t i = 0; i < gatherer->crowd.n_lines; i++)
                if (gatherer->crowd.lines[i].is_synced)
                        return true;
        return false;
}

static RollcallExit tell_time_over(const Gatherer *gatherer) {
        size_t n = count(gatherer);

        complaint_print("the time is over, and of %zu nodes %zu %s there", gatherer->n_wanted, n,
                        n == 1 ? "is" : "are");
        return is_anybody_there(gatherer) ? ROLLCALL_EXIT_GAVE_UP : ROLLCALL_EXIT_UNREACHABLE;
}

static RollcallExit on_failure(Gatherer *gatherer, const Line *line) {
        bool *is_told = &gatherer->is_told[line - gatherer->crowd.lines], is_over = line_is_over(line);
        _cleanup_(freep) char *why = line_failure_in_words(line);

        if (!why || (line->failure == LINE_BROKEN && line->error == -ENOMEM))
                return output_out_of_memory();
        if (!*is_told || is_over)
                complaint_print("%s: %s%s", line_place(line), why, is_over ? "" : "; it is asked again");
        *is_told = true;
        return ROLLCALL_EXIT_OK;
}

/* ---------------------------------------------------------------------------------------------- */

/* The time does not count before each machine was asked once, unless one of them goes on talking. */
static uint64_t deadline_of(const Gatherer *gatherer) {
        if (gatherer->deadline_usec == USEC_INFINITE)
                return USEC_INFINITE;
        for (size_t i = 0; i < gatherer->crowd.n_lines; i++) {
                const Line *line = &gatherer->crowd.lines[i];

                if (!line->is_synced_once && line->n_failures == 0)
                        return max_u64(gatherer->deadline_usec, gatherer->begun_usec + FIRST_ANSWERS_USEC);
        }
        return gatherer->deadline_usec;
}

static RollcallExit gather(Gatherer *gatherer) {
        RollcallExit status = ROLLCALL_EXIT_OK;
        Record record;
        Line *line;

        while (status == ROLLCALL_EXIT_OK && count(gatherer) < gatherer->n_wanted)
                switch (crowd_next(&gatherer->crowd, deadline_of(gatherer), &line, &record)) {
                case CROWD_RECORD:
                        if (take_record(gatherer, line, &record) < 0)
                                status = output_out_of_memory();
                        break;
                case CROWD_FAILED:
                        status = on_failure(gatherer, line);
                        break;
                case CROWD_OVER:
                        return ROLLCALL_EXIT_UNREACHABLE;
                case CROWD_TIME_OVER:
                        return tell_time_over(gatherer);
                }
        return status == ROLLCALL_EXIT_OK ? tell_found(gatherer) : status;
}

static void gatherer_done(Gatherer *gatherer) {
        for (size_t i = 0; gatherer->known && i < gatherer->crowd.n_lines; i++)
                known_done(&gatherer->known[i]);
        free(gatherer->known);
        free(gatherer->is_told);
        crowd_done(&gatherer->crowd);
        choice_done(&gatherer->choice);
}

static RollcallExit parse_count(const char *text, size_t *ret) {
        unsigned long n = 1;
        size_t n_text = text ? strlen(text) : 0;

        if (text)
                n = n_text > 0 && n_text < 9 && strspn(text, "0123456789") == n_text ? strtoul(text, NULL, 10) : 0;
        *ret = n;
        if (n > 0 && n <= COUNT_MAX)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%s' is no count of nodes", text);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit parse(Gatherer *gatherer) {
        const Options *options = gatherer->options;
        uint64_t timeout_usec = USEC_INFINITE;
        RollcallExit status;

        if (options->is_free) {
                complaint_print("--free waits for one NAME on this machine");
                return ROLLCALL_EXIT_USAGE;
        }
        status = parse_count(options->count, &gatherer->n_wanted);
        if (status == ROLLCALL_EXIT_OK)
                status = options_duration(options->timeout, &timeout_usec);
        gatherer->begun_usec = now_usec(CLOCK_MONOTONIC);
        if (timeout_usec != USEC_INFINITE)
                gatherer->deadline_usec = gatherer->begun_usec + timeout_usec;
        return status == ROLLCALL_EXIT_OK ? choice_parse(options, false, &gatherer->choice) : status;
}

static RollcallExit gatherer_init(Gatherer *gatherer, const Options *options) {
        RollcallExit status;

        gatherer->options = options;
        gatherer->deadline_usec = USEC_INFINITE;
        gatherer->manner = (LineManner){
                .purpose = LINE_WATCH,
                .choice = &gatherer->choice,
                .control = options->control,
                .is_port_given = options->port != NULL,
                .is_strict = options->at.n_texts == 0,
        };
        status = parse(gatherer);
        if (status == ROLLCALL_EXIT_OK)
                status = crowd_init(&gatherer->crowd, options, &gatherer->manner);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        gatherer->known = calloc(gatherer->crowd.n_lines, sizeof(*gatherer->known));
        gatherer->is_told = calloc(gatherer->crowd.n_lines, sizeof(*gatherer->is_told));
        return gatherer->known && gatherer->is_told ? ROLLCALL_EXIT_OK : output_out_of_memory();
}

RollcallExit wait_count_run(const Options *options) {
        _cleanup_(gatherer_done) Gatherer gatherer = { 0 };
        RollcallExit status = gatherer_init(&gatherer, options);

        return status == ROLLCALL_EXIT_OK ? gather(&gatherer) : status;
}
