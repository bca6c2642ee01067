/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall watch`: knows how changes are shown, one line each but for those of which a line shows nothing, and what is
 * said of a machine that is away. How machines are asked, and asked again, is line.c's.
 *
 * The trap: one NAME, as it was from the beginning, is a node in whatever state, hidden or not, and what stands behind
 * its @ may be the address at which it listens (target.h). A pattern is about nodes that one would connect to. */

#include "watch.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complaint.h"
#include "crowd.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "shown.h"
#include "target.h"
#include "text.h"
#include "util.h"

/* What was said of one machine. */
typedef struct Said {
        size_t n_epochs;
        uint64_t revision; /* of the last SYNCED */
        bool is_synced;    /* ... and nothing since */
        bool is_away;
        bool is_stock;
        Shown shown; /* of its nodes */
} Said;

typedef struct Watcher {
        const Options *options;
        Choice choice;
        Target target; /* if has_target: the one NAME */
        bool has_target;
        bool has_machines; /* --at: it is said of which machine each is */
        LineManner manner;
        Crowd crowd;
        Said *said; /* owned; of each line */
} Watcher;

/* --- lines ------------------------------------------------------------------------------------ */

static char *name_of(const Watcher *watcher, const Row *row) {
        return watcher->has_machines ? row_full_name(row, text_for_people) : sentence_name(row);
}

/* Of another machine's processes mostly nothing is known. */
static char *who_of(const Watcher *watcher, const Row *row) {
        bool is_known = row->texts[ROW_UNIT].value || row->has_number[ROW_UID];
        _cleanup_(freep) char *who = NULL;
        char *text;

        if (!watcher->has_machines)
                return sentence_who(row);
        if (is_known)
                who = sentence_who(row);
        if (asprintf(&text, "%s%son %s", who ? who : "", who ? ", " : "", row->machine) < 0)
                return NULL;
        return text;
}

static uint64_t time_or_now(const Row *row, RowNumber number) {
        return row->has_number[number] ? row->numbers[number] : now_usec(CLOCK_REALTIME);
}

/* NULL on ENOMEM. */
static char *node_in_words(const Watcher *watcher, const Row *row) {
        _cleanup_(freep) char *name = name_of(watcher, row);
        _cleanup_(freep) char *state = row->is_by_stock ? strdup("registered") : sentence_state(row);
        _cleanup_(freep) char *where = sentence_where(row);
        _cleanup_(freep) char *who = who_of(watcher, row);
        _cleanup_(freep) char *pairs = sentence_pairs(row);
        char when[TEXT_TIME_MAX], *line;

        if (!name || !state || !where || !who || !pairs)
                return NULL;
        text_time_local(time_or_now(row, row->has_number[ROW_STATE_SINCE_USEC] ? ROW_STATE_SINCE_USEC : ROW_SINCE_USEC),
                        when);
        return asprintf(&line, "%s %s is %s: %s, %s%s%s", when, name, state, where, who, pairs[0] != '\0' ? ", " : "",
                        pairs) < 0 ? NULL : line;
}

static RollcallExit print_node(const Watcher *watcher, Said *said, const Row *row) {
        _cleanup_(freep) char *line = node_in_words(watcher, row);
        int r = line ? shown_learn(&said->shown, row, line) : -ENOMEM;

        if (r < 0)
                return output_out_of_memory();
        if (r > 0)
                return ROLLCALL_EXIT_OK;
        puts(line);
        return output_finish();
}

static RollcallExit print_gone(const Watcher *watcher, Said *said, const Row *row) {
        _cleanup_(freep) char *name = name_of(watcher, row);
        _cleanup_(freep) char *how = sentence_how(row);
        _cleanup_(freep) char *by = sentence_by(row);
        char when[TEXT_TIME_MAX];

        shown_forget(&said->shown, row);
        printf("%s %s is gone: %s%s%s%s%s\n", text_time_local(time_or_now(row, ROW_UNTIL_USEC), when), name ? name : "",
               how ? how : "", by ? ": " : "", by ? by : "", watcher->has_machines ? ", on " : "",
               watcher->has_machines ? row->machine : "");
        return output_finish();
}

static RollcallExit print_record(const Watcher *watcher, Said *said, const Row *row) {
        if (row->kind == CONTROL_NODE_RECORD)
                return print_node(watcher, said, row);
        if (row->kind == CONTROL_GONE_RECORD)
                return print_gone(watcher, said, row);
        if (row->kind == CONTROL_EPOCH_RECORD)
                shown_forget_all(&said->shown);
        if (row->kind == CONTROL_EPOCH_RECORD && said->n_epochs > 1) {
                printf("%s%sChanges were missed, as when rollcalld is restarted. These are all there are:\n",
                       watcher->has_machines ? row->machine : "", watcher->has_machines ? ": " : "");
                return output_finish();
        }
        return ROLLCALL_EXIT_OK;
}

/* --- as JSON ---------------------------------------------------------------------------------- */

/* An event's own keys come first. Takes `more`. */
static json_t *event_to_json(const Watcher *watcher, const char *event, const Row *row, json_t *more) {
        json_t *object = json_pack("{s:s, s:o}", "event", event, "revision", row_number_to_json(row, ROW_REVISION));

        if (object && watcher->has_machines)
                json_object_set_new(object, "machine", json_string(row->machine));
        if (object && more)
                json_object_update(object, more);
        json_decref(more);
        return object;
}

static json_t *node_to_json(const Watcher *watcher, const Row *row) {
        return watcher->has_machines ? row_found_to_json(row) : row_to_json(row);
}

static json_t *gone_to_json(const Watcher *watcher, const Row *row) {
        json_t *object = watcher->has_machines ? row_found_to_json(row) : NULL, *tenure = row_tenure_to_json(row);

        if (!object)
                return tenure;
        json_object_update_missing(object, tenure);
        json_decref(tenure);
        return object;
}

static RollcallExit print_json(const Watcher *watcher, const Row *row) {
        if (row->kind == CONTROL_NODE_RECORD)
                return output_json_line(event_to_json(watcher, "node", row, node_to_json(watcher, row)));
        if (row->kind == CONTROL_GONE_RECORD)
                return output_json_line(event_to_json(watcher, "gone", row, gone_to_json(watcher, row)));
        if (row->kind == CONTROL_SYNCED_RECORD)
                return output_json_line(event_to_json(watcher, "synced", row, NULL));
        if (row->kind == CONTROL_EPOCH_RECORD)
                return output_json_line(event_to_json(watcher, "epoch", row,
                                                      json_pack("{s:o}", "epoch", row_number_to_json(row, ROW_EPOCH))));
        return ROLLCALL_EXIT_OK;
}

/* --- machines that come and go ---------------------------------------------------------------- */

static RollcallExit tell_away(const Watcher *watcher, const Line *line, const char *why) {
        bool is_over = line_is_over(line);

        complaint_print("%s: %s%s", line_place(line), why, is_over ? "" : "; it is asked again");
        if (!watcher->options->is_json)
                return ROLLCALL_EXIT_OK;
        return output_json_line(json_pack("{s:s, s:n, s:s, s:s, s:b}",
                                          "event", "unavailable",
                                          "revision",
                                          "machine", line->machine->text,
                                          "reason", why,
                                          "final", is_over));
}

/* Without --at who cannot be asked at first is an error; who goes later is waited for without a word, since all there is
 * will be told anew. */
static RollcallExit on_failure(Watcher *watcher, const Line *line) {
        Said *said = &watcher->said[line - watcher->crowd.lines];
        _cleanup_(freep) char *why = line_failure_in_words(line);

        if (!why || (line->failure == LINE_BROKEN && line->error == -ENOMEM))
                return output_out_of_memory();
        if (watcher->has_machines) {
                bool was_away = said->is_away;

                said->is_away = true;
                return was_away && !line_is_over(line) ? ROLLCALL_EXIT_OK : tell_away(watcher, line, why);
        }
        if (!line_is_over(line))
                return ROLLCALL_EXIT_OK;
        complaint_print("%s: %s", line_place(line), why);
        return ROLLCALL_EXIT_UNREACHABLE;
}

static void tell_of_machine(const Line *line, Said *said) {
        if (line->is_stock && !said->is_stock)
                complaint_print("%s: not a rollcalld, but another epmd: only names and ports are known of its nodes, "
                                "and every %d s what has changed",
                                line_place(line), LINE_STOCK_POLL_SEC);
        said->is_stock = line->is_stock;
        if (said->is_away && line->is_synced) {
                complaint_print("%s: answers again", line_place(line));
                said->is_away = false;
        }
}

/* ---------------------------------------------------------------------------------------------- */

static bool is_of_interest(const Watcher *watcher, const Line *line, Row *row) {
        if (row->kind != CONTROL_NODE_RECORD && row->kind != CONTROL_GONE_RECORD)
                return true;
        if (watcher->has_target)
                return target_fits(&watcher->target, row);
        return choice_fits_name(&watcher->choice, row, crowd_hosts(&watcher->crowd, line)) &&
               (!row->is_by_stock || choice_states_fit(&watcher->choice.states, row));
}

/* SYNCED again and again is the sign of life of another machine's daemon. */
static bool is_repeated(const Said *said, const Row *row) {
        return row->kind == CONTROL_SYNCED_RECORD && said->is_synced && said->revision == row->numbers[ROW_REVISION];
}

static RollcallExit on_record(Watcher *watcher, const Line *line, const Record *record) {
        Said *said = &watcher->said[line - watcher->crowd.lines];
        bool is_silent;
        Row row;

        row_read(record, &row);
        row.machine = line->machine->text;
        row.is_by_stock = line->is_stock;
        is_silent = is_repeated(said, &row) || !is_of_interest(watcher, line, &row);
        said->n_epochs += record->kind == CONTROL_EPOCH_RECORD;
        said->is_synced = record->kind == CONTROL_SYNCED_RECORD;
        if (said->is_synced)
                said->revision = row.numbers[ROW_REVISION];
        tell_of_machine(line, said);
        if (is_silent)
                return ROLLCALL_EXIT_OK;
        return watcher->options->is_json ? print_json(watcher, &row) : print_record(watcher, said, &row);
}

static RollcallExit watch(Watcher *watcher) {
        RollcallExit status = ROLLCALL_EXIT_OK;
        Record record;
        Line *line;

        while (status == ROLLCALL_EXIT_OK)
                switch (crowd_next(&watcher->crowd, USEC_INFINITE, &line, &record)) {
                case CROWD_RECORD:
                        status = on_record(watcher, line, &record);
                        break;
                case CROWD_FAILED:
                        status = on_failure(watcher, line);
                        break;
                case CROWD_OVER:
                case CROWD_TIME_OVER:
                        return ROLLCALL_EXIT_UNREACHABLE;
                }
        return status;
}

static void watcher_done(Watcher *watcher) {
        for (size_t i = 0; watcher->said && i < watcher->crowd.n_lines; i++)
                shown_done(&watcher->said[i].shown);
        free(watcher->said);
        crowd_done(&watcher->crowd);
        choice_done(&watcher->choice);
}

/* One NAME and nothing else. */
static RollcallExit parse_target(Watcher *watcher) {
        const Options *options = watcher->options;
        bool is_plain = !(options->given & (OPTION_AT | OPTION_EXCLUDE | OPTION_STATE | OPTION_HIDDEN));
        bool is_pattern = options->n_words > 1 && strpbrk(options->words[1], "*?[\\");

        if (options->prefix && options->n_words > 1) {
                complaint_print("watch takes names and patterns or a --prefix, not both");
                return ROLLCALL_EXIT_USAGE;
        }
        watcher->choice.with_hidden |= is_plain && options->n_words <= 2 && !is_pattern;
        watcher->has_target = is_plain && options->n_words == 2 && !is_pattern;
        return watcher->has_target ? target_parse(options->words[1], &watcher->target) : ROLLCALL_EXIT_OK;
}

static RollcallExit watcher_init(Watcher *watcher, const Options *options) {
        RollcallExit status;

        watcher->options = options;
        watcher->has_machines = options->at.n_texts > 0;
        watcher->manner = (LineManner){
                .purpose = LINE_WATCH,
                .choice = &watcher->choice,
                .control = options->control,
                .is_port_given = options->port != NULL,
                .is_strict = !watcher->has_machines,
        };
        status = choice_parse(options, true, &watcher->choice);
        if (status == ROLLCALL_EXIT_OK)
                status = parse_target(watcher);
        if (status == ROLLCALL_EXIT_OK)
                status = crowd_init(&watcher->crowd, options, &watcher->manner);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        watcher->said = calloc(watcher->crowd.n_lines, sizeof(*watcher->said));
        return watcher->said ? ROLLCALL_EXIT_OK : output_out_of_memory();
}

RollcallExit watch_run(const Options *options) {
        _cleanup_(watcher_done) Watcher watcher = { 0 };
        RollcallExit status = watcher_init(&watcher, options);

        return status == ROLLCALL_EXIT_OK ? watch(&watcher) : status;
}
