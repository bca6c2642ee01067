/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes with a seed, so that nobody outside can choose what falls together. For tables in memory: neither for secrets
 * nor for files. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finalizer of splitmix64. */
static inline uint64_t hash_mix(uint64_t x) {
        x += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

static inline uint64_t hash_bytes(const void *data, size_t n_data, uint64_t seed) {
        const uint8_t *bytes = data;
        uint64_t word, hash = seed ^ n_data;

        for (; n_data >= sizeof word; bytes += sizeof word, n_data -= sizeof word) {
                memcpy(&word, bytes, sizeof word);
                hash = hash_mix(hash ^ word);
        }
        word = 0;
        memcpy(&word, bytes, n_data);
        return hash_mix(hash ^ word);
}
