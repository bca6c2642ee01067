/* SPDX-License-Identifier: Apache-2.0 */
/* evidence/addresses: what the kernel of this machine says. */

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "check_main.h"
#include "evidence/addresses.h"

static int is_own(Addresses *addresses, const char *text) {
        Address address;

        ck_assert_int_eq(address_parse(text, &address), 0);
        return addresses_is_own(addresses, &address);
}

/* The kernel enters an IPv6 address by a work of its own, a moment after `ip` has said that it is there. */
static void expect_own(Addresses *addresses, const char *text, int expected) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 10 * USEC_PER_SEC;

        while (is_own(addresses, text) != expected)
                ck_assert_msg(now_usec(CLOCK_MONOTONIC) < until, "%s: %d is not said", text, expected);
}

START_TEST(test_loopback_is_ours_and_what_is_for_documentation_is_not) {
        _cleanup_(addresses_freep) Addresses *addresses = NULL;

        ck_assert_int_eq(addresses_new(&addresses), 0);
        for (unsigned i = 0; i < 100; i++) {
                ck_assert_int_eq(is_own(addresses, "127.0.0.1"), 1);
                ck_assert_int_eq(is_own(addresses, "127.4.5.6"), 1);
                ck_assert_int_eq(is_own(addresses, "192.0.2.77"), 0);
                ck_assert_int_eq(is_own(addresses, "2001:db8::77"), 0);
        }
}
END_TEST

START_TEST(test_an_address_that_comes_is_ours_until_it_goes) {
        static const struct {
                const char *text, *n_bits;
        } cases[] = { { "192.0.2.77", "32" }, { "2001:db8::77", "128" } };
        _cleanup_(addresses_freep) Addresses *addresses = NULL;
        char command[128];

        if (unshare(CLONE_NEWNET) < 0) {
                puts("SKIP: only root can make a network of its own");
                return;
        }
        ck_assert_int_eq(system("ip link set lo up"), 0);
        ck_assert_int_eq(addresses_new(&addresses), 0);
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                const char *text = cases[i].text;

                ck_assert_int_eq(is_own(addresses, text), 0);
                snprintf(command, sizeof command, "ip address add %s/%s dev lo", text, cases[i].n_bits);
                ck_assert_int_eq(system(command), 0);
                expect_own(addresses, text, 1);
                snprintf(command, sizeof command, "ip address del %s/%s dev lo", text, cases[i].n_bits);
                ck_assert_int_eq(system(command), 0);
                expect_own(addresses, text, 0);
        }
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("addresses");
        TCase *tcase = tcase_create("addresses");

        tcase_add_test(tcase, test_loopback_is_ours_and_what_is_for_documentation_is_not);
        tcase_add_test(tcase, test_an_address_that_comes_is_ours_until_it_goes);
        suite_add_tcase(suite, tcase);
        return suite;
}
