/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"

/* --- said and answered -------------------------------------------------------------------------------- */

/* In a registry where `a` is registered at port 39449, versions 6 to 5, and nobody else. PORT stands for two
 * bytes, the port that was asked. */
static const struct {
        const char *what;
        const uint8_t *said;
        size_t n_said;
        const uint8_t *answered;
        size_t n_answered;
} dialogues[] = {
        { "where is a", BYTES("\0\2za"), BYTES("w\0\x9a\x19\x4d\0\0\6\0\5\0\1a\0\0") },
        { "where is a, with a NUL", BYTES("\0\3za\0"), BYTES("w\0\x9a\x19\x4d\0\0\6\0\5\0\1a\0\0") },
        { "where is a, with two NULs", BYTES("\0\4za\0\0"), BYTES("") },
        { "where is b", BYTES("\0\2zb"), BYTES("w\1") },
        { "where is A", BYTES("\0\2zA"), BYTES("w\1") },
        { "where is a name with a line feed", BYTES("\0\4za\nb"), BYTES("w\1") },
        { "where is nobody", BYTES("\0\1z"), BYTES("") },
        { "where is what is no UTF-8", BYTES("\0\2z\xff"), BYTES("") },
        { "names", BYTES("\0\1n"), BYTES("\0\0PORTname a at port 39449\n") },
        { "names, and more", BYTES("\0\5nxyz\0"), BYTES("\0\0PORTname a at port 39449\n") },
        { "a again", BYTES("\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\1a\0\0"), BYTES("v\1\0\0\0\x63") },
        { "a again, 16-bit", BYTES("\0\x0ex\x9a\x19\x4d\0\0\5\0\5\0\1a\0\0"), BYTES("y\1\0\x63") },
        { "an empty name", BYTES("\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\0\0\0z"), BYTES("v\1\0\0\0\x63") },
        { "a name with a line feed", BYTES("\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\1\n\0\0"), BYTES("v\1\0\0\0\x63") },
        { "a name that is no UTF-8", BYTES("\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\1\xff\0\0"), BYTES("v\1\0\0\0\x63") },
        { "a registration with a name that overruns", BYTES("\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\2b\0\0"), BYTES("") },
        { "a registration with extra that overruns", BYTES("\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\1b\0\1"), BYTES("") },
        { "kill", BYTES("\0\1k"), BYTES("NO") },
        { "stop a", BYTES("\0\2sa"), BYTES("") },
        { "stop b", BYTES("\0\2sb"), BYTES("") },
        { "the extension", BYTES("\0\7LLRC\1\1x"), BYTES("") },
        { "an old registration", BYTES("\0\4a\x9a\x19x"), BYTES("") },
        { "an old lookup", BYTES("\0\2pa"), BYTES("") },
        { "an answer", BYTES("\0\2wa"), BYTES("") },
};

/* Puts the port in the place of PORT. */
static size_t fill_port(uint8_t *out, const uint8_t *text, size_t n_text, uint16_t port) {
        if (n_text >= 6 && memcmp(text + 2, "PORT", 4) == 0) {
                memcpy(out, text, 2);
                out[2] = (uint8_t)(port >> 8);
                out[3] = (uint8_t)port;
                memcpy(out + 4, text + 6, n_text - 6);
                return n_text - 2;
        }
        memcpy(out, text, n_text);
        return n_text;
}

START_TEST(test_a_request_is_answered_as_the_protocol_says_and_the_connection_closed) {
        Desk *desk = desk_new(NULL);
        int node_fd = register_node(desk, "a", 39449, NULL), fd = desk_connect(desk);
        uint8_t expected[128];
        size_t n = fill_port(expected, dialogues[_i].answered, dialogues[_i].n_answered, desk->port);

        say(fd, dialogues[_i].said, dialogues[_i].n_said);
        expect_then_end(desk->event, fd, expected, n);
        expect_silence(desk->event, node_fd);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 1);
        ck_assert_uint_eq(desk->n_kills, 0);
        close(node_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_dump_tells_the_descriptors_and_the_old_names) {
        Desk *desk = desk_new(NULL);
        int fd_a = register_node(desk, "a", 39449, NULL), fd_b = register_node(desk, "b", 4000, NULL), fd;
        Node *a = desk_find(desk, "a"), *b = desk_find(desk, "b");
        char text[256];
        int n, old_fd = b->connection_fd;

        close(fd_b);
        turn(desk->event);
        n = snprintf(text, sizeof text,
                     "%c%c%c%cactive name     <a> at port 39449, fd = %d\n%cold/unused name <b>, port = 4000, fd = %d \n",
                     0, 0, desk->port >> 8, desk->port & 0xff, a->connection_fd, 0, old_fd);
        fd = desk_connect(desk);
        say_request(fd, "d", 1);
        expect_then_end(desk->event, fd, text, (size_t)n + 1);
        close(fd_a);
        desk_free(desk);
}
END_TEST

START_TEST(test_of_256_opcodes_only_the_known_are_answered) {
        Desk *desk = desk_new(NULL);

        for (unsigned op = 0; op < 256; op++) {
                uint8_t frame[] = { 0, 1, (uint8_t)op };
                int fd;

                if (op == 'n' || op == 'd' || op == 'k')
                        continue;
                fd = desk_connect(desk);
                say(fd, frame, sizeof frame);
                expect_then_end(desk->event, fd, "", 0);
        }
        ck_assert_uint_eq(desk->counters.n_unknown, 256 - 6);
        ck_assert_uint_eq(desk->counters.n_malformed, 3); /* x, z and s want more */
        desk_free(desk);
}
END_TEST

START_TEST(test_what_a_node_said_is_what_a_lookup_tells) {
        static const uint8_t said[] = "\0\x18x\xff\xfe\xfd\xfc\0\6\xf9\xf8\0\3b\xc3\xa9\0\4\0\1\xff\0junk";
        Desk *desk = desk_new(NULL);
        int node_fd = desk_connect(desk), fd = desk_connect(desk);

        say(node_fd, said, sizeof said - 1);
        ck_assert_uint_eq(hear_answer(desk, node_fd).result, 0);
        say(fd, "\0\4zb\xc3\xa9", 6);
        expect_then_end(desk->event, fd, "w\0\xff\xfe\xfd\xfc\0\6\xf9\xf8\0\3b\xc3\xa9\0\4\0\1\xff\0", 21);
        close(node_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_the_width_of_the_creation_is_what_was_asked_for) {
        Desk *desk = desk_new(NULL);
        int wide_fd = desk_connect(desk), narrow_fd = desk_connect(desk);
        Heard heard = { 0 };

        say_alive2(wide_fd, "wide", 4000, 6);
        turn(desk->event);
        hear(wide_fd, &heard);
        ck_assert_uint_eq(heard.n_data, 6);
        ck_assert_mem_eq(heard.data, "v\0", 2);
        heard_done(&heard);
        say_alive2(narrow_fd, "narrow", 4000, 5);
        turn(desk->event);
        hear(narrow_fd, &heard);
        ck_assert_uint_eq(heard.n_data, 4);
        ck_assert_mem_eq(heard.data, "y\0\0", 3);
        ck_assert_uint_ge(heard.data[3], 1);
        ck_assert_uint_le(heard.data[3], 3);
        heard_done(&heard);
        close(wide_fd);
        close(narrow_fd);
        desk_free(desk);
}
END_TEST

/* Stock epmd lets it register and then does not find it. */
START_TEST(test_a_name_of_255_characters_can_be_looked_up) {
        Desk *desk = desk_new(NULL);
        char name[NODE_NAME_BYTES_MAX + 1];
        int fd;

        for (size_t at = 0; at < NODE_NAME_BYTES_MAX; at += 4)
                memcpy(name + at, "\xf0\x9f\x90\x87", 4);
        name[NODE_NAME_BYTES_MAX] = 0;
        fd = register_node(desk, name, 4000, NULL);
        ck_assert_uint_eq(look_up(desk, name), 4000);
        close(fd);
        turn(desk->event);
        ck_assert_uint_eq(look_up(desk, name), 0);
        desk_free(desk);
}
END_TEST

/* --- registrations ------------------------------------------------------------------------------------ */

START_TEST(test_a_refused_duplicate_is_answered_and_closed_and_its_holder_stays) {
        Desk *desk = desk_new(NULL);
        int node_fd = register_node(desk, "a", 4000, NULL), fd = desk_connect(desk);
        Answer answer = ask_to_register(desk, fd, "a", 4001);

        ck_assert_uint_eq(answer.result, 1);
        ck_assert_uint_eq(answer.creation, 99);
        ck_assert(answer.has_ended);
        ck_assert_uint_eq(look_up(desk, "a"), 4000);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_TAKEN], 1);
        ck_assert_uint_eq(conns_n(desk->conns), 1);
        expect_silence(desk->event, node_fd);
        close(fd);
        close(node_fd);
        desk_free(desk);
}
END_TEST

/* P4: the request overtakes the close before it, since the loop has seen neither. */
START_TEST(test_close_and_register_again_is_never_refused) {
        Desk *desk = desk_new(NULL);
        int fd = register_node(desk, "a", 4000, NULL);

        for (unsigned i = 0; i < 2000; i++) {
                int next_fd = desk_connect(desk);

                if (i % 2) {
                        turn(desk->event); /* it has been accepted */
                        close(fd);
                } else
                        close(fd);
                ck_assert_uint_eq(ask_to_register(desk, next_fd, "a", 4000).result, 0);
                fd = next_fd;
        }
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NAME_TAKEN], 0);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 1);
        close(fd);
        desk_free(desk);
}
END_TEST

/* All three are ready in one turn, in any order. */
START_TEST(test_of_close_and_two_newcomers_exactly_one_gets_the_name) {
        for (unsigned i = 0; i < 50; i++) {
                Desk *desk = desk_new(NULL);
                int fd = register_node(desk, "a", 4000, NULL), first_fd = desk_connect(desk),
                    second_fd = desk_connect(desk);
                Answer first, second;

                turn(desk->event);
                say_alive2(first_fd, "a", 4001, 6);
                close(fd);
                say_alive2(second_fd, "a", 4002, 6);
                first = hear_answer(desk, first_fd);
                second = hear_answer(desk, second_fd);
                ck_assert_uint_eq(first.result + second.result, 1);
                ck_assert_uint_eq(look_up(desk, "a"), first.result == 0 ? 4001 : 4002);
                close(first_fd);
                close(second_fd);
                desk_free(desk);
        }
}
END_TEST

START_TEST(test_whatever_a_registered_node_sends_ends_its_registration) {
        for (int how = 0; how < 4; how++) {
                Desk *desk = desk_new(NULL);
                int fd = register_node(desk, "a", 4000, NULL);

                if (how == 0)
                        close(fd);
                else if (how == 1)
                        reset(fd);
                else if (how == 2)
                        shutdown(fd, SHUT_WR);
                else
                        say(fd, "x", 1);
                turn(desk->event);
                ck_assert_uint_eq(registry_n_nodes(desk->registry), 0);
                ck_assert_uint_eq(conns_n(desk->conns), 0);
                ck_assert_uint_eq(look_up(desk, "a"), 0);
                if (how >= 2)
                        close(fd);
                desk_free(desk);
        }
}
END_TEST

START_TEST(test_a_registration_with_its_successor_in_one_segment_is_closed) {
        static const uint8_t two[] = "\0\x0ex\x9a\x19\x4d\0\0\6\0\5\0\1a\0\0" "\0\1n";
        Desk *desk = desk_new(NULL);
        int fd = desk_connect(desk);

        say(fd, two, sizeof two - 1);
        expect_then_end(desk->event, fd, "", 0);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 0);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_user_who_has_his_share_is_refused) {
        Desk *desk = desk_new(&(DeskOptions){ .n_nodes_per_uid_max = 2 });
        int first_fd = register_node(desk, "a", 4000, NULL), second_fd = register_node(desk, "b", 4000, NULL);
        int third_fd = desk_connect(desk);

        ck_assert_uint_eq(ask_to_register(desk, third_fd, "c", 4000).result, 1);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_UID_LIMIT], 1);
        close(third_fd);
        close(first_fd);
        turn(desk->event);
        close(register_node(desk, "c", 4000, NULL));
        close(second_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_full_registry_refuses) {
        Desk *desk = desk_new(&(DeskOptions){ .n_nodes_max = 1 });
        int first_fd = register_node(desk, "a", 4000, NULL), second_fd = desk_connect(desk);

        ck_assert_uint_eq(ask_to_register(desk, second_fd, "b", 4000).result, 1);
        ck_assert_uint_eq(desk->counters.n_refused[REFUSAL_NODES_LIMIT], 1);
        close(first_fd);
        close(second_fd);
        desk_free(desk);
}
END_TEST

/* --- KILL_REQ, STOP_REQ ------------------------------------------------------------------------------- */

static void ask_and_expect(Desk *desk, const char *body, const char *expected) {
        int fd = desk_connect(desk);

        say_request(fd, body, strlen(body));
        expect_then_end(desk->event, fd, expected, strlen(expected));
}

START_TEST(test_kill_is_granted_when_nobody_is_registered_or_when_relaxed) {
        Desk *desk = desk_new(&(DeskOptions){ .relaxed = _i });
        int fd = register_node(desk, "a", 4000, NULL);

        ask_and_expect(desk, "k", _i ? "OK" : "NO");
        ck_assert_uint_eq(desk->n_kills, _i ? 1 : 0);
        close(fd);
        turn(desk->event);
        ask_and_expect(desk, "k", "OK");
        ck_assert_uint_eq(desk->n_kills, _i ? 2 : 1);
        ck_assert_uint_eq(desk->counters.n_kill, 2);
        desk_free(desk);
}
END_TEST

START_TEST(test_stop_is_only_for_the_relaxed) {
        Desk *desk = desk_new(&(DeskOptions){ .relaxed = _i });
        int fd = register_node(desk, "a", 4000, NULL);

        ask_and_expect(desk, "sb", _i ? "NOEXIST" : "");
        ask_and_expect(desk, "sa", _i ? "STOPPED" : "");
        ck_assert_uint_eq(registry_n_nodes(desk->registry), _i ? 0 : 1);
        if (_i) {
                expect_then_end(desk->event, fd, "", 0); /* it loses its connection */
                ask_and_expect(desk, "sa", "NOEXIST");
        } else
                close(fd);
        desk_free(desk);
}
END_TEST

/* --- counters ----------------------------------------------------------------------------------------- */

START_TEST(test_each_request_is_counted_once) {
        Desk *desk = desk_new(NULL);
        int fd = register_node(desk, "a", 4000, NULL);

        look_up(desk, "a");
        look_up(desk, "b");
        look_up(desk, "c");
        ask_and_expect(desk, "sa", "");
        ask_and_expect(desk, "k", "NO");
        ask_and_expect(desk, "z", "");
        ask_and_expect(desk, "?", "");
        for (int i = 0; i < 3; i++) {
                int list_fd = desk_connect(desk);
                Heard heard = { 0 };

                say_request(list_fd, i ? "d" : "n", 1);
                ck_assert(RUN_UNTIL(desk->event, hear(list_fd, &heard), LONG_USEC));
                heard_done(&heard);
                close(list_fd);
        }
        close(fd);
        turn(desk->event);
        ck_assert_uint_eq(desk->counters.n_accepted, 11);
        ck_assert_uint_eq(desk->counters.n_names, 1);
        ck_assert_uint_eq(desk->counters.n_dump, 2);
        ck_assert_uint_eq(desk->counters.n_alive2, 1);
        ck_assert_uint_eq(desk->counters.n_port2, 3);
        ck_assert_uint_eq(desk->counters.n_lookups_missed, 2);
        ck_assert_uint_eq(desk->counters.n_stop, 1);
        ck_assert_uint_eq(desk->counters.n_kill, 1);
        ck_assert_uint_eq(desk->counters.n_malformed, 1);
        ck_assert_uint_eq(desk->counters.n_unknown, 1);
        ck_assert_uint_eq(desk->counters.n_registered, 1);
        ck_assert_uint_eq(desk->counters.n_ended, 1);
        ck_assert_uint_eq(desk->counters.n_denied, 0);
        desk_free(desk);
}
END_TEST

/* --- what the log says ---------------------------------------------------------------------------------- */

#define assert_says(said, part) ck_assert_msg(strstr((said), (part)) != NULL, "'%s' is not in: %s", (part), (said))

START_TEST(test_a_refusal_tells_who_holds_the_name) {
        Desk *desk = desk_new(NULL);
        int node_fd = register_node(desk, "a", 4000, NULL), fd = desk_connect(desk);
        char said[4096], part[128];

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        CATCH_STDERR(said, ask_to_register(desk, fd, "a", 4001));
        assert_says(said, "a at port 4001 is refused");
        snprintf(part, sizeof part, "held (up) at port 4000 by uid %u", getuid());
        assert_says(said, part);
        assert_says(said, "since 20");
        close(fd);
        close(node_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_refusal_of_a_bad_name_shows_it_without_its_control_characters) {
        Desk *desk = desk_new(NULL);
        int fd = desk_connect(desk);
        char said[4096];

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        CATCH_STDERR(said, ask_to_register(desk, fd, "a\nrollcalld: b", 4001));
        assert_says(said, "a\\x0arollcalld: b at port 4001 is refused: name-control-character\n");
        ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
        close(fd);
        desk_free(desk);
}
END_TEST

/* As people use `epmd -d` to learn what goes on. */
START_TEST(test_debugging_shows_each_request_and_its_answer) {
        Desk *desk = desk_new(&(DeskOptions){ .relaxed = true });
        char said[16384];
        int fd = -1;

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 1);
        CATCH_STDERR(said, {
                fd = register_node(desk, "alpha", 4000, NULL);
                look_up(desk, "alpha");
                look_up(desk, "beta");
                ask_and_expect(desk, "sgamma", "NOEXIST");
                ask_and_expect(desk, "?", "");
                ask_and_expect(desk, "z", "");
                close(fd);
                turn(desk->event);
        });
        no_log();
        assert_says(said, "got ALIVE2_REQ alpha from 127.0.0.1:");
        assert_says(said, "registered, creation ");
        assert_says(said, "got PORT2_REQ alpha from 127.0.0.1:");
        assert_says(said, ": port 4000\n");
        assert_says(said, "got PORT2_REQ beta from");
        assert_says(said, ": no such node\n");
        assert_says(said, "got STOP_REQ gamma from");
        assert_says(said, "(63) that is not known");
        assert_says(said, "(122) that is malformed");
        assert_says(said, "has closed its connection");
        desk_free(desk);
}
END_TEST

/* --- P6: slow readers of listings that are no longer current ------------------------------------------- */

START_TEST(test_readers_of_too_many_old_listings_are_shed_and_nobody_else_is_kept_waiting) {
        enum { N_NODES = 10000, N_READERS = 12 };
        Desk *desk = desk_new(NULL);
        int fds[N_READERS], other_fd;
        uint64_t began;

        /* Not through sockets: 10,000 names of 1,020 bytes, 10 MB a text. */
        for (unsigned i = 0; i < N_NODES; i++) {
                char name[NODE_NAME_BYTES_MAX + 1];
                Event event;
                Reply reply;

                for (size_t at = 0; at < NODE_NAME_BYTES_MAX; at += 4)
                        memcpy(name + at, "\xf0\x9f\x90\x87", 4);
                name[NODE_NAME_BYTES_MAX] = 0;
                for (unsigned digit = 0, rest = i; digit < 4; digit++, rest /= 10)
                        name[digit * 4 + 3] = (char)(0x80 + rest % 10);
                event = (Event){
                        .kind = EVENT_REGISTER,
                        .info = { .name = name, .n_name = NODE_NAME_BYTES_MAX, .highest_version = 6 },
                        .peer = { .uid = NODE_UID_UNKNOWN },
                        .connection_fd = -1,
                };
                ck_assert_int_eq(ledger_carry(desk->ledger, &event, &reply), 0);
                ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        }
        began = test_now();
        for (unsigned i = 0; i < N_READERS; i++) {
                fds[i] = desk_connect(desk);
                say_request(fds[i], "n", 1);
                turn(desk->event);
                other_fd = desk_connect(desk); /* makes a new text necessary */
                ck_assert_uint_eq(ask_to_register(desk, other_fd, "other", 4000).result, 0);
                close(other_fd);
                turn(desk->event);
        }
        ck_assert_uint_gt(desk->counters.n_shed, 0);
        ck_assert_uint_lt(desk->counters.n_shed, N_READERS);
        ck_assert_uint_lt(test_now() - began, LONG_USEC);
        ck_assert_uint_eq(look_up(desk, "other"), 0);
        for (unsigned i = 0; i < N_READERS; i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("mapper");
        TCase *tcase = tcase_create("requests");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_request_is_answered_as_the_protocol_says_and_the_connection_closed, 0,
                            ELEMENTS(dialogues));
        tcase_add_test(tcase, test_dump_tells_the_descriptors_and_the_old_names);
        tcase_add_test(tcase, test_of_256_opcodes_only_the_known_are_answered);
        tcase_add_test(tcase, test_what_a_node_said_is_what_a_lookup_tells);
        tcase_add_test(tcase, test_the_width_of_the_creation_is_what_was_asked_for);
        tcase_add_test(tcase, test_a_name_of_255_characters_can_be_looked_up);
        tcase_add_loop_test(tcase, test_kill_is_granted_when_nobody_is_registered_or_when_relaxed, 0, 2);
        tcase_add_loop_test(tcase, test_stop_is_only_for_the_relaxed, 0, 2);
        tcase_add_test(tcase, test_each_request_is_counted_once);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("registrations");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_refused_duplicate_is_answered_and_closed_and_its_holder_stays);
        tcase_add_test(tcase, test_close_and_register_again_is_never_refused);
        tcase_add_test(tcase, test_of_close_and_two_newcomers_exactly_one_gets_the_name);
        tcase_add_test(tcase, test_whatever_a_registered_node_sends_ends_its_registration);
        tcase_add_test(tcase, test_a_registration_with_its_successor_in_one_segment_is_closed);
        tcase_add_test(tcase, test_a_user_who_has_his_share_is_refused);
        tcase_add_test(tcase, test_a_full_registry_refuses);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("bounds");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_readers_of_too_many_old_listings_are_shed_and_nobody_else_is_kept_waiting);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("words");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_refusal_tells_who_holds_the_name);
        tcase_add_test(tcase, test_a_refusal_of_a_bad_name_shows_it_without_its_control_characters);
        tcase_add_test(tcase, test_debugging_shows_each_request_and_its_answer);
        suite_add_tcase(suite, tcase);
        return suite;
}
