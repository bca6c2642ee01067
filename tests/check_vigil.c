/* SPDX-License-Identifier: Apache-2.0 */

#include <sys/socket.h>

#include <linux/netlink.h>

#include "desk_test.h"
#include "epmd_test.h"
#include "state_test.h"

/* --- what is known of a newcomer ---------------------------------------------------------------------- */

static const struct {
        const char *listener; /* where the node listens; NULL: nowhere */
        const char *scope;
} listeners[] = {
        { "127.0.0.1", "127.0.0.1" }, { "127.0.0.2", "127.0.0.2" }, { "0.0.0.0", "*" },
        { "::", "*" },                { "::1", "::1" },             { NULL, "*" },
};

START_TEST(test_a_node_is_matched_to_the_socket_on_which_it_listens) {
        const char *where = listeners[_i].listener;
        int listener_fd = where ? try_listen_on(where, 0) : -1, fd;
        Desk *desk;
        char text[ADDRESS_TEXT_MAX];
        Node *node;

        if (where && listener_fd < 0) {
                puts("SKIP: this machine has no IPv6");
                return;
        }
        desk = desk_new(NULL);
        fd = register_node(desk, "a", where ? port_of(listener_fd) : 1, NULL);
        node = desk_find(desk, "a");
        ck_assert_uint_eq(node->listener.cookie, where ? cookie_of(listener_fd) : 0);
        ck_assert_str_eq(address_format(&node->scope, text), listeners[_i].scope);
        ck_assert_uint_eq(node->peer.uid, getuid());
        ck_assert_int_eq(node->state, NODE_UP);
        close_fdp(&listener_fd);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_the_evidence_at_hand_is_told) {
        Desk *desk = desk_new(&(DeskOptions){ .blind = _i });
        char text[200];

        if (_i) {
                ck_assert_ptr_nonnull(vigil_blind_reason(desk->vigil));
                ck_assert_mem_eq(vigil_describe_evidence(desk->vigil, text, sizeof text), "connections only (", 18);
        } else {
                ck_assert_ptr_null(vigil_blind_reason(desk->vigil));
                ck_assert_str_eq(vigil_describe_evidence(desk->vigil, text, sizeof text),
                                 "connections and listening sockets");
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_blind_it_goes_by_connections_alone) {
        Desk *desk = desk_new(&(DeskOptions){ .blind = true });
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL), other_fd = desk_connect(desk);
        Node *node = desk_find(desk, "a");

        ck_assert_uint_eq(node->listener.cookie, 0);
        ck_assert_uint_eq(node->peer.uid, NODE_UID_UNKNOWN);
        ck_assert_ptr_null(node->unit);
        close(listener_fd);
        turn(desk->event);
        ck_assert_int_eq(node->state, NODE_UP);
        ck_assert_uint_eq(ask_to_register(desk, other_fd, "a", 1).result, 1);
        close(fd);
        turn(desk->event);
        ck_assert_uint_eq(look_up(desk, "a"), 0);
        close(other_fd);
        desk_free(desk);
}
END_TEST

/* --- listeners that close ------------------------------------------------------------------------------ */

START_TEST(test_a_node_whose_listener_closes_is_stopping_and_yields) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL), newcomer_fd;
        uint16_t port = port_of(listener_fd);

        close(listener_fd);
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a")->state == NODE_STOPPING, LONG_USEC));
        /* it is not dropped on that evidence alone */
        ck_assert_uint_eq(look_up(desk, "a"), port);
        expect_silence(desk->event, fd);
        newcomer_fd = register_node(desk, "a", 1, NULL);
        ck_assert_uint_eq(look_up(desk, "a"), 1);
        expect_then_end(desk->event, fd, "", 0);
        close(newcomer_fd);
        desk_free(desk);
}
END_TEST

/* The kernel says nothing of a socket that only stops to listen: it is asked when somebody wants the name. */
START_TEST(test_a_listener_that_is_shut_down_is_noticed_when_the_name_is_wanted) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL), newcomer_fd;

        ck_assert_int_eq(shutdown(listener_fd, SHUT_RD), 0);
        turn(desk->event);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        newcomer_fd = register_node(desk, "a", 1, NULL);
        ck_assert_uint_eq(look_up(desk, "a"), 1);
        close(fd);
        close(newcomer_fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_listener_that_is_shut_down_is_noticed_when_it_looks_again) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1"), living_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL);
        int other_fd = register_node(desk, "b", port_of(living_fd), NULL);

        shutdown(listener_fd, SHUT_RD);
        vigil_look_again(desk->vigil);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_STOPPING);
        ck_assert_int_eq(desk_find(desk, "b")->state, NODE_UP);
        close(fd);
        close(other_fd);
        close(listener_fd);
        close(living_fd);
        desk_free(desk);
}
END_TEST

/* The kernel announces nothing of a socket that only listens no more. */
START_TEST(test_a_listener_whose_end_is_not_announced_is_missed_in_the_end) {
        Desk *desk = desk_new(&(DeskOptions){ .review_usec = 50 * USEC_PER_MSEC });
        int listener_fds[3], fds[3];
        char name[] = "a";

        for (int i = 0; i < 3; i++, name[0]++) {
                listener_fds[i] = listen_on("127.0.0.1");
                fds[i] = register_node(desk, name, port_of(listener_fds[i]), NULL);
        }
        /* now each of them, now all that is left */
        shutdown(listener_fds[1], SHUT_RD);
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "b")->state == NODE_STOPPING, LONG_USEC));
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        ck_assert_int_eq(desk_find(desk, "c")->state, NODE_UP);
        shutdown(listener_fds[0], SHUT_RD);
        shutdown(listener_fds[2], SHUT_RD);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_STOPPING) == 3, LONG_USEC));
        for (int i = 0; i < 3; i++) {
                close(fds[i]);
                close(listener_fds[i]);
        }
        desk_free(desk);
}
END_TEST

/* More than are asked for in one turn. */
START_TEST(test_all_listeners_are_asked_for_however_many_there_are) {
        Desk *desk = desk_new(&(DeskOptions){ .review_usec = 50 * USEC_PER_MSEC, .n_nodes_max = 2000 });
        int listener_fd = listen_on("127.0.0.1"), living_fd = listen_on("127.0.0.1"), fds[1100];
        char name[16];

        for (unsigned i = 0; i < ELEMENTS(fds); i++) {
                snprintf(name, sizeof name, "n%u", i);
                fds[i] = register_node(desk, name, port_of(i % 2 == 0 ? listener_fd : living_fd), NULL);
        }
        shutdown(listener_fd, SHUT_RD);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_STOPPING) == ELEMENTS(fds) / 2, LONG_USEC));
        ck_assert_uint_eq(registry_n_in_state(desk->registry, NODE_UP), ELEMENTS(fds) / 2);
        for (unsigned i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        close(listener_fd);
        close(living_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_listener_can_stand_behind_several_names) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1"), fds[3];

        fds[0] = register_node(desk, "a", port_of(listener_fd), NULL);
        fds[1] = register_node(desk, "b", port_of(listener_fd), NULL);
        fds[2] = register_node(desk, "c", 1, NULL);
        close(listener_fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_STOPPING) == 2, LONG_USEC));
        ck_assert_int_eq(desk_find(desk, "c")->state, NODE_UP);
        for (int i = 0; i < 3; i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_connection_that_closes_ends_the_registration_whatever_its_listener_does) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1");

        close(register_node(desk, "a", port_of(listener_fd), NULL));
        turn(desk->event);
        ck_assert_uint_eq(look_up(desk, "a"), 0);
        close(listener_fd);
        turn(desk->event);
        desk_free(desk);
}
END_TEST

/* True if the kernel had more to tell than one of those who listen to sock_diag has read. */
static bool has_dropped_announcements(void) {
        FILE *file = fopen("/proc/thread-self/net/netlink", "re");
        char line[256];
        int protocol;
        unsigned n_dropped, n_all = 0;

        ck_assert_ptr_nonnull(file);
        /* socket protocol pid groups rmem wmem dump locks drops inode */
        while (fgets(line, sizeof line, file))
                if (sscanf(line, "%*s %d %*s %*s %*s %*s %*s %*s %u", &protocol, &n_dropped) == 2 &&
                    protocol == NETLINK_SOCK_DIAG)
                        n_all += n_dropped;
        fclose(file);
        return n_all > 0;
}

/* More at once than the kernel keeps for us: then everybody is asked about. */
START_TEST(test_announcements_that_were_lost_are_made_good) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.1"), living_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL);
        int other_fd = register_node(desk, "b", port_of(living_fd), NULL);

        for (unsigned n = 0; n < 1000 && !has_dropped_announcements(); n++)
                for (unsigned i = 0; i < 1000; i++)
                        close(listen_on("127.0.0.1"));
        close_fdp(&listener_fd);
        listener_fd = -1;
        turn(desk->event);
        ck_assert_uint_gt(desk->counters.n_evidence_lost, 0);
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a")->state == NODE_STOPPING, LONG_USEC));
        ck_assert_int_eq(desk_find(desk, "b")->state, NODE_UP);
        close(fd);
        close(other_fd);
        close(living_fd);
        desk_free(desk);
}
END_TEST

/* --- one name on several addresses --------------------------------------------------------------------- */

typedef struct Twins {
        int listener_fd[2], fd[2];
        uint32_t creation[2];
        uint16_t port;
} Twins;

/* Two of one name and one port, on 127.0.0.1 and 127.0.0.2. */
static void make_twins(Desk *desk, Twins *ret) {
        static const char *const where[] = { "127.0.0.1", "127.0.0.2" };

        ret->listener_fd[0] = listen_on(where[0]);
        ret->port = port_of(ret->listener_fd[0]);
        ret->listener_fd[1] = try_listen_on(where[1], ret->port);
        ck_assert_int_ge(ret->listener_fd[1], 0);
        for (int i = 0; i < 2; i++)
                ret->fd[i] = register_node(desk, "twin", ret->port, ret->creation + i);
}

static void twins_done(Twins *twins) {
        for (int i = 0; i < 2; i++) {
                close(twins->listener_fd[i]);
                close(twins->fd[i]);
        }
}

START_TEST(test_one_name_can_be_held_on_two_addresses) {
        Desk *desk = desk_new(&(DeskOptions){ .listen = "0.0.0.0" });
        Twins twins;
        int third_listener_fd, third_fd;

        make_twins(desk, &twins);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        ck_assert_uint_eq(look_up_at(desk, "127.0.0.1", "twin"), twins.port);
        ck_assert_uint_eq(look_up_at(desk, "127.0.0.2", "twin"), twins.port);

        /* a third on another port is told by its own address, one on every address is refused */
        third_listener_fd = listen_on("127.0.0.3");
        third_fd = register_node(desk, "twin", port_of(third_listener_fd), NULL);
        ck_assert_uint_eq(look_up_at(desk, "127.0.0.3", "twin"), port_of(third_listener_fd));
        ck_assert_uint_eq(look_up_at(desk, "127.0.0.1", "twin"), twins.port);
        ck_assert_uint_eq(look_up_at(desk, "127.0.0.4", "twin"), twins.port);
        close(third_fd);
        close(third_listener_fd);
        third_listener_fd = listen_on("0.0.0.0");
        third_fd = desk_connect(desk);
        ck_assert_uint_eq(ask_to_register(desk, third_fd, "twin", port_of(third_listener_fd)).result, 1);
        close(third_listener_fd);
        close(third_fd);
        twins_done(&twins);
        desk_free(desk);
}
END_TEST

/* Each has its own row, and gets it back, in whatever order they come. */
START_TEST(test_two_of_one_name_both_return_after_a_restart) {
        Desk *desk = desk_new(&(DeskOptions){ .listen = "0.0.0.0", .file = desk_file(), .boot_id = "boot-1" });
        Twins twins;
        uint32_t creations[2];

        make_twins(desk, &twins);
        desk_restart(desk);
        ck_assert_uint_eq(registry_n_in_state(desk->registry, NODE_AWAITED), 2);
        for (int i = 0; i < 2; i++) {
                close(twins.fd[i]);
                twins.fd[i] = register_node(desk, "twin", twins.port, creations + i);
        }
        ck_assert_uint_eq(desk->counters.n_returned, 2);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        ck_assert_uint_ne(creations[0], creations[1]);
        ck_assert(creations[0] == twins.creation[0] || creations[0] == twins.creation[1]);
        ck_assert(creations[1] == twins.creation[0] || creations[1] == twins.creation[1]);
        twins_done(&twins);
        desk_free(desk);
}
END_TEST

/* --- restart -------------------------------------------------------------------------------------------- */

static Desk *desk_with_file(void) {
        return desk_new(&(DeskOptions){ .file = desk_file(), .boot_id = "boot-1" });
}

START_TEST(test_a_node_whose_listener_lives_is_answered_for_at_once_and_returns_as_itself) {
        Desk *desk = desk_with_file();
        int listener_fd = listen_on("127.0.0.1");
        uint32_t creation, again;
        uint64_t since;
        int fd = register_node(desk, "a", port_of(listener_fd), &creation);

        since = desk_find(desk, "a")->since_usec;
        desk_restart(desk);
        ck_assert_uint_eq(look_up(desk, "a"), port_of(listener_fd));
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_AWAITED);
        ck_assert_uint_eq(desk_find(desk, "a")->await_until_usec, USEC_INFINITE);
        close(fd);
        fd = register_node(desk, "a", port_of(listener_fd), &again);
        ck_assert_uint_eq(again, creation);
        ck_assert_uint_eq(desk_find(desk, "a")->since_usec, since);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        ck_assert_uint_eq(desk->counters.n_returned, 1);
        ck_assert_uint_eq(desk->counters.n_registered, 0);
        ck_assert_int_eq(ask_number(desk->options.file, "SELECT count(*) FROM tenures"), 0);
        ck_assert_answer(desk->options.file, "SELECT state FROM registrations", "up");
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_another_process_is_refused_while_the_listener_lives) {
        Desk *desk = desk_with_file();
        int listener_fd = listen_on("127.0.0.1"), other_listener_fd = listen_on("127.0.0.1"), other_fd;
        int fd = register_node(desk, "a", port_of(listener_fd), NULL);

        desk_restart(desk);
        close(fd);
        other_fd = desk_connect(desk);
        ck_assert_uint_eq(ask_to_register(desk, other_fd, "a", port_of(other_listener_fd)).result, 1);
        close(other_fd);
        other_fd = desk_connect(desk);
        ck_assert_uint_eq(ask_to_register(desk, other_fd, "a", 1).result, 1);
        close(other_fd);
        /* as soon as it is gone the name is free */
        close(listener_fd);
        other_fd = register_node(desk, "a", port_of(other_listener_fd), NULL);
        close(other_fd);
        close(other_listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_an_awaited_node_is_gone_when_its_listener_closes) {
        Desk *desk = desk_with_file();
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL);

        desk_restart(desk);
        close(fd);
        ck_assert_uint_eq(registry_n_in_state(desk->registry, NODE_AWAITED), 1);
        close(listener_fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        ck_assert_uint_eq(look_up(desk, "a"), 0);
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file, "SELECT count(*) FROM tenures WHERE how = 'listener-gone'") == 1,
                            LONG_USEC));
        desk_free(desk);
}
END_TEST

START_TEST(test_a_node_that_died_while_we_were_away_is_gone_from_the_first_answer_on) {
        Desk *desk = desk_with_file();
        int dead_listener_fd = listen_on("127.0.0.1"), listener_fd = listen_on("127.0.0.1");
        int dead_fd = register_node(desk, "dead", port_of(dead_listener_fd), NULL);
        int fd = register_node(desk, "living", port_of(listener_fd), NULL);

        desk_stop(desk);
        close(dead_listener_fd);
        close(dead_fd);
        desk_start(desk);
        ck_assert_uint_eq(look_up(desk, "dead"), 0);
        ck_assert_uint_eq(look_up(desk, "living"), port_of(listener_fd));
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file, "SELECT count(*) FROM tenures WHERE how = 'found-dead'") == 1,
                            LONG_USEC));
        close(register_node(desk, "dead", 1, NULL));
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_after_a_restart_of_the_machine_nobody_is_awaited) {
        Desk *desk = desk_with_file();
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL);

        desk_stop(desk);
        desk->options.boot_id = "boot-2";
        desk_start(desk);
        ck_assert_uint_eq(look_up(desk, "a"), 0);
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file,
                                       "SELECT count(*) FROM tenures WHERE how = 'machine-restarted'") == 1,
                            LONG_USEC));
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_node_of_whom_nothing_is_known_is_awaited_for_12_seconds) {
        Desk *desk = desk_with_file();
        int fds[3];
        uint64_t began, until;

        fds[0] = register_node(desk, "a", 1, NULL);
        fds[1] = register_node(desk, "b", 1, NULL);
        fds[2] = register_node(desk, "c", 1, NULL);
        began = test_now();
        desk_restart(desk);
        for (int i = 0; i < 3; i++)
                close(fds[i]);
        ck_assert_uint_eq(registry_n_in_state(desk->registry, NODE_AWAITED), 3);
        ck_assert_uint_eq(look_up(desk, "a"), 1);
        /* whoever comes for the name takes it; nothing says that its holder is alive */
        fds[0] = register_node(desk, "c", 5000, NULL);
        ck_assert_uint_eq(registry_n_in_state(desk->registry, NODE_AWAITED), 2);
        until = desk_find(desk, "a")->await_until_usec;
        ck_assert_uint_ge(until, began + 12 * USEC_PER_SEC);
        ck_assert_uint_le(until, test_now() + 12 * USEC_PER_SEC);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_AWAITED) == 0, LONG_USEC));
        ck_assert_uint_ge(test_now(), until);
        ck_assert_uint_eq(look_up(desk, "a"), 0);
        ck_assert_uint_eq(look_up(desk, "c"), 5000);
        ck_assert(RUN_UNTIL(desk->event,
                            ask_number(desk->options.file, "SELECT count(*) FROM tenures WHERE how = 'did-not-return'") == 2,
                            LONG_USEC));
        close(fds[0]);
        desk_free(desk);
}
END_TEST

/* Its listener was known, but the kernel cannot be asked any more. */
START_TEST(test_blind_every_node_is_awaited_for_12_seconds) {
        Desk *desk = desk_with_file();
        int listener_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL);
        uint64_t now;

        close(listener_fd);
        desk->options.blind = true;
        desk_restart(desk);
        now = test_now();
        ck_assert_uint_eq(look_up_at(desk, "127.0.0.1", "a") != 0, true);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_AWAITED);
        ck_assert_uint_le(desk_find(desk, "a")->await_until_usec, now + 12 * USEC_PER_SEC);
        ck_assert_uint_ge(desk_find(desk, "a")->await_until_usec, now + 8 * USEC_PER_SEC);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_old_names_are_remembered_across_a_restart) {
        Desk *desk = desk_with_file();
        Heard heard = { 0 };
        int fd;

        close(register_node(desk, "was", 4000, NULL));
        turn(desk->event);
        desk_restart(desk);
        fd = desk_connect(desk);
        say_request(fd, "d", 1);
        ck_assert(RUN_UNTIL(desk->event, hear(fd, &heard), LONG_USEC));
        ck_assert_uint_gt(heard.n_data, 4);
        ck_assert_str_eq((const char *)heard.data + 4, "old/unused name <was>, port = 4000, fd = -1 \n");
        heard_done(&heard);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_creations_go_on_across_restarts) {
        Desk *desk = desk_with_file();
        uint32_t last = 0;

        for (unsigned i = 0; i < 10; i++) {
                uint32_t creation;

                close(register_node(desk, "a", 4000, &creation));
                ck_assert_uint_gt(creation, last);
                last = creation;
                turn(desk->event);
                desk_restart(desk);
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_a_16_bit_creation_differs_from_the_last_one_across_restarts) {
        Desk *desk = desk_with_file();
        uint32_t last = 0;

        for (unsigned i = 0; i < 10; i++) {
                int fd = desk_connect(desk);
                Answer answer;

                say_alive2(fd, "old", 4000, 5);
                answer = hear_answer(desk, fd);
                ck_assert_uint_eq(answer.result, 0);
                ck_assert_uint_ne(answer.creation, last);
                last = answer.creation;
                close(fd);
                turn(desk->event);
                desk_restart(desk);
        }
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("vigil");
        TCase *tcase = tcase_create("newcomers");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_node_is_matched_to_the_socket_on_which_it_listens, 0, ELEMENTS(listeners));
        tcase_add_loop_test(tcase, test_the_evidence_at_hand_is_told, 0, 2);
        tcase_add_test(tcase, test_blind_it_goes_by_connections_alone);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("listeners");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_node_whose_listener_closes_is_stopping_and_yields);
        tcase_add_test(tcase, test_a_listener_that_is_shut_down_is_noticed_when_the_name_is_wanted);
        tcase_add_test(tcase, test_a_listener_that_is_shut_down_is_noticed_when_it_looks_again);
        tcase_add_test(tcase, test_a_listener_whose_end_is_not_announced_is_missed_in_the_end);
        tcase_add_test(tcase, test_all_listeners_are_asked_for_however_many_there_are);
        tcase_add_test(tcase, test_one_listener_can_stand_behind_several_names);
        tcase_add_test(tcase, test_a_connection_that_closes_ends_the_registration_whatever_its_listener_does);
        tcase_add_test(tcase, test_announcements_that_were_lost_are_made_good);
        tcase_add_test(tcase, test_one_name_can_be_held_on_two_addresses);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("restart");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_two_of_one_name_both_return_after_a_restart);
        tcase_add_test(tcase, test_a_node_whose_listener_lives_is_answered_for_at_once_and_returns_as_itself);
        tcase_add_test(tcase, test_another_process_is_refused_while_the_listener_lives);
        tcase_add_test(tcase, test_an_awaited_node_is_gone_when_its_listener_closes);
        tcase_add_test(tcase, test_a_node_that_died_while_we_were_away_is_gone_from_the_first_answer_on);
        tcase_add_test(tcase, test_after_a_restart_of_the_machine_nobody_is_awaited);
        tcase_add_test(tcase, test_a_node_of_whom_nothing_is_known_is_awaited_for_12_seconds);
        tcase_add_test(tcase, test_blind_every_node_is_awaited_for_12_seconds);
        tcase_add_test(tcase, test_old_names_are_remembered_across_a_restart);
        tcase_add_test(tcase, test_creations_go_on_across_restarts);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_from_the_last_one_across_restarts);
        suite_add_tcase(suite, tcase);
        return suite;
}
