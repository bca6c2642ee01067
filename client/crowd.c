/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the loop in which all machines are waited for at the same time. Does not know what they say.
 *
 * The trap: one of them may have more to say all the time. Neither the others nor the deadline wait for its end. */

#include "crowd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "output.h"
#include "util.h"

#define TURN_USEC (500 * USEC_PER_MSEC)

/* A thousand machines need more descriptors than a shell gives; select(), for which it is careful, is not used. */
static void allow_descriptors(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

RollcallExit crowd_init(Crowd *crowd, const Options *options, const LineManner *manner) {
        RollcallExit status;

        *crowd = (Crowd){ .turn_usec = now_usec(CLOCK_MONOTONIC) };
        status = machines_parse(options->at.texts, options->at.n_texts, options->port, &crowd->machines);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        crowd->lines = calloc(crowd->machines.n_machines, sizeof(*crowd->lines));
        crowd->hosts = calloc(crowd->machines.n_machines, sizeof(*crowd->hosts));
        crowd->items = calloc(crowd->machines.n_machines * LINE_FDS_MAX, sizeof(*crowd->items));
        if (!crowd->lines || !crowd->hosts || !crowd->items)
                return output_out_of_memory();
        allow_descriptors();
        for (; crowd->n_lines < crowd->machines.n_machines; crowd->n_lines++) {
                const Machine *machine = &crowd->machines.machines[crowd->n_lines];

                line_init(&crowd->lines[crowd->n_lines], machine, manner);
                machine_hosts(machine, &crowd->hosts[crowd->n_lines]);
        }
        return ROLLCALL_EXIT_OK;
}

void crowd_done(Crowd *crowd) {
        for (size_t i = 0; i < crowd->n_lines; i++)
                line_done(&crowd->lines[i]);
        free(crowd->lines);
        free(crowd->hosts);
        free(crowd->items);
        machines_done(&crowd->machines);
}

const MachineHosts *crowd_hosts(const Crowd *crowd, const Line *line) {
        return &crowd->hosts[line - crowd->lines];
}

/* A batch is not torn apart, unless it has no end. */
static bool is_turn_over(const Crowd *crowd, LineEvent event, const Record *record) {
        if (event == LINE_NOTHING || event == LINE_FAILED || record->kind == CONTROL_SYNCED_RECORD)
                return true;
        return now_usec(CLOCK_MONOTONIC) >= crowd->turn_usec + TURN_USEC;
}

static void next_turn(Crowd *crowd) {
        crowd->turn = (crowd->turn + 1) % crowd->n_lines;
        crowd->turn_usec = now_usec(CLOCK_MONOTONIC);
}

/* The next line that has something to say, beginning with whose turn it is. */
static bool find_event(Crowd *crowd, Line **ret_line, Record *ret, CrowdEvent *ret_event) {
        for (size_t i = 0; i < crowd->n_lines; i++) {
                Line *line = &crowd->lines[crowd->turn];
                LineEvent event = line_next(line, ret);

                *ret_line = line;
                if (is_turn_over(crowd, event, ret))
                        next_turn(crowd);
                if (event == LINE_NOTHING)
                        continue;
                *ret_event = event == LINE_FAILED ? CROWD_FAILED : CROWD_RECORD;
                return true;
        }
        return false;
}

static bool is_over(const Crowd *crowd) {
        for (size_t i = 0; i < crowd->n_lines; i++)
                if (!line_is_over(&crowd->lines[i]))
                        return false;
        return true;
}

static void wait(Crowd *crowd, uint64_t until_usec) {
        uint64_t now, wake_usec = until_usec;
        int timeout_msec = -1;
        size_t n = 0;

        for (size_t i = 0; i < crowd->n_lines; i++)
                n += line_poll(&crowd->lines[i], crowd->items + n, &wake_usec);
        now = now_usec(CLOCK_MONOTONIC);
        if (wake_usec <= now)
                timeout_msec = 0;
        else if (wake_usec != USEC_INFINITE) /* in steps of an hour, and never a moment too early */
                timeout_msec = (int)min_u64((wake_usec - now + 999) / 1000, 3600 * 1000);
        poll(crowd->items, n, timeout_msec);
        crowd->turn_usec = now_usec(CLOCK_MONOTONIC); /* nobody has had anything of it */
}

/* What has come in time is told, but of who talks without an end not for ever. */
static bool is_too_late(const Line *line, CrowdEvent event, uint64_t deadline_usec) {
        if (event != CROWD_RECORD || line->manner->purpose == LINE_FIND || deadline_usec == USEC_INFINITE)
                return false;
        return now_usec(CLOCK_MONOTONIC) >= deadline_usec + TURN_USEC;
}

CrowdEvent crowd_next(Crowd *crowd, uint64_t deadline_usec, Line **ret_line, Record *ret) {
        CrowdEvent event;

        for (;;) {
                if (find_event(crowd, ret_line, ret, &event))
                        return is_too_late(*ret_line, event, deadline_usec) ? CROWD_TIME_OVER : event;
                if (is_over(crowd))
                        return CROWD_OVER;
                if (now_usec(CLOCK_MONOTONIC) >= deadline_usec)
                        return CROWD_TIME_OVER;
                wait(crowd, deadline_usec);
        }
}
