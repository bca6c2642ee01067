/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of the loop that run once, when they are told to. */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

/* One that does not run. `accuracy_usec`: how late it may be (0: systemd's 250 ms). 0 or negative errno. */
int timer_new(sd_event_source **ret, sd_event *event, uint64_t accuracy_usec, sd_event_time_handler_t handler,
              void *userdata);
/* Runs at `usec` (CLOCK_MONOTONIC), and not at what was said before. */
void timer_arm(sd_event_source *timer, uint64_t usec);
void timer_stop(sd_event_source *timer);
