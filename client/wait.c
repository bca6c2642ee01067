/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall wait`: knows what is waited for, and who of that name is registered at the moment. How one hears of
 * changes is follow.c's.
 *
 * The trap: half a snapshot says nothing. Between CONTROL_EPOCH_RECORD and CONTROL_SYNCED_RECORD a name that was not
 * named yet is not free. */

#include "wait.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/node_state.h"
#include "complaint.h"
#include "follow.h"
#include "output.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "target.h"
#include "text.h"
#include "times.h"
#include "util.h"

/* A node that is registered: a copy of its record. */
typedef struct Holder {
        uint8_t *fields; /* owned */
        Row row;         /* borrows from it */
} Holder;

typedef struct Waiter {
        const Options *options;
        Target target;
        bool is_wanted[_NODE_STATE_N];
        uint64_t timeout_usec; /* USEC_INFINITE: none */
        Holder *holders;       /* owned; of those who fit, one for each scope */
        size_t n_holders;
        bool is_synced;
} Waiter;

/* --- who there is ----------------------------------------------------------------------------- */

static void forget_all(Waiter *waiter) {
        for (size_t i = 0; i < waiter->n_holders; i++)
                free(waiter->holders[i].fields);
        waiter->n_holders = 0;
}

static void waiter_done(Waiter *waiter) {
        forget_all(waiter);
        free(waiter->holders);
}

static bool is_same_scope(const Row *a, const Row *b) {
        const ControlField *scope_a = &a->texts[ROW_SCOPE], *scope_b = &b->texts[ROW_SCOPE];

        return scope_a->n_value == scope_b->n_value &&
               (scope_a->n_value == 0 || memcmp(scope_a->value, scope_b->value, scope_a->n_value) == 0);
}

static void forget(Waiter *waiter, const Row *row) {
        for (size_t i = 0; i < waiter->n_holders; i++)
                if (is_same_scope(&waiter->holders[i].row, row)) {
                        free(waiter->holders[i].fields);
                        waiter->holders[i] = waiter->holders[--waiter->n_holders];
                        return;
                }
}

static int learn(Waiter *waiter, const Record *record) {
        Holder *holders = reallocarray(waiter->holders, waiter->n_holders + 1, sizeof(*holders));
        Record copy = *record;
        uint8_t *fields;

        if (!holders)
                return -ENOMEM;
        waiter->holders = holders;
        fields = malloc(record->n_fields + 1);
        if (!fields)
                return -ENOMEM;
        memcpy(fields, record->fields, record->n_fields);
        copy.fields = fields;
        holders[waiter->n_holders].fields = fields;
        row_read(&copy, &holders[waiter->n_holders].row);
        waiter->n_holders++;
        return 0;
}

static int take_record(Waiter *waiter, const Record *record) {
        Row row;

        if (record->kind == CONTROL_EPOCH_RECORD) {
                forget_all(waiter);
                waiter->is_synced = false;
        } else if (record->kind == CONTROL_SYNCED_RECORD)
                waiter->is_synced = true;
        if (record->kind != CONTROL_NODE_RECORD && record->kind != CONTROL_GONE_RECORD)
                return 0;
        row_read(record, &row);
        forget(waiter, &row);
        return record->kind == CONTROL_NODE_RECORD && target_fits(&waiter->target, &row) ? learn(waiter, record) : 0;
}

/* --- what is waited for ----------------------------------------------------------------------- */

static bool is_in_wanted_state(const Waiter *waiter, const Row *row) {
        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                if (waiter->is_wanted[state] && row_text_is(row, ROW_STATE, node_state_to_string(state)))
                        return true;
        return false;
}

/* The one who is what is waited for, or NULL. */
static const Row *find_wanted(const Waiter *waiter) {
        for (size_t i = 0; i < waiter->n_holders; i++)
                if (is_in_wanted_state(waiter, &waiter->holders[i].row))
                        return &waiter->holders[i].row;
        return NULL;
}

static bool is_fulfilled(const Waiter *waiter) {
        if (!waiter->is_synced)
                return false;
        return waiter->options->is_free ? waiter->n_holders == 0 : find_wanted(waiter) != NULL;
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

        if (waiter->n_holders > 0)
                state = row_text(&waiter->holders[0].row, ROW_STATE);
        complaint_print("the time is over, and %s is %s", name ? name : "",
                        !waiter->is_synced ? "not known of: rollcalld is not there"
                        : state            ? state
                        : "not registered");
        return ROLLCALL_EXIT_GAVE_UP;
}

/* --- the command line ------------------------------------------------------------------------- */

static RollcallExit parse_state(const char *word, size_t n_word, Waiter *waiter) {
        bool is_any = n_word == strlen("any") && memcmp(word, "any", n_word) == 0, is_known = is_any;

        for (NodeState state = 0; state < _NODE_STATE_N; state++) {
                const char *name = node_state_to_string(state);

                if (is_any || (strlen(name) == n_word && memcmp(name, word, n_word) == 0))
                        is_known = waiter->is_wanted[state] = true;
        }
        if (is_known)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%.*s' is no state: up, awaited, starting, ready, stopping or any", (int)n_word,
                        word);
        return ROLLCALL_EXIT_USAGE;
}

/* Without --state: whoever is registered and not about to go. */
static RollcallExit parse_states(const char *list, Waiter *waiter) {
        RollcallExit status = ROLLCALL_EXIT_OK;

        if (!list) {
                for (NodeState state = 0; state < _NODE_STATE_N; state++)
                        waiter->is_wanted[state] = state != NODE_STOPPING;
                return ROLLCALL_EXIT_OK;
        }
        for (const char *word = list; status == ROLLCALL_EXIT_OK; word += strcspn(word, ",") + 1) {
                status = parse_state(word, strcspn(word, ","), waiter);
                if (word[strcspn(word, ",")] == '\0')
                        break;
        }
        return status;
}

static RollcallExit parse_timeout(const char *text, Waiter *waiter) {
        waiter->timeout_usec = USEC_INFINITE;
        if (!text || times_parse_duration(text, &waiter->timeout_usec) == 0)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%s' is no duration; write 10 (seconds), 500ms or 2min", text);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit waiter_init(Waiter *waiter, const Options *options) {
        RollcallExit status;

        *waiter = (Waiter){ .options = options };
        if (options->is_free && options->state) {
                complaint_print("a name that is free has no --state");
                return ROLLCALL_EXIT_USAGE;
        }
        status = target_parse(options->words[1], &waiter->target);
        if (status == ROLLCALL_EXIT_OK)
                status = parse_states(options->state, waiter);
        return status == ROLLCALL_EXIT_OK ? parse_timeout(options->timeout, waiter) : status;
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

RollcallExit wait_run(const Options *options) {
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
