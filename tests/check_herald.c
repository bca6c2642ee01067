/* SPDX-License-Identifier: Apache-2.0 */

#include "herald.h"
#include "loop_test.h"

typedef struct Bench {
        sd_event *event;
        Herald *herald;
        int manager_fd; /* the service manager's side */
        unsigned n_nodes, n_described;
} Bench;

static void describe(void *userdata, char *text, size_t n_text) {
        Bench *bench = userdata;

        bench->n_described++;
        snprintf(text, n_text, "%u nodes", bench->n_nodes);
}

static Bench *bench_new(const char *watchdog_usec) {
        Bench *bench = calloc(1, sizeof *bench);
        TestAddress address = { .un = { .sun_family = AF_UNIX } };

        ck_assert_ptr_nonnull(bench);
        snprintf(address.un.sun_path, sizeof address.un.sun_path, "%s/notify", new_directory());
        bench->manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_eq(bind(bench->manager_fd, &address.sa, sizeof address.un), 0);
        setenv("NOTIFY_SOCKET", address.un.sun_path, 1);
        unsetenv("WATCHDOG_PID");
        if (watchdog_usec)
                setenv("WATCHDOG_USEC", watchdog_usec, 1);
        else
                unsetenv("WATCHDOG_USEC");
        bench->event = make_event();
        ck_assert_int_eq(herald_new(&bench->herald, bench->event, describe, bench), 0);
        return bench;
}

static void bench_free(Bench *bench) {
        herald_free(bench->herald);
        sd_event_unref(bench->event);
        close(bench->manager_fd);
        free(bench);
}

/* What has been said, a word in brackets each. */
static const char *said(Bench *bench) {
        static char text[4096];
        size_t n = 0;

        text[0] = 0;
        for (;;) {
                char word[512];
                ssize_t n_word = recv(bench->manager_fd, word, sizeof word - 1, 0);

                if (n_word < 0)
                        return text;
                word[n_word] = 0;
                for (char *at = word; *at; at++)
                        if (*at == '\n')
                                *at = ' ';
                n += (size_t)snprintf(text + n, sizeof text - n, "[%s]", word);
                ck_assert_uint_lt(n, sizeof text);
        }
}

START_TEST(test_ready_is_told_with_how_things_stand) {
        Bench *bench = bench_new(NULL);

        ck_assert_str_eq(said(bench), "");
        ck_assert_ptr_nonnull(strstr(herald_notify_path(bench->herald), "/notify"));
        bench->n_nodes = 3;
        herald_ready(bench->herald);
        ck_assert_str_eq(said(bench), "[STATUS=3 nodes][READY=1]");
        bench_free(bench);
}
END_TEST

START_TEST(test_a_reload_and_the_end_are_told) {
        Bench *bench = bench_new(NULL);
        const char *words;

        herald_ready(bench->herald);
        said(bench);
        herald_reloading(bench->herald);
        words = said(bench);
        ck_assert_mem_eq(words, "[RELOADING=1 MONOTONIC_USEC=", 28);
        bench->n_nodes = 1;
        herald_reloaded(bench->herald);
        ck_assert_str_eq(said(bench), "[STATUS=1 nodes][READY=1]");
        herald_stopping(bench->herald);
        ck_assert_str_eq(said(bench), "[STOPPING=1]");
        bench_free(bench);
}
END_TEST

START_TEST(test_changes_are_told_together_a_second_later) {
        Bench *bench = bench_new(NULL);
        uint64_t began;
        const char *words = "";

        herald_ready(bench->herald);
        said(bench);
        began = test_now();
        for (unsigned i = 1; i <= 1000; i++) {
                bench->n_nodes = i;
                herald_note_change(bench->herald);
                turn(bench->event);
        }
        ck_assert(RUN_UNTIL(bench->event, *(words = said(bench)), LONG_USEC));
        ck_assert_str_eq(words, "[STATUS=1000 nodes]");
        ck_assert_uint_ge(test_now() - began, USEC_PER_SEC - 10 * USEC_PER_MSEC);
        ck_assert_uint_eq(bench->n_described, 2);

        /* the next change is told, too */
        herald_note_change(bench->herald);
        bench->n_nodes = 7;
        ck_assert(RUN_UNTIL(bench->event, *(words = said(bench)), LONG_USEC));
        ck_assert_str_eq(words, "[STATUS=7 nodes]");
        bench_free(bench);
}
END_TEST

START_TEST(test_the_watchdog_is_fed_twice_as_often_as_it_wants) {
        Bench *bench = bench_new("200000");
        unsigned n = 0;
        uint64_t began = test_now();

        ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
        while (n < 10 && test_now() - began < LONG_USEC) {
                sd_event_run(bench->event, 10 * USEC_PER_MSEC);
                for (const char *at = said(bench); (at = strstr(at, "[WATCHDOG=1]")); at++)
                        n++;
        }
        ck_assert_uint_ge(n, 10);
        ck_assert_uint_ge(test_now() - began, 900 * USEC_PER_MSEC);
        ck_assert_uint_le(test_now() - began, 2500 * USEC_PER_MSEC);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_manager_that_does_not_read_neither_spins_the_loop_nor_is_forgotten) {
        Bench *bench = bench_new(NULL);
        char *words;
        unsigned n_events;

        for (unsigned i = 0; i < 5000; i++)
                herald_reloading(bench->herald);
        bench->n_nodes = 9;
        herald_ready(bench->herald);
        n_events = run_for(bench->event, 300 * USEC_PER_MSEC);
        ck_assert_uint_le(n_events, 5);

        while (recv(bench->manager_fd, (char[64]){ 0 }, 64, 0) >= 0)
                ;
        words = NULL;
        ck_assert(RUN_UNTIL(bench->event, (words = strstr(said(bench), "[STATUS=9 nodes]")) != NULL, LONG_USEC));
        n_events = run_for(bench->event, 100 * USEC_PER_MSEC);
        ck_assert_uint_le(n_events, 5); /* nor does it spin when all is said */
        bench_free(bench);
}
END_TEST

START_TEST(test_without_a_service_manager_nothing_happens) {
        Bench bench = { .event = make_event() };

        unsetenv("NOTIFY_SOCKET");
        setenv("WATCHDOG_USEC", "1000", 1);
        ck_assert_int_eq(herald_new(&bench.herald, bench.event, describe, &bench), 0);
        ck_assert_ptr_null(herald_notify_path(bench.herald));
        herald_ready(bench.herald);
        herald_reloading(bench.herald);
        herald_reloaded(bench.herald);
        herald_note_change(bench.herald);
        ck_assert_uint_le(run_for(bench.event, 100 * USEC_PER_MSEC), 2);
        herald_stopping(bench.herald);
        herald_free(bench.herald);
        ck_assert_ptr_null(herald_free(NULL));
        sd_event_unref(bench.event);
        unsetenv("WATCHDOG_USEC");
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("herald");
        TCase *tcase = tcase_create("words");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_ready_is_told_with_how_things_stand);
        tcase_add_test(tcase, test_a_reload_and_the_end_are_told);
        tcase_add_test(tcase, test_changes_are_told_together_a_second_later);
        tcase_add_test(tcase, test_the_watchdog_is_fed_twice_as_often_as_it_wants);
        tcase_add_test(tcase, test_a_manager_that_does_not_read_neither_spins_the_loop_nor_is_forgotten);
        tcase_add_test(tcase, test_without_a_service_manager_nothing_happens);
        suite_add_tcase(suite, tcase);
        return suite;
}
