/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "state_test.h"

/* --- P1: answered when it is on disk ------------------------------------------------------------------ */

static Desk *desk_with_file(void) {
        Desk *desk;

        disk_install();
        desk = desk_new(&(DeskOptions){ .file = desk_file(), .boot_id = "boot-1" });
        ck_assert(RUN_UNTIL(desk->event, !ledger_degraded_reason(desk->ledger), LONG_USEC));
        return desk;
}

START_TEST(test_who_reads_registered_is_in_the_file) {
        Desk *desk = desk_with_file();
        int fds[20];

        for (int i = 0; i < 20; i++) {
                char name[16], sql[128];

                snprintf(name, sizeof name, "n%d", i);
                fds[i] = register_node(desk, name, (uint16_t)(4000 + i), NULL);
                snprintf(sql, sizeof sql, "SELECT port FROM registrations WHERE name = '%s' AND state = 'up'", name);
                ck_assert_int_eq(ask_number(desk->options.file, sql), 4000 + i);
        }
        ck_assert_uint_eq(desk->counters.n_unwritten, 0);
        ck_assert_uint_eq(desk->counters.n_registered, 20);
        for (int i = 0; i < 20; i++)
                close(fds[i]);
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file, "SELECT count(*) FROM registrations") == 0, LONG_USEC));
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT count(*) FROM tenures WHERE how = 'left'"), 20);
        ck_assert_uint_eq(desk->counters.n_ended, 20);
        desk_free(desk);
}
END_TEST

START_TEST(test_many_that_register_at_once_are_all_answered_and_all_in_the_file) {
        enum { N = 500 };
        Desk *desk = desk_with_file();
        int fds[N];

        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof name, "n%d", i);
                fds[i] = desk_connect(desk);
                say_alive2(fds[i], name, 4000, 6);
        }
        for (int i = 0; i < N; i++)
                ck_assert_uint_eq(hear_answer(desk, fds[i]).result, 0);
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT count(*) FROM registrations"), N);
        for (int i = 0; i < N; i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

/* P5: what is given was reserved before, on disk. */
START_TEST(test_no_creation_is_given_that_is_not_reserved_in_the_file) {
        Desk *desk = desk_with_file();

        for (int i = 0; i < 1300; i++) {
                uint32_t creation;

                close(register_node(desk, "a", 4000, &creation));
                turn(desk->event);
                if (i % 50 == 0)
                        ck_assert_int_gt(ask_number(desk->options.file, "SELECT creation_reserved FROM registry"),
                                         creation);
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_what_happens_to_a_node_is_told_to_the_file) {
        Desk *desk = desk_with_file();
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL), newcomer_fd;
        uint32_t creation = desk_find(desk, "a")->creation;
        char sql[128];

        close(listener_fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_STOPPING) == 1, LONG_USEC));
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file,
                                       "SELECT count(*) FROM registrations WHERE state = 'stopping'") == 1,
                            LONG_USEC));
        newcomer_fd = register_node(desk, "a", 5000, NULL);
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT port FROM registrations"), 5000);
        snprintf(sql, sizeof sql, "SELECT how FROM tenures WHERE creation = %u", creation);
        ck_assert_answer(desk->options.file, sql, "replaced");
        /* whoever was replaced has lost its connection */
        expect_then_end(desk->event, fd, "", 0);
        close(newcomer_fd);
        desk_free(desk);
}
END_TEST

/* --- P2: nobody waits for a disk ---------------------------------------------------------------------- */

START_TEST(test_without_a_file_everything_is_answered_at_once_and_degraded) {
        Desk *desk = desk_new(NULL);
        int fd = desk_connect(desk);
        Heard heard = { 0 };

        ck_assert_ptr_nonnull(ledger_degraded_reason(desk->ledger));
        ck_assert_ptr_nonnull(strstr(ledger_degraded_reason(desk->ledger), "memory"));
        say_alive2(fd, "a", 4000, 6);
        turn(desk->event);
        ck_assert(!hear(fd, &heard));
        ck_assert_uint_eq(heard.n_data, 6);
        heard_done(&heard);
        ck_assert_uint_eq(desk->counters.n_unwritten, 1);
        ck_assert_uint_eq(look_up(desk, "a"), 4000);
        close(fd);
        desk_free(desk);
}
END_TEST

/* Somebody else's transaction, or a disk whose fsync() does not return. */
typedef enum Trouble {
        TROUBLE_LOCKED,
        TROUBLE_HANGING,
        TROUBLE_FAILING,
        _TROUBLE_N,
} Trouble;

static sqlite3 *somebody;

static void begin_trouble(Desk *desk, Trouble trouble) {
        switch (trouble) {
        case TROUBLE_LOCKED:
                ck_assert_int_eq(sqlite3_open(desk->options.file, &somebody), SQLITE_OK);
                ck_assert_int_eq(sqlite3_exec(somebody, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
                break;
        case TROUBLE_HANGING:
                disk_hang(DISK_SYNC);
                break;
        case TROUBLE_FAILING:
                disk_write_result = SQLITE_FULL;
                break;
        case _TROUBLE_N:
                break;
        }
        /* A new block of creations is written with fsync(). */
        registry_advance_creation(desk->registry, registry_next_creation(desk->registry) + 100000);
}

static void end_trouble(Trouble trouble) {
        switch (trouble) {
        case TROUBLE_LOCKED:
                ck_assert_int_eq(sqlite3_exec(somebody, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
                ck_assert_int_eq(sqlite3_close(somebody), SQLITE_OK);
                break;
        case TROUBLE_HANGING:
                disk_hang(0);
                break;
        case TROUBLE_FAILING:
                disk_write_result = 0;
                break;
        case _TROUBLE_N:
                break;
        }
}

START_TEST(test_a_registration_is_answered_within_2_seconds_whatever_the_disk_does) {
        Trouble trouble = (Trouble)_i;
        Desk *desk = desk_with_file();
        int before_fd = register_node(desk, "before", 4001, NULL), during_fd, later_fd;
        uint64_t began, took;
        unsigned n_changes;

        begin_trouble(desk, trouble);
        n_changes = desk->n_changes;
        during_fd = desk_connect(desk);
        began = test_now();
        say_alive2(during_fd, "during", 4002, 6);
        run_for(desk->event, 50 * USEC_PER_MSEC);

        /* Lookups do not wait, neither of the old nor of the new. */
        ck_assert_uint_eq(look_up(desk, "before"), 4001);
        ck_assert_uint_eq(look_up(desk, "during"), 4002);
        ck_assert_uint_lt(test_now() - began, USEC_PER_SEC);
        if (trouble != TROUBLE_FAILING) {
                expect_silence(desk->event, during_fd);
                ck_assert_ptr_null(ledger_degraded_reason(desk->ledger));
        }
        ck_assert_uint_eq(hear_answer(desk, during_fd).result, 0);
        took = test_now() - began;
        if (trouble == TROUBLE_HANGING)
                ck_assert_uint_ge(took, 2 * USEC_PER_SEC - 50 * USEC_PER_MSEC);
        ck_assert_uint_le(took, 3 * USEC_PER_SEC);
        ck_assert_ptr_nonnull(ledger_degraded_reason(desk->ledger));
        ck_assert_uint_eq(desk->counters.n_unwritten, 1);
        ck_assert_uint_gt(desk->n_changes, n_changes);

        /* From now on nobody waits at all. */
        began = test_now();
        later_fd = register_node(desk, "later", 4003, NULL);
        ck_assert_uint_lt(test_now() - began, USEC_PER_SEC);
        ck_assert_uint_eq(desk->counters.n_unwritten, 2);
        close(before_fd);
        ck_assert(RUN_UNTIL(desk->event, desk->counters.n_ended == 1, LONG_USEC));

        end_trouble(trouble);
        ck_assert(RUN_UNTIL(desk->event, !ledger_degraded_reason(desk->ledger), LONG_USEC));
        ck_assert_int_eq(ask_number(desk->options.file,
                                    "SELECT count(*) FROM registrations WHERE name IN ('during', 'later')"),
                         2);
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT count(*) FROM registrations"), 2);

        /* and all is as it was */
        close(register_node(desk, "after", 4004, NULL));
        ck_assert_uint_eq(desk->counters.n_unwritten, 2);
        close(during_fd);
        close(later_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_all_who_wait_are_answered_in_their_turn) {
        Desk *desk = desk_with_file();
        enum { N = 10 };
        int fds[N];

        begin_trouble(desk, TROUBLE_HANGING);
        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof name, "n%d", i);
                fds[i] = desk_connect(desk);
                say_alive2(fds[i], name, 4000, 6);
                turn(desk->event);
        }
        for (int i = 0; i < N; i++)
                expect_silence(desk->event, fds[i]);
        end_trouble(TROUBLE_HANGING);
        for (int i = 0; i < N; i++)
                ck_assert_uint_eq(hear_answer(desk, fds[i]).result, 0);
        ck_assert_uint_eq(desk->counters.n_unwritten, 0);
        ck_assert_ptr_null(ledger_degraded_reason(desk->ledger));
        for (int i = 0; i < N; i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

/* Whoever goes while he waits leaves the others in their order. */
START_TEST(test_those_who_wait_may_go) {
        Desk *desk = desk_with_file();
        enum { N = 5 };
        int fds[N];

        for (int gone = 0; gone < N; gone++) {
                begin_trouble(desk, TROUBLE_HANGING);
                for (int i = 0; i < N; i++) {
                        char name[16];

                        snprintf(name, sizeof name, "n%d", i);
                        fds[i] = desk_connect(desk);
                        say_alive2(fds[i], name, 4000, 6);
                        turn(desk->event);
                }
                reset(fds[gone]);
                turn(desk->event);
                ck_assert_uint_eq(registry_n_nodes(desk->registry), N - 1);
                end_trouble(TROUBLE_HANGING);
                for (int i = 0; i < N; i++)
                        if (i != gone) {
                                ck_assert_uint_eq(hear_answer(desk, fds[i]).result, 0);
                                close(fds[i]);
                        }
                ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        }
        desk_free(desk);
}
END_TEST

/* A node that boots would not try again. */
START_TEST(test_those_who_still_wait_at_the_end_are_answered_if_they_are_in_the_file) {
        Desk *desk = desk_with_file();
        int fd = desk_connect(desk);
        Heard heard = { 0 };

        begin_trouble(desk, TROUBLE_HANGING);
        say_alive2(fd, "a", 4000, 6);
        expect_silence(desk->event, fd);
        end_trouble(TROUBLE_HANGING);
        desk_stop(desk);
        ck_assert(hear(fd, &heard));
        ck_assert_uint_eq(heard.n_data, 6);
        ck_assert_mem_eq(heard.data, "v\0", 2);
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT port FROM registrations WHERE name = 'a'"), 4000);
        heard_done(&heard);
        close(fd);
        desk_start(desk);
        desk_free(desk);
}
END_TEST

/* The start does not wait for ever; what was registered meanwhile counts more than what the file says. */
START_TEST(test_a_file_that_can_be_read_late_is_reconciled_late) {
        int living_fd = listen_on("127.0.0.1");
        Desk *desk = desk_with_file();
        int fds[3];
        uint32_t creation, before;

        fds[0] = register_node(desk, "old", port_of(living_fd), &before);
        fds[1] = register_node(desk, "taken", 4001, NULL);
        close(register_node(desk, "former", 4002, NULL));
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 2, LONG_USEC));
        desk_stop(desk);
        close(fds[0]);
        close(fds[1]);

        disk_hang(DISK_OPEN);
        desk->options.impatient = true;
        desk_start(desk);
        ck_assert_ptr_nonnull(ledger_degraded_reason(desk->ledger));
        fds[0] = register_node(desk, "taken", 5000, &creation);
        ck_assert_uint_eq(look_up(desk, "old"), 0);
        disk_hang(0);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_AWAITED) == 1, LONG_USEC));
        ck_assert_uint_eq(look_up(desk, "old"), port_of(living_fd));
        ck_assert_uint_eq(look_up(desk, "taken"), 5000);
        ck_assert_uint_eq(desk_find(desk, "old")->creation, before);
        ck_assert(RUN_UNTIL(desk->event, !ledger_degraded_reason(desk->ledger), LONG_USEC));
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file, "SELECT count(*) FROM registrations") == 2, LONG_USEC));
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT port FROM registrations WHERE name = 'taken'"), 5000);
        /* P5: those given meanwhile, and those in the file, are not given again */
        fds[1] = register_node(desk, "new", 4003, &before);
        ck_assert_uint_gt(before, creation);
        close(fds[0]);
        close(fds[1]);
        close(living_fd);
        desk_free(desk);
}
END_TEST

/* --- changes ------------------------------------------------------------------------------------------ */

START_TEST(test_every_change_is_told_to_whoever_shows_the_status) {
        Desk *desk = desk_new(NULL);
        unsigned n = desk->n_changes;
        int fd = register_node(desk, "a", 4000, NULL);

        ck_assert_uint_gt(desk->n_changes, n);
        n = desk->n_changes;
        close(fd);
        turn(desk->event);
        ck_assert_uint_gt(desk->n_changes, n);
        n = desk->n_changes;
        look_up(desk, "a");
        ck_assert_uint_eq(desk->n_changes, n);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_start_with_a_good_file_says_nothing_of_trouble) {
        Desk *desk;
        char said[4096];
        int before = dup(STDERR_FILENO), file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        ssize_t n;

        disk_install();
        desk = desk_with_file();
        ck_assert_int_ge(file, 0);
        dup2(file, STDERR_FILENO);
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        desk_restart(desk);
        turn(desk->event);
        run_for(desk->event, 100 * USEC_PER_MSEC);
        dup2(before, STDERR_FILENO);
        no_log();
        n = pread(file, said, sizeof said - 1, 0);
        ck_assert_int_ge(n, 0);
        said[n] = 0;
        ck_assert_str_eq(said, "");
        close(before);
        close(file);
        desk_free(desk);
}
END_TEST

static void stop_all_trouble(void) {
        disk_hang(0);
        disk_write_result = 0;
}

Suite *suite(void) {
        Suite *suite = suite_create("ledger");
        TCase *tcase = tcase_create("written");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_who_reads_registered_is_in_the_file);
        tcase_add_test(tcase, test_many_that_register_at_once_are_all_answered_and_all_in_the_file);
        tcase_add_test(tcase, test_no_creation_is_given_that_is_not_reserved_in_the_file);
        tcase_add_test(tcase, test_what_happens_to_a_node_is_told_to_the_file);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("unwritten");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_checked_fixture(tcase, stop_all_trouble, stop_all_trouble);
        tcase_add_test(tcase, test_without_a_file_everything_is_answered_at_once_and_degraded);
        tcase_add_loop_test(tcase, test_a_registration_is_answered_within_2_seconds_whatever_the_disk_does, 0,
                            _TROUBLE_N);
        tcase_add_test(tcase, test_all_who_wait_are_answered_in_their_turn);
        tcase_add_test(tcase, test_those_who_wait_may_go);
        tcase_add_test(tcase, test_those_who_still_wait_at_the_end_are_answered_if_they_are_in_the_file);
        tcase_add_test(tcase, test_a_file_that_can_be_read_late_is_reconciled_late);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("changes");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_every_change_is_told_to_whoever_shows_the_status);
        tcase_add_test(tcase, test_a_start_with_a_good_file_says_nothing_of_trouble);
        suite_add_tcase(suite, tcase);
        return suite;
}
