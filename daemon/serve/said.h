/* SPDX-License-Identifier: Apache-2.0 */
/* What requests that order something say, out of their fields. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/control.h"
#include "core/node.h"
#include "serve/selection.h"

/* A node's of itself. */
typedef struct SaidAnnouncement {
        Selection selection;
        bool has_creation;
        uint64_t creation; /* as it was said: what does not fit 32 bits is nobody's */
        NodeAnnounced announced;
        NodeProfile profile; /* owned */
} SaidAnnouncement;

void said_announcement_done(SaidAnnouncement *announcement);
/* NULL, or what is wrong, in words. `*announcement` begins as all zero, and is done with in either case. */
const char *said_announcement_parse(const ControlRequest *request, SaidAnnouncement *announcement);

/* An operator's of an entry or a pin; texts borrow from the request. */
typedef struct SaidEntry {
        Selection selection;
        uint64_t port;
        const char *host;
        size_t n_host;
        Address address;
        bool has_address;
} SaidEntry;

/* NULL, or what is wrong, in words. */
const char *said_entry_parse(const ControlRequest *request, bool needs_port, SaidEntry *ret);
