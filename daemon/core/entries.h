/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator has ordered about names: static entries (nodes that do not register) and pinned ports. Plain data
 * and ordered lists of it. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/address.h"
#include "core/node.h"
#include "util.h"

/* P6: an operator's lists, too, are walked once a second, and told in one answer. */
#define ENTRIES_STATICS_MAX 1000
#define ENTRIES_PINS_MAX 4096

/* Who may be named: "uid 0", or the path of a file. */
#define ENTRY_BY_BYTES_MAX 4200

/* A static entry; or a pinned port, which has neither an address nor a host. */
typedef struct Entry {
        char *name; /* terminated; owned, like the other texts */
        size_t n_name; /* bytes */
        Address address; /* "any": of this machine */
        uint16_t port;
        char *host; /* the host part of the full name, or NULL: not known */
        uint64_t since_usec; /* CLOCK_REALTIME */
        char *by;
} Entry;

void entry_done(Entry *entry);
/* A copy for another owner. 0 or -ENOMEM. */
int entry_copy(const Entry *entry, Entry *ret);
/* True if both say the same of the same name, whoever said it and when. */
bool entry_says_the_same(const Entry *a, const Entry *b);

/* By name (bytes), then address; no two have both in common. Begins as all zero. */
typedef struct Entries {
        Entry *entries; /* owned */
        size_t n_entries, n_room;
} Entries;

void entries_done(Entries *entries);
int entries_copy(const Entries *entries, Entries *ret);

/* NULL: there is none. Good until the list changes. */
const Entry *entries_find(const Entries *entries, const char *name, size_t n_name, const Address *address);
/* The first of that name, and how many there are. */
const Entry *entries_find_name(const Entries *entries, const char *name, size_t n_name, size_t *ret_n);
/* The first with that port, or NULL. */
const Entry *entries_find_port(const Entries *entries, uint16_t port);

/* Room for one more, so that entries_put() cannot fail. 0 or -ENOMEM. */
int entries_reserve(Entries *entries);
/* Takes what `entry` has, in place of the one with its name and address. There must be room. */
void entries_put(Entries *entries, Entry *entry);
/* Takes it away, if it is there. */
void entries_remove(Entries *entries, const char *name, size_t n_name, const Address *address);
