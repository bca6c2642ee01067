/* SPDX-License-Identifier: Apache-2.0 */
/* Settings as they are written, with where: read from several sources, then made into Settings, or printed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/node_drafts.h"
#include "config/problems.h"
#include "config/settings.h"

typedef struct DraftText {
        char *words;     /* separated by single spaces; owned; NULL: nothing was said. "" is an empty list; for what
                          * is no list: as usual */
        char *origin;    /* "FILE:LINE" or an option; owned */
        unsigned source; /* a list is continued within a source, and begun anew by a later one */
} DraftText;

typedef struct DraftReservation {
        char *label;  /* owned */
        char *origin; /* owned */
        DraftText names, owners;
        bool is_broken; /* a line that says for whom was left out, and with it the whole reservation */
        unsigned broken_source;
} DraftReservation;

/* Begins as all zero. */
typedef struct Draft {
        DraftText texts[_SETTING_N];
        DraftReservation *reservations; /* owned */
        size_t n_reservations;
        NodeDrafts nodes;
        unsigned source;
} Draft;

void draft_done(Draft *draft);
/* What comes from now on replaces what came before. */
void draft_begin_source(Draft *draft);

/* Takes a value over: words separated by blanks or commas. 0; -EINVAL: nothing has changed, `*ret_why` says what
 * is wrong with it, for instance "'lcoal' is not 'any', ...", to be freed by the caller; -ENOMEM. */
int draft_set(Draft *draft, SettingId id, const char *value, const char *origin, char **ret_why);
/* The reservation of that label, a new one if need be: good until the next call. NULL on ENOMEM. */
DraftReservation *draft_open_reservation(Draft *draft, const char *label, const char *origin);
int draft_set_names(const Draft *draft, DraftReservation *reservation, const char *value, const char *origin,
                    char **ret_why);
int draft_set_owners(const Draft *draft, DraftReservation *reservation, const char *value, const char *origin,
                     char **ret_why);

/* What `over` says of settings (not of reservations) replaces what `draft` says. 0 or -ENOMEM. */
int draft_overlay(Draft *draft, const Draft *over);

/* Asks the user database where users are named. 0 or -ENOMEM; `ret` is to be given to settings_done() on
 * success. */
int draft_make_settings(const Draft *draft, Settings *ret, Problems *problems);

/* All settings that are in force, as a file that can be read again; where they come from in comments. */
void draft_print(const Draft *draft, FILE *out);
