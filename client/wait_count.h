/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall wait --count`, and on other machines. */
#pragma once

#include "exit.h"
#include "options.h"

/* Until so many nodes of a pattern are there. */
RollcallExit wait_count_run(const Options *options);
