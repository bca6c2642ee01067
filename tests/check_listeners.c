/* SPDX-License-Identifier: Apache-2.0 */
/* evidence/listeners: against the kernel of the machine, on loopback. */

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/inet_diag.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "check_main.h"
#include "evidence/listeners.h"
#include "network_test.h"
#include "util.h"

#define SOMEONE_ELSE 65534

#define SKIP(reason) skip(__func__, reason)

/* check calls the function of test_x test_x_fn. */
static void skip(const char *function, const char *reason) {
        const char *suffix = strstr(function, "_fn");

        printf("SKIP: %.*s: %s\n", suffix ? (int)(suffix - function) : INT_MAX, function, reason);
}

static Listeners *listeners;
static bool is_isolated;

/* What befalls the answers to two questions at once: the kernel's word is heard, but for the first time. */
typedef enum Mishap {
        MISHAP_NONE,
        MISHAP_INTERRUPTED,  /* EINTR, and then as it should be */
        MISHAP_ONE_BY_ONE,   /* each by a read of its own, always */
        MISHAP_NO_BUFFERS,   /* ENOBUFS, and both answers are lost */
        MISHAP_ONE_LOST,     /* the second answer is, and nothing comes in its place */
        MISHAP_FIRST_FAILED, /* the kernel had no memory for one of them */
        MISHAP_SECOND_FAILED,
        _MISHAP_N,
} Mishap;

static Mishap mishap;
static unsigned n_pair_reads;

/* The answer to one question, as an error. */
static void make_error(const struct mmsghdr *answer) {
        struct {
                struct nlmsghdr header;
                struct nlmsgerr error;
        } message = { .error.error = -ENOMEM };
        struct iovec *bytes = answer->msg_hdr.msg_iov;

        memcpy(&message.header, bytes->iov_base, sizeof(message.header));
        message.header.nlmsg_type = NLMSG_ERROR;
        message.header.nlmsg_len = sizeof(message);
        memcpy(bytes->iov_base, &message, sizeof(message));
}

/* In place of libc's, for those that ask two questions. */
int recvmmsg(int fd, struct mmsghdr *messages, unsigned n_messages, int flags, struct timespec *timeout) {
        bool is_first = n_pair_reads++ == 0;
        int n;

        if (mishap == MISHAP_INTERRUPTED && is_first) {
                errno = EINTR;
                return -1;
        }
        n = (int)syscall(SYS_recvmmsg, fd, messages, mishap == MISHAP_ONE_BY_ONE ? 1 : n_messages, flags, timeout);
        if (!is_first || n != 2)
                return n;
        if (mishap == MISHAP_NO_BUFFERS || mishap == MISHAP_ONE_LOST) {
                errno = ENOBUFS;
                return mishap == MISHAP_ONE_LOST ? 1 : -1;
        }
        if (mishap == MISHAP_FIRST_FAILED || mishap == MISHAP_SECOND_FAILED) {
                int which = mishap == MISHAP_SECOND_FAILED;

                make_error(messages + which);
                messages[which].msg_len = NLMSG_LENGTH(sizeof(struct nlmsgerr));
        }
        return n;
}

static void set_up(void) {
        mishap = MISHAP_NONE;
        n_pair_reads = 0;
        is_isolated = enter_own_network(); /* each test has all ports for itself */
        ck_assert_int_eq(listeners_new(&listeners), 0);
}

static void tear_down(void) {
        listeners = listeners_free(listeners);
}

/* --- sockets to look at ----------------------------------------------------------------------- */

typedef union TestSocket {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
} TestSocket;

static TestSocket address_of(const char *text, uint16_t port, socklen_t *ret_n) {
        TestSocket sa = { 0 };

        if (inet_pton(AF_INET, text, &sa.v4.sin_addr) == 1) {
                sa.v4.sin_family = AF_INET;
                sa.v4.sin_port = htons(port);
                *ret_n = sizeof(sa.v4);
        } else {
                ck_assert_int_eq(inet_pton(AF_INET6, text, &sa.v6.sin6_addr), 1);
                sa.v6.sin6_family = AF_INET6;
                sa.v6.sin6_port = htons(port);
                *ret_n = sizeof(sa.v6);
        }
        return sa;
}

static TestSocket name_of(int fd) {
        TestSocket sa = { 0 };
        socklen_t n = sizeof(sa);

        ck_assert_int_eq(getsockname(fd, &sa.any, &n), 0);
        return sa;
}

static uint16_t port_of(int fd) {
        TestSocket sa = name_of(fd);

        return ntohs(sa.v4.sin_port); /* at the same place in both */
}

static uint64_t cookie_of(int fd) {
        uint64_t cookie = 0;
        socklen_t n = sizeof(cookie);

        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n), 0);
        ck_assert_uint_ne(cookie, 0);
        return cookie;
}

static void set_option(int fd, int level, int option, int value) {
        ck_assert_int_eq(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

static int tcp_socket(int family) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static void bind_to(int fd, const char *text, uint16_t port) {
        socklen_t n;
        TestSocket sa = address_of(text, port, &n);

        ck_assert_int_eq(bind(fd, &sa.any, n), 0);
}

/* On any free port if `port` is 0. An IPv6 wildcard is dual-stack. */
static int listen_at(const char *text, uint16_t port) {
        int fd = tcp_socket(strchr(text, ':') ? AF_INET6 : AF_INET);

        if (strchr(text, ':'))
                set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        bind_to(fd, text, port);
        ck_assert_int_eq(listen(fd, 16), 0);
        return fd;
}

static int connect_to(const char *text, uint16_t port) {
        socklen_t n;
        TestSocket sa = address_of(text, port, &n);
        int fd = tcp_socket(sa.any.sa_family);

        ck_assert_int_eq(connect(fd, &sa.any, n), 0);
        return fd;
}

/* True, and said so, where the test needs IPv6 and this machine has none. */
static bool is_skipped(const char *test, const char *address) {
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        bool has_ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;

        if (fd >= 0)
                close(fd);
        if (has_ipv6 || !strchr(address, ':'))
                return false;
        skip(test, "this machine has no IPv6");
        return true;
}

/* A connection as the daemon sees one: what it accepted, and both addresses. */
typedef struct Accepted {
        int fd;
        TestSocket peer;
        TestSocket local;
} Accepted;

static Accepted accept_from(int listener_fd) {
        Accepted accepted = { 0 };
        socklen_t n = sizeof(accepted.peer);

        accepted.fd = accept4(listener_fd, &accepted.peer.any, &n, SOCK_CLOEXEC);
        ck_assert_int_ge(accepted.fd, 0);
        accepted.local = name_of(accepted.fd);
        return accepted;
}

static int find_peer_of(const Accepted *accepted, SocketFacts *ret) {
        return listeners_find_peer(listeners, &accepted->peer.any, &accepted->local.any, ret);
}

/* Runs `function(argument)` in a child, as another user if `uid` is one, and returns what it
 * returned (0..255; what it could not do is 255). */
static int run_in_child(int (*function)(void *argument), void *argument, uid_t uid) {
        int status;
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                if (uid != NODE_UID_UNKNOWN && setresuid(uid, uid, uid) < 0)
                        _exit(255);
                _exit(function(argument));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

/* --- the other end of a connection ------------------------------------------------------------ */

static const struct {
        const char *listen, *connect;
} connections[] = {
        { "127.0.0.1", "127.0.0.1" },
        { "0.0.0.0", "127.0.0.1" },
        { "::1", "::1" },
        { "::", "::1" },
        { "::", "127.0.0.1" }, /* the peer is ::ffff:127.0.0.1 */
        { "::", "127.0.0.2" },
        { "::", "::ffff:127.0.0.1" },
};

START_TEST(test_the_peer_of_a_connection_is_found_with_its_owner) {
        if (is_skipped(__func__, connections[_i].listen))
                return;

        int listener = listen_at(connections[_i].listen, 0);
        int client = connect_to(connections[_i].connect, port_of(listener));
        Accepted accepted = accept_from(listener);
        SocketFacts facts = { 0 };
        struct stat st;

        ck_assert_int_eq(find_peer_of(&accepted, &facts), 0);
        ck_assert_uint_eq(facts.cookie, cookie_of(client));
        ck_assert_uint_eq(facts.uid, geteuid());
        ck_assert_int_eq(fstat(client, &st), 0);
        ck_assert_uint_eq(facts.inode, st.st_ino);
        ck_assert_uint_eq(facts.local_port, port_of(client));
        ck_assert(facts.ipv6 == (name_of(client).any.sa_family == AF_INET6));
}
END_TEST

static int connect_and_hold(void *argument) {
        int *port_and_pipe = argument;
        char byte;

        (void)connect_to("127.0.0.1", (uint16_t)port_and_pipe[0]);
        return read(port_and_pipe[1], &byte, 1) == 0 ? 0 : 1; /* until the test closes its end */
}

START_TEST(test_the_peer_of_another_user_is_found_with_his_uid) {
        int listener = listen_at("127.0.0.1", 0), pipe_fds[2];
        SocketFacts facts = { 0 };
        Accepted accepted;

        if (geteuid() != 0) {
                SKIP("needs root to become another user");
                return;
        }
        ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                close(pipe_fds[1]);
                if (setresuid(SOMEONE_ELSE, SOMEONE_ELSE, SOMEONE_ELSE) < 0)
                        _exit(255);
                _exit(connect_and_hold((int[]){ port_of(listener), pipe_fds[0] }));
        }
        accepted = accept_from(listener);
        ck_assert_int_eq(find_peer_of(&accepted, &facts), 0);
        ck_assert_uint_eq(facts.uid, SOMEONE_ELSE);
        close(pipe_fds[1]);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

/* The kernel shows a socket without an owner as root's, in some versions and states. */
START_TEST(test_a_peer_that_has_closed_is_found_without_an_owner) {
        int listener = listen_at("127.0.0.1", 0);
        int client = connect_to("127.0.0.1", port_of(listener));
        Accepted accepted = accept_from(listener);
        SocketFacts facts = { 0 };

        close(client);
        ck_assert_int_eq(find_peer_of(&accepted, &facts), 0);
        ck_assert_uint_eq(facts.uid, NODE_UID_UNKNOWN);
        ck_assert_uint_eq(facts.inode, 0);
}
END_TEST

/* P6: who binds to a device is hidden from a look-up that names none, and would have no uid. */
START_TEST(test_a_peer_that_is_bound_to_the_loopback_device_is_found) {
        if (is_skipped(__func__, "::"))
                return;

        const char *text = _i == 0 ? "127.0.0.1" : "::1";
        int listener = listen_at("::", 0), client = tcp_socket(_i == 0 ? AF_INET : AF_INET6);
        SocketFacts facts = { 0 };
        Accepted accepted;
        socklen_t n;
        TestSocket sa = address_of(text, port_of(listener), &n);

        ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
        ck_assert_int_eq(connect(client, &sa.any, n), 0);
        accepted = accept_from(listener);
        ck_assert_int_eq(find_peer_of(&accepted, &facts), 0);
        ck_assert_uint_eq(facts.cookie, cookie_of(client));
}
END_TEST

/* The exact look-up of a connection that does not exist is answered with the listener. */
START_TEST(test_a_stranger_whose_source_port_is_ours_is_no_peer) {
        if (is_skipped(__func__, "::"))
                return;

        static const char *const strangers[] = { "192.0.2.1", "127.0.0.1", "::1", "2001:db8::1" };
        int listener = listen_at("::", 0);
        SocketFacts facts;
        socklen_t n;
        TestSocket peer = address_of(strangers[_i], port_of(listener), &n);
        TestSocket local = address_of(_i < 2 ? "127.0.0.1" : "::1", port_of(listener), &n);

        ck_assert_int_eq(listeners_find_peer(listeners, &peer.any, &local.any, &facts), -ENOENT);
}
END_TEST

/* Not yet connected is no proof: who has a socket that only tries to be the peer is not the peer.
 */
START_TEST(test_a_socket_that_is_not_yet_connected_is_no_peer) {
        int listener = tcp_socket(AF_INET), client = -1;
        struct tcp_info info = { .tcpi_state = TCP_ESTABLISHED };
        socklen_t n = sizeof(info);
        SocketFacts facts;

        bind_to(listener, "127.0.0.1", 0);
        ck_assert_int_eq(listen(listener, 0), 0);
        TestSocket local = name_of(listener);
        /* The queue is soon full; from then on the kernel lets clients wait. */
        while (info.tcpi_state != TCP_SYN_SENT) {
                client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                ck_assert_int_ge(client, 0);
                (void)connect(client, &local.any, sizeof(local.v4));
                ck_assert_int_eq(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &n), 0);
        }
        TestSocket peer = name_of(client);
        ck_assert_int_eq(listeners_find_peer(listeners, &peer.any, &local.any, &facts), -ENOENT);
}
END_TEST

START_TEST(test_a_socket_that_is_not_there_is_no_peer) {
        SocketFacts facts;
        socklen_t n;
        TestSocket peer = address_of("127.0.0.1", 1, &n), local = address_of("127.0.0.1", 2, &n);
        const struct sockaddr unix_peer = { .sa_family = AF_UNIX };

        ck_assert_int_eq(listeners_find_peer(listeners, &peer.any, &local.any, &facts), -ENOENT);
        ck_assert_int_eq(listeners_find_peer(listeners, &unix_peer, &local.any, &facts),
                         -EAFNOSUPPORT);
}
END_TEST

/* Puts a question of our own into the query socket and leaves its answer there. */
static void leave_an_answer(int query_fd, uint16_t port) {
        struct {
                struct nlmsghdr header;
                struct inet_diag_req_v2 question;
        } message = {
                .header = {
                        .nlmsg_len = sizeof(message),
                        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                        .nlmsg_flags = NLM_F_REQUEST,
                        .nlmsg_seq = 12345,
                },
                .question = {
                        .sdiag_family = AF_INET,
                        .sdiag_protocol = IPPROTO_TCP,
                        .id.idiag_sport = htons(port),
                        .id.idiag_src = { htonl(INADDR_LOOPBACK) },
                        .id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
                },
        };
        const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

        ck_assert_int_eq(sendto(query_fd, &message, sizeof(message), 0,
                                (const struct sockaddr *)&kernel, sizeof(kernel)),
                         sizeof(message));
}

/* The only sock_diag socket of this process. */
static int find_query_fd(void) {
        for (int fd = 0; fd < 1024; fd++) {
                int domain = 0, protocol = 0;
                socklen_t n = sizeof(domain);

                if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 &&
                    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &n) == 0 &&
                    domain == AF_NETLINK && protocol == NETLINK_SOCK_DIAG)
                        return fd;
        }
        ck_abort_msg("no sock_diag socket is open");
}

START_TEST(test_an_answer_to_an_earlier_question_is_dropped) {
        int listener = listen_at("127.0.0.1", 0);
        int client = connect_to("127.0.0.1", port_of(listener));
        Accepted accepted = accept_from(listener);
        SocketFacts facts = { 0 };

        leave_an_answer(find_query_fd(), port_of(listener));
        ck_assert_int_eq(find_peer_of(&accepted, &facts), 0);
        ck_assert_uint_eq(facts.cookie, cookie_of(client));
}
END_TEST

/* --- the listener of a node ------------------------------------------------------------------- */

static int find_listener(int fd, bool ipv6, NodePeer owner, NodeListener *ret) {
        return listeners_find_listener(listeners, port_of(fd), ipv6, &owner, NULL, NULL, NULL, ret);
}

static uint64_t cgroup_of(int listener_fd) {
        SocketFacts *facts = NULL;
        size_t n_facts = 0;

        ck_assert_int_eq(listeners_on_port(listeners, port_of(listener_fd), &facts, &n_facts), 0);
        ck_assert_uint_eq(n_facts, 1);
        uint64_t cgroup_id = facts[0].cgroup_id;
        free(facts);
        return cgroup_id;
}

static bool has_cgroup2(void) {
        struct statfs fs;

        return (statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC) ||
               (statfs("/sys/fs/cgroup/unified", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC);
}

START_TEST(test_a_connection_and_a_listener_of_one_process_have_one_cgroup) {
        int listener = listen_at("127.0.0.1", 0);
        int client = connect_to("127.0.0.1", port_of(listener));
        Accepted accepted = accept_from(listener);
        SocketFacts of_client = { 0 };

        ck_assert_int_eq(find_peer_of(&accepted, &of_client), 0);
        ck_assert_uint_eq(of_client.cgroup_id, cgroup_of(listener));
        if (has_cgroup2())
                ck_assert_uint_ne(of_client.cgroup_id, 0);
        close(client);
}
END_TEST

static const struct {
        const char *listen;
        bool by_ipv6;
        const char *address; /* as it is found; "*" for a wildcard */
        bool ipv6;
} findable[] = {
        { "0.0.0.0", false, "*", false },
        { "127.0.0.1", false, "127.0.0.1", false },
        { "127.0.0.2", false, "127.0.0.2", false }, /* an exact look-up does not find it */
        { "::", false, "*", true },                 /* an exact look-up by IPv4 does */
        { "::", true, "*", true },
        { "::1", true, "::1", true },
        { "::1", false, "::1",
          true }, /* registered by IPv4, listens on IPv6: only a dump finds it */
        { "0.0.0.0", true, "*", false },
        { "::ffff:127.0.0.3", false, "127.0.0.3", true },
};

/* Whatever is asked in one message is as if it were asked in two: who has connected, to what, and where somebody listens. */
START_TEST(test_two_questions_at_once_have_the_same_answers) {
        static const struct {
                const char *listen, *connect;
                bool is_dialled; /* a stranger on loopback reaches it by the family of the connection */
        } nodes[] = { { "127.0.0.1", "127.0.0.1", true }, { "::", "127.0.0.1", true }, { "::", "::1", true },
                      { "::1", "::1", true }, { "127.0.0.1", "::1", false }, { "::1", "127.0.0.1", false },
                      { "127.0.0.2", "127.0.0.1", false } };

        if (is_skipped(__func__, "::"))
                return;
        int daemon_fd = listen_at("::", 0), node_fd = listen_at(nodes[_i].listen, 0);
        int client = connect_to(nodes[_i].connect, port_of(daemon_fd));
        Accepted accepted = accept_from(daemon_fd);
        NodeListener found = { 0 }, found_again = { 0 };
        SocketFacts facts = { 0 }, facts_again = { 0 };
        ListenersDialled dialled;

        ck_assert_int_eq(listeners_find_peer_and_dialled(listeners, &accepted.peer.any, &accepted.local.any,
                                                         port_of(node_fd), &facts, &dialled), 0);
        ck_assert_int_eq(find_peer_of(&accepted, &facts_again), 0);
        ck_assert_uint_eq(facts.cookie, cookie_of(client));
        ck_assert_mem_eq(&facts, &facts_again, sizeof(facts));
        ck_assert(dialled.is_known);
        ck_assert(dialled.ipv6 == facts.ipv6);
        ck_assert(dialled.is_there == nodes[_i].is_dialled);
        if (dialled.is_there)
                ck_assert_uint_eq(dialled.facts.cookie, cookie_of(node_fd));

        const NodePeer owner = { .uid = facts.uid, .cgroup_id = facts.cgroup_id };
        ck_assert_int_eq(listeners_find_listener(listeners, port_of(node_fd), facts.ipv6, &owner, &dialled, NULL, NULL,
                                                 &found), 0);
        ck_assert_int_eq(find_listener(node_fd, facts.ipv6, owner, &found_again), 0);
        ck_assert_uint_eq(found.cookie, cookie_of(node_fd));
        ck_assert_uint_eq(found_again.cookie, cookie_of(node_fd));
        ck_assert(found.ipv6 == found_again.ipv6 && address_equal(&found.address, &found_again.address));

        /* What was asked of another family says nothing, nor what was not answered. */
        dialled.is_there = true;
        dialled.facts = facts;
        for (int i = 0; i < 2; i++) {
                dialled.is_known = i == 0;
                dialled.ipv6 = i == 0 ? !facts.ipv6 : facts.ipv6;
                ck_assert_int_eq(listeners_find_listener(listeners, port_of(node_fd), facts.ipv6, &owner, &dialled, NULL,
                                                         NULL, &found), 0);
                ck_assert_uint_eq(found.cookie, cookie_of(node_fd));
        }
        close(client);
}
END_TEST

/* One answer, or both, can be that there is nothing, or a listener where a connection was asked for; and one to an earlier
 * question can be in the way. */
START_TEST(test_of_two_questions_at_once_each_may_find_nothing) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to("127.0.0.1", port_of(listener));
        Accepted accepted = accept_from(listener);
        bool has_peer = _i & 1, has_listener = _i & 2;
        ListenersDialled dialled;
        SocketFacts facts;
        uint16_t port = port_of(listener);

        if (_i & 4)
                leave_an_answer(find_query_fd(), port);
        if (!has_peer)
                accepted.peer.v4.sin_port = htons(_i & 8 ? port : 1);
        ck_assert_int_eq(listeners_find_peer_and_dialled(listeners, &accepted.peer.any, &accepted.local.any,
                                                         has_listener ? port : 1, &facts, &dialled),
                         has_peer ? 0 : -ENOENT);
        if (has_peer)
                ck_assert_uint_eq(facts.cookie, cookie_of(client));
        ck_assert(dialled.is_known);
        ck_assert(dialled.is_there == has_listener);
        if (has_listener)
                ck_assert_uint_eq(dialled.facts.cookie, cookie_of(listener));
        close(client);
}
END_TEST

/* P3: whoever was not told of is not taken for one that is not there. */
START_TEST(test_what_two_questions_at_once_do_not_tell_is_asked_again) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to("127.0.0.1", port_of(listener));
        Accepted accepted = accept_from(listener);
        ListenersDialled dialled;
        SocketFacts facts = { 0 };

        mishap = (Mishap)_i;
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(listeners_find_peer_and_dialled(listeners, &accepted.peer.any, &accepted.local.any,
                                                                 port_of(listener), &facts, &dialled), 0);
                ck_assert_uint_eq(facts.cookie, cookie_of(client));
                /* Where the two were not answered, the listener is asked for when it is needed. */
                ck_assert(dialled.is_known == (i == 1 || mishap < MISHAP_NO_BUFFERS));

                const NodePeer owner = { .uid = facts.uid, .cgroup_id = facts.cgroup_id };
                NodeListener found = { 0 };

                ck_assert_int_eq(listeners_find_listener(listeners, port_of(listener), facts.ipv6, &owner, &dialled, NULL,
                                                         NULL, &found), 0);
                ck_assert_uint_eq(found.cookie, cookie_of(listener));
        }
        ck_assert_uint_gt(n_pair_reads, 1);
        close(client);
}
END_TEST

START_TEST(test_what_is_no_connection_of_ours_is_not_asked_about_with_another_question) {
        const struct sockaddr unix_peer = { .sa_family = AF_UNIX };
        ListenersDialled dialled = { .is_known = true };
        SocketFacts facts;
        socklen_t n;
        TestSocket local = address_of("127.0.0.1", 2, &n);

        ck_assert_int_eq(listeners_find_peer_and_dialled(listeners, &unix_peer, &local.any, 1, &facts, &dialled),
                         -EAFNOSUPPORT);
        ck_assert(!dialled.is_known);
}
END_TEST

START_TEST(test_a_listener_is_found_wherever_it_is_bound) {
        if (is_skipped(__func__, findable[_i].listen))
                return;

        int fd = listen_at(findable[_i].listen, 0);
        const NodePeer owners[] = {
                { .uid = geteuid(), .cgroup_id = cgroup_of(fd) },
                { .uid = geteuid(), .cgroup_id = 0 },
        };
        char text[ADDRESS_TEXT_MAX];

        for (size_t i = 0; i < ELEMENTS(owners); i++) {
                NodeListener found = { 0 };

                ck_assert_int_eq(find_listener(fd, findable[_i].by_ipv6, owners[i], &found), 0);
                ck_assert_uint_eq(found.cookie, cookie_of(fd));
                ck_assert_str_eq(address_format(&found.address, text), findable[_i].address);
                ck_assert(found.ipv6 == findable[_i].ipv6);
                ck_assert_int_eq(listeners_is_alive(listeners, &found, port_of(fd)), 1);
        }
        close(fd);
}
END_TEST

START_TEST(test_a_listener_that_is_bound_to_a_device_is_found) {
        int fd = tcp_socket(AF_INET);
        NodeListener found = { 0 };

        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
        bind_to(fd, "0.0.0.0", 0);
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_int_eq(find_listener(fd, false, (NodePeer){ .uid = geteuid() }, &found), 0);
        ck_assert_uint_eq(found.cookie, cookie_of(fd));
        ck_assert_int_eq(listeners_is_alive(listeners, &found, port_of(fd)), 1);
}
END_TEST

/* Once where an exact look-up would find it, once where only the dump does. */
START_TEST(test_a_listener_of_another_owner_is_not_found) {
        int fd = listen_at(_i == 0 ? "0.0.0.0" : "127.0.0.2", 0);
        uid_t uid = geteuid();
        uint64_t cgroup_id = cgroup_of(fd);
        NodeListener found;

        const NodePeer others[] = {
                { .uid = uid + 1, .cgroup_id = cgroup_id },
                { .uid = uid + 1, .cgroup_id = 0 },
                { .uid = NODE_UID_UNKNOWN, .cgroup_id = cgroup_id },
        };
        for (size_t i = 0; i < ELEMENTS(others); i++)
                ck_assert_int_eq(find_listener(fd, false, others[i], &found), -ENOENT);

        const NodePeer elsewhere = { .uid = uid, .cgroup_id = cgroup_id + 1 };
        if (cgroup_id != 0)
                ck_assert_int_eq(find_listener(fd, false, elsewhere, &found), -ENOENT);
        close(fd);
}
END_TEST

START_TEST(test_a_port_on_which_nobody_listens_has_no_listener) {
        int bound = tcp_socket(AF_INET);
        NodeListener found;

        bind_to(bound, "127.0.0.1", 0); /* bound is not listening */
        ck_assert_int_eq(find_listener(bound, false, (NodePeer){ .uid = geteuid() }, &found),
                         -ENOENT);
}
END_TEST

static bool is_cookie(uint64_t cookie, void *userdata) {
        return cookie == *(uint64_t *)userdata;
}

static bool is_any(uint64_t cookie, void *userdata) {
        (void)cookie;
        (void)userdata;
        return true;
}

/* Two nodes of one name that share a port on two addresses; both register from 127.0.0.1. */
START_TEST(test_of_two_listeners_the_one_that_is_not_claimed_is_preferred) {
        int first = listen_at("127.0.0.1", 0), second = listen_at("127.0.0.2", port_of(first));
        uint64_t cookies[] = { cookie_of(first), cookie_of(second) };
        const NodePeer self = { .uid = geteuid() };
        uint16_t port = port_of(first);
        NodeListener found = { 0 };

        for (size_t i = 0; i < ELEMENTS(cookies); i++) {
                ck_assert_int_eq(listeners_find_listener(listeners, port, false, &self, NULL, is_cookie,
                                                         &cookies[i], &found),
                                 0);
                ck_assert_uint_eq(found.cookie, cookies[1 - i]);
        }
        /* A claim may be of the past; a listener that belongs to the owner is better than
         * none. */
        ck_assert_int_eq(
                listeners_find_listener(listeners, port, false, &self, NULL, is_any, NULL, &found), 0);
}
END_TEST

START_TEST(test_of_two_listeners_the_one_of_the_connections_family_is_preferred) {
        if (is_skipped(__func__, "::"))
                return;

        int v4 = listen_at("127.0.0.2", 0), v6 = tcp_socket(AF_INET6);
        const NodePeer self = { .uid = geteuid() };
        NodeListener found = { 0 };

        bind_to(v6, "::1", port_of(v4));
        ck_assert_int_eq(listen(v6, 1), 0);
        ck_assert_int_eq(find_listener(v4, false, self, &found), 0);
        ck_assert_uint_eq(found.cookie, cookie_of(v4));
        ck_assert_int_eq(find_listener(v4, true, self, &found), 0);
        ck_assert_uint_eq(found.cookie, cookie_of(v6));
}
END_TEST

/* --- is it alive? ----------------------------------------------------------------------------- */

static NodeListener listener_of(int fd) {
        NodeListener listener = { .cookie = cookie_of(fd) };
        TestSocket sa = name_of(fd);

        ck_assert_int_eq(address_from_sockaddr(&sa.any, &listener.address, NULL), 0);
        listener.ipv6 = sa.any.sa_family == AF_INET6;
        return listener;
}

START_TEST(test_a_listener_is_alive_until_it_closes) {
        if (is_skipped(__func__, findable[_i].listen))
                return;

        int fd = listen_at(findable[_i].listen, 0);
        uint16_t port = port_of(fd);
        NodeListener listener = listener_of(fd);

        ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 1);
        close(fd);
        ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 0);

        /* P3: another one in its place is not it. */
        fd = listen_at(findable[_i].listen, port);
        ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 0);
        listener = listener_of(fd);
        ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 1);
        close(fd);
}
END_TEST

START_TEST(test_a_listener_that_was_shut_down_is_not_alive) {
        int fd = listen_at("0.0.0.0", 0);
        uint16_t port = port_of(fd);
        NodeListener listener = listener_of(fd);

        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 0);
}
END_TEST

/* The exact look-up picks one of them. */
START_TEST(test_every_sibling_that_shares_a_port_is_alive) {
        enum { N = 8 };
        int fds[N];
        uint16_t port = 0;

        for (size_t i = 0; i < N; i++) {
                fds[i] = tcp_socket(AF_INET);
                set_option(fds[i], SOL_SOCKET, SO_REUSEPORT, 1);
                bind_to(fds[i], "0.0.0.0", port);
                ck_assert_int_eq(listen(fds[i], 1), 0);
                port = port_of(fds[i]);
        }
        for (size_t i = 0; i < N; i++) {
                NodeListener listener = listener_of(fds[i]);

                ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 1);
                close(fds[i]);
                ck_assert_int_eq(listeners_is_alive(listeners, &listener, port), 0);
        }
}
END_TEST

START_TEST(test_nothing_is_said_of_a_listener_that_is_not_known) {
        const NodeListener unknown = { 0 };

        ck_assert_int_eq(listeners_is_alive(listeners, &unknown, 4369), -EINVAL);
}
END_TEST

/* --- all of them ------------------------------------------------------------------------------ */

START_TEST(test_a_snapshot_holds_every_listener_and_nothing_else) {
        if (is_skipped(__func__, "::"))
                return;

        enum { N = 800 }; /* more than one read of a dump brings */
        struct rlimit limit;
        uint64_t cookies[N], closed;
        SocketFacts *snapshot = NULL;
        size_t n_snapshot = 0;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        for (size_t i = 0; i < N; i++)
                cookies[i] = cookie_of(listen_at(i % 2 ? "127.0.0.1" : "::1", 0));
        int gone = listen_at("127.0.0.1", 0);
        int client = connect_to("127.0.0.1", port_of(gone));
        closed = cookie_of(gone);
        close(gone);

        ck_assert_int_eq(listeners_snapshot(listeners, &snapshot, &n_snapshot), 0);
        ck_assert_uint_ge(n_snapshot, N);
        for (size_t i = 1; i < n_snapshot; i++)
                ck_assert_uint_lt(snapshot[i - 1].cookie, snapshot[i].cookie);
        for (size_t i = 0; i < N; i++) {
                const SocketFacts *facts =
                        listeners_snapshot_find(snapshot, n_snapshot, cookies[i]);

                ck_assert_ptr_nonnull(facts);
                ck_assert_uint_eq(facts->uid, geteuid());
                ck_assert(facts->ipv6 == (i % 2 == 0));
        }
        ck_assert_ptr_null(listeners_snapshot_find(snapshot, n_snapshot, closed));
        ck_assert_ptr_null(listeners_snapshot_find(snapshot, n_snapshot, cookie_of(client)));
        ck_assert_ptr_null(listeners_snapshot_find(snapshot, 0, cookies[0]));
        free(snapshot);
}
END_TEST

START_TEST(test_the_listeners_of_one_port_are_all_of_that_port) {
        if (is_skipped(__func__, "::"))
                return;

        int one = listen_at("127.0.0.1", 0), two = tcp_socket(AF_INET6), other = listen_at("::", 0);
        SocketFacts *facts = NULL;
        size_t n_facts = 0;

        bind_to(two, "::1", port_of(one));
        ck_assert_int_eq(listen(two, 1), 0);
        ck_assert_int_eq(listeners_on_port(listeners, port_of(one), &facts, &n_facts), 0);
        ck_assert_uint_eq(n_facts, 2);
        ck_assert_ptr_nonnull(listeners_snapshot_find(facts, n_facts, cookie_of(one)));
        ck_assert_ptr_nonnull(listeners_snapshot_find(facts, n_facts, cookie_of(two)));
        ck_assert_ptr_null(listeners_snapshot_find(facts, n_facts, cookie_of(other)));
        free(facts);
}
END_TEST

/* --- can we see? ------------------------------------------------------------------------------ */

START_TEST(test_the_self_test_sees_every_kind_of_listener) {
        if (is_skipped(__func__, findable[_i].listen))
                return;

        int fd = listen_at(findable[_i].listen, 0);

        ck_assert_int_eq(listeners_self_test(listeners, fd), 0);
        close(fd);
}
END_TEST

static int self_test_elsewhere(void *argument) {
        Listeners *there = NULL;
        int r;

        if (unshare(CLONE_NEWNET) < 0)
                return 255;
        r = listeners_new(&there);
        if (r == 0)
                r = listeners_self_test(there, *(int *)argument);
        listeners_free(there);
        return -r;
}

START_TEST(test_the_self_test_is_blind_from_another_network_namespace) {
        int fd = listen_at("127.0.0.1", 0);

        int r = run_in_child(self_test_elsewhere, &fd, NODE_UID_UNKNOWN);
        if (r == 255)
                SKIP("needs root to make a network namespace");
        else
                ck_assert_int_eq(r, ENOENT);
}
END_TEST

static int self_test(void *argument) {
        Listeners *mine = NULL;
        int r = listeners_new(&mine);

        if (r == 0)
                r = listeners_self_test(mine, *(int *)argument);
        listeners_free(mine);
        return -r;
}

START_TEST(test_the_self_test_needs_no_privilege) {
        int fd = listen_at("127.0.0.1", 0);

        ck_assert_int_eq(run_in_child(self_test, &fd, geteuid() == 0 ? SOMEONE_ELSE : geteuid()),
                         0);
}
END_TEST

START_TEST(test_the_self_test_refuses_what_is_no_listener) {
        int pipe_fds[2], unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int bound = tcp_socket(AF_INET);

        ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
        bind_to(bound, "127.0.0.1", 0);
        ck_assert_int_eq(listeners_self_test(listeners, pipe_fds[0]), -ENOTSOCK);
        ck_assert_int_eq(listeners_self_test(listeners, unix_fd), -EAFNOSUPPORT);
        ck_assert_int_eq(listeners_self_test(listeners, bound), -ENOENT);
}
END_TEST

/* --- announcements ---------------------------------------------------------------------------- */

static int wait_for_event(uint64_t *ret_cookie) {
        struct pollfd wanted = { .fd = listeners_event_fd(listeners), .events = POLLIN };

        ck_assert_int_eq(poll(&wanted, 1, 20000), 1);
        return listeners_read_event(listeners, ret_cookie);
}

/* Other programs of this machine close sockets, too. */
static void wait_for_cookie(uint64_t wanted) {
        uint64_t cookie = 0;

        while (cookie != wanted)
                ck_assert_int_eq(wait_for_event(&cookie), 0);
}

START_TEST(test_the_end_of_a_listener_is_announced) {
        if (is_skipped(__func__, findable[_i].listen))
                return;

        int fd = listen_at(findable[_i].listen, 0);
        uint64_t cookie = cookie_of(fd);

        ck_assert_int_eq(listeners_event_fd(listeners), -1);
        ck_assert_int_eq(listeners_subscribe(listeners), 0);
        close(fd);
        wait_for_cookie(cookie);
}
END_TEST

/* The filter's offset: were it wrong, connections would come through, or listeners would not. */
START_TEST(test_the_end_of_a_connection_is_not_announced) {
        if (is_skipped(__func__, _i == 0 ? "127.0.0.1" : "::1"))
                return;

        int listener = listen_at(_i == 0 ? "127.0.0.1" : "::1", 0);
        uint64_t of_client, of_accepted, of_listener = cookie_of(listener), cookie = 0;

        ck_assert_int_eq(listeners_subscribe(listeners), 0);
        int client = connect_to(_i == 0 ? "127.0.0.1" : "::1", port_of(listener));
        Accepted accepted = accept_from(listener);
        of_client = cookie_of(client);
        of_accepted = cookie_of(accepted.fd);
        /* Both are destroyed before the listener, and would be announced before it. (A
         * connection that is reset has forgotten its peer, and comes through: the registry
         * does not know its cookie.) */
        close(client);
        close(accepted.fd);
        close(listener);
        while (cookie != of_listener) {
                ck_assert_int_eq(wait_for_event(&cookie), 0);
                ck_assert_uint_ne(cookie, of_client);
                ck_assert_uint_ne(cookie, of_accepted);
        }
}
END_TEST

START_TEST(test_without_news_there_is_nothing_to_read) {
        uint64_t cookie = 0;
        int r;

        ck_assert_int_eq(listeners_subscribe(listeners), 0);
        do
                r = listeners_read_event(listeners, &cookie);
        while (r == 0); /* another program's */
        ck_assert_int_eq(r, -EAGAIN);
}
END_TEST

/* Closes sockets until the kernel says (POLLERR) that announcements were lost. It announces from a
 * worker, which is given time, or it would lag behind by the hundred thousand. */
static void overrun(void) {
        struct pollfd lost = { .fd = listeners_event_fd(listeners) };

        for (unsigned i = 0; i % 64 != 0 || poll(&lost, 1, 1) == 0; i++) {
                ck_assert_uint_lt(i, 10 * 1000 * 1000);
                close(tcp_socket(AF_INET));
        }
}

/* False: something was lost before it. */
static bool is_announced(uint64_t wanted) {
        uint64_t cookie = 0;
        int r = 0;

        while (r == 0 && cookie != wanted)
                r = wait_for_event(&cookie);
        ck_assert(r == 0 || r == -ENOBUFS);
        return r == 0;
}

START_TEST(test_a_loss_is_reported_once_and_announcements_go_on) {
        uint64_t cookie = 0, wanted;
        int fd;

        if (!is_isolated) {
                SKIP("needs root: ten thousand announcements are not for other people's ears");
                return;
        }
        ck_assert_int_eq(listeners_subscribe(listeners), 0);
        overrun();
        ck_assert_int_eq(listeners_read_event(listeners, &cookie), -ENOBUFS);
        /* What was queued before the loss is not told at all. What the worker still has is news. */
        int r = listeners_read_event(listeners, &cookie);
        ck_assert(r == 0 || r == -EAGAIN);

        /* Whatever ends from now on is announced again. */
        do {
                fd = tcp_socket(AF_INET);
                wanted = cookie_of(fd);
                close(fd);
        } while (!is_announced(wanted));
}
END_TEST

static int subscribe_and_hear(void *argument) {
        int fd = *(int *)argument;
        uint64_t wanted = cookie_of(fd);

        tear_down();
        set_up();
        ck_assert_int_eq(listeners_subscribe(listeners), 0);
        close(fd);
        wait_for_cookie(wanted);
        return 0;
}

START_TEST(test_announcements_need_no_privilege) {
        int fd = listen_at("127.0.0.1", 0), pipe_fds[2];

        ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                char byte;

                if (geteuid() == 0 && setresuid(SOMEONE_ELSE, SOMEONE_ELSE, SOMEONE_ELSE) < 0)
                        _exit(255);
                /* Ours must be the last copy, or its close announces nothing. */
                close(pipe_fds[1]);
                if (read(pipe_fds[0], &byte, 1) != 0)
                        _exit(254);
                _exit(subscribe_and_hear(&fd));
        }
        int status;
        close(fd);
        close(pipe_fds[1]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("listeners");
        TCase *t;

        t = tcase_create("peer");
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_add_loop_test(t, test_the_peer_of_a_connection_is_found_with_its_owner, 0,
                            ELEMENTS(connections));
        tcase_add_test(t, test_the_peer_of_another_user_is_found_with_his_uid);
        tcase_add_test(t, test_a_peer_that_has_closed_is_found_without_an_owner);
        tcase_add_loop_test(t, test_a_peer_that_is_bound_to_the_loopback_device_is_found, 0, 2);
        tcase_add_loop_test(t, test_a_stranger_whose_source_port_is_ours_is_no_peer, 0, 4);
        tcase_add_test(t, test_a_socket_that_is_not_yet_connected_is_no_peer);
        tcase_add_test(t, test_a_socket_that_is_not_there_is_no_peer);
        tcase_add_test(t, test_an_answer_to_an_earlier_question_is_dropped);
        suite_add_tcase(s, t);

        t = tcase_create("find");
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_add_test(t, test_a_connection_and_a_listener_of_one_process_have_one_cgroup);
        tcase_add_loop_test(t, test_two_questions_at_once_have_the_same_answers, 0, 7);
        tcase_add_loop_test(t, test_of_two_questions_at_once_each_may_find_nothing, 0, 16);
        tcase_add_loop_test(t, test_what_two_questions_at_once_do_not_tell_is_asked_again, 0, _MISHAP_N);
        tcase_add_test(t, test_what_is_no_connection_of_ours_is_not_asked_about_with_another_question);
        tcase_add_loop_test(t, test_a_listener_is_found_wherever_it_is_bound, 0,
                            ELEMENTS(findable));
        tcase_add_test(t, test_a_listener_that_is_bound_to_a_device_is_found);
        tcase_add_loop_test(t, test_a_listener_of_another_owner_is_not_found, 0, 2);
        tcase_add_test(t, test_a_port_on_which_nobody_listens_has_no_listener);
        tcase_add_loop_test(t, test_of_two_listeners_the_one_that_is_not_claimed_is_preferred, 0,
                            2);
        tcase_add_test(t, test_of_two_listeners_the_one_of_the_connections_family_is_preferred);
        suite_add_tcase(s, t);

        t = tcase_create("alive");
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_add_loop_test(t, test_a_listener_is_alive_until_it_closes, 0, ELEMENTS(findable));
        tcase_add_test(t, test_a_listener_that_was_shut_down_is_not_alive);
        tcase_add_test(t, test_every_sibling_that_shares_a_port_is_alive);
        tcase_add_test(t, test_nothing_is_said_of_a_listener_that_is_not_known);
        tcase_add_test(t, test_a_snapshot_holds_every_listener_and_nothing_else);
        tcase_add_test(t, test_the_listeners_of_one_port_are_all_of_that_port);
        suite_add_tcase(s, t);

        t = tcase_create("self-test");
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_add_loop_test(t, test_the_self_test_sees_every_kind_of_listener, 0,
                            ELEMENTS(findable));
        tcase_add_test(t, test_the_self_test_is_blind_from_another_network_namespace);
        tcase_add_test(t, test_the_self_test_needs_no_privilege);
        tcase_add_test(t, test_the_self_test_refuses_what_is_no_listener);
        suite_add_tcase(s, t);

        t = tcase_create("announcements");
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_set_timeout(t, 60);
        tcase_add_loop_test(t, test_the_end_of_a_listener_is_announced, 0, ELEMENTS(findable));
        tcase_add_loop_test(t, test_the_end_of_a_connection_is_not_announced, 0, 2);
        tcase_add_test(t, test_without_news_there_is_nothing_to_read);
        tcase_add_test(t, test_a_loss_is_reported_once_and_announcements_go_on);
        tcase_add_test(t, test_announcements_need_no_privilege);
        suite_add_tcase(s, t);
        return s;
}
