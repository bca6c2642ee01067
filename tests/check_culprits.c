/* SPDX-License-Identifier: Apache-2.0 */

#include "check_main.h"
#include "core/culprits.h"
#include "util.h"

static Culprit *note(Culprits *culprits, uid_t uid, CulpritDeed deed, uint64_t at) {
        Party party = party_of_user(uid);

        return culprits_note(culprits, &party, deed, at);
}

static bool knows(const Culprits *culprits, uid_t uid) {
        Party party = party_of_user(uid);

        for (size_t i = 0; i < culprits->n_culprits; i++)
                if (party_equal(&culprits->culprits[i].party, &party))
                        return true;
        return false;
}

START_TEST(test_what_one_did_is_counted_with_its_first_and_last_time) {
        Culprits culprits = { 0 };
        const Culprit *culprit;

        note(&culprits, 7, CULPRIT_SHED, 100);
        note(&culprits, 8, CULPRIT_SHED, 150);
        note(&culprits, 7, CULPRIT_BUSY, 200);
        culprit = note(&culprits, 7, CULPRIT_SHED, 300);
        ck_assert_uint_eq(culprit->n_times[CULPRIT_SHED], 2);
        ck_assert_uint_eq(culprit->n_times[CULPRIT_BUSY], 1);
        ck_assert_uint_eq(culprit->since_usec, 100);
        ck_assert_uint_eq(culprit->last_usec, 300);
        ck_assert_uint_eq(culprits.n_culprits, 2);
}
END_TEST

START_TEST(test_beyond_the_bound_the_one_is_forgotten_who_was_seen_longest_ago) {
        Culprits culprits = { 0 };

        for (uid_t uid = 0; uid < CULPRITS_MAX; uid++)
                note(&culprits, uid, CULPRIT_SHED, 100 + uid);
        note(&culprits, 0, CULPRIT_SHED, 500); /* goes on */
        for (uid_t uid = 100; uid < 103; uid++)
                note(&culprits, uid, CULPRIT_SHED, 600 + uid);
        ck_assert_uint_eq(culprits.n_culprits, CULPRITS_MAX);
        for (uid_t uid = 0; uid < CULPRITS_MAX; uid++)
                ck_assert_int_eq(knows(&culprits, uid), uid == 0 || uid > 3);
        ck_assert(knows(&culprits, 100) && knows(&culprits, 101) && knows(&culprits, 102));
        ck_assert_uint_eq(note(&culprits, 0, CULPRIT_SHED, 900)->n_times[CULPRIT_SHED], 3);
}
END_TEST

START_TEST(test_the_first_time_is_news_at_once_and_the_next_after_a_while) {
        Culprits culprits = { 0 };
        Culprit *culprit = note(&culprits, 7, CULPRIT_SHED, 100);

        ck_assert(culprit_has_news(culprit));
        ck_assert_uint_eq(culprit_news_due(culprit, 10), 0);
        culprit_set_told(culprit, 1000);
        ck_assert(!culprit_has_news(culprit));
        culprit = note(&culprits, 7, CULPRIT_BUSY, 101);
        ck_assert(culprit_has_news(culprit));
        ck_assert_uint_eq(culprit_news_due(culprit, 10), 1010);
        ck_assert_uint_eq(culprit->n_told[CULPRIT_SHED], 1);
        ck_assert_uint_eq(culprit->n_told[CULPRIT_BUSY], 0);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("culprits");
        TCase *tcase = tcase_create("culprits");

        tcase_add_test(tcase, test_what_one_did_is_counted_with_its_first_and_last_time);
        tcase_add_test(tcase, test_beyond_the_bound_the_one_is_forgotten_who_was_seen_longest_ago);
        tcase_add_test(tcase, test_the_first_time_is_news_at_once_and_the_next_after_a_while);
        suite_add_tcase(suite, tcase);
        return suite;
}
