/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall names`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Prints who is registered, as a table or as a JSON array. An exit status. */
RollcallExit names_run(const Options *options);
