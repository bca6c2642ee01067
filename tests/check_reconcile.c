/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "core/reconcile.h"

#define NOW UINT64_C(5000000)

#define FOREVER USEC_INFINITE
#define GRACE (NOW + RECONCILE_GRACE_USEC)

/* Every combination of what can be known. */
static const struct {
        bool is_static, other_boot;
        ConnectionEvidence connection;
        ListenerEvidence listener;
        ReconcileVerdict verdict;
        const char *reason; /* a word of it */
} cases[] = {
        /* One that has not registered has no connection to be awaited. */
        { true, false, CONNECTION_NONE, LISTENER_ALIVE, { .keep = true }, "open" },
        { true, false, CONNECTION_NONE, LISTENER_GONE, { .end = NODE_END_FOUND_DEAD }, "gone" },
        { true, false, CONNECTION_NONE, LISTENER_UNKNOWN,
          { .keep = true, .is_awaited = true, .await_until_usec = GRACE }, "12 s" },
        { true, true, CONNECTION_NONE, LISTENER_ALIVE, { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
        { false, false, CONNECTION_NONE, LISTENER_ALIVE,
          { .keep = true, .is_awaited = true, .await_until_usec = FOREVER }, "open" },
        { false, false, CONNECTION_NONE, LISTENER_GONE, { .end = NODE_END_FOUND_DEAD }, "gone" },
        { false, false, CONNECTION_NONE, LISTENER_UNKNOWN,
          { .keep = true, .is_awaited = true, .await_until_usec = GRACE }, "12 s" },
        /* A kernel counts its cookies from the beginning after each boot: an equal one proves nothing. */
        { false, true, CONNECTION_NONE, LISTENER_ALIVE, { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
        { false, true, CONNECTION_NONE, LISTENER_GONE, { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
        { false, true, CONNECTION_NONE, LISTENER_UNKNOWN, { .end = NODE_END_MACHINE_RESTARTED }, "restarted" },
        /* An open connection is life, whatever else is said; as ever, a closed listener makes it stopping. */
        { false, false, CONNECTION_OPEN, LISTENER_ALIVE, { .keep = true }, "fd store" },
        { false, false, CONNECTION_OPEN, LISTENER_GONE, { .keep = true, .is_listener_gone = true }, "fd store" },
        { false, false, CONNECTION_OPEN, LISTENER_UNKNOWN, { .keep = true }, "fd store" },
        { false, true, CONNECTION_OPEN, LISTENER_ALIVE, { .keep = true }, "fd store" },
        { false, true, CONNECTION_OPEN, LISTENER_GONE, { .keep = true, .is_listener_gone = true }, "fd store" },
        { false, true, CONNECTION_OPEN, LISTENER_UNKNOWN, { .keep = true }, "fd store" },
        /* And an ended one is proof of death. */
        { false, false, CONNECTION_ENDED, LISTENER_ALIVE, { .end = NODE_END_LEFT }, "ended" },
        { false, false, CONNECTION_ENDED, LISTENER_GONE, { .end = NODE_END_LEFT }, "ended" },
        { false, false, CONNECTION_ENDED, LISTENER_UNKNOWN, { .end = NODE_END_LEFT }, "ended" },
        { false, true, CONNECTION_ENDED, LISTENER_ALIVE, { .end = NODE_END_LEFT }, "ended" },
        { false, true, CONNECTION_ENDED, LISTENER_GONE, { .end = NODE_END_LEFT }, "ended" },
        { false, true, CONNECTION_ENDED, LISTENER_UNKNOWN, { .end = NODE_END_LEFT }, "ended" },
};

START_TEST(test_a_row_is_kept_exactly_as_long_as_evidence_says) {
        ReconcileFacts facts = {
                .is_static = cases[_i].is_static,
                .other_boot = cases[_i].other_boot,
                .connection = cases[_i].connection,
                .listener = cases[_i].listener,
                .now_monotonic_usec = NOW,
        };
        ReconcileVerdict verdict = reconcile_plan(&facts);

        ck_assert_int_eq(verdict.keep, cases[_i].verdict.keep);
        ck_assert_int_eq(verdict.is_awaited, cases[_i].verdict.is_awaited);
        ck_assert_int_eq(verdict.is_listener_gone, cases[_i].verdict.is_listener_gone);
        if (verdict.is_awaited)
                ck_assert_uint_eq(verdict.await_until_usec, cases[_i].verdict.await_until_usec);
        if (!verdict.keep)
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
