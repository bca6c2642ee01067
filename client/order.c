/* SPDX-License-Identifier: Apache-2.0 */
/* Knows that an order which is refused is no failure of the way to the daemon. What is ordered is for those who do. */

#include "order.h"

#include <stdlib.h>

#include "complaint.h"
#include "util.h"

RollcallExit order_parse_name(const char *text, Target *ret) {
        RollcallExit status = target_parse(text, ret);

        if (status != ROLLCALL_EXIT_OK || !ret->host)
                return status;
        complaint_print("'%s' has a host part; here only the name before the @ is meant", text);
        return ROLLCALL_EXIT_USAGE;
}

RollcallExit order_parse_port(const char *text, uint16_t *ret) {
        char *end = NULL;
        unsigned long port = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;

        if (port == 0 || port > UINT16_MAX || *end != '\0') {
                complaint_print("'%s' is no port", text);
                return ROLLCALL_EXIT_USAGE;
        }
        *ret = (uint16_t)port;
        return ROLLCALL_EXIT_OK;
}

/* The daemon is there, and has understood. */
static bool is_no(uint32_t refusal) {
        return refusal == CONTROL_E_DENIED || refusal == CONTROL_E_EXISTS || refusal == CONTROL_E_BUSY ||
               refusal == CONTROL_E_UNAVAILABLE;
}

RollcallExit order_give(const char *control, const ControlBuffer *request, Answer *ret) {
        _cleanup_(connection_done) Connection connection = CONNECTION_NONE;
        RollcallExit status = ask_open(control, &connection);
        int r;

        if (status != ROLLCALL_EXIT_OK)
                return status;
        r = ask_over(&connection, request, ASK_DISK_PATIENCE_SEC, ret);
        if (r < 0)
                return ask_complain_read(&connection, r, ASK_DISK_PATIENCE_SEC);
        if (ret->refusal == 0)
                return ROLLCALL_EXIT_OK;
        status = ask_complain_answer(connection.place, ret);
        return is_no(ret->refusal) ? ROLLCALL_EXIT_NO : status;
}
