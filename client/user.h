/* SPDX-License-Identifier: Apache-2.0 */
/* Names of users. */
#pragma once

#include <stdint.h>

/* The user of that id, or NULL where nobody has it (any more). Good until the next call. */
const char *user_name(uint64_t uid);
