/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall release`: knows that a name may have several holders, of whom one is to be meant: it looks first and then
 * takes the name from exactly that scope.
 *
 * The trap: a node that is alive sees its connection close, and registers again two seconds later. */

#include "release.h"

#include <stdio.h>

#include "ask.h"
#include "complaint.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "target.h"
#include "util.h"

static RollcallExit ask_holders(const char *control, const Target *target, Answer *ret) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };

        control_put_request_begin(&request, CONTROL_WHY);
        target_put_name(&request, target);
        control_put_request_end(&request);
        return ask(control, &request, ASK_PATIENCE_SEC, ret);
}

static RollcallExit complain_many(const Row *one, const Row *other) {
        _cleanup_(freep) char *name = row_text(one, ROW_NAME);
        _cleanup_(freep) char *scope = row_text(one, ROW_SCOPE), *other_scope = row_text(other, ROW_SCOPE);

        if (!name || !scope || !other_scope)
                return output_out_of_memory();
        complaint_print("several nodes are named %s: say which, for example %s@%s or %s@%s", name, name, scope, name,
                        other_scope);
        return ROLLCALL_EXIT_NO;
}

/* The one who is meant, borrowed from the answer. */
static RollcallExit find_holder(const Answer *answer, const Target *target, Row *ret) {
        size_t position = 0, n_found = 0;
        Record record;
        Row row;

        while (answer_next_record(answer, &position, &record)) {
                row_read(&record, &row);
                if (record.kind != CONTROL_NODE_RECORD || !target_fits(target, &row))
                        continue;
                if (n_found++ > 0)
                        return complain_many(ret, &row);
                *ret = row;
        }
        if (n_found > 0)
                return ROLLCALL_EXIT_OK;
        complaint_print("no node named %s is registered", target->text);
        return ROLLCALL_EXIT_NO;
}

static RollcallExit give_order(const char *control, const Target *target, const Row *holder, Answer *ret) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(connection_done) Connection connection = CONNECTION_NONE;
        const ControlField *scope = &holder->texts[ROW_SCOPE];
        RollcallExit status;
        int r;

        control_put_request_begin(&request, CONTROL_RELEASE);
        target_put_name(&request, target);
        if (scope->value)
                control_put_text(&request, CONTROL_TAG_SCOPE, (const char *)scope->value, scope->n_value);
        control_put_request_end(&request);
        status = ask_open(control, &connection);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        r = ask_over(&connection, &request, ASK_DISK_PATIENCE_SEC, ret);
        if (r < 0)
                return ask_complain_read(&connection, r, ASK_DISK_PATIENCE_SEC);
        if (ret->refusal != 0)
                status = ask_complain_answer(connection.place, ret);
        return ret->refusal == CONTROL_E_DENIED ? ROLLCALL_EXIT_NO : status;
}

static RollcallExit tell_done(const Options *options, const Row *holder) {
        _cleanup_(freep) char *name = sentence_name(holder);
        _cleanup_(freep) char *who = sentence_who(holder);
        _cleanup_(freep) char *where = sentence_where(holder);

        if (options->is_quiet)
                return ROLLCALL_EXIT_OK;
        if (options->is_json)
                return output_json(row_to_json(holder));
        printf("%s is released; it was held by %s, %s\n", name ? name : "", who ? who : "", where ? where : "");
        puts("A node that is alive registers again by itself, after 2 s: end it, or reserve the name, if that is not "
             "wanted.");
        return output_finish();
}

RollcallExit release_run(const Options *options) {
        _cleanup_(answer_done) Answer answer = { 0 }, done = { 0 };
        Target target;
        Row holder = { 0 };
        RollcallExit status = target_parse(options->words[1], &target);

        if (status == ROLLCALL_EXIT_OK)
                status = ask_holders(options->control, &target, &answer);
        if (status == ROLLCALL_EXIT_OK)
                status = find_holder(&answer, &target, &holder);
        if (status == ROLLCALL_EXIT_OK)
                status = give_order(options->control, &target, &holder, &done);
        return status == ROLLCALL_EXIT_OK ? tell_done(options, &holder) : status;
}
