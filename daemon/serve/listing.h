/* SPDX-License-Identifier: Apache-2.0 */
/* Listings (NAMES, DUMP, the control protocol's): encoded once for a revision of the registry, shared by all who read them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/registry.h"

/* What all texts that slow readers still hold may take together (P6); above it the readers of the oldest
 * are shed. One text is at most about 1 KiB a node. */
#define LISTING_BYTES_MAX (64 * 1024 * 1024)

/* A block of bytes with a count of who needs it. Also what remains of any answer that did not fit the
 * socket. */
typedef struct Blob {
        unsigned n_refs;
        size_t n_data;
        struct Blob *older; /* listings only: the one before */
        uint8_t data[];
} Blob;

/* One reference, the caller's. NULL on ENOMEM. `data` NULL: left to the caller to fill. */
Blob *blob_new(const void *data, size_t n_data);
Blob *blob_ref(Blob *blob);
/* Takes NULL, returns NULL. */
Blob *blob_unref(Blob *blob);
DEFINE_CLEANUP(Blob *, blob_unref)

typedef enum ListingKind {
        LISTING_NAMES,
        LISTING_NAMES_WITHOUT_HELPERS,
        LISTING_DUMP,
        LISTING_RECORDS, /* the control protocol's, a whole answer */
        _LISTING_N,
} ListingKind;

typedef struct Listings Listings;

int listings_new(Listings **ret);
Listings *listings_free(Listings *listings);
DEFINE_CLEANUP(Listings *, listings_free)

/* The registry as it is now; the texts without the port at their head. One reference, the caller's. NULL on
 * ENOMEM. */
Blob *listings_get(Listings *listings, const Registry *registry, ListingKind kind);
/* Counts `blob`, an answer of somebody's own, as long as somebody reads it. */
void listings_keep(Listings *listings, Blob *blob);
/* What was encoded is out of date though the revision is the same: the rules on names have changed. */
void listings_forget(Listings *listings);
/* True if those that are read slowly take more than LISTING_BYTES_MAX, and some of them might go. */
bool listings_are_too_many(Listings *listings);
/* False of those that are current, and of the newest, which may be as long as it is. */
bool listings_may_go(const Listings *listings, const Blob *blob);
