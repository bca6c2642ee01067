/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

/* --- what systemd says, and what follows for the node ------------------------------------------------------- */

static const struct {
        const char *type, *active, *sub;
        const char *state, *source;
} words[] = {
        { "simple", "active", "running", "up", "connection" },
        { "notify", "activating", "start", "starting", "unit" },
        { "notify", "activating", "start-pre", "up", "connection" },
        { "notify", "activating", "start-post", "ready", "unit" },
        { "notify", "active", "running", "ready", "unit" },
        { "notify-reload", "reloading", "reload", "ready", "unit" },
        { "notify", "deactivating", "stop-sigterm", "stopping", "unit" },
        { "simple", "deactivating", "stop", "stopping", "unit" },
        { "", "deactivating", "stop-sigterm", "stopping", "unit" }, /* a scope */
        { "", "active", "running", "up", "connection" },
};

START_TEST(test_the_word_on_a_unit_reaches_its_nodes) {
        Desk *desk = desk_new(NULL);
        int fds[] = { registered(desk, "a", 1), registered(desk, "b", 2), registered(desk, "c", 3) };

        live_in(desk_find(desk, "a"), "x.service");
        live_in(desk_find(desk, "b"), "x.service");
        live_in(desk_find(desk, "c"), "y.service");
        systemd_says("x.service", words[_i].type, words[_i].active, words[_i].sub, 4711);
        for (int i = 0; i < 2; i++) {
                Node *node = desk_find(desk, i ? "b" : "a");

                ck_assert_str_eq(node_state_to_string(node->state), words[_i].state);
                ck_assert_str_eq(node_source_to_string(node->state_source), words[_i].source);
                ck_assert_int_eq(node->unit_pid, 4711);
        }
        ck_assert_int_eq(desk_find(desk, "c")->state, NODE_UP);
        ck_assert_int_eq(desk_find(desk, "c")->unit_pid, 0);
        for (int i = 0; i < 3; i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

START_TEST(test_of_a_unit_that_has_another_manager_below_only_the_end_counts) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);

        live_in(desk_find(desk, "a"), "user@1000.service");
        desk_find(desk, "a")->is_unit_own = false;
        systemd_says("user@1000.service", "notify", "activating", "start", 4711);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        systemd_says("user@1000.service", "notify", "active", "running", 4711);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        ck_assert_int_eq(desk_find(desk, "a")->unit_pid, 0);
        systemd_says("user@1000.service", "notify", "deactivating", "stop-sigterm", 4711);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_STOPPING);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_the_same_word_again_changes_nothing) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        uint64_t revision;

        live_in(desk_find(desk, "a"), "x.service");
        systemd_says("x.service", "notify", "active", "running", 1);
        revision = registry_revision(desk->registry);
        for (int i = 0; i < 5; i++)
                systemd_tells("x.service");
        ck_assert_uint_eq(registry_revision(desk->registry), revision);
        systemd_says("y.service", "notify", "active", "running", 1); /* nobody's */
        ck_assert_uint_eq(registry_revision(desk->registry), revision);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_newcomer_begins_with_what_is_known_of_its_unit) {
        Desk *desk = desk_new(NULL);
        Event event = { .kind = EVENT_REGISTER, .unit = "x.service", .is_unit_own = _i };

        systemd_knows("x.service", "notify", "activating", "start", 4711);
        unit_states_fill(desk->unit_states, &event); /* not watched yet: not known */
        ck_assert_int_eq(event.unit_phase, UNIT_PHASE_UNKNOWN);
        ck_assert_int_eq(event.unit_pid, 0);
        ck_assert_int_eq(units_watch(&systemd, "x.service"), 0);
        unit_states_fill(desk->unit_states, &event);
        ck_assert_int_eq(event.unit_phase, _i ? UNIT_PHASE_STARTING : UNIT_PHASE_PLAIN);
        ck_assert_int_eq(event.unit_pid, _i ? 4711 : 0);
        event.unit = NULL;
        unit_states_fill(desk->unit_states, &event);
        ck_assert_int_eq(event.unit_phase, UNIT_PHASE_UNKNOWN);
        ck_assert_int_eq(event.unit_pid, 0);
        desk_free(desk);
}
END_TEST

/* --- who is watched ------------------------------------------------------------------------------------------- */

static void tell_news(Desk *desk, Node *node, ChangeKind kind) {
        unit_states_on_news(desk->unit_states, &(LedgerNews){ .kind = kind, .node = node });
}

START_TEST(test_a_unit_is_watched_as_often_as_it_has_nodes) {
        Desk *desk = desk_new(NULL);
        int fds[] = { registered(desk, "a", 1), registered(desk, "b", 2), registered(desk, "c", 3) };
        Node *a = desk_find(desk, "a"), *b = desk_find(desk, "b");
        const SaidUnit *unit = said_unit("x.service");

        live_in(desk_find(desk, "a"), "x.service");
        live_in(desk_find(desk, "b"), "x.service");
        ck_assert_uint_eq(unit->n_watched, 2);
        tell_news(desk, a, CHANGE_FACTS);
        tell_news(desk, a, CHANGE_RETURN);
        ck_assert_uint_eq(unit->n_watched, 2);
        tell_news(desk, b, CHANGE_END);
        tell_news(desk, b, CHANGE_REGISTER);
        ck_assert_uint_eq(unit->n_watched, 2);
        close(fds[0]);
        turn(desk->event);
        ck_assert_uint_eq(unit->n_watched, 1);
        close(fds[1]);
        close(fds[2]); /* in no unit that is known */
        turn(desk->event);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 0);
        ck_assert_uint_eq(unit->n_watched, 0);
        desk_free(desk);
}
END_TEST

START_TEST(test_after_a_restart_the_units_of_those_who_are_awaited_are_watched) {
        Desk *desk = desk_new(&(DeskOptions){ .file = desk_file() });
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener_fd));

        live_in(desk_find(desk, "a"), "x.service");
        systemd_says("x.service", "simple", "deactivating", "stop-sigterm", 1);
        close(fd);
        ck_assert_uint_eq(said_unit("x.service")->n_watched, 1);
        said_unit("x.service")->n_watched = 0; /* systemd forgets whom we watched */
        desk_restart(desk);
        ck_assert_uint_eq(said_unit("x.service")->n_watched, 1);
        /* what the file says holds until systemd says more */
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_STOPPING);
        systemd_says("x.service", "simple", "active", "running", 1);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_AWAITED);
        close(listener_fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        ck_assert_uint_eq(said_unit("x.service")->n_watched, 0);
        desk_free(desk);
}
END_TEST

START_TEST(test_what_waits_for_its_time_is_tried_when_the_operator_says_so) {
        Desk *desk = desk_new(NULL);

        ck_assert_uint_eq(systemd.n_poked, 0);
        unit_states_look_again(desk->unit_states);
        ck_assert_uint_eq(systemd.n_poked, 1);
        desk_free(desk);
}
END_TEST

/* --- the bus is away --------------------------------------------------------------------------------------------- */

START_TEST(test_why_units_are_not_seen_is_told) {
        Desk *desk = desk_new(NULL);

        ck_assert_ptr_null(unit_states_unseen_reason(desk->unit_states));
        systemd.is_away = true;
        ck_assert_str_eq(unit_states_unseen_reason(desk->unit_states), "systemd does not answer on the system bus");
        desk_free(desk);
}
END_TEST

static const bool stopping[] = { true, false };

START_TEST(test_what_systemd_said_counts_no_more_when_it_was_silent_for_too_long) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);

        live_in(desk_find(desk, "a"), "x.service");
        systemd_says("x.service", "notify", stopping[_i] ? "deactivating" : "active",
                     stopping[_i] ? "stop-sigterm" : "running", 1);
        systemd_goes_away(); /* evidence/units has borne its silence and tells that nothing is known */
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        ck_assert_int_eq(desk_find(desk, "a")->unit_pid, 0);
        /* afresh when it is back */
        systemd.is_away = false;
        systemd_says("x.service", "notify", "active", "running", 7);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_READY);
        ck_assert_int_eq(desk_find(desk, "a")->unit_pid, 7);
        close(fd);
        desk_free(desk);
}
END_TEST

/* Also where there is one, but systemd does not tell of that unit. */
START_TEST(test_where_systemd_says_nothing_what_the_file_says_ends_after_some_seconds) {
        Desk *desk = desk_new(&(DeskOptions){ .file = desk_file() });
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener_fd));
        Node *node;

        live_in(desk_find(desk, "a"), "x.service");
        systemd_says("x.service", "simple", "deactivating", "stop-sigterm", 4711);
        close(fd);
        said_unit("x.service")->facts = (UnitFacts){ 0 };
        systemd.is_away = _i;
        desk_restart(desk);
        node = desk_find(desk, "a");
        ck_assert_int_eq(node->state, NODE_STOPPING);
        ck_assert(RUN_UNTIL(desk->event, node->state == NODE_AWAITED, LONG_USEC));
        ck_assert_int_eq(node->unit_pid, 0);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_what_has_been_heard_since_is_not_the_files) {
        Desk *desk = desk_new(&(DeskOptions){ .file = desk_file() });
        int listener_fds[] = { listen_on("127.0.0.1"), listen_on("127.0.0.1") };
        int fds[] = { registered(desk, "a", port_of(listener_fds[0])), registered(desk, "b", port_of(listener_fds[1])) };

        live_in(desk_find(desk, "a"), "x.service");
        live_in(desk_find(desk, "b"), "y.service");
        systemd_says("x.service", "simple", "deactivating", "stop-sigterm", 4711);
        systemd_says("y.service", "simple", "deactivating", "stop-sigterm", 4712);
        for (int i = 0; i < 2; i++) {
                close(fds[i]);
                said_unit(i ? "y.service" : "x.service")->facts = (UnitFacts){ 0 };
        }
        desk_restart(desk);
        systemd_says("y.service", "simple", "deactivating", "stop-sigterm", 4712);
        systemd.is_away = true; /* for a moment */
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a")->state == NODE_AWAITED, LONG_USEC));
        ck_assert_int_eq(desk_find(desk, "b")->state, NODE_STOPPING);
        for (int i = 0; i < 2; i++)
                close(listener_fds[i]);
        desk_free(desk);
}
END_TEST

/* The disk may let us read it when the start is long over. */
START_TEST(test_what_the_file_says_late_ends_some_seconds_later) {
        Desk *desk = desk_new(NULL);
        NodeInfo info = { .name = "a", .n_name = 1, .port = 1 };

        systemd.is_away = true;
        for (int i = 0; i < 2; i++) {
                Node *node = node_new(&info), *restored = node;

                ck_assert_ptr_nonnull(node);
                node->unit = strdup("x.service");
                node->serial = 4711;
                node->await_until_usec = USEC_INFINITE;
                node_set_facts(node, &(NodeFacts){ .is_awaited = true, .unit_phase = UNIT_PHASE_STOPPING }, 1);
                ck_assert_int_eq(registry_restore(desk->registry, &node), 0);
                ledger_note_kept(desk->ledger, restored, "it is a test");
                ck_assert(RUN_UNTIL(desk->event, restored->state == NODE_AWAITED, LONG_USEC));
                info.name = "b";
        }
        desk_free(desk);
}
END_TEST

/* --- asked in haste ------------------------------------------------------------------------------------------------ */

START_TEST(test_whoever_asks_in_haste_is_asked_for_once) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        Node *node = desk_find(desk, "a");

        ck_assert_int_eq(unit_states_ask(desk->unit_states, node), -ENOENT);
        ck_assert(!unit_states_is_asked(desk->unit_states, node));
        live_in(desk_find(desk, "a"), "x.service");
        ck_assert(!unit_states_is_asked(desk->unit_states, node));
        ck_assert_int_eq(unit_states_ask(desk->unit_states, node), 0);
        ck_assert(unit_states_is_asked(desk->unit_states, node));
        /* what was asked before may be answered with what was so before */
        ck_assert_int_eq(unit_states_ask(desk->unit_states, node), 0);
        ck_assert_uint_eq(said_unit("x.service")->n_refreshed, 2);
        systemd_tells("y.service");
        ck_assert(unit_states_is_asked(desk->unit_states, node));
        systemd_tells("x.service");
        ck_assert(!unit_states_is_asked(desk->unit_states, node));
        ck_assert_int_eq(unit_states_ask(desk->unit_states, node), -EALREADY);
        run_for(desk->event, 30 * USEC_PER_MSEC);
        ck_assert_int_eq(unit_states_ask(desk->unit_states, node), 0);
        ck_assert_uint_eq(said_unit("x.service")->n_refreshed, 3);
        systemd.is_away = true;
        ck_assert_int_eq(unit_states_ask(desk->unit_states, node), -ENOTCONN);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_of_many_units_the_last_that_were_asked_for_are_remembered) {
        Desk *desk = desk_new(NULL);
        char names[70][16];
        Node *node;

        for (size_t i = 0; i < ELEMENTS(names); i++) {
                NodeInfo info = { .name = "a", .n_name = 1 };

                node = node_new(&info);
                snprintf(names[i], sizeof names[i], "u%zu.service", i);
                node->unit = strdup(names[i]);
                systemd.n_units = 0; /* the list of the fake is short */
                ck_assert_int_eq(units_watch(&systemd, names[i]), 0);
                ck_assert_int_eq(unit_states_ask(desk->unit_states, node), 0);
                ck_assert(unit_states_is_asked(desk->unit_states, node));
                node_free(node);
        }
        node = node_new(&(NodeInfo){ .name = "a", .n_name = 1 });
        node->unit = strdup(names[0]);
        ck_assert(!unit_states_is_asked(desk->unit_states, node));
        free(node->unit);
        node->unit = strdup(names[10]);
        ck_assert(unit_states_is_asked(desk->unit_states, node));
        node_free(node);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("unit_states");
        TCase *tcase = tcase_create("words");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_the_word_on_a_unit_reaches_its_nodes, 0, ELEMENTS(words));
        tcase_add_test(tcase, test_of_a_unit_that_has_another_manager_below_only_the_end_counts);
        tcase_add_test(tcase, test_the_same_word_again_changes_nothing);
        tcase_add_loop_test(tcase, test_a_newcomer_begins_with_what_is_known_of_its_unit, 0, 2);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("watched");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_unit_is_watched_as_often_as_it_has_nodes);
        tcase_add_test(tcase, test_after_a_restart_the_units_of_those_who_are_awaited_are_watched);
        tcase_add_test(tcase, test_what_waits_for_its_time_is_tried_when_the_operator_says_so);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("no bus");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_why_units_are_not_seen_is_told);
        tcase_add_loop_test(tcase, test_what_systemd_said_counts_no_more_when_it_was_silent_for_too_long, 0, 2);
        tcase_add_loop_test(tcase, test_where_systemd_says_nothing_what_the_file_says_ends_after_some_seconds, 0, 2);
        tcase_add_test(tcase, test_what_has_been_heard_since_is_not_the_files);
        tcase_add_test(tcase, test_what_the_file_says_late_ends_some_seconds_later);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("asked");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_whoever_asks_in_haste_is_asked_for_once);
        tcase_add_test(tcase, test_of_many_units_the_last_that_were_asked_for_are_remembered);
        suite_add_tcase(suite, tcase);
        return suite;
}
