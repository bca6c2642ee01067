/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: what a stock epmd answers to NAMES, and what has changed between two such answers. */

#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "stock.h"
#include "util.h"

static size_t count(const ControlBuffer *records, uint8_t expected) {
        size_t position = 0, n, n_fields, n_records = 0;
        const uint8_t *fields;
        uint8_t kind;

        for (; position < records->n_data; n_records++) {
                assert(control_next_record(records->data + position, records->n_data - position, &n, &kind, &fields,
                                           &n_fields) == 1);
                assert(kind == expected && control_fields_are_well_formed(fields, n_fields));
                position += n;
        }
        return n_records;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(control_buffer_done) ControlBuffer records = { 0 };
        _cleanup_(control_buffer_done) ControlBuffer appeared = { 0 };
        _cleanup_(control_buffer_done) ControlBuffer gone = { 0 };
        _cleanup_(control_buffer_done) ControlBuffer same = { 0 };
        const ControlBuffer none = { 0 };

        if (stock_read_names(data, size, &records) < 0)
                return 0;
        assert(stock_compare(&none, &records, &appeared) == 0);
        assert(stock_compare(&records, &none, &gone) == 0);
        assert(stock_compare(&records, &records, &same) == 0);
        assert(count(&appeared, CONTROL_NODE_RECORD) == count(&records, CONTROL_NODE_RECORD));
        assert(count(&gone, CONTROL_GONE_RECORD) == count(&records, CONTROL_NODE_RECORD));
        assert(same.n_data == 0);
        return 0;
}
