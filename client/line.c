/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the ways to ask a machine. This one: by its control socket, else by its port on loopback. Another one: by its
 * port. Whoever closes there without a byte is a stock epmd, and is asked for NAMES. Does not know what is done with
 * the answers.
 *
 *                  LINE_CONNECTING_CONTROL --.
 *                             | no access     >--> LINE_READING
 *      LINE_PAUSED --> LINE_CONNECTING ------'         | closed without a byte
 *                                                       v
 *                            LINE_CONNECTING_STOCK --> LINE_READING_STOCK --> LINE_TELLING
 *
 * The trap: a daemon that is being restarted closes without a byte, too. Who was a rollcalld is asked again before it
 * is taken for a stock epmd. */

#include "line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ask.h"
#include "place.h"
#include "stock.h"
#include "util.h"

#define CONTROL_RETRY_USEC (50 * USEC_PER_MSEC) /* while the backlog is full */
#define PAUSE_USEC USEC_PER_SEC
#define PAUSE_DOUBLINGS_MAX 5 /* 32 s */
#define STOCK_POLLS_MAX 12    /* after which it may be a rollcalld by now */
#define READ_BYTES 65536

/* Beside the LineEvents: the state has changed, look again. */
#define AGAIN (-1)

/* --- its life --------------------------------------------------------------------------------- */

void line_init(Line *line, const Machine *machine, const LineManner *manner) {
        *line = (Line){ .machine = machine, .manner = manner, .connection = CONNECTION_NONE };
        line->is_control = !machine->host && !manner->is_port_given;
}

void line_done(Line *line) {
        dial_done(&line->dial);
        connection_done(&line->connection);
        control_buffer_done(&line->heard);
        control_buffer_done(&line->names);
        control_buffer_done(&line->told);
        free(line->place);
        free(line->tried);
        free(line->refusal_text);
}

bool line_is_over(const Line *line) {
        return line->state == LINE_ENDED;
}

const char *line_place(const Line *line) {
        return line->is_control && line->place ? line->place : line->machine->text;
}

/* --- failures --------------------------------------------------------------------------------- */

/* What trying again does not change. */
static bool is_final(const Line *line) {
        if (line->manner->purpose == LINE_FIND || (line->manner->is_strict && !line->is_synced_once))
                return true;
        return line->failure == LINE_REFUSED && line->refusal != CONTROL_E_BUSY &&
               line->refusal != CONTROL_E_TOO_SLOW && line->refusal != CONTROL_E_INTERNAL;
}

/* Once in a second for this machine; others are given more time, and not all the same. */
static uint64_t pause_of(const Line *line) {
        unsigned doublings = line->n_failures - 1 < PAUSE_DOUBLINGS_MAX ? line->n_failures - 1 : PAUSE_DOUBLINGS_MAX;
        uint64_t pause = PAUSE_USEC << doublings;

        if (!line->machine->host)
                return PAUSE_USEC;
        return pause * 4 / 5 + random_u32() % (pause * 2 / 5);
}

static LineEvent fail(Line *line, LineFailure failure, int error) {
        line->failed_in = line->state;
        line->failed_resolving = line->dial.resolution != NULL;
        line->failed_answering = line->connection.n_data > 0;
        line->failure = failure;
        line->error = error;
        line->n_failures++;
        line->is_synced = false;
        dial_done(&line->dial);
        if (line->manner->purpose == LINE_WATCH)
                connection_done(&line->connection);
        if (line->state == LINE_CONNECTING_STOCK || line->state == LINE_READING_STOCK)
                line->n_polls = STOCK_POLLS_MAX; /* somebody else may be there next time */
        line->state = is_final(line) ? LINE_ENDED : LINE_PAUSED;
        line->next_usec = max_u64(now_usec(CLOCK_MONOTONIC), line->begun_usec + pause_of(line));
        if (failure == LINE_REFUSED && line->refusal == CONTROL_E_TOO_SLOW)
                line->next_usec = 0;
        return LINE_FAILED;
}

static LineEvent fail_for_memory(Line *line) {
        return fail(line, LINE_BROKEN, -ENOMEM);
}

static LineEvent on_refusal(Line *line, const Record *record) {
        free(line->refusal_text);
        line->refusal = ask_error_of(record);
        line->refusal_text = ask_refusal_in_words(record);
        line->was_rollcall = true;
        return line->refusal_text ? fail(line, LINE_REFUSED, 0) : fail_for_memory(line);
}

/* --- what is asked ---------------------------------------------------------------------------- */

static void put_request(const Line *line, ControlBuffer *request) {
        bool is_watch = line->manner->purpose == LINE_WATCH;

        control_put_request_begin(request, is_watch ? CONTROL_WATCH : CONTROL_FIND);
        choice_put(request, line->manner->choice);
        if (is_watch && line->revision != 0) {
                control_put_u64(request, CONTROL_TAG_EPOCH, line->epoch);
                control_put_u64(request, CONTROL_TAG_REVISION, line->revision);
        }
        if (is_watch && !line->is_control)
                control_put_u32(request, CONTROL_TAG_HEARTBEAT, LINE_HEARTBEAT_MSEC);
        control_put_request_end(request);
}

static int send_request(Line *line) {
        _cleanup_(control_buffer_done) ControlBuffer request = { 0 };
        int r;

        put_request(line, &request);
        line->connection.keeps = line->manner->purpose == LINE_FIND;
        r = connection_send(&line->connection, &request);
        if (r < 0)
                return fail(line, LINE_BROKEN, r);
        line->heard_usec = now_usec(CLOCK_MONOTONIC);
        line->state = LINE_READING;
        return AGAIN;
}

/* --- connecting ------------------------------------------------------------------------------- */

static int dial(Line *line, LineState state) {
        line->state = state;
        return dial_begin(&line->dial, line->machine->host, line->machine->port) < 0 ? (int)fail_for_memory(line)
                                                                                     : AGAIN;
}

/* The control socket is not for us, or not there: the port is. */
static int go_to_loopback(Line *line, int error) {
        line->control_error = error;
        line->is_control = false;
        return dial(line, LINE_CONNECTING);
}

static int find_place(Line *line) {
        if (line->place)
                return 0;
        line->place = place_choose(line->manner->control, &line->tried);
        if (!line->place)
                return line->tried ? -ENOENT : -ENOMEM;
        return 0;
}

static int connect_control(Line *line) {
        int r = find_place(line);

        connection_done(&line->connection);
        if (r == 0)
                r = connection_try(line->place, &line->connection);
        if (r == 0)
                return send_request(line);
        if (r == -ENOMEM)
                return fail_for_memory(line);
        if (r == -EAGAIN && now_usec(CLOCK_MONOTONIC) < line->until_usec) {
                line->next_usec = now_usec(CLOCK_MONOTONIC) + CONTROL_RETRY_USEC;
                return LINE_NOTHING;
        }
        if ((r == -EACCES || r == -EPERM || r == -ENOENT) && !line->is_synced_once &&
            !place_is_given(line->manner->control))
                return go_to_loopback(line, r);
        return fail(line, LINE_UNOPENED, r);
}

static int step_connecting_control(Line *line) {
        return now_usec(CLOCK_MONOTONIC) >= line->next_usec ? connect_control(line) : LINE_NOTHING;
}

/* Nobody on loopback either: then the control socket is what there is to be told of. */
static LineEvent fail_connecting(Line *line, int error) {
        bool is_second = line->control_error != 0 && error == -ECONNREFUSED;

        if (error == -ENXIO)
                return fail(line, LINE_UNRESOLVED, line->dial.resolution_error);
        if (!is_second)
                return fail(line, LINE_UNCONNECTED, error);
        line->is_control = true;
        return fail(line, line->place ? LINE_UNOPENED : LINE_NOWHERE, line->control_error);
}

/* AGAIN: connected; else what is to be told. */
static int step_dialling(Line *line) {
        int fd = -1, r = dial_step(&line->dial, &fd);

        if (r == 0)
                return LINE_NOTHING;
        if (r < 0)
                return fail_connecting(line, r);
        connection_done(&line->connection);
        return connection_take(fd, line->machine->text, &line->connection) < 0 ? (int)fail_for_memory(line) : AGAIN;
}

static int step_connecting(Line *line) {
        int r = step_dialling(line);

        return r == AGAIN ? send_request(line) : r;
}

static int begin(Line *line) {
        line->begun_usec = now_usec(CLOCK_MONOTONIC);
        line->until_usec = line->begun_usec +
                           (line->manner->purpose == LINE_WATCH ? LINE_PATIENCE_USEC : line->manner->timeout_usec);
        line->next_usec = 0;
        if (line->is_stock && line->n_polls < STOCK_POLLS_MAX) {
                line->n_polls++;
                return dial(line, LINE_CONNECTING_STOCK);
        }
        line->n_polls = 0;
        if (line->is_control) {
                line->state = LINE_CONNECTING_CONTROL;
                return AGAIN;
        }
        return dial(line, LINE_CONNECTING);
}

/* --- a rollcalld ------------------------------------------------------------------------------ */

static uint64_t number_of(const Record *record, ControlTag tag) {
        ControlField field;

        if (control_find_field(record->fields, record->n_fields, tag, &field))
                return control_field_u64(&field);
        return 0;
}

static void take_record(Line *line, const Record *record) {
        line->was_rollcall = true;
        line->was_closed = line->is_stock = line->has_told_names = false;
        if (record->kind == CONTROL_EPOCH_RECORD) {
                line->epoch = number_of(record, CONTROL_TAG_EPOCH);
                line->revision = 0; /* in the middle of a snapshot there is none to go on from */
                line->is_synced = false;
        }
        if (record->kind != CONTROL_SYNCED_RECORD)
                return;
        line->revision = number_of(record, CONTROL_TAG_REVISION);
        line->is_synced = line->is_synced_once = true;
        line->failure = LINE_FINE;
        line->n_failures = 0;
}

static int on_closed(Line *line) {
        bool is_without_a_byte = line->connection.n_data == 0 && !line->is_control;

        if (!is_without_a_byte || (line->was_rollcall && !line->was_closed)) {
                line->was_closed = is_without_a_byte;
                return fail(line, LINE_BROKEN, -ENODATA);
        }
        dial_again(&line->dial);
        line->state = LINE_CONNECTING_STOCK;
        return AGAIN;
}

/* The whole of it, once it is complete; before that it moves as it grows. */
static int tell_answer(Line *line) {
        line->told = (ControlBuffer){
                .data = TAKE_PTR(line->connection.data),
                .n_data = line->connection.n_taken,
                .n_room = line->connection.n_room,
        };
        line->n_told = CONTROL_ANSWER_HEAD;
        connection_done(&line->connection);
        line->state = LINE_TELLING;
        return AGAIN;
}

static int step_reading(Line *line, Record *ret) {
        int r = connection_next(&line->connection, 0, ret);

        if (r == 0)
                return LINE_NOTHING;
        if (r < 0)
                return r == -ENODATA ? on_closed(line) : (int)fail(line, LINE_BROKEN, r);
        if (ret->kind == CONTROL_ERROR)
                return on_refusal(line, ret);
        line->heard_usec = now_usec(CLOCK_MONOTONIC);
        take_record(line, ret);
        if (line->manner->purpose == LINE_FIND)
                return ret->kind == CONTROL_END ? tell_answer(line) : AGAIN;
        return ret->kind == CONTROL_END ? (int)fail(line, LINE_BROKEN, -ENODATA) : (int)LINE_RECORD;
}

/* --- a stock epmd ----------------------------------------------------------------------------- */

static int step_connecting_stock(Line *line) {
        int r = step_dialling(line);
        ssize_t n;

        if (r != AGAIN)
                return r;
        n = send(line->connection.fd, STOCK_NAMES_REQUEST, STOCK_NAMES_REQUEST_BYTES, MSG_NOSIGNAL);
        if (n != STOCK_NAMES_REQUEST_BYTES)
                return fail(line, LINE_BROKEN, n < 0 ? -errno : -EIO);
        line->heard.n_data = 0;
        line->state = LINE_READING_STOCK;
        return AGAIN;
}

static int make_room(ControlBuffer *buffer) {
        size_t n_room = 2 * buffer->n_room + 2 * READ_BYTES;
        uint8_t *data;

        if (buffer->n_room - buffer->n_data >= READ_BYTES)
                return 0;
        if (buffer->n_data > STOCK_ANSWER_BYTES_MAX)
                return -EBADMSG;
        data = realloc(buffer->data, n_room);
        if (!data)
                return -ENOMEM;
        buffer->data = data;
        buffer->n_room = n_room;
        return 0;
}

/* What is to be told of `names`, the last answer. */
static int prepare(Line *line, ControlBuffer *names) {
        bool is_watch = line->manner->purpose == LINE_WATCH, is_first = !line->has_told_names;
        ControlBuffer none = { 0 };
        int r;

        line->told.n_data = line->n_told = 0;
        if (is_watch && is_first) {
                control_put_record_begin(&line->told, CONTROL_EPOCH_RECORD);
                control_put_record_end(&line->told);
        }
        r = stock_compare(is_first ? &none : &line->names, names, &line->told);
        if (r < 0)
                return r;
        if (is_watch && (line->told.n_data > 0 || !line->is_synced)) {
                control_put_record_begin(&line->told, CONTROL_SYNCED_RECORD);
                control_put_record_end(&line->told);
        } else if (!is_watch) {
                control_put_record_begin(&line->told, CONTROL_END);
                control_put_record_end(&line->told);
        }
        control_buffer_done(&line->names);
        line->names = *names;
        *names = (ControlBuffer){ 0 };
        return line->told.error;
}

static int on_names(Line *line) {
        _cleanup_(control_buffer_done) ControlBuffer names = { 0 };
        int r = stock_read_names(line->heard.data, line->heard.n_data, &names);

        if (r == 0)
                r = prepare(line, &names);
        if (r < 0)
                return fail(line, LINE_BROKEN, r);
        connection_done(&line->connection);
        line->is_stock = line->has_told_names = true;
        line->was_rollcall = false;
        line->revision = line->epoch = 0;
        line->failure = LINE_FINE;
        line->n_failures = 0;
        line->state = LINE_TELLING;
        return AGAIN;
}

static int step_reading_stock(Line *line) {
        for (;;) {
                int r = make_room(&line->heard);
                ssize_t n;

                if (r < 0)
                        return fail(line, LINE_BROKEN, r);
                n = recv(line->connection.fd, line->heard.data + line->heard.n_data,
                         line->heard.n_room - line->heard.n_data, MSG_DONTWAIT);
                if (n > 0)
                        line->heard.n_data += (size_t)n;
                else if (n == 0 || errno == ECONNRESET)
                        return line->heard.n_data > 0 ? on_names(line) : (int)fail(line, LINE_CLOSED, 0);
                else if (errno == EAGAIN)
                        return LINE_NOTHING;
                else if (errno != EINTR)
                        return fail(line, LINE_BROKEN, -errno);
        }
}

static int step_telling(Line *line, Record *ret) {
        size_t n;

        if (line->n_told < line->told.n_data &&
            record_parse(line->told.data + line->n_told, line->told.n_data - line->n_told, &n, ret) == 1) {
                line->n_told += n;
                line->is_synced = line->is_synced_once = line->n_told == line->told.n_data;
                if (ret->kind == CONTROL_END)
                        line->state = LINE_ENDED;
                return LINE_RECORD;
        }
        line->state = LINE_PAUSED;
        line->next_usec = now_usec(CLOCK_MONOTONIC) + LINE_STOCK_POLL_SEC * USEC_PER_SEC;
        return AGAIN;
}

/* --- what comes next -------------------------------------------------------------------------- */

/* When the silence has been too long. */
static uint64_t silence_until(const Line *line) {
        if (line->state != LINE_READING || line->manner->purpose == LINE_FIND)
                return line->until_usec;
        if (!line->is_synced_once)
                return line->heard_usec + LINE_PATIENCE_USEC;
        return line->is_control ? USEC_INFINITE : line->heard_usec + LINE_DEAD_USEC;
}

static bool is_dead(const Line *line, uint64_t now) {
        if (line->state == LINE_PAUSED || line->state == LINE_TELLING || line->state == LINE_ENDED)
                return false;
        return now >= silence_until(line);
}

static int step(Line *line, Record *ret) {
        switch (line->state) {
        case LINE_PAUSED:
                return now_usec(CLOCK_MONOTONIC) >= line->next_usec ? begin(line) : LINE_NOTHING;
        case LINE_CONNECTING_CONTROL:
                return step_connecting_control(line);
        case LINE_CONNECTING:
                return step_connecting(line);
        case LINE_READING:
                return step_reading(line, ret);
        case LINE_CONNECTING_STOCK:
                return step_connecting_stock(line);
        case LINE_READING_STOCK:
                return step_reading_stock(line);
        case LINE_TELLING:
                return step_telling(line, ret);
        case LINE_ENDED:
                break;
        }
        return LINE_NOTHING;
}

LineEvent line_next(Line *line, Record *ret) {
        int event;

        do
                event = step(line, ret);
        while (event == AGAIN);
        if (event == LINE_NOTHING && is_dead(line, now_usec(CLOCK_MONOTONIC)))
                return fail(line, LINE_SILENT, -EAGAIN);
        return (LineEvent)event;
}

size_t line_poll(const Line *line, struct pollfd items[static LINE_FDS_MAX], uint64_t *wake_usec) {
        switch (line->state) {
        case LINE_PAUSED:
                *wake_usec = min_u64(*wake_usec, line->next_usec);
                return 0;
        case LINE_CONNECTING_CONTROL:
                *wake_usec = min_u64(*wake_usec, line->next_usec);
                return 0;
        case LINE_CONNECTING:
        case LINE_CONNECTING_STOCK:
                *wake_usec = min_u64(*wake_usec, line->until_usec);
                return dial_poll(&line->dial, items, wake_usec);
        case LINE_READING:
        case LINE_READING_STOCK:
                *wake_usec = min_u64(*wake_usec, silence_until(line));
                break;
        case LINE_TELLING:
                *wake_usec = 0;
                return 0;
        case LINE_ENDED:
                return 0;
        }
        items[0] = (struct pollfd){ .fd = line->connection.fd, .events = POLLIN };
        return 1;
}
