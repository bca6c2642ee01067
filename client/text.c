/* SPDX-License-Identifier: Apache-2.0 */
/* Knows UTF-8, time zones and units; not what a text is about. The daemon lets only clean names in,
 * but who answers on a socket need not be the daemon, and a terminal obeys what is printed on it.
 */

#include "text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "util.h"

/* Of a character of UTF-8, by its first byte; 0: no character begins so. */
static size_t n_character(uint8_t first) {
        if (first < 0x80)
                return 1;
        if (first < 0xc0 || first >= 0xf8)
                return 0;
        return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* The length of the character at the beginning, and the character; 0 if the bytes are not UTF-8. */
static size_t decode_utf8(const uint8_t *bytes, size_t n_bytes, uint32_t *ret) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 }; /* for 1 to 4 bytes */
        size_t n = n_character(bytes[0]);
        uint32_t value = n == 1 ? bytes[0] : bytes[0] & (0xffU >> (n + 1));

        if (n == 0 || n > n_bytes)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
                value = value << 6 | (bytes[i] & 0x3fU);
        }
        if (value < least[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
                return 0;
        *ret = value;
        return n;
}

static bool is_control(uint32_t value) {
        return value < 0x20 || (value >= 0x7f && value < 0xa0);
}

/* Marks, embeddings, overrides and isolates of direction, and the two separators that break lines.
 */
static bool is_deceptive(uint32_t value) {
        return value == 0x061c || value == 0x200e || value == 0x200f ||
               (value >= 0x2028 && value <= 0x202e) || (value >= 0x2066 && value <= 0x2069);
}

static char *clean(const uint8_t *bytes, size_t n_bytes, bool for_people) {
        char *text = malloc(4 * n_bytes + 1), *end = text;

        if (!text)
                return NULL;
        for (size_t i = 0, n; i < n_bytes; i += n) {
                uint32_t value = 0;
                bool as_is;

                n = decode_utf8(bytes + i, n_bytes - i, &value);
                as_is = n > 0 && !is_control(value) && !(for_people && is_deceptive(value));
                if (n == 0)
                        n = 1;
                for (size_t k = 0; k < n; k++)
                        if (as_is)
                                *end++ = (char)bytes[i + k];
                        else
                                end += sprintf(end, "\\x%02x", bytes[i + k]);
        }
        *end = '\0';
        return text;
}

char *text_for_json(const uint8_t *bytes, size_t n_bytes) {
        return clean(bytes, n_bytes, false);
}

char *text_for_people(const uint8_t *bytes, size_t n_bytes) {
        return clean(bytes, n_bytes, true);
}

const char *text_time_utc(uint64_t usec, char text[static TEXT_TIME_MAX]) {
        time_t seconds = (time_t)(usec / USEC_PER_SEC);
        struct tm tm;
        char day_and_time[32];

        text[0] = '\0';
        if (gmtime_r(&seconds, &tm) &&
            strftime(day_and_time, sizeof(day_and_time), "%FT%T", &tm) > 0)
                snprintf(text, TEXT_TIME_MAX, "%s.%06uZ", day_and_time,
                         (unsigned)(usec % USEC_PER_SEC));
        return text;
}

const char *text_time_local(uint64_t usec, char text[static TEXT_TIME_MAX]) {
        time_t seconds = (time_t)(usec / USEC_PER_SEC);
        struct tm tm;
        char day_and_time[32], zone[8];

        text[0] = '\0';
        if (localtime_r(&seconds, &tm) &&
            strftime(day_and_time, sizeof(day_and_time), "%FT%T", &tm) > 0 &&
            strftime(zone, sizeof(zone), "%z", &tm) == 5)
                snprintf(text, TEXT_TIME_MAX, "%s%.3s:%s", day_and_time, zone, zone + 3);
        return text;
}

const char *text_time_plain(uint64_t usec, char text[static TEXT_TIME_MAX]) {
        time_t seconds = (time_t)(usec / USEC_PER_SEC);
        struct tm tm;

        text[0] = '\0';
        if (localtime_r(&seconds, &tm))
                strftime(text, TEXT_TIME_MAX, "%F %T", &tm);
        return text;
}

const char *text_duration(uint64_t usec, char text[static TEXT_TIME_MAX]) {
        uint64_t seconds = usec / USEC_PER_SEC;

        if (seconds == 0)
                snprintf(text, TEXT_TIME_MAX, "less than a second");
        else if (seconds < 60)
                snprintf(text, TEXT_TIME_MAX, "%" PRIu64 " s", seconds);
        else if (seconds < 60 * 60)
                snprintf(text, TEXT_TIME_MAX, "%" PRIu64 " min %" PRIu64 " s", seconds / 60,
                         seconds % 60);
        else if (seconds < 24 * 60 * 60)
                snprintf(text, TEXT_TIME_MAX, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
                         seconds / 60 % 60);
        else
                snprintf(text, TEXT_TIME_MAX, "%" PRIu64 " d %" PRIu64 " h", seconds / 86400,
                         seconds / 3600 % 24);
        return text;
}

const char *text_size(uint64_t bytes, char text[static TEXT_SIZE_MAX]) {
        static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
        double size = (double)bytes / 1024;
        size_t unit = 0;

        if (bytes < 1024) {
                snprintf(text, TEXT_SIZE_MAX, "%" PRIu64 " bytes", bytes);
                return text;
        }
        while (size >= 1024 && unit + 1 < ELEMENTS(units)) {
                size /= 1024;
                unit++;
        }
        snprintf(text, TEXT_SIZE_MAX, "%.1f %s", size, units[unit]);
        return text;
}
