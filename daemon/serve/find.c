/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what an answer to FIND has in it. Does not know which nodes are selected (serve/filter), nor when it may leave
 * (serve/pending). */

#include "serve/find.h"

#include "serve/answer.h"
#include "serve/filter.h"
#include "serve/records.h"

static void put_epoch(ControlBuffer *buffer, const FindParts *parts) {
        control_put_record_begin(buffer, CONTROL_EPOCH_RECORD);
        control_put_u64(buffer, CONTROL_TAG_EPOCH, watch_epoch(parts->watch));
        control_put_u64(buffer, CONTROL_TAG_REVISION, registry_revision(parts->registry));
        control_put_record_end(buffer);
}

static void put_node(ControlBuffer *buffer, const Node *node, RecordsForm form) {
        control_put_record_begin(buffer, CONTROL_NODE_RECORD);
        records_put_public_fields(buffer, node);
        if (form == RECORDS_FULL)
                records_put_private_fields(buffer, node);
        control_put_record_end(buffer);
}

static void put_found(ControlBuffer *buffer, const FindParts *parts, const Filter *filter, RecordsForm form) {
        FilterWalk walk = filter_walk(filter, parts->registry);
        Node *node;

        control_put_answer_head(buffer);
        put_epoch(buffer, parts);
        while ((node = filter_walk_next(&walk)))
                put_node(buffer, node, form);
}

static void answer_failure(Conn *conn, int error) {
        if (error == -EBUSY)
                answer_error(conn, CONTROL_E_BUSY, "Too many wait for the disk already.");
        else
                answer_error(conn, CONTROL_E_INTERNAL, "There is no memory for that.");
}

void find_on_request(const FindParts *parts, Conn *conn, const ControlRequest *request) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        _cleanup_(filter_unrefp) Filter *filter = NULL;
        const char *wrong = NULL;
        int r = pending_n(parts->pending) < FIND_WAITING_MAX ? filter_new(&filter, request, &wrong) : -EBUSY;

        if (r > 0) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        if (r == 0) {
                watch_remember(parts->watch);
                put_found(&buffer, parts, filter, conn_kind(conn) == CONN_CONTROL ? RECORDS_FULL : RECORDS_PUBLIC);
                r = pending_answer(parts->pending, conn, &buffer);
        }
        if (r < 0)
                answer_failure(conn, r);
}
