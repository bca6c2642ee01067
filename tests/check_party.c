/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/party.h"
#include "util.h"

static Party party_at(const char *text) {
        Address address;

        ck_assert_int_eq(address_parse(text, &address), 0);
        return party_of_address(&address);
}

/* A number stands for a user. */
static Party party_from(const char *text) {
        if (strcmp(text, "?") == 0)
                return party_of_user(NODE_UID_UNKNOWN);
        return strpbrk(text, ".:") ? party_at(text) : party_of_user((uid_t)atoi(text));
}

static const struct {
        const char *a, *b;
        bool same;
} pairs[] = {
        { "0", "0", true },
        { "0", "1000", false },
        { "?", "?", true },
        { "?", "0", false },
        { "10.0.0.7", "10.0.0.7", true },
        { "10.0.0.7", "::ffff:10.0.0.7", true },
        { "10.0.0.7", "10.0.0.8", false }, /* an IPv4 address is no network */
        { "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true },
        { "2001:db8::1", "2001:db8:0:1::1", false },
        { "10.0.0.7", "0", false },
        { "fe80::1", "?", false },
        { "::2", "0", false }, /* a network of zeroes is no user's */
        { "::2", "?", false },
        { "::2", "::3", false },
};

START_TEST(test_one_is_a_user_an_ipv4_address_or_an_ipv6_network) {
        Party a = party_from(pairs[_i].a), b = party_from(pairs[_i].b);

        ck_assert_msg(party_equal(&a, &b) == pairs[_i].same, "%s %s", pairs[_i].a, pairs[_i].b);
        ck_assert_msg((party_hash(&a, 7) == party_hash(&b, 7)) == pairs[_i].same, "%s %s", pairs[_i].a, pairs[_i].b);
        ck_assert_uint_ne(party_hash(&a, 7), party_hash(&a, 8));
}
END_TEST

static const struct {
        const char *party, *text;
        bool is_user;
} words[] = {
        { "0", "uid 0", true },
        { "?", "a user that is not known", true },
        { "10.0.0.7", "10.0.0.7", false },
        { "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", false },
        { "::2", "::2", false },
};

START_TEST(test_who_it_is_in_words) {
        Party party = party_from(words[_i].party);
        char text[PARTY_TEXT_MAX];

        ck_assert_str_eq(party_format(&party, text), words[_i].text);
        ck_assert_int_eq(party_is_user(&party), words[_i].is_user);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("party");
        TCase *tcase = tcase_create("party");

        tcase_add_loop_test(tcase, test_one_is_a_user_an_ipv4_address_or_an_ipv6_network, 0, ELEMENTS(pairs));
        tcase_add_loop_test(tcase, test_who_it_is_in_words, 0, ELEMENTS(words));
        suite_add_tcase(suite, tcase);
        return suite;
}
