/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what the words of the field mean to somebody who has to act on them. Words that it does not know, a newer
 * daemon's, are shown as they are. */

#include "sentence.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "user.h"
#include "util.h"

PRINTF_LIKE(1, 2) static char *format(const char *text, ...) {
        va_list arguments;
        char *result;

        va_start(arguments, text);
        if (vasprintf(&result, text, arguments) < 0)
                result = NULL;
        va_end(arguments);
        return result;
}

typedef struct Word {
        const char *word, *meaning;
} Word;

static const char *meaning_of(const Word *words, size_t n_words, const ControlField *field) {
        for (size_t i = 0; i < n_words; i++)
                if (field->n_value == strlen(words[i].word) && memcmp(field->value, words[i].word, field->n_value) == 0)
                        return words[i].meaning;
        return NULL;
}

/* The meaning of a field that is told; else the word itself, or `unknown`. */
static char *in_words(const Word *words, size_t n_words, const Row *row, RowText text, const char *unknown) {
        const char *meaning;

        if (!row->texts[text].value)
                return strdup(unknown);
        meaning = meaning_of(words, n_words, &row->texts[text]);
        return meaning ? strdup(meaning) : row_text(row, text);
}

static char *user_in_words(uint64_t uid) {
        const char *name = user_name(uid);

        return name ? format("%s (uid %" PRIu64 ")", name, uid) : format("uid %" PRIu64, uid);
}

char *sentence_name(const Row *row) {
        _cleanup_(freep) char *name = row_text(row, ROW_NAME);
        _cleanup_(freep) char *host = row_text(row, ROW_HOST);

        return format("%s%s%s", name ? name : "?", host ? "@" : "", host ? host : "");
}

static char *who_here(const Row *row) {
        _cleanup_(freep) char *unit = row_text(row, ROW_UNIT);
        _cleanup_(freep) char *user = row->has_number[ROW_UID] ? user_in_words(row->numbers[ROW_UID]) : NULL;
        char pid[64] = "";

        if (unit && row->has_number[ROW_UNIT_PID])
                snprintf(pid, sizeof(pid), " (main process %" PRIu64 ")", row->numbers[ROW_UNIT_PID]);
        return format("%s%s, user %s", unit ? unit : "a process of no known unit", pid, user ? user : "unknown");
}

char *sentence_who(const Row *row) {
        if (row->numbers[ROW_ELSEWHERE] != 0)
                return strdup("a node on another machine");
        return who_here(row);
}

char *sentence_where(const Row *row) {
        _cleanup_(freep) char *scope = row_text(row, ROW_SCOPE);
        bool is_any = scope && strcmp(scope, "*") == 0;

        if (!scope)
                return format("port %" PRIu64, row->numbers[ROW_PORT]);
        return format("port %" PRIu64 " on %s", row->numbers[ROW_PORT], is_any ? "every address" : scope);
}

char *sentence_state(const Row *row) {
        static const Word words[] = {
                { "connection", "by its connection" },
                { "listener", "by its listening socket" },
                { "unit", "by its unit" },
                { "announcement", "by its own word" },
                { "entry", "by its static entry: it is on another machine, and nobody here knows whether it lives" },
        };
        _cleanup_(freep) char *state = row_text(row, ROW_STATE);
        _cleanup_(freep) char *source = in_words(words, ELEMENTS(words), row, ROW_STATE_SOURCE, "");

        if (row_text_is(row, ROW_STATE, "awaited"))
                return strdup("awaited: rollcalld was restarted, and it is not back yet");
        return format("%s%s%s", state ? state : "unknown", source && source[0] ? ", " : "", source ? source : "");
}

char *sentence_when(uint64_t usec, uint64_t now_usec) {
        char when[TEXT_TIME_MAX], since[TEXT_TIME_MAX];

        return format("%s (%s ago)", text_time_plain(usec, when),
                      text_duration(now_usec > usec ? now_usec - usec : 0, since));
}

/* A static node was not waited for. */
static const char *how_static(const Row *row) {
        if (!row_text_is(row, ROW_NODE_ORIGIN, "static"))
                return NULL;
        if (row_text_is(row, ROW_HOW, "listener-gone"))
                return "its listening socket closed";
        return row_text_is(row, ROW_HOW, "replaced") ? "it registered by itself" : NULL;
}

char *sentence_how(const Row *row) {
        static const Word words[] = {
                { "left", "its connection ended: it stopped, died or gave the name up" },
                { "replaced", "it was going, and a newcomer took the name" },
                { "listener-gone", "its listening socket closed while rollcalld waited for it to come back" },
                { "found-dead", "when rollcalld started, its listening socket was gone" },
                { "machine-restarted", "the machine was restarted" },
                { "did-not-return", "it did not come back after a restart of rollcalld" },
                { "stopped", "a STOP request (epmd -stop) took the name from it" },
                { "released", "an operator took the name from it" },
                { "removed", "its static entry was removed or changed, or names another machine now" },
        };

        if (how_static(row))
                return strdup(how_static(row));
        return in_words(words, ELEMENTS(words), row, ROW_HOW, "how is not known");
}

char *sentence_evidence(const Row *row) {
        static const Word words[] = {
                { "connection", "its connection to rollcalld is open" },
                { "listener", "its listening socket is open" },
                { "grace", "it is given a moment to come back after a restart of rollcalld" },
                { "entry", "nothing: a static entry says that it is on another machine" },
        };
        _cleanup_(freep) char *all = NULL;
        ControlField field;
        size_t offset = 0;

        while (row_next_evidence(row, &offset, &field)) {
                const char *meaning = meaning_of(words, ELEMENTS(words), &field);
                _cleanup_(freep) char *word = meaning ? strdup(meaning) : text_for_people(field.value, field.n_value);
                char *longer = all ? format("%s; %s", all, word ? word : "") : strdup(word ? word : "");

                free(all);
                all = longer;
                if (!all)
                        return NULL;
        }
        return all ? TAKE_PTR(all) : strdup("nothing at this moment: it will be gone at once");
}

/* Takes `all`. */
static char *add_pair(char *all, const ControlField *key, const ControlField *value) {
        _cleanup_(freep) char *before = all;
        _cleanup_(freep) char *key_text = text_for_people(key->value, key->n_value);
        _cleanup_(freep) char *value_text = text_for_people(value->value, value->n_value);

        if (!key_text || !value_text)
                return NULL;
        return format("%s%s%s=%s", before, before[0] != '\0' ? " " : "", key_text, value_text);
}

char *sentence_pairs(const Row *row) {
        char *all = strdup("");
        ControlField key, value;
        size_t offset = 0;

        while (all && row_next_pair(row, &offset, &key, &value))
                all = add_pair(all, &key, &value);
        return all;
}

char *sentence_reason(const Row *row) {
        static const Word words[] = {
                { "name-taken", "the name was taken" },
                { "name-reserved", "the name is reserved for others (rollcall.conf)" },
                { "uid-limit", "its user had as many names as one may have" },
                { "nodes-limit", "there were as many names as there may be" },
                { "extra-too-long", "it announced too much" },
        };

        return in_words(words, ELEMENTS(words), row, ROW_REASON, "why is not known");
}

char *sentence_by(const Row *row) {
        _cleanup_(freep) char *by = row_text(row, ROW_BY);
        unsigned uid;
        int n = 0;

        if (by && sscanf(by, "uid %u%n", &uid, &n) == 1 && by[n] == '\0')
                return user_in_words(uid);
        return TAKE_PTR(by);
}
