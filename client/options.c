/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how options are written. Which command takes which is for the commands' table (rollcall.c).
 *
 * The trap: getopt() would take "-2h", a time, for options. */

#include "options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "complaint.h"
#include "util.h"

typedef struct Option {
        const char *name;
        unsigned bit;  /* 0: for every command */
        size_t offset; /* of its place in Options: a text, or a flag */
        bool is_flag;
} Option;

static const Option known[] = {
        { "control", 0, offsetof(Options, control), false },
        { "json", 0, offsetof(Options, is_json), true },
        { "help", 0, offsetof(Options, wants_help), true },
        { "version", 0, offsetof(Options, wants_version), true },
        { "quiet", OPTION_QUIET, offsetof(Options, is_quiet), true },
        { "utc", OPTION_UTC, offsetof(Options, is_utc), true },
        { "all", OPTION_ALL, offsetof(Options, is_all), true },
        { "free", OPTION_FREE, offsetof(Options, is_free), true },
        { "since", OPTION_SINCE, offsetof(Options, since), false },
        { "until", OPTION_UNTIL, offsetof(Options, until), false },
        { "limit", OPTION_LIMIT, offsetof(Options, limit), false },
        { "state", OPTION_STATE, offsetof(Options, state), false },
        { "timeout", OPTION_TIMEOUT, offsetof(Options, timeout), false },
        { "port", OPTION_PORT, offsetof(Options, port), false },
        { "wait", OPTION_WAIT, offsetof(Options, wait), false },
        { "prefix", OPTION_PREFIX, offsetof(Options, prefix), false },
};

const char *options_name(unsigned options) {
        for (size_t i = 0; i < ELEMENTS(known); i++)
                if (known[i].bit & options)
                        return known[i].name;
        return "";
}

static const Option *find(const char *name, size_t n_name) {
        for (size_t i = 0; i < ELEMENTS(known); i++)
                if (strlen(known[i].name) == n_name && memcmp(known[i].name, name, n_name) == 0)
                        return &known[i];
        return NULL;
}

static bool is_option(const char *word) {
        return word[0] == '-' && word[1] != '\0' && !isdigit((unsigned char)word[1]);
}

static RollcallExit complain(const char *word, const char *what) {
        complaint_print("'%s' %s (see rollcall --help)", word, what);
        return ROLLCALL_EXIT_USAGE;
}

/* `*position` is that of the option; it moves on where the value is a word of its own. */
static RollcallExit take_option(Options *options, char **argv, int *position) {
        const char *word = argv[*position], *equals = strchr(word, '=');
        size_t n_name = equals ? (size_t)(equals - word) : strlen(word);
        const Option *option = NULL;
        void *place;

        if (word[1] == '-')
                option = find(word + 2, n_name - 2);
        else if (strcmp(word, "-h") == 0)
                option = find("help", strlen("help"));
        else if (strcmp(word, "-q") == 0)
                option = find("quiet", strlen("quiet"));
        if (!option)
                return complain(word, "is no option");
        options->given |= option->bit;
        place = (char *)options + option->offset;
        if (option->is_flag) {
                if (equals)
                        return complain(word, "takes no value");
                *(bool *)place = true;
                return ROLLCALL_EXIT_OK;
        }
        if (!equals && !argv[*position + 1])
                return complain(word, "needs a value");
        *(const char **)place = equals ? equals + 1 : argv[++*position];
        return ROLLCALL_EXIT_OK;
}

RollcallExit options_parse(int argc, char **argv, Options *ret) {
        Options options = { .words = argv + 1 };
        bool is_over = false;

        for (int i = 1; i < argc; i++) {
                RollcallExit status;

                if (!is_over && strcmp(argv[i], "--") == 0) {
                        is_over = true;
                        continue;
                }
                if (is_over || !is_option(argv[i])) {
                        options.words[options.n_words++] = argv[i]; /* its own place, or one that was read */
                        continue;
                }
                status = take_option(&options, argv, &i);
                if (status != ROLLCALL_EXIT_OK)
                        return status;
        }
        options.words[options.n_words] = NULL; /* at most argv[argc] */
        if (options.control && options.control[0] == '\0')
                return complain("--control", "needs a path");
        *ret = options;
        return ROLLCALL_EXIT_OK;
}
