/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the settings that may change while the daemon runs: their names, their words and what these mean. Does not
 * know where the words come from.
 *
 * The trap: a word that is not understood must change nothing, above all not open what is closed (P7).
 */

#include "config/settings.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define NETWORKS "'any', 'local', or a network such as 10.0.0.0/8"
#define POSITIVE_NUMBER "a whole number from 1 to 2147483647"

/* Names that tools take for a moment: RabbitMQ's command line and start, ejabberdctl, Elixir's releases, relx's.
 * (erl_call and nodes without a fixed name do not register.) */
#define HEX "[0-9a-fA-F]"
#define HELPERS                                                                                                \
        "epmd-starter-* rabbit_prelaunch_* rabbitmqcli-* "                                                     \
        HEX HEX HEX "-ctl-* " HEX HEX HEX "-debug-* " HEX HEX HEX "-top-* " HEX HEX HEX "-ping "               \
        "rem-" HEX HEX HEX HEX "-* rpc-" HEX HEX HEX HEX "-* "                                                 \
        "remsh" HEX HEX HEX HEX HEX HEX HEX HEX "-* longname" HEX HEX HEX HEX HEX HEX HEX HEX "-* *_maint_[0-9]*"

static const SettingKind kinds[_SETTING_N] = {
        [SETTING_LOOKUP_FROM] = { "access", "lookup-from", NETWORKS, "any", .is_list = true },
        [SETTING_LIST_FROM] = { "access", "list-from", NETWORKS, "local", .is_list = true },
        [SETTING_NODES_PER_UID] = { "limits", "nodes-per-uid", "'auto', or " POSITIVE_NUMBER, "auto", false },
        [SETTING_PACKET_TIMEOUT] = { "limits", "packet-timeout", "a whole number from 1 to 1000000", "60", false },
        [SETTING_HOLD] = { "limits", "hold", "a number of seconds from 0 to 9", "5", false },
        [SETTING_HISTORY_DAYS] = { "history", "days", "a whole number from 1 to 36500", "30", false },
        [SETTING_HISTORY_ROWS] = { "history", "rows", POSITIVE_NUMBER, "50000", false },
        [SETTING_HISTORY_PER_NAME] = { "history", "per-name", POSITIVE_NUMBER, "100", false },
        [SETTING_HELPERS] = { "listings", "helpers", "a pattern of names", HELPERS, .is_list = true },
        [SETTING_NAMES_WITH_HELPERS] = { "listings", "names-with-helpers", "'yes' or 'no'", "yes", false },
        [SETTING_LOG_LEVEL] = { "log", "level", "error, warning, notice, info or debug", "info", false },
};

void settings_done(Settings *settings) {
        access_list_done(&settings->lookup_from);
        access_list_done(&settings->list_from);
        rules_done(&settings->rules);
        *settings = (Settings){ 0 };
}

const SettingKind *setting_get(SettingId id) {
        assert(id < _SETTING_N);
        return kinds + id;
}

SettingId setting_find(const char *section, const char *key) {
        for (size_t i = 0; i < _SETTING_N; i++)
                if (strcmp(kinds[i].section, section) == 0 && strcmp(kinds[i].key, key) == 0)
                        return (SettingId)i;
        return _SETTING_N;
}

bool setting_has_section(const char *section) {
        for (size_t i = 0; i < _SETTING_N; i++)
                if (strcmp(kinds[i].section, section) == 0)
                        return true;
        return false;
}

/* --- what words mean ------------------------------------------------------------------------------ */

int setting_parse_number(const char *text, unsigned long least, unsigned long most, unsigned long *ret) {
        unsigned long value = 0;

        if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
                return -EINVAL;
        value = strtoul(text, NULL, 10);
        if (value < least || value > most)
                return -EINVAL;
        *ret = value;
        return 0;
}

static int take_unsigned(unsigned *ret, const char *text, unsigned long most) {
        unsigned long value = 0;
        int r = setting_parse_number(text, 1, most, &value);

        if (r == 0)
                *ret = (unsigned)value;
        return r;
}

/* "5", "0.25": microseconds. No sign, no exponent, at most six digits behind the point. */
static int take_seconds(uint64_t *ret, const char *text, unsigned long least, unsigned long most) {
        const char *point = strchr(text, '.');
        unsigned long seconds, fraction = 0;
        char digits[16];
        int r;

        snprintf(digits, sizeof digits, "%.*s", (int)strcspn(text, "."), text);
        r = setting_parse_number(digits, least, most, &seconds);
        if (r < 0 || !point) {
                *ret = r < 0 ? *ret : seconds * USEC_PER_SEC;
                return r;
        }
        if (strlen(point + 1) > 6 || !point[1])
                return -EINVAL;
        snprintf(digits, sizeof digits, "%s%.*s", point + 1, (int)(6 - strlen(point + 1)), "000000");
        r = setting_parse_number(digits, 0, seconds == most ? 0 : 999999, &fraction);
        if (r == 0)
                *ret = seconds * USEC_PER_SEC + fraction;
        return r;
}

static int take_nodes_per_uid(Settings *settings, const char *word) {
        unsigned long value = 0;
        int r = strcmp(word, "auto") == 0 ? 0 : setting_parse_number(word, 1, INT_MAX, &value);

        if (r == 0)
                settings->n_nodes_per_uid_max = value;
        return r;
}

static int take_yes_or_no(bool *ret, const char *word) {
        if (strcmp(word, "yes") != 0 && strcmp(word, "no") != 0)
                return -EINVAL;
        *ret = strcmp(word, "yes") == 0;
        return 0;
}

static int take_log_level(Settings *settings, const char *word) {
        static const struct {
                const char *word;
                int priority;
        } levels[] = {
                { "error", LOG_ERR },     { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
                { "info", LOG_INFO },     { "debug", LOG_DEBUG },
        };

        for (size_t i = 0; i < ELEMENTS(levels); i++)
                if (strcmp(levels[i].word, word) == 0) {
                        settings->log_priority = levels[i].priority;
                        return 0;
                }
        return -EINVAL;
}

/* Whoever writes app@host means the name, but no name that is registered has a host. And what begins as a comment does was
 * meant as one: right behind the '=' it is none to inih. */
bool setting_is_name_pattern(const char *word) {
        return *word && !strchr("#;", *word) && !strchr(word, '@') && strlen(word) <= NODE_NAME_BYTES_MAX;
}

static int take_helper(Settings *settings, const char *word) {
        return setting_is_name_pattern(word) ? rules_add_helper(&settings->rules, word) : -EINVAL;
}

int settings_take(Settings *settings, SettingId id, const char *word) {
        switch (id) {
        case SETTING_LOOKUP_FROM:
                return access_list_add(&settings->lookup_from, word);
        case SETTING_LIST_FROM:
                return access_list_add(&settings->list_from, word);
        case SETTING_NODES_PER_UID:
                return take_nodes_per_uid(settings, word);
        case SETTING_PACKET_TIMEOUT:
                /* Times CONN_ANSWER_TIMES it must stay a sensible point in time. */
                return strchr(word, '.') ? -EINVAL : take_seconds(&settings->packet_timeout_usec, word, 1, 1000000);
        case SETTING_HOLD:
                /* The client waits 10 s. */
                return take_seconds(&settings->hold_usec, word, 0, 9);
        case SETTING_HISTORY_DAYS:
                return take_unsigned(&settings->history_days, word, 36500);
        case SETTING_HISTORY_ROWS:
                return take_unsigned(&settings->history_rows, word, INT_MAX);
        case SETTING_HISTORY_PER_NAME:
                return take_unsigned(&settings->history_per_name, word, INT_MAX);
        case SETTING_HELPERS:
                return take_helper(settings, word);
        case SETTING_NAMES_WITH_HELPERS:
                return take_yes_or_no(&settings->names_with_helpers, word);
        case SETTING_LOG_LEVEL:
                return take_log_level(settings, word);
        case _SETTING_N:
                break;
        }
        return -EINVAL;
}
