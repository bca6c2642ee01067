/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_test.h"
#include "serve/blame.h"

#define INTERVAL_USEC (300 * USEC_PER_MSEC)

typedef struct Bench {
        sd_event *event;
        Blame *blame;
        int caught_fd, stderr_fd;
} Bench;

static Bench *bench_new(void) {
        Bench *bench = calloc(1, sizeof *bench);
        FILE *file = tmpfile();

        ck_assert_ptr_nonnull(bench);
        ck_assert_ptr_nonnull(file);
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        bench->event = make_event();
        ck_assert_int_eq(blame_new(&bench->blame, bench->event, NULL, INTERVAL_USEC), 0);
        bench->caught_fd = dup(fileno(file));
        fclose(file);
        bench->stderr_fd = dup(STDERR_FILENO);
        ck_assert_int_ge(dup2(bench->caught_fd, STDERR_FILENO), 0);
        return bench;
}

/* What was logged since the last look. */
static const char *said(Bench *bench) {
        static char text[8192];
        ssize_t n = pread(bench->caught_fd, text, sizeof text - 1, 0);

        ck_assert_int_ge(n, 0);
        text[n] = 0;
        ck_assert_int_eq(ftruncate(bench->caught_fd, 0), 0);
        ck_assert_int_eq(lseek(bench->caught_fd, 0, SEEK_SET), 0);
        return text;
}

static void bench_free(Bench *bench) {
        blame_free(bench->blame);
        ck_assert_int_ge(dup2(bench->stderr_fd, STDERR_FILENO), 0);
        close(bench->stderr_fd);
        close(bench->caught_fd);
        sd_event_unref(bench->event);
        free(bench);
}

static void note(Bench *bench, const char *address_text, CulpritDeed deed, unsigned n_times) {
        Address address;
        Party party;

        ck_assert_int_eq(address_parse(address_text, &address), 0);
        party = party_of_address(&address);
        for (unsigned i = 0; i < n_times; i++)
                blame_note(bench->blame, &(ConnOffence){ .party = &party, .deed = deed });
}

#define ONE "rollcalld: Too many connections: closed 1 of 10.0.0.7 to make room for others\n"

START_TEST(test_the_first_time_is_said_at_once_and_what_follows_in_one_line_later) {
        Bench *bench = bench_new();

        note(bench, "10.0.0.7", CULPRIT_SHED, 1);
        ck_assert_str_eq(said(bench), ONE);
        note(bench, "10.0.0.7", CULPRIT_SHED, 500);
        note(bench, "10.0.0.7", CULPRIT_BUSY, 3);
        turn(bench->event);
        ck_assert_str_eq(said(bench), "");
        run_for(bench->event, INTERVAL_USEC + 100 * USEC_PER_MSEC);
        ck_assert_str_eq(said(bench),
                         "rollcalld: Too many connections: closed 500 of 10.0.0.7 to make room for others\n"
                         "rollcalld: Too many connections that wait or watch: turned away 3 more of 10.0.0.7\n");
        ck_assert_uint_eq(run_for(bench->event, 2 * INTERVAL_USEC), 0);
        ck_assert_str_eq(said(bench), "");
        /* after a while of nothing it is a first time again */
        note(bench, "10.0.0.7", CULPRIT_SHED, 1);
        ck_assert_str_eq(said(bench), ONE);
        bench_free(bench);
}
END_TEST

START_TEST(test_each_is_named_and_who_is_not_named_in_time_is_at_the_end) {
        Bench *bench = bench_new();

        note(bench, "10.0.0.7", CULPRIT_SHED, 1);
        note(bench, "2001:db8::7", CULPRIT_BUSY, 1);
        ck_assert_str_eq(said(bench), ONE "rollcalld: Too many connections that wait or watch: turned away 1 more of "
                                          "2001:db8::/64\n");
        note(bench, "2001:db8::8", CULPRIT_BUSY, 1); /* the same network */
        ck_assert_str_eq(said(bench), "");
        blame_free(bench->blame);
        bench->blame = NULL;
        ck_assert_str_eq(said(bench), "rollcalld: Too many connections that wait or watch: turned away 1 more of "
                                      "2001:db8::/64\n");
        bench_free(bench);
}
END_TEST

START_TEST(test_who_it_was_is_remembered) {
        Bench *bench = bench_new();
        const Culprits *culprits = blame_culprits(bench->blame);

        note(bench, "10.0.0.7", CULPRIT_SHED, 7);
        note(bench, "10.0.0.8", CULPRIT_BUSY, 2);
        ck_assert_uint_eq(culprits->n_culprits, 2);
        ck_assert_uint_eq(culprits->culprits[0].n_times[CULPRIT_SHED], 7);
        ck_assert_uint_eq(culprits->culprits[1].n_times[CULPRIT_BUSY], 2);
        ck_assert_uint_ge(culprits->culprits[0].since_usec, UINT64_C(1700000000) * USEC_PER_SEC);
        bench_free(bench);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("blame");
        TCase *tcase = tcase_create("blame");

        tcase_add_test(tcase, test_the_first_time_is_said_at_once_and_what_follows_in_one_line_later);
        tcase_add_test(tcase, test_each_is_named_and_who_is_not_named_in_time_is_at_the_end);
        tcase_add_test(tcase, test_who_it_was_is_remembered);
        suite_add_tcase(suite, tcase);
        return suite;
}
