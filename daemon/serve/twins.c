/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which nodes could have been mistaken for one another. Does not know what became of them. */

#include "serve/twins.h"

bool twins_are(const Node *a, const Node *b) {
        return a != b && !node_is_static(a) && !node_is_static(b) &&
               node_info_has_name(&a->info, b->info.name, b->info.n_name) && a->info.port == b->info.port &&
               a->peer.uid == b->peer.uid && a->peer.uid != NODE_UID_UNKNOWN &&
               a->peer.cgroup_id == b->peer.cgroup_id && a->listener.cookie != 0 && b->listener.cookie != 0;
}

Node *twins_next(const Registry *registry, const Node *node, bool is_connected, const Node *after) {
        Node *other = registry_find_name(registry, node->info.name, node->info.n_name, after);

        while (other && !(twins_are(node, other) && (other->connection != NULL) == is_connected))
                other = registry_find_name(registry, node->info.name, node->info.n_name, other);
        return other;
}
