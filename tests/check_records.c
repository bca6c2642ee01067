/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "serve/records.h"

/* "KIND TAG=HEX TAG=HEX ...", in the order of the record, as PROTOCOL.md writes values. */
static const char *show(const ControlBuffer *buffer) {
        static char text[8192];
        const uint8_t *fields;
        size_t n_fields, n_record, offset = 0, n;
        ControlField field;
        uint8_t kind;

        ck_assert_int_eq(buffer->error, 0);
        ck_assert_int_eq(control_next_record(buffer->data, buffer->n_data, &n_record, &kind, &fields, &n_fields), 1);
        ck_assert_uint_eq(n_record, buffer->n_data);
        n = (size_t)snprintf(text, sizeof text, "%u ", kind);
        while (control_next_field(fields, n_fields, &offset, &field)) {
                n += (size_t)snprintf(text + n, sizeof text - n, "%u=", field.tag);
                for (size_t i = 0; i < field.n_value; i++)
                        n += (size_t)snprintf(text + n, sizeof text - n, "%02x", field.value[i]);
                n += (size_t)snprintf(text + n, sizeof text - n, " ");
        }
        return text;
}

#define assert_has(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "'%s' is not in: %s", (part), (text))
#define assert_lacks(text, part) ck_assert_msg(strstr((text), (part)) == NULL, "'%s' is in: %s", (part), (text))

/* All that can be known, each fact with a value of its own. */
static Node *full_node(void) {
        Node *node = node_new(&(NodeInfo){ .name = "web", .n_name = 3, .port = 0x1234, .highest_version = 6,
                                           .lowest_version = 5, .type = 77, .protocol = 9 });

        ck_assert_ptr_nonnull(node);
        ck_assert_int_eq(address_parse("127.0.0.2", &node->scope), 0);
        node->listener = (NodeListener){ .cookie = 0xabcd, .address = node->scope };
        node->peer.uid = 1000;
        node_set_facts(node,
                       &(NodeFacts){ .is_awaited = true, .unit_phase = UNIT_PHASE_READY,
                                     .announced = NODE_ANNOUNCED_READY },
                       0x55);
        node->creation = 0x66;
        node->since_usec = 0x77;
        node->unit = strdup("a.service");
        node->is_helper = true;
        node->unit_pid = 4242;
        node->profile.host = strdup("h");
        ck_assert_int_eq(node_profile_set(&node->profile, "k", 1, "v", 1), 0);
        ck_assert_int_eq(node_profile_set(&node->profile, "e", 1, "", 0), 0);
        return node;
}

static void assert_has_all_of_node(const char *text) {
        static const char *const parts[] = {
                " 16=776562 ",                 /* web */
                " 17=61776169746564 ",         /* awaited */
                " 18=1234 ",
                " 19=4d ",
                " 20=09 ",
                " 21=0006 ",
                " 22=0005 ",
                " 23=00000066 ",
                " 24=0000000000000077 ",
                " 25=3132372e302e302e32 ",     /* 127.0.0.2 */
                " 26=000003e8 ",
                " 27=612e73657276696365 ",     /* a.service */
                " 28=000000000000abcd ",
                " 29=636f6e6e656374696f6e ",   /* connection */
                " 30=0000000000000055 ",
                " 31=00001092 ",
                " 32=68 ",
                " 33=7265616479 ",             /* ready */
                " 34=6500 34=6b0076 ",         /* e, k: v */
                " 35=01 ",
                " 36=01 ",
                " 38=3132372e302e302e32 ",
                " 54=616e6e6f756e636564 ",     /* announced */
                " 55=73686f7274 ",             /* short */
        };

        for (size_t i = 0; i < ELEMENTS(parts); i++)
                assert_has(text, parts[i]);
}

START_TEST(test_a_record_has_all_that_is_known_of_a_node) {
        _cleanup_(node_freep) Node *node = full_node();
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        records_put_node(&buffer, node);
        ck_assert_int_eq(strncmp(show(&buffer), "67 ", 3), 0);
        assert_has_all_of_node(show(&buffer));
}
END_TEST

START_TEST(test_what_is_not_known_is_absent) {
        static const char *const absent[] = { " 26=", " 27=", " 28=", " 31=", " 32=", " 33=",
                                              " 34=", " 35=", " 36=", " 38=", " 42=", " 44=", " 54=", " 55=" };
        _cleanup_(node_freep) Node *node = node_new(&(NodeInfo){ .name = "a", .n_name = 1 });
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        records_put_node(&buffer, node);
        for (size_t i = 0; i < ELEMENTS(absent); i++)
                assert_lacks(show(&buffer), absent[i]);
        assert_has(show(&buffer), " 25=2a "); /* the scope * */
}
END_TEST

static const struct {
        const char *host, *kind;
} hosts[] = {
        { "mail", " 55=73686f7274 " },             /* short */
        { "localhost", " 55=73686f7274 " },
        { "127.0.0.1", " 55=6c6f6e67 " },          /* long */
        { "mail.example.org", " 55=6c6f6e67 " },
        { "::1", " 55=6c6f6e67 " },
        { "mail.", " 55=6c6f6e67 " },
};

START_TEST(test_the_host_part_says_whether_the_name_is_short_or_long) {
        _cleanup_(node_freep) Node *node = node_new(&(NodeInfo){ .name = "a", .n_name = 1 });
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        node->profile.host = strdup(hosts[_i].host);
        records_put_node(&buffer, node);
        assert_has(show(&buffer), hosts[_i].kind);
        assert_has(show(&buffer), " 54=616e6e6f756e636564 ");
}
END_TEST

/* P7: who it is on this machine is not told to others; and these come last. */
START_TEST(test_private_fields_are_three_and_come_last) {
        static const char private[] = " 26=000003e8 31=00001092 28=000000000000abcd ";
        _cleanup_(node_freep) Node *node = full_node();
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 }, public = { 0 };
        const char *text;

        records_put_node(&buffer, node);
        text = show(&buffer);
        ck_assert_str_eq(text + strlen(text) - strlen(private), private);
        control_put_record_begin(&public, CONTROL_NODE_RECORD);
        records_put_public_fields(&public, node);
        control_put_record_end(&public);
        text = show(&public);
        assert_lacks(text, " 26=");
        assert_lacks(text, " 28=");
        assert_lacks(text, " 31=");
        assert_has(text, " 27=612e73657276696365 ");
        assert_has(text, " 32=68 ");
        ck_assert_uint_gt(buffer.n_data, public.n_data);
        ck_assert_mem_eq(buffer.data + 4, public.data + 4, public.n_data - 4);
}
END_TEST

START_TEST(test_a_tenure_is_a_node_and_its_end) {
        _cleanup_(node_freep) Node *node = full_node();
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 }, nobody = { 0 }, public = { 0 };

        node->until_usec = 0x88;
        records_put_tenure(&buffer, CONTROL_GONE_RECORD, node, "released", "uid 0");
        ck_assert_int_eq(strncmp(show(&buffer), "73 ", 3), 0);
        assert_has_all_of_node(show(&buffer));
        assert_has(show(&buffer), " 42=0000000000000088 ");
        assert_has(show(&buffer), " 43=72656c6561736564 ");
        assert_has(show(&buffer), " 44=7569642030 ");
        control_put_record_begin(&public, CONTROL_GONE_RECORD);
        records_put_public_tenure_fields(&public, node, "released");
        control_put_record_end(&public);
        assert_lacks(show(&public), " 44=");
        ck_assert_mem_eq(buffer.data + 4, public.data + 4, public.n_data - 4);
        records_put_tenure(&nobody, CONTROL_TENURE_RECORD, node, "left", NULL);
        ck_assert_int_eq(strncmp(show(&nobody), "69 ", 3), 0);
        assert_has(show(&nobody), " 43=6c656674 ");
        assert_lacks(show(&nobody), " 44=");
}
END_TEST

START_TEST(test_a_refusal_tells_whom_when_and_why) {
        static char name[] = "web", unit[] = "a.service";
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 }, unknown = { 0 };
        Refused refused = { .name = name, .n_name = 3, .at_usec = 0x99, .reason = REFUSAL_NAME_TAKEN, .port = 0x1234,
                            .uid = 1000, .unit = unit };

        records_put_refused(&buffer, &refused);
        ck_assert_str_eq(show(&buffer), "70 16=776562 45=0000000000000099 46=6e616d652d74616b656e 18=1234 26=000003e8 "
                                        "27=612e73657276696365 ");
        refused.uid = NODE_UID_UNKNOWN;
        refused.unit = NULL;
        records_put_refused(&unknown, &refused);
        ck_assert_str_eq(show(&unknown), "70 16=776562 45=0000000000000099 46=6e616d652d74616b656e 18=1234 ");
}
END_TEST

/* The most that a node can announce fits a record many times over. */
START_TEST(test_the_longest_node_is_a_record_too) {
        static char name[NODE_NAME_BYTES_MAX], host[NODE_HOST_BYTES_MAX + 1], value[NODE_METADATA_VALUE_MAX];
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        _cleanup_(node_freep) Node *node = NULL;

        memset(name, 'a', sizeof name);
        memset(host, 'h', sizeof host - 1);
        memset(value, 'v', sizeof value);
        node = node_new(&(NodeInfo){ .name = name, .n_name = sizeof name });
        node->profile.host = strdup(host);
        for (int i = 0; i < NODE_METADATA_PAIRS_MAX; i++) {
                char key[NODE_METADATA_KEY_MAX + 1];

                snprintf(key, sizeof key, "%064d", i);
                ck_assert_int_eq(node_profile_set(&node->profile, key, 64, value, sizeof value), 0);
        }
        records_put_node(&buffer, node);
        ck_assert_int_eq(buffer.error, 0);
        ck_assert_uint_lt(buffer.n_data, 16384);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("records");
        TCase *tcase = tcase_create("records");

        tcase_add_test(tcase, test_a_record_has_all_that_is_known_of_a_node);
        tcase_add_test(tcase, test_what_is_not_known_is_absent);
        tcase_add_loop_test(tcase, test_the_host_part_says_whether_the_name_is_short_or_long, 0, ELEMENTS(hosts));
        tcase_add_test(tcase, test_private_fields_are_three_and_come_last);
        tcase_add_test(tcase, test_a_tenure_is_a_node_and_its_end);
        tcase_add_test(tcase, test_a_refusal_tells_whom_when_and_why);
        tcase_add_test(tcase, test_the_longest_node_is_a_record_too);
        suite_add_tcase(suite, tcase);
        return suite;
}
