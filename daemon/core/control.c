/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol's bytes. Knows frames, records and fields, and the shape of their values;
 * which fields a request or a record has, and what they mean, is known to those who read and write
 * them. No fd, no clock.
 *
 * The trap: lengths come from the other side. Every length is compared with what is left, never
 * added to a position first, since a sum could wrap. */

#include "core/control.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define RECORD_HEAD 4 /* the length */
#define FIELD_HEAD 4  /* tag and length */

static const uint8_t magic[3] = { CONTROL_OPCODE, 'R', 'C' };

const char *control_error_to_string(uint32_t error) {
        static const char *const words[] = {
                [CONTROL_E_MALFORMED] = "malformed",
                [CONTROL_E_BAD_VERSION] = "bad-version",
                [CONTROL_E_UNKNOWN_REQUEST] = "unknown-request",
                [CONTROL_E_DENIED] = "denied",
                [CONTROL_E_BUSY] = "busy",
                [CONTROL_E_INTERNAL] = "internal",
                [CONTROL_E_NOT_FOUND] = "not-found",
                [CONTROL_E_AMBIGUOUS] = "ambiguous",
                [CONTROL_E_UNAVAILABLE] = "unavailable",
                [CONTROL_E_TOO_SLOW] = "too-slow",
                [CONTROL_E_EXISTS] = "exists",
        };

        if (error >= ELEMENTS(words) || !words[error])
                return "unknown";
        return words[error];
}

/* --- reading ---------------------------------------------------------------------------------- */

static uint64_t get_integer(const uint8_t *bytes, size_t n_bytes) {
        uint64_t value = 0;

        for (size_t i = 0; i < n_bytes; i++)
                value = value << 8 | bytes[i];
        return value;
}

bool control_next_field(const uint8_t *fields, size_t n_fields, size_t *offset, ControlField *ret) {
        size_t n_left, n_value;

        if (*offset >= n_fields) /* the end, or SIZE_MAX: stopped before */
                return false;
        n_left = n_fields - *offset;
        n_value = n_left < FIELD_HEAD ? 0 : (size_t)get_integer(fields + *offset + 2, 2);
        if (n_left < FIELD_HEAD || n_value > n_left - FIELD_HEAD) {
                *offset = SIZE_MAX;
                return false;
        }
        *ret = (ControlField){
                .tag = (uint16_t)get_integer(fields + *offset, 2),
                .n_value = (uint16_t)n_value,
                .value = fields + *offset + FIELD_HEAD,
        };
        *offset += FIELD_HEAD + n_value;
        return true;
}

bool control_fields_are_well_formed(const uint8_t *fields, size_t n_fields) {
        ControlField field;
        size_t offset = 0;

        while (control_next_field(fields, n_fields, &offset, &field))
                ;
        return offset != SIZE_MAX;
}

bool control_find_field(const uint8_t *fields, size_t n_fields, ControlTag tag, ControlField *ret) {
        ControlField field;
        size_t offset = 0;
        bool is_found = false;

        while (control_next_field(fields, n_fields, &offset, &field))
                if (field.tag == tag) {
                        *ret = field;
                        is_found = true;
                }
        return is_found;
}

bool control_has_magic(const uint8_t *body, size_t n_body) {
        return n_body >= sizeof(magic) && memcmp(body, magic, sizeof(magic)) == 0;
}

bool control_parse_request(const uint8_t *body, size_t n_body, ControlRequest *ret) {
        bool has_kind = n_body >= CONTROL_REQUEST_HEAD;
        size_t n_head = has_kind ? CONTROL_REQUEST_HEAD : CONTROL_REQUEST_HEAD - 1;
        ControlRequest request;

        if (n_body < n_head || !control_has_magic(body, n_body))
                return false;
        request = (ControlRequest){
                .version = body[3],
                .kind = has_kind ? body[4] : 0,
                .fields = body + n_head,
                .n_fields = n_body - n_head,
        };
        if (request.version == CONTROL_VERSION &&
            !(has_kind && control_fields_are_well_formed(request.fields, request.n_fields)))
                return false;
        *ret = request;
        return true;
}

int control_parse_answer_head(const uint8_t *data, size_t n_data, uint8_t *ret_version) {
        size_t n_magic = n_data < sizeof(magic) ? n_data : sizeof(magic);

        /* Judged from the first byte on, so that a stranger's short answer is not waited for. */
        if (n_magic > 0 && memcmp(data, magic, n_magic) != 0)
                return -EBADMSG;
        if (n_data < CONTROL_ANSWER_HEAD)
                return 0;
        *ret_version = data[3];
        return 1;
}

int control_next_record(const uint8_t *data, size_t n_data, size_t *ret_n, uint8_t *ret_kind,
                        const uint8_t **ret_fields, size_t *ret_n_fields) {
        size_t n_record;

        if (n_data < RECORD_HEAD)
                return 0;
        n_record = (size_t)get_integer(data, RECORD_HEAD);
        if (n_record == 0 || n_record > CONTROL_RECORD_BYTES_MAX)
                return -EBADMSG;
        if (n_record > n_data - RECORD_HEAD)
                return 0;
        *ret_n = RECORD_HEAD + n_record;
        *ret_kind = data[RECORD_HEAD];
        *ret_fields = data + RECORD_HEAD + 1;
        *ret_n_fields = n_record - 1;
        return 1;
}

uint64_t control_field_u64(const ControlField *field) {
        switch (field->n_value) {
        case 1:
        case 2:
        case 4:
        case 8:
                return get_integer(field->value, field->n_value);
        }
        return 0;
}

bool control_field_counter(const ControlField *field, const char **ret_name, size_t *ret_n_name,
                           uint64_t *ret_value) {
        if (field->n_value <= sizeof(uint64_t))
                return false;
        *ret_value = get_integer(field->value, sizeof(uint64_t));
        *ret_name = (const char *)field->value + sizeof(uint64_t);
        *ret_n_name = field->n_value - sizeof(uint64_t);
        return true;
}

bool control_field_pair(const ControlField *field, const char **ret_key, size_t *ret_n_key, const char **ret_value,
                        size_t *ret_n_value) {
        const char *key = (const char *)field->value;
        const char *end = field->n_value > 0 ? memchr(key, 0, field->n_value) : NULL;

        if (!end || end == key)
                return false;
        *ret_key = key;
        *ret_n_key = (size_t)(end - key);
        *ret_value = end + 1;
        *ret_n_value = field->n_value - *ret_n_key - 1;
        return true;
}

/* --- writing ---------------------------------------------------------------------------------- */

void control_buffer_done(ControlBuffer *buffer) {
        free(buffer->data);
        *buffer = (ControlBuffer){ 0 };
}

/* Room for `n` more bytes, which the caller fills; NULL once there is an error. */
static uint8_t *extend(ControlBuffer *buffer, size_t n) {
        uint8_t *place;

        if (buffer->error < 0)
                return NULL;
        if (n > buffer->n_room - buffer->n_data) {
                size_t n_room = 2 * buffer->n_room + n + 256;
                uint8_t *data = realloc(buffer->data, n_room);

                if (!data) {
                        buffer->error = -ENOMEM;
                        return NULL;
                }
                buffer->data = data;
                buffer->n_room = n_room;
        }
        place = buffer->data + buffer->n_data;
        buffer->n_data += n;
        return place;
}

static void set_integer(uint8_t *place, uint64_t value, size_t n_bytes) {
        for (size_t i = n_bytes; i > 0; i--, value >>= 8)
                place[i - 1] = (uint8_t)value;
}

static void put_bytes(ControlBuffer *buffer, const void *bytes, size_t n_bytes) {
        uint8_t *place = extend(buffer, n_bytes);

        if (place && n_bytes > 0)
                memcpy(place, bytes, n_bytes);
}

static void put_integer(ControlBuffer *buffer, uint64_t value, size_t n_bytes) {
        uint8_t *place = extend(buffer, n_bytes);

        if (place)
                set_integer(place, value, n_bytes);
}

/* Fills in the length, of `n_length` bytes, in front of what was written since `buffer->record`. */
static void close_length(ControlBuffer *buffer, size_t n_length, size_t n_max) {
        size_t n;

        if (buffer->error < 0)
                return;
        assert(buffer->n_data >= buffer->record + n_length);
        n = buffer->n_data - buffer->record - n_length;
        if (n > n_max)
                buffer->error = -EMSGSIZE;
        else
                set_integer(buffer->data + buffer->record, n, n_length);
}

void control_put_request_begin(ControlBuffer *buffer, ControlKind kind) {
        buffer->record = buffer->n_data;
        put_integer(buffer, 0, 2);
        put_bytes(buffer, magic, sizeof(magic));
        put_integer(buffer, CONTROL_VERSION, 1);
        put_integer(buffer, kind, 1);
}

void control_put_request_end(ControlBuffer *buffer) {
        close_length(buffer, 2, UINT16_MAX);
}

void control_put_answer_head(ControlBuffer *buffer) {
        put_bytes(buffer, magic, sizeof(magic));
        put_integer(buffer, CONTROL_VERSION, 1);
}

void control_put_record_begin(ControlBuffer *buffer, ControlKind kind) {
        buffer->record = buffer->n_data;
        put_integer(buffer, 0, RECORD_HEAD);
        put_integer(buffer, kind, 1);
}

void control_put_record_end(ControlBuffer *buffer) {
        close_length(buffer, RECORD_HEAD, CONTROL_RECORD_BYTES_MAX);
}

void control_set_record_length(uint8_t *record, size_t n_record) {
        assert(n_record > RECORD_HEAD);
        set_integer(record, n_record - RECORD_HEAD, RECORD_HEAD);
}

static void put_field_head(ControlBuffer *buffer, ControlTag tag, size_t n_value) {
        put_integer(buffer, tag, 2);
        put_integer(buffer, n_value, 2);
}

static void put_integer_field(ControlBuffer *buffer, ControlTag tag, uint64_t value,
                              size_t n_bytes) {
        put_field_head(buffer, tag, n_bytes);
        put_integer(buffer, value, n_bytes);
}

void control_put_u8(ControlBuffer *buffer, ControlTag tag, uint8_t value) {
        put_integer_field(buffer, tag, value, sizeof(value));
}

void control_put_u16(ControlBuffer *buffer, ControlTag tag, uint16_t value) {
        put_integer_field(buffer, tag, value, sizeof(value));
}

void control_put_u32(ControlBuffer *buffer, ControlTag tag, uint32_t value) {
        put_integer_field(buffer, tag, value, sizeof(value));
}

void control_put_u64(ControlBuffer *buffer, ControlTag tag, uint64_t value) {
        put_integer_field(buffer, tag, value, sizeof(value));
}

/* At most `n_max`, and no character is cut in two: at most three bytes of one stand before the cut.
 */
static size_t cut_text(const char *text, size_t n_text, size_t n_max) {
        if (n_text <= n_max)
                return n_text;
        for (size_t n = n_max; n > n_max - 4; n--)
                if (((uint8_t)text[n] & 0xc0) != 0x80)
                        return n;
        return n_max; /* not UTF-8 */
}

void control_put_text(ControlBuffer *buffer, ControlTag tag, const char *text, size_t n_text) {
        size_t n = cut_text(text, n_text, UINT16_MAX);

        put_field_head(buffer, tag, n);
        put_bytes(buffer, text, n);
}

void control_put_string(ControlBuffer *buffer, ControlTag tag, const char *text) {
        control_put_text(buffer, tag, text, strlen(text));
}

void control_put_named_u64(ControlBuffer *buffer, ControlTag tag, const char *name, uint64_t value) {
        size_t n = cut_text(name, strlen(name), UINT16_MAX - sizeof(value));

        put_field_head(buffer, tag, sizeof(value) + n);
        put_integer(buffer, value, sizeof(value));
        put_bytes(buffer, name, n);
}

void control_put_counter(ControlBuffer *buffer, const char *name, uint64_t value) {
        control_put_named_u64(buffer, CONTROL_TAG_COUNTER, name, value);
}

void control_put_pair(ControlBuffer *buffer, const char *key, const char *value) {
        size_t n_key = strlen(key) + 1;
        size_t n_value = cut_text(value, strlen(value), UINT16_MAX - n_key);

        put_field_head(buffer, CONTROL_TAG_PAIR, n_key + n_value);
        put_bytes(buffer, key, n_key);
        put_bytes(buffer, value, n_value);
}

void control_put_error(ControlBuffer *buffer, ControlError error, const char *text) {
        control_put_record_begin(buffer, CONTROL_ERROR);
        control_put_u16(buffer, CONTROL_TAG_ERROR, (uint16_t)error);
        control_put_string(buffer, CONTROL_TAG_TEXT, text);
        if (error == CONTROL_E_BAD_VERSION)
                control_put_u8(buffer, CONTROL_TAG_VERSION, CONTROL_VERSION);
        control_put_record_end(buffer);
}

void control_put_error_answer(ControlBuffer *buffer, ControlError error, const char *text) {
        control_put_answer_head(buffer);
        control_put_error(buffer, error, text);
}
