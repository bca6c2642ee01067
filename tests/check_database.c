/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "database_test.h"
#include "state/schema.h"

#define NOBODY 65534
#define MEMBERS 4242 /* a group that only the test has */

/* --- a new file ----------------------------------------------------------------------------- */

START_TEST(test_a_new_file_is_a_registry_in_wal_mode_for_owner_and_group_whatever_the_umask) {
        static const mode_t umasks[] = { 0, 022, 077 };
        _cleanup_(database_freep) Database *database = NULL;
        mode_t former = umask(umasks[_i]);

        database = open_default();
        umask(former);
        ck_assert(database_is_fresh(database));
        ck_assert_uint_eq(database_version(database), n_schema_migrations);
        ck_assert_uint_eq(database_creations(database), 0);
        ck_assert_uint_eq(file_mode(path), 0640);
        ck_assert_uint_eq(file_mode(in_dir("registry.db-wal")), 0640);
        ck_assert_uint_eq(file_mode(in_dir("registry.db-shm")), 0640);
        ck_assert_int_eq(ask_number(path, "PRAGMA application_id"), DATABASE_APPLICATION_ID);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), n_schema_migrations);
        ck_assert_answer(path, "PRAGMA journal_mode", "wal");
        ck_assert_int_eq(ask_number(path, "SELECT oldest_writer FROM registry"), 1);
        ck_assert_int_eq(database_check_place(database), 0);
}
END_TEST

START_TEST(test_an_empty_file_is_taken_with_its_mode) {
        _cleanup_(database_freep) Database *database = NULL;

        write_file(path, "", 0);
        ck_assert_int_eq(chmod(path, 0600), 0);
        database = open_default();
        ck_assert(database_is_fresh(database));
        ck_assert_uint_eq(file_mode(path), 0600);
        ck_assert_uint_eq(file_mode(in_dir("registry.db-wal")), 0600);
}
END_TEST

START_TEST(test_a_log_without_its_file_is_not_taken_for_the_new_ones) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;

        write_group(database, put(node));
        database_close(database); /* the row is in the log only */
        ck_assert_int_gt(file_size(in_dir("registry.db-wal")), 0);
        ck_assert_int_eq(unlink(path), 0);
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 0);
        database_content_done(&content);
}
END_TEST

START_TEST(test_a_symbolic_link_is_followed_and_its_new_target_is_noticed) {
        _cleanup_(freep) char *target = strdup(in_dir("elsewhere.db"));
        _cleanup_(database_freep) Database *database = NULL;

        write_file(target, "", 0);
        ck_assert_int_eq(symlink(target, path), 0);
        database = open_default();
        ck_assert(exists(in_dir("elsewhere.db-wal")));
        ck_assert(!exists(in_dir("registry.db-wal")));
        ck_assert_int_eq(database_check_place(database), 0);

        ck_assert_int_eq(unlink(path), 0);
        write_file(in_dir("other.db"), "", 0);
        ck_assert_int_eq(symlink(in_dir("other.db"), path), 0);
        ck_assert_int_eq(database_check_place(database), DATABASE_E_LOST);
}
END_TEST

START_TEST(test_what_is_not_a_regular_file_is_an_error_and_stays) {
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseOptions how = options();

        ck_assert_int_eq(mkdir(path, 0755), 0);
        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), -ENOTSUP);
        ck_assert_ptr_nonnull(strstr(database_detail(database), "is not a regular file"));
        ck_assert(!database_is_open(database));
}
END_TEST

START_TEST(test_reading_makes_no_file) {
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseOptions how = options();

        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_READ), -ENOENT);
        ck_assert(!exists(path));
}
END_TEST

/* --- what must outlive a power cut ---------------------------------------------------------- */

START_TEST(test_creations_are_synced_and_registrations_need_not_be) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        Write *creations = of_kind(WRITE_CREATIONS, NULL, 0);
        int before = disk_n_syncs;

        write_group(database, put(node));
        ck_assert_int_eq(disk_n_syncs, before);
        ck_assert_int_eq(try_write(database, creations, 5000), 0);
        ck_assert_int_gt(disk_n_syncs, before);
        ck_assert_uint_eq(database_creations(database), 5000);
        before = disk_n_syncs;
        write_group(database, put(node));
        ck_assert_int_eq(disk_n_syncs, before);
        free_group(creations);
}
END_TEST

static StoreOrder order_of(StoreOrderKind kind, const char *name, const char *address, uint16_t port) {
        StoreOrder order = {
                .kind = kind,
                .entry = { .name = (char *)(uintptr_t)name, .n_name = strlen(name), .port = port, .since_usec = NOW,
                           .by = (char *)(uintptr_t)"uid 0" },
        };

        ck_assert_int_eq(address_parse(address, &order.entry.address), 0);
        return order;
}

static void carry_out(Database *database, StoreOrderKind kind, const char *name, const char *address, uint16_t port) {
        StoreOrder order = order_of(kind, name, address, port);
        int r = database_order(database, &order);

        ck_assert_msg(r == 0, "%d: %s", r, database_detail(database));
}

static const char all_orders[] = "SELECT (SELECT group_concat(name || ' ' || address || ' ' || port || ' ' || by) FROM entries) "
                                 "|| '; ' || (SELECT group_concat(name || ' ' || port || ' ' || by) FROM pins)";

START_TEST(test_every_order_is_synced_and_comes_back) {
        static const StoreOrderKind kinds[] = { STORE_ADD_ENTRY, STORE_ADD_PIN, STORE_REMOVE_PIN, STORE_ADD_PIN,
                                                STORE_REMOVE_ENTRY, STORE_ADD_ENTRY };
        _cleanup_(database_freep) Database *database = open_default();
        DatabaseContent content;

        for (size_t i = 0; i < ELEMENTS(kinds); i++) {
                int before = disk_n_syncs;

                carry_out(database, kinds[i], "a", "*", 9100);
                ck_assert_int_gt(disk_n_syncs, before);
        }
        carry_out(database, STORE_ADD_ENTRY, "b", "2001:db8::1", 1);
        ck_assert_answer(path, all_orders, "a * 9100 uid 0,b 2001:db8::1 1 uid 0; a 9100 uid 0");
        database = database_free(database);
        database = open_default();
        content = load(database);
        ck_assert_uint_eq(content.entries.n_entries, 2);
        ck_assert_uint_eq(content.pins.n_entries, 1);
        ck_assert_str_eq(content.entries.entries[1].name, "b");
        ck_assert_uint_eq(content.entries.entries[1].since_usec, NOW);
        ck_assert_str_eq(content.entries.entries[1].by, "uid 0");
        database_content_done(&content);
}
END_TEST

/* Whoever writes knows them, also where the file is lost. */
START_TEST(test_orders_go_into_the_next_file_with_the_whole) {
        _cleanup_(database_freep) Database *database = open_default();
        Write *whole = of_kind(WRITE_WHOLE, NULL, 0);
        DatabaseContent content;
        int before;

        carry_out(database, STORE_ADD_ENTRY, "of_before", "*", 1);
        database = database_free(database);
        database = open_default();
        content = load(database);
        database_content_done(&content);
        carry_out(database, STORE_ADD_ENTRY, "a", "*", 9100);
        carry_out(database, STORE_ADD_PIN, "a", "*", 9100);
        carry_out(database, STORE_REMOVE_ENTRY, "of_before", "*", 0);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(database_check_place(database), DATABASE_E_LOST);
        database_close_lost(database);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        before = disk_n_syncs;
        ck_assert_int_eq(try_write(database, whole, 0), 0);
        ck_assert_int_gt(disk_n_syncs, before);
        ck_assert_answer(path, all_orders, "a * 9100 uid 0; a 9100 uid 0");
        free_group(whole);
}
END_TEST

START_TEST(test_an_order_that_cannot_be_written_leaves_nothing) {
        _cleanup_(database_freep) Database *database = open_default();
        StoreOrder order = order_of(STORE_ADD_PIN, "a", "*", 9100);
        Write *whole = of_kind(WRITE_WHOLE, NULL, 0);
        sqlite3 *other = NULL;

        ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
        ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        ck_assert_int_eq(database_order(database, &order), -EBUSY);
        sqlite3_close(other);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(database_order(database, &order), DATABASE_E_LOST);
        database_close_lost(database);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        ck_assert_int_eq(try_write(database, whole, 0), 0);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM pins"), 0);
        free_group(whole);
}
END_TEST

static const char *const odd_entries[] = {
        "INSERT INTO static_entries VALUES ('a', 'here', 1, NULL, 1, 'x')",
        "INSERT INTO static_entries VALUES ('a', '*', 1, 'a b', 1, 'x')",
        "INSERT INTO static_entries VALUES (char(10), '*', 1, NULL, 1, 'x')",
};

START_TEST(test_an_entry_that_makes_no_sense_is_passed_over) {
        _cleanup_(database_freep) Database *database = open_default();
        DatabaseContent content;

        carry_out(database, STORE_ADD_ENTRY, "b", "*", 1);
        change(path, odd_entries[_i]);
        content = load(database);
        ck_assert_uint_eq(content.entries.n_entries, 1);
        ck_assert_str_eq(content.entries.entries[0].name, "b");
        database_content_done(&content);
}
END_TEST

START_TEST(test_creations_never_go_back_but_around) {
        static const struct {
                uint32_t first, second, kept;
        } cases[] = {
                { 5000, 6000, 6000 },
                { 6000, 5000, 6000 },
                { 5000, 0, 5000 },
                { 4294967000, 704, 704 },
                { 704, 4294967000, 704 },
        };
        Database *database = open_default();
        Write *creations = of_kind(WRITE_CREATIONS, NULL, 0);

        ck_assert_int_eq(try_write(database, creations, cases[_i].first), 0);
        ck_assert_int_eq(try_write(database, creations, cases[_i].second), 0);
        ck_assert_uint_eq(database_creations(database), cases[_i].kept);
        database_free(database);
        database = open_default();
        ck_assert_uint_eq(database_creations(database), cases[_i].kept);
        ck_assert_uint_eq(database_salvage_creations(path), cases[_i].kept);
        database_free(database);
        free_group(creations);
}
END_TEST

START_TEST(test_the_boot_id_is_written_with_the_first_creations_and_not_before) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;

        write_group(database, put(node));
        content = load(database);
        ck_assert_pstr_eq(content.boot_id, NULL);
        database_content_done(&content);
        write_group(database, of_kind(WRITE_CREATIONS, NULL, 0));
        content = load(database);
        ck_assert_pstr_eq(content.boot_id, "boot-1");
        database_content_done(&content);
}
END_TEST

START_TEST(test_a_whole_write_brings_the_boot_id_of_this_run_also_where_it_is_not_known) {
        Database *database = open_default();
        DatabaseOptions how = options();
        DatabaseContent content;

        write_group(database, of_kind(WRITE_WHOLE, NULL, 0));
        ck_assert_answer(path, "SELECT boot_id FROM registry", "boot-1");
        database_free(database);
        how.boot_id = NULL;
        database = open_database(&how);
        content = load(database);
        ck_assert_pstr_eq(content.boot_id, "boot-1");
        database_content_done(&content);
        write_group(database, of_kind(WRITE_WHOLE, NULL, 0));
        ck_assert_answer(path, "SELECT boot_id FROM registry", NULL);
        database_free(database);
}
END_TEST

/* --- a disk that does not do as asked ------------------------------------------------------- */

static int execute(Database *database, const char *sql) {
        return sqlite3_exec(database_handle(database), sql, NULL, NULL, NULL);
}

START_TEST(test_a_full_disk_loses_nothing_and_hinders_nothing_afterwards) {
        _cleanup_(database_freep) Database *database = open_default();
        Node *nodes[100];
        char sql[64];
        Write *whole;

        for (size_t i = 0; i < ELEMENTS(nodes); i++) {
                char name[600];

                snprintf(name, sizeof name, "n%0255zu", i);
                nodes[i] = new_node(name + 1, i + 1);
        }
        write_group(database, put(nodes[0]));
        snprintf(sql, sizeof sql, "PRAGMA max_page_count = %ld", ask_number(path, "PRAGMA page_count"));
        ck_assert_int_eq(execute(database, sql), SQLITE_OK);
        whole = of_kind(WRITE_WHOLE, nodes, ELEMENTS(nodes));
        ck_assert_int_eq(try_write(database, whole, 0), -ENOSPC);
        ck_assert_ptr_nonnull(strstr(database_detail(database), "full"));
        ck_assert_int_ne(sqlite3_get_autocommit(database_handle(database)), 0);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM registrations"), 1);

        ck_assert_int_eq(execute(database, "PRAGMA max_page_count = 1000000"), SQLITE_OK);
        write_group(database, whole);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM registrations"), ELEMENTS(nodes));
        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                node_free(nodes[i]);
}
END_TEST

START_TEST(test_a_write_that_fails_is_told_with_its_cause_and_can_be_done_again) {
        static const struct {
                int rc, r;
        } cases[] = { { SQLITE_FULL, -ENOSPC }, { SQLITE_IOERR_WRITE, -EIO } };
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        Write *first = put(node);

        disk_match = "-wal";
        disk_write_result = cases[_i].rc;
        ck_assert_int_eq(try_write(database, first, 0), cases[_i].r);
        ck_assert_ptr_nonnull(strstr(database_detail(database), "cannot write to "));
        disk_write_result = 0;
        write_group(database, first);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM registrations"), 1);
}
END_TEST

START_TEST(test_a_sync_that_fails_fails_the_group_that_needs_it) {
        _cleanup_(database_freep) Database *database = open_default();
        Write *creations = of_kind(WRITE_CREATIONS, NULL, 0);

        disk_match = "-wal";
        disk_sync_result = SQLITE_IOERR_FSYNC;
        ck_assert_int_eq(try_write(database, creations, 5000), -EIO);
        ck_assert_uint_eq(database_creations(database), 0);
        disk_sync_result = 0;
        ck_assert_int_eq(try_write(database, creations, 5000), 0);
        free_group(creations);
}
END_TEST

START_TEST(test_a_file_that_cannot_be_opened_is_told_with_its_cause) {
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseOptions how = options();

        how.path = in_dir("missing/registry.db");
        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), -ENOENT);
        ck_assert_ptr_nonnull(strstr(database_detail(database), "No such file or directory"));
        ck_assert(!database_is_open(database));
}
END_TEST

START_TEST(test_somebody_elses_transaction_is_busy_and_no_more) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        sqlite3 *other = NULL;
        Write *first = put(node);

        ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
        ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        ck_assert_int_eq(try_write(database, first, 0), -EBUSY);
        ck_assert_int_eq(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(other);
        write_group(database, first);
}
END_TEST

/* --- files that are not ours to write ------------------------------------------------------- */

static char *read_all(const char *file, size_t *ret_n) {
        _cleanup_(close_fdp) int fd = open(file, O_RDONLY | O_CLOEXEC);
        char *data = malloc((size_t)file_size(file) + 1);

        ck_assert_int_ge(fd, 0);
        ck_assert_ptr_nonnull(data);
        *ret_n = (size_t)file_size(file);
        ck_assert_int_eq(read(fd, data, *ret_n), (ssize_t)*ret_n);
        return data;
}

/* Opening gives `expected`, and does not change a byte of the main file. */
static void assert_left_alone(int expected, const char *words) {
        _cleanup_(database_freep) Database *database = NULL;
        _cleanup_(freep) char *before = NULL, *after = NULL;
        DatabaseOptions how = options();
        size_t n_before, n_after;

        before = read_all(path, &n_before);
        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), expected);
        ck_assert_msg(strstr(database_detail(database), words), "%s", database_detail(database));
        ck_assert(!database_is_open(database));
        after = read_all(path, &n_after);
        ck_assert_uint_eq(n_before, n_after);
        ck_assert_mem_eq(before, after, n_before);
}

START_TEST(test_another_programs_database_is_left_alone) {
        static const char *const theirs[] = {
                "CREATE TABLE recipes (name TEXT)",
                "PRAGMA application_id = 252006673; CREATE TABLE recipes (name TEXT)",
                "PRAGMA journal_mode = WAL; CREATE TABLE recipes (name TEXT)",
                "PRAGMA user_version = 1; CREATE TABLE registry (id INTEGER)",
        };

        change(path, theirs[_i]);
        assert_left_alone(DATABASE_E_FOREIGN, "database of another program");
}
END_TEST

START_TEST(test_a_database_without_anything_in_it_is_taken) {
        _cleanup_(database_freep) Database *database = NULL;

        change(path, "VACUUM");
        ck_assert_int_gt(file_size(path), 0);
        database = open_default();
        ck_assert(database_is_fresh(database));
        ck_assert_int_eq(ask_number(path, "PRAGMA application_id"), DATABASE_APPLICATION_ID);
}
END_TEST

START_TEST(test_our_tables_tell_whose_a_database_is_where_its_id_is_lost) {
        _cleanup_(database_freep) Database *database = open_default();

        database_close_cleanly(database);
        change(path, "PRAGMA application_id = 0");
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        ck_assert(!database_is_fresh(database));
}
END_TEST

START_TEST(test_a_newer_schema_that_we_may_not_write_is_left_alone) {
        static const char *const newer[] = {
                "PRAGMA user_version = 9; UPDATE registry SET oldest_writer = 9",
                "PRAGMA user_version = 9; DROP TABLE registry",
                "PRAGMA user_version = 9; DELETE FROM registry",
        };

        database_free(open_default());
        change(path, newer[_i]);
        assert_left_alone(DATABASE_E_TOO_NEW, "has schema 9");
}
END_TEST

START_TEST(test_a_newer_schema_that_only_added_things_is_used) {
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseContent content;

        database_free(open_default());
        change(path, "PRAGMA user_version = 9;"
                     "ALTER TABLE registrations ADD COLUMN colour TEXT NOT NULL DEFAULT 'unknown';"
                     "ALTER TABLE registry ADD COLUMN identity TEXT");
        database = open_default();
        ck_assert_uint_eq(database_version(database), 9);
        ck_assert(!database_is_fresh(database));
        write_group(database, put(node));
        content = load(database);
        ck_assert_uint_eq(content.n_nodes, 1);
        database_content_done(&content);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 9);
        change(path, "UPDATE registrations SET colour = 'green'");
        write_group(database, put(node));
        ck_assert_answer(path, "SELECT colour FROM registrations", "unknown");
}
END_TEST

/* --- damage --------------------------------------------------------------------------------- */

static void fill(Database *database, size_t n_nodes) {
        for (size_t i = 0; i < n_nodes; i++) {
                char name[32];
                _cleanup_(node_freep) Node *node = NULL;

                snprintf(name, sizeof name, "node-%zu", i);
                node = new_node(name, i + 1);
                write_group(database, group(put(node), NULL));
                node->serial += n_nodes;
                write_group(database, group(end(node, NODE_END_LEFT), NULL));
        }
}

static void overwrite(const char *file, off_t at, size_t n) {
        _cleanup_(close_fdp) int fd = open(file, O_WRONLY | O_CLOEXEC);
        _cleanup_(freep) char *garbage = malloc(n);

        ck_assert_int_ge(fd, 0);
        memset(garbage, 0xa5, n);
        ck_assert_int_eq(pwrite(fd, garbage, n, at), (ssize_t)n);
}

static bool never(void *userdata) {
        (void)userdata;
        return false;
}

static bool always(void *userdata) {
        (void)userdata;
        return true;
}

/* As the writer does: open, load, check; the first that fails. */
static int examine(Database *database) {
        DatabaseContent content = { .nodes = NULL };
        int r = database_open(database, DATABASE_WRITE);

        if (r == 0)
                r = database_load(database, &content);
        database_content_done(&content);
        if (r == 0)
                r = database_check_pages(database, never, NULL);
        return r;
}

START_TEST(test_damage_is_found_wherever_it_is) {
        _cleanup_(database_freep) Database *database = open_default();
        off_t size;

        fill(database, 200);
        database_close_cleanly(database);
        size = file_size(path);
        ck_assert_int_gt(size, 4096 * 8);
        switch (_i) {
        case 0: /* garbage all over */
                overwrite(path, 0, (size_t)size);
                break;
        case 1: /* the head of the file */
                overwrite(path, 0, 16);
                break;
        case 2: /* less than a head */
                ck_assert_int_eq(truncate(path, 50), 0);
                break;
        case 3: /* cut in the middle */
                ck_assert_int_eq(truncate(path, size / 2 / 4096 * 4096), 0);
                break;
        default: /* one page, each in its turn */
                overwrite(path, (_i - 3) * 4096, 4096);
                break;
        }
        ck_assert_int_eq(examine(database), DATABASE_E_CORRUPT);
}
END_TEST

START_TEST(test_what_can_be_read_of_a_damaged_file_is_loaded) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content = { .nodes = NULL };
        long page;

        fill(database, 200);
        write_group(database, put(node));
        page = ask_number(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'tenures'");
        database_close_cleanly(database);
        overwrite(path, (page - 1) * 4096, 4096);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        ck_assert_int_eq(database_load(database, &content), DATABASE_E_CORRUPT);
        ck_assert_uint_eq(content.n_nodes, 201);
        database_content_done(&content);
}
END_TEST

START_TEST(test_a_file_of_ours_without_its_tables_is_damaged) {
        static const char *const harm[] = {
                "DROP VIEW nodes; DROP TABLE registrations",
                "ALTER TABLE tenures RENAME COLUMN how TO wie",
                "DROP TABLE registry",
                "PRAGMA user_version = 0",
        };
        _cleanup_(database_freep) Database *database = open_default();

        database_close_cleanly(database);
        change(path, harm[_i]);
        ck_assert_int_eq(examine(database), DATABASE_E_CORRUPT);
        ck_assert(!database_is_open(database));
}
END_TEST

START_TEST(test_the_check_of_all_pages_gives_way) {
        _cleanup_(database_freep) Database *database = open_default();

        fill(database, 500);
        ck_assert_int_eq(database_check_pages(database, always, NULL), DATABASE_E_INTERRUPTED);
        ck_assert_int_eq(database_check_pages(database, never, NULL), 0);
}
END_TEST

START_TEST(test_creations_are_salvaged_from_a_damaged_file) {
        _cleanup_(database_freep) Database *database = open_default();
        Write *creations = of_kind(WRITE_CREATIONS, NULL, 0);
        long page;

        fill(database, 200);
        ck_assert_int_eq(try_write(database, creations, 123456), 0);
        free_group(creations);
        page = ask_number(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'registrations'");
        database_close_cleanly(database);
        overwrite(path, (page - 1) * 4096, 4096);
        ck_assert_uint_eq(database_salvage_creations(path), 123456);
        overwrite(path, 0, 4096);
        ck_assert_uint_eq(database_salvage_creations(path), 0);
        ck_assert_uint_eq(database_salvage_creations(in_dir("missing")), 0);
}
END_TEST

/* --- a file that is taken away -------------------------------------------------------------- */

static void copy_file(const char *from, const char *to) {
        size_t n;
        _cleanup_(freep) char *data = read_all(from, &n);

        write_file(to, data, n);
}

START_TEST(test_a_file_that_is_not_at_its_path_any_more_is_lost) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);

        write_group(database, put(node));
        ck_assert_int_eq(database_check_place(database), 0);
        switch (_i) {
        case 0:
                ck_assert_int_eq(unlink(path), 0);
                break;
        case 1:
                ck_assert_int_eq(unlink(in_dir("registry.db-wal")), 0);
                break;
        case 2:
                ck_assert_int_eq(unlink(in_dir("registry.db-shm")), 0);
                break;
        case 3:
                copy_file(path, in_dir("copy"));
                ck_assert_int_eq(rename(in_dir("copy"), path), 0);
                break;
        case 4:
                ck_assert_int_eq(truncate(path, 0), 0);
                break;
        }
        /* The trap itself: SQLite sees nothing wrong. */
        write_group(database, put(node));
        ck_assert_int_eq(database_check_place(database), DATABASE_E_LOST);
        ck_assert_ptr_nonnull(strstr(database_detail(database), path));
}
END_TEST

START_TEST(test_a_lost_file_is_left_without_touching_the_one_in_its_place) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(database_freep) Database *other = NULL;
        _cleanup_(node_freep) Node *ours = new_node("ours", 1);
        _cleanup_(node_freep) Node *theirs = new_node("theirs", 1);
        DatabaseOptions how = options();
        DatabaseContent content;

        /* A whole set, with rows in its log, moved over ours. */
        write_group(database, put(ours));
        how.path = in_dir("other.db");
        other = open_database(&how);
        write_group(other, put(theirs));
        database_close(other);
        ck_assert_int_eq(rename(in_dir("other.db"), path), 0);
        ck_assert_int_eq(rename(in_dir("other.db-wal"), in_dir("registry.db-wal")), 0);
        ck_assert_int_eq(rename(in_dir("other.db-shm"), in_dir("registry.db-shm")), 0);

        ck_assert_int_eq(database_check_place(database), DATABASE_E_LOST);
        database_close_lost(database);
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 1);
        ck_assert_str_eq(content.nodes[0]->info.name, "theirs");
        database_content_done(&content);
}
END_TEST

START_TEST(test_our_log_is_not_left_beside_another_file) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("kept", 1);
        _cleanup_(node_freep) Node *later = new_node("later", 2);
        DatabaseContent content;

        write_group(database, put(node));
        database_close_cleanly(database);
        copy_file(path, in_dir("backup"));
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        write_group(database, put(later));
        ck_assert_int_eq(rename(in_dir("backup"), path), 0); /* only this file, as people do */

        ck_assert_int_eq(database_check_place(database), DATABASE_E_LOST);
        database_close_lost(database);
        ck_assert(!exists(in_dir("registry.db-wal")));
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 1);
        ck_assert_str_eq(content.nodes[0]->info.name, "kept");
        database_content_done(&content);
}
END_TEST

/* --- how it is left ------------------------------------------------------------------------- */

START_TEST(test_a_clean_end_leaves_all_in_the_file_and_an_empty_log_beside_it) {
        _cleanup_(database_freep) Database *database = open_default();

        fill(database, 50);
        database_close_cleanly(database);
        ck_assert_int_eq(file_size(in_dir("registry.db-wal")), 0);
        ck_assert(exists(in_dir("registry.db-shm")));
        copy_file(path, in_dir("copy.db"));
        ck_assert_int_eq(ask_number(in_dir("copy.db"), "SELECT count(*) FROM registrations"), 50);
}
END_TEST

/* Writes a row and dies without a word. */
static int write_and_die(const char *where) {
        DatabaseOptions how = options();
        Database *database;
        Node *node = new_node("a", 1);
        size_t n_refused;

        how.path = where;
        if (database_new(&database, &how) < 0 || database_open(database, DATABASE_WRITE) != 0 ||
            database_write(database, put(node), 0, &n_refused) != 0)
                return 1;
        _exit(0);
}

START_TEST(test_what_was_written_is_there_after_its_writer_was_killed) {
        DatabaseContent content;

        ck_assert_int_eq(run_child(0, 0, write_and_die, path), 0);
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 1);
        database_content_done(&content);
}
END_TEST

/* What a member of the group does: the views, read-only and as the sqlite3 shell opens it. */
static int read_as_member(const char *where) {
        static const int flags[] = { SQLITE_OPEN_READONLY, SQLITE_OPEN_READWRITE };

        for (size_t i = 0; i < ELEMENTS(flags); i++) {
                sqlite3 *handle = NULL;
                sqlite3_stmt *statement = NULL;

                if (sqlite3_open_v2(where, &handle, flags[i], NULL) != SQLITE_OK)
                        return 1;
                if (sqlite3_prepare_v2(handle, "SELECT name FROM nodes", -1, &statement, NULL) !=
                    SQLITE_OK)
                        return 2;
                if (sqlite3_step(statement) != SQLITE_ROW ||
                    strcmp((const char *)sqlite3_column_text(statement, 0), "a") != 0)
                        return 3;
                sqlite3_finalize(statement);
                if (sqlite3_exec(handle, "DELETE FROM registrations", NULL, NULL, NULL) !=
                    SQLITE_READONLY)
                        return 4;
                sqlite3_close(handle);
        }
        return 0;
}

static int fail_to_open(const char *where) {
        sqlite3 *handle = NULL;
        int rc = sqlite3_open_v2(where, &handle, SQLITE_OPEN_READONLY, NULL);

        if (rc == SQLITE_OK)
                rc = sqlite3_exec(handle, "SELECT * FROM nodes", NULL, NULL, NULL);
        return rc == SQLITE_CANTOPEN ? 0 : 1;
}

START_TEST(test_members_of_the_group_read_while_it_is_open_and_after_each_kind_of_end) {
        Database *database;
        Node *node = new_node("a", 1);

        if (geteuid() != 0)
                return; /* only root can be somebody else */
        ck_assert_int_eq(mkdir(in_dir("state"), 0750), 0);
        ck_assert_int_eq(chown(in_dir("state"), 0, MEMBERS), 0);
        ck_assert_int_eq(setegid(MEMBERS), 0);
        use_path("state/registry.db");

        database = open_default();
        write_group(database, put(node));
        ck_assert_int_eq(run_child(NOBODY, MEMBERS, read_as_member, path), 0);
        ck_assert_int_eq(run_child(NOBODY, NOBODY, fail_to_open, path), 0);
        ck_assert_int_eq(database_check_place(database), 0);
        database_close_cleanly(database);
        ck_assert_int_eq(run_child(NOBODY, MEMBERS, read_as_member, path), 0);
        ck_assert(exists(in_dir("state/registry.db-shm")));

        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(run_child(0, 0, write_and_die, path), 0);
        ck_assert_int_gt(file_size(in_dir("state/registry.db-wal")), 0);
        ck_assert_int_eq(run_child(NOBODY, MEMBERS, read_as_member, path), 0);
        node_free(node);
        database_free(database);
}
END_TEST

/* A daemon that may only read the file: it has the rows, and knows that it cannot write. */
static int load_read_only(const char *where) {
        DatabaseOptions how = options();
        DatabaseContent content = { .nodes = NULL };
        Database *database;

        how.path = where;
        if (database_new(&database, &how) < 0)
                return 1;
        if (database_open(database, DATABASE_WRITE) != 0)
                return 2;
        if (!database_is_read_only(database))
                return 3;
        if (database_load(database, &content) != 0 || content.n_nodes != 1)
                return 4;
        database_content_done(&content);
        database_free(database);
        return 0;
}

START_TEST(test_a_file_that_may_only_be_read_is_loaded_all_the_same) {
        Database *database;
        Node *node = new_node("a", 1);

        if (geteuid() != 0)
                return; /* only root can be somebody else */
        database = open_default();
        write_group(database, put(node));
        database_close_cleanly(database);
        for (size_t i = 0; i < 3; i++)
                ck_assert_int_eq(chmod(in_dir("registry.db%s", (const char *[]){ "", "-wal", "-shm" }[i]), 0644), 0);
        ck_assert_int_eq(run_child(NOBODY, NOBODY, load_read_only, path), 0);
        node_free(node);
        database_free(database);
}
END_TEST

/* --- the log -------------------------------------------------------------------------------- */

START_TEST(test_a_reader_lets_the_log_grow_and_it_is_cut_when_he_leaves) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        sqlite3 *reader = NULL;

        ck_assert_int_eq(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM nodes", NULL, NULL, NULL), SQLITE_OK);
        while (file_size(in_dir("registry.db-wal")) <= 2 * DATABASE_WAL_BYTES_MAX) {
                for (size_t i = 0; i < 100; i++)
                        write_group(database, put(node));
                ck_assert_int_eq(database_checkpoint(database, false), 0);
        }
        ck_assert_int_eq(database_check_place(database), 0);
        ck_assert_int_eq(database_checkpoint(database, true), 0);
        ck_assert_int_gt(file_size(in_dir("registry.db-wal")), 2 * DATABASE_WAL_BYTES_MAX);

        sqlite3_close(reader);
        ck_assert_int_eq(database_checkpoint(database, true), 0);
        ck_assert_int_eq(file_size(in_dir("registry.db-wal")), 0);
        ck_assert_int_eq(database_check_place(database), 0);
        ck_assert_uint_eq(database_wal_bytes(database), 0);
}
END_TEST

START_TEST(test_without_readers_the_log_stays_short_by_itself) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);

        for (size_t i = 0; i < 5000; i++) {
                write_group(database, put(node));
                ck_assert_int_eq(database_checkpoint(database, false), 0);
        }
        ck_assert_int_le(file_size(in_dir("registry.db-wal")), DATABASE_WAL_BYTES_MAX + 65536);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("database");
        TCase *tcase = tcase_create("database");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, test_a_new_file_is_a_registry_in_wal_mode_for_owner_and_group_whatever_the_umask, 0, 3);
        tcase_add_test(tcase, test_an_empty_file_is_taken_with_its_mode);
        tcase_add_test(tcase, test_a_log_without_its_file_is_not_taken_for_the_new_ones);
        tcase_add_test(tcase, test_a_symbolic_link_is_followed_and_its_new_target_is_noticed);
        tcase_add_test(tcase, test_what_is_not_a_regular_file_is_an_error_and_stays);
        tcase_add_test(tcase, test_reading_makes_no_file);
        tcase_add_test(tcase, test_creations_are_synced_and_registrations_need_not_be);
        tcase_add_test(tcase, test_every_order_is_synced_and_comes_back);
        tcase_add_test(tcase, test_orders_go_into_the_next_file_with_the_whole);
        tcase_add_test(tcase, test_an_order_that_cannot_be_written_leaves_nothing);
        tcase_add_loop_test(tcase, test_an_entry_that_makes_no_sense_is_passed_over, 0, (int)ELEMENTS(odd_entries));
        tcase_add_loop_test(tcase, test_creations_never_go_back_but_around, 0, 5);
        tcase_add_test(tcase, test_the_boot_id_is_written_with_the_first_creations_and_not_before);
        tcase_add_test(tcase, test_a_whole_write_brings_the_boot_id_of_this_run_also_where_it_is_not_known);
        tcase_add_test(tcase, test_a_full_disk_loses_nothing_and_hinders_nothing_afterwards);
        tcase_add_loop_test(tcase, test_a_write_that_fails_is_told_with_its_cause_and_can_be_done_again, 0, 2);
        tcase_add_test(tcase, test_a_sync_that_fails_fails_the_group_that_needs_it);
        tcase_add_test(tcase, test_a_file_that_cannot_be_opened_is_told_with_its_cause);
        tcase_add_test(tcase, test_somebody_elses_transaction_is_busy_and_no_more);
        tcase_add_loop_test(tcase, test_another_programs_database_is_left_alone, 0, 4);
        tcase_add_test(tcase, test_a_database_without_anything_in_it_is_taken);
        tcase_add_test(tcase, test_our_tables_tell_whose_a_database_is_where_its_id_is_lost);
        tcase_add_loop_test(tcase, test_a_newer_schema_that_we_may_not_write_is_left_alone, 0, 3);
        tcase_add_test(tcase, test_a_newer_schema_that_only_added_things_is_used);
        tcase_add_loop_test(tcase, test_damage_is_found_wherever_it_is, 0, 10);
        tcase_add_test(tcase, test_what_can_be_read_of_a_damaged_file_is_loaded);
        tcase_add_loop_test(tcase, test_a_file_of_ours_without_its_tables_is_damaged, 0, 4);
        tcase_add_test(tcase, test_the_check_of_all_pages_gives_way);
        tcase_add_test(tcase, test_creations_are_salvaged_from_a_damaged_file);
        tcase_add_loop_test(tcase, test_a_file_that_is_not_at_its_path_any_more_is_lost, 0, 5);
        tcase_add_test(tcase, test_a_lost_file_is_left_without_touching_the_one_in_its_place);
        tcase_add_test(tcase, test_our_log_is_not_left_beside_another_file);
        tcase_add_test(tcase, test_a_clean_end_leaves_all_in_the_file_and_an_empty_log_beside_it);
        tcase_add_test(tcase, test_what_was_written_is_there_after_its_writer_was_killed);
        tcase_add_test(tcase, test_members_of_the_group_read_while_it_is_open_and_after_each_kind_of_end);
        tcase_add_test(tcase, test_a_file_that_may_only_be_read_is_loaded_all_the_same);
        tcase_add_test(tcase, test_a_reader_lets_the_log_grow_and_it_is_cut_when_he_leaves);
        tcase_add_test(tcase, test_without_readers_the_log_stays_short_by_itself);
        suite_add_tcase(suite, tcase);
        return suite;
}
