/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: times and durations as people write them. What is understood can be written, and is then understood as
 * the same. */

#include <assert.h>
#include <string.h>

#include "fuzz.h"
#include "text.h"
#include "times.h"
#include "util.h"

#define NOW UINT64_C(1795266600250000)
/* Before the year 10000. */
#define TOLD_MAX (UINT64_C(253402300800) * USEC_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *text = strndup((const char *)data, size);
        char told[TEXT_TIME_MAX];
        uint64_t usec, again;

        if (!text)
                return 0;
        if (times_parse_duration(text, &usec) == 0)
                text_duration(usec, told);
        setenv("TZ", "Europe/Berlin", 1);
        if (times_parse(text, NOW, false, &usec) == 0)
                text_time_local(usec, told);
        if (times_parse(text, NOW, true, &usec) < 0 || usec >= TOLD_MAX)
                return 0;
        text_time_utc(usec, told);
        assert(times_parse(told, NOW, false, &again) == 0 && again == usec);
        return 0;
}
