/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clients of the benchmark. It knows nothing of what is asked: a file of requests, each with its length in front
 * as on the wire, is sent one request a connection, over and over, from CLIENTS connections at a time. PAUSE is how
 * many microseconds a client waits before it goes on, so that the server has nothing left to do.
 *
 *   load ask      PORT CLIENTS PAUSE COUNT REQUESTS N_BYTES  reads to the end; the answer has N_BYTES
 *   load churn    PORT CLIENTS PAUSE COUNT REQUESTS          registrations that are closed as soon as they are answered
 *   load register PORT CLIENTS PAUSE REQUESTS                each once, and all connections are kept; at a line on stdin
 *                                                            all are closed and made again
 *   load watch    PORT CLIENTS REQUESTS                      each connection stays; "level N" whenever all of them
 *                                                            have got N bytes by now
 *   load listen   PORT COUNT                                 listens on so many ports from PORT on, as nodes do
 *   load start    PORT CORE REQUESTS N_BYTES PROGRAM...       starts a program on that core, asks until it is answered so,
 *                                                            and kills it: "done NSEC CPU_NSEC", since its start
 *
 * "done NSEC" says that all is done and how long it took. Whoever keeps something then waits for the end of stdin.
 * Whatever was not answered as it should be is an exit status of 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define ANSWER_REGISTERED 6
#define SECONDS_MAX 120
#define RETRY_NSEC 50000
#define SOURCES 200
#define SOURCE_PORTS 500

typedef struct Request {
        const unsigned char *data; /* with its length in front */
        size_t n_data;
} Request;

typedef struct Client {
        int fd;
        size_t n_got;
        unsigned char head[ANSWER_REGISTERED];
} Client;

typedef enum Verdict {
        VERDICT_MORE,  /* is to come */
        VERDICT_CLOSE, /* it is answered, the connection is of no more use */
        VERDICT_KEEP,  /* it is answered */
} Verdict;

typedef struct Run {
        size_t n_clients, pause_usec;
        size_t n_requests; /* to be sent in all */
        size_t n_expected; /* bytes of an answer */
        Verdict (*judge)(const struct Run *run, const Client *client, ssize_t n);
        Client *clients; /* as many as requests, where connections are kept */
        size_t n_begun, n_done;
} Run;

static struct sockaddr_in server = { .sin_family = AF_INET };
static unsigned char *requests_data;
static Request *requests;
static size_t n_requests;
static int epoll_fd;

static void die(const char *what) {
        fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void fail(const char *what) {
        fprintf(stderr, "load: %s\n", what);
        exit(1);
}

static uint64_t now_nsec(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void say_done(uint64_t since_nsec) {
        printf("done %llu\n", (unsigned long long)(now_nsec() - since_nsec));
        fflush(stdout);
}

/* False at the end of it. */
static bool wait_for_line(void) {
        char line[64];

        alarm(0);
        return fgets(line, sizeof line, stdin) != NULL;
}

static void load_requests(const char *path) {
        FILE *file = fopen(path, "rb");
        size_t n_data, n_room = 0;

        if (!file || fseek(file, 0, SEEK_END) < 0)
                die(path);
        n_data = (size_t)ftell(file);
        rewind(file);
        requests_data = malloc(n_data + 1);
        if (!requests_data || fread(requests_data, 1, n_data, file) != n_data)
                die(path);
        fclose(file);
        for (size_t at = 0; at + 2 <= n_data; at += requests[n_requests++].n_data) {
                if (n_requests == n_room) {
                        n_room = n_room ? n_room * 2 : 1024;
                        requests = reallocarray(requests, n_room, sizeof *requests);
                        if (!requests)
                                die("reallocarray");
                }
                requests[n_requests] = (Request){ requests_data + at,
                                                  (size_t)(requests_data[at] << 8 | requests_data[at + 1]) + 2 };
        }
        if (n_requests == 0)
                fail("no requests");
}

/* --- one connection ----------------------------------------------------------------------------- */

/* Connections that stay, or whose port is not free for a while since it is their client that closes them, are of many
 * addresses: the kernel looks long for a free port where most of them are taken. */
static void bind_to_source(int fd, size_t number) {
        const uint32_t source = INADDR_LOOPBACK + 256 + (uint32_t)(number / SOURCE_PORTS % SOURCES);
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(source) };
        int on = 1;

        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
                die("bind");
}

/* On loopback connect() does not sleep, as long as there is room in the listen queue. */
static int dial(bool is_spread, size_t number) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                die("socket");
        if (is_spread)
                bind_to_source(fd, number);
        if (connect(fd, (struct sockaddr *)&server, sizeof server) == 0)
                return fd;
        close(fd);
        return -1;
}

static void client_begin(Client *client, bool is_spread, size_t number) {
        const Request *request = requests + number % n_requests;
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };

        client->n_got = 0;
        client->fd = dial(is_spread, number);
        if (client->fd < 0)
                die("connect");
        if (send(client->fd, request->data, request->n_data, MSG_NOSIGNAL) != (ssize_t)request->n_data)
                die("send");
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0)
                die("epoll_ctl");
}

/* The number of bytes, 0 at the end, negative if none is there. */
static ssize_t client_read(Client *client) {
        static unsigned char buffer[65536];
        ssize_t n = recv(client->fd, buffer, sizeof buffer, MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
                die("recv");
        for (ssize_t i = 0; i < n && client->n_got + (size_t)i < sizeof client->head; i++)
                client->head[client->n_got + (size_t)i] = buffer[i];
        if (n > 0)
                client->n_got += (size_t)n;
        return n;
}

/* --- answers ------------------------------------------------------------------------------------ */

/* `n`: what client_read() said. */
static Verdict judge_whole(const Run *run, const Client *client, ssize_t n) {
        if (n != 0)
                return VERDICT_MORE;
        if (client->n_got != run->n_expected) {
                fprintf(stderr, "load: an answer of %zu bytes, not %zu\n", client->n_got, run->n_expected);
                exit(1);
        }
        return VERDICT_CLOSE;
}

static Verdict judge_registered(const Run *run, const Client *client, ssize_t n) {
        (void)run;
        if (n == 0)
                fail("a registration was closed");
        if (client->n_got < ANSWER_REGISTERED)
                return VERDICT_MORE;
        if (client->head[0] != 'v' || client->head[1] != 0)
                fail("a registration was refused");
        return VERDICT_KEEP;
}

static Verdict judge_churned(const Run *run, const Client *client, ssize_t n) {
        Verdict verdict = judge_registered(run, client, n);

        return verdict == VERDICT_KEEP ? VERDICT_CLOSE : verdict;
}

/* --- many connections --------------------------------------------------------------------------- */

static void run_begin_next(Run *run, Client *client) {
        if (run->n_begun < run->n_requests)
                client_begin(client, run->judge != judge_whole, run->n_begun++);
}

static void run_on_ready(Run *run, Client *client) {
        ssize_t n = client_read(client);
        Verdict verdict = n < 0 ? VERDICT_MORE : run->judge(run, client, n);

        if (verdict == VERDICT_MORE)
                return;
        run->n_done++;
        if (verdict == VERDICT_KEEP) {
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, client->fd, NULL);
                client = run->clients + run->n_begun;
        } else
                close(client->fd);
        if (run->pause_usec)
                usleep((useconds_t)run->pause_usec);
        run_begin_next(run, client);
}

static void run_all(Run *run) {
        struct epoll_event ready[BATCH];
        uint64_t since_nsec = now_nsec();

        run->n_begun = run->n_done = 0;
        for (size_t i = 0; i < run->n_clients; i++)
                run_begin_next(run, run->clients + i);
        while (run->n_done < run->n_requests) {
                int n_ready = epoll_wait(epoll_fd, ready, BATCH, -1);

                for (int i = 0; i < n_ready; i++)
                        run_on_ready(run, ready[i].data.ptr);
        }
        say_done(since_nsec);
}

static Client *clients_new(size_t n) {
        Client *clients = calloc(n, sizeof *clients);

        if (!clients)
                die("calloc");
        return clients;
}

/* The connections of the last time are kept until there is word to make them again. */
static void run_again_and_again(Run *run) {
        run_all(run);
        while (wait_for_line()) {
                alarm(SECONDS_MAX);
                for (size_t i = 0; i < run->n_requests; i++)
                        close(run->clients[i].fd);
                run_all(run);
        }
}

/* --- watchers ----------------------------------------------------------------------------------- */

static bool is_level(const Client *clients, size_t n) {
        for (size_t i = 1; i < n; i++)
                if (clients[i].n_got != clients[0].n_got)
                        return false;
        return true;
}

/* Its own stdin is the one descriptor without a client. */
static void watch_all(size_t n_clients) {
        struct epoll_event ready[BATCH], on_stdin = { .events = EPOLLIN };
        Client *clients = clients_new(n_clients);
        size_t n_told = 0;

        for (size_t i = 0; i < n_clients; i++)
                client_begin(clients + i, true, i);
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &on_stdin);
        alarm(0);
        for (;;) {
                int n_ready = epoll_wait(epoll_fd, ready, BATCH, -1);

                for (int i = 0; i < n_ready; i++) {
                        if (!ready[i].data.ptr)
                                return;
                        if (client_read(ready[i].data.ptr) == 0)
                                fail("a watcher was closed");
                }
                if (clients[0].n_got == n_told || !is_level(clients, n_clients))
                        continue;
                n_told = clients[0].n_got;
                printf("level %zu\n", n_told);
                fflush(stdout);
        }
}

/* --- others ------------------------------------------------------------------------------------- */

static void listen_on_all(unsigned port, unsigned count) {
        struct sockaddr_in address = { .sin_family = AF_INET };

        for (unsigned i = 0; i < count; i++) {
                int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

                address.sin_port = htons((uint16_t)(port + i));
                if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 5) < 0)
                        die("listen");
        }
        say_done(now_nsec());
        (void)wait_for_line();
}

/* True once it is there and answers in full. */
static bool is_answered(size_t n_expected) {
        Client client = { .fd = dial(false, 0) };
        ssize_t n = -1;

        if (client.fd < 0)
                return false;
        if (send(client.fd, requests[0].data, requests[0].n_data, MSG_NOSIGNAL) == (ssize_t)requests[0].n_data) {
                char buffer[4096];

                while ((n = recv(client.fd, buffer, sizeof buffer, 0)) > 0)
                        client.n_got += (size_t)n;
        }
        close(client.fd);
        return n == 0 && client.n_got == n_expected;
}

static pid_t start(size_t core, char **program) {
        cpu_set_t cores;
        pid_t pid = fork();

        if (pid < 0)
                die("fork");
        if (pid > 0)
                return pid;
        CPU_ZERO(&cores);
        CPU_SET(core, &cores);
        sched_setaffinity(0, sizeof cores, &cores);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(program[0], program);
        die(program[0]);
        return -1;
}

static uint64_t nsec_of(struct timeval time) {
        return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

static void time_start(size_t core, size_t n_expected, char **program) {
        uint64_t since_nsec = now_nsec(), nsec;
        pid_t pid = start(core, program);
        struct rusage usage;

        while (!is_answered(n_expected)) {
                if (waitpid(pid, NULL, WNOHANG) != 0)
                        fail("it ended by itself");
                nanosleep(&(struct timespec){ .tv_nsec = RETRY_NSEC }, NULL);
        }
        nsec = now_nsec() - since_nsec;
        kill(pid, SIGKILL);
        if (wait4(pid, NULL, 0, &usage) < 0)
                die("wait4");
        printf("done %llu %llu\n", (unsigned long long)nsec,
               (unsigned long long)(nsec_of(usage.ru_utime) + nsec_of(usage.ru_stime)));
}

static void allow_descriptors(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                die("getrlimit");
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

static size_t number(const char *text) {
        return strtoul(text, NULL, 10);
}

/* ARGUMENTS begin with PORT. */
static int run_what(const char *what, int n_arguments, char **arguments) {
        Run run = { .n_clients = number(arguments[1]) };

        if (strcmp(what, "ask") == 0 && n_arguments == 6) {
                run.judge = judge_whole;
                run.n_expected = number(arguments[5]);
        } else if (strcmp(what, "churn") == 0 && n_arguments == 5)
                run.judge = judge_churned;
        else if (strcmp(what, "register") == 0 && n_arguments == 4)
                run.judge = judge_registered;
        else
                return 2;
        run.pause_usec = number(arguments[2]);
        load_requests(arguments[n_arguments == 4 ? 3 : 4]);
        run.n_requests = n_arguments == 4 ? n_requests : number(arguments[3]);
        run.clients = clients_new(n_arguments == 4 ? n_requests + run.n_clients : run.n_clients);
        if (n_arguments == 4)
                run_again_and_again(&run);
        else
                run_all(&run);
        return 0;
}

int main(int argc, char **argv) {
        const char *what = argv[1];

        if (argc < 4)
                return 2;
        server.sin_port = htons((uint16_t)number(argv[2]));
        server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        allow_descriptors();
        alarm(SECONDS_MAX);
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (strcmp(what, "listen") == 0)
                listen_on_all((unsigned)number(argv[2]), (unsigned)number(argv[3]));
        else if (strcmp(what, "watch") == 0 && argc == 5) {
                load_requests(argv[4]);
                watch_all(number(argv[3]));
        } else if (strcmp(what, "start") == 0 && argc > 6) {
                load_requests(argv[4]);
                time_start(number(argv[3]), number(argv[5]), argv + 6);
        } else
                return run_what(what, argc - 2, argv + 2);
        return 0;
}
