/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "core/reconcile.h"

#define NOW UINT64_C(5000000)

static const struct {
        const char *what;
        bool other_boot;
        ListenerEvidence listener;
        ReconcileVerdict verdict;
        const char *reason; /* a word of it */
} cases[] = {
        { "same boot, the listener lives", false, LISTENER_ALIVE, { .keep = true, .await_until_usec = USEC_INFINITE },
          "open" },
        { "same boot, the listener is gone", false, LISTENER_GONE, { .end = NODE_END_FOUND_DEAD }, "gone" },
        { "same boot, nothing is known of a listener", false, LISTENER_UNKNOWN,
          { .keep = true, .await_until_usec = NOW + RECONCILE_GRACE_USEC }, "12 s" },
        /* A kernel counts its cookies from the beginning after each boot: an equal one proves nothing. */
        { "another boot, a listener with that number lives", true, LISTENER_ALIVE,
          { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
        { "another boot, no listener with that number", true, LISTENER_GONE,
          { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
        { "another boot, nothing is known of a listener", true, LISTENER_UNKNOWN,
          { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
};

START_TEST(test_a_row_is_kept_exactly_as_long_as_evidence_says) {
        ReconcileFacts facts = {
                .other_boot = cases[_i].other_boot,
                .listener = cases[_i].listener,
                .now_monotonic_usec = NOW,
        };
        ReconcileVerdict verdict = reconcile_plan(&facts);

        ck_assert_msg(verdict.keep == cases[_i].verdict.keep, "%s", cases[_i].what);
        if (verdict.keep)
                ck_assert_uint_eq(verdict.await_until_usec, cases[_i].verdict.await_until_usec);
        else
                ck_assert_int_eq(verdict.end, cases[_i].verdict.end);
        ck_assert_ptr_nonnull(strstr(reconcile_reason(&facts), cases[_i].reason));
}
END_TEST

START_TEST(test_the_grace_is_long_enough_for_an_otp_node) {
        /* It comes back 2 s after it lost its connection, or 10 s and 2 s after an unanswered request. */
        ck_assert_uint_eq(RECONCILE_GRACE_USEC, 12 * USEC_PER_SEC);
}
END_TEST

START_TEST(test_the_grace_ends_long_before_infinity) {
        ReconcileFacts facts = { .listener = LISTENER_UNKNOWN, .now_monotonic_usec = 0 };

        ck_assert_uint_eq(reconcile_plan(&facts).await_until_usec, RECONCILE_GRACE_USEC);
        facts.now_monotonic_usec = UINT64_C(1) << 62;
        ck_assert_uint_ne(reconcile_plan(&facts).await_until_usec, USEC_INFINITE);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("reconcile");
        TCase *tcase = tcase_create("rows");

        tcase_add_loop_test(tcase, test_a_row_is_kept_exactly_as_long_as_evidence_says, 0, ELEMENTS(cases));
        tcase_add_test(tcase, test_the_grace_is_long_enough_for_an_otp_node);
        tcase_add_test(tcase, test_the_grace_ends_long_before_infinity);
        suite_add_tcase(suite, tcase);
        return suite;
}
