/* SPDX-License-Identifier: Apache-2.0 */
/* Where the control socket is. */
#pragma once

#include <stdbool.h>

/* The path that was given (`given`, else ROLLCALL_CONTROL); else the first of the usual places where something is.
 * An allocated path; NULL on ENOMEM, or, where `*ret_tried` is set, because there is nothing: the paths that were
 * tried, for a message ("A or B"), owned by the caller. */
char *place_choose(const char *given, char **ret_tried);
/* True if the path does not come from the usual places, but was asked for. */
bool place_is_given(const char *given);
