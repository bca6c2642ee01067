/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which part of a choice the daemon makes, and which is made here: the host part, since the daemon mostly does
 * not know it, and all of it where a stock epmd has listed everything.
 *
 * The trap: an unknown host part is a guess. A pattern that names one of those that mean the machine fits; what then is
 * shown is that guess, and said to be one. */

#include "choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complaint.h"
#include "output.h"
#include "util.h"

#define REQUEST_BYTES_MAX 3057 /* PROTOCOL.md, "Frames" */
#define REQUEST_BYTES_KEPT 64  /* of it, for what a watch adds */

/* --- the command line ------------------------------------------------------------------------- */

static void patterns_done(Patterns *patterns) {
        for (size_t i = 0; i < patterns->n_patterns; i++)
                pattern_done(&patterns->patterns[i]);
        free(patterns->patterns);
        *patterns = (Patterns){ 0 };
}

void choice_done(Choice *choice) {
        patterns_done(&choice->wanted);
        patterns_done(&choice->unwanted);
}

static RollcallExit add(Patterns *patterns, const char *text, int (*parse)(const char *text, Pattern *ret)) {
        Pattern *grown = reallocarray(patterns->patterns, patterns->n_patterns + 1, sizeof(*grown));
        int r;

        if (!grown)
                return output_out_of_memory();
        patterns->patterns = grown;
        r = parse(text, &grown[patterns->n_patterns]);
        if (r == -ENOMEM)
                return output_out_of_memory();
        if (r < 0) {
                complaint_print("'%s' is no pattern%s", text, r == -E2BIG ? ": it is too long" : "");
                return ROLLCALL_EXIT_USAGE;
        }
        patterns->n_patterns++;
        return ROLLCALL_EXIT_OK;
}

static RollcallExit parse_patterns(const Options *options, Choice *choice) {
        RollcallExit status = ROLLCALL_EXIT_OK;

        for (size_t i = 1; status == ROLLCALL_EXIT_OK && i < options->n_words; i++)
                status = add(&choice->wanted, options->words[i], pattern_parse);
        if (status == ROLLCALL_EXIT_OK && options->prefix)
                status = add(&choice->wanted, options->prefix, pattern_from_prefix);
        for (size_t i = 0; status == ROLLCALL_EXIT_OK && i < options->exclude.n_texts; i++)
                status = add(&choice->unwanted, options->exclude.texts[i], pattern_parse);
        return status;
}

static RollcallExit parse_state(const char *word, size_t n_word, ChoiceStates *states) {
        bool is_any = n_word == strlen("any") && memcmp(word, "any", n_word) == 0, is_known = is_any;

        states->is_any |= is_any;
        for (NodeState state = 0; state < _NODE_STATE_N; state++) {
                const char *name = node_state_to_string(state);

                if (is_any || (strlen(name) == n_word && memcmp(name, word, n_word) == 0))
                        is_known = states->is_wanted[state] = true;
        }
        if (is_known)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%.*s' is no state: up, awaited, starting, ready, stopping or any", (int)n_word, word);
        return ROLLCALL_EXIT_USAGE;
}

RollcallExit choice_parse_states(const char *list, bool any_else, ChoiceStates *ret) {
        RollcallExit status = ROLLCALL_EXIT_OK;

        *ret = (ChoiceStates){ .is_given = list != NULL };
        if (!list) {
                for (NodeState state = 0; state < _NODE_STATE_N; state++)
                        ret->is_wanted[state] = any_else || state != NODE_STOPPING;
                ret->is_any = any_else;
                return ROLLCALL_EXIT_OK;
        }
        for (const char *word = list; status == ROLLCALL_EXIT_OK; word += strcspn(word, ",") + 1) {
                status = parse_state(word, strcspn(word, ","), ret);
                if (word[strcspn(word, ",")] == '\0')
                        break;
        }
        return status;
}

bool choice_states_fit(const ChoiceStates *states, const Row *row) {
        if (!row->texts[ROW_STATE].value)
                return states->is_any || !states->is_given;
        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                if (row_text_is(row, ROW_STATE, node_state_to_string(state)))
                        return states->is_wanted[state];
        return states->is_any;
}

static RollcallExit check_size(const Choice *choice) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };

        control_put_request_begin(&request, CONTROL_WATCH);
        choice_put(&request, choice);
        control_put_request_end(&request);
        if (request.error == -ENOMEM)
                return output_out_of_memory();
        if (request.error == 0 && request.n_data <= REQUEST_BYTES_MAX - REQUEST_BYTES_KEPT)
                return ROLLCALL_EXIT_OK;
        complaint_print("these patterns are too much for one request");
        return ROLLCALL_EXIT_USAGE;
}

RollcallExit choice_parse(const Options *options, bool any_state_else, Choice *ret) {
        RollcallExit status;

        *ret = (Choice){ .with_hidden = options->with_hidden };
        status = parse_patterns(options, ret);
        if (status == ROLLCALL_EXIT_OK)
                status = choice_parse_states(options->state, any_state_else, &ret->states);
        return status == ROLLCALL_EXIT_OK ? check_size(ret) : status;
}

/* --- what the daemon selects ------------------------------------------------------------------ */

static bool has_all(const Patterns *patterns) {
        for (size_t i = 0; i < patterns->n_patterns; i++)
                if (patterns->patterns[i].kind == PATTERN_ALL)
                        return true;
        return false;
}

static void put_wanted(ControlBuffer *request, const Pattern *pattern) {
        static const ControlTag tags[] = {
                [PATTERN_EXACT] = CONTROL_TAG_NAME,
                [PATTERN_PREFIX] = CONTROL_TAG_PREFIX,
                [PATTERN_SHELL] = CONTROL_TAG_PATTERN,
        };

        control_put_string(request, tags[pattern->kind], pattern->name);
}

/* As a shell pattern, which is the only form that the field has. */
static void put_unwanted(ControlBuffer *request, const Pattern *pattern) {
        _cleanup_(freep) char *text = NULL;

        if (pattern->kind == PATTERN_ALL)
                control_put_string(request, CONTROL_TAG_EXCLUDE, "*");
        else if (pattern->kind != PATTERN_PREFIX)
                control_put_string(request, CONTROL_TAG_EXCLUDE, pattern->name);
        else if (asprintf(&text, "%s*", pattern->name) >= 0)
                control_put_string(request, CONTROL_TAG_EXCLUDE, text);
        else {
                text = NULL;
                request->error = -ENOMEM;
        }
}

static void put_states(ControlBuffer *request, const ChoiceStates *states) {
        if (states->is_any) {
                control_put_string(request, CONTROL_TAG_STATE, "any");
                return;
        }
        for (NodeState state = 0; states->is_given && state < _NODE_STATE_N; state++)
                if (states->is_wanted[state])
                        control_put_string(request, CONTROL_TAG_STATE, node_state_to_string(state));
}

void choice_put(ControlBuffer *request, const Choice *choice) {
        if (!has_all(&choice->wanted))
                for (size_t i = 0; i < choice->wanted.n_patterns; i++)
                        put_wanted(request, &choice->wanted.patterns[i]);
        for (size_t i = 0; i < choice->unwanted.n_patterns; i++)
                if (!choice->unwanted.patterns[i].host)
                        put_unwanted(request, &choice->unwanted.patterns[i]);
        put_states(request, &choice->states);
        if (choice->with_hidden)
                control_put_u8(request, CONTROL_TAG_HIDDEN, 1);
}

/* --- what is selected here -------------------------------------------------------------------- */

/* Host parts that the node may have: its own, or what is as good as any other guess. */
typedef struct Hosts {
        ControlField hosts[MACHINE_HOSTS_MAX + 1];
        size_t n_hosts;
} Hosts;

/* The first of them that the pattern fits; NULL: none. */
static const ControlField *find_host(const Pattern *pattern, const Hosts *hosts) {
        for (size_t i = 0; i < hosts->n_hosts; i++)
                if (pattern_fits_host(pattern, (const char *)hosts->hosts[i].value, hosts->hosts[i].n_value))
                        return &hosts->hosts[i];
        return NULL;
}

static bool fits_name(const Pattern *pattern, const ControlField *name) {
        return pattern_fits_name(pattern, (const char *)name->value, name->n_value);
}

static const ControlField *find_wanted(const Choice *choice, const ControlField *name, const Hosts *hosts) {
        const ControlField *host = NULL;

        if (choice->wanted.n_patterns == 0)
                return &hosts->hosts[0];
        for (size_t i = 0; !host && i < choice->wanted.n_patterns; i++)
                if (fits_name(&choice->wanted.patterns[i], name))
                        host = find_host(&choice->wanted.patterns[i], hosts);
        return host;
}

static bool is_unwanted(const Choice *choice, const ControlField *name, const ControlField *host) {
        for (size_t i = 0; i < choice->unwanted.n_patterns; i++)
                if (fits_name(&choice->unwanted.patterns[i], name) &&
                    pattern_fits_host(&choice->unwanted.patterns[i], (const char *)host->value, host->n_value))
                        return true;
        return false;
}

static void list_hosts(const Row *row, const MachineHosts *machine, Hosts *ret) {
        bool has_address = row->texts[ROW_SCOPE].value && !row_text_is(row, ROW_SCOPE, "*");

        *ret = (Hosts){ 0 };
        if (row->texts[ROW_HOST].value) {
                ret->hosts[ret->n_hosts++] = row->texts[ROW_HOST];
                return;
        }
        /* Whoever told of it, it is on neither machine. */
        if (row->numbers[ROW_ELSEWHERE] != 0 && has_address) {
                ret->hosts[ret->n_hosts++] = row->texts[ROW_SCOPE];
                return;
        }
        for (size_t i = 0; i < (has_address ? machine->n_names : machine->n_hosts); i++)
                ret->hosts[ret->n_hosts++] = (ControlField){
                        .value = (const uint8_t *)machine->hosts[i],
                        .n_value = (uint16_t)strlen(machine->hosts[i]),
                };
        /* On this machine the address at which it listens may be its host part; another one that means us is not. */
        if (machine->is_own && has_address)
                ret->hosts[ret->n_hosts++] = row->texts[ROW_SCOPE];
}

bool choice_fits_name(const Choice *choice, Row *row, const MachineHosts *machine) {
        const ControlField *name = &row->texts[ROW_NAME], *host;
        Hosts hosts;

        if (!name->value)
                return false;
        list_hosts(row, machine, &hosts);
        host = find_wanted(choice, name, &hosts);
        if (!host || is_unwanted(choice, name, host))
                return false;
        if (!row->texts[ROW_HOST].value)
                row->assumed_host = *host;
        return true;
}
