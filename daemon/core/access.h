/* SPDX-License-Identifier: Apache-2.0 */
/* P7: who may ask what, by network. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/address.h"

/* Who beside this machine may ask. This machine always may. */
typedef struct AccessList {
        bool is_any;
        Network *networks; /* owned */
        size_t n_networks;
} AccessList;

void access_list_done(AccessList *list);
/* Adds one word of --lookup-from or --list-from: "any", "local" (nobody else), or a network. 0; -EINVAL: it
 * is none of these; -ENOMEM. */
int access_list_add(AccessList *list, const char *word);
/* True if `peer` may ask, wherever it is. False says only that it must be local. */
bool access_list_contains(const AccessList *list, const Address *peer);
