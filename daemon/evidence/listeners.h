/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's own word on TCP sockets (sock_diag): whose a connection is, who listens, who
 * stopped. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/node.h"
#include "util.h"

/* Netlink sockets of the network namespace in which they were opened: one for queries (blocking,
 * but the kernel answers within the system call), one, non-blocking, for announcements. */
typedef struct Listeners Listeners;

/* 0 or negative errno (-EPERM, -EAFNOSUPPORT, -EPROTONOSUPPORT: the caller goes on blind). */
int listeners_new(Listeners **ret);
Listeners *listeners_free(Listeners *listeners);
DEFINE_CLEANUP(Listeners *, listeners_free)

/* What the kernel knows of one socket. */
typedef struct SocketFacts {
        uint64_t cookie;
        uint64_t cgroup_id; /* 0: the kernel did not say */
        Address local;
        uint16_t local_port; /* host order */
        uid_t uid;           /* NODE_UID_UNKNOWN where nobody holds the socket any more */
        uint32_t inode; /* what /proc/PID/fd shows as socket:[inode]; 0: nobody holds it any more */
        bool ipv6;
} SocketFacts;

/* The other end of a connection: the socket whose local address is `peer` and whose peer is
 * `local`. 0; -ENOENT where it is not a socket of this namespace; other negative errno. Accepts an
 * answer only if it is ESTABLISHED (or on its way out: FIN_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING) and
 * all four addresses and ports are the ones asked for, since an exact lookup falls back to a
 * listener. A client that has hung up already is found, without a uid. A socket that is bound to a
 * device (SO_BINDTODEVICE) is found on loopback only. */
int listeners_find_peer(Listeners *listeners, const struct sockaddr *peer,
                        const struct sockaddr *local, SocketFacts *ret);

/* What listens on a port of the loopback address of a family. */
typedef struct ListenersDialled {
        bool is_known; /* it was asked, and the kernel answered */
        bool is_there;
        bool ipv6;
        SocketFacts facts; /* where it is there */
} ListenersDialled;

/* The same, and at the same price what listeners_find_listener() will ask about `port` (host order) if the connection's
 * family is that of its addresses: to be passed on to it. */
int listeners_find_peer_and_dialled(Listeners *listeners, const struct sockaddr *peer,
                                    const struct sockaddr *local, uint16_t port, SocketFacts *ret,
                                    ListenersDialled *ret_dialled);

/* The listener on `port` (host order) that belongs to `owner`: equal uid and, where both are known,
 * equal cgroup; none where the owner's uid is unknown. First by exact lookup on the loopback
 * address of `ipv6`'s family, then by a dump of the LISTEN sockets of that port in both families.
 * Where several match, one is preferred whose cookie `is_claimed(cookie, userdata)` denies (two
 * nodes of one name that share a port on two addresses); `is_claimed` may be NULL. `dialled`: what was
 * asked of that port just now, or NULL. 0; -ENOENT; other negative errno. */
int listeners_find_listener(Listeners *listeners, uint16_t port, bool ipv6, const NodePeer *owner,
                            const ListenersDialled *dialled,
                            bool (*is_claimed)(uint64_t cookie, void *userdata), void *userdata,
                            NodeListener *ret);

/* The listener that whoever dials `address` (none of those that stand for any) at `port` reaches, whosoever it is. 0;
 * -ENOENT; other negative errno. Says nothing of whether the address is one of this machine. */
int listeners_find_reached(Listeners *listeners, const Address *address, uint16_t port, SocketFacts *ret);

/* 1 while the socket with that cookie listens on `port` (host order), 0 if it does not, negative
 * errno where the kernel did not answer, or where no listener is known (-EINVAL: cookie 0). */
int listeners_is_alive(Listeners *listeners, const NodeListener *listener, uint16_t port);

/* Every LISTEN socket of both families by one dump each, sorted by cookie; `*ret` is the caller's
 * to free(). A dump is no atomic picture: before a missing cookie is taken for dead, ask
 * listeners_is_alive(). */
int listeners_snapshot(Listeners *listeners, SocketFacts **ret, size_t *ret_n);
/* Binary search in a snapshot; NULL if the cookie is not there. */
const SocketFacts *listeners_snapshot_find(const SocketFacts *snapshot, size_t n, uint64_t cookie);

/* Every LISTEN socket on `port`, into `*ret` as above. */
int listeners_on_port(Listeners *listeners, uint16_t port, SocketFacts **ret, size_t *ret_n);

/* Proves that `listener_fd`, a listening TCP socket of this process, can be seen and carries the
 * cookie that SO_COOKIE says. 0; -ENOENT: blind (another network namespace); other negative errno:
 * blind, too. */
int listeners_self_test(Listeners *listeners, int listener_fd);

/* Joins the groups that announce the end of TCP sockets (IPv4 and IPv6), once, with a filter that
 * lets only those without a peer through: listeners, and connections that were reset. 0 or negative
 * errno. */
int listeners_subscribe(Listeners *listeners);
/* To be watched for EPOLLIN; -1 before listeners_subscribe(). Stays the property of `listeners`. */
int listeners_event_fd(const Listeners *listeners);
/* One announcement: 0 and the cookie of a socket that has closed; -EAGAIN: no more; -ENOBUFS: some
 * were lost, and all that were queued are dropped: ask about every listener again, now; other
 * negative errno. */
int listeners_read_event(Listeners *listeners, uint64_t *ret_cookie);
