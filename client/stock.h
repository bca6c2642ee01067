/* SPDX-License-Identifier: Apache-2.0 */
/* What a stock epmd tells: the answer to NAMES. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/control.h"

/* A request as it is sent. */
#define STOCK_NAMES_REQUEST "\0\1n"
#define STOCK_NAMES_REQUEST_BYTES 3
/* Who tells more than that tells nothing: some 60,000 of the longest names. */
#define STOCK_ANSWER_BYTES_MAX ((size_t)64 << 20)

/* The whole answer as CONTROL_NODE_RECORDs with a name and a port, in its order, put into `records`. 0; -EBADMSG: this
 * is none; -ENOMEM. */
int stock_read_names(const uint8_t *data, size_t n_data, ControlBuffer *records);

/* What has changed between two answers: a CONTROL_GONE_RECORD for each that is not in `after` any more, then a
 * CONTROL_NODE_RECORD for each that was not in `before` as it is. 0 or -ENOMEM. */
int stock_compare(const ControlBuffer *before, const ControlBuffer *after, ControlBuffer *records);
