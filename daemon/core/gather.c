/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how long changes wait for others with which they share a transaction. Does not know changes.
 *
 * The trap: a loop that has more to do than it can never finds that nothing is ready. Dispatches alone are no bound then,
 * since each may take its time (CONNS_DISPATCH_USEC), and time alone is none for one that is kept from the processor.
 */

#include "core/gather.h"

bool gather_is_over(Gather *gather, bool has_gathered, bool was_idle, uint64_t now_usec) {
        bool is_over;

        if (!has_gathered) {
                *gather = (Gather){ 0 };
                return false;
        }
        if (gather->since_usec == 0)
                gather->since_usec = now_usec;
        is_over = was_idle || ++gather->n_dispatched >= GATHER_DISPATCHES_MAX ||
                  now_usec - gather->since_usec >= GATHER_USEC;
        if (is_over)
                *gather = (Gather){ 0 };
        return is_over;
}
