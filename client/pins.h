/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall pin`, `rollcall unpin`, `rollcall pins`: ports that names were given for good. */
#pragma once

#include "exit.h"
#include "options.h"

RollcallExit pins_run_pin(const Options *options);
RollcallExit pins_run_unpin(const Options *options);
RollcallExit pins_run(const Options *options);
