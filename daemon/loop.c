/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows that the store's writer is woken from here, and when is core/gather's. Does not know what is dispatched.
 *
 * The trap: sd-event has no end of a turn in which that could be done. It dispatches one source, and asks again; so it is
 * asked without waiting as long as something has gathered.
 */

#include "loop.h"

#include "core/gather.h"

int loop_run(sd_event *event, Store *store) {
        Gather gather = { 0 };
        int r, code = 0;

        while (sd_event_get_state(event) != SD_EVENT_FINISHED) {
                r = sd_event_run(event, store_has_gathered(store) ? 0 : UINT64_MAX);
                if (r < 0)
                        return r;
                if (gather_is_over(&gather, store_has_gathered(store), r == 0, now_usec(CLOCK_MONOTONIC)))
                        store_let_go(store);
        }
        r = sd_event_get_exit_code(event, &code);
        return r < 0 ? r : code;
}
