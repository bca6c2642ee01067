/* SPDX-License-Identifier: Apache-2.0 */
/* Knows who counts as one. Does not know how it is found out who somebody is (serve/gate). */

#include "core/party.h"

#include <stdio.h>
#include <string.h>

#include "core/hash.h"

/* Of IPv6: what a provider gives to one customer at least. */
#define NETWORK_BYTES 8

/* ::/64 is given to nobody, and "any" stands for users: whoever comes from there all the same must not count as root. */
static bool party_is_network(const Party *party) {
        static const uint8_t zeroes[NETWORK_BYTES];

        return !address_is_ipv4(&party->address) && memcmp(party->address.bytes, zeroes, sizeof zeroes) != 0;
}

Party party_of_user(uid_t uid) {
        return (Party){ .address = ADDRESS_ANY, .uid = uid };
}

Party party_of_address(const Address *address) {
        Party party = { .address = *address };

        if (party_is_network(&party))
                memset(party.address.bytes + NETWORK_BYTES, 0, sizeof party.address.bytes - NETWORK_BYTES);
        return party;
}

bool party_is_user(const Party *party) {
        return address_is_any(&party->address);
}

bool party_equal(const Party *a, const Party *b) {
        return a->uid == b->uid && address_equal(&a->address, &b->address);
}

uint64_t party_hash(const Party *party, uint64_t seed) {
        uint64_t halves[2];

        memcpy(halves, party->address.bytes, sizeof halves);
        return hash_mix(hash_mix(hash_mix(seed ^ halves[0]) ^ halves[1]) ^ party->uid);
}

const char *party_format(const Party *party, char text[static PARTY_TEXT_MAX]) {
        char address[ADDRESS_TEXT_MAX];

        if (!party_is_user(party))
                snprintf(text, PARTY_TEXT_MAX, party_is_network(party) ? "%s/64" : "%s",
                         address_format(&party->address, address));
        else if (party->uid == NODE_UID_UNKNOWN)
                snprintf(text, PARTY_TEXT_MAX, "a user that is not known");
        else
                snprintf(text, PARTY_TEXT_MAX, "uid %u", party->uid);
        return text;
}
