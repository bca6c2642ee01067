/* SPDX-License-Identifier: Apache-2.0 */
/* Writing to standard output, and noticing when that fails. */
#pragma once

#include <jansson.h>

#include "exit.h"

/* Takes `json`, and prints it; NULL stands for "no memory". */
RollcallExit output_json(json_t *json);
/* The same on one line of its own, at once: one of many. */
RollcallExit output_json_line(json_t *json);
/* After the last byte: whether all arrived. */
RollcallExit output_finish(void);
RollcallExit output_out_of_memory(void);
