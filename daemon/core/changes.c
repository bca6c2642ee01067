/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the last changes, in order and without a gap. Does not know what is in a record, nor who is told of it.
 *
 * The trap: a gap would go unnoticed by those who follow. So whatever cannot be remembered makes all before it
 * forgotten, too.
 */

#include "core/changes.h"

#include <string.h>

typedef struct Entry {
        ChangeRecord change; /* points into `data` */
        uint8_t data[];      /* name, record */
} Entry;

struct Changes {
        size_t n_max, n_bytes_max;
        size_t n_bytes;
        uint64_t forgotten; /* the revision up to which nothing is remembered */
        uint64_t last;      /* the revision of the last change */
        Entry *entries[];   /* by revision modulo `n_max` */
};

int changes_new(Changes **ret, size_t n_max, size_t n_bytes_max, uint64_t revision) {
        Changes *changes = calloc(1, sizeof *changes + n_max * sizeof *changes->entries);

        if (!changes)
                return -ENOMEM;
        changes->n_max = n_max;
        changes->n_bytes_max = n_bytes_max;
        changes->forgotten = changes->last = revision;
        *ret = changes;
        return 0;
}

Changes *changes_free(Changes *changes) {
        if (changes)
                changes_forget(changes, changes->last);
        free(changes);
        return NULL;
}

static Entry **changes_place(Changes *changes, uint64_t revision) {
        return changes->entries + revision % changes->n_max;
}

static void changes_forget_oldest(Changes *changes) {
        Entry **place = changes_place(changes, ++changes->forgotten);

        changes->n_bytes -= (*place)->change.n_name + (*place)->change.n_record;
        free(*place);
        *place = NULL;
}

void changes_forget(Changes *changes, uint64_t revision) {
        while (changes->forgotten < changes->last)
                changes_forget_oldest(changes);
        changes->forgotten = changes->last = revision;
}

static Entry *entry_new(const ChangeRecord *change) {
        Entry *entry = malloc(sizeof *entry + change->n_name + change->n_record);

        if (!entry)
                return NULL;
        entry->change = *change;
        entry->change.name = (const char *)entry->data;
        entry->change.record = entry->data + change->n_name;
        memcpy(entry->data, change->name, change->n_name);
        memcpy(entry->data + change->n_name, change->record, change->n_record);
        return entry;
}

int changes_add(Changes *changes, const ChangeRecord *change) {
        bool is_next = change->revision == changes->last + 1;
        Entry *entry = is_next ? entry_new(change) : NULL;

        if (!entry) {
                changes_forget(changes, change->revision);
                return is_next ? -ENOMEM : -EINVAL;
        }
        if (changes_n(changes) == changes->n_max)
                changes_forget_oldest(changes);
        changes->last = change->revision;
        *changes_place(changes, change->revision) = entry;
        changes->n_bytes += change->n_name + change->n_record;
        while (changes->n_bytes > changes->n_bytes_max)
                changes_forget_oldest(changes);
        return 0;
}

bool changes_reach_back_to(const Changes *changes, uint64_t revision) {
        return revision >= changes->forgotten && revision <= changes->last;
}

const ChangeRecord *changes_get(const Changes *changes, uint64_t revision) {
        if (revision <= changes->forgotten || revision > changes->last)
                return NULL;
        return &changes->entries[revision % changes->n_max]->change;
}

size_t changes_n(const Changes *changes) {
        return (size_t)(changes->last - changes->forgotten);
}

size_t changes_n_bytes(const Changes *changes) {
        return changes->n_bytes;
}
