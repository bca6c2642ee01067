/* SPDX-License-Identifier: Apache-2.0 */
/* The schema's own migrations: what every released version left is read by this one, and what this one writes an
 * older one can go on with. */

#include "check_main.h"
#include "database_test.h"
#include "state/schema.h"

/* The bytes of a file; owned by the caller. */
static char *read_fixture(const char *name) {
        char file[PATH_MAX];
        FILE *stream;
        char *text = NULL;
        size_t n_text = 0;

        snprintf(file, sizeof file, FIXTURES "/%s", name);
        stream = fopen(file, "re");
        ck_assert_msg(stream, "%s: %s", file, strerror(errno));
        ck_assert_int_ge(getdelim(&text, &n_text, '\0', stream), 1);
        fclose(stream);
        return text;
}

/* The registry file of this test, as a daemon of schema 1 left it. */
static void make_schema_1(void) {
        _cleanup_(freep) char *sql = read_fixture("schema-1.sql");

        change(path, sql);
        change(path, "PRAGMA journal_mode = WAL");
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 1);
}

static const char names_then[] = "app|127.0.0.2 app|127.0.0.3 b\xc3\xbc" "cher|* cnode|* mail|* old16|* web|*";
static const char history_then[] = "web-past left,web-past left,web-past left,old16-past left,it's left,"
                                   "rabbitmqcli-0-rabbit left,rabbitmqcli-1-rabbit left,"
                                   "rabbitmqcli-2-rabbit found-dead";

static void assert_content_then(Database *database) {
        DatabaseContent content = load(database);

        ck_assert_uint_eq(content.n_nodes, 7);
        ck_assert_uint_eq(content.n_formers, 6);
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_uint_eq(content.n_refused, 0);
        ck_assert_str_eq(content.boot_id, "0b8d1c1e-5a5f-4c57-9a0e-3f6b1f0c2d11");
        for (size_t i = 0; i < content.n_nodes; i++) {
                const Node *node = content.nodes[i];

                ck_assert(node->facts.is_awaited);
                ck_assert_int_eq(node->facts.unit_phase, UNIT_PHASE_UNKNOWN);
                ck_assert_int_eq(node->facts.announced, NODE_ANNOUNCED_NOTHING);
                ck_assert_int_eq(node->state, NODE_AWAITED);
                ck_assert_uint_eq(node->state_since_usec, 0);
                ck_assert_ptr_null(node->profile.host);
                ck_assert_uint_eq(node->profile.n_metadata, 0);
        }
        ck_assert_str_eq(content.nodes[0]->info.name, "web");
        ck_assert_uint_eq(content.nodes[2]->creation, 3);
        ck_assert_uint_eq(content.nodes[3]->info.n_extra, 9);
        ck_assert_str_eq(content.formers[1]->info.name, "old16-past");
        ck_assert_uint_eq(content.formers[1]->creation, 2);
        ck_assert_int_eq(content.formers[5]->end, NODE_END_FOUND_DEAD);
        ck_assert_uint_ne(content.formers[5]->until_usec, 0);
        database_content_done(&content);
}

START_TEST(test_a_file_of_schema_1_is_migrated_with_all_that_is_in_it) {
        static const char names[] = "SELECT group_concat(name || '|' || scope, ' ') FROM "
                                    "(SELECT name, scope FROM nodes)";
        static const char history[] = "SELECT group_concat(name || ' ' || how) FROM (SELECT name, how FROM history)";
        static const char rest[] = "SELECT count(*) FROM nodes WHERE state = 'awaited' AND state_source IS NULL AND "
                                   "state_since IS NULL AND pid IS NULL AND host IS NULL AND metadata IS NULL AND "
                                   "helper = 0";
        _cleanup_(database_freep) Database *database = NULL;

        make_schema_1();
        ck_assert_answer(path, names, names_then);
        database = open_default();
        ck_assert_uint_eq(database_version(database), n_schema_migrations);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), (long)n_schema_migrations);
        ck_assert_answer(path, names, names_then);
        ck_assert_answer(path, history, history_then);
        ck_assert_int_eq(ask_number(path, rest), 7);
        ck_assert_uint_eq(database_creations(database), (uint32_t)ask_number(path, "SELECT creation_reserved FROM registry"));
        assert_content_then(database);
}
END_TEST

START_TEST(test_a_file_of_schema_1_that_may_only_be_read_is_loaded_as_it_is) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        make_schema_1();
        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_READ), 0);
        assert_content_then(database);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 1);
}
END_TEST

START_TEST(test_an_old_and_a_new_file_have_the_same_schema) {
        static const char schema[] = "SELECT group_concat(type || name || coalesce(sql, ''), ';') FROM "
                                     "(SELECT * FROM sqlite_schema ORDER BY type, name)";
        _cleanup_(freep) char *migrated = NULL;

        make_schema_1();
        database_free(open_default());
        migrated = ask(path, schema);
        use_path("fresh.db");
        database_free(open_default());
        ck_assert_answer(path, schema, migrated);
}
END_TEST

/* --- schema 2 ------------------------------------------------------------------------------------------ */

static void make_schema_2(void) {
        _cleanup_(freep) char *sql = read_fixture("schema-2.sql");

        change(path, sql);
        change(path, "PRAGMA journal_mode = WAL");
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 2);
}

static void assert_content_of_2(Database *database) {
        DatabaseContent content = load(database);
        const Node *mail;

        ck_assert_uint_eq(content.n_nodes, 4);
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_uint_eq(content.n_refused, 1);
        ck_assert_uint_eq(content.entries.n_entries, 0);
        ck_assert_uint_eq(content.pins.n_entries, 0);
        for (size_t i = 0; i < content.n_nodes; i++) {
                ck_assert_int_eq(content.nodes[i]->facts.origin, NODE_ORIGIN_REGISTERED);
                ck_assert_uint_eq(content.nodes[i]->unit_invocation, 0);
        }
        mail = content.nodes[0];
        ck_assert_str_eq(mail->info.name, "mail");
        ck_assert_str_eq(mail->unit, "mail.service");
        ck_assert_int_eq(mail->unit_pid, 812);
        ck_assert(mail->is_unit_own);
        ck_assert_str_eq(mail->profile.host, "mail.example.org");
        ck_assert_str_eq(node_profile_host_source(&mail->profile), "announced");
        ck_assert_int_eq(mail->facts.announced, NODE_ANNOUNCED_READY);
        ck_assert_uint_gt(mail->profile.n_metadata, 0);
        ck_assert_int_eq(content.nodes[1]->state, NODE_STOPPING);
        ck_assert_uint_eq(content.n_formers, 2);
        ck_assert_uint_eq(content.formers[0]->creation, 1);
        ck_assert_str_eq(content.formers[1]->ended_by, "uid 0");
        ck_assert_int_eq(content.formers[1]->facts.origin, NODE_ORIGIN_REGISTERED);
        database_content_done(&content);
}

START_TEST(test_a_file_of_schema_2_is_migrated_with_all_that_is_in_it) {
        _cleanup_(database_freep) Database *database = NULL;

        make_schema_2();
        database = open_default();
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), (long)n_schema_migrations);
        assert_content_of_2(database);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM nodes WHERE origin IS NULL"), 4);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM history WHERE origin IS NULL"), 3);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM entries"), 0);
}
END_TEST

START_TEST(test_a_file_of_schema_2_that_may_only_be_read_is_loaded_as_it_is) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        make_schema_2();
        database = new_database(&how);
        ck_assert_int_eq(database_open(database, DATABASE_READ), 0);
        assert_content_of_2(database);
        ck_assert_int_eq(ask_number(path, "PRAGMA user_version"), 2);
}
END_TEST

START_TEST(test_a_file_of_schema_2_gets_the_schema_of_a_new_one) {
        static const char schema[] = "SELECT group_concat(type || name || coalesce(sql, ''), ';') FROM "
                                     "(SELECT * FROM sqlite_schema ORDER BY type, name)";
        _cleanup_(freep) char *migrated = NULL;

        make_schema_2();
        database_free(open_default());
        migrated = ask(path, schema);
        use_path("fresh.db");
        database_free(open_default());
        ck_assert_answer(path, schema, migrated);
}
END_TEST

/* What a daemon of schema 2 writes of a static node: it knows neither origin nor the start of its unit. */
#define PUT_OF_2(name)                                                                                         \
        "INSERT OR REPLACE INTO registrations (scope, name, port, type, protocol, highest_version, lowest_version, " \
        "creation, since_usec, serial, uid, unit, state, state_source, host, unit_pid, helper, extra, "        \
        "listener_cookie, listener_address, listener_ipv6, cgroup_id, state_since_usec, announced, host_source, " \
        "is_unit_own) SELECT scope, name, port, type, protocol, highest_version, lowest_version, creation, "   \
        "since_usec, serial, uid, unit, 'awaited', 'connection', host, unit_pid, helper, extra, listener_cookie, " \
        "listener_address, listener_ipv6, cgroup_id, 9, announced, 'announced', is_unit_own FROM registrations " \
        "WHERE name = '" name "';"

START_TEST(test_what_a_daemon_of_schema_2_wrote_of_a_static_node_is_still_one) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;

        node->facts.origin = NODE_ORIGIN_STATIC;
        node->creation = 0;
        node->unit_invocation = UINT64_C(0xfedcba9876543210);
        node->profile.host = strdup("h");
        node->profile.is_host_static = true;
        node_set_facts(node, &node->facts, NOW);
        write_group(database, put(node));
        content = load(database);
        ck_assert_int_eq(content.nodes[0]->facts.origin, NODE_ORIGIN_STATIC);
        ck_assert_uint_eq(content.nodes[0]->unit_invocation, UINT64_C(0xfedcba9876543210));
        ck_assert_str_eq(node_profile_host_source(&content.nodes[0]->profile), "static");
        ck_assert_answer(path, "SELECT origin || ' ' || state_source FROM nodes", "static listener");
        database_content_done(&content);
        change(path, PUT_OF_2("a"));
        content = load(database);
        ck_assert_int_eq(content.nodes[0]->facts.origin, NODE_ORIGIN_STATIC);
        ck_assert_uint_eq(content.nodes[0]->unit_invocation, 0);
        database_content_done(&content);
}
END_TEST

START_TEST(test_no_migration_so_far_shuts_older_daemons_out) {
        database_free(open_default());
        ck_assert_int_eq(ask_number(path, "SELECT oldest_writer FROM registry"), 1);
}
END_TEST

/* --- a daemon of schema 1 at a file of this one --------------------------------------------------- */

/* Its statements, word for word but for the values. */
#define OLD_PUT(name, serial, state)                                                                \
        "INSERT OR REPLACE INTO registrations (scope, name, port, type, protocol, highest_version, " \
        "lowest_version, creation, since_usec, serial, uid, unit, extra, state, listener_cookie, "   \
        "listener_address, listener_ipv6, cgroup_id) VALUES ('*', '" name "', 4711, 77, 0, 6, 5, "   \
        "1001, 1763687473000000 + " serial ", " serial ", 0, NULL, x'', '" state "', NULL, NULL, 0, NULL);"
#define OLD_END(name, serial)                                                                       \
        "DELETE FROM registrations WHERE name = '" name "' AND scope = '*' AND serial = " serial     \
        " AND since_usec = 1763687473000000 + " serial ";"                                          \
        "INSERT INTO tenures (scope, name, port, type, protocol, highest_version, lowest_version, "  \
        "creation, since_usec, serial, uid, unit, until_usec, how) VALUES ('*', '" name "', 4711, "  \
        "77, 0, 6, 5, 1001, 1763687473000000 + " serial ", " serial ", 0, NULL, 1763700000000000, 'left');"

/* "a" (serial 1) and "b" (serial 2), of which all is known. */
static void write_two_nodes(void) {
        _cleanup_(database_freep) Database *database = open_default();

        for (uint64_t serial = 1; serial <= 2; serial++) {
                _cleanup_(node_freep) Node *node = new_node(serial == 1 ? "a" : "b", serial);

                node->facts.announced = NODE_ANNOUNCED_READY;
                node_set_facts(node, &node->facts, NOW);
                node->unit = strdup("a.service");
                node->is_unit_own = true;
                node->unit_pid = 4711;
                node->profile.host = strdup("127.0.0.1");
                ck_assert_int_eq(node_profile_set(&node->profile, "role", 4, "db", 2), 0);
                write_group(database, put(node));
        }
        database_close_cleanly(database);
}

START_TEST(test_a_daemon_of_schema_1_can_write_to_the_file) {
        static const char facts[] = "SELECT state || ' ' || coalesce(state_source, '-') || ' ' || coalesce(host, '-') "
                                    "|| ' ' || coalesce(pid, '-') || ' ' || helper FROM nodes WHERE name = 'a'";

        write_two_nodes();
        ck_assert_answer(path, facts, "ready announcement 127.0.0.1 4711 0");
        change(path, OLD_PUT("a", "1", "stopping"));
        /* What it knows nothing of is not known any more; what the node announced still belongs to it. */
        ck_assert_answer(path, facts, "stopping - - - 0");
        ck_assert_answer(path, "SELECT metadata FROM nodes WHERE name = 'a'", "{\"role\":\"db\"}");
        change(path, OLD_END("a", "1") OLD_END("b", "2") OLD_PUT("a", "3", "up"));
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM metadata"), 0);
        ck_assert_answer(path, "SELECT group_concat(name || ' ' || how || ' ' || helper) FROM history", "a left 0,b left 0");
        change(path, "DELETE FROM registrations");
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM nodes"), 0);
}
END_TEST

START_TEST(test_what_a_daemon_of_schema_1_wrote_is_loaded) {
        DatabaseContent content;

        write_two_nodes();
        change(path, OLD_PUT("a", "1", "awaited") OLD_END("b", "2") OLD_PUT("c", "3", "up"));
        content = load_again();
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_uint_eq(content.n_nodes, 2);
        ck_assert_int_eq(content.nodes[0]->state, NODE_AWAITED);
        ck_assert_int_eq(content.nodes[0]->facts.announced, NODE_ANNOUNCED_NOTHING);
        ck_assert_int_eq(content.nodes[1]->state, NODE_UP);
        ck_assert_uint_eq(content.n_formers, 1);
        ck_assert_str_eq(content.formers[0]->info.name, "b");
        database_content_done(&content);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("schema");
        TCase *tcase = tcase_create("schema");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_a_file_of_schema_1_is_migrated_with_all_that_is_in_it);
        tcase_add_test(tcase, test_a_file_of_schema_1_that_may_only_be_read_is_loaded_as_it_is);
        tcase_add_test(tcase, test_an_old_and_a_new_file_have_the_same_schema);
        tcase_add_test(tcase, test_a_file_of_schema_2_is_migrated_with_all_that_is_in_it);
        tcase_add_test(tcase, test_a_file_of_schema_2_that_may_only_be_read_is_loaded_as_it_is);
        tcase_add_test(tcase, test_a_file_of_schema_2_gets_the_schema_of_a_new_one);
        tcase_add_test(tcase, test_what_a_daemon_of_schema_2_wrote_of_a_static_node_is_still_one);
        tcase_add_test(tcase, test_no_migration_so_far_shuts_older_daemons_out);
        tcase_add_test(tcase, test_a_daemon_of_schema_1_can_write_to_the_file);
        tcase_add_test(tcase, test_what_a_daemon_of_schema_1_wrote_is_loaded);
        suite_add_tcase(suite, tcase);
        return suite;
}
