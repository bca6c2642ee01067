/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall watch`: knows how changes are shown, one line each. */

#include "watch.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "complaint.h"
#include "follow.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "target.h"
#include "text.h"
#include "util.h"

static RollcallExit complain_too_much(void) {
        complaint_print("watch takes a NAME or a --prefix, not both");
        return ROLLCALL_EXIT_USAGE;
}

/* --- lines ------------------------------------------------------------------------------------ */

static RollcallExit print_node(const Row *row) {
        _cleanup_(freep) char *name = sentence_name(row);
        _cleanup_(freep) char *state = sentence_state(row);
        _cleanup_(freep) char *where = sentence_where(row);
        _cleanup_(freep) char *who = sentence_who(row);
        uint64_t usec = row->numbers[row->has_number[ROW_STATE_SINCE_USEC] ? ROW_STATE_SINCE_USEC : ROW_SINCE_USEC];
        char when[TEXT_TIME_MAX];

        printf("%s %s is %s: %s, %s\n", text_time_local(usec, when), name ? name : "", state ? state : "",
               where ? where : "", who ? who : "");
        return output_finish();
}

static RollcallExit print_gone(const Row *row) {
        _cleanup_(freep) char *name = sentence_name(row);
        _cleanup_(freep) char *how = sentence_how(row);
        _cleanup_(freep) char *by = sentence_by(row);
        char when[TEXT_TIME_MAX];

        printf("%s %s is gone: %s%s%s\n", text_time_local(row->numbers[ROW_UNTIL_USEC], when), name ? name : "",
               how ? how : "", by ? ": " : "", by ? by : "");
        return output_finish();
}

static RollcallExit print_record(const Row *row, size_t n_epochs) {
        if (row->kind == CONTROL_NODE_RECORD)
                return print_node(row);
        if (row->kind == CONTROL_GONE_RECORD)
                return print_gone(row);
        if (row->kind == CONTROL_EPOCH_RECORD && n_epochs > 1) {
                puts("Changes were missed, as when rollcalld is restarted. These are all there are:");
                return output_finish();
        }
        return ROLLCALL_EXIT_OK;
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static json_t *number_to_json(const Row *row, RowNumber number) {
        return row->has_number[number] ? json_integer((json_int_t)row->numbers[number]) : json_null();
}

/* An event's own keys come first. */
static json_t *event_to_json(const char *event, const Row *row, json_t *more) {
        json_t *object = json_pack("{s:s, s:o}", "event", event, "revision", number_to_json(row, ROW_REVISION));

        if (object && more)
                json_object_update(object, more);
        json_decref(more);
        return object;
}

static RollcallExit print_json(const Row *row) {
        if (row->kind == CONTROL_NODE_RECORD)
                return output_json_line(event_to_json("node", row, row_to_json(row)));
        if (row->kind == CONTROL_GONE_RECORD)
                return output_json_line(event_to_json("gone", row, row_tenure_to_json(row)));
        if (row->kind == CONTROL_SYNCED_RECORD)
                return output_json_line(event_to_json("synced", row, NULL));
        if (row->kind == CONTROL_EPOCH_RECORD)
                return output_json_line(
                        event_to_json("epoch", row, json_pack("{s:o}", "epoch", number_to_json(row, ROW_EPOCH))));
        return ROLLCALL_EXIT_OK;
}

/* ---------------------------------------------------------------------------------------------- */

static bool is_of_interest(const Row *row, const Target *target) {
        bool is_of_node = row->kind == CONTROL_NODE_RECORD || row->kind == CONTROL_GONE_RECORD;

        return !target || !is_of_node || target_fits(target, row);
}

static RollcallExit watch(Follow *follow, const Options *options, const Target *target) {
        RollcallExit status = ROLLCALL_EXIT_OK;
        size_t n_epochs = 0;
        Record record;
        Row row;

        while (status == ROLLCALL_EXIT_OK) {
                if (follow_next(follow, USEC_INFINITE, &record, &status) < 0)
                        return status;
                row_read(&record, &row);
                n_epochs += record.kind == CONTROL_EPOCH_RECORD;
                if (is_of_interest(&row, target))
                        status = options->is_json ? print_json(&row) : print_record(&row, n_epochs);
        }
        return status;
}

RollcallExit watch_run(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(follow_done) Follow follow = { .connection = CONNECTION_NONE };
        RollcallExit status = ROLLCALL_EXIT_OK;
        bool has_target = options->words[1] != NULL;
        Target target;

        if (has_target && options->prefix)
                return complain_too_much();
        if (has_target)
                status = target_parse(options->words[1], &target);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        follow_put_request_begin(&request);
        if (has_target)
                target_put_name(&request, &target);
        if (options->prefix)
                control_put_text(&request, CONTROL_TAG_PREFIX, options->prefix, strlen(options->prefix));
        control_put_request_end(&request);
        status = follow_begin(&follow, options->control, &request);
        return status == ROLLCALL_EXIT_OK ? watch(&follow, options, has_target ? &target : NULL) : status;
}
