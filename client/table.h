/* SPDX-License-Identifier: Apache-2.0 */
/* Tables whose lines can be cut into columns by blanks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "exit.h"
#include "row.h"
#include "util.h"

typedef struct TableColumn {
        const char *heading;
        int flags; /* SCOLS_FL_RIGHT; SCOLS_FL_TRUNC: cut where a terminal is too narrow, and only there */
        char *(*cell)(const Row *row); /* one word, allocated; NULL on ENOMEM */
} TableColumn;

/* A line for each row, below the headings. An exit status. */
RollcallExit table_print(const TableColumn *columns, size_t n_columns, const Rows *rows);

/* Cells that several tables have. What is not known is "-", and a blank within is shown as \x20. */
char *table_word(const char *text); /* NULL: not known */
char *table_name(const Row *row);
char *table_host(const Row *row);
char *table_port(const Row *row);
char *table_type(const Row *row);
char *table_state(const Row *row);
char *table_state_source(const Row *row);
char *table_scope(const Row *row);
char *table_since(const Row *row);
char *table_user(const Row *row);
char *table_unit(const Row *row);
char *table_unit_pid(const Row *row);
char *table_by(const Row *row); /* who did it: "uid:0", or what else the daemon calls him */
/* A time; on a terminal without the zone, which is the reader's. */
char *table_time(uint64_t usec);
