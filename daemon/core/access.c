/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which networks may ask. Does not know how it is found out that a peer is on this machine. */

#include "core/access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void access_list_done(AccessList *list) {
        free(list->networks);
        *list = (AccessList){ 0 };
}

int access_list_add(AccessList *list, const char *word) {
        Network network, *networks;

        if (strcmp(word, "any") == 0) {
                list->is_any = true;
                return 0;
        }
        if (strcmp(word, "local") == 0)
                return 0;
        if (network_parse(word, &network) < 0)
                return -EINVAL;
        networks = reallocarray(list->networks, list->n_networks + 1, sizeof *networks);
        if (!networks)
                return -ENOMEM;
        networks[list->n_networks++] = network;
        list->networks = networks;
        return 0;
}

bool access_list_contains(const AccessList *list, const Address *peer) {
        if (list->is_any)
                return true;
        for (size_t i = 0; i < list->n_networks; i++)
                if (network_contains(list->networks + i, peer))
                        return true;
        return false;
}
