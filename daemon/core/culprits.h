/* SPDX-License-Identifier: Apache-2.0 */
/* Who had more connections than there was room for, lately: a bounded memory. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/party.h"

#define CULPRITS_MAX 16 /* beyond it the one is forgotten who was seen longest ago (P6) */
#define CULPRIT_UNIT_MAX 256

typedef enum CulpritDeed {
        CULPRIT_SHED, /* a connection of his was closed */
        CULPRIT_BUSY, /* he was told that too many of his are held, or watch, already */
        _CULPRIT_DEED_N,
} CulpritDeed;

typedef struct Culprit {
        Party party;
        char unit[CULPRIT_UNIT_MAX]; /* of the last connection that it was known of; empty: of none */
        uint64_t n_times[_CULPRIT_DEED_N];
        uint64_t n_told[_CULPRIT_DEED_N]; /* of these, in the log */
        uint64_t since_usec, last_usec;   /* CLOCK_REALTIME */
        uint64_t told_usec;               /* CLOCK_MONOTONIC; 0: never */
} Culprit;

typedef struct Culprits {
        Culprit culprits[CULPRITS_MAX];
        size_t n_culprits;
} Culprits;

/* Good until the next call. */
Culprit *culprits_note(Culprits *culprits, const Party *party, CulpritDeed deed, uint64_t at_usec);
/* True if something of what he did is not in the log yet. */
bool culprit_has_news(const Culprit *culprit);
/* When that is to be in the log: at once if he was not named for `interval_usec`. CLOCK_MONOTONIC. */
uint64_t culprit_news_due(const Culprit *culprit, uint64_t interval_usec);
/* It is. */
void culprit_set_told(Culprit *culprit, uint64_t now_usec);
