/* SPDX-License-Identifier: Apache-2.0 */
/* When what has come together goes to the disk. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util.h"

/* Whichever comes first, after the first change that waits: so many dispatches of the loop, or so long. */
#define GATHER_DISPATCHES_MAX 8
#define GATHER_USEC (USEC_PER_MSEC / 2)

typedef struct Gather {
        unsigned n_dispatched;
        uint64_t since_usec; /* 0: nothing waits */
} Gather;

/* After each dispatch of the loop: true if what waits is to go now, because nothing else was ready (`was_idle`), or because
 * it has waited for long enough. `has_gathered`: something waits. */
bool gather_is_over(Gather *gather, bool has_gathered, bool was_idle, uint64_t now_usec);
