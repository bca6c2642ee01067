/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, on standard error. */
#pragma once

#include "util.h"

/* One line "rollcall: ...", whatever the arguments have in them: control characters are shown as \xNN. */
PRINTF_LIKE(1, 2) void complaint_print(const char *format, ...);
