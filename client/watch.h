/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall watch`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Prints who is registered and then every change, a line each, until it is ended. */
RollcallExit watch_run(const Options *options);
