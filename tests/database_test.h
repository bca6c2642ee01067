/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of database.c and rows.c: a database for each, and groups of changes. */
#pragma once

#include "state/database.h"
#include "state_test.h"

#define NOW UINT64_C(1763700000000000)
#define DAY (UINT64_C(86400) * USEC_PER_SEC)

/* Long enough that only the tests of bounds meet them. */
static inline DatabaseOptions options(void) {
        return (DatabaseOptions){ .path = path,
                                  .boot_id = "boot-1",
                                  .history_days = 36500,
                                  .history_rows = 1000000,
                                  .history_per_name = 1000000 };
}

static inline void set_up(void) {
        disk_install();
        use_path("registry.db");
}

static inline Database *new_database(const DatabaseOptions *how) {
        Database *database;

        ck_assert_int_eq(database_new(&database, how), 0);
        return database;
}

static inline Database *open_database(const DatabaseOptions *how) {
        Database *database = new_database(how);
        int r = database_open(database, DATABASE_WRITE);

        ck_assert_msg(r == 0, "%d: %s", r, database_detail(database));
        return database;
}

static inline Database *open_default(void) {
        DatabaseOptions how = options();

        return open_database(&how);
}

/* --- groups --------------------------------------------------------------------------------- */

static inline Write *put(Node *node) {
        Write *write = write_new(WRITE_PUT, 1, &node, 1);

        ck_assert_ptr_nonnull(write);
        return write;
}

static inline Write *end_at(Node *node, NodeEnd how, uint64_t until_usec) {
        Write *write = write_new(WRITE_END, 1, &node, 1);

        ck_assert_ptr_nonnull(write);
        write->end = how;
        write->until_usec = until_usec;
        return write;
}

static inline Write *end(Node *node, NodeEnd how) {
        return end_at(node, how, NOW);
}

static inline Write *of_kind(WriteKind kind, Node *const *nodes, size_t n_nodes) {
        Write *write = write_new(kind, 1, nodes, n_nodes);

        ck_assert_ptr_nonnull(write);
        return write;
}

/* Links NULL-terminated arguments. */
static inline Write *group(Write *first, ...) {
        va_list more;
        Write *last = first;

        va_start(more, first);
        while ((last->next = va_arg(more, Write *)))
                last = last->next;
        va_end(more);
        return first;
}

static inline void free_group(Write *first) {
        while (first) {
                Write *next = first->next;

                write_free(first);
                first = next;
        }
}

static inline int try_write(Database *database, Write *first, uint32_t creations) {
        size_t n_refused;
        int r = database_write(database, first, creations, &n_refused);

        if (r == 0)
                ck_assert_uint_eq(n_refused, 0);
        return r;
}

static inline void write_group(Database *database, Write *first) {
        int r = try_write(database, first, 0);

        ck_assert_msg(r == 0, "%d: %s", r, database_detail(database));
        free_group(first);
}

/* A tenure of its own for a name, ended at `until_usec`. */
static inline void add_tenure(Database *database, const char *name, uint64_t serial, uint8_t type,
                       uint32_t creation, uint64_t until_usec) {
        _cleanup_(node_freep) Node *node = new_node(name, serial);

        node->info.type = type;
        node->creation = creation;
        write_group(database, end_at(node, NODE_END_LEFT, until_usec));
}

static inline DatabaseContent load(Database *database) {
        DatabaseContent content = { .nodes = NULL };

        ck_assert_int_eq(database_load(database, &content), 0);
        return content;
}

/* Opens, loads and closes, as the next daemon will. */
static inline DatabaseContent load_again(void) {
        _cleanup_(database_freep) Database *database = open_default();

        return load(database);
}
