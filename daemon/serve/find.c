/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what an answer to FIND has in it. Does not know which nodes are selected (serve/filter), nor when it may leave
 * (serve/pending). */

#include "serve/find.h"

#include "serve/answer.h"
#include "serve/filter.h"
#include "serve/records.h"

static void put_found(ControlBuffer *buffer, const FindParts *parts, const Filter *filter, RecordsForm form) {
        FilterWalk walk = filter_walk(filter, parts->registry);
        Node *node;

        control_put_answer_head(buffer);
        watch_put_epoch(parts->watch, buffer);
        while ((node = filter_walk_next(&walk)))
                records_put_node_as(buffer, node, form, 0);
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
                r = pending_answer(parts->pending, conn, &buffer, PLACE_FINDING, FIND_WAITING_MAX);
        }
        if (r < 0)
                answer_failure(conn, r);
}
