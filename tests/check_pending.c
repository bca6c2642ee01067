/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

static Desk *make_desk_with_disk(void) {
        disk_install();
        disk_match = "registry.db";
        return desk_new(&(DeskOptions){ .file = desk_file() });
}

static int begin_find(Desk *desk, bool is_tcp, const char *name) {
        int fd = is_tcp ? desk_connect(desk) : desk_connect_control(desk);

        say_words(fd, CONTROL_FIND, WORDS("name", name));
        turn(desk->event);
        return fd;
}

static bool has_heard(int fd) {
        uint8_t byte;

        return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0;
}

START_TEST(test_what_is_on_disk_is_told_at_once) {
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1), find_fd;

        ck_assert(RUN_UNTIL(desk->event, is_written(desk), LONG_USEC));
        find_fd = begin_find(desk, true, "a");
        ck_assert(has_heard(find_fd));
        close(find_fd);
        close(fd);
        desk_free(desk);
}
END_TEST

/* P1: not before, and then of the moment at which it was asked. */
START_TEST(test_what_is_not_on_disk_yet_is_told_when_it_is) {
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1), before_fd, after_fd;
        _cleanup_(freep) char *before = NULL, *after = NULL;

        hang_the_disk(desk);
        close(fd);
        turn(desk->event);
        before_fd = begin_find(desk, _i, "a");
        fd = newcomer(desk, "a", 2);
        after_fd = begin_find(desk, _i, "a");
        turn(desk->event);
        ck_assert(!has_heard(before_fd));
        ck_assert(!has_heard(after_fd));
        disk_hang(0);
        before = hear_words(desk, before_fd);
        after = hear_words(desk, after_fd);
        ck_assert_ptr_null(strstr(before, "node "));
        ck_assert_says(after, "node name=a", "port=2");
        ck_assert(is_written(desk));
        close(fd);
        desk_free(desk);
}
END_TEST

/* P2 */
START_TEST(test_a_disk_that_hangs_keeps_nobody_waiting_for_long) {
        Desk *desk = make_desk_with_disk();
        int fd;
        _cleanup_(freep) char *answer = NULL;
        uint64_t began;

        hang_the_disk(desk);
        began = test_now();
        fd = newcomer(desk, "a", 1);
        answer = hear_words(desk, begin_find(desk, true, "a"));
        ck_assert_says(answer, "node name=a", "\nend");
        ck_assert_uint_lt(test_now() - began, 6 * USEC_PER_SEC);
        disk_hang(0);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_whoever_leaves_leaves_nothing_behind) {
        Desk *desk = make_desk_with_disk();
        int fds[3], fd;
        _cleanup_(freep) char *answer = NULL;

        hang_the_disk(desk);
        fd = newcomer(desk, "a", 1);
        for (int i = 0; i < 3; i++)
                fds[i] = begin_find(desk, true, "a");
        close(fds[_i]);
        turn(desk->event);
        disk_hang(0);
        for (int i = 0; i < 3; i++)
                if (i != _i) {
                        free(answer);
                        answer = hear_words(desk, fds[i]);
                        ck_assert_says(answer, "node name=a", "\nend");
                }
        close(fd);
        desk_free(desk);
}
END_TEST

/* --- bounds (P6) ------------------------------------------------------------------------------------------ */

/* Each of 1000 nodes has announced as much as it can: an answer is some 10 MiB. */
static void fill(Desk *desk) {
        static char value[NODE_METADATA_VALUE_MAX];
        NodeProfile profile = { 0 };

        memset(value, 'v', sizeof value);
        for (unsigned i = 0; i < NODE_METADATA_PAIRS_MAX; i++) {
                char key[NODE_METADATA_KEY_MAX + 1];

                snprintf(key, sizeof key, "%064u", i);
                ck_assert_int_eq(node_profile_set(&profile, key, 64, value, sizeof value), 0);
        }
        for (unsigned i = 0; i < 1000; i++) {
                char name[32];
                Event event;
                Reply reply;

                snprintf(name, sizeof name, "node%u", i);
                event = (Event){ .kind = EVENT_REGISTER,
                                 .info = { .name = name, .n_name = strlen(name), .highest_version = 6 },
                                 .peer = { .uid = NODE_UID_UNKNOWN },
                                 .connection_fd = -1 };
                ck_assert_int_eq(ledger_carry(desk->ledger, &event, &reply), 0);
                ck_assert_int_eq(ledger_carry(desk->ledger,
                                              &(Event){ .kind = EVENT_ANNOUNCED, .node = reply.node, .profile = &profile },
                                              NULL),
                                 0);
        }
        node_profile_done(&profile);
}

static int begin_find_all(Desk *desk) {
        int fd = desk_connect_control(desk);

        say_words(fd, CONTROL_FIND, WORDS(NULL));
        turn(desk->event);
        return fd;
}

START_TEST(test_too_much_that_waits_is_refused_in_words) {
        enum { N = 10 };
        Desk *desk = make_desk_with_disk();
        unsigned n_busy = 0, n_told = 0;
        int fds[N], fd;

        fill(desk);
        ck_assert(RUN_UNTIL(desk->event, is_written(desk), LONG_USEC));
        hang_the_disk(desk);
        fd = newcomer(desk, "a", 1);
        for (unsigned i = 0; i < N; i++)
                fds[i] = begin_find_all(desk);
        disk_hang(0);
        for (unsigned i = 0; i < N; i++) {
                _cleanup_(freep) char *answer = hear_words(desk, fds[i]);

                n_busy += strncmp(answer, "error error=5 ", 14) == 0;
                n_told += strstr(answer, "node name=node999 ") != NULL;
        }
        ck_assert_uint_eq(n_busy + n_told, N);
        ck_assert_uint_gt(n_busy, 2);
        ck_assert_uint_gt(n_told, 1);
        close(fd);
        desk_free(desk);
}
END_TEST

/* Half of the places is for other users; and other connections that may be held are for those who order, or register. */
START_TEST(test_so_many_find_at_once_while_the_disk_hangs) {
        enum { N_MAX = FIND_WAITING_MAX / 2, N = N_MAX + 20 };
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1), other_fd, order_fd, fds[N];
        unsigned n_busy = 0, n_told = 0;
        _cleanup_(freep) char *ordered = NULL;

        hang_the_disk(desk);
        other_fd = newcomer(desk, "b", 1);
        for (unsigned i = 0; i < N; i++)
                fds[i] = begin_find(desk, true, "b");
        ck_assert_uint_eq(pending_n(desk->pending), N_MAX);
        order_fd = begin_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready"));
        turn(desk->event);
        ck_assert_uint_eq(pending_n(desk->pending), N_MAX + 1);
        disk_hang(0);
        for (unsigned i = 0; i < N; i++) {
                _cleanup_(freep) char *answer = hear_words(desk, fds[i]);

                n_busy += strncmp(answer, "error error=5 ", 14) == 0;
                n_told += strstr(answer, "node name=b ") != NULL;
        }
        ck_assert_uint_eq(n_told, N_MAX);
        ck_assert_uint_eq(n_busy, N - N_MAX);
        ordered = hear_words(desk, order_fd);
        ck_assert_says(ordered, "state=ready");
        ck_assert_uint_eq(pending_n(desk->pending), 0);
        close(other_fd);
        close(fd);
        desk_free(desk);
}
END_TEST

/* Of all lengths one was as long as its buffer, which grows when the end is written. */
START_TEST(test_what_has_left_does_not_count_whatever_its_length) {
        enum { N = 120 };
        Desk *desk = make_desk_with_disk();
        char names[N][NODE_NAME_BYTES_MAX + 1];
        int node_fds[N], fds[N], fd;
        _cleanup_(freep) char *last = NULL;

        hang_the_disk(desk);
        for (int i = 0; i < N; i++) {
                memset(names[i], 'a', sizeof names[i]);
                names[i][2 * i + 1] = 0;
                node_fds[i] = newcomer(desk, names[i], 1);
        }
        for (int i = 0; i < N; i++)
                fds[i] = begin_find(desk, false, names[i]);
        ck_assert_uint_eq(pending_n(desk->pending), N);
        disk_hang(0);
        for (int i = 0; i < N; i++) {
                _cleanup_(freep) char *answer = hear_words(desk, fds[i]);

                ck_assert_says(answer, "\nend");
        }
        ck_assert_uint_eq(pending_n(desk->pending), 0);
        hang_the_disk(desk);
        fd = newcomer(desk, "late", 1);
        fds[0] = begin_find(desk, true, "late");
        disk_hang(0);
        last = hear_words(desk, fds[0]);
        ck_assert_says(last, "node name=late");
        close(fd);
        for (int i = 0; i < N; i++)
                close(node_fds[i]);
        desk_free(desk);
}
END_TEST

/* As of listings: readers of the oldest go. */
START_TEST(test_slow_readers_of_long_answers_hold_so_much_and_no_more) {
        enum { N = 12 };
        Desk *desk = desk_new(NULL);
        unsigned n_left = 0;
        int fds[N], fd;

        fill(desk);
        for (unsigned i = 0; i < N; i++)
                fds[i] = begin_find_all(desk);
        ck_assert_uint_gt(desk->counters.n_shed, 3);
        ck_assert_uint_lt(desk->counters.n_shed, N - 3);
        for (unsigned i = 0; i < N; i++) {
                Heard heard = { 0 };

                n_left += !hear(fds[i], &heard);
                ck_assert_int_eq(!heard.has_ended, i >= desk->counters.n_shed);
                heard_done(&heard);
                close(fds[i]);
        }
        ck_assert_uint_eq(n_left, N - desk->counters.n_shed);
        fd = registered(desk, "a", 1);
        close(fd);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("pending");
        TCase *tcase = tcase_create("pending");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_what_is_on_disk_is_told_at_once);
        tcase_add_loop_test(tcase, test_what_is_not_on_disk_yet_is_told_when_it_is, 0, 2);
        tcase_add_test(tcase, test_a_disk_that_hangs_keeps_nobody_waiting_for_long);
        tcase_add_loop_test(tcase, test_whoever_leaves_leaves_nothing_behind, 0, 3);
        tcase_add_test(tcase, test_too_much_that_waits_is_refused_in_words);
        tcase_add_test(tcase, test_so_many_find_at_once_while_the_disk_hangs);
        tcase_add_test(tcase, test_what_has_left_does_not_count_whatever_its_length);
        tcase_add_test(tcase, test_slow_readers_of_long_answers_hold_so_much_and_no_more);
        suite_add_tcase(suite, tcase);
        return suite;
}
