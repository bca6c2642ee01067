/* SPDX-License-Identifier: Apache-2.0 */
/* The one way: every event is decided, applied and submitted here, and answered when it is on disk. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "core/registry.h"
#include "serve/conn.h"
#include "serve/counters.h"
#include "state/store.h"

typedef struct Ledger Ledger;

/* A change that was applied and submitted. */
typedef struct LedgerNews {
        ChangeKind kind;
        const Node *node; /* CHANGE_END: good until the next change */
        NodeState state_before; /* but for CHANGE_REGISTER */
        NodeEnd end;      /* CHANGE_END */
        const char *by;   /* CHANGE_END; or NULL */
        void *connection_before; /* the Conn it had, or NULL; still there if it was lost with this change */
        uint64_t revision; /* the registry's, with this change */
        uint64_t now_usec; /* CLOCK_REALTIME */
} LedgerNews;

typedef struct LedgerHandler {
        /* A change has been carried out; also for each node that the reconciliation brings (CHANGE_REGISTER).
         * Must not call ledger_carry(). */
        void (*on_news)(void *userdata, const LedgerNews *news);
        /* A node has been told that it is registered, and is still there. Must not call ledger_carry(). */
        void (*on_answered)(void *userdata, Conn *conn);
        /* Changes up to `revision` may be told: they are on disk, or the daemon has said that it is degraded. */
        void (*on_tellable)(void *userdata, uint64_t revision);
        /* The store has an answer to a query of history. */
        void (*on_answer)(void *userdata, const StoreAnswer *answer);
        /* The registry, or whether it is degraded, has changed in a way that STATUS= shows. */
        void (*on_change)(void *userdata);
        /* The disk has let us read the file after the start had stopped waiting for it. Borrows `loaded`. */
        void (*on_loaded)(void *userdata, StoreLoaded *loaded);
        void *userdata;
} LedgerHandler;

/* Borrows all it is given. Watches the store from now on. */
int ledger_new(Ledger **ret, sd_event *event, Registry *registry, Store *store, Counters *counters,
               const LedgerHandler *handler);
Ledger *ledger_free(Ledger *ledger);
DEFINE_CLEANUP(Ledger *, ledger_free)

/* Carries one event out: registry_decide(), registry_apply(), store_submit...(). For EVENT_REGISTER
 * `*ret_reply` says what to answer; other kinds may pass NULL. 0 or -ENOMEM (nothing has changed). Nodes that
 * leave lose their connection. */
int ledger_carry(Ledger *ledger, const Event *event, Reply *ret_reply);

/* The answer of `conn`, whose node was just registered, leaves once that is on disk, or at once where the
 * disk does not do its work (P1, P2). */
void ledger_answer_when_written(Ledger *ledger, Conn *conn);

/* On the way out, when the store has written what it could: those whose registration is on disk are answered. */
void ledger_answer_written(Ledger *ledger);

/* For the reconciliation at start, which brings rows that the registry does not have yet. */
void ledger_note_kept(Ledger *ledger, const Node *node, const char *reason);
void ledger_note_ended(Ledger *ledger, const Node *node, NodeEnd end, uint64_t now_usec);
/* Reserves the next block of creations if it is time (P5). */
void ledger_reserve_creations(Ledger *ledger);

/* Takes note of the store's health, and says in the log if it has turned. Called by the server once the start
 * has waited for the file long enough; from then on the ledger sees to it by itself. */
void ledger_check_health(Ledger *ledger);
/* Up to which revision changes may be told. */
uint64_t ledger_tellable_revision(const Ledger *ledger);
/* Why the daemon does not keep all its promises about the disk, in words; NULL: it does. */
const char *ledger_degraded_reason(const Ledger *ledger);
