/* SPDX-License-Identifier: Apache-2.0 */
/* Writing to standard output, and noticing when that fails. */
#pragma once

#include <jansson.h>

#include "connection.h"

/* Takes `json`, and prints it; NULL stands for "no memory". */
RollcallExit output_json(json_t *json);
/* After the last byte: whether all arrived. */
RollcallExit output_finish(void);
RollcallExit output_out_of_memory(void);
