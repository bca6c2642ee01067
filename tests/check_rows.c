/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "core/registry.h"
#include "database_test.h"

/* --- rows ----------------------------------------------------------------------------------- */

static void fill_name(char *name, const char *character) {
        *name = '\0';
        for (size_t i = 0; i < NODE_NAME_CHARS_MAX; i++)
                strcat(name, character);
}

/* Nodes at the edges of what a row can hold. */
static Node *new_edge_node(size_t which) {
        static uint8_t extra[NODE_EXTRA_BYTES_MAX];
        char name[NODE_NAME_BYTES_MAX + 1] = "plain";
        NodeInfo info = { .name = name, .port = 39449, .type = 77, .highest_version = 6, .lowest_version = 5 };
        Node *node;

        for (size_t i = 0; i < sizeof extra; i++)
                extra[i] = (uint8_t)(i % 7 == 0 ? 0 : i);
        if (which == 1)
                fill_name(name, "\xf0\x9f\x8d\x84");
        if (which == 2)
                strcpy(name, "it's \"quoted\" ?1 -- \\ \xc3\xa9");
        info.n_name = strlen(name);
        if (which == 1) {
                info.extra = extra;
                info.n_extra = sizeof extra;
                info.port = 65535;
                info.highest_version = info.lowest_version = 65535;
                info.type = info.protocol = 255;
        } else if (which == 2) {
                info.extra = (const uint8_t *)"\0";
                info.n_extra = 1;
                info.port = 0;
                info.highest_version = info.lowest_version = 0;
                info.type = info.protocol = 0;
        }
        node = node_new(&info);
        ck_assert_ptr_nonnull(node);
        node->serial = which + 1;
        node->since_usec = UINT64_C(1763687473123456) + which;
        node->creation = 7;
        return node;
}

static void furnish_edge_node(Node *node, size_t which) {
        if (which == 1) {
                ck_assert_int_eq(address_parse("fe80::1", &node->scope), 0);
                ck_assert_int_eq(address_parse("fe80::1", &node->listener.address), 0);
                node->listener.cookie = UINT64_MAX;
                node->listener.ipv6 = true;
                node->peer = (NodePeer){ .uid = 4294967294, .cgroup_id = UINT64_MAX - 1 };
                node->creation = UINT32_MAX;
                node->unit = strdup("a\\x2db@1.service");
                node->state = NODE_STOPPING;
        } else if (which == 2) {
                ck_assert_int_eq(address_parse("127.0.0.2", &node->scope), 0);
                ck_assert_int_eq(address_parse("127.0.0.2", &node->listener.address), 0);
                node->listener.cookie = 4711;
                node->peer = (NodePeer){ .uid = 0, .cgroup_id = 12 };
                node->creation = 1;
                node->unit = strdup("");
                node->state = NODE_AWAITED;
        }
}

static void assert_same_node(const Node *a, const Node *b) {
        ck_assert_uint_eq(a->info.n_name, b->info.n_name);
        ck_assert_mem_eq(a->info.name, b->info.name, a->info.n_name);
        ck_assert_uint_eq(a->info.n_extra, b->info.n_extra);
        if (a->info.n_extra > 0)
                ck_assert_mem_eq(a->info.extra, b->info.extra, a->info.n_extra);
        ck_assert_uint_eq(a->info.port, b->info.port);
        ck_assert_uint_eq(a->info.highest_version, b->info.highest_version);
        ck_assert_uint_eq(a->info.lowest_version, b->info.lowest_version);
        ck_assert_uint_eq(a->info.type, b->info.type);
        ck_assert_uint_eq(a->info.protocol, b->info.protocol);
        ck_assert(address_equal(&a->scope, &b->scope));
        ck_assert_uint_eq(a->listener.cookie, b->listener.cookie);
        ck_assert(address_equal(&a->listener.address, &b->listener.address));
        ck_assert(a->listener.ipv6 == b->listener.ipv6);
        ck_assert_uint_eq(a->peer.uid, b->peer.uid);
        ck_assert_uint_eq(a->peer.cgroup_id, b->peer.cgroup_id);
        ck_assert_uint_eq(a->creation, b->creation);
        ck_assert_uint_eq(a->since_usec, b->since_usec);
        ck_assert_uint_eq(a->serial, b->serial);
        ck_assert_pstr_eq(a->unit, b->unit);
}

START_TEST(test_every_column_comes_back_as_it_was_written) {
        _cleanup_(database_freep) Database *database = open_default();
        Node *nodes[3];
        DatabaseContent content;

        for (size_t i = 0; i < ELEMENTS(nodes); i++) {
                nodes[i] = new_edge_node(i);
                furnish_edge_node(nodes[i], i);
        }
        write_group(database, group(put(nodes[2]), put(nodes[0]), put(nodes[1]), NULL));
        database_close(database);

        content = load_again();
        ck_assert_uint_eq(content.n_nodes, ELEMENTS(nodes));
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_uint_eq(content.last_serial, 3);
        for (size_t i = 0; i < ELEMENTS(nodes); i++) {
                assert_same_node(content.nodes[i], nodes[i]);
                ck_assert(content.nodes[i]->facts.is_awaited);
                ck_assert_int_eq(content.nodes[i]->connection_fd, -1);
                node_free(nodes[i]);
        }
        database_content_done(&content);
}
END_TEST

START_TEST(test_every_column_of_a_tenure_comes_back_but_what_only_the_living_need) {
        _cleanup_(database_freep) Database *database = open_default();
        DatabaseContent content;

        for (size_t i = 0; i < 3; i++) {
                _cleanup_(node_freep) Node *node = new_edge_node(i);

                furnish_edge_node(node, i);
                write_group(database, group(put(node), end(node, NODE_END_LEFT), NULL));
        }
        content = load(database);
        ck_assert_uint_eq(content.n_nodes, 0);
        ck_assert_uint_eq(content.n_formers, 3);
        ck_assert_uint_eq(content.last_serial, 3);
        for (size_t i = 0; i < 3; i++) {
                _cleanup_(node_freep) Node *node = new_edge_node(i);

                furnish_edge_node(node, i);
                node->info.n_extra = 0;
                node->listener = (NodeListener){ .cookie = 0 };
                node->peer.cgroup_id = 0;
                assert_same_node(content.formers[i], node);
        }
        database_content_done(&content);
}
END_TEST

START_TEST(test_a_put_replaces_the_row_of_its_name_and_scope) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);

        write_group(database, put(node));
        node->state = NODE_STOPPING;
        node->unit = strdup("a.service");
        write_group(database, put(node));
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM registrations"), 1);
        ck_assert_answer(path, "SELECT state || ' ' || unit FROM nodes", "stopping a.service");

        ck_assert_int_eq(address_parse("127.0.0.2", &node->scope), 0);
        write_group(database, put(node));
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM registrations"), 2);
}
END_TEST

START_TEST(test_an_end_and_a_put_of_one_name_in_one_group_stay_in_order) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *first = new_node("a", 1);
        _cleanup_(node_freep) Node *second = new_node("a", 2);

        write_group(database, group(put(first), end(first, NODE_END_REPLACED), put(second), NULL));
        ck_assert_int_eq(ask_number(path, "SELECT serial FROM registrations"), 2);
        ck_assert_int_eq(ask_number(path, "SELECT serial FROM tenures"), 1);
        write_group(database, group(end(second, NODE_END_LEFT), put(first), NULL));
        ck_assert_int_eq(ask_number(path, "SELECT serial FROM registrations"), 1);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 2);
}
END_TEST

START_TEST(test_the_end_of_an_earlier_holder_leaves_the_row_of_the_later_alone) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *first = new_node("a", 1);
        _cleanup_(node_freep) Node *second = new_node("a", 2);

        write_group(database, group(put(first), put(second), end(first, NODE_END_FOUND_DEAD), NULL));
        ck_assert_int_eq(ask_number(path, "SELECT serial FROM registrations"), 2);
        ck_assert_answer(path, "SELECT how FROM history", "found-dead");
}
END_TEST

START_TEST(test_a_group_that_is_written_twice_leaves_one_tenure) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        Write *first = group(put(node), end(node, NODE_END_LEFT), NULL);
        Write *again = group(end(node, NODE_END_LEFT), NULL);

        write_group(database, first);
        write_group(database, again);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 1);
}
END_TEST

START_TEST(test_a_whole_write_leaves_exactly_what_it_names) {
        _cleanup_(database_freep) Database *database = open_default();
        Node *nodes[3] = { new_node("a", 1), new_node("b", 2), new_node("c", 3) };

        write_group(database, group(put(nodes[0]), put(nodes[1]), NULL));
        write_group(database, of_kind(WRITE_WHOLE, nodes + 1, 2));
        ck_assert_answer(path, "SELECT group_concat(name) FROM (SELECT name FROM nodes)", "b,c");
        write_group(database, of_kind(WRITE_WHOLE, NULL, 0));
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM registrations"), 0);
        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                node_free(nodes[i]);
}
END_TEST

START_TEST(test_rows_that_make_no_sense_are_passed_over_and_counted) {
        static const char *const harm[] = {
                "UPDATE registrations SET scope = 'the moon' WHERE name = 'b'",
                "UPDATE registrations SET name = 'line' || char(10) || 'feed' WHERE name = 'b'",
                "UPDATE registrations SET port = 70000 WHERE name = 'b'",
                "UPDATE registrations SET creation = -1 WHERE name = 'b'",
                "UPDATE registrations SET type = 256 WHERE name = 'b'",
                "UPDATE registrations SET serial = 0 WHERE name = 'b'",
                "UPDATE registrations SET serial = 9223372036854775807 WHERE name = 'b'", /* what comes next would be none */
                "UPDATE registrations SET extra = zeroblob(1021) WHERE name = 'b'",
                "UPDATE registrations SET since_usec = -1 WHERE name = 'b'",
        };
        Database *database = open_default();
        Node *nodes[3] = { new_node("a", 1), new_node("b", 2), new_node("c", 3) };
        DatabaseContent content;

        write_group(database, of_kind(WRITE_WHOLE, nodes, 3));
        database_free(database);
        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                node_free(nodes[i]);
        change(path, "PRAGMA ignore_check_constraints = ON;");
        {
                _cleanup_(freep) char *sql = NULL;

                ck_assert_int_gt(asprintf(&sql, "PRAGMA ignore_check_constraints = ON; %s", harm[_i]), 0);
                change(path, sql);
        }
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 2);
        ck_assert_uint_eq(content.n_nonsense, 1);
        ck_assert_str_eq(content.nodes[0]->info.name, "a");
        ck_assert_str_eq(content.nodes[1]->info.name, "c");
        database_content_done(&content);
}
END_TEST

START_TEST(test_a_row_that_the_file_refuses_does_not_keep_others_out) {
        Database *database = open_default();
        Node *nodes[3] = { new_node("a", 1), new_node("b", 2), new_node("c", 3) };
        Write *first;
        size_t n_refused = 0;

        database_free(database);
        change(path, "CREATE TRIGGER picky BEFORE INSERT ON registrations WHEN NEW.name = 'b' "
                     "BEGIN SELECT RAISE(ABORT, 'not b'); END");
        database = open_default();
        first = group(put(nodes[0]), put(nodes[1]), put(nodes[2]), NULL);
        ck_assert_int_eq(database_write(database, first, 0, &n_refused), 0);
        free_group(first);
        ck_assert_uint_eq(n_refused, 1);
        ck_assert_answer(path, "SELECT group_concat(name) FROM (SELECT name FROM nodes)", "a,c");
        first = of_kind(WRITE_WHOLE, nodes, 3);
        ck_assert_int_eq(database_write(database, first, 0, &n_refused), 0);
        free_group(first);
        ck_assert_uint_eq(n_refused, 1);
        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                node_free(nodes[i]);
        database_free(database);
}
END_TEST

/* --- facts ---------------------------------------------------------------------------------- */

static const NodeFacts facts_of_cases[] = {
        { .unit_phase = UNIT_PHASE_UNKNOWN },
        { .unit_phase = UNIT_PHASE_PLAIN },
        { .unit_phase = UNIT_PHASE_STARTING },
        { .unit_phase = UNIT_PHASE_READY },
        { .unit_phase = UNIT_PHASE_STOPPING },
        { .is_listener_gone = true },
        { .announced = NODE_ANNOUNCED_READY },
        { .announced = NODE_ANNOUNCED_READY, .unit_phase = UNIT_PHASE_STARTING },
        { .announced = NODE_ANNOUNCED_DRAINING, .unit_phase = UNIT_PHASE_READY },
        { .announced = NODE_ANNOUNCED_READY, .unit_phase = UNIT_PHASE_STOPPING },
        { .is_awaited = true, .announced = NODE_ANNOUNCED_READY },
};

START_TEST(test_the_state_and_what_was_known_of_it_come_back) {
        const NodeFacts *facts = &facts_of_cases[_i];
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;
        NodeFacts adopted;
        const Node *loaded;

        node_set_facts(node, facts, NOW - 3 * DAY);
        write_group(database, put(node));
        content = load(database);
        loaded = content.nodes[0];
        ck_assert_int_eq(loaded->state, node->state);
        ck_assert_int_eq(loaded->state_source, node->state_source);
        ck_assert_uint_eq(loaded->state_since_usec, NOW - 3 * DAY);
        ck_assert(loaded->facts.is_awaited);
        ck_assert(!loaded->facts.is_listener_gone); /* the kernel will be asked */
        ck_assert_int_eq(loaded->facts.announced, facts->announced);
        if (node->state_source == NODE_SOURCE_UNIT)
                ck_assert_int_eq(loaded->facts.unit_phase, facts->unit_phase);
        else
                ck_assert_int_eq(loaded->facts.unit_phase, UNIT_PHASE_UNKNOWN);

        /* One whose connection was kept goes on as it was, and since when it was. */
        adopted = loaded->facts;
        adopted.is_awaited = facts->is_awaited;
        adopted.is_listener_gone = facts->is_listener_gone;
        node_set_facts(content.nodes[0], &adopted, NOW);
        ck_assert_int_eq(loaded->state, node->state);
        ck_assert_int_eq(loaded->state_source, node->state_source);
        ck_assert_uint_eq(loaded->state_since_usec, NOW - 3 * DAY);
        database_content_done(&content);
}
END_TEST

START_TEST(test_what_is_known_of_its_unit_and_host_comes_back) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;

        node->unit = strdup("user@1000.service");
        node->unit_pid = 2147483647;
        node->is_helper = true;
        node->profile.host = strdup("\xc3\xa9.example.org");
        write_group(database, put(node));
        content = load(database);
        ck_assert_int_eq(content.nodes[0]->unit_pid, 2147483647);
        ck_assert(!content.nodes[0]->is_unit_own);
        ck_assert(content.nodes[0]->is_helper);
        ck_assert_str_eq(content.nodes[0]->profile.host, "\xc3\xa9.example.org");
        database_content_done(&content);

        node->is_unit_own = true;
        node->unit_pid = 0;
        write_group(database, put(node));
        ck_assert_answer(path, "SELECT host_source FROM registrations", "announced");
        content = load(database);
        ck_assert(content.nodes[0]->is_unit_own);
        ck_assert_int_eq(content.nodes[0]->unit_pid, 0);
        database_content_done(&content);
}
END_TEST

START_TEST(test_words_of_a_later_daemon_lose_no_row) {
        Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;

        write_group(database, put(node));
        database_free(database);
        change(path, "UPDATE registrations SET state = 'hibernating', state_source = 'a-friend', "
                     "announced = 'asleep', host = 'no host@all', host_source = 'dreamt', unit_pid = -1, helper = 1");
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 1);
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_int_eq(content.nodes[0]->facts.announced, NODE_ANNOUNCED_NOTHING);
        ck_assert_int_eq(content.nodes[0]->facts.unit_phase, UNIT_PHASE_UNKNOWN);
        ck_assert_ptr_null(content.nodes[0]->profile.host);
        ck_assert_int_eq(content.nodes[0]->unit_pid, 0);
        database_content_done(&content);
}
END_TEST

/* --- metadata ------------------------------------------------------------------------------- */

static void set_pair(Node *node, const char *key, const char *value) {
        ck_assert_int_eq(node_profile_set(&node->profile, key, strlen(key), value, strlen(value)), 0);
}

static void assert_pairs(const char *expected) {
        ck_assert_answer(path, "SELECT group_concat(name || ' ' || scope || ' ' || key || '=' || value) FROM "
                               "(SELECT * FROM metadata ORDER BY name, scope, key)", expected);
}

START_TEST(test_pairs_come_back_and_go_with_their_registration) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *first = new_node("a", 1);
        _cleanup_(node_freep) Node *second = new_node("a", 2);
        DatabaseContent content;

        ck_assert_int_eq(address_parse("127.0.0.1", &first->scope), 0);
        ck_assert_int_eq(address_parse("127.0.0.2", &second->scope), 0);
        set_pair(first, "role", "it's \"db\"");
        set_pair(first, "Zone", "");
        set_pair(second, "role", "\xc3\xa9");
        write_group(database, group(put(first), put(second), NULL));
        assert_pairs("a 127.0.0.1 Zone=,a 127.0.0.1 role=it's \"db\",a 127.0.0.2 role=\xc3\xa9");
        ck_assert_answer(path, "SELECT metadata FROM nodes", "{\"Zone\":\"\",\"role\":\"it's \\\"db\\\"\"}");
        content = load(database);
        ck_assert(node_profile_equal(&content.nodes[0]->profile, &first->profile));
        ck_assert(node_profile_equal(&content.nodes[1]->profile, &second->profile));
        database_content_done(&content);

        write_group(database, end(first, NODE_END_LEFT));
        assert_pairs("a 127.0.0.2 role=\xc3\xa9");
        /* An end that is of an earlier registration than the row takes nothing with it. */
        second->serial = 1;
        write_group(database, end(second, NODE_END_FOUND_DEAD));
        assert_pairs("a 127.0.0.2 role=\xc3\xa9");
}
END_TEST

START_TEST(test_pairs_are_those_of_the_last_writing) {
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        _cleanup_(node_freep) Node *other = new_node("b", 2);
        Node *nodes[] = { node, other };
        Database *database = open_default();

        set_pair(node, "a", "1");
        set_pair(node, "b", "2");
        set_pair(other, "x", "9");
        write_group(database, group(put(node), put(other), NULL));
        node_profile_done(&node->profile);
        set_pair(node, "b", "3");
        write_group(database, put(node));
        assert_pairs("a * b=3,b * x=9");
        /* Also for one who did not see them come. */
        database_free(database);
        database = open_default();
        node_profile_done(&node->profile);
        write_group(database, put(node));
        assert_pairs("b * x=9");
        set_pair(node, "c", "4");
        write_group(database, of_kind(WRITE_WHOLE, nodes, 1));
        assert_pairs("a * c=4");
        write_group(database, of_kind(WRITE_WHOLE, nodes, 0));
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM metadata"), 0);
        database_free(database);
}
END_TEST

static int n_pair_statements;

static int count_pair_statements(unsigned what, void *context, void *statement, void *text) {
        (void)what;
        (void)context;
        (void)text;
        if (strstr(sqlite3_sql(statement), "metadata"))
                n_pair_statements++;
        return 0;
}

START_TEST(test_without_any_pairs_nothing_is_asked_about_them) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        Node *nodes[] = { node };

        sqlite3_trace_v2(database_handle(database), SQLITE_TRACE_STMT, count_pair_statements, NULL);
        write_group(database, group(put(node), put(node), end(node, NODE_END_LEFT), put(node),
                                    of_kind(WRITE_WHOLE, nodes, 1), NULL));
        ck_assert_int_eq(n_pair_statements, 0);
        set_pair(node, "a", "1");
        write_group(database, put(node));
        ck_assert_int_eq(n_pair_statements, 1);
}
END_TEST

START_TEST(test_pairs_that_make_no_sense_cost_no_node) {
        Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        DatabaseContent content;

        set_pair(node, "good", "1");
        write_group(database, put(node));
        database_free(database);
        change(path, "INSERT INTO metadata VALUES ('a', '*', 'a key', '1'), ('a', '*', '', '1'), "
                     "('a', '*', 'k', char(7)), ('nobody', '*', 'k', 'v');"
                     "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) "
                     "INSERT INTO metadata SELECT 'a', '*', 'm' || i, 'v' FROM n");
        content = load_again();
        ck_assert_uint_eq(content.n_nodes, 1);
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_uint_ge(content.nodes[0]->profile.n_metadata, strlen("good") + 3);
        ck_assert_mem_eq(content.nodes[0]->profile.metadata, "good\0" "1\0m1\0v", 12);
        database_content_done(&content);
}
END_TEST

/* --- refusals ------------------------------------------------------------------------------- */

static Write *refusal(const char *name, uint64_t at_usec, Refusal reason) {
        _cleanup_(freep) char *copy = strdup(name);
        Refused refused = { .name = copy, .n_name = strlen(name), .at_usec = at_usec, .reason = reason,
                            .port = 4711, .uid = 1000, .unit = (char[]){ "b.service" } };
        Write *write = write_new_refusal(&refused);

        ck_assert_ptr_nonnull(write);
        return write;
}

START_TEST(test_the_last_refusal_of_each_name_comes_back_oldest_first) {
        _cleanup_(database_freep) Database *database = open_default();
        DatabaseContent content;

        write_group(database, group(refusal("b", NOW + 1, REFUSAL_NAME_TAKEN), refusal("a", NOW + 2, REFUSAL_UID_LIMIT),
                                    refusal("c", NOW + 3, REFUSAL_NAME_RESERVED), refusal("b", NOW + 4, REFUSAL_NODES_LIMIT), NULL));
        content = load(database);
        ck_assert_uint_eq(content.n_refused, 3);
        ck_assert_mem_eq(content.refused[0].name, "a", 1);
        ck_assert_mem_eq(content.refused[1].name, "c", 1);
        ck_assert_int_eq(content.refused[1].reason, REFUSAL_NAME_RESERVED);
        ck_assert_mem_eq(content.refused[2].name, "b", 1);
        ck_assert_uint_eq(content.refused[2].n_name, 1);
        ck_assert_uint_eq(content.refused[2].at_usec, NOW + 4);
        ck_assert_int_eq(content.refused[2].reason, REFUSAL_NODES_LIMIT);
        ck_assert_uint_eq(content.refused[2].port, 4711);
        ck_assert_uint_eq(content.refused[2].uid, 1000);
        ck_assert_str_eq(content.refused[2].unit, "b.service");
        database_content_done(&content);
        ck_assert_answer(path, "SELECT name || ' ' || at || ' ' || reason || ' ' || port || ' ' || unit || ' ' || uid FROM refused "
                               "WHERE name = 'c'", "c 2025-11-21 04:40:00 name-reserved 4711 b.service 1000");
}
END_TEST

START_TEST(test_refusals_are_bounded_the_oldest_go) {
        Database *database = open_default();

        for (unsigned i = 1; i <= REFUSALS_MAX + 20; i++) {
                char name[32];

                snprintf(name, sizeof name, "n%u", i);
                write_group(database, refusal(name, NOW + i, REFUSAL_NAME_TAKEN));
                if (i == REFUSALS_MAX) {
                        /* They are counted again. */
                        database_free(database);
                        database = open_default();
                }
        }
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM refusals"), REFUSALS_MAX);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM refusals WHERE name IN ('n1', 'n20')"), 0);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM refusals WHERE name = 'n21'"), 1);
        write_group(database, refusal("n500", NOW + 5000, REFUSAL_NAME_TAKEN));
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM refusals"), REFUSALS_MAX);
        database_free(database);
}
END_TEST

START_TEST(test_a_reason_that_only_a_later_daemon_knows_stays_in_the_file) {
        DatabaseContent content;

        {
                _cleanup_(database_freep) Database *database = open_default();

                write_group(database, group(refusal("a", NOW, REFUSAL_NAME_TAKEN), refusal("b", NOW, REFUSAL_NAME_TAKEN), NULL));
        }
        change(path, "UPDATE refusals SET reason = 'bad-hair-day' WHERE name = 'a'");
        content = load_again();
        ck_assert_uint_eq(content.n_refused, 1);
        ck_assert_uint_eq(content.n_nonsense, 0);
        ck_assert_mem_eq(content.refused[0].name, "b", 1);
        database_content_done(&content);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM refused"), 2);
}
END_TEST

/* --- the interface -------------------------------------------------------------------------- */

START_TEST(test_the_view_of_nodes_is_what_people_expect) {
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);

        node->unit = strdup("a.service");
        node->peer.uid = 1000;
        write_group(database, put(node));
        ck_assert_answer(path,
                         "SELECT name || '|' || state || '|' || port || '|' || type || '|' || scope || '|' || "
                         "creation || '|' || since || '|' || unit || '|' || uid FROM nodes",
                         "a|up|40001|normal|*|1001|2025-11-21 01:11:13|a.service|1000");
        ck_assert_answer(path, "SELECT group_concat(name) FROM pragma_table_info('nodes')",
                         "name,state,port,type,scope,creation,since,unit,uid,"
                         "state_source,state_since,pid,host,metadata,helper,origin");
        ck_assert_answer(path, "SELECT group_concat(name) FROM pragma_table_info('history')",
                         "name,since,until,how,why,port,type,scope,creation,unit,uid,"
                         "state,state_source,pid,host,by,helper,origin");
}
END_TEST

START_TEST(test_node_types_have_the_same_words_in_views_and_code) {
        static const uint8_t types[] = { 77, 72, 104, 5 };
        _cleanup_(database_freep) Database *database = open_default();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        const char *word = node_type_to_string(types[_i]);

        node->info.type = types[_i];
        write_group(database, group(put(node), end(node, NODE_END_LEFT), put(node), NULL));
        ck_assert_answer(path, "SELECT type FROM nodes", word ? word : "type 5");
        ck_assert_answer(path, "SELECT type FROM history", word ? word : "type 5");
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("rows");
        TCase *tcase = tcase_create("rows");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_every_column_comes_back_as_it_was_written);
        tcase_add_test(tcase, test_every_column_of_a_tenure_comes_back_but_what_only_the_living_need);
        tcase_add_test(tcase, test_a_put_replaces_the_row_of_its_name_and_scope);
        tcase_add_test(tcase, test_an_end_and_a_put_of_one_name_in_one_group_stay_in_order);
        tcase_add_test(tcase, test_the_end_of_an_earlier_holder_leaves_the_row_of_the_later_alone);
        tcase_add_test(tcase, test_a_group_that_is_written_twice_leaves_one_tenure);
        tcase_add_test(tcase, test_a_whole_write_leaves_exactly_what_it_names);
        tcase_add_loop_test(tcase, test_rows_that_make_no_sense_are_passed_over_and_counted, 0, 9);
        tcase_add_test(tcase, test_a_row_that_the_file_refuses_does_not_keep_others_out);
        tcase_add_test(tcase, test_the_view_of_nodes_is_what_people_expect);
        tcase_add_loop_test(tcase, test_node_types_have_the_same_words_in_views_and_code, 0, 4);
        tcase_add_loop_test(tcase, test_the_state_and_what_was_known_of_it_come_back, 0, (int)ELEMENTS(facts_of_cases));
        tcase_add_test(tcase, test_what_is_known_of_its_unit_and_host_comes_back);
        tcase_add_test(tcase, test_words_of_a_later_daemon_lose_no_row);
        tcase_add_test(tcase, test_pairs_come_back_and_go_with_their_registration);
        tcase_add_test(tcase, test_pairs_are_those_of_the_last_writing);
        tcase_add_test(tcase, test_without_any_pairs_nothing_is_asked_about_them);
        tcase_add_test(tcase, test_pairs_that_make_no_sense_cost_no_node);
        tcase_add_test(tcase, test_the_last_refusal_of_each_name_comes_back_oldest_first);
        tcase_add_test(tcase, test_refusals_are_bounded_the_oldest_go);
        tcase_add_test(tcase, test_a_reason_that_only_a_later_daemon_knows_stays_in_the_file);
        suite_add_tcase(suite, tcase);
        return suite;
}
