/* SPDX-License-Identifier: Apache-2.0 */

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "config/config.h"
#include "loop_test.h"
#include "server.h"

#define MAX_WORDS 16

/* The daemon in a process of its own, but for the exec. */
typedef struct Daemon {
        pid_t pid;
        uint16_t port;
        int log_fd;
        char directory[64];
        sd_event *event; /* the test's; has nothing to do but to wait */
} Daemon;

static const char *const variables[] = { "ERL_EPMD_PORT",  "ERL_EPMD_ADDRESS",  "ERL_EPMD_RELAXED_COMMAND_CHECK",
                                         "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "ROLLCALL_BOOT_ID",
                                         "NOTIFY_SOCKET",  "WATCHDOG_USEC",     "JOURNAL_STREAM" };

/* What main() does. */
static int serve(int argc, char **argv) {
        Config config;
        Server *server = NULL;
        int r = config_parse(&config, argc, argv);

        if (r < 0) {
                config_done(&config);
                return 2;
        }
        log_init(config.log_format, config.settings.log_priority, config.debug);
        r = server_new(&server, &config);
        if (r >= 0)
                r = server_run(server);
        server_free(server);
        config_done(&config);
        log_done();
        return r < 0 ? 1 : 0;
}

static void in_child(Daemon *daemon, const char *const *words, int ready_fd, int passed_fd) {
        char copies[MAX_WORDS + 3][128] = { "rollcalld" }, *argv[MAX_WORDS + 4] = { copies[0] }, number[16];
        int argc = 1;

        dup2(daemon->log_fd, STDERR_FILENO);
        for (size_t i = 0; i < ELEMENTS(variables); i++)
                if (!words[0] || !strchr(words[0], '=') || strncmp(words[0], variables[i], strlen(variables[i])) != 0)
                        unsetenv(variables[i]);
        for (; *words && strchr(*words, '=') && (*words)[0] != '-'; words++) /* NAME=value words come first */
                putenv((char *)(uintptr_t)*words);
        for (; *words; words++, argc++) {
                snprintf(copies[argc], sizeof copies[argc], "%s", *words);
                argv[argc] = copies[argc];
        }
        if (ready_fd >= 0) {
                strcpy(copies[argc], "--ready-fd");
                snprintf(copies[argc + 1], sizeof copies[0], "%d", ready_fd);
                argv[argc] = copies[argc];
                argv[argc + 1] = copies[argc + 1];
                argc += 2;
        }
        if (passed_fd >= 0) {
                dup2(passed_fd, 3);
                setenv("LISTEN_FDS", "1", 1);
                snprintf(number, sizeof number, "%ld", (long)getpid());
                setenv("LISTEN_PID", number, 1);
        }
        _exit(serve(argc, argv));
}

/* Returns once it is ready, or has ended: then `*ret_status` is how. */
static bool daemon_start(Daemon *daemon, const char *const *words, int passed_fd, int *ret_status) {
        int ready[2];
        char text[16];
        ssize_t n;

        ck_assert_int_eq(pipe2(ready, 0), 0);
        fflush(NULL);
        daemon->pid = fork();
        ck_assert_int_ge(daemon->pid, 0);
        if (daemon->pid == 0) {
                int fd = fcntl(ready[1], F_DUPFD, 50);

                close(ready[0]);
                close(ready[1]);
                in_child(daemon, words, fd, passed_fd);
        }
        close(ready[1]);
        n = read(ready[0], text, sizeof text);
        close(ready[0]);
        if (n == 6 && memcmp(text, "READY\n", 6) == 0)
                return true;
        ck_assert_int_eq(waitpid(daemon->pid, ret_status, 0), daemon->pid);
        daemon->pid = 0;
        return false;
}

static Daemon *daemon_new(void) {
        Daemon *daemon = calloc(1, sizeof *daemon);
        int fd = listen_on("127.0.0.1");

        ck_assert_ptr_nonnull(daemon);
        daemon->port = port_of(fd);
        close(fd);
        daemon->event = make_event();
        strcpy(daemon->directory, new_directory());
        daemon->log_fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | O_APPEND, 0600);
        ck_assert_int_ge(daemon->log_fd, 0);
        return daemon;
}

static const char *daemon_log(Daemon *daemon) {
        static char text[65536];
        ssize_t n = pread(daemon->log_fd, text, sizeof text - 1, 0);

        ck_assert_int_ge(n, 0);
        text[n] = 0;
        return text;
}

/* Its wait status. */
static int daemon_wait(Daemon *daemon) {
        uint64_t began = test_now();
        int status = -1;
        pid_t pid;

        while ((pid = waitpid(daemon->pid, &status, WNOHANG)) == 0 && test_now() - began < LONG_USEC)
                sd_event_run(daemon->event, 10 * USEC_PER_MSEC);
        ck_assert_msg(pid == daemon->pid, "it does not end; log:\n%s", daemon_log(daemon));
        daemon->pid = 0;
        return status;
}

static void daemon_free(Daemon *daemon) {
        if (daemon->pid > 0) {
                kill(daemon->pid, SIGKILL);
                waitpid(daemon->pid, NULL, 0);
        }
        close(daemon->log_fd);
        sd_event_unref(daemon->event);
        free(daemon);
}

#define WORDS(...) (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL }

/* Listening at its port of 127.0.0.1, with a file and a control socket in its directory. */
static const char *const *usual_words(const Daemon *daemon) {
        static char listen[32], state[80], control[80];
        static const char *words[] = { "--listen", listen, "--state", state, "--control", control, NULL };

        snprintf(listen, sizeof listen, "127.0.0.1:%u", daemon->port);
        snprintf(state, sizeof state, "%s/registry.db", daemon->directory);
        snprintf(control, sizeof control, "%s/control", daemon->directory);
        return words;
}

static void must_start(Daemon *daemon, const char *const *words) {
        int status = 0;

        ck_assert_msg(daemon_start(daemon, words, -1, &status), "it does not start: %d\n%s", status,
                      daemon_log(daemon));
}

static void ask(Daemon *daemon, const char *body, size_t n_body, const char *expected, size_t n_expected) {
        int fd = connect_to("127.0.0.1", daemon->port);

        say_request(fd, body, n_body);
        expect_then_end(daemon->event, fd, expected, n_expected);
}

/* NAMES_REQ; `names` is the text behind the port. */
static void expect_names(Daemon *daemon, const char *names) {
        char expected[512] = { 0, 0, (char)(daemon->port >> 8), (char)daemon->port };

        strcpy(expected + 4, names);
        ask(daemon, "n", 1, expected, 4 + strlen(names));
}

/* Until the daemon has seen that the last one has closed its connection. */
static void wait_until_nobody_is_registered(Daemon *daemon) {
        uint64_t began = test_now();
        size_t n_heard;

        do {
                int fd = connect_to("127.0.0.1", daemon->port);
                Heard heard = { 0 };

                say_request(fd, "n", 1);
                ck_assert(RUN_UNTIL(daemon->event, hear(fd, &heard), LONG_USEC));
                n_heard = heard.n_data;
                heard_done(&heard);
                close(fd);
        } while (n_heard > 4 && test_now() - began < LONG_USEC);
        ck_assert_uint_eq(n_heard, 4);
}

static int register_at(Daemon *daemon, const char *name, uint16_t port) {
        uint8_t body[64] = { 'x', (uint8_t)(port >> 8), (uint8_t)port, 'M', 0, 0, 6, 0, 5, 0, (uint8_t)strlen(name) };
        int fd = connect_to("127.0.0.1", daemon->port);
        Heard heard = { 0 };

        memcpy(body + 11, name, strlen(name));
        say_request(fd, body, 13 + strlen(name));
        ck_assert(RUN_UNTIL(daemon->event, hear(fd, &heard) || heard.n_data >= 6, LONG_USEC));
        ck_assert_uint_eq(heard.n_data, 6);
        ck_assert_mem_eq(heard.data, "v\0", 2);
        heard_done(&heard);
        return fd;
}

static bool exists(const char *directory, const char *name) {
        char file[128];

        snprintf(file, sizeof file, "%s/%s", directory, name);
        return access(file, F_OK) == 0;
}

/* --- start and end ---------------------------------------------------------------------------------------- */

START_TEST(test_it_serves_until_it_is_told_to_end) {
        static const int signals[] = { SIGTERM, SIGINT };
        Daemon *daemon = daemon_new();
        int fd;

        must_start(daemon, usual_words(daemon));
        expect_names(daemon, "");
        fd = register_at(daemon, "a", 4000);
        expect_names(daemon, "name a at port 4000\n");
        ask(daemon, "zb", 2, "w\1", 2);
        ck_assert(exists(daemon->directory, "control"));
        ck_assert(exists(daemon->directory, "registry.db"));
        kill(daemon->pid, signals[_i]);
        ck_assert_int_eq(daemon_wait(daemon), 0);
        ck_assert(!exists(daemon->directory, "control"));
        ck_assert_int_lt(try_connect_from(NULL, "127.0.0.1", daemon->port), 0);
        ck_assert_ptr_nonnull(strstr(daemon_log(daemon), "is ready"));
        ck_assert_ptr_nonnull(strstr(daemon_log(daemon), "a registered at port 4000"));
        ck_assert_ptr_null(strstr(daemon_log(daemon), "egraded"));
        close(fd);
        daemon_free(daemon);
}
END_TEST

START_TEST(test_a_granted_kill_ends_it) {
        Daemon *daemon = daemon_new();
        int fd;

        must_start(daemon, usual_words(daemon));
        fd = register_at(daemon, "a", 4000);
        ask(daemon, "k", 1, "NO", 2);
        expect_names(daemon, "name a at port 4000\n");
        close(fd);
        wait_until_nobody_is_registered(daemon);
        ask(daemon, "k", 1, "OK", 2);
        /* The port is free by then: a successor can start at once. */
        ck_assert_int_lt(try_connect_from(NULL, "127.0.0.1", daemon->port), 0);
        ck_assert_int_eq(daemon_wait(daemon), 0);
        daemon_free(daemon);
}
END_TEST

START_TEST(test_sighup_makes_it_look_again_and_go_on) {
        Daemon *daemon = daemon_new();
        int fd;

        must_start(daemon, usual_words(daemon));
        fd = register_at(daemon, "a", 4000);
        kill(daemon->pid, SIGHUP);
        ck_assert(RUN_UNTIL(daemon->event, strstr(daemon_log(daemon), "Looked again"), LONG_USEC));
        expect_names(daemon, "name a at port 4000\n");
        close(fd);
        kill(daemon->pid, SIGTERM);
        ck_assert_int_eq(daemon_wait(daemon), 0);
        daemon_free(daemon);
}
END_TEST

START_TEST(test_it_may_hold_as_many_descriptors_as_the_machine_allows) {
        Daemon *daemon = daemon_new();
        char file[64], line[256] = "";
        unsigned long soft = 0, hard = 1;
        FILE *limits;

        must_start(daemon, usual_words(daemon));
        snprintf(file, sizeof file, "/proc/%ld/limits", (long)daemon->pid);
        limits = fopen(file, "re");
        ck_assert_ptr_nonnull(limits);
        while (fgets(line, sizeof line, limits))
                if (sscanf(line, "Max open files %lu %lu", &soft, &hard) == 2)
                        break;
        fclose(limits);
        ck_assert_uint_eq(soft, hard);
        daemon_free(daemon);
}
END_TEST

/* --- what stands in the way -------------------------------------------------------------------------------- */

START_TEST(test_a_taken_port_is_told_and_it_does_not_start) {
        Daemon *daemon = daemon_new();
        int fd = try_listen_on("127.0.0.1", daemon->port), status = 0;
        char pid[32];

        ck_assert_int_ge(fd, 0);
        ck_assert(!daemon_start(daemon, usual_words(daemon), -1, &status));
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 1);
        snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
        ck_assert_msg(strstr(daemon_log(daemon), pid) != NULL, "log: %s", daemon_log(daemon));
        ck_assert(!exists(daemon->directory, "control"));
        close(fd);
        daemon_free(daemon);
}
END_TEST

START_TEST(test_a_second_daemon_does_not_take_a_file_that_is_in_use) {
        Daemon *daemon = daemon_new(), *second = daemon_new();
        const char *state = usual_words(daemon)[3];
        char pid[32], listen[32];
        int status = 0;

        must_start(daemon, usual_words(daemon));
        snprintf(listen, sizeof listen, "127.0.0.1:%u", second->port);
        ck_assert(!daemon_start(second, WORDS("--listen", listen, "--state", state, "--control", "none"), -1, &status));
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 1);
        snprintf(pid, sizeof pid, "%ld", (long)daemon->pid);
        ck_assert_msg(strstr(daemon_log(second), pid) != NULL, "log: %s", daemon_log(second));

        /* where it was not insisted on, memory will do, loudly */
        must_start(second, WORDS("--listen", listen, "--state-if-free", state, "--control", "none"));
        expect_names(second, "");
        ck_assert_ptr_nonnull(strstr(daemon_log(second), "memory"));
        expect_names(daemon, "");
        daemon_free(second);
        daemon_free(daemon);
}
END_TEST

START_TEST(test_a_control_socket_that_cannot_be_keeps_no_node_waiting) {
        Daemon *daemon = daemon_new();
        char listen[32];

        snprintf(listen, sizeof listen, "127.0.0.1:%u", daemon->port);
        must_start(daemon, WORDS("--listen", listen, "--no-state", "--control", "/dev/null/control"));
        close(register_at(daemon, "a", 4000));
        ck_assert_ptr_nonnull(strstr(daemon_log(daemon), "/dev/null/control"));
        daemon_free(daemon);
}
END_TEST

/* P2 */
START_TEST(test_a_file_that_cannot_be_keeps_no_node_waiting) {
        Daemon *daemon = daemon_new();
        char listen[32];
        int fd;

        snprintf(listen, sizeof listen, "127.0.0.1:%u", daemon->port);
        must_start(daemon, WORDS("--listen", listen, "--state", "/dev/null/registry.db", "--control", "none"));
        fd = register_at(daemon, "a", 4000);
        expect_names(daemon, "name a at port 4000\n");
        ck_assert_ptr_nonnull(strstr(daemon_log(daemon), "Degraded"));
        close(fd);
        daemon_free(daemon);
}
END_TEST

/* --- restart ----------------------------------------------------------------------------------------------- */

START_TEST(test_after_kill_9_it_answers_for_the_living_at_once) {
        Daemon *daemon = daemon_new();
        int listener_fd = listen_on("127.0.0.1"), dead_listener_fd = listen_on("127.0.0.1"), fds[2];
        char names[64];

        must_start(daemon, usual_words(daemon));
        fds[0] = register_at(daemon, "living", port_of(listener_fd));
        fds[1] = register_at(daemon, "dead", port_of(dead_listener_fd));
        kill(daemon->pid, SIGKILL);
        ck_assert_int_eq(daemon_wait(daemon), SIGKILL);
        close(dead_listener_fd);
        close(fds[0]);
        close(fds[1]);
        must_start(daemon, usual_words(daemon));
        snprintf(names, sizeof names, "name living at port %u\n", port_of(listener_fd));
        expect_names(daemon, names);
        /* and takes it back */
        fds[0] = register_at(daemon, "living", port_of(listener_fd));
        expect_names(daemon, names);
        close(fds[0]);
        close(listener_fd);
        daemon_free(daemon);
}
END_TEST

/* --- under systemd ------------------------------------------------------------------------------------------- */

START_TEST(test_a_passed_socket_is_served_and_outlives_the_daemon) {
        Daemon *daemon = daemon_new();
        int listener_fd = listen_on("127.0.0.1"), status = 0, fd;

        daemon->port = port_of(listener_fd);
        ck_assert(daemon_start(daemon, WORDS("ERL_EPMD_ADDRESS=10.0.0.1", "--no-state", "--control", "none"),
                               listener_fd, &status));
        expect_names(daemon, "");
        ck_assert_ptr_nonnull(strstr(daemon_log(daemon), "ERL_EPMD_ADDRESS"));
        kill(daemon->pid, SIGTERM);
        ck_assert_int_eq(daemon_wait(daemon), 0);
        /* whoever comes in between waits */
        fd = connect_to("127.0.0.1", daemon->port);
        say_request(fd, "za", 2);
        ck_assert(daemon_start(daemon, WORDS("--no-state", "--control", "none"), listener_fd, &status));
        expect_then_end(daemon->event, fd, "w\1", 2);
        close(listener_fd);
        daemon_free(daemon);
}
END_TEST

START_TEST(test_the_service_manager_is_told_what_it_must_know) {
        Daemon *daemon = daemon_new();
        TestAddress address = { .un = { .sun_family = AF_UNIX } };
        int manager_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), status = 0, fd;
        char variable[128], said[2048] = "", listen[32];
        size_t n_said = 0;

        snprintf(address.un.sun_path, sizeof address.un.sun_path, "%s/notify", daemon->directory);
        ck_assert_int_eq(bind(manager_fd, &address.sa, sizeof address.un), 0);
        snprintf(variable, sizeof variable, "NOTIFY_SOCKET=%s", address.un.sun_path);
        snprintf(listen, sizeof listen, "127.0.0.1:%u", daemon->port);
        ck_assert(daemon_start(daemon, WORDS(variable, "--listen", listen, "--no-state", "--control", "none"), -1, &status));
        fd = register_at(daemon, "a", 4000);
        /* STATUS follows a second later. */
#define listened_to(words)                                                                              \
        RUN_UNTIL(daemon->event, ({                                                                     \
                          ssize_t n_ = recv(manager_fd, said + n_said, sizeof said - n_said - 2, 0);     \
                          if (n_ > 0) {                                                                 \
                                  n_said += (size_t)n_;                                                 \
                                  said[n_said++] = '\n';                                                \
                          }                                                                             \
                          strstr(said, (words)) != NULL;                                                \
                  }),                                                                                   \
                  LONG_USEC)
        ck_assert(listened_to("READY=1"));
        ck_assert_msg(listened_to("; 1 node, 0 awaited"), "said: %s", said);
        kill(daemon->pid, SIGHUP);
        ck_assert(listened_to("RELOADING=1"));
        kill(daemon->pid, SIGTERM);
        ck_assert_int_eq(daemon_wait(daemon), 0);
        ck_assert(listened_to("STOPPING=1"));
#undef listened_to
        close(fd);
        close(manager_fd);
        daemon_free(daemon);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("server");
        TCase *tcase = tcase_create("life");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_it_serves_until_it_is_told_to_end, 0, 2);
        tcase_add_test(tcase, test_a_granted_kill_ends_it);
        tcase_add_test(tcase, test_sighup_makes_it_look_again_and_go_on);
        tcase_add_test(tcase, test_it_may_hold_as_many_descriptors_as_the_machine_allows);
        tcase_add_test(tcase, test_a_taken_port_is_told_and_it_does_not_start);
        tcase_add_test(tcase, test_a_second_daemon_does_not_take_a_file_that_is_in_use);
        tcase_add_test(tcase, test_a_control_socket_that_cannot_be_keeps_no_node_waiting);
        tcase_add_test(tcase, test_a_file_that_cannot_be_keeps_no_node_waiting);
        tcase_add_test(tcase, test_after_kill_9_it_answers_for_the_living_at_once);
        tcase_add_test(tcase, test_a_passed_socket_is_served_and_outlives_the_daemon);
        tcase_add_test(tcase, test_the_service_manager_is_told_what_it_must_know);
        suite_add_tcase(suite, tcase);
        return suite;
}
