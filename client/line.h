/* SPDX-License-Identifier: Apache-2.0 */
/* One machine that is asked, once or for ever, without waiting for it. */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ask.h"
#include "choice.h"
#include "connection.h"
#include "core/control.h"
#include "dial.h"
#include "machine.h"

#define LINE_FDS_MAX DIAL_FDS_MAX
/* Of a watch: how long it may be silent before all there is has been told, and another machine's afterwards; that one
 * gives a sign of life so often. */
#define LINE_PATIENCE_USEC (ASK_PATIENCE_SEC * USEC_PER_SEC)
#define LINE_HEARTBEAT_MSEC 15000
#define LINE_DEAD_USEC (3 * LINE_HEARTBEAT_MSEC * USEC_PER_MSEC)
/* A stock epmd that is watched is asked that often. */
#define LINE_STOCK_POLL_SEC 5

typedef enum LinePurpose {
        LINE_FIND,  /* one answer, once it is complete: nodes, and CONTROL_END. It stays good until line_done() */
        LINE_WATCH, /* for ever; connections that are lost are made anew. A record is good until the next call */
} LinePurpose;

/* How the machines of a command are asked. All borrowed. */
typedef struct LineManner {
        LinePurpose purpose;
        const Choice *choice;
        const char *control;   /* the control socket of this machine; NULL: wherever it is found */
        bool is_port_given;    /* this machine is asked over TCP */
        bool is_strict;        /* who cannot be asked at first is given up */
        uint64_t timeout_usec; /* LINE_FIND: for the whole of it */
} LineManner;

typedef enum LineState {
        LINE_PAUSED,
        LINE_CONNECTING_CONTROL,
        LINE_CONNECTING,
        LINE_READING,
        LINE_CONNECTING_STOCK,
        LINE_READING_STOCK,
        LINE_TELLING, /* an answer that is complete, and what a stock epmd has said */
        LINE_ENDED,
} LineState;

typedef enum LineFailure {
        LINE_FINE,
        LINE_NOWHERE,     /* there is no control socket */
        LINE_UNOPENED,    /* the control socket cannot be connected to: a negative errno */
        LINE_UNRESOLVED,  /* the host has no address: an EAI_ number */
        LINE_UNCONNECTED, /* a negative errno */
        LINE_SILENT,      /* the time is over */
        LINE_BROKEN,      /* the answer is none: a negative errno */
        LINE_CLOSED,      /* whatever it is asked, it closes without a byte */
        LINE_REFUSED,     /* it says so in words */
} LineFailure;

typedef struct Line {
        const Machine *machine;
        const LineManner *manner;
        LineState state;
        bool is_stock; /* it has been found to be a stock epmd */
        bool is_control;

        /* Why it could not be asked, when that was found: of the last attempt, until it is synced again. */
        LineFailure failure;
        int error;
        LineState failed_in;
        bool failed_resolving, failed_answering; /* ... before there were addresses; in the middle of an answer */
        uint32_t refusal;   /* a ControlError */
        char *refusal_text; /* owned */

        /* internal */
        char *place, *tried; /* of the control socket; owned */
        int control_error;   /* why it was not that one */
        Dial dial;
        Connection connection;
        uint64_t until_usec; /* CLOCK_MONOTONIC: the attempt has to be over */
        uint64_t next_usec;  /* LINE_PAUSED: when to go on; LINE_CONNECTING_CONTROL: when to try again */
        uint64_t begun_usec, heard_usec;
        unsigned n_failures; /* in a row */
        unsigned n_polls;    /* of a stock epmd, since the extension was tried */
        bool was_rollcall, was_closed;
        bool is_synced, is_synced_once, has_told_names;
        uint64_t epoch, revision;
        ControlBuffer heard, names, told; /* the bytes of NAMES; ... as records; what is to be told */
        size_t n_told;
} Line;

void line_init(Line *line, const Machine *machine, const LineManner *manner);
void line_done(Line *line);

typedef enum LineEvent {
        LINE_NOTHING, /* wait */
        LINE_RECORD,
        LINE_FAILED, /* why: `failure`. A watch goes on trying, unless line_is_over() */
} LineEvent;

/* What can be had now. */
LineEvent line_next(Line *line, Record *ret);
/* True once there is nothing more to come. */
bool line_is_over(const Line *line);

/* What is to be waited for; `*wake_usec` is lowered to the time after which there is something to do in any case. */
size_t line_poll(const Line *line, struct pollfd items[static LINE_FDS_MAX], uint64_t *wake_usec);

/* For messages: the machine as it was given, or for this one the socket that was tried. */
const char *line_place(const Line *line);
/* Why it could not be asked, in words; NULL on ENOMEM. */
char *line_failure_in_words(const Line *line);
