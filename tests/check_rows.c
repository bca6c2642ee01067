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
                         "state_source,state_since,pid,host,metadata,helper");
        ck_assert_answer(path, "SELECT group_concat(name) FROM pragma_table_info('history')",
                         "name,since,until,how,why,port,type,scope,creation,unit,uid,"
                         "state,state_source,pid,host,by,helper");
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
        tcase_add_loop_test(tcase, test_rows_that_make_no_sense_are_passed_over_and_counted, 0, 8);
        tcase_add_test(tcase, test_a_row_that_the_file_refuses_does_not_keep_others_out);
        tcase_add_test(tcase, test_the_view_of_nodes_is_what_people_expect);
        tcase_add_loop_test(tcase, test_node_types_have_the_same_words_in_views_and_code, 0, 4);
        suite_add_tcase(suite, tcase);
        return suite;
}
