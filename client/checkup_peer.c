/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall check`, the node itself: connects to its port, says a name, hears the node's, and hangs up before the
 * cookie is asked for. An Erlang node neither logs this nor counts us as connected.
 *
 * The trap: a name stays in the other node as an atom for ever. We have a thousand of them for each machine, not one
 * for each process. */

#include "checkup_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"

#define NAMES_OF_OURS 1000
#define ATTEMPTS 3 /* a name of ours may be in use at this moment */
#define ANSWER_BYTES_MAX 2048

/* --- the port --------------------------------------------------------------------------------- */

static void explain_no_connection(Checkup *checkup, int error) {
        report_detail(&checkup->report, "%s port %u", checkup->address, checkup->node_port);
        if (error == -ECONNREFUSED) {
                report_detail(&checkup->report, "nobody listens there");
                report_cause(&checkup->report,
                             "the node listens on another address only (inet_dist_use_interface), its "
                             "port is not passed on (a container), or it has just ended");
                report_cure(&checkup->report, "compare with what it is bound to: ss -ltnp 'sport = :%u' on its machine",
                            checkup->node_port);
                return;
        }
        checkup_explain_connect(&checkup->report, error);
        if (error == -ETIMEDOUT)
                report_cure(&checkup->report,
                            "a node takes any free port: give it a range (-kernel inet_dist_listen_min "
                            "9100 inet_dist_listen_max 9110), and open that");
}

void checkup_connection(Checkup *checkup) {
        int r;

        if (!report_begin(&checkup->report, "connect", "connection"))
                return;
        r = checkup_connect(checkup, checkup->node_port, &checkup->node_fd);
        if (r < 0) {
                explain_no_connection(checkup, r);
                report_fail(&checkup->report);
                return;
        }
        report_detail(&checkup->report, "%s port %u accepts", checkup->address, checkup->node_port);
        report_ok(&checkup->report);
}

/* --- the handshake ---------------------------------------------------------------------------- */

/* Of the kind that it can connect to. */
static void own_name(const Checkup *checkup, unsigned attempt, char name[static HANDSHAKE_NAME_MAX + 1]) {
        bool has_domain = strchr(checkup->own.own, '.') != NULL;
        unsigned number = ((unsigned)getpid() + attempt * 331) % NAMES_OF_OURS;
        const char *host = checkup->own.hosts[0];

        if (checkup->is_long)
                host = has_domain ? checkup->own.own : "127.0.0.1";
        snprintf(name, HANDSHAKE_NAME_MAX + 1, "rollcall-check-%u@%s", number, host);
}

typedef enum Outcome {
        OUTCOME_ANSWER, /* see HandshakeAnswer */
        OUTCOME_CLOSED, /* without a byte */
        OUTCOME_BROKEN, /* in the middle */
        OUTCOME_SILENT,
        OUTCOME_ERROR,
} Outcome;

static Outcome talk(Checkup *checkup, int fd, unsigned attempt, HandshakeAnswer *ret) {
        char name[HANDSHAKE_NAME_MAX + 1];
        uint8_t request[HANDSHAKE_REQUEST_MAX], answer[ANSWER_BYTES_MAX];
        uint64_t deadline_usec = checkup_step_deadline(checkup);
        size_t n_request, n_answer = 0;

        own_name(checkup, attempt, name);
        n_request = handshake_put_name(name, checkup->node_version >= HANDSHAKE_VERSION_NEW, request);
        if (probe_send(fd, request, n_request) < 0)
                return OUTCOME_ERROR;
        while (n_answer < sizeof(answer)) {
                int n = probe_read(fd, answer + n_answer, sizeof(answer) - n_answer, deadline_usec);

                if (n == -ETIMEDOUT)
                        return OUTCOME_SILENT;
                if (n < 0)
                        return OUTCOME_ERROR;
                if (n == 0)
                        return n_answer == 0 ? OUTCOME_CLOSED : OUTCOME_BROKEN;
                n_answer += (size_t)n;
                *ret = handshake_read(answer, n_answer, &checkup->peer);
                if (*ret != HANDSHAKE_MORE)
                        return OUTCOME_ANSWER;
        }
        return OUTCOME_BROKEN;
}

/* Another name of ours, where this one is in use. */
static Outcome shake_hands(Checkup *checkup, HandshakeAnswer *ret) {
        Outcome outcome = OUTCOME_ERROR;

        for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
                _cleanup_(close_fdp) int fd = TAKE_FD(checkup->node_fd);

                if (fd < 0 && checkup_connect(checkup, checkup->node_port, &fd) < 0)
                        return OUTCOME_ERROR;
                outcome = talk(checkup, fd, attempt, ret);
                if (outcome != OUTCOME_ANSWER || (*ret != HANDSHAKE_ASKED && strcmp(checkup->peer.status, "nok") != 0))
                        break;
        }
        return outcome;
}

/* Who closes at once where he does not hear TLS. */
static bool speaks_tls(Checkup *checkup) {
        _cleanup_(close_fdp) int fd = -1;
        uint8_t answer[16];
        HandshakePeer peer;
        int n;

        if (checkup_connect(checkup, checkup->node_port, &fd) < 0 ||
            probe_send(fd, handshake_client_hello, handshake_client_hello_bytes) < 0)
                return false;
        n = probe_read(fd, answer, sizeof(answer), checkup_step_deadline(checkup));
        return n >= 2 && handshake_read(answer, (size_t)n, &peer) == HANDSHAKE_TLS;
}

/* --- what it means ---------------------------------------------------------------------------- */

static bool is_long(const char *name) {
        const char *at = strrchr(name, '@');

        return at && strpbrk(at, ".:") != NULL;
}

static void explain_other_name(Checkup *checkup, const char *name) {
        report_cause(&checkup->report,
                     "a node is reached by its own full name only, even if another one leads to the same "
                     "place");
        if (is_long(name) != checkup->is_long)
                report_cause(&checkup->report, "its name is a %s one, and nodes with %s names do not connect to it",
                             is_long(name) ? "long" : "short", is_long(name) ? "short" : "long");
        report_cure(&checkup->report, "connect to '%s', or start it with %s %s@%s", name,
                    checkup->is_long ? "-name" : "-sname", checkup->name, checkup->host);
}

static void on_name(Checkup *checkup, const char *name) {
        char asked[HANDSHAKE_NAME_MAX + 1];

        snprintf(asked, sizeof(asked), "%s@%s", checkup->name, checkup->host);
        if (strcmp(name, asked) == 0 || !checkup->is_host_given) {
                report_ok(&checkup->report);
                return;
        }
        explain_other_name(checkup, name);
        report_fail(&checkup->report);
}

static void on_challenge(Checkup *checkup) {
        unsigned release = handshake_release(checkup->peer.flags);

        checkup->has_peer = true;
        report_detail(&checkup->report, "it calls itself %s", checkup->peer.name);
        if (release)
                report_detail(&checkup->report, "OTP %u or later, flags %#llx", release,
                              (unsigned long long)checkup->peer.flags);
        else
                report_detail(&checkup->report, "older than OTP 23, or no Erlang node, flags %#llx",
                              (unsigned long long)checkup->peer.flags);
        on_name(checkup, checkup->peer.name);
}

/* Behind TLS the name cannot be heard; the port mapper may know it. */
static void on_tls(Checkup *checkup) {
        _cleanup_(freep) char *host = checkup->has_row ? row_text(&checkup->row, ROW_HOST) : NULL;
        char name[HANDSHAKE_NAME_MAX + 1];

        checkup->is_tls = true;
        report_detail(&checkup->report,
                      "it speaks TLS: only nodes with -proto_dist inet_tls and certificates that both "
                      "accept connect to it; what it calls itself cannot be heard");
        if (!host) {
                report_ok(&checkup->report);
                return;
        }
        snprintf(name, sizeof(name), "%s@%s", checkup->name, host);
        report_detail(&checkup->report, "to rollcalld it said %s", name);
        on_name(checkup, name);
}

static void fail(Checkup *checkup, const char *detail, const char *cause, const char *cure) {
        report_detail(&checkup->report, "%s", detail);
        report_cause(&checkup->report, "%s", cause);
        if (cure)
                report_cure(&checkup->report, "%s", cure);
        report_fail(&checkup->report);
}

static void on_refusal(Checkup *checkup) {
        report_detail(&checkup->report, "it refuses: %s", checkup->peer.status);
        if (strcmp(checkup->peer.status, "not_allowed") == 0) {
                report_cause(&checkup->report,
                             "its net_kernel:allow/1 lists the nodes that may connect, and a name of ours is "
                             "not among them; or it is of another release and demands what this program "
                             "does not know");
                report_cure(&checkup->report, "net_kernel:allow(['NODE']) on it, or none at all");
        }
        report_fail(&checkup->report);
}

static void on_answer(Checkup *checkup, HandshakeAnswer answer) {
        switch (answer) {
        case HANDSHAKE_CHALLENGE:
                on_challenge(checkup);
                return;
        case HANDSHAKE_TLS:
                on_tls(checkup);
                return;
        case HANDSHAKE_REFUSED:
        case HANDSHAKE_ASKED:
                on_refusal(checkup);
                return;
        case HANDSHAKE_STRANGE:
        case HANDSHAKE_MORE:
                break;
        }
        fail(checkup, "what it answers is not Erlang's distribution protocol",
             "another program has the node's port by now", NULL);
}

void checkup_handshake(Checkup *checkup) {
        HandshakeAnswer answer = HANDSHAKE_MORE;

        if (!report_begin(&checkup->report, "handshake", "handshake"))
                return;
        switch (shake_hands(checkup, &answer)) {
        case OUTCOME_ANSWER:
                on_answer(checkup, answer);
                return;
        case OUTCOME_CLOSED:
                if (speaks_tls(checkup)) {
                        on_tls(checkup);
                        return;
                }
                fail(checkup, "it accepts the connection and closes it without a word",
                     "no Erlang node, or one that is about to end, or something in between that cannot reach it (a "
                     "proxy)",
                     NULL);
                return;
        case OUTCOME_BROKEN:
                fail(checkup, "it breaks off in the middle of its answer", "the node ends, or this is no Erlang node",
                     NULL);
                return;
        case OUTCOME_SILENT:
                fail(checkup, "it accepts the connection and says nothing",
                     "the node hangs (stopped, swapped out, its schedulers busy), or another program has its port",
                     "look at it on its machine: is it running, what does its log say?");
                return;
        case OUTCOME_ERROR:
                fail(checkup, "the connection failed", "the node has just ended", NULL);
        }
}
