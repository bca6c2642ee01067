/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/node.h"

/* A copy that ends where its allocation ends, so that a sanitizer sees a read beyond it. */
static char *exactly(const char *bytes, size_t n_bytes) {
        char *copy = malloc(n_bytes ? n_bytes : 1);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes, n_bytes);
        return copy;
}

/* --- names -------------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        const char *name;
        size_t n_name;
        NodeNameVerdict verdict;
} names[] = {
#define NAME(literal) literal, sizeof(literal) - 1
        { "one letter", NAME("a"), NODE_NAME_OK },
        { "what RabbitMQ uses", NAME("rabbitmqcli-842-rabbit"), NODE_NAME_OK },
        { "a space", NAME("a b"), NODE_NAME_OK },
        { "an at", NAME("a@b"), NODE_NAME_OK },
        { "a blank alone", NAME(" "), NODE_NAME_OK },
        { "a tilde, the last printable", NAME("~"), NODE_NAME_OK },
        { "nothing", NAME(""), NODE_NAME_EMPTY },

        { "U+0080's neighbour U+00A0", NAME("\xc2\xa0"), NODE_NAME_OK },
        { "two bytes", NAME("\xc3\xa9"), NODE_NAME_OK },
        { "U+07FF", NAME("\xdf\xbf"), NODE_NAME_OK },
        { "U+0800", NAME("\xe0\xa0\x80"), NODE_NAME_OK },
        { "three bytes", NAME("\xe2\x82\xac"), NODE_NAME_OK },
        { "U+D7FF, before the surrogates", NAME("\xed\x9f\xbf"), NODE_NAME_OK },
        { "U+E000, behind the surrogates", NAME("\xee\x80\x80"), NODE_NAME_OK },
        { "U+FFFF", NAME("\xef\xbf\xbf"), NODE_NAME_OK },
        { "U+10000", NAME("\xf0\x90\x80\x80"), NODE_NAME_OK },
        { "four bytes", NAME("\xf0\x9f\x90\x87"), NODE_NAME_OK },
        { "U+10FFFF, the last", NAME("\xf4\x8f\xbf\xbf"), NODE_NAME_OK },

        { "a continuation alone", NAME("\x80"), NODE_NAME_NOT_UTF8 },
        { "the last continuation alone", NAME("a\xbf"), NODE_NAME_NOT_UTF8 },
        { "overlong NUL", NAME("\xc0\x80"), NODE_NAME_NOT_UTF8 },
        { "overlong slash", NAME("\xc0\xaf"), NODE_NAME_NOT_UTF8 },
        { "overlong U+007F", NAME("\xc1\xbf"), NODE_NAME_NOT_UTF8 },
        { "overlong slash in three", NAME("\xe0\x80\xaf"), NODE_NAME_NOT_UTF8 },
        { "overlong U+07FF in three", NAME("\xe0\x9f\xbf"), NODE_NAME_NOT_UTF8 },
        { "overlong slash in four", NAME("\xf0\x80\x80\xaf"), NODE_NAME_NOT_UTF8 },
        { "overlong U+FFFF in four", NAME("\xf0\x8f\xbf\xbf"), NODE_NAME_NOT_UTF8 },
        { "the first surrogate", NAME("\xed\xa0\x80"), NODE_NAME_NOT_UTF8 },
        { "the last surrogate", NAME("\xed\xbf\xbf"), NODE_NAME_NOT_UTF8 },
        { "a pair of surrogates", NAME("\xed\xa0\x80\xed\xb0\x80"), NODE_NAME_NOT_UTF8 },
        { "U+110000", NAME("\xf4\x90\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "U+13FFFF", NAME("\xf4\xbf\xbf\xbf"), NODE_NAME_NOT_UTF8 },
        { "a lead of above U+10FFFF", NAME("\xf5\x80\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "a continuation for a lead of four", NAME("\x84\x80\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "an overlong lead for a lead of four", NAME("\xc1\x80\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "a lead of five for one of four", NAME("\xf9\x80\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "five bytes", NAME("\xf8\x88\x80\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "six bytes", NAME("\xfc\x84\x80\x80\x80\x80"), NODE_NAME_NOT_UTF8 },
        { "FE", NAME("\xfe"), NODE_NAME_NOT_UTF8 },
        { "FF", NAME("\xff"), NODE_NAME_NOT_UTF8 },
        { "two bytes cut", NAME("\xc3"), NODE_NAME_NOT_UTF8 },
        { "three bytes cut after one", NAME("\xe2"), NODE_NAME_NOT_UTF8 },
        { "three bytes cut after two", NAME("\xe2\x82"), NODE_NAME_NOT_UTF8 },
        { "four bytes cut after one", NAME("\xf0"), NODE_NAME_NOT_UTF8 },
        { "four bytes cut after two", NAME("\xf0\x9f"), NODE_NAME_NOT_UTF8 },
        { "four bytes cut after three", NAME("\xf0\x9f\x90"), NODE_NAME_NOT_UTF8 },
        { "a letter where a continuation must be", NAME("\xc3z"), NODE_NAME_NOT_UTF8 },
        { "a lead where a continuation must be", NAME("\xe2\x82\xe2"), NODE_NAME_NOT_UTF8 },
        { "Latin-1", NAME("caf\xe9"), NODE_NAME_NOT_UTF8 },

        { "NUL alone", NAME("\0"), NODE_NAME_CONTROL_CHARACTER },
        { "NUL inside", NAME("a\0b"), NODE_NAME_CONTROL_CHARACTER },
        { "NUL at the end", NAME("a\0"), NODE_NAME_CONTROL_CHARACTER },
        { "a line feed, to forge a line of NAMES", NAME("a at port 1\nname b"), NODE_NAME_CONTROL_CHARACTER },
        { "a carriage return", NAME("a\r"), NODE_NAME_CONTROL_CHARACTER },
        { "an escape", NAME("\x1b[2J"), NODE_NAME_CONTROL_CHARACTER },
        { "U+001F", NAME("\x1f"), NODE_NAME_CONTROL_CHARACTER },
        { "DEL", NAME("\x7f"), NODE_NAME_CONTROL_CHARACTER },
        { "U+0080", NAME("\xc2\x80"), NODE_NAME_CONTROL_CHARACTER },
        { "U+0085, a next line", NAME("a\xc2\x85" "b"), NODE_NAME_CONTROL_CHARACTER },
        { "U+009B, a control sequence", NAME("\xc2\x9b"), NODE_NAME_CONTROL_CHARACTER },
        { "U+009F", NAME("\xc2\x9f"), NODE_NAME_CONTROL_CHARACTER },
        { "a control character and bad UTF-8", NAME("\n\xff"), NODE_NAME_NOT_UTF8 },
};

START_TEST(test_a_name_is_judged_by_its_characters) {
        char *name = exactly(names[_i].name, names[_i].n_name);
        NodeNameVerdict verdict = node_name_check(name, names[_i].n_name);

        ck_assert_msg(verdict == names[_i].verdict, "%s: %d", names[_i].what, verdict);
        free(name);
}
END_TEST

/* Every byte alone: 0x20..0x7e and nothing else. */
START_TEST(test_a_name_of_one_byte_is_printable_ascii) {
        char name = (char)_i;
        NodeNameVerdict expected = _i >= 0x80                ? NODE_NAME_NOT_UTF8
                                   : _i < 0x20 || _i == 0x7f ? NODE_NAME_CONTROL_CHARACTER
                                                             : NODE_NAME_OK;

        ck_assert_int_eq(node_name_check(&name, 1), expected);
}
END_TEST

static const struct {
        const char *character;
        size_t n_bytes;
} widths[] = { { "a", 1 }, { "\xc3\xa9", 2 }, { "\xe2\x82\xac", 3 }, { "\xf0\x9f\x90\x87", 4 } };

START_TEST(test_a_name_has_up_to_255_characters_of_any_width) {
        size_t n_bytes = widths[_i].n_bytes;
        char *name = malloc((NODE_NAME_CHARS_MAX + 1) * n_bytes);

        ck_assert_ptr_nonnull(name);
        for (size_t i = 0; i <= NODE_NAME_CHARS_MAX; i++)
                memcpy(name + i * n_bytes, widths[_i].character, n_bytes);
        ck_assert_int_eq(node_name_check(name, (NODE_NAME_CHARS_MAX - 1) * n_bytes), NODE_NAME_OK);
        ck_assert_int_eq(node_name_check(name, NODE_NAME_CHARS_MAX * n_bytes), NODE_NAME_OK);
        ck_assert_int_eq(node_name_check(name, (NODE_NAME_CHARS_MAX + 1) * n_bytes), NODE_NAME_TOO_LONG);
        free(name);
}
END_TEST

START_TEST(test_the_longest_name_has_1020_bytes) {
        ck_assert_uint_eq(NODE_NAME_BYTES_MAX, 255 * 4);
}
END_TEST

START_TEST(test_a_name_of_any_length_beyond_1020_bytes_is_too_long_whatever_it_says) {
        char name[65535];

        memset(name, 0xff, sizeof name);
        ck_assert_int_eq(node_name_check(name, NODE_NAME_BYTES_MAX + 1), NODE_NAME_TOO_LONG);
        ck_assert_int_eq(node_name_check(name, sizeof name), NODE_NAME_TOO_LONG);
}
END_TEST

/* --- copies ------------------------------------------------------------------------------------- */

static const NodeInfo full_info = {
        .name = "alpha",
        .n_name = 5,
        .extra = (const uint8_t *)"x\0y",
        .n_extra = 3,
        .port = 40000,
        .highest_version = 6,
        .lowest_version = 5,
        .type = NODE_TYPE_HIDDEN,
        .protocol = 1,
};

static void assert_info(const NodeInfo *info) {
        ck_assert_uint_eq(info->n_name, 5);
        ck_assert_mem_eq(info->name, "alpha", 6);
        ck_assert_uint_eq(info->n_extra, 3);
        ck_assert_mem_eq(info->extra, "x\0y", 4);
        ck_assert_uint_eq(info->port, 40000);
        ck_assert_uint_eq(info->highest_version, 6);
        ck_assert_uint_eq(info->lowest_version, 5);
        ck_assert_uint_eq(info->type, NODE_TYPE_HIDDEN);
        ck_assert_uint_eq(info->protocol, 1);
}

START_TEST(test_a_node_owns_its_name_and_extra_and_ends_them_with_nul) {
        char *name = exactly("alphabet", 8), *extra = exactly("x\0yz", 4);
        NodeInfo info = full_info;
        Node *node;

        info.name = name;
        info.extra = (const uint8_t *)extra;
        node = node_new(&info);
        ck_assert_ptr_nonnull(node);
        memset(name, 'Z', 8);
        memset(extra, 'Z', 4);
        free(name);
        free(extra);
        assert_info(&node->info);
        node_free(node);
}
END_TEST

START_TEST(test_a_new_node_knows_nothing_but_what_it_announced) {
        Node *node = node_new(&full_info);

        ck_assert_ptr_nonnull(node);
        ck_assert(address_is_any(&node->scope));
        ck_assert_uint_eq(node->listener.cookie, 0);
        ck_assert_uint_eq(node->peer.uid, NODE_UID_UNKNOWN);
        ck_assert_uint_eq(node->peer.cgroup_id, 0);
        ck_assert_uint_eq(node->creation, 0);
        ck_assert_uint_eq(node->serial, 0);
        ck_assert_int_eq(node->connection_fd, -1);
        ck_assert_ptr_null(node->connection);
        ck_assert_ptr_null(node->unit);
        ck_assert_ptr_null(node->newer);
        ck_assert_ptr_null(node->older);
        node_free(node);
}
END_TEST

START_TEST(test_a_copy_owns_its_strings_and_stands_in_no_list) {
        Node *node = node_new(&full_info), *copy;

        ck_assert_ptr_nonnull(node);
        ck_assert_int_eq(address_parse("127.0.0.2", &node->scope), 0);
        node->listener = (NodeListener){ .cookie = 77, .address = node->scope };
        node->peer = (NodePeer){ .uid = 1000, .cgroup_id = 4242 };
        node->state = NODE_STOPPING;
        node->creation = 9;
        node->since_usec = 10;
        node->await_until_usec = 11;
        node->serial = 12;
        node->connection = node;
        node->connection_fd = 13;
        node->unit = strdup("a.service");
        node->newer = node->older = node;

        copy = node_copy(node);
        ck_assert_ptr_nonnull(copy);
        memset(node->data, 'Z', 10);
        memset(node->unit, 'Z', 9);
        node_free(node);

        assert_info(&copy->info);
        ck_assert_str_eq(copy->unit, "a.service");
        ck_assert_uint_eq(copy->listener.cookie, 77);
        ck_assert(address_equal(&copy->scope, &copy->listener.address));
        ck_assert_uint_eq(copy->peer.uid, 1000);
        ck_assert_uint_eq(copy->peer.cgroup_id, 4242);
        ck_assert_int_eq(copy->state, NODE_STOPPING);
        ck_assert_uint_eq(copy->creation, 9);
        ck_assert_uint_eq(copy->since_usec, 10);
        ck_assert_uint_eq(copy->await_until_usec, 11);
        ck_assert_uint_eq(copy->serial, 12);
        ck_assert_int_eq(copy->connection_fd, 13);
        ck_assert_ptr_null(copy->connection);
        ck_assert_ptr_null(copy->newer);
        ck_assert_ptr_null(copy->older);
        node_free(copy);
}
END_TEST

START_TEST(test_the_longest_name_and_extra_are_copied_whole) {
        char name[NODE_NAME_BYTES_MAX], extra[NODE_EXTRA_BYTES_MAX];
        NodeInfo info = {
                .name = name,
                .n_name = sizeof name,
                .extra = (const uint8_t *)extra,
                .n_extra = sizeof extra,
        };
        Node *node, *copy;

        memset(name, 'n', sizeof name);
        memset(extra, 'e', sizeof extra);
        node = node_new(&info);
        ck_assert_ptr_nonnull(node);
        copy = node_copy(node);
        ck_assert_ptr_nonnull(copy);
        node_free(node);
        ck_assert_mem_eq(copy->info.name, name, sizeof name);
        ck_assert_int_eq(copy->info.name[sizeof name], 0);
        ck_assert_mem_eq(copy->info.extra, extra, sizeof extra);
        ck_assert_int_eq(copy->info.extra[sizeof extra], 0);
        ck_assert_ptr_null(copy->unit);
        node_free(copy);
}
END_TEST

START_TEST(test_a_node_without_extra_is_copied) {
        NodeInfo info = { .name = "a", .n_name = 1, .extra = NULL };
        Node *node = node_new(&info), *copy;

        ck_assert_ptr_nonnull(node);
        copy = node_copy(node);
        ck_assert_ptr_nonnull(copy);
        ck_assert_uint_eq(copy->info.n_extra, 0);
        ck_assert_ptr_nonnull(copy->info.extra);
        ck_assert_ptr_null(node_free(node));
        ck_assert_ptr_null(node_free(copy));
        ck_assert_ptr_null(node_free(NULL));
}
END_TEST

/* --- the order of the index ------------------------------------------------------------------------ */

START_TEST(test_nodes_are_ordered_by_name_then_by_scope) {
        static const struct {
                const char *name;
                size_t n_name;
                const char *scope;
        } ascending[] = {
                { NAME("A"), "*" },         { NAME("a"), "*" },          { NAME("a"), "127.0.0.1" },
                { NAME("a"), "127.0.0.2" }, { NAME("a"), "fd00::1" },    { NAME("a\0"), "*" },
                { NAME("aa"), "*" },        { NAME("aa"), "127.0.0.1" }, { NAME("ab"), "*" },
                { NAME("b"), "*" },         { NAME("\xc3\xa9"), "*" }, /* bytes, unsigned */
        };

        for (size_t i = 0; i < ELEMENTS(ascending); i++)
                for (size_t j = 0; j < ELEMENTS(ascending); j++) {
                        Address a, b;
                        int order;

                        ck_assert_int_eq(address_parse(ascending[i].scope, &a), 0);
                        ck_assert_int_eq(address_parse(ascending[j].scope, &b), 0);
                        order = node_compare_key(ascending[i].name, ascending[i].n_name, &a,
                                                 ascending[j].name, ascending[j].n_name, &b);
                        ck_assert_int_eq((order > 0) - (order < 0), (i > j) - (i < j));
                }
}
END_TEST

/* --- words -------------------------------------------------------------------------------------- */

START_TEST(test_every_state_has_a_word_that_leads_back_to_it) {
        static const char *const words[] = { "up", "awaited", "stopping", "starting", "ready" };

        ck_assert_uint_eq(ELEMENTS(words), _NODE_STATE_N);
        for (NodeState state = 0; state < _NODE_STATE_N; state++) {
                NodeState back = _NODE_STATE_N;

                ck_assert_str_eq(node_state_to_string(state), words[state]);
                ck_assert_int_eq(node_state_from_string(words[state], &back), 0);
                ck_assert_int_eq(back, state);
        }
}
END_TEST

/* The words are in the file and in people's queries: they do not change. */
START_TEST(test_every_end_has_a_word_that_leads_back_to_it) {
        static const char *const words[] = {
                "left",          "replaced",        "listener-gone", "found-dead", "machine-restarted",
                "did-not-return", "stopped",         "released",      "removed",
        };

        ck_assert_uint_eq(ELEMENTS(words), _NODE_END_N);
        for (NodeEnd end = 0; end < _NODE_END_N; end++) {
                NodeEnd back = _NODE_END_N;

                ck_assert_str_eq(node_end_to_string(end), words[end]);
                ck_assert_int_eq(node_end_from_string(words[end], &back), 0);
                ck_assert_int_eq(back, end);
        }
}
END_TEST

START_TEST(test_another_word_is_no_state_and_no_end) {
        static const char *const words[] = { "", "Up", "up ", "dead", "awaite", "lefts" };
        NodeState state = NODE_STOPPING;
        NodeEnd end = NODE_END_STOPPED;

        for (size_t i = 0; i < ELEMENTS(words); i++) {
                ck_assert_int_eq(node_state_from_string(words[i], &state), -EINVAL);
                ck_assert_int_eq(node_end_from_string(words[i], &end), -EINVAL);
        }
        ck_assert_int_eq(state, NODE_STOPPING);
        ck_assert_int_eq(end, NODE_END_STOPPED);
}
END_TEST

START_TEST(test_three_types_have_a_word) {
        for (unsigned type = 0; type < 256; type++) {
                const char *expected = type == 'M' ? "normal" : type == 'H' ? "hidden" : type == 'h' ? "c-node" : NULL;
                const char *word = node_type_to_string((uint8_t)type);

                ck_assert((word == NULL) == (expected == NULL));
                if (expected)
                        ck_assert_str_eq(word, expected);
        }
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("node");
        TCase *tcase = tcase_create("names");

        tcase_add_loop_test(tcase, test_a_name_is_judged_by_its_characters, 0, ELEMENTS(names));
        tcase_add_loop_test(tcase, test_a_name_of_one_byte_is_printable_ascii, 0, 256);
        tcase_add_loop_test(tcase, test_a_name_has_up_to_255_characters_of_any_width, 0, ELEMENTS(widths));
        tcase_add_test(tcase, test_the_longest_name_has_1020_bytes);
        tcase_add_test(tcase, test_a_name_of_any_length_beyond_1020_bytes_is_too_long_whatever_it_says);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("copies");
        tcase_add_test(tcase, test_a_node_owns_its_name_and_extra_and_ends_them_with_nul);
        tcase_add_test(tcase, test_a_new_node_knows_nothing_but_what_it_announced);
        tcase_add_test(tcase, test_a_copy_owns_its_strings_and_stands_in_no_list);
        tcase_add_test(tcase, test_the_longest_name_and_extra_are_copied_whole);
        tcase_add_test(tcase, test_a_node_without_extra_is_copied);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("words");
        tcase_add_test(tcase, test_nodes_are_ordered_by_name_then_by_scope);
        tcase_add_test(tcase, test_every_state_has_a_word_that_leads_back_to_it);
        tcase_add_test(tcase, test_every_end_has_a_word_that_leads_back_to_it);
        tcase_add_test(tcase, test_another_word_is_no_state_and_no_end);
        tcase_add_test(tcase, test_three_types_have_a_word);
        suite_add_tcase(suite, tcase);
        return suite;
}
