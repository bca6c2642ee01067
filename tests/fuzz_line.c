/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: a machine that is asked by `find`, `wait` and `watch`, with whatever it says on one connection after the
 * other, in whatever pieces: a rollcalld, a stock epmd, or somebody else. What is handed out is well-formed, and of an
 * answer that is asked for once all or nothing.
 *
 * The first byte says what is wanted of it. Then each connection: a byte that says in how large pieces, two with the
 * length of what is said, and that. It is closed then, and who is not there any more refuses the next. */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "choice.h"
#include "dial.h"
#include "fuzz.h"
#include "line.h"
#include "row.h"

#define STEPS_MAX 10000

/* What is still to be said: of this connection, and of all. */
static struct {
        const uint8_t *data;
        size_t n_data, n_said, n_piece;
        int fd;
} peer = { .fd = -1 };

/* --- in place of client/dial.c ------------------------------------------------------------------ */

static void hang_up(void) {
        if (peer.fd >= 0)
                close(peer.fd);
        peer.fd = -1;
}

int dial_begin(Dial *dial, const char *host, uint16_t port) {
        (void)host;
        *dial = (Dial){ .port = port };
        return 0;
}

void dial_again(Dial *dial) {
        (void)dial;
}

void dial_done(Dial *dial) {
        *dial = (Dial){ 0 };
}

size_t dial_poll(const Dial *dial, struct pollfd items[static DIAL_FDS_MAX], uint64_t *wake_usec) {
        (void)dial;
        (void)items;
        (void)wake_usec;
        return 0;
}

int dial_step(Dial *dial, int *ret_fd) {
        int fds[2];

        (void)dial;
        hang_up();
        if (peer.n_data < 3)
                return -ECONNREFUSED;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                abort();
        *ret_fd = fds[0];
        peer.fd = fds[1];
        peer.n_piece = peer.data[0] ? peer.data[0] : SIZE_MAX;
        peer.n_said = min_u64((size_t)peer.data[1] << 8 | peer.data[2], peer.n_data - 3);
        peer.data += 3;
        peer.n_data -= 3;
        return 1;
}

/* The next piece, or the end. */
static void go_on(void) {
        size_t n = min_u64(peer.n_piece, peer.n_said);
        ssize_t n_sent;

        if (peer.fd < 0)
                return;
        if (n == 0) {
                hang_up();
                return;
        }
        n_sent = send(peer.fd, peer.data, n, MSG_NOSIGNAL);
        if (n_sent <= 0) {
                /* It has hung up: what else was to be said on this connection, nobody hears. */
                hang_up();
                n_sent = (ssize_t)peer.n_said;
        }
        peer.data += n_sent;
        peer.n_data -= (size_t)n_sent;
        peer.n_said -= (size_t)n_sent;
}

/* --- what comes of it --------------------------------------------------------------------------- */

typedef struct Heard {
        size_t n_records;
        uint8_t last; /* a ControlKind */
} Heard;

static void check_record(const Line *line, const Choice *choice, const Record *record, Heard *heard) {
        MachineHosts hosts;
        Row row;

        assert(control_fields_are_well_formed(record->fields, record->n_fields));
        assert(heard->last != CONTROL_END && record->kind != CONTROL_ERROR);
        heard->n_records++;
        heard->last = record->kind;
        row_read(record, &row);
        machine_hosts(line->machine, &hosts);
        if (choice_fits_name(choice, &row, &hosts))
                assert(row.texts[ROW_NAME].value && (row.texts[ROW_HOST].value || row.assumed_host.value));
        (void)choice_states_fit(&choice->states, &row);
}

static void check_failure(const Line *line, const Heard *heard) {
        _cleanup_(freep) char *words = line_failure_in_words(line);

        assert(line->failure != LINE_FINE && words && words[0]);
        for (const char *c = words; *c; c++)
                assert((unsigned char)*c >= 0x20 && *c != 0x7f);
        /* All of the answer, or nothing. */
        assert(line->manner->purpose != LINE_FIND || heard->n_records == 0);
}

static void listen_to(Line *line, const Choice *choice) {
        Heard heard = { 0 };
        Record record;

        for (size_t i = 0; i < STEPS_MAX && !line_is_over(line); i++) {
                switch (line_next(line, &record)) {
                case LINE_RECORD:
                        check_record(line, choice, &record, &heard);
                        break;
                case LINE_FAILED:
                        check_failure(line, &heard);
                        if (peer.n_data < 3)
                                return;
                        break;
                case LINE_NOTHING:
                        go_on();
                        break;
                }
                assert(!line->is_synced || line->is_synced_once);
                line->next_usec = 0; /* no time goes by */
        }
        if (line_is_over(line) && line->failure == LINE_FINE)
                assert(heard.last == CONTROL_END && line->manner->purpose == LINE_FIND);
}

static void make_choice(Choice *ret) {
        static Pattern wanted[4], unwanted[1];

        if (!wanted[0].name && (pattern_parse("web_*", wanted) < 0 || pattern_parse("[a-c]*@?b*", wanted + 1) < 0 ||
                                pattern_parse("*@m", wanted + 2) < 0 || pattern_parse("db", wanted + 3) < 0 ||
                                pattern_parse("web_[0-9]@*.org", unwanted) < 0))
                abort();
        *ret = (Choice){ .wanted = { wanted, ELEMENTS(wanted) }, .unwanted = { unwanted, ELEMENTS(unwanted) } };
        (void)choice_parse_states(NULL, false, &ret->states);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const Machine machine = { .text = (char[]){ "m" }, .host = (char[]){ "m" }, .port = MACHINE_PORT_DEFAULT };
        LineManner manner = { .timeout_usec = 3600 * USEC_PER_SEC };
        Choice choice;
        Line line;

        if (size < 1)
                return 0;
        make_choice(&choice);
        manner.purpose = data[0] & 1 ? LINE_WATCH : LINE_FIND;
        manner.is_strict = data[0] & 2;
        manner.choice = &choice;
        peer.data = data + 1;
        peer.n_data = size - 1;
        line_init(&line, &machine, &manner);
        listen_to(&line, &choice);
        line_done(&line);
        hang_up();
        return 0;
}
