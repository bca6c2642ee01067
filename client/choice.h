/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes a command is about: patterns, exclusions, states, hidden ones. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/control.h"
#include "core/node_state.h"
#include "exit.h"
#include "machine.h"
#include "options.h"
#include "pattern.h"
#include "row.h"

typedef struct Patterns {
        Pattern *patterns; /* owned */
        size_t n_patterns;
} Patterns;

/* "ready,up", "any". */
typedef struct ChoiceStates {
        bool is_wanted[_NODE_STATE_N];
        bool is_any;   /* also one that this program does not know */
        bool is_given; /* they were asked for */
} ChoiceStates;

typedef struct Choice {
        Patterns wanted; /* none: all */
        Patterns unwanted;
        ChoiceStates states;
        bool with_hidden; /* hidden nodes and those of tools, too */
} Choice;

/* `list` NULL: all but `stopping`, or with `any_else` all. 0, or an exit status after one sentence. */
RollcallExit choice_parse_states(const char *list, bool any_else, ChoiceStates *ret);
/* True if the state is wanted. One that is not known is if no states were asked for. */
bool choice_states_fit(const ChoiceStates *states, const Row *row);

/* From the words behind the command and --prefix, --exclude, --state, --hidden. Without --state: all but `stopping`, or
 * with `any_state_else` all. 0, or an exit status after one sentence. Release with choice_done(), also then. */
RollcallExit choice_parse(const Options *options, bool any_state_else, Choice *ret);
void choice_done(Choice *choice);

/* Fields of a request: what the daemon can select by itself. */
void choice_put(ControlBuffer *request, const Choice *choice);

/* True if the node is wanted, by its name and host part. Where it has told none, `row->assumed_host` is what is taken
 * for it: one of `hosts`, or the address at which it listens; it borrows from them. */
bool choice_fits_name(const Choice *choice, Row *row, const MachineHosts *hosts);
