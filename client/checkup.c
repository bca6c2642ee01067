/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall check`: goes the way that a node goes to connect to another one, step by step, up to where the cookie would
 * be needed. Knows names and addresses; the port mapper is checkup_mapper.c's, the node checkup_peer.c's.
 *
 * The trap: Erlang takes the first IPv4 address that a name has, and no other one. That others work does not help it. */

#include "checkup.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkup_private.h"
#include "complaint.h"
#include "output.h"
#include "text.h"

#define TIMEOUT_USEC (15 * USEC_PER_SEC)

static void checkup_done(Checkup *checkup) {
        free(checkup->name);
        report_done(&checkup->report);
        connection_done(&checkup->connection);
        close_fdp(&checkup->node_fd);
}

/* --- names ------------------------------------------------------------------------------------ */

static void checkup_name(Checkup *checkup) {
        report_begin(&checkup->report, "name", "name");
        report_detail(&checkup->report, "%s@%s is a %s name%s", checkup->name, checkup->host,
                      checkup->is_long ? "long" : "short",
                      checkup->is_host_given ? "" : " (the host part was not given: this machine's)");
        report_detail(&checkup->report, "only nodes with %s names (started with %s) connect to it",
                      checkup->is_long ? "long" : "short", checkup->is_long ? "-name" : "-sname");
        report_ok(&checkup->report);
}

/* --- addresses -------------------------------------------------------------------------------- */

static const char *address_text(const SocketAddress *address, char text[static ADDRESS_TEXT_MAX]) {
        Address plain;

        text[0] = '\0';
        if (address_from_sockaddr(&address->sa, &plain, NULL) == 0)
                address_format(&plain, text);
        return text;
}

/* An EAI_ number; EAI_AGAIN if the time is over. */
static int resolve(Checkup *checkup, bool *ret_is_late) {
        _cleanup_(resolution_freep) Resolution *resolution = resolution_new(checkup->host);
        uint64_t deadline_usec = checkup_step_deadline(checkup), now = now_usec(CLOCK_MONOTONIC);
        struct pollfd item;

        if (!resolution) {
                checkup->report.is_out_of_memory = true;
                return -1;
        }
        item = (struct pollfd){ .fd = resolution_fd(resolution), .events = POLLIN };
        *ret_is_late = poll(&item, 1, (int)((deadline_usec - min_u64(now, deadline_usec)) / 1000)) <= 0;
        return *ret_is_late ? -1 : resolution_get(resolution, checkup->port, checkup->addresses, &checkup->n_addresses);
}

static void choose_address(Checkup *checkup) {
        for (checkup->chosen = 0; checkup->chosen < checkup->n_addresses; checkup->chosen++)
                if (checkup->addresses[checkup->chosen].sa.sa_family == AF_INET)
                        break;
        if (checkup->chosen == checkup->n_addresses)
                checkup->chosen = 0;
        address_text(&checkup->addresses[checkup->chosen], checkup->address);
}

static void tell_addresses(Checkup *checkup) {
        bool is_ipv4 = checkup->addresses[checkup->chosen].sa.sa_family == AF_INET;

        report_detail(&checkup->report, "%s is %s", checkup->host, checkup->address);
        if (!is_ipv4)
                report_detail(&checkup->report, "an IPv6 address: both nodes need -proto_dist inet6_tcp");
        for (size_t i = 0; i < checkup->n_addresses; i++) {
                char text[ADDRESS_TEXT_MAX];

                if (i != checkup->chosen)
                        report_detail(&checkup->report, "also %s, which Erlang does not try",
                                      address_text(&checkup->addresses[i], text));
        }
}

static void checkup_resolution(Checkup *checkup) {
        bool is_late = false;
        int r;

        if (!report_begin(&checkup->report, "resolve", "address"))
                return;
        r = resolve(checkup, &is_late);
        if (r == 0) {
                choose_address(checkup);
                tell_addresses(checkup);
                report_ok(&checkup->report);
                return;
        }
        report_detail(&checkup->report, "%s has no address: %s", checkup->host,
                      is_late ? "the resolver does not answer" : resolution_error_to_string(r));
        report_cause(&checkup->report, is_late ? "the DNS servers of /etc/resolv.conf cannot be reached"
                                               : "neither DNS nor /etc/hosts of this machine knows that name");
        report_cure(&checkup->report, checkup->is_long
                                              ? "an entry in DNS, or in /etc/hosts of each machine"
                                              : "an entry in /etc/hosts of each machine, or a search domain in "
                                                "/etc/resolv.conf");
        report_fail(&checkup->report);
}

/* --- what is said ----------------------------------------------------------------------------- */

static json_t *peer_to_json(const Checkup *checkup) {
        _cleanup_(freep) char *name = NULL;
        unsigned release = handshake_release(checkup->peer.flags);

        if (checkup->is_tls)
                return json_pack("{s:n, s:n, s:n, s:n, s:b}", "node", "otp", "flags", "creation", "tls", true);
        if (!checkup->has_peer)
                return json_null();
        name = text_for_json((const uint8_t *)checkup->peer.name, checkup->peer.n_name);
        return json_pack("{s:s, s:o, s:I, s:o, s:b}",
                         "node", name ? name : "",
                         "otp", release ? json_integer(release) : json_null(),
                         "flags", (json_int_t)checkup->peer.flags,
                         "creation", checkup->peer.is_new ? json_integer(checkup->peer.creation) : json_null(),
                         "tls", false);
}

static json_t *to_json(const Checkup *checkup) {
        char full_name[HANDSHAKE_NAME_MAX + 1];

        snprintf(full_name, sizeof(full_name), "%s@%s", checkup->name, checkup->host);
        return json_pack("{s:s, s:s, s:b, s:o, s:o}",
                         "node", full_name,
                         "kind", checkup->is_long ? "long" : "short",
                         "ok", !checkup->report.has_failed,
                         "steps", report_to_json(&checkup->report),
                         "peer", peer_to_json(checkup));
}

static void print(const Checkup *checkup) {
        printf("%s@%s\n", checkup->name, checkup->host);
        report_print(&checkup->report);
        if (!checkup->report.has_failed)
                puts("Nothing is in the way of a connection, as far as can be seen without the cookie.");
}

static RollcallExit show(const Checkup *checkup) {
        RollcallExit status;

        if (checkup->report.is_out_of_memory)
                return output_out_of_memory();
        if (!checkup->options->is_json && !checkup->options->is_quiet)
                print(checkup);
        status = checkup->options->is_json ? output_json(to_json(checkup)) : output_finish();
        if (status != ROLLCALL_EXIT_OK)
                return status;
        return checkup->report.has_failed ? ROLLCALL_EXIT_NO : ROLLCALL_EXIT_OK;
}

/* ---------------------------------------------------------------------------------------------- */

static RollcallExit checkup_init(Checkup *checkup, const Options *options) {
        const Machine here = { 0 };
        uint64_t timeout_usec = TIMEOUT_USEC;
        RollcallExit status = target_parse(options->words[1], &checkup->target);

        checkup->options = options;
        if (status == ROLLCALL_EXIT_OK)
                status = machine_port(options->port, &checkup->port);
        if (status == ROLLCALL_EXIT_OK)
                status = options_duration(options->timeout, &timeout_usec);
        if (status != ROLLCALL_EXIT_OK)
                return status;
        checkup->deadline_usec = now_usec(CLOCK_MONOTONIC) + timeout_usec;
        checkup->name = strndup(checkup->target.name, checkup->target.n_name);
        if (!checkup->name)
                return output_out_of_memory();
        machine_hosts(&here, &checkup->own);
        checkup->is_host_given = checkup->target.host != NULL;
        checkup->host = checkup->is_host_given ? checkup->target.host : checkup->own.hosts[0];
        checkup->is_long = strpbrk(checkup->host, ".:") != NULL;
        return ROLLCALL_EXIT_OK;
}

RollcallExit checkup_run(const Options *options) {
        _cleanup_(checkup_done) Checkup checkup = { .connection = CONNECTION_NONE, .node_fd = -1 };
        RollcallExit status = checkup_init(&checkup, options);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        checkup_name(&checkup);
        checkup_resolution(&checkup);
        checkup_port_mapper(&checkup);
        checkup_lookup(&checkup);
        checkup_connection(&checkup);
        checkup_handshake(&checkup);
        return show(&checkup);
}
