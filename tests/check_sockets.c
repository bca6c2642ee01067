/* SPDX-License-Identifier: Apache-2.0 */

#include <netinet/tcp.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "loop_test.h"
#include "serve/sockets.h"

/* A machine without IPv6, where that is wanted: in place of the C library's. */
static bool has_no_ipv6;

int socket(int domain, int type, int protocol) {
        if (has_no_ipv6 && domain == AF_INET6) {
                errno = EAFNOSUPPORT;
                return -1;
        }
        return (int)syscall(SYS_socket, domain, type, protocol);
}

/* --- addresses ---------------------------------------------------------------------------------------- */

static const struct {
        const char *text, *address; /* NULL: not an address to listen on */
        uint16_t port;
} parses[] = {
        { "127.0.0.1", "127.0.0.1", 4000 },
        { "127.0.0.1:5000", "127.0.0.1", 5000 },
        { "127.0.0.1:1", "127.0.0.1", 1 },
        { "127.0.0.1:65535", "127.0.0.1", 65535 },
        { "::1", "::1", 4000 },
        { "[::1]", "::1", 4000 },
        { "[::1]:5000", "::1", 5000 },
        { "fd00::5:1", "fd00::5:1", 4000 }, /* no port: an address of that end */
        { "*", "*", 4000 },
        { "*:5000", "*", 5000 },
        { "0.0.0.0:5000", "*", 5000 },
        { "[::]:5000", "*", 5000 },
        { "::", "*", 4000 },
        { "::ffff:127.0.0.1", "127.0.0.1", 4000 },
        { "[::ffff:127.0.0.1]:5000", "127.0.0.1", 5000 },

        { "", NULL, 0 },
        { ":", NULL, 0 },
        { ":5000", NULL, 0 },
        { "5000", NULL, 0 },
        { "localhost:5000", NULL, 0 },
        { "127.0.0.1:", NULL, 0 },
        { "127.0.0.1:0", NULL, 0 },
        { "127.0.0.1:65536", NULL, 0 },
        { "127.0.0.1:99999", NULL, 0 },
        { "127.0.0.1:100000", NULL, 0 },
        { "127.0.0.1:-1", NULL, 0 },
        { "127.0.0.1: 80", NULL, 0 },
        { "127.0.0.1:80x", NULL, 0 },
        { "127.0.0.1 :80", NULL, 0 },
        { "[::1]:", NULL, 0 },
        { "[::1]x", NULL, 0 },
        { "[::1]5000", NULL, 0 },
        { "[::1:5000", NULL, 0 },
        { "::1]:5000", NULL, 0 },
        { "[]:5000", NULL, 0 },
        { "*:", NULL, 0 },
        { "**", NULL, 0 },
        { "127.0.0.1:5000:5000", NULL, 0 },
        { "11111111111111111111111111111111111111111111111111111111111111111111", NULL, 0 },
};

START_TEST(test_an_address_to_listen_on_has_a_port_or_the_default_one) {
        ListenAddress listen;
        char text[ADDRESS_TEXT_MAX];
        int r = listen_address_parse(parses[_i].text, 4000, &listen);

        ck_assert_msg(r == (parses[_i].address ? 0 : -EINVAL), "'%s' gave %d", parses[_i].text, r);
        if (r < 0)
                return;
        ck_assert_str_eq(address_format(&listen.address, text), parses[_i].address);
        ck_assert_uint_eq(listen.port, parses[_i].port);
        ck_assert(!listen.is_optional);
}
END_TEST

static const struct {
        ListenKind kind;
        const char *address, *path, *text;
} shown[] = {
        { LISTEN_EPMD, "127.0.0.1", NULL, "127.0.0.1:4369" },
        { LISTEN_EPMD, "::1", NULL, "[::1]:4369" },
        { LISTEN_EPMD, "*", NULL, "[::]:4369" },
        { LISTEN_CONTROL, "*", "/run/rollcall/control", "/run/rollcall/control" },
        { LISTEN_CONTROL, "*", NULL, "control" },
};

START_TEST(test_a_socket_is_shown_with_its_address_or_path) {
        ListenSocket entry = { .kind = shown[_i].kind, .fd = -1, .port = 4369 };
        char text[64], path[64];

        ck_assert_int_eq(address_parse(shown[_i].address, &entry.address), 0);
        if (shown[_i].path) {
                strcpy(path, shown[_i].path);
                entry.path = path;
        }
        ck_assert_str_eq(listen_socket_format(&entry, text, sizeof text), shown[_i].text);
        ck_assert_uint_lt(strlen(listen_socket_format(&entry, text, 8)), 8);
}
END_TEST

/* --- our own ------------------------------------------------------------------------------------------ */

static uint16_t free_port(void) {
        int fd = listen_on("127.0.0.1");
        uint16_t port = port_of(fd);

        close(fd);
        return port;
}

static bool can_connect(const char *address, uint16_t port) {
        int fd = try_connect_from(NULL, address, port);

        if (fd >= 0)
                close(fd);
        return fd >= 0;
}

static bool machine_has_ipv6(void) {
        int fd = try_listen_on("::1", 0);

        if (fd < 0)
                return false;
        close(fd);
        return true;
}

static ListenAddress listen_address(const char *text, uint16_t port) {
        ListenAddress address;

        ck_assert_int_eq(listen_address_parse(text, port, &address), 0);
        return address;
}

static void assert_flags(int fd) {
        ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
        ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

START_TEST(test_every_address_is_one_dual_stack_socket) {
        ListenAddress address = listen_address("*", free_port());
        ListenSockets sockets = { 0 };

        no_log();
        ck_assert_int_eq(listen_sockets_open(&sockets, &address), 0);
        ck_assert_uint_eq(sockets.n_sockets, 1);
        ck_assert_int_eq(sockets.sockets[0].kind, LISTEN_EPMD);
        ck_assert(!sockets.sockets[0].is_passed);
        ck_assert_uint_eq(sockets.sockets[0].port, address.port);
        assert_flags(sockets.sockets[0].fd);
        ck_assert(can_connect("127.0.0.1", address.port));
        if (machine_has_ipv6())
                ck_assert(can_connect("::1", address.port));
        else
                puts("SKIP: this machine has no IPv6");
        listen_sockets_done(&sockets);
        ck_assert_uint_eq(sockets.n_sockets, 0);
        ck_assert(!can_connect("127.0.0.1", address.port));
}
END_TEST

START_TEST(test_a_machine_without_ipv6_listens_on_ipv4) {
        ListenAddress address = listen_address("*", free_port());
        ListenSockets sockets = { 0 };

        no_log();
        has_no_ipv6 = true;
        ck_assert_int_eq(listen_sockets_open(&sockets, &address), 0);
        has_no_ipv6 = false;
        ck_assert_uint_eq(sockets.n_sockets, 1);
        ck_assert(can_connect("127.0.0.1", address.port));
        listen_sockets_done(&sockets);
}
END_TEST

START_TEST(test_an_ipv6_address_that_was_asked_for_and_is_not_there_is_an_error) {
        ListenAddress address = listen_address("::1", free_port());
        ListenSockets sockets = { 0 };

        no_log();
        has_no_ipv6 = true;
        ck_assert_int_eq(listen_sockets_open(&sockets, &address), -EAFNOSUPPORT);
        /* Loopback that was only added to the list is another matter. */
        address.is_optional = true;
        ck_assert_int_eq(listen_sockets_open(&sockets, &address), 0);
        has_no_ipv6 = false;
        ck_assert_uint_eq(sockets.n_sockets, 0);
        listen_sockets_done(&sockets);
}
END_TEST

START_TEST(test_specific_addresses_stand_side_by_side_on_one_port) {
        static const char *const texts[] = { "127.0.0.1", "127.0.0.2", "::1" };
        uint16_t port = free_port();
        ListenSockets sockets = { 0 };
        size_t n = machine_has_ipv6() ? 3 : 2;

        no_log();
        for (size_t i = 0; i < n; i++) {
                ListenAddress address = listen_address(texts[i], port);

                ck_assert_int_eq(listen_sockets_open(&sockets, &address), 0);
        }
        ck_assert_uint_eq(sockets.n_sockets, n);
        for (size_t i = 0; i < n; i++)
                ck_assert(can_connect(texts[i], port));
        ck_assert(!can_connect("127.0.0.3", port));
        listen_sockets_done(&sockets);
}
END_TEST

START_TEST(test_a_taken_port_is_told_with_who_has_it_and_what_to_do) {
        int taken_fd = listen_on("127.0.0.1"), r = 0;
        ListenAddress address = listen_address(_i ? "*" : "127.0.0.1", port_of(taken_fd));
        ListenSockets sockets = { 0 };
        char said[2048], pid[32];

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        CATCH_STDERR(said, r = listen_sockets_open(&sockets, &address));
        ck_assert_int_eq(r, -EADDRINUSE);
        ck_assert_uint_eq(sockets.n_sockets, 0);
        snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
        ck_assert_msg(strstr(said, pid) != NULL, "said: %s", said);
        ck_assert_ptr_nonnull(strstr(said, "epmd -kill"));
        ck_assert_ptr_nonnull(strstr(said, "--port"));

        /* Loopback that was only added may be somebody else's. */
        address.is_optional = true;
        CATCH_STDERR(said, r = listen_sockets_open(&sockets, &address));
        ck_assert_int_eq(r, 0);
        ck_assert_uint_eq(sockets.n_sockets, 0);
        ck_assert_str_eq(said, "");
        close(taken_fd);
}
END_TEST

START_TEST(test_an_address_of_another_machine_is_told) {
        ListenAddress address = listen_address("192.0.2.1", 4369);
        ListenSockets sockets = { 0 };
        char said[2048];
        int r = 0;

        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        CATCH_STDERR(said, r = listen_sockets_open(&sockets, &address));
        ck_assert_int_eq(r, -EADDRNOTAVAIL);
        ck_assert_ptr_nonnull(strstr(said, "192.0.2.1"));
        ck_assert_ptr_nonnull(strstr(said, "4369"));
}
END_TEST

/* --- the control socket ------------------------------------------------------------------------------- */

static mode_t mode_of(const char *path) {
        struct stat st;

        ck_assert_int_eq(lstat(path, &st), 0);
        return st.st_mode;
}

static int connect_control(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

START_TEST(test_a_control_socket_is_made_with_its_directories_and_removed_again) {
        ListenSockets sockets = { 0 };
        char directory[64], parent[80], path[96];
        mode_t mask = umask(0);
        int fd;

        no_log();
        strcpy(directory, new_directory());
        snprintf(parent, sizeof parent, "%s/a/b", directory);
        snprintf(path, sizeof path, "%s/control", parent);
        ck_assert_int_eq(listen_sockets_open_control(&sockets, path), 0);
        umask(mask);
        ck_assert_uint_eq(sockets.n_sockets, 1);
        ck_assert_int_eq(sockets.sockets[0].kind, LISTEN_CONTROL);
        ck_assert_str_eq(sockets.sockets[0].path, path);
        ck_assert(!sockets.sockets[0].is_passed);
        assert_flags(sockets.sockets[0].fd);
        ck_assert_uint_eq(mode_of(parent), S_IFDIR | 0750);
        ck_assert_uint_eq(mode_of(path), S_IFSOCK | 0660);
        fd = connect_control(path);
        ck_assert_int_ge(fd, 0);
        close(fd);
        listen_sockets_done(&sockets);
        ck_assert_int_lt(access(path, F_OK), 0);
}
END_TEST

START_TEST(test_a_stale_control_socket_is_replaced_and_one_that_answers_is_not) {
        ListenSockets sockets = { 0 }, others = { 0 };
        char path[80];
        int fd;

        no_log();
        snprintf(path, sizeof path, "%s/control", new_directory());
        ck_assert_int_eq(listen_sockets_open_control(&others, path), 0);
        ck_assert_int_eq(listen_sockets_open_control(&sockets, path), -EADDRINUSE);
        ck_assert_uint_eq(sockets.n_sockets, 0);
        fd = connect_control(path);
        ck_assert_int_ge(fd, 0);
        close(fd);

        /* its owner dies without a word */
        close(others.sockets[0].fd);
        others.sockets[0].fd = -1;
        ck_assert_int_lt(connect_control(path), 0);
        ck_assert_int_eq(listen_sockets_open_control(&sockets, path), 0);
        fd = connect_control(path);
        ck_assert_int_ge(fd, 0);
        close(fd);
        listen_sockets_done(&sockets);
        listen_sockets_done(&others);
}
END_TEST

START_TEST(test_what_is_no_socket_is_not_removed) {
        ListenSockets sockets = { 0 };
        char path[80];
        int fd;

        no_log();
        snprintf(path, sizeof path, "%s/control", new_directory());
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert_int_eq(listen_sockets_open_control(&sockets, path), -EEXIST);
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(symlink("/nowhere", path), 0);
        ck_assert_int_eq(listen_sockets_open_control(&sockets, path), -EEXIST);
        ck_assert(S_ISLNK(mode_of(path)));
        ck_assert_uint_eq(sockets.n_sockets, 0);
}
END_TEST

START_TEST(test_a_control_socket_that_cannot_be_is_an_error) {
        ListenSockets sockets = { 0 };
        char path[200];

        no_log();
        memset(path, 'a', sizeof path);
        path[0] = '/';
        path[sizeof path - 1] = 0;
        ck_assert_int_eq(listen_sockets_open_control(&sockets, path), -ENAMETOOLONG);
        ck_assert_int_lt(listen_sockets_open_control(&sockets, "/dev/null/control"), 0);
        ck_assert_int_eq(listen_sockets_open_control(&sockets, ""), -EINVAL);
        ck_assert_uint_eq(sockets.n_sockets, 0);
}
END_TEST

/* --- passed by systemd -------------------------------------------------------------------------------- */

typedef enum Passed {
        PASSED_TCP4,
        PASSED_TCP6,
        PASSED_CONTROL,
        PASSED_TCP_NOT_LISTENING,
        PASSED_CONNECTION,
        PASSED_CONNECTION6,
        PASSED_CONNECTION_AT_EOF,
        PASSED_CONNECTION_RESET,
        PASSED_UNIX_CONNECTION,
        PASSED_UDP,
        PASSED_DATAGRAM,
        PASSED_SEQPACKET,
        PASSED_FILE,
        PASSED_PIPE,
        _PASSED_N,
} Passed;

static int bound_unix(int type, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, type, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -1;
        if (type != SOCK_DGRAM)
                listen(fd, 5);
        return fd;
}

/* Our end of one, as the fd store hands it back. */
static int make_connection(Passed kind) {
        const char *loopback = kind == PASSED_CONNECTION6 ? "::1" : "127.0.0.1";
        int listener_fd = listen_on(loopback), peer_fd = connect_to(loopback, port_of(listener_fd));
        int fd = accept(listener_fd, NULL, NULL);

        close(listener_fd);
        if (kind == PASSED_CONNECTION_AT_EOF)
                close(peer_fd);
        else if (kind == PASSED_CONNECTION_RESET)
                reset(peer_fd);
        return fd;
}

/* As systemd would make it: blocking. */
static int make_passed(Passed kind, const char *directory, unsigned n) {
        char path[96];
        int fd = -1, pipe_fds[2];

        snprintf(path, sizeof path, "%s/%u", directory, n);
        switch (kind) {
        case PASSED_TCP4:
                fd = listen_on("127.0.0.1");
                break;
        case PASSED_TCP6:
                fd = try_listen_on("::", 0);
                break;
        case PASSED_CONTROL:
                return bound_unix(SOCK_STREAM, path);
        case PASSED_TCP_NOT_LISTENING:
                return socket(AF_INET, SOCK_STREAM, 0);
        case PASSED_CONNECTION:
        case PASSED_CONNECTION6:
        case PASSED_CONNECTION_AT_EOF:
        case PASSED_CONNECTION_RESET:
                fd = make_connection(kind);
                break;
        case PASSED_UNIX_CONNECTION:
                return socketpair(AF_UNIX, SOCK_STREAM, 0, pipe_fds) < 0 ? -1 : pipe_fds[0];
        case PASSED_UDP:
                return socket(AF_INET, SOCK_DGRAM, 0);
        case PASSED_DATAGRAM:
                return bound_unix(SOCK_DGRAM, path);
        case PASSED_SEQPACKET:
                return bound_unix(SOCK_SEQPACKET, path);
        case PASSED_FILE:
                return open("/dev/null", O_RDWR);
        case PASSED_PIPE:
                if (pipe(pipe_fds) < 0)
                        return -1;
                close(pipe_fds[1]);
                return pipe_fds[0];
        case _PASSED_N:
                return -1;
        }
        fcntl(fd, F_SETFL, 0);
        fcntl(fd, F_SETFD, 0);
        return fd;
}

static bool is_deferred(int fd) {
        int seconds = 0;
        socklen_t n = sizeof seconds;

        return getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, &n) == 0 && seconds == 1;
}

/* In a process of its own, since descriptors 3, 4, ... are taken here: lays them out as systemd does, takes
 * them, and writes what became of them to `report`. */
static void pass_and_report(const Passed *kinds, unsigned n, const char *names, const char *directory, FILE *report) {
        ListenSockets sockets = { 0 };
        FdstoreKeptList kept = { 0 };
        char number[16], text[128];
        int fds[8], r;

        for (unsigned i = 0; i < n; i++) {
                int fd = make_passed(kinds[i], directory, i);

                fds[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD, 100);
        }
        for (unsigned i = 0; i < n; i++)
                if (fds[i] < 0)
                        close(3 + (int)i);
                else
                        dup2(fds[i], 3 + (int)i);
        snprintf(number, sizeof number, "%ld", (long)getpid());
        setenv("LISTEN_PID", number, 1);
        snprintf(number, sizeof number, "%u", n);
        if (n > 0)
                setenv("LISTEN_FDS", number, 1);
        if (names)
                setenv("LISTEN_FDNAMES", names, 1);
        r = listen_sockets_take_passed(&sockets, &kept);
        fprintf(report, "%d", r);
        for (size_t i = 0; i < sockets.n_sockets; i++) {
                const ListenSocket *entry = sockets.sockets + i;
                bool is_ready = (fcntl(entry->fd, F_GETFL) & O_NONBLOCK) && (fcntl(entry->fd, F_GETFD) & FD_CLOEXEC);
                listen_socket_format(entry, text, sizeof text);
                if (entry->kind == LISTEN_EPMD)
                        *strrchr(text, ':') = 0;
                fprintf(report, " %d=%s%s%s%s", entry->fd, entry->kind == LISTEN_EPMD ? "epmd@" : "control@",
                        entry->kind == LISTEN_EPMD ? text : strrchr(text, '/'), entry->is_passed ? "" : "!passed",
                        is_ready && (entry->kind == LISTEN_CONTROL || (entry->port && is_deferred(entry->fd))) ? "" : "!ready");
        }
        for (size_t i = 0; i < kept.n_kept; i++) {
                int fd = kept.kept[i].fd;

                fprintf(report, " %d=kept:%s%s", fd, kept.kept[i].name,
                        (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC) ? "" : "!ready");
        }
        for (unsigned i = 0; i < n; i++)
                if (fcntl(3 + (int)i, F_GETFD) < 0)
                        fprintf(report, " %u closed", 3 + i);
        fprintf(report, "%s", getenv("LISTEN_FDS") ? " LISTEN_FDS is left" : "");
        fdstore_kept_done(&kept);
        listen_sockets_done(&sockets);
        for (unsigned i = 0; i < n; i++) {
                snprintf(text, sizeof text, "%s/%u", directory, i);
                if (kinds[i] == PASSED_CONTROL && access(text, F_OK) < 0)
                        fprintf(report, " %s was removed", text);
        }
}

static const struct {
        Passed kinds[4];
        unsigned n;
        const char *report;
        const char *log[2]; /* what it must say */
        const char *names;  /* NULL: none */
} passes[] = {
        { { 0 }, 0, "0", { NULL }, NULL },
        { { PASSED_TCP4 }, 1, "1 3=epmd@127.0.0.1", { NULL }, NULL },
        { { PASSED_TCP6 }, 1, "1 3=epmd@[::]", { NULL }, NULL },
        { { PASSED_CONTROL }, 1, "1 3=control@/0", { NULL }, NULL },
        { { PASSED_TCP4, PASSED_CONTROL, PASSED_TCP6 }, 3, "3 3=epmd@127.0.0.1 4=control@/1 5=epmd@[::]", { NULL }, NULL },
        { { PASSED_CONTROL, PASSED_CONTROL }, 2, "1 3=control@/0 4 closed", { "descriptor 4", "already" }, NULL },
        { { PASSED_TCP_NOT_LISTENING, PASSED_TCP4 }, 2, "1 4=epmd@127.0.0.1 3 closed",
          { "descriptor 3", "does not listen" }, NULL },
        { { PASSED_TCP4, PASSED_UDP }, 2, "1 3=epmd@127.0.0.1 4 closed", { "descriptor 4", "no stream socket" }, NULL },
        { { PASSED_DATAGRAM }, 1, "0 3 closed", { "descriptor 3", "no stream socket" }, NULL },
        { { PASSED_SEQPACKET }, 1, "0 3 closed", { "descriptor 3", "no stream socket" }, NULL },
        { { PASSED_FILE, PASSED_TCP4 }, 2, "1 4=epmd@127.0.0.1 3 closed", { "descriptor 3", "no socket" }, NULL },
        { { PASSED_PIPE, PASSED_CONTROL }, 2, "1 4=control@/1 3 closed", { "descriptor 3", "no socket" }, NULL },

        /* from the fd store: in any order, alive or not, ours or not */
        { { PASSED_CONNECTION }, 1, "0 3=kept:node-1-5", { NULL }, "node-1-5" },
        { { PASSED_CONNECTION6 }, 1, "0 3=kept:node-1-5", { NULL }, "node-1-5" },
        { { PASSED_CONNECTION_AT_EOF }, 1, "0 3=kept:node-1-5", { NULL }, "node-1-5" },
        { { PASSED_CONNECTION_RESET }, 1, "0 3=kept:node-1-5", { NULL }, "node-1-5" },
        { { PASSED_TCP4, PASSED_CONTROL, PASSED_CONNECTION, PASSED_CONNECTION }, 4,
          "2 3=epmd@127.0.0.1 4=control@/1 6=kept:node-1-5 5=kept:node-2-5", { NULL },
          "epmd.socket:epmd.socket:node-2-5:node-1-5" },
        { { PASSED_CONNECTION, PASSED_TCP4, PASSED_CONNECTION, PASSED_CONTROL }, 4,
          "2 4=epmd@127.0.0.1 6=control@/3 5=kept:node-1-5 3=kept:stored", { NULL },
          "stored:epmd.socket:node-1-5:epmd.socket" },
        { { PASSED_CONNECTION, PASSED_CONNECTION_AT_EOF }, 2, "0 3=kept: 4=kept:unknown", { NULL }, ":unknown" },
        { { PASSED_CONNECTION }, 1, "0 3=kept:unknown", { NULL }, NULL },
        /* a name of ours makes no listening socket a connection */
        { { PASSED_TCP4 }, 1, "1 3=epmd@127.0.0.1", { NULL }, "node-1-5" },
        { { PASSED_UNIX_CONNECTION, PASSED_TCP4 }, 2, "1 4=epmd@127.0.0.1 3 closed",
          { "descriptor 3 (node-1-5)", "does not listen" }, "node-1-5:epmd.socket" },
        { { PASSED_UDP, PASSED_TCP4 }, 2, "1 4=epmd@127.0.0.1 3 closed",
          { "descriptor 3 (node-1-5)", "no stream socket" }, "node-1-5:epmd.socket" },
        { { PASSED_FILE, PASSED_TCP4 }, 2, "1 4=epmd@127.0.0.1 3 closed",
          { "descriptor 3 (node-1-5)", "no socket" }, "node-1-5:epmd.socket" },
        { { PASSED_TCP_NOT_LISTENING, PASSED_TCP4 }, 2, "1 4=epmd@127.0.0.1 3 closed",
          { "descriptor 3 (mine)", "does not listen" }, "mine:epmd.socket" },
};

START_TEST(test_a_passed_descriptor_is_taken_if_it_is_of_use_and_else_closed_with_a_word) {
        char said[2048] = "", report[1024] = "";
        const char *directory = new_directory();
        FILE *file = tmpfile();
        int status = -1;

        ck_assert_ptr_nonnull(file);
        log_init(LOG_FORMAT_PLAIN, LOG_INFO, 0);
        CATCH_STDERR(said, {
                pid_t pid;

                fflush(NULL);
                pid = fork();
                if (pid == 0) {
                        int fd = fcntl(fileno(file), F_DUPFD, 200);
                        FILE *out = fdopen(fd, "w");

                        pass_and_report(passes[_i].kinds, passes[_i].n, passes[_i].names, directory, out);
                        fclose(out);
                        _exit(0);
                }
                waitpid(pid, &status, 0);
        });
        ck_assert_msg(status == 0, "status %d, said: %s", status, said);
        rewind(file);
        ck_assert_int_eq(ferror(file), 0);
        if (fgets(report, sizeof report, file) == NULL)
                report[0] = 0;
        fclose(file);
        ck_assert_str_eq(report, passes[_i].report);
        for (size_t i = 0; i < ELEMENTS(passes[_i].log) && passes[_i].log[i]; i++)
                ck_assert_msg(strstr(said, passes[_i].log[i]) != NULL, "said: %s", said);
        if (!passes[_i].log[0])
                ck_assert_str_eq(said, "");
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("sockets");
        TCase *tcase = tcase_create("addresses");

        tcase_add_loop_test(tcase, test_an_address_to_listen_on_has_a_port_or_the_default_one, 0, ELEMENTS(parses));
        tcase_add_loop_test(tcase, test_a_socket_is_shown_with_its_address_or_path, 0, ELEMENTS(shown));
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("own");
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_every_address_is_one_dual_stack_socket);
        tcase_add_test(tcase, test_a_machine_without_ipv6_listens_on_ipv4);
        tcase_add_test(tcase, test_an_ipv6_address_that_was_asked_for_and_is_not_there_is_an_error);
        tcase_add_test(tcase, test_specific_addresses_stand_side_by_side_on_one_port);
        tcase_add_loop_test(tcase, test_a_taken_port_is_told_with_who_has_it_and_what_to_do, 0, 2);
        tcase_add_test(tcase, test_an_address_of_another_machine_is_told);
        tcase_add_test(tcase, test_a_control_socket_is_made_with_its_directories_and_removed_again);
        tcase_add_test(tcase, test_a_stale_control_socket_is_replaced_and_one_that_answers_is_not);
        tcase_add_test(tcase, test_what_is_no_socket_is_not_removed);
        tcase_add_test(tcase, test_a_control_socket_that_cannot_be_is_an_error);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("passed");
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_passed_descriptor_is_taken_if_it_is_of_use_and_else_closed_with_a_word, 0,
                            ELEMENTS(passes));
        suite_add_tcase(suite, tcase);
        return suite;
}
