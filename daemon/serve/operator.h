/* SPDX-License-Identifier: Apache-2.0 */
/* Answers requests of the control protocol: status and names. */
#pragma once

#include "serve/conn.h"
#include "serve/counters.h"
#include "serve/ledger.h"
#include "serve/listing.h"
#include "serve/vigil.h"
#include "serve/sockets.h"
#include "state/store.h"

/* All of these are borrowed and outlive the operator's desk. */
typedef struct OperatorParts {
        const Registry *registry;
        const ListenSockets *sockets;
        Store *store;
        Ledger *ledger;
        Vigil *vigil;
        Conns *conns;
        Listings *listings;
        const Counters *counters;
        const char *boot_id;       /* or NULL */
        uint64_t started_usec;     /* CLOCK_REALTIME */
        size_t n_nodes_per_uid_max;
} OperatorParts;

/* A request's body that came on the control socket; answers `conn`. */
void operator_on_request(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body);
