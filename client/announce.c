/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall ready` and `rollcall not-ready`: knows what a node's unit can tell of its node, and the two ways on which
 * that is heard: the control socket, and, where the unit's user may not use that, EPMD's port on loopback. Who may
 * tell it, and what follows, is the daemon's.
 *
 * The trap: on EPMD's port there may be another epmd, which closes without a byte. */

#include "announce.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "core/node.h"
#include "complaint.h"
#include "machine.h"
#include "output.h"
#include "place.h"
#include "row.h"
#include "row_json.h"
#include "sentence.h"
#include "target.h"
#include "util.h"

#define RETRY_USEC (200 * USEC_PER_MSEC)
#define REQUEST_BYTES_MAX 3057 /* PROTOCOL.md, "Frames" */

typedef struct Announcement {
        const Options *options;
        const char *word; /* CONTROL_TAG_ANNOUNCED */
        Target target;
        uint64_t wait_usec;
        uint16_t port;
} Announcement;

/* --- the two ways ----------------------------------------------------------------------------- */

static bool may_not_be_used(int error) {
        return error == -EACCES || error == -EPERM || error == -ENOENT;
}

static RollcallExit open_loopback(const Announcement *announcement, Connection *ret) {
        int r = connection_open_loopback(announcement->port, ret);

        if (r == -ECONNREFUSED) {
                complaint_print("%s: nobody listens on this port: is rollcalld running?", ret->place);
                return ROLLCALL_EXIT_UNREACHABLE;
        }
        return r < 0 ? ask_complain_open(ret->place ? ret->place : "loopback", r) : ROLLCALL_EXIT_OK;
}

/* A socket that was asked for is the only one that is tried. */
static RollcallExit open_way(const Announcement *announcement, Connection *ret, bool *ret_is_tcp) {
        const char *control = announcement->options->control;
        _cleanup_(freep) char *tried = NULL;
        _cleanup_(freep) char *place = NULL;
        int r;

        *ret_is_tcp = announcement->options->port != NULL;
        if (*ret_is_tcp)
                return open_loopback(announcement, ret);
        place = place_choose(control, &tried);
        if (!place && !tried)
                return output_out_of_memory();
        r = place ? connection_open(place, ret) : -ENOENT;
        if (r >= 0)
                return ROLLCALL_EXIT_OK;
        if (place_is_given(control) || !may_not_be_used(r))
                return ask_complain_open(place, r);
        connection_done(ret);
        *ret_is_tcp = true;
        return open_loopback(announcement, ret);
}

static RollcallExit complain_stock(const char *place) {
        complaint_print("%s: closed without a word: another epmd than rollcalld, which takes no announcements",
                        place);
        return ROLLCALL_EXIT_NO;
}

/* --- the request ------------------------------------------------------------------------------ */

static void put_pair(ControlBuffer *request, const char *pair) {
        _cleanup_(freep) char *value = strdup(pair);

        if (!value) {
                request->error = -ENOMEM;
                return;
        }
        value[strcspn(pair, "=")] = '\0';
        control_put_text(request, CONTROL_TAG_PAIR, value, strlen(pair));
}

/* `scope` NULL: whichever is this user's. */
static void put_request(ControlBuffer *request, const Announcement *announcement, const char *scope) {
        const Target *target = &announcement->target;

        control_put_request_begin(request, CONTROL_ANNOUNCE);
        target_put_name(request, target);
        if (scope)
                control_put_text(request, CONTROL_TAG_SCOPE, scope, strlen(scope));
        if (target->host && !(target->has_address && address_is_any(&target->address)))
                control_put_text(request, CONTROL_TAG_HOST, target->host, strlen(target->host));
        control_put_text(request, CONTROL_TAG_ANNOUNCED, announcement->word, strlen(announcement->word));
        for (size_t i = 2; i < announcement->options->n_words; i++)
                put_pair(request, announcement->options->words[i]);
        control_put_request_end(request);
}

/* One attempt at one scope. 0 and an answer, which may be a refusal; else an exit status after one sentence. */
static RollcallExit announce_at(const Announcement *announcement, const char *scope, Answer *ret, char **ret_place) {
        _cleanup_(connection_done) Connection connection = CONNECTION_NONE;
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        RollcallExit status;
        bool is_tcp;
        int r;

        put_request(&request, announcement, scope);
        status = open_way(announcement, &connection, &is_tcp);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        r = ask_over(&connection, &request, ASK_DISK_PATIENCE_SEC, ret);
        if (r == -ENODATA && is_tcp && connection.n_data == 0)
                return complain_stock(connection.place);
        if (r < 0)
                return ask_complain_read(&connection, r, ASK_DISK_PATIENCE_SEC);
        *ret_place = TAKE_PTR(connection.place);
        return ROLLCALL_EXIT_OK;
}

/* app@127.0.0.1: the node that listens there, else the one that listens on every address. */
static RollcallExit announce_once(const Announcement *announcement, Answer *ret, char **ret_place) {
        const Target *target = &announcement->target;
        const char *scope = target->has_address ? target->address_text : NULL;
        _cleanup_(answer_done) Answer second = { 0 };
        _cleanup_(freep) char *second_place = NULL;
        RollcallExit status = announce_at(announcement, scope, ret, ret_place);

        if (status != ROLLCALL_EXIT_OK || ret->refusal != CONTROL_E_NOT_FOUND || !scope || strcmp(scope, "*") == 0)
                return status;
        status = announce_at(announcement, "*", &second, &second_place);
        if (status == ROLLCALL_EXIT_OK && second.refusal != CONTROL_E_NOT_FOUND) {
                answer_done(ret);
                *ret = second;
                second = (Answer){ 0 };
        }
        return status;
}

/* --- the outcome ------------------------------------------------------------------------------ */

static RollcallExit complain_refusal(const char *place, const Answer *answer) {
        RollcallExit status = ask_complain_answer(place, answer);

        if (answer->refusal == CONTROL_E_DENIED || answer->refusal == CONTROL_E_MALFORMED)
                return ROLLCALL_EXIT_NO;
        return status;
}

/* The node as it is now; a daemon that tells nothing has done it all the same. */
static RollcallExit tell_done(const Announcement *announcement, const Answer *answer) {
        _cleanup_(freep) char *name = NULL, *state = NULL;
        size_t position = 0;
        Record record;
        Row row = { 0 };

        while (answer_next_record(answer, &position, &record))
                if (record.kind == CONTROL_NODE_RECORD)
                        row_read(&record, &row);
        if (announcement->options->is_quiet)
                return ROLLCALL_EXIT_OK;
        if (announcement->options->is_json)
                return output_json(row_to_json(&row));
        name = sentence_name(&row);
        state = sentence_state(&row);
        printf("%s is %s\n", name ? name : "", state ? state : "");
        return output_finish();
}

static RollcallExit announce(const Announcement *announcement) {
        uint64_t deadline_usec = now_usec(CLOCK_MONOTONIC) + announcement->wait_usec;
        struct timespec pause = { .tv_nsec = (long)(RETRY_USEC * 1000) };

        for (;;) {
                _cleanup_(answer_done) Answer answer = { 0 };
                _cleanup_(freep) char *place = NULL;
                RollcallExit status = announce_once(announcement, &answer, &place);

                if (status != ROLLCALL_EXIT_OK)
                        return status;
                if (answer.refusal == 0)
                        return tell_done(announcement, &answer);
                if (answer.refusal != CONTROL_E_NOT_FOUND || announcement->wait_usec == 0)
                        return complain_refusal(place, &answer);
                if (now_usec(CLOCK_MONOTONIC) + RETRY_USEC > deadline_usec) {
                        complain_refusal(place, &answer);
                        return ROLLCALL_EXIT_GAVE_UP;
                }
                nanosleep(&pause, NULL); /* on TCP nobody can be told of changes */
        }
}

/* --- the command line ------------------------------------------------------------------------- */

static RollcallExit complain_pair(const char *pair, int error) {
        const char *what = "is no KEY=VALUE; a key is 1 to 64 letters, digits, '.', '_' or '-', "
                           "a value at most 256 bytes of text";

        if (error == -ENOMEM)
                return output_out_of_memory();
        if (error == -E2BIG)
                what = "is one pair too many";
        complaint_print("'%s' %s", pair, what);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit check_pairs(const Options *options) {
        _cleanup_(node_profile_done) NodeProfile profile = { 0 };

        for (size_t i = 2; i < options->n_words; i++) {
                const char *pair = options->words[i], *equals = strchr(pair, '=');
                int r = -EINVAL;

                if (equals)
                        r = node_profile_set(&profile, pair, (size_t)(equals - pair), equals + 1, strlen(equals + 1));
                if (r < 0)
                        return complain_pair(pair, r);
        }
        return ROLLCALL_EXIT_OK;
}

static RollcallExit check_size(const Announcement *announcement) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };

        put_request(&request, announcement, "*");
        if (request.error == -ENOMEM)
                return output_out_of_memory();
        if (request.error == 0 && request.n_data <= REQUEST_BYTES_MAX - ADDRESS_TEXT_MAX)
                return ROLLCALL_EXIT_OK;
        complaint_print("this is too much for one announcement; tell the pairs in several");
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit run(const Options *options, const char *word) {
        Announcement announcement = { .options = options, .word = word };
        RollcallExit status = target_parse(options->words[1], &announcement.target);

        if (status == ROLLCALL_EXIT_OK)
                status = options_duration(options->wait, &announcement.wait_usec);
        if (status == ROLLCALL_EXIT_OK)
                status = machine_port(options->port, &announcement.port);
        if (status == ROLLCALL_EXIT_OK)
                status = check_pairs(options);
        if (status == ROLLCALL_EXIT_OK)
                status = check_size(&announcement);
        return status == ROLLCALL_EXIT_OK ? announce(&announcement) : status;
}

RollcallExit announce_run_ready(const Options *options) {
        return run(options, "ready");
}

RollcallExit announce_run_not_ready(const Options *options) {
        return run(options, "draining");
}
