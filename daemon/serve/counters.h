/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon counts, for `rollcall status`. */
#pragma once

#include <stdint.h>

#include "core/registry.h"

typedef struct Counters {
        uint64_t n_accepted;
        uint64_t n_alive2;
        uint64_t n_port2;
        uint64_t n_names;
        uint64_t n_dump;
        uint64_t n_kill;
        uint64_t n_stop;
        uint64_t n_control;
        uint64_t n_lookups_missed;   /* of n_port2: no such name */
        uint64_t n_registered;
        uint64_t n_returned;         /* awaited nodes that came back */
        uint64_t n_ended;
        uint64_t n_held;             /* newcomers who waited for a holder that was going (P4) */
        uint64_t n_unwritten;        /* registrations answered before they were on disk (P2) */
        uint64_t n_denied;           /* P7 */
        uint64_t n_malformed;
        uint64_t n_unknown;          /* opcodes that are none */
        uint64_t n_timed_out;
        uint64_t n_shed;             /* connections closed to make room (P6) */
        uint64_t n_evidence_lost;    /* times that the kernel's announcements overran */
        uint64_t n_refused[_REFUSAL_N];
} Counters;

/* Calls `put(userdata, name, value)` for each; names are stable words of PROTOCOL.md. */
void counters_each(const Counters *counters,
                   void (*put)(void *userdata, const char *name, uint64_t value), void *userdata);
