/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "stock.h"
#include "util.h"

#define PORT "\0\0\x11\x11"

/* "+a:1 -b:2 ": nodes, and those that are gone. */
static const char *in_words(const ControlBuffer *records, char text[static 1024]) {
        size_t position = 0, n, n_fields;
        const uint8_t *fields;
        uint8_t kind;

        text[0] = '\0';
        while (control_next_record(records->data + position, records->n_data - position, &n, &kind, &fields, &n_fields) == 1) {
                ControlField name, port;

                position += n;
                ck_assert(control_find_field(fields, n_fields, CONTROL_TAG_NAME, &name));
                ck_assert(control_find_field(fields, n_fields, CONTROL_TAG_PORT, &port));
                sprintf(text + strlen(text), "%c%.*s:%u ", kind == CONTROL_NODE_RECORD ? '+' : '-', (int)name.n_value,
                        (const char *)name.value, (unsigned)control_field_u64(&port));
        }
        ck_assert_uint_eq(position, records->n_data);
        return text;
}

static int read_names(const char *lines, size_t n_lines, ControlBuffer *ret) {
        uint8_t data[4096];

        memcpy(data, PORT, 4);
        memcpy(data + 4, lines, n_lines);
        return stock_read_names(data, 4 + n_lines, ret);
}

static const struct {
        const char *lines, *expected; /* NULL: this is no answer */
} answers[] = {
        { "", "" },
        { "name a at port 39449\n", "+a:39449 " },
        { "name a at port 1\nname b at port 2\n", "+a:1 +b:2 " },
        { "name a b at port 1\n", "+a b:1 " },
        { "name a at port 7 at port 1\n", "+a at port 7:1 " },
        { "name  at port 1\n", "+:1 " },
        { "name a at port 0\n", "+a:0 " },
        { "name a at port 1", NULL }, /* it breaks off */
        { "name a at port 1\nname b at", NULL },
        { "name a at port\n", NULL },
        { "name a at port \n", NULL },
        { "name a at port x\n", NULL },
        { "name a at port 65536\n", NULL },
        { "name a at port 4294967297\n", NULL },
        { "HTTP/1.1 400 Bad Request\n", NULL },
        { "\n", NULL },
};

START_TEST(test_names_are_read) {
        ControlBuffer records = { 0 };
        char text[1024];
        int r = read_names(answers[_i].lines, strlen(answers[_i].lines), &records);

        if (answers[_i].expected) {
                ck_assert_int_eq(r, 0);
                ck_assert_str_eq(in_words(&records, text), answers[_i].expected);
        } else
                ck_assert_int_eq(r, -EBADMSG);
        control_buffer_done(&records);
}
END_TEST

START_TEST(test_an_answer_without_a_port_is_none) {
        ControlBuffer records = { 0 };

        for (size_t n = 0; n < 4; n++)
                ck_assert_int_eq(stock_read_names((const uint8_t *)PORT, n, &records), -EBADMSG);
        control_buffer_done(&records);
}
END_TEST

static const struct {
        const char *before, *after, *expected;
} changes[] = {
        { "", "", "" },
        { "", "name b at port 2\nname a at port 1\n", "+a:1 +b:2 " },
        { "name a at port 1\n", "name a at port 1\n", "" },
        { "name a at port 1\nname b at port 2\n", "name b at port 2\nname a at port 1\n", "" },
        { "name a at port 1\nname b at port 2\n", "name b at port 2\n", "-a:1 " },
        { "name a at port 1\n", "name a at port 3\n", "-a:1 +a:3 " },
        { "name a at port 1\n", "name ab at port 1\n", "-a:1 +ab:1 " },
        { "name a at port 1\n", "", "-a:1 " },
};

START_TEST(test_what_has_changed_is_told) {
        ControlBuffer before = { 0 }, after = { 0 }, records = { 0 };
        char text[1024];

        ck_assert_int_eq(read_names(changes[_i].before, strlen(changes[_i].before), &before), 0);
        ck_assert_int_eq(read_names(changes[_i].after, strlen(changes[_i].after), &after), 0);
        ck_assert_int_eq(stock_compare(&before, &after, &records), 0);
        ck_assert_str_eq(in_words(&records, text), changes[_i].expected);
        control_buffer_done(&before);
        control_buffer_done(&after);
        control_buffer_done(&records);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("stock");
        TCase *t = tcase_create("stock");

        tcase_add_loop_test(t, test_names_are_read, 0, (int)ELEMENTS(answers));
        tcase_add_test(t, test_an_answer_without_a_port_is_none);
        tcase_add_loop_test(t, test_what_has_changed_is_told, 0, (int)ELEMENTS(changes));
        suite_add_tcase(s, t);
        return s;
}
