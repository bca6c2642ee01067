/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall ready` and `rollcall not-ready`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Each tells the daemon of a node of this user's (or any, as root): its state, its host part, pairs. */
RollcallExit announce_run_ready(const Options *options);
RollcallExit announce_run_not_ready(const Options *options);
