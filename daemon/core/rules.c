/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows whom a name is reserved for and which names are helpers'. Does not know where the rules come from.
 *
 * The trap: what is not known of a newcomer must not open a reserved name to him.
 */

#include "core/rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static void strings_done(char **strings, size_t n_strings) {
        for (size_t i = 0; i < n_strings; i++)
                free(strings[i]);
        free(strings);
}

static int strings_add(char ***strings, size_t *n_strings, const char *text) {
        char **grown = reallocarray(*strings, *n_strings + 1, sizeof *grown);

        if (!grown)
                return -ENOMEM;
        *strings = grown;
        grown[*n_strings] = strdup(text);
        if (!grown[*n_strings])
                return -ENOMEM;
        (*n_strings)++;
        return 0;
}

static void reservation_done(Reservation *reservation) {
        free(reservation->label);
        strings_done(reservation->patterns, reservation->n_patterns);
        for (size_t i = 0; i < reservation->n_owners; i++) {
                free(reservation->owners[i].pattern);
                free(reservation->owners[i].text);
        }
        free(reservation->owners);
}

void rules_done(Rules *rules) {
        for (size_t i = 0; i < rules->n_reservations; i++)
                reservation_done(rules->reservations + i);
        free(rules->reservations);
        strings_done(rules->helpers, rules->n_helpers);
        *rules = (Rules){ 0 };
}

Reservation *rules_add_reservation(Rules *rules, const char *label) {
        Reservation *grown = reallocarray(rules->reservations, rules->n_reservations + 1, sizeof *grown);

        if (!grown)
                return NULL;
        rules->reservations = grown;
        grown += rules->n_reservations;
        *grown = (Reservation){ .label = strdup(label) };
        if (!grown->label)
                return NULL;
        rules->n_reservations++;
        return grown;
}

int reservation_add_pattern(Reservation *reservation, const char *pattern) {
        return strings_add(&reservation->patterns, &reservation->n_patterns, pattern);
}

int reservation_add_owner(Reservation *reservation, const RuleOwner *owner) {
        RuleOwner *grown = reallocarray(reservation->owners, reservation->n_owners + 1, sizeof *grown), copy;

        if (!grown)
                return -ENOMEM;
        reservation->owners = grown;
        copy = (RuleOwner){
                .kind = owner->kind,
                .uid = owner->uid,
                .pattern = owner->pattern ? strdup(owner->pattern) : NULL,
                .text = strdup(owner->text),
        };
        if (!copy.text || (owner->pattern && !copy.pattern)) {
                free(copy.pattern);
                free(copy.text);
                return -ENOMEM;
        }
        grown[reservation->n_owners++] = copy;
        return 0;
}

int rules_add_helper(Rules *rules, const char *pattern) {
        return strings_add(&rules->helpers, &rules->n_helpers, pattern);
}

/* What stands for itself in a pattern. */
static bool is_plain(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Is `c` in the set of plain characters and ranges that begins at `set`, behind its bracket? Returns what follows it;
 * NULL: it is another kind of set. */
static const char *read_set(const char *set, char c, bool *ret_has) {
        const char *at = set;
        bool has = false;

        for (; is_plain(*at); at++) {
                char first = *at;

                if (at[1] == '-' && is_plain(at[2]))
                        at += 2;
                has = has || (first <= c && c <= *at);
        }
        if (at == set || *at != ']')
                return NULL;
        *ret_has = has;
        return at + 1;
}

/* Of each registration, and of each row at a start: most names differ from a pattern in how that begins, which is seen
 * at a tenth of what fnmatch() takes. What may follow there is left to that. */
static bool may_match(const char *pattern, const char *text) {
        for (;; text++) {
                bool is_same = false;

                if (*pattern == '[')
                        pattern = read_set(pattern + 1, *text, &is_same);
                else if (is_plain(*pattern) || *pattern == '-' || *pattern == '_')
                        is_same = *pattern++ == *text;
                else
                        return true;
                if (!pattern)
                        return true;
                if (!is_same)
                        return false;
        }
}

/* A name that is no node's name (NODE_NAME_BYTES_MAX) matches nothing. */
static bool matches_any(char *const *patterns, size_t n_patterns, const char *name, size_t n_name) {
        char text[NODE_NAME_BYTES_MAX + 1];

        if (n_name >= sizeof text)
                return false;
        memcpy(text, name, n_name);
        text[n_name] = 0;
        for (size_t i = 0; i < n_patterns; i++)
                if (may_match(patterns[i], text) && fnmatch(patterns[i], text, 0) == 0)
                        return true;
        return false;
}

static bool owner_is(const RuleOwner *owner, const NodePeer *peer, const char *unit) {
        switch (owner->kind) {
        case RULE_OWNER_UID:
                return peer->uid != NODE_UID_UNKNOWN && peer->uid == owner->uid;
        case RULE_OWNER_UNIT:
                /* systemd's own escapes have backslashes: app@a\x2db.service */
                return unit && fnmatch(owner->pattern, unit, FNM_NOESCAPE) == 0;
        case RULE_OWNER_NOBODY:
                break;
        }
        return false;
}

static bool reservation_allows(const Reservation *reservation, const NodePeer *peer, const char *unit) {
        for (size_t i = 0; i < reservation->n_owners; i++)
                if (owner_is(reservation->owners + i, peer, unit))
                        return true;
        return false;
}

bool rules_allow(const Rules *rules, const char *name, size_t n_name, const NodePeer *peer, const char *unit,
                 const Reservation **ret_reservation) {
        const Reservation *forbids = NULL;

        for (size_t i = 0; i < rules->n_reservations; i++) {
                const Reservation *reservation = rules->reservations + i;

                if (!matches_any(reservation->patterns, reservation->n_patterns, name, n_name))
                        continue;
                if (reservation_allows(reservation, peer, unit))
                        return true;
                if (!forbids)
                        forbids = reservation;
        }
        if (forbids && ret_reservation)
                *ret_reservation = forbids;
        return !forbids;
}

bool rules_is_helper(const Rules *rules, const char *name, size_t n_name) {
        return matches_any(rules->helpers, rules->n_helpers, name, n_name);
}
