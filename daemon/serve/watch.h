/* SPDX-License-Identifier: Apache-2.0 */
/* Who wants to be told of every change: a snapshot, then changes, each once and in order. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/control.h"
#include "core/registry.h"
#include "serve/conn.h"
#include "serve/ledger.h"

#define WATCHERS_MAX 2000  /* P6; of one user or address half of them at most */
#define WATCH_CHANGES_MAX 4096 /* that are remembered; whoever is further behind gets a new snapshot */

typedef struct Watch Watch;

/* A new epoch begins: revisions of an earlier process mean nothing here. Borrows `registry`. 0 or negative errno. */
int watch_new(Watch **ret, const Registry *registry);
/* Closes all watchers. */
Watch *watch_free(Watch *watch);
DEFINE_CLEANUP(Watch *, watch_free)

/* A change was applied. Encodes it as it is now; where memory is short, continuity is lost and every watcher gets
 * a new snapshot. */
void watch_note(Watch *watch, const LedgerNews *news);
/* Changes up to `revision` may be told; never tells later ones. */
void watch_tell(Watch *watch, uint64_t revision);

/* What is known of nodes has changed without a change of the registry (the settings say who is a helper): a new epoch
 * begins, and every watcher gets a new snapshot. */
void watch_begin_anew(Watch *watch);

/* Answers a CONTROL_WATCH request; `conn` is a stream from then on, or gets an error answer (too many watchers:
 * CONTROL_E_BUSY; a field is bad: CONTROL_E_MALFORMED). Over TCP records have their public fields only (P7). */
void watch_on_request(Watch *watch, Conn *conn, const ControlRequest *request);
/* The rules on who may ask have changed: those who watch over TCP and `may_watch` says no to are cut off with a word
 * (P7). */
void watch_review(Watch *watch, bool (*may_watch)(void *userdata, Conn *conn), void *userdata);

/* Somebody is told of a revision, and may go on from there: changes are remembered from now on. */
void watch_remember(Watch *watch);
/* How many watch. */
size_t watch_n(const Watch *watch);
uint64_t watch_epoch(const Watch *watch);
/* The CONTROL_EPOCH_RECORD of this moment. */
void watch_put_epoch(const Watch *watch, ControlBuffer *buffer);
