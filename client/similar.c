/* SPDX-License-Identifier: Apache-2.0 */
/* Knows slips of the keyboard. */

#include "similar.h"

#include <ctype.h>
#include <string.h>

#define NAME_MAX_BYTES 64 /* longer ones are compared from their beginning only */
#define SHORT_BYTES 5

static size_t least(size_t a, size_t b, size_t c) {
        size_t ab = a < b ? a : b;

        return ab < c ? ab : c;
}

static char small(char c) {
        return (char)tolower((unsigned char)c);
}

/* How many bytes are wrong, missing or too many; case does not count. */
static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b) {
        size_t row[NAME_MAX_BYTES + 1];

        for (size_t k = 0; k <= n_b; k++)
                row[k] = k;
        for (size_t i = 0; i < n_a; i++) {
                size_t diagonal = row[0]; /* of the row above */

                row[0] = i + 1;
                for (size_t k = 0; k < n_b; k++) {
                        size_t above = row[k + 1];

                        row[k + 1] = least(above + 1, row[k] + 1, diagonal + (small(a[i]) != small(b[k])));
                        diagonal = above;
                }
        }
        return row[n_b];
}

bool similar_names(const char *a, size_t n_a, const char *b, size_t n_b) {
        size_t n_least = n_a < n_b ? n_a : n_b;

        if (n_least == 0)
                return false;
        if (n_least > 2 && strncasecmp(a, b, n_least) == 0)
                return true;
        if (n_a > NAME_MAX_BYTES || n_b > NAME_MAX_BYTES)
                return false;
        return distance(a, n_a, b, n_b) <= (n_least < SHORT_BYTES ? 1 : 2);
}
