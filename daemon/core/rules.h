/* SPDX-License-Identifier: Apache-2.0 */
/* The operator's rules on names: who may register which, and which are helpers' names. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/node.h"

/* One who may register a reserved name. */
typedef enum RuleOwnerKind {
        RULE_OWNER_UID,
        RULE_OWNER_UNIT,
        RULE_OWNER_NOBODY, /* a user that does not exist: matches no one */
} RuleOwnerKind;

typedef struct RuleOwner {
        RuleOwnerKind kind;
        uid_t uid;
        char *pattern; /* RULE_OWNER_UNIT: of unit names; owned */
        char *text;    /* as the operator wrote it: "user:rabbitmq"; owned */
} RuleOwner;

/* Names that match one of `patterns` belong to one of `owners`. */
typedef struct Reservation {
        char *label;     /* for messages; owned */
        char **patterns; /* owned */
        size_t n_patterns;
        RuleOwner *owners; /* owned */
        size_t n_owners;
} Reservation;

typedef struct Rules {
        Reservation *reservations; /* owned */
        size_t n_reservations;
        char **helpers; /* patterns of names that tools take for a moment; owned */
        size_t n_helpers;
} Rules;

/* A pattern is a shell's: * ? [...], matched against the whole name, case and all (fnmatch(3)); ? is one byte. In
 * one of units a backslash stands for itself, since systemd's escapes are made of it. */

void rules_done(Rules *rules);
/* A new reservation without patterns and owners, good until the next call; NULL on ENOMEM. */
Reservation *rules_add_reservation(Rules *rules, const char *label);
int reservation_add_pattern(Reservation *reservation, const char *pattern);
/* Copies what `owner` points to. 0 or -ENOMEM. */
int reservation_add_owner(Reservation *reservation, const RuleOwner *owner);
int rules_add_helper(Rules *rules, const char *pattern);

/* True if the one described may register `name` (not terminated): it matches no reservation, or an owner of one
 * that it matches. Else `*ret_reservation` (may be NULL) is the first that forbids it. An unknown uid or unit
 * is nobody's. */
bool rules_allow(const Rules *rules, const char *name, size_t n_name, const NodePeer *peer, const char *unit,
                 const Reservation **ret_reservation);
bool rules_is_helper(const Rules *rules, const char *name, size_t n_name);
