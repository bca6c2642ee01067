/* SPDX-License-Identifier: Apache-2.0 */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/wire.h"

/* A string literal as bytes, without its NUL. */
#define BYTES(literal) (const uint8_t *)(literal), sizeof(literal) - 1

/* A copy that ends where its allocation ends, so that a sanitizer sees a read beyond it. */
static uint8_t *exactly(const uint8_t *data, size_t n_data) {
        uint8_t *copy = malloc(n_data ? n_data : 1);

        ck_assert_ptr_nonnull(copy);
        if (n_data > 0)
                memcpy(copy, data, n_data);
        return copy;
}

/* --- frames ------------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        const uint8_t *data;
        size_t n_data;
        WireFrame frame;
} frames[] = {
        { "nothing", BYTES(""), WIRE_FRAME_INCOMPLETE },
        { "half a length", BYTES("\0"), WIRE_FRAME_INCOMPLETE },
        { "a length", BYTES("\0\1"), WIRE_FRAME_INCOMPLETE },
        { "NAMES_REQ", BYTES("\0\1n"), WIRE_FRAME_COMPLETE },
        { "NAMES_REQ with a byte that was not announced", BYTES("\0\1nx"), WIRE_FRAME_BAD },
        { "NAMES_REQ with another behind it", BYTES("\0\1n\0\1n"), WIRE_FRAME_BAD },
        { "NAMES_REQ with a byte that was announced", BYTES("\0\2nx"), WIRE_FRAME_COMPLETE },
        { "a byte short", BYTES("\0\3za"), WIRE_FRAME_INCOMPLETE },
        { "length 0", BYTES("\0\0"), WIRE_FRAME_BAD },
        { "length 0 with a byte", BYTES("\0\0n"), WIRE_FRAME_BAD },
        { "3057, the longest, announced", BYTES("\x0b\xf1"), WIRE_FRAME_INCOMPLETE },
        { "3058 announced", BYTES("\x0b\xf2"), WIRE_FRAME_BAD },
        { "65535 announced", BYTES("\xff\xff"), WIRE_FRAME_BAD },
        { "an HTTP request", BYTES("GET / HTTP/1.1\r\n"), WIRE_FRAME_BAD },
        { "a TLS hello", BYTES("\x16\x03\x01\x02\x00\x01"), WIRE_FRAME_BAD },
};

START_TEST(test_a_frame_is_judged_by_its_length) {
        uint8_t *data = exactly(frames[_i].data, frames[_i].n_data);
        const uint8_t *body = NULL;
        size_t n_body = 0;
        WireFrame frame = wire_frame(data, frames[_i].n_data, &body, &n_body);

        ck_assert_msg(frame == frames[_i].frame, "%s: %d", frames[_i].what, frame);
        if (frame == WIRE_FRAME_COMPLETE) {
                ck_assert_ptr_eq(body, data + 2);
                ck_assert_uint_eq(n_body, frames[_i].n_data - 2);
        } else {
                ck_assert_ptr_null(body);
                ck_assert_uint_eq(n_body, 0);
        }
        free(data);
}
END_TEST

START_TEST(test_a_frame_of_every_length_from_1_to_3057_is_complete_with_its_last_byte) {
        uint8_t data[2 + 65535] = { 0 };

        for (size_t length = 0; length <= 65535; length++) {
                bool is_good = length >= 1 && length <= 3057;
                const uint8_t *body;
                size_t n_body = 0;

                data[0] = (uint8_t)(length >> 8);
                data[1] = (uint8_t)length;
                ck_assert_int_eq(wire_frame(data, 2, &body, &n_body),
                                 is_good ? WIRE_FRAME_INCOMPLETE : WIRE_FRAME_BAD);
                ck_assert_int_eq(wire_frame(data, 2 + length, &body, &n_body),
                                 is_good ? WIRE_FRAME_COMPLETE : WIRE_FRAME_BAD);
                if (!is_good)
                        continue;
                ck_assert_uint_eq(n_body, length);
                ck_assert_int_eq(wire_frame(data, 2 + length - 1, &body, &n_body), WIRE_FRAME_INCOMPLETE);
                ck_assert_int_eq(wire_frame(data, 2 + length + 1, &body, &n_body), WIRE_FRAME_BAD);
        }
        ck_assert_uint_eq(WIRE_FRAME_MAX, 3059);
}
END_TEST

/* --- ALIVE2_REQ --------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        const uint8_t *body;
        size_t n_body;
        WireVerdict verdict;
        NodeInfo info;
} alive2[] = {
        { "the example of a 32-bit node", BYTES("x\x9a\x19\x4d\0\0\6\0\5\0\1a\0\0"), WIRE_OK,
          { .name = "a", .n_name = 1, .port = 39449, .highest_version = 6, .lowest_version = 5, .type = 'M' } },
        { "a 16-bit node", BYTES("x\x9a\x19\x4d\0\0\5\0\5\0\1a\0\0"), WIRE_OK,
          { .name = "a", .n_name = 1, .port = 39449, .highest_version = 5, .lowest_version = 5, .type = 'M' } },
        { "a hidden node", BYTES("x\0\1H\0\0\6\0\5\0\2bc\0\0"), WIRE_OK,
          { .name = "bc", .n_name = 2, .port = 1, .highest_version = 6, .lowest_version = 5, .type = 'H' } },
        { "ei", BYTES("x\xff\xffh\0\0\6\0\6\0\2bc\0\0"), WIRE_OK,
          { .name = "bc", .n_name = 2, .port = 65535, .highest_version = 6, .lowest_version = 6, .type = 'h' } },
        { "odd values, kept as they came", BYTES("x\0\0\xfe\xfd\xfc\xfb\xfa\xf9\0\1a\0\0"), WIRE_OK,
          { .name = "a", .n_name = 1, .highest_version = 0xfcfb, .lowest_version = 0xfaf9, .type = 0xfe,
            .protocol = 0xfd } },
        { "extra bytes, one of them NUL", BYTES("x\0\1M\0\0\6\0\5\0\1a\0\3x\0y"), WIRE_OK,
          { .name = "a", .n_name = 1, .extra = (const uint8_t *)"x\0y", .n_extra = 3, .port = 1,
            .highest_version = 6, .lowest_version = 5, .type = 'M' } },
        { "bytes behind extra, ignored", BYTES("x\0\1M\0\0\6\0\5\0\1a\0\1xyz"), WIRE_OK,
          { .name = "a", .n_name = 1, .extra = (const uint8_t *)"x", .n_extra = 1, .port = 1,
            .highest_version = 6, .lowest_version = 5, .type = 'M' } },
        { "a name with NUL, for the registry to refuse", BYTES("x\0\1M\0\0\6\0\5\0\3a\0b\0\0"), WIRE_OK,
          { .name = "a\0b", .n_name = 3, .port = 1, .highest_version = 6, .lowest_version = 5, .type = 'M' } },
        { "a name of bad UTF-8, likewise", BYTES("x\0\1M\0\0\6\0\5\0\1\xff\0\0"), WIRE_OK,
          { .name = "\xff", .n_name = 1, .port = 1, .highest_version = 6, .lowest_version = 5, .type = 'M' } },
        { "an empty name, likewise", BYTES("x\0\1M\0\0\6\0\5\0\0\0\0z"), WIRE_OK,
          { .name = "", .n_name = 0, .port = 1, .highest_version = 6, .lowest_version = 5, .type = 'M' } },

        { "an empty name and nothing else: 13 bytes", BYTES("x\0\1M\0\0\6\0\5\0\0\0\0"), WIRE_MALFORMED, { 0 } },
        { "the opcode alone", BYTES("x"), WIRE_MALFORMED, { 0 } },
        { "a name one byte too long", BYTES("x\0\1M\0\0\6\0\5\0\2a\0\0"), WIRE_MALFORMED, { 0 } },
        { "a name that leaves one byte for elen", BYTES("x\0\1M\0\0\6\0\5\0\2aa\0"), WIRE_MALFORMED, { 0 } },
        { "a name that leaves no elen", BYTES("x\0\1M\0\0\6\0\5\0\3aaa"), WIRE_MALFORMED, { 0 } },
        { "a name of 65535 bytes", BYTES("x\0\1M\0\0\6\0\5\xff\xff" "a\0\0"), WIRE_MALFORMED, { 0 } },
        { "a name of 65534 bytes", BYTES("x\0\1M\0\0\6\0\5\xff\xfe" "a\0\0"), WIRE_MALFORMED, { 0 } },
        { "extra one byte too long", BYTES("x\0\1M\0\0\6\0\5\0\1a\0\1"), WIRE_MALFORMED, { 0 } },
        { "extra of 65535 bytes", BYTES("x\0\1M\0\0\6\0\5\0\1a\xff\xff"), WIRE_MALFORMED, { 0 } },
        { "extra two bytes of three", BYTES("x\0\1M\0\0\6\0\5\0\1a\0\3xy"), WIRE_MALFORMED, { 0 } },
};

START_TEST(test_a_registration_is_read_as_it_is_laid_out) {
        uint8_t *body = exactly(alive2[_i].body, alive2[_i].n_body);
        const NodeInfo *expected = &alive2[_i].info;
        WireRequest request;
        WireVerdict verdict = wire_parse(body, alive2[_i].n_body, &request);

        ck_assert_msg(verdict == alive2[_i].verdict, "%s: %d", alive2[_i].what, verdict);
        if (verdict == WIRE_OK) {
                ck_assert_int_eq(request.op, WIRE_ALIVE2);
                ck_assert_uint_eq(request.info.n_name, expected->n_name);
                if (expected->n_name)
                        ck_assert_mem_eq(request.info.name, expected->name, expected->n_name);
                ck_assert_uint_eq(request.info.n_extra, expected->n_extra);
                if (expected->n_extra)
                        ck_assert_mem_eq(request.info.extra, expected->extra, expected->n_extra);
                ck_assert_uint_eq(request.info.port, expected->port);
                ck_assert_uint_eq(request.info.highest_version, expected->highest_version);
                ck_assert_uint_eq(request.info.lowest_version, expected->lowest_version);
                ck_assert_uint_eq(request.info.type, expected->type);
                ck_assert_uint_eq(request.info.protocol, expected->protocol);
        }
        free(body);
}
END_TEST

START_TEST(test_a_registration_cut_at_any_byte_is_malformed) {
        static const uint8_t whole[] = "x\x9a\x19M\0\0\6\0\5\0\5alpha\0\4\1\2\3\4";
        WireRequest request;

        ck_assert_int_eq(wire_parse(whole, sizeof whole - 1, &request), WIRE_OK);
        for (size_t n = 1; n < sizeof whole - 1; n++) {
                uint8_t *body = exactly(whole, n);

                ck_assert_msg(wire_parse(body, n, &request) == WIRE_MALFORMED, "%zu bytes", n);
                free(body);
        }
}
END_TEST

/* Whatever two lengths a client claims, nothing beyond the body is read, and what is accepted lies in it. */
START_TEST(test_no_claimed_length_leads_beyond_the_body) {
        enum { N_TAIL = 24 };
        uint8_t *body = malloc(11 + N_TAIL);

        ck_assert_ptr_nonnull(body);
        for (unsigned n_name = 0; n_name <= N_TAIL + 2; n_name++)
                for (unsigned n_extra = 0; n_extra <= N_TAIL + 2; n_extra++) {
                        bool fits = n_name + 2 + n_extra <= N_TAIL;
                        WireRequest request;

                        memset(body, 'a', 11 + N_TAIL);
                        body[0] = 'x';
                        body[9] = 0;
                        body[10] = (uint8_t)n_name;
                        if (n_name + 2 <= N_TAIL) {
                                body[11 + n_name] = 0;
                                body[12 + n_name] = (uint8_t)n_extra;
                        }
                        ck_assert_int_eq(wire_parse(body, 11 + N_TAIL, &request),
                                         fits ? WIRE_OK : WIRE_MALFORMED);
                        if (!fits)
                                continue;
                        ck_assert_ptr_eq(request.info.name, (char *)body + 11);
                        ck_assert_ptr_eq(request.info.extra, body + 13 + n_name);
                        ck_assert_uint_eq(request.info.n_extra, n_extra);
                }
        free(body);
}
END_TEST

/* --- names in PORT_PLEASE2_REQ and STOP_REQ --------------------------------------------------------- */

/* A lookup's name is the rest of the packet without one NUL at its end. STOP_REQ is stock epmd's: a C
 * string, whatever comes behind it. */
static const struct {
        const char *what;
        const uint8_t *body;
        size_t n_body;
        WireVerdict port2;
        const char *port2_name; /* up to its NUL, where the verdict is good */
        WireVerdict stop;
        const char *stop_name;
} named[] = {
        { "a name", BYTES("?a"), WIRE_OK, "a", WIRE_OK, "a" },
        { "one NUL at the end", BYTES("?abc\0"), WIRE_OK, "abc", WIRE_OK, "abc" },
        { "UTF-8", BYTES("?\xc3\xa9"), WIRE_OK, "\xc3\xa9", WIRE_OK, "\xc3\xa9" },
        { "a control character", BYTES("?a\nb"), WIRE_OK, "a\nb", WIRE_OK, "a\nb" },
        { "nothing", BYTES("?"), WIRE_MALFORMED, NULL, WIRE_MALFORMED, NULL },
        { "a NUL alone", BYTES("?\0"), WIRE_MALFORMED, NULL, WIRE_OK, "" },
        { "two NULs at the end", BYTES("?abc\0\0"), WIRE_MALFORMED, NULL, WIRE_OK, "abc" },
        { "a NUL inside", BYTES("?a\0b"), WIRE_MALFORMED, NULL, WIRE_OK, "a" },
        { "a NUL in front", BYTES("?\0a"), WIRE_MALFORMED, NULL, WIRE_OK, "" },
        { "bad UTF-8", BYTES("?\xff"), WIRE_MALFORMED, NULL, WIRE_OK, "\xff" },
        { "cut UTF-8", BYTES("?a\xc3"), WIRE_MALFORMED, NULL, WIRE_OK, "a\xc3" },
        { "cut UTF-8 and a NUL", BYTES("?a\xc3\0"), WIRE_MALFORMED, NULL, WIRE_OK, "a\xc3" },
};

START_TEST(test_a_lookup_and_a_stop_take_their_name_from_the_rest_of_the_packet) {
        static const WireOp ops[] = { WIRE_PORT2, WIRE_STOP };
        uint8_t *body = exactly(named[_i].body, named[_i].n_body);

        for (size_t i = 0; i < ELEMENTS(ops); i++) {
                WireVerdict expected = i == 0 ? named[_i].port2 : named[_i].stop, verdict;
                const char *name = i == 0 ? named[_i].port2_name : named[_i].stop_name;
                WireRequest request;

                body[0] = (uint8_t)ops[i];
                verdict = wire_parse(body, named[_i].n_body, &request);
                ck_assert_msg(verdict == expected, "%s with %c: %d", named[_i].what, ops[i], verdict);
                if (verdict != WIRE_OK)
                        continue;
                ck_assert_int_eq(request.op, ops[i]);
                ck_assert_uint_eq(request.n_name, strlen(name));
                if (*name)
                        ck_assert_mem_eq(request.name, name, strlen(name));
        }
        free(body);
}
END_TEST

static const struct {
        const char *character;
        unsigned n_characters;
        bool with_nul;
        WireVerdict verdict;
} lengths[] = {
        { "a", 254, false, WIRE_OK },
        { "a", 255, false, WIRE_OK },
        { "a", 255, true, WIRE_OK },
        { "a", 256, false, WIRE_MALFORMED },
        { "a", 256, true, WIRE_MALFORMED },
        { "\xf0\x9f\x90\x87", 255, false, WIRE_OK },
        { "\xf0\x9f\x90\x87", 255, true, WIRE_OK },
        { "\xf0\x9f\x90\x87", 256, false, WIRE_MALFORMED },
        { "a", 3055, true, WIRE_MALFORMED },
};

START_TEST(test_a_name_of_255_characters_can_be_looked_up_and_no_longer_one) {
        size_t n_character = strlen(lengths[_i].character);
        size_t n_name = lengths[_i].n_characters * n_character;
        size_t n_body = 1 + n_name + lengths[_i].with_nul;
        uint8_t *body = calloc(1, n_body);
        WireRequest request;

        ck_assert_ptr_nonnull(body);
        body[0] = 'z';
        for (unsigned i = 0; i < lengths[_i].n_characters; i++)
                memcpy(body + 1 + i * n_character, lengths[_i].character, n_character);
        ck_assert_int_eq(wire_parse(body, n_body, &request), lengths[_i].verdict);
        if (lengths[_i].verdict == WIRE_OK)
                ck_assert_uint_eq(request.n_name, n_name);
        free(body);
}
END_TEST

/* --- the other requests ------------------------------------------------------------------------------ */

START_TEST(test_of_256_opcodes_six_are_known) {
        uint8_t body[32] = { 0 };
        WireVerdict expected = strchr("xzndks", _i) && _i ? WIRE_OK : WIRE_UNKNOWN;
        WireRequest request;

        /* A body that is a good one of any kind. */
        memcpy(body, "?\0\1M\0\0\6\0\5\0\1a\0\0", 14);
        body[0] = (uint8_t)_i;
        if (_i == 'z')
                ck_assert_int_eq(wire_parse((const uint8_t *)"za", 2, &request), WIRE_OK);
        else
                ck_assert_int_eq(wire_parse(body, 14, &request), expected);
        if (expected == WIRE_OK)
                ck_assert_int_eq(request.op, _i);
        /* Alone, an opcode that is none stays unknown, and is not called malformed. */
        if (expected == WIRE_UNKNOWN)
                ck_assert_int_eq(wire_parse(body, 1, &request), WIRE_UNKNOWN);
}
END_TEST

START_TEST(test_bytes_behind_names_dump_and_kill_are_ignored) {
        static const uint8_t *const bodies[] = {
                (const uint8_t *)"n\xff\0x", (const uint8_t *)"d\xff\0x", (const uint8_t *)"k\xff\0x",
        };

        for (size_t i = 0; i < ELEMENTS(bodies); i++)
                for (size_t n = 1; n <= 4; n++) {
                        WireRequest request;

                        ck_assert_int_eq(wire_parse(bodies[i], n, &request), WIRE_OK);
                        ck_assert_int_eq(request.op, bodies[i][0]);
                }
}
END_TEST

/* A walk over random bodies: nothing is read beyond them, and what is accepted lies in them. */
START_TEST(test_random_bodies_are_read_within_their_bounds) {
        static const char opcodes[] = "xxxxzsndkL";
        unsigned seed = 4369 + (unsigned)_i;

        for (unsigned round = 0; round < 20000; round++) {
                size_t n_body = 1 + (size_t)rand_r(&seed) % 40;
                uint8_t *body = malloc(n_body);
                WireRequest request;

                ck_assert_ptr_nonnull(body);
                for (size_t i = 0; i < n_body; i++)
                        body[i] = (uint8_t)(rand_r(&seed) % 4 ? rand_r(&seed) % 8 : rand_r(&seed));
                body[0] = (uint8_t)opcodes[(size_t)rand_r(&seed) % (sizeof opcodes - 1)];
                if (wire_parse(body, n_body, &request) == WIRE_OK && request.op == WIRE_ALIVE2) {
                        ck_assert((const uint8_t *)request.info.name > body);
                        ck_assert(request.info.extra + request.info.n_extra <= body + n_body);
                }
                free(body);
        }
}
END_TEST

/* --- answers ---------------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        uint16_t highest_version;
        uint8_t result;
        uint32_t creation;
        const uint8_t *answer;
        size_t n_answer;
} alive_answers[] = {
        { "the example", 6, 0, 0x6b00d687, BYTES("v\0\x6b\0\xd6\x87") },
        { "the greatest creation", 6, 0, UINT32_MAX, BYTES("v\0\xff\xff\xff\xff") },
        { "the least creation", 6, 0, 4, BYTES("v\0\0\0\0\4") },
        { "refused", 6, 1, WIRE_CREATION_OF_REFUSAL, BYTES("v\1\0\0\0\x63") },
        { "a later version", 7, 0, 4, BYTES("v\0\0\0\0\4") },
        { "the latest version", 65535, 0, 4, BYTES("v\0\0\0\0\4") },
        { "16 bits", 5, 0, 3, BYTES("y\0\0\3") },
        { "16 bits, refused", 5, 1, WIRE_CREATION_OF_REFUSAL, BYTES("y\1\0\x63") },
        { "the oldest version", 0, 0, 1, BYTES("y\0\0\1") },
};

START_TEST(test_a_registration_is_answered_in_the_width_that_was_asked_for) {
        uint8_t answer[WIRE_ALIVE_ANSWER_MAX];
        size_t n = wire_put_alive(answer, alive_answers[_i].highest_version, alive_answers[_i].result,
                                  alive_answers[_i].creation);

        ck_assert_msg(n == alive_answers[_i].n_answer, "%s", alive_answers[_i].what);
        ck_assert_mem_eq(answer, alive_answers[_i].answer, n);
}
END_TEST

/* Said by a node, answered to whoever looks it up. */
static const struct {
        const char *what;
        const uint8_t *said;
        size_t n_said;
        const uint8_t *answered;
        size_t n_answered;
} lookups[] = {
        { "a normal node", BYTES("x\4\x57M\0\0\6\0\5\0\1a\0\0"), BYTES("w\0\4\x57M\0\0\6\0\5\0\1a\0\0") },
        { "extra, verbatim", BYTES("x\4\x57M\0\0\6\0\5\0\1a\0\5\0\1\xff\0z"),
          BYTES("w\0\4\x57M\0\0\6\0\5\0\1a\0\5\0\1\xff\0z") },
        { "without what came behind extra", BYTES("x\4\x57M\0\0\6\0\5\0\1a\0\1xyz"),
          BYTES("w\0\4\x57M\0\0\6\0\5\0\1a\0\1x") },
        { "all fields odd", BYTES("x\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\0\2\xc3\xa9\0\0"),
          BYTES("w\0\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\0\2\xc3\xa9\0\0") },
};

START_TEST(test_a_lookup_is_answered_with_what_the_node_said) {
        uint8_t answer[WIRE_PORT2_ANSWER_MAX];
        WireRequest request;
        size_t n;

        ck_assert_int_eq(wire_parse(lookups[_i].said, lookups[_i].n_said, &request), WIRE_OK);
        n = wire_put_port2(answer, &request.info);
        ck_assert_msg(n == lookups[_i].n_answered, "%s", lookups[_i].what);
        ck_assert_mem_eq(answer, lookups[_i].answered, n);
}
END_TEST

START_TEST(test_a_lookup_of_nobody_is_answered_with_two_bytes) {
        uint8_t answer[WIRE_PORT2_ANSWER_MAX];

        ck_assert_uint_eq(wire_put_port2(answer, NULL), 2);
        ck_assert_mem_eq(answer, "w\1", 2);
}
END_TEST

static char longest_name[NODE_NAME_BYTES_MAX];
static uint8_t longest_extra[NODE_EXTRA_BYTES_MAX];

static NodeInfo longest_info(void) {
        memset(longest_name, 'n', sizeof longest_name);
        memset(longest_extra, 0, sizeof longest_extra);
        return (NodeInfo){
                .name = longest_name,
                .n_name = sizeof longest_name,
                .extra = longest_extra,
                .n_extra = sizeof longest_extra,
                .port = 65535,
        };
}

START_TEST(test_the_longest_name_and_extra_fill_a_lookup_answer_to_the_last_byte) {
        uint8_t *answer = malloc(WIRE_PORT2_ANSWER_MAX);
        NodeInfo info = longest_info();

        ck_assert_ptr_nonnull(answer);
        ck_assert_uint_eq(wire_put_port2(answer, &info), WIRE_PORT2_ANSWER_MAX);
        free(answer);
}
END_TEST

START_TEST(test_a_listing_begins_with_the_port_in_four_bytes) {
        uint8_t head[WIRE_LISTING_HEAD];

        ck_assert_uint_eq(wire_put_listing_head(head, 4369), 4);
        ck_assert_mem_eq(head, "\0\0\x11\x11", 4);
        ck_assert_uint_eq(wire_put_listing_head(head, 65535), 4);
        ck_assert_mem_eq(head, "\0\0\xff\xff", 4);
}
END_TEST

static const struct {
        NodeInfo info;
        int fd;
        const char *names, *dump, *dump_old;
} lines[] = {
        { { .name = "a", .n_name = 1, .port = 39449 },
          7,
          "name a at port 39449\n",
          "active name     <a> at port 39449, fd = 7\n",
          "old/unused name <a>, port = 39449, fd = 7 \n" },
        { { .name = "a b@c", .n_name = 5, .port = 0 },
          -1,
          "name a b@c at port 0\n",
          "active name     <a b@c> at port 0, fd = -1\n",
          "old/unused name <a b@c>, port = 0, fd = -1 \n" },
        { { .name = "\xc3\xa9%s", .n_name = 4, .port = 65535 },
          2147483647,
          "name \xc3\xa9%s at port 65535\n",
          "active name     <\xc3\xa9%s> at port 65535, fd = 2147483647\n",
          "old/unused name <\xc3\xa9%s>, port = 65535, fd = 2147483647 \n" },
        /* a name that borrows from a request is not terminated */
        { { .name = "abcdef", .n_name = 3, .port = 1 },
          0,
          "name abc at port 1\n",
          "active name     <abc> at port 1, fd = 0\n",
          "old/unused name <abc>, port = 1, fd = 0 \n" },
};

START_TEST(test_lines_of_names_and_dump_are_those_of_stock_epmd) {
        char line[WIRE_LINE_MAX];
        size_t n;

        n = wire_put_names_line(line, &lines[_i].info);
        ck_assert_uint_eq(n, strlen(lines[_i].names));
        ck_assert_mem_eq(line, lines[_i].names, n);

        /* a line of DUMP ends with a NUL that counts */
        n = wire_put_dump_line(line, &lines[_i].info, lines[_i].fd);
        ck_assert_uint_eq(n, strlen(lines[_i].dump) + 1);
        ck_assert_mem_eq(line, lines[_i].dump, n);

        n = wire_put_dump_old_line(line, &lines[_i].info, lines[_i].fd);
        ck_assert_uint_eq(n, strlen(lines[_i].dump_old) + 1);
        ck_assert_mem_eq(line, lines[_i].dump_old, n);
}
END_TEST

START_TEST(test_the_longest_line_fits) {
        char *line = malloc(WIRE_LINE_MAX);
        NodeInfo info = longest_info();
        size_t n;

        ck_assert_ptr_nonnull(line);
        n = wire_put_names_line(line, &info);
        ck_assert_uint_lt(n, WIRE_LINE_MAX);
        ck_assert_int_eq(line[n - 1], '\n');
        n = wire_put_dump_line(line, &info, INT_MIN);
        ck_assert_uint_le(n, WIRE_LINE_MAX);
        ck_assert_mem_eq(line + n - 2, "\n", 2);
        n = wire_put_dump_old_line(line, &info, INT_MIN);
        ck_assert_uint_le(n, WIRE_LINE_MAX);
        ck_assert_mem_eq(line + n - 3, " \n", 3);
        free(line);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("wire");
        TCase *tcase = tcase_create("frames");

        tcase_add_loop_test(tcase, test_a_frame_is_judged_by_its_length, 0, ELEMENTS(frames));
        tcase_add_test(tcase, test_a_frame_of_every_length_from_1_to_3057_is_complete_with_its_last_byte);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("requests");
        tcase_add_loop_test(tcase, test_a_registration_is_read_as_it_is_laid_out, 0, ELEMENTS(alive2));
        tcase_add_test(tcase, test_a_registration_cut_at_any_byte_is_malformed);
        tcase_add_test(tcase, test_no_claimed_length_leads_beyond_the_body);
        tcase_add_loop_test(tcase, test_a_lookup_and_a_stop_take_their_name_from_the_rest_of_the_packet, 0, ELEMENTS(named));
        tcase_add_loop_test(tcase, test_a_name_of_255_characters_can_be_looked_up_and_no_longer_one, 0,
                            ELEMENTS(lengths));
        tcase_add_loop_test(tcase, test_of_256_opcodes_six_are_known, 0, 256);
        tcase_add_test(tcase, test_bytes_behind_names_dump_and_kill_are_ignored);
        tcase_add_loop_test(tcase, test_random_bodies_are_read_within_their_bounds, 0, 4);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("answers");
        tcase_add_loop_test(tcase, test_a_registration_is_answered_in_the_width_that_was_asked_for, 0,
                            ELEMENTS(alive_answers));
        tcase_add_loop_test(tcase, test_a_lookup_is_answered_with_what_the_node_said, 0, ELEMENTS(lookups));
        tcase_add_test(tcase, test_a_lookup_of_nobody_is_answered_with_two_bytes);
        tcase_add_test(tcase, test_the_longest_name_and_extra_fill_a_lookup_answer_to_the_last_byte);
        tcase_add_test(tcase, test_a_listing_begins_with_the_port_in_four_bytes);
        tcase_add_loop_test(tcase, test_lines_of_names_and_dump_are_those_of_stock_epmd, 0, ELEMENTS(lines));
        tcase_add_test(tcase, test_the_longest_line_fits);
        suite_add_tcase(suite, tcase);
        return suite;
}
