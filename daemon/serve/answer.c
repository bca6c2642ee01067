/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how an answer ends and what becomes of one that could not be written. */

#include "serve/answer.h"

#include <string.h>

#include "log.h"

/* False: nothing can be sent. */
static bool is_whole(Conn *conn, const ControlBuffer *buffer) {
        if (buffer->error == 0)
                return true;
        log_event(LOG_ERR, LOG_EVENT_SHED, NULL, "A control request is closed unanswered: %s",
                  strerror(-buffer->error));
        conn_finish(conn);
        return false;
}

static void put_end(ControlBuffer *buffer) {
        control_put_record_begin(buffer, CONTROL_END);
        control_put_record_end(buffer);
}

void answer_buffer(Conn *conn, ControlBuffer *buffer) {
        put_end(buffer);
        if (is_whole(conn, buffer))
                conn_answer(conn, buffer->data, buffer->n_data);
}

void answer_listed(Conn *conn, Listings *listings, ControlBuffer *buffer) {
        put_end(buffer);
        if (is_whole(conn, buffer))
                conn_answer_listed(conn, listings, buffer->data, buffer->n_data);
}

void answer_error(Conn *conn, ControlError error, const char *text) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_error_answer(&buffer, error, text);
        if (is_whole(conn, &buffer))
                conn_answer(conn, buffer.data, buffer.n_data);
}
