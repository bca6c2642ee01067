/* SPDX-License-Identifier: Apache-2.0 */
/* From stock epmd's options to a rollcalld that behaves as stock epmd would: in the foreground by
 * exec, detached with -daemon. Knows rollcalld's options, where the registry of a port is kept, and
 * how to detach; does not know how to listen, to log or to answer.
 *
 * The trap: `erl` runs `epmd -daemon` at each start, from anywhere, as anybody, and many at the
 * same time. So whoever finds an EPMD on the port is content, nothing of the caller's (descriptors,
 * the service manager's variables) is taken along, and only the one that really failed says so. */

#include "epmd_server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/address.h"
#include "epmd_client.h"
#include "util.h"

#define PROBE_MSEC 2000
#define READY_MSEC 5000
#define READY_FD 3 /* rollcalld's, once detached */
#define DEBUG_MAX 2 /* more says no more */
#define SEPARATORS " ," /* of -address */

/* --- its command line ------------------------------------------------------------------------- */

typedef struct Command {
        char **argv; /* ends with NULL */
        size_t n_args, n_room;
        int error; /* 0 or -ENOMEM */
} Command;

static void command_done(Command *command) {
        for (size_t i = 0; i < command->n_args; i++)
                free(command->argv[i]);
        free(command->argv);
}

/* Takes `arg`, NULL if there was no memory for it. */
static void command_take(Command *command, char *arg) {
        if (arg && command->n_args + 2 > command->n_room) {
                size_t n_room = 2 * command->n_room + 16;
                char **argv = reallocarray(command->argv, n_room, sizeof(char *));

                if (argv) {
                        command->argv = argv;
                        command->n_room = n_room;
                } else {
                        free(arg);
                        arg = NULL;
                }
        }
        if (!arg) {
                command->error = -ENOMEM;
                return;
        }
        command->argv[command->n_args++] = arg;
        command->argv[command->n_args] = NULL;
}

PRINTF_LIKE(2, 3) static void command_add(Command *command, const char *format, ...) {
        va_list arguments;
        char *arg = NULL;

        va_start(arguments, format);
        if (vasprintf(&arg, format, arguments) < 0)
                arg = NULL;
        va_end(arguments);
        command_take(command, arg);
}

/* The first directory of a list as systemd passes it (STATE_DIRECTORY=, ...), or NULL. Owned by the
 * caller. */
static char *directory_of_unit(const char *variable) {
        const char *list = getenv(variable);

        return list && list[0] == '/' ? strndup(list, strcspn(list, ":")) : NULL;
}

/* DIR/TAIL for the absolute path in a variable, or NULL. Owned by the caller. */
static char *directory_below(const char *variable, const char *tail) {
        const char *parent = getenv(variable);
        char *directory = NULL;

        if (!parent || parent[0] != '/' || asprintf(&directory, "%s/%s", parent, tail) < 0)
                return NULL;
        return directory;
}

/* Where registries are kept, or NULL: nowhere. */
static char *state_directory(const EpmdOptions *options) {
        char *directory = options->is_systemd ? directory_of_unit("STATE_DIRECTORY") : NULL;

        if (!directory && geteuid() == 0)
                return strdup("/var/lib/rollcall");
        if (!directory)
                directory = directory_below("XDG_STATE_HOME", "rollcall");
        if (!directory)
                directory = directory_below("HOME", ".local/state/rollcall");
        return directory;
}

/* Where control sockets are, made if need be, or NULL: nowhere. */
static char *control_directory(const EpmdOptions *options) {
        _cleanup_(freep) char *directory =
                options->is_systemd ? directory_of_unit("RUNTIME_DIRECTORY") : NULL;
        mode_t mode = geteuid() == 0 ? 0755 : 0700;

        if (!directory)
                directory = geteuid() == 0 ? strdup("/run/rollcall")
                                           : directory_below("XDG_RUNTIME_DIR", "rollcall");
        if (!directory || (mkdir(directory, mode) < 0 && errno != EEXIST))
                return NULL;
        return TAKE_PTR(directory);
}

/* Whether the arguments after "--" have an option of that name, or one that begins so, which then
 * counts instead of ours. */
static bool is_said(const EpmdOptions *options, const char *option) {
        for (char **arg = options->rest; *arg; arg++)
                if (strncmp(*arg, option, strlen(option)) == 0)
                        return true;
        return false;
}

static void add_control(Command *command, const EpmdOptions *options) {
        _cleanup_(freep) char *control = control_directory(options);

        if (control)
                command_add(command, "--control=%s/epmd-%u.control", control,
                            (unsigned)options->port);
}

static void add_state(Command *command, const EpmdOptions *options) {
        _cleanup_(freep) char *state = state_directory(options);

        if (state)
                command_add(command, "--state-if-free=%s/epmd-%u.db", state,
                            (unsigned)options->port);
        else {
                fputs("epmd: neither XDG_STATE_HOME nor HOME is set: the names will be kept in "
                      "memory only\n",
                      stderr);
                command_add(command, "--no-state");
        }
}

static void add_seconds(Command *command, const char *option, uint32_t seconds) {
        if (seconds > 0)
                command_add(command, "--%s=%u", option, (unsigned)seconds);
}

static const char *log_format(const EpmdOptions *options) {
        if (options->is_daemon)
                return "syslog";
        return options->is_systemd ? "auto" : "epmd";
}

/* rollcalld's command line but for its first word. */
static void add_options(Command *command, const EpmdOptions *options) {
        command_add(command, "--port=%u", (unsigned)options->port);
        if (options->address && options->address[strspn(options->address, SEPARATORS)] != '\0')
                command_add(command, "--epmd-address=%s", options->address);
        if (options->is_relaxed)
                command_add(command, "--relaxed-command-check");
        for (unsigned i = 0; i < options->n_debug && i < DEBUG_MAX; i++)
                command_add(command, "-d");
        command_add(command, "--log-format=%s", log_format(options));
        add_seconds(command, "packet-timeout", options->packet_timeout_sec);
        add_seconds(command, "delay-accept", options->delay_accept_sec);
        add_seconds(command, "delay-write", options->delay_write_sec);
        /* Stock epmd's openness; P7 is for rollcalld by itself. */
        if (!is_said(options, "--list-from"))
                command_add(command, "--list-from=any");
        if (!is_said(options, "--state") && !is_said(options, "--no-state"))
                add_state(command, options);
        if (!is_said(options, "--control"))
                add_control(command, options);
        if (options->is_daemon)
                command_add(command, "--ready-fd=%d", READY_FD);
        for (char **arg = options->rest; *arg; arg++)
                command_add(command, "%s", *arg);
}

/* rollcalld belongs beside us: in the same directory (a build tree), in the sbin next to our bin
 * (also where the tree was moved after `make install`), or where it was to be installed. Owned by
 * the caller. */
static char *find_rollcalld(void) {
        static const char *const places[] = { "rollcalld", "../sbin/rollcalld" };
        const char *chosen = getenv("ROLLCALLD");
        char self[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (chosen && chosen[0] != '\0')
                return strdup(chosen);
        self[n > 0 ? n : 0] = '\0';
        for (size_t i = 0; n > 0 && i < ELEMENTS(places); i++) {
                _cleanup_(freep) char *path = NULL;
                const char *slash = strrchr(self, '/');

                if (!slash || asprintf(&path, "%.*s/%s", (int)(slash - self), self, places[i]) < 0)
                        path = NULL;
                if (path && access(path, X_OK) == 0)
                        return TAKE_PTR(path);
        }
        return strdup(ROLLCALLD_PATH);
}

/* Becomes rollcalld; returns only where that failed, which it has said. */
static int become_rollcalld(const Command *command) {
        execv(command->argv[0], command->argv);
        fprintf(stderr, "epmd: cannot run %s: %s\n", command->argv[0], strerror(errno));
        return EXIT_FAILURE;
}

/* --- detaching -------------------------------------------------------------------------------- */

/* The pipes to a rollcalld that starts: its word that it answers, and what it says until then. */
typedef struct Start {
        int ready_fd;
        int says_fd;
        char says[16384];
        size_t n_says;
        bool is_ready;
} Start;

static void start_done(Start *start) {
        close_fdp(&start->ready_fd);
        close_fdp(&start->says_fd);
}

/* Descriptors 0 to 3 of the daemon; all others are closed. Neither the terminal nor a pipe that a
 * caller reads to its end (`$(erl ...)`) may be held open. */
static int arrange_descriptors(int ready_fd, int says_fd) {
        int null_fd;

        /* Above the places that they are copied to, so that no copy overwrites one. */
        ready_fd = fcntl(ready_fd, F_DUPFD, READY_FD + 1);
        says_fd = fcntl(says_fd, F_DUPFD, READY_FD + 1);
        null_fd = open("/dev/null", O_RDWR);
        if (ready_fd < 0 || says_fd < 0 || null_fd < 0)
                return -errno;
        if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
            dup2(says_fd, STDERR_FILENO) < 0 || dup2(ready_fd, READY_FD) < 0)
                return -errno;
        if (close_range(READY_FD + 1, ~0U, 0) < 0)
                for (int fd = READY_FD + 1; fd < 1024; fd++)
                        close(fd);
        return 0;
}

/* In a child: goes on in a grandchild that leads no session, so that it can never get a terminal.
 */
static int run_detached(const Command *command, int ready_fd, int says_fd) {
        int r = arrange_descriptors(ready_fd, says_fd);

        if (r < 0)
                return EXIT_FAILURE;
        setsid();
        switch (fork()) {
        case 0:
                break;
        case -1:
                fprintf(stderr, "epmd: cannot start a process: %s\n", strerror(errno));
                return EXIT_FAILURE;
        default:
                return EXIT_SUCCESS;
        }
        if (chdir("/") < 0)
                return EXIT_FAILURE;
        /* When we have gone, nobody reads what is still written to stderr. */
        signal(SIGPIPE, SIG_IGN);
        return become_rollcalld(command);
}

static int start_detached(const Command *command, Start *ret) {
        int ready[2], says[2];
        pid_t pid;

        if (pipe2(ready, O_CLOEXEC) < 0)
                return -errno;
        ret->ready_fd = ready[0];
        if (pipe2(says, O_CLOEXEC) < 0) {
                close(ready[1]);
                return -errno;
        }
        ret->says_fd = says[0];
        pid = fork();
        if (pid == 0)
                _exit(run_detached(command, ready[1], says[1]));
        close(ready[1]);
        close(says[1]);
        return pid < 0 ? -errno : 0;
}

static int64_t now_msec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads what rollcalld says, as much as there is room for. False at its end. */
static bool read_says(Start *start) {
        char rest[512];
        size_t n_left = sizeof(start->says) - start->n_says;
        ssize_t n = n_left > 0 ? read(start->says_fd, start->says + start->n_says, n_left)
                               : read(start->says_fd, rest, sizeof(rest));

        if (n > 0 && n_left > 0)
                start->n_says += (size_t)n;
        return n > 0 || (n < 0 && errno == EINTR);
}

/* 0 once it is ready (`start->is_ready`) or has ended; -ETIMEDOUT. */
static int wait_ready(Start *start) {
        int64_t deadline_msec = now_msec() + READY_MSEC, left;
        struct pollfd fds[] = {
                { .fd = start->ready_fd, .events = POLLIN },
                { .fd = start->says_fd, .events = POLLIN },
        };

        while ((left = deadline_msec - now_msec()) > 0) {
                if (poll(fds, ELEMENTS(fds), (int)left) < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (fds[1].revents && !read_says(start))
                        fds[1].fd = -1; /* poll() passes over it */
                if (fds[0].revents) {
                        char word[16];

                        start->is_ready = read(start->ready_fd, word, sizeof(word)) > 0;
                        return 0;
                }
        }
        return -ETIMEDOUT;
}

/* What it has said and we have not read; `until_end` where it has ended and the pipe with it. */
static void read_rest(Start *start, bool until_end) {
        struct pollfd says = { .fd = start->says_fd, .events = POLLIN };

        while ((until_end || poll(&says, 1, 0) > 0) && read_says(start))
                ;
}

/* --- the ways to run -------------------------------------------------------------------------- */

/* As stock epmd says it, and as it does: only with -d. */
static int leave_it_to_the_other(const EpmdOptions *options) {
        char when[32];
        time_t now = time(NULL);

        if (options->n_debug > 0 && ctime_r(&now, when))
                fprintf(stderr, "epmd: %.24s: there is already a epmd running at port %u\r\n", when,
                        (unsigned)options->port);
        return EXIT_SUCCESS;
}

static int run_daemon(const EpmdOptions *options, const Command *command) {
        _cleanup_(start_done) Start start = { .ready_fd = -1, .says_fd = -1 };
        int r = start_detached(command, &start);

        if (r == 0)
                r = wait_ready(&start);
        read_rest(&start, r == 0 && !start.is_ready);
        /* Another start was faster: the two of us looked before either listened. */
        if (r == 0 && !start.is_ready && epmd_client_probe((uint16_t)options->port, PROBE_MSEC))
                return leave_it_to_the_other(options);
        fwrite(start.says, 1, start.n_says, stderr);
        if (r == -ETIMEDOUT) {
                fprintf(stderr, "epmd: rollcalld does not answer after %d s; it goes on starting\n",
                        READY_MSEC / 1000);
                return EXIT_SUCCESS;
        }
        if (r < 0)
                fprintf(stderr, "epmd: cannot start rollcalld: %s\n", strerror(-r));
        else if (!start.is_ready && start.n_says == 0)
                fputs("epmd: rollcalld ended before it answered; the system log may say why\n",
                      stderr);
        return r == 0 && start.is_ready ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* An epmd started by a service's process is not that service: it must not tell its manager "ready",
 * take its sockets or keep its registry in its directories. What the command line says is said by
 * options already. */
static void clear_environment(void) {
        static const char *const variables[] = {
                "LISTEN_FDS",   "LISTEN_FDNAMES",   "LISTEN_PID",        "NOTIFY_SOCKET",
                "WATCHDOG_PID", "WATCHDOG_USEC",    "STATE_DIRECTORY",   "RUNTIME_DIRECTORY",
                "ERL_EPMD_PORT", "ERL_EPMD_ADDRESS", "ERL_EPMD_RELAXED_COMMAND_CHECK",
        };

        for (size_t i = 0; i < ELEMENTS(variables); i++)
                unsetenv(variables[i]);
}

static bool has_passed_sockets(void) {
        const char *pid = getenv("LISTEN_PID"), *n_fds = getenv("LISTEN_FDS");

        return pid && n_fds && strtol(pid, NULL, 10) == getpid() && strtol(n_fds, NULL, 10) > 0;
}

/* In stock epmd's words, and with its exit status (rollcalld's would be another). */
static int check_addresses(const EpmdOptions *options) {
        _cleanup_(freep) char *list = strdup(options->address ? options->address : "");
        char *rest = NULL;

        if (!list)
                return EXIT_FAILURE;
        for (char *word = strtok_r(list, SEPARATORS, &rest); word;
             word = strtok_r(NULL, SEPARATORS, &rest)) {
                Address address;

                if (address_parse(word, &address) < 0) {
                        fprintf(stderr, "epmd: cannot parse IP address \"%s\"\n", word);
                        return EXIT_FAILURE;
                }
        }
        return EXIT_SUCCESS;
}

/* An exit status; failure where the options cannot be followed. */
static int check_systemd(const EpmdOptions *options) {
        if (!options->is_systemd)
                return EXIT_SUCCESS;
        if (options->is_daemon) {
                fputs("epmd: -daemon and -systemd exclude each other: systemd detaches its "
                      "services\n",
                      stderr);
                return EXIT_FAILURE;
        }
        if (!has_passed_sockets()) {
                fputs("epmd: systemd provides no sockets\n", stderr);
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

int epmd_server_run(const EpmdOptions *options) {
        _cleanup_(command_done) Command command = { 0 };

        if (check_systemd(options) != EXIT_SUCCESS || check_addresses(options) != EXIT_SUCCESS)
                return EXIT_FAILURE;
        /* With -systemd it is our own sockets that would be asked, and nobody would answer. */
        if (!options->is_systemd && epmd_client_probe((uint16_t)options->port, PROBE_MSEC))
                return leave_it_to_the_other(options);
        command_take(&command, find_rollcalld());
        add_options(&command, options);
        if (command.error < 0) {
                fputs("epmd: out of memory\n", stderr);
                return EXIT_FAILURE;
        }
        if (!options->is_systemd)
                clear_environment();
        return options->is_daemon ? run_daemon(options, &command) : become_rollcalld(&command);
}
