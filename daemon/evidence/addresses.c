/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how to ask the kernel which way a packet would go (rtnetlink(7)). Does not know who listens there.
 *
 * The trap: a list of the interfaces' addresses is not all that is local. All of 127.0.0.0/8 is, and so is whatever a
 * route of type "local" names; the routing decision knows both.
 */

#include "evidence/addresses.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdalign.h>
#include <string.h>
#include <sys/time.h>

#include "evidence/netlink.h"

/* The kernel answers within the system call; this only keeps a surprise from stopping the loop. */
#define ANSWER_TIMEOUT ((struct timeval){ .tv_sec = 1 })

struct Addresses {
        struct mnl_socket *socket;
        uint32_t sequence; /* of the last request; answers to earlier ones are dropped */
};

int addresses_new(Addresses **ret) {
        _cleanup_(addresses_freep) Addresses *addresses = calloc(1, sizeof *addresses);

        if (!addresses)
                return -ENOMEM;
        addresses->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
        if (!addresses->socket)
                return -errno;
        if (setsockopt(mnl_socket_get_fd(addresses->socket), SOL_SOCKET, SO_RCVTIMEO, &ANSWER_TIMEOUT,
                       sizeof ANSWER_TIMEOUT) < 0)
                return -errno;
        if (mnl_socket_bind(addresses->socket, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        *ret = TAKE_PTR(addresses);
        return 0;
}

Addresses *addresses_free(Addresses *addresses) {
        if (!addresses)
                return NULL;
        if (addresses->socket)
                (void)mnl_socket_close(addresses->socket);
        free(addresses);
        return NULL;
}

static int addresses_ask(Addresses *addresses, const Address *address) {
        alignas(struct nlmsghdr) uint8_t buffer[256];
        struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
        bool is_ipv4 = address_is_ipv4(address);
        struct rtmsg *route;

        message->nlmsg_type = RTM_GETROUTE;
        message->nlmsg_flags = NLM_F_REQUEST;
        message->nlmsg_seq = ++addresses->sequence;
        route = mnl_nlmsg_put_extra_header(message, sizeof *route);
        *route = (struct rtmsg){ .rtm_family = is_ipv4 ? AF_INET : AF_INET6, .rtm_dst_len = is_ipv4 ? 32 : 128 };
        mnl_attr_put(message, RTA_DST, is_ipv4 ? 4 : 16, address->bytes + (is_ipv4 ? 12 : 0));
        return mnl_socket_sendto(addresses->socket, message, message->nlmsg_len) < 0 ? -errno : 0;
}

int addresses_parse_answer(const void *data, size_t n_data, uint32_t sequence) {
        const struct nlmsghdr *message = data;
        int error;

        if (!netlink_is_whole(message, n_data))
                return -EPROTO;
        if (message->nlmsg_seq != sequence)
                return -EAGAIN;
        if (message->nlmsg_type == NLMSG_ERROR) {
                if (mnl_nlmsg_get_payload_len(message) < sizeof error)
                        return -EPROTO;
                memcpy(&error, mnl_nlmsg_get_payload(message), sizeof error);
                /* No way there: whoever has that address, it is not us. */
                return error == -ENETUNREACH || error == -EHOSTUNREACH || error == -EACCES || error == -EINVAL ? 0 : error;
        }
        if (message->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(message) < sizeof(struct rtmsg))
                return -EPROTO;
        return ((const struct rtmsg *)mnl_nlmsg_get_payload(message))->rtm_type == RTN_LOCAL;
}

int addresses_is_own(Addresses *addresses, const Address *address) {
        alignas(struct nlmsghdr) uint8_t buffer[8192];
        int r = addresses_ask(addresses, address);

        if (r < 0)
                return r;
        for (;;) {
                ssize_t size = mnl_socket_recvfrom(addresses->socket, buffer, sizeof buffer);

                if (size < 0 && errno == EINTR)
                        continue;
                if (size < 0)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;
                r = addresses_parse_answer(buffer, (size_t)size, addresses->sequence);
                if (r != -EAGAIN)
                        return r;
        }
}
