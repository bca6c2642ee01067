/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how a listing is put together and which ones are still held. Does not know who reads them.
 *
 * The trap: the text must not be cut in lines when it is sent; one block, one answer.
 */

#include "serve/listing.h"

#include <assert.h>
#include <string.h>

#include "core/wire.h"
#include "serve/records.h"

struct Listings {
        struct {
                Blob *blob; /* a reference */
                uint64_t revision;
        } current[_LISTING_N];
        Blob *newest; /* of all that are alive, by Blob.older; each holds a reference */
};

Blob *blob_new(const void *data, size_t n_data) {
        Blob *blob = malloc(sizeof *blob + n_data);

        if (!blob)
                return NULL;
        *blob = (Blob){ .n_refs = 1, .n_data = n_data };
        if (data)
                memcpy(blob->data, data, n_data);
        return blob;
}

Blob *blob_ref(Blob *blob) {
        blob->n_refs++;
        return blob;
}

Blob *blob_unref(Blob *blob) {
        if (blob) {
                assert(blob->n_refs > 0);
                if (--blob->n_refs == 0)
                        free(blob);
        }
        return NULL;
}

int listings_new(Listings **ret) {
        *ret = calloc(1, sizeof **ret);
        return *ret ? 0 : -ENOMEM;
}

Listings *listings_free(Listings *listings) {
        if (!listings)
                return NULL;
        for (ListingKind kind = 0; kind < _LISTING_N; kind++)
                blob_unref(listings->current[kind].blob);
        while (listings->newest) {
                Blob *blob = listings->newest;

                listings->newest = blob->older;
                blob_unref(blob);
        }
        free(listings);
        return NULL;
}

static size_t n_bytes_needed(const Registry *registry, ListingKind kind) {
        size_t n = 0;

        for (Node *node = registry_newest(registry); node; node = node->older)
                n += WIRE_LINE_MAX - NODE_NAME_BYTES_MAX + node->info.n_name;
        if (kind == LISTING_DUMP)
                for (Node *node = registry_oldest_former(registry); node; node = node->newer)
                        n += WIRE_LINE_MAX - NODE_NAME_BYTES_MAX + node->info.n_name;
        /* The last line is written by functions that claim room for the longest. */
        return n + WIRE_LINE_MAX;
}

static Blob *listing_encode_records(const Registry *registry) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        records_put(&buffer, registry);
        return buffer.error < 0 ? NULL : blob_new(buffer.data, buffer.n_data);
}

static Blob *listing_encode_text(const Registry *registry, ListingKind kind) {
        Blob *blob = blob_new(NULL, n_bytes_needed(registry, kind)), *smaller;
        char *end;

        if (!blob)
                return NULL;
        end = (char *)blob->data;
        for (Node *node = registry_newest(registry); node; node = node->older) {
                if (node_is_elsewhere(node) || (kind == LISTING_NAMES_WITHOUT_HELPERS && node->is_helper))
                        continue;
                end += kind == LISTING_DUMP ? wire_put_dump_line(end, &node->info, node->connection_fd)
                                            : wire_put_names_line(end, &node->info);
        }
        if (kind == LISTING_DUMP)
                for (Node *node = registry_oldest_former(registry); node; node = node->newer)
                        end += wire_put_dump_old_line(end, &node->info, node->connection_fd);
        blob->n_data = (size_t)(end - (char *)blob->data);
        smaller = realloc(blob, sizeof *blob + blob->n_data);
        return smaller ? smaller : blob;
}

/* Drops those that nobody but this list holds. */
static void listings_collect(Listings *listings) {
        Blob **link = &listings->newest;

        while (*link) {
                Blob *blob = *link;

                if (blob->n_refs > 1) {
                        link = &blob->older;
                        continue;
                }
                *link = blob->older;
                blob_unref(blob);
        }
}

void listings_keep(Listings *listings, Blob *blob) {
        listings_collect(listings);
        blob->older = listings->newest;
        listings->newest = blob_ref(blob);
}

Blob *listings_get(Listings *listings, const Registry *registry, ListingKind kind) {
        uint64_t revision = registry_revision(registry);
        Blob *blob = listings->current[kind].blob;

        if (blob && listings->current[kind].revision == revision)
                return blob_ref(blob);

        blob = kind == LISTING_RECORDS ? listing_encode_records(registry)
                                       : listing_encode_text(registry, kind);
        if (!blob)
                return NULL;
        blob_unref(listings->current[kind].blob);
        listings->current[kind].blob = blob_ref(blob);
        listings->current[kind].revision = revision;
        listings_keep(listings, blob);
        return blob;
}

void listings_forget(Listings *listings) {
        for (ListingKind kind = 0; kind < _LISTING_N; kind++)
                listings->current[kind].blob = blob_unref(listings->current[kind].blob);
}

static bool listings_is_current(const Listings *listings, const Blob *blob) {
        for (ListingKind kind = 0; kind < _LISTING_N; kind++)
                if (listings->current[kind].blob == blob)
                        return true;
        return false;
}

bool listings_may_go(const Listings *listings, const Blob *blob) {
        return blob != listings->newest && !listings_is_current(listings, blob);
}

bool listings_are_too_many(Listings *listings) {
        size_t n_bytes = 0;
        bool may_go = false;

        listings_collect(listings);
        for (const Blob *blob = listings->newest; blob; blob = blob->older) {
                n_bytes += blob->n_data;
                may_go = may_go || listings_may_go(listings, blob);
        }
        return may_go && n_bytes > LISTING_BYTES_MAX;
}
