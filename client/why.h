/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall why`. */
#pragma once

#include "exit.h"
#include "options.h"

/* Prints who holds a name and by which evidence, or who had it last; ROLLCALL_EXIT_NO: nobody holds it. */
RollcallExit why_run(const Options *options);
