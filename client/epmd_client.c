/* SPDX-License-Identifier: Apache-2.0 */
/* The client side of `epmd`: one request on one connection, and the answer printed. Knows stock
 * epmd's messages, streams and exit statuses; does not know what a listing says, which is passed
 * through as bytes, but that a terminal obeys what is printed on it.
 *
 * The trap: which message goes where is not to be guessed. Only "Cannot connect" is on stderr; the
 * other complaints are on stdout, and one has no line feed. Whoever changes one breaks a script. */

#include "epmd_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/node.h"
#include "core/wire.h"
#include "text.h"
#include "util.h"

#define LISTING_HEAD 4 /* EPMD's own port */
#define KILL_ANSWER 2  /* "OK", "NO" */
#define STOP_ANSWER 7  /* "STOPPED", "NOEXIST" */

/* --- one connection --------------------------------------------------------------------------- */

/* A socket address of a loopback address; returns its length. */
static socklen_t loopback(int family, uint16_t port, struct sockaddr_storage *ret) {
        *ret = (struct sockaddr_storage){ .ss_family = (sa_family_t)family };
        if (family == AF_INET6) {
                ((struct sockaddr_in6 *)ret)->sin6_addr = in6addr_loopback;
                ((struct sockaddr_in6 *)ret)->sin6_port = htons(port);
                return sizeof(struct sockaddr_in6);
        }
        ((struct sockaddr_in *)ret)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ((struct sockaddr_in *)ret)->sin_port = htons(port);
        return sizeof(struct sockaddr_in);
}

/* A descriptor, with SOCK_NONBLOCK among `flags` perhaps not connected yet; or negative errno. */
static int connect_loopback(int family, uint16_t port, int flags) {
        _cleanup_(close_fdp) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
        struct sockaddr_storage address;
        socklen_t n_address = loopback(family, port, &address);

        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&address, n_address) < 0 && errno != EINPROGRESS)
                return -errno;
        return TAKE_FD(fd);
}

/* Nodes register at 127.0.0.1 or ::1, so one of the two is where an EPMD is; this is stock epmd's
 * order. */
static int connect_any(uint16_t port) {
        int fd = connect_loopback(AF_INET6, port, 0);

        return fd >= 0 ? fd : connect_loopback(AF_INET, port, 0);
}

/* What there is, at most `n` bytes. The number, 0 at the end, or negative errno. */
static ssize_t read_some(int fd, void *data, size_t n) {
        ssize_t r;

        do
                r = read(fd, data, n);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

/* `n` bytes, or fewer where the other side closes first. The number, or negative errno. */
static ssize_t read_all(int fd, void *data, size_t n) {
        size_t n_data = 0;

        while (n_data < n) {
                ssize_t r = read_some(fd, (char *)data + n_data, n - n_data);

                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                n_data += (size_t)r;
        }
        return (ssize_t)n_data;
}

/* Connects and sends a request. A descriptor to read the answer from, or -1 where it has said why
 * not. */
static int ask(const EpmdOptions *options, WireOp op, const char *text) {
        size_t n_text = strlen(text);
        uint8_t frame[2 + 1 + NODE_NAME_BYTES_MAX];
        size_t n_frame = 2 + 1 + n_text;
        _cleanup_(close_fdp) int fd = connect_any((uint16_t)options->port);

        if (fd < 0) {
                if (options->call != EPMD_CALL_STARTED)
                        fputs("epmd: Cannot connect to local epmd\n", stderr);
                return -1;
        }
        frame[0] = (uint8_t)((1 + n_text) >> 8);
        frame[1] = (uint8_t)(1 + n_text);
        frame[2] = (uint8_t)op;
        memcpy(frame + 3, text, n_text);
        if (send(fd, frame, n_frame, MSG_NOSIGNAL) != (ssize_t)n_frame) {
                puts("epmd: Can't write to epmd");
                return -1;
        }
        return TAKE_FD(fd);
}

/* --- the requests ----------------------------------------------------------------------------- */

/* The exit status for what was printed: a full disk or a closed pipe is told, unlike by stock epmd.
 */
static int finish(int status) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return status;
        fprintf(stderr, "epmd: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_FAILURE;
}

/* Whoever has the port may say anything. */
static void print_clean(const char *text, size_t n_text) {
        while (n_text > 0) {
                const char *newline = memchr(text, '\n', n_text);
                size_t n_line = newline ? (size_t)(newline - text) : n_text;
                _cleanup_(freep) char *clean = text_for_people((const uint8_t *)text, n_line);

                printf("%s%s", clean ? clean : "?", newline ? "\n" : "");
                n_line += newline != NULL;
                text += n_line;
                n_text -= n_line;
        }
}

/* The length of what can be shown now: a line that is not complete waits for its end, as far as there is room. */
static size_t n_lines(const char *text, size_t n_text, size_t n_room) {
        const char *newline = memrchr(text, '\n', n_text);

        if (newline)
                return (size_t)(newline + 1 - text);
        return n_text == n_room ? n_text : 0;
}

static void show_listing(int fd) {
        char text[4096];
        size_t n_text = 0, n;
        ssize_t r;

        while ((r = read_some(fd, text + n_text, sizeof(text) - n_text)) > 0) {
                n_text += (size_t)r;
                n = n_lines(text, n_text, sizeof(text));
                print_clean(text, n);
                memmove(text, text + n, n_text - n);
                n_text -= n;
        }
        print_clean(text, n_text);
}

static void pass_listing(int fd) {
        char text[4096];
        ssize_t n;

        while ((n = read_some(fd, text, sizeof(text))) > 0)
                fwrite(text, 1, (size_t)n, stdout);
}

int epmd_client_list(const EpmdOptions *options) {
        bool is_silent = options->call == EPMD_CALL_STARTED;
        WireOp op = options->call == EPMD_CALL_DUMP ? WIRE_DUMP : WIRE_NAMES;
        _cleanup_(close_fdp) int fd = ask(options, op, "");
        uint8_t head[LISTING_HEAD];

        if (fd < 0)
                return EXIT_FAILURE;
        if (read_all(fd, head, sizeof(head)) != sizeof(head)) {
                if (!is_silent)
                        puts("epmd: no response from local epmd");
                return finish(EXIT_FAILURE);
        }
        if (is_silent)
                return EXIT_SUCCESS;
        printf("epmd: up and running on port %d with data:\n",
               (int)((uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 |
                     head[3]));
        if (isatty(STDOUT_FILENO))
                show_listing(fd);
        else
                pass_listing(fd);
        return finish(EXIT_SUCCESS);
}

/* Reads an answer of exactly `n` bytes, or says that there is none. */
static bool read_answer(int fd, char *answer, size_t n) {
        ssize_t r = read_all(fd, answer, n);

        if (r == (ssize_t)n)
                return true;
        if (r < 0)
                puts("epmd: failed to read answer from local epmd");
        else
                puts("epmd: local epmd responded with <>");
        return false;
}

int epmd_client_kill(const EpmdOptions *options) {
        _cleanup_(close_fdp) int fd = ask(options, WIRE_KILL, "");
        char answer[KILL_ANSWER];

        if (fd < 0 || !read_answer(fd, answer, sizeof(answer)))
                return finish(EXIT_FAILURE);
        if (memcmp(answer, "OK", sizeof(answer)) != 0) {
                puts("Killing not allowed - living nodes in database.");
                return finish(EXIT_FAILURE);
        }
        puts("Killed");
        return finish(EXIT_SUCCESS);
}

int epmd_client_stop(const EpmdOptions *options) {
        _cleanup_(close_fdp) int fd = -1;
        char answer[STOP_ANSWER];

        if (strlen(options->stop_name) > NODE_NAME_BYTES_MAX) {
                fputs("epmd: Name too long!", stdout);
                return finish(EXIT_FAILURE);
        }
        fd = ask(options, WIRE_STOP, options->stop_name);
        if (fd < 0 || !read_answer(fd, answer, sizeof(answer)))
                return finish(EXIT_FAILURE);
        if (isatty(STDOUT_FILENO))
                print_clean(answer, sizeof(answer));
        else
                printf("%.*s", (int)sizeof(answer), answer);
        putchar('\n');
        return finish(EXIT_SUCCESS);
}

/* --- is there an EPMD? ------------------------------------------------------------------------ */

static int64_t now_msec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* True once `fd` is ready for `events`, false at the deadline. */
static bool wait_ready(int fd, short events, int64_t deadline_msec) {
        struct pollfd poll_fd = { .fd = fd, .events = events };
        int64_t left;

        while ((left = deadline_msec - now_msec()) > 0) {
                int r = poll(&poll_fd, 1, (int)left);

                if (r > 0)
                        return true;
                if (r < 0 && errno != EINTR)
                        return false;
        }
        return false;
}

static bool probe_one(int family, uint16_t port, int64_t deadline_msec) {
        static const uint8_t request[] = { 0, 1, WIRE_NAMES };
        _cleanup_(close_fdp) int fd = connect_loopback(family, port, SOCK_NONBLOCK);
        uint8_t head[LISTING_HEAD];
        size_t n = 0;

        if (fd < 0 || !wait_ready(fd, POLLOUT, deadline_msec) ||
            send(fd, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
                return false;
        while (n < sizeof(head)) {
                ssize_t r;

                if (!wait_ready(fd, POLLIN, deadline_msec))
                        return false;
                r = recv(fd, head + n, sizeof(head) - n, 0);
                if (r <= 0)
                        return false;
                n += (size_t)r;
        }
        /* A port of 16 bits in 32. Banners (SSH, SMTP, HTTP) are text and never begin so. */
        return head[0] == 0 && head[1] == 0 && (head[2] != 0 || head[3] != 0);
}

bool epmd_client_probe(uint16_t port, int timeout_msec) {
        return probe_one(AF_INET6, port, now_msec() + timeout_msec) ||
               probe_one(AF_INET, port, now_msec() + timeout_msec);
}
