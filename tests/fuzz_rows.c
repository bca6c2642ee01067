/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: rows as an older or newer daemon, another program or a person may have left them, anything in any
 * column. What is made of them can be taken into a registry, written, and is then read again as the same.
 *
 * The first byte says of which schema the file is. Then each row: which table; for each column a byte that says what
 * is in it, and that. */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/registry.h"
#include "fuzz.h"
#include "state/columns.h"
#include "state/rows.h"
#include "state/schema.h"
#include "state/standing.h"
#include "state/tenures.h"
#include "state/write.h"

#define COLUMNS_MAX 40

typedef struct Table {
        const char *name;
        int n_columns;
        char types[COLUMNS_MAX]; /* 'I'NTEGER, 'T'EXT, 'B'LOB, as declared */
        sqlite3_stmt *insert, *clear; /* of the loose one */
} Table;

static Table tables[] = {
        { .name = "registrations" }, { .name = "tenures" },        { .name = "metadata" },
        { .name = "refusals" },      { .name = "static_entries" }, { .name = "pinned_ports" }, { .name = "registry" },
};

/* Words that mean something somewhere. */
static const char *const words[] = {
        "*", "mail", "db", "127.0.0.1", "::1", "up", "awaited", "stopping", "ready", "starting", "unit", "listener",
        "static", "draining", "left", "released", "name-taken", "a.service", "example.org", "version", "uid 0", "",
};

static sqlite3 *strict; /* as we make it */
static sqlite3 *loose;  /* with the same columns, which take anything */
static Rows strict_rows, loose_rows;
static Standing standing; /* what goes with a whole write; borrowed */

static sqlite3_stmt *prepare(sqlite3 *handle, const char *sql) {
        sqlite3_stmt *statement = NULL;

        if (sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) != SQLITE_OK) {
                fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(handle));
                abort();
        }
        return statement;
}

static void run(sqlite3 *handle, const char *sql) {
        if (sqlite3_exec(handle, sql, NULL, NULL, NULL) != SQLITE_OK) {
                fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(handle));
                abort();
        }
}

/* Its like in `loose`. */
static void make_loose(Table *table) {
        _cleanup_(columns_finalizep) sqlite3_stmt *info = NULL;
        char query[128], create[2048], insert[512];
        int n = snprintf(create, sizeof create, "CREATE TABLE %s (", table->name), n_insert;

        snprintf(query, sizeof query, "SELECT name, type FROM pragma_table_info('%s') ORDER BY cid", table->name);
        n_insert = snprintf(insert, sizeof insert, "INSERT INTO %s VALUES (", table->name);
        info = prepare(strict, query);
        while (sqlite3_step(info) == SQLITE_ROW) {
                const char *separator = table->n_columns > 0 ? ", " : "";

                assert(table->n_columns < COLUMNS_MAX);
                table->types[table->n_columns++] = (char)sqlite3_column_text(info, 1)[0];
                n += snprintf(create + n, sizeof create - (size_t)n, "%s%s", separator, sqlite3_column_text(info, 0));
                n_insert += snprintf(insert + n_insert, sizeof insert - (size_t)n_insert, "%s?", separator);
        }
        strcpy(create + n, ")");
        strcpy(insert + n_insert, ")");
        run(loose, create);
        table->insert = prepare(loose, insert);
        snprintf(query, sizeof query, "DELETE FROM %s", table->name);
        table->clear = prepare(loose, query);
}

static void make_tables(void) {
        if (sqlite3_open(":memory:", &strict) != SQLITE_OK || sqlite3_open(":memory:", &loose) != SQLITE_OK)
                abort();
        for (unsigned i = 0; i < n_schema_migrations; i++)
                run(strict, schema_migrations[i]);
        for (size_t i = 0; i < ELEMENTS(tables); i++)
                make_loose(tables + i);
        if (rows_init(&strict_rows, strict, 10, &standing) != SQLITE_OK || rows_init(&loose_rows, loose, 10, &standing) != SQLITE_OK)
                abort();
}

/* --- from bytes to rows ----------------------------------------------------------------------- */

typedef struct Bytes {
        const uint8_t *data;
        size_t n;
} Bytes;

static uint8_t take_byte(Bytes *bytes) {
        return bytes->n > 0 ? (bytes->n--, *bytes->data++) : 0;
}

static const uint8_t *take(Bytes *bytes, size_t *n) {
        const uint8_t *taken;

        *n = take_byte(bytes);
        *n = min_u64(*n, bytes->n);
        taken = bytes->data;
        bytes->data += *n;
        bytes->n -= *n;
        return taken;
}

static void bind_usual(sqlite3_stmt *statement, int position, char type, uint8_t byte) {
        if (type == 'T')
                sqlite3_bind_text(statement, position, words[byte % ELEMENTS(words)], -1, SQLITE_STATIC);
        else if (type == 'I')
                sqlite3_bind_int(statement, position, byte);
        else
                sqlite3_bind_zeroblob(statement, position, byte);
}

static void bind_value(sqlite3_stmt *statement, int position, char type, Bytes *bytes) {
        const uint8_t *taken;
        int64_t number = 0;
        size_t n;

        switch (take_byte(bytes) % 8) {
        case 0:
                sqlite3_bind_null(statement, position);
                return;
        case 1:
                taken = take(bytes, &n);
                memcpy(&number, taken, min_u64(n, sizeof number));
                sqlite3_bind_int64(statement, position, number);
                return;
        case 2:
                taken = take(bytes, &n);
                sqlite3_bind_text(statement, position, (const char *)taken, (int)n, SQLITE_TRANSIENT);
                return;
        case 3:
                taken = take(bytes, &n);
                sqlite3_bind_blob(statement, position, taken, (int)n, SQLITE_TRANSIENT);
                return;
        case 4:
                sqlite3_bind_double(statement, position, take_byte(bytes) * 1e9 - 0.5);
                return;
        }
        bind_usual(statement, position, type, take_byte(bytes));
}

static void fill(Bytes *bytes) {
        for (size_t i = 0; i < ELEMENTS(tables); i++) {
                sqlite3_step(tables[i].clear);
                sqlite3_reset(tables[i].clear);
        }
        while (bytes->n > 0) {
                const Table *table = tables + take_byte(bytes) % ELEMENTS(tables);

                for (int i = 0; i < table->n_columns; i++)
                        bind_value(table->insert, i + 1, table->types[i], bytes);
                sqlite3_step(table->insert);
                sqlite3_reset(table->insert);
        }
}

/* --- from rows to nodes, and back ------------------------------------------------------------- */

static void load(sqlite3 *handle, uint32_t version, DatabaseContent *content) {
        if (standing_load(handle, version, content) != SQLITE_OK || rows_load_nodes(handle, version, content) != SQLITE_OK ||
            tenures_load_formers(handle, version, content) != SQLITE_OK ||
            rows_load_refusals(handle, version, content) != SQLITE_OK)
                abort();
}

static void ask_history(void) {
        const StoreQuery query = { .name = "mail", .n_name = 4, .to_usec = UINT64_MAX, .n_max = 10 };
        StoreAnswer answer = { 0 };

        if (tenures_query(&loose_rows, &query, &answer) != SQLITE_OK)
                abort();
        for (size_t i = 0; i < answer.n_tenures; i++) {
                node_free(answer.tenures[i].node);
                free(answer.tenures[i].how);
                free(answer.tenures[i].by);
        }
        free(answer.tenures);
}

/* One more, since what follows from the rows must be as good as the rows. */
static void add_newcomer(Registry *registry) {
        const Event event = {
                .kind = EVENT_REGISTER, .info = { .name = "new", .n_name = 3, .highest_version = 6 }, .connection_fd = -1,
        };
        Change change;
        Reply reply;

        while (registry_decide(registry, &event, &change, &reply) == REGISTRY_E_AGAIN)
                registry_apply(registry, &change);
        registry_apply(registry, &change);
}

static Registry *take_into_registry(DatabaseContent *content) {
        Registry *registry;

        if (registry_new(&registry, &(RegistryLimits){ 100000, 100000 }, 1) < 0)
                abort();
        for (size_t i = 0; i < content->n_nodes; i++)
                (void)registry_restore(registry, &content->nodes[i]);
        for (size_t i = 0; i < content->n_formers; i++)
                (void)registry_restore_former(registry, &content->formers[i]);
        registry_advance_serial(registry, content->last_serial);
        add_newcomer(registry);
        return registry;
}

static void write_whole(const Registry *registry, const DatabaseContent *content) {
        size_t n = registry_n_nodes(registry), n_refused = 0;
        _cleanup_(freep) Node **nodes = calloc(n, sizeof *nodes);
        _cleanup_(write_freep) Write *write = NULL;

        if (!nodes)
                abort();
        for (size_t i = 0; i < n; i++)
                nodes[i] = registry_at(registry, i);
        write = write_new(WRITE_WHOLE, 1, nodes, n);
        standing = (Standing){ content->entries, content->pins };
        if (!write || rows_apply(&strict_rows, write, &n_refused) != SQLITE_OK)
                abort();
        assert(n_refused == 0);
        for (size_t i = 0; i < content->n_refused; i++) {
                _cleanup_(write_freep) Write *refusal = write_new_refusal(content->refused + i);

                if (!refusal || rows_apply(&strict_rows, refusal, &n_refused) != SQLITE_OK)
                        abort();
        }
}

static void check_same(const Registry *registry, const DatabaseContent *content, const DatabaseContent *again) {
        assert(again->n_nonsense == 0 && again->n_nodes == registry_n_nodes(registry));
        assert(again->entries.n_entries == content->entries.n_entries && again->pins.n_entries == content->pins.n_entries);
        for (size_t i = 0; i < again->n_nodes; i++) {
                const Node *read = again->nodes[i];
                const Node *node = registry_find_key(registry, read->info.name, read->info.n_name, &read->scope);

                assert(node && node->serial == read->serial && node->since_usec == read->since_usec);
                assert(node->creation == read->creation && node->peer.uid == read->peer.uid);
                assert(node->listener.cookie == read->listener.cookie);
                assert(node_profile_equal(&node->profile, &read->profile));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(database_content_done) DatabaseContent content = { 0 };
        _cleanup_(database_content_done) DatabaseContent again = { 0 };
        _cleanup_(registry_freep) Registry *registry = NULL;
        Bytes bytes = { data, size };
        uint32_t version;

        if (!strict)
                make_tables();
        version = take_byte(&bytes) % n_schema_migrations + 1;
        fill(&bytes);
        run(strict, "DELETE FROM refusals");
        rows_forget_counts(&strict_rows);
        ask_history();
        load(loose, version, &content);
        registry = take_into_registry(&content);
        write_whole(registry, &content);
        load(strict, n_schema_migrations, &again);
        check_same(registry, &content, &again);
        return 0;
}
