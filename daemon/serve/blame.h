/* SPDX-License-Identifier: Apache-2.0 */
/* Who has more connections than there is room for: in the log, and for `rollcall status`. */
#pragma once

#include <systemd/sd-event.h>

#include "core/culprits.h"
#include "serve/conn.h"
#include "serve/vigil.h"

typedef struct Blame Blame;

/* What one goes on doing is said so often. */
#define BLAME_INTERVAL_USEC (10 * USEC_PER_SEC)

/* Borrows both. 0 or negative errno. */
int blame_new(Blame **ret, sd_event *event, Vigil *vigil, uint64_t interval_usec);
/* What is not in the log yet is written now. */
Blame *blame_free(Blame *blame);
DEFINE_CLEANUP(Blame *, blame_free)

void blame_note(Blame *blame, const ConnOffence *offence);
const Culprits *blame_culprits(const Blame *blame);
