/* SPDX-License-Identifier: Apache-2.0 */
/* EPMD's bytes: requests in, answers out. Pure; PROTOCOL.md draws the messages. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/node.h"

/* Bytes of a request's body; a longer one is closed, as stock epmd does. */
#define WIRE_BODY_MAX 3057
#define WIRE_FRAME_MAX (2 + WIRE_BODY_MAX)

typedef enum WireFrame {
        WIRE_FRAME_INCOMPLETE,
        WIRE_FRAME_COMPLETE,
        WIRE_FRAME_BAD, /* length 0 or above WIRE_BODY_MAX, or more bytes than announced (pipelining) */
} WireFrame;

/* Judges what has been read so far. On COMPLETE `*ret_body` points into `data`. */
WireFrame wire_frame(const uint8_t *data, size_t n_data, const uint8_t **ret_body, size_t *ret_n_body);

typedef enum WireOp {
        WIRE_ALIVE2 = 'x',
        WIRE_PORT2 = 'z',
        WIRE_NAMES = 'n',
        WIRE_DUMP = 'd',
        WIRE_KILL = 'k',
        WIRE_STOP = 's',
} WireOp;

typedef struct WireRequest {
        WireOp op;
        NodeInfo info;    /* WIRE_ALIVE2; borrows from the body */
        const char *name; /* WIRE_PORT2, WIRE_STOP; borrows from the body */
        size_t n_name;
} WireRequest;

typedef enum WireVerdict {
        WIRE_OK,
        WIRE_UNKNOWN,   /* an opcode that is none: closed without a byte */
        WIRE_MALFORMED, /* closed without a byte */
} WireVerdict;

WireVerdict wire_parse(const uint8_t *body, size_t n_body, WireRequest *ret);

/* Answers are written into `out` and their length in bytes is returned. */
#define WIRE_ALIVE_ANSWER_MAX 6
/* ALIVE2_X_RESP for a highest version of 6 or more, else ALIVE2_RESP. `result` 0 is success; a refusal
 * carries creation 99, as stock epmd's. */
size_t wire_put_alive(uint8_t out[static WIRE_ALIVE_ANSWER_MAX], uint16_t highest_version,
                      uint8_t result, uint32_t creation);
#define WIRE_CREATION_OF_REFUSAL 99

#define WIRE_PORT2_ANSWER_MAX (14 + NODE_NAME_BYTES_MAX + NODE_EXTRA_BYTES_MAX)
/* PORT2_RESP; `node` NULL: not found. */
size_t wire_put_port2(uint8_t out[static WIRE_PORT2_ANSWER_MAX], const NodeInfo *node);

/* NAMES_RESP and DUMP_RESP begin with EPMD's own port (host order here). */
#define WIRE_LISTING_HEAD 4
size_t wire_put_listing_head(uint8_t out[static WIRE_LISTING_HEAD], uint16_t port);
/* Then one line a node. The longest needs this many bytes: */
#define WIRE_LINE_MAX (64 + NODE_NAME_BYTES_MAX)
size_t wire_put_names_line(char out[static WIRE_LINE_MAX], const NodeInfo *node);
/* DUMP's lines end with a NUL. `fd` is -1 where there is no connection. */
size_t wire_put_dump_line(char out[static WIRE_LINE_MAX], const NodeInfo *node, int fd);
size_t wire_put_dump_old_line(char out[static WIRE_LINE_MAX], const NodeInfo *node, int fd);
