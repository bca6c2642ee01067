/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how a machine is written, and which host parts its nodes may have. Does not know how one gets there.
 *
 * The trap: a colon stands before a port, and within an IPv6 address, which has two at least. */

#include "machine.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complaint.h"
#include "core/node.h"
#include "output.h"
#include "util.h"

void machine_done(Machine *machine) {
        free(machine->text);
        free(machine->host);
        *machine = (Machine){ 0 };
}

void machines_done(Machines *machines) {
        for (size_t i = 0; i < machines->n_machines; i++)
                machine_done(&machines->machines[i]);
        free(machines->machines);
        *machines = (Machines){ 0 };
}

int machine_parse_port(const char *text, uint16_t *ret) {
        unsigned long port = 0;
        size_t n = strspn(text, "0123456789");

        if (n == 0 || n > 5 || text[n] != '\0')
                return -EINVAL;
        port = strtoul(text, NULL, 10);
        if (port == 0 || port > UINT16_MAX)
                return -EINVAL;
        *ret = (uint16_t)port;
        return 0;
}

/* Where the host ends, and its port begins (NULL: it has none). */
static int split(const char *text, const char **ret_host, size_t *ret_n_host, const char **ret_port) {
        const char *colon = strchr(text, ':'), *end;

        *ret_port = NULL;
        *ret_host = text;
        if (text[0] == '[') {
                end = strchr(text, ']');
                if (!end || (end[1] != '\0' && end[1] != ':'))
                        return -EINVAL;
                *ret_host = text + 1;
                *ret_port = end[1] == ':' ? end + 2 : NULL;
        } else if (colon && !strchr(colon + 1, ':')) {
                end = colon;
                *ret_port = colon + 1;
        } else
                end = text + strlen(text);
        *ret_n_host = (size_t)(end - *ret_host);
        return 0;
}

int machine_parse(const char *text, uint16_t port, Machine *ret) {
        const char *host, *port_text;
        Machine machine = { .port = port };
        size_t n_host;

        if (split(text, &host, &n_host, &port_text) < 0 || !node_host_is_valid(host, n_host) || strchr(text, '/'))
                return -EINVAL;
        if (port_text && machine_parse_port(port_text, &machine.port) < 0)
                return -EINVAL;
        machine.text = strdup(text);
        if (strcmp(text, "local") != 0)
                machine.host = strndup(host, n_host);
        if (!machine.text || (!machine.host && strcmp(text, "local") != 0)) {
                machine_done(&machine);
                return -ENOMEM;
        }
        *ret = machine;
        return 0;
}

/* --- of a command line ------------------------------------------------------------------------ */

RollcallExit machine_port(const char *given, uint16_t *ret) {
        const char *by_environment = getenv("ERL_EPMD_PORT");
        const char *text = given ? given : by_environment && by_environment[0] ? by_environment : NULL;

        *ret = MACHINE_PORT_DEFAULT;
        if (!text || machine_parse_port(text, ret) == 0)
                return ROLLCALL_EXIT_OK;
        complaint_print("'%s'%s is no port", text, given ? "" : " (ERL_EPMD_PORT)");
        return ROLLCALL_EXIT_USAGE;
}

static bool has(const Machines *machines, const char *text) {
        for (size_t i = 0; i < machines->n_machines; i++)
                if (strcmp(machines->machines[i].text, text) == 0)
                        return true;
        return false;
}

static RollcallExit add(Machines *machines, const char *text, uint16_t port) {
        int r = machine_parse(text, port, &machines->machines[machines->n_machines]);

        if (r == -ENOMEM)
                return output_out_of_memory();
        if (r < 0) {
                complaint_print("'%s' is no machine; write HOST, HOST:PORT, [ADDRESS]:PORT or local", text);
                return ROLLCALL_EXIT_USAGE;
        }
        machines->n_machines++;
        return ROLLCALL_EXIT_OK;
}

RollcallExit machines_parse(const char *const *texts, size_t n_texts, const char *port, Machines *ret) {
        uint16_t port_default;
        RollcallExit status = machine_port(port, &port_default);

        *ret = (Machines){ 0 };
        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (n_texts > MACHINES_MAX) {
                complaint_print("these are too many machines; at most %d are asked at once", MACHINES_MAX);
                return ROLLCALL_EXIT_USAGE;
        }
        ret->machines = calloc(n_texts + 1, sizeof(*ret->machines));
        if (!ret->machines)
                return output_out_of_memory();
        if (n_texts == 0)
                return add(ret, "local", port_default);
        for (size_t i = 0; status == ROLLCALL_EXIT_OK && i < n_texts; i++)
                if (!has(ret, texts[i]))
                        status = add(ret, texts[i], port_default);
        return status;
}

/* --- the host part of those who do not tell theirs -------------------------------------------- */

static void add_host(MachineHosts *hosts, const char *host) {
        for (size_t i = 0; i < hosts->n_hosts; i++)
                if (strcmp(hosts->hosts[i], host) == 0)
                        return;
        hosts->hosts[hosts->n_hosts++] = host;
}

void machine_hosts_of(const Machine *machine, const char *own, MachineHosts *ret) {
        ret->n_hosts = 0;
        ret->is_own = !machine->host;
        if (machine->host) {
                add_host(ret, machine->host);
                ret->n_names = ret->n_hosts;
                return;
        }
        snprintf(ret->own, sizeof(ret->own), "%s", own);
        snprintf(ret->own_short, sizeof(ret->own_short), "%.*s", (int)strcspn(own, "."), own);
        if (ret->own_short[0] != '\0')
                add_host(ret, ret->own_short);
        if (ret->own[0] != '\0')
                add_host(ret, ret->own);
        ret->n_names = ret->n_hosts;
        add_host(ret, "localhost");
        add_host(ret, "127.0.0.1");
        add_host(ret, "::1");
}

void machine_hosts(const Machine *machine, MachineHosts *ret) {
        char own[256] = "";

        if (gethostname(own, sizeof(own) - 1) < 0)
                own[0] = '\0';
        machine_hosts_of(machine, own, ret);
}
