/* SPDX-License-Identifier: Apache-2.0 */
/* What may change while the daemon runs: what each setting is called, what it may be, what it is unless told. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/access.h"
#include "core/rules.h"

typedef struct Settings {
        AccessList lookup_from, list_from; /* P7 */
        size_t n_nodes_per_uid_max;        /* P6; 0: half of what the process may hold */
        uint64_t packet_timeout_usec;
        uint64_t hold_usec; /* how long a newcomer waits for a holder that is going; 0: not at all */
        unsigned history_days, history_rows, history_per_name;
        bool names_with_helpers; /* NAMES tells helpers' names, too */
        int log_priority;        /* LOG_ERR .. LOG_DEBUG */
        Rules rules;
} Settings;

void settings_done(Settings *settings);
