/* SPDX-License-Identifier: Apache-2.0 */
/* What may change while the daemon runs: what each setting is called, what it may be, what it is unless told. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/access.h"
#include "core/rules.h"

typedef struct Settings {
        AccessList lookup_from, list_from; /* P7 */
        size_t n_nodes_per_uid_max;        /* P6; 0: half of what the process may hold */
        uint64_t packet_timeout_usec;
        uint64_t hold_usec; /* how long a newcomer waits for a holder that is going; 0: not at all */
        unsigned history_days, history_rows, history_per_name;
        bool names_with_helpers; /* NAMES tells helpers' names, too */
        int log_priority;        /* LOG_ERR .. LOG_DEBUG */
        Rules rules;
} Settings;

void settings_done(Settings *settings);

typedef enum SettingId {
        SETTING_LOOKUP_FROM,
        SETTING_LIST_FROM,
        SETTING_NODES_PER_UID,
        SETTING_PACKET_TIMEOUT,
        SETTING_HOLD,
        SETTING_HISTORY_DAYS,
        SETTING_HISTORY_ROWS,
        SETTING_HISTORY_PER_NAME,
        SETTING_HELPERS,
        SETTING_NAMES_WITH_HELPERS,
        SETTING_LOG_LEVEL,
        _SETTING_N,
} SettingId;

/* What the files call it. Reservations are beside this: there may be any number of them. */
typedef struct SettingKind {
        const char *section, *key;
        const char *expected; /* "a whole number from 1 to ...": what a word must be */
        const char *usual;    /* its words unless told */
        bool is_list;         /* any number of words; else one */
} SettingKind;

const SettingKind *setting_get(SettingId id);
/* _SETTING_N: there is no such setting. */
SettingId setting_find(const char *section, const char *key);
bool setting_has_section(const char *section);

/* Takes one word over: a list grows by it. 0; -EINVAL: it is not what is expected; -ENOMEM. */
int settings_take(Settings *settings, SettingId id, const char *word);

/* A shell's pattern that can match a name. */
bool setting_is_name_pattern(const char *word);

/* A whole number within bounds, and nothing else. 0 or -EINVAL. */
int setting_parse_number(const char *text, unsigned long least, unsigned long most, unsigned long *ret);
