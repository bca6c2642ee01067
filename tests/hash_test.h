/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of what goes by the hash of a name: two names that have the same one. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"

#define ALIKE_BYTES 16

static inline bool is_printable(const char *text, size_t n_text) {
        for (size_t i = 0; i < n_text; i++)
                if (text[i] <= ' ' || text[i] > '~')
                        return false;
        return true;
}

/* Both are of two words; where their first ones have led to is made up for by the second one. */
static inline void choose_alike(char a[static ALIKE_BYTES + 1], char b[static ALIKE_BYTES + 1], uint64_t seed) {
        uint64_t words[2], first, second;

        strcpy(a, "taken-for-anothe");
        memcpy(words, a, sizeof words);
        for (unsigned i = 0;; i++) {
                snprintf(b, ALIKE_BYTES + 1, "%08u", i);
                memcpy(&first, b, sizeof first);
                second = hash_mix(seed ^ ALIKE_BYTES ^ first) ^ hash_mix(seed ^ ALIKE_BYTES ^ words[0]) ^ words[1];
                memcpy(b + sizeof first, &second, sizeof second);
                b[ALIKE_BYTES] = 0;
                if (is_printable(b, ALIKE_BYTES))
                        break;
        }
        ck_assert_uint_eq(hash_bytes(a, ALIKE_BYTES, seed), hash_bytes(b, ALIKE_BYTES, seed));
}
