/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the bytes with which two nodes begin to know each other, up to where the cookie is asked for, and the first
 * bytes of TLS. Does not know sockets.
 *
 * The trap: a node writes a line into its log about a peer that lacks what it thinks indispensable. So we say that we
 * can do all that a current node can; of that nothing is used, as we hang up. */

#include "handshake.h"

#include <stdio.h>
#include <string.h>

#include "util.h"

/* Of a hidden node: DFLAG_PUBLISHED is not set; nor is DFLAG_NAME_ME, which asks for a name. */
#define FLAG_EXTENDED_REFERENCES UINT64_C(0x4)
#define FLAG_DIST_MONITOR UINT64_C(0x8)
#define FLAG_FUN_TAGS UINT64_C(0x10)
#define FLAG_DIST_MONITOR_NAME UINT64_C(0x20)
#define FLAG_NEW_FUN_TAGS UINT64_C(0x80)
#define FLAG_EXTENDED_PIDS_PORTS UINT64_C(0x100)
#define FLAG_EXPORT_PTR_TAG UINT64_C(0x200)
#define FLAG_BIT_BINARIES UINT64_C(0x400)
#define FLAG_NEW_FLOATS UINT64_C(0x800)
#define FLAG_UNICODE_IO UINT64_C(0x1000)
#define FLAG_SMALL_ATOM_TAGS UINT64_C(0x4000)
#define FLAG_UTF8_ATOMS UINT64_C(0x10000)
#define FLAG_MAP_TAG UINT64_C(0x20000)
#define FLAG_BIG_CREATION UINT64_C(0x40000)
#define FLAG_EXIT_PAYLOAD UINT64_C(0x400000)
#define FLAG_FRAGMENTS UINT64_C(0x800000)
#define FLAG_HANDSHAKE_23 UINT64_C(0x1000000)
#define FLAG_UNLINK_ID UINT64_C(0x2000000)
#define FLAG_SPAWN (UINT64_C(1) << 32)
#define FLAG_V4_NC (UINT64_C(1) << 34)
#define FLAG_ALIAS (UINT64_C(1) << 35)
#define FLAG_MANDATORY_25_DIGEST (UINT64_C(1) << 36)

#define FLAGS_OLD                                                                                                      \
        (FLAG_EXTENDED_REFERENCES | FLAG_DIST_MONITOR | FLAG_FUN_TAGS | FLAG_DIST_MONITOR_NAME | FLAG_NEW_FUN_TAGS |   \
         FLAG_EXTENDED_PIDS_PORTS | FLAG_EXPORT_PTR_TAG | FLAG_BIT_BINARIES | FLAG_NEW_FLOATS | FLAG_UNICODE_IO |      \
         FLAG_SMALL_ATOM_TAGS | FLAG_UTF8_ATOMS | FLAG_MAP_TAG | FLAG_BIG_CREATION)
#define FLAGS_NEW                                                                                                      \
        (FLAGS_OLD | FLAG_EXIT_PAYLOAD | FLAG_FRAGMENTS | FLAG_HANDSHAKE_23 | FLAG_UNLINK_ID | FLAG_SPAWN |            \
         FLAG_V4_NC | FLAG_ALIAS | FLAG_MANDATORY_25_DIGEST)

#define VERSION_OLD 5
#define CREATION 4 /* any that a node may have */

/* --- writing ---------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *at, uint64_t value, size_t n_bytes) {
        for (size_t i = 0; i < n_bytes; i++)
                at[i] = (uint8_t)(value >> (8 * (n_bytes - 1 - i)));
        return at + n_bytes;
}

size_t handshake_put_name(const char *name, bool is_new, uint8_t request[static HANDSHAKE_REQUEST_MAX]) {
        size_t n_name = strlen(name);
        uint8_t *end = request + 2;

        if (n_name == 0 || n_name > HANDSHAKE_NAME_MAX)
                return 0;
        *end++ = is_new ? 'N' : 'n';
        if (is_new) {
                end = put(end, FLAGS_NEW, 8);
                end = put(end, CREATION, 4);
                end = put(end, n_name, 2);
        } else {
                end = put(end, VERSION_OLD, 2);
                end = put(end, FLAGS_OLD, 4);
        }
        memcpy(end, name, n_name);
        end += n_name;
        put(request, (size_t)(end - request) - 2, 2);
        return (size_t)(end - request);
}

/* --- reading ---------------------------------------------------------------------------------- */

static uint64_t get(const uint8_t *at, size_t n_bytes) {
        uint64_t value = 0;

        for (size_t i = 0; i < n_bytes; i++)
                value = value << 8 | at[i];
        return value;
}

/* The next frame: 1 and its body, 0: more bytes are needed. */
static int next_frame(const uint8_t **data, size_t *n_data, const uint8_t **ret_body, size_t *ret_n_body) {
        size_t n;

        if (*n_data < 2)
                return 0;
        n = (size_t)get(*data, 2);
        if (*n_data - 2 < n)
                return 0;
        *ret_body = *data + 2;
        *ret_n_body = n;
        *data += 2 + n;
        *n_data -= 2 + n;
        return 1;
}

static bool read_status(const uint8_t *body, size_t n_body, HandshakePeer *peer) {
        size_t n = n_body - 1;

        if (n_body < 2 || body[0] != 's' || n >= sizeof(peer->status))
                return false;
        for (size_t i = 0; i < n; i++) {
                char c = (char)body[1 + i];
                bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == ':';

                if (!is_plain)
                        return false;
                peer->status[i] = c;
        }
        peer->status[n] = '\0';
        return true;
}

static bool take_name(const uint8_t *name, size_t n_name, HandshakePeer *peer) {
        if (n_name == 0 || n_name > HANDSHAKE_NAME_MAX || memchr(name, 0, n_name))
                return false;
        memcpy(peer->name, name, n_name);
        peer->name[n_name] = '\0';
        peer->n_name = n_name;
        return true;
}

static bool read_challenge(const uint8_t *body, size_t n_body, HandshakePeer *peer) {
        if (n_body > 19 && body[0] == 'N') {
                size_t n_name = (size_t)get(body + 17, 2);

                peer->is_new = true;
                peer->flags = get(body + 1, 8);
                peer->creation = (uint32_t)get(body + 13, 4);
                return n_name <= n_body - 19 && take_name(body + 19, n_name, peer);
        }
        if (n_body > 11 && body[0] == 'n') {
                peer->flags = get(body + 3, 4);
                return take_name(body + 11, n_body - 11, peer);
        }
        return false;
}

static bool is_tls(const uint8_t *data, size_t n_data) {
        /* An alert or a handshake record of SSL 3 or TLS. As a frame it would be one of 5379 bytes or more. */
        return n_data >= 2 && (data[0] == 0x15 || data[0] == 0x16) && data[1] == 3;
}

HandshakeAnswer handshake_read(const uint8_t *data, size_t n_data, HandshakePeer *ret) {
        const uint8_t *body;
        size_t n_body;

        *ret = (HandshakePeer){ 0 };
        if (is_tls(data, n_data))
                return HANDSHAKE_TLS;
        if (n_data >= 3 && data[2] != 's')
                return HANDSHAKE_STRANGE;
        if (next_frame(&data, &n_data, &body, &n_body) == 0)
                return n_data >= 2 && get(data, 2) > sizeof(ret->status) ? HANDSHAKE_STRANGE : HANDSHAKE_MORE;
        if (!read_status(body, n_body, ret))
                return HANDSHAKE_STRANGE;
        if (strcmp(ret->status, "alive") == 0)
                return HANDSHAKE_ASKED;
        if (strcmp(ret->status, "ok") != 0 && strcmp(ret->status, "ok_simultaneous") != 0)
                return HANDSHAKE_REFUSED;
        if (next_frame(&data, &n_data, &body, &n_body) == 0)
                return HANDSHAKE_MORE;
        return read_challenge(body, n_body, ret) ? HANDSHAKE_CHALLENGE : HANDSHAKE_STRANGE;
}

unsigned handshake_release(uint64_t flags) {
        static const struct {
                uint64_t flag;
                unsigned release;
        } releases[] = {
                { FLAG_MANDATORY_25_DIGEST, 25 },
                { FLAG_ALIAS, 24 },
                { FLAG_HANDSHAKE_23, 23 },
        };

        for (size_t i = 0; i < ELEMENTS(releases); i++)
                if (flags & releases[i].flag)
                        return releases[i].release;
        return 0;
}

/* --- TLS -------------------------------------------------------------------------------------- */

/* TLS 1.2, no session, the suites that servers have had for long, curves and signatures for them. */
const uint8_t handshake_client_hello[] = {
        0x16, 3, 1, 0, 85,                                              /* a handshake record of 85 bytes */
        1, 0, 0, 81, 3, 3,                                              /* ClientHello, 81 bytes, TLS 1.2 */
        'r', 'o', 'l', 'l', 'c', 'a', 'l', 'l', ' ', 'c', 'h', 'e', 'c', 'k', ':', ' ', /* 32 bytes that need not */
        'i', 's', ' ', 't', 'h', 'i', 's', ' ', 'T', 'L', 'S', '?', ' ', ' ', ' ', ' ', /* be secret here */
        0,                                                              /* no session */
        0, 10, 0xc0, 0x2f, 0xc0, 0x2b, 0xc0, 0x30, 0xc0, 0x2c, 0, 0x2f, /* suites */
        1, 0,                                                           /* no compression */
        0, 30,                                                          /* extensions: */
        0, 10, 0, 6, 0, 4, 0, 0x17, 0, 0x18,                            /* secp256r1, secp384r1 */
        0, 11, 0, 2, 1, 0,                                              /* points are not compressed */
        0, 13, 0, 10, 0, 8, 4, 1, 4, 3, 5, 1, 2, 1,                     /* RSA and ECDSA with SHA-2, RSA with SHA-1 */
};
const size_t handshake_client_hello_bytes = sizeof(handshake_client_hello);
