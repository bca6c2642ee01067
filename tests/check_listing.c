/* SPDX-License-Identifier: Apache-2.0 */

#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "serve/listing.h"

static Registry *make_registry(void) {
        Registry *registry = NULL;

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100000, 100000 }, 1), 0);
        return registry;
}

static Node *add_node(Registry *registry, const char *name, size_t n_name, uint16_t port, int fd) {
        Event event = {
                .kind = EVENT_REGISTER,
                .info = { .name = name,
                          .n_name = n_name,
                          .extra = (const uint8_t *)"",
                          .port = port,
                          .highest_version = 6,
                          .lowest_version = 5,
                          .type = 'M' },
                .peer = { .uid = NODE_UID_UNKNOWN },
                .connection_fd = fd,
        };
        Change change;
        Reply reply;

        ck_assert_int_eq(registry_decide(registry, &event, &change, &reply), 0);
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        registry_apply(registry, &change);
        return reply.node;
}

static void end_node(Registry *registry, Node *node) {
        Change change;

        ck_assert_int_eq(registry_decide(registry, &(Event){ .kind = EVENT_CONNECTION_ENDED, .node = node },
                                         &change, NULL),
                         0);
        registry_apply(registry, &change);
}

static void assert_text(const Blob *blob, const char *expected, size_t n_expected) {
        ck_assert_ptr_nonnull(blob);
        ck_assert_uint_eq(blob->n_data, n_expected);
        if (n_expected > 0)
                ck_assert_mem_eq(blob->data, expected, n_expected);
}

#define TEXT(literal) literal, sizeof(literal) - 1

START_TEST(test_a_blob_lives_as_long_as_somebody_holds_it) {
        Blob *blob = blob_new("abc", 3), *same = blob_ref(blob), *empty = blob_new(NULL, 0);

        ck_assert_ptr_eq(blob, same);
        ck_assert_uint_eq(blob->n_refs, 2);
        ck_assert_uint_eq(blob->n_data, 3);
        ck_assert_mem_eq(blob->data, "abc", 3);
        ck_assert_ptr_null(blob_unref(same));
        ck_assert_mem_eq(blob->data, "abc", 3);
        ck_assert_ptr_null(blob_unref(blob));
        ck_assert_ptr_null(blob_unref(NULL));
        ck_assert_uint_eq(empty->n_data, 0);
        blob_unref(empty);
}
END_TEST

START_TEST(test_names_and_dump_tell_what_is_registered) {
        Registry *registry = make_registry();
        Listings *listings = NULL;
        Blob *blob;
        Node *b;

        ck_assert_int_eq(listings_new(&listings), 0);
        blob = listings_get(listings, registry, LISTING_NAMES);
        assert_text(blob, TEXT(""));
        blob_unref(blob);
        blob = listings_get(listings, registry, LISTING_DUMP);
        assert_text(blob, TEXT(""));
        blob_unref(blob);

        add_node(registry, "a", 1, 39449, 7);
        b = add_node(registry, "b\xc3\xa9", 3, 1, 8);
        add_node(registry, "c", 1, 65535, 9);
        blob = listings_get(listings, registry, LISTING_NAMES);
        assert_text(blob, TEXT("name c at port 65535\nname b\xc3\xa9 at port 1\nname a at port 39449\n"));
        blob_unref(blob);

        end_node(registry, b);
        end_node(registry, add_node(registry, "d", 1, 5, 10));
        blob = listings_get(listings, registry, LISTING_NAMES);
        assert_text(blob, TEXT("name c at port 65535\nname a at port 39449\n"));
        blob_unref(blob);
        blob = listings_get(listings, registry, LISTING_DUMP);
        assert_text(blob, TEXT("active name     <c> at port 65535, fd = 9\n\0"
                               "active name     <a> at port 39449, fd = 7\n\0"
                               "old/unused name <b\xc3\xa9>, port = 1, fd = 8 \n\0"
                               "old/unused name <d>, port = 5, fd = 10 \n\0"));
        blob_unref(blob);
        listings_free(listings);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_text_is_made_once_for_a_revision_and_shared) {
        Registry *registry = make_registry();
        Listings *listings = NULL;
        Blob *first, *second, *dump, *later;

        ck_assert_int_eq(listings_new(&listings), 0);
        add_node(registry, "a", 1, 1, -1);
        first = listings_get(listings, registry, LISTING_NAMES);
        second = listings_get(listings, registry, LISTING_NAMES);
        dump = listings_get(listings, registry, LISTING_DUMP);
        ck_assert_ptr_eq(first, second);
        ck_assert_ptr_ne(first, dump);
        add_node(registry, "b", 1, 2, -1);
        later = listings_get(listings, registry, LISTING_NAMES);
        ck_assert_ptr_ne(first, later);
        assert_text(first, TEXT("name a at port 1\n")); /* whoever reads it goes on reading that */
        assert_text(later, TEXT("name b at port 2\nname a at port 1\n"));
        blob_unref(first);
        blob_unref(second);
        blob_unref(dump);
        blob_unref(later);
        listings_free(listings);
        registry_free(registry);
}
END_TEST

START_TEST(test_a_text_outlives_the_listings) {
        Registry *registry = make_registry();
        Listings *listings = NULL;
        Blob *blob;

        ck_assert_int_eq(listings_new(&listings), 0);
        add_node(registry, "a", 1, 1, -1);
        blob = listings_get(listings, registry, LISTING_NAMES);
        ck_assert_ptr_null(listings_free(listings));
        assert_text(blob, TEXT("name a at port 1\n"));
        ck_assert_uint_eq(blob->n_refs, 1);
        blob_unref(blob);
        registry_free(registry);
        ck_assert_ptr_null(listings_free(NULL));
}
END_TEST

#define N_LONG 15000

/* Names of 1020 bytes. */
static Registry *make_long_registry(unsigned n_nodes) {
        Registry *registry = make_registry();

        for (unsigned i = 0; i < n_nodes; i++) {
                char name[NODE_NAME_BYTES_MAX];

                for (size_t at = 0; at < sizeof name; at += 4)
                        memcpy(name + at, "\xf0\x9f\x90\x87", 4);
                for (size_t digit = 0, rest = i; digit < 5; digit++, rest /= 10)
                        name[digit * 4 + 3] = (char)(0x80 + rest % 10);
                add_node(registry, name, sizeof name, 40000, -1);
        }
        return registry;
}

START_TEST(test_15000_names_of_any_length_are_one_text) {
        Registry *registry = make_long_registry(N_LONG);
        Listings *listings = NULL;
        Blob *blob;
        size_t n_line = strlen("name ") + NODE_NAME_BYTES_MAX + strlen(" at port 40000\n");

        ck_assert_int_eq(listings_new(&listings), 0);
        blob = listings_get(listings, registry, LISTING_NAMES);
        ck_assert_ptr_nonnull(blob);
        ck_assert_uint_eq(blob->n_data, N_LONG * n_line);
        for (size_t i = 0; i < N_LONG; i++)
                ck_assert_int_eq(blob->data[(i + 1) * n_line - 1], '\n');
        blob_unref(blob);
        listings_free(listings);
        registry_free(registry);
}
END_TEST

/* P6: five texts of 15 MB are too much; whatever is not current may go. */
START_TEST(test_what_slow_readers_hold_is_bounded) {
        Registry *registry = make_long_registry(N_LONG);
        Listings *listings = NULL;
        Blob *held[6];

        ck_assert_int_eq(listings_new(&listings), 0);
        for (unsigned i = 0; i < ELEMENTS(held); i++) {
                char name[2] = { (char)('a' + i), 0 };

                add_node(registry, name, 1, 1, -1);
                held[i] = listings_get(listings, registry, LISTING_NAMES);
                ck_assert_ptr_nonnull(held[i]);
                if ((i + 1) * held[i]->n_data <= LISTING_BYTES_MAX)
                        ck_assert(!listings_are_too_many(listings));
        }
        ck_assert(listings_are_too_many(listings));
        ck_assert(listings_are_too_many(listings)); /* until readers have let go */
        for (unsigned i = 0; i < ELEMENTS(held); i++)
                ck_assert(listings_may_go(listings, held[i]) == (i + 1 < ELEMENTS(held)));
        blob_unref(held[3]);
        ck_assert(listings_are_too_many(listings));
        blob_unref(held[0]);
        ck_assert(!listings_are_too_many(listings));
        for (unsigned i = 1; i < ELEMENTS(held); i++)
                if (i != 3)
                        blob_unref(held[i]);
        ck_assert(!listings_are_too_many(listings));
        listings_free(listings);
        registry_free(registry);
}
END_TEST

/* Nobody could be served otherwise. */
START_TEST(test_the_current_texts_are_never_too_much) {
        Registry *registry = make_long_registry(40000);
        Listings *listings = NULL;
        Blob *names, *dump;

        ck_assert_int_eq(listings_new(&listings), 0);
        names = listings_get(listings, registry, LISTING_NAMES);
        dump = listings_get(listings, registry, LISTING_DUMP);
        ck_assert_uint_gt(names->n_data + dump->n_data, LISTING_BYTES_MAX);
        ck_assert(!listings_are_too_many(listings));
        blob_unref(names);
        blob_unref(dump);
        listings_free(listings);
        registry_free(registry);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("listing");
        TCase *tcase = tcase_create("texts");

        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_a_blob_lives_as_long_as_somebody_holds_it);
        tcase_add_test(tcase, test_names_and_dump_tell_what_is_registered);
        tcase_add_test(tcase, test_a_text_is_made_once_for_a_revision_and_shared);
        tcase_add_test(tcase, test_a_text_outlives_the_listings);
        tcase_add_test(tcase, test_15000_names_of_any_length_are_one_text);
        tcase_add_test(tcase, test_what_slow_readers_hold_is_bounded);
        tcase_add_test(tcase, test_the_current_texts_are_never_too_much);
        suite_add_tcase(suite, tcase);
        return suite;
}
