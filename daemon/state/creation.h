/* SPDX-License-Identifier: Apache-2.0 */
/* The order of creations (P5), for those who remember how far they were given. Pure. */
#pragma once

#include <stdint.h>

#include "core/registry.h"

/* The later of two marks; 0 is "none". Marks of one registry lie close to each other and begin
 * again at REGISTRY_CREATION_MIN above 2^32-1, so they are compared as sequence numbers are (RFC
 * 1982): 1000 is later than 4294967000. */
static inline uint32_t creation_later(uint32_t a, uint32_t b) {
        if (a == 0 || b == 0)
                return a + b;
        return (int32_t)(a - b) > 0 ? a : b;
}

/* Where to go on, given the latest mark that was found and the time. The time jumps forward only,
 * beyond all that a lost file may have said: registries began at the time when they were new, and
 * creations are given more slowly than seconds pass. A clock that is near the end of the range (the
 * year 2089) is not believed, unless there is no mark at all. */
static inline uint32_t creation_first(uint32_t mark, uint64_t unix_seconds) {
        const uint64_t believed = (UINT64_C(1) << 32) - (UINT64_C(1) << 29);
        uint32_t now = mark == 0 || unix_seconds < believed ? (uint32_t)unix_seconds : 0;
        uint32_t first = now > mark ? now : mark;

        return first < REGISTRY_CREATION_MIN ? REGISTRY_CREATION_MIN : first;
}
