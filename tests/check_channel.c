/* SPDX-License-Identifier: Apache-2.0 */

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check_main.h"
#include "state/channel.h"
#include "state_test.h"

/* Both sides in one thread: what is tested is what they agree on. */
static Channel *channel;
static Group group;
static Wake wake;

static void set_up(void) {
        ck_assert_int_eq(channel_new(&channel, "/var/lib/rollcall/registry.db"), 0);
        group = (Group){ .first = NULL };
        wake = (Wake){ .stop = false };
}

static void tear_down(void) {
        channel_drop_group(channel, &group);
        channel_unref(channel);
}

static Write *new_write(WriteKind kind, uint64_t revision) {
        Node *node = new_node("a", 1);
        Write *write = write_new(kind, revision, &node, kind == WRITE_CREATIONS ? 0 : 1);

        ck_assert_ptr_nonnull(write);
        node_free(node);
        return write;
}

static void submit(WriteKind kind, uint64_t revision) {
        ck_assert_int_eq(channel_submit(channel, new_write(kind, revision)), 0);
}

static void submit_creations(uint64_t revision, uint32_t reserved_until) {
        Write *write = new_write(WRITE_CREATIONS, revision);

        write->reserved_until = reserved_until;
        ck_assert_int_eq(channel_submit(channel, write), 0);
}

/* The thread takes what there is and does not wait. */
static void gather(void) {
        channel_wait(channel, 0, true, &group, &wake);
}

static void commit(void) {
        gather();
        ck_assert_ptr_nonnull(group.first);
        channel_publish_commit(channel, &group, 0);
}

static void assert_committed(uint64_t revision) {
        ck_assert_uint_eq(channel_committed_revision(channel), revision);
}

static StoreStatus get_status(void) {
        StoreStatus status;

        channel_get_status(channel, &status);
        return status;
}

/* True if the loop has been woken since the last time. */
static bool is_awake(void) {
        eventfd_t count;

        return eventfd_read(channel_event_fd(channel), &count) == 0;
}

START_TEST(test_a_group_is_what_has_gathered_in_its_order) {
        submit(WRITE_PUT, 1);
        submit_creations(2, 4000);
        submit(WRITE_END, 3);
        gather();
        ck_assert_uint_eq(group.n_writes, 3);
        ck_assert_uint_eq(group.n_nodes, 2);
        ck_assert_uint_eq(group.revision, 3);
        ck_assert_uint_eq(group.reserved_until, 4000);
        ck_assert_int_eq(group.first->kind, WRITE_PUT);
        ck_assert_int_eq(group.first->next->kind, WRITE_CREATIONS);
        ck_assert_int_eq(group.first->next->next->kind, WRITE_END);
        ck_assert_ptr_null(group.first->next->next->next);
        assert_committed(0);
        ck_assert_uint_eq(get_status().n_queued, 3);
        ck_assert(!is_awake());

        channel_publish_commit(channel, &group, 0);
        ck_assert_ptr_null(group.first);
        assert_committed(3);
        ck_assert_uint_eq(get_status().n_queued, 0);
        ck_assert_uint_eq(get_status().n_commits, 1);
        ck_assert_uint_eq(get_status().n_changes, 2);
        ck_assert(is_awake());
}
END_TEST

static void *wait_for_changes(void *userdata) {
        atomic_int *tid = userdata;

        atomic_store(tid, gettid());
        channel_wait(channel, now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC, true, &group, &wake);
        return NULL;
}

static char state_of_thread(int tid) {
        char stat[64], state = 0;
        FILE *file;

        snprintf(stat, sizeof stat, "/proc/self/task/%d/stat", tid);
        file = fopen(stat, "re");
        if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
                state = 0;
        if (file)
                fclose(file);
        return state;
}

static bool has_ended_within_msec(pthread_t thread, long msec) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += msec * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        return pthread_timedjoin_np(thread, NULL, &until) == 0;
}

START_TEST(test_what_is_gathered_wakes_the_thread_when_it_is_let_go) {
        atomic_int tid = 0;
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_changes, &tid), 0);
        while (state_of_thread(atomic_load(&tid)) != 'S')
                sched_yield();
        channel_gather(channel);
        ck_assert(!channel_has_gathered(channel));
        submit(WRITE_PUT, 1);
        ck_assert(channel_has_gathered(channel));
        ck_assert(!has_ended_within_msec(thread, 50));
        submit(WRITE_PUT, 2);
        channel_let_go(channel);
        ck_assert(!channel_has_gathered(channel));
        ck_assert(has_ended_within_msec(thread, 20000));
        ck_assert_uint_eq(group.n_writes, 2);
}
END_TEST

START_TEST(test_creations_belong_to_no_revision) {
        submit(WRITE_PUT, 5);
        submit_creations(0, 4000);
        commit();
        assert_committed(5);
        submit_creations(0, 5000);
        commit();
        assert_committed(5);
}
END_TEST

START_TEST(test_what_comes_during_a_commit_is_the_next_group) {
        submit(WRITE_PUT, 1);
        gather();
        submit(WRITE_PUT, 2);
        gather(); /* the commit failed: the same group once more */
        ck_assert_uint_eq(group.n_writes, 1);
        channel_publish_commit(channel, &group, 0);
        assert_committed(1);
        commit();
        assert_committed(2);
}
END_TEST

START_TEST(test_groups_are_bounded_and_lose_nothing) {
        uint64_t n_groups = 0;

        for (uint64_t i = 1; i <= 12000; i++)
                submit(WRITE_PUT, i);
        for (gather(); group.first; gather(), n_groups++)
                channel_publish_commit(channel, &group, 0);
        ck_assert_uint_gt(n_groups, 1);
        ck_assert_uint_lt(n_groups, 20);
        ck_assert_uint_eq(get_status().n_changes, 12000);
        assert_committed(12000);
}
END_TEST

START_TEST(test_after_a_loss_nothing_is_committed_until_all_was_written_whole) {
        submit(WRITE_PUT, 1);
        commit();
        channel_publish_loss(channel);
        ck_assert(channel_wants_whole(channel));
        submit(WRITE_PUT, 2);
        commit();
        assert_committed(1);
        submit(WRITE_WHOLE, 2);
        ck_assert(!channel_wants_whole(channel));
        submit(WRITE_PUT, 3);
        commit();
        assert_committed(3);
}
END_TEST

START_TEST(test_a_whole_write_makes_good_only_what_was_lost_before_it) {
        channel_publish_loss(channel);
        submit(WRITE_WHOLE, 1);
        channel_publish_loss(channel); /* before it has reached the disk */
        ck_assert(channel_wants_whole(channel));
        commit();
        assert_committed(0);
        submit(WRITE_WHOLE, 2);
        commit();
        assert_committed(2);
}
END_TEST

START_TEST(test_a_change_without_memory_is_a_loss) {
        ck_assert_int_eq(channel_submit(channel, NULL), -ENOMEM);
        ck_assert(channel_wants_whole(channel));
        ck_assert_uint_eq(get_status().n_dropped, 1);
        ck_assert(is_awake());
        submit(WRITE_PUT, 2);
        commit();
        assert_committed(0);
        submit(WRITE_WHOLE, 2);
        commit();
        assert_committed(2);
}
END_TEST

START_TEST(test_a_full_queue_keeps_nothing_but_the_last_creations) {
        Write *whole = new_write(WRITE_WHOLE, 1);

        submit_creations(1, 4000);
        whole->reserved_until = 5000;
        ck_assert_int_eq(channel_submit(channel, whole), 0);
        for (uint64_t i = 2; i < STORE_QUEUE_MAX; i++)
                submit(WRITE_PUT, i);
        ck_assert(!channel_wants_whole(channel));
        ck_assert_uint_eq(get_status().n_queued, STORE_QUEUE_MAX);
        submit(WRITE_PUT, STORE_QUEUE_MAX);
        ck_assert(channel_wants_whole(channel));
        ck_assert_uint_eq(get_status().n_dropped, STORE_QUEUE_MAX - 1);
        gather();
        ck_assert_uint_eq(group.n_writes, 2);
        ck_assert_int_eq(group.first->kind, WRITE_CREATIONS);
        ck_assert_uint_eq(group.reserved_until, 5000);
        ck_assert(!group.has_whole);
}
END_TEST

START_TEST(test_what_there_is_no_memory_to_write_is_a_loss_but_for_the_last_creations) {
        submit(WRITE_PUT, 1);
        submit(WRITE_WHOLE, 1);
        gather();
        submit(WRITE_PUT, 2);
        submit_creations(2, 4000);
        channel_shed(channel, &group);
        ck_assert_ptr_null(group.first);
        ck_assert(is_awake());
        ck_assert(channel_wants_whole(channel));
        ck_assert_uint_eq(get_status().n_dropped, 3);
        gather();
        ck_assert_uint_eq(group.n_writes, 1);
        ck_assert_uint_eq(group.reserved_until, 4000);
        channel_publish_commit(channel, &group, 0);
        assert_committed(0);
        submit(WRITE_WHOLE, 2);
        commit();
        assert_committed(2);
}
END_TEST

START_TEST(test_what_was_loaded_is_taken_before_a_whole_write_is_asked_for) {
        StoreLoaded *loaded = calloc(1, sizeof *loaded);

        channel_publish_loaded(channel, loaded);
        channel_publish_loss(channel);
        ck_assert(!channel_wants_whole(channel));
        ck_assert_ptr_eq(channel_take_loaded(channel), loaded);
        ck_assert_ptr_null(channel_take_loaded(channel));
        ck_assert(channel_wants_whole(channel));
        store_loaded_free(loaded);
}
END_TEST

START_TEST(test_the_loop_is_reminded_of_a_loss_that_it_has_not_answered) {
        channel_remind(channel);
        ck_assert(!is_awake());
        channel_publish_loss(channel);
        ck_assert(is_awake());
        ck_assert(!is_awake());
        channel_remind(channel);
        ck_assert(is_awake());
        submit(WRITE_WHOLE, 1);
        channel_remind(channel);
        ck_assert(!is_awake());
}
END_TEST

START_TEST(test_the_first_health_that_applies_is_told) {
        ck_assert_int_eq(channel_health(channel), STORE_OPENING);
        channel_set_hanging(channel, true);
        ck_assert_int_eq(channel_health(channel), STORE_OPENING);
        channel_publish_health(channel, STORE_OK, "");
        ck_assert_int_eq(channel_health(channel), STORE_HANGING);
        channel_publish_failure(channel, STORE_FAILING, "no space");
        ck_assert_int_eq(channel_health(channel), STORE_HANGING);
        channel_set_hanging(channel, false);
        ck_assert_int_eq(channel_health(channel), STORE_FAILING);
        ck_assert_str_eq(get_status().detail, "no space");
        ck_assert_uint_eq(get_status().n_failures, 1);
        ck_assert(is_awake());
        channel_publish_health(channel, STORE_OK, "");
        ck_assert_int_eq(channel_health(channel), STORE_OK);
        ck_assert(is_awake());
        channel_publish_health(channel, STORE_OK, "");
        ck_assert(!is_awake());
}
END_TEST

START_TEST(test_notices_come_once_oldest_first_and_the_oldest_go_if_nobody_reads) {
        char notice[STORE_NOTICE_MAX], expected[32];

        ck_assert(!channel_take_notice(channel, notice));
        for (int i = 1; i <= 20; i++)
                channel_notice(channel, "notice %d", i);
        for (int i = 13; i <= 20; i++) {
                snprintf(expected, sizeof expected, "notice %d", i);
                ck_assert(channel_take_notice(channel, notice));
                ck_assert_str_eq(notice, expected);
        }
        ck_assert(!channel_take_notice(channel, notice));
}
END_TEST

START_TEST(test_a_stop_and_a_poke_are_seen_once) {
        bool all_written;

        ck_assert(!channel_stop(channel, 0, &all_written));
        channel_poke(channel);
        channel_wait(channel, UINT64_C(1) << 60, false, &group, &wake);
        ck_assert(wake.stop);
        ck_assert(wake.poked);
        channel_wait(channel, 0, false, &group, &wake);
        ck_assert(wake.stop);
        ck_assert(!wake.poked);
        channel_publish_end(channel, true);
        ck_assert(channel_stop(channel, 0, &all_written));
        ck_assert(all_written);
}
END_TEST

START_TEST(test_an_end_with_an_unanswered_loss_has_not_written_all) {
        bool all_written = true;

        channel_publish_loss(channel);
        channel_publish_end(channel, true);
        ck_assert(channel_stop(channel, 0, &all_written));
        ck_assert(!all_written);
}
END_TEST

/* --- refusals, bounds, questions ------------------------------------------------------------ */

static void submit_refusal(void) {
        Refused refused = { .name = (char[]){ 'a' }, .n_name = 1, .reason = REFUSAL_NAME_TAKEN };
        Write *write = write_new_refusal(&refused);

        ck_assert_ptr_nonnull(write);
        channel_submit_refusal(channel, write);
}

START_TEST(test_a_refusal_belongs_to_no_revision_and_is_dispensable) {
        submit(WRITE_PUT, 7);
        submit_refusal();
        commit();
        assert_committed(7);
        ck_assert_uint_eq(get_status().n_changes, 2);
        submit_refusal();
        commit();
        assert_committed(7);
        ck_assert(!channel_wants_whole(channel));
}
END_TEST

START_TEST(test_refusals_that_wait_for_the_disk_are_bounded_apart_from_other_changes) {
        for (size_t i = 0; i < REFUSALS_MAX + 500; i++)
                submit_refusal();
        ck_assert_uint_eq(get_status().n_queued, REFUSALS_MAX);
        submit(WRITE_PUT, 1);
        ck_assert_uint_eq(get_status().n_queued, REFUSALS_MAX + 1);
        ck_assert(!channel_wants_whole(channel));
        commit();
        assert_committed(1);
        ck_assert_uint_eq(get_status().n_queued, 0);
        submit_refusal();
        ck_assert_uint_eq(get_status().n_queued, 1);
}
END_TEST

START_TEST(test_new_bounds_of_history_are_seen_once_and_the_latest_count) {
        channel_set_bounds(channel, &(HistoryBounds){ .days = 1, .rows = 2, .per_name = 3 });
        channel_set_bounds(channel, &(HistoryBounds){ .days = 4, .rows = 5, .per_name = 6 });
        channel_wait(channel, UINT64_C(1) << 60, false, &group, &wake);
        ck_assert(wake.has_bounds);
        ck_assert_uint_eq(wake.bounds.days, 4);
        ck_assert_uint_eq(wake.bounds.rows, 5);
        ck_assert_uint_eq(wake.bounds.per_name, 6);
        channel_wait(channel, 0, false, &group, &wake);
        ck_assert(!wake.has_bounds);
}
END_TEST

static uint64_t ask_history(void) {
        uint64_t number = 0;

        ck_assert_int_eq(channel_ask(channel, &(StoreQuery){ .n_max = 1 }, &number), 0);
        return number;
}

static void assert_answered(uint64_t number, int error) {
        StoreAnswer *answer = channel_take_answer(channel);

        ck_assert_ptr_nonnull(answer);
        ck_assert_uint_eq(answer->query, number);
        ck_assert_int_eq(answer->error, error);
        store_answer_free(answer);
}

START_TEST(test_a_question_is_answered_after_all_that_was_submitted_before_it) {
        Question *question;
        uint64_t number;

        channel_publish_health(channel, STORE_OK, "");
        (void)is_awake();
        submit(WRITE_PUT, 1);
        gather();
        submit(WRITE_PUT, 2);
        number = ask_history();
        submit(WRITE_PUT, 3); /* need not be waited for, and may */
        ck_assert_ptr_null(channel_take_question(channel));
        channel_publish_commit(channel, &group, 0);
        ck_assert_ptr_null(channel_take_question(channel));
        commit();
        ck_assert(channel_is_pressing(channel));
        /* It ends a wait. */
        channel_wait(channel, UINT64_C(1) << 60, true, &group, &wake);
        question = channel_take_question(channel);
        ck_assert_ptr_nonnull(question);
        ck_assert(!channel_is_pressing(channel));
        (void)is_awake();
        channel_publish_answer(channel, question);
        ck_assert(is_awake());
        assert_answered(number, 0);
        ck_assert_ptr_null(channel_take_answer(channel));
}
END_TEST

START_TEST(test_changes_that_are_given_up_hold_up_no_question) {
        channel_publish_health(channel, STORE_OK, "");
        submit(WRITE_PUT, 1);
        gather();
        submit(WRITE_PUT, 2);
        (void)ask_history();
        channel_drop_group(channel, &group);
        for (uint64_t i = 0; i < STORE_QUEUE_MAX; i++)
                submit(WRITE_CREATIONS, 0); /* the last one has the queue dropped */
        ck_assert_uint_eq(get_status().n_queued, 1);
        ck_assert_ptr_nonnull(channel_take_question(channel));
}
END_TEST

START_TEST(test_without_a_file_that_can_be_used_nobody_waits_for_an_answer) {
        static const StoreHealth others[] = { STORE_OPENING, STORE_FAILING, STORE_TOO_NEW };
        StoreQuery query = { .n_max = 1 };
        uint64_t number, asked;
        bool all_written;

        ck_assert_int_eq(channel_ask(channel, &query, &number), -ENODATA);
        channel_publish_health(channel, STORE_OK, "");
        asked = ask_history();
        for (size_t i = 0; i < ELEMENTS(others); i++) {
                channel_publish_failure(channel, others[i], "");
                ck_assert_int_eq(channel_ask(channel, &query, &number), -ENODATA);
        }
        (void)is_awake();
        channel_refuse_questions(channel, -ENODATA);
        ck_assert(is_awake());
        assert_answered(asked, -ENODATA);
        channel_refuse_questions(channel, -ENODATA);
        ck_assert(!is_awake());

        channel_publish_health(channel, STORE_OK, "");
        /* One that hangs may still answer. */
        channel_set_hanging(channel, true);
        asked = ask_history();
        channel_cancel(channel, asked);
        ck_assert_ptr_null(channel_take_question(channel));
        channel_publish_end(channel, true);
        ck_assert(channel_stop(channel, 0, &all_written));
        ck_assert_int_eq(channel_ask(channel, &query, &number), -ENODATA);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("channel");
        TCase *tcase = tcase_create("channel");

        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_set_timeout(tcase, 30);
        tcase_add_test(tcase, test_a_group_is_what_has_gathered_in_its_order);
        tcase_add_test(tcase, test_what_is_gathered_wakes_the_thread_when_it_is_let_go);
        tcase_add_test(tcase, test_creations_belong_to_no_revision);
        tcase_add_test(tcase, test_what_comes_during_a_commit_is_the_next_group);
        tcase_add_test(tcase, test_groups_are_bounded_and_lose_nothing);
        tcase_add_test(tcase, test_after_a_loss_nothing_is_committed_until_all_was_written_whole);
        tcase_add_test(tcase, test_a_whole_write_makes_good_only_what_was_lost_before_it);
        tcase_add_test(tcase, test_a_change_without_memory_is_a_loss);
        tcase_add_test(tcase, test_a_full_queue_keeps_nothing_but_the_last_creations);
        tcase_add_test(tcase, test_what_there_is_no_memory_to_write_is_a_loss_but_for_the_last_creations);
        tcase_add_test(tcase, test_what_was_loaded_is_taken_before_a_whole_write_is_asked_for);
        tcase_add_test(tcase, test_the_loop_is_reminded_of_a_loss_that_it_has_not_answered);
        tcase_add_test(tcase, test_the_first_health_that_applies_is_told);
        tcase_add_test(tcase, test_notices_come_once_oldest_first_and_the_oldest_go_if_nobody_reads);
        tcase_add_test(tcase, test_a_stop_and_a_poke_are_seen_once);
        tcase_add_test(tcase, test_an_end_with_an_unanswered_loss_has_not_written_all);
        tcase_add_test(tcase, test_a_refusal_belongs_to_no_revision_and_is_dispensable);
        tcase_add_test(tcase, test_refusals_that_wait_for_the_disk_are_bounded_apart_from_other_changes);
        tcase_add_test(tcase, test_new_bounds_of_history_are_seen_once_and_the_latest_count);
        tcase_add_test(tcase, test_a_question_is_answered_after_all_that_was_submitted_before_it);
        tcase_add_test(tcase, test_changes_that_are_given_up_hold_up_no_question);
        tcase_add_test(tcase, test_without_a_file_that_can_be_used_nobody_waits_for_an_answer);
        suite_add_tcase(suite, tcase);
        return suite;
}
