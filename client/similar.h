/* SPDX-License-Identifier: Apache-2.0 */
/* Which of many names was meant. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* True if one may have been typed for the other: another case, one within the other from its beginning, or at most two
 * bytes that are wrong, missing or too many (one, of less than five). */
bool similar_names(const char *a, size_t n_a, const char *b, size_t n_b);
