/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how to ask the kernel about TCP sockets (sock_diag, see sock_diag(7)) and how to hear what
 * it announces. Does not know its messages (diag), nor nodes, names or what follows from a socket's end.
 *
 * The trap: "exact" lookups are those of an incoming packet. A connection that does not exist is
 * answered with a listener on that port, a listener with one of its SO_REUSEPORT siblings, and a
 * socket that is bound to a device with nothing. So every answer is compared with what was asked,
 * and a listener that was not found is looked for once more by a dump of its port, which shows all
 * there are.
 */

#include "evidence/listeners.h"

#include <assert.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdalign.h>
#include <string.h>
#include <sys/time.h>

#include "evidence/diag.h"

/* The loopback device has this index in every network namespace. */
#define LOOPBACK_DEVICE 1

/* Of a message that asks one thing. */
#define QUESTION_BYTES (NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct inet_diag_req_v2)))
/* What the kernel fills at most by one read of a dump. */
#define ANSWER_BYTES_MAX 32768
/* The kernel answers within the system call; this only keeps a surprise from stopping the loop. */
#define ANSWER_TIMEOUT ((struct timeval){ .tv_sec = 1 })
/* A dump that was disturbed is asked for again, this often in all. */
#define DUMP_ATTEMPTS 3
/* How often a question is asked for which the kernel had no room or no time. */
#define ASK_ATTEMPTS 3
/* What an announcement takes of the receive buffer, at the very least. */
#define EVENT_BYTES_MIN 512

#define STATE(s) (UINT32_C(1) << (s))
/* A connection, also one that is being closed: its client may already have hung up. */
#define STATES_OF_A_CONNECTION                                                                     \
        (STATE(TCP_ESTABLISHED) | STATE(TCP_FIN_WAIT1) | STATE(TCP_FIN_WAIT2) |                    \
         STATE(TCP_CLOSE_WAIT) | STATE(TCP_LAST_ACK) | STATE(TCP_CLOSING))

struct Listeners {
        struct mnl_socket *query;
        struct mnl_socket *events; /* NULL before listeners_subscribe() */
        size_t n_events_max;       /* no more than these wait in `events` at a time */
        bool is_lossy;             /* some were lost, and the kernel may not queue new ones yet */
        uint32_t sequence;         /* of the last request; answers to earlier ones are dropped */
        alignas(struct nlmsghdr) uint8_t buffer[ANSWER_BYTES_MAX];
};

static void close_netlinkp(struct mnl_socket **socket) {
        if (*socket)
                (void)mnl_socket_close(*socket);
}

/* --- between our types and the kernel's ------------------------------------------------------- */

static void put_address(__be32 out[static 4], const Address *address, int family) {
        if (family == AF_INET)
                memcpy(out, address->bytes + 12, 4);
        else
                memcpy(out, address->bytes, sizeof(address->bytes));
}

static Address loopback(bool ipv6) {
        return ipv6 ? (Address){ { [15] = 1 } }
                    : (Address){ { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };
}

/* IPv4 is asked for as IPv4, also where the socket is a dual-stack one of IPv6. */
static int family_of(const Address *address, bool ipv6) {
        return ipv6 && !address_is_ipv4(address) ? AF_INET6 : AF_INET;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Reads to the answer's end even after an error: the kernel refuses the next dump (EBUSY) while one
 * is half read. */
static int listeners_receive(Listeners *listeners, DiagAnswer *answer) {
        while (!answer->is_complete) {
                ssize_t size = mnl_socket_recvfrom(listeners->query, listeners->buffer,
                                                   sizeof(listeners->buffer));

                if (size < 0 && errno == EINTR)
                        continue;
                if (size < 0)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;

                diag_answer_read(answer, listeners->buffer, (size_t)size, listeners->sequence);
        }
        return answer->error;
}

/* Returns its bytes, QUESTION_BYTES at most. */
static size_t listeners_put(Listeners *listeners, uint16_t flags, const struct inet_diag_req_v2 *question,
                            void *buffer) {
        struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

        message->nlmsg_type = SOCK_DIAG_BY_FAMILY;
        message->nlmsg_flags = NLM_F_REQUEST | flags;
        message->nlmsg_seq = ++listeners->sequence;
        memcpy(mnl_nlmsg_put_extra_header(message, sizeof(*question)), question, sizeof(*question));
        return message->nlmsg_len;
}

static int listeners_ask_once(Listeners *listeners, uint16_t flags,
                              const struct inet_diag_req_v2 *question, DiagAnswer *answer) {
        alignas(struct nlmsghdr) uint8_t buffer[QUESTION_BYTES];
        size_t n = listeners_put(listeners, flags, question, buffer);

        if (mnl_socket_sendto(listeners->query, buffer, n) < 0)
                return -errno;
        return listeners_receive(listeners, answer);
}

/* What says nothing of sockets, and may be over in a moment. */
static bool is_passing(int error) {
        return error == -EINTR || error == -EAGAIN || error == -ENOBUFS || error == -ENOMEM;
}

/* P3: one that was not asked about is not to be taken for one that nothing is known of. */
static int listeners_ask(Listeners *listeners, uint16_t flags,
                         const struct inet_diag_req_v2 *question, DiagAnswer *answer) {
        size_t n_before = answer->n_entries;
        int r = 0;

        for (unsigned i = 0; i < ASK_ATTEMPTS; i++) {
                answer->n_entries = n_before;
                answer->is_complete = answer->is_interrupted = false;
                answer->error = 0;
                r = listeners_ask_once(listeners, flags, question, answer);
                if (!is_passing(r))
                        break;
        }
        return r;
}

/* What would the kernel deliver a packet to that came from `remote` for `local`? The connection, or
 * else (see the head of this file) some listener. */
static struct inet_diag_req_v2 exact_question(const DiagEndpoint *local, const DiagEndpoint *remote, int family) {
        struct inet_diag_req_v2 question = {
                .sdiag_family = (uint8_t)family,
                .sdiag_protocol = IPPROTO_TCP,
                .id = {
                        .idiag_sport = htons(local->port),
                        .idiag_dport = htons(remote->port),
                        .idiag_if = local->device,
                        .idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
                },
        };

        put_address(question.id.idiag_src, &local->address, family);
        put_address(question.id.idiag_dst, &remote->address, family);
        return question;
}

/* 0, -ENOENT, or other negative errno. */
static int listeners_look_up(Listeners *listeners, const DiagEndpoint *local, const DiagEndpoint *remote,
                             int family, DiagSocket *ret) {
        const struct inet_diag_req_v2 question = exact_question(local, remote, family);
        _cleanup_(diag_answer_done) DiagAnswer answer = { 0 };

        int r = listeners_ask(listeners, 0, &question, &answer);
        if (r < 0)
                return r;
        if (answer.n_entries == 0)
                return -ENOENT;
        *ret = answer.entries[0];
        return 0;
}

static bool entry_is_listener(const DiagSocket *entry, const DiagEndpoint *local) {
        return entry->state == TCP_LISTEN && entry->facts.local_port == local->port;
}

/* The listener that a stranger who dials `local` reaches. 0, -ENOENT, or other negative errno. */
static int listeners_look_up_listener(Listeners *listeners, const DiagEndpoint *local, int family,
                                      DiagSocket *ret) {
        DiagSocket entry;

        int r = listeners_look_up(listeners, local, &(DiagEndpoint){ 0 }, family, &entry);
        if (r < 0)
                return r;
        if (!entry_is_listener(&entry, local))
                return -ENOENT;
        *ret = entry;
        return 0;
}

/* Reads to the end of both answers, which come by one read as a rule. */
static int listeners_receive_pair(Listeners *listeners, uint32_t first_sequence, DiagAnswer answers[static 2]) {
        const size_t n_half = sizeof(listeners->buffer) / 2;

        while (!answers[0].is_complete || !answers[1].is_complete) {
                struct iovec halves[] = { { listeners->buffer, n_half }, { listeners->buffer + n_half, n_half } };
                struct mmsghdr messages[] = { { .msg_hdr = { .msg_iov = halves, .msg_iovlen = 1 } },
                                              { .msg_hdr = { .msg_iov = halves + 1, .msg_iovlen = 1 } } };
                int n = recvmmsg(mnl_socket_get_fd(listeners->query), messages, 2, MSG_WAITFORONE, NULL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;
                for (int i = 0; i < n; i++)
                        for (uint32_t k = 0; k < 2; k++)
                                diag_answer_read(answers + k, halves[i].iov_base, messages[i].msg_len,
                                                 first_sequence + k);
        }
        return 0;
}

/* Two exact lookups for which the kernel is entered twice, and not four times. `ret`: what was found; state 0: nothing.
 * Negative errno: one of them is not known, and they are to be asked one by one. */
static int listeners_look_up_pair(Listeners *listeners, const struct inet_diag_req_v2 questions[static 2],
                                  DiagSocket ret[static 2]) {
        alignas(struct nlmsghdr) uint8_t buffer[2 * QUESTION_BYTES];
        size_t n = listeners_put(listeners, 0, questions, buffer);
        uint32_t first_sequence = listeners->sequence;
        DiagAnswer answers[2] = { { 0 } };
        int r = 0;

        n += listeners_put(listeners, 0, questions + 1, buffer + n);
        if (mnl_socket_sendto(listeners->query, buffer, n) < 0)
                return -errno;
        r = listeners_receive_pair(listeners, first_sequence, answers);
        for (size_t i = 0; i < 2; i++) {
                if (r >= 0 && answers[i].error != -ENOENT)
                        r = answers[i].error;
                ret[i] = answers[i].n_entries > 0 ? answers[i].entries[0] : (DiagSocket){ 0 };
                diag_answer_done(answers + i);
        }
        return r;
}

/* Adds to `answer` the LISTEN sockets of one family, on `port` or, if that is 0, on all. -EINTR:
 * they changed so often that the kernel gave no clean picture. */
static int listeners_dump(Listeners *listeners, int family, uint16_t port, DiagAnswer *answer) {
        struct inet_diag_req_v2 question = {
                .sdiag_family = (uint8_t)family,
                .sdiag_protocol = IPPROTO_TCP,
                .idiag_states = STATE(TCP_LISTEN),
                .id.idiag_sport = htons(port), /* 0 is no condition */
                .id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
        };
        size_t n_before = answer->n_entries;

        for (unsigned i = 0; i < DUMP_ATTEMPTS; i++) {
                answer->n_entries = n_before;
                int r = listeners_ask(listeners, NLM_F_DUMP, &question, answer);
                if (r < 0 || !answer->is_interrupted)
                        return r;
        }
        return -EINTR;
}

/* --- life ------------------------------------------------------------------------------------- */

int listeners_new(Listeners **ret) {
        _cleanup_(listeners_freep) Listeners *listeners = calloc(1, sizeof(*listeners));

        if (!listeners)
                return -ENOMEM;
        listeners->query = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
        if (!listeners->query)
                return -errno;
        if (setsockopt(mnl_socket_get_fd(listeners->query), SOL_SOCKET, SO_RCVTIMEO,
                       &ANSWER_TIMEOUT, sizeof(ANSWER_TIMEOUT)) < 0)
                return -errno;
        if (mnl_socket_bind(listeners->query, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        *ret = TAKE_PTR(listeners);
        return 0;
}

Listeners *listeners_free(Listeners *listeners) {
        if (!listeners)
                return NULL;
        close_netlinkp(&listeners->events);
        close_netlinkp(&listeners->query);
        free(listeners);
        return NULL;
}

/* --- one connection --------------------------------------------------------------------------- */

static int endpoint_from_sockaddr(const struct sockaddr *sa, DiagEndpoint *ret) {
        struct sockaddr_in6 in6;

        *ret = (DiagEndpoint){ 0 };
        if (sa->sa_family == AF_INET6) {
                memcpy(&in6, sa, sizeof(in6));
                ret->device = in6.sin6_scope_id;
        }
        return address_from_sockaddr(sa, &ret->address, &ret->port);
}

static bool entry_is_connection(const DiagSocket *entry, const DiagEndpoint *local, const DiagEndpoint *remote) {
        return entry->state < 32 && (STATE(entry->state) & STATES_OF_A_CONNECTION) &&
               entry->facts.local_port == local->port && entry->remote.port == remote->port &&
               address_equal(&entry->facts.local, &local->address) &&
               address_equal(&entry->remote.address, &remote->address);
}

static int connection_from_sockaddrs(const struct sockaddr *peer, const struct sockaddr *local,
                                     DiagEndpoint *ret_theirs, DiagEndpoint *ret_ours) {
        int r = endpoint_from_sockaddr(peer, ret_theirs);
        if (r < 0)
                return r;
        /* Naming a device finds the sockets that are bound to it, too, and with them their uid,
         * which no client shall hide from P6. */
        if (ret_theirs->device == 0 && address_is_loopback(&ret_theirs->address))
                ret_theirs->device = LOOPBACK_DEVICE;
        return endpoint_from_sockaddr(local, ret_ours);
}

int listeners_find_peer(Listeners *listeners, const struct sockaddr *peer,
                        const struct sockaddr *local, SocketFacts *ret) {
        DiagEndpoint theirs, ours;
        DiagSocket entry;

        int r = connection_from_sockaddrs(peer, local, &theirs, &ours);
        if (r < 0)
                return r;
        r = listeners_look_up(listeners, &theirs, &ours, family_of(&theirs.address, true), &entry);
        if (r < 0)
                return r;
        if (!entry_is_connection(&entry, &theirs, &ours))
                return -ENOENT;
        *ret = entry.facts;
        return 0;
}

int listeners_find_peer_and_dialled(Listeners *listeners, const struct sockaddr *peer, const struct sockaddr *local,
                                    uint16_t port, SocketFacts *ret, ListenersDialled *ret_dialled) {
        DiagEndpoint theirs, ours, dialled = { .port = port };
        struct inet_diag_req_v2 questions[2];
        DiagSocket entries[2];
        bool ipv6;

        *ret_dialled = (ListenersDialled){ .is_known = false };
        int r = connection_from_sockaddrs(peer, local, &theirs, &ours);
        if (r < 0)
                return r;
        ipv6 = !address_is_ipv4(&theirs.address);
        dialled.address = loopback(ipv6);
        questions[0] = exact_question(&theirs, &ours, family_of(&theirs.address, true));
        questions[1] = exact_question(&dialled, &(DiagEndpoint){ 0 }, family_of(&dialled.address, true));
        r = listeners_look_up_pair(listeners, questions, entries);
        if (r < 0)
                return listeners_find_peer(listeners, peer, local, ret);
        *ret_dialled = (ListenersDialled){
                .is_known = true,
                .ipv6 = ipv6,
                .is_there = entry_is_listener(entries + 1, &dialled),
                .facts = entries[1].facts,
        };
        if (!entry_is_connection(entries, &theirs, &ours))
                return -ENOENT;
        *ret = entries[0].facts;
        return 0;
}

/* --- one listener ----------------------------------------------------------------------------- */

/* Whom listeners_find_listener() looks for. */
typedef struct Search {
        const NodePeer *owner;
        bool ipv6;
        bool (*is_claimed)(uint64_t cookie, void *userdata);
        void *userdata;
} Search;

/* What speaks for a listener; the sum decides. */
enum {
        MATCH_OWNER = 1,
        MATCH_FAMILY = 2,
        MATCH_CGROUP = 4,
        MATCH_UNCLAIMED = 8,
};

/* 0: it is not the owner's. */
static unsigned search_rate(const Search *search, const SocketFacts *facts) {
        bool is_cgroup_known = facts->cgroup_id != 0 && search->owner->cgroup_id != 0;
        unsigned rating = MATCH_OWNER;

        if (facts->uid != search->owner->uid)
                return 0;
        if (is_cgroup_known && facts->cgroup_id != search->owner->cgroup_id)
                return 0;
        if (is_cgroup_known)
                rating |= MATCH_CGROUP;
        if (facts->ipv6 == search->ipv6)
                rating |= MATCH_FAMILY;
        if (!search->is_claimed || !search->is_claimed(facts->cookie, search->userdata))
                rating |= MATCH_UNCLAIMED;
        return rating;
}

static const SocketFacts *search_choose(const Search *search, const DiagAnswer *answer) {
        const SocketFacts *best = NULL;
        unsigned best_rating = 0;

        for (size_t i = 0; i < answer->n_entries; i++) {
                unsigned rating = search_rate(search, &answer->entries[i].facts);

                if (rating > best_rating) {
                        best_rating = rating;
                        best = &answer->entries[i].facts;
                }
        }
        return best;
}

static NodeListener listener_from_facts(const SocketFacts *facts) {
        return (NodeListener){
                .cookie = facts->cookie,
                .address = facts->local,
                .ipv6 = facts->ipv6,
        };
}

static int listeners_dump_both(Listeners *listeners, uint16_t port, DiagAnswer *answer) {
        int r = listeners_dump(listeners, AF_INET, port, answer);
        if (r < 0)
                return r;
        return listeners_dump(listeners, AF_INET6, port, answer);
}

/* 0, -ENOENT, or other negative errno. `dialled`: what was asked already, or NULL. */
static int listeners_dial(Listeners *listeners, uint16_t port, bool ipv6, const ListenersDialled *dialled,
                          SocketFacts *ret) {
        const DiagEndpoint endpoint = { .address = loopback(ipv6), .port = port };
        DiagSocket entry;

        if (!dialled || !dialled->is_known || dialled->ipv6 != ipv6) {
                int r = listeners_look_up_listener(listeners, &endpoint, family_of(&endpoint.address, true), &entry);
                if (r >= 0)
                        *ret = entry.facts;
                return r;
        }
        *ret = dialled->facts;
        return dialled->is_there ? 0 : -ENOENT;
}

int listeners_find_listener(Listeners *listeners, uint16_t port, bool ipv6, const NodePeer *owner,
                            const ListenersDialled *dialled, bool (*is_claimed)(uint64_t cookie, void *userdata),
                            void *userdata, NodeListener *ret) {
        const Search search = { owner, ipv6, is_claimed, userdata };
        const unsigned sufficient = MATCH_UNCLAIMED | MATCH_CGROUP;
        _cleanup_(diag_answer_done) DiagAnswer answer = { 0 };
        const SocketFacts *found;
        SocketFacts facts;

        if (owner->uid == NODE_UID_UNKNOWN || port == 0)
                return -ENOENT;

        /* Nearly always this one lookup finds it; only the best match will do without a look at the
         * rest. */
        int r = listeners_dial(listeners, port, ipv6, dialled, &facts);
        if (r >= 0 && (search_rate(&search, &facts) & sufficient) == sufficient) {
                *ret = listener_from_facts(&facts);
                return 0;
        }
        if (r < 0 && r != -ENOENT)
                return r;

        r = listeners_dump_both(listeners, port, &answer);
        if (r < 0)
                return r;
        found = search_choose(&search, &answer);
        if (!found)
                return -ENOENT;
        *ret = listener_from_facts(found);
        return 0;
}

int listeners_find_reached(Listeners *listeners, const Address *address, uint16_t port, SocketFacts *ret) {
        const DiagEndpoint dialled = { .address = *address, .port = port };
        DiagSocket entry;
        int r = listeners_look_up_listener(listeners, &dialled, family_of(address, true), &entry);

        if (r >= 0)
                *ret = entry.facts;
        return r;
}

int listeners_is_alive(Listeners *listeners, const NodeListener *listener, uint16_t port) {
        const DiagEndpoint bound_to = { .address = listener->address, .port = port };
        _cleanup_(diag_answer_done) DiagAnswer answer = { 0 };
        DiagSocket entry;

        if (listener->cookie == 0 || port == 0)
                return -EINVAL;

        int r = listeners_look_up_listener(listeners, &bound_to,
                                           family_of(&listener->address, listener->ipv6), &entry);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r >= 0 && entry.facts.cookie == listener->cookie)
                return 1;

        r = listeners_dump(listeners, listener->ipv6 ? AF_INET6 : AF_INET, port, &answer);
        if (r < 0)
                return r;
        for (size_t i = 0; i < answer.n_entries; i++)
                if (answer.entries[i].facts.cookie == listener->cookie)
                        return 1;
        return 0;
}

/* --- all listeners ---------------------------------------------------------------------------- */

static int facts_compare(const void *a, const void *b) {
        const SocketFacts *x = a, *y = b;

        return (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

int listeners_on_port(Listeners *listeners, uint16_t port, SocketFacts **ret, size_t *ret_n) {
        _cleanup_(diag_answer_done) DiagAnswer answer = { 0 };
        SocketFacts *facts;

        int r = listeners_dump_both(listeners, port, &answer);
        if (r < 0)
                return r;
        facts = calloc(answer.n_entries + 1, sizeof(*facts)); /* never NULL for none */
        if (!facts)
                return -ENOMEM;
        for (size_t i = 0; i < answer.n_entries; i++)
                facts[i] = answer.entries[i].facts;
        qsort(facts, answer.n_entries, sizeof(*facts), facts_compare);
        *ret = facts;
        *ret_n = answer.n_entries;
        return 0;
}

int listeners_snapshot(Listeners *listeners, SocketFacts **ret, size_t *ret_n) {
        return listeners_on_port(listeners, 0, ret, ret_n);
}

const SocketFacts *listeners_snapshot_find(const SocketFacts *snapshot, size_t n, uint64_t cookie) {
        const SocketFacts wanted = { .cookie = cookie };

        return n == 0 ? NULL : bsearch(&wanted, snapshot, n, sizeof(*snapshot), facts_compare);
}

int listeners_self_test(Listeners *listeners, int listener_fd) {
        struct sockaddr_storage sa = { 0 };
        socklen_t n_sa = sizeof(sa), n_cookie = sizeof(uint64_t);
        NodeListener self = { 0 };
        uint16_t port;

        if (getsockname(listener_fd, (struct sockaddr *)&sa, &n_sa) < 0)
                return -errno;
        if (getsockopt(listener_fd, SOL_SOCKET, SO_COOKIE, &self.cookie, &n_cookie) < 0)
                return -errno;
        int r = address_from_sockaddr((struct sockaddr *)&sa, &self.address, &port);
        if (r < 0)
                return r;
        self.ipv6 = sa.ss_family == AF_INET6;

        r = listeners_is_alive(listeners, &self, port);
        if (r < 0)
                return r;
        return r == 1 ? 0 : -ENOENT;
}

/* --- announcements ---------------------------------------------------------------------------- */

/* Lets only sockets without a peer through: a busy machine closes thousands of connections a
 * second. */
static int attach_filter(int fd) {
        enum { DPORT = NLMSG_HDRLEN + offsetof(struct inet_diag_msg, id.idiag_dport) };
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_H | BPF_ABS, DPORT),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
                BPF_STMT(BPF_RET | BPF_K, 0),
        };
        const struct sock_fprog program = { .len = ELEMENTS(code), .filter = code };

        if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
                return -errno;
        return 0;
}

/* Room for a burst: as much as rmem_max allows, to which the kernel cuts what is asked.
 * Returns how much that is. */
static int raise_receive_buffer(int fd) {
        int n_bytes = INT_MAX;
        socklen_t n = sizeof(n_bytes);

        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n_bytes, sizeof(n_bytes)) < 0)
                return -errno;
        if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n_bytes, &n) < 0)
                return -errno;
        return n_bytes;
}

static int join_groups(struct mnl_socket *socket) {
        static const int groups[] = { SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET6_TCP_DESTROY };

        for (size_t i = 0; i < ELEMENTS(groups); i++) {
                int group = groups[i];

                if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
                    0)
                        return -errno;
        }
        return 0;
}

int listeners_subscribe(Listeners *listeners) {
        _cleanup_(close_netlinkp) struct mnl_socket *socket = NULL;
        int n_bytes;

        assert(!listeners->events);
        socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!socket)
                return -errno;
        int r = attach_filter(mnl_socket_get_fd(socket));
        if (r < 0)
                return r;
        n_bytes = raise_receive_buffer(mnl_socket_get_fd(socket));
        if (n_bytes < 0)
                return n_bytes;
        /* A socket that joins before it is bound is never told anything, and never told that. */
        if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        r = join_groups(socket);
        if (r < 0)
                return r;
        listeners->n_events_max = (size_t)n_bytes / EVENT_BYTES_MIN;
        listeners->events = TAKE_PTR(socket);
        return 0;
}

int listeners_event_fd(const Listeners *listeners) {
        return listeners->events ? mnl_socket_get_fd(listeners->events) : -1;
}

/* After a loss the kernel drops everything, and says no more, until the queue has been empty: what
 * follows from the loss must not be looked into before. Whoever then asks about everything misses
 * nothing of what is read past here. */
static void listeners_drain_events(Listeners *listeners) {
        listeners->is_lossy = false;
        for (size_t i = 0; i < listeners->n_events_max && !listeners->is_lossy; i++) {
                ssize_t size = mnl_socket_recvfrom(listeners->events, listeners->buffer,
                                                   sizeof(listeners->buffer));

                if (size < 0 && errno == EAGAIN)
                        return;
                if (size < 0 && errno == ENOBUFS)
                        listeners->is_lossy = true;
        }
}

int listeners_read_event(Listeners *listeners, uint64_t *ret_cookie) {
        for (;;) {
                if (listeners->is_lossy) {
                        listeners_drain_events(listeners);
                        return -ENOBUFS;
                }
                ssize_t size = mnl_socket_recvfrom(listeners->events, listeners->buffer,
                                                   sizeof(listeners->buffer));

                if (size >= 0 && diag_parse_event(listeners->buffer, (size_t)size, ret_cookie) == 0)
                        return 0;
                if (size < 0 && errno == ENOBUFS)
                        listeners->is_lossy = true;
                else if (size < 0 && errno != EINTR)
                        return -errno;
        }
}
