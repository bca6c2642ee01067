/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows whose a connection is, which listener belongs to the one who registers, and who it is that listens. Does not
 * know what follows from it: it fills in an Event, and the rules decide (core/).
 *
 * The trap: one owner can have several listeners on one port, and then nothing proves which is whose. What a node has
 * already claimed is left to it, and what an awaited one had is kept for its name.
 */

#include "serve/vigil.h"

#include <stdlib.h>

#include "serve/vigil_private.h"

/* --- who asks ------------------------------------------------------------------------------------ */

bool vigil_is_local(Vigil *vigil, Conn *conn) {
        const struct sockaddr *local;
        Address peer, own;
        SocketFacts facts;

        if (address_from_sockaddr(conn_peer(conn), &peer, NULL) < 0)
                return conn_kind(conn) == CONN_CONTROL;
        if (address_is_loopback(&peer))
                return true;
        local = conn_local(conn);
        if (!local || address_from_sockaddr(local, &own, NULL) < 0)
                return false;
        if (address_equal(&peer, &own))
                return true;
        return !vigil->blind_reason &&
               listeners_find_peer(vigil->listeners, conn_peer(conn), local, &facts) == 0;
}

static int vigil_find_peer(Vigil *vigil, Conn *conn, SocketFacts *ret) {
        const struct sockaddr *local = conn_local(conn);

        if (vigil->blind_reason || !local)
                return -ENOTCONN;
        return listeners_find_peer(vigil->listeners, conn_peer(conn), local, ret);
}

int vigil_find_uid(Vigil *vigil, Conn *conn, uid_t *ret) {
        SocketFacts facts;
        int r = vigil_find_peer(vigil, conn, &facts);

        if (r < 0)
                return r;
        if (facts.uid == NODE_UID_UNKNOWN)
                return -ENOENT;
        *ret = facts.uid;
        return 0;
}

const char *vigil_find_unit(Vigil *vigil, Conn *conn) {
        SocketFacts facts;
        const char *unit;
        bool is_own;

        if (!vigil->cgroups || vigil_find_peer(vigil, conn, &facts) < 0 || facts.cgroup_id == 0 ||
            cgroups_find_unit(vigil->cgroups, facts.cgroup_id, &unit, &is_own) < 0)
                return NULL;
        return unit;
}

/* --- which listener is his ----------------------------------------------------------------------- */

/* An awaited node does not claim its listener, nor does one that has not registered: whoever comes may be that node. */
static bool cookie_is_claimed(uint64_t cookie, void *userdata) {
        const Node *node = registry_find_by_cookie(userdata, cookie);

        while (node && (node->facts.is_awaited || node_is_static(node)))
                node = registry_next_by_cookie(userdata, node);
        return node;
}

typedef struct Namesake {
        const Registry *registry;
        const NodeInfo *info;
} Namesake;

static bool cookie_is_no_namesakes(uint64_t cookie, void *userdata) {
        const Namesake *namesake = userdata;
        const NodeInfo *info = namesake->info;
        const Node *node = registry_find_by_cookie(namesake->registry, cookie);

        for (; node; node = registry_next_by_cookie(namesake->registry, node))
                if (node->facts.is_awaited && node_info_has_name(&node->info, info->name, info->n_name))
                        return false;
        return true;
}

static bool registry_awaits(const Registry *registry, const NodeInfo *info) {
        Node *node = NULL;

        while ((node = registry_find_name(registry, info->name, info->n_name, node)))
                if (node->facts.is_awaited)
                        return true;
        return false;
}

/* Of several listeners of one owner on one port: that of an awaited node of this very name, or one that no other
 * node has claimed. */
static int vigil_match_listener(Vigil *vigil, const NodeInfo *info, const NodePeer *peer, bool ipv6,
                                const ListenersDialled *dialled, NodeListener *ret) {
        Namesake namesake = { vigil->registry, info };

        if (registry_awaits(vigil->registry, info) &&
            listeners_find_listener(vigil->listeners, info->port, ipv6, peer, dialled, cookie_is_no_namesakes,
                                    &namesake, ret) == 0 &&
            !cookie_is_no_namesakes(ret->cookie, &namesake))
                return 0;
        return listeners_find_listener(vigil->listeners, info->port, ipv6, peer, dialled, cookie_is_claimed,
                                       vigil->registry, ret);
}

/* --- what is known of him ------------------------------------------------------------------------ */

/* event->peer has what is known. */
static void vigil_examine_unit(Vigil *vigil, Event *event) {
        int r;

        event->unit = NULL;
        if (!vigil->cgroups || event->peer.cgroup_id == 0)
                return;
        r = cgroups_find_unit(vigil->cgroups, event->peer.cgroup_id, &event->unit, &event->is_unit_own);
        if (r < 0)
                event->unit = NULL;
        event->is_unit_late = r == -EAGAIN;
}

void vigil_examine(Vigil *vigil, Conn *conn, Event *event) {
        const struct sockaddr *local = conn_local(conn);
        ListenersDialled dialled;
        SocketFacts facts;

        event->peer = (NodePeer){ .uid = NODE_UID_UNKNOWN };
        event->listener = (NodeListener){ 0 };
        event->unit = NULL;
        vigil_settle_name(vigil, &event->info);
        if (vigil->blind_reason || !local ||
            listeners_find_peer_and_dialled(vigil->listeners, conn_peer(conn), local, event->info.port, &facts,
                                            &dialled) < 0)
                return;
        event->peer = (NodePeer){ .uid = facts.uid, .cgroup_id = facts.cgroup_id };
        if (vigil_match_listener(vigil, &event->info, &event->peer, facts.ipv6, &dialled, &event->listener) < 0)
                event->listener = (NodeListener){ 0 };
        vigil_examine_unit(vigil, event);
}

void vigil_examine_listener(Vigil *vigil, const SocketFacts *listener, Event *event) {
        event->peer = (NodePeer){ .uid = listener->uid, .cgroup_id = listener->cgroup_id };
        event->listener = (NodeListener){
                .cookie = listener->cookie,
                .address = listener->local,
                .ipv6 = listener->ipv6,
        };
        vigil_examine_unit(vigil, event);
}

/* --- who is reached at a port -------------------------------------------------------------------- */

int vigil_take_picture(Vigil *vigil, VigilPicture *ret) {
        if (vigil->blind_reason)
                return -ENOTCONN;
        return listeners_snapshot(vigil->listeners, &ret->sockets, &ret->n_sockets);
}

void vigil_picture_done(VigilPicture *picture) {
        free(picture->sockets);
        *picture = (VigilPicture){ 0 };
}

/* One that listens on all addresses is preferred. */
static const SocketFacts *picture_find_port(const VigilPicture *picture, uint16_t port) {
        const SocketFacts *found = NULL;

        for (size_t i = 0; i < picture->n_sockets; i++) {
                const SocketFacts *socket = picture->sockets + i;

                if (socket->local_port != port || socket->inode == 0)
                        continue;
                if (!found || (address_is_any(&socket->local) && !address_is_any(&found->local)))
                        found = socket;
        }
        return found;
}

static int vigil_find_reached_on_loopback(Vigil *vigil, uint16_t port, SocketFacts *ret) {
        static const Address loopbacks[] = {
                { { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } },
                { { [15] = 1 } },
        };
        int r = -ENOENT;

        for (size_t i = 0; i < ELEMENTS(loopbacks) && r == -ENOENT; i++)
                r = listeners_find_reached(vigil->listeners, loopbacks + i, port, ret);
        return r;
}

int vigil_find_reached(Vigil *vigil, const VigilPicture *picture, const Address *address, uint16_t port,
                       SocketFacts *ret) {
        const SocketFacts *found;

        if (vigil->blind_reason)
                return -ENOTCONN;
        if (!address_is_any(address))
                return listeners_find_reached(vigil->listeners, address, port, ret);
        if (!picture)
                return vigil_find_reached_on_loopback(vigil, port, ret);
        found = picture_find_port(picture, port);
        if (!found)
                return -ENOENT;
        *ret = *found;
        return 0;
}
