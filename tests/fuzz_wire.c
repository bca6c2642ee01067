/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: a request of EPMD's as it comes in, and what is told of the node that it announces. What is parsed
 * borrows from the request alone; a line of NAMES says what was announced. */

#include <assert.h>
#include <string.h>

#include "core/wire.h"
#include "fuzz.h"
#include "stock.h"

static void check_within(const uint8_t *body, size_t n_body, const void *part, size_t n_part) {
        const uint8_t *begin = part;

        assert(begin >= body && n_part <= n_body && begin <= body + (n_body - n_part));
}

static void check_names(const NodeInfo *info) {
        _cleanup_(control_buffer_done) ControlBuffer records = { 0 };
        uint8_t listing[WIRE_LISTING_HEAD + WIRE_LINE_MAX];
        size_t n = wire_put_listing_head(listing, 4369);
        ControlField name, port;

        n += wire_put_names_line((char *)listing + n, info);
        assert(n < sizeof listing);
        assert(stock_read_names(listing, n, &records) == 0);
        assert(control_find_field(records.data + 5, records.n_data - 5, CONTROL_TAG_NAME, &name));
        assert(node_info_has_name(info, (const char *)name.value, name.n_value));
        assert(control_find_field(records.data + 5, records.n_data - 5, CONTROL_TAG_PORT, &port));
        assert(control_field_u64(&port) == info->port);
}

static void check_announced(const NodeInfo *info) {
        uint8_t answer[WIRE_PORT2_ANSWER_MAX];
        char line[WIRE_LINE_MAX];

        if (node_name_check(info->name, info->n_name) != NODE_NAME_OK || info->n_extra > NODE_EXTRA_BYTES_MAX)
                return;
        assert(wire_put_port2(answer, info) == 14 + info->n_name + info->n_extra);
        assert(memcmp(answer + 12, info->name, info->n_name) == 0);
        assert(wire_put_dump_line(line, info, -1) <= sizeof line && wire_put_dump_old_line(line, info, -1) <= sizeof line);
        check_names(info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const uint8_t *body;
        WireRequest request;
        size_t n_body;

        if (wire_frame(data, size, &body, &n_body) != WIRE_FRAME_COMPLETE)
                return 0;
        check_within(data, size, body, n_body);
        assert(n_body > 0 && n_body <= WIRE_BODY_MAX);
        if (wire_parse(body, n_body, &request) != WIRE_OK)
                return 0;
        if (request.name)
                check_within(body, n_body, request.name, request.n_name);
        if (request.op != WIRE_ALIVE2)
                return 0;
        check_within(body, n_body, request.info.name, request.info.n_name);
        check_within(body, n_body, request.info.extra, request.info.n_extra);
        check_announced(&request.info);
        return 0;
}
