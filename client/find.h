/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall find`. */
#pragma once

#include "exit.h"
#include "options.h"

RollcallExit find_run(const Options *options);
