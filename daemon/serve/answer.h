/* SPDX-License-Identifier: Apache-2.0 */
/* Whole answers of the control protocol, sent. */
#pragma once

#include "core/control.h"
#include "serve/conn.h"

/* Adds the CONTROL_END record and sends. Where something went wrong with the buffer, that is logged and the
 * connection is closed. */
void answer_buffer(Conn *conn, ControlBuffer *buffer);
/* The same of one that may be long: what a slow reader leaves of it is bounded together with listings (P6). */
void answer_listed(Conn *conn, Listings *listings, ControlBuffer *buffer);
/* `text` is one sentence. */
void answer_error(Conn *conn, ControlError error, const char *text);
