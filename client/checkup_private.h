/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `rollcall check` share: checkup.c, which uses checkup_mapper.c and checkup_peer.c, and
 * checkup_connect.c, which those use. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "handshake.h"
#include "machine.h"
#include "options.h"
#include "report.h"
#include "resolve.h"
#include "row.h"
#include "target.h"

/* Erlang gives a node seven seconds to connect (net_setuptime). */
#define CHECKUP_STEP_USEC (5 * USEC_PER_SEC)

typedef struct Checkup {
        const Options *options;
        Target target;
        char *name;          /* what stands before the @; owned */
        const char *host;    /* what stands behind it, or is taken for that */
        bool is_host_given;
        bool is_long;        /* the kind of its full name */
        MachineHosts own;    /* host parts of this machine */
        uint16_t port;       /* of port mappers */
        uint64_t deadline_usec; /* CLOCK_MONOTONIC: for all of it */
        Report report;

        SocketAddress addresses[RESOLVE_ADDRESSES_MAX];
        size_t n_addresses;
        size_t chosen; /* of them: the one that Erlang would take */
        char address[ADDRESS_TEXT_MAX]; /* its text */

        bool is_rollcall;      /* the port mapper */
        Connection connection; /* its answer */
        Row row;               /* ... about the node, if has_row */
        bool has_row;

        uint16_t node_port;
        uint16_t node_version; /* the highest of the distribution protocol */

        int node_fd; /* connected to it; -1: not (any more) */
        bool is_tls;
        HandshakePeer peer; /* if has_peer */
        bool has_peer;
} Checkup;

/* When the step that has begun has to be over. */
static inline uint64_t checkup_step_deadline(const Checkup *checkup) {
        return min_u64(checkup->deadline_usec, now_usec(CLOCK_MONOTONIC) + CHECKUP_STEP_USEC);
}

/* 0 and a connection to that port at the address that was chosen, -ETIMEDOUT, other negative errno. */
int checkup_connect(const Checkup *checkup, uint16_t port, int *ret_fd);
/* Why a connection could not be made, and what may help: the same for every port but one that is closed. */
void checkup_explain_connect(Report *report, int error);

/* The steps "epmd" and "lookup": who is at the port mapper's port, and what it knows of the node. */
void checkup_port_mapper(Checkup *checkup);
void checkup_lookup(Checkup *checkup);
/* The steps "connect" and "handshake": who is at the node's port. */
void checkup_connection(Checkup *checkup);
void checkup_handshake(Checkup *checkup);
