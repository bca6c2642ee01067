/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target is: a function that takes any bytes and comes back. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
