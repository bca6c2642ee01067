/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how addresses are written and compared. Does not know sockets or ports.
 *
 * The trap: a dual-stack socket shows an IPv4 peer as ::ffff:a.b.c.d. Everything here is kept in that
 * form, so that nobody has to remember to unmap.
 */

#include "core/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MAPPED_BITS 96

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static void address_set_ipv4(Address *address, const struct in_addr *in) {
        memset(address, 0, sizeof *address);
        if (in->s_addr == htonl(INADDR_ANY))
                return;
        memcpy(address->bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(address->bytes + 12, in, 4);
}

static void address_set_ipv6(Address *address, const struct in6_addr *in6) {
        struct in_addr in;

        if (IN6_IS_ADDR_V4MAPPED(in6)) {
                memcpy(&in, in6->s6_addr + 12, 4);
                address_set_ipv4(address, &in);
        } else
                memcpy(address->bytes, in6, sizeof address->bytes);
}

int address_from_sockaddr(const struct sockaddr *sa, Address *ret, uint16_t *ret_port) {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        in_port_t port;

        switch (sa->sa_family) {
        case AF_INET:
                memcpy(&in, sa, sizeof in);
                address_set_ipv4(ret, &in.sin_addr);
                port = in.sin_port;
                break;
        case AF_INET6:
                memcpy(&in6, sa, sizeof in6);
                address_set_ipv6(ret, &in6.sin6_addr);
                port = in6.sin6_port;
                break;
        default:
                return -EAFNOSUPPORT;
        }
        if (ret_port)
                *ret_port = ntohs(port);
        return 0;
}

int address_parse(const char *text, Address *ret) {
        char plain[ADDRESS_TEXT_MAX];
        struct in6_addr in6;
        struct in_addr in;
        size_t n = strlen(text);

        if (strcmp(text, "*") == 0) {
                *ret = ADDRESS_ANY;
                return 0;
        }
        if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
                text++;
                n -= 2;
        }
        if (n == 0 || n >= sizeof plain)
                return -EINVAL;
        memcpy(plain, text, n);
        plain[n] = 0;

        if (inet_pton(AF_INET, plain, &in) == 1)
                address_set_ipv4(ret, &in);
        else if (inet_pton(AF_INET6, plain, &in6) == 1)
                address_set_ipv6(ret, &in6);
        else
                return -EINVAL;
        return 0;
}

const char *address_format(const Address *address, char text[static ADDRESS_TEXT_MAX]) {
        if (address_is_any(address))
                strcpy(text, "*");
        else if (address_is_ipv4(address))
                inet_ntop(AF_INET, address->bytes + 12, text, ADDRESS_TEXT_MAX);
        else
                inet_ntop(AF_INET6, address->bytes, text, ADDRESS_TEXT_MAX);
        return text;
}

bool address_is_any(const Address *address) {
        static const Address any = ADDRESS_ANY;

        return address_equal(address, &any);
}

bool address_is_ipv4(const Address *address) {
        return memcmp(address->bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool address_is_loopback(const Address *address) {
        if (address_is_ipv4(address))
                return address->bytes[12] == 127;
        return memcmp(address->bytes, &in6addr_loopback, sizeof address->bytes) == 0;
}

bool address_equal(const Address *a, const Address *b) {
        return address_compare(a, b) == 0;
}

int address_compare(const Address *a, const Address *b) {
        return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static int parse_prefix_bits(const char *text, unsigned most, unsigned *ret) {
        unsigned bits = 0;

        if (!*text || strlen(text) > 3)
                return -EINVAL;
        for (; *text; text++) {
                if (*text < '0' || *text > '9')
                        return -EINVAL;
                bits = bits * 10 + (unsigned)(*text - '0');
        }
        if (bits > most)
                return -EINVAL;
        *ret = bits;
        return 0;
}

static bool address_bit(const Address *address, unsigned bit) {
        return address->bytes[bit / 8] & (0x80 >> (bit % 8));
}

int network_parse(const char *text, Network *ret) {
        Network network = { .prefix_bits = 128 };
        const char *slash = strchr(text, '/');
        char plain[ADDRESS_TEXT_MAX];
        size_t n = slash ? (size_t)(slash - text) : strlen(text);
        bool ipv4;
        unsigned bits;

        if (n == 0 || n >= sizeof plain)
                return -EINVAL;
        memcpy(plain, text, n);
        plain[n] = 0;
        if (strcmp(plain, "*") == 0 || address_parse(plain, &network.address) < 0)
                return -EINVAL;
        ipv4 = strchr(plain, '.') && !strchr(plain, ':');

        if (slash) {
                if (parse_prefix_bits(slash + 1, ipv4 ? 32 : 128, &bits) < 0)
                        return -EINVAL;
                network.prefix_bits = ipv4 ? bits + MAPPED_BITS : bits;
        }
        /* 0.0.0.0/0 means IPv4, all of it, as ::ffff:0:0/96 does (of all that is zero, only the mapped form is
         * written with an f): its address must not be the IPv6 "any". */
        if (ipv4 || (address_is_any(&network.address) && strpbrk(plain, "fF")))
                memcpy(network.address.bytes, mapped_prefix, sizeof mapped_prefix);
        for (unsigned bit = network.prefix_bits; bit < 128; bit++)
                if (address_bit(&network.address, bit))
                        return -EINVAL;
        *ret = network;
        return 0;
}

bool network_contains(const Network *network, const Address *address) {
        unsigned whole = network->prefix_bits / 8, rest = network->prefix_bits % 8;
        uint8_t mask = (uint8_t)(0xff << (8 - rest));

        /* Who opens ::/0 means IPv6. */
        if (address_is_ipv4(address) && !address_is_ipv4(&network->address))
                return false;
        if (memcmp(network->address.bytes, address->bytes, whole) != 0)
                return false;
        if (rest == 0)
                return true;
        return ((network->address.bytes[whole] ^ address->bytes[whole]) & mask) == 0;
}
