/* SPDX-License-Identifier: Apache-2.0 */
/* core/entries: an ordered list, against what a person would expect of one. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/entries.h"

static Address address_of(const char *text) {
        Address address;

        ck_assert_int_eq(address_parse(text, &address), 0);
        return address;
}

static void put(Entries *entries, const char *name, const char *address, uint16_t port) {
        Entry entry = {
                .name = strdup(name),
                .n_name = strlen(name),
                .address = address_of(address),
                .port = port,
                .by = strdup("uid 0"),
        };

        ck_assert_int_eq(entries_reserve(entries), 0);
        entries_put(entries, &entry);
        ck_assert_ptr_null(entry.name);
}

static uint16_t port_of(const Entries *entries, const char *name, const char *address) {
        Address key = address_of(address);
        const Entry *entry = entries_find(entries, name, strlen(name), &key);

        return entry ? entry->port : 0;
}

static void take_away(Entries *entries, const char *name, const char *address) {
        Address key = address_of(address);

        entries_remove(entries, name, strlen(name), &key);
}

START_TEST(test_an_entry_is_found_by_name_and_address) {
        _cleanup_(entries_done) Entries entries = { 0 };
        size_t n;

        ck_assert_uint_eq(port_of(&entries, "a", "*"), 0);
        ck_assert_ptr_null(entries_find_name(&entries, "a", 1, &n));
        ck_assert_uint_eq(n, 0);
        put(&entries, "b", "127.0.0.2", 2);
        put(&entries, "ab", "*", 3);
        put(&entries, "b", "*", 1);
        put(&entries, "a", "::1", 4);
        ck_assert_uint_eq(port_of(&entries, "b", "*"), 1);
        ck_assert_uint_eq(port_of(&entries, "b", "127.0.0.2"), 2);
        ck_assert_uint_eq(port_of(&entries, "b", "127.0.0.3"), 0);
        ck_assert_uint_eq(port_of(&entries, "a", "*"), 0);
        ck_assert_uint_eq(entries_find_name(&entries, "b", 1, &n)->port, 1);
        ck_assert_uint_eq(n, 2);
        ck_assert_ptr_null(entries_find_name(&entries, "c", 1, &n));
        ck_assert_str_eq(entries_find_port(&entries, 3)->name, "ab");
        ck_assert_ptr_null(entries_find_port(&entries, 5));
}
END_TEST

START_TEST(test_one_of_the_same_key_takes_the_others_place) {
        _cleanup_(entries_done) Entries entries = { 0 };

        put(&entries, "a", "*", 1);
        put(&entries, "a", "*", 2);
        ck_assert_uint_eq(entries.n_entries, 1);
        ck_assert_uint_eq(port_of(&entries, "a", "*"), 2);
        take_away(&entries, "a", "127.0.0.1");
        ck_assert_uint_eq(entries.n_entries, 1);
        take_away(&entries, "a", "*");
        ck_assert_uint_eq(entries.n_entries, 0);
        take_away(&entries, "a", "*");
}
END_TEST

START_TEST(test_the_order_holds_whatever_comes_and_goes) {
        static bool has[64];
        _cleanup_(entries_done) Entries entries = { 0 };
        unsigned seed = 4711;

        for (unsigned i = 0; i < 2000; i++) {
                unsigned key = (unsigned)rand_r(&seed) % ELEMENTS(has);
                char name[8], address[16];
                size_t n = 0;

                snprintf(name, sizeof name, "n%u", key / 4);
                snprintf(address, sizeof address, "127.0.0.%u", key % 4 + 1);
                has[key] = !has[key];
                if (has[key])
                        put(&entries, name, address, (uint16_t)(key + 1));
                else
                        take_away(&entries, name, address);
                for (size_t j = 0; j < ELEMENTS(has); j++)
                        n += has[j];
                ck_assert_uint_eq(entries.n_entries, n);
                ck_assert_uint_eq(port_of(&entries, name, address), has[key] ? key + 1 : 0);
        }
        for (size_t i = 1; i < entries.n_entries; i++) {
                const Entry *a = entries.entries + i - 1, *b = a + 1;

                ck_assert_int_lt(node_compare_key(a->name, a->n_name, &a->address, b->name, b->n_name, &b->address), 0);
        }
}
END_TEST

START_TEST(test_a_copy_says_the_same_and_is_its_owners) {
        _cleanup_(entries_done) Entries entries = { 0 }, copy = { 0 };
        Entry other;

        put(&entries, "a", "127.0.0.1", 1);
        entries.entries[0].host = strdup("h");
        ck_assert_int_eq(entries_copy(&entries, &copy), 0);
        ck_assert(entry_says_the_same(entries.entries, copy.entries));
        ck_assert_ptr_ne(entries.entries->name, copy.entries->name);
        ck_assert_str_eq(copy.entries->by, "uid 0");
        copy.entries->since_usec = 99;
        ck_assert(entry_says_the_same(entries.entries, copy.entries));
        copy.entries->port = 2;
        ck_assert(!entry_says_the_same(entries.entries, copy.entries));
        ck_assert_int_eq(entry_copy(entries.entries, &other), 0);
        free(other.host);
        other.host = NULL;
        ck_assert(!entry_says_the_same(entries.entries, &other));
        entry_done(&other);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("entries");
        TCase *tcase = tcase_create("entries");

        tcase_add_test(tcase, test_an_entry_is_found_by_name_and_address);
        tcase_add_test(tcase, test_one_of_the_same_key_takes_the_others_place);
        tcase_add_test(tcase, test_the_order_holds_whatever_comes_and_goes);
        tcase_add_test(tcase, test_a_copy_says_the_same_and_is_its_owners);
        suite_add_tcase(suite, tcase);
        return suite;
}
