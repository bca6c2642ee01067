/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare PORT [OPCODE=FILE]...: the limit that port mappers are held against. It accepts, reads once, answers with
 * the bytes of the file that stands for the request's first byte, and closes; what it answers is in no way true.
 *
 *   x   the connection stays open after the answer, as a registration does, until its client ends it
 *   w   likewise; its file is sent at once and again whenever somebody sends an x, as to a watcher
 *
 * It does what Rollcall does to spare system calls (connections come with their request, the FIN leaves with the
 * answer, one epoll for many), so that what is left of the difference is what a port mapper has to do beside that.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define BACKLOG 4096
#define DESCRIPTORS_MAX (1 << 20)

typedef struct Answer {
        char *data;
        size_t n_data;
} Answer;

typedef enum Kind {
        KIND_PASSING,
        KIND_REGISTERED,
        KIND_WATCHER,
} Kind;

static Answer answers[256];
static struct {
        uint8_t kind;
        bool is_watched; /* by epoll */
} *connections; /* by descriptor */
static int *watchers;
static size_t n_watchers, n_descriptors;
static int epoll_fd, listener_fd;

static void die(const char *what) {
        perror(what);
        exit(1);
}

static void load_answer(const char *argument) {
        Answer *answer = answers + (unsigned char)argument[0];
        FILE *file;

        if (argument[0] == 0 || argument[1] != '=')
                exit(2);
        file = fopen(argument + 2, "rb");
        if (!file)
                die(argument + 2);
        answer->data = malloc(1 << 20);
        if (!answer->data)
                die("malloc");
        answer->n_data = fread(answer->data, 1, 1 << 20, file);
        fclose(file);
}

static void watch(int fd) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

        if (connections[fd].is_watched)
                return;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                die("epoll_ctl");
        connections[fd].is_watched = true;
}

static void end(int fd) {
        if (connections[fd].kind == KIND_WATCHER)
                for (size_t i = 0; i < n_watchers; i++)
                        if (watchers[i] == fd) {
                                watchers[i] = watchers[--n_watchers];
                                break;
                        }
        close(fd);
}

static void send_all(int fd, const Answer *answer, int flags) {
        size_t n_sent = 0;

        while (n_sent < answer->n_data) {
                ssize_t n = send(fd, answer->data + n_sent, answer->n_data - n_sent, MSG_NOSIGNAL | flags);

                if (n > 0)
                        n_sent += (size_t)n;
                else if (errno != EAGAIN)
                        return;
                else
                        poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 1000);
        }
}

static void keep(int fd, Kind kind) {
        watch(fd);
        connections[fd].kind = (uint8_t)kind;
        if (kind == KIND_WATCHER)
                watchers[n_watchers++] = fd;
}

static void serve(int fd) {
        unsigned char request[4096];
        ssize_t n = recv(fd, request, sizeof request, 0);

        if (n < 0 && errno == EAGAIN) {
                watch(fd);
                return;
        }
        if (n < 3 || connections[fd].kind != KIND_PASSING) {
                end(fd);
                return;
        }
        switch (request[2]) {
        case 'x':
                keep(fd, KIND_REGISTERED);
                send_all(fd, &answers['x'], 0);
                for (size_t i = 0; i < n_watchers; i++)
                        send_all(watchers[i], &answers['w'], 0);
                break;
        case 'w':
                keep(fd, KIND_WATCHER);
                send_all(fd, &answers['w'], 0);
                break;
        default:
                send_all(fd, answers + request[2], MSG_MORE);
                end(fd);
        }
}

static void accept_all(void) {
        int fd;

        while ((fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                if ((size_t)fd >= n_descriptors) {
                        close(fd);
                        continue;
                }
                connections[fd].kind = KIND_PASSING;
                connections[fd].is_watched = false;
                serve(fd);
        }
}

static void listen_on(uint16_t port) {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_port = htons(port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int on = 1;

        listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        setsockopt(listener_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(listener_fd, (struct sockaddr *)&address, sizeof address) < 0)
                die("bind");
        setsockopt(listener_fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on);
        if (listen(listener_fd, BACKLOG) < 0)
                die("listen");
}

static void make_room(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                die("getrlimit");
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        n_descriptors = limit.rlim_cur < DESCRIPTORS_MAX ? limit.rlim_cur : DESCRIPTORS_MAX;
        connections = calloc(n_descriptors, sizeof *connections);
        watchers = calloc(n_descriptors, sizeof *watchers);
        if (!connections || !watchers)
                die("calloc");
}

int main(int argc, char **argv) {
        struct epoll_event ready[BATCH];

        if (argc < 2)
                return 2;
        for (int i = 2; i < argc; i++)
                load_answer(argv[i]);
        make_room();
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        listen_on((uint16_t)atoi(argv[1]));
        watch(listener_fd);
        for (;;) {
                int n = epoll_wait(epoll_fd, ready, BATCH, -1);

                for (int i = 0; i < n; i++)
                        if (ready[i].data.fd == listener_fd)
                                accept_all();
                        else
                                serve(ready[i].data.fd);
        }
}
