/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall status`. */
#pragma once

#include <stdbool.h>

#include "connection.h"

/* Prints how the daemon fares, on one screen or as a JSON object; the exit status says it, too. */
RollcallExit status_run(const char *control_path, bool is_json);
