/* SPDX-License-Identifier: Apache-2.0 */
/* Whose a connection is: a user's of this machine, or an address's elsewhere. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/address.h"
#include "core/node.h"

typedef struct Party {
        Address address; /* "any": a user of this machine. Of IPv6 the network, since one machine has all of a /64 */
        uid_t uid;       /* of this machine only; NODE_UID_UNKNOWN where it cannot be told: all those are one */
} Party;

#define PARTY_TEXT_MAX 64

Party party_of_user(uid_t uid);
Party party_of_address(const Address *address);
bool party_is_user(const Party *party);
bool party_equal(const Party *a, const Party *b);
/* Differs with `seed`, so that nobody can choose addresses that fall together. */
uint64_t party_hash(const Party *party, uint64_t seed);

/* "10.0.0.7", "2001:db8::/64", "uid 1000", "a user that is not known"; returns `text`. */
const char *party_format(const Party *party, char text[static PARTY_TEXT_MAX]);
