/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "core/control.h"
#include "serve/selection.h"

static Registry *registry;
static ControlBuffer buffer;

static void setup(void) {
        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1), 0);
}

static void teardown(void) {
        registry = registry_free(registry);
        control_buffer_done(&buffer);
}

static void enter(const char *name, const char *address) {
        Event event = {
                .kind = EVENT_REGISTER,
                .info = { .name = name, .n_name = strlen(name), .port = 1, .highest_version = 6 },
                .listener = { .cookie = 1 + registry_n_nodes(registry) },
                .connection = &registry,
        };
        Change change;
        Reply reply;

        ck_assert_int_eq(address_parse(address, &event.listener.address), 0);
        ck_assert_int_eq(registry_decide(registry, &event, &change, &reply), 0);
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        registry_apply(registry, &change);
}

/* A request of the fields that `buffer` has. */
static ControlRequest request_of_buffer(void) {
        return (ControlRequest){ .version = 1, .kind = CONTROL_WHY, .fields = buffer.data, .n_fields = buffer.n_data };
}

static Selection select_node(const char *name, const char *scope) {
        ControlRequest request;
        Selection selection;

        control_buffer_done(&buffer);
        control_put_text(&buffer, CONTROL_TAG_NAME, name, strlen(name));
        if (scope)
                control_put_text(&buffer, CONTROL_TAG_SCOPE, scope, strlen(scope));
        request = request_of_buffer();
        ck_assert_ptr_null(selection_parse(&request, true, &selection));
        return selection;
}

/* --- what a request says ------------------------------------------------------------------------------- */

static const struct {
        const char *name; /* NULL: none is said */
        size_t n_name;
        const char *scope;
        size_t n_scope;
        bool is_name_needed;
        const char *wrong;
} requests[] = {
        { "a", 1, NULL, 0, true, NULL },
        { "a", 1, "127.0.0.1", 9, true, NULL },
        { "a", 1, "::1", 3, true, NULL },
        { "a", 1, "[::1]", 5, true, NULL },
        { "a", 1, "*", 1, true, NULL },
        { "b\xc3\xa9", 3, NULL, 0, true, NULL },
        { NULL, 0, NULL, 0, false, NULL },
        { NULL, 0, "127.0.0.1", 9, false, NULL },
        { NULL, 0, NULL, 0, true, "The request names no node." },
        { NULL, 0, "::1", 3, true, "The request names no node." },
        { "", 0, NULL, 0, true, "That cannot be the name of a node." },
        { "", 0, NULL, 0, false, "That cannot be the name of a node." },
        { "a\n", 2, NULL, 0, true, "That cannot be the name of a node." },
        { "a\0b", 3, NULL, 0, true, "That cannot be the name of a node." },
        { "\xff", 1, NULL, 0, false, "That cannot be the name of a node." },
        { "a", 1, "", 0, true, "The address is none." },
        { "a", 1, "localhost", 9, true, "The address is none." },
        { "a", 1, "127.0.0.1 ", 10, true, "The address is none." },
        { "a", 1, "127.0.0.1\0", 10, true, "The address is none." },
        { "a", 1, "127.0.0.1\0x", 11, true, "The address is none." },
        { "a", 1, "1234:1234:1234:1234:1234:1234:1234:1234:1234:1234", 49, true, "The address is none." },
        { NULL, 0, "x", 1, false, "The address is none." },
};

START_TEST(test_a_request_names_a_node_and_where_it_listens) {
        ControlRequest request;
        Selection selection = { .n_name = 4711 };
        const char *wrong;

        if (requests[_i].scope)
                control_put_text(&buffer, CONTROL_TAG_SCOPE, requests[_i].scope, requests[_i].n_scope);
        if (requests[_i].name)
                control_put_text(&buffer, CONTROL_TAG_NAME, requests[_i].name, requests[_i].n_name);
        request = request_of_buffer();
        wrong = selection_parse(&request, requests[_i].is_name_needed, &selection);
        ck_assert_pstr_eq(wrong, requests[_i].wrong);
        if (wrong) {
                ck_assert_uint_eq(selection.n_name, 4711);
                return;
        }
        ck_assert_uint_eq(selection.n_name, requests[_i].n_name);
        ck_assert_int_eq(selection.name != NULL, requests[_i].name != NULL);
        ck_assert_int_eq(selection.has_scope, requests[_i].scope != NULL);
}
END_TEST

START_TEST(test_of_a_field_that_comes_twice_the_last_one_counts_and_others_are_passed_over) {
        ControlRequest request;
        Selection selection;
        char text[ADDRESS_TEXT_MAX];

        control_put_text(&buffer, CONTROL_TAG_NAME, "a", 1);
        control_put_text(&buffer, CONTROL_TAG_SCOPE, "127.0.0.1", 9);
        control_put_u64(&buffer, CONTROL_TAG_SINCE, 1);
        control_put_u64(&buffer, (ControlTag)9999, 1);
        control_put_text(&buffer, CONTROL_TAG_NAME, "b", 1);
        control_put_text(&buffer, CONTROL_TAG_SCOPE, "::1", 3);
        request = request_of_buffer();
        ck_assert_ptr_null(selection_parse(&request, true, &selection));
        ck_assert_mem_eq(selection.name, "b", 1);
        ck_assert_str_eq(address_format(&selection.scope, text), "::1");
}
END_TEST

/* --- whom it means --------------------------------------------------------------------------------------- */

static const struct {
        const char *name, *scope;
        unsigned n_nodes;
        int result;
        const char *text;
} selections[] = {
        { "one", NULL, 1, 0, "" },
        { "one", "*", 1, 0, "" },
        { "one", "127.0.0.1", 0, CONTROL_E_NOT_FOUND, "No node named one is registered at 127.0.0.1." },
        { "none", NULL, 0, CONTROL_E_NOT_FOUND, "No node named none is registered." },
        { "on", NULL, 0, CONTROL_E_NOT_FOUND, "No node named on is registered." },
        { "onee", NULL, 0, CONTROL_E_NOT_FOUND, "No node named onee is registered." },
        { "two", NULL, 2, CONTROL_E_AMBIGUOUS,
          "Several nodes are named two: say which, for example two@::1 or two@127.0.0.2." },
        { "two", "127.0.0.2", 1, 0, "" },
        { "two", "::1", 1, 0, "" },
        { "two", "*", 0, CONTROL_E_NOT_FOUND, "No node named two is registered at *." },
        { "three", NULL, 3, CONTROL_E_AMBIGUOUS,
          "Several nodes are named three: say which, for example three@10.0.0.1 or three@127.0.0.1." },
};

START_TEST(test_a_selection_means_the_nodes_of_that_name_at_that_address) {
        static const char *const nodes[][2] = {
                { "two", "127.0.0.2" },   { "three", "127.0.0.1" }, { "one", "*" },         { "two", "::1" },
                { "three", "127.0.0.2" }, { "three", "10.0.0.1" },  { "one1", "127.0.0.1" },
        };
        Selection selection;
        Node *found = (Node *)(void *)&selection, *node = NULL;
        unsigned n = 0;
        char text[512] = "";

        for (size_t i = 0; i < ELEMENTS(nodes); i++)
                enter(nodes[i][0], nodes[i][1]);
        selection = select_node(selections[_i].name, selections[_i].scope);
        while ((node = selection_next(&selection, registry, node))) {
                ck_assert_str_eq(node->info.name, selections[_i].name);
                n++;
        }
        ck_assert_uint_eq(n, selections[_i].n_nodes);
        ck_assert_int_eq(selection_find_one(&selection, registry, &found, text, sizeof text), selections[_i].result);
        ck_assert_str_eq(text, selections[_i].text);
        if (selections[_i].result == 0)
                ck_assert_ptr_eq(found, selection_next(&selection, registry, NULL));
        else
                ck_assert_ptr_eq(found, (Node *)(void *)&selection);
}
END_TEST

/* 255 characters of four bytes, which as they are shown to a person may be longer still. */
START_TEST(test_a_name_that_is_very_long_is_told_in_part) {
        char name[NODE_NAME_BYTES_MAX + 1] = "", text[512];
        Selection selection;
        Node *node;

        for (size_t i = 0; i < NODE_NAME_CHARS_MAX; i++)
                strcat(name, "\xf0\x9f\x90\x98");
        selection = select_node(name, "127.0.0.1");
        ck_assert_int_eq(selection_find_one(&selection, registry, &node, text, sizeof text), CONTROL_E_NOT_FOUND);
        ck_assert_uint_lt(strlen(text), sizeof text);
        enter(name, "127.0.0.1");
        enter(name, "127.0.0.2");
        selection = select_node(name, NULL);
        ck_assert_int_eq(selection_find_one(&selection, registry, &node, text, sizeof text), CONTROL_E_AMBIGUOUS);
        ck_assert_uint_lt(strlen(text), sizeof text);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("selection");
        TCase *tcase = tcase_create("selection");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, test_a_request_names_a_node_and_where_it_listens, 0, ELEMENTS(requests));
        tcase_add_test(tcase, test_of_a_field_that_comes_twice_the_last_one_counts_and_others_are_passed_over);
        tcase_add_loop_test(tcase, test_a_selection_means_the_nodes_of_that_name_at_that_address, 0, ELEMENTS(selections));
        tcase_add_test(tcase, test_a_name_that_is_very_long_is_told_in_part);
        suite_add_tcase(suite, tcase);
        return suite;
}
