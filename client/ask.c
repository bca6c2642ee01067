/* SPDX-License-Identifier: Apache-2.0 */
/* Knows when an answer is complete, and the sentences for whoever gets none. What is asked, and what an answer says,
 * is for those who ask.
 *
 * The trap: an answer that stops before its last record must not be shown as if it were all. */

#include "ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complaint.h"
#include "output.h"
#include "place.h"
#include "text.h"
#include "util.h"

/* --- answers ---------------------------------------------------------------------------------- */

void answer_done(Answer *answer) {
        free(answer->data);
        *answer = (Answer){ 0 };
}

static bool is_last(const Record *record) {
        return record->kind == CONTROL_END || record->kind == CONTROL_ERROR;
}

/* The last one too. */
static bool next_record(const Answer *answer, size_t *position, Record *ret) {
        size_t n;

        if (*position == 0)
                *position = CONTROL_ANSWER_HEAD;
        if (record_parse(answer->data + *position, answer->n_data - *position, &n, ret) != 1)
                return false;
        *position += n;
        return true;
}

bool answer_next_record(const Answer *answer, size_t *position, Record *ret) {
        return next_record(answer, position, ret) && !is_last(ret);
}

/* --- in words --------------------------------------------------------------------------------- */

static RollcallExit complain(const char *place, const char *what) {
        complaint_print("%s: %s", place, what);
        return ROLLCALL_EXIT_UNREACHABLE;
}

RollcallExit ask_complain_nowhere(const char *tried) {
        complaint_print("there is no control socket at %s: is rollcalld running?", tried);
        return ROLLCALL_EXIT_UNREACHABLE;
}

const char *ask_open_in_words(int error) {
        switch (-error) {
        case ENOENT:
        case ENOTDIR:
                return "there is no such socket: is rollcalld running?";
        case ECONNREFUSED:
                return "nobody listens on this socket: rollcalld has ended";
        case EACCES:
        case EPERM:
                return "permission denied: members of the group rollcall may ask "
                       "(as root: usermod -aG rollcall NAME, then log in anew)";
        case EAGAIN: /* while the backlog is full */
                return "rollcalld does not accept connections: it hangs or is overloaded";
        }
        return strerror(-error);
}

const char *ask_read_in_words(bool has_begun, int error) {
        switch (-error) {
        case EBADMSG:
                return "the answer is not of the control protocol: this is no rollcalld";
        case ENODATA:
                return has_begun ? "the answer breaks off" : "closed without an answer";
        }
        return strerror(-error);
}

RollcallExit ask_complain_open(const char *place, int error) {
        return error == -ENOMEM ? output_out_of_memory() : complain(place, ask_open_in_words(error));
}

RollcallExit ask_complain_read(const Connection *connection, int error, unsigned patience_sec) {
        if (error == -ENOMEM)
                return output_out_of_memory();
        if (error != -EAGAIN)
                return complain(connection->place, ask_read_in_words(connection->n_data > 0, error));
        complaint_print("%s: rollcalld has not answered within %u s", connection->place, patience_sec);
        return ROLLCALL_EXIT_UNREACHABLE;
}

uint32_t ask_error_of(const Record *error) {
        ControlField field;
        size_t offset = 0;
        uint64_t found = 0;

        while (control_next_field(error->fields, error->n_fields, &offset, &field))
                if (field.tag == CONTROL_TAG_ERROR)
                        found = control_field_u64(&field);
        return found > 0 && found <= UINT32_MAX ? (uint32_t)found : CONTROL_E_INTERNAL;
}

/* What is wrong with the request rather than with the daemon. */
static bool is_about_request(uint32_t error) {
        return error == CONTROL_E_NOT_FOUND || error == CONTROL_E_AMBIGUOUS || error == CONTROL_E_EXISTS;
}

static char *text_of(const Record *record) {
        ControlField field;

        if (!control_find_field(record->fields, record->n_fields, CONTROL_TAG_TEXT, &field))
                return NULL;
        return text_for_people(field.value, field.n_value);
}

char *ask_refusal_in_words(const Record *record) {
        _cleanup_(freep) char *text = text_of(record);
        ControlField version;
        uint32_t error = ask_error_of(record);
        char versions[64] = "";
        char *words;

        if (error == CONTROL_E_BAD_VERSION &&
            control_find_field(record->fields, record->n_fields, CONTROL_TAG_VERSION, &version))
                snprintf(versions, sizeof(versions), "; it speaks version %u, this rollcall %u",
                         (unsigned)control_field_u64(&version), CONTROL_VERSION);
        if (asprintf(&words, "rollcalld refuses (%s)%s%s%s", control_error_to_string(error), text ? ": " : "",
                     text ? text : "", versions) < 0)
                return NULL;
        return words;
}

/* In the daemon's own words. */
RollcallExit ask_complain_refusal(const char *place, const Record *record) {
        bool is_no = is_about_request(ask_error_of(record));
        _cleanup_(freep) char *text = is_no ? text_of(record) : NULL;
        _cleanup_(freep) char *words = text ? NULL : ask_refusal_in_words(record);

        if (text)
                complaint_print("%s", text);
        else if (words)
                complaint_print("%s: %s", place, words);
        else
                return output_out_of_memory();
        return is_no ? ROLLCALL_EXIT_NO : ROLLCALL_EXIT_UNREACHABLE;
}

RollcallExit ask_complain_answer(const char *place, const Answer *answer) {
        Record record = { 0 };
        size_t position = 0;

        while (next_record(answer, &position, &record) && !is_last(&record))
                ;
        return ask_complain_refusal(place, &record);
}

/* --- asking ----------------------------------------------------------------------------------- */

/* What was read is the answer's from now on. */
static void take_answer(Connection *connection, const Record *last, Answer *ret) {
        *ret = (Answer){
                .data = TAKE_PTR(connection->data),
                .n_data = connection->n_taken,
                .refusal = last->kind == CONTROL_ERROR ? ask_error_of(last) : 0,
        };
        connection->n_data = connection->n_room = connection->n_taken = 0;
}

int ask_over(Connection *connection, const ControlBuffer *request, unsigned patience_sec, Answer *ret) {
        Record record;
        int r = connection_send(connection, request);

        connection->keeps = true;
        if (r < 0)
                return r;
        do {
                r = connection_next(connection, now_usec(CLOCK_MONOTONIC) + patience_sec * USEC_PER_SEC, &record);
                if (r <= 0)
                        return r < 0 ? r : -EAGAIN;
        } while (!is_last(&record));
        take_answer(connection, &record, ret);
        return 0;
}

RollcallExit ask_open(const char *control, Connection *ret) {
        _cleanup_(freep) char *tried = NULL;
        _cleanup_(freep) char *place = place_choose(control, &tried);
        int r;

        *ret = CONNECTION_NONE;
        if (!place)
                return tried ? ask_complain_nowhere(tried) : output_out_of_memory();
        r = connection_open(place, ret);
        return r < 0 ? ask_complain_open(place, r) : ROLLCALL_EXIT_OK;
}

RollcallExit ask(const char *control, const ControlBuffer *request, unsigned patience_sec, Answer *ret) {
        _cleanup_(connection_done) Connection connection = CONNECTION_NONE;
        _cleanup_(answer_done) Answer answer = { 0 };
        RollcallExit status = ask_open(control, &connection);
        int r;

        if (status != ROLLCALL_EXIT_OK)
                return status;
        r = ask_over(&connection, request, patience_sec, &answer);
        if (r < 0)
                return ask_complain_read(&connection, r, patience_sec);
        if (answer.refusal != 0)
                return ask_complain_answer(connection.place, &answer);
        *ret = answer;
        answer = (Answer){ 0 };
        return ROLLCALL_EXIT_OK;
}

RollcallExit ask_kind(const char *control, ControlKind kind, Answer *ret) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };

        control_put_request_begin(&request, kind);
        control_put_request_end(&request);
        return ask(control, &request, ASK_PATIENCE_SEC, ret);
}
