/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"
#include "notify_test.h"

/* --- systemd's side --------------------------------------------------------------------------------------------- */

#define N_STORED_MAX 8

typedef struct Manager {
        char path[96];
        int fd;
        struct {
                char name[FDSTORE_NAME_MAX];
                int fd;
        } stored[N_STORED_MAX];
        size_t n_stored;
} Manager;

static Manager manager;

static void manager_begin(void) {
        snprintf(manager.path, sizeof manager.path, "%s/notify", new_directory());
        manager.fd = manager_new(manager.path);
}

static void manager_forget(const char *name) {
        size_t n = 0;

        for (size_t i = 0; i < manager.n_stored; i++)
                if (strcmp(manager.stored[i].name, name) == 0)
                        close(manager.stored[i].fd);
                else
                        manager.stored[n++] = manager.stored[i];
        manager.n_stored = n;
}

static void manager_keep(const char *name, int fd) {
        ck_assert_int_ge(fd, 0);
        ck_assert_uint_lt(manager.n_stored, N_STORED_MAX);
        snprintf(manager.stored[manager.n_stored].name, sizeof manager.stored[0].name, "%s", name);
        manager.stored[manager.n_stored++].fd = fd;
}

/* Does as it is told. Returns how many connections it has. */
static size_t manager_obey(void) {
        static const char store[] = "FDSTORE=1\nFDNAME=", removal[] = "FDSTOREREMOVE=1\nFDNAME=";
        char said[512];
        int fd;

        while (manager_receive(manager.fd, said, sizeof said, &fd)) {
                if (strncmp(said, store, strlen(store)) == 0)
                        manager_keep(said + strlen(store), fd);
                else if (strncmp(said, removal, strlen(removal)) == 0)
                        manager_forget(said + strlen(removal));
                else
                        ck_abort_msg("said: %s", said);
        }
        return manager.n_stored;
}

/* What the next process is handed: duplicates, as systemd keeps its own. */
static void manager_hand_back(Desk *desk) {
        manager_obey();
        for (size_t i = 0; i < manager.n_stored; i++) {
                int fd = fcntl(manager.stored[i].fd, F_DUPFD_CLOEXEC, 0);

                ck_assert_int_eq(fdstore_kept_add(&desk->kept, manager.stored[i].name, &fd), 0);
        }
}

static void manager_end(void) {
        while (manager.n_stored > 0)
                manager_forget(manager.stored[0].name);
        close(manager.fd);
}

/* A kill -9 and a start: nothing is said in between. `file` of another registry, or NULL: the same. */
static void revive(Desk *desk, const char *file) {
        manager_hand_back(desk);
        desk_stop(desk);
        manager_obey();
        if (file)
                desk->options.file = file;
        memset(&desk->counters, 0, sizeof desk->counters);
        desk_start(desk);
}

static Desk *make_desk(void) {
        manager_begin();
        return desk_new(&(DeskOptions){ .file = desk_file(), .notify_path = manager.path, .hold_usec = LONG_USEC });
}

static void end_desk(Desk *desk) {
        desk_free(desk);
        manager_end();
}

static bool is_stored_node(const Node *node) {
        FdstoreKey key;

        manager_obey();
        if (!node)
                return false;
        for (size_t i = 0; i < manager.n_stored; i++)
                if (fdstore_parse_name(manager.stored[i].name, &key, NULL) == 0 && key.serial == node->serial &&
                    key.since_usec == node->since_usec)
                        return true;
        return false;
}

static bool is_stored(Desk *desk, const char *name) {
        return is_stored_node(desk_find(desk, name));
}

/* As an earlier daemon named them: they do not tell of their nodes. */
static void cut_labels(void) {
        FdstoreKey key;

        manager_obey();
        for (size_t i = 0; i < manager.n_stored; i++) {
                ck_assert_int_eq(fdstore_parse_name(manager.stored[i].name, &key, NULL), 0);
                fdstore_format_name(&key, "", manager.stored[i].name);
        }
}

/* Registered, and in the store. */
static int stored(Desk *desk, const char *name, uint16_t port) {
        int fd = registered(desk, name, port);

        ck_assert(RUN_UNTIL(desk->event, is_stored(desk, name), LONG_USEC));
        return fd;
}

/* --- into the store and out of it ---------------------------------------------------------------------------------- */

START_TEST(test_the_connection_of_a_node_is_stored_when_it_is_a_second_old) {
        Desk *desk = make_desk();
        uint64_t began = test_now();
        int fd = stored(desk, "a", 1);

        ck_assert_uint_ge(test_now() - began, FDSTORE_AGE_USEC);
        ck_assert_uint_eq(manager.n_stored, 1);
        ck_assert(!is_hung_up(fd));
        close(fd);
        end_desk(desk);
}
END_TEST

/* Who finds it there knows of no answer that is to leave. */
START_TEST(test_one_that_was_not_answered_yet_is_not_stored) {
        uint64_t answered;
        Desk *desk;
        int fd;

        disk_install();
        disk_match = "registry.db";
        desk = make_desk();
        hang_the_disk(desk);
        fd = newcomer(desk, "a", 1);
        run_for(desk->event, FDSTORE_AGE_USEC + 300 * USEC_PER_MSEC);
        ck_assert_int_eq(heard_result(fd), NO_ANSWER);
        fdstore_flush(desk->fdstore); /* nor in haste */
        expect_nothing(manager.fd);
        ck_assert_int_eq(result_of(desk, fd), 0);
        answered = test_now();
        ck_assert(RUN_UNTIL(desk->event, is_stored(desk, "a"), LONG_USEC));
        ck_assert_uint_ge(test_now() - answered + 100 * USEC_PER_MSEC, FDSTORE_AGE_USEC);
        disk_hang(0);
        close(fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_one_that_comes_and_goes_does_not_touch_systemd) {
        Desk *desk = make_desk();

        for (int i = 0; i < 20; i++)
                close(registered(desk, "a", 1));
        run_for(desk->event, 1500 * USEC_PER_MSEC);
        expect_nothing(manager.fd);
        end_desk(desk);
}
END_TEST

typedef enum Ending { HANGS_UP, IS_RESET, SPEAKS, IS_RELEASED, IS_REPLACED, _ENDING_N } Ending;

START_TEST(test_one_that_ends_is_taken_out_and_sees_its_connection_close) {
        Desk *desk = make_desk();
        int listener_fd = listen_on("127.0.0.1"), fd = stored(desk, "a", port_of(listener_fd)), newcomer_fd = -1;
        _cleanup_(freep) char *answer = NULL;
        bool is_open = true;

        switch ((Ending)_i) {
        case HANGS_UP:
                close(fd);
                is_open = false;
                break;
        case IS_RESET:
                reset(fd);
                is_open = false;
                break;
        case SPEAKS:
                say(fd, "x", 1);
                break;
        case IS_RELEASED:
                answer = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
                break;
        case IS_REPLACED:
                close(TAKE_FD(listener_fd));
                newcomer_fd = registered(desk, "a", 2);
                break;
        case _ENDING_N:
                break;
        }
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        if (is_open) {
                ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd), LONG_USEC));
                close(fd);
        }
        close_fdp(&newcomer_fd);
        close_fdp(&listener_fd);
        end_desk(desk);
}
END_TEST

/* PID 1 has a duplicate until it reads that it shall not: the node sees the end all the same. */
START_TEST(test_a_node_that_is_released_sees_it_while_systemd_does_not_read) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);
        _cleanup_(freep) char *answer = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));

        ck_assert_says(answer, "name=a");
        ck_assert_uint_eq(manager.n_stored, 1);
        ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd), LONG_USEC));
        close(fd);
        end_desk(desk);
}
END_TEST

/* It waits again, to be stored anew, since the removal of a namesake takes it along. */
START_TEST(test_a_node_that_waits_to_be_stored_anew_sees_its_end_while_systemd_has_a_duplicate) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);
        Node *node = desk_find(desk, "a");
        Event release = { .kind = EVENT_RELEASE, .node = node, .now_usec = now_usec(CLOCK_REALTIME) };

        fdstore_discard(desk->fdstore, manager.stored[0].name);
        ck_assert(!fdstore_is_stored(conn_stored(node->connection)));
        ck_assert_int_eq(ledger_carry(desk->ledger, &release, NULL), 0);
        ck_assert_uint_eq(manager.n_stored, 1);
        ck_assert(is_hung_up(fd));
        /* nor is anything heard of it by the loop, of which nobody knows any more */
        close(fd);
        turn(desk->event);
        ck_assert_uint_le(run_for(desk->event, 100 * USEC_PER_MSEC), 10);
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        end_desk(desk);
}
END_TEST

START_TEST(test_without_a_store_nothing_is_missing) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);

        ck_assert_ptr_null(conn_stored(desk_find(desk, "a")->connection));
        close(fd);
        turn(desk->event);
        ck_assert_ptr_null(desk_find(desk, "a"));
        desk_free(desk);
}
END_TEST

/* --- a new process -------------------------------------------------------------------------------------------------- */

START_TEST(test_a_restart_changes_nothing_for_a_node_in_the_store) {
        Desk *desk = make_desk();
        int listener_fd = _i ? listen_on("127.0.0.1") : -1;
        int fd = stored(desk, "a", _i ? port_of(listener_fd) : 1);
        uint32_t creation = desk_find(desk, "a")->creation;
        uint64_t since = desk_find(desk, "a")->since_usec, serial = desk_find(desk, "a")->serial;
        Node *node;

        revive(desk, NULL);
        node = desk_find(desk, "a");
        ck_assert_ptr_nonnull(node);
        ck_assert(!node->facts.is_awaited);
        ck_assert_int_eq(node->state, NODE_UP);
        ck_assert_uint_eq(node->creation, creation);
        ck_assert_uint_eq(node->since_usec, since);
        ck_assert_uint_eq(node->serial, serial);
        ck_assert_ptr_nonnull(node->connection);
        ck_assert_ptr_eq(conn_node(node->connection), node);
        ck_assert_ptr_nonnull(conn_stored(node->connection));
        ck_assert(!is_hung_up(fd));
        ck_assert_int_eq(result_of(desk, newcomer(desk, "a", 2)), 1);
        run_for(desk->event, 1200 * USEC_PER_MSEC);
        ck_assert_uint_eq(manager_obey(), 1); /* stored once */
        /* its connection is its life, as before */
        close(fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0 && manager_obey() == 0, LONG_USEC));
        close_fdp(&listener_fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_restarts_in_a_row_change_nothing) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);
        uint32_t creation = desk_find(desk, "a")->creation;

        for (int i = 0; i < 5; i++) {
                revive(desk, NULL);
                ck_assert_uint_eq(desk_find(desk, "a")->creation, creation);
                ck_assert_ptr_nonnull(desk_find(desk, "a")->connection);
        }
        ck_assert(!is_hung_up(fd));
        ck_assert_uint_eq(manager_obey(), 1);
        close(fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_a_young_connection_is_stored_on_the_way_out) {
        Desk *desk = make_desk();
        int fd = registered(desk, "a", 1);

        ck_assert_uint_eq(manager_obey(), 0);
        desk_stop(desk);
        ck_assert_uint_eq(manager_obey(), 1);
        manager_hand_back(desk);
        desk_start(desk);
        ck_assert_ptr_nonnull(desk_find(desk, "a"));
        ck_assert(!desk_find(desk, "a")->facts.is_awaited);
        ck_assert(!is_hung_up(fd));
        close(fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_a_stored_connection_that_has_ended_is_proof_of_death) {
        Desk *desk = make_desk();
        int listener_fd = listen_on("127.0.0.1"), fd = stored(desk, "a", port_of(listener_fd));
        _cleanup_(freep) char *answer = NULL;

        if (_i == 0)
                close(fd);
        else if (_i == 1)
                reset(fd);
        else
                say(fd, "x", 1);
        /* the loop does not come by any more */
        revive(desk, NULL);
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_uint_eq(conns_n(desk->conns), 0);
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        answer = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        ck_assert_says(answer, "how=left");
        if (_i == 2) {
                ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd), LONG_USEC));
                close(fd);
        }
        close(listener_fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_a_node_whose_listener_has_closed_meanwhile_is_there_and_stopping) {
        Desk *desk = make_desk();
        int listener_fd = listen_on("127.0.0.1"), fd = stored(desk, "a", port_of(listener_fd)), newcomer_fd;

        close(listener_fd);
        revive(desk, NULL);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_STOPPING);
        ck_assert(!is_hung_up(fd));
        newcomer_fd = registered(desk, "a", 2);
        ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd) && manager_obey() == 0, LONG_USEC));
        close(fd);
        close(newcomer_fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_a_stored_connection_that_no_row_wants_and_that_does_not_tell_is_closed) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);

        cut_labels();
        revive(desk, desk_file()); /* the registry file is gone */
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd), LONG_USEC));
        close(fd);
        fd = registered(desk, "a", 1);
        close(fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_what_is_not_ours_is_taken_out_of_the_store) {
        static const char *const names[] = { "stored", "node-x", "node-999-1", "" };
        Desk *desk = make_desk();
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        manager_keep(names[_i], fds[1]);
        revive(desk, NULL);
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        ck_assert(is_hung_up(fds[0]));
        close(fds[0]);
        end_desk(desk);
}
END_TEST

/* Beyond the store's size, or stored a moment too late. */
START_TEST(test_a_row_without_a_connection_lives_by_its_listener) {
        Desk *desk = make_desk();
        int listener_fd = listen_on("127.0.0.1"), fd = stored(desk, "a", port_of(listener_fd)), other_fd;

        other_fd = stored(desk, "b", 1);
        manager_forget(manager.stored[0].name);
        revive(desk, NULL);
        ck_assert(desk_find(desk, "a")->facts.is_awaited);
        ck_assert(!desk_find(desk, "b")->facts.is_awaited);
        /* it returns, and is stored anew */
        close(fd);
        fd = stored(desk, "a", port_of(listener_fd));
        ck_assert(!desk_find(desk, "a")->facts.is_awaited);
        ck_assert_uint_eq(desk->counters.n_returned, 1);
        ck_assert_uint_eq(manager_obey(), 2);
        close(fd);
        close(other_fd);
        close(listener_fd);
        end_desk(desk);
}
END_TEST

/* Systemd may have it twice, where a removal was lost. */
START_TEST(test_of_two_connections_of_one_row_one_is_taken) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);
        char name[FDSTORE_NAME_MAX];

        strcpy(name, manager.stored[0].name);
        manager_keep(name, fcntl(manager.stored[0].fd, F_DUPFD_CLOEXEC, 0));
        revive(desk, NULL);
        ck_assert_ptr_nonnull(desk_find(desk, "a"));
        /* whatever becomes of the second: the node either keeps its connection and is stored, or sees it close */
        ck_assert(RUN_UNTIL(desk->event,
                            (is_stored(desk, "a") && manager.n_stored == 1 && !is_hung_up(fd)) || is_hung_up(fd),
                            LONG_USEC));
        if (is_hung_up(fd))
                ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        close(fd);
        end_desk(desk);
}
END_TEST

/* --- rows that are lost ------------------------------------------------------------------------------------------------ */

/* Another file, or none at all. i & 1: with a listener. */
START_TEST(test_one_whose_row_is_lost_lives_as_it_was_by_its_connection) {
        Desk *desk = make_desk();
        int listener_fd = _i & 1 ? listen_on("127.0.0.1") : -1;
        int fd = stored(desk, "a", _i & 1 ? port_of(listener_fd) : 1), other_fd;
        _cleanup_(node_freep) Node *before = node_copy(desk_find(desk, "a"));
        Node *node;

        if (_i & 2)
                desk->options.file = NULL;
        revive(desk, _i & 2 ? NULL : desk_file());
        node = desk_find(desk, "a");
        ck_assert_ptr_nonnull(node);
        ck_assert_int_eq(node->state, NODE_UP);
        ck_assert_uint_eq(node->info.port, before->info.port);
        ck_assert_uint_eq(node->info.type, before->info.type);
        ck_assert_uint_eq(node->creation, before->creation);
        ck_assert_uint_eq(node->serial, before->serial);
        ck_assert_uint_eq(node->since_usec, before->since_usec);
        ck_assert_uint_eq(node->peer.uid, before->peer.uid);
        ck_assert_uint_eq(node->listener.cookie, before->listener.cookie);
        ck_assert(address_equal(&node->scope, &before->scope));
        ck_assert_ptr_eq(conn_node(node->connection), node);
        ck_assert(!is_hung_up(fd));
        ck_assert(RUN_UNTIL(desk->event, _i & 2 || is_written(desk), LONG_USEC));
        /* nobody else is given what is its own */
        ck_assert_int_eq(result_of(desk, newcomer(desk, "a", 2)), 1);
        other_fd = registered(desk, "b", 3);
        ck_assert_uint_gt(desk_find(desk, "b")->creation, before->creation);
        ck_assert_uint_gt(desk_find(desk, "b")->serial, before->serial);
        close(fd);
        close(other_fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0 && manager_obey() == 0, LONG_USEC));
        close_fdp(&listener_fd);
        end_desk(desk);
}
END_TEST

/* The row that was written of it is as good as the one that was lost. */
START_TEST(test_one_that_was_salvaged_is_found_by_its_row_the_next_time) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);
        _cleanup_(freep) char *answer = NULL;

        revive(desk, desk_file());
        answer = ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready"));
        ck_assert_says(answer, "announced=ready");
        revive(desk, NULL);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_READY);
        ck_assert(!is_hung_up(fd));
        ck_assert_uint_eq(manager_obey(), 1);
        close(fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_one_that_has_ended_is_not_salvaged) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);

        close(fd);
        revive(desk, desk_file());
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_uint_eq(conns_n(desk->conns), 0);
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        end_desk(desk);
}
END_TEST

/* --- a file that is read late ---------------------------------------------------------------------------------------- */

/* A start that does not wait for the disk. */
static void revive_with_hung_disk(Desk *desk) {
        manager_hand_back(desk);
        desk_stop(desk);
        disk_install();
        disk_match = "registry.db";
        disk_hang(DISK_OPEN);
        desk->options.impatient = true;
        desk_start(desk);
}

/* P2: no lookup waits for the disk. And what only the row knows is known when it is read. */
START_TEST(test_who_tells_of_itself_does_not_wait_for_the_file) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1), other_fd;
        uint32_t creation = desk_find(desk, "a")->creation;
        _cleanup_(freep) char *before =
                ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready", "host", "here", "pair", "k=v"));
        _cleanup_(freep) char *after = NULL, *again = NULL;

        revive_with_hung_disk(desk);
        ck_assert_ptr_nonnull(desk_find(desk, "a"));
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        other_fd = registered(desk, "b", 2);
        disk_hang(0);
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a")->state == NODE_READY && is_written(desk), LONG_USEC));
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        ck_assert_uint_eq(desk_find(desk, "a")->creation, creation);
        after = ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a"));
        ck_assert_says(after, "announced=ready", "host=here", "pair=k=v");
        ck_assert(!is_hung_up(fd));
        ck_assert(RUN_UNTIL(desk->event, is_stored(desk, "b"), LONG_USEC));
        desk->options.impatient = false;
        revive(desk, NULL);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        again = ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a"));
        ck_assert_str_eq(again, after);
        close(fd);
        close(other_fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_what_no_row_wants_yet_is_kept_until_the_file_is_read) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);
        uint32_t creation = desk_find(desk, "a")->creation;

        cut_labels();
        revive_with_hung_disk(desk);
        ck_assert_ptr_null(desk_find(desk, "a"));
        run_for(desk->event, 500 * USEC_PER_MSEC);
        ck_assert(!is_hung_up(fd));
        ck_assert_uint_eq(manager_obey(), 1);
        disk_hang(0);
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a"), LONG_USEC));
        ck_assert(!desk_find(desk, "a")->facts.is_awaited);
        ck_assert_uint_eq(desk_find(desk, "a")->creation, creation);
        ck_assert(!is_hung_up(fd));
        ck_assert_uint_eq(manager_obey(), 1);
        close(fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_whose_name_has_been_taken_meanwhile_is_closed_when_the_file_is_read) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1), newcomer_fd;

        cut_labels();
        revive_with_hung_disk(desk);
        newcomer_fd = registered(desk, "a", 2);
        disk_hang(0);
        ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd), LONG_USEC));
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, 2);
        ck_assert(RUN_UNTIL(desk->event, is_stored(desk, "a") && manager.n_stored == 1, LONG_USEC));
        close(fd);
        close(newcomer_fd);
        end_desk(desk);
}
END_TEST

START_TEST(test_a_file_that_is_not_read_within_the_grace_is_waited_for_no_more) {
        Desk *desk = make_desk();
        int fd = stored(desk, "a", 1);

        cut_labels();
        revive_with_hung_disk(desk);
        ck_assert(!RUN_UNTIL(desk->event, is_hung_up(fd), 2 * USEC_PER_SEC));
        ck_assert(RUN_UNTIL(desk->event, is_hung_up(fd), LONG_USEC));
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 0, LONG_USEC));
        disk_hang(0);
        close(fd);
        end_desk(desk);
}
END_TEST

/* --- twins ------------------------------------------------------------------------------------------------------------ */

static Node *find_at(Desk *desk, const char *address) {
        Address scope;

        ck_assert_int_eq(address_parse(address, &scope), 0);
        return registry_find(desk->registry, "a", 1, &scope);
}

/* Two nodes, stored, of which each one's connection was matched to the other one's listener: the first, which listens
 * at 127.0.0.2, is taken for the one at 127.0.0.1. */
static void store_crossed_twins(Desk *desk, int fds[static 2], int listener_fds[static 2]) {
        listener_fds[0] = -1;
        do {
                close_fdp(&listener_fds[0]);
                listener_fds[0] = listen_on("127.0.0.2");
                listener_fds[1] = try_listen_on("127.0.0.1", port_of(listener_fds[0]));
        } while (listener_fds[1] < 0);
        fds[0] = registered(desk, "a", port_of(listener_fds[0]));
        fds[1] = registered(desk, "a", port_of(listener_fds[0]));
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 2, LONG_USEC));
        ck_assert_uint_eq(find_at(desk, "127.0.0.1")->creation, heard_creation(fds[0]));
}

/* The one that dies while no daemon looks leaves the other as it is. */
START_TEST(test_a_twin_that_dies_unseen_does_not_take_the_other_one_along) {
        Desk *desk = make_desk();
        int listener_fds[2], fds[2];
        uint32_t creation;
        Address scope;
        Node *left;

        store_crossed_twins(desk, fds, listener_fds);
        creation = heard_creation(fds[!_i]);
        close(fds[_i]);
        close(listener_fds[_i]);
        revive(desk, NULL);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 1);
        left = find_at(desk, "127.0.0.9");
        ck_assert_int_eq(address_parse(_i ? "127.0.0.2" : "127.0.0.1", &scope), 0);
        ck_assert(address_equal(&left->scope, &scope));
        ck_assert_int_eq(left->state, NODE_UP);
        ck_assert_uint_eq(left->creation, creation);
        ck_assert(!is_hung_up(fds[!_i]));
        close(fds[!_i]);
        close(listener_fds[!_i]);
        end_desk(desk);
}
END_TEST

START_TEST(test_a_connection_that_turns_out_to_be_anothers_gets_that_ones_name) {
        Desk *desk = make_desk();
        int listener_fds[2], fds[2];
        Node *left;

        store_crossed_twins(desk, fds, listener_fds);
        close(fds[0]);
        close(listener_fds[0]);
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 1 && registry_n_awaited(desk->registry) == 0,
                            LONG_USEC));
        left = find_at(desk, "127.0.0.1");
        ck_assert(RUN_UNTIL(desk->event, manager_obey() == 1 && is_stored_node(left), LONG_USEC));
        ck_assert(!is_hung_up(fds[1]));
        revive(desk, NULL);
        ck_assert(!find_at(desk, "127.0.0.1")->facts.is_awaited);
        ck_assert(!is_hung_up(fds[1]));
        close(fds[1]);
        close(listener_fds[1]);
        end_desk(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("keeper");
        TCase *tcase = tcase_create("in and out");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_the_connection_of_a_node_is_stored_when_it_is_a_second_old);
        tcase_add_test(tcase, test_one_that_was_not_answered_yet_is_not_stored);
        tcase_add_test(tcase, test_one_that_comes_and_goes_does_not_touch_systemd);
        tcase_add_loop_test(tcase, test_one_that_ends_is_taken_out_and_sees_its_connection_close, 0, _ENDING_N);
        tcase_add_test(tcase, test_a_node_that_is_released_sees_it_while_systemd_does_not_read);
        tcase_add_test(tcase, test_a_node_that_waits_to_be_stored_anew_sees_its_end_while_systemd_has_a_duplicate);
        tcase_add_test(tcase, test_without_a_store_nothing_is_missing);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("a new process");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_restart_changes_nothing_for_a_node_in_the_store, 0, 2);
        tcase_add_test(tcase, test_restarts_in_a_row_change_nothing);
        tcase_add_test(tcase, test_a_young_connection_is_stored_on_the_way_out);
        tcase_add_loop_test(tcase, test_a_stored_connection_that_has_ended_is_proof_of_death, 0, 3);
        tcase_add_test(tcase, test_a_node_whose_listener_has_closed_meanwhile_is_there_and_stopping);
        tcase_add_test(tcase, test_a_stored_connection_that_no_row_wants_and_that_does_not_tell_is_closed);
        tcase_add_loop_test(tcase, test_what_is_not_ours_is_taken_out_of_the_store, 0, 4);
        tcase_add_test(tcase, test_a_row_without_a_connection_lives_by_its_listener);
        tcase_add_test(tcase, test_of_two_connections_of_one_row_one_is_taken);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("lost");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_one_whose_row_is_lost_lives_as_it_was_by_its_connection, 0, 4);
        tcase_add_test(tcase, test_one_that_was_salvaged_is_found_by_its_row_the_next_time);
        tcase_add_test(tcase, test_one_that_has_ended_is_not_salvaged);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("late");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_who_tells_of_itself_does_not_wait_for_the_file);
        tcase_add_test(tcase, test_what_no_row_wants_yet_is_kept_until_the_file_is_read);
        tcase_add_test(tcase, test_whose_name_has_been_taken_meanwhile_is_closed_when_the_file_is_read);
        tcase_add_test(tcase, test_a_file_that_is_not_read_within_the_grace_is_waited_for_no_more);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("twins");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_twin_that_dies_unseen_does_not_take_the_other_one_along, 0, 2);
        tcase_add_test(tcase, test_a_connection_that_turns_out_to_be_anothers_gets_that_ones_name);
        suite_add_tcase(suite, tcase);
        return suite;
}
