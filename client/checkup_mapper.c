/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall check`, the port mapper: knows which of the two kinds answers, and what one that does not know the node can
 * still say of it. */

#include "checkup_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "core/node.h"
#include "place.h"
#include "probe.h"
#include "sentence.h"
#include "similar.h"
#include "stock.h"
#include "text.h"

#define PORT2_BYTES_MAX 4096
#define NAMES_BYTES_MAX (1 << 20)
#define SIMILAR_MAX 3

/* Whatever is known of that name. */
static void put_find(ControlBuffer *request, const char *name) {
        control_put_request_begin(request, CONTROL_FIND);
        control_put_string(request, CONTROL_TAG_NAME, name);
        control_put_string(request, CONTROL_TAG_STATE, "any");
        control_put_u8(request, CONTROL_TAG_HIDDEN, 1);
        control_put_request_end(request);
}

/* --- this machine's rollcalld ------------------------------------------------------------------ */

/* Where we may ask it: negative errno if not. */
static int ask_own(const Checkup *checkup, const ControlBuffer *request, Answer *ret) {
        _cleanup_(connection_done) Connection connection = CONNECTION_NONE;
        _cleanup_(freep) char *tried = NULL;
        _cleanup_(freep) char *place = place_choose(checkup->options->control, &tried);
        int r = place ? connection_open(place, &connection) : -ENOENT;

        return r < 0 ? r : ask_over(&connection, request, ASK_PATIENCE_SEC, ret);
}

static bool is_there(const Checkup *checkup, const Row *row) {
        return row_text_is(row, ROW_HOST, checkup->host) || row_text_is(row, ROW_SCOPE, checkup->address);
}

/* The node may need no port mapper on its machine. */
static void tell_own_entry(Checkup *checkup) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        _cleanup_(answer_done) Answer answer = { 0 };
        size_t position = 0;
        Record record;

        put_find(&request, checkup->name);
        if (ask_own(checkup, &request, &answer) < 0)
                return;
        while (answer_next_record(&answer, &position, &record)) {
                _cleanup_(freep) char *address = NULL;
                Row row;

                row_read(&record, &row);
                if (record.kind != CONTROL_NODE_RECORD || row.numbers[ROW_ELSEWHERE] == 0 || !is_there(checkup, &row))
                        continue;
                address = row_text(&row, ROW_SCOPE);
                report_cause(&checkup->report,
                             "but this machine's rollcalld has a static entry for %s, at port %u of %s: nodes of this "
                             "machine with -epmd_module rollcall_epmd find it by that",
                             checkup->name, (unsigned)row.numbers[ROW_PORT], address ? address : "?");
        }
}

/* --- who is there ----------------------------------------------------------------------------- */

/* All of the answer; negative errno of connection_next(). An error in words is an answer, too. */
static int ask_extension(Checkup *checkup, int fd) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        uint64_t deadline_usec = checkup_step_deadline(checkup);
        Record record;
        int r = connection_take(fd, checkup->host, &checkup->connection);

        checkup->connection.keeps = true;
        put_find(&request, checkup->name);
        if (r == 0)
                r = connection_send(&checkup->connection, &request);
        while (r == 0) {
                r = connection_next(&checkup->connection, deadline_usec, &record);
                if (r <= 0)
                        return r < 0 ? r : -ETIMEDOUT;
                if (record.kind == CONTROL_END || record.kind == CONTROL_ERROR)
                        return 0;
                if (record.kind == CONTROL_NODE_RECORD) {
                        row_read(&record, &checkup->row);
                        checkup->has_row = true;
                }
                r = 0;
        }
        return r;
}

static void explain_refused(Checkup *checkup) {
        report_detail(&checkup->report, "nobody listens on port %u of %s", checkup->port, checkup->address);
        report_cause(&checkup->report,
                     "no port mapper runs there, or it listens on other addresses or another port only");
        report_cure(&checkup->report,
                    "start it (a node starts one unless it has -start_epmd false; here: systemctl start "
                    "epmd.socket); ERL_EPMD_PORT has to be the same everywhere");
}

/* Whether another address would have answered: Erlang does not try it. */
static void try_others(Checkup *checkup) {
        for (size_t i = 0; i < checkup->n_addresses; i++) {
                _cleanup_(close_fdp) int fd = -1;
                char text[ADDRESS_TEXT_MAX];
                Address address;

                if (i == checkup->chosen ||
                    probe_connect(&checkup->addresses[i], checkup_step_deadline(checkup), &fd) < 0 ||
                    address_from_sockaddr(&checkup->addresses[i].sa, &address, NULL) < 0)
                        continue;
                report_cause(&checkup->report, "%s answers on that port, but Erlang tries %s only",
                             address_format(&address, text), checkup->address);
        }
}

static void fail_to_connect(Checkup *checkup, int error) {
        if (error == -ECONNREFUSED)
                explain_refused(checkup);
        else {
                report_detail(&checkup->report, "%s port %u", checkup->address, checkup->port);
                checkup_explain_connect(&checkup->report, error);
        }
        try_others(checkup);
        tell_own_entry(checkup);
        report_fail(&checkup->report);
}

void checkup_port_mapper(Checkup *checkup) {
        int fd, r;

        if (!report_begin(&checkup->report, "epmd", "port mapper"))
                return;
        r = checkup_connect(checkup, checkup->port, &fd);
        if (r < 0) {
                fail_to_connect(checkup, r);
                return;
        }
        r = ask_extension(checkup, fd);
        checkup->is_rollcall = r == 0;
        if (r == 0 || (r == -ENODATA && checkup->connection.n_data == 0)) {
                report_detail(&checkup->report, "%s answers on port %u of %s", r == 0 ? "rollcalld" : "a stock epmd",
                              checkup->port, checkup->address);
                report_ok(&checkup->report);
                return;
        }
        report_detail(&checkup->report, "port %u of %s accepts connections, but %s", checkup->port, checkup->address,
                      r == -ETIMEDOUT ? "says nothing" : "what is said there is no port mapper's");
        report_cause(&checkup->report, r == -ETIMEDOUT ? "the port mapper hangs, or another program has its port"
                                                       : "another program has the port");
        report_cure(&checkup->report, "look who it is: ss -ltnp 'sport = :%u'", checkup->port);
        report_fail(&checkup->report);
}

/* --- the lookup ------------------------------------------------------------------------------- */

/* The number of bytes of the answer; negative errno. */
static int ask_mapper(Checkup *checkup, const uint8_t *request, size_t n_request, uint8_t *answer, size_t n_room) {
        _cleanup_(close_fdp) int fd = -1;
        uint64_t deadline_usec = checkup_step_deadline(checkup);
        int r = checkup_connect(checkup, checkup->port, &fd);

        if (r == 0)
                r = probe_send(fd, request, n_request);
        return r < 0 ? r : probe_read_all(fd, answer, n_room, deadline_usec);
}

/* PORT_PLEASE2: 1: found; 0: not registered; -ENODATA: closed without a byte; -EBADMSG; other negative errno. */
static int look_up(Checkup *checkup, uint8_t *ret_type, uint16_t *ret_lowest) {
        uint8_t request[3 + NODE_NAME_BYTES_MAX], answer[PORT2_BYTES_MAX];
        size_t n_name = strlen(checkup->name);
        int n;

        request[0] = (uint8_t)((n_name + 1) >> 8);
        request[1] = (uint8_t)(n_name + 1);
        request[2] = 'z';
        memcpy(request + 3, checkup->name, n_name);
        n = ask_mapper(checkup, request, n_name + 3, answer, sizeof(answer));
        if (n <= 0)
                return n < 0 ? n : -ENODATA;
        if (n >= 2 && answer[0] == 'w' && answer[1] != 0)
                return 0;
        if (n < 10 || answer[0] != 'w')
                return -EBADMSG;
        checkup->node_port = (uint16_t)(answer[2] << 8 | answer[3]);
        *ret_type = answer[4];
        checkup->node_version = (uint16_t)(answer[6] << 8 | answer[7]);
        *ret_lowest = (uint16_t)(answer[8] << 8 | answer[9]);
        return 1;
}

static void tell_found(Checkup *checkup, uint8_t type, uint16_t lowest) {
        const char *type_name = node_type_to_string(type);
        _cleanup_(freep) char *state = checkup->has_row ? sentence_state(&checkup->row) : NULL;

        report_detail(&checkup->report, "%s is at port %u (%s, distribution version %u to %u)", checkup->name,
                      checkup->node_port, type_name ? type_name : "of another type", lowest, checkup->node_version);
        if (state)
                report_detail(&checkup->report, "it is %s", state);
        if (checkup->has_row && row_text_is(&checkup->row, ROW_STATE, "stopping"))
                report_cause(&checkup->report, "it is about to leave: it may not answer any more");
        report_ok(&checkup->report);
}

/* --- a name that nobody has ------------------------------------------------------------------- */

static void tell_similar(Checkup *checkup) {
        _cleanup_(freep) uint8_t *answer = malloc(NAMES_BYTES_MAX);
        _cleanup_(control_buffer_done) ControlBuffer names = { 0 };
        size_t position = 0, n, n_told = 0;
        Record record;
        int n_answer;

        if (!answer)
                return;
        n_answer = ask_mapper(checkup, (const uint8_t *)STOCK_NAMES_REQUEST, STOCK_NAMES_REQUEST_BYTES, answer,
                              NAMES_BYTES_MAX);
        if (n_answer <= 0 || stock_read_names(answer, (size_t)n_answer, &names) < 0)
                return;
        while (n_told < SIMILAR_MAX && record_parse(names.data + position, names.n_data - position, &n, &record) == 1) {
                ControlField name;

                position += n;
                if (!control_find_field(record.fields, record.n_fields, CONTROL_TAG_NAME, &name) ||
                    !similar_names(checkup->name, strlen(checkup->name), (const char *)name.value, name.n_value))
                        continue;
                report_cause(&checkup->report, "there is a node %.*s: was that one meant?", (int)name.n_value,
                             (const char *)name.value);
                n_told++;
        }
}

/* Of our own machine's past, where we may ask. */
static int ask_why(Checkup *checkup, Answer *ret) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };

        control_put_request_begin(&request, CONTROL_WHY);
        target_put_name(&request, &checkup->target);
        control_put_request_end(&request);
        return ask_own(checkup, &request, ret);
}

static void tell_former(Checkup *checkup) {
        _cleanup_(answer_done) Answer answer = { 0 };
        size_t position = 0;
        Record record;

        if (!checkup->is_rollcall || !probe_is_own(&checkup->addresses[checkup->chosen]) ||
            ask_why(checkup, &answer) < 0)
                return;
        while (answer_next_record(&answer, &position, &record)) {
                _cleanup_(freep) char *who = NULL, *how = NULL;
                char when[TEXT_TIME_MAX];
                Row row;

                if (record.kind != CONTROL_TENURE_RECORD)
                        continue;
                row_read(&record, &row);
                who = sentence_who(&row);
                how = sentence_how(&row);
                report_detail(&checkup->report, "until %s it was %s; %s",
                              text_time_plain(row.numbers[ROW_UNTIL_USEC], when), who ? who : "", how ? how : "");
        }
}

/* The port mapper has an entry for it, and tells it to those who ask for lists. */
static void explain_entry(Checkup *checkup) {
        _cleanup_(freep) char *address = row_text(&checkup->row, ROW_SCOPE);
        _cleanup_(freep) char *host = row_text(&checkup->row, ROW_HOST);

        report_detail(&checkup->report, "%s has a static entry there, for a node at port %u of %s", checkup->name,
                      (unsigned)checkup->row.numbers[ROW_PORT], address ? address : "another machine");
        report_cause(&checkup->report,
                     "lookups are not told of a node on another machine; nodes with -epmd_module rollcall_epmd find it by "
                     "the entry, under the host part that it says");
        report_cure(&checkup->report, "connect to %s@%s from such a node, or let it register on its own machine",
                    checkup->name, host ? host : "HOST");
}

static void explain_unregistered(Checkup *checkup) {
        report_detail(&checkup->report, "no node %s is registered there", checkup->name);
        if (checkup->has_row && checkup->row.numbers[ROW_ELSEWHERE] != 0) {
                explain_entry(checkup);
                return;
        }
        tell_former(checkup);
        tell_similar(checkup);
        report_cause(&checkup->report,
                     "it does not run, or registered with another port mapper (ERL_EPMD_PORT, another "
                     "machine, a container), or with none (-epmd_module, -erl_epmd_port)");
        report_cure(&checkup->report, "start it, and see who is registered: rollcall find --at %s", checkup->host);
}

/* A stock epmd answers everybody. */
static void explain_closed(Checkup *checkup) {
        report_detail(&checkup->report, "the port mapper closes without an answer");
        if (checkup->is_rollcall) {
                report_cause(&checkup->report, "it does not answer lookups from here");
                report_cure(&checkup->report, "lookup-from in its rollcall.conf");
                return;
        }
        report_cause(&checkup->report, "it is none: another program has the port, or something in between (a proxy) that "
                                       "cannot reach it");
        report_cure(&checkup->report, "look who it is: ss -ltnp 'sport = :%u'", checkup->port);
}

void checkup_lookup(Checkup *checkup) {
        uint16_t lowest;
        uint8_t type;
        int r;

        if (!report_begin(&checkup->report, "lookup", "lookup"))
                return;
        r = look_up(checkup, &type, &lowest);
        if (r == 1) {
                tell_found(checkup, type, lowest);
                return;
        }
        if (r == 0)
                explain_unregistered(checkup);
        else if (r == -ENODATA)
                explain_closed(checkup);
        else {
                report_detail(&checkup->report, "no answer that could be read: %s", strerror(-r));
                report_cause(&checkup->report, "the port mapper hangs, or is none");
        }
        report_fail(&checkup->report);
}
