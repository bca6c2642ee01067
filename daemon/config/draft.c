/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what was said of each setting, by whom, and which of it counts. Does not know how a file is read
 * (config_file) or what a word means (settings, owners).
 *
 * The trap: a reservation of which half is understood would refuse a name to those whom the other half allows it.
 * It is left out whole, and told.
 */

#include "config/draft.h"

#include <errno.h>
#include <string.h>

#include "config/owners.h"

#define SEPARATORS " ,\t"

static void text_done(DraftText *text) {
        free(text->words);
        free(text->origin);
}

void draft_done(Draft *draft) {
        for (size_t i = 0; i < _SETTING_N; i++)
                text_done(draft->texts + i);
        for (size_t i = 0; i < draft->n_reservations; i++) {
                DraftReservation *reservation = draft->reservations + i;

                free(reservation->label);
                free(reservation->origin);
                text_done(&reservation->names);
                text_done(&reservation->owners);
        }
        free(draft->reservations);
        node_drafts_done(&draft->nodes);
        *draft = (Draft){ 0 };
}

void draft_begin_source(Draft *draft) {
        draft->source++;
}

/* --- saying ----------------------------------------------------------------------------------------- */

/* Takes `*words` on success. */
static int text_set(DraftText *text, char **words, const char *origin, unsigned source, bool continues) {
        _cleanup_(freep) char *own_origin = NULL, *joined = NULL;

        if (continues && text->words && text->source == source && **words && *text->words) {
                if (asprintf(&joined, "%s %s", text->words, *words) < 0) {
                        joined = NULL;
                        return -ENOMEM;
                }
                free(text->words);
                text->words = TAKE_PTR(joined);
                return 0;
        }
        own_origin = strdup(origin);
        if (!own_origin)
                return -ENOMEM;
        text_done(text);
        *text = (DraftText){ TAKE_PTR(*words), TAKE_PTR(own_origin), source };
        return 0;
}

/* 0; -EINVAL with what is wrong with the word, to be freed; -ENOMEM. */
typedef int (*WordCheck)(SettingId id, const char *word, char **ret_why);

static int check_setting(SettingId id, const char *word, char **ret_why) {
        Settings scratch = { 0 };
        int r = settings_take(&scratch, id, word);

        settings_done(&scratch);
        return r == -EINVAL ? problems_refuse(ret_why, "'%s' is not %s", word, setting_get(id)->expected) : r;
}

static int check_name_pattern(SettingId id, const char *word, char **ret_why) {
        (void)id;
        if (setting_is_name_pattern(word))
                return 0;
        return problems_refuse(ret_why, "'%s' is not a pattern of names (without a host part)", word);
}

static int check_owner(SettingId id, const char *word, char **ret_why) {
        const char *why = NULL;

        (void)id;
        if (owner_check(word, &why) == 0)
                return 0;
        return problems_refuse(ret_why, "'%s' %s", word, why);
}

/* The words of `value`, each of them checked, with single spaces between. */
static int read_words(const char *value, WordCheck check, SettingId id, char **ret, char **ret_why) {
        _cleanup_(freep) char *copy = strdup(value), *words = calloc(1, strlen(value) + 1);
        char *rest = NULL, *end = words;

        if (!copy || !words)
                return -ENOMEM;
        for (char *word = strtok_r(copy, SEPARATORS, &rest); word; word = strtok_r(NULL, SEPARATORS, &rest)) {
                int r = check(id, word, ret_why);

                if (r < 0)
                        return r;
                if (end != words)
                        *end++ = ' ';
                end = stpcpy(end, word);
        }
        *ret = TAKE_PTR(words);
        return 0;
}

int draft_set(Draft *draft, SettingId id, const char *value, const char *origin, char **ret_why) {
        _cleanup_(freep) char *words = NULL;
        bool is_list = setting_get(id)->is_list;
        int r = read_words(value, check_setting, id, &words, ret_why);

        if (r < 0)
                return r;
        if (!is_list && strchr(words, ' '))
                return problems_refuse(ret_why, "'%s' is not %s", words, setting_get(id)->expected);
        return text_set(draft->texts + id, &words, origin, draft->source, is_list);
}

DraftReservation *draft_open_reservation(Draft *draft, const char *label, const char *origin) {
        DraftReservation *reservations, *added;

        for (size_t i = 0; i < draft->n_reservations; i++)
                if (strcmp(draft->reservations[i].label, label) == 0)
                        return draft->reservations + i;
        reservations = reallocarray(draft->reservations, draft->n_reservations + 1, sizeof *reservations);
        if (!reservations)
                return NULL;
        draft->reservations = reservations;
        added = reservations + draft->n_reservations;
        *added = (DraftReservation){ .label = strdup(label), .origin = strdup(origin) };
        if (!added->label || !added->origin) {
                free(added->label);
                free(added->origin);
                return NULL;
        }
        draft->n_reservations++;
        return added;
}

int draft_set_names(const Draft *draft, DraftReservation *reservation, const char *value, const char *origin,
                    char **ret_why) {
        _cleanup_(freep) char *words = NULL;
        int r = read_words(value, check_name_pattern, _SETTING_N, &words, ret_why);

        return r < 0 ? r : text_set(&reservation->names, &words, origin, draft->source, true);
}

/* What a later source says for whom is whole again. */
int draft_set_owners(const Draft *draft, DraftReservation *reservation, const char *value, const char *origin,
                     char **ret_why) {
        _cleanup_(freep) char *words = NULL;
        int r = read_words(value, check_owner, _SETTING_N, &words, ret_why);

        if (r < 0) {
                reservation->is_broken = true;
                reservation->broken_source = draft->source;
                return r;
        }
        if (reservation->broken_source != draft->source)
                reservation->is_broken = false;
        return text_set(&reservation->owners, &words, origin, draft->source, true);
}

int draft_overlay(Draft *draft, const Draft *over) {
        draft_begin_source(draft);
        for (size_t i = 0; i < _SETTING_N; i++) {
                _cleanup_(freep) char *words = NULL;
                int r;

                if (!over->texts[i].words)
                        continue;
                words = strdup(over->texts[i].words);
                if (!words)
                        return -ENOMEM;
                r = text_set(draft->texts + i, &words, over->texts[i].origin, draft->source, false);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- meaning ---------------------------------------------------------------------------------------- */

/* The words that count: what was said, or what is usual. */
static const char *words_of(const Draft *draft, SettingId id) {
        const char *words = draft->texts[id].words;

        return words && (*words || setting_get(id)->is_list) ? words : setting_get(id)->usual;
}

static int make_setting(const Draft *draft, SettingId id, Settings *settings) {
        _cleanup_(freep) char *copy = strdup(words_of(draft, id));
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *word = strtok_r(copy, SEPARATORS, &rest); word; word = strtok_r(NULL, SEPARATORS, &rest)) {
                int r = settings_take(settings, id, word);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* True if nothing speaks against the reservation. One that was told to be broken is left out without a word. */
static bool reservation_is_whole(const DraftReservation *reservation, Problems *problems) {
        if (reservation->is_broken)
                return false;
        if (!reservation->names.words)
                problems_add_error(problems, "%s: [reserve %s] has no line names=", reservation->origin,
                                   reservation->label);
        else if (!reservation->owners.words)
                problems_add_error(problems, "%s: [reserve %s] has no line for=", reservation->origin,
                                   reservation->label);
        else
                return true;
        return false;
}

static int make_names(const DraftReservation *reservation, Reservation *ret) {
        _cleanup_(freep) char *copy = strdup(reservation->names.words);
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *word = strtok_r(copy, SEPARATORS, &rest); word; word = strtok_r(NULL, SEPARATORS, &rest)) {
                int r = reservation_add_pattern(ret, word);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* 0; -ENOMEM; -EIO: the user database cannot be asked, which has been told. */
static int make_owner(const DraftReservation *reservation, const char *word, Reservation *ret, Problems *problems) {
        RuleOwner owner;
        int r = owner_resolve(word, &owner);

        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                problems_add_error(problems, "%s: '%s' cannot be looked up in the user database: %s",
                                   reservation->owners.origin, word, strerror(-r));
                return -EIO;
        }
        if (owner.kind == RULE_OWNER_NOBODY)
                problems_add_warning(problems, "%s: '%s' does not exist, and the names of [reserve %s] are not his",
                                     reservation->owners.origin, word, reservation->label);
        return reservation_add_owner(ret, &owner);
}

static int make_owners(const DraftReservation *reservation, Reservation *ret, Problems *problems) {
        _cleanup_(freep) char *copy = strdup(reservation->owners.words);
        char *rest = NULL;

        if (!copy)
                return -ENOMEM;
        for (char *word = strtok_r(copy, SEPARATORS, &rest); word; word = strtok_r(NULL, SEPARATORS, &rest)) {
                int r = make_owner(reservation, word, ret, problems);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int make_reservation(const DraftReservation *reservation, Rules *rules, Problems *problems) {
        Reservation *made;
        int r;

        if (!reservation_is_whole(reservation, problems))
                return 0;
        made = rules_add_reservation(rules, reservation->label);
        if (!made)
                return -ENOMEM;
        r = make_owners(reservation, made, problems);
        /* Without patterns it matches nothing: that is how one is left out whose owners nobody knows. */
        if (r == -EIO)
                return 0;
        return r < 0 ? r : make_names(reservation, made);
}

int draft_make_settings(const Draft *draft, Settings *ret, Problems *problems) {
        _cleanup_(settings_done) Settings settings = { 0 };
        int r = 0;

        for (size_t i = 0; i < _SETTING_N && r == 0; i++)
                r = make_setting(draft, (SettingId)i, &settings);
        for (size_t i = 0; i < draft->n_reservations && r == 0; i++)
                r = make_reservation(draft->reservations + i, &settings.rules, problems);
        if (r < 0)
                return r;
        *ret = settings;
        settings = (Settings){ 0 };
        return 0;
}

/* --- printing --------------------------------------------------------------------------------------- */

/* A line for each word, so that no line is longer than the one that was read. */
static void print_words(FILE *out, const char *key, const char *words) {
        const char *end;

        if (!*words)
                fprintf(out, "%s =\n", key);
        for (; *words; words = *end ? end + 1 : end) {
                end = words + strcspn(words, " ");
                fprintf(out, "%s = %.*s\n", key, (int)(end - words), words);
        }
}

static void print_setting(const Draft *draft, SettingId id, FILE *out) {
        const SettingKind *kind = setting_get(id);
        const char *origin = draft->texts[id].origin;

        if (id == 0 || strcmp(kind->section, setting_get(id - 1)->section) != 0)
                fprintf(out, "%s[%s]\n", id == 0 ? "" : "\n", kind->section);
        fprintf(out, "# %s\n", origin ? origin : "built in");
        print_words(out, kind->key, words_of(draft, id));
}

static void print_reservation(const DraftReservation *reservation, FILE *out) {
        fprintf(out, "\n[reserve %s]\n# %s\n", reservation->label, reservation->names.origin);
        print_words(out, "names", reservation->names.words);
        fprintf(out, "# %s\n", reservation->owners.origin);
        print_words(out, "for", reservation->owners.words);
}

void draft_print(const Draft *draft, FILE *out) {
        for (size_t i = 0; i < _SETTING_N; i++)
                print_setting(draft, (SettingId)i, out);
        for (size_t i = 0; i < draft->n_reservations; i++) {
                const DraftReservation *reservation = draft->reservations + i;

                if (!reservation->is_broken && reservation->names.words && reservation->owners.words)
                        print_reservation(reservation, out);
        }
}
