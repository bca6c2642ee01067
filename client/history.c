/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall history` and `rollcall at`: knows how the past is asked for, piece by piece, and its columns. Who is
 * registered at this moment belongs to it: nobody has to look in two places. Helpers are left out as by `rollcall names`,
 * lest they crowd out the nodes; one that is asked for by its name is not.
 *
 * The trap: rows borrow from the answers, so that all of those are kept until the last is printed. */

#include "history.h"

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "complaint.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "table.h"
#include "target.h"
#include "times.h"
#include "util.h"

#define LIMIT_DEFAULT 100

typedef struct Past {
        Rows rows;
        Answer *answers; /* owned */
        size_t n_answers;
        size_t n_helpers; /* left out, of those that were told */
        bool is_cut;      /* there is more than was wanted */
} Past;

static void past_done(Past *past) {
        rows_done(&past->rows);
        for (size_t i = 0; i < past->n_answers; i++)
                answer_done(&past->answers[i]);
        free(past->answers);
}

typedef struct Question {
        ControlKind kind;
        const Target *target; /* or NULL: everybody */
        uint64_t since_usec, until_usec, at_usec;
        bool has_since, has_until, has_at;
        bool with_helpers;
        size_t limit; /* 0: all */
} Question;

/* --- asking ----------------------------------------------------------------------------------- */

static void put_question(ControlBuffer *request, const Question *question, uint64_t cursor) {
        control_put_request_begin(request, question->kind);
        if (question->target)
                target_put_name(request, question->target);
        if (question->has_since)
                control_put_u64(request, CONTROL_TAG_SINCE, question->since_usec);
        if (question->has_until)
                control_put_u64(request, CONTROL_TAG_UNTIL, question->until_usec);
        if (question->has_at)
                control_put_u64(request, CONTROL_TAG_AT, question->at_usec);
        if (cursor != 0)
                control_put_u64(request, CONTROL_TAG_CURSOR, cursor);
        control_put_request_end(request);
}

/* 0 or -ENOMEM. */
static int past_add_row(Past *past, const Question *question, const Row *row) {
        if (question->target && !target_fits(question->target, row))
                return 0;
        if (!question->target && !question->with_helpers && row->numbers[ROW_HELPER] != 0) {
                past->n_helpers++;
                return 0;
        }
        if (question->limit == 0 || past->rows.n_rows < question->limit)
                return rows_add(&past->rows, row);
        past->is_cut = true;
        return 0;
}

/* Takes `answer` on success. `*ret_cursor` is 0 where there is no more. */
static int past_add(Past *past, const Question *question, const Answer *answer, uint64_t *ret_cursor) {
        Answer *answers = reallocarray(past->answers, past->n_answers + 1, sizeof(*answers));
        size_t position = 0;
        Record record;
        Row row;

        if (!answers)
                return -ENOMEM;
        past->answers = answers;
        *ret_cursor = 0;
        while (answer_next_record(answer, &position, &record)) {
                row_read(&record, &row);
                if (record.kind == CONTROL_MORE_RECORD)
                        *ret_cursor = row.numbers[ROW_CURSOR];
                if ((record.kind == CONTROL_NODE_RECORD || record.kind == CONTROL_TENURE_RECORD) &&
                    past_add_row(past, question, &row) < 0)
                        return -ENOMEM;
        }
        past->answers[past->n_answers++] = *answer;
        return 0;
}

static bool has_enough(const Past *past, const Question *question) {
        return question->limit > 0 && past->rows.n_rows >= question->limit;
}

static RollcallExit ask_past(const char *control, const Question *question, Past *past) {
        uint64_t cursor = 0;

        do {
                _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
                _cleanup_(answer_done) Answer answer = { 0 };
                RollcallExit status;

                put_question(&request, question, cursor);
                status = ask(control, &request, ASK_DISK_PATIENCE_SEC, &answer);
                if (status != ROLLCALL_EXIT_OK)
                        return status;
                if (past_add(past, question, &answer, &cursor) < 0)
                        return output_out_of_memory();
                answer = (Answer){ 0 };
                if (cursor != 0 && has_enough(past, question))
                        past->is_cut = true;
        } while (cursor != 0 && !past->is_cut);
        return ROLLCALL_EXIT_OK;
}

/* --- showing ---------------------------------------------------------------------------------- */

static char *cell_until(const Row *row) {
        return row->has_number[ROW_UNTIL_USEC] ? table_time(row->numbers[ROW_UNTIL_USEC]) : strdup("now");
}

static char *cell_how(const Row *row) {
        _cleanup_(freep) char *how = row_text(row, ROW_HOW);

        return table_word(how);
}

static const TableColumn columns[] = {
        { "NAME", 0, table_name },
        { "PORT", SCOLS_FL_RIGHT, table_port },
        { "SINCE", 0, table_since },
        { "UNTIL", 0, cell_until },
        { "HOW", 0, cell_how },
        { "BY", 0, table_by },
        { "TYPE", 0, table_type },
        { "SCOPE", 0, table_scope },
        { "USER", 0, table_user },
        { "HOST", SCOLS_FL_TRUNC, table_host },
        { "UNIT", SCOLS_FL_TRUNC, table_unit },
};

static RollcallExit show(const Past *past, const Options *options) {
        RollcallExit status;

        if (options->is_json)
                return output_json(rows_to_json(&past->rows, row_tenure_to_json));
        status = table_print(columns, ELEMENTS(columns), &past->rows);
        if (past->is_cut)
                fprintf(stderr, "only the newest %zu (--limit 0 shows all)\n", past->rows.n_rows);
        if (past->n_helpers > 0)
                fprintf(stderr, "nodes of tools are not shown (--all shows all)\n");
        return status;
}

/* --- the command line ------------------------------------------------------------------------- */

static RollcallExit parse_time(const char *text, bool is_utc, uint64_t *ret) {
        int r = times_parse(text, now_usec(CLOCK_REALTIME), is_utc, ret);

        if (r == 0)
                return ROLLCALL_EXIT_OK;
        if (r == -ERANGE)
                complaint_print("'%s' is before 1970", text);
        else
                complaint_print("'%s' is no time; write 13:30, '2026-11-21 13:30', -2h, yesterday or @1795266600",
                                text);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit parse_limit(const char *text, size_t *ret) {
        char *end;
        unsigned long value;

        errno = 0;
        value = strtoul(text, &end, 10);
        if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0') {
                complaint_print("'%s' is no number of rows", text);
                return ROLLCALL_EXIT_USAGE;
        }
        *ret = value;
        return ROLLCALL_EXIT_OK;
}

static RollcallExit parse_question(const Options *options, Question *question) {
        RollcallExit status = ROLLCALL_EXIT_OK;

        if (options->since) {
                question->has_since = true;
                status = parse_time(options->since, options->is_utc, &question->since_usec);
        }
        if (status == ROLLCALL_EXIT_OK && options->until) {
                question->has_until = true;
                status = parse_time(options->until, options->is_utc, &question->until_usec);
        }
        if (status == ROLLCALL_EXIT_OK && options->limit)
                status = parse_limit(options->limit, &question->limit);
        if (status == ROLLCALL_EXIT_OK && question->has_since && question->has_until &&
            question->since_usec > question->until_usec) {
                complaint_print("--since %s is after --until %s", options->since, options->until);
                status = ROLLCALL_EXIT_USAGE;
        }
        return status;
}

/* What is shown in local time is then in UTC. */
static void use_utc(const Options *options) {
        if (options->is_utc) {
                setenv("TZ", "UTC0", 1);
                tzset();
        }
}

RollcallExit history_run(const Options *options) {
        _cleanup_(past_done) Past past = { 0 };
        Question question = { .kind = CONTROL_HISTORY, .limit = LIMIT_DEFAULT, .with_helpers = options->is_all };
        RollcallExit status = parse_question(options, &question);
        Target target;

        if (status == ROLLCALL_EXIT_OK && options->words[1]) {
                status = target_parse(options->words[1], &target);
                question.target = &target;
        }
        if (status != ROLLCALL_EXIT_OK)
                return status;
        status = ask_past(options->control, &question, &past);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        use_utc(options);
        return show(&past, options);
}

RollcallExit history_run_at(const Options *options) {
        _cleanup_(past_done) Past past = { 0 };
        Question question = { .kind = CONTROL_AT, .has_at = true, .with_helpers = options->is_all };
        RollcallExit status = parse_time(options->words[1], options->is_utc, &question.at_usec);

        if (status == ROLLCALL_EXIT_OK && question.at_usec > now_usec(CLOCK_REALTIME)) {
                complaint_print("'%s' is still to come", options->words[1]);
                status = ROLLCALL_EXIT_USAGE;
        }
        if (status == ROLLCALL_EXIT_OK)
                status = ask_past(options->control, &question, &past);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        rows_sort_by_name(&past.rows);
        use_utc(options);
        return show(&past, options);
}
