/* SPDX-License-Identifier: Apache-2.0 */
/* P3: keeps the registry true: evidence for newcomers, the reconciliation at start, listeners that close,
 * awaited nodes that do not come back. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "core/registry.h"
#include "evidence/cgroup.h"
#include "evidence/listeners.h"
#include "serve/conn.h"
#include "serve/counters.h"
#include "serve/keeper.h"
#include "serve/ledger.h"
#include "state/store.h"

/* How often every listener is asked for. */
#define VIGIL_REVIEW_USEC (60 * USEC_PER_SEC)

typedef struct Vigil Vigil;

/* Opens the kernel's side and begins to listen to it. `listener_fd` is one of the daemon's own TCP listeners
 * (-1: it has none), by which the daemon proves that it can see; if it cannot, that is logged and
 * connections alone count. Borrows `event`, `registry`, `ledger`, `counters`. */
int vigil_new(Vigil **ret, sd_event *event, Registry *registry, Ledger *ledger, Counters *counters,
              int listener_fd, uint64_t review_usec);
Vigil *vigil_free(Vigil *vigil);
DEFINE_CLEANUP(Vigil *, vigil_free)

/* Why the kernel's word on listeners cannot be had; NULL: it can. */
const char *vigil_blind_reason(const Vigil *vigil);
/* True if it can be told which systemd unit a node belongs to. */
bool vigil_knows_units(const Vigil *vigil);
/* In words: "connections and listening sockets", "connections only (...)". Returns `text`. */
const char *vigil_describe_evidence(const Vigil *vigil, char *text, size_t n_text);

/* True if the peer of `conn` is on this machine: a loopback address, the address it asked on, or a socket
 * of our kernel. */
bool vigil_is_local(Vigil *vigil, Conn *conn);

/* What the kernel knows of the one who registers: whose process, which listener, which unit. Fills
 * event->peer, listener and unit (good until the next call); what is not known stays unknown. */
void vigil_examine(Vigil *vigil, Conn *conn, Event *event);

/* Who listens at this moment, for several questions. */
typedef struct VigilPicture {
        SocketFacts *sockets; /* owned */
        size_t n_sockets;
} VigilPicture;

/* 0; -ENOTCONN: we cannot see; other negative errno. To be given to vigil_picture_done(). */
int vigil_take_picture(Vigil *vigil, VigilPicture *ret);
void vigil_picture_done(VigilPicture *picture);
/* The listener that whoever dials `address` at `port` reaches; "any": that of the machine, whatever it is bound to.
 * Without a picture (NULL) it is cheap, and finds of those for "any" only whom loopback reaches. 0; -ENOENT; -ENOTCONN: we
 * cannot see; other negative errno. */
int vigil_find_reached(Vigil *vigil, const VigilPicture *picture, const Address *address, uint16_t port,
                       SocketFacts *ret);
/* As vigil_examine(), of the one who listens. */
void vigil_examine_listener(Vigil *vigil, const SocketFacts *listener, Event *event);

/* The connection of a registered node has ended: so has the registration, unless it was its twin's (see
 * serve/twins.h). */
void vigil_on_connection_ended(Vigil *vigil, Node *node);

/* 1 while the listener of `node` is open, 0: it has closed; negative errno: none is known, or we cannot see. */
int vigil_asks_listener(Vigil *vigil, const Node *node);
/* The uid of the process behind `conn`, a TCP connection of this machine. 0; negative errno: it cannot be told. */
int vigil_find_uid(Vigil *vigil, Conn *conn, uid_t *ret);
/* Its unit, good until the next call of that kind. NULL: it cannot be told. */
const char *vigil_find_unit(Vigil *vigil, Conn *conn);

/* Looks again whether those who hold `name` at `scope` live, and carries out what has become of them (P4). */
void vigil_settle_holders(Vigil *vigil, const char *name, size_t n_name, const Address *scope);

/* The reconciliation: every row is kept, with its connection from the fd store or awaited, or ended, with the
 * reason. Owns nothing of `loaded` but what it moves into the registry. `boot_id` of this boot, or NULL. */
void vigil_reconcile(Vigil *vigil, Keeper *keeper, StoreLoaded *loaded, const char *boot_id);

/* Proves again that it can see, and asks about every listener (SIGHUP). */
void vigil_look_again(Vigil *vigil);
