/* SPDX-License-Identifier: Apache-2.0 */
/* Several machines, asked at the same time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "exit.h"
#include "line.h"

typedef struct Crowd {
        Machines machines;    /* owned */
        Line *lines;          /* owned */
        MachineHosts *hosts;  /* owned; of each line's machine */
        struct pollfd *items; /* owned */
        size_t n_lines;
        size_t turn;        /* whose */
        uint64_t turn_usec; /* CLOCK_MONOTONIC: since when */
} Crowd;

typedef enum CrowdEvent {
        CROWD_RECORD,    /* of a line */
        CROWD_FAILED,    /* a line has */
        CROWD_OVER,      /* nothing more will come of any of them */
        CROWD_TIME_OVER, /* so far, no further */
} CrowdEvent;

/* The machines of --at and --port. `manner` is borrowed. 0, or an exit status after one sentence. Release with
 * crowd_done(), also then. */
RollcallExit crowd_init(Crowd *crowd, const Options *options, const LineManner *manner);
void crowd_done(Crowd *crowd);

/* What comes next, and of whom; waits until `deadline_usec` (CLOCK_MONOTONIC; USEC_INFINITE). */
CrowdEvent crowd_next(Crowd *crowd, uint64_t deadline_usec, Line **ret_line, Record *ret);

/* The host parts of those on the line's machine who have told none. */
const MachineHosts *crowd_hosts(const Crowd *crowd, const Line *line);
