/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as JSON objects. Their keys are an interface: rollcall(1). */
#pragma once

#include <jansson.h>

#include "row.h"

/* All of these are new objects (or arrays); NULL on ENOMEM. What is not known is null. */

/* A node that is registered. */
json_t *row_to_json(const Row *row);
/* A registration, of now or of the past: the same keys, then when and how it ended. */
json_t *row_tenure_to_json(const Row *row);
/* A node with the evidence by which it is alive. */
json_t *row_holder_to_json(const Row *row);
/* A node that was found on one of several machines: `node`, `host_assumed`, `machine`, `told_by`, and the same keys. */
json_t *row_found_to_json(const Row *row);
json_t *row_refusal_to_json(const Row *row);
/* A static entry; a pinned port. */
json_t *row_entry_to_json(const Row *row);
json_t *row_pin_to_json(const Row *row);

/* One of the row's numbers; null where it was not told. */
json_t *row_number_to_json(const Row *row, RowNumber number);

/* An array of what `to_json` makes of each. */
json_t *rows_to_json(const Rows *rows, json_t *(*to_json)(const Row *row));
