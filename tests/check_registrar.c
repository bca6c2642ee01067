/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"
#include "serve/held.h"

#define HOLD_USEC (LONG_USEC)
#define SHORT_USEC (150 * USEC_PER_MSEC)

static Desk *make_desk(uint64_t hold_usec) {
        return desk_new(&(DeskOptions){ .hold_usec = hold_usec, .relaxed = true });
}

/* A holder whose unit systemd is stopping. */
static int going_holder(Desk *desk, const char *name) {
        int fd = registered(desk, name, 1);

        live_in(desk_find(desk, name), "old.service");
        systemd_says("old.service", "simple", "deactivating", "stop-sigterm", 1);
        ck_assert_int_eq(desk_find(desk, name)->state, NODE_STOPPING);
        return fd;
}

/* --- a holder that stays ------------------------------------------------------------------------------------ */

START_TEST(test_a_newcomer_is_refused_while_the_holder_is_there) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = registered(desk, "a", 1), other_fd = newcomer(desk, "a", 2);
        const Refused *refused;

        ck_assert_int_eq(heard_result(other_fd), 1);
        ck_assert(is_hung_up(other_fd));
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_TAKEN], 1);
        ck_assert_uint_eq(desk->counters.n_held, 0);
        refused = refusals_find(desk->refusals, "a", 1);
        ck_assert_ptr_nonnull(refused);
        ck_assert_int_eq(refused->reason, REFUSAL_NAME_TAKEN);
        ck_assert_uint_eq(refused->port, 2);
        ck_assert_uint_eq(refused->uid, getuid());
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* Whoever waits in the listen queue may have gone by the time that he is read. */
START_TEST(test_who_has_broken_off_is_not_registered) {
        Desk *desk = make_desk(HOLD_USEC);
        int fds[3];

        for (int i = 0; i < 3; i++) {
                fds[i] = desk_connect(desk);
                say_alive2(fds[i], (const char *[]){ "a", "b", "c" }[i], 1, 6);
        }
        reset(fds[0]);
        ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0); /* he can hear of it */
        ck_assert_int_eq(result_of(desk, fds[1]), 0);
        ck_assert_int_eq(result_of(desk, fds[2]), 0);
        ck_assert_uint_eq(desk->counters.n_alive2, 3);
        ck_assert_uint_eq(desk->counters.n_registered, 2);
        close(fds[1]);
        close(fds[2]);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_draining_holder_is_not_waited_for) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = registered(desk, "a", 1), other_fd;
        _cleanup_(freep) char *answer = ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "draining"));

        ck_assert_says(answer, "state=stopping");
        other_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(other_fd), 1);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_name_that_is_kept_for_others_is_refused_and_that_is_remembered) {
        Desk *desk = make_desk(HOLD_USEC);
        Rules rules = { 0 };
        int fd;

        ck_assert_int_eq(reservation_add_pattern(rules_add_reservation(&rules, "mail"), "mail*"), 0);
        registry_set_rules(desk->registry, &rules, &(RegistryLimits){ 100, 100 });
        fd = newcomer(desk, "mail1", 2);
        ck_assert_int_eq(heard_result(fd), 1);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_RESERVED], 1);
        ck_assert_int_eq(refusals_find(desk->refusals, "mail1", 5)->reason, REFUSAL_NAME_RESERVED);
        close(fd);
        desk_free(desk);
        rules_done(&rules);
}
END_TEST

START_TEST(test_a_client_that_tries_again_and_again_does_not_wear_the_disk) {
        Desk *desk = desk_new(&(DeskOptions){ .file = desk_file(), .hold_usec = 0 });
        int fd = registered(desk, "a", 1);
        StoreStatus before, after;

        ck_assert(RUN_UNTIL(desk->event, is_written(desk), LONG_USEC));
        store_get_status(desk->store, &before);
        for (int i = 0; i < 50; i++) {
                int other_fd = newcomer(desk, "a", 2);

                ck_assert_int_eq(heard_result(other_fd), 1);
                close(other_fd);
        }
        store_get_status(desk->store, &after);
        ck_assert_uint_le(after.n_changes + after.n_queued, before.n_changes + before.n_queued + 2);
        close(fd);
        desk_free(desk);
}
END_TEST

/* What is no node's name can have a zero byte in it, and much after it. */
START_TEST(test_a_name_with_a_zero_byte_in_it_is_refused_and_not_remembered) {
        Desk *desk = make_desk(HOLD_USEC);
        char name[NODE_NAME_BYTES_MAX + 1];
        uint8_t body[2048];
        int fd = desk_connect(desk);
        size_t n;

        memset(name, 'a', NODE_NAME_BYTES_MAX);
        name[NODE_NAME_BYTES_MAX] = 0;
        n = fill_alive2(body, name, 2, 6);
        *(uint8_t *)memchr(body, 'a', n) = 0;
        say_request(fd, body, n);
        ck_assert_int_eq(result_of(desk, fd), 1);
        ck_assert_ptr_null(refusals_find(desk->refusals, "", 0));
        close(fd);
        desk_free(desk);
}
END_TEST

/* --- a holder that is going ----------------------------------------------------------------------------------- */

typedef enum Going { HANGS_UP, IS_RESET, SPEAKS, LISTENER_CLOSES, RELEASED, STOPPED, _GOING_N } Going;

static void go(Desk *desk, Going how, int *fd, int *listener_fd) {
        _cleanup_(freep) char *answer = NULL;
        uint8_t stop[] = { 's', 'a' };
        int stop_fd;

        switch (how) {
        case HANGS_UP:
                close(TAKE_FD(*fd));
                break;
        case IS_RESET:
                reset(TAKE_FD(*fd));
                break;
        case SPEAKS:
                say(*fd, "x", 1);
                break;
        case LISTENER_CLOSES:
                close(TAKE_FD(*listener_fd));
                break;
        case RELEASED:
                answer = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
                ck_assert_says(answer, "name=a");
                break;
        case STOPPED:
                stop_fd = desk_connect(desk);
                say_request(stop_fd, stop, sizeof stop);
                expect_then_end(desk->event, stop_fd, BYTES("STOPPED"));
                break;
        case _GOING_N:
                break;
        }
}

START_TEST(test_a_newcomer_waits_for_a_holder_that_is_going_and_then_has_the_name) {
        Desk *desk = make_desk(HOLD_USEC);
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener_fd)), other_fd;

        live_in(desk_find(desk, "a"), "old.service");
        systemd_says("old.service", "simple", "deactivating", "stop-sigterm", 1);
        other_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        ck_assert_uint_eq(registrar_n_held(desk->registrar), 1);
        ck_assert_uint_eq(desk->counters.n_held, 1);
        go(desk, (Going)_i, &fd, &listener_fd);
        ck_assert_int_eq(result_of(desk, other_fd), 0);
        ck_assert_uint_eq(registrar_n_held(desk->registrar), 0);
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, 2);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 1);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_TAKEN], 0);
        ck_assert_ptr_null(refusals_find(desk->refusals, "a", 1));
        /* who waited is as good a holder as any */
        ck_assert(!is_hung_up(other_fd));
        close(other_fd);
        turn(desk->event);
        ck_assert_ptr_null(desk_find(desk, "a"));
        close_fdp(&fd);
        close_fdp(&listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_holder_that_does_not_go_is_not_waited_for_without_an_end) {
        Desk *desk = make_desk(SHORT_USEC);
        int fd = going_holder(desk, "a"), other_fd;
        uint64_t began = test_now();

        other_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        ck_assert_int_eq(result_of(desk, other_fd), 1);
        ck_assert_uint_ge(test_now() - began, SHORT_USEC);
        ck_assert_uint_lt(test_now() - began, SHORT_USEC + USEC_PER_SEC);
        ck_assert(is_hung_up(other_fd));
        ck_assert_uint_eq(registrar_n_held(desk->registrar), 0);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_TAKEN], 1);
        ck_assert_ptr_nonnull(refusals_find(desk->refusals, "a", 1));
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, 1);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_where_nobody_is_to_wait_nobody_does) {
        Desk *desk = make_desk(0);
        int fd = going_holder(desk, "a"), other_fd = newcomer(desk, "a", 2);

        ck_assert_int_eq(heard_result(other_fd), 1);
        ck_assert_uint_eq(desk->counters.n_held, 0);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_time_that_is_made_shorter_holds_for_those_who_wait) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), other_fd = newcomer(desk, "a", 2);

        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        desk->options.hold_usec = 0;
        registrar_on_heard(desk->registrar);
        turn(desk->event);
        ck_assert_int_eq(heard_result(other_fd), 1);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_holder_that_stays_after_all_is_waited_for_no_more) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), other_fd = newcomer(desk, "a", 2);

        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        systemd_says("old.service", "simple", "active", "running", 1);
        ck_assert_int_eq(result_of(desk, other_fd), 1); /* at the latest when systemd does not say so once more */
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_holder_that_its_unit_has_left_behind_is_waited_for) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = registered(desk, "a", 1), other_fd;

        live_in(desk_find(desk, "a"), "old.service");
        systemd_says("old.service", "simple", "inactive", "dead", 0);
        other_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        close(fd);
        ck_assert_int_eq(result_of(desk, other_fd), 0);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* Epoll has told of all three at once: the holder's end, whoever comes and has those who wait served first, and that the one
 * who waits has nothing more to say. By the time that it is his turn he is registered. */
START_TEST(test_one_who_waits_and_shuts_down_his_side_as_he_gets_the_name_is_told_and_ends) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), waiting_fd = newcomer(desk, "a", 2), other_fd = desk_connect(desk);
        uint8_t request[2 + 2048];
        size_t n = fill_alive2(request + 2, "z", 3, 6);

        request[0] = 0;
        request[1] = (uint8_t)n;
        say(other_fd, request, 5);
        turn(desk->event);
        ck_assert_int_eq(heard_result(waiting_fd), NO_ANSWER);

        close(fd);
        say(other_fd, request + 5, n + 2 - 5);
        ck_assert_int_eq(shutdown(waiting_fd, SHUT_WR), 0);
        ck_assert_int_eq(result_of(desk, waiting_fd), 0);
        ck_assert(RUN_UNTIL(desk->event, is_hung_up(waiting_fd), LONG_USEC));
        ck_assert_int_eq(result_of(desk, other_fd), 0);
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_uint_eq(desk->counters.n_registered, 3);
        ck_assert_uint_eq(desk->counters.n_ended, 2);
        close(waiting_fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* P4: a newcomer's request can overtake the end of the holder's connection. */
START_TEST(test_a_holder_that_has_gone_is_seen_to_have_gone) {
        Desk *desk = make_desk(0);
        int fd = registered(desk, "a", 1), other_fd = desk_connect(desk);

        say_alive2(other_fd, "a", 2, 6);
        close(fd);
        ck_assert_int_eq(result_of(desk, other_fd), 0);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* --- several wait ----------------------------------------------------------------------------------------------- */

START_TEST(test_the_first_who_came_has_the_name_and_the_others_are_told_no) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), fds[3];

        for (uint16_t i = 0; i < 3; i++)
                fds[i] = newcomer(desk, "a", (uint16_t)(10 + i));
        ck_assert_uint_eq(registrar_n_held(desk->registrar), 3);
        close(fd);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(result_of(desk, fds[i]), i > 0);
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, 10);
        ck_assert_uint_eq(registrar_n_held(desk->registrar), 0);
        for (int i = 0; i < 3; i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_who_leaves_makes_way_for_the_next) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), fds[3];

        for (uint16_t i = 0; i < 3; i++)
                fds[i] = newcomer(desk, "a", (uint16_t)(10 + i));
        close(fds[0]);
        if (_i)
                turn(desk->event);
        close(fd); /* at the same moment, or later */
        ck_assert_int_eq(result_of(desk, fds[1]), 0);
        ck_assert_int_eq(result_of(desk, fds[2]), 1);
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, 11);
        close(fds[1]);
        close(fds[2]);
        desk_free(desk);
}
END_TEST

START_TEST(test_names_do_not_wait_for_one_another) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), other_fd = going_holder(desk, "b"), fds[2];

        fds[0] = newcomer(desk, "a", 10);
        fds[1] = newcomer(desk, "b", 11);
        close(other_fd);
        ck_assert_int_eq(result_of(desk, fds[1]), 0);
        ck_assert_int_eq(heard_result(fds[0]), NO_ANSWER);
        close(fd);
        ck_assert_int_eq(result_of(desk, fds[0]), 0);
        close(fds[0]);
        close(fds[1]);
        desk_free(desk);
}
END_TEST

START_TEST(test_whoever_finds_too_many_waiting_is_refused_at_once) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), fds[HELD_PER_NAME_MAX], other_fd;

        for (size_t i = 0; i < ELEMENTS(fds); i++)
                fds[i] = newcomer(desk, "a", (uint16_t)(10 + i));
        other_fd = newcomer(desk, "a", 99);
        ck_assert_int_eq(heard_result(other_fd), 1);
        ck_assert_int_eq(heard_result(fds[0]), NO_ANSWER);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_TAKEN], 1);
        ck_assert_uint_eq(desk->counters.n_held, HELD_PER_NAME_MAX);
        close(fd);
        close(other_fd);
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

/* He who has waited comes first, also where the newcomer is the one who makes it seen that the holder has gone. */
START_TEST(test_a_newcomer_does_not_overtake_those_who_wait) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), waiting_fd = newcomer(desk, "a", 10), late_fd = desk_connect(desk);

        turn(desk->event); /* it is accepted, and is served before the holder, whose end comes after its request */
        say_alive2(late_fd, "a", 11, 6);
        close(fd);
        ck_assert_int_eq(result_of(desk, waiting_fd), 0);
        ck_assert_int_eq(result_of(desk, late_fd), 1);
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, 10);
        close(waiting_fd);
        close(late_fd);
        desk_free(desk);
}
END_TEST

/* --- systemd's word --------------------------------------------------------------------------------------------- */

/* A holder of whom systemd has said that he is not going: some time ago. */
static int settled_holder(Desk *desk, const char *name, const char *unit) {
        int fd = registered(desk, name, 1);

        live_in(desk_find(desk, name), unit);
        systemd_says(unit, "simple", "active", "running", 1);
        return fd;
}

START_TEST(test_systemd_is_asked_whether_the_holder_is_going) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = settled_holder(desk, "a", "old.service"), other_fd = newcomer(desk, "a", 2);

        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        ck_assert_uint_eq(said_unit("old.service")->n_refreshed, 1);
        if (_i == 0) {
                systemd_says("old.service", "simple", "deactivating", "stop-sigterm", 1);
                turn(desk->event);
                ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
                close(TAKE_FD(fd));
                ck_assert_int_eq(result_of(desk, other_fd), 0);
        } else {
                systemd_tells("old.service"); /* as before: it stays */
                turn(desk->event);
                ck_assert_int_eq(heard_result(other_fd), 1);
        }
        ck_assert_uint_eq(said_unit("old.service")->n_refreshed, 1);
        close_fdp(&fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_systemd_that_does_not_answer_is_not_waited_for) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = settled_holder(desk, "a", "old.service"), other_fd;
        uint64_t began = test_now();

        other_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(other_fd), NO_ANSWER);
        ck_assert_int_eq(result_of(desk, other_fd), 1);
        ck_assert_uint_ge(test_now() - began, 200 * USEC_PER_MSEC);
        ck_assert_uint_lt(test_now() - began, 5 * USEC_PER_SEC);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_without_systemd_the_newcomer_is_refused_at_once) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = settled_holder(desk, "a", "old.service"), other_fd;

        systemd.is_away = true;
        other_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(other_fd), 1);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_holder_that_goes_while_systemd_is_asked_makes_way) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = settled_holder(desk, "a", "old.service"), other_fd = newcomer(desk, "a", 2);

        close(fd);
        ck_assert_int_eq(result_of(desk, other_fd), 0);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* P4: what is heard of others says nothing of this holder. */
START_TEST(test_systemds_word_on_another_unit_is_no_answer) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = settled_holder(desk, "a", "old.service"), other_fd = settled_holder(desk, "b", "other.service");
        int newcomer_fd = newcomer(desk, "a", 2);

        ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
        systemd_says("other.service", "simple", "deactivating", "stop-sigterm", 1);
        turn(desk->event);
        ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
        systemd_says("old.service", "simple", "deactivating", "stop-sigterm", 1);
        turn(desk->event);
        ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
        close(fd);
        ck_assert_int_eq(result_of(desk, newcomer_fd), 0);
        close(other_fd);
        close(newcomer_fd);
        desk_free(desk);
}
END_TEST

/* The same where two newcomers have systemd asked about two units. */
START_TEST(test_each_newcomer_waits_for_the_word_on_his_own_holder) {
        Desk *desk = make_desk(HOLD_USEC);
        int fds[] = { settled_holder(desk, "a", "a.service"), settled_holder(desk, "b", "b.service") };
        int newcomer_fds[] = { newcomer(desk, "a", 2), newcomer(desk, "b", 2) };

        systemd_tells("b.service"); /* stays */
        turn(desk->event);
        ck_assert_int_eq(heard_result(newcomer_fds[0]), NO_ANSWER);
        ck_assert_int_eq(heard_result(newcomer_fds[1]), 1);
        systemd_tells("a.service");
        turn(desk->event);
        ck_assert_int_eq(heard_result(newcomer_fds[0]), 1);
        for (int i = 0; i < 2; i++) {
                close(fds[i]);
                close(newcomer_fds[i]);
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_another_holder_of_that_name_does_not_cut_the_question_short) {
        Desk *desk = make_desk(HOLD_USEC);
        int listener_fds[] = { listen_on("127.0.0.1"), listen_on("127.0.0.2") }, fds[2], newcomer_fd;
        _cleanup_(freep) char *answer = NULL;

        for (int i = 0; i < 2; i++)
                fds[i] = registered(desk, "a", port_of(listener_fds[i]));
        live_in(desk_find(desk, "a"), "a.service"); /* the first: a lookup elsewhere means the one that was there first */
        systemd_says("a.service", "simple", "active", "running", 1);
        newcomer_fd = newcomer(desk, "a", port_of(listener_fds[0]));
        ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
        answer = ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "scope", "127.0.0.2", "announced", "ready"));
        ck_assert_says(answer, "scope=127.0.0.2", "state=ready");
        turn(desk->event);
        ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
        systemd_says("a.service", "simple", "deactivating", "stop-sigterm", 1);
        close(fds[0]);
        ck_assert_int_eq(result_of(desk, newcomer_fd), 0);
        close(fds[1]);
        close(newcomer_fd);
        for (int i = 0; i < 2; i++)
                close(listener_fds[i]);
        desk_free(desk);
}
END_TEST

/* One that listens nowhere is in the way of all, and all of them of it. */
START_TEST(test_of_several_holders_each_is_asked_for) {
        static const char *const units[] = { "a1.service", "a2.service" }, *const addresses[] = { "127.0.0.1", "127.0.0.2" };
        Desk *desk = make_desk(HOLD_USEC);
        int listener_fds[2], fds[2], newcomer_fd;

        for (int i = 0; i < 2; i++) {
                Address scope;
                Node *node;

                listener_fds[i] = listen_on(addresses[i]);
                fds[i] = registered(desk, "a", port_of(listener_fds[i]));
                ck_assert_int_eq(address_parse(addresses[i], &scope), 0);
                node = registry_find(desk->registry, "a", 1, &scope);
                free(node->unit);
                node->unit = strdup(units[i]);
                node->is_unit_own = true;
                ck_assert_int_eq(units_watch(&systemd, units[i]), 0);
                systemd_says(units[i], "simple", "active", "running", 1);
        }
        newcomer_fd = newcomer(desk, "a", 2);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
                ck_assert_uint_eq(said_unit(units[i])->n_refreshed, 1);
                if (i == 0 || _i == 0)
                        systemd_says(units[i], "simple", "deactivating", "stop-sigterm", 1);
                else
                        systemd_tells(units[i]); /* stays */
                turn(desk->event);
        }
        for (int i = 0; _i == 0 && i < 2; i++) {
                ck_assert_int_eq(heard_result(newcomer_fd), NO_ANSWER);
                close(TAKE_FD(fds[i]));
        }
        ck_assert_int_eq(result_of(desk, newcomer_fd), _i);
        for (int i = 0; i < 2; i++) {
                close_fdp(&fds[i]);
                close(listener_fds[i]);
        }
        close(newcomer_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_who_comes_again_and_again_does_not_keep_systemd_busy) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = settled_holder(desk, "a", "old.service"), other_fd = newcomer(desk, "a", 2);
        uint64_t heard;

        systemd_tells("old.service");
        heard = test_now();
        turn(desk->event);
        ck_assert_int_eq(heard_result(other_fd), 1);
        close(other_fd);
        other_fd = newcomer(desk, "a", 2);
        /* on a machine that is so slow that the word is old by now, nothing is proved */
        if (test_now() - heard < 5 * USEC_PER_MSEC) {
                ck_assert_int_eq(heard_result(other_fd), 1);
                ck_assert_uint_eq(said_unit("old.service")->n_refreshed, 1);
        }
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* --- the end ---------------------------------------------------------------------------------------------------- */

START_TEST(test_who_waits_when_the_daemon_ends_is_closed_without_a_byte) {
        Desk *desk = make_desk(HOLD_USEC);
        int fd = going_holder(desk, "a"), other_fd = newcomer(desk, "a", 2);

        desk_free(desk);
        ck_assert_int_eq(heard_result(other_fd), CLOSED);
        close(fd);
        close(other_fd);
}
END_TEST

START_TEST(test_who_waited_is_answered_when_his_row_is_on_disk) {
        Desk *desk = desk_new(&(DeskOptions){ .file = desk_file(), .hold_usec = HOLD_USEC });
        int fd = going_holder(desk, "a"), other_fd = newcomer(desk, "a", 2);

        close(fd);
        ck_assert_int_eq(result_of(desk, other_fd), 0);
        ck_assert_answer(desk->options.file, "SELECT port FROM nodes", "2");
        close(other_fd);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("registrar");
        TCase *tcase = tcase_create("a holder that stays");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_newcomer_is_refused_while_the_holder_is_there);
        tcase_add_test(tcase, test_who_has_broken_off_is_not_registered);
        tcase_add_test(tcase, test_a_draining_holder_is_not_waited_for);
        tcase_add_test(tcase, test_a_name_that_is_kept_for_others_is_refused_and_that_is_remembered);
        tcase_add_test(tcase, test_a_client_that_tries_again_and_again_does_not_wear_the_disk);
        tcase_add_test(tcase, test_a_name_with_a_zero_byte_in_it_is_refused_and_not_remembered);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("a holder that is going");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_newcomer_waits_for_a_holder_that_is_going_and_then_has_the_name, 0, _GOING_N);
        tcase_add_test(tcase, test_a_holder_that_does_not_go_is_not_waited_for_without_an_end);
        tcase_add_test(tcase, test_where_nobody_is_to_wait_nobody_does);
        tcase_add_test(tcase, test_a_time_that_is_made_shorter_holds_for_those_who_wait);
        tcase_add_test(tcase, test_a_holder_that_stays_after_all_is_waited_for_no_more);
        tcase_add_test(tcase, test_a_holder_that_its_unit_has_left_behind_is_waited_for);
        tcase_add_test(tcase, test_one_who_waits_and_shuts_down_his_side_as_he_gets_the_name_is_told_and_ends);
        tcase_add_test(tcase, test_a_holder_that_has_gone_is_seen_to_have_gone);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("several wait");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_the_first_who_came_has_the_name_and_the_others_are_told_no);
        tcase_add_loop_test(tcase, test_one_who_leaves_makes_way_for_the_next, 0, 2);
        tcase_add_test(tcase, test_names_do_not_wait_for_one_another);
        tcase_add_test(tcase, test_whoever_finds_too_many_waiting_is_refused_at_once);
        tcase_add_test(tcase, test_a_newcomer_does_not_overtake_those_who_wait);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("systemd's word");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_systemd_is_asked_whether_the_holder_is_going, 0, 2);
        tcase_add_test(tcase, test_a_systemd_that_does_not_answer_is_not_waited_for);
        tcase_add_test(tcase, test_without_systemd_the_newcomer_is_refused_at_once);
        tcase_add_test(tcase, test_a_holder_that_goes_while_systemd_is_asked_makes_way);
        tcase_add_test(tcase, test_systemds_word_on_another_unit_is_no_answer);
        tcase_add_test(tcase, test_each_newcomer_waits_for_the_word_on_his_own_holder);
        tcase_add_test(tcase, test_another_holder_of_that_name_does_not_cut_the_question_short);
        tcase_add_loop_test(tcase, test_of_several_holders_each_is_asked_for, 0, 2);
        tcase_add_test(tcase, test_who_comes_again_and_again_does_not_keep_systemd_busy);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("the end");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_who_waits_when_the_daemon_ends_is_closed_without_a_byte);
        tcase_add_test(tcase, test_who_waited_is_answered_when_his_row_is_on_disk);
        suite_add_tcase(suite, tcase);
        return suite;
}
