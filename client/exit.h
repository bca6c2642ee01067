/* SPDX-License-Identifier: Apache-2.0 */
/* Exit statuses of `rollcall`, documented in rollcall(1). */
#pragma once

typedef enum RollcallExit {
        ROLLCALL_EXIT_OK = 0,
        ROLLCALL_EXIT_NO = 1, /* there is no such node, or the daemon refuses; `status`: it is degraded */
        ROLLCALL_EXIT_USAGE = 2,
        ROLLCALL_EXIT_UNREACHABLE = 3, /* no answer that could be read */
        ROLLCALL_EXIT_GAVE_UP = 4,     /* the time is over; no memory; the output could not be written */
        ROLLCALL_EXIT_PARTLY = 5,      /* some machines could not be asked; what the others said was printed */
} RollcallExit;
