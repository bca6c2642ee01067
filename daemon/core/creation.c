/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the arithmetic of creations. Does not know who has been given which.
 *
 * The trap: the range begins again, and 0..3 are not in it. No two creations are compared by `<`.
 */

#include "core/creation.h"

uint32_t creation_add(uint32_t creation, uint32_t n) {
        uint64_t sum = (uint64_t)creation + n;

        return sum <= UINT32_MAX ? (uint32_t)sum : (uint32_t)(sum - UINT32_MAX - 1 + CREATION_MIN);
}

uint32_t creation_distance(uint32_t from, uint32_t to) {
        return to >= from ? to - from : UINT32_MAX - from + 1 + to - CREATION_MIN;
}

uint32_t creation_later(uint32_t a, uint32_t b) {
        if (a == 0 || b == 0)
                return a + b;
        return (int32_t)(a - b) > 0 ? a : b;
}

uint32_t creation_first(uint32_t mark, uint64_t unix_seconds) {
        const uint64_t believed = (UINT64_C(1) << 32) - (UINT64_C(1) << 29);
        uint32_t now = mark == 0 || unix_seconds < believed ? (uint32_t)unix_seconds : 0;
        uint32_t first = now > mark ? now : mark;

        return first < CREATION_MIN ? CREATION_MIN : first;
}

uint32_t creation_unknown(uint64_t unix_seconds, uint32_t random) {
        return creation_add(creation_first(0, unix_seconds), (UINT32_C(1) << 24) + (random >> 4));
}

uint32_t creation_small(uint32_t creation, uint32_t previous) {
        uint32_t small = creation % CREATION_SMALL_MAX + 1;

        return small == previous ? small % CREATION_SMALL_MAX + 1 : small;
}
