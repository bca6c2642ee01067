/* SPDX-License-Identifier: Apache-2.0 */

#include <check.h>
#include <errno.h>
#include <string.h>

#include "check_main.h"
#include "core/label.h"

typedef struct Case {
        NodeInfo info; /* without the length of its name */
        uint32_t creation;
        const char *label;
} Case;

static const Case cases[] = {
        { { .name = "a", .port = 1 }, 0, "0-1-0-0-0-0-a" },
        { { .name = "app", .port = 6789, .type = 77, .highest_version = 6, .lowest_version = 5 }, 1795915693,
          "1795915693-6789-77-0-6-5-app" },
        { { .name = "a-b.c_D9-", .port = 65535, .type = 72, .highest_version = 5, .lowest_version = 5 }, 3,
          "3-65535-72-0-5-5-a-b.c_D9-" },
        { { .name = "\303\244 %:@/\"", .port = 4, .type = 255, .protocol = 255, .highest_version = 65535, .lowest_version = 65535 },
          UINT32_MAX, "4294967295-4-255-255-65535-65535-%C3%A4%20%25%3A%40%2F%22" },
};

static Node *make_node(const NodeInfo *info, size_t n_name, uint32_t creation) {
        NodeInfo whole = *info;
        Node *node;

        whole.n_name = n_name;
        node = node_new(&whole);
        ck_assert_ptr_nonnull(node);
        node->creation = creation;
        return node;
}

START_TEST(test_a_label_tells_what_the_node_said_and_back) {
        const Case *given = cases + _i;
        _cleanup_(node_freep) Node *node = make_node(&given->info, strlen(given->info.name), given->creation);
        _cleanup_(node_freep) Node *parsed = NULL;
        char label[LABEL_MAX];

        ck_assert_str_eq(label_format(node, label), given->label);
        ck_assert_int_eq(label_parse(label, &parsed), 0);
        ck_assert_uint_eq(parsed->creation, given->creation);
        ck_assert_str_eq(parsed->info.name, given->info.name);
        ck_assert_uint_eq(parsed->info.port, given->info.port);
        ck_assert_uint_eq(parsed->info.type, given->info.type);
        ck_assert_uint_eq(parsed->info.protocol, given->info.protocol);
        ck_assert_uint_eq(parsed->info.highest_version, given->info.highest_version);
        ck_assert_uint_eq(parsed->info.lowest_version, given->info.lowest_version);
        ck_assert_uint_eq(parsed->info.n_extra, 0);
        ck_assert_uint_eq(parsed->peer.uid, NODE_UID_UNKNOWN);
}
END_TEST

/* Names of all lengths: either all of it is told, or nothing. */
START_TEST(test_what_does_not_fit_is_not_told) {
        static char name[LABEL_MAX + 10];
        unsigned n_told = 0;

        for (size_t n = 1; n < sizeof name; n++) {
                _cleanup_(node_freep) Node *node = NULL;
                _cleanup_(node_freep) Node *parsed = NULL;
                char label[LABEL_MAX];

                memset(name, _i ? '@' : 'a', n);
                node = make_node(&(NodeInfo){ .name = name, .port = 4711, .type = 77, .highest_version = 6, .lowest_version = 5 },
                                 n, UINT32_MAX);
                if (!label_format(node, label)[0])
                        continue;
                n_told++;
                ck_assert_int_eq(label_parse(label, &parsed), 0);
                ck_assert_uint_eq(parsed->info.n_name, n);
        }
        ck_assert_uint_ge(n_told, _i ? 50 : 170);
        ck_assert_uint_lt(n_told, LABEL_MAX);
}
END_TEST

START_TEST(test_a_node_with_extra_data_has_none) {
        _cleanup_(node_freep) Node *node = make_node(
                &(NodeInfo){ .name = "a", .port = 1, .extra = (const uint8_t *)"x", .n_extra = 1 }, 1, 1);
        char label[LABEL_MAX];

        ck_assert_str_eq(label_format(node, label), "");
}
END_TEST

static const char *const foreign[] = {
        "",
        "a",
        "1",
        "1-2-3-4-5-6",
        "1-2-3-4-5-6-",
        "1-2-3-4-5-a",
        "-1-2-3-4-5-6-a",
        "+1-2-3-4-5-6-a",
        "01-2-3-4-5-6-a",
        "1-2-3-4-5- 6-a",
        "4294967296-2-3-4-5-6-a",
        "1-65536-3-4-5-6-a",
        "1-2-256-4-5-6-a",
        "1-2-3-256-5-6-a",
        "1-2-3-4-65536-6-a",
        "1-2-3-4-5-99999999999999999999999-a",
        "1-2-3-4-5-6-a b",
        "1-2-3-4-5-6-%",
        "1-2-3-4-5-6-%4",
        "1-2-3-4-5-6-%4g",
        "1-2-3-4-5-6-%61", /* a plain letter */
        "1-2-3-4-5-6-%c3%a4",
        "1-2-3-4-5-6-%00",
        "1-2-3-4-5-6-%0A",
        "1-2-3-4-5-6-%FF", /* no UTF-8 */
};

START_TEST(test_what_we_would_not_have_written_tells_nothing) {
        Node *node = NULL;

        ck_assert_msg(label_parse(foreign[_i], &node) == -EINVAL, "'%s'", foreign[_i]);
        ck_assert_ptr_null(node);
}
END_TEST

START_TEST(test_one_that_is_too_long_tells_nothing) {
        char label[2 * LABEL_MAX] = "1-2-3-4-5-6-";
        Node *node = NULL;

        memset(label + strlen(label), 'a', sizeof label - 1 - strlen(label));
        ck_assert_int_eq(label_parse(label, &node), -EINVAL);
        ck_assert_ptr_null(node);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("label");
        TCase *tcase = tcase_create("label");

        tcase_add_loop_test(tcase, test_a_label_tells_what_the_node_said_and_back, 0, ELEMENTS(cases));
        tcase_add_loop_test(tcase, test_what_does_not_fit_is_not_told, 0, 2);
        tcase_add_test(tcase, test_a_node_with_extra_data_has_none);
        tcase_add_loop_test(tcase, test_what_we_would_not_have_written_tells_nothing, 0, ELEMENTS(foreign));
        tcase_add_test(tcase, test_one_that_is_too_long_tells_nothing);
        suite_add_tcase(suite, tcase);
        return suite;
}
