/* SPDX-License-Identifier: Apache-2.0 */
/* One request to the daemon over its control socket, and the whole answer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/control.h"

/* Exit statuses of `rollcall`, documented in rollcall(1). */
typedef enum RollcallExit {
        ROLLCALL_EXIT_OK = 0,
        ROLLCALL_EXIT_DEGRADED = 1,
        ROLLCALL_EXIT_USAGE = 2,
        ROLLCALL_EXIT_UNREACHABLE = 3,
        ROLLCALL_EXIT_FAILED = 4, /* our own: no memory, or the output could not be written */
} RollcallExit;

/* Whose fields have been walked once: control_next_field() will not stop within. */
typedef struct Record {
        ControlKind kind;
        const uint8_t *fields; /* borrows from the answer */
        size_t n_fields;       /* bytes */
} Record;

/* An answer that is complete. Begins as all zero. */
typedef struct Answer {
        uint8_t *data;
        size_t n_data, n_room;
        size_t n_judged; /* bytes of whole records, while it is read */
} Answer;

void answer_done(Answer *answer);
/* Steps through its records, but for the last, which only says that it ended. `*position` begins at
 * 0. */
bool answer_next_record(const Answer *answer, size_t *position, Record *ret);

/* Asks the daemon at `path` (NULL: wherever it is found) and waits for the whole answer. 0, or an
 * exit status after one sentence on stderr that says which socket it was and what is wrong. */
RollcallExit connection_ask(const char *path, ControlKind request, Answer *ret);
