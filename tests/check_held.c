/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_test.h"
#include "serve/held.h"

/* --- those who wait, and the one whom they ask ----------------------------------------------------------- */

typedef struct Bench {
        sd_event *event;
        Counters counters;
        Conns *conns;
        Held *held;
        uint64_t patience_usec; /* for the next who come */
        int result;             /* of the last held_add() */
        uid_t uid;              /* of the next who come */
        uint64_t until_usec;    /* what on_turn() says to those whom it does not answer */
        const char *answered;   /* these names are; "*": all */
        bool closes;            /* instead of answering */
        char turns[4096];       /* "NAME/turns before/over " */
        HeldTurn last;
} Bench;

static bool is_answered(const Bench *bench, const NodeInfo *info) {
        char word[300];

        if (!bench->answered)
                return false;
        snprintf(word, sizeof word, "%.*s", (int)info->n_name, info->name);
        return strcmp(bench->answered, "*") == 0 || strstr(bench->answered, word);
}

static uint64_t on_turn(void *userdata, const HeldTurn *turn) {
        Bench *bench = userdata;
        size_t n = strlen(bench->turns);

        snprintf(bench->turns + n, sizeof bench->turns - n, "%.*s/%u%s ", (int)turn->info->n_name, turn->info->name,
                 turn->n_turns, turn->is_over ? "/over" : "");
        bench->last = *turn;
        if (!is_answered(bench, turn->info))
                return bench->until_usec;
        if (bench->closes)
                conn_finish(turn->conn);
        else
                conn_answer(turn->conn, turn->info->name, turn->info->n_name);
        return 0;
}

/* A request is a name. */
static void on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Bench *bench = userdata;
        NodeInfo info = { .name = (const char *)body, .n_name = n_body, .port = 4711, .highest_version = 6 };

        bench->result = held_add(bench->held, conn, bench->uid, &info, test_now() + bench->patience_usec);
        if (bench->result < 0)
                conn_answer(conn, "no", 2);
}

static void on_end(void *userdata, Conn *conn) {
        (void)userdata;
        (void)conn;
        ck_abort_msg("nobody is registered here");
}

static Bench *bench_new(void) {
        Bench *bench = calloc(1, sizeof *bench);

        no_log();
        ck_assert_ptr_nonnull(bench);
        bench->event = make_event();
        bench->patience_usec = bench->until_usec = LONG_USEC;
        bench->until_usec += test_now();
        ck_assert_int_eq(conns_new(&bench->conns, bench->event,
                                   &(ConnOptions){ .packet_timeout_usec = 60 * USEC_PER_SEC, .n_conns_max = 100000 },
                                   &(ConnHandler){ .on_request = on_request, .on_end = on_end, .userdata = bench }, &bench->counters),
                         0);
        ck_assert_int_eq(held_new(&bench->held, bench->event, &(HeldHandler){ on_turn, bench }), 0);
        return bench;
}

static void bench_free(Bench *bench) {
        ck_assert_ptr_null(held_free(bench->held));
        conns_free(bench->conns);
        sd_event_unref(bench->event);
        free(bench);
}

/* One who has asked. */
static int come(Bench *bench, const char *name) {
        SocketAddress peer = { .sa.sa_family = AF_UNIX };
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        say_request(fds[0], name, strlen(name));
        conns_take(bench->conns, fds[1], CONN_CONTROL, 0, &peer);
        turn(bench->event);
        return fds[0];
}

static const char *turns(Bench *bench) {
        static char text[sizeof bench->turns];

        turn(bench->event);
        strcpy(text, bench->turns);
        bench->turns[0] = 0;
        return text;
}

static void poke(Bench *bench, const char *name) {
        held_poke(bench->held, name, strlen(name));
}

/* --- turns ------------------------------------------------------------------------------------------------ */

START_TEST(test_who_waits_hears_nothing_until_something_happens) {
        Bench *bench = bench_new();
        int fd = come(bench, "a");

        ck_assert_int_eq(bench->result, 0);
        ck_assert_uint_eq(held_n(bench->held), 1);
        expect_silence(bench->event, fd);
        ck_assert_str_eq(turns(bench), "");
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_what_happens_to_a_name_concerns_those_who_want_it) {
        Bench *bench = bench_new();
        int fds[] = { come(bench, "a"), come(bench, "aa"), come(bench, "b") };

        poke(bench, "a");
        ck_assert_str_eq(bench->turns, ""); /* not from within the call */
        ck_assert_str_eq(turns(bench), "a/0 ");
        poke(bench, "aa");
        poke(bench, "aa");
        ck_assert_str_eq(turns(bench), "aa/0 ");
        poke(bench, "c");
        ck_assert_str_eq(turns(bench), "");
        held_poke_all(bench->held);
        ck_assert_str_eq(turns(bench), "a/1 aa/1 b/0 ");
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_turns_come_in_the_order_in_which_they_came) {
        Bench *bench = bench_new();
        int fds[] = { come(bench, "a"), come(bench, "b"), come(bench, "a"), come(bench, "c"), come(bench, "a") };

        held_poke_all(bench->held);
        ck_assert_str_eq(turns(bench), "a/0 b/0 a/0 c/0 a/0 ");
        close(fds[2]);
        turn(bench->event);
        ck_assert_uint_eq(held_n(bench->held), 4);
        held_poke_all(bench->held);
        ck_assert_str_eq(turns(bench), "a/1 b/1 c/1 a/1 ");
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                if (i != 2)
                        close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_is_answered_waits_no_more) {
        Bench *bench = bench_new();
        int fd, other_fd;

        bench->answered = "a";
        bench->closes = _i;
        fd = come(bench, "a");
        other_fd = come(bench, "b");
        held_poke_all(bench->held);
        ck_assert_str_eq(turns(bench), "a/0 b/0 ");
        expect_then_end(bench->event, fd, "a", _i ? 0 : 1);
        ck_assert_uint_eq(held_n(bench->held), 1);
        held_poke_all(bench->held);
        ck_assert_str_eq(turns(bench), "b/1 ");
        expect_silence(bench->event, other_fd);
        close(other_fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_what_he_announced_is_there_at_his_turn) {
        Bench *bench = bench_new();
        uint64_t before = test_now();
        int fd = come(bench, "a");

        held_poke_all(bench->held);
        turn(bench->event);
        ck_assert_uint_eq(bench->last.info->port, 4711);
        ck_assert_uint_eq(bench->last.info->n_name, 1);
        ck_assert_mem_eq(bench->last.info->name, "a", 1);
        ck_assert_uint_le(bench->last.since_usec, test_now());
        ck_assert_uint_ge(bench->last.since_usec + USEC_PER_SEC, before);
        close(fd);
        bench_free(bench);
}
END_TEST

/* --- time ------------------------------------------------------------------------------------------------- */

START_TEST(test_whose_time_is_up_has_a_turn) {
        Bench *bench = bench_new();
        int fds[3];

        bench->answered = "*";
        fds[0] = come(bench, "late");
        bench->patience_usec = 40 * USEC_PER_MSEC;
        fds[1] = come(bench, "b");
        bench->patience_usec = 20 * USEC_PER_MSEC;
        fds[2] = come(bench, "a");
        ck_assert(RUN_UNTIL(bench->event, held_n(bench->held) == 1, LONG_USEC));
        ck_assert(!strstr(bench->turns, "late"));
        ck_assert_ptr_nonnull(strstr(bench->turns, "a/0/over "));
        ck_assert_ptr_nonnull(strstr(bench->turns, "b/0/over "));
        ck_assert_uint_lt(test_now(), bench->until_usec);
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_is_told_to_wait_on_waits_as_long_as_he_is_told) {
        Bench *bench = bench_new();
        uint64_t began = test_now();
        int fd;

        bench->patience_usec = 10 * USEC_PER_MSEC;
        bench->until_usec = began + 100 * USEC_PER_MSEC;
        fd = come(bench, "a");
        ck_assert(RUN_UNTIL(bench->event, bench->turns[0], LONG_USEC));
        ck_assert_str_eq(turns(bench), "a/0/over ");
        bench->answered = "*";
        ck_assert(RUN_UNTIL(bench->event, bench->turns[0], LONG_USEC));
        ck_assert_str_eq(turns(bench), "a/1/over ");
        ck_assert_uint_ge(test_now(), bench->until_usec);
        ck_assert_uint_eq(held_n(bench->held), 0);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_waiting_costs_nothing) {
        Bench *bench = bench_new();
        int fds[] = { come(bench, "a"), come(bench, "b") };

        held_poke_all(bench->held);
        turn(bench->event);
        ck_assert_uint_eq(run_for(bench->event, 300 * USEC_PER_MSEC), 0);
        close(fds[0]);
        close(fds[1]);
        turn(bench->event);
        ck_assert_uint_eq(held_n(bench->held), 0);
        bench_free(bench);
}
END_TEST

/* --- who leaves --------------------------------------------------------------------------------------------- */

typedef enum Leaving { HANGS_UP, HALF_CLOSES, RESETS, SPEAKS, SPEAKS_AND_HANGS_UP, _LEAVING_N } Leaving;

static int leave(int fd, Leaving how) {
        switch (how) {
        case HANGS_UP:
                close(fd);
                return -1;
        case HALF_CLOSES:
                shutdown(fd, SHUT_WR);
                return fd;
        case RESETS:
                reset(fd);
                return -1;
        case SPEAKS:
                say(fd, "x", 1);
                return fd;
        case SPEAKS_AND_HANGS_UP:
                say(fd, "x", 1);
                close(fd);
                return -1;
        case _LEAVING_N:
                break;
        }
        return -1;
}

START_TEST(test_who_leaves_frees_his_place) {
        Bench *bench = bench_new();
        int fd = come(bench, "a"), other_fd = come(bench, "a"), left_fd;

        left_fd = leave(fd, (Leaving)_i);
        turn(bench->event);
        ck_assert_uint_eq(held_n(bench->held), 1);
        if (left_fd >= 0)
                expect_then_end(bench->event, left_fd, "", 0);
        held_poke_all(bench->held);
        ck_assert_str_eq(turns(bench), "a/0 ");
        ck_assert_uint_eq(conns_n(bench->conns), 1);
        close(other_fd);
        bench_free(bench);
}
END_TEST

/* His turn and his leaving come at once: whichever the loop sees first, he is gone afterwards, once. */
START_TEST(test_one_who_leaves_at_his_turn_is_gone) {
        Bench *bench = bench_new();
        int fd, other_fd;

        bench->answered = "*";
        bench->closes = _i;
        fd = come(bench, "a");
        other_fd = come(bench, "b");
        held_poke_all(bench->held);
        close(fd);
        turn(bench->event);
        ck_assert_uint_eq(held_n(bench->held), 0);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        close(other_fd);
        bench_free(bench);
}
END_TEST

/* --- bounds ------------------------------------------------------------------------------------------------- */

START_TEST(test_so_many_of_one_user_wait_for_one_name_and_no_more) {
        Bench *bench = bench_new();
        int fds[HELD_PER_NAME_MAX + 2], fd;

        for (size_t i = 0; i < HELD_PER_NAME_MAX; i++) {
                fds[i] = come(bench, "a");
                ck_assert_int_eq(bench->result, 0);
        }
        expect_then_end(bench->event, come(bench, "a"), "no", 2);
        ck_assert_int_eq(bench->result, -EBUSY);
        fds[HELD_PER_NAME_MAX] = come(bench, "b");
        ck_assert_int_eq(bench->result, 0);
        fd = fds[3];
        close(fd);
        turn(bench->event);
        fds[3] = come(bench, "a");
        ck_assert_int_eq(bench->result, 0);
        fds[HELD_PER_NAME_MAX + 1] = come(bench, "c");
        ck_assert_uint_eq(held_n(bench->held), HELD_PER_NAME_MAX + 2);
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* P6: neither for the name that he wants, nor for any. */
START_TEST(test_the_crowd_of_one_user_keeps_no_other_from_waiting) {
        Bench *bench = bench_new();
        static int fds[HELD_PER_UID_MAX + 2];
        char name[16];
        size_t i;

        for (i = 0; i < HELD_PER_UID_MAX; i++) {
                snprintf(name, sizeof name, "n%zu", i / HELD_PER_NAME_MAX);
                fds[i] = come(bench, name);
                ck_assert_int_eq(bench->result, 0);
        }
        expect_then_end(bench->event, come(bench, "other"), "no", 2);
        ck_assert_int_eq(bench->result, -EBUSY);
        bench->uid = 1000;
        fds[i++] = come(bench, "n0");
        ck_assert_int_eq(bench->result, 0);
        fds[i++] = come(bench, "other");
        ck_assert_int_eq(bench->result, 0);
        while (i-- > 0)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_so_many_wait_in_all_and_no_more) {
        Bench *bench = bench_new();
        static int fds[HELD_MAX];
        char name[16];

        for (size_t i = 0; i < HELD_MAX; i++) {
                snprintf(name, sizeof name, "n%zu", i);
                bench->uid = (uid_t)(i / HELD_PER_UID_MAX);
                fds[i] = come(bench, name);
                ck_assert_int_eq(bench->result, 0);
        }
        bench->uid = 99;
        expect_then_end(bench->event, come(bench, "other"), "no", 2);
        ck_assert_int_eq(bench->result, -EBUSY);
        bench->answered = "*";
        held_poke_all(bench->held);
        turn(bench->event);
        ck_assert_uint_eq(held_n(bench->held), 0);
        for (size_t i = 0; i < HELD_MAX; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_those_who_still_wait_at_the_end_are_left_to_their_connections) {
        Bench *bench = bench_new();
        int fds[] = { come(bench, "a"), come(bench, "b") };

        held_poke_all(bench->held);
        bench_free(bench);
        for (size_t i = 0; i < ELEMENTS(fds); i++) {
                Heard heard = { 0 };

                ck_assert(hear(fds[i], &heard));
                ck_assert_uint_eq(heard.n_data, 0);
                heard_done(&heard);
                close(fds[i]);
        }
        ck_assert_ptr_null(held_free(NULL));
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("held");
        TCase *tcase = tcase_create("turns");

        tcase_add_test(tcase, test_who_waits_hears_nothing_until_something_happens);
        tcase_add_test(tcase, test_what_happens_to_a_name_concerns_those_who_want_it);
        tcase_add_test(tcase, test_turns_come_in_the_order_in_which_they_came);
        tcase_add_loop_test(tcase, test_who_is_answered_waits_no_more, 0, 2);
        tcase_add_test(tcase, test_what_he_announced_is_there_at_his_turn);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("time");
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_whose_time_is_up_has_a_turn);
        tcase_add_test(tcase, test_who_is_told_to_wait_on_waits_as_long_as_he_is_told);
        tcase_add_test(tcase, test_waiting_costs_nothing);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("leaving");
        tcase_add_loop_test(tcase, test_who_leaves_frees_his_place, 0, _LEAVING_N);
        tcase_add_loop_test(tcase, test_one_who_leaves_at_his_turn_is_gone, 0, 2);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("bounds");
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_so_many_of_one_user_wait_for_one_name_and_no_more);
        tcase_add_test(tcase, test_the_crowd_of_one_user_keeps_no_other_from_waiting);
        tcase_add_test(tcase, test_so_many_wait_in_all_and_no_more);
        tcase_add_test(tcase, test_those_who_still_wait_at_the_end_are_left_to_their_connections);
        suite_add_tcase(suite, tcase);
        return suite;
}
