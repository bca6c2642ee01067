/* SPDX-License-Identifier: Apache-2.0 */
/* The main() of every unit test program: runs the suite that the program defines. */

#include <check.h>
#include <stdlib.h>

#include "check_main.h"

int main(void) {
        SRunner *runner = srunner_create(suite());
        int n_failed;

        srunner_run_all(runner, CK_ENV);
        n_failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
