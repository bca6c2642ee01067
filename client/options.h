/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `rollcall`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exit.h"

/* What was given more than once. */
typedef struct OptionTexts {
        const char **texts; /* owned, but not what they point to */
        size_t n_texts;
} OptionTexts;

typedef struct Options {
        const char *control; /* NULL: wherever it is found; this and the others point into argv */
        bool is_json;
        bool is_quiet;
        bool is_utc;
        bool is_all;
        bool is_free;
        const char *since, *until, *limit;
        const char *state, *timeout;
        const char *port, *wait;
        const char *prefix;
        const char *count;
        OptionTexts at, exclude;
        bool with_hidden;
        const char *host_part, *address;
        bool is_nft;
        char **words; /* the command and what belongs to it */
        size_t n_words;
        unsigned given; /* of the options that not every command takes: OPTION_X */
        bool wants_help, wants_version;
} Options;

#define OPTION_QUIET (1U << 0)
#define OPTION_UTC (1U << 1)
#define OPTION_ALL (1U << 2)
#define OPTION_FREE (1U << 3)
#define OPTION_SINCE (1U << 4)
#define OPTION_UNTIL (1U << 5)
#define OPTION_LIMIT (1U << 6)
#define OPTION_STATE (1U << 7)
#define OPTION_TIMEOUT (1U << 8)
#define OPTION_PORT (1U << 9)
#define OPTION_WAIT (1U << 10)
#define OPTION_PREFIX (1U << 11)
#define OPTION_AT (1U << 12)
#define OPTION_EXCLUDE (1U << 13)
#define OPTION_HIDDEN (1U << 14)
#define OPTION_COUNT (1U << 15)
#define OPTION_HOST_PART (1U << 24)
#define OPTION_ADDRESS (1U << 25)
#define OPTION_NFT (1U << 26)

/* Options may stand anywhere; a word such as -2h is a time, "--" ends the options. The words are moved to the front
 * of argv. 0, or an exit status after one sentence. Release with options_done(), also then. */
RollcallExit options_parse(int argc, char **argv, Options *ret);
void options_done(Options *options);
/* A duration as people write it (times.h); `*ret` stays as it is where there is none. 0, or an exit status after one
 * sentence. */
RollcallExit options_duration(const char *text, uint64_t *ret);
/* The name of the first of `options`, as it is written. */
const char *options_name(unsigned options);
