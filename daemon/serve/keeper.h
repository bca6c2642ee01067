/* SPDX-License-Identifier: Apache-2.0 */
/* Whose connection is in the fd store: put there when it has been answered, taken out when its registration ends,
 * given back at start. */
#pragma once

#include <systemd/sd-event.h>

#include "core/reconcile.h"
#include "serve/conn.h"
#include "serve/ledger.h"
#include "state/fdstore.h"

#define KEEPER_GRACE_USEC (3 * USEC_PER_SEC)

typedef struct Keeper Keeper;

/* Takes what is in `kept`, which systemd has handed back. Borrows the rest; `port` is what EPMD's clients are told
 * by connections that are adopted. 0 or -ENOMEM. */
int keeper_new(Keeper **ret, sd_event *event, Fdstore *fdstore, Conns *conns, FdstoreKeptList *kept, uint16_t port);
Keeper *keeper_free(Keeper *keeper);
DEFINE_CLEANUP(Keeper *, keeper_free)

/* What the fd store says of a row. */
ConnectionEvidence keeper_evidence_of(Keeper *keeper, const Node *node);
/* Gives `node` its connection back, which keeper_evidence_of() has called open. 0 or negative errno. */
int keeper_adopt(Keeper *keeper, Node *node);
/* A node, as the name of its stored connection tells of it, with that connection, which is open: one whose row has not
 * been found. The caller owns it and registers it, or gives its connection up and frees it. NULL: there is none (any
 * more). */
Node *keeper_take_rowless(Keeper *keeper);
void keeper_give_up(Keeper *keeper, Conn *conn);
/* Every row and every name has been looked at: what nobody wants is closed, so that its node comes back. Where the file could not
 * be read yet (`is_final` false) it is kept for KEEPER_GRACE_USEC more: a node that is closed is back in 2 s, one that
 * is kept without a row is found by nobody. */
void keeper_release_rest(Keeper *keeper, bool is_final);

/* To be told all news of the ledger. */
void keeper_on_news(Keeper *keeper, const LedgerNews *news);
/* The node behind it knows that it is registered. */
void keeper_on_answered(Keeper *keeper, Conn *conn);
