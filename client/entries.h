/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall add`, `rollcall remove`, `rollcall entries`: nodes that do not register. */
#pragma once

#include "exit.h"
#include "options.h"

RollcallExit entries_run_add(const Options *options);
RollcallExit entries_run_remove(const Options *options);
RollcallExit entries_run(const Options *options);
