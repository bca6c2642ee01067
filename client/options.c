/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how options are written. Which command takes which is for the commands' table (rollcall.c).
 *
 * The trap: getopt() would take "-2h", a time, for options. */

#include "options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complaint.h"
#include "output.h"
#include "times.h"
#include "util.h"

typedef enum OptionForm {
        FORM_TEXT,  /* the last one counts */
        FORM_TEXTS, /* all count */
        FORM_FLAG,
} OptionForm;

typedef struct Option {
        const char *name;
        unsigned bit;  /* 0: for every command */
        size_t offset; /* of its place in Options */
        OptionForm form;
} Option;

static const Option known[] = {
        { "control", 0, offsetof(Options, control), FORM_TEXT },
        { "json", 0, offsetof(Options, is_json), FORM_FLAG },
        { "help", 0, offsetof(Options, wants_help), FORM_FLAG },
        { "version", 0, offsetof(Options, wants_version), FORM_FLAG },
        { "quiet", OPTION_QUIET, offsetof(Options, is_quiet), FORM_FLAG },
        { "utc", OPTION_UTC, offsetof(Options, is_utc), FORM_FLAG },
        { "all", OPTION_ALL, offsetof(Options, is_all), FORM_FLAG },
        { "free", OPTION_FREE, offsetof(Options, is_free), FORM_FLAG },
        { "since", OPTION_SINCE, offsetof(Options, since), FORM_TEXT },
        { "until", OPTION_UNTIL, offsetof(Options, until), FORM_TEXT },
        { "limit", OPTION_LIMIT, offsetof(Options, limit), FORM_TEXT },
        { "state", OPTION_STATE, offsetof(Options, state), FORM_TEXT },
        { "timeout", OPTION_TIMEOUT, offsetof(Options, timeout), FORM_TEXT },
        { "port", OPTION_PORT, offsetof(Options, port), FORM_TEXT },
        { "wait", OPTION_WAIT, offsetof(Options, wait), FORM_TEXT },
        { "prefix", OPTION_PREFIX, offsetof(Options, prefix), FORM_TEXT },
        { "count", OPTION_COUNT, offsetof(Options, count), FORM_TEXT },
        { "at", OPTION_AT, offsetof(Options, at), FORM_TEXTS },
        { "exclude", OPTION_EXCLUDE, offsetof(Options, exclude), FORM_TEXTS },
        { "hidden", OPTION_HIDDEN, offsetof(Options, with_hidden), FORM_FLAG },
        { "host-part", OPTION_HOST_PART, offsetof(Options, host_part), FORM_TEXT },
        { "address", OPTION_ADDRESS, offsetof(Options, address), FORM_TEXT },
        { "nft", OPTION_NFT, offsetof(Options, is_nft), FORM_FLAG },
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

static RollcallExit add_text(OptionTexts *texts, const char *text) {
        const char **grown = reallocarray(texts->texts, texts->n_texts + 1, sizeof(*grown));

        if (!grown)
                return output_out_of_memory();
        texts->texts = grown;
        texts->texts[texts->n_texts++] = text;
        return ROLLCALL_EXIT_OK;
}

/* `*position` is that of the option; it moves on where the value is a word of its own. */
static RollcallExit take_option(Options *options, char **argv, int *position) {
        const char *word = argv[*position], *equals = strchr(word, '=');
        size_t n_name = equals ? (size_t)(equals - word) : strlen(word);
        const Option *option = NULL;
        const char *value;
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
        if (option->form == FORM_FLAG) {
                if (equals)
                        return complain(word, "takes no value");
                *(bool *)place = true;
                return ROLLCALL_EXIT_OK;
        }
        if (!equals && !argv[*position + 1])
                return complain(word, "needs a value");
        value = equals ? equals + 1 : argv[++*position];
        if (option->form == FORM_TEXTS)
                return add_text(place, value);
        *(const char **)place = value;
        return ROLLCALL_EXIT_OK;
}

void options_done(Options *options) {
        free(options->at.texts);
        free(options->exclude.texts);
        options->at = options->exclude = (OptionTexts){ 0 };
}

RollcallExit options_parse(int argc, char **argv, Options *ret) {
        bool is_over = false;

        *ret = (Options){ .words = argv + 1 };
        for (int i = 1; i < argc; i++) {
                RollcallExit status;

                if (!is_over && strcmp(argv[i], "--") == 0) {
                        is_over = true;
                        continue;
                }
                if (is_over || !is_option(argv[i])) {
                        ret->words[ret->n_words++] = argv[i]; /* its own place, or one that was read */
                        continue;
                }
                status = take_option(ret, argv, &i);
                if (status != ROLLCALL_EXIT_OK)
                        return status;
        }
        ret->words[ret->n_words] = NULL; /* at most argv[argc] */
        if (ret->control && ret->control[0] == '\0')
                return complain("--control", "needs a path");
        return ROLLCALL_EXIT_OK;
}

RollcallExit options_duration(const char *text, uint64_t *ret) {
        if (!text || times_parse_duration(text, ret) == 0)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%s' is no duration; write 10 (seconds), 500ms or 2min", text);
        return ROLLCALL_EXIT_USAGE;
}
