/* SPDX-License-Identifier: Apache-2.0 */
/* P5: what is given to whom, and never twice. */

#include "check_main.h"
#include "core/creation.h"
#include "registry_test.h"

START_TEST(test_a_32_bit_creation_is_never_given_twice) {
        enum { N = 100000 };
        uint8_t *seen = calloc(1, N);
        Registry *registry = make_registry(10, 10);

        must(seen);
        registry_advance_creation(registry, 1700000000);
        for (unsigned i = 0; i < N; i++) {
                uint32_t creation;

                if (registry_wants_creations(registry))
                        registry_reserve_creations(registry);
                creation = come_and_go(registry, i % 2 ? "a" : "b", 6);
                must(creation < registry_reserved_creation(registry));
                must(creation >= 1700000000);
                must(creation - 1700000000 < N);
                must(seen[creation - 1700000000]++ == 0);
        }
        registry_free(registry);
        free(seen);
}
END_TEST

START_TEST(test_creations_of_mixed_widths_are_not_given_twice_either) {
        Registry *registry = make_registry(10, 10);
        uint32_t last = 0;

        for (unsigned i = 0; i < 1000; i++) {
                uint32_t creation = come_and_go(registry, "a", i % 3 ? 6 : 5);

                if (i % 3 == 0) {
                        must(creation >= 1);
                        must(creation <= 3);
                        continue;
                }
                must(creation > last);
                last = creation;
        }
        registry_free(registry);
}
END_TEST

START_TEST(test_creations_begin_at_4_and_can_only_be_advanced) {
        Registry *registry = make_registry(10, 10);

        for (uint32_t first = 0; first <= CREATION_MIN; first++) {
                registry_advance_creation(registry, first);
                ck_assert_uint_eq(registry_next_creation(registry), CREATION_MIN);
        }
        registry_advance_creation(registry, 100);
        ck_assert_uint_eq(registry_next_creation(registry), 100);
        registry_advance_creation(registry, 99);
        ck_assert_uint_eq(registry_next_creation(registry), 100);
        ck_assert_uint_eq(come_and_go(registry, "a", 6), 100);
        ck_assert_uint_eq(registry_next_creation(registry), 101);
        registry_free(registry);
}
END_TEST

START_TEST(test_above_the_greatest_creation_they_begin_at_4_again) {
        static const uint32_t expected[] = { UINT32_MAX - 2, UINT32_MAX - 1, UINT32_MAX, 4, 5, 6 };
        Registry *registry = make_registry(10, 10);

        registry_advance_creation(registry, UINT32_MAX - 2);
        for (size_t i = 0; i < ELEMENTS(expected); i++)
                ck_assert_uint_eq(come_and_go(registry, "a", 6), expected[i]);
        registry_free(registry);
}
END_TEST

/* How many creations there are from `from` up to, not including, `to`. */
static uint64_t n_creations_between(uint32_t from, uint32_t to) {
        return to >= from ? to - from : UINT32_MAX - (uint64_t)from + 1 + to - CREATION_MIN;
}

static const uint32_t block_starts[] = {
        0, 1000, 1700000000, UINT32_MAX - 2000, UINT32_MAX - 1000, UINT32_MAX - 999, UINT32_MAX - 500,
        UINT32_MAX - 1, UINT32_MAX,
};

/* Half a block is always ahead of what is given, so that nobody waits for the disk to reserve. */
START_TEST(test_a_block_of_creations_is_wanted_when_half_of_the_last_is_used) {
        Registry *registry = make_registry(10, 10);
        unsigned n_reservations = 0;

        registry_advance_creation(registry, block_starts[_i]);
        ck_assert(registry_wants_creations(registry));
        for (unsigned i = 0; i < 3000; i++) {
                uint32_t next = registry_next_creation(registry), reserved;

                if (registry_wants_creations(registry)) {
                        reserved = registry_reserve_creations(registry);
                        must(reserved == registry_reserved_creation(registry));
                        must(n_creations_between(next, reserved) == CREATION_BLOCK);
                        must(reserved >= CREATION_MIN);
                        ck_assert(!registry_wants_creations(registry));
                        n_reservations++;
                }
                reserved = registry_reserved_creation(registry);
                must(n_creations_between(next, reserved) >= CREATION_BLOCK / 2);
                must(come_and_go(registry, "a", 6) == next);
        }
        /* one at first, then one each 501 registrations */
        must(n_reservations == 6);
        registry_free(registry);
}
END_TEST

/* Where the file could not be read in time, say. */
START_TEST(test_a_block_is_wanted_as_long_as_creations_are_given_that_were_not_reserved) {
        Registry *registry = make_registry(10, 10);

        registry_advance_creation(registry, 1000000);
        for (unsigned i = 0; i < 2000; i++) {
                ck_assert(registry_wants_creations(registry));
                come_and_go(registry, "a", 6);
        }
        ck_assert_uint_eq(registry_reserve_creations(registry), 1000000 + 2000 + CREATION_BLOCK);
        ck_assert(!registry_wants_creations(registry));
        registry_free(registry);
}
END_TEST

START_TEST(test_advancing_gives_up_what_was_reserved_below) {
        Registry *registry = make_registry(10, 10);

        registry_reserve_creations(registry);
        ck_assert(!registry_wants_creations(registry));
        registry_advance_creation(registry, 500000);
        ck_assert(registry_wants_creations(registry));
        ck_assert_uint_eq(registry_reserve_creations(registry), 500000 + CREATION_BLOCK);
        registry_free(registry);
}
END_TEST

/* Whatever else is registered in between, and thus wherever the counter stands. */
START_TEST(test_a_16_bit_creation_is_1_to_3_and_not_the_previous_one_of_its_name) {
        Registry *registry = make_registry(10, 10);
        unsigned seed = 16 + (unsigned)_i;
        uint32_t last = 0, n_seen[4] = { 0 };

        for (unsigned i = 0; i < 3000; i++) {
                uint32_t creation = come_and_go(registry, "old", (uint16_t)(rand_r(&seed) % 6));

                must(creation >= 1);
                must(creation <= 3);
                must(creation != last);
                n_seen[creation]++;
                last = creation;
                for (int n = rand_r(&seed) % 4; n > 0; n--)
                        come_and_go(registry, "other", rand_r(&seed) % 2 ? 6 : 5);
        }
        for (unsigned creation = 1; creation <= 3; creation++)
                must(n_seen[creation] > 100);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_16_bit_creation_differs_from_the_previous_one_across_a_restart) {
        for (uint32_t previous = 1; previous <= 3; previous++)
                for (uint32_t next = 4; next < 10; next++) {
                        Registry *registry = make_registry(10, 10);
                        uint32_t creation;

                        registry_advance_creation(registry, next);
                        restore_former(registry, "old", previous);
                        creation = come_and_go(registry, "old", 5);
                        ck_assert_uint_ne(creation, previous);
                        ck_assert_uint_ge(creation, 1);
                        ck_assert_uint_le(creation, 3);
                        registry_free(registry);
                }
}
END_TEST

/* An entry's node has not registered: it has no creation of its own, and its name's last one is not forgotten for it. */
START_TEST(test_a_16_bit_creation_differs_also_where_the_name_was_an_entrys_meanwhile) {
        static const char *const scopes[] = { "127.0.0.1", "127.0.0.2" };
        Registry *registry = make_registry(10, 10);
        unsigned seed = 61;
        uint32_t last = 0;

        for (unsigned i = 0; i < 300; i++) {
                Node *nodes[ELEMENTS(scopes)];
                uint32_t creation;

                for (size_t k = 0; k < ELEMENTS(scopes); k++) {
                        Event event = static_event("old", scopes[k], 10 + k);

                        nodes[k] = must_register(registry, &event);
                }
                if (i % 3 > 0)
                        for (size_t k = 0; k < ELEMENTS(scopes); k++)
                                tell(registry, EVENT_LISTENER_GONE, nodes[(i + k) % ELEMENTS(scopes)]);
                else
                        tell(registry, EVENT_LISTENER_GONE, nodes[1]);
                for (int n = rand_r(&seed) % 4; n > 0; n--)
                        come_and_go(registry, "other", 5);
                if (i % 3 == 0) {
                        /* It registers by itself, with its entry's listener. */
                        Event event = newcomer_at("old", "127.0.0.1", 10);
                        Node *node;

                        event.info.highest_version = 5;
                        node = must_register(registry, &event);
                        creation = node->creation;
                        tell(registry, EVENT_CONNECTION_ENDED, node);
                } else
                        creation = come_and_go(registry, "old", 5);
                must(creation >= 1);
                must(creation <= 3);
                must(creation != last);
                last = creation;
        }
        registry_free(registry);
}
END_TEST

/* The row of an entry's node takes the place of what the name was before, or ends in it. */
START_TEST(test_a_static_row_keeps_the_last_creation_of_its_name) {
        for (int is_over = 0; is_over < 2; is_over++)
                for (uint32_t next = 4; next < 10; next++) {
                        Registry *registry = make_registry(10, 10);
                        Node *row = former_node("old", 0, 2);

                        registry_advance_creation(registry, next);
                        restore_former(registry, "old", 2);
                        row->facts.origin = NODE_ORIGIN_STATIC;
                        if (is_over) {
                                row->until_usec = 99;
                                ck_assert_int_eq(registry_restore_former(registry, &row), 0);
                        } else {
                                Node *node = row;

                                restore(registry, row);
                                tell(registry, EVENT_LISTENER_GONE, node);
                        }
                        ck_assert_uint_eq(registry_find_former(registry, "old", 3)->creation, 0);
                        ck_assert_uint_ne(come_and_go(registry, "old", 5), 2);
                        registry_free(registry);
                }
}
END_TEST

START_TEST(test_a_16_bit_creation_differs_from_that_of_the_holder_it_replaces) {
        for (uint32_t previous = 1; previous <= 3; previous++)
                for (uint32_t next = 4; next < 10; next++) {
                        Registry *registry = make_registry(10, 10);
                        Node *awaited = former_node("old", previous, 1);

                        awaited->await_until_usec = 99;
                        registry_advance_creation(registry, next);
                        restore(registry, awaited);
                        ck_assert_uint_ne(come_and_go(registry, "old", 5), previous);
                        registry_free(registry);
                }
}
END_TEST

START_TEST(test_the_width_of_a_creation_is_decided_by_the_highest_version_alone) {
        Registry *registry = make_registry(10, 10);

        registry_advance_creation(registry, 1000);
        ck_assert_uint_le(come_and_go(registry, "a", 0), 3);
        ck_assert_uint_le(come_and_go(registry, "a", 5), 3);
        ck_assert_uint_ge(come_and_go(registry, "a", 6), 1000);
        ck_assert_uint_ge(come_and_go(registry, "a", 7), 1000);
        ck_assert_uint_ge(come_and_go(registry, "a", 65535), 1000);
        registry_free(registry);
}
END_TEST

/* --- */

Suite *suite(void) {
        Suite *suite = suite_create("registry_creations");
        TCase *tcase = tcase_create("creations");

        tcase_set_timeout(tcase, 30);
        tcase_add_test(tcase, test_a_32_bit_creation_is_never_given_twice);
        tcase_add_test(tcase, test_creations_of_mixed_widths_are_not_given_twice_either);
        tcase_add_test(tcase, test_creations_begin_at_4_and_can_only_be_advanced);
        tcase_add_test(tcase, test_above_the_greatest_creation_they_begin_at_4_again);
        tcase_add_loop_test(tcase, test_a_block_of_creations_is_wanted_when_half_of_the_last_is_used, 0,
                            ELEMENTS(block_starts));
        tcase_add_test(tcase, test_a_block_is_wanted_as_long_as_creations_are_given_that_were_not_reserved);
        tcase_add_test(tcase, test_advancing_gives_up_what_was_reserved_below);
        tcase_add_loop_test(tcase, test_a_16_bit_creation_is_1_to_3_and_not_the_previous_one_of_its_name, 0, 4);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_from_the_previous_one_across_a_restart);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_also_where_the_name_was_an_entrys_meanwhile);
        tcase_add_test(tcase, test_a_static_row_keeps_the_last_creation_of_its_name);
        tcase_add_test(tcase, test_a_16_bit_creation_differs_from_that_of_the_holder_it_replaces);
        tcase_add_test(tcase, test_the_width_of_a_creation_is_decided_by_the_highest_version_alone);
        suite_add_tcase(suite, tcase);
        return suite;
}
