/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main() of every unit test program: runs the suite that the program defines.
 *
 * The trap: whose a listener is, is told by its port and its user. Programs that run side by side, all of one user, come
 * by the same port at different addresses now and then, and each other's listener would be taken for their own. So each has a
 * network of its own, where that is allowed.
 */

#include <check.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "check_main.h"
#include "network_test.h"

/* For those that set none: check's own four seconds are too few with sanitizers on a busy machine. */
#define TIMEOUT_SEC "60"

/* Some have a thousand connections, of which they have both ends: more than a shell allows, as a rule. */
static void allow_descriptors(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* A test may ask for more memory than there is, and wants to be told so. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
        return "allocator_may_return_null=1";
}

int main(void) {
        SRunner *runner;
        int n_failed;

        (void)enter_own_network();
        allow_descriptors();
        (void)setenv("CK_DEFAULT_TIMEOUT", TIMEOUT_SEC, 0);
        runner = srunner_create(suite());
        srunner_run_all(runner, CK_ENV);
        n_failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
