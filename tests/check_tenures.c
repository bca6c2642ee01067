/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "core/registry.h"
#include "database_test.h"
#include "hash_test.h"
#include "state/rows.h"
#include "state/tenures.h"

/* --- history -------------------------------------------------------------------------------- */

static void trim(Database *database, uint64_t now) {
        bool again = true;

        while (again)
                ck_assert_int_eq(database_trim(database, now, &again), 0);
        ck_assert_uint_eq(database_n_untrimmed(database), 0);
}

START_TEST(test_history_is_bounded_per_name) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        how.history_per_name = 3;
        database = open_database(&how);
        for (uint64_t i = 1; i <= 10; i++) {
                add_tenure(database, "a", i, NODE_TYPE_NORMAL, 1000, NOW);
                add_tenure(database, "b", i + 100, NODE_TYPE_NORMAL, 1000, NOW);
        }
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures WHERE name = 'a'", "8,9,10");
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 6);
        /* P5: an entry's node that comes and goes does not crowd out what its name was given last. */
        add_tenure(database, "c", 200, NODE_TYPE_NORMAL, 1, NOW);
        add_tenure(database, "c", 201, NODE_TYPE_NORMAL, 2, NOW);
        for (uint64_t i = 202; i <= 210; i++)
                add_tenure(database, "c", i, NODE_TYPE_NORMAL, 0, NOW);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures WHERE name = 'c'", "201,208,209,210");
}
END_TEST

/* More names than are counted at a time, in no order; some ends fail, and somebody else deletes some. */
START_TEST(test_history_is_bounded_for_each_of_many_names) {
        enum { N_NAMES = ROWS_LEFT_N + 500, N_ENDS = 5 * N_NAMES, PER_NAME = 3 };
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;
        unsigned seed = 1;

        how.history_per_name = PER_NAME;
        database = open_database(&how);
        for (uint64_t i = 1; i <= N_ENDS; i++) {
                char name[16];

                snprintf(name, sizeof name, "n%d", rand_r(&seed) % N_NAMES);
                if (i % 1000 == 0) {
                        _cleanup_(node_freep) Node *node = new_node(name, i);
                        Write *failed = end(node, NODE_END_LEFT);

                        disk_match = "-wal";
                        disk_write_result = SQLITE_FULL;
                        ck_assert_int_eq(try_write(database, failed, 0), -ENOSPC);
                        free_group(failed);
                        disk_write_result = 0;
                }
                if (i == N_ENDS / 2)
                        ck_assert_int_eq(sqlite3_exec(database_handle(database), "DELETE FROM tenures WHERE id % 3 = 0",
                                                      NULL, NULL, NULL), SQLITE_OK);
                add_tenure(database, name, i, NODE_TYPE_NORMAL, 1000, NOW);
        }
        ck_assert_int_eq(ask_number(path, "SELECT max(n) FROM (SELECT count(*) AS n FROM tenures GROUP BY name)"), PER_NAME);
        /* Whoever had so many at any time has them still, but for what was deleted in the middle. */
        ck_assert_int_gt(ask_number(path, "SELECT count(*) FROM (SELECT 1 FROM tenures GROUP BY name HAVING count(*) = 3)"),
                         N_NAMES / 3);
}
END_TEST

/* P6: who ends nodes of the one name must not make room for the other's history. */
START_TEST(test_history_is_bounded_for_names_that_were_chosen_to_be_taken_for_each_other) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;
        char few[ALIKE_BYTES + 1], many[ALIKE_BYTES + 1];
        uint64_t serial = 0;

        choose_alike(few, many, 0);
        how.history_per_name = 10;
        database = open_database(&how);
        for (int n_few = 1; n_few < 10; n_few++) {
                add_tenure(database, few, ++serial, NODE_TYPE_NORMAL, 1000, NOW);
                for (int i = n_few; i < 10; i++)
                        add_tenure(database, many, ++serial, NODE_TYPE_NORMAL, 1000, NOW);
        }
        ck_assert_int_eq(ask_number(path, "SELECT max(n) FROM (SELECT count(*) AS n FROM tenures GROUP BY name)"), 10);
}
END_TEST

static int on_statement(unsigned kind, void *userdata, void *statement, void *text) {
        unsigned *n_counts = userdata;

        (void)kind;
        (void)text;
        *n_counts += strncmp(sqlite3_sql(statement), "SELECT count(*), min(id)", 24) == 0;
        return 0;
}

START_TEST(test_a_name_is_counted_no_more_often_than_it_may_be_full) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;
        unsigned n_counts = 0;

        how.history_per_name = 100;
        database = open_database(&how);
        ck_assert_int_eq(sqlite3_trace_v2(database_handle(database), SQLITE_TRACE_STMT, on_statement, &n_counts), SQLITE_OK);
        for (uint64_t i = 1; i <= 100; i++)
                add_tenure(database, "a", i, NODE_TYPE_NORMAL, 1000, NOW);
        ck_assert_uint_eq(n_counts, 1);
        for (uint64_t i = 101; i <= 105; i++)
                add_tenure(database, "a", i, NODE_TYPE_NORMAL, 1000, NOW);
        ck_assert_uint_eq(n_counts, 6);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 100);
}
END_TEST

START_TEST(test_history_is_bounded_in_days) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        how.history_days = 7;
        database = open_database(&how);
        for (uint64_t i = 1; i <= 10; i++)
                add_tenure(database, "a", i, NODE_TYPE_NORMAL, 1000, NOW - (11 - i) * DAY);
        trim(database, NOW);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures", "4,5,6,7,8,9,10");
        trim(database, NOW + 6 * DAY);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures", "10");
}
END_TEST

START_TEST(test_history_is_bounded_in_rows_and_hidden_ones_go_before_others) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        how.history_rows = 10;
        database = open_database(&how);
        for (uint64_t i = 1; i <= 8; i++)
                add_tenure(database, "real", i, NODE_TYPE_NORMAL, 1000, NOW);
        for (uint64_t i = 1; i <= 100; i++) {
                char name[32];

                snprintf(name, sizeof name, "rabbitmqcli-%d-rabbit", (int)i);
                add_tenure(database, name, 100 + i, NODE_TYPE_HIDDEN, 1000, NOW);
        }
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures WHERE name = 'real'"), 8);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures WHERE type = 72", "199,200");
        for (uint64_t i = 1; i <= 12; i++)
                add_tenure(database, "real", 300 + i, NODE_TYPE_NORMAL, 1000, NOW);
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 10);
        ck_assert_int_eq(ask_number(path, "SELECT min(serial) FROM tenures"), 303);
}
END_TEST

START_TEST(test_helpers_go_before_hidden_nodes_and_those_before_others) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        how.history_rows = 10;
        database = open_database(&how);
        for (uint64_t i = 1; i <= 30; i++) {
                char name[32];
                _cleanup_(node_freep) Node *node = NULL;

                snprintf(name, sizeof name, "n%d", (int)i);
                node = new_node(name, i);
                node->is_helper = i % 3 == 0; /* with the type of a normal one, as OTP 25 registers `-hidden` */
                node->info.type = i % 3 == 1 ? NODE_TYPE_HIDDEN : NODE_TYPE_NORMAL;
                write_group(database, end_at(node, NODE_END_LEFT, NOW));
        }
        trim(database, NOW);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures", "2,5,8,11,14,17,20,23,26,29");
        for (uint64_t i = 101; i <= 104; i++) {
                _cleanup_(node_freep) Node *node = new_node("helper", i);

                node->is_helper = true;
                write_group(database, end_at(node, NODE_END_LEFT, NOW));
        }
        add_tenure(database, "hidden", 105, NODE_TYPE_HIDDEN, 1000, NOW);
        add_tenure(database, "normal", 106, NODE_TYPE_NORMAL, 1000, NOW);
        trim(database, NOW);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures", "5,8,11,14,17,20,23,26,29,106");
}
END_TEST

START_TEST(test_bounds_can_be_changed) {
        _cleanup_(database_freep) Database *database = open_default();

        for (uint64_t i = 1; i <= 20; i++)
                add_tenure(database, "a", i, NODE_TYPE_NORMAL, 1000, NOW - (21 - i) * DAY);
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 20);
        database_set_history_bounds(database, 15, 1000, 1000);
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT min(serial) FROM tenures"), 6);
        database_set_history_bounds(database, 15, 10, 1000);
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT min(serial) FROM tenures"), 11);
        database_set_history_bounds(database, 15, 10, 3);
        add_tenure(database, "a", 21, NODE_TYPE_NORMAL, 1000, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT min(serial) FROM tenures"), 19);
        database_set_history_bounds(database, 0, 10, 3);
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 0);
}
END_TEST

START_TEST(test_history_stays_within_its_rows_after_a_failed_write) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;
        _cleanup_(node_freep) Node *node = new_node("a", 500);
        Write *first;

        how.history_rows = 10;
        database = open_database(&how);
        for (uint64_t i = 1; i <= 10; i++)
                add_tenure(database, "a", i, NODE_TYPE_NORMAL, 1000, NOW);
        trim(database, NOW);
        disk_match = "-wal";
        disk_write_result = SQLITE_FULL;
        first = end(node, NODE_END_LEFT);
        ck_assert_int_eq(try_write(database, first, 0), -ENOSPC);
        free_group(first);
        disk_write_result = 0;
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 10);
}
END_TEST

START_TEST(test_the_last_16_bit_creation_of_a_name_outlives_every_bound) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;
        DatabaseContent content;

        switch (_i) {
        case 0:
                how.history_days = 1;
                break;
        case 1:
                how.history_rows = 1;
                break;
        case 2:
                how.history_rows = 0;
                break;
        case 3:
                how.history_days = 0;
                break;
        case 4:
                how.history_per_name = 0;
                break;
        }
        database = open_database(&how);
        add_tenure(database, "old", 1, NODE_TYPE_NORMAL, 1, NOW - 20 * DAY);
        add_tenure(database, "old", 2, NODE_TYPE_NORMAL, 2, NOW - 10 * DAY);
        add_tenure(database, "hidden", 3, NODE_TYPE_HIDDEN, 3, NOW - 10 * DAY);
        for (uint64_t i = 10; i < 20; i++)
                add_tenure(database, "new", i, NODE_TYPE_NORMAL, 1000, NOW - 5 * DAY);
        trim(database, NOW);
        ck_assert_answer(path, "SELECT group_concat(creation) FROM (SELECT creation FROM tenures WHERE creation < 4 ORDER BY id)", "2,3");
        ck_assert_int_le(ask_number(path, "SELECT count(*) FROM tenures WHERE name = 'new'"), _i == 1);
        content = load(database);
        ck_assert_uint_ge(content.n_formers, 2);
        ck_assert_str_eq(content.formers[0]->info.name, "old");
        ck_assert_uint_eq(content.formers[0]->creation, 2);
        database_content_done(&content);
}
END_TEST

START_TEST(test_what_is_spared_is_bounded_too) {
        DatabaseOptions how = options();
        _cleanup_(database_freep) Database *database = NULL;

        how.history_rows = 0;
        database = open_database(&how);
        for (uint64_t i = 1; i <= DATABASE_SPARED_MAX + 50; i++) {
                char name[32];

                snprintf(name, sizeof name, "old-%d", (int)i);
                add_tenure(database, name, i, NODE_TYPE_NORMAL, 1 + (uint32_t)(i % 3), NOW);
        }
        trim(database, NOW);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), DATABASE_SPARED_MAX);
        ck_assert_int_eq(ask_number(path, "SELECT min(serial) FROM tenures"), 51);
}
END_TEST

START_TEST(test_formers_are_the_last_holders_of_names_that_nobody_has_now) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *back = new_node("back", 50);
        DatabaseContent content;

        add_tenure(database, "a", 1, NODE_TYPE_NORMAL, 1001, NOW);
        add_tenure(database, "back", 2, NODE_TYPE_NORMAL, 1002, NOW);
        add_tenure(database, "b", 3, NODE_TYPE_HIDDEN, 1003, NOW);
        add_tenure(database, "a", 4, NODE_TYPE_NORMAL, 1004, NOW);
        ck_assert_int_eq(address_parse("127.0.0.9", &back->scope), 0);
        write_group(database, put(back));
        content = load(database);
        ck_assert_uint_eq(content.n_formers, 2);
        ck_assert_str_eq(content.formers[0]->info.name, "b");
        ck_assert_uint_eq(content.formers[0]->info.type, NODE_TYPE_HIDDEN);
        ck_assert_str_eq(content.formers[1]->info.name, "a");
        ck_assert_uint_eq(content.formers[1]->creation, 1004);
        ck_assert_uint_eq(content.last_serial, 50);
        database_content_done(&content);
}
END_TEST

/* P5: an entry's node is the last of its name, and tells what the last that registered was given. */
START_TEST(test_an_entrys_node_does_not_hide_the_last_creation_of_its_name) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *there = new_node("there", 50);
        DatabaseContent content;

        there->creation = 0;
        there->facts.origin = NODE_ORIGIN_STATIC;
        add_tenure(database, "went", 1, NODE_TYPE_NORMAL, 3, NOW);
        add_tenure(database, "went", 2, NODE_TYPE_NORMAL, 2, NOW);
        add_tenure(database, "went", 3, NODE_TYPE_NORMAL, 0, NOW);
        add_tenure(database, "there", 4, NODE_TYPE_NORMAL, 1, NOW);
        write_group(database, put(there));
        content = load(database);
        ck_assert_uint_eq(content.n_formers, 2);
        ck_assert_str_eq(content.formers[0]->info.name, "went");
        ck_assert_uint_eq(content.formers[0]->creation, 0);
        ck_assert_uint_eq(content.formers[0]->creation_before, 2);
        ck_assert_str_eq(content.formers[1]->info.name, "there");
        ck_assert_uint_eq(content.formers[1]->creation, 1);
        ck_assert_uint_eq(content.formers[1]->creation_before, 0);
        database_content_done(&content);
}
END_TEST

START_TEST(test_formers_are_bounded_the_newest_kept_but_16_bit_ones_first) {
        _cleanup_(database_freep) Database *database = open_default();
        DatabaseContent content;

        for (uint64_t i = 1; i <= REGISTRY_FORMERS_MAX + 100; i++) {
                char name[32];

                snprintf(name, sizeof name, "f%d", (int)i);
                add_tenure(database, name, i, NODE_TYPE_NORMAL, i <= 10 ? 2 : 1000, NOW);
        }
        content = load(database);
        ck_assert_uint_eq(content.n_formers, REGISTRY_FORMERS_MAX);
        for (size_t i = 0; i < 10; i++)
                ck_assert_uint_eq(content.formers[i]->serial, i + 1);
        ck_assert_uint_eq(content.formers[10]->serial, 111);
        ck_assert_uint_eq(content.formers[REGISTRY_FORMERS_MAX - 1]->serial, REGISTRY_FORMERS_MAX + 100);
        database_content_done(&content);
}
END_TEST

/* --- what people see ------------------------------------------------------------------------ */

START_TEST(test_every_end_is_explained_in_the_history) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);

        write_group(database, group(put(node), end(node, (NodeEnd)_i), NULL));
        ck_assert_answer(path, "SELECT how FROM history", node_end_to_string((NodeEnd)_i));
        ck_assert_int_eq(ask_number(path, "SELECT why <> how FROM history"), 1);
        ck_assert_answer(path, "SELECT until FROM history", "2025-11-21 04:40:00");
}
END_TEST

START_TEST(test_no_statement_on_history_reads_more_than_it_must) {
        _cleanup_(database_freep) Database *database = open_default();
        sqlite3 *handle = database_handle(database);
        size_t n_seen = 0;

        for (sqlite3_stmt *each = sqlite3_next_stmt(handle, NULL); each;
             each = sqlite3_next_stmt(handle, each)) {
                _cleanup_(freep) char *sql = NULL;
                sqlite3_stmt *plan = NULL;

                if (!strstr(sqlite3_sql(each), "tenures") || strstr(sqlite3_sql(each), "INSERT"))
                        continue;
                n_seen++;
                ck_assert_int_gt(asprintf(&sql, "EXPLAIN QUERY PLAN %s", sqlite3_sql(each)), 0);
                ck_assert_int_eq(sqlite3_prepare_v2(handle, sql, -1, &plan, NULL), SQLITE_OK);
                while (sqlite3_step(plan) == SQLITE_ROW) {
                        const char *step = (const char *)sqlite3_column_text(plan, 3);

                        /* The oldest rows come first in the table itself, and there is a LIMIT. */
                        if (strcmp(step, "SCAN tenures") == 0)
                                ck_assert_ptr_nonnull(strstr(sqlite3_sql(each), "ORDER BY id LIMIT"));
                        else if (strncmp(step, "SCAN", 4) == 0 && !strstr(step, "subquery"))
                                ck_assert_msg(strstr(step, "tenures_16_bit"), "%s: %s", step, sql);
                }
                sqlite3_finalize(plan);
        }
        ck_assert_uint_eq(n_seen, 10);
}
END_TEST

/* --- asking --------------------------------------------------------------------------------- */

static StoreAnswer ask_for(Database *database, const StoreQuery *query) {
        StoreAnswer answer = { .query = 1 };
        int r = database_query(database, query, &answer);

        ck_assert_msg(r == 0, "%d: %s", r, database_detail(database));
        return answer;
}

static void answer_done(StoreAnswer *answer) {
        StoreAnswer *copy = calloc(1, sizeof *copy);

        *copy = *answer;
        store_answer_free(copy);
        *answer = (StoreAnswer){ .query = 0 };
}

/* The serials of the tenures, "5,4,..." in `text`. */
static const char *serials_of(const StoreAnswer *answer) {
        static char text[8192];
        size_t n = 0;

        text[0] = '\0';
        for (size_t i = 0; i < answer->n_tenures; i++)
                n += (size_t)snprintf(text + n, sizeof text - n, "%s%lu", i > 0 ? "," : "",
                                      (unsigned long)answer->tenures[i].node->serial);
        return text;
}

static void assert_serials(Database *database, const StoreQuery *query, const char *expected) {
        StoreAnswer answer = ask_for(database, query);

        ck_assert_str_eq(serials_of(&answer), expected);
        ck_assert_uint_eq(answer.cursor, 0);
        answer_done(&answer);
}

#define ALWAYS .from_usec = 0, .to_usec = UINT64_MAX

START_TEST(test_a_tenure_tells_all_that_is_known_of_it) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 7);
        StoreAnswer answer;
        const Tenure *tenure;
        Write *write;

        node->unit = strdup("a.service");
        node->unit_pid = 4711;
        node->peer.uid = 1000;
        node->is_helper = true;
        node->facts.unit_phase = UNIT_PHASE_STOPPING;
        node_set_facts(node, &node->facts, NOW);
        node->profile.host = strdup("example.org");
        ck_assert_int_eq(address_parse("127.0.0.2", &node->scope), 0);
        write = write_new_end(1, node, NODE_END_RELEASED, "uid 0", NOW);
        ck_assert_ptr_nonnull(write);
        write_group(database, write);

        answer = ask_for(database, &(StoreQuery){ ALWAYS, .n_max = 10 });
        ck_assert_uint_eq(answer.n_tenures, 1);
        tenure = answer.tenures;
        ck_assert_uint_gt(tenure->id, 0);
        ck_assert_str_eq(tenure->how, "released");
        ck_assert_str_eq(tenure->by, "uid 0");
        ck_assert_uint_eq(tenure->node->until_usec, NOW);
        ck_assert_int_eq(tenure->node->end, NODE_END_RELEASED);
        ck_assert_uint_eq(tenure->node->since_usec, node->since_usec);
        ck_assert_str_eq(tenure->node->unit, "a.service");
        ck_assert_int_eq(tenure->node->unit_pid, 4711);
        ck_assert_uint_eq(tenure->node->peer.uid, 1000);
        ck_assert(tenure->node->is_helper);
        ck_assert_int_eq(tenure->node->state, NODE_STOPPING);
        ck_assert_int_eq(tenure->node->state_source, NODE_SOURCE_UNIT);
        ck_assert_str_eq(tenure->node->profile.host, "example.org");
        ck_assert(address_equal(&tenure->node->scope, &node->scope));
        answer_done(&answer);
        ck_assert_answer(path, "SELECT state || ' ' || state_source || ' ' || pid || ' ' || host || ' ' || by || ' ' || helper FROM history",
                         "stopping unit 4711 example.org uid 0 1");
}
END_TEST

START_TEST(test_words_of_a_later_daemon_lose_no_tenure) {
        Database *database = open_default();
        StoreAnswer answer;

        add_tenure(database, "a", 1, NODE_TYPE_NORMAL, 1000, NOW);
        database_free(database);
        change(path, "UPDATE tenures SET how = 'hibernated', state = 'asleep', state_source = 'a-friend'");
        database = open_default();
        answer = ask_for(database, &(StoreQuery){ ALWAYS, .n_max = 10 });
        ck_assert_uint_eq(answer.n_tenures, 1);
        ck_assert_str_eq(answer.tenures[0].how, "hibernated");
        answer_done(&answer);
        database_free(database);
}
END_TEST

/* Node i (1 to 9) was there from NOW + 10 i to NOW + 10 i + 25, in days. */
static Database *open_with_nine(void) {
        Database *database = open_default();

        for (uint64_t i = 1; i <= 9; i++) {
                _cleanup_(node_freep) Node *node = new_node(i % 2 ? "odd" : "even", i);

                node->since_usec = NOW + 10 * i * DAY;
                write_group(database, end_at(node, NODE_END_LEFT, node->since_usec + 25 * DAY));
        }
        return database;
}

START_TEST(test_whoever_was_registered_at_some_time_in_a_span_is_found) {
        static const struct {
                const char *name;
                uint64_t from, to; /* days */
                const char *serials;
        } cases[] = {
                { NULL, 0, 1000, "9,8,7,6,5,4,3,2,1" },
                { "odd", 0, 1000, "9,7,5,3,1" },
                { "even", 0, 1000, "8,6,4,2" },
                { "neither", 0, 1000, "" },
                { "od", 0, 1000, "" },
                /* at a moment */
                { NULL, 10, 10, "1" },
                { NULL, 9, 9, "" },
                { NULL, 32, 32, "3,2,1" },
                { NULL, 35, 35, "3,2,1" },
                { NULL, 36, 36, "3,2" },
                { "odd", 36, 36, "3" },
                { NULL, 115, 115, "9" },
                { NULL, 116, 116, "" },
                /* in a span */
                { NULL, 36, 50, "5,4,3,2" },
                { NULL, 0, 20, "2,1" },
                { NULL, 106, 1000, "9" },
                { NULL, 50, 36, "3" }, /* none, but for those who were there all the time */
        };
        _cleanup_(database_freep) Database *database = open_with_nine();
        StoreQuery query = { .name = cases[_i].name,
                             .n_name = cases[_i].name ? strlen(cases[_i].name) : 0,
                             .from_usec = NOW + cases[_i].from * DAY,
                             .to_usec = NOW + cases[_i].to * DAY,
                             .n_max = 100 };

        assert_serials(database, &query, cases[_i].serials);
}
END_TEST

START_TEST(test_a_long_answer_comes_in_parts_that_neither_overlap_nor_miss_any) {
        _cleanup_(database_freep) Database *database = open_with_nine();
        StoreQuery query = { ALWAYS, .n_max = 4 };
        StoreAnswer answer = ask_for(database, &query);

        ck_assert_str_eq(serials_of(&answer), "9,8,7,6");
        query.cursor = answer.cursor;
        answer_done(&answer);
        ck_assert_uint_ne(query.cursor, 0);
        /* What ends meanwhile is newer. */
        add_tenure(database, "late", 10, NODE_TYPE_NORMAL, 1000, NOW);
        answer = ask_for(database, &query);
        ck_assert_str_eq(serials_of(&answer), "5,4,3,2");
        query.cursor = answer.cursor;
        answer_done(&answer);
        assert_serials(database, &query, "1");
        query.cursor = UINT64_MAX;
        query.n_max = 10;
        assert_serials(database, &query, "10,9,8,7,6,5,4,3,2,1");
        /* As many as there are: nothing is left. */
        query.n_max = 10;
        query.cursor = 0;
        assert_serials(database, &query, "10,9,8,7,6,5,4,3,2,1");
}
END_TEST

static void add_many(const char *sql_of_since_and_until, unsigned n) {
        _cleanup_(freep) char *sql = NULL;

        ck_assert_int_gt(asprintf(&sql,
                                  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %u) "
                                  "INSERT INTO tenures (scope, name, port, type, protocol, highest_version, "
                                  "lowest_version, creation, since_usec, serial, until_usec, how) "
                                  "SELECT '*', 'n' || i, 1, 77, 0, 6, 5, 1000, %s, i, %s, 'left' FROM n",
                                  n, sql_of_since_and_until, sql_of_since_and_until),
                         0);
        change(path, sql);
}

/* Follows the cursors; `*ret_n_parts` answers it took. */
static size_t count_all(Database *database, StoreQuery query, size_t *ret_n_parts) {
        size_t n = 0;

        *ret_n_parts = 0;
        do {
                StoreAnswer answer = ask_for(database, &query);

                n += answer.n_tenures;
                query.cursor = answer.cursor;
                (*ret_n_parts)++;
                answer_done(&answer);
        } while (query.cursor != 0);
        return n;
}

START_TEST(test_an_answer_looks_at_a_bounded_number_of_rows) {
        _cleanup_(database_freep) Database *database = open_default();
        StoreQuery long_ago = { .from_usec = 5, .to_usec = 10, .n_max = 100 };
        StoreAnswer answer;
        size_t n_parts;

        add_many("i", 3 * TENURES_STEP - 1);
        answer = ask_for(database, &long_ago);
        ck_assert_uint_eq(answer.n_tenures, 0);
        ck_assert_uint_eq(answer.cursor, 2 * TENURES_STEP);
        answer_done(&answer);
        ck_assert_uint_eq(count_all(database, long_ago, &n_parts), 6);
        ck_assert_uint_eq(n_parts, 3);
        ck_assert_uint_eq(count_all(database, (StoreQuery){ ALWAYS, .n_max = STORE_ANSWER_MAX }, &n_parts), 3 * TENURES_STEP - 1);
}
END_TEST

START_TEST(test_whoever_asks_for_the_last_days_waits_for_no_walk_through_the_years) {
        _cleanup_(database_freep) Database *database = open_default();
        StoreQuery lately = { .from_usec = 2 * TENURES_STEP + 100, .to_usec = UINT64_MAX, .n_max = STORE_ANSWER_MAX };
        StoreAnswer answer;
        size_t n_parts;

        add_many("i", 2 * TENURES_STEP + 200);
        assert_serials(database, &(StoreQuery){ .from_usec = 3 * TENURES_STEP, .to_usec = UINT64_MAX, .n_max = 10 }, "");
        answer = ask_for(database, &lately);
        ck_assert_uint_eq(answer.n_tenures, 101);
        ck_assert_uint_eq(answer.cursor, 0);
        answer_done(&answer);
        /* A clock that was set back: old rows with late times are found all the same. */
        change(path, "UPDATE tenures SET until_usec = 99999 WHERE id IN (3, 4)");
        ck_assert_uint_eq(count_all(database, lately, &n_parts), 103);
        ck_assert_uint_gt(n_parts, 1);
}
END_TEST

START_TEST(test_rows_that_make_no_sense_are_left_out_of_an_answer) {
        _cleanup_(database_freep) Database *database = open_with_nine();

        change(path, "UPDATE tenures SET port = 100000 WHERE serial = 8;"
                     "UPDATE tenures SET scope = 'nowhere' WHERE serial = 2");
        assert_serials(database, &(StoreQuery){ ALWAYS, .n_max = 100 }, "9,7,6,5,4,3,1");
}
END_TEST

START_TEST(test_a_damaged_history_is_found_when_it_is_asked_for) {
        _cleanup_(database_freep) Database *database = open_with_nine();
        StoreAnswer answer = { .query = 1 };

        change(path, "DROP TABLE tenures");
        ck_assert_int_eq(database_query(database, &(StoreQuery){ ALWAYS, .n_max = 10 }, &answer), DATABASE_E_CORRUPT);
        ck_assert_uint_eq(answer.n_tenures, 0);
        answer_done(&answer);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("tenures");
        TCase *tcase = tcase_create("tenures");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_history_is_bounded_per_name);
        tcase_add_test(tcase, test_history_is_bounded_for_each_of_many_names);
        tcase_add_test(tcase, test_history_is_bounded_for_names_that_were_chosen_to_be_taken_for_each_other);
        tcase_add_test(tcase, test_a_name_is_counted_no_more_often_than_it_may_be_full);
        tcase_add_test(tcase, test_history_is_bounded_in_days);
        tcase_add_test(tcase, test_history_is_bounded_in_rows_and_hidden_ones_go_before_others);
        tcase_add_test(tcase, test_history_stays_within_its_rows_after_a_failed_write);
        tcase_add_loop_test(tcase, test_the_last_16_bit_creation_of_a_name_outlives_every_bound, 0, 5);
        tcase_add_test(tcase, test_what_is_spared_is_bounded_too);
        tcase_add_test(tcase, test_formers_are_the_last_holders_of_names_that_nobody_has_now);
        tcase_add_test(tcase, test_an_entrys_node_does_not_hide_the_last_creation_of_its_name);
        tcase_add_test(tcase, test_formers_are_bounded_the_newest_kept_but_16_bit_ones_first);
        tcase_add_loop_test(tcase, test_every_end_is_explained_in_the_history, 0, _NODE_END_N);
        tcase_add_test(tcase, test_no_statement_on_history_reads_more_than_it_must);
        tcase_add_test(tcase, test_helpers_go_before_hidden_nodes_and_those_before_others);
        tcase_add_test(tcase, test_bounds_can_be_changed);
        tcase_add_test(tcase, test_a_tenure_tells_all_that_is_known_of_it);
        tcase_add_test(tcase, test_words_of_a_later_daemon_lose_no_tenure);
        tcase_add_loop_test(tcase, test_whoever_was_registered_at_some_time_in_a_span_is_found, 0, 17);
        tcase_add_test(tcase, test_a_long_answer_comes_in_parts_that_neither_overlap_nor_miss_any);
        tcase_add_test(tcase, test_an_answer_looks_at_a_bounded_number_of_rows);
        tcase_add_test(tcase, test_whoever_asks_for_the_last_days_waits_for_no_walk_through_the_years);
        tcase_add_test(tcase, test_rows_that_make_no_sense_are_left_out_of_an_answer);
        tcase_add_test(tcase, test_a_damaged_history_is_found_when_it_is_asked_for);
        suite_add_tcase(suite, tcase);
        return suite;
}
