/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall names`: who is registered. Knows which columns there are, and that helpers are left out; the order is
 * that of the names. */

#include "names.h"

#include <libsmartcols.h>
#include <stdio.h>

#include "ask.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "table.h"
#include "util.h"

static const TableColumn columns[] = {
        { "NAME", 0, table_name },
        { "PORT", SCOLS_FL_RIGHT, table_port },
        { "STATE", 0, table_state },
        { "SOURCE", 0, table_state_source },
        { "TYPE", 0, table_type },
        { "SCOPE", 0, table_scope },
        { "SINCE", 0, table_since },
        { "USER", 0, table_user },
        { "PID", SCOLS_FL_RIGHT, table_unit_pid },
        { "HOST", SCOLS_FL_TRUNC, table_host },
        { "UNIT", SCOLS_FL_TRUNC, table_unit },
};

/* 0 or -ENOMEM. */
static int read_nodes(const Answer *answer, bool with_helpers, Rows *ret, size_t *ret_n_helpers) {
        size_t position = 0;
        Record record;
        Row row;

        while (answer_next_record(answer, &position, &record)) {
                if (record.kind != CONTROL_NODE_RECORD)
                        continue;
                row_read(&record, &row);
                if (row.numbers[ROW_HELPER] != 0 && !with_helpers)
                        ++*ret_n_helpers;
                else if (rows_add(ret, &row) < 0)
                        return -ENOMEM;
        }
        rows_sort_by_name(ret);
        return 0;
}

/* Below the table, but not of it: whoever reads lines is not to take it for a node. */
static void tell_of_helpers(size_t n_helpers) {
        if (n_helpers > 0)
                fprintf(stderr, "%zu %s of tools not shown (--all shows all)\n", n_helpers,
                        n_helpers == 1 ? "node" : "nodes");
}

RollcallExit names_run(const Options *options) {
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(rows_done) Rows rows = { 0 };
        RollcallExit status = ask_kind(options->control, CONTROL_NAMES, &answer);
        size_t n_helpers = 0;

        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (read_nodes(&answer, options->is_all, &rows, &n_helpers) < 0)
                return output_out_of_memory();
        if (options->is_json)
                return output_json(rows_to_json(&rows, row_to_json));
        status = table_print(columns, ELEMENTS(columns), &rows);
        tell_of_helpers(n_helpers);
        return status;
}
