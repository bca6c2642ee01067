/* SPDX-License-Identifier: Apache-2.0 */
/* evidence/units and evidence/bus: on a bus of our own, with a systemd that says what it is told to. */

#include "bus_test.h"

/* A call that does not wait takes far less, also where a machine is busy. */
#define AT_ONCE_USEC USEC_PER_SEC

/* What is asked about a service, and about any other unit; and how much at a time. */
#define N_WORDS 5
#define N_WORDS_OF_OTHERS 3
#define N_CALLS_MAX (4 * N_WORDS)

static sd_event *event;
static TestBus bus;
static TestSystemd systemd;
static Units *units;

/* --- what was told ------------------------------------------------------------------------------------- */

static char told[256][128]; /* "a.service notify active/running 7" */
static size_t n_told, n_read;
static uint64_t told_invocation; /* the last */
static bool is_inside; /* a function of units.h */

static void on_unit(void *userdata, const char *unit, const UnitFacts *facts) {
        ck_assert_ptr_eq(userdata, &units);
        ck_assert(!is_inside);
        told_invocation = facts->invocation;
        snprintf(told[n_told % ELEMENTS(told)], sizeof told[0], "%s %s %s/%s %d", unit, facts->type, facts->active,
                 facts->sub, (int)facts->main_pid);
        n_told++;
}

static void watch(const char *unit) {
        is_inside = true;
        ck_assert_int_eq(units_watch(units, unit), 0);
        is_inside = false;
}

static void unwatch(const char *unit) {
        is_inside = true;
        units_unwatch(units, unit);
        is_inside = false;
}

static void refresh(const char *unit) {
        is_inside = true;
        ck_assert_int_eq(units_refresh(units, unit), 0);
        is_inside = false;
}

/* The next that is told. */
static void expect_told(const char *expected) {
        ck_assert_msg(RUN_UNTIL(event, n_told > n_read, LONG_USEC), "nothing is told, not '%s'", expected);
        ck_assert_str_eq(told[n_read++ % ELEMENTS(told)], expected);
}

/* Nothing is told, and has been on its way: what systemd says later comes later. */
static void expect_nothing_told(void) {
        refresh("sync.service");
        expect_told("sync.service simple active/running 1");
        ck_assert_uint_eq(n_told, n_read);
}

static void expect_nothing_told_yet(void) {
        turn(event);
        ck_assert_uint_eq(n_told, n_read);
}

static void expect_known(const char *unit, const char *expected) {
        UnitFacts facts;
        char text[128];

        ck_assert_msg(units_get(units, unit, &facts), "nothing is known of %s", unit);
        snprintf(text, sizeof text, "%s %s/%s %d", facts.type, facts.active, facts.sub, (int)facts.main_pid);
        ck_assert_str_eq(text, expected);
}

static void expect_unknown(const char *unit) {
        UnitFacts facts = { .active = "untouched" };

        ck_assert(!units_get(units, unit, &facts));
        ck_assert_str_eq(facts.active, "untouched");
}

static void expect_connected(void) {
        ck_assert_msg(RUN_UNTIL(event, units_is_connected(units), LONG_USEC), "systemd is not heard");
}

static void expect_disconnected(void) {
        ck_assert_msg(RUN_UNTIL(event, !units_is_connected(units), LONG_USEC), "the loss is not noticed");
        turn(event); /* and what follows from it is done */
}

/* --- fixtures ------------------------------------------------------------------------------------------ */

static void begin(void) {
        const UnitsHandler handler = { .on_unit = on_unit, .userdata = &units };

        no_log();
        event = make_event();
        bus_prepare(&bus);
        is_inside = true;
        ck_assert_int_eq(units_new(&units, event, &handler), 0);
        is_inside = false;
}

/* Nothing is there but us. */
static void set_up_alone(void) {
        begin();
        ck_assert(!units_is_connected(units));
}

/* Everything is there. */
static void set_up(void) {
        begin();
        units_free(units);
        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        systemd_set(&systemd, "sync.service", "simple", "active", "running", 1);
        systemd_set(&systemd, "a.service", "notify", "active", "running", 7);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit, &units }), 0);
        watch("sync.service");
        expect_connected();
        expect_told("sync.service simple active/running 1");
        systemd.n_asked = 0;
}

static void tear_down(void) {
        units = units_free(units);
        systemd_leave(&systemd);
        bus_kill(&bus);
        sd_event_unref(event);
}

static void watch_a(void) {
        watch("a.service");
        expect_told("a.service notify active/running 7");
}

/* --- looking ------------------------------------------------------------------------------------------- */

START_TEST(test_a_unit_is_told_as_soon_as_all_of_it_is_known) {
        watch("a.service");
        expect_unknown("a.service");
        expect_told("a.service notify active/running 7");
        expect_known("a.service", "notify active/running 7");
        ck_assert_uint_eq(systemd.n_asked, N_WORDS);
        expect_nothing_told();
}
END_TEST

START_TEST(test_what_is_no_service_has_no_type) {
        systemd_set(&systemd, "session-3.scope", "wrong", "active", "running", 9);
        watch("session-3.scope");
        expect_told("session-3.scope  active/running 0");
        ck_assert_uint_eq(systemd.n_asked, N_WORDS_OF_OTHERS);
}
END_TEST

START_TEST(test_names_with_strange_characters_are_asked_for_and_heard_of) {
        static const char name[] = "app@a\\x2db:c.d_e.service";

        systemd_set(&systemd, name, "exec", "active", "running", 8);
        watch(name);
        expect_told("app@a\\x2db:c.d_e.service exec active/running 8");
        systemd_say_state(&systemd, name, "deactivating", "stop-sigterm");
        expect_told("app@a\\x2db:c.d_e.service exec deactivating/stop-sigterm 8");
}
END_TEST

START_TEST(test_a_unit_that_does_not_exist_is_inactive) {
        watch("none.service");
        expect_told("none.service simple inactive/dead 0");
}
END_TEST

START_TEST(test_of_a_unit_that_systemd_does_not_tell_nothing_is_known) {
        TestUnit *unit = systemd_set(&systemd, "a.service", "notify", "active", "running", 7);

        unit->is_refused = true;
        watch("a.service");
        expect_nothing_told();
        expect_unknown("a.service");

        refresh("a.service");
        expect_told("a.service  / 0");
        unit->is_refused = false;
        refresh("a.service");
        expect_told("a.service notify active/running 7");
        unit->is_refused = true;
        refresh("a.service");
        expect_told("a.service  / 0");
        expect_unknown("a.service");
}
END_TEST

START_TEST(test_of_what_nobody_watches_nothing_is_known_or_told) {
        expect_unknown("a.service");
        ck_assert_int_eq(units_refresh(units, "a.service"), -ENOENT);
        systemd_say_state(&systemd, "a.service", "deactivating", "stop");
        expect_nothing_told();
        expect_unknown("a.service");
}
END_TEST

/* --- changes ------------------------------------------------------------------------------------------- */

START_TEST(test_changes_are_told_one_by_one) {
        watch_a();
        systemd_say_state(&systemd, "a.service", "deactivating", "stop-sigterm");
        expect_told("a.service notify deactivating/stop-sigterm 7");
        expect_known("a.service", "notify deactivating/stop-sigterm 7");
        systemd_say_main_pid(&systemd, "a.service", 0);
        expect_told("a.service notify deactivating/stop-sigterm 0");
        systemd_say_state(&systemd, "a.service", "inactive", "dead");
        expect_told("a.service notify inactive/dead 0");
        expect_nothing_told();
        ck_assert_uint_eq(systemd.n_asked, 2 * N_WORDS); /* nothing more was asked for */
}
END_TEST

START_TEST(test_what_is_as_it_was_is_not_told) {
        watch_a();
        systemd_say_state(&systemd, "a.service", "active", "running"); /* as systemd does before it stops one */
        systemd_say_main_pid(&systemd, "a.service", 7);
        expect_nothing_told();
}
END_TEST

START_TEST(test_what_has_changed_without_a_value_is_asked_for) {
        static const struct {
                const char *interface, *property;
                bool is_asked;
        } said[] = {
                { UNIT_INTERFACE, "ActiveState", true },    { UNIT_INTERFACE, "SubState", true },
                { SERVICE_INTERFACE, "Type", true },        { SERVICE_INTERFACE, "MainPID", true },
                { UNIT_INTERFACE, "InvocationID", true },
                { UNIT_INTERFACE, "Description", false },   { SERVICE_INTERFACE, "ActiveState", false },
                { SYSTEMD ".Scope", "ActiveState", false },
        };

        watch_a();
        systemd_set(&systemd, "a.service", "exec", "failed", "failed", 0);
        systemd_say_invalid(&systemd, "a.service", said[_i].interface, said[_i].property);
        if (said[_i].is_asked)
                expect_told("a.service exec failed/failed 0");
        expect_nothing_told();
}
END_TEST

/* It is read from its file by a reload, which nobody is told. */
START_TEST(test_the_type_is_asked_for_again_when_a_unit_starts) {
        systemd_set(&systemd, "a.service", "exec", "inactive", "dead", 0);
        watch("a.service");
        expect_told("a.service exec inactive/dead 0");
        systemd_set(&systemd, "a.service", "notify", "inactive", "dead", 0);
        systemd_say_state(&systemd, "a.service", "activating", "start");
        expect_told("a.service exec activating/start 0");
        expect_told("a.service notify activating/start 0");
        systemd_say_state(&systemd, "a.service", "activating", "start-post");
        expect_told("a.service notify activating/start-post 0");
        ck_assert_uint_eq(systemd.n_asked, 2 * N_WORDS);
}
END_TEST

/* Also where it goes through its states too fast to be seen. */
START_TEST(test_each_start_of_a_unit_is_told_from_the_one_before) {
        systemd_set(&systemd, "a.service", "notify", "active", "running", 7)->facts.invocation = 17;
        watch_a();
        ck_assert_uint_eq(told_invocation, 17);
        systemd_say_invocation(&systemd, "a.service", 18);
        expect_told("a.service notify active/running 7");
        ck_assert_uint_eq(told_invocation, 18);
        systemd_say_invocation(&systemd, "a.service", 18);
        expect_nothing_told();
        systemd_say_invocation(&systemd, "a.service", 0);
        expect_told("a.service notify active/running 7");
        ck_assert_uint_eq(told_invocation, 0);
}
END_TEST

START_TEST(test_a_change_that_comes_between_the_words_of_an_answer_is_the_newer) {
        systemd.is_mute = true;
        watch("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        systemd_answer_held(&systemd, (size_t)_i); /* so many of its words */
        systemd_say_state(&systemd, "a.service", "inactive", "dead");
        systemd_answer_held(&systemd, 0);
        expect_told("a.service notify inactive/dead 7");
        expect_nothing_told();
}
END_TEST

START_TEST(test_a_change_to_what_is_not_known_yet_is_not_told) {
        static const char *const others[] = { "n0.service", "n1.service", "n2.service", "n3.service" };

        systemd.is_mute = true;
        for (size_t i = 0; i < ELEMENTS(others); i++)
                watch(others[i]);
        watch("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_CALLS_MAX, LONG_USEC)); /* there is no room for it */
        systemd_say_state(&systemd, "a.service", "deactivating", "stop");
        systemd_answer_held(&systemd, 0);
        for (size_t i = 0; i < ELEMENTS(others); i++) {
                char expected[64];

                snprintf(expected, sizeof expected, "%s simple inactive/dead 0", others[i]);
                expect_told(expected);
        }
        expect_told("a.service notify deactivating/stop 7");
}
END_TEST

START_TEST(test_a_signal_that_is_not_systemds_is_not_believed) {
        sd_bus *stranger = bus_join(&bus);
        sd_bus_message *message = NULL;
        const char *name;

        watch_a();
        say_state_from(stranger, NULL, "a.service", "deactivating", "stop");
        say_state_from(stranger, systemd.client, "a.service", "deactivating", "stop");

        /* nor one that says the stranger is systemd now */
        ck_assert_int_ge(sd_bus_get_unique_name(stranger, &name), 0);
        ck_assert_int_ge(sd_bus_message_new_signal(stranger, &message, "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                                   "NameOwnerChanged"),
                         0);
        ck_assert_int_ge(sd_bus_message_append(message, "sss", SYSTEMD, "", name), 0);
        send_signal(stranger, message, systemd.client);
        say_state_from(stranger, systemd.client, "a.service", "deactivating", "stop");
        ck_assert_int_ge(sd_bus_call_method(stranger, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "GetId", NULL, NULL, NULL),
                         0); /* the bus has passed on all that */
        expect_nothing_told();
        expect_nothing_told();
        ck_assert_uint_eq(systemd.n_subscribed, 1);
        sd_bus_close_unref(stranger);
}
END_TEST

START_TEST(test_a_message_that_is_no_change_harms_nobody) {
        sd_bus_message *message;

        watch_a();
        message = change_message(systemd.bus, "a.service");
        ck_assert_int_ge(sd_bus_message_append(message, "u", 7), 0);
        send_signal(systemd.bus, message, NULL);
        message = change_message(systemd.bus, "a.service");
        ck_assert_int_ge(sd_bus_message_append(message, "sa{sv}as", UNIT_INTERFACE, 1, "ActiveState", "u", 7, 0), 0);
        send_signal(systemd.bus, message, NULL);
        expect_nothing_told();
        expect_known("a.service", "notify active/running 7");
}
END_TEST

/* --- asking afresh ------------------------------------------------------------------------------------- */

START_TEST(test_a_refresh_is_answered_changed_or_not) {
        watch_a();
        refresh("a.service");
        expect_told("a.service notify active/running 7");
        systemd_set(&systemd, "a.service", "notify", "deactivating", "stop", 7);
        refresh("a.service");
        expect_told("a.service notify deactivating/stop 7");
        expect_nothing_told();
}
END_TEST

START_TEST(test_a_refresh_that_is_not_answered_ends_after_a_second) {
        watch_a();
        systemd.is_mute = true;
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        pass(event, 900 * USEC_PER_MSEC);
        expect_nothing_told_yet();
        pass(event, 120 * USEC_PER_MSEC);
        expect_told("a.service notify active/running 7");

        /* and the answer is not lost */
        systemd_set(&systemd, "a.service", "notify", "failed", "failed", 0);
        systemd_answer_held(&systemd, 0);
        expect_told("a.service notify failed/failed 0");
        expect_nothing_told();
}
END_TEST

/* Its answer may be on its way already. */
START_TEST(test_a_refresh_does_not_make_do_with_what_was_asked_before) {
        watch_a();
        systemd.is_mute = true;
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        systemd_answer_held(&systemd, N_WORDS);
        refresh("a.service");
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        expect_nothing_told_yet();
        systemd_set(&systemd, "a.service", "notify", "deactivating", "stop", 7);
        systemd_answer_held(&systemd, 0);
        expect_told("a.service notify deactivating/stop 7");
        expect_nothing_told();
        ck_assert_uint_eq(systemd.n_asked, 4 * N_WORDS);
}
END_TEST

START_TEST(test_a_refresh_comes_before_what_nobody_waits_for) {
        char name[32];

        watch_a();
        systemd.is_mute = true;
        for (int i = 0; i < 50; i++) {
                snprintf(name, sizeof name, "n%d.service", i);
                watch(name);
        }
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_CALLS_MAX, LONG_USEC));
        systemd_answer_held(&systemd, N_WORDS); /* n0 */
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_CALLS_MAX, LONG_USEC));
        expect_told("n0.service simple inactive/dead 0");
        systemd_answer_held(&systemd, 0);
        expect_told("n1.service simple inactive/dead 0");
        expect_told("n2.service simple inactive/dead 0");
        expect_told("n3.service simple inactive/dead 0");
        expect_told("a.service notify active/running 7");
}
END_TEST

/* --- who watches --------------------------------------------------------------------------------------- */

START_TEST(test_a_unit_is_watched_until_the_last_has_left) {
        watch_a();
        watch("a.service");
        expect_nothing_told();
        unwatch("a.service");
        systemd_say_state(&systemd, "a.service", "deactivating", "stop");
        expect_told("a.service notify deactivating/stop 7");
        unwatch("a.service");
        ck_assert_int_eq(units_refresh(units, "a.service"), -ENOENT);
        systemd_say_state(&systemd, "a.service", "inactive", "dead");
        expect_nothing_told();
}
END_TEST

/* A file may say anything, and memory may be short. */
START_TEST(test_a_unit_that_could_not_be_watched_may_be_left) {
        char name[UNIT_NAME_MAX + 1];

        memset(name, 'a', UNIT_NAME_MAX);
        name[UNIT_NAME_MAX] = 0;
        ck_assert_int_eq(units_watch(units, name), -EINVAL);
        ck_assert_int_eq(units_refresh(units, name), -ENOENT);
        expect_unknown(name);
        unwatch(name);
        unwatch("b.service");
        watch_a();
        unwatch("a.service");
        unwatch("a.service");
        watch("a.service");
        expect_known("a.service", "notify active/running 7");
        name[UNIT_NAME_MAX - 1] = 0;
        watch(name);
        refresh(name);
        ck_assert(RUN_UNTIL(event, n_told > n_read, LONG_USEC));
}
END_TEST

/* Nodes that come and go in one unit do not touch PID 1. */
START_TEST(test_a_unit_is_remembered_for_ten_seconds) {
        watch_a();
        unwatch("a.service");
        expect_known("a.service", "notify active/running 7");
        systemd_say_state(&systemd, "a.service", "failed", "failed");
        expect_nothing_told();
        pass(event, 9 * USEC_PER_SEC);
        expect_known("a.service", "notify failed/failed 7"); /* a newcomer begins with it */
        systemd.n_asked = 0;
        watch("a.service");
        expect_known("a.service", "notify failed/failed 7"); /* it was followed */
        expect_nothing_told();
        pass(event, 60 * USEC_PER_SEC); /* one that is watched is kept */
        expect_known("a.service", "notify failed/failed 7");
        ck_assert_uint_eq(systemd.n_asked, N_WORDS); /* of sync.service */

        unwatch("a.service");
        pass(event, 11 * USEC_PER_SEC);
        expect_unknown("a.service");
        watch("a.service");
        expect_unknown("a.service");
        expect_told("a.service notify failed/failed 7");
}
END_TEST

START_TEST(test_which_start_it_is_is_not_known_of_a_unit_that_is_only_remembered) {
        UnitFacts facts;

        systemd_set(&systemd, "a.service", "notify", "active", "running", 7)->facts.invocation = 17;
        watch_a();
        ck_assert(units_get(units, "a.service", &facts));
        ck_assert_uint_eq(facts.invocation, 17);
        unwatch("a.service");
        ck_assert(units_get(units, "a.service", &facts));
        ck_assert_uint_eq(facts.invocation, 0);
        watch("a.service");
        ck_assert(units_get(units, "a.service", &facts));
        ck_assert_uint_eq(facts.invocation, 17);
}
END_TEST

START_TEST(test_an_answer_for_a_unit_that_is_forgotten_is_dropped) {
        systemd.is_mute = true;
        watch("a.service");
        watch("b.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == 2 * N_WORDS, LONG_USEC));
        systemd_answer_held(&systemd, 2);
        unwatch("a.service");
        turn(event);
        clock_forward_usec += 9 * USEC_PER_SEC;
        systemd_answer_held(&systemd, 0);
        turn(event);
        clock_forward_usec += 2 * USEC_PER_SEC;
        expect_told("b.service simple inactive/dead 0");
        expect_nothing_told();
}
END_TEST

static unsigned n_reentered;

static void on_unit_reenter(void *userdata, const char *unit, const UnitFacts *facts) {
        char name[32];

        (void)facts;
        n_reentered++;
        ck_assert_ptr_null(userdata);
        snprintf(name, sizeof name, "m%u.service", n_reentered);
        if (n_reentered < 100)
                ck_assert_int_eq(units_watch(units, name), 0);
        if (strcmp(unit, "a.service") != 0)
                units_unwatch(units, unit);
        else if (n_reentered < 100)
                ck_assert_int_eq(units_refresh(units, unit), 0);
}

START_TEST(test_whoever_is_told_may_watch_and_unwatch_and_refresh) {
        units_free(units);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit_reenter, NULL }), 0);
        ck_assert_int_eq(units_watch(units, "a.service"), 0);
        ck_assert(RUN_UNTIL(event, n_reentered > 100, LONG_USEC));
        pass(event, 11 * USEC_PER_SEC);
        expect_connected();
}
END_TEST

/* P6: systemd is not asked about everything at once. */
START_TEST(test_thousands_of_units_are_asked_about_four_at_a_time) {
        const unsigned n = 3000;
        char name[32];

        systemd.is_mute = true;
        for (unsigned i = 0; i < n; i++) {
                snprintf(name, sizeof name, "n%u.service", i * 7919 % n);
                watch(name);
        }
        ck_assert(RUN_UNTIL(event, systemd.n_held >= N_CALLS_MAX, LONG_USEC));
        run_for(event, 20 * USEC_PER_MSEC);
        ck_assert_uint_eq(systemd.n_held, N_CALLS_MAX);
        systemd_answer_held(&systemd, 0);
        ck_assert(RUN_UNTIL(event, n_told - n_read == n, LONG_USEC));
        n_read = n_told;
        ck_assert_uint_eq(systemd.n_asked, N_WORDS * n);
        for (unsigned i = 0; i < n; i++) {
                snprintf(name, sizeof name, "n%u.service", i);
                expect_known(name, "simple inactive/dead 0");
                unwatch(name);
        }
        pass(event, 11 * USEC_PER_SEC);
        expect_nothing_told();
}
END_TEST

/* --- a bus that is not there --------------------------------------------------------------------------- */

START_TEST(test_a_bus_that_comes_later_is_found) {
        watch("a.service");
        ck_assert_int_eq(units_refresh(units, "a.service"), -ENOTCONN);
        for (int i = 0; i < 10; i++)
                pass(event, 10 * USEC_PER_SEC);
        expect_unknown("a.service");

        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        systemd_set(&systemd, "a.service", "notify", "active", "running", 7);
        pass(event, 31 * USEC_PER_SEC); /* it is tried that often at least */
        expect_connected();
        expect_told("a.service notify active/running 7");
}
END_TEST

START_TEST(test_a_bus_is_tried_at_once_when_somebody_wants_it) {
        for (int i = 0; i < 10; i++)
                pass(event, 10 * USEC_PER_SEC);
        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        units_poke(units);
        ck_assert(RUN_UNTIL(event, units_is_connected(units), USEC_PER_SEC));
        units_poke(units);
        turn(event);
        ck_assert(units_is_connected(units));
}
END_TEST

/* Whoever asks in the first moments after a start need not do without an answer. */
START_TEST(test_what_is_asked_while_the_bus_is_connected_to_is_answered) {
        units_free(units);
        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        systemd_set(&systemd, "a.service", "notify", "active", "running", 7);
        bus_freeze(&bus);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit, &units }), 0);
        watch("a.service");
        refresh("a.service");
        expect_nothing_told_yet();
        ck_assert(!units_is_connected(units));
        bus_thaw(&bus);
        expect_told("a.service notify active/running 7");
        ck_assert(units_is_connected(units));
}
END_TEST

START_TEST(test_a_bus_that_is_connected_to_and_says_nothing_is_not_waited_for) {
        units_free(units);
        bus_start(&bus);
        bus_freeze(&bus);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit, &units }), 0);
        watch("a.service");
        refresh("a.service");
        pass(event, 900 * USEC_PER_MSEC);
        expect_nothing_told_yet();
        pass(event, 120 * USEC_PER_MSEC);
        expect_told("a.service  / 0");
        bus_thaw(&bus);
}
END_TEST

/* A name would have to be resolved, which waits. */
START_TEST(test_only_a_local_bus_is_tried) {
        /* before our port */
        static const char *const addresses[] = { "tcp:host=127.0.0.1,port=", "tcp:host=localhost,port=",
                                                 "unix:path=/nowhere;tcp:host=127.0.0.1,port=", "nonsense", "unix:" };
        int fd = listen_on("127.0.0.1");
        char address[96];

        units_free(units);
        snprintf(address, sizeof address, "%s%u", addresses[_i], port_of(fd));
        setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit, &units }), 0);
        pass(event, 10 * USEC_PER_SEC);
        ck_assert(!units_is_connected(units));
        ck_assert_int_lt(accept(fd, NULL, NULL), 0);
        ck_assert_int_eq(errno, EAGAIN);
        close(fd);
}
END_TEST

START_TEST(test_systemd_may_come_to_the_bus_later) {
        watch("a.service");
        bus_start(&bus);
        pass(event, 2 * USEC_PER_SEC);
        ck_assert(!RUN_UNTIL(event, units_is_connected(units), 50 * USEC_PER_MSEC));
        ck_assert_int_eq(units_refresh(units, "a.service"), -ENOTCONN);
        for (int i = 0; i < 20; i++)
                pass(event, 10 * USEC_PER_SEC);

        systemd_join(&systemd, event, &bus);
        expect_connected();
        expect_told("a.service simple inactive/dead 0");
}
END_TEST

START_TEST(test_without_anything_there_is_nothing_to_free) {
        ck_assert_ptr_null(units_free(NULL));
}
END_TEST

/* --- a bus that goes ----------------------------------------------------------------------------------- */

START_TEST(test_a_bus_that_is_away_for_a_moment_changes_nothing) {
        watch_a();
        bus_kill(&bus);
        systemd_leave(&systemd);
        expect_disconnected();
        ck_assert_int_eq(units_refresh(units, "a.service"), -ENOTCONN);
        expect_known("a.service", "notify active/running 7");

        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        systemd.n_asked = 0;
        pass(event, USEC_PER_SEC + 100 * USEC_PER_MSEC);
        expect_connected();
        ck_assert(RUN_UNTIL(event, systemd.n_asked == 2 * N_WORDS, LONG_USEC)); /* both units, afresh */
        expect_nothing_told();

        /* and changes are told again */
        systemd_say_state(&systemd, "a.service", "deactivating", "stop");
        expect_told("a.service notify deactivating/stop 7");
}
END_TEST

START_TEST(test_what_has_changed_while_the_bus_was_away_is_told) {
        watch_a();
        bus_kill(&bus);
        systemd_leave(&systemd);
        expect_disconnected();
        systemd_set(&systemd, "a.service", "exec", "failed", "failed", 0);
        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        pass(event, USEC_PER_SEC + 100 * USEC_PER_MSEC);
        expect_told("a.service exec failed/failed 0");
}
END_TEST

START_TEST(test_when_the_bus_stays_away_nothing_is_known) {
        watch_a();
        watch("b.service");
        expect_told("b.service simple inactive/dead 0");
        unwatch("b.service");
        bus_kill(&bus);
        systemd_leave(&systemd);
        expect_disconnected();
        pass(event, 9 * USEC_PER_SEC);
        expect_nothing_told_yet();
        expect_known("a.service", "notify active/running 7");
        pass(event, USEC_PER_SEC + 100 * USEC_PER_MSEC);
        expect_told("a.service  / 0");
        expect_told("sync.service  / 0");
        expect_nothing_told_yet(); /* neither of b.service, which nobody watches */
        expect_unknown("a.service");

        bus_start(&bus);
        systemd_join(&systemd, event, &bus);
        pass(event, 31 * USEC_PER_SEC);
        expect_told("a.service notify active/running 7");
        expect_told("sync.service simple active/running 1");
}
END_TEST

START_TEST(test_a_refresh_ends_also_when_the_bus_goes) {
        watch_a();
        systemd.is_mute = true;
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        bus_kill(&bus);
        expect_disconnected();
        pass(event, USEC_PER_SEC + 20 * USEC_PER_MSEC);
        expect_told("a.service notify active/running 7");
}
END_TEST

/* As systemd does where it executes itself anew. */
START_TEST(test_another_systemd_is_asked_afresh) {
        TestSystemd other = { 0 };
        sd_bus_message *message;

        watch_a();
        systemd_leave(&systemd);
        expect_disconnected();
        expect_known("a.service", "notify active/running 7");
        systemd_set(&other, "a.service", "notify", "deactivating", "stop", 7);
        systemd_join(&other, event, &bus);
        expect_connected();
        expect_told("a.service notify deactivating/stop 7");
        expect_told("sync.service simple inactive/dead 0");
        ck_assert_uint_eq(other.n_subscribed, 1);

        /* a change that it tells is believed */
        message = change_message(other.bus, "a.service");
        ck_assert_int_ge(sd_bus_message_append(message, "sa{sv}as", UNIT_INTERFACE, 2, "ActiveState", "s", "inactive",
                                               "SubState", "s", "dead", 0),
                         0);
        send_signal(other.bus, message, NULL);
        expect_told("a.service notify inactive/dead 7");
        systemd_leave(&other);
}
END_TEST

START_TEST(test_a_systemd_that_leaves_while_it_is_asked_is_waited_for) {
        watch_a();
        systemd.is_mute = true;
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        systemd_leave(&systemd);
        expect_disconnected();
        systemd.is_mute = false;
        systemd.n_asked = 0;
        systemd_join(&systemd, event, &bus);
        expect_connected();
        expect_told("a.service notify active/running 7"); /* somebody waited */
        expect_nothing_told();
}
END_TEST

/* --- silence ------------------------------------------------------------------------------------------- */

START_TEST(test_a_systemd_that_is_silent_is_asked_afresh_when_it_speaks) {
        watch_a();
        systemd.is_mute = true;
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        pass(event, USEC_PER_SEC + 20 * USEC_PER_MSEC);
        expect_told("a.service notify active/running 7");
        pass(event, 8 * USEC_PER_SEC);
        ck_assert(units_is_connected(units));
        pass(event, USEC_PER_SEC);
        ck_assert(!units_is_connected(units));
        expect_known("a.service", "notify active/running 7");
        ck_assert(RUN_UNTIL(event, systemd.n_subscribed == 2, LONG_USEC));

        systemd_set(&systemd, "a.service", "notify", "failed", "failed", 0);
        systemd_answer_held(&systemd, 0);
        expect_connected();
        expect_told("a.service notify failed/failed 0");
        expect_nothing_told();
}
END_TEST

START_TEST(test_a_connection_on_which_nothing_comes_is_made_anew) {
        char former[64];

        watch_a();
        strcpy(former, systemd.client);
        systemd.is_mute = true;
        refresh("a.service");
        ck_assert(RUN_UNTIL(event, systemd.n_held == N_WORDS, LONG_USEC));
        pass(event, 11 * USEC_PER_SEC);
        ck_assert(RUN_UNTIL(event, systemd.n_subscribed == 2, LONG_USEC));
        pass(event, 31 * USEC_PER_SEC); /* given up */
        pass(event, 31 * USEC_PER_SEC); /* and begun again */
        ck_assert(RUN_UNTIL(event, systemd.n_subscribed == 3, LONG_USEC));
        ck_assert_str_ne(former, systemd.client);
        ck_assert(!units_is_connected(units));
        n_read = n_told;
        systemd_answer_held(&systemd, 0);
        expect_connected();
        expect_told("a.service notify active/running 7");
}
END_TEST

START_TEST(test_a_bus_that_does_not_answer_keeps_nobody_waiting) {
        uint64_t began;

        bus_start(&bus);
        bus_freeze(&bus);
        began = test_now();
        units_free(units);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit, &units }), 0);
        watch("a.service");
        run_for(event, 20 * USEC_PER_MSEC);
        ck_assert_uint_lt(test_now() - began, AT_ONCE_USEC);
        for (int i = 0; i < 20; i++) /* given up and begun again several times */
                pass(event, 10 * USEC_PER_SEC);
        began = test_now();
        ck_assert(!units_is_connected(units));
        ck_assert_uint_lt(test_now() - began, AT_ONCE_USEC);

        bus_thaw(&bus);
        systemd_join(&systemd, event, &bus);
        pass(event, 31 * USEC_PER_SEC);
        expect_connected();
        expect_told("a.service simple inactive/dead 0");
}
END_TEST

START_TEST(test_a_bus_that_stops_keeps_nobody_waiting) {
        char name[32];
        uint64_t began;

        watch_a();
        bus_freeze(&bus);
        began = test_now();
        for (int i = 0; i < 2000; i++) {
                snprintf(name, sizeof name, "n%d.service", i);
                watch(name);
                refresh(name);
        }
        refresh("a.service");
        turn(event);
        ck_assert_uint_lt(test_now() - began, 4 * AT_ONCE_USEC);
        pass(event, USEC_PER_SEC + 20 * USEC_PER_MSEC);
        expect_known("a.service", "notify active/running 7");
        ck_assert_uint_eq(n_told - n_read, 2001);
        pass(event, 10 * USEC_PER_SEC);
        ck_assert(!units_is_connected(units));

        bus_thaw(&bus);
        expect_connected();
        systemd_set(&systemd, "a.service", "notify", "failed", "failed", 0);
        systemd_say_state(&systemd, "a.service", "failed", "failed");
        ck_assert(RUN_UNTIL(event, ({
                                    UnitFacts facts;
                                    units_get(units, "a.service", &facts) &&
                                            strcmp(facts.active, "failed") == 0 &&
                                            units_get(units, "n1999.service", &facts);
                            }),
                            LONG_USEC));
}
END_TEST

static int on_end(sd_event_source *source, void *userdata) {
        (void)userdata;
        return sd_event_exit(sd_event_source_get_event(source), 0);
}

/* sd-bus would wait for its queue to be sent. */
START_TEST(test_the_end_of_the_loop_waits_for_no_bus) {
        uint64_t began;

        units_free(units);
        bus_start(&bus);
        bus_freeze(&bus);
        ck_assert_int_eq(units_new(&units, event, &(UnitsHandler){ on_unit, &units }), 0);
        watch("a.service");
        turn(event);
        began = test_now();
        ck_assert_int_ge(sd_event_add_defer(event, NULL, on_end, NULL), 0);
        ck_assert_int_ge(sd_event_loop(event), 0);
        units = units_free(units);
        ck_assert_uint_lt(test_now() - began, AT_ONCE_USEC);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("units");
        TCase *t;

        if (why_no_bus()) {
                printf("SKIP: check_units: %s\n", why_no_bus());
                return s;
        }
        t = tcase_create("a bus");
        tcase_set_timeout(t, 60);
        tcase_add_unchecked_fixture(t, make_test_root, remove_test_root);
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_add_test(t, test_a_unit_is_told_as_soon_as_all_of_it_is_known);
        tcase_add_test(t, test_what_is_no_service_has_no_type);
        tcase_add_test(t, test_names_with_strange_characters_are_asked_for_and_heard_of);
        tcase_add_test(t, test_a_unit_that_does_not_exist_is_inactive);
        tcase_add_test(t, test_of_a_unit_that_systemd_does_not_tell_nothing_is_known);
        tcase_add_test(t, test_of_what_nobody_watches_nothing_is_known_or_told);
        tcase_add_test(t, test_changes_are_told_one_by_one);
        tcase_add_test(t, test_what_is_as_it_was_is_not_told);
        tcase_add_loop_test(t, test_what_has_changed_without_a_value_is_asked_for, 0, 8);
        tcase_add_test(t, test_the_type_is_asked_for_again_when_a_unit_starts);
        tcase_add_test(t, test_each_start_of_a_unit_is_told_from_the_one_before);
        tcase_add_loop_test(t, test_a_change_that_comes_between_the_words_of_an_answer_is_the_newer, 1, N_WORDS);
        tcase_add_test(t, test_a_change_to_what_is_not_known_yet_is_not_told);
        tcase_add_test(t, test_a_signal_that_is_not_systemds_is_not_believed);
        tcase_add_test(t, test_a_message_that_is_no_change_harms_nobody);
        tcase_add_test(t, test_a_refresh_is_answered_changed_or_not);
        tcase_add_test(t, test_a_refresh_that_is_not_answered_ends_after_a_second);
        tcase_add_test(t, test_a_refresh_does_not_make_do_with_what_was_asked_before);
        tcase_add_test(t, test_a_refresh_comes_before_what_nobody_waits_for);
        tcase_add_test(t, test_a_unit_is_watched_until_the_last_has_left);
        tcase_add_test(t, test_a_unit_that_could_not_be_watched_may_be_left);
        tcase_add_test(t, test_a_unit_is_remembered_for_ten_seconds);
        tcase_add_test(t, test_which_start_it_is_is_not_known_of_a_unit_that_is_only_remembered);
        tcase_add_test(t, test_an_answer_for_a_unit_that_is_forgotten_is_dropped);
        tcase_add_test(t, test_whoever_is_told_may_watch_and_unwatch_and_refresh);
        tcase_add_test(t, test_thousands_of_units_are_asked_about_four_at_a_time);
        tcase_add_test(t, test_a_bus_that_is_away_for_a_moment_changes_nothing);
        tcase_add_test(t, test_what_has_changed_while_the_bus_was_away_is_told);
        tcase_add_test(t, test_when_the_bus_stays_away_nothing_is_known);
        tcase_add_test(t, test_a_refresh_ends_also_when_the_bus_goes);
        tcase_add_test(t, test_another_systemd_is_asked_afresh);
        tcase_add_test(t, test_a_systemd_that_leaves_while_it_is_asked_is_waited_for);
        tcase_add_test(t, test_a_systemd_that_is_silent_is_asked_afresh_when_it_speaks);
        tcase_add_test(t, test_a_connection_on_which_nothing_comes_is_made_anew);
        tcase_add_test(t, test_a_bus_that_stops_keeps_nobody_waiting);
        suite_add_tcase(s, t);

        t = tcase_create("no bus");
        tcase_set_timeout(t, 60);
        tcase_add_unchecked_fixture(t, make_test_root, remove_test_root);
        tcase_add_checked_fixture(t, set_up_alone, tear_down);
        tcase_add_test(t, test_a_bus_that_comes_later_is_found);
        tcase_add_test(t, test_a_bus_is_tried_at_once_when_somebody_wants_it);
        tcase_add_test(t, test_what_is_asked_while_the_bus_is_connected_to_is_answered);
        tcase_add_test(t, test_a_bus_that_is_connected_to_and_says_nothing_is_not_waited_for);
        tcase_add_loop_test(t, test_only_a_local_bus_is_tried, 0, 5);
        tcase_add_test(t, test_systemd_may_come_to_the_bus_later);
        tcase_add_test(t, test_without_anything_there_is_nothing_to_free);
        tcase_add_test(t, test_a_bus_that_does_not_answer_keeps_nobody_waiting);
        tcase_add_test(t, test_the_end_of_the_loop_waits_for_no_bus);
        suite_add_tcase(s, t);
        return s;
}
