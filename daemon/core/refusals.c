/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who was refused each name last, for a bounded number of names. Does not know why one is refused, nor who
 * asks.
 *
 * The trap: whoever is refused tries again, some a thousand times a second. What is remembered is the last time;
 * what is written to the file is bounded in time for each name.
 */

#include "core/refusals.h"

#include <string.h>

/* A refusal of a name is written so long after the one that was written before, at the soonest. */
#define WRITE_INTERVAL_USEC (1 * USEC_PER_SEC)

typedef struct Entry {
        Refused refused;
        uint64_t written_usec; /* `at_usec` of the last one that was called worth writing */
        struct Entry *newer, *older;
} Entry;

struct Refusals {
        Entry *by_name[REFUSALS_MAX]; /* sorted */
        size_t n_entries;
        Entry *newest, *oldest; /* in the order in which they were noted */
};

void refused_done(Refused *refused) {
        free(refused->name);
        free(refused->unit);
        *refused = (Refused){ .name = NULL };
}

int refused_copy(const Refused *refused, Refused *ret) {
        _cleanup_(refused_done) Refused copy = *refused;

        copy.unit = NULL;
        copy.name = malloc(refused->n_name + 1);
        if (!copy.name)
                return -ENOMEM;
        memcpy(copy.name, refused->name, refused->n_name);
        copy.name[refused->n_name] = '\0';
        if (refused->unit && !(copy.unit = strdup(refused->unit)))
                return -ENOMEM;
        *ret = copy;
        copy.name = copy.unit = NULL; /* now the other's */
        return 0;
}

/* --- the index ------------------------------------------------------------------------------------ */

static int compare(const Entry *entry, const char *name, size_t n_name) {
        size_t n = entry->refused.n_name;
        int r = memcmp(entry->refused.name, name, n < n_name ? n : n_name);

        if (r != 0)
                return r;
        return n < n_name ? -1 : n > n_name;
}

/* Where `name` stands or belongs. */
static size_t seek(const Refusals *refusals, const char *name, size_t n_name, bool *ret_is_there) {
        size_t low = 0, high = refusals->n_entries;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (compare(refusals->by_name[middle], name, n_name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret_is_there = low < refusals->n_entries && compare(refusals->by_name[low], name, n_name) == 0;
        return low;
}

/* --- the order of time ---------------------------------------------------------------------------- */

static void unlink_entry(Refusals *refusals, Entry *entry) {
        *(entry->newer ? &entry->newer->older : &refusals->newest) = entry->older;
        *(entry->older ? &entry->older->newer : &refusals->oldest) = entry->newer;
        entry->newer = entry->older = NULL;
}

static void link_newest(Refusals *refusals, Entry *entry) {
        entry->older = refusals->newest;
        *(refusals->newest ? &refusals->newest->newer : &refusals->oldest) = entry;
        refusals->newest = entry;
}

/* --- life ----------------------------------------------------------------------------------------- */

static Entry *entry_free(Entry *entry) {
        if (entry)
                refused_done(&entry->refused);
        free(entry);
        return NULL;
}

int refusals_new(Refusals **ret) {
        Refusals *refusals = calloc(1, sizeof *refusals);

        if (!refusals)
                return -ENOMEM;
        *ret = refusals;
        return 0;
}

Refusals *refusals_free(Refusals *refusals) {
        if (refusals)
                for (size_t i = 0; i < refusals->n_entries; i++)
                        entry_free(refusals->by_name[i]);
        free(refusals);
        return NULL;
}

/* --- noting --------------------------------------------------------------------------------------- */

static void forget_oldest(Refusals *refusals) {
        Entry *oldest = refusals->oldest;
        bool is_there;
        size_t position = seek(refusals, oldest->refused.name, oldest->refused.n_name, &is_there);
        Entry **place = refusals->by_name + position;

        unlink_entry(refusals, oldest);
        memmove(place, place + 1, (--refusals->n_entries - position) * sizeof *place);
        entry_free(oldest);
}

/* Owned by `refusals` from here on. */
static void insert(Refusals *refusals, Entry *entry) {
        Entry **place;
        bool is_there;
        size_t position;

        if (refusals->n_entries == REFUSALS_MAX)
                forget_oldest(refusals);
        position = seek(refusals, entry->refused.name, entry->refused.n_name, &is_there);
        place = refusals->by_name + position;
        memmove(place + 1, place, (refusals->n_entries++ - position) * sizeof *place);
        *place = entry;
        link_newest(refusals, entry);
}

static int note_first(Refusals *refusals, const Refused *refused) {
        Entry *entry = calloc(1, sizeof *entry);

        if (!entry)
                return -ENOMEM;
        if (refused_copy(refused, &entry->refused) < 0) {
                entry_free(entry);
                return -ENOMEM;
        }
        entry->written_usec = refused->at_usec;
        insert(refusals, entry);
        return 1;
}

static int note_again(Refusals *refusals, Entry *entry, const Refused *refused) {
        Refused copy;
        int r = refused_copy(refused, &copy);

        if (r < 0)
                return r;
        refused_done(&entry->refused);
        entry->refused = copy;
        unlink_entry(refusals, entry);
        link_newest(refusals, entry);
        /* A clock that was set back must not keep it out of the file. */
        if (copy.at_usec >= entry->written_usec && copy.at_usec - entry->written_usec < WRITE_INTERVAL_USEC)
                return 0;
        entry->written_usec = copy.at_usec;
        return 1;
}

int refusals_note(Refusals *refusals, const Refused *refused) {
        bool is_there;
        size_t position;

        if (node_name_check(refused->name, refused->n_name) != NODE_NAME_OK)
                return 0;
        position = seek(refusals, refused->name, refused->n_name, &is_there);
        return is_there ? note_again(refusals, refusals->by_name[position], refused)
                        : note_first(refusals, refused);
}

const Refused *refusals_find(const Refusals *refusals, const char *name, size_t n_name) {
        bool is_there;
        size_t position = seek(refusals, name, n_name, &is_there);

        return is_there ? &refusals->by_name[position]->refused : NULL;
}
