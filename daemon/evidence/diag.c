/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how the kernel describes TCP sockets (sock_diag(7)) in netlink messages. Does not know how they come here, nor
 * what was asked.
 *
 * The trap: libmnl walks attributes to where an aligned message would end, which lies behind one that is not.
 */

#include "evidence/diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

#include "evidence/netlink.h"

/* INET_DIAG_CGROUP_ID, of Linux 5.9: an enum constant, so that the preprocessor could not tell
 * whether <linux/inet_diag.h> is old enough to lack it. */
#define DIAG_CGROUP_ID 21

/* --- one socket ------------------------------------------------------------------------------- */

static Address get_address(const __be32 in[static 4], int family) {
        union {
                struct sockaddr any;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
        } u = { .any.sa_family = (sa_family_t)family };
        Address address = ADDRESS_ANY;

        if (family == AF_INET)
                memcpy(&u.v4.sin_addr, in, sizeof(u.v4.sin_addr));
        else
                memcpy(&u.v6.sin6_addr, in, sizeof(u.v6.sin6_addr));
        (void)address_from_sockaddr(&u.any, &address, NULL);
        return address;
}

static uint64_t get_cookie(const struct inet_diag_sockid *id) {
        return (uint64_t)id->idiag_cookie[1] << 32 | id->idiag_cookie[0];
}

static uint64_t get_cgroup_id(const struct nlmsghdr *message) {
        const size_t offset = MNL_ALIGN(sizeof(struct inet_diag_msg)), n_payload = mnl_nlmsg_get_payload_len(message);
        const uint8_t *payload = mnl_nlmsg_get_payload(message);
        const struct nlattr *attribute = (const void *)(payload + offset);

        if (n_payload <= offset)
                return 0;
        for (; mnl_attr_ok(attribute, (int)(payload + n_payload - (const uint8_t *)attribute));
             attribute = mnl_attr_next(attribute))
                if (mnl_attr_get_type(attribute) == DIAG_CGROUP_ID &&
                    mnl_attr_get_payload_len(attribute) == sizeof(uint64_t))
                        return mnl_attr_get_u64(attribute);
        return 0;
}

static int socket_parse(const struct nlmsghdr *message, DiagSocket *ret) {
        const struct inet_diag_msg *socket = mnl_nlmsg_get_payload(message);

        if (mnl_nlmsg_get_payload_len(message) < sizeof(*socket))
                return -EPROTO;
        if (socket->idiag_family != AF_INET && socket->idiag_family != AF_INET6)
                return -EPROTO;

        *ret = (DiagSocket){
                .facts = {
                        .cookie = get_cookie(&socket->id),
                        .cgroup_id = get_cgroup_id(message),
                        .local = get_address(socket->id.idiag_src, socket->idiag_family),
                        .local_port = ntohs(socket->id.idiag_sport),
                        /* What its owner has closed has no inode, and may be shown as root's. */
                        .uid = socket->idiag_inode ? socket->idiag_uid : NODE_UID_UNKNOWN,
                        .inode = socket->idiag_inode,
                        .ipv6 = socket->idiag_family == AF_INET6,
                },
                .remote = {
                        .address = get_address(socket->id.idiag_dst, socket->idiag_family),
                        .port = ntohs(socket->id.idiag_dport),
                },
                .state = socket->idiag_state,
        };
        return 0;
}

int diag_parse_event(const void *data, size_t n_data, uint64_t *ret_cookie) {
        const struct nlmsghdr *message = data;
        const struct inet_diag_msg *socket;

        if (!netlink_is_whole(message, n_data) || message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
            mnl_nlmsg_get_payload_len(message) < sizeof(*socket))
                return -EPROTO;
        socket = mnl_nlmsg_get_payload(message);
        *ret_cookie = get_cookie(&socket->id);
        return 0;
}

/* --- answers ---------------------------------------------------------------------------------- */

void diag_answer_done(DiagAnswer *answer) {
        free(answer->entries);
        *answer = (DiagAnswer){ 0 };
}

static int answer_add(DiagAnswer *answer, const struct nlmsghdr *message) {
        if (answer->n_entries == answer->n_allocated) {
                size_t n = answer->n_allocated ? answer->n_allocated * 2 : 8;
                DiagSocket *entries = reallocarray(answer->entries, n, sizeof(*entries));

                if (!entries)
                        return -ENOMEM;
                answer->entries = entries;
                answer->n_allocated = n;
        }
        int r = socket_parse(message, &answer->entries[answer->n_entries]);
        if (r < 0)
                return r;
        answer->n_entries++;
        return 0;
}

/* The error in an NLMSG_ERROR or NLMSG_DONE, which both begin with one. */
static int message_get_error(const struct nlmsghdr *message) {
        int error;

        if (mnl_nlmsg_get_payload_len(message) < sizeof(error))
                return -EPROTO;
        memcpy(&error, mnl_nlmsg_get_payload(message), sizeof(error));
        return error;
}

static void answer_take(DiagAnswer *answer, const struct nlmsghdr *message) {
        int r = 0;

        if (message->nlmsg_flags & NLM_F_DUMP_INTR)
                answer->is_interrupted = true;

        if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE) {
                answer->is_complete = true;
                r = message_get_error(message);
        } else if (message->nlmsg_type == SOCK_DIAG_BY_FAMILY) {
                answer->is_complete = !(message->nlmsg_flags & NLM_F_MULTI);
                r = answer_add(answer, message);
        }
        if (r < 0 && answer->error == 0)
                answer->error = r;
}

void diag_answer_read(DiagAnswer *answer, const void *data, size_t n_data, uint32_t sequence) {
        const struct nlmsghdr *message = data;
        int n_left = (int)n_data;

        for (; n_left > 0 && netlink_is_whole(message, (size_t)n_left); message = mnl_nlmsg_next(message, &n_left))
                if (message->nlmsg_seq == sequence)
                        answer_take(answer, message);
}
