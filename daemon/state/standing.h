/* SPDX-License-Identifier: Apache-2.0 */
/* What was ordered about names (static entries, pinned ports), as rows. A part of database.c, to which it returns
 * SQLite's codes. */
#pragma once

#include "state/rows.h"

/* All of them, into `content`; `version` is the file's. */
int standing_load(sqlite3 *handle, uint32_t version, DatabaseContent *content);
/* Within a transaction: one order; all that rows->standing has in place of what the file has. */
int standing_apply(Rows *rows, const StoreOrder *order);
int standing_put_all(Rows *rows);

/* Before an order is written: the memory that standing_note() needs. 0 or -ENOMEM. */
int standing_prepare(Standing *standing, const StoreOrder *order, Entry *ret_copy);
/* It is written. Takes `copy` where it is to stay. */
void standing_note(Standing *standing, const StoreOrder *order, Entry *copy);
