/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how a timer begins switched off. Does not know what for.
 *
 * The trap: sd_event_add_time() makes one that runs, at once where no time is said. */

#include "timer.h"

int timer_new(sd_event_source **ret, sd_event *event, uint64_t accuracy_usec, sd_event_time_handler_t handler,
              void *userdata) {
        sd_event_source *timer;
        int r = sd_event_add_time(event, &timer, CLOCK_MONOTONIC, 0, accuracy_usec, handler, userdata);

        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(timer, SD_EVENT_OFF);
        if (r < 0) {
                sd_event_source_disable_unref(timer);
                return r;
        }
        *ret = timer;
        return 0;
}

/* Neither can fail for a timer of a loop that lives in this process. */
void timer_arm(sd_event_source *timer, uint64_t usec) {
        (void)sd_event_source_set_time(timer, usec);
        (void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

void timer_stop(sd_event_source *timer) {
        (void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}
