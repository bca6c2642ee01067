/* SPDX-License-Identifier: Apache-2.0 */
/* Times and durations as people write them. Pure, but for the reader's time zone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A time, in microseconds since 1970:
 *
 *      now, today, yesterday, "yesterday 13:30"      the day's begin, if no time stands behind it
 *      13:30  13:30:15  13:30:15.25                  of today
 *      2026-11-21  "2026-11-21 13:30"  2026-11-21T13:30:15
 *      ...Z  ...+01:00  ...+0100                     in that zone
 *      @1795266600  @1795266600.25                   seconds since 1970
 *      -2h  "-1h 30min"  "2h ago"                    before `now_usec`; see times_parse_duration()
 *
 * Without a zone: UTC, or the reader's (TZ). 0; -EINVAL: this is no time; -ERANGE: it is before 1970. */
int times_parse(const char *text, uint64_t now_usec, bool is_utc, uint64_t *ret);

/* "10" and "0.5" (seconds), "500ms", "10s", "2min", "2m", "1h", "1h 30min", "2d", "1w". 0; -EINVAL; -ERANGE: more
 * than a thousand years. */
int times_parse_duration(const char *text, uint64_t *ret);
