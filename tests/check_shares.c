/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/shares.h"

/* --- who is shed, as a table -------------------------------------------------------------------------- */

/* Each letter of `comes` is a passing connection, of the user (small) or the address (capital) of that letter, in the
 * order in which they come; one with a '.' behind it goes before the next one comes. `sheds` are those that make room,
 * one after the other, by their numbers among the letters. */
static const struct {
        const char *what, *comes, *sheds;
} scenes[] = {
        { "nobody is there", "", "" },
        { "one alone: his oldest", "aaa", "012" },
        { "who has most, as long as he has", "abaaab", "021345" },
        { "a flood leaves a client alone", "baaaaaaa", "12345607" },
        { "also one who came in its middle", "aaabaaaa", "01245637" },
        { "as many each: the oldest of all", "abcabc", "012345" },
        { "an address is as good as a user", "aABBBb", "230145" },
        { "what has gone does not count", "aaa.bb", "0314" },
        { "nor who has gone", "a.a.a.bc", "34" },
};

/* When names are given: to all at the end, or to each as it comes. */
typedef enum Naming {
        NAMED_LATE,
        NAMED_AT_ONCE,
        _NAMING_N,
} Naming;

static Party party_of_letter(char letter) {
        Address address = ADDRESS_ANY;

        if (letter >= 'a')
                return party_of_user((uid_t)letter);
        address.bytes[0] = 0x20;
        address.bytes[1] = (uint8_t)letter;
        return party_of_address(&address);
}

static size_t name_all(Shares *shares, const Place *places, const char *letters) {
        size_t n = 0;

        for (Place *place; (place = shares_oldest_unnamed(shares)); n++) {
                Party party = party_of_letter(letters[place - places]);

                shares_name(shares, shares_oldest_unnamed(shares), &party);
        }
        return n;
}

START_TEST(test_who_makes_room) {
        Naming naming = (Naming)(_i % _NAMING_N);
        size_t scene = (size_t)_i / _NAMING_N, n = 0;
        Place places[16] = { { 0 } };
        char letters[16] = "";
        Shares *shares;

        ck_assert_int_eq(shares_new(&shares, 1), 0);
        for (const char *c = scenes[scene].comes; *c; c++) {
                if (*c == '.') {
                        shares_leave(shares, places + n - 1);
                        continue;
                }
                letters[n] = *c;
                shares_take_unnamed(shares, places + n++);
                if (naming == NAMED_AT_ONCE)
                        ck_assert_uint_eq(name_all(shares, places, letters), 1);
        }
        name_all(shares, places, letters);
        for (const char *expected = scenes[scene].sheds; *expected; expected++) {
                Place *place = shares_find_culprit(shares);
                Party party = party_of_letter(letters[*expected - '0']);

                ck_assert_msg(place == places + (*expected - '0'), "%s: %d is shed, not %c", scenes[scene].what,
                              place ? (int)(place - places) : -1, *expected);
                ck_assert(party_equal(place_party(place), &party));
                shares_leave(shares, place);
        }
        ck_assert_ptr_null(shares_find_culprit(shares));
        ck_assert_uint_eq(shares_n_taken(shares, PLACE_PASSING), 0);
        shares_free(shares);
}
END_TEST

/* --- who may have one more ---------------------------------------------------------------------------- */

static const struct {
        size_t n_own, n_taken, n_max;
        bool is_allowed;
} wishes[] = {
        { 0, 0, 1, true },
        { 0, 1, 1, false },
        { 0, 0, 0, false },
        { 1, 1, 2, false },  /* the other half is for others, */
        { 0, 1, 2, true },   /* and this is one */
        { 49, 49, 100, true },
        { 50, 50, 100, false }, /* alone: half */
        { 24, 74, 100, true },
        { 25, 75, 100, false }, /* the second: half of what is left */
        { 0, 99, 100, true },   /* whoever has none gets the last one, */
        { 1, 99, 100, false },  /* whoever has one does not */
        { 60, 30, 100, true },  /* of several kinds, of which one is counted */
        { 0, 200, 100, false }, /* there are fewer than there were */
};

START_TEST(test_as_many_are_left_for_others_as_one_has) {
        ck_assert_msg(shares_allow(wishes[_i].n_own, wishes[_i].n_taken, wishes[_i].n_max) == wishes[_i].is_allowed,
                      "wish %d", _i);
}
END_TEST

START_TEST(test_it_takes_many_to_take_all) {
        enum { N = 2000 };
        size_t n_taken = 0, n_greedy = 0;

        for (; n_taken < N; n_greedy++) {
                size_t n_own = 0;

                for (; shares_allow(n_own, n_taken, N); n_taken++)
                        n_own++;
                ck_assert_uint_gt(n_own, 0);
        }
        ck_assert_uint_ge(n_greedy, 11);
}
END_TEST

START_TEST(test_places_are_scarce_from_half_on) {
        ck_assert(!shares_are_scarce(0, 960));
        ck_assert(!shares_are_scarce(479, 960));
        ck_assert(shares_are_scarce(480, 960));
        ck_assert(shares_are_scarce(0, 1));
}
END_TEST

/* Below that nobody could be refused, whoever he is. */
START_TEST(test_below_half_everybody_may) {
        for (size_t n_taken = 0; !shares_are_scarce(n_taken, 101); n_taken++)
                ck_assert(shares_allow(n_taken, n_taken, 101));
}
END_TEST

/* --- kinds -------------------------------------------------------------------------------------------- */

START_TEST(test_kinds_are_counted_apart_and_only_passing_ones_make_room) {
        Party a = party_of_user('a'), b = party_of_user('b');
        Place places[7] = { { 0 } };
        Shares *shares;

        ck_assert_int_eq(shares_new(&shares, 1), 0);
        for (int i = 0; i < 3; i++)
                shares_take(shares, places + i, PLACE_STREAM, &a);
        shares_take(shares, places + 3, PLACE_ASKING, &a);
        shares_take(shares, places + 4, PLACE_PASSING, &a);
        ck_assert_ptr_eq(shares_find_culprit(shares), places + 4);
        shares_take(shares, places + 5, PLACE_PASSING, &b);
        shares_take(shares, places + 6, PLACE_PASSING, &b);
        ck_assert_ptr_eq(shares_find_culprit(shares), places + 5);
        ck_assert_uint_eq(shares_n_of(shares, &a, PLACE_STREAM), 3);
        ck_assert_uint_eq(shares_n_of(shares, &a, PLACE_ASKING), 1);
        ck_assert_uint_eq(shares_n_of(shares, &a, PLACE_PASSING), 1);
        ck_assert_uint_eq(shares_n_of(shares, &b, PLACE_STREAM), 0);
        ck_assert_uint_eq(shares_n_taken(shares, PLACE_PASSING), 3);
        for (size_t i = 0; i < ELEMENTS(places); i++) {
                shares_leave(shares, places + i);
                shares_leave(shares, places + i);
        }
        ck_assert_uint_eq(shares_n_of(shares, &a, PLACE_STREAM), 0);
        shares_free(shares);
}
END_TEST

/* --- what is kept for them ------------------------------------------------------------------------------ */

START_TEST(test_bytes_are_counted_for_whoever_has_the_place_as_long_as_he_has_it) {
        Party a = party_of_user('a'), b = party_of_user('b');
        Place places[4] = { { 0 } };
        Shares *shares;

        ck_assert_int_eq(shares_new(&shares, 1), 0);
        for (size_t i = 0; i < ELEMENTS(places); i++) {
                shares_take_unnamed(shares, places + i);
                shares_weigh(places + i, 10);
                ck_assert_uint_eq(shares_n_bytes_of_party(places + i), 10);
        }
        for (size_t i = 0; i < ELEMENTS(places); i++)
                shares_name(shares, shares_oldest_unnamed(shares), i < 3 ? &a : &b);
        ck_assert_uint_eq(shares_n_bytes_of_party(places + 0), 30);
        ck_assert_uint_eq(shares_n_bytes_of_party(places + 3), 10);
        shares_weigh(places + 1, 4);
        ck_assert_uint_eq(shares_n_bytes_of_party(places + 0), 24);
        shares_leave(shares, places + 0);
        ck_assert_uint_eq(shares_n_bytes_of_party(places + 1), 14);
        shares_take(shares, places + 0, PLACE_STREAM, &a);
        ck_assert_uint_eq(shares_n_bytes_of_party(places + 0), 14);
        for (size_t i = 0; i < ELEMENTS(places); i++)
                shares_leave(shares, places + i);
        shares_free(shares);
}
END_TEST

/* --- against a model ---------------------------------------------------------------------------------- */

enum { N_PLACES = 400, N_PARTIES = 300 /* more than there are buckets at first */, N_STEPS = 40000 };

typedef struct Model {
        Shares *shares;
        Place places[N_PLACES];
        unsigned of[N_PLACES];    /* whose it is */
        uint64_t came[N_PLACES];  /* 0: it is free */
        bool is_named[N_PLACES];
        uint64_t n_came;
} Model;

static Party party_of_number(unsigned number) {
        Address address = ADDRESS_ANY;

        if (number % 2)
                return party_of_user(number);
        address.bytes[0] = 0x20;
        address.bytes[6] = (uint8_t)(number >> 8);
        address.bytes[7] = (uint8_t)number;
        return party_of_address(&address);
}

static void model_take(Model *model, size_t i) {
        model->came[i] = ++model->n_came;
        /* a few have most of them */
        model->of[i] = (unsigned)(rand() % 2 ? rand() % 5 : rand() % N_PARTIES);
        model->is_named[i] = false;
        shares_take_unnamed(model->shares, model->places + i);
}

static void model_leave(Model *model, size_t i) {
        model->came[i] = 0;
        shares_leave(model->shares, model->places + i);
}

static void model_name(Model *model) {
        Place *place = shares_oldest_unnamed(model->shares);
        size_t oldest = N_PLACES;
        Party party;

        for (size_t i = 0; i < N_PLACES; i++)
                if (model->came[i] > 0 && !model->is_named[i] &&
                    (oldest == N_PLACES || model->came[i] < model->came[oldest]))
                        oldest = i;
        ck_assert_ptr_eq(place, oldest == N_PLACES ? NULL : model->places + oldest);
        if (!place)
                return;
        party = party_of_number(model->of[oldest]);
        model->is_named[oldest] = true;
        shares_name(model->shares, shares_oldest_unnamed(model->shares), &party);
}

static void model_check(const Model *model) {
        unsigned n_of[N_PARTIES] = { 0 };
        size_t culprit = N_PLACES;

        for (size_t i = 0; i < N_PLACES; i++)
                n_of[model->of[i]] += model->came[i] > 0 && model->is_named[i];
        for (size_t i = 0; i < N_PLACES; i++)
                if (model->came[i] > 0 && model->is_named[i] &&
                    (culprit == N_PLACES || n_of[model->of[i]] > n_of[model->of[culprit]] ||
                     (n_of[model->of[i]] == n_of[model->of[culprit]] && model->came[i] < model->came[culprit])))
                        culprit = i;
        ck_assert_ptr_eq(shares_find_culprit(model->shares), culprit == N_PLACES ? NULL : model->places + culprit);
}

START_TEST(test_whatever_comes_and_goes_the_one_who_has_most_is_found) {
        Model *model = calloc(1, sizeof *model);

        ck_assert_ptr_nonnull(model);
        srand(_i + 1);
        ck_assert_int_eq(shares_new(&model->shares, (uint64_t)_i), 0);
        for (int step = 0; step < N_STEPS; step++) {
                size_t i = (size_t)(rand() % N_PLACES);

                if (rand() % 3 == 0)
                        model_name(model);
                else if (model->came[i] > 0)
                        model_leave(model, i);
                else
                        model_take(model, i);
                if (step % 16 == 0)
                        model_check(model);
        }
        for (size_t i = 0; i < N_PLACES; i++)
                if (model->came[i] > 0)
                        model_leave(model, i);
        shares_free(model->shares);
        free(model);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("shares");
        TCase *tcase = tcase_create("shares");

        tcase_add_loop_test(tcase, test_who_makes_room, 0, ELEMENTS(scenes) * _NAMING_N);
        tcase_add_loop_test(tcase, test_as_many_are_left_for_others_as_one_has, 0, ELEMENTS(wishes));
        tcase_add_test(tcase, test_it_takes_many_to_take_all);
        tcase_add_test(tcase, test_places_are_scarce_from_half_on);
        tcase_add_test(tcase, test_below_half_everybody_may);
        tcase_add_test(tcase, test_kinds_are_counted_apart_and_only_passing_ones_make_room);
        tcase_add_test(tcase, test_bytes_are_counted_for_whoever_has_the_place_as_long_as_he_has_it);
        tcase_add_loop_test(tcase, test_whatever_comes_and_goes_the_one_who_has_most_is_found, 0, 3);
        suite_add_tcase(suite, tcase);
        return suite;
}
