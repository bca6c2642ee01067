/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the design takes for granted of the kernel, of systemd's library and of SQLite, each with
 * who relies on it. Nothing here is ours: where one of these fails, the machine is another than we
 * think, and what is said to rely on it has to change.
 */

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/inet_diag.h>
#include <linux/magic.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "check_main.h"
#include "network_test.h"
#include "util.h"

#define SOMEONE_ELSE 65534

/* TCP_LISTEN of <netinet/tcp.h>, which does not go together with <linux/tcp.h>, which does not have
 * it. */
#define STATE_LISTEN 10

#define SKIP(reason) skip(__func__, reason)

/* check calls the function of test_x test_x_fn. */
static void skip(const char *function, const char *reason) {
        const char *suffix = strstr(function, "_fn");

        printf("SKIP: %.*s: %s\n", suffix ? (int)(suffix - function) : INT_MAX, function, reason);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int tcp_socket(int family) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static struct sockaddr_in name_of(int fd) {
        struct sockaddr_in sa;
        socklen_t n = sizeof(sa);

        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
        return sa;
}

static uint16_t port_of(int fd) {
        struct sockaddr_in6 sa = { 0 }; /* an IPv4 address has its port at the same place */
        socklen_t n = sizeof(sa);

        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
        return ntohs(sa.sin6_port);
}

/* On any free port if `port` is 0. */
static int listen_at(const char *text, uint16_t port) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
        int fd = tcp_socket(AF_INET);

        ck_assert_int_eq(inet_pton(AF_INET, text, &sa.sin_addr), 1);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        ck_assert_int_eq(listen(fd, 128), 0);
        return fd;
}

static int connect_to(int listener_fd) {
        struct sockaddr_in sa = name_of(listener_fd);
        int fd = tcp_socket(AF_INET);

        ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        return fd;
}

static int accept_from(int listener_fd) {
        int fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static uint64_t cookie_of(int fd) {
        uint64_t cookie = 0;
        socklen_t n = sizeof(cookie);

        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n), 0);
        return cookie;
}

/* --- sock_diag -------------------------------------------------------------------------------- */

typedef struct Diag {
        struct inet_diag_msg socket;
        uint64_t cookie;
        uint64_t cgroup_id;
} Diag;

typedef union NetlinkBuffer {
        struct nlmsghdr header;
        uint8_t bytes[8192];
} NetlinkBuffer;

static int open_sock_diag(void) {
        const struct sockaddr_nl self = { .nl_family = AF_NETLINK };
        int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&self, sizeof(self)), 0);
        return fd;
}

static Diag diag_parse(const struct nlmsghdr *message) {
        Diag diag = { .socket = *(const struct inet_diag_msg *)NLMSG_DATA(message) };
        const uint8_t *at = (const uint8_t *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(diag.socket));
        const uint8_t *end = (const uint8_t *)message + message->nlmsg_len;
        struct rtattr attribute;

        diag.cookie =
                (uint64_t)diag.socket.id.idiag_cookie[1] << 32 | diag.socket.id.idiag_cookie[0];
        for (; at + sizeof(attribute) <= end; at += RTA_ALIGN(attribute.rta_len)) {
                memcpy(&attribute, at, sizeof(attribute));
                if (attribute.rta_type == 21) /* INET_DIAG_CGROUP_ID */
                        memcpy(&diag.cgroup_id, at + RTA_LENGTH(0), sizeof(diag.cgroup_id));
        }
        return diag;
}

/* Sends a question and takes the first message of the answer. 0 or negative errno. */
static int ask(uint16_t flags, const struct inet_diag_req_v2 *question, Diag *ret) {
        struct {
                struct nlmsghdr header;
                struct inet_diag_req_v2 question;
        } message = {
                .header = {
                        .nlmsg_len = sizeof(message),
                        .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                        .nlmsg_flags = NLM_F_REQUEST | flags,
                },
                .question = *question,
        };
        NetlinkBuffer answer;
        _cleanup_(close_fdp) int fd = open_sock_diag();

        ck_assert_int_eq(send(fd, &message, sizeof(message), 0), sizeof(message));
        ck_assert_int_gt(recv(fd, &answer, sizeof(answer), 0), (int)sizeof(answer.header));
        if (answer.header.nlmsg_type == NLMSG_DONE)
                return -ENOENT;
        if (answer.header.nlmsg_type == NLMSG_ERROR)
                return ((const struct nlmsgerr *)NLMSG_DATA(&answer.header))->error;
        *ret = diag_parse(&answer.header);
        return 0;
}

static struct inet_diag_req_v2 question_about(const char *local, uint16_t local_port,
                                              const char *remote, uint16_t remote_port) {
        struct inet_diag_req_v2 question = {
                .sdiag_family = AF_INET,
                .sdiag_protocol = IPPROTO_TCP,
                .id = {
                        .idiag_sport = htons(local_port),
                        .idiag_dport = htons(remote_port),
                        .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
                },
        };

        ck_assert_int_eq(inet_pton(AF_INET, local, question.id.idiag_src), 1);
        ck_assert_int_eq(inet_pton(AF_INET, remote, question.id.idiag_dst), 1);
        return question;
}

static int look_up(const char *local, uint16_t local_port, const char *remote, uint16_t remote_port,
                   Diag *ret) {
        struct inet_diag_req_v2 question = question_about(local, local_port, remote, remote_port);

        return ask(0, &question, ret);
}

/* listeners_find_peer(): a remote client that picks our port as its own must not pass as local. */
START_TEST(test_an_exact_lookup_of_no_connection_finds_a_listener) {
        int fd = listen_at("0.0.0.0", 0);
        Diag diag;

        ck_assert_int_eq(look_up("127.0.0.1", port_of(fd), "192.0.2.1", 9, &diag), 0);
        ck_assert_uint_eq(diag.socket.idiag_state, STATE_LISTEN);
        ck_assert_uint_eq(diag.socket.id.idiag_dport, 0);
}
END_TEST

/* listeners_find_listener(): a node on IPv6 is found by the loopback address that it registered
 * from. */
START_TEST(test_an_exact_lookup_by_ipv4_finds_a_dual_stack_listener) {
        struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        Diag diag;

        if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
                SKIP("this machine has no IPv6");
                return;
        }
        ck_assert_int_eq(listen(fd, 1), 0);
        ck_assert_int_eq(look_up("127.0.0.1", port_of(fd), "0.0.0.0", 0, &diag), 0);
        ck_assert_uint_eq(diag.cookie, cookie_of(fd));
        ck_assert_uint_eq(diag.socket.idiag_family, AF_INET6);
}
END_TEST

/* listeners_find_listener(): what listens on another loopback address needs the dump. */
START_TEST(test_an_exact_lookup_does_not_find_a_listener_of_another_address) {
        int fd = listen_at("127.0.0.2", 0);
        Diag diag;

        ck_assert_int_eq(look_up("127.0.0.1", port_of(fd), "0.0.0.0", 0, &diag), -ENOENT);
        ck_assert_int_eq(look_up("127.0.0.2", port_of(fd), "0.0.0.0", 0, &diag), 0);
}
END_TEST

/* listeners_dump(): no bytecode is needed for the listeners of one port. */
START_TEST(test_a_dump_is_narrowed_by_the_source_port) {
        int fd = listen_at("127.0.0.2", 0), other = listen_at("127.0.0.2", 0);
        struct inet_diag_req_v2 question = question_about("0.0.0.0", port_of(fd), "0.0.0.0", 0);
        Diag diag;

        question.idiag_states = UINT32_C(1) << STATE_LISTEN;
        ck_assert_int_eq(ask(NLM_F_DUMP, &question, &diag), 0);
        ck_assert_uint_eq(diag.cookie, cookie_of(fd));
        close(fd);
        ck_assert_int_eq(ask(NLM_F_DUMP, &question, &diag), -ENOENT);
        close(other);
}
END_TEST

/* listeners_find_peer(): a client that binds to a device is seen only by whom names it, and naming
 * it finds all others, too. */
START_TEST(test_an_exact_lookup_that_names_a_device_finds_more) {
        int listener = listen_at("127.0.0.1", 0), bound = tcp_socket(AF_INET);
        int unbound = connect_to(listener);
        struct sockaddr_in sa = name_of(listener);
        Diag diag;

        ck_assert_int_eq(setsockopt(bound, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
        ck_assert_int_eq(connect(bound, (struct sockaddr *)&sa, sizeof(sa)), 0);
        ck_assert_int_eq(
                look_up("127.0.0.1", port_of(bound), "127.0.0.1", port_of(listener), &diag),
                -ENOENT);

        for (int i = 0; i < 2; i++) {
                int fd = i == 0 ? bound : unbound;
                struct inet_diag_req_v2 question =
                        question_about("127.0.0.1", port_of(fd), "127.0.0.1", port_of(listener));

                question.id.idiag_if = if_nametoindex("lo");
                ck_assert_uint_eq(question.id.idiag_if, 1);
                ck_assert_int_eq(ask(0, &question, &diag), 0);
                ck_assert_uint_eq(diag.cookie, cookie_of(fd));
        }
}
END_TEST

/* listeners_find_peer(): what has no inode has no owner, whatever uid is told. */
START_TEST(test_a_closed_socket_has_no_inode) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to(listener);
        uint16_t port = port_of(client);
        Diag diag;

        ck_assert_int_eq(look_up("127.0.0.1", port, "127.0.0.1", port_of(listener), &diag), 0);
        ck_assert_uint_eq(diag.socket.idiag_uid, geteuid());
        ck_assert_uint_ne(diag.socket.idiag_inode, 0);
        close(client);
        ck_assert_int_eq(look_up("127.0.0.1", port, "127.0.0.1", port_of(listener), &diag), 0);
        ck_assert_uint_eq(diag.socket.idiag_inode, 0);
}
END_TEST

/* The registry file: a row's cookie says, also after a restart of ours, whether its listener lives
 * (P3). */
START_TEST(test_a_listener_has_the_cookie_that_its_owner_sees) {
        int fd = listen_at("127.0.0.1", 0);
        Diag diag;

        ck_assert_int_eq(look_up("127.0.0.1", port_of(fd), "0.0.0.0", 0, &diag), 0);
        ck_assert_uint_ne(diag.cookie, 0);
        ck_assert_uint_eq(diag.cookie, cookie_of(fd));
}
END_TEST

/* The same: another listener in the place of the first is not taken for it. */
START_TEST(test_another_listener_on_the_same_port_has_another_cookie) {
        int fd = listen_at("127.0.0.1", 0);
        uint16_t port = port_of(fd);
        uint64_t first = cookie_of(fd);
        Diag diag;

        for (int i = 0; i < 100; i++) {
                close(fd);
                fd = listen_at("127.0.0.1", port);
                ck_assert_int_eq(look_up("127.0.0.1", port, "0.0.0.0", 0, &diag), 0);
                ck_assert_uint_ne(diag.cookie, first);
        }
}
END_TEST

/* --- announcements ---------------------------------------------------------------------------- */

static int subscribe(void) {
        int fd = open_sock_diag();

        ck_assert_int_eq(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP,
                                    &(int){ SKNLGRP_INET_TCP_DESTROY }, sizeof(int)),
                         0);
        return fd;
}

/* That of the socket `wanted`, before which there must be none of `unwanted`; at most twenty seconds
 * each. */
static Diag wait_for_announcement(int fd, uint64_t wanted, uint64_t unwanted) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };
        NetlinkBuffer buffer;
        Diag diag = { 0 };

        while (diag.cookie != wanted) {
                ck_assert_int_eq(poll(&readable, 1, 20000), 1);
                ck_assert_int_gt(recv(fd, &buffer, sizeof(buffer), 0), 0);
                diag = diag_parse(&buffer.header);
                ck_assert_uint_ne(diag.cookie, unwanted);
        }
        return diag;
}

/* listeners_read_event(): the dead are told by cookie. */
START_TEST(test_the_end_of_a_listener_is_announced_with_its_cookie) {
        int announcements = subscribe(), fd = listen_at("127.0.0.1", 0);
        uint64_t cookie = cookie_of(fd);
        uint16_t port = port_of(fd);

        close(fd);
        Diag diag = wait_for_announcement(announcements, cookie, 0);
        ck_assert_uint_eq(diag.socket.id.idiag_sport, htons(port));
        ck_assert_uint_eq(diag.socket.id.idiag_dport, 0);
}
END_TEST

/* attach_filter(): where the port of the peer is in an announcement. */
START_TEST(test_the_peers_port_is_at_byte_22_of_an_announcement) {
        ck_assert_uint_eq(NLMSG_HDRLEN + offsetof(struct inet_diag_msg, id.idiag_dport), 22);
        int announcements = subscribe(), listener = listen_at("127.0.0.1", 0);
        int client = connect_to(listener), accepted = accept_from(listener);
        uint64_t cookie = cookie_of(client);
        struct pollfd readable = { .fd = announcements, .events = POLLIN };
        NetlinkBuffer buffer;
        uint16_t port = 0;

        close(client);
        close(accepted);
        do {
                ck_assert_int_eq(poll(&readable, 1, 20000), 1);
                ck_assert_int_gt(recv(announcements, &buffer, sizeof(buffer), 0), 0);
        } while (diag_parse(&buffer.header).cookie != cookie);
        memcpy(&port, buffer.bytes + 22, sizeof(port));
        ck_assert_uint_eq(ntohs(port), port_of(listener));
}
END_TEST

/* The mapper: an announcement is not all. What shut its listener down has gone at the next look. */
START_TEST(test_a_shutdown_ends_a_listener_without_an_announcement) {
        int announcements = subscribe(), fd = listen_at("127.0.0.1", 0);
        int later = listen_at("127.0.0.1", 0);
        uint64_t cookie = cookie_of(fd), cookie_of_later = cookie_of(later);
        Diag diag;

        ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(look_up("127.0.0.1", port_of(fd), "0.0.0.0", 0, &diag), -ENOENT);
        close(later);
        wait_for_announcement(announcements, cookie_of_later, cookie);
        close(fd);
        wait_for_announcement(announcements, cookie, 0);
}
END_TEST

/* The unit: the daemon runs as a user of its own, with no capability. */
START_TEST(test_sock_diag_needs_no_privilege) {
        int fd = listen_at("127.0.0.1", 0), status;
        uint64_t cookie = cookie_of(fd);
        uint16_t port = port_of(fd);

        pid_t pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                Diag diag;

                if (geteuid() == 0 && setresuid(SOMEONE_ELSE, SOMEONE_ELSE, SOMEONE_ELSE) < 0)
                        _exit(1);
                int announcements = subscribe();
                if (look_up("127.0.0.1", port, "0.0.0.0", 0, &diag) < 0 || diag.cookie != cookie)
                        _exit(2);
                /* A socket of its own: the other one is open in the parent, too. */
                close(fd);
                fd = listen_at("127.0.0.1", 0);
                uint64_t mine = cookie_of(fd);
                close(fd);
                wait_for_announcement(announcements, mine, 0);
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* --- cgroups ---------------------------------------------------------------------------------- */

static const char *cgroup2_mount(void) {
        static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        struct statfs fs;

        for (size_t i = 0; i < ELEMENTS(mounts); i++)
                if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return mounts[i];
        return NULL;
}

/* This process's directory in the hierarchy of cgroup v2. */
static bool find_own_cgroup(char path[static PATH_MAX]) {
        const char *mount = cgroup2_mount();
        FILE *file = fopen("/proc/self/cgroup", "re");
        char line[PATH_MAX / 2];
        bool is_found = false;

        while (mount && file && !is_found && fgets(line, sizeof(line), file)) {
                line[strcspn(line, "\n")] = 0;
                is_found = strncmp(line, "0::/", 4) == 0 && !strstr(line, "/..");
                (void)snprintf(path, PATH_MAX, "%s%s", mount, line + 3);
        }
        if (file)
                (void)fclose(file);
        return is_found;
}

/* cgroups_find_unit(): the id that comes with a socket is the inode of its cgroup's directory. */
START_TEST(test_a_cgroup_id_is_the_inode_of_its_directory) {
        int fd = listen_at("127.0.0.1", 0);
        char path[PATH_MAX];
        struct stat st;
        Diag diag;

        if (!find_own_cgroup(path) || stat(path, &st) < 0) {
                SKIP("this process is in no cgroup v2 that can be seen");
                return;
        }
        ck_assert_int_eq(look_up("127.0.0.1", port_of(fd), "0.0.0.0", 0, &diag), 0);
        ck_assert_uint_eq(diag.cgroup_id, st.st_ino);
}
END_TEST

/* --- TCP and AF_UNIX -------------------------------------------------------------------------- */

/* The mapper (P4): whoever closes and then registers anew has its old connection's end in our hands
 * when we read the new request, so that a look at the holder's connection suffices before a
 * refusal. */
START_TEST(test_an_end_is_there_before_what_the_same_client_sent_later) {
        int listener = listen_at("127.0.0.1", 0);
        char byte;

        for (int i = 0; i < 2000; i++) {
                int older = connect_to(listener), newer;
                int held = accept_from(listener), asking;

                if (i % 2)
                        ck_assert_int_eq(send(held, "unread", 6, 0), 6); /* its end is an RST */
                close(older);
                newer = connect_to(listener);
                ck_assert_int_eq(send(newer, "x", 1, 0), 1);
                asking = accept_from(listener);
                ck_assert_int_eq(recv(asking, &byte, 1, 0), 1);

                ssize_t n = recv(held, &byte, 1, MSG_DONTWAIT);
                ck_assert(n == 0 || (n < 0 && errno == ECONNRESET));
                close(held);
                close(asking);
                close(newer);
        }
}
END_TEST

typedef enum Farewell {
        SEND_THEN_SHUTDOWN,
        SEND_MORE_THEN_SHUTDOWN,
        SEND_MORE_THEN_CLOSE,
} Farewell;

/* How many segments the peer got, in all, of an answer that is followed by the connection's end. */
static unsigned count_segments(Farewell farewell) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to(listener);
        int server = accept_from(listener);
        struct tcp_info info = { 0 };
        socklen_t n_info = sizeof(info);
        char answer[16] = "";

        ck_assert_int_eq(send(server, "answer", 6, farewell == SEND_THEN_SHUTDOWN ? 0 : MSG_MORE),
                         6);
        if (farewell == SEND_MORE_THEN_CLOSE)
                close(server);
        else
                ck_assert_int_eq(shutdown(server, SHUT_WR), 0);

        ck_assert_int_eq(recv(client, answer, sizeof(answer), MSG_WAITALL), 6);
        ck_assert_str_eq(answer, "answer");
        ck_assert_int_eq(recv(client, answer, sizeof(answer), 0), 0);
        ck_assert_int_eq(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &n_info), 0);
        return info.tcpi_segs_in;
}

/* Connections: the last answer leaves with the FIN. Stock clients read to the end, and the end is
 * there. */
START_TEST(test_an_answer_and_the_end_leave_in_one_segment) {
        unsigned n_plain = count_segments(SEND_THEN_SHUTDOWN);

        ck_assert_uint_eq(count_segments(SEND_MORE_THEN_SHUTDOWN), n_plain - 1);
        ck_assert_uint_eq(count_segments(SEND_MORE_THEN_CLOSE), n_plain - 1);
}
END_TEST

/* The fd store: sd_notify()'s socket fills when PID 1 is busy, and the loop must not wait for it.
 */
START_TEST(test_a_full_datagram_socket_says_so_if_asked_not_to_block) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int reader = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int writer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t n = sizeof(sa);
        unsigned n_sent = 0;

        ck_assert_int_eq(bind(reader, (struct sockaddr *)&sa, sizeof(sa_family_t)),
                         0); /* autobind */
        ck_assert_int_eq(getsockname(reader, (struct sockaddr *)&sa, &n), 0);
        while (sendto(writer, "FDSTORE=1", 9, 0, (struct sockaddr *)&sa, n) == 9)
                ck_assert_uint_lt(n_sent++, 1000000);
        ck_assert_int_eq(errno, EAGAIN);
        ck_assert_uint_gt(n_sent, 0);
}
END_TEST

/* --- the fd store ----------------------------------------------------------------------------- */

/* Sends a duplicate of `fd` into `pair[0]`; it comes out of `pair[1]`. */
static void pass_fd(const int pair[static 2], int fd) {
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = { .bytes = { 0 } };
        struct iovec iov = { .iov_base = &(char){ 'x' }, .iov_len = 1 };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control.bytes),
        };

        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        ck_assert_int_eq(sendmsg(pair[0], &message, 0), 1);
}

static void open_pair(int pair[static 2]) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
}

/* 1: there is something, or the end; 0: nothing yet. */
static int wait_readable(int fd, int timeout_ms) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };

        return poll(&readable, 1, timeout_ms);
}

/* fdstore_drop(): who ends a connection that is stored must shut it down; its peer would not notice a close.
 * fdstore_flush(): what was sent before we end is as good as stored. */
START_TEST(test_a_connection_lives_on_in_the_datagram_that_carries_it) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to(listener);
        int fd = accept_from(listener), pair[2];
        char byte;

        open_pair(pair);
        pass_fd(pair, fd);
        if (_i == 0) {
                close(fd);
                close(pair[0]);
                ck_assert_int_eq(wait_readable(client, 100), 0);
                close(pair[1]); /* nobody has read it */
        } else
                ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
        ck_assert_int_eq(wait_readable(client, 5000), 1);
        ck_assert_int_eq(recv(client, &byte, 1, 0), 0);
}
END_TEST

/* The start (P3): what we shut down, or the node closed, and PID 1 handed back is known as dead. */
START_TEST(test_a_connection_that_was_shut_down_is_at_its_end_for_all_who_hold_it) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to(listener);
        int fd = accept_from(listener), kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        char byte;

        ck_assert_int_ge(kept, 0);
        ck_assert_int_eq(recv(kept, &byte, 1, MSG_DONTWAIT), -1);
        ck_assert_int_eq(errno, EAGAIN);
        ck_assert_int_eq(shutdown(_i == 0 ? fd : client, _i == 0 ? SHUT_RDWR : SHUT_WR), 0);
        close(fd);
        ck_assert_int_eq(wait_readable(kept, 5000), 1);
        ck_assert_int_eq(recv(kept, &byte, 1, 0), 0);
}
END_TEST

/* is_stored_connection(): a stored connection that its peer has reset is told by its name. */
START_TEST(test_a_connection_that_was_reset_has_no_peer) {
        const struct linger now = { .l_onoff = 1, .l_linger = 0 };
        int listener = listen_at("127.0.0.1", 0), client = connect_to(listener);
        int fd = accept_from(listener), type = 0;
        struct sockaddr_in sa;
        socklen_t n = sizeof(sa), n_type = sizeof(type);

        ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&sa, &n), 0);
        ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
        close(client);
        ck_assert_int_eq(wait_readable(fd, 5000), 1);
        ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&sa, &n), -1);
        ck_assert_int_eq(errno, ENOTCONN);
        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n_type), 0);
        ck_assert_int_eq(type, SOCK_STREAM);
}
END_TEST

/* conn: out of epoll before it is closed, since PID 1 holds it, too. */
START_TEST(test_a_closed_descriptor_whose_file_lives_on_keeps_waking_epoll) {
        int listener = listen_at("127.0.0.1", 0), client = connect_to(listener);
        int fd = accept_from(listener), kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN };

        ck_assert_int_ge(kept, 0);
        ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
        close(fd);
        ck_assert_int_eq(send(client, "x", 1, 0), 1);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(epoll_wait(epoll, &event, 1, 5000), 1);
        ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), -1);
}
END_TEST

/* defer_accept(): who is accepted has sent something, or has ended. */
START_TEST(test_a_connection_can_be_accepted_together_with_its_request) {
        int listener = listen_at("127.0.0.1", 0), client, accepted;
        char byte;

        ck_assert_int_eq(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){ 1 }, sizeof(int)), 0);
        client = connect_to(listener);
        ck_assert_int_eq(wait_readable(listener, 100), 0);
        if (_i == 0)
                ck_assert_int_eq(send(client, "x", 1, 0), 1);
        else if (_i == 1)
                close(client);
        /* else: who says nothing is accepted as well, a little later */
        ck_assert_int_eq(wait_readable(listener, 5000), 1);
        accepted = accept_from(listener);
        ck_assert_int_eq(recv(accepted, &byte, 1, MSG_DONTWAIT), _i == 0 ? 1 : _i == 1 ? 0 : -1);
}
END_TEST

/* --- sd-event --------------------------------------------------------------------------------- */

static int count_call(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        (void)source;
        (void)fd;
        (void)revents;
        ++*(unsigned *)userdata;
        return 0;
}

/* The store: there is no "end of the turn" in which to commit what many have asked; hence its
 * thread. */
START_TEST(test_the_loop_dispatches_one_source_in_each_iteration) {
        sd_event *event = NULL;
        unsigned n_calls = 0;

        ck_assert_int_ge(sd_event_new(&event), 0);
        for (int i = 0; i < 3; i++) {
                int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* readable, and stays so */

                ck_assert_int_ge(sd_event_add_io(event, NULL, fd, POLLIN, count_call, &n_calls), 0);
        }
        for (unsigned i = 1; i <= 9; i++) {
                ck_assert_int_gt(sd_event_run(event, UINT64_MAX), 0);
                ck_assert_uint_eq(n_calls, i);
        }
        sd_event_unref(event);
}
END_TEST

/* --- SQLite ----------------------------------------------------------------------------------- */

static char directory[64], database[128];

static void set_up_database(void) {
        const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

        (void)snprintf(directory, sizeof(directory), "%s/check_platform.XXXXXX", parent);
        ck_assert_ptr_nonnull(mkdtemp(directory));
        (void)snprintf(database, sizeof(database), "%s/registry.db", directory);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void tear_down_database(void) {
        ck_assert_int_eq(nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void run(sqlite3 *db, const char *sql) {
        ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s: %s", sql,
                      sqlite3_errmsg(db));
}

static sqlite3 *open_database(void) {
        sqlite3 *db = NULL;

        ck_assert_int_eq(
                sqlite3_open_v2(database, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL),
                SQLITE_OK);
        run(db, "PRAGMA journal_mode = WAL");
        run(db, "CREATE TABLE IF NOT EXISTS t (x)");
        return db;
}

static bool file_exists(const char *suffix, struct stat *ret) {
        char path[256];

        (void)snprintf(path, sizeof(path), "%s%s", database, suffix);
        return stat(path, ret) == 0;
}

/* The schema: STRICT tables are of 3.37. */
START_TEST(test_sqlite_knows_strict_tables) {
        sqlite3 *db = open_database();

        ck_assert_int_ge(sqlite3_libversion_number(), 3037000);
        run(db, "CREATE TABLE s (x INTEGER NOT NULL) STRICT");
        ck_assert_int_eq(sqlite3_exec(db, "INSERT INTO s VALUES ('no')", NULL, NULL, NULL),
                         SQLITE_CONSTRAINT);
        sqlite3_close(db);
}
END_TEST

/* The store: with its threads' connections in one process SQLite must be built for threads. */
START_TEST(test_sqlite_is_built_for_threads) {
        ck_assert_int_ne(sqlite3_threadsafe(), 0);
}
END_TEST

/* The store: who may only read the directory can read the registry after a clean stop as well. */
START_TEST(test_the_wal_outlives_the_last_connection_if_asked) {
        const bool is_asked = _i == 1;
        int persist = 1;
        sqlite3 *db = open_database();
        struct stat st;

        if (is_asked)
                ck_assert_int_eq(sqlite3_file_control(db, NULL, SQLITE_FCNTL_PERSIST_WAL, &persist),
                                 SQLITE_OK);
        run(db, "INSERT INTO t VALUES (1)");
        ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
        ck_assert(file_exists("-wal", &st) == is_asked);
        ck_assert(file_exists("-shm", &st) == is_asked);
}
END_TEST

/* The store: after SQLITE_FULL a ROLLBACK would be an error. */
START_TEST(test_a_full_database_has_rolled_back_by_itself) {
        sqlite3 *db = open_database();
        int r;

        run(db, "PRAGMA max_page_count = 4");
        run(db, "BEGIN IMMEDIATE");
        ck_assert_int_eq(sqlite3_get_autocommit(db), 0);
        do
                r = sqlite3_exec(db, "INSERT INTO t VALUES (zeroblob(3000))", NULL, NULL, NULL);
        while (r == SQLITE_OK);
        ck_assert_int_eq(r, SQLITE_FULL);
        ck_assert_int_ne(sqlite3_get_autocommit(db), 0);
        ck_assert_int_eq(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_ERROR);
        sqlite3_close(db);
}
END_TEST

/* The store: it has to look at the file itself (P2), for SQLite does not tell. */
START_TEST(test_a_deleted_database_goes_on_taking_rows) {
        sqlite3 *db = open_database();
        struct stat st;

        run(db, "INSERT INTO t VALUES (1)");
        ck_assert_int_eq(unlink(database), 0);
        run(db, "INSERT INTO t VALUES (2)");
        ck_assert(!file_exists("", &st));
        sqlite3_close(db);
}
END_TEST

/* The store: the members of a group may read, whatever the umask. */
START_TEST(test_the_files_of_the_wal_get_the_mode_of_the_database) {
        static const char *const suffixes[] = { "-wal", "-shm" };
        struct stat st;

        umask(_i == 0 ? 022 : 077);
        int fd = open(database, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fchmod(fd, 0640), 0);
        close(fd);

        sqlite3 *db = open_database();
        run(db, "INSERT INTO t VALUES (1)");
        for (size_t i = 0; i < ELEMENTS(suffixes); i++) {
                ck_assert(file_exists(suffixes[i], &st));
                ck_assert_uint_eq(st.st_mode & 07777, 0640);
        }
        sqlite3_close(db);
}
END_TEST

/* The store, and the README of the schema: one who reads keeps nobody from writing. */
START_TEST(test_an_open_read_does_not_keep_a_write_from_committing) {
        sqlite3 *db = open_database(), *reader = open_database();

        run(reader, "BEGIN");
        run(reader, "SELECT * FROM t");
        run(db, "INSERT INTO t VALUES (1)");
        run(reader, "COMMIT");
        sqlite3_close(reader);
        sqlite3_close(db);
}
END_TEST

/* Each test has all ports for itself. */
static void set_up(void) {
        (void)enter_own_network();
}

Suite *suite(void) {
        Suite *s = suite_create("platform");
        TCase *t;

        t = tcase_create("kernel");
        tcase_add_checked_fixture(t, set_up, NULL);
        tcase_set_timeout(t, 30);
        tcase_add_test(t, test_an_exact_lookup_of_no_connection_finds_a_listener);
        tcase_add_test(t, test_an_exact_lookup_by_ipv4_finds_a_dual_stack_listener);
        tcase_add_test(t, test_an_exact_lookup_does_not_find_a_listener_of_another_address);
        tcase_add_test(t, test_a_dump_is_narrowed_by_the_source_port);
        tcase_add_test(t, test_an_exact_lookup_that_names_a_device_finds_more);
        tcase_add_test(t, test_a_closed_socket_has_no_inode);
        tcase_add_test(t, test_a_listener_has_the_cookie_that_its_owner_sees);
        tcase_add_test(t, test_another_listener_on_the_same_port_has_another_cookie);
        tcase_add_test(t, test_the_end_of_a_listener_is_announced_with_its_cookie);
        tcase_add_test(t, test_the_peers_port_is_at_byte_22_of_an_announcement);
        tcase_add_test(t, test_a_shutdown_ends_a_listener_without_an_announcement);
        tcase_add_test(t, test_sock_diag_needs_no_privilege);
        tcase_add_test(t, test_a_cgroup_id_is_the_inode_of_its_directory);
        tcase_add_test(t, test_an_end_is_there_before_what_the_same_client_sent_later);
        tcase_add_test(t, test_an_answer_and_the_end_leave_in_one_segment);
        tcase_add_test(t, test_a_full_datagram_socket_says_so_if_asked_not_to_block);
        tcase_add_loop_test(t, test_a_connection_lives_on_in_the_datagram_that_carries_it, 0, 2);
        tcase_add_loop_test(t, test_a_connection_that_was_shut_down_is_at_its_end_for_all_who_hold_it, 0, 2);
        tcase_add_test(t, test_a_connection_that_was_reset_has_no_peer);
        tcase_add_test(t, test_a_closed_descriptor_whose_file_lives_on_keeps_waking_epoll);
        tcase_add_loop_test(t, test_a_connection_can_be_accepted_together_with_its_request, 0, 3);
        suite_add_tcase(s, t);

        t = tcase_create("systemd");
        tcase_add_test(t, test_the_loop_dispatches_one_source_in_each_iteration);
        suite_add_tcase(s, t);

        t = tcase_create("sqlite");
        tcase_add_checked_fixture(t, set_up_database, tear_down_database);
        tcase_add_test(t, test_sqlite_knows_strict_tables);
        tcase_add_test(t, test_sqlite_is_built_for_threads);
        tcase_add_loop_test(t, test_the_wal_outlives_the_last_connection_if_asked, 0, 2);
        tcase_add_test(t, test_a_full_database_has_rolled_back_by_itself);
        tcase_add_test(t, test_a_deleted_database_goes_on_taking_rows);
        tcase_add_loop_test(t, test_the_files_of_the_wal_get_the_mode_of_the_database, 0, 2);
        tcase_add_test(t, test_an_open_read_does_not_keep_a_write_from_committing);
        suite_add_tcase(s, t);
        return s;
}
