/* SPDX-License-Identifier: Apache-2.0 */
/* The first two messages of Erlang's distribution handshake, as bytes: who am I, who are you. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*  name       +-------+-----+-----------+--------------+-------+--------
 *  (send)     | u16 n | 'N' | u64 flags | u32 creation | u16 n | name           n counts from 'N'
 *             +-------+-----+-----------+--------------+-------+--------
 *  before 23  +-------+-----+-------------+-----------+--------
 *             | u16 n | 'n' | u16 version | u32 flags | name
 *             +-------+-----+-------------+-----------+--------
 *  status     +-------+-----+--------
 *  (answer)   | u16 n | 's' | "ok", "nok", "alive", "not_allowed", "ok_simultaneous"
 *             +-------+-----+--------
 *  challenge  +-------+-----+-----------+---------------+--------------+-------+--------
 *             | u16 n | 'N' | u64 flags | u32 challenge | u32 creation | u16 n | name
 *             +-------+-----+-----------+---------------+--------------+-------+--------
 *  before 23  +-------+-----+-------------+-----------+---------------+--------
 *             | u16 n | 'n' | u16 version | u32 flags | u32 challenge | name
 *             +-------+-----+-------------+-----------+---------------+--------
 *  The source: "Distribution Protocol" of the documentation of Erlang/OTP's run-time system. */
#define HANDSHAKE_NAME_MAX 1276 /* 1020 bytes, '@', 255 */
#define HANDSHAKE_REQUEST_MAX (HANDSHAKE_NAME_MAX + 17)
/* A version of the distribution protocol from which on the newer forms are spoken. */
#define HANDSHAKE_VERSION_NEW 6

typedef enum HandshakeAnswer {
        HANDSHAKE_MORE,      /* bytes are missing */
        HANDSHAKE_CHALLENGE, /* it has told its name */
        HANDSHAKE_REFUSED,   /* a status that ends it: `status` */
        HANDSHAKE_ASKED,     /* a status that asks back: `status` is "alive" */
        HANDSHAKE_TLS,       /* a TLS record */
        HANDSHAKE_STRANGE,   /* none of these */
} HandshakeAnswer;

typedef struct HandshakePeer {
        char status[32]; /* clean: letters, digits, _ and : */
        char name[HANDSHAKE_NAME_MAX + 1];
        size_t n_name;
        uint64_t flags;
        uint32_t creation; /* 0 where it is not told */
        bool is_new;       /* of OTP 23 or later, by the form of its answer */
} HandshakePeer;

/* Who we are: a hidden node of that name, with all a current node can. The bytes; 0 if the name is too long. */
size_t handshake_put_name(const char *name, bool is_new, uint8_t request[static HANDSHAKE_REQUEST_MAX]);

/* All bytes that have come so far. `*ret` is filled as far as the answer goes. */
HandshakeAnswer handshake_read(const uint8_t *data, size_t n_data, HandshakePeer *ret);

/* The least release of OTP that has such flags: 23, 24, ...; 0: older than 23. */
unsigned handshake_release(uint64_t flags);

/* A TLS ClientHello that every server answers, by its own hello or an alert. */
extern const uint8_t handshake_client_hello[];
extern const size_t handshake_client_hello_bytes;
