/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall check`, connections: knows how a port of the node's machine is reached, and why it may not be. Does not know
 * who is to be there. */

#include "checkup_private.h"

#include <errno.h>
#include <string.h>

#include "probe.h"

int checkup_connect(const Checkup *checkup, uint16_t port, int *ret_fd) {
        SocketAddress address = checkup->addresses[checkup->chosen];

        if (address.sa.sa_family == AF_INET)
                address.in.sin_port = htons(port);
        else
                address.in6.sin6_port = htons(port);
        return probe_connect(&address, checkup_step_deadline(checkup), ret_fd);
}

void checkup_explain_connect(Report *report, int error) {
        switch (-error) {
        case ETIMEDOUT:
                report_detail(report, "no answer at all");
                report_cause(report,
                             "a firewall on the way drops packets to this port, or no machine has this address");
                report_cure(report, "allow TCP to this port, from machine to machine in both directions");
                return;
        case EHOSTUNREACH:
        case ENETUNREACH:
                report_detail(report, "%s", strerror(-error));
                report_cause(report, "there is no way from here to this address, or a firewall says so");
                report_cure(
                        report,
                        "look at the addresses above: is this the right one, seen from here? (ip route get ADDRESS)");
                return;
        case EACCES:
        case EPERM:
                report_detail(report, "%s", strerror(-error));
                report_cause(report, "a firewall of this machine forbids it");
                report_cure(report, "allow TCP to this port for what goes out");
                return;
        }
        report_detail(report, "%s", strerror(-error));
}
