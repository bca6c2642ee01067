/* SPDX-License-Identifier: Apache-2.0 */
/* Registrations that have ended, as rows: written, bounded, and asked for. A part of database.c, to which it
 * returns SQLite's codes. */
#pragma once

#include <stdint.h>

#include "state/rows.h"
#include "state/store.h"

/* Rows looked at for one answer: some milliseconds. */
#define TENURES_STEP 5000

/* Takes the registration's row away and adds its tenure. An end may come twice: then once is enough. */
int tenures_end(Rows *rows, const Write *write);

/* Deletes at most `max` tenures that are beyond the bounds; `*ret_n` of them. */
int tenures_trim(Rows *rows, uint64_t oldest_usec, int64_t n_rows, int64_t max, int64_t *ret_n);

/* The last holders of names that nobody has, into `content`. `version` is the file's. */
int tenures_load_formers(sqlite3 *handle, uint32_t version, DatabaseContent *content);

/* Fills in `answer` as far as TENURES_STEP rows go. On failure it has what was read before. */
int tenures_query(Rows *rows, const StoreQuery *query, StoreAnswer *answer);
