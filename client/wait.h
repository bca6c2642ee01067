/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall wait`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Waits until a node is registered and in one of the states that are wanted, or until nobody holds the name.
 * ROLLCALL_EXIT_GAVE_UP: not in time. */
RollcallExit wait_run(const Options *options);
