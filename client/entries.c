/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall add`, `remove`, `entries`: knows how a static entry is written and shown. What follows from one is the
 * daemon's.
 *
 * The trap: an entry is not a node. One whose node does not listen is shown here and nowhere else, and the reason must
 * not be taken for a line of the table. */

#include "entries.h"

#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>

#include "complaint.h"
#include "core/node.h"
#include "order.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "table.h"
#include "util.h"

static char *cell_address(const Row *row) {
        _cleanup_(freep) char *address = row_text(row, ROW_ADDRESS);

        return table_word(address);
}

static const TableColumn columns[] = {
        { "NAME", 0, table_name },
        { "PORT", SCOLS_FL_RIGHT, table_port },
        { "STATE", 0, table_state },
        { "ADDRESS", 0, cell_address },
        { "HOST", SCOLS_FL_TRUNC, table_host },
        { "SINCE", 0, table_since },
        { "BY", SCOLS_FL_TRUNC, table_by },
};

/* --- what came back --------------------------------------------------------------------------- */

static int read_entries(const Answer *answer, Rows *ret) {
        size_t position = 0;
        Record record;
        Row row;

        while (answer_next_record(answer, &position, &record)) {
                row_read(&record, &row);
                if (record.kind == CONTROL_ENTRY_RECORD && rows_add(ret, &row) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static const char *state_in_words(const Row *row) {
        if (row_text_is(row, ROW_STATE, "up"))
                return "it listens";
        if (row_text_is(row, ROW_STATE, "elsewhere"))
                return "it is on another machine";
        return row_text_is(row, ROW_STATE, "shadowed") ? "another node has the name" : "it is not there now";
}

static void print_done(const Row *row, const char *what) {
        _cleanup_(freep) char *name = sentence_name(row), *address = row_text(row, ROW_ADDRESS);
        _cleanup_(freep) char *reason = row_text(row, ROW_REASON);

        printf("%s at port %u of %s %s: %s%s%s\n", name ? name : "", (unsigned)row->numbers[ROW_PORT],
               !address || strcmp(address, "*") == 0 ? "this machine" : address, what, state_in_words(row),
               reason ? ", " : "", reason ? reason : "");
}

static RollcallExit tell_done(const Options *options, const Answer *answer, const char *what) {
        _cleanup_(rows_done) Rows rows = { 0 };

        if (options->is_quiet)
                return ROLLCALL_EXIT_OK;
        if (read_entries(answer, &rows) < 0)
                return output_out_of_memory();
        if (options->is_json)
                return output_json(rows.n_rows > 0 ? row_entry_to_json(rows.rows) : json_object());
        if (rows.n_rows > 0)
                print_done(rows.rows, what);
        return output_finish();
}

/* --- orders ----------------------------------------------------------------------------------- */

static RollcallExit parse_address(const char *text, Address *ret) {
        *ret = ADDRESS_ANY;
        if (!text || address_parse(text, ret) == 0)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%s' is no address; write one, or *", text);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit parse_host(const char *text) {
        if (!text || node_host_is_valid(text, strlen(text)))
                return ROLLCALL_EXIT_OK;
        complaint_print("'%s' cannot be the host part of a node's name", text);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit parse_add(const Options *options, Target *ret_target, Address *ret_address, uint16_t *ret_port) {
        RollcallExit status = order_parse_name(options->words[1], ret_target);

        if (status == ROLLCALL_EXIT_OK && !options->port) {
                complaint_print("at which port? rollcall add NAME --port PORT");
                return ROLLCALL_EXIT_USAGE;
        }
        if (status == ROLLCALL_EXIT_OK)
                status = order_parse_port(options->port, ret_port);
        if (status == ROLLCALL_EXIT_OK)
                status = parse_address(options->address, ret_address);
        return status == ROLLCALL_EXIT_OK ? parse_host(options->host_part) : status;
}

RollcallExit entries_run_add(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(answer_done) Answer answer = { 0 };
        char text[ADDRESS_TEXT_MAX];
        uint16_t port = 0;
        Address address;
        Target target;
        RollcallExit status = parse_add(options, &target, &address, &port);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        control_put_request_begin(&request, CONTROL_ADD);
        target_put_name(&request, &target);
        control_put_u16(&request, CONTROL_TAG_PORT, port);
        control_put_string(&request, CONTROL_TAG_ADDRESS, address_format(&address, text));
        if (options->host_part)
                control_put_string(&request, CONTROL_TAG_HOST, options->host_part);
        control_put_request_end(&request);
        status = order_give(options->control, &request, &answer);
        return status == ROLLCALL_EXIT_OK ? tell_done(options, &answer, "is entered") : status;
}

RollcallExit entries_run_remove(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(answer_done) Answer answer = { 0 };
        Target target;
        RollcallExit status = target_parse(options->words[1], &target);

        if (status == ROLLCALL_EXIT_OK && target.host && !target.has_address) {
                complaint_print("'%s' has no address behind its @", target.text);
                return ROLLCALL_EXIT_USAGE;
        }
        if (status != ROLLCALL_EXIT_OK)
                return status;
        control_put_request_begin(&request, CONTROL_REMOVE);
        target_put_name(&request, &target);
        if (target.has_address)
                control_put_string(&request, CONTROL_TAG_ADDRESS, target.address_text);
        control_put_request_end(&request);
        status = order_give(options->control, &request, &answer);
        return status == ROLLCALL_EXIT_OK ? tell_done(options, &answer, "was removed") : status;
}

/* --- all -------------------------------------------------------------------------------------- */

static void tell_reasons(const Rows *rows) {
        for (size_t i = 0; i < rows->n_rows; i++) {
                _cleanup_(freep) char *name = row_text(rows->rows + i, ROW_NAME);
                _cleanup_(freep) char *reason = row_text(rows->rows + i, ROW_REASON);

                if (name && reason)
                        fprintf(stderr, "%s: %s\n", name, reason);
        }
}

RollcallExit entries_run(const Options *options) {
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(rows_done) Rows rows = { 0 };
        RollcallExit status = ask_kind(options->control, CONTROL_ENTRIES, &answer);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (read_entries(&answer, &rows) < 0)
                return output_out_of_memory();
        if (options->is_json)
                return output_json(rows_to_json(&rows, row_entry_to_json));
        status = table_print(columns, ELEMENTS(columns), &rows);
        tell_reasons(&rows);
        return status;
}
