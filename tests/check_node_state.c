/* SPDX-License-Identifier: Apache-2.0 */
/* core/node_state: every combination of facts, and all that systemd may say of a unit. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/node_state.h"
#include "util.h"

#define N_ANNOUNCED (NODE_ANNOUNCED_DRAINING + 1)
#define N_PHASES (UNIT_PHASE_STOPPING + 1)

/* --- the state rule ------------------------------------------------------------------------------------ */

/* What is expected, by what was announced and the unit's phase: unknown, plain, starting, ready, stopping. */
typedef const char *const Expected[N_ANNOUNCED][N_PHASES];

static Expected connected = {
        [NODE_ANNOUNCED_NOTHING] = { "up by connection", "up by connection", "starting by unit", "ready by unit",
                                     "stopping by unit" },
        [NODE_ANNOUNCED_READY] = { "ready by announcement", "ready by announcement", "ready by announcement",
                                   "ready by announcement", "stopping by unit" },
        [NODE_ANNOUNCED_DRAINING] = { "stopping by announcement", "stopping by announcement",
                                      "stopping by announcement", "stopping by announcement", "stopping by unit" },
};

static Expected awaited = {
        [NODE_ANNOUNCED_NOTHING] = { "awaited by connection", "awaited by connection", "awaited by connection",
                                     "awaited by connection", "stopping by unit" },
        [NODE_ANNOUNCED_READY] = { "awaited by connection", "awaited by connection", "awaited by connection",
                                   "awaited by connection", "stopping by unit" },
        [NODE_ANNOUNCED_DRAINING] = { "stopping by announcement", "stopping by announcement",
                                      "stopping by announcement", "stopping by announcement", "stopping by unit" },
};

static void expect_state(const NodeFacts *facts, const char *expected) {
        NodeSource source = _NODE_SOURCE_N;
        NodeState state = node_state_decide(facts, &source);
        char said[64];

        ck_assert_uint_lt(state, _NODE_STATE_N);
        ck_assert_uint_lt(source, _NODE_SOURCE_N);
        snprintf(said, sizeof said, "%s by %s", node_state_to_string(state), node_source_to_string(source));
        ck_assert_msg(strcmp(said, expected) == 0, "awaited %d, listener gone %d, phase %d, announced %d: %s, not %s",
                      facts->is_awaited, facts->is_listener_gone, (int)facts->unit_phase, (int)facts->announced,
                      said, expected);
}

START_TEST(test_the_state_follows_from_the_facts) {
        for (NodeAnnounced announced = 0; announced < N_ANNOUNCED; announced++)
                for (UnitPhase phase = 0; phase < N_PHASES; phase++) {
                        NodeFacts facts = { .announced = announced, .unit_phase = phase };

                        expect_state(&facts, connected[announced][phase]);
                        facts.is_awaited = true;
                        expect_state(&facts, awaited[announced][phase]);
                }
}
END_TEST

/* One that has not registered is up by its listener, or, on another machine, by its entry; all that counts more for
 * others counts more for it. */
START_TEST(test_a_static_node_is_up_by_its_listener_or_its_entry) {
        static const char *const by[] = { "up by connection", "up by listener", "up by entry" };

        for (NodeOrigin origin = NODE_ORIGIN_REGISTERED; origin <= NODE_ORIGIN_ELSEWHERE; origin++)
                for (NodeAnnounced announced = 0; announced < N_ANNOUNCED; announced++)
                        for (UnitPhase phase = 0; phase < N_PHASES; phase++) {
                                NodeFacts facts = { .origin = origin, .announced = announced, .unit_phase = phase };
                                const char *expected = connected[announced][phase];

                                expect_state(&facts, strcmp(expected, by[0]) == 0 ? by[origin] : expected);
                        }
        ck_assert_ptr_null(node_origin_to_string(NODE_ORIGIN_REGISTERED));
        ck_assert_str_eq(node_origin_to_string(NODE_ORIGIN_STATIC), "static");
        ck_assert_str_eq(node_origin_to_string(NODE_ORIGIN_ELSEWHERE), "static");
}
END_TEST

START_TEST(test_a_node_whose_listener_has_closed_is_stopping_whatever_else_is_known) {
        for (NodeAnnounced announced = 0; announced < N_ANNOUNCED; announced++)
                for (UnitPhase phase = 0; phase < N_PHASES; phase++)
                        for (int is_awaited = 0; is_awaited < 2; is_awaited++)
                                expect_state(&(NodeFacts){ .is_listener_gone = true,
                                                           .is_awaited = is_awaited,
                                                           .announced = announced,
                                                           .unit_phase = phase },
                                             "stopping by listener");
}
END_TEST

/* An application may drain for hours, and one that is awaited is alive. */
START_TEST(test_a_node_is_going_if_its_listener_or_its_unit_is) {
        for (NodeAnnounced announced = 0; announced < N_ANNOUNCED; announced++)
                for (UnitPhase phase = 0; phase < N_PHASES; phase++)
                        for (int i = 0; i < 8; i++) {
                                const NodeFacts facts = { .is_listener_gone = i & 1,
                                                          .is_left_over = i & 2,
                                                          .is_awaited = i & 4,
                                                          .announced = announced,
                                                          .unit_phase = phase };

                                ck_assert(node_is_going(&facts) == ((i & 3) || phase == UNIT_PHASE_STOPPING));
                        }
}
END_TEST

/* It may live on for long: a newcomer waits for it, but it is listed. */
START_TEST(test_a_node_that_its_unit_has_left_over_is_in_the_state_it_would_be_in_without_that) {
        for (NodeAnnounced announced = 0; announced < N_ANNOUNCED; announced++)
                for (UnitPhase phase = 0; phase < N_PHASES; phase++) {
                        NodeFacts facts = { .is_left_over = true, .announced = announced, .unit_phase = phase };

                        expect_state(&facts, connected[announced][phase]);
                        facts.is_awaited = true;
                        expect_state(&facts, awaited[announced][phase]);
                }
}
END_TEST

/* --- systemd's words ----------------------------------------------------------------------------------- */

/* What a pair of ActiveState and SubState means for a process of a service that is Type=notify, and for any
 * other: of another type, or under another manager within the unit. */
static const struct {
        const char *active, *sub;
        UnitPhase notify, other;
        bool is_over; /* who is still there was left over */
} words[] = {
        { "", "", UNIT_PHASE_UNKNOWN, UNIT_PHASE_UNKNOWN, false },
        { "inactive", "dead", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, true },
        { "inactive", "dead-resources-pinned", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, true },
        { "failed", "failed", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, true },
        { "failed", "failed-before-auto-restart", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, true },
        { "maintenance", "cleaning", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, false },
        /* before the main process runs: who is there was left over */
        { "activating", "condition", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, false },
        { "activating", "start-pre", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, false },
        { "activating", "auto-restart", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, true },
        { "activating", "auto-restart-queued", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, true },
        { "activating", "start", UNIT_PHASE_STARTING, UNIT_PHASE_PLAIN, false },
        { "activating", "start-post", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false }, /* READY=1 has come */
        { "active", "running", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        /* RemainAfterExit=: the main process has ended */
        { "active", "exited", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, false },
        { "reloading", "reload", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        { "reloading", "reload-signal", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        { "reloading", "reload-notify", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        { "deactivating", "stop", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "stop-watchdog", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "stop-sigterm", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "stop-sigkill", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "stop-post", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "final-watchdog", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "final-sigterm", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        { "deactivating", "final-sigkill", UNIT_PHASE_STOPPING, UNIT_PHASE_STOPPING, false },
        /* of other kinds of units */
        { "active", "listening", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        { "active", "mounted", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        { "active", "abandoned", UNIT_PHASE_READY, UNIT_PHASE_PLAIN, false },
        /* what nobody knows yet */
        { "refreshing", "refresh", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, false },
        { "activating", "start-something", UNIT_PHASE_PLAIN, UNIT_PHASE_PLAIN, false },
};

static const struct {
        const char *type;
        bool is_notify;
} types[] = {
        { "notify", true },  { "notify-reload", true }, { "simple", false }, { "exec", false },
        { "forking", false }, { "oneshot", false },     { "dbus", false },   { "idle", false },
        { "", false }, /* a scope, a mount */
};

START_TEST(test_a_phase_follows_from_the_words_of_systemd) {
        for (size_t i = 0; i < ELEMENTS(types); i++)
                for (int is_own = 0; is_own < 2; is_own++) {
                        UnitPhase expected = types[i].is_notify && is_own ? words[_i].notify : words[_i].other;
                        UnitPhase phase =
                                unit_phase_from_words(types[i].type, words[_i].active, words[_i].sub, is_own);

                        ck_assert_msg(phase == expected, "%s, %s/%s, own %d: %d, not %d", types[i].type,
                                      words[_i].active, words[_i].sub, is_own, (int)phase, (int)expected);
                }
}
END_TEST

START_TEST(test_a_unit_is_over_when_it_has_ended_or_waits_for_its_next_start) {
        ck_assert_msg(unit_is_over(words[_i].active, words[_i].sub) == words[_i].is_over, "%s/%s", words[_i].active,
                      words[_i].sub);
}
END_TEST

/* --- words for people ---------------------------------------------------------------------------------- */

START_TEST(test_states_are_written_and_read_as_the_same_words) {
        static const char *const expected[_NODE_STATE_N] = { [NODE_UP] = "up",
                                                             [NODE_AWAITED] = "awaited",
                                                             [NODE_STOPPING] = "stopping",
                                                             [NODE_STARTING] = "starting",
                                                             [NODE_READY] = "ready" };
        static const char *const none[] = { "", "Up", "up ", "stopped", "down", "u", "readyy" };
        NodeState state;

        for (NodeState i = 0; i < _NODE_STATE_N; i++) {
                ck_assert_str_eq(node_state_to_string(i), expected[i]);
                ck_assert_int_eq(node_state_from_string(expected[i], &state), 0);
                ck_assert_int_eq(state, i);
        }
        for (size_t i = 0; i < ELEMENTS(none); i++) {
                state = NODE_AWAITED;
                ck_assert_int_eq(node_state_from_string(none[i], &state), -EINVAL);
                ck_assert_int_eq(state, NODE_AWAITED);
        }
}
END_TEST

START_TEST(test_announcements_are_written_and_read_as_the_same_words) {
        static const char *const expected[N_ANNOUNCED] = { NULL, "ready", "draining" };
        static const char *const none[] = { "", "Ready", "ready ", "not-ready", "stopping", "nothing" };
        NodeAnnounced announced;

        ck_assert_ptr_null(node_announced_to_string(NODE_ANNOUNCED_NOTHING));
        for (NodeAnnounced i = 1; i < N_ANNOUNCED; i++) {
                ck_assert_str_eq(node_announced_to_string(i), expected[i]);
                ck_assert_int_eq(node_announced_from_string(expected[i], &announced), 0);
                ck_assert_int_eq(announced, i);
        }
        for (size_t i = 0; i < ELEMENTS(none); i++) {
                announced = NODE_ANNOUNCED_NOTHING;
                ck_assert_int_eq(node_announced_from_string(none[i], &announced), -EINVAL);
                ck_assert_int_eq(announced, NODE_ANNOUNCED_NOTHING);
        }
}
END_TEST

START_TEST(test_each_source_has_a_word) {
        static const char *const expected[_NODE_SOURCE_N] = { [NODE_SOURCE_CONNECTION] = "connection",
                                                              [NODE_SOURCE_LISTENER] = "listener",
                                                              [NODE_SOURCE_UNIT] = "unit",
                                                              [NODE_SOURCE_ANNOUNCEMENT] = "announcement",
                                                              [NODE_SOURCE_ENTRY] = "entry" };

        for (NodeSource i = 0; i < _NODE_SOURCE_N; i++)
                ck_assert_str_eq(node_source_to_string(i), expected[i]);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("node_state");
        TCase *t = tcase_create("rule");

        tcase_add_test(t, test_the_state_follows_from_the_facts);
        tcase_add_test(t, test_a_static_node_is_up_by_its_listener_or_its_entry);
        tcase_add_test(t, test_a_node_whose_listener_has_closed_is_stopping_whatever_else_is_known);
        tcase_add_test(t, test_a_node_is_going_if_its_listener_or_its_unit_is);
        tcase_add_test(t, test_a_node_that_its_unit_has_left_over_is_in_the_state_it_would_be_in_without_that);
        suite_add_tcase(s, t);

        t = tcase_create("words");
        tcase_add_loop_test(t, test_a_phase_follows_from_the_words_of_systemd, 0, ELEMENTS(words));
        tcase_add_loop_test(t, test_a_unit_is_over_when_it_has_ended_or_waits_for_its_next_start, 0, ELEMENTS(words));
        tcase_add_test(t, test_states_are_written_and_read_as_the_same_words);
        tcase_add_test(t, test_announcements_are_written_and_read_as_the_same_words);
        tcase_add_test(t, test_each_source_has_a_word);
        suite_add_tcase(s, t);
        return s;
}
