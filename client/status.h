/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall status`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Prints how the daemon fares, on one screen or as a JSON object; the exit status says it, too. */
RollcallExit status_run(const Options *options);
