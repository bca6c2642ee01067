/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon tells, in the form that a person or a program reads. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TEXT_TIME_MAX 64
#define TEXT_SIZE_MAX 32

/* The bytes as UTF-8 without surprises: what is not UTF-8, and control characters, are shown as
 * \xNN (a terminal would obey them). NULL on ENOMEM; owned by the caller. */
char *text_for_json(const uint8_t *bytes, size_t n_bytes);
/* The same, and also without characters that change the direction of others, which make one name
 * look like another. */
char *text_for_people(const uint8_t *bytes, size_t n_bytes);

/* "2026-11-21T01:02:03.000004Z"; "" if it cannot be told. All return `text`. */
const char *text_time_utc(uint64_t usec, char text[static TEXT_TIME_MAX]);
/* In the time zone of the reader, as one word: "2026-11-21T02:02:03+01:00". */
const char *text_time_local(uint64_t usec, char text[static TEXT_TIME_MAX]);
/* The same for a sentence: "2026-11-21 02:02:03". */
const char *text_time_plain(uint64_t usec, char text[static TEXT_TIME_MAX]);
/* "less than a second", "12 s", "3 min 5 s", "4 h 10 min", "2 d 3 h". */
const char *text_duration(uint64_t usec, char text[static TEXT_TIME_MAX]);
/* "512 bytes", "4.0 KiB". */
const char *text_size(uint64_t bytes, char text[static TEXT_SIZE_MAX]);
