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
        static const char *const texts[] = { "192.0.2.77", "2001:db8::77" };
        _cleanup_(addresses_freep) Addresses *addresses = NULL;
        char command[128];

        if (unshare(CLONE_NEWNET) < 0)
                return; /* needs root */
        ck_assert_int_eq(system("ip link set lo up"), 0);
        ck_assert_int_eq(addresses_new(&addresses), 0);
        for (size_t i = 0; i < ELEMENTS(texts); i++) {
                ck_assert_int_eq(is_own(addresses, texts[i]), 0);
                snprintf(command, sizeof command, "ip address add %s dev lo", texts[i]);
                ck_assert_int_eq(system(command), 0);
                ck_assert_int_eq(is_own(addresses, texts[i]), 1);
                snprintf(command, sizeof command, "ip address del %s dev lo", texts[i]);
                ck_assert_int_eq(system(command), 0);
                ck_assert_int_eq(is_own(addresses, texts[i]), 0);
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
