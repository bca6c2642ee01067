/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall why`: knows what somebody wants to know who meets a name that is taken, or one that is gone. The words for
 * each fact are sentence.c's.
 *
 * The trap: a name can have several holders, each on an address of its own. */

#include "why.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "target.h"
#include "text.h"
#include "util.h"

typedef struct Findings {
        Rows holders;
        Rows others; /* nodes of that name who are not meant: another address, another host */
        Rows entries; /* static entries of that name */
        Row former, refusal;
        bool has_former, has_refusal;
} Findings;

static void findings_done(Findings *findings) {
        rows_done(&findings->holders);
        rows_done(&findings->others);
        rows_done(&findings->entries);
}

static int read_answer(const Answer *answer, const Target *target, Findings *ret) {
        size_t position = 0;
        Record record;
        Row row;

        while (answer_next_record(answer, &position, &record)) {
                row_read(&record, &row);
                if (record.kind == CONTROL_NODE_RECORD) {
                        if (rows_add(target_fits(target, &row) ? &ret->holders : &ret->others, &row) < 0)
                                return -ENOMEM;
                } else if (record.kind == CONTROL_TENURE_RECORD) {
                        ret->former = row;
                        ret->has_former = true;
                } else if (record.kind == CONTROL_REFUSAL_RECORD) {
                        ret->refusal = row;
                        ret->has_refusal = true;
                } else if (record.kind == CONTROL_ENTRY_RECORD && rows_add(&ret->entries, &row) < 0) {
                        return -ENOMEM;
                }
        }
        rows_sort_by_name(&ret->holders);
        rows_sort_by_name(&ret->others);
        return 0;
}

/* --- in prose --------------------------------------------------------------------------------- */

/* Takes `text`; what could not be had is left out. */
static void print_line(const char *label, char *text) {
        if (text)
                printf("  %-13s%s\n", label, text);
        free(text);
}

PRINTF_LIKE(2, 3) static void print_fact(const char *label, const char *format, ...) {
        va_list arguments;
        char *text;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) >= 0)
                print_line(label, text);
        va_end(arguments);
}

static void print_state(const Row *row, uint64_t now) {
        _cleanup_(freep) char *state = sentence_state(row);
        _cleanup_(freep) char *when = NULL;

        if (row->has_number[ROW_STATE_SINCE_USEC])
                when = sentence_when(row->numbers[ROW_STATE_SINCE_USEC], now);
        print_fact("state", "%s%s%s", state ? state : "", when ? ", since " : "", when ? when : "");
}

static void print_connection(const Row *row) {
        bool is_stored = row->numbers[ROW_IN_FD_STORE] != 0;

        if (row_text_is(row, ROW_NODE_ORIGIN, "static"))
                return;
        if (is_stored)
                print_fact("connection", "is also in systemd's fd store: a restart of rollcalld does not touch it");
        else if (!row_text_is(row, ROW_STATE, "awaited"))
                print_fact("connection", "is not in systemd's fd store: after a restart of rollcalld it is made anew");
}

static void print_orders(const Row *row) {
        uint64_t pinned = row->numbers[ROW_PINNED_PORT];

        if (row_text_is(row, ROW_NODE_ORIGIN, "static"))
                print_fact("origin", "a static entry (rollcall entries): it has not registered");
        if (pinned != 0 && pinned != row->numbers[ROW_PORT])
                print_fact("pinned", "its name has port %u for good, at which it does not listen", (unsigned)pinned);
        else if (pinned != 0)
                print_fact("pinned", "to this port");
}

static void print_pairs(const Row *row) {
        ControlField key, value;
        size_t offset = 0;

        while (row_next_pair(row, &offset, &key, &value)) {
                _cleanup_(freep) char *key_text = text_for_people(key.value, key.n_value);
                _cleanup_(freep) char *value_text = text_for_people(value.value, value.n_value);

                print_fact("told", "%s=%s", key_text ? key_text : "", value_text ? value_text : "");
        }
}

static void print_holder(const Row *row, uint64_t now) {
        _cleanup_(freep) char *name = sentence_name(row);
        _cleanup_(freep) char *who = sentence_who(row);

        printf("%s is held by %s\n", name ? name : "", who ? who : "");
        print_line("since", sentence_when(row->numbers[ROW_SINCE_USEC], now));
        print_line("listens", sentence_where(row));
        print_state(row, now);
        print_line("alive", sentence_evidence(row));
        print_connection(row);
        print_orders(row);
        print_pairs(row);
}

static void print_former(const Row *row, uint64_t now) {
        _cleanup_(freep) char *how = sentence_how(row);
        _cleanup_(freep) char *by = sentence_by(row);

        print_line("last held", sentence_who(row));
        print_line("listened", sentence_where(row));
        print_line("from", sentence_when(row->numbers[ROW_SINCE_USEC], now));
        if (row->has_number[ROW_UNTIL_USEC])
                print_line("until", sentence_when(row->numbers[ROW_UNTIL_USEC], now));
        print_fact("ended", "%s%s%s", how ? how : "", by ? ": " : "", by ? by : "");
}

static void print_refusal(const Row *row, uint64_t now) {
        _cleanup_(freep) char *who = sentence_who(row);
        _cleanup_(freep) char *reason = sentence_reason(row);

        print_line("last refused", sentence_when(row->numbers[ROW_AT_USEC], now));
        print_fact("to", "%s, with port %u", who ? who : "", (unsigned)row->numbers[ROW_PORT]);
        print_fact("because", "%s", reason ? reason : "");
}

static void print_nobody(const Findings *findings, const Target *target, uint64_t now) {
        _cleanup_(freep) char *name = text_for_people((const uint8_t *)target->text, strlen(target->text));

        if (findings->others.n_rows > 0)
                printf("%s is not registered, but:\n", name ? name : "");
        else if (findings->has_former)
                printf("%s is free\n", name ? name : "");
        else
                printf("%s is free, and nobody is known to have had the name before\n", name ? name : "");
        for (size_t i = 0; i < findings->others.n_rows; i++)
                print_holder(&findings->others.rows[i], now);
        if (findings->has_former)
                print_former(&findings->former, now);
}

/* Of one that is up its node tells. */
static void print_idle_entry(const Row *row) {
        _cleanup_(freep) char *address = row_text(row, ROW_ADDRESS), *state = row_text(row, ROW_STATE);
        _cleanup_(freep) char *reason = row_text(row, ROW_REASON), *by = row_text(row, ROW_BY);

        if (!row_text_is(row, ROW_STATE, "down") && !row_text_is(row, ROW_STATE, "shadowed"))
                return;
        print_fact("static entry", "port %u of %s, by %s", (unsigned)row->numbers[ROW_PORT],
                   !address || strcmp(address, "*") == 0 ? "this machine" : address, by ? by : "");
        print_fact("which is", "%s%s%s", state ? state : "", reason ? ": " : "", reason ? reason : "");
}

static void print_findings(const Findings *findings, const Target *target) {
        uint64_t now = now_usec(CLOCK_REALTIME);

        for (size_t i = 0; i < findings->holders.n_rows; i++)
                print_holder(&findings->holders.rows[i], now);
        if (findings->holders.n_rows == 0)
                print_nobody(findings, target, now);
        for (size_t i = 0; i < findings->entries.n_rows; i++)
                print_idle_entry(&findings->entries.rows[i]);
        if (findings->has_refusal)
                print_refusal(&findings->refusal, now);
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static json_t *findings_to_json(const Findings *findings, const Target *target) {
        return json_pack("{s:s%, s:o, s:o, s:o, s:o}",
                         "name", target->name, target->n_name,
                         "holders", rows_to_json(&findings->holders, row_holder_to_json),
                         "last_holder",
                         findings->has_former ? row_tenure_to_json(&findings->former) : json_null(),
                         "last_refusal",
                         findings->has_refusal ? row_refusal_to_json(&findings->refusal) : json_null(),
                         "entries", rows_to_json(&findings->entries, row_entry_to_json));
}

/* ---------------------------------------------------------------------------------------------- */

RollcallExit why_run(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(findings_done) Findings findings = { 0 };
        Target target;
        RollcallExit status = target_parse(options->words[1], &target);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        control_put_request_begin(&request, CONTROL_WHY);
        target_put_name(&request, &target);
        control_put_request_end(&request);
        status = ask(options->control, &request, ASK_PATIENCE_SEC, &answer);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (read_answer(&answer, &target, &findings) < 0)
                return output_out_of_memory();
        if (!options->is_json)
                print_findings(&findings, &target);
        status = options->is_json ? output_json(findings_to_json(&findings, &target)) : output_finish();
        if (status == ROLLCALL_EXIT_OK && findings.holders.n_rows == 0)
                return ROLLCALL_EXIT_NO;
        return status;
}
