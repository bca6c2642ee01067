/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how it is found out who asks, and whether he may. Does not know what there is to be asked, nor how one is answered
 * who may not.
 *
 * The trap: whoever may not ask is named in the log once: otherwise one that scans the network fills it.
 */

#include "serve/gate.h"

#include "log.h"

/* Of those who may not ask, so many are remembered, so that each is named in the log once. */
#define DENIED_REMEMBERED 256

struct Gate {
        Vigil *vigil;
        Counters *counters;
        Address denied[DENIED_REMEMBERED];
        size_t n_denied; /* in all; the newest takes the oldest one's place */
};

int gate_new(Gate **ret, Vigil *vigil, Counters *counters) {
        Gate *gate = calloc(1, sizeof *gate);

        if (!gate)
                return -ENOMEM;
        gate->vigil = vigil;
        gate->counters = counters;
        *ret = gate;
        return 0;
}

Gate *gate_free(Gate *gate) {
        free(gate);
        return NULL;
}

Party gate_find_party(Gate *gate, Conn *conn) {
        Address peer;
        uid_t uid;

        if (conn_get_peer_uid(conn, &uid) == 0 || vigil_find_uid(gate->vigil, conn, &uid) == 0)
                return party_of_user(uid);
        if (address_from_sockaddr(conn_peer(conn), &peer, NULL) < 0 || vigil_is_local(gate->vigil, conn))
                return party_of_user(NODE_UID_UNKNOWN);
        return party_of_address(&peer);
}

bool gate_is_open(Gate *gate, Conn *conn, const AccessList *list) {
        Address peer;

        if (list && address_from_sockaddr(conn_peer(conn), &peer, NULL) == 0 && access_list_contains(list, &peer))
                return true;
        return vigil_is_local(gate->vigil, conn);
}

static bool gate_is_first_denial(Gate *gate, const Conn *conn) {
        size_t n = gate->n_denied < DENIED_REMEMBERED ? gate->n_denied : DENIED_REMEMBERED;
        Address peer;

        if (address_from_sockaddr(conn_peer(conn), &peer, NULL) < 0)
                return true;
        for (size_t i = 0; i < n; i++)
                if (address_equal(gate->denied + i, &peer))
                        return false;
        gate->denied[gate->n_denied++ % DENIED_REMEMBERED] = peer;
        return true;
}

void gate_note_denied(Gate *gate, const Conn *conn, const char *what) {
        gate->counters->n_denied++;
        if (gate_is_first_denial(gate, conn))
                log_event(LOG_NOTICE, LOG_EVENT_DENIED, &(LogFields){ .peer = conn_peer_text(conn) },
                          "%s may not ask for %s and is refused; further requests of that address are counted only",
                          conn_peer_text(conn), what);
        else
                log_debug("** %s may not ask for %s", conn_peer_text(conn), what);
}
