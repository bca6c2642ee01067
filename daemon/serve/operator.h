/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol: who may ask what, and status. The rest is answered by others. */
#pragma once

#include "core/access.h"
#include "serve/blame.h"
#include "serve/conn.h"
#include "serve/counters.h"
#include "serve/entry_orders.h"
#include "serve/find.h"
#include "serve/gate.h"
#include "serve/inquiry.h"
#include "serve/ledger.h"
#include "serve/listing.h"
#include "serve/orders.h"
#include "serve/pending.h"
#include "serve/registrar.h"
#include "serve/sockets.h"
#include "serve/statics.h"
#include "serve/unit_states.h"
#include "serve/vigil.h"
#include "serve/watch.h"
#include "state/fdstore.h"
#include "state/store.h"

/* All of these are borrowed and outlive the operator's desk. */
typedef struct OperatorParts {
        const Registry *registry;
        const ListenSockets *sockets;
        Store *store;
        Ledger *ledger;
        Vigil *vigil;
        Gate *gate;
        const Blame *blame;
        const AccessList *list_from; /* P7; may change meanwhile */
        Conns *conns;
        Listings *listings;
        Fdstore *fdstore;
        UnitStates *unit_states;
        Registrar *registrar;
        Inquiry *inquiry;
        Orders *orders;
        Watch *watch;
        Pending *pending;
        Statics *statics;
        EntryOrders *entry_orders;
        Counters *counters;
        const char *boot_id;       /* or NULL */
        uint64_t started_usec;     /* CLOCK_REALTIME */
        size_t n_nodes_per_uid_max;
        const char *config_reason; /* what is wrong with the configuration, or NULL */
        char *const *config_files; /* that are in force */
        size_t n_config_files;
} OperatorParts;

/* True if the peer of `conn`, a TCP connection, may find and watch (P7). */
bool operator_may_watch(const OperatorParts *parts, Conn *conn);

/* A request's body that came on the control socket; answers `conn`. */
void operator_on_request(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body);
/* One that came over TCP, where one may find and watch, and a node may announce itself. False: it does not mean to be a
 * request of the control protocol, and nothing has happened. */
bool operator_on_tcp_request(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body);
