/* SPDX-License-Identifier: Apache-2.0 */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/address.h"
#include "util.h"

/* --- parse and format ------------------------------------------------------------------------- */

static const struct {
        const char *text;
        const char *printed; /* NULL: it is no address */
        bool is_ipv4, is_loopback;
} addresses[] = {
        { "127.0.0.1", "127.0.0.1", true, true },
        { "127.0.0.0", "127.0.0.0", true, true },
        { "127.255.255.255", "127.255.255.255", true, true },
        { "126.255.255.255", "126.255.255.255", true, false },
        { "128.0.0.0", "128.0.0.0", true, false },
        { "10.9.9.1", "10.9.9.1", true, false },
        { "255.255.255.255", "255.255.255.255", true, false },
        { "0.0.0.1", "0.0.0.1", true, false },
        { "[10.0.0.1]", "10.0.0.1", true, false },
        { "::1", "::1", false, true },
        { "[::1]", "::1", false, true },
        { "0:0:0:0:0:0:0:1", "::1", false, true },
        { "::2", "::2", false, false },
        { "fe80::1", "fe80::1", false, false },
        { "FE80::1", "fe80::1", false, false },
        { "2001:db8::a:b", "2001:db8::a:b", false, false },
        { "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
          false, false },
        /* IPv4-mapped is IPv4 */
        { "::ffff:127.0.0.1", "127.0.0.1", true, true },
        { "::ffff:7f00:1", "127.0.0.1", true, true },
        { "[::ffff:10.0.0.1]", "10.0.0.1", true, false },
        /* IPv4-compatible (deprecated) is not */
        { "::127.0.0.1", "::127.0.0.1", false, false },
        /* "any", in all its forms */
        { "*", "*", false, false },
        { "0.0.0.0", "*", false, false },
        { "::", "*", false, false },
        { "[::]", "*", false, false },
        { "::ffff:0.0.0.0", "*", false, false },
        { "[0.0.0.0]", "*", false, false },

        { "", NULL, false, false },
        { " ", NULL, false, false },
        { "[]", NULL, false, false },
        { "[*]", NULL, false, false },
        { "[::1", NULL, false, false },
        { "::1]", NULL, false, false },
        { "[[::1]]", NULL, false, false },
        { "**", NULL, false, false },
        { "127.1", NULL, false, false },
        { "127.0.0", NULL, false, false },
        { "127.0.0.256", NULL, false, false },
        { "127.0.0.1.", NULL, false, false },
        { "127.0.0.1 ", NULL, false, false },
        { " 127.0.0.1", NULL, false, false },
        { "127.0.0.1:4369", NULL, false, false },
        { "0x7f.0.0.1", NULL, false, false },
        { "localhost", NULL, false, false },
        { ":::", NULL, false, false },
        { "1::2::3", NULL, false, false },
        { "12345::", NULL, false, false },
        { "fe80::1%lo", NULL, false, false },
        /* as long as there is room, and longer */
        { "11111111111111111111111111111111111111111111111", NULL, false, false },
        { "111111111111111111111111111111111111111111111111", NULL, false, false },
        { "[1111111111111111111111111111111111111111111111]", NULL, false, false },
        { "[111111111111111111111111111111111111111111111111]", NULL, false, false },
        { "10.0.0.0/8", NULL, false, false },
        { "::1::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::::", NULL,
          false, false },
};

START_TEST(test_an_address_is_parsed_and_printed_in_one_form) {
        const char *printed = addresses[_i].printed;
        char text[ADDRESS_TEXT_MAX];
        Address address, again;
        int r = address_parse(addresses[_i].text, &address);

        ck_assert_msg(r == (printed ? 0 : -EINVAL), "'%s' gave %d", addresses[_i].text, r);
        if (!printed)
                return;
        ck_assert_str_eq(address_format(&address, text), printed);
        ck_assert_int_eq(address_is_ipv4(&address), addresses[_i].is_ipv4);
        ck_assert_int_eq(address_is_loopback(&address), addresses[_i].is_loopback);
        ck_assert_int_eq(address_is_any(&address), strcmp(printed, "*") == 0);

        ck_assert_int_eq(address_parse(text, &again), 0);
        ck_assert(address_equal(&address, &again));
}
END_TEST

START_TEST(test_the_longest_address_fits_its_text) {
        Address address;
        char text[ADDRESS_TEXT_MAX];

        memset(&address, 0xff, sizeof address);
        ck_assert_uint_lt(strlen(address_format(&address, text)), ADDRESS_TEXT_MAX);
        ck_assert_int_eq(address_parse("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", &address), 0);
}
END_TEST

/* --- from the kernel's form --------------------------------------------------------------------- */

static const struct {
        int family;
        const char *said;
        uint16_t port;
        const char *printed;
} sockaddrs[] = {
        { AF_INET, "127.0.0.2", 4369, "127.0.0.2" },
        { AF_INET, "0.0.0.0", 1, "*" },
        { AF_INET6, "::1", 65535, "::1" },
        { AF_INET6, "::", 80, "*" },
        { AF_INET6, "::ffff:127.0.0.2", 4369, "127.0.0.2" },
        { AF_INET6, "::ffff:0.0.0.0", 4369, "*" },
        { AF_INET6, "fd00::5", 0, "fd00::5" },
};

START_TEST(test_a_socket_address_gives_the_same_form_as_text) {
        union {
                struct sockaddr sa;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } said = { 0 };
        char text[ADDRESS_TEXT_MAX];
        uint16_t port = 7;
        Address address;

        if (sockaddrs[_i].family == AF_INET) {
                said.in.sin_family = AF_INET;
                said.in.sin_port = htons(sockaddrs[_i].port);
                ck_assert_int_eq(inet_pton(AF_INET, sockaddrs[_i].said, &said.in.sin_addr), 1);
        } else {
                said.in6.sin6_family = AF_INET6;
                said.in6.sin6_port = htons(sockaddrs[_i].port);
                ck_assert_int_eq(inet_pton(AF_INET6, sockaddrs[_i].said, &said.in6.sin6_addr), 1);
        }
        ck_assert_int_eq(address_from_sockaddr(&said.sa, &address, &port), 0);
        ck_assert_str_eq(address_format(&address, text), sockaddrs[_i].printed);
        ck_assert_uint_eq(port, sockaddrs[_i].port);
        ck_assert_int_eq(address_from_sockaddr(&said.sa, &address, NULL), 0);
}
END_TEST

START_TEST(test_a_socket_address_that_is_not_ip_is_an_error) {
        struct sockaddr_in said = { .sin_family = AF_UNIX };
        Address address;
        uint16_t port;

        ck_assert_int_eq(address_from_sockaddr((const struct sockaddr *)&said, &address, &port),
                         -EAFNOSUPPORT);
        said.sin_family = AF_UNSPEC;
        ck_assert_int_eq(address_from_sockaddr((const struct sockaddr *)&said, &address, &port),
                         -EAFNOSUPPORT);
}
END_TEST

/* --- order -------------------------------------------------------------------------------------- */

START_TEST(test_addresses_have_an_order_in_which_any_comes_first) {
        static const char *const ascending[] = {
                "*", "::1", "127.0.0.1", "127.0.0.2", "128.0.0.1", "2001:db8::1", "fe80::1",
        };

        for (size_t i = 0; i < ELEMENTS(ascending); i++)
                for (size_t j = 0; j < ELEMENTS(ascending); j++) {
                        Address a, b;
                        int order;

                        ck_assert_int_eq(address_parse(ascending[i], &a), 0);
                        ck_assert_int_eq(address_parse(ascending[j], &b), 0);
                        order = address_compare(&a, &b);
                        ck_assert_msg((order > 0) - (order < 0) == (i > j) - (i < j), "%s and %s",
                                      ascending[i], ascending[j]);
                        ck_assert_int_eq(address_equal(&a, &b), i == j);
                }
}
END_TEST

/* --- networks ----------------------------------------------------------------------------------- */

static const struct {
        const char *text;
        unsigned prefix_bits; /* in the mapped form; UINT_MAX: it is no network */
} networks[] = {
#define NONE (~0U)
        { "10.0.0.0/8", 104 },
        { "10.1.2.3", 128 },
        { "10.1.2.3/32", 128 },
        { "10.1.2.2/31", 127 },
        { "0.0.0.0/0", 96 },
        { "0.0.0.0", 128 },
        { "128.0.0.0/1", 97 },
        { "fd00::/8", 8 },
        { "fd00::", 128 },
        { "fd00::/128", 128 },
        { "fd00::1/128", 128 },
        { "::/0", 0 },
        { "::1", 128 },
        { "[::1]/128", 128 },
        { "::/128", 128 },
        { "fe80::/10", 10 },
        { "::ffff:10.0.0.0/104", 104 },
        { "::ffff:0.0.0.0/96", 96 },
        { "::ffff:0:0/96", 96 },

        /* Host bits that are set: a slip that is told and not guessed. */
        { "10.1.2.3/8", NONE },
        { "10.0.0.1/31", NONE },
        { "0.0.0.1/0", NONE },
        { "192.0.0.0/1", NONE },
        { "fd00::1/8", NONE },
        { "fd00::1/127", NONE },
        { "::1/0", NONE },
        { "::ffff:10.0.0.1/104", NONE },
        { "::ffff:0:0/95", NONE },

        { "10.0.0.0/33", NONE },
        { "10.0.0.0/104", NONE },
        { "fd00::/129", NONE },
        { "10.0.0.0/", NONE },
        { "10.0.0.0/ 8", NONE },
        { "10.0.0.0/+8", NONE },
        { "10.0.0.0/-1", NONE },
        { "10.0.0.0/8 ", NONE },
        { "10.0.0.0/8/8", NONE },
        { "10.0.0.0/0008", NONE },
        { "10.0.0.0/255.0.0.0", NONE },
        { "10.0.0.0/a", NONE },
        { "10.0.0.0/:", NONE }, /* the character behind '9' */
        { "11111111111111111111111111111111111111111111111/8", NONE },
        { "111111111111111111111111111111111111111111111111/8", NONE },
        { "1111111111111111111111111111111111111111111111111111/8", NONE },
        { "10/8", NONE },
        { "/8", NONE },
        { "/", NONE },
        { "", NONE },
        { "*", NONE },
        { "*/0", NONE },
        { "any", NONE },
        { "::/4294967296", NONE },
};

START_TEST(test_a_network_is_an_address_without_host_bits) {
        unsigned expected = networks[_i].prefix_bits;
        Network network;
        int r = network_parse(networks[_i].text, &network);

        ck_assert_msg(r == (expected == NONE ? -EINVAL : 0), "'%s' gave %d", networks[_i].text, r);
        if (r == 0)
                ck_assert_uint_eq(network.prefix_bits, expected);
}
END_TEST

START_TEST(test_a_network_with_a_prefix_of_any_length_has_no_host_bits_left) {
        for (unsigned bits = 0; bits <= 32; bits++) {
                uint32_t whole = bits ? ~0U << (32 - bits) : 0;
                struct in_addr in = { htonl(whole) };
                char address[INET_ADDRSTRLEN], text[64];
                Network network;

                inet_ntop(AF_INET, &in, address, sizeof address);
                snprintf(text, sizeof text, "%s/%u", address, bits);
                ck_assert_int_eq(network_parse(text, &network), 0);
                ck_assert_uint_eq(network.prefix_bits, bits + 96);
                if (bits > 0) {
                        snprintf(text, sizeof text, "%s/%u", address, bits - 1);
                        ck_assert_int_eq(network_parse(text, &network), -EINVAL);
                }
        }
}
END_TEST

static const struct {
        const char *network, *address;
        bool contains;
} members[] = {
        { "10.0.0.0/8", "10.0.0.0", true },
        { "10.0.0.0/8", "10.255.255.255", true },
        { "10.0.0.0/8", "11.0.0.0", false },
        { "10.0.0.0/8", "9.255.255.255", false },
        { "10.0.0.0/8", "::ffff:10.1.2.3", true },
        { "10.0.0.0/8", "::10.1.2.3", false },
        { "10.128.0.0/9", "10.128.0.0", true },
        { "10.128.0.0/9", "10.127.255.255", false },
        { "10.1.2.2/31", "10.1.2.3", true },
        { "10.1.2.2/31", "10.1.2.4", false },
        { "10.1.2.3", "10.1.2.3", true },
        { "10.1.2.3", "10.1.2.2", false },
        { "0.0.0.0/0", "1.2.3.4", true },
        { "0.0.0.0/0", "255.255.255.255", true },
        { "0.0.0.0/0", "::1", false },
        { "0.0.0.0/0", "fd00::1", false },
        { "::ffff:0:0/96", "1.2.3.4", true },
        { "::ffff:0:0/96", "::1", false },
        { "::ffff:0.0.0.0/96", "255.1.2.3", true },
        { "::ffff:0.0.0.0/96", "::1", false },
        { "::/0", "fd00::1", true },
        { "::/0", "1.2.3.4", false }, /* whoever opens ::/0 means IPv6 */
        { "fd00::/8", "fdff::1", true },
        { "fd00::/8", "fe00::1", false },
        { "fd00::/8", "253.0.0.1", false },
        { "fe80::/10", "febf::1", true },
        { "fe80::/10", "fec0::1", false },
        { "2001:db8::/127", "2001:db8::1", true },
        { "2001:db8::/127", "2001:db8::2", false },
        { "::1", "::1", true },
        { "::1", "127.0.0.1", false },
};

START_TEST(test_a_network_contains_what_its_prefix_says) {
        Network network;
        Address address;

        ck_assert_int_eq(network_parse(members[_i].network, &network), 0);
        ck_assert_int_eq(address_parse(members[_i].address, &address), 0);
        ck_assert_msg(network_contains(&network, &address) == members[_i].contains, "%s in %s",
                      members[_i].address, members[_i].network);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("address");
        TCase *tcase = tcase_create("addresses");

        tcase_add_loop_test(tcase, test_an_address_is_parsed_and_printed_in_one_form, 0,
                            ELEMENTS(addresses));
        tcase_add_test(tcase, test_the_longest_address_fits_its_text);
        tcase_add_loop_test(tcase, test_a_socket_address_gives_the_same_form_as_text, 0,
                            ELEMENTS(sockaddrs));
        tcase_add_test(tcase, test_a_socket_address_that_is_not_ip_is_an_error);
        tcase_add_test(tcase, test_addresses_have_an_order_in_which_any_comes_first);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("networks");
        tcase_add_loop_test(tcase, test_a_network_is_an_address_without_host_bits, 0, ELEMENTS(networks));
        tcase_add_test(tcase, test_a_network_with_a_prefix_of_any_length_has_no_host_bits_left);
        tcase_add_loop_test(tcase, test_a_network_contains_what_its_prefix_says, 0, ELEMENTS(members));
        suite_add_tcase(suite, tcase);
        return suite;
}
