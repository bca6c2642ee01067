/* SPDX-License-Identifier: Apache-2.0 */
/* Knows that a daemon may be restarted, stopped and started while somebody follows it, and that its socket stays (a
 * service manager's) or is away for a moment (its own). Does not know what the records say.
 *
 * The trap: whoever is not there from the start is an error, and told at once; whoever goes later is waited for. */

#include "follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "output.h"
#include "util.h"

#define RETRY_USEC USEC_PER_SEC

void follow_put_request_begin(ControlBuffer *request) {
        control_put_request_begin(request, CONTROL_WATCH);
        control_put_string(request, CONTROL_TAG_STATE, "any");
        control_put_u8(request, CONTROL_TAG_HIDDEN, 1);
}

RollcallExit follow_begin(Follow *follow, const char *control, ControlBuffer *request) {
        RollcallExit status;
        int r;

        *follow = (Follow){
                .connection = CONNECTION_NONE,
                .request = *request,
                .tried_usec = now_usec(CLOCK_MONOTONIC),
        };
        *request = (ControlBuffer){ 0 };
        status = ask_open(control, &follow->connection);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        follow->place = strdup(follow->connection.place);
        if (!follow->place)
                return output_out_of_memory();
        r = connection_send(&follow->connection, &follow->request);
        return r < 0 ? ask_complain_read(&follow->connection, r, ASK_PATIENCE_SEC) : ROLLCALL_EXIT_OK;
}

void follow_done(Follow *follow) {
        connection_done(&follow->connection);
        control_buffer_done(&follow->request);
        free(follow->place);
}

static void sleep_until(uint64_t usec) {
        struct timespec until = {
                .tv_sec = (time_t)(usec / USEC_PER_SEC),
                .tv_nsec = (long)(usec % USEC_PER_SEC * 1000),
        };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
                ;
}

/* True once the request has been sent again; false: the time is over. */
static bool reconnect(Follow *follow, uint64_t deadline_usec) {
        for (;;) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                uint64_t next_usec = max_u64(now, follow->tried_usec + RETRY_USEC);

                connection_done(&follow->connection);
                if (now >= deadline_usec || next_usec >= deadline_usec) {
                        sleep_until(min_u64(next_usec, deadline_usec));
                        return false;
                }
                sleep_until(next_usec);
                follow->tried_usec = next_usec;
                if (connection_open(follow->place, &follow->connection) >= 0 &&
                    connection_send(&follow->connection, &follow->request) >= 0)
                        return true;
        }
}

/* An answer that is none is final at first; later the daemon may just have been going. */
static int on_failure(Follow *follow, int error, RollcallExit *ret_status) {
        if (follow->is_synced_once && error != -ENOMEM) {
                connection_done(&follow->connection);
                return 0;
        }
        *ret_status = ask_complain_read(&follow->connection, error, ASK_PATIENCE_SEC);
        return -1;
}

/* The daemon may have too many watchers for a moment, as all of them come back at once; and one who could not read for a
 * while begins anew. */
static int on_refusal(Follow *follow, const Record *record, RollcallExit *ret_status) {
        uint32_t error = ask_error_of(record);

        if (follow->is_synced_once && (error == CONTROL_E_BUSY || error == CONTROL_E_TOO_SLOW)) {
                connection_done(&follow->connection);
                return 0;
        }
        *ret_status = ask_complain_refusal(follow->place, record);
        return -1;
}

int follow_next(Follow *follow, uint64_t deadline_usec, Record *ret, RollcallExit *ret_status) {
        for (;;) {
                uint64_t until_usec = deadline_usec;
                int r;

                if (follow->connection.fd < 0 && !reconnect(follow, deadline_usec))
                        return 0;
                if (!follow->is_synced_once)
                        until_usec = follow->tried_usec + ASK_PATIENCE_SEC * USEC_PER_SEC;
                r = connection_next(&follow->connection, until_usec, ret);
                if (r == 0 && follow->is_synced_once)
                        return 0;
                if (r <= 0)
                        r = on_failure(follow, r < 0 ? r : -EAGAIN, ret_status);
                else if (ret->kind == CONTROL_END)
                        r = on_failure(follow, -ENODATA, ret_status);
                else if (ret->kind == CONTROL_ERROR)
                        r = on_refusal(follow, ret, ret_status);
                else {
                        follow->is_synced_once |= ret->kind == CONTROL_SYNCED_RECORD;
                        return 1;
                }
                if (r < 0)
                        return -1;
        }
}
