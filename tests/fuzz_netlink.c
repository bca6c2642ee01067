/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: netlink messages, as the kernel answers and announces. Those of the first byte's sequence count. */

#include <assert.h>
#include <string.h>

#include "evidence/addresses.h"
#include "evidence/diag.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(diag_answer_done) DiagAnswer answer = { 0 };
        _cleanup_(freep) void *messages = NULL;
        uint64_t cookie;

        if (size < 1)
                return 0;
        /* Aligned, and no byte longer than they are. */
        messages = malloc(size);
        if (!messages)
                return 0;
        memcpy(messages, data + 1, size - 1);
        for (int i = 0; i < 2; i++)
                diag_answer_read(&answer, messages, size - 1, data[0]);
        assert(answer.n_entries <= answer.n_allocated && answer.n_entries % 2 == 0);
        for (size_t i = 0; i < answer.n_entries / 2; i++)
                assert(answer.entries[i].facts.cookie == answer.entries[i + answer.n_entries / 2].facts.cookie);
        (void)diag_parse_event(messages, size - 1, &cookie);
        (void)addresses_parse_answer(messages, size - 1, data[0]);
        return 0;
}
