/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how an operator names a node.
 *
 * The trap: what stands behind the @ of a full name is often an address that is not the node's scope. The commonest
 * of all, app@127.0.0.1, listens on every address. As one that listens on all and one that listens on a certain
 * address exclude each other, both can be meant by it without doubt. */

#include "target.h"
#include "complaint.h"

#include <stdio.h>
#include <string.h>

#include "core/node.h"

static RollcallExit complain(const char *text, const char *what) {
        complaint_print("'%s' %s", text, what);
        return ROLLCALL_EXIT_USAGE;
}

/* "a@" means a name with an @ in it as well as one without: nothing behind the last @ says nothing. */
static RollcallExit parse_host(const char *host, Target *target) {
        if (host[0] == '\0')
                return ROLLCALL_EXIT_OK;
        target->host = host;
        target->has_address = address_parse(host, &target->address) == 0;
        if (target->has_address)
                address_format(&target->address, target->address_text);
        else if (!node_host_is_valid(host, strlen(host)))
                return complain(target->text, "has neither an address nor a host name behind its @");
        return ROLLCALL_EXIT_OK;
}

RollcallExit target_parse(const char *text, Target *ret) {
        const char *at = strrchr(text, '@');
        Target target = { .text = text, .name = text, .n_name = at ? (size_t)(at - text) : strlen(text) };
        RollcallExit status = at ? parse_host(at + 1, &target) : ROLLCALL_EXIT_OK;

        if (status != ROLLCALL_EXIT_OK)
                return status;
        switch (node_name_check(target.name, target.n_name)) {
        case NODE_NAME_OK:
                *ret = target;
                return ROLLCALL_EXIT_OK;
        case NODE_NAME_EMPTY:
                return complain(text, "names no node");
        case NODE_NAME_TOO_LONG:
                return complain(text, "is too long for a node's name");
        case NODE_NAME_NOT_UTF8:
                return complain(text, "is not UTF-8");
        case NODE_NAME_CONTROL_CHARACTER:
                return complain(text, "has a control character in it, which no node's name has");
        }
        return ROLLCALL_EXIT_USAGE;
}

static bool is_same(const ControlField *field, const char *text, size_t n_text) {
        return field->n_value == n_text && memcmp(field->value, text, n_text) == 0;
}

static bool fits_address(const Target *target, const ControlField *scope) {
        return is_same(scope, "*", 1) || is_same(scope, target->address_text, strlen(target->address_text));
}

bool target_fits(const Target *target, const Row *row) {
        const ControlField *name = &row->texts[ROW_NAME], *host = &row->texts[ROW_HOST];

        if (!name->value || !is_same(name, target->name, target->n_name))
                return false;
        if (target->has_address)
                return !row->texts[ROW_SCOPE].value || fits_address(target, &row->texts[ROW_SCOPE]);
        return !target->host || !host->value || is_same(host, target->host, strlen(target->host));
}

void target_put_name(ControlBuffer *request, const Target *target) {
        control_put_text(request, CONTROL_TAG_NAME, target->name, target->n_name);
}
