/* SPDX-License-Identifier: Apache-2.0 */
/* IP addresses and networks as plain values: parse, print, compare, match. Pure. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* An IPv4 or IPv6 address in one form: IPv4 is kept IPv4-mapped (::ffff:a.b.c.d), so that an IPv4
 * peer of a dual-stack socket and the same peer of an IPv4 socket compare equal. All zero bytes (and
 * the mapped 0.0.0.0, which address_from_sockaddr() and address_parse() turn into it) mean "any". */
typedef struct Address {
        uint8_t bytes[16];
} Address;

#define ADDRESS_ANY ((Address){ { 0 } })

/* Room for any address of a TCP socket. */
typedef union SocketAddress {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
} SocketAddress;

/* Room for the longest printed address and a NUL. */
#define ADDRESS_TEXT_MAX 48

typedef struct Network {
        Address address;      /* its host bits are zero */
        unsigned prefix_bits; /* 0..128, counted in the mapped form */
} Network;

/* 0, or -EAFNOSUPPORT where `sa` is neither AF_INET nor AF_INET6. `ret_port` (host order) may be NULL. */
int address_from_sockaddr(const struct sockaddr *sa, Address *ret, uint16_t *ret_port);

/* "127.0.0.1", "::1", "[::1]", "*" (any). 0 or -EINVAL. */
int address_parse(const char *text, Address *ret);

/* Prints a mapped address as IPv4 and "any" as "*"; returns `text`. */
const char *address_format(const Address *address, char text[static ADDRESS_TEXT_MAX]);

bool address_is_any(const Address *address);
bool address_is_ipv4(const Address *address);
/* 127.0.0.0/8, mapped or not, or ::1. */
bool address_is_loopback(const Address *address);
bool address_equal(const Address *a, const Address *b);
/* An order for sorting; "any" comes first. */
int address_compare(const Address *a, const Address *b);

/* "10.0.0.0/8", "fd00::/8", or a lone address (its own network). Host bits that are set are refused,
 * so that a slip ("10.1.2.3/8") is told and not guessed. 0 or -EINVAL. */
int network_parse(const char *text, Network *ret);
/* An IPv6 network contains no IPv4 address, though those are kept in the mapped form: ::/0 is IPv6. */
bool network_contains(const Network *network, const Address *address);
