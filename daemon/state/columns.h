/* SPDX-License-Identifier: Apache-2.0 */
/* Single values, and what all rows about nodes have in common, from C to SQLite and back. */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/node.h"
#include "util.h"

/* The tables of nodes have these in common, in this order. */
#define COLUMNS_IDENTITY                                                                           \
        "scope, name, port, type, protocol, highest_version, lowest_version, creation, "           \
        "since_usec, serial, uid, unit"
#define COLUMNS_NODE COLUMNS_IDENTITY ", state, state_source, host, unit_pid, helper, origin"
#define COLUMNS_NODE_PARAMETERS                                                                    \
        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18"
#define COLUMNS_NODE_N 18
/* The same of files of schema 2 and 1 that may only be read; the tenures of the latter have no state. */
#define COLUMNS_NODE_2 COLUMNS_IDENTITY ", state, state_source, host, unit_pid, helper, NULL"
#define COLUMNS_NODE_1(state) COLUMNS_IDENTITY ", " state ", NULL, NULL, NULL, 0, NULL"

/* Every local statement: `_cleanup_(columns_finalizep) sqlite3_stmt *row = NULL;` */
static inline void columns_finalizep(sqlite3_stmt **statement) {
        sqlite3_finalize(*statement);
}

/* --- binding; positions begin with 1. Text is borrowed until the statement is reset ----------------- */

void columns_bind_text(sqlite3_stmt *statement, int position, const char *text); /* NULL for NULL */
void columns_bind_u64(sqlite3_stmt *statement, int position, uint64_t value);    /* NULL for 0 */
void columns_bind_uid(sqlite3_stmt *statement, int position, uid_t uid);         /* NULL for unknown */
void columns_bind_address(sqlite3_stmt *statement, int position, const Address *address);
/* The parameters 1 to COLUMNS_NODE_N. */
void columns_bind_node(sqlite3_stmt *statement, const Node *node);
/* What makes a registration unique: name, scope, serial and since_usec, as parameters 1 to 4. */
void columns_bind_key(sqlite3_stmt *statement, const Node *node);

/* --- reading; columns begin with 0 ----------------------------------------------------------------- */

/* What stands in a column, if it is within 0..max. */
bool columns_number(sqlite3_stmt *row, int column, uint64_t max, uint64_t *ret);
uid_t columns_uid(sqlite3_stmt *row, int column);
bool columns_address(sqlite3_stmt *row, int column, Address *ret);
/* Borrows from the row; NULL for what is no text. */
const char *columns_text(sqlite3_stmt *row, int column);
/* A copy in `*ret`, NULL for what is no text. SQLITE_OK or SQLITE_NOMEM. */
int columns_copy_text(sqlite3_stmt *row, int column, char **ret);
/* The columns of COLUMNS_NODE and, if `extra` is not negative, that one. SQLITE_OK with NULL in `*ret`: the row
 * makes no sense. Words that a later daemon wrote are no nonsense: what they say is not known. */
int columns_read_node(sqlite3_stmt *row, int extra, Node **ret);
