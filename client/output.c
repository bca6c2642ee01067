/* SPDX-License-Identifier: Apache-2.0 */
/* Knows that standard output may be a full disk or a closed pipe: what was not written must not
 * look as if all were well. */

#include "output.h"
#include "complaint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

RollcallExit output_finish(void) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return ROLLCALL_EXIT_OK;
        complaint_print("cannot write to standard output: %s", strerror(errno));
        return ROLLCALL_EXIT_GAVE_UP;
}

RollcallExit output_json(json_t *json) {
        if (!json)
                return output_out_of_memory();
        json_dumpf(json, stdout, JSON_INDENT(2)); /* output_finish() sees its errors */
        putchar('\n');
        json_decref(json);
        return output_finish();
}

RollcallExit output_json_line(json_t *json) {
        if (!json)
                return output_out_of_memory();
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(json);
        return output_finish();
}

RollcallExit output_out_of_memory(void) {
        complaint_print("out of memory");
        return ROLLCALL_EXIT_GAVE_UP;
}
