/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall history` and `rollcall at`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Prints registrations, newest first: those that are, then those that have ended. */
RollcallExit history_run(const Options *options);
/* Prints who was registered at a time, by name. */
RollcallExit history_run_at(const Options *options);
