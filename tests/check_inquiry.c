/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

static Desk *make_desk(void) {
        disk_install();
        disk_match = "registry.db";
        return desk_new(&(DeskOptions){ .file = desk_file() });
}

/* One that has been there and is gone, and is written. */
static void pass_by(Desk *desk, const char *name, uint16_t port) {
        close(registered(desk, name, port));
        ck_assert(RUN_UNTIL(desk->event, !desk_find(desk, name) && is_written(desk), LONG_USEC));
}

/* CURSOR of the MORE record, or NULL. */
static const char *find_cursor(const char *answer) {
        static char cursor[32];
        const char *more = strstr(answer, "more cursor=");

        if (!more || sscanf(more, "more cursor=%31[0-9]", cursor) != 1)
                return NULL;
        return cursor;
}

/* --- why: who has it ---------------------------------------------------------------------------------------------- */

START_TEST(test_who_holds_a_name_and_by_which_evidence) {
        static const struct {
                bool listens, blind;
                const char *evidence;
        } cases[] = {
                { true, false, "evidence=connection evidence=listener" },
                { false, false, "evidence=connection \n" },
                { true, true, "evidence=connection \n" },
        };
        Desk *desk = desk_new(&(DeskOptions){ .blind = cases[_i].blind });
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", cases[_i].listens ? port_of(listener_fd) : 1);
        _cleanup_(freep) char *answer = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));

        ck_assert_says(answer, "node name=a state=up source=connection ", cases[_i].evidence, "\nend");
        ck_assert_uint_eq(n_records(answer, "node"), 1);
        ck_assert_uint_eq(n_records(answer, "tenure") + n_records(answer, "refusal"), 0);
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_who_has_gone_this_moment_does_not_live_by_his_connection) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener_fd));
        Node *node = desk_find(desk, "a");

        shutdown(listener_fd, SHUT_RD); /* nothing is announced of that */
        ck_assert_ptr_nonnull(node->connection);
        {
                _cleanup_(freep) char *answer = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));

                ck_assert_says(answer, "evidence=connection \n");
        }
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_who_is_awaited_lives_by_his_listener_or_by_grace) {
        Desk *desk = make_desk();
        int listener_fd = listen_on("127.0.0.1");
        int fds[] = { registered(desk, "a", port_of(listener_fd)), registered(desk, "b", 1) };
        _cleanup_(freep) char *a = NULL, *b = NULL;

        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(result_of(desk, fds[i]), 0);
        desk_restart(desk);
        a = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        b = ask_words(desk, CONTROL_WHY, WORDS("name", "b"));
        ck_assert_says(a, "state=awaited source=connection", "awaited=1 ", "evidence=listener \n");
        ck_assert_says(b, "state=awaited source=connection", "awaited=1 ", "evidence=grace \n");
        close(listener_fd);
        close(fds[0]);
        close(fds[1]);
        desk_free(desk);
}
END_TEST

START_TEST(test_all_who_have_a_name_are_told_or_the_one_at_an_address) {
        Desk *desk = desk_new(NULL);
        int listener_fds[] = { listen_on("127.0.0.1"), listen_on("127.0.0.2") }, fds[2];
        _cleanup_(freep) char *all = NULL, *one = NULL, *none = NULL;

        for (int i = 0; i < 2; i++)
                fds[i] = registered(desk, "a", port_of(listener_fds[i]));
        all = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        ck_assert_uint_eq(n_records(all, "node"), 2);
        one = ask_words(desk, CONTROL_WHY, WORDS("name", "a", "scope", "127.0.0.2"));
        ck_assert_uint_eq(n_records(one, "node"), 1);
        ck_assert_says(one, "scope=127.0.0.2", "listens=127.0.0.2");
        none = ask_words(desk, CONTROL_WHY, WORDS("name", "a", "scope", "::1"));
        ck_assert_str_eq(none, "end \n");
        for (int i = 0; i < 2; i++) {
                close(fds[i]);
                close(listener_fds[i]);
        }
        desk_free(desk);
}
END_TEST

/* --- why: who was refused it, who had it ---------------------------------------------------------------------------- */

START_TEST(test_who_was_refused_and_who_had_it_last_are_remembered_across_a_restart) {
        Desk *desk = make_desk();
        int fd = registered(desk, "a", 1), other_fd;

        live_in(desk_find(desk, "a"), "x.service");
        other_fd = newcomer(desk, "a", 2);
        systemd_tells("x.service");
        ck_assert_int_eq(result_of(desk, other_fd), 1);
        close(other_fd);
        close(fd);
        ck_assert(RUN_UNTIL(desk->event, !desk_find(desk, "a") && is_written(desk), LONG_USEC));
        for (int i = 0; i < 2; i++) {
                _cleanup_(freep) char *answer = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));

                ck_assert_uint_eq(n_records(answer, "node"), 0);
                ck_assert_uint_eq(n_records(answer, "refusal"), 1);
                ck_assert_uint_eq(n_records(answer, "tenure"), 1);
                ck_assert_says(answer, "reason=name-taken port=2", "unit=x.service", "how=left");
                if (i == 0)
                        desk_restart(desk);
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_of_a_name_nobody_has_had_nothing_is_told) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *answer = ask_words(desk, CONTROL_WHY, WORDS("name", "b"));

        ck_assert_str_eq(answer, "end \n");
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_why_wants_a_name) {
        Desk *desk = desk_new(NULL);
        _cleanup_(freep) char *none = ask_words(desk, CONTROL_WHY, WORDS("scope", "::1"));
        _cleanup_(freep) char *bad = ask_words(desk, CONTROL_WHY, WORDS("name", "\n"));

        ck_assert_says(none, "error error=1 text=The request names no node.");
        ck_assert_says(bad, "error error=1 text=That cannot be the name of a node.");
        desk_free(desk);
}
END_TEST

/* --- history ---------------------------------------------------------------------------------------------------------- */

START_TEST(test_history_tells_who_is_there_and_who_was_newest_first) {
        Desk *desk = make_desk();
        int fd;
        _cleanup_(freep) char *all = NULL, *of_a = NULL, *of_c = NULL;
        const char *first, *second;

        pass_by(desk, "a", 1);
        pass_by(desk, "b", 2);
        pass_by(desk, "a", 3);
        fd = registered(desk, "a", 4);
        all = ask_words(desk, CONTROL_HISTORY, WORDS(NULL));
        ck_assert_uint_eq(n_records(all, "node"), 1);
        ck_assert_uint_eq(n_records(all, "tenure"), 3);
        ck_assert_uint_eq(n_records(all, "more"), 0);
        ck_assert_mem_eq(all, "node name=a ", 12);
        first = strstr(all, "port=3 ");
        second = strstr(all, "port=2 ");
        ck_assert(first && second && first < second && second < strstr(all, "port=1 "));
        of_a = ask_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        ck_assert_uint_eq(n_records(of_a, "node"), 1);
        ck_assert_uint_eq(n_records(of_a, "tenure"), 2);
        ck_assert_ptr_null(strstr(of_a, "name=b"));
        of_c = ask_words(desk, CONTROL_HISTORY, WORDS("name", "c"));
        ck_assert_str_eq(of_c, "end \n");
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_what_ended_in_the_future_is_told) {
        Desk *desk = make_desk();
        _cleanup_(freep) char *answer = NULL;
        int fd;

        pass_by(desk, "a", 1);
        fd = registered(desk, "a", 2);
        ck_assert(RUN_UNTIL(desk->event, is_written(desk), LONG_USEC));
        /* the clock has been set back by a day since */
        change(desk->options.file, "UPDATE tenures SET since_usec = since_usec + 86400000000, "
                                   "until_usec = until_usec + 86400000000");
        answer = ask_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        ck_assert_says(answer, "node name=a", "tenure name=a", "\nend");
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_who_leaves_while_the_past_is_read_is_told_of_once) {
        Desk *desk = make_desk();
        int fd = registered(desk, "a", 1), ask_fd;
        Tenure tenures[] = { { .id = 1, .node = node_copy(desk_find(desk, "a")), .how = strdup("left") },
                             { .id = 2, .node = node_copy(desk_find(desk, "a")), .how = strdup("left") } };
        StoreAnswer in_time = { .query = 1, .tenures = tenures, .n_tenures = 2 };
        _cleanup_(freep) char *answer = NULL;

        tenures[1].node->serial++; /* another one */
        hang_the_disk(desk);
        ask_fd = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        turn(desk->event);
        inquiry_on_answer(desk->inquiry, &in_time);
        answer = hear_words(desk, ask_fd);
        ck_assert_uint_eq(n_records(answer, "node"), 1);
        ck_assert_uint_eq(n_records(answer, "tenure"), 1);
        disk_hang(0);
        for (int i = 0; i < 2; i++) {
                node_free(tenures[i].node);
                free(tenures[i].how);
        }
        close(fd);
        desk_free(desk);
}
END_TEST

static void number(char text[32], uint64_t value) {
        snprintf(text, 32, "%llu", (unsigned long long)value);
}

START_TEST(test_history_and_at_are_bounded_by_times) {
        Desk *desk = make_desk();
        uint64_t since, until, later_since;
        char text[32], other[32];
        int fd;

        pass_by(desk, "a", 1);
        since = registry_find_former(desk->registry, "a", 1)->since_usec;
        until = registry_find_former(desk->registry, "a", 1)->until_usec;
        fd = registered(desk, "b", 2);
        later_since = desk_find(desk, "b")->since_usec;
        ck_assert_uint_lt(until, later_since);

#define CHECK_HISTORY(from, to, n_living, n_ended)                                                         \
        do {                                                                                               \
                _cleanup_(freep) char *answer_ = NULL;                                                     \
                number(text, (from));                                                                      \
                number(other, (to));                                                                       \
                answer_ = ask_words(desk, CONTROL_HISTORY, WORDS("since", text, "until", other));          \
                ck_assert_msg(n_records(answer_, "node") == (n_living), "%s", answer_);                    \
                ck_assert_msg(n_records(answer_, "tenure") == (n_ended), "%s", answer_);                   \
        } while (0)

        CHECK_HISTORY(0, UINT64_MAX, 1, 1);
        CHECK_HISTORY(0, since - 1, 0, 0);
        CHECK_HISTORY(0, since, 0, 1);
        CHECK_HISTORY(until, until, 0, 1);
        CHECK_HISTORY(until + 1, later_since - 1, 0, 0);
        CHECK_HISTORY(until + 1, later_since, 1, 0);
        CHECK_HISTORY(since, later_since, 1, 1);

#define CHECK_AT(when, n_living, n_ended)                                                                  \
        do {                                                                                               \
                _cleanup_(freep) char *answer_ = NULL;                                                     \
                number(text, (when));                                                                      \
                answer_ = ask_words(desk, CONTROL_AT, WORDS("at", text));                                  \
                ck_assert_msg(n_records(answer_, "node") == (n_living), "%s", answer_);                    \
                ck_assert_msg(n_records(answer_, "tenure") == (n_ended), "%s", answer_);                   \
        } while (0)

        CHECK_AT(0, 0, 0);
        CHECK_AT(since - 1, 0, 0);
        CHECK_AT(since, 0, 1);
        CHECK_AT(until, 0, 1);
        CHECK_AT(later_since, 1, 0);
        CHECK_AT(UINT64_MAX, 1, 0);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_at_wants_a_time) {
        Desk *desk = make_desk();
        _cleanup_(freep) char *answer = ask_words(desk, CONTROL_AT, WORDS("name", "a"));

        ck_assert_says(answer, "error error=1 text=The request says no time.");
        desk_free(desk);
}
END_TEST

START_TEST(test_a_history_that_ends_before_it_begins_is_none) {
        Desk *desk = make_desk();
        _cleanup_(freep) char *moment = NULL, *none = NULL;

        pass_by(desk, "a", 1);
        moment = ask_words(desk, CONTROL_HISTORY, WORDS("since", "10", "until", "10"));
        ck_assert_says(moment, "end ");
        none = ask_words(desk, CONTROL_HISTORY, WORDS("since", "11", "until", "10"));
        ck_assert_str_eq(none, "error error=1 text=That time ends before it begins. \n");
        desk_free(desk);
}
END_TEST

/* As PROTOCOL.md has it for every field. */
START_TEST(test_of_a_time_that_is_said_twice_the_last_one_counts) {
        Desk *desk = make_desk();
        _cleanup_(freep) char *history = NULL, *at = NULL;
        char now[32];

        pass_by(desk, "a", 1);
        history = ask_words(desk, CONTROL_HISTORY, WORDS("until", "1", "until", "18446744073709551615"));
        ck_assert_uint_eq(n_records(history, "tenure"), 1);
        number(now, registry_find_former(desk->registry, "a", 1)->since_usec);
        at = ask_words(desk, CONTROL_AT, WORDS("at", "1", "at", now));
        ck_assert_uint_eq(n_records(at, "tenure"), 1);
        desk_free(desk);
}
END_TEST

START_TEST(test_more_than_fits_one_answer_is_asked_for_by_its_cursor) {
        Desk *desk = make_desk();
        unsigned n = 0, n_answers = 0, last_port = 1000000;
        char cursor[32] = "";
        int fd;

        for (uint16_t i = 1; i <= STORE_ANSWER_MAX + 2; i++) {
                close(registered(desk, "a", i));
                turn(desk->event);
        }
        fd = registered(desk, "a", 9999);
        do {
                _cleanup_(freep) char *answer = ask_words(desk, CONTROL_HISTORY,
                                                          cursor[0] ? WORDS("name", "a", "cursor", cursor)
                                                                    : WORDS("name", "a"));

                /* those who are there come once, first */
                ck_assert_uint_eq(n_records(answer, "node"), n_answers == 0);
                for (const char *line = strstr(answer, "tenure "); line; line = strstr(line + 1, "tenure ")) {
                        unsigned port;

                        ck_assert_int_eq(sscanf(strstr(line, " port="), " port=%u", &port), 1);
                        ck_assert_uint_lt(port, last_port);
                        last_port = port;
                        n++;
                }
                snprintf(cursor, sizeof cursor, "%s", find_cursor(answer) ? find_cursor(answer) : "");
                n_answers++;
        } while (cursor[0]);
        ck_assert_uint_eq(n, STORE_ANSWER_MAX + 2);
        ck_assert_uint_ge(n_answers, 2);
        close(fd);
        desk_free(desk);
}
END_TEST

/* --- without a file, or with one that does not answer --------------------------------------------------------------- */

START_TEST(test_where_nothing_is_kept_the_past_cannot_be_had) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *history = ask_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        _cleanup_(freep) char *at = ask_words(desk, CONTROL_AT, WORDS("at", "1"));
        _cleanup_(freep) char *why = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));

        ck_assert_says(history, "error error=9 ");
        ck_assert_says(at, "error error=9 ");
        ck_assert_says(why, "node name=a");
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_disk_that_hangs_is_waited_for_no_longer_than_the_patience) {
        Desk *desk = make_desk();
        int fd = registered(desk, "a", 1), fds[3];
        uint64_t began;

        hang_the_disk(desk);
        began = test_now();
        fds[0] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        fds[1] = begin_words(desk, CONTROL_AT, WORDS("at", "1"));
        run_for(desk->event, USEC_PER_SEC);
        fds[2] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        turn(desk->event);
        for (int i = 0; i < 3; i++) {
                _cleanup_(freep) char *answer = hear_words(desk, fds[i]);

                ck_assert_says(answer, "error error=9 ");
                ck_assert_uint_lt(test_now() - began, INQUIRY_PATIENCE_USEC + 3 * USEC_PER_SEC);
        }
        /* why is answered from memory, at once */
        began = test_now();
        {
                _cleanup_(freep) char *why = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));

                ck_assert_says(why, "node name=a");
                ck_assert_uint_lt(test_now() - began, USEC_PER_SEC);
        }
        disk_hang(0);
        /* what was asked then is not answered to anybody else */
        ck_assert(RUN_UNTIL(desk->event, store_health(desk->store) == STORE_OK && is_written(desk), LONG_USEC));
        run_for(desk->event, 200 * USEC_PER_MSEC);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_who_leaves_is_forgotten_and_nobody_else_has_his_answer) {
        Desk *desk = make_desk();
        int fds[4];
        _cleanup_(freep) char *answer = NULL, *other = NULL;

        pass_by(desk, "a", 1);
        pass_by(desk, "b", 2);
        fds[0] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        fds[1] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "b"));
        fds[2] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        fds[3] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "b"));
        if (_i)
                ck_assert_int_ge(sd_event_run(desk->event, LONG_USEC), 0); /* asked already, perhaps */
        close(fds[0]);
        if (_i == 2)
                say(fds[1], "x", 1);
        else
                close(TAKE_FD(fds[1]));
        answer = hear_words(desk, fds[2]);
        other = hear_words(desk, fds[3]);
        ck_assert_uint_eq(n_records(answer, "tenure"), 1);
        ck_assert_says(answer, "tenure name=a");
        ck_assert_uint_eq(n_records(other, "tenure"), 1);
        ck_assert_says(other, "tenure name=b");
        if (fds[1] >= 0)
                close(fds[1]);
        ck_assert(RUN_UNTIL(desk->event, conns_n(desk->conns) == 0, LONG_USEC));
        desk_free(desk);
}
END_TEST

START_TEST(test_so_many_may_wait_for_the_disk_and_no_more) {
        Desk *desk = make_desk();
        int fd = registered(desk, "a", 1), fds[STORE_QUERIES_MAX / 2]; /* of one user */
        _cleanup_(freep) char *answer = NULL;

        hang_the_disk(desk);
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                fds[i] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        turn(desk->event);
        answer = ask_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        ck_assert_says(answer, "error error=5 text=Too many wait for the registry file already.");
        close(fds[7]);
        turn(desk->event);
        fds[7] = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        expect_silence(desk->event, fds[7]);
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        turn(desk->event);
        disk_hang(0);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_who_waits_at_the_end_is_closed) {
        Desk *desk = make_desk();
        int fd = registered(desk, "a", 1), asker_fd;

        hang_the_disk(desk);
        asker_fd = begin_words(desk, CONTROL_HISTORY, WORDS("name", "a"));
        turn(desk->event);
        disk_hang(0);
        desk_free(desk);
        ck_assert(is_hung_up(asker_fd));
        close(asker_fd);
        close(fd);
}
END_TEST

/* --- the desk --------------------------------------------------------------------------------------------------------- */

START_TEST(test_a_request_that_nobody_knows_is_answered_in_words) {
        Desk *desk = desk_new(NULL);
        _cleanup_(freep) char *unknown = ask_words(desk, (ControlKind)63, WORDS(NULL));
        _cleanup_(freep) char *record = ask_words(desk, CONTROL_NODE_RECORD, WORDS(NULL));

        ck_assert_says(unknown, "error error=3 ");
        ck_assert_says(record, "error error=3 ");
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("inquiry");
        TCase *tcase = tcase_create("why");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_who_holds_a_name_and_by_which_evidence, 0, 3);
        tcase_add_test(tcase, test_one_who_has_gone_this_moment_does_not_live_by_his_connection);
        tcase_add_test(tcase, test_one_who_is_awaited_lives_by_his_listener_or_by_grace);
        tcase_add_test(tcase, test_all_who_have_a_name_are_told_or_the_one_at_an_address);
        tcase_add_test(tcase, test_who_was_refused_and_who_had_it_last_are_remembered_across_a_restart);
        tcase_add_test(tcase, test_of_a_name_nobody_has_had_nothing_is_told);
        tcase_add_test(tcase, test_why_wants_a_name);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("history");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_history_tells_who_is_there_and_who_was_newest_first);
        tcase_add_test(tcase, test_what_ended_in_the_future_is_told);
        tcase_add_test(tcase, test_who_leaves_while_the_past_is_read_is_told_of_once);
        tcase_add_test(tcase, test_history_and_at_are_bounded_by_times);
        tcase_add_test(tcase, test_at_wants_a_time);
        tcase_add_test(tcase, test_a_history_that_ends_before_it_begins_is_none);
        tcase_add_test(tcase, test_of_a_time_that_is_said_twice_the_last_one_counts);
        tcase_add_test(tcase, test_more_than_fits_one_answer_is_asked_for_by_its_cursor);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("disk");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_where_nothing_is_kept_the_past_cannot_be_had);
        tcase_add_test(tcase, test_a_disk_that_hangs_is_waited_for_no_longer_than_the_patience);
        tcase_add_loop_test(tcase, test_who_leaves_is_forgotten_and_nobody_else_has_his_answer, 0, 3);
        tcase_add_test(tcase, test_so_many_may_wait_for_the_disk_and_no_more);
        tcase_add_test(tcase, test_who_waits_at_the_end_is_closed);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("desk");
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_request_that_nobody_knows_is_answered_in_words);
        suite_add_tcase(suite, tcase);
        return suite;
}
