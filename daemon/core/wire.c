/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how EPMD's messages are laid out. Does not know which are allowed or what they lead to; whether a
 * name is acceptable is for the registry to say, because a bad name is answered, not closed.
 *
 * The trap: lengths inside a message are a client's claim. Each is checked against what is left before a
 * byte behind it is read.
 */

#include "core/wire.h"

#include <stdio.h>
#include <string.h>

static uint16_t get_u16(const uint8_t *data) {
        return (uint16_t)(data[0] << 8 | data[1]);
}

static uint8_t *put_u16(uint8_t *out, uint16_t value) {
        *out++ = (uint8_t)(value >> 8);
        *out++ = (uint8_t)value;
        return out;
}

static uint8_t *put_u32(uint8_t *out, uint32_t value) {
        out = put_u16(out, (uint16_t)(value >> 16));
        return put_u16(out, (uint16_t)value);
}

static uint8_t *put_bytes(uint8_t *out, const void *data, size_t n_data) {
        out = put_u16(out, (uint16_t)n_data);
        if (n_data > 0)
                memcpy(out, data, n_data);
        return out + n_data;
}

WireFrame wire_frame(const uint8_t *data, size_t n_data, const uint8_t **ret_body, size_t *ret_n_body) {
        size_t n_body;

        if (n_data < 2)
                return WIRE_FRAME_INCOMPLETE;
        n_body = get_u16(data);
        if (n_body == 0 || n_body > WIRE_BODY_MAX || n_data > n_body + 2)
                return WIRE_FRAME_BAD;
        if (n_data < n_body + 2)
                return WIRE_FRAME_INCOMPLETE;
        *ret_body = data + 2;
        *ret_n_body = n_body;
        return WIRE_FRAME_COMPLETE;
}

/*  ALIVE2_REQ   +-----+------+------+----------+---------+--------+------+------+------+-------+
 *               | 'x' | port | type | protocol | highest | lowest | nlen | name | elen | extra |
 *               +-----+------+------+----------+---------+--------+------+------+------+-------+
 *                  1     2       1        1         2         2       2    nlen     2     elen
 */
#define ALIVE2_HEAD 11
/* Stock epmd takes nothing shorter: with a name of one byte this is the least there is. */
#define ALIVE2_BODY_MIN (ALIVE2_HEAD + 1 + 2)

static WireVerdict parse_alive2(const uint8_t *body, size_t n_body, NodeInfo *ret) {
        size_t n_left;

        if (n_body < ALIVE2_BODY_MIN)
                return WIRE_MALFORMED;
        *ret = (NodeInfo){
                .port = get_u16(body + 1),
                .type = body[3],
                .protocol = body[4],
                .highest_version = get_u16(body + 5),
                .lowest_version = get_u16(body + 7),
                .n_name = get_u16(body + 9),
                .name = (const char *)body + ALIVE2_HEAD,
        };
        n_left = n_body - ALIVE2_HEAD;
        if (ret->n_name + 2 > n_left)
                return WIRE_MALFORMED;
        n_left -= ret->n_name + 2;
        ret->n_extra = get_u16(body + ALIVE2_HEAD + ret->n_name);
        ret->extra = body + ALIVE2_HEAD + ret->n_name + 2;
        return ret->n_extra > n_left ? WIRE_MALFORMED : WIRE_OK;
}

/* PORT2_REQ: the name is the rest of the packet; one NUL at its end is not part of it. A name that no node
 * can have makes the request malformed, except for control characters: such a name is simply not found, as in
 * stock epmd. */
static WireVerdict parse_port2(const uint8_t *body, size_t n_body, WireRequest *ret) {
        ret->name = (const char *)body + 1;
        ret->n_name = n_body - 1;
        if (ret->n_name > 0 && ret->name[ret->n_name - 1] == 0)
                ret->n_name--;
        if (memchr(ret->name, 0, ret->n_name))
                return WIRE_MALFORMED;
        switch (node_name_check(ret->name, ret->n_name)) {
        case NODE_NAME_OK:
        case NODE_NAME_CONTROL_CHARACTER:
                return WIRE_OK;
        case NODE_NAME_EMPTY:
        case NODE_NAME_TOO_LONG:
        case NODE_NAME_NOT_UTF8:
                break;
        }
        return WIRE_MALFORMED;
}

/* STOP_REQ: stock epmd takes the name up to the first NUL, whatever follows. */
static WireVerdict parse_stop(const uint8_t *body, size_t n_body, WireRequest *ret) {
        ret->name = (const char *)body + 1;
        ret->n_name = strnlen(ret->name, n_body - 1);
        return n_body > 1 ? WIRE_OK : WIRE_MALFORMED;
}

WireVerdict wire_parse(const uint8_t *body, size_t n_body, WireRequest *ret) {
        *ret = (WireRequest){ .op = (WireOp)body[0] };

        switch (body[0]) {
        case WIRE_ALIVE2:
                return parse_alive2(body, n_body, &ret->info);
        case WIRE_PORT2:
                return parse_port2(body, n_body, ret);
        case WIRE_STOP:
                return parse_stop(body, n_body, ret);
        case WIRE_NAMES:
        case WIRE_DUMP:
        case WIRE_KILL:
                return WIRE_OK;
        default:
                return WIRE_UNKNOWN;
        }
}

/*  ALIVE2_X_RESP  +-----+--------+--------------+   ALIVE2_RESP  +-----+--------+--------------+
 *                 | 'v' | result | u32 creation |                | 'y' | result | u16 creation |
 *                 +-----+--------+--------------+                +-----+--------+--------------+
 */
size_t wire_put_alive(uint8_t out[static WIRE_ALIVE_ANSWER_MAX], uint16_t highest_version,
                      uint8_t result, uint32_t creation) {
        uint8_t *end = out;

        if (highest_version >= NODE_VERSION_CREATION_32) {
                *end++ = 'v';
                *end++ = result;
                end = put_u32(end, creation);
        } else {
                *end++ = 'y';
                *end++ = result;
                end = put_u16(end, (uint16_t)creation);
        }
        return (size_t)(end - out);
}

/*  PORT2_RESP  +-----+---+------+------+----------+---------+--------+------+------+------+-------+
 *              | 'w' | 0 | port | type | protocol | highest | lowest | nlen | name | elen | extra |
 *              +-----+---+------+------+----------+---------+--------+------+------+------+-------+
 *              | 'w' | 1 |  where there is no such node
 *              +-----+---+
 */
size_t wire_put_port2(uint8_t out[static WIRE_PORT2_ANSWER_MAX], const NodeInfo *node) {
        uint8_t *end = out;

        *end++ = 'w';
        *end++ = node ? 0 : 1;
        if (!node)
                return (size_t)(end - out);
        end = put_u16(end, node->port);
        *end++ = node->type;
        *end++ = node->protocol;
        end = put_u16(end, node->highest_version);
        end = put_u16(end, node->lowest_version);
        end = put_bytes(end, node->name, node->n_name);
        end = put_bytes(end, node->extra, node->n_extra);
        return (size_t)(end - out);
}

size_t wire_put_listing_head(uint8_t out[static WIRE_LISTING_HEAD], uint16_t port) {
        return (size_t)(put_u32(out, port) - out);
}

/* The name has no NUL and no control character (node_name_check()), so %.*s takes it whole. */
size_t wire_put_names_line(char out[static WIRE_LINE_MAX], const NodeInfo *node) {
        return (size_t)snprintf(out, WIRE_LINE_MAX, "name %.*s at port %u\n", (int)node->n_name,
                                node->name, node->port);
}

size_t wire_put_dump_line(char out[static WIRE_LINE_MAX], const NodeInfo *node, int fd) {
        return 1 + (size_t)snprintf(out, WIRE_LINE_MAX, "active name     <%.*s> at port %u, fd = %d\n",
                                    (int)node->n_name, node->name, node->port, fd);
}

size_t wire_put_dump_old_line(char out[static WIRE_LINE_MAX], const NodeInfo *node, int fd) {
        return 1 + (size_t)snprintf(out, WIRE_LINE_MAX,
                                    "old/unused name <%.*s>, port = %u, fd = %d \n",
                                    (int)node->n_name, node->name, node->port, fd);
}
