/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

/* The answer to FIND; over TCP if `is_tcp`. To be freed. */
static char *find(Desk *desk, bool is_tcp, const char *const *words) {
        int fd = is_tcp ? desk_connect(desk) : desk_connect_control(desk);

        say_words(fd, CONTROL_FIND, words);
        return hear_words(desk, fd);
}

/* The names in an answer, in its order: "a b ". */
static const char *names_in(const char *answer) {
        static char names[1024];

        names[0] = 0;
        for (const char *at = answer; (at = strstr(at, "node name=")); at++) {
                at += strlen("node name=");
                snprintf(names + strlen(names), sizeof names - strlen(names), "%.*s ", (int)strcspn(at, " "), at);
        }
        return names;
}

static const struct {
        const char *words[9];
        const char *names;
} cases[] = {
        { { NULL }, "app db web_1 web_2 " },
        { { "hidden", "1" }, "app db hid web_1 web_2 " },
        { { "name", "db" }, "db " },
        { { "name", "nobody" }, "" },
        { { "prefix", "web_" }, "web_1 web_2 " },
        { { "pattern", "*b*", "exclude", "*2" }, "db web_1 " },
        { { "state", "ready" }, "db " },
        { { "state", "stopping" }, "old " },
        { { "state", "any", "hidden", "1" }, "app db hid old web_1 web_2 " },
        { { "name", "web_2", "name", "app", "prefix", "d" }, "app db web_2 " },
        { { "scope", "127.0.0.1" }, "" },
        { { "scope", "*", "prefix", "a" }, "app " },
};

static void register_hidden(Desk *desk, int *ret_fd) {
        uint8_t body[2048];
        size_t n = fill_alive2(body, "hid", 9, 6);

        body[3] = NODE_TYPE_HIDDEN;
        *ret_fd = desk_connect(desk);
        say_request(*ret_fd, body, n);
        ck_assert_int_eq(result_of(desk, *ret_fd), 0);
}

START_TEST(test_what_is_selected_is_told_in_the_order_of_names) {
        static const char *const names[] = { "web_2", "db", "web_1", "old", "app" };
        Desk *desk = desk_new(NULL);
        int fds[ELEMENTS(names) + 1];

        for (size_t i = 0; i < ELEMENTS(names); i++)
                fds[i] = registered(desk, names[i], (uint16_t)(i + 1));
        register_hidden(desk, fds + ELEMENTS(names));
        free(ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "db", "announced", "ready")));
        free(ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "old", "announced", "draining")));
        for (int is_tcp = 0; is_tcp < 2; is_tcp++)
                for (size_t i = 0; i < ELEMENTS(cases); i++) {
                        _cleanup_(freep) char *answer = find(desk, is_tcp, cases[i].words);

                        ck_assert_int_eq(strncmp(answer, "epoch epoch=", 12), 0);
                        ck_assert_str_eq(answer + strlen(answer) - 5, "end \n");
                        ck_assert_msg(strcmp(names_in(answer), cases[i].names) == 0, "%zu: %s", i, answer);
                }
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        desk_free(desk);
}
END_TEST

/* P7 */
START_TEST(test_over_tcp_what_concerns_this_machine_alone_is_left_out) {
        Desk *desk = desk_new(NULL);
        int listener_fd = listen_on("127.0.0.2"), fd = registered(desk, "a", port_of(listener_fd));
        _cleanup_(freep) char *on_socket = NULL, *over_tcp = NULL;

        free(ask_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "host", "mail.example.org", "pair", "k=v")));
        live_in(desk_find(desk, "a"), "a.service");
        desk_find(desk, "a")->unit_pid = 4711;
        on_socket = find(desk, false, WORDS("name", "a"));
        over_tcp = find(desk, true, WORDS("name", "a"));
        ck_assert_says(on_socket, " uid=", " pid=4711", " unit=a.service", " listens=127.0.0.2", " host=mail.example.org",
                       " host-source=announced", " kind=long", " pair=k=v");
        ck_assert_says(over_tcp, " unit=a.service", " listens=127.0.0.2", " host=mail.example.org",
                       " host-source=announced", " kind=long", " pair=k=v");
        ck_assert_ptr_null(strstr(over_tcp, " uid="));
        ck_assert_ptr_null(strstr(over_tcp, " pid="));
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_the_epoch_and_the_revision_are_those_that_can_be_gone_on_from) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1), other_fd;
        _cleanup_(freep) char *answer = find(desk, true, WORDS("name", "nobody"));
        Heard heard = { 0 };
        char part[128];

        snprintf(part, sizeof part, "epoch epoch=%llu revision=%llu \nend \n",
                 (unsigned long long)watch_epoch(desk->watch), (unsigned long long)registry_revision(desk->registry));
        ck_assert_str_eq(answer, part);
        snprintf(part, sizeof part, "%llu", (unsigned long long)watch_epoch(desk->watch));
        close(fd);
        turn(desk->event);
        other_fd = desk_connect(desk);
        say_words(other_fd, CONTROL_WATCH, WORDS("epoch", part, "revision", "1"));
        ck_assert(RUN_UNTIL(desk->event, (hear(other_fd, &heard), heard.n_data > 5), LONG_USEC));
        ck_assert_uint_eq(heard.data[8], CONTROL_GONE_RECORD);
        heard_done(&heard);
        close(other_fd);
        desk_free(desk);
}
END_TEST

static const struct {
        const char *words[5];
        const char *text;
} bad_ones[] = {
        { { "name", "" }, "That cannot be the name of a node." },
        { { "state", "running" }, "A state is up, starting, ready, stopping, awaited or any." },
        { { "pattern", "[a" }, "A pattern has a bracket that is not closed" },
        { { "scope", "here" }, "The address is none." },
};

START_TEST(test_what_makes_no_sense_is_told_in_words) {
        Desk *desk = desk_new(NULL);

        for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
                _cleanup_(freep) char *answer = find(desk, is_tcp, bad_ones[_i].words);

                ck_assert_says(answer, "error error=1 ", bad_ones[_i].text);
        }
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("find");
        TCase *tcase = tcase_create("find");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_what_is_selected_is_told_in_the_order_of_names);
        tcase_add_test(tcase, test_over_tcp_what_concerns_this_machine_alone_is_left_out);
        tcase_add_test(tcase, test_the_epoch_and_the_revision_are_those_that_can_be_gone_on_from);
        tcase_add_loop_test(tcase, test_what_makes_no_sense_is_told_in_words, 0, ELEMENTS(bad_ones));
        suite_add_tcase(suite, tcase);
        return suite;
}
