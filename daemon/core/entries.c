/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows an order and binary search. Does not know what follows from an entry (serve/statics), nor where it is kept.
 */

#include "core/entries.h"

#include <assert.h>
#include <string.h>

#define ROOM_AT_FIRST 8

void entry_done(Entry *entry) {
        free(entry->name);
        free(entry->host);
        free(entry->by);
        *entry = (Entry){ 0 };
}

int entry_copy(const Entry *entry, Entry *ret) {
        _cleanup_(entry_done) Entry copy = {
                .n_name = entry->n_name,
                .address = entry->address,
                .port = entry->port,
                .since_usec = entry->since_usec,
        };

        copy.name = strndup(entry->name, entry->n_name);
        if (!copy.name || (entry->host && !(copy.host = strdup(entry->host))) ||
            (entry->by && !(copy.by = strdup(entry->by))))
                return -ENOMEM;
        *ret = copy;
        copy = (Entry){ 0 };
        return 0;
}

bool entry_says_the_same(const Entry *a, const Entry *b) {
        if (!a->host != !b->host || (a->host && strcmp(a->host, b->host) != 0))
                return false;
        return a->port == b->port &&
               node_compare_key(a->name, a->n_name, &a->address, b->name, b->n_name, &b->address) == 0;
}

void entries_done(Entries *entries) {
        for (size_t i = 0; i < entries->n_entries; i++)
                entry_done(entries->entries + i);
        free(entries->entries);
        *entries = (Entries){ 0 };
}

/* The position of the first that is not before the key. */
static size_t seek(const Entries *entries, const char *name, size_t n_name, const Address *address) {
        size_t low = 0, high = entries->n_entries;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Entry *entry = entries->entries + middle;

                if (node_compare_key(entry->name, entry->n_name, &entry->address, name, n_name, address) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool has_name(const Entries *entries, size_t position, const char *name, size_t n_name) {
        const Entry *entry;

        if (position >= entries->n_entries)
                return false;
        entry = entries->entries + position;
        return entry->n_name == n_name && memcmp(entry->name, name, n_name) == 0;
}

static bool is_at(const Entries *entries, size_t position, const char *name, size_t n_name, const Address *address) {
        return has_name(entries, position, name, n_name) &&
               address_equal(&entries->entries[position].address, address);
}

const Entry *entries_find(const Entries *entries, const char *name, size_t n_name, const Address *address) {
        size_t position = seek(entries, name, n_name, address);

        return is_at(entries, position, name, n_name, address) ? entries->entries + position : NULL;
}

const Entry *entries_find_name(const Entries *entries, const char *name, size_t n_name, size_t *ret_n) {
        size_t first = seek(entries, name, n_name, &ADDRESS_ANY), end = first;

        while (has_name(entries, end, name, n_name))
                end++;
        *ret_n = end - first;
        return end > first ? entries->entries + first : NULL;
}

const Entry *entries_find_port(const Entries *entries, uint16_t port) {
        for (size_t i = 0; i < entries->n_entries; i++)
                if (entries->entries[i].port == port)
                        return entries->entries + i;
        return NULL;
}

int entries_reserve(Entries *entries) {
        size_t n_room = entries->n_room ? 2 * entries->n_room : ROOM_AT_FIRST;
        Entry *grown;

        if (entries->n_entries < entries->n_room)
                return 0;
        grown = reallocarray(entries->entries, n_room, sizeof *grown);
        if (!grown)
                return -ENOMEM;
        entries->entries = grown;
        entries->n_room = n_room;
        return 0;
}

void entries_put(Entries *entries, Entry *entry) {
        size_t position = seek(entries, entry->name, entry->n_name, &entry->address);
        Entry *place = entries->entries + position;

        if (is_at(entries, position, entry->name, entry->n_name, &entry->address))
                entry_done(place);
        else {
                assert(entries->n_entries < entries->n_room);
                memmove(place + 1, place, (entries->n_entries - position) * sizeof *place);
                entries->n_entries++;
        }
        *place = *entry;
        *entry = (Entry){ 0 };
}

void entries_remove(Entries *entries, const char *name, size_t n_name, const Address *address) {
        size_t position = seek(entries, name, n_name, address);
        Entry *place;

        if (!is_at(entries, position, name, n_name, address))
                return;
        place = entries->entries + position;
        entry_done(place);
        entries->n_entries--;
        memmove(place, place + 1, (entries->n_entries - position) * sizeof *place);
}

int entries_copy(const Entries *entries, Entries *ret) {
        _cleanup_(entries_done) Entries copy = { 0 };

        for (size_t i = 0; i < entries->n_entries; i++) {
                Entry entry;

                if (entries_reserve(&copy) < 0 || entry_copy(entries->entries + i, &entry) < 0)
                        return -ENOMEM;
                copy.entries[copy.n_entries++] = entry;
        }
        *ret = copy;
        copy = (Entries){ 0 };
        return 0;
}
