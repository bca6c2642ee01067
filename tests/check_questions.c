/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "state/questions.h"

static Questions questions;

static void set_up(void) {
        questions = (Questions){ .waiting = NULL };
}

static void tear_down(void) {
        questions_done(&questions);
}

/* One that `after` changes come before. */
static uint64_t ask(uint64_t after) {
        StoreQuery query = { .name = "ab", .n_name = 1, .n_max = 10 };
        uint64_t number = 0;

        ck_assert_int_eq(questions_ask(&questions, &query, after, &number), 0);
        ck_assert_uint_ne(number, 0);
        return number;
}

static Question *take(uint64_t n_done, uint64_t expected) {
        Question *question = questions_take_next(&questions, n_done);

        ck_assert_ptr_nonnull(question);
        ck_assert_uint_eq(question->answer->query, expected);
        return question;
}

static void assert_answer(uint64_t number, int error) {
        StoreAnswer *answer = questions_take_answer(&questions);

        ck_assert_ptr_nonnull(answer);
        ck_assert_uint_eq(answer->query, number);
        ck_assert_int_eq(answer->error, error);
        store_answer_free(answer);
}

static void assert_no_answer(void) {
        ck_assert_ptr_null(questions_take_answer(&questions));
}

START_TEST(test_questions_are_answered_in_their_order_once_the_changes_before_them_are_done) {
        uint64_t first = ask(3), second = ask(5), third = ask(5);

        ck_assert(!questions_has_next(&questions, 2));
        ck_assert_ptr_null(questions_take_next(&questions, 2));
        ck_assert(questions_has_next(&questions, 3));
        ck_assert(questions_answer(&questions, take(3, first)));
        ck_assert(!questions_has_next(&questions, 4));
        ck_assert(questions_answer(&questions, take(9, second)));
        ck_assert(questions_answer(&questions, take(9, third)));
        ck_assert(!questions_has_next(&questions, 9));
        assert_answer(first, 0);
        assert_answer(second, 0);
        assert_answer(third, 0);
        assert_no_answer();
        ck_assert_uint_eq(questions.n_questions, 0);
}
END_TEST

START_TEST(test_what_is_asked_is_copied) {
        char name[] = "web";
        StoreQuery query = { .name = name, .n_name = 2, .from_usec = 1, .to_usec = 2, .cursor = 3, .n_max = 4 };
        Question *question;
        uint64_t number;

        ck_assert_int_eq(questions_ask(&questions, &query, 0, &number), 0);
        memset(name, 'x', sizeof name);
        question = take(0, number);
        ck_assert_uint_eq(question->query.n_name, 2);
        ck_assert_mem_eq(question->query.name, "we", 2);
        ck_assert_uint_eq(question->query.from_usec, 1);
        ck_assert_uint_eq(question->query.to_usec, 2);
        ck_assert_uint_eq(question->query.cursor, 3);
        ck_assert_uint_eq(question->query.n_max, 4);
        questions_answer(&questions, question);
}
END_TEST

START_TEST(test_an_answer_that_nobody_waits_for_is_dropped_wherever_it_is) {
        uint64_t waiting = ask(0), other = ask(0), answering, answered;

        questions_cancel(&questions, waiting);
        answering = other;
        {
                Question *question = take(0, answering);

                questions_cancel(&questions, answering);
                ck_assert_uint_eq(questions.n_questions, 1); /* it still costs something */
                ck_assert(!questions_answer(&questions, question));
        }
        answered = ask(0);
        questions_answer(&questions, take(0, answered));
        questions_cancel(&questions, answered);
        assert_no_answer();
        questions_cancel(&questions, answered);
        questions_cancel(&questions, 0);
        questions_cancel(&questions, 4711);
        ck_assert_uint_eq(questions.n_questions, 0);
        ck_assert_uint_ne(ask(0), answered);
}
END_TEST

START_TEST(test_an_order_waits_its_turn_and_is_copied) {
        char name[] = "web";
        StoreOrder order = { .kind = STORE_ADD_PIN, .entry = { .name = name, .n_name = 3, .port = 9100 } };
        uint64_t first = ask(0), number;
        Question *question;

        ck_assert_int_eq(questions_order(&questions, &order, 3, &number), 0);
        memset(name, 'x', 3);
        question = take(0, first);
        ck_assert(!question->is_order);
        questions_answer(&questions, question);
        ck_assert(!questions_has_next(&questions, 2));
        question = take(3, number);
        ck_assert(question->is_order);
        ck_assert_int_eq(question->order.kind, STORE_ADD_PIN);
        ck_assert_str_eq(question->order.entry.name, "web");
        question->answer->error = -EIO;
        questions_answer(&questions, question);
        assert_answer(first, 0);
        assert_answer(number, -EIO);
}
END_TEST

START_TEST(test_all_that_wait_can_be_refused) {
        uint64_t first = ask(0), second = ask(0), third = ask(9);
        Question *question = take(0, first);

        ck_assert(questions_refuse_all(&questions, -ENODATA));
        ck_assert(!questions_refuse_all(&questions, -ENODATA));
        ck_assert(!questions_has_next(&questions, 99));
        questions_answer(&questions, question);
        assert_answer(second, -ENODATA);
        assert_answer(third, -ENODATA);
        assert_answer(first, 0);
        assert_no_answer();
}
END_TEST

START_TEST(test_questions_are_bounded_with_those_whose_answers_nobody_fetches) {
        StoreQuery query = { .n_max = 1 };
        uint64_t number;

        for (size_t i = 0; i < STORE_QUERIES_MAX; i++)
                ask(0);
        questions_answer(&questions, take(0, 1));
        (void)take(0, 2);
        ck_assert_int_eq(questions_ask(&questions, &query, 0, &number), -EBUSY);
        assert_answer(1, 0);
        ck_assert_int_eq(questions_ask(&questions, &query, 0, &number), 0);
        ck_assert_int_eq(questions_ask(&questions, &query, 0, &number), -EBUSY);
        questions_cancel(&questions, 3);
        ck_assert_int_eq(questions_ask(&questions, &query, 0, &number), 0);
        /* The fixture frees what is left, in each of its places. */
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("questions");
        TCase *tcase = tcase_create("questions");

        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_questions_are_answered_in_their_order_once_the_changes_before_them_are_done);
        tcase_add_test(tcase, test_what_is_asked_is_copied);
        tcase_add_test(tcase, test_an_answer_that_nobody_waits_for_is_dropped_wherever_it_is);
        tcase_add_test(tcase, test_an_order_waits_its_turn_and_is_copied);
        tcase_add_test(tcase, test_all_that_wait_can_be_refused);
        tcase_add_test(tcase, test_questions_are_bounded_with_those_whose_answers_nobody_fetches);
        suite_add_tcase(suite, tcase);
        return suite;
}
