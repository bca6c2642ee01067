/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall wait`: knows what is waited for, and who of that name is registered at the moment. How one hears of
 * changes is follow.c's.
 *
 * The trap: half a snapshot says nothing. Between CONTROL_EPOCH_RECORD and CONTROL_SYNCED_RECORD a name that was not
 * named yet is not free. */

#include "wait.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "choice.h"
#include "complaint.h"
#include "follow.h"
#include "known.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "target.h"
#include "text.h"
#include "util.h"
#include "wait_count.h"

typedef struct Waiter {
        const Options *options;
        Target target;
        ChoiceStates states;
        uint64_t timeout_usec; /* USEC_INFINITE: none */
        Known holders;         /* of those who fit, one for each scope */
        bool is_synced;
} Waiter;

/* --- who there is ----------------------------------------------------------------------------- */

static void waiter_done(Waiter *waiter) {
        known_done(&waiter->holders);
}

static int take_record(Waiter *waiter, const Record *record) {
        Row row;

        if (record->kind == CONTROL_EPOCH_RECORD) {
                known_forget_all(&waiter->holders);
                waiter->is_synced = false;
        } else if (record->kind == CONTROL_SYNCED_RECORD)
                waiter->is_synced = true;
        if (record->kind != CONTROL_NODE_RECORD && record->kind != CONTROL_GONE_RECORD)
                return 0;
        row_read(record, &row);
        known_forget(&waiter->holders, &row);
        if (record->kind == CONTROL_GONE_RECORD || !target_fits(&waiter->target, &row))
                return 0;
        return known_learn(&waiter->holders, &row);
}

/* --- what is waited for ----------------------------------------------------------------------- */

/* The one who is what is waited for, or NULL. */
static const Row *find_wanted(const Waiter *waiter) {
        for (size_t i = 0; i < waiter->holders.n_nodes; i++)
                if (choice_states_fit(&waiter->states, &waiter->holders.nodes[i].row))
                        return &waiter->holders.nodes[i].row;
        return NULL;
}

static bool is_fulfilled(const Waiter *waiter) {
        if (!waiter->is_synced)
                return false;
        return waiter->options->is_free ? waiter->holders.n_nodes == 0 : find_wanted(waiter) != NULL;
}

/* --- what is said ----------------------------------------------------------------------------- */

static char *target_in_words(const Waiter *waiter) {
        return text_for_people((const uint8_t *)waiter->target.text, strlen(waiter->target.text));
}

static void print_found(const Waiter *waiter) {
        const Row *row = find_wanted(waiter);
        _cleanup_(freep) char *name = row && !waiter->options->is_free ? sentence_name(row) : target_in_words(waiter);
        _cleanup_(freep) char *state = NULL, *where = NULL, *who = NULL;

        if (waiter->options->is_free || !row) {
                printf("%s is free\n", name ? name : "");
                return;
        }
        state = sentence_state(row);
        where = sentence_where(row);
        who = sentence_who(row);
        printf("%s is %s: %s, %s\n", name ? name : "", state ? state : "", where ? where : "", who ? who : "");
}

static RollcallExit tell_found(const Waiter *waiter) {
        const Row *row = waiter->options->is_free ? NULL : find_wanted(waiter);

        if (waiter->options->is_quiet)
                return ROLLCALL_EXIT_OK;
        if (waiter->options->is_json)
                return output_json(json_pack("{s:s%, s:b, s:o}",
                                             "name", waiter->target.name, waiter->target.n_name,
                                             "free", waiter->options->is_free,
                                             "node", row ? row_to_json(row) : json_null()));
        print_found(waiter);
        return output_finish();
}

static RollcallExit tell_time_over(const Waiter *waiter) {
        _cleanup_(freep) char *name = target_in_words(waiter);
        _cleanup_(freep) char *state = NULL;

        if (waiter->holders.n_nodes > 0)
                state = row_text(&waiter->holders.nodes[0].row, ROW_STATE);
        complaint_print("the time is over, and %s is %s", name ? name : "",
                        !waiter->is_synced ? "not known of: rollcalld is not there"
                        : state            ? state
                        : "not registered");
        return ROLLCALL_EXIT_GAVE_UP;
}

/* --- the command line ------------------------------------------------------------------------- */

static RollcallExit waiter_init(Waiter *waiter, const Options *options) {
        RollcallExit status;

        *waiter = (Waiter){ .options = options, .timeout_usec = USEC_INFINITE };
        if (options->is_free && options->state) {
                complaint_print("a name that is free has no --state");
                return ROLLCALL_EXIT_USAGE;
        }
        status = target_parse(options->words[1], &waiter->target);
        if (status == ROLLCALL_EXIT_OK)
                status = choice_parse_states(options->state, false, &waiter->states);
        return status == ROLLCALL_EXIT_OK ? options_duration(options->timeout, &waiter->timeout_usec) : status;
}

/* ---------------------------------------------------------------------------------------------- */

static RollcallExit wait_for(Waiter *waiter, Follow *follow, uint64_t deadline_usec) {
        while (!is_fulfilled(waiter)) {
                RollcallExit status;
                Record record;
                int r = follow_next(follow, deadline_usec, &record, &status);

                if (r < 0)
                        return status;
                if (r == 0)
                        return tell_time_over(waiter);
                if (take_record(waiter, &record) < 0)
                        return output_out_of_memory();
        }
        return tell_found(waiter);
}

/* What stands before the @: behind it, "*" is an address as well. */
static bool is_pattern(const char *text) {
        const char *at = strrchr(text, '@');
        size_t n_name = at ? (size_t)(at - text) : strlen(text);

        return strcspn(text, "*?[\\") < n_name;
}

/* What one NAME on this machine does not need. */
static bool is_about_several(const Options *options) {
        return (options->given & (OPTION_COUNT | OPTION_AT | OPTION_EXCLUDE | OPTION_HIDDEN | OPTION_PORT)) != 0 ||
               (options->n_words == 2 && is_pattern(options->words[1]));
}

static RollcallExit wait_for_name(const Options *options) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(follow_done) Follow follow = { .connection = CONNECTION_NONE };
        _cleanup_(waiter_done) Waiter waiter;
        RollcallExit status = waiter_init(&waiter, options);
        uint64_t deadline_usec = USEC_INFINITE;

        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (waiter.timeout_usec != USEC_INFINITE)
                deadline_usec = now_usec(CLOCK_MONOTONIC) + waiter.timeout_usec;
        follow_put_request_begin(&request);
        target_put_name(&request, &waiter.target);
        control_put_request_end(&request);
        status = follow_begin(&follow, options->control, &request);
        return status == ROLLCALL_EXIT_OK ? wait_for(&waiter, &follow, deadline_usec) : status;
}

RollcallExit wait_run(const Options *options) {
        if (is_about_several(options))
                return wait_count_run(options);
        if (options->n_words == 2)
                return wait_for_name(options);
        complaint_print("'%s' is one word too many; for several patterns, how many nodes? --count N", options->words[2]);
        return ROLLCALL_EXIT_USAGE;
}
