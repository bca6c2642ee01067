/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator orders about names: one request, and what was refused. */
#pragma once

#include <stdint.h>

#include "ask.h"
#include "target.h"

/* A name without a host part. 0, or an exit status after one sentence. */
RollcallExit order_parse_name(const char *text, Target *ret);
RollcallExit order_parse_port(const char *text, uint16_t *ret);

/* Has it carried out. 0 and the answer; a refusal is an exit status after one sentence. */
RollcallExit order_give(const char *control, const ControlBuffer *request, Answer *ret);
