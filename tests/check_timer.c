/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_test.h"
#include "timer.h"

static unsigned n_runs;

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        (void)source;
        (void)usec;
        (*(unsigned *)userdata)++;
        return 0;
}

static sd_event_source *make_timer(sd_event *event) {
        sd_event_source *timer = NULL;

        n_runs = 0;
        ck_assert_int_eq(timer_new(&timer, event, 1, on_timer, &n_runs), 0);
        return timer;
}

static void end_timer(sd_event *event, sd_event_source *timer) {
        sd_event_source_disable_unref(timer);
        sd_event_unref(event);
}

START_TEST(test_one_that_was_not_told_to_does_not_run) {
        sd_event *event = make_event();
        sd_event_source *timer = make_timer(event);

        run_for(event, 20 * USEC_PER_MSEC);
        ck_assert_uint_eq(n_runs, 0);
        end_timer(event, timer);
}
END_TEST

START_TEST(test_it_runs_once_each_time_it_is_told_to) {
        sd_event *event = make_event();
        sd_event_source *timer = make_timer(event);

        for (unsigned i = 1; i <= 3; i++) {
                timer_arm(timer, test_now() + 5 * USEC_PER_MSEC);
                ck_assert(RUN_UNTIL(event, n_runs == i, LONG_USEC));
                run_for(event, 20 * USEC_PER_MSEC);
                ck_assert_uint_eq(n_runs, i);
        }
        timer_arm(timer, 0); /* long past */
        ck_assert(RUN_UNTIL(event, n_runs == 4, LONG_USEC));
        end_timer(event, timer);
}
END_TEST

START_TEST(test_what_was_said_last_counts) {
        sd_event *event = make_event();
        sd_event_source *timer = make_timer(event);
        uint64_t began = test_now();

        timer_arm(timer, began + LONG_USEC);
        timer_arm(timer, began + 30 * USEC_PER_MSEC);
        ck_assert(RUN_UNTIL(event, n_runs == 1, LONG_USEC));
        ck_assert_uint_ge(test_now(), began + 30 * USEC_PER_MSEC);
        ck_assert_uint_lt(test_now(), began + LONG_USEC);
        timer_arm(timer, test_now() + 10 * USEC_PER_MSEC);
        timer_stop(timer);
        run_for(event, 40 * USEC_PER_MSEC);
        ck_assert_uint_eq(n_runs, 1);
        end_timer(event, timer);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("timer");
        TCase *tcase = tcase_create("timer");

        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_one_that_was_not_told_to_does_not_run);
        tcase_add_test(tcase, test_it_runs_once_each_time_it_is_told_to);
        tcase_add_test(tcase, test_what_was_said_last_counts);
        suite_add_tcase(suite, tcase);
        return suite;
}
