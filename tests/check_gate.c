/* SPDX-License-Identifier: Apache-2.0 */

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "desk_test.h"

/* --- P7: who may ask what ------------------------------------------------------------------------------ */

typedef enum Asker {
        ASKER_LOOPBACK,
        ASKER_SAME_ADDRESS, /* its address is the one it asks */
        ASKER_OURS,         /* another address, but its socket is of our kernel */
        ASKER_FOREIGN,
        _ASKER_N,
} Asker;

static const struct {
        const char *lookup_from, *list_from;
        bool foreigner_may_look_up, foreigner_may_list;
} rules[] = {
        { NULL, NULL, true, false },
        { "any", "any", true, true },
        { "local", "local", false, false },
        { "local", "any", false, true },
        { "10.9.9.0/24", "10.9.9.0/24", true, true },
        { "10.9.9.2", "10.9.9.2", true, true },
        { "10.9.9.3", "10.9.9.1", false, false },
        { "fd00::/8", "::1", false, false },
};

/* Gives `lo` of this network namespace an address beside 127.0.0.1. */
static bool add_address(const char *name, const char *address) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq request = { 0 };
        struct sockaddr_in in = { .sin_family = AF_INET };
        bool ok;

        inet_pton(AF_INET, address, &in.sin_addr);
        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
        memcpy(&request.ifr_addr, &in, sizeof in);
        ok = ioctl(fd, SIOCSIFADDR, &request) == 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
        request.ifr_flags |= IFF_UP;
        ok = ok && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
        close(fd);
        return ok;
}

/* Whom a request is for, beside this machine. */
typedef enum Openness {
        LOCAL_ONLY,
        LOOKUP_FROM,
        LIST_FROM,
} Openness;

typedef struct Question {
        Openness openness;
        const uint8_t *request;
        size_t n_request;
        const uint8_t *answer; /* how it begins */
        size_t n_answer;
} Question;

#define DENIED "LRC\1\0\0\0" /* and a length, ERROR, 4 */
#define ERROR_BEGINS "\101\0\1\0\2\0"

static const Question questions[] = {
        { LOOKUP_FROM, BYTES("znobody"), BYTES("w\1") },
        { LIST_FROM, BYTES("n"), BYTES("\0") },
        { LOCAL_ONLY, BYTES("d"), BYTES("\0") },
        { LOCAL_ONLY, BYTES("k"), BYTES("NO") },
        { LOCAL_ONLY, BYTES("snobody"), BYTES("NOEXIST") }, /* relaxed */
        { LOCAL_ONLY, BYTES("x\1\1M\0\0\6\0\5\0\1b\0\0"), BYTES("v\0") },
        /* FIND and WATCH begin with EPOCH; the node to be announced is not there */
        { LIST_FROM, BYTES("LRC\1\11"), BYTES("LRC\1\0\0\0\31\107") },
        { LIST_FROM, BYTES("LRC\1\6"), BYTES("LRC\1\0\0\0\31\107") },
        { LOCAL_ONLY, BYTES("LRC\1\7\0\20\0\1q"), BYTES("LRC\1\0\0\0\51" ERROR_BEGINS "\7") },
};

static bool may_ask(Asker asker, const Question *question, int rule) {
        if (asker != ASKER_FOREIGN)
                return true;
        return (question->openness == LOOKUP_FROM && rules[rule].foreigner_may_look_up) ||
               (question->openness == LIST_FROM && rules[rule].foreigner_may_list);
}

static bool is_control(const Question *question) {
        return question->request[0] == 'L';
}

static bool is_denial(const Heard *heard) {
        return heard->n_data > 15 && memcmp(heard->data, DENIED, 7) == 0 &&
               memcmp(heard->data + 8, ERROR_BEGINS "\4", 7) == 0;
}

/* The head of a watcher's answer comes before the rest. */
static bool has_answer(const Question *question, const Heard *heard) {
        return heard->n_data >= (is_control(question) ? question->n_answer : 1);
}

/* Asks; true if it was answered. Whoever may not ask is closed without a byte, or told so in words. */
static bool is_answered(Desk *desk, const char *from, const char *to, const Question *question) {
        int fd = try_connect_from(from, to, desk->port);
        Heard heard = { 0 };
        bool answered;

        ck_assert_msg(fd >= 0, "cannot connect from %s to %s", from, to);
        say_request(fd, question->request, question->n_request);
        ck_assert(RUN_UNTIL(desk->event, hear(fd, &heard) || has_answer(question, &heard), LONG_USEC));
        answered = heard.n_data > 0 && !is_denial(&heard);
        if (answered)
                ck_assert_mem_eq(heard.data, question->answer, question->n_answer);
        else
                ck_assert_int_eq(heard.n_data > 0, is_control(question));
        heard_done(&heard);
        close(fd);
        turn(desk->event);
        return answered;
}

/* The listener is in a network namespace of its own. The kernel's word is asked for in the same one, or, for
 * a foreigner, in another, where his socket is not found. */
static Desk *desk_in_namespace(int own_fd, int outer_fd, Asker asker, int rule) {
        Desk *desk = desk_open(&(DeskOptions){ .listen = "0.0.0.0",
                                               .lookup_from = rules[rule].lookup_from,
                                               .list_from = rules[rule].list_from,
                                               .relaxed = asker != ASKER_LOOPBACK });

        if (asker == ASKER_FOREIGN)
                ck_assert_int_eq(setns(outer_fd, CLONE_NEWNET), 0);
        desk_start(desk);
        ck_assert_int_eq(vigil_blind_reason(desk->vigil) != NULL, asker == ASKER_FOREIGN);
        ck_assert_int_eq(setns(own_fd, CLONE_NEWNET), 0);
        return desk;
}

START_TEST(test_who_may_ask_what_is_decided_by_where_he_asks_from) {
        static const struct {
                const char *from, *to;
        } routes[_ASKER_N] = {
                [ASKER_LOOPBACK] = { "127.0.0.5", "127.0.0.1" },
                [ASKER_SAME_ADDRESS] = { "10.9.9.1", "10.9.9.1" },
                [ASKER_OURS] = { "10.9.9.2", "10.9.9.1" },
                [ASKER_FOREIGN] = { "10.9.9.2", "10.9.9.1" },
        };
        int outer_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), own_fd;

        if (unshare(CLONE_NEWNET) < 0) {
                puts("SKIP: a network namespace of its own is needed");
                close(outer_fd);
                return;
        }
        own_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        ck_assert(add_address("lo", "127.0.0.1"));
        ck_assert(add_address("lo:1", "10.9.9.1"));
        ck_assert(add_address("lo:2", "10.9.9.2"));
        for (Asker asker = 0; asker < _ASKER_N; asker++) {
                Desk *desk = desk_in_namespace(own_fd, outer_fd, asker, _i);
                unsigned n_denied = 0;

                for (size_t i = 0; i < ELEMENTS(questions); i++) {
                        bool expected = may_ask(asker, questions + i, _i);
                        uint8_t op = questions[i].request[0];

                        if (op == 'k' || (op == 's' && !desk->options.relaxed))
                                continue;
                        ck_assert_msg(is_answered(desk, routes[asker].from, routes[asker].to, questions + i) == expected,
                                      "question %zu from asker %d under rule %d", i, asker, _i);
                        n_denied += !expected;
                }
                ck_assert_uint_eq(desk->counters.n_denied, n_denied);
                ck_assert_uint_eq(desk->n_kills, 0);
                if (asker == ASKER_FOREIGN) {
                        ck_assert(!is_answered(desk, routes[asker].from, routes[asker].to, questions + 3));
                        ck_assert_uint_eq(desk->n_kills, 0);
                }
                desk_free(desk);
        }
        ck_assert_int_eq(setns(outer_fd, CLONE_NEWNET), 0);
        close(own_fd);
        close(outer_fd);
}
END_TEST

static unsigned count(const char *text, const char *part) {
        unsigned n = 0;

        for (; (text = strstr(text, part)); text++)
                n++;
        return n;
}

START_TEST(test_whoever_may_not_ask_is_named_once_and_then_counted) {
        int outer_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), own_fd;
        Desk *desk;
        char said[16384];

        if (unshare(CLONE_NEWNET) < 0) {
                puts("SKIP: a network namespace of its own is needed");
                close(outer_fd);
                return;
        }
        own_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        ck_assert(add_address("lo", "127.0.0.1"));
        ck_assert(add_address("lo:1", "10.9.9.1"));
        ck_assert(add_address("lo:2", "10.9.9.2"));
        ck_assert(add_address("lo:3", "10.9.9.3"));
        ck_assert(add_address("lo:4", "10.9.9.4"));
        desk = desk_in_namespace(own_fd, outer_fd, ASKER_FOREIGN, 0);
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        CATCH_STDERR(said, {
                for (int i = 0; i < 5; i++) {
                        ck_assert(!is_answered(desk, "10.9.9.2", "10.9.9.1", questions + 1));
                        ck_assert(!is_answered(desk, "10.9.9.3", "10.9.9.1", questions + 2));
                        ck_assert(!is_answered(desk, "10.9.9.3", "10.9.9.1", questions + 6));
                        ck_assert(!is_answered(desk, "10.9.9.4", "10.9.9.1", questions + 7));
                }
        });
        no_log();
        ck_assert_uint_eq(count(said, "10.9.9.2:"), 1);
        ck_assert_uint_eq(count(said, "10.9.9.3:"), 1);
        ck_assert_uint_eq(count(said, "10.9.9.4:"), 1);
        ck_assert_uint_eq(count(said, "NAMES_REQ"), 1);
        ck_assert_uint_eq(count(said, "DUMP_REQ"), 1);
        ck_assert_uint_eq(count(said, "WATCH"), 1);
        ck_assert_uint_eq(count(said, "\n"), 3);
        ck_assert_uint_eq(desk->counters.n_denied, 20);
        desk_free(desk);
        ck_assert_int_eq(setns(outer_fd, CLONE_NEWNET), 0);
        close(own_fd);
        close(outer_fd);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("gate");
        TCase *tcase = tcase_create("askers");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_who_may_ask_what_is_decided_by_where_he_asks_from, 0, ELEMENTS(rules));
        tcase_add_test(tcase, test_whoever_may_not_ask_is_named_once_and_then_counted);
        suite_add_tcase(suite, tcase);
        return suite;
}
