/* SPDX-License-Identifier: Apache-2.0 */
/* Who has how many places, who goes first where there are too few, and who may have one more. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/party.h"
#include "util.h"

/* What a connection is counted as. Registered ones are counted by the registry, for each user. */
typedef enum PlaceKind {
        PLACE_PASSING, /* read from or answered: whoever has most of these makes room */
        PLACE_HELD,    /* waits for a name, or for the disk to take an order */
        PLACE_FINDING, /* waits for the disk to have what was found */
        PLACE_ASKING,  /* waits for what the file says */
        PLACE_STREAM,
        _PLACE_N,
} PlaceKind;

typedef struct Shares Shares;
typedef struct Account Account;

/* One place that somebody has; part of whatever has it, and zero to begin with. */
typedef struct Place {
        struct Place *older, *newer; /* of the same account, or of those that have no name yet */
        Account *account;
        uint64_t number; /* in the order in which they were taken; 0: it is not taken */
        size_t n_bytes;
        PlaceKind kind;
} Place;

int shares_new(Shares **ret, uint64_t seed);
/* No place may be taken any more. */
Shares *shares_free(Shares *shares);
DEFINE_CLEANUP(Shares *, shares_free)

/* A passing place whose party is not known yet. */
void shares_take_unnamed(Shares *shares, Place *place);
/* Gives one of those to `party`; without memory for a new party, to the user that is not known. */
void shares_name(Shares *shares, Place *place, const Party *party);
/* NULL: all have a name. */
Place *shares_oldest_unnamed(const Shares *shares);
void shares_take(Shares *shares, Place *place, PlaceKind kind, const Party *party);
/* Fine with one that is not taken. */
void shares_leave(Shares *shares, Place *place);

/* What is kept in memory for one that is taken; forgotten when it is left. */
void shares_weigh(Place *place, size_t n_bytes);
/* The same for all places of whoever has it; for one without a name that of its own. */
size_t shares_n_bytes_of_party(const Place *place);

/* Of the party that has most passing places, the oldest of these; of several that have as many, the oldest of all.
 * NULL: none has a name. */
Place *shares_find_culprit(const Shares *shares);
/* NULL: it has no name, or is not taken. */
const Party *place_party(const Place *place);
size_t shares_n_of(const Shares *shares, const Party *party, PlaceKind kind);
/* In all. */
size_t shares_n_taken(const Shares *shares, PlaceKind kind);

/* True if whoever has `n_own` of all `n_taken` places may have one more of `n_max`: as many must be free then as he has.
 * So nobody can take them all: one has half at most, two have three quarters, and there is a first one left for whoever
 * comes. Below half of all it need not be known who it is. */
bool shares_allow(size_t n_own, size_t n_taken, size_t n_max);
/* True if places become scarce, so that it has to be known whose they are. */
bool shares_are_scarce(size_t n_taken, size_t n_max);
