/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how an entry or a pin becomes a row and a row that. Does not know what follows from it, nor who may order it.
 *
 * The trap: these rows are all there is of an order. So whoever writes remembers them for the next file, should this
 * one be lost. A row that makes no sense is passed over.
 */

#include "state/standing.h"

#include <string.h>

#include "state/columns.h"

/* --- writing -------------------------------------------------------------------------------------- */

static void bind_name(sqlite3_stmt *statement, const Entry *entry) {
        sqlite3_bind_text(statement, 1, entry->name, (int)entry->n_name, SQLITE_STATIC);
}

static int put_entry(Rows *rows, const Entry *entry) {
        sqlite3_stmt *statement = rows->statements[ROWS_PUT_ENTRY];

        bind_name(statement, entry);
        columns_bind_address(statement, 2, &entry->address);
        sqlite3_bind_int(statement, 3, entry->port);
        columns_bind_text(statement, 4, entry->host);
        sqlite3_bind_int64(statement, 5, (int64_t)entry->since_usec);
        columns_bind_text(statement, 6, entry->by ? entry->by : "");
        return rows_run(rows, ROWS_PUT_ENTRY);
}

static int put_pin(Rows *rows, const Entry *pin) {
        sqlite3_stmt *statement = rows->statements[ROWS_PUT_PIN];

        bind_name(statement, pin);
        sqlite3_bind_int(statement, 2, pin->port);
        sqlite3_bind_int64(statement, 3, (int64_t)pin->since_usec);
        columns_bind_text(statement, 4, pin->by ? pin->by : "");
        return rows_run(rows, ROWS_PUT_PIN);
}

int standing_apply(Rows *rows, const StoreOrder *order) {
        switch (order->kind) {
        case STORE_ADD_ENTRY:
                return put_entry(rows, &order->entry);
        case STORE_REMOVE_ENTRY:
                bind_name(rows->statements[ROWS_FORGET_ENTRY], &order->entry);
                columns_bind_address(rows->statements[ROWS_FORGET_ENTRY], 2, &order->entry.address);
                return rows_run(rows, ROWS_FORGET_ENTRY);
        case STORE_ADD_PIN:
                return put_pin(rows, &order->entry);
        case STORE_REMOVE_PIN:
                bind_name(rows->statements[ROWS_FORGET_PIN], &order->entry);
                return rows_run(rows, ROWS_FORGET_PIN);
        }
        return SQLITE_OK;
}

int standing_put_all(Rows *rows) {
        const Standing *standing = rows->standing;
        int rc = rows_run(rows, ROWS_CLEAR_ENTRIES);

        for (size_t i = 0; i < standing->entries.n_entries && rc == SQLITE_OK; i++)
                rc = put_entry(rows, standing->entries.entries + i);
        if (rc == SQLITE_OK)
                rc = rows_run(rows, ROWS_CLEAR_PINS);
        for (size_t i = 0; i < standing->pins.n_entries && rc == SQLITE_OK; i++)
                rc = put_pin(rows, standing->pins.entries + i);
        return rc;
}

/* --- memory --------------------------------------------------------------------------------------- */

static Entries *list_of(Standing *standing, const StoreOrder *order) {
        bool is_entry = order->kind == STORE_ADD_ENTRY || order->kind == STORE_REMOVE_ENTRY;

        return is_entry ? &standing->entries : &standing->pins;
}

int standing_prepare(Standing *standing, const StoreOrder *order, Entry *ret_copy) {
        if (entries_reserve(list_of(standing, order)) < 0)
                return -ENOMEM;
        return entry_copy(&order->entry, ret_copy);
}

void standing_note(Standing *standing, const StoreOrder *order, Entry *copy) {
        Entries *list = list_of(standing, order);

        if (order->kind == STORE_ADD_ENTRY || order->kind == STORE_ADD_PIN)
                entries_put(list, copy);
        else
                entries_remove(list, order->entry.name, order->entry.n_name, &order->entry.address);
}

/* --- reading -------------------------------------------------------------------------------------- */

/* The columns are name, port, since_usec, by, and of an entry address, host. False: they make no sense. */
static bool read_entry(sqlite3_stmt *row, bool is_pin, Entry *ret) {
        uint64_t port;

        *ret = (Entry){
                .name = (char *)(uintptr_t)columns_text(row, 0),
                .n_name = (size_t)sqlite3_column_bytes(row, 0),
                .by = (char *)(uintptr_t)columns_text(row, 3),
        };
        if (!ret->name || node_name_check(ret->name, ret->n_name) != NODE_NAME_OK ||
            !columns_number(row, 1, UINT16_MAX, &port) || port == 0)
                return false;
        ret->port = (uint16_t)port;
        (void)columns_number(row, 2, INT64_MAX, &ret->since_usec);
        if (is_pin)
                return true;
        ret->host = (char *)(uintptr_t)columns_text(row, 5);
        return columns_address(row, 4, &ret->address) && (!ret->host || node_host_is_valid(ret->host, strlen(ret->host)));
}

static int load(sqlite3 *handle, const char *query, bool is_pin, size_t n_max, Entries *ret) {
        _cleanup_(columns_finalizep) sqlite3_stmt *row = NULL;
        int rc = sqlite3_prepare_v2(handle, query, -1, &row, NULL);

        while (rc == SQLITE_OK && (rc = sqlite3_step(row)) == SQLITE_ROW) {
                Entry entry, copy;

                rc = SQLITE_OK;
                if (ret->n_entries == n_max || !read_entry(row, is_pin, &entry))
                        continue;
                if (entries_reserve(ret) < 0 || entry_copy(&entry, &copy) < 0)
                        return SQLITE_NOMEM;
                entries_put(ret, &copy);
        }
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int standing_load(sqlite3 *handle, uint32_t version, DatabaseContent *content) {
        int rc;

        if (version < 3)
                return SQLITE_OK;
        rc = load(handle, "SELECT name, port, since_usec, by, address, host FROM static_entries", false,
                  ENTRIES_STATICS_MAX, &content->entries);
        if (rc == SQLITE_OK)
                rc = load(handle, "SELECT name, port, since_usec, by FROM pinned_ports", true, ENTRIES_PINS_MAX,
                          &content->pins);
        return rc;
}
