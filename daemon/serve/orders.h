/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the control protocol that change something: a node announces itself, an operator releases a name. */
#pragma once

#include "core/control.h"
#include "serve/conn.h"
#include "serve/ledger.h"
#include "serve/pending.h"
#include "serve/vigil.h"

typedef struct Orders Orders;

/* All of these are borrowed. */
typedef struct OrdersParts {
        const Registry *registry;
        Ledger *ledger;
        Vigil *vigil;
        Pending *pending;
} OrdersParts;

/* 0 or -ENOMEM. */
int orders_new(Orders **ret, const OrdersParts *parts);
Orders *orders_free(Orders *orders);
DEFINE_CLEANUP(Orders *, orders_free)

/* Each answers `conn` with what became of the node, once that is on disk (P1), or with an error. An announcement is
 * taken from whoever registered the name, or root; with a CREATION it must be the node's. */
void orders_announce(Orders *orders, Conn *conn, const ControlRequest *request);
/* Taken from root and from the daemon's own user. */
void orders_release(Orders *orders, Conn *conn, const ControlRequest *request);
