/* SPDX-License-Identifier: Apache-2.0 */
/* One request to the daemon and the whole answer; and in words why there is none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"
#include "core/control.h"
#include "exit.h"

/* How long an answer from memory, and one for which a disk is read or written, may take. The daemon itself gives a
 * disk five seconds. */
#define ASK_PATIENCE_SEC 5
#define ASK_DISK_PATIENCE_SEC 10

/* An answer that is complete. Begins as all zero. */
typedef struct Answer {
        uint8_t *data;
        size_t n_data;
        uint32_t refusal; /* ControlError, where the last record is one; else 0 */
} Answer;

void answer_done(Answer *answer);
/* Steps through its records, but for the last, which only says that it ended. `*position` begins at 0. */
bool answer_next_record(const Answer *answer, size_t *position, Record *ret);

/* Asks over `connection`, which is of no use afterwards, and waits for the last record, at most `patience_sec` for
 * each. 0: there is an answer, if only a refusal; negative errno of connection_next(), -EAGAIN: it took too long. */
int ask_over(Connection *connection, const ControlBuffer *request, unsigned patience_sec, Answer *ret);

/* Asks the daemon at `control` (NULL: wherever it is found). 0, or an exit status after one sentence on stderr. */
RollcallExit ask(const char *control, const ControlBuffer *request, unsigned patience_sec, Answer *ret);
/* The same for a request without fields, to be answered from memory. */
RollcallExit ask_kind(const char *control, ControlKind kind, Answer *ret);

/* Opens the control socket (NULL: wherever it is). 0, or an exit status after one sentence. */
RollcallExit ask_open(const char *control, Connection *ret);

/* One sentence each on stderr, and the exit status. */
RollcallExit ask_complain_open(const char *place, int error);
RollcallExit ask_complain_read(const Connection *connection, int error, unsigned patience_sec);
RollcallExit ask_complain_refusal(const char *place, const Record *error);
RollcallExit ask_complain_answer(const char *place, const Answer *answer);
RollcallExit ask_complain_nowhere(const char *tried);
/* The same without the place: why a control socket cannot be connected to, why an answer, of which there may have been
 * some, cannot be read (but for -EAGAIN), and what a CONTROL_ERROR record says (allocated; NULL on ENOMEM). */
const char *ask_open_in_words(int error);
const char *ask_read_in_words(bool has_begun, int error);
char *ask_refusal_in_words(const Record *error);
/* The ControlError of a CONTROL_ERROR record; CONTROL_E_INTERNAL where it says none. */
uint32_t ask_error_of(const Record *error);
