/* SPDX-License-Identifier: Apache-2.0 */
/* A watch that goes on when the daemon is restarted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "core/control.h"
#include "exit.h"

typedef struct Follow {
        Connection connection;
        ControlBuffer request; /* owned */
        char *place;           /* owned */
        uint64_t tried_usec;   /* CLOCK_MONOTONIC: when it was last connected to */
        bool is_synced_once;
} Follow;

/* Begins a CONTROL_WATCH of whatever nodes there are, in whatever state: narrow it down, and end it. */
void follow_put_request_begin(ControlBuffer *request);

/* Connects and sends `request`, a CONTROL_WATCH, which it takes in any case. 0, or an exit status after one
 * sentence: unreachable from the start. Release with follow_done(), also then. */
RollcallExit follow_begin(Follow *follow, const char *control, ControlBuffer *request);
void follow_done(Follow *follow);

/* The next record, good until the next call. When the connection is lost it is made anew, at most once in a second;
 * the daemon then begins again with CONTROL_EPOCH_RECORD. 1; 0: `deadline_usec` (CLOCK_MONOTONIC; USEC_INFINITE:
 * never) is over, which does not count before the first CONTROL_SYNCED_RECORD; -1: `*ret_status` after one sentence. */
int follow_next(Follow *follow, uint64_t deadline_usec, Record *ret, RollcallExit *ret_status);
