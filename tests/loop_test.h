/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of what serves: an event loop that is turned by hand, and clients on real sockets. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "check_main.h"
#include "core/address.h"
#include "log.h"
#include "util.h"

/* Nothing here takes so long, unless it goes wrong. */
#define LONG_USEC (20 * USEC_PER_SEC)

/* A string literal as bytes, without its NUL. */
#define BYTES(literal) (const uint8_t *)(literal), sizeof(literal) - 1

static inline void no_log(void) {
        log_init(LOG_FORMAT_PLAIN, -1, 0);
}

static inline uint64_t test_now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* --- the loop ----------------------------------------------------------------------------------------- */

static inline sd_event *make_event(void) {
        sd_event *event = NULL;

        ck_assert_int_ge(sd_event_new(&event), 0);
        return event;
}

/* Until nothing is ready any more. Returns how many events that were. */
static inline unsigned turn(sd_event *event) {
        unsigned n = 0;
        int r;

        while ((r = sd_event_run(event, 0)) > 0) {
                n++;
                ck_assert_msg(n < 1000000, "the loop spins");
        }
        ck_assert_int_eq(r, 0);
        return n;
}

/* Turns the loop until `condition` holds. False if it does not within `timeout_usec`. */
#define RUN_UNTIL(event, condition, timeout_usec)                                      \
        ({                                                                             \
                uint64_t end_usec_ = test_now() + (timeout_usec);                      \
                bool holds_;                                                           \
                while (!(holds_ = (condition)) && test_now() < end_usec_)              \
                        ck_assert_int_ge(sd_event_run((event), 10 * USEC_PER_MSEC), 0); \
                holds_;                                                                \
        })

/* Turns the loop for so long, whatever happens. Returns how many events that were. */
static inline unsigned run_for(sd_event *event, uint64_t usec) {
        uint64_t end = test_now() + usec;
        unsigned n = 0;

        for (uint64_t now = test_now(); now < end; now = test_now()) {
                int r = sd_event_run(event, end - now);

                ck_assert_int_ge(r, 0);
                n += r > 0;
        }
        return n;
}

/* --- sockets ------------------------------------------------------------------------------------------ */

typedef union TestAddress {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
} TestAddress;

static inline socklen_t fill_address(TestAddress *ret, const char *text, uint16_t port) {
        memset(ret, 0, sizeof *ret);
        if (inet_pton(AF_INET, text, &ret->in.sin_addr) == 1) {
                ret->in.sin_family = AF_INET;
                ret->in.sin_port = htons(port);
                return sizeof ret->in;
        }
        memset(ret, 0, sizeof *ret);
        ck_assert_int_eq(inet_pton(AF_INET6, text, &ret->in6.sin6_addr), 1);
        ret->in6.sin6_family = AF_INET6;
        ret->in6.sin6_port = htons(port);
        return sizeof ret->in6;
}

static inline uint16_t port_of(int fd) {
        TestAddress address;
        socklen_t n = sizeof address;

        ck_assert_int_eq(getsockname(fd, &address.sa, &n), 0);
        return ntohs(address.sa.sa_family == AF_INET ? address.in.sin_port : address.in6.sin6_port);
}

static inline uint64_t cookie_of(int fd) {
        uint64_t cookie = 0;
        socklen_t n = sizeof cookie;

        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n), 0);
        return cookie;
}

/* A listening, non-blocking socket on a free port of `text`. An IPv6 wildcard is dual-stack. -1 where the
 * machine has no such address. */
static inline int try_listen_on(const char *text, uint16_t port) {
        TestAddress address;
        socklen_t n = fill_address(&address, text, port);
        int fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const int on = 1, off = 0;

        if (fd < 0)
                return -1;
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
        if (address.sa.sa_family == AF_INET6)
                ck_assert_int_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), 0);
        if (bind(fd, &address.sa, n) < 0 || listen(fd, SOMAXCONN) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

/* A port that this test has not had before: at two addresses the kernel may give the same one twice, and who listens on
 * both cannot be told apart by it. */
static inline bool is_new_port(uint16_t port) {
        static uint16_t given[256];
        static unsigned n_given;

        for (unsigned i = 0; i < ELEMENTS(given); i++)
                if (given[i] == port)
                        return false;
        given[n_given++ % ELEMENTS(given)] = port;
        return true;
}

static inline int listen_on(const char *text) {
        int fd;

        do {
                fd = try_listen_on(text, 0);
                ck_assert_msg(fd >= 0, "cannot listen on %s: %s", text, strerror(errno));
        } while (!is_new_port(port_of(fd)) && close(fd) == 0);
        return fd;
}

/* A connected, non-blocking client. The server's side need not have accepted it. */
static inline int try_connect_from(const char *from, const char *text, uint16_t port) {
        TestAddress address, source;
        socklen_t n = fill_address(&address, text, port);
        int fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        if (from) {
                socklen_t n_source = fill_address(&source, from, 0);

                ck_assert_int_eq(bind(fd, &source.sa, n_source), 0);
        }
        if (connect(fd, &address.sa, n) < 0) {
                close(fd);
                return -1;
        }
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
}

static inline int connect_to(const char *text, uint16_t port) {
        int fd = try_connect_from(NULL, text, port);

        ck_assert_msg(fd >= 0, "cannot connect to %s: %s", text, strerror(errno));
        return fd;
}

static inline void say(int fd, const void *data, size_t n_data) {
        ck_assert_int_eq(send(fd, data, n_data, MSG_NOSIGNAL), (ssize_t)n_data);
}

/* A frame around a body. */
static inline void say_request(int fd, const void *body, size_t n_body) {
        uint8_t frame[2 + 65535] = { (uint8_t)(n_body >> 8), (uint8_t)n_body };

        memcpy(frame + 2, body, n_body);
        say(fd, frame, 2 + n_body);
}

/* Closes with a reset. */
static inline void reset(int fd) {
        const struct linger now = { .l_onoff = 1, .l_linger = 0 };

        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        close(fd);
}

/* What has come on a client's socket so far. */
typedef struct Heard {
        uint8_t *data;
        size_t n_data, n_room;
        bool has_ended; /* EOF, or a reset */
        bool is_reset;
} Heard;

static inline void heard_done(Heard *heard) {
        free(heard->data);
        *heard = (Heard){ 0 };
}

/* Takes what is there, without waiting; at most `n_max` bytes. Returns how many. */
static inline size_t hear_some(int fd, Heard *heard, size_t n_max) {
        size_t n_before = heard->n_data;

        while (!heard->has_ended && heard->n_data - n_before < n_max) {
                size_t n_wanted = n_max - (heard->n_data - n_before);
                ssize_t n;

                if (n_wanted > 65536)
                        n_wanted = 65536;
                if (heard->n_room < heard->n_data + n_wanted) {
                        heard->n_room = (heard->n_data + n_wanted) * 2;
                        heard->data = realloc(heard->data, heard->n_room);
                        ck_assert_ptr_nonnull(heard->data);
                }
                n = recv(fd, heard->data + heard->n_data, n_wanted, MSG_DONTWAIT);
                if (n < 0 && errno == EAGAIN)
                        break;
                heard->has_ended = n <= 0;
                heard->is_reset = n < 0;
                if (n > 0)
                        heard->n_data += (size_t)n;
        }
        return heard->n_data - n_before;
}

static inline bool hear(int fd, Heard *heard) {
        hear_some(fd, heard, SIZE_MAX);
        return heard->has_ended;
}

/* Turns the loop until the server has closed; asserts what it said before that. Closes `fd`. */
static inline void expect_then_end(sd_event *event, int fd, const void *expected, size_t n_expected) {
        Heard heard = { 0 };

        ck_assert_msg(RUN_UNTIL(event, hear(fd, &heard), LONG_USEC), "the server does not close");
        ck_assert_uint_eq(heard.n_data, n_expected);
        if (n_expected > 0)
                ck_assert_mem_eq(heard.data, expected, n_expected);
        heard_done(&heard);
        close(fd);
}

/* Turns the loop until so many bytes have come, and asserts that it is these. */
static inline void expect(sd_event *event, int fd, const void *expected, size_t n_expected) {
        Heard heard = { 0 };

        ck_assert_msg(RUN_UNTIL(event, hear(fd, &heard) || heard.n_data >= n_expected, LONG_USEC),
                      "no answer: %zu bytes of %zu", heard.n_data, n_expected);
        ck_assert_uint_eq(heard.n_data, n_expected);
        ck_assert_mem_eq(heard.data, expected, n_expected);
        ck_assert(!heard.has_ended);
        heard_done(&heard);
}

/* The server has neither said nor closed anything, and the loop has nothing to do. */
static inline void expect_silence(sd_event *event, int fd) {
        Heard heard = { 0 };

        turn(event);
        ck_assert(!hear(fd, &heard));
        ck_assert_uint_eq(heard.n_data, 0);
        heard_done(&heard);
}

/* --- words on stderr ---------------------------------------------------------------------------------- */

/* Runs `statement` with stderr caught in `said`. */
#define CATCH_STDERR(said, statement)                                                     \
        do {                                                                              \
                int before_ = dup(STDERR_FILENO);                                         \
                int file_ = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);           \
                ssize_t n_;                                                               \
                ck_assert_int_ge(file_, 0);                                               \
                dup2(file_, STDERR_FILENO);                                               \
                statement;                                                                \
                dup2(before_, STDERR_FILENO);                                             \
                close(before_);                                                           \
                n_ = pread(file_, (said), sizeof(said) - 1, 0);                           \
                close(file_);                                                             \
                ck_assert_int_ge(n_, 0);                                                  \
                (said)[n_] = 0;                                                           \
        } while (0)

/* --- directories -------------------------------------------------------------------------------------- */

static char test_root[32];

/* Unchecked fixtures: they run in the parent, so that a failing test leaves nothing behind. */
static inline void make_test_root(void) {
        strcpy(test_root, "/tmp/rollcall-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(test_root));
        ck_assert_int_eq(chmod(test_root, 0755), 0);
}

static inline int remove_test_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
        (void)st;
        (void)kind;
        (void)ftw;
        return remove(path);
}

static inline void remove_test_root(void) {
        nftw(test_root, remove_test_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new directory, short enough for a socket's path; one of a few static buffers. */
static inline const char *new_directory(void) {
        static char buffers[4][64];
        static unsigned n;
        char *path = buffers[n % ELEMENTS(buffers)];

        snprintf(path, sizeof buffers[0], "%s/%ld-%u", test_root, (long)getpid(), n++);
        ck_assert_int_eq(mkdir(path, 0755), 0);
        return path;
}
