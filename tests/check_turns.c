/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "core/turns.h"
#include "util.h"

/* A letter waits: of the user of that letter, '?' of nobody knows whom. '-' is a turn, '!' the oldest leaves. */
static const struct {
        const char *what, *happens, *takes;
} scenes[] = {
        { "nobody", "--", "" },
        { "one after the other", "aaa---", "aaa" },
        { "one of each in turn", "aaaabbc-------", "abcabaa" },
        { "who comes late comes soon", "aaaaaa--b---", "aabaa" },
        { "who is not known has a turn, too", "????a----", "?a??" },
        { "who has left has none", "aab!---", "ab" },
        { "again", "a-a-b-a-", "aaba" },
};

START_TEST(test_whose_turn_it_is) {
        Turns turns = { .n_waiting = 0 };
        Turn all[32] = { { 0 } };
        char letters[32], taken[32] = "";
        size_t n = 0, n_taken = 0;

        for (const char *c = scenes[_i].happens; *c; c++) {
                Turn *turn;

                if (*c == '-') {
                        turn = turns_take(&turns);
                        if (turn)
                                taken[n_taken++] = letters[turn - all];
                        continue;
                }
                if (*c == '!') {
                        turns_leave(&turns, all);
                        turns_leave(&turns, all);
                        continue;
                }
                letters[n] = *c;
                if (*c == '?')
                        turns_wait(&turns, all + n++, NULL);
                else
                        turns_wait(&turns, all + n++, &(Party){ .uid = (uid_t)*c });
        }
        ck_assert_msg(strncmp(taken, scenes[_i].takes, strlen(scenes[_i].takes)) == 0, "%s: %s", scenes[_i].what, taken);
        while (turns_take(&turns))
                ;
        ck_assert_uint_eq(turns.n_waiting, 0);
}
END_TEST

/* More parties than there are queues: the rest share one, and nobody is forgotten. */
START_TEST(test_everybody_has_a_turn_however_many_there_are) {
        enum { N_PARTIES = 3 * TURNS_QUEUES_MAX, N_EACH = 3 };
        static Turn all[N_PARTIES * N_EACH];
        Turns turns = { .n_waiting = 0 };
        unsigned n_taken[N_PARTIES] = { 0 };

        for (size_t i = 0; i < ELEMENTS(all); i++)
                turns_wait(&turns, all + i, &(Party){ .uid = (uid_t)(i % N_PARTIES) });
        ck_assert_uint_eq(turns.n_waiting, ELEMENTS(all));
        for (size_t i = 0; i < ELEMENTS(all); i++) {
                Turn *turn = turns_take(&turns);
                size_t party = (size_t)(turn - all) % N_PARTIES;

                ck_assert_ptr_nonnull(turn);
                ck_assert_ptr_null(turn->queue);
                /* oldest first, each */
                ck_assert_uint_eq((size_t)(turn - all) / N_PARTIES, n_taken[party]++);
                /* whoever has a queue of his own is done after as many rounds as he has requests; half of each is of those who share */
                if (party < TURNS_QUEUES_MAX)
                        ck_assert_uint_lt(i, (N_EACH + 1) * 2 * TURNS_QUEUES_MAX);
        }
        ck_assert_ptr_null(turns_take(&turns));
}
END_TEST

/* Each of a thousand has one request that waits, and sends the next when it is served. Somebody who comes then is served
 * after about as many as were there. */
START_TEST(test_who_has_no_queue_of_his_own_waits_for_few_more_than_are_before_him) {
        enum { N = 1000 };
        static Turn all[N], late;
        Turns turns = { .n_waiting = 0 };
        Turn *turn;
        size_t n = 0;

        for (size_t i = 0; i < N; i++)
                turns_wait(&turns, all + i, &(Party){ .uid = (uid_t)i });
        turns_wait(&turns, &late, &(Party){ .uid = N });
        while ((turn = turns_take(&turns)) != &late) {
                turns_wait(&turns, turn, &(Party){ .uid = (uid_t)(turn - all) });
                ck_assert_uint_le(++n, 2 * N);
        }
}
END_TEST

/* A queue that is empty is another's. */
START_TEST(test_queues_are_used_again) {
        Turns turns = { .n_waiting = 0 };

        for (uid_t uid = 0; uid < 10 * TURNS_QUEUES_MAX; uid++) {
                Turn turn = { .queue = NULL };

                turns_wait(&turns, &turn, &(Party){ .uid = uid });
                ck_assert_ptr_ne(turn.queue, turns.queues);
                ck_assert_ptr_eq(turns_take(&turns), &turn);
        }
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("turns");
        TCase *tcase = tcase_create("turns");

        tcase_add_loop_test(tcase, test_whose_turn_it_is, 0, ELEMENTS(scenes));
        tcase_add_test(tcase, test_everybody_has_a_turn_however_many_there_are);
        tcase_add_test(tcase, test_who_has_no_queue_of_his_own_waits_for_few_more_than_are_before_him);
        tcase_add_test(tcase, test_queues_are_used_again);
        suite_add_tcase(suite, tcase);
        return suite;
}
