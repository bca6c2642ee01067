/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/control.h"
#include "util.h"

/* A string literal as bytes, without its NUL. */
#define BYTES(literal) (const uint8_t *)(literal), sizeof(literal) - 1

static void assert_bytes(const ControlBuffer *buffer, const uint8_t *expected, size_t n_expected) {
        ck_assert_int_eq(buffer->error, 0);
        ck_assert_uint_eq(buffer->n_data, n_expected);
        ck_assert_mem_eq(buffer->data, expected, n_expected);
}

/* A copy that ends where its allocation ends, so that a sanitizer sees a read beyond it. */
static uint8_t *exactly(const uint8_t *data, size_t n_data) {
        uint8_t *copy = malloc(n_data ? n_data : 1);

        ck_assert_ptr_nonnull(copy);
        if (n_data > 0)
                memcpy(copy, data, n_data);
        return copy;
}

/* --- requests --------------------------------------------------------------------------------- */

START_TEST(test_a_request_is_written_as_documented) {
        ControlBuffer buffer = { 0 };

        control_put_request_begin(&buffer, CONTROL_STATUS);
        control_put_request_end(&buffer);
        assert_bytes(&buffer, BYTES("\0\5LRC\1\1"));
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_a_request_with_fields_comes_back_as_it_was_written) {
        ControlBuffer buffer = { 0 };
        ControlRequest request;
        ControlField field;
        size_t offset = 0;

        control_put_request_begin(&buffer, CONTROL_NAMES);
        control_put_text(&buffer, CONTROL_TAG_NAME, "web_", 4);
        control_put_u16(&buffer, CONTROL_TAG_PORT, 4370);
        control_put_request_end(&buffer);
        ck_assert_int_eq(buffer.error, 0);
        ck_assert_uint_eq((size_t)(buffer.data[0] << 8 | buffer.data[1]), buffer.n_data - 2);

        ck_assert(control_parse_request(buffer.data + 2, buffer.n_data - 2, &request));
        ck_assert_uint_eq(request.version, CONTROL_VERSION);
        ck_assert_uint_eq(request.kind, CONTROL_NAMES);
        ck_assert(control_next_field(request.fields, request.n_fields, &offset, &field));
        ck_assert_uint_eq(field.tag, CONTROL_TAG_NAME);
        ck_assert_uint_eq(field.n_value, 4);
        ck_assert_mem_eq(field.value, "web_", 4);
        ck_assert(control_next_field(request.fields, request.n_fields, &offset, &field));
        ck_assert_uint_eq(field.tag, CONTROL_TAG_PORT);
        ck_assert_uint_eq(control_field_u64(&field), 4370);
        ck_assert(!control_next_field(request.fields, request.n_fields, &offset, &field));
        ck_assert_uint_eq(offset, request.n_fields);
        control_buffer_done(&buffer);
}
END_TEST

static const struct {
        const char *what;
        const char *body;
        size_t n_body;
        bool is_request;
        uint8_t version, kind;
        size_t n_fields;
} requests[] = {
#define BODY(literal) literal, sizeof(literal) - 1
        { "status", BODY("LRC\1\1"), true, 1, CONTROL_STATUS, 0 },
        { "names", BODY("LRC\1\2"), true, 1, CONTROL_NAMES, 0 },
        { "a kind that nobody knows", BODY("LRC\1\77"), true, 1, 63, 0 },
        { "a later version", BODY("LRC\2\1"), true, 2, CONTROL_STATUS, 0 },
        { "version 0", BODY("LRC\0\1"), true, 0, CONTROL_STATUS, 0 },
        { "a later version that has no kind", BODY("LRC\377"), true, 255, 0, 0 },
        { "with a field", BODY("LRC\1\1\0\20\0\1a"), true, 1, CONTROL_STATUS, 5 },
        { "a later version with other fields", BODY("LRC\2\1\0"), true, 2, CONTROL_STATUS, 1 },
        { "half a field", BODY("LRC\1\1\0"), false, 0, 0, 0 },
        { "a field that runs over the end", BODY("LRC\1\1\0\20\0\2a"), false, 0, 0, 0 },
        { "nothing", BODY(""), false, 0, 0, 0 },
        { "the opcode alone", BODY("L"), false, 0, 0, 0 },
        { "two letters", BODY("LR"), false, 0, 0, 0 },
        { "no kind", BODY("LRC\1"), false, 0, 0, 0 },
        { "no version", BODY("LRC"), false, 0, 0, 0 },
        { "another word", BODY("LRX\1\1"), false, 0, 0, 0 },
        { "small letters", BODY("lrc\1\1"), false, 0, 0, 0 },
        { "an EPMD request", BODY("n"), false, 0, 0, 0 },
        { "an EPMD lookup of a name like the magic", BODY("zLRC\1"), false, 0, 0, 0 },
};

START_TEST(test_what_is_a_request_and_what_is_not) {
        uint8_t *body = exactly((const uint8_t *)requests[_i].body, requests[_i].n_body);
        ControlRequest request = { .n_fields = 12345 };
        bool is_request = control_parse_request(body, requests[_i].n_body, &request);

        ck_assert_msg(is_request == requests[_i].is_request, "%s", requests[_i].what);
        if (is_request) {
                ck_assert_uint_eq(request.version, requests[_i].version);
                ck_assert_uint_eq(request.kind, requests[_i].kind);
                ck_assert_uint_eq(request.n_fields, requests[_i].n_fields);
                ck_assert_ptr_eq(request.fields + request.n_fields, body + requests[_i].n_body);
        } else
                ck_assert_uint_eq(request.n_fields, 12345); /* written only on success */
        free(body);
}
END_TEST

START_TEST(test_a_request_that_its_length_cannot_tell_is_an_error) {
        ControlBuffer buffer = { 0 };
        static char text[40000];

        memset(text, 'a', sizeof(text));
        control_put_request_begin(&buffer, CONTROL_NAMES);
        control_put_text(&buffer, CONTROL_TAG_NAME, text, sizeof(text));
        control_put_text(&buffer, CONTROL_TAG_NAME, text, sizeof(text));
        control_put_request_end(&buffer);
        ck_assert_int_eq(buffer.error, -EMSGSIZE);
        control_buffer_done(&buffer);
}
END_TEST

/* --- fields ----------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        const char *fields;
        size_t n_fields;
        size_t n_good; /* fields before the end or the fault */
        bool malformed;
} walks[] = {
        { "no field", BODY(""), 0, false },
        { "an empty field", BODY("\0\20\0\0"), 1, false },
        { "two fields", BODY("\0\20\0\1a\0\21\0\2bc"), 2, false },
        { "an unknown tag", BODY("\377\377\0\1a"), 1, false },
        { "half a tag", BODY("\0"), 0, true },
        { "a tag alone", BODY("\0\20"), 0, true },
        { "half a length", BODY("\0\20\0"), 0, true },
        { "a value that is missing", BODY("\0\20\0\1"), 0, true },
        { "a value one byte short", BODY("\0\20\0\3ab"), 0, true },
        { "the longest length with nothing behind it", BODY("\0\20\377\377"), 0, true },
        { "a good field, then a short one", BODY("\0\20\0\1a\0\21\0\2b"), 1, true },
        { "a good field, then one byte too many", BODY("\0\20\0\1a\0"), 1, true },
};

START_TEST(test_fields_are_walked_up_to_the_end_or_the_fault) {
        uint8_t *fields = exactly((const uint8_t *)walks[_i].fields, walks[_i].n_fields);
        ControlField field;
        size_t offset = 0, n = 0;

        while (control_next_field(fields, walks[_i].n_fields, &offset, &field)) {
                ck_assert(field.value >= fields);
                ck_assert(field.value + field.n_value <= fields + walks[_i].n_fields);
                n++;
        }
        ck_assert_msg(n == walks[_i].n_good, "%s: %zu fields", walks[_i].what, n);
        ck_assert_msg((offset == SIZE_MAX) == walks[_i].malformed, "%s", walks[_i].what);
        ck_assert_msg(control_fields_are_well_formed(fields, walks[_i].n_fields) !=
                              walks[_i].malformed,
                      "%s", walks[_i].what);
        /* A walk that has stopped stays where it is. */
        ck_assert(!control_next_field(fields, walks[_i].n_fields, &offset, &field));
        free(fields);
}
END_TEST

static const struct {
        const char *value;
        size_t n_value;
        uint64_t number;
} integers[] = {
        { BODY(""), 0 },
        { BODY("\0"), 0 },
        { BODY("\377"), UINT8_MAX },
        { BODY("\21\42"), 0x1122 },
        { BODY("\1\2\3"), 0 },
        { BODY("\377\377\377\376"), UINT32_MAX - 1 },
        { BODY("\1\2\3\4\5"), 0 },
        { BODY("\1\2\3\4\5\6\7\10"), UINT64_C(0x0102030405060708) },
        { BODY("\377\377\377\377\377\377\377\377"), UINT64_MAX },
        { BODY("\1\2\3\4\5\6\7\10\11"), 0 },
};

START_TEST(test_an_integer_has_1_2_4_or_8_bytes_and_else_is_0) {
        uint8_t *value = exactly((const uint8_t *)integers[_i].value, integers[_i].n_value);
        ControlField field = { .n_value = (uint16_t)integers[_i].n_value, .value = value };

        ck_assert_uint_eq(control_field_u64(&field), integers[_i].number);
        free(value);
}
END_TEST

START_TEST(test_every_kind_of_value_comes_back_as_it_was_written) {
        static const uint64_t expected[] = { 200, 60000, 4000000000, UINT64_C(1) << 60 };
        static const uint16_t n_expected[] = { 1, 2, 4, 8 };
        ControlBuffer buffer = { 0 };
        ControlField field;
        size_t offset = 0;

        control_put_u8(&buffer, CONTROL_TAG_TYPE, 200);
        control_put_u16(&buffer, CONTROL_TAG_PORT, 60000);
        control_put_u32(&buffer, CONTROL_TAG_CREATION, 4000000000);
        control_put_u64(&buffer, CONTROL_TAG_SINCE, UINT64_C(1) << 60);
        control_put_text(&buffer, CONTROL_TAG_UNIT, "", 0);
        ck_assert_int_eq(buffer.error, 0);
        for (size_t i = 0; i < ELEMENTS(expected); i++) {
                ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
                ck_assert_uint_eq(field.n_value, n_expected[i]);
                ck_assert_uint_eq(control_field_u64(&field), expected[i]);
        }
        ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
        ck_assert_uint_eq(field.tag, CONTROL_TAG_UNIT);
        ck_assert_uint_eq(field.n_value, 0);
        ck_assert_uint_eq(offset, buffer.n_data);
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_a_counter_comes_back_as_it_was_written) {
        ControlBuffer buffer = { 0 };
        ControlField field;
        const char *name;
        size_t offset = 0, n_name;
        uint64_t value;

        control_put_counter(&buffer, "requests.names", 7);
        assert_bytes(&buffer, BYTES("\0\116\0\26\0\0\0\0\0\0\0\7requests.names"));
        ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
        ck_assert(control_field_counter(&field, &name, &n_name, &value));
        ck_assert_uint_eq(value, 7);
        ck_assert_uint_eq(n_name, strlen("requests.names"));
        ck_assert_mem_eq(name, "requests.names", n_name);
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_a_number_with_a_name_comes_back_as_it_was_written) {
        ControlBuffer buffer = { 0 };
        ControlField field;
        const char *name;
        size_t offset = 0, n_name;
        uint64_t value;

        control_put_named_u64(&buffer, CONTROL_TAG_N_IN_STATE, "ready", 3);
        assert_bytes(&buffer, BYTES("\0\122\0\15\0\0\0\0\0\0\0\3ready"));
        ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
        ck_assert(control_field_counter(&field, &name, &n_name, &value));
        ck_assert_uint_eq(value, 3);
        ck_assert_uint_eq(n_name, 5);
        ck_assert_mem_eq(name, "ready", n_name);
        control_buffer_done(&buffer);
}
END_TEST

static const struct {
        const char *key, *value;
} pairs[] = { { "role", "web" }, { "empty", "" }, { "k", "\xc3\xa9" } };

START_TEST(test_a_pair_comes_back_as_it_was_written) {
        ControlBuffer buffer = { 0 };
        ControlField field;
        const char *key, *value;
        size_t offset = 0, n_key, n_value;

        control_put_pair(&buffer, pairs[_i].key, pairs[_i].value);
        ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
        ck_assert_uint_eq(field.tag, CONTROL_TAG_PAIR);
        ck_assert_uint_eq(offset, buffer.n_data);
        ck_assert(control_field_pair(&field, &key, &n_key, &value, &n_value));
        ck_assert_str_eq(key, pairs[_i].key);
        ck_assert_uint_eq(n_key, strlen(pairs[_i].key));
        ck_assert_uint_eq(n_value, strlen(pairs[_i].value));
        ck_assert_mem_eq(value, pairs[_i].value, n_value);
        control_buffer_done(&buffer);
}
END_TEST

static const struct {
        const char *value;
        size_t n_value;
} no_pairs[] = { { BODY("") }, { BODY("\0") }, { BODY("\0v") }, { BODY("key") } };

START_TEST(test_a_pair_without_a_key_or_a_zero_byte_is_none) {
        uint8_t *bytes = exactly((const uint8_t *)no_pairs[_i].value, no_pairs[_i].n_value);
        ControlField field = { .tag = CONTROL_TAG_PAIR, .n_value = (uint16_t)no_pairs[_i].n_value, .value = bytes };
        const char *key, *value;
        size_t n_key, n_value;

        ck_assert(!control_field_pair(&field, &key, &n_key, &value, &n_value));
        free(bytes);
}
END_TEST

START_TEST(test_of_several_fields_with_one_tag_the_last_is_found) {
        static const uint8_t fields[] = "\0\20\0\1a\0\21\0\1x\0\20\0\1b";
        ControlField field = { .n_value = 99 };

        ck_assert(control_find_field(fields, sizeof fields - 1, CONTROL_TAG_NAME, &field));
        ck_assert_uint_eq(field.n_value, 1);
        ck_assert_uint_eq(field.value[0], 'b');
        ck_assert(!control_find_field(fields, sizeof fields - 1, CONTROL_TAG_SCOPE, &field));
        ck_assert_uint_eq(field.value[0], 'b'); /* written only on success */
}
END_TEST

START_TEST(test_a_counter_without_a_name_is_none) {
        const char *name;
        size_t n_name;
        uint64_t value;

        for (uint16_t n = 0; n <= 8; n++) {
                uint8_t *bytes = exactly((const uint8_t *)"\0\0\0\0\0\0\0\7", n);
                ControlField field = { .tag = CONTROL_TAG_COUNTER, .n_value = n, .value = bytes };

                ck_assert(!control_field_counter(&field, &name, &n_name, &value));
                free(bytes);
        }
}
END_TEST

START_TEST(test_long_text_is_cut_but_not_within_a_character) {
        /* A euro sign, of 3 bytes, around the place of the cut: whole before it, or gone. */
        static const struct {
                size_t n_before, n_kept;
        } cuts[] = {
                { 65531, 65535 }, { 65532, 65535 }, { 65533, 65533 },
                { 65534, 65534 }, { 65535, 65535 },
        };
        static char text[70000];
        ControlBuffer buffer = { 0 };
        ControlField field;
        size_t offset = 0;

        memset(text, 'a', sizeof(text));
        memcpy(text + cuts[_i].n_before, "\342\202\254", 3);
        control_put_text(&buffer, CONTROL_TAG_TEXT, text, sizeof(text));
        ck_assert_int_eq(buffer.error, 0);
        ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
        ck_assert_uint_eq(field.n_value, cuts[_i].n_kept);
        ck_assert_mem_eq(field.value, text, field.n_value);
        ck_assert_uint_eq(offset, buffer.n_data);
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_text_that_is_not_utf8_is_cut_where_it_must_be) {
        static char text[70000];
        ControlBuffer buffer = { 0 };
        ControlField field;
        size_t offset = 0;

        memset(text, 0x80, sizeof(text));
        control_put_text(&buffer, CONTROL_TAG_TEXT, text, sizeof(text));
        ck_assert(control_next_field(buffer.data, buffer.n_data, &offset, &field));
        ck_assert_uint_eq(field.n_value, UINT16_MAX);
        control_buffer_done(&buffer);
}
END_TEST

/* --- answers ---------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        const char *data;
        size_t n_data;
        int result;
        uint8_t version;
} heads[] = {
        { "whole", BODY("LRC\1"), 1, 1 },
        { "whole, and more", BODY("LRC\1\0\0"), 1, 1 },
        { "of a later version", BODY("LRC\7"), 1, 7 },
        { "nothing yet", BODY(""), 0, 0 },
        { "one byte", BODY("L"), 0, 0 },
        { "three bytes", BODY("LRC"), 0, 0 },
        { "another's first byte", BODY("H"), -EBADMSG, 0 },
        { "another's second byte", BODY("LX"), -EBADMSG, 0 },
        { "another's third byte", BODY("LRX"), -EBADMSG, 0 },
        { "EPMD's answer to a listing", BODY("\0\0\21\21"), -EBADMSG, 0 },
};

START_TEST(test_what_is_the_head_of_an_answer) {
        uint8_t *data = exactly((const uint8_t *)heads[_i].data, heads[_i].n_data);
        uint8_t version = 0;

        ck_assert_msg(control_parse_answer_head(data, heads[_i].n_data, &version) ==
                              heads[_i].result,
                      "%s", heads[_i].what);
        ck_assert_uint_eq(version, heads[_i].version);
        free(data);
}
END_TEST

static const struct {
        const char *what;
        const char *data;
        size_t n_data;
        int result;
        size_t n_record;
        uint8_t kind;
} records[] = {
        { "an empty record of the kind END", BODY("\0\0\0\1\100"), 1, 5, CONTROL_END },
        { "a record, and more behind it", BODY("\0\0\0\2\102a\0\0"), 1, 6, CONTROL_STATUS_RECORD },
        { "an unknown kind", BODY("\0\0\0\1\377"), 1, 5, 255 },
        { "nothing yet", BODY(""), 0, 0, 0 },
        { "half a length", BODY("\0\0"), 0, 0, 0 },
        { "a length alone", BODY("\0\0\0\1"), 0, 0, 0 },
        { "one byte short", BODY("\0\0\0\3\100a"), 0, 0, 0 },
        { "the longest, not yet here", BODY("\0\20\0\0\100"), 0, 0, 0 },
        { "no kind", BODY("\0\0\0\0"), -EBADMSG, 0, 0 },
        { "one byte above the longest", BODY("\0\20\0\1\100"), -EBADMSG, 0, 0 },
        { "the greatest length", BODY("\377\377\377\377\100"), -EBADMSG, 0, 0 },
};

START_TEST(test_what_is_a_record) {
        uint8_t *data = exactly((const uint8_t *)records[_i].data, records[_i].n_data);
        const uint8_t *fields = NULL;
        size_t n_record = 0, n_fields = 0;
        uint8_t kind = 0;

        ck_assert_msg(control_next_record(data, records[_i].n_data, &n_record, &kind, &fields,
                                          &n_fields) == records[_i].result,
                      "%s", records[_i].what);
        ck_assert_uint_eq(n_record, records[_i].n_record);
        ck_assert_uint_eq(kind, records[_i].kind);
        if (records[_i].result == 1)
                ck_assert_ptr_eq(fields + n_fields, data + n_record);
        free(data);
}
END_TEST

static void put_answer(ControlBuffer *buffer) {
        control_put_answer_head(buffer);
        control_put_record_begin(buffer, CONTROL_NODE_RECORD);
        control_put_text(buffer, CONTROL_TAG_NAME, "a", 1);
        control_put_u16(buffer, CONTROL_TAG_PORT, 1111);
        control_put_record_end(buffer);
        control_put_record_begin(buffer, CONTROL_END);
        control_put_record_end(buffer);
}

/* Reads as a client does. -EAGAIN: the answer is not complete. */
static int count_records(const uint8_t *data, size_t n_data, size_t *ret_n_records,
                         size_t *ret_n_fields) {
        size_t position = CONTROL_ANSWER_HEAD, n_record;
        const uint8_t *fields;
        size_t n_bytes;
        uint8_t kind, version;
        int r;

        *ret_n_records = *ret_n_fields = 0;
        r = control_parse_answer_head(data, n_data, &version);
        if (r <= 0)
                return r < 0 ? r : -EAGAIN;
        for (;;) {
                ControlField field;
                size_t offset = 0;

                r = control_next_record(data + position, n_data - position, &n_record, &kind,
                                        &fields, &n_bytes);
                if (r <= 0)
                        return r < 0 ? r : -EAGAIN;
                while (control_next_field(fields, n_bytes, &offset, &field))
                        ++*ret_n_fields;
                if (offset == SIZE_MAX)
                        return -EBADMSG;
                position += n_record;
                ++*ret_n_records;
                if (kind == CONTROL_END || kind == CONTROL_ERROR)
                        return 0;
        }
}

START_TEST(test_an_answer_is_written_as_documented) {
        ControlBuffer buffer = { 0 };

        put_answer(&buffer);
        assert_bytes(&buffer, BYTES("LRC\1"
                                    "\0\0\0\14\103"
                                    "\0\20\0\1a"
                                    "\0\22\0\2\4\127"
                                    "\0\0\0\1\100"));
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_an_answer_cut_at_any_byte_is_incomplete_and_never_wrong) {
        ControlBuffer buffer = { 0 };
        size_t n_records, n_fields;

        put_answer(&buffer);
        for (size_t n = 0; n < buffer.n_data; n++) {
                uint8_t *data = exactly(buffer.data, n);

                ck_assert_msg(count_records(data, n, &n_records, &n_fields) == -EAGAIN,
                              "cut at %zu", n);
                free(data);
        }
        ck_assert_int_eq(count_records(buffer.data, buffer.n_data, &n_records, &n_fields), 0);
        ck_assert_uint_eq(n_records, 2);
        ck_assert_uint_eq(n_fields, 2);
        control_buffer_done(&buffer);
}
END_TEST

/* Every byte replaced by every value: nothing is read that is not there (a sanitizer looks), and
 * nothing is found beyond the end. */
START_TEST(test_an_answer_with_any_byte_changed_is_read_within_its_bounds) {
        ControlBuffer buffer = { 0 };
        size_t n_records, n_fields;

        put_answer(&buffer);
        for (size_t i = 0; i < buffer.n_data; i++) {
                uint8_t *data = exactly(buffer.data, buffer.n_data);

                for (unsigned value = 0; value <= UINT8_MAX; value++) {
                        int r;

                        data[i] = (uint8_t)value;
                        r = count_records(data, buffer.n_data, &n_records, &n_fields);
                        ck_assert(r == 0 || r == -EAGAIN || r == -EBADMSG);
                        ck_assert_uint_le(n_records, 2);
                }
                free(data);
        }
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_an_error_answer_names_the_error) {
        ControlBuffer buffer = { 0 };

        control_put_error_answer(&buffer, CONTROL_E_DENIED, "no");
        assert_bytes(&buffer, BYTES("LRC\1"
                                    "\0\0\0\15\101"
                                    "\0\1\0\2\0\4"
                                    "\0\2\0\2no"));
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_a_bad_version_is_told_the_right_one) {
        ControlBuffer buffer = { 0 };

        control_put_error_answer(&buffer, CONTROL_E_BAD_VERSION, "no");
        assert_bytes(&buffer, BYTES("LRC\1"
                                    "\0\0\0\22\101"
                                    "\0\1\0\2\0\2"
                                    "\0\2\0\2no"
                                    "\0\3\0\1\1"));
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_a_record_above_the_bound_is_an_error_that_sticks) {
        ControlBuffer buffer = { 0 };
        static char text[UINT16_MAX];
        size_t n_data;

        memset(text, 'a', sizeof(text));
        control_put_record_begin(&buffer, CONTROL_NODE_RECORD);
        for (int i = 0; i < 17; i++)
                control_put_text(&buffer, CONTROL_TAG_NAME, text, sizeof(text));
        control_put_record_end(&buffer);
        ck_assert_int_eq(buffer.error, -EMSGSIZE);

        n_data = buffer.n_data;
        control_put_record_begin(&buffer, CONTROL_END);
        control_put_u8(&buffer, CONTROL_TAG_TYPE, 1);
        control_put_record_end(&buffer);
        ck_assert_int_eq(buffer.error, -EMSGSIZE);
        ck_assert_uint_eq(buffer.n_data, n_data);

        control_buffer_done(&buffer);
        ck_assert_ptr_null(buffer.data);
        ck_assert_int_eq(buffer.error, 0);
        control_put_answer_head(&buffer);
        assert_bytes(&buffer, BYTES("LRC\1"));
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_many_records_grow_the_buffer) {
        ControlBuffer buffer = { 0 };
        size_t n_records, n_fields;

        control_put_answer_head(&buffer);
        for (uint32_t i = 0; i < 15000; i++) {
                control_put_record_begin(&buffer, CONTROL_NODE_RECORD);
                control_put_u32(&buffer, CONTROL_TAG_CREATION, i);
                control_put_record_end(&buffer);
        }
        control_put_record_begin(&buffer, CONTROL_END);
        control_put_record_end(&buffer);
        ck_assert_int_eq(buffer.error, 0);
        ck_assert_int_eq(count_records(buffer.data, buffer.n_data, &n_records, &n_fields), 0);
        ck_assert_uint_eq(n_records, 15001);
        ck_assert_uint_eq(n_fields, 15000);
        control_buffer_done(&buffer);
}
END_TEST

/* What comes last is left out without a new encoding. */
START_TEST(test_a_record_is_shortened_by_its_length) {
        ControlBuffer buffer = { 0 };
        size_t n_short;

        control_put_record_begin(&buffer, CONTROL_NODE_RECORD);
        control_put_u8(&buffer, CONTROL_TAG_TYPE, 77);
        n_short = buffer.n_data;
        control_put_u32(&buffer, CONTROL_TAG_UID, 1000);
        control_put_record_end(&buffer);
        control_set_record_length(buffer.data, n_short);
        buffer.n_data = n_short;
        assert_bytes(&buffer, BYTES("\0\0\0\6\103"
                                    "\0\23\0\1M"));
        control_buffer_done(&buffer);
}
END_TEST

START_TEST(test_what_means_to_be_a_request) {
        ck_assert(control_has_magic((const uint8_t *)"LRC", 3));
        ck_assert(control_has_magic((const uint8_t *)"LRC\1\7\0", 6));
        ck_assert(!control_has_magic((const uint8_t *)"LR", 2));
        ck_assert(!control_has_magic((const uint8_t *)"LRX\1\7", 5));
        ck_assert(!control_has_magic((const uint8_t *)"", 0));
}
END_TEST

START_TEST(test_every_error_has_a_word_and_others_are_unknown) {
                static const char *const words[] = {
                        "unknown", "malformed", "bad-version", "unknown-request",
                        "denied",  "busy",      "internal",    "not-found",
                        "ambiguous", "unavailable", "too-slow",    "exists",    "unknown",
                };

                for (uint32_t error = 0; error < ELEMENTS(words); error++)
                        ck_assert_str_eq(control_error_to_string(error), words[error]);
                ck_assert_str_eq(control_error_to_string(UINT32_MAX), "unknown");
}
END_TEST

/* A tag is two bytes on the wire and is never used twice; a kind is one. */
START_TEST(test_numbers_are_those_that_protocol_md_lists) {
        static const struct {
                unsigned in_code, in_document;
        } numbers[] = {
                { CONTROL_STATUS, 1 },          { CONTROL_NAMES, 2 },
                { CONTROL_END, 64 },            { CONTROL_ERROR, 65 },
                { CONTROL_STATUS_RECORD, 66 },  { CONTROL_NODE_RECORD, 67 },
                { CONTROL_SOCKET_RECORD, 68 },  { CONTROL_TAG_ERROR, 1 },
                { CONTROL_TAG_TEXT, 2 },        { CONTROL_TAG_VERSION, 3 },
                { CONTROL_TAG_NAME, 16 },       { CONTROL_TAG_STATE, 17 },
                { CONTROL_TAG_LISTENER, 28 },   { CONTROL_TAG_ADDRESS, 40 },
                { CONTROL_TAG_ORIGIN, 41 },     { CONTROL_TAG_PROGRAM_VERSION, 60 },
                { CONTROL_TAG_COUNTER, 78 },    { CONTROL_TAG_NODES_PER_UID_MAX, 80 },
                { CONTROL_E_MALFORMED, 1 },     { CONTROL_E_INTERNAL, 6 },
                { CONTROL_E_UNAVAILABLE, 9 },   { CONTROL_WATCH, 6 },
                { CONTROL_RELEASE, 8 },         { CONTROL_EPOCH_RECORD, 71 },
                { CONTROL_SYNCED_RECORD, 72 },  { CONTROL_GONE_RECORD, 73 },
                { CONTROL_MORE_RECORD, 74 },    { CONTROL_TAG_PAIR, 34 },
                { CONTROL_TAG_CURSOR, 47 },     { CONTROL_TAG_EPOCH, 48 },
                { CONTROL_TAG_PREFIX, 49 },     { CONTROL_TAG_REVISION, 76 },
                { CONTROL_TAG_N_IN_STATE, 82 }, { CONTROL_TAG_CONFIG_FILE, 89 },
                { CONTROL_FIND, 9 },            { CONTROL_ADD, 10 },
                { CONTROL_ENTRIES, 15 },        { CONTROL_PIN_RECORD, 75 },
                { CONTROL_ENTRY_RECORD, 76 },   { CONTROL_E_TOO_SLOW, 10 },
                { CONTROL_E_EXISTS, 11 },       { CONTROL_TAG_PATTERN, 50 },
                { CONTROL_TAG_EXCLUDE, 51 },    { CONTROL_TAG_HIDDEN, 52 },
                { CONTROL_TAG_HEARTBEAT, 53 },  { CONTROL_TAG_HOST_SOURCE, 54 },
                { CONTROL_TAG_NAME_KIND, 55 },  { CONTROL_TAG_PINNED_PORT, 59 },
        };

        for (size_t i = 0; i < ELEMENTS(numbers); i++)
                ck_assert_uint_eq(numbers[i].in_code, numbers[i].in_document);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("control");
        TCase *tcase = tcase_create("requests");

        tcase_add_test(tcase, test_a_request_is_written_as_documented);
        tcase_add_test(tcase, test_a_request_with_fields_comes_back_as_it_was_written);
        tcase_add_loop_test(tcase, test_what_is_a_request_and_what_is_not, 0, ELEMENTS(requests));
        tcase_add_test(tcase, test_a_request_that_its_length_cannot_tell_is_an_error);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("fields");
        tcase_add_loop_test(tcase, test_fields_are_walked_up_to_the_end_or_the_fault, 0,
                            ELEMENTS(walks));
        tcase_add_loop_test(tcase, test_an_integer_has_1_2_4_or_8_bytes_and_else_is_0, 0,
                            ELEMENTS(integers));
        tcase_add_test(tcase, test_every_kind_of_value_comes_back_as_it_was_written);
        tcase_add_test(tcase, test_a_counter_comes_back_as_it_was_written);
        tcase_add_test(tcase, test_a_counter_without_a_name_is_none);
        tcase_add_test(tcase, test_a_number_with_a_name_comes_back_as_it_was_written);
        tcase_add_loop_test(tcase, test_a_pair_comes_back_as_it_was_written, 0, ELEMENTS(pairs));
        tcase_add_loop_test(tcase, test_a_pair_without_a_key_or_a_zero_byte_is_none, 0, ELEMENTS(no_pairs));
        tcase_add_test(tcase, test_of_several_fields_with_one_tag_the_last_is_found);
        tcase_add_loop_test(tcase, test_long_text_is_cut_but_not_within_a_character, 0, 5);
        tcase_add_test(tcase, test_text_that_is_not_utf8_is_cut_where_it_must_be);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("answers");
        tcase_add_loop_test(tcase, test_what_is_the_head_of_an_answer, 0, ELEMENTS(heads));
        tcase_add_loop_test(tcase, test_what_is_a_record, 0, ELEMENTS(records));
        tcase_add_test(tcase, test_an_answer_is_written_as_documented);
        tcase_add_test(tcase, test_an_answer_cut_at_any_byte_is_incomplete_and_never_wrong);
        tcase_add_test(tcase, test_an_answer_with_any_byte_changed_is_read_within_its_bounds);
        tcase_add_test(tcase, test_an_error_answer_names_the_error);
        tcase_add_test(tcase, test_a_bad_version_is_told_the_right_one);
        tcase_add_test(tcase, test_a_record_is_shortened_by_its_length);
        tcase_add_test(tcase, test_what_means_to_be_a_request);
        tcase_add_test(tcase, test_a_record_above_the_bound_is_an_error_that_sticks);
        tcase_add_test(tcase, test_many_records_grow_the_buffer);
        tcase_add_test(tcase, test_every_error_has_a_word_and_others_are_unknown);
        tcase_add_test(tcase, test_numbers_are_those_that_protocol_md_lists);
        suite_add_tcase(suite, tcase);
        return suite;
}
