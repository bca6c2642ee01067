/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall pin`, `unpin`, `pins`: knows how pinned ports are shown, to people and to nftables.
 *
 * The trap: a set of nftables belongs to its table, and what is added to one stays in it. So the set is named with its
 * table, emptied and filled by one file, which is loaded as a whole or not at all. */

#include "pins.h"

#include <ctype.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>

#include "complaint.h"
#include "order.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "table.h"
#include "util.h"

#define NFT_SET "inet filter rollcall_ports"
#define NFT_COMMENT_MAX 100 /* nftables takes 128 */

static const TableColumn columns[] = {
        { "NAME", 0, table_name },
        { "PORT", SCOLS_FL_RIGHT, table_port },
        { "SINCE", 0, table_since },
        { "BY", 0, table_by },
};

static int read_pins(const Answer *answer, Rows *ret) {
        size_t position = 0;
        Record record;
        Row row;

        while (answer_next_record(answer, &position, &record)) {
                row_read(&record, &row);
                if (record.kind == CONTROL_PIN_RECORD && rows_add(ret, &row) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* --- orders ----------------------------------------------------------------------------------- */

static RollcallExit tell_done(const Options *options, const Answer *answer, const char *format) {
        _cleanup_(rows_done) Rows rows = { 0 };
        _cleanup_(freep) char *name = NULL;

        if (options->is_quiet)
                return ROLLCALL_EXIT_OK;
        if (read_pins(answer, &rows) < 0)
                return output_out_of_memory();
        if (options->is_json)
                return output_json(rows.n_rows > 0 ? row_pin_to_json(rows.rows) : json_object());
        if (rows.n_rows > 0) {
                name = row_text(rows.rows, ROW_NAME);
                printf("%s %s port %u\n", name ? name : "", format, (unsigned)rows.rows->numbers[ROW_PORT]);
        }
        return output_finish();
}

RollcallExit pins_run_pin(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(answer_done) Answer answer = { 0 };
        uint16_t port = 0;
        Target target;
        RollcallExit status = order_parse_name(options->words[1], &target);

        if (status == ROLLCALL_EXIT_OK)
                status = order_parse_port(options->words[2], &port);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        control_put_request_begin(&request, CONTROL_PIN);
        target_put_name(&request, &target);
        control_put_u16(&request, CONTROL_TAG_PORT, port);
        control_put_request_end(&request);
        status = order_give(options->control, &request, &answer);
        return status == ROLLCALL_EXIT_OK ? tell_done(options, &answer, "is pinned to") : status;
}

RollcallExit pins_run_unpin(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(answer_done) Answer answer = { 0 };
        Target target;
        RollcallExit status = order_parse_name(options->words[1], &target);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        control_put_request_begin(&request, CONTROL_UNPIN);
        target_put_name(&request, &target);
        control_put_request_end(&request);
        status = order_give(options->control, &request, &answer);
        return status == ROLLCALL_EXIT_OK ? tell_done(options, &answer, "is not pinned any more to") : status;
}

/* --- all -------------------------------------------------------------------------------------- */

/* In a comment between quotation marks only what cannot end it. */
static bool is_plain(const ControlField *name) {
        if (name->n_value == 0 || name->n_value > NFT_COMMENT_MAX)
                return false;
        for (size_t i = 0; i < name->n_value; i++)
                if (!isascii(name->value[i]) || (!isalnum(name->value[i]) && !strchr("._-", name->value[i])))
                        return false;
        return true;
}

static void print_nft_element(const Row *row, bool is_first) {
        const ControlField *name = &row->texts[ROW_NAME];

        printf("%s\n        %u", is_first ? "" : ",", (unsigned)row->numbers[ROW_PORT]);
        if (is_plain(name))
                printf(" comment \"%.*s\"", (int)name->n_value, (const char *)name->value);
}

static RollcallExit print_nft(const Rows *rows) {
        puts("# Ports that names are pinned to: rollcall pins --nft | nft -f -\n"
             "# The rule that lets them in, for a chain of this table:  tcp dport @rollcall_ports accept\n"
             "table inet filter {\n"
             "        set rollcall_ports {\n"
             "                type inet_service\n"
             "        }\n"
             "}\n"
             "flush set " NFT_SET);
        if (rows->n_rows > 0) {
                printf("add element " NFT_SET " {");
                for (size_t i = 0; i < rows->n_rows; i++)
                        print_nft_element(rows->rows + i, i == 0);
                puts("\n}");
        }
        return output_finish();
}

RollcallExit pins_run(const Options *options) {
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(rows_done) Rows rows = { 0 };
        RollcallExit status;

        if (options->is_nft && options->is_json) {
                complaint_print("--nft and --json exclude each other");
                return ROLLCALL_EXIT_USAGE;
        }
        status = ask_kind(options->control, CONTROL_PINS, &answer);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (read_pins(&answer, &rows) < 0)
                return output_out_of_memory();
        if (options->is_json)
                return output_json(rows_to_json(&rows, row_pin_to_json));
        return options->is_nft ? print_nft(&rows) : table_print(columns, ELEMENTS(columns), &rows);
}
