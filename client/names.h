/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall names`. */
#pragma once

#include <stdbool.h>

#include "connection.h"

/* Prints who is registered, as a table or as a JSON array. */
RollcallExit names_run(const char *control_path, bool is_json);
