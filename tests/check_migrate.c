/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations of the test's own in place of the schema's, which the library has in a file of its own. */

#include "check_main.h"
#include "database_test.h"
#include "state/schema.h"

const char *const schema_migrations[] = {
        "CREATE TABLE registry (id INTEGER, oldest_writer INTEGER, creation_reserved INTEGER, boot_id TEXT);"
        "INSERT INTO registry VALUES (1, 1, 777, NULL);"
        "CREATE TABLE registrations (scope TEXT, name TEXT, port INTEGER, type INTEGER, protocol INTEGER,"
        "  highest_version INTEGER, lowest_version INTEGER, creation INTEGER, since_usec INTEGER,"
        "  serial INTEGER, uid INTEGER, unit TEXT, extra BLOB, state TEXT, listener_cookie INTEGER,"
        "  listener_address TEXT, listener_ipv6 INTEGER, PRIMARY KEY (name, scope));"
        "CREATE TABLE tenures (id INTEGER PRIMARY KEY, scope TEXT, name TEXT, port INTEGER, type INTEGER,"
        "  protocol INTEGER, highest_version INTEGER, lowest_version INTEGER, creation INTEGER,"
        "  since_usec INTEGER, serial INTEGER, uid INTEGER, unit TEXT, until_usec INTEGER, how TEXT)",
        "ALTER TABLE registrations ADD COLUMN cgroup_id INTEGER;"
        "ALTER TABLE registrations ADD COLUMN state_source TEXT;"
        "ALTER TABLE registrations ADD COLUMN state_since_usec INTEGER;"
        "ALTER TABLE registrations ADD COLUMN announced TEXT;"
        "ALTER TABLE registrations ADD COLUMN host TEXT;"
        "ALTER TABLE registrations ADD COLUMN host_source TEXT;"
        "ALTER TABLE registrations ADD COLUMN unit_pid INTEGER;"
        "ALTER TABLE registrations ADD COLUMN is_unit_own INTEGER;"
        "ALTER TABLE registrations ADD COLUMN helper INTEGER;"
        "ALTER TABLE tenures ADD COLUMN state TEXT;"
        "ALTER TABLE tenures ADD COLUMN state_source TEXT;"
        "ALTER TABLE tenures ADD COLUMN host TEXT;"
        "ALTER TABLE tenures ADD COLUMN unit_pid INTEGER;"
        "ALTER TABLE tenures ADD COLUMN helper INTEGER;"
        "ALTER TABLE tenures ADD COLUMN by TEXT;"
        "ALTER TABLE registrations ADD COLUMN origin TEXT;"
        "ALTER TABLE registrations ADD COLUMN unit_invocation INTEGER;"
        "ALTER TABLE tenures ADD COLUMN origin TEXT;"
        "CREATE TABLE static_entries (name TEXT, address TEXT, port INTEGER, host TEXT, since_usec INTEGER, by TEXT);"
        "CREATE TABLE pinned_ports (name TEXT, port INTEGER, since_usec INTEGER, by TEXT);"
        "CREATE TABLE metadata (name TEXT, scope TEXT, key TEXT, value TEXT, PRIMARY KEY (name, scope, key));"
        "CREATE TABLE refusals (name TEXT PRIMARY KEY, at_usec INTEGER, reason TEXT, port INTEGER,"
        "  uid INTEGER, unit TEXT)",
        /* What the rows of a test can make fail. */
        "CREATE UNIQUE INDEX one_node_for_each_port ON registrations (port)",
};
const unsigned n_schema_migrations = 3;

/* A file as a daemon of version 1 has left it. */
static void make_version_1(const char *rows) {
        char sql[64];

        snprintf(sql, sizeof sql, "PRAGMA application_id = %d", DATABASE_APPLICATION_ID);
        change(path, sql);
        change(path, schema_migrations[0]);
        change(path, "PRAGMA user_version = 1");
        change(path, rows);
}

#define ROW(name, port) \
        "INSERT INTO registrations VALUES ('*', '" name "', " port ", 77, 0, 6, 5, 9, 1, 1, NULL, NULL, x'', 'up', NULL, NULL, 0);"

START_TEST(test_a_new_file_goes_through_all_of_them) {
        _cleanup_(database_freep) Database *database = open_default();

        ck_assert(database_is_fresh(database));
        ck_assert_uint_eq(database_version(database), 3);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 3);
        ck_assert_uint_eq(database_creations(database), 777);
}
END_TEST

START_TEST(test_an_old_file_keeps_its_rows) {
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseContent content;

        make_version_1(ROW("a", "1") ROW("b", "2"));
        database = open_default();
        ck_assert(!database_is_fresh(database));
        ck_assert_uint_eq(database_version(database), 3);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 3);
        content = load(database);
        ck_assert_uint_eq(content.n_nodes, 2);
        database_content_done(&content);
}
END_TEST

START_TEST(test_where_one_fails_none_is_applied_and_the_next_attempt_is_as_good) {
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseOptions how = options();

        make_version_1(ROW("a", "1") ROW("b", "1"));
        database = new_database(&how);
        ck_assert_int_lt(database_open(database, DATABASE_WRITE), 0);
        ck_assert_ptr_nonnull(strstr(database_detail(database), "cannot migrate"));
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 1);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM pragma_table_info('registrations') "
                                          "WHERE name = 'cgroup_id'"),
                         0);
        change(path, "UPDATE registrations SET port = 2 WHERE name = 'b'");
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        ck_assert_uint_eq(database_version(database), 3);
}
END_TEST

START_TEST(test_a_migration_is_synced) {
        int before;
        _cleanup_(database_freep) Database *database = NULL;

        make_version_1("PRAGMA journal_mode = WAL");
        disk_match = "-wal";
        before = disk_n_syncs;
        database = open_default();
        ck_assert_int_gt(disk_n_syncs, before);
}
END_TEST

START_TEST(test_whoever_holds_the_file_delays_a_migration_and_harms_nothing) {
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseOptions how = options();
        sqlite3 *other = NULL;

        make_version_1("PRAGMA journal_mode = WAL");
        ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
        ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), -EBUSY);
        sqlite3_close(other);
        ck_assert_int_eq(database_open(database, DATABASE_WRITE), 0);
        ck_assert_uint_eq(database_version(database), 3);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("migrate");
        TCase *tcase = tcase_create("migrate");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_a_new_file_goes_through_all_of_them);
        tcase_add_test(tcase, test_an_old_file_keeps_its_rows);
        tcase_add_test(tcase, test_where_one_fails_none_is_applied_and_the_next_attempt_is_as_good);
        tcase_add_test(tcase, test_a_migration_is_synced);
        tcase_add_test(tcase, test_whoever_holds_the_file_delays_a_migration_and_harms_nothing);
        suite_add_tcase(suite, tcase);
        return suite;
}
