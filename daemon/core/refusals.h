/* SPDX-License-Identifier: Apache-2.0 */
/* Who was refused a name last: a bounded memory, for the one who asks why. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/registry.h"
#include "util.h"

#define REFUSALS_MAX 1000 /* names; beyond it the one that was refused longest ago is forgotten (P6) */

typedef struct Refused {
        char *name; /* not terminated; owned by whoever owns the struct */
        size_t n_name;
        uint64_t at_usec; /* CLOCK_REALTIME */
        Refusal reason;
        uint16_t port; /* that the newcomer announced */
        uid_t uid;     /* NODE_UID_UNKNOWN where it could not be had */
        char *unit;    /* or NULL; owned */
} Refused;

void refused_done(Refused *refused);
/* 0 or -ENOMEM. */
int refused_copy(const Refused *refused, Refused *ret);

typedef struct Refusals Refusals;

int refusals_new(Refusals **ret);
Refusals *refusals_free(Refusals *refusals);
DEFINE_CLEANUP(Refusals *, refusals_free)

/* Remembers a copy. 1: worth being written to the file; 0: a refusal of that name was written less than a second
 * ago (a client that tries again and again must not wear the disk); -ENOMEM. Names that are none (empty, not
 * UTF-8, ...) are not remembered: 0. */
int refusals_note(Refusals *refusals, const Refused *refused);
/* NULL: none is remembered. Good until the next refusals_note(). */
const Refused *refusals_find(const Refusals *refusals, const char *name, size_t n_name);
