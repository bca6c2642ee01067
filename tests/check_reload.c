/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_main.h"
#include "config/reload.h"

typedef struct Desk {
        char path[64];
        Config config;
        sd_event *event;
        Reload *reload;
        unsigned n_done;
} Desk;

static void on_done(void *userdata) {
        Desk *desk = userdata;

        desk->n_done++;
}

static void desk_write(const Desk *desk, const char *text) {
        FILE *file = fopen(desk->path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

static void desk_open(Desk *desk, const char *text) {
        char program[] = "rollcalld", option[] = "--config", *argv[] = { program, option, desk->path, NULL };
        int fd;

        *desk = (Desk){ .path = "/tmp/rollcall-reload-XXXXXX" };
        fd = mkstemp(desk->path);
        ck_assert_int_ge(fd, 0);
        close(fd);
        desk_write(desk, text);
        log_init(LOG_FORMAT_PLAIN, LOG_EMERG, 0);
        ck_assert_int_eq(config_parse(&desk->config, 3, argv), 0);
        ck_assert_int_ge(sd_event_new(&desk->event), 0);
        ck_assert_int_eq(reload_new(&desk->reload, desk->event, &desk->config, &(ReloadHandler){ on_done, desk }), 0);
}

static void desk_close(Desk *desk) {
        reload_free(desk->reload);
        sd_event_unref(desk->event);
        config_done(&desk->config);
        unlink(desk->path);
}

static void desk_run_until(Desk *desk, unsigned n_done) {
        while (desk->n_done < n_done)
                ck_assert_int_gt(sd_event_run(desk->event, 20 * USEC_PER_SEC), 0);
}

START_TEST(test_the_first_reading_is_over_when_it_begins) {
        Desk desk;

        desk_open(&desk, "[history]\ndays = 7\n");
        ck_assert_uint_eq(desk.n_done, 1);
        ck_assert_uint_eq(desk.config.settings.history_days, 7);
        ck_assert_uint_eq(desk.config.files.n_paths, 1);
        desk_close(&desk);
}
END_TEST

START_TEST(test_of_the_first_reading_what_is_good_counts) {
        Desk desk;

        desk_open(&desk, "[history]\ndays = 7\nrows = x\n");
        ck_assert_uint_eq(desk.config.settings.history_days, 7);
        ck_assert_uint_eq(desk.config.settings.history_rows, 50000);
        ck_assert_ptr_nonnull(config_degraded_reason(&desk.config));
        desk_close(&desk);
}
END_TEST

START_TEST(test_of_a_later_reading_all_must_be_good) {
        Desk desk;

        desk_open(&desk, "[history]\ndays = 7\n");
        desk_write(&desk, "[history]\ndays = 8\nrows = x\n");
        reload_start(desk.reload);
        desk_run_until(&desk, 2);
        ck_assert_uint_eq(desk.config.settings.history_days, 7);
        ck_assert_ptr_nonnull(config_degraded_reason(&desk.config));

        desk_write(&desk, "[history]\ndays = 8\n");
        reload_start(desk.reload);
        desk_run_until(&desk, 3);
        ck_assert_uint_eq(desk.config.settings.history_days, 8);
        ck_assert_ptr_null(config_degraded_reason(&desk.config));
        desk_close(&desk);
}
END_TEST

START_TEST(test_several_wishes_meanwhile_are_one_more_reading) {
        Desk desk;

        desk_open(&desk, "");
        for (size_t i = 0; i < 10; i++)
                reload_start(desk.reload);
        desk_write(&desk, "[history]\ndays = 9\n");
        reload_start(desk.reload);
        desk_run_until(&desk, 3);
        ck_assert_uint_eq(desk.config.settings.history_days, 9);
        ck_assert_uint_eq(desk.n_done, 3);
        ck_assert_int_eq(sd_event_run(desk.event, 0), 0);
        desk_close(&desk);
}
END_TEST

/* Without a leak or a use after free: the sanitizers say so. */
START_TEST(test_it_may_end_while_something_is_being_read) {
        for (size_t i = 0; i < 200; i++) {
                Desk desk;

                desk_open(&desk, "[history]\ndays = 7\n");
                reload_start(desk.reload);
                if (i % 2)
                        usleep((useconds_t)(i * 3)); /* anywhere within it */
                desk_close(&desk);
        }
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("reload");
        TCase *tcase = tcase_create("reload");

        tcase_add_test(tcase, test_the_first_reading_is_over_when_it_begins);
        tcase_add_test(tcase, test_of_the_first_reading_what_is_good_counts);
        tcase_add_test(tcase, test_of_a_later_reading_all_must_be_good);
        tcase_add_test(tcase, test_several_wishes_meanwhile_are_one_more_reading);
        tcase_add_test(tcase, test_it_may_end_while_something_is_being_read);
        suite_add_tcase(suite, tcase);
        return suite;
}
