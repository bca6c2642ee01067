/* SPDX-License-Identifier: Apache-2.0 */

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "loop_test.h"

/* --- what stderr gets --------------------------------------------------------------------------------- */

typedef struct Caught {
        int file, before;
        off_t at;
        char text[65536];
        size_t n_text;
} Caught;

static Caught caught;

static void catch_stderr(void) {
        caught.before = dup(STDERR_FILENO);
        caught.file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        ck_assert_int_ge(caught.before, 0);
        ck_assert_int_ge(caught.file, 0);
        ck_assert_int_ge(dup2(caught.file, STDERR_FILENO), 0);
        caught.at = 0;
}

/* What has been written since catch_stderr(), or since the last look. */
static const char *look(void) {
        ssize_t n = pread(caught.file, caught.text, sizeof caught.text - 1, caught.at);

        ck_assert_int_ge(n, 0);
        caught.at += n;
        caught.n_text = (size_t)n;
        caught.text[n] = 0;
        return caught.text;
}

static const char *release_stderr(void) {
        look();
        dup2(caught.before, STDERR_FILENO);
        close(caught.before);
        close(caught.file);
        log_done();
        return caught.text;
}

START_TEST(test_a_plain_line_is_the_text_behind_the_programs_name) {
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        catch_stderr();
        log_info("%d nodes and %s", 3, "more");
        log_event(LOG_NOTICE, LOG_EVENT_NODE_ENDED, &(LogFields){ .node = "a", .port = 1 }, "a is gone");
        ck_assert_str_eq(release_stderr(), "rollcalld: 3 nodes and more\nrollcalld: a is gone\n");
}
END_TEST

/* epmd: Sat Nov 21 01:02:03 2026: <text> CR LF */
START_TEST(test_a_line_of_the_epmd_format_is_that_of_stock_epmd) {
        const char *said;
        struct tm tm = { 0 };
        const char *rest;

        log_init(LOG_FORMAT_EPMD, LOG_INFO, 0);
        catch_stderr();
        log_warning("node name already occupied a");
        said = release_stderr();
        ck_assert_int_eq(strncmp(said, "epmd: ", 6), 0);
        rest = strptime(said + 6, "%a %b %e %H:%M:%S %Y", &tm);
        ck_assert_msg(rest != NULL, "said: %s", said);
        ck_assert_str_eq(rest, ": node name already occupied a\r\n");
        ck_assert_int_gt(tm.tm_year, 120);
}
END_TEST

static const struct {
        int max_priority, debug;
        const char *said;
        bool is_debug;
        int level;
} priorities[] = {
        { LOG_ERR, 0, "e", false, 0 },
        { LOG_WARNING, 0, "ew", false, 0 },
        { LOG_NOTICE, 0, "ewn", false, 0 },
        { LOG_INFO, 0, "ewni", false, 0 },
        { LOG_DEBUG, 0, "ewnid", true, 1 },
        { LOG_ERR, 1, "ewnid", true, 1 },
        { LOG_INFO, 2, "ewnidh", true, 2 },
};

START_TEST(test_what_is_said_depends_on_the_level) {
        char expected[256] = "";

        for (const char *c = priorities[_i].said; *c; c++) {
                char line[128];

                if (*c == 'h')
                        strcpy(line, "rollcalld: bytes, 1 bytes\nrollcalld: 0000  41"
                                     "                                               A\n");
                else
                        snprintf(line, sizeof line, "rollcalld: %c\n", *c);
                strcat(expected, line);
        }
        log_init(LOG_FORMAT_PLAIN, priorities[_i].max_priority, priorities[_i].debug);
        ck_assert_int_eq(log_is_debug(), priorities[_i].is_debug);
        ck_assert_int_eq(log_debug_level(), priorities[_i].level);
        catch_stderr();
        log_error("e");
        log_warning("w");
        log_event(LOG_NOTICE, LOG_EVENT_NONE, NULL, "n");
        log_info("i");
        log_debug("d");
        log_hex("bytes", (const uint8_t *)"A", 1);
        ck_assert_str_eq(release_stderr(), expected);
}
END_TEST

START_TEST(test_bytes_are_shown_sixteen_a_line_with_what_they_are) {
        static const uint8_t data[] = "\0\1\x1f !AZaz~\x7f\x80\xff<>=+";

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 2);
        catch_stderr();
        log_hex("request", data, sizeof data - 1);
        ck_assert_str_eq(release_stderr(),
                         "rollcalld: request, 17 bytes\n"
                         "rollcalld: 0000  00 01 1f 20 21 41 5a 61 7a 7e 7f 80 ff 3c 3e 3d  ... !AZaz~...<>=\n"
                         "rollcalld: 0010  2b                                               +\n");
}
END_TEST

START_TEST(test_a_text_of_any_length_is_one_line) {
        char *text = malloc(20000);
        const char *said;

        ck_assert_ptr_nonnull(text);
        memset(text, 'x', 20000);
        text[19999] = 0;
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        catch_stderr();
        log_info("%s", text);
        said = release_stderr();
        ck_assert_uint_gt(strlen(said), 4000);
        ck_assert_ptr_eq(strchr(said, '\n'), said + strlen(said) - 1);
        free(text);
}
END_TEST

START_TEST(test_saying_something_leaves_errno_alone) {
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        catch_stderr();
        errno = ENOTTY;
        log_info("x");
        ck_assert_int_eq(errno, ENOTTY);
        log_event(LOG_INFO, LOG_EVENT_DENIED, NULL, "x");
        ck_assert_int_eq(errno, ENOTTY);
        release_stderr();
}
END_TEST

/* A container's pipe, of which nobody fetches the log (P2). */
START_TEST(test_a_pipe_that_nobody_reads_is_not_waited_for_and_what_was_lost_is_counted) {
        int pipe_fds[2], before = dup(STDERR_FILENO);
        uint64_t began = test_now();
        char text[4096 + 1], *line;
        unsigned n_said = 0, n_lost = 0;
        ssize_t n;

        ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        dup2(pipe_fds[1], STDERR_FILENO);
        for (unsigned i = 0; i < 10000; i++)
                log_info("a message that is said ten thousand times");
        ck_assert_uint_lt(test_now() - began, 5 * USEC_PER_SEC);
        ck_assert_int_eq(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
        while ((n = read(pipe_fds[0], text, sizeof text - 1)) > 0)
                for (ssize_t i = 0; i < n; i++)
                        n_said += text[i] == '\n';
        log_info("last");
        n = read(pipe_fds[0], text, sizeof text - 1);
        dup2(before, STDERR_FILENO);
        ck_assert_int_gt(n, 0);
        text[n] = 0;
        line = strchr(text, '(');
        ck_assert_msg(line != NULL, "said: %s", text);
        ck_assert_int_eq(sscanf(line, "(%u messages lost) last", &n_lost), 1);
        ck_assert_uint_gt(n_lost, 0);
        ck_assert_uint_eq(n_said + n_lost, 10000);
        close(before);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
}
END_TEST

/* --- how much ----------------------------------------------------------------------------------------- */

static unsigned count_lines(const char *text) {
        unsigned n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

START_TEST(test_many_of_a_kind_are_limited_and_counted) {
        enum { N = 500 };
        unsigned n_said = 0, n_counted = 0, n_tried = 0;
        uint64_t began = test_now();

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        catch_stderr();
        for (; n_tried < N; n_tried++)
                log_event(LOG_WARNING, LOG_EVENT_GARBAGE, NULL, "garbage");
        n_said = count_lines(look());
        ck_assert_uint_ge(n_said, 40);
        ck_assert_uint_le(n_said, 40 + 4 + 4 * (test_now() - began) / USEC_PER_SEC);

        /* the next that is said tells how many were not */
        while (test_now() - began < LONG_USEC && n_counted == 0) {
                const char *said, *count;

                usleep(20 * 1000);
                log_event(LOG_WARNING, LOG_EVENT_GARBAGE, NULL, "garbage");
                n_tried++;
                said = look();
                n_said += count_lines(said);
                count = strchr(said, '(');
                if (count)
                        ck_assert_int_eq(sscanf(count, "(%u more messages of this kind were not logged)\n", &n_counted),
                                         1);
        }
        ck_assert_uint_gt(n_counted, 0);
        ck_assert_uint_eq(n_said + n_counted, n_tried);
        release_stderr();
}
END_TEST

START_TEST(test_one_kind_does_not_silence_another_and_plain_words_are_not_limited) {
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 1);
        catch_stderr();
        for (unsigned i = 0; i < 200; i++)
                log_event(LOG_WARNING, LOG_EVENT_DENIED, NULL, "denied");
        look();
        log_event(LOG_WARNING, LOG_EVENT_SHED, NULL, "shed");
        ck_assert_str_eq(look(), "rollcalld: shed\n");
        for (unsigned i = 0; i < 1000; i++)
                log_info("x");
        ck_assert_uint_eq(count_lines(look()), 1000);
        /* whoever debugs wants to see all */
        for (unsigned i = 0; i < 1000; i++)
                log_event(LOG_DEBUG, LOG_EVENT_DENIED, NULL, "x");
        ck_assert_uint_eq(count_lines(look()), 1000);
        release_stderr();
}
END_TEST

/* --- what can be shown -------------------------------------------------------------------------------- */

static const struct {
        const char *text;
        size_t n_text;
        const char *shown;
} printables[] = {
#define TEXT(literal) literal, sizeof(literal) - 1
        { TEXT(""), "" },
        { TEXT("a"), "a" },
        { TEXT("a b@c"), "a b@c" },
        { TEXT("caf\xc3\xa9"), "caf\xc3\xa9" },
        { TEXT("\xf0\x9f\x90\x87"), "\xf0\x9f\x90\x87" },
        { TEXT("a\nrollcalld: b"), "a\\x0arollcalld: b" },
        { TEXT("a\r"), "a\\x0d" },
        { TEXT("a\0b"), "a\\x00b" },
        { TEXT("\x1b[2J"), "\\x1b[2J" },
        { TEXT("\x7f"), "\\x7f" },
        { TEXT("\xff"), "\\xff" },
        { TEXT("a\xc3"), "a\\xc3" },
        { TEXT("\xc2\x9b" "2J"), "\\xc2\\x9b2J" },
        { TEXT("\xc0\x80"), "\\xc0\\x80" },
        /* where anything is wrong, only ASCII stays */
        { TEXT("\xc3\xa9\n"), "\\xc3\\xa9\\x0a" },
};

START_TEST(test_no_client_can_forge_a_line_of_the_log) {
        char out[128];

        ck_assert_ptr_eq(log_printable(printables[_i].text, printables[_i].n_text, out, sizeof out), out);
        ck_assert_str_eq(out, printables[_i].shown);
}
END_TEST

static bool is_utf8(const char *text) {
        return !*text || node_name_check(text, strlen(text)) == NODE_NAME_OK;
}

/* Whatever room there is, the result is terminated, ends with dots where it was cut, and is still UTF-8. */
START_TEST(test_what_is_too_long_is_cut_between_characters) {
        static const char *const names[] = { "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\x87", "\x01" };

        for (size_t kind = 0; kind < ELEMENTS(names); kind++) {
                char name[400] = "", *out;
                size_t n_name = 0;

                for (; n_name + strlen(names[kind]) < 200; n_name += strlen(names[kind]))
                        strcat(name, names[kind]);
                for (size_t n_out = 8; n_out < 64; n_out++) {
                        out = malloc(n_out);
                        ck_assert_ptr_nonnull(out);
                        log_printable(name, n_name, out, n_out);
                        ck_assert_uint_lt(strlen(out), n_out);
                        ck_assert_ptr_nonnull(strstr(out, "..."));
                        ck_assert_msg(is_utf8(out), "room for %zu: '%s'", n_out, out);
                        free(out);
                }
        }
}
END_TEST

/* --- the journal -------------------------------------------------------------------------------------- */

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* A file system of our own at /run, in this process alone. */
static bool enter_own_run(void) {
        return unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, "") == 0 &&
               mount("tmpfs", "/run", "tmpfs", 0, "") == 0 && mkdir("/run/systemd", 0755) == 0 &&
               mkdir("/run/systemd/journal", 0755) == 0;
}

static int bind_at(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        strcpy(address.sun_path, path);
        unlink(path);
        if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
                _exit(2);
        return fd;
}

static bool has_entry(int fd, const char *expected) {
        char said[8192];
        ssize_t n = recv(fd, said, sizeof said - 1, 0);

        said[n < 0 ? 0 : n] = 0;
        if (strcmp(said, expected) == 0)
                return true;
        fprintf(stderr, "expected:\n%s\nbut was said:\n%s\n", expected, said);
        return false;
}

static bool has_line(const char *entry, const char *line) {
        size_t n = strlen(line);

        for (const char *at = entry; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
                if (strncmp(at, line, n) == 0 && at[n] == '\n')
                        return true;
        return false;
}

/* Each is run in a process of its own and says whether all was as it should be. */

static bool entries_have_fields(void) {
        int fd = bind_at(JOURNAL_SOCKET);
        LogFields fields = { .node = "a\nbXXX", .n_node = 3, .port = 40000, .unit = "a.service", .peer = "127.0.0.1:5",
                             .uid = "1000", .reservation = "mail" };

        log_init(LOG_FORMAT_JOURNAL, LOG_INFO, 0);
        log_info("%d nodes", 3);
        log_event(LOG_WARNING, LOG_EVENT_NAME_REFUSED, &fields, "refused");
        log_event(LOG_ERR, LOG_EVENT_DEGRADED, &(LogFields){ .node = "abc" }, "first line\nPRIORITY=0");
        return has_entry(fd, "MESSAGE=3 nodes\nPRIORITY=6\nSYSLOG_IDENTIFIER=rollcalld\n") &&
               has_entry(fd, "MESSAGE=refused\nPRIORITY=4\nSYSLOG_IDENTIFIER=rollcalld\n"
                             "MESSAGE_ID=a4521b91ed07ded8552612a14d4a3633\n"
                             "NODE=a\\x0ab\nPORT=40000\nNODE_UNIT=a.service\nPEER=127.0.0.1:5\n"
                             "NODE_UID=1000\nRESERVATION=mail\n") &&
               has_entry(fd, "MESSAGE=first line\nPRIORITY=3\nSYSLOG_IDENTIFIER=rollcalld\n"
                             "MESSAGE_ID=67ffea07598f7ddc58991328aa58bfdd\nNODE=abc\n");
}

static bool every_kind_has_its_id(void) {
        int fd = bind_at(JOURNAL_SOCKET);
        char ids[_LOG_EVENT_N][64] = { "" };

        log_init(LOG_FORMAT_JOURNAL, LOG_INFO, 0);
        for (LogEvent event = LOG_EVENT_NONE + 1; event < _LOG_EVENT_N; event++) {
                char said[8192];
                const char *id;
                ssize_t n;

                log_event(LOG_INFO, event, NULL, "x");
                n = recv(fd, said, sizeof said - 1, 0);
                if (n < 0)
                        return false;
                said[n] = 0;
                id = strstr(said, "\nMESSAGE_ID=");
                if (!id || strspn(id + 12, "0123456789abcdef") != 32)
                        return false;
                memcpy(ids[event], id + 12, 32);
                for (LogEvent other = LOG_EVENT_NONE + 1; other < event; other++)
                        if (strcmp(ids[event], ids[other]) == 0)
                                return false;
        }
        return true;
}

/* P2: journald does not read while the disk that it writes to hangs. */
static bool a_journal_that_does_not_read_keeps_nobody_waiting(void) {
        int fd = bind_at(JOURNAL_SOCKET);
        uint64_t began = test_now();
        unsigned n = 0;
        char said[8192], line[64];
        ssize_t n_said;

        log_init(LOG_FORMAT_JOURNAL, LOG_INFO, 0);
        for (unsigned i = 0; i < 5000; i++)
                log_info("x");
        if (test_now() - began > 5 * USEC_PER_SEC)
                return false;
        while (recv(fd, said, sizeof said, 0) >= 0)
                n++;
        if (n == 0 || n >= 5000)
                return false;
        log_info("y");
        n_said = recv(fd, said, sizeof said - 1, 0);
        if (n_said < 0)
                return false;
        said[n_said] = 0;
        snprintf(line, sizeof line, "UNSENT=%u", 5000 - n);
        if (!has_line(said, "MESSAGE=y") || !has_line(said, line))
                return false;
        log_info("z");
        return has_entry(fd, "MESSAGE=z\nPRIORITY=6\nSYSLOG_IDENTIFIER=rollcalld\n");
}

static bool a_journal_that_was_restarted_is_found_again(void) {
        int fd = bind_at(JOURNAL_SOCKET);

        log_init(LOG_FORMAT_JOURNAL, LOG_INFO, 0);
        log_info("1");
        if (!has_entry(fd, "MESSAGE=1\nPRIORITY=6\nSYSLOG_IDENTIFIER=rollcalld\n"))
                return false;
        close(fd);
        fd = bind_at(JOURNAL_SOCKET);
        log_info("2"); /* finds nobody there, and looks */
        log_info("3");
        if (!has_entry(fd, "MESSAGE=3\nPRIORITY=6\nSYSLOG_IDENTIFIER=rollcalld\nUNSENT=1\n"))
                return false;

        /* gone for a while, not only for a moment */
        close(fd);
        unlink(JOURNAL_SOCKET);
        log_info("4");
        log_info("5");
        fd = bind_at(JOURNAL_SOCKET);
        log_info("6");
        log_info("7");
        for (char said[8192] = ""; ; ) {
                ssize_t n = recv(fd, said, sizeof said - 1, 0);

                if (n < 0)
                        return false;
                said[n] = 0;
                if (has_line(said, "MESSAGE=7"))
                        return true;
        }
}

static bool stderr_that_leads_to_the_journal_means_the_journal(void) {
        int fd = bind_at(JOURNAL_SOCKET);
        struct stat st;
        char stream[64];

        if (fstat(STDERR_FILENO, &st) < 0)
                return false;
        snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        setenv("JOURNAL_STREAM", stream, 1);
        log_init(LOG_FORMAT_AUTO, LOG_INFO, 0);
        log_info("1");
        if (!has_entry(fd, "MESSAGE=1\nPRIORITY=6\nSYSLOG_IDENTIFIER=rollcalld\n"))
                return false;
        /* inherited by somebody whose stderr leads elsewhere */
        log_done();
        snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino + 1);
        setenv("JOURNAL_STREAM", stream, 1);
        log_init(LOG_FORMAT_AUTO, LOG_INFO, 0);
        log_info("on stderr");
        return recv(fd, stream, sizeof stream, 0) < 0;
}

static bool without_a_journal_it_is_stderr(void) {
        log_init(LOG_FORMAT_JOURNAL, LOG_INFO, 0);
        log_info("on stderr");
        return true;
}

/* <daemon.warning>Nov 21 01:02:03 epmd[812]: text */
static bool syslog_is_spoken_to_as_by_stock_epmd(void) {
        char said[8192], *rest;
        struct tm tm = { 0 };
        ssize_t n;
        long pid;
        int fd;

        if (mount("tmpfs", "/dev", "tmpfs", 0, "") < 0)
                return false;
        fd = bind_at("/dev/log");
        log_init(LOG_FORMAT_SYSLOG, LOG_INFO, 0);
        log_warning("%d nodes", 3);
        n = recv(fd, said, sizeof said - 1, 0);
        if (n < 0)
                return false;
        said[n] = 0;
        if (strncmp(said, "<28>", 4) != 0)
                return false;
        rest = strptime(said + 4, "%b %e %H:%M:%S", &tm);
        if (!rest || sscanf(rest, " epmd[%ld]: 3 nodes", &pid) != 1 || pid != (long)getpid())
                return false;

        /* nobody reads: it is not waited for */
        for (unsigned i = 0; i < 5000; i++)
                log_info("x");
        return true;
}

static const struct {
        const char *what;
        bool (*is_so)(void);
        const char *on_stderr;
} journals[] = {
        { "entries have fields", entries_have_fields, "" },
        { "every kind has its id", every_kind_has_its_id, "" },
        { "a journal that does not read keeps nobody waiting",
          a_journal_that_does_not_read_keeps_nobody_waiting, "" },
        { "a journal that was restarted is found again", a_journal_that_was_restarted_is_found_again, "" },
        { "stderr that leads to the journal means the journal",
          stderr_that_leads_to_the_journal_means_the_journal, "rollcalld: on stderr\n" },
        /* a warning goes to whoever started the daemon, too */
        { "syslog is spoken to as by stock epmd", syslog_is_spoken_to_as_by_stock_epmd, "rollcalld: 3 nodes\n" },
        { "without a journal it is stderr", without_a_journal_it_is_stderr, "rollcalld: on stderr\n" },
};

START_TEST(test_the_journal_and_syslog_are_spoken_to) {
        int status = -1;
        const char *said;
        pid_t pid;

        log_done();
        fflush(NULL);
        catch_stderr();
        pid = fork();
        if (pid == 0) {
                if (!enter_own_run())
                        _exit(77);
                _exit(journals[_i].is_so() ? 0 : 1);
        }
        ck_assert_int_gt(pid, 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        said = release_stderr();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
                puts("SKIP: a mount namespace of its own is needed");
                return;
        }
        ck_assert_msg(status == 0, "%s: status %d, stderr: %s", journals[_i].what, status, said);
        ck_assert_str_eq(said, journals[_i].on_stderr);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("log");
        TCase *tcase = tcase_create("lines");

        tcase_add_test(tcase, test_a_plain_line_is_the_text_behind_the_programs_name);
        tcase_add_test(tcase, test_a_line_of_the_epmd_format_is_that_of_stock_epmd);
        tcase_add_loop_test(tcase, test_what_is_said_depends_on_the_level, 0, ELEMENTS(priorities));
        tcase_add_test(tcase, test_bytes_are_shown_sixteen_a_line_with_what_they_are);
        tcase_add_test(tcase, test_a_text_of_any_length_is_one_line);
        tcase_add_test(tcase, test_saying_something_leaves_errno_alone);
        tcase_add_test(tcase, test_a_pipe_that_nobody_reads_is_not_waited_for_and_what_was_lost_is_counted);
        suite_add_tcase(suite, tcase);

        /* Before the limits are used up, where all tests run in one process. */
        tcase = tcase_create("journal");
        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, test_the_journal_and_syslog_are_spoken_to, 0, ELEMENTS(journals));
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("limits");
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_many_of_a_kind_are_limited_and_counted);
        tcase_add_test(tcase, test_one_kind_does_not_silence_another_and_plain_words_are_not_limited);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("printable");
        tcase_add_loop_test(tcase, test_no_client_can_forge_a_line_of_the_log, 0, ELEMENTS(printables));
        tcase_add_test(tcase, test_what_is_too_long_is_cut_between_characters);
        suite_add_tcase(suite, tcase);

        return suite;
}
