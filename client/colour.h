/* SPDX-License-Identifier: Apache-2.0 */
/* Colours on a terminal. */
#pragma once

#include <stdbool.h>

#include "row.h"

#define COLOUR_GOOD "\033[32m"
#define COLOUR_NOT_YET "\033[33m"
#define COLOUR_BAD "\033[31m"
#define COLOUR_OFF "\033[0m"

/* Standard output is a terminal that knows colours, and nobody has said NO_COLOR. */
bool colour_is_wanted(void);
/* Of a node's state; NULL: none of its own. */
const char *colour_of_state(const Row *row);
