/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall check`: why can I not connect to that node? */
#pragma once

#include "exit.h"
#include "options.h"

RollcallExit checkup_run(const Options *options);
