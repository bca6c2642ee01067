/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "serve/filter.h"

typedef struct Said {
        const char *name, *prefix, *scope; /* NULL: not said */
} Said;

static void put(ControlBuffer *buffer, ControlTag tag, const char *text) {
        if (text)
                control_put_text(buffer, tag, text, strlen(text));
}

/* What filter_parse() says of it. */
static const char *parse(const Said *said, Filter *ret) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        ControlRequest request;

        control_put_request_begin(&buffer, CONTROL_WATCH);
        put(&buffer, CONTROL_TAG_NAME, said->name);
        put(&buffer, CONTROL_TAG_PREFIX, said->prefix);
        put(&buffer, CONTROL_TAG_SCOPE, said->scope);
        control_put_request_end(&buffer);
        ck_assert(control_parse_request(buffer.data + 2, buffer.n_data - 2, &request));
        return filter_parse(&request, ret);
}

static const struct {
        Said said;
        const char *name, *scope;
        bool matches;
} cases[] = {
        { { NULL, NULL, NULL }, "a", "*", true },
        { { NULL, NULL, NULL }, "anything", "127.0.0.2", true },
        { { "a", NULL, NULL }, "a", "*", true },
        { { "a", NULL, NULL }, "a", "127.0.0.1", true },
        { { "a", NULL, NULL }, "ab", "*", false },
        { { "ab", NULL, NULL }, "a", "*", false },
        { { "a", NULL, NULL }, "A", "*", false },
        { { NULL, "a", NULL }, "a", "*", true },
        { { NULL, "a", NULL }, "ab", "*", true },
        { { NULL, "ab", NULL }, "a", "*", false },
        { { NULL, "web_", NULL }, "web_1", "*", true },
        { { NULL, "web_", NULL }, "web", "*", false },
        { { NULL, "\xc3\xa9", NULL }, "\xc3\xa9t\xc3\xa9", "*", true },
        { { NULL, "", NULL }, "a", "*", true },
        { { "a", NULL, "*" }, "a", "*", true },
        { { "a", NULL, "*" }, "a", "127.0.0.1", false },
        { { "a", NULL, "127.0.0.1" }, "a", "127.0.0.1", true },
        { { "a", NULL, "127.0.0.1" }, "a", "*", false },
        { { "a", NULL, "127.0.0.1" }, "b", "127.0.0.1", false },
        { { NULL, "w", "::1" }, "web", "::1", true },
        { { NULL, "w", "::1" }, "web", "127.0.0.1", false },
        { { NULL, NULL, "127.0.0.2" }, "b", "127.0.0.2", true },
        { { NULL, NULL, "127.0.0.2" }, "b", "127.0.0.1", false },
};

START_TEST(test_what_matches_and_what_does_not) {
        Filter filter;
        Address scope;

        ck_assert_ptr_null(parse(&cases[_i].said, &filter));
        ck_assert_int_eq(address_parse(cases[_i].scope, &scope), 0);
        ck_assert_msg(filter_matches(&filter, cases[_i].name, strlen(cases[_i].name), &scope) == cases[_i].matches,
                      "case %d", _i);
}
END_TEST

static const Said open_ones[] = { { NULL, NULL, NULL }, { NULL, "", NULL } };
static const Said narrow_ones[] = { { "a", NULL, NULL }, { NULL, "a", NULL }, { NULL, NULL, "*" } };

START_TEST(test_only_what_says_nothing_is_open) {
        Filter filter;

        for (size_t i = 0; i < ELEMENTS(open_ones); i++) {
                ck_assert_ptr_null(parse(open_ones + i, &filter));
                ck_assert(filter_is_open(&filter));
        }
        for (size_t i = 0; i < ELEMENTS(narrow_ones); i++) {
                ck_assert_ptr_null(parse(narrow_ones + i, &filter));
                ck_assert(!filter_is_open(&filter));
        }
}
END_TEST

static char long_text[NODE_NAME_CHARS_MAX + 2];

static const Said bad_ones[] = {
        { "", NULL, NULL },          { "a\n", NULL, NULL },      { "\xff", NULL, NULL },   { long_text, NULL, NULL },
        { NULL, "a\n", NULL },       { NULL, "\xff", NULL },     { NULL, "\xc3", NULL },   { NULL, long_text, NULL },
        { "a", "a", NULL },          { "a", "", NULL },          { "a", NULL, "" },        { "a", NULL, "localhost" },
        { NULL, NULL, "127.0.0.0/8" },
};

START_TEST(test_what_makes_no_sense_is_told_in_words) {
        Filter filter = { .n_text = 77 };

        memset(long_text, 'a', sizeof long_text - 1);
        ck_assert_ptr_nonnull(parse(bad_ones + _i, &filter));
        ck_assert_uint_eq(filter.n_text, 77); /* written only on success */
}
END_TEST

static Registry *make_registry(const char *const (*nodes)[2], size_t n_nodes) {
        Registry *registry = NULL;

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }), 0);
        for (size_t i = 0; i < n_nodes; i++) {
                Node *node = node_new(&(NodeInfo){ .name = nodes[i][0], .n_name = strlen(nodes[i][0]) });

                ck_assert_int_eq(address_parse(nodes[i][1], &node->scope), 0);
                node->serial = i + 1;
                ck_assert_int_eq(registry_restore(registry, &node), 0);
        }
        return registry;
}

START_TEST(test_the_nodes_of_a_registry_are_stepped_through) {
        static const char *const nodes[][2] = {
                { "a", "127.0.0.1" }, { "a", "127.0.0.2" }, { "ab", "*" }, { "b", "*" }, { "c", "127.0.0.1" },
        };
        static const Said all[] = {
                { NULL, NULL, NULL }, { "a", NULL, NULL },        { "a", NULL, "127.0.0.2" }, { NULL, "a", NULL },
                { "x", NULL, NULL },  { NULL, NULL, "127.0.0.1" }, { NULL, "b", NULL },        { NULL, "a", "*" },
        };
        Registry *registry = make_registry(nodes, ELEMENTS(nodes));

        for (size_t i = 0; i < ELEMENTS(all); i++) {
                size_t n_expected = 0, n = 0;
                Filter filter;

                ck_assert_ptr_null(parse(all + i, &filter));
                for (Node *node = registry_newest(registry); node; node = node->older)
                        n_expected += filter_matches(&filter, node->info.name, node->info.n_name, &node->scope);
                for (Node *node = NULL; (node = filter_next(&filter, registry, node)); n++)
                        ck_assert(filter_matches(&filter, node->info.name, node->info.n_name, &node->scope));
                ck_assert_msg(n == n_expected, "filter %zu: %zu nodes of %zu", i, n, n_expected);
        }
        registry_free(registry);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("filter");
        TCase *tcase = tcase_create("filter");

        tcase_add_loop_test(tcase, test_what_matches_and_what_does_not, 0, ELEMENTS(cases));
        tcase_add_test(tcase, test_only_what_says_nothing_is_open);
        tcase_add_loop_test(tcase, test_what_makes_no_sense_is_told_in_words, 0, ELEMENTS(bad_ones));
        tcase_add_test(tcase, test_the_nodes_of_a_registry_are_stepped_through);
        suite_add_tcase(suite, tcase);
        return suite;
}
