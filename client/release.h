/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall release`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Takes a name from the one node that holds it, and says whose it was. */
RollcallExit release_run(const Options *options);
