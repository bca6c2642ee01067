/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "handshake.h"
#include "util.h"

/* Of OTP 25: sok, then its challenge. */
#define OK "\0\3sok"
#define CHALLENGE "\0\x1eN\0\0\0\x0d\x07\xdf\x7f\xbd\x78\x6b\x94\x6c\x6b\x0b\x7d\xa6\0\x0b" "a@localhost"
/* Of OTP 22. */
#define CHALLENGE_OLD "\0\x16n\0\x05\0\x07\x49\x9c\x01\x02\x03\x04" "a@localhost"

static const struct {
        const char *data;
        size_t n_data;
        HandshakeAnswer answer;
        const char *status, *name;
} answers[] = {
#define BYTES(text) text, sizeof(text) - 1
        { BYTES(""), HANDSHAKE_MORE, "", "" },
        { BYTES("\0"), HANDSHAKE_MORE, "", "" },
        { BYTES("\0\3so"), HANDSHAKE_MORE, "", "" },
        { BYTES(OK), HANDSHAKE_MORE, "ok", "" },
        { BYTES(OK CHALLENGE), HANDSHAKE_CHALLENGE, "ok", "a@localhost" },
        { BYTES(OK CHALLENGE_OLD), HANDSHAKE_CHALLENGE, "ok", "a@localhost" },
        { BYTES("\0\x10sok_simultaneous" CHALLENGE), HANDSHAKE_CHALLENGE, "ok_simultaneous", "a@localhost" },
        { BYTES("\0\4snok"), HANDSHAKE_REFUSED, "nok", "" },
        { BYTES("\0\x0csnot_allowed"), HANDSHAKE_REFUSED, "not_allowed", "" },
        { BYTES("\0\6salive"), HANDSHAKE_ASKED, "alive", "" },
        { BYTES("\x15\3\3\0\2\2\x0a"), HANDSHAKE_TLS, "", "" },
        { BYTES("\x15\3"), HANDSHAKE_TLS, "", "" },
        { BYTES("\x16\3\3\0\x52\2"), HANDSHAKE_TLS, "", "" },
        { BYTES("HTTP/1.1"), HANDSHAKE_STRANGE, "", "" },
        { BYTES("SSH-2.0"), HANDSHAKE_STRANGE, "", "" },
        { BYTES("\0\0"), HANDSHAKE_STRANGE, "", "" },
        { BYTES("\0\1s"), HANDSHAKE_STRANGE, "", "" },
        { BYTES("\x10\0"), HANDSHAKE_STRANGE, "", "" }, /* no status is that long */
        { BYTES("\0\4s\x1b[2"), HANDSHAKE_STRANGE, "", "" },
        { BYTES(OK "\0\1N"), HANDSHAKE_STRANGE, "ok", "" },
        { BYTES(OK "\0\x14N\0\0\0\x0d\x07\xdf\x7f\xbd\x78\x6b\x94\x6c\x6b\x0b\x7d\xa6\0\x0b" "a"), HANDSHAKE_STRANGE, "ok", "" },
        { BYTES(OK "\0\x14N\0\0\0\x0d\x07\xdf\x7f\xbd\x78\x6b\x94\x6c\x6b\x0b\x7d\xa6\0\x01" "\0"), HANDSHAKE_STRANGE, "ok", "" },
};

START_TEST(test_an_answer_is_understood) {
        HandshakePeer peer;
        HandshakeAnswer answer = handshake_read((const uint8_t *)answers[_i].data, answers[_i].n_data, &peer);

        ck_assert_int_eq(answer, answers[_i].answer);
        ck_assert_str_eq(peer.status, answers[_i].status);
        ck_assert_str_eq(peer.name, answers[_i].name);
}
END_TEST

START_TEST(test_every_beginning_of_an_answer_is_understood) {
        static const char whole[] = OK CHALLENGE;
        HandshakePeer peer;

        for (size_t n = 0; n < sizeof(whole) - 1; n++)
                ck_assert_int_eq(handshake_read((const uint8_t *)whole, n, &peer), HANDSHAKE_MORE);
}
END_TEST

START_TEST(test_a_challenge_tells_who_it_is) {
        HandshakePeer peer;

        handshake_read((const uint8_t *)OK CHALLENGE, sizeof(OK CHALLENGE) - 1, &peer);
        ck_assert_uint_eq(peer.flags, 0xd07df7fbd);
        ck_assert_uint_eq(peer.creation, 0x6b0b7da6);
        ck_assert(peer.is_new);
        ck_assert_uint_eq(handshake_release(peer.flags), 24);
        handshake_read((const uint8_t *)OK CHALLENGE_OLD, sizeof(OK CHALLENGE_OLD) - 1, &peer);
        ck_assert_uint_eq(peer.flags, 0x7499c);
        ck_assert(!peer.is_new);
        ck_assert_uint_eq(handshake_release(peer.flags), 0);
}
END_TEST

START_TEST(test_our_name_is_said_in_both_forms) {
        static const uint8_t head[] = { 0, 18, 'N', 0, 0, 0, 0x1d, 0x03, 0xc7, 0x5f, 0xbc, 0, 0, 0, 4, 0, 3, 'c', '@', 'b' };
        static const uint8_t old[] = { 0, 10, 'n', 0, 5, 0, 7, 0x5f, 0xbc, 'c', '@', 'b' };
        uint8_t request[HANDSHAKE_REQUEST_MAX];

        ck_assert_uint_eq(handshake_put_name("c@b", true, request), sizeof(head));
        ck_assert_mem_eq(request, head, sizeof(head));
        ck_assert_uint_eq(handshake_put_name("c@b", false, request), sizeof(old));
        ck_assert_mem_eq(request, old, sizeof(old));
}
END_TEST

START_TEST(test_a_name_of_any_length_is_said_or_refused) {
        char name[HANDSHAKE_NAME_MAX + 2];
        uint8_t request[HANDSHAKE_REQUEST_MAX];

        memset(name, 'a', sizeof(name));
        name[HANDSHAKE_NAME_MAX + 1] = '\0';
        ck_assert_uint_eq(handshake_put_name(name, true, request), 0);
        name[HANDSHAKE_NAME_MAX] = '\0';
        ck_assert_uint_eq(handshake_put_name(name, true, request), HANDSHAKE_REQUEST_MAX);
        ck_assert_uint_eq(handshake_put_name("", true, request), 0);
}
END_TEST

START_TEST(test_the_hello_has_the_lengths_that_it_says) {
        const uint8_t *hello = handshake_client_hello;
        size_t n = handshake_client_hello_bytes, suites, extensions;

        ck_assert_uint_eq((size_t)hello[3] << 8 | hello[4], n - 5);
        ck_assert_uint_eq((size_t)hello[7] << 8 | hello[8], n - 9);
        suites = 9 + 2 + 32 + 1;
        extensions = suites + 2 + ((size_t)hello[suites] << 8 | hello[suites + 1]) + 2;
        ck_assert_uint_eq((size_t)hello[extensions] << 8 | hello[extensions + 1], n - extensions - 2);
        for (extensions += 2; extensions < n;)
                extensions += 4 + ((size_t)hello[extensions + 2] << 8 | hello[extensions + 3]);
        ck_assert_uint_eq(extensions, n);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("handshake");
        TCase *t = tcase_create("handshake");

        tcase_add_loop_test(t, test_an_answer_is_understood, 0, (int)ELEMENTS(answers));
        tcase_add_test(t, test_every_beginning_of_an_answer_is_understood);
        tcase_add_test(t, test_a_challenge_tells_who_it_is);
        tcase_add_test(t, test_our_name_is_said_in_both_forms);
        tcase_add_test(t, test_a_name_of_any_length_is_said_or_refused);
        tcase_add_test(t, test_the_hello_has_the_lengths_that_it_says);
        suite_add_tcase(s, t);
        return s;
}
