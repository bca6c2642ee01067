/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_test.h"
#include "serve/conn.h"

/* A server whose requests say what becomes of the connection: (h)eld, a (s)tream, (r)egistered, answered with the
 * (b)lob. */
typedef struct Bench {
        sd_event *event;
        Conns *conns;
        Counters counters;
        Node *node;
        Conn *conn; /* the last that was asked of */
        uint8_t said[16]; /* its request, read when the handler is all but done with it */
        size_t n_body;
        int result; /* of conn_hold() or conn_stream_begin() */
        unsigned n_left, n_ended, n_idle, n_slow, n_rested;
        uint64_t rest_usec;
        unsigned n_to_send; /* blobs that on_idle() sends on */
        uint64_t idle_usec; /* how long on_idle() takes */
        bool finishes;      /* on_idle() and on_left() close the connection themselves */
        bool is_sending;    /* within conn_stream_send() */
        Blob *blob;
} Bench;

static void send_blob(Bench *bench, Conn *conn) {
        bench->is_sending = true;
        conn_stream_send(conn, blob_ref(bench->blob));
        bench->is_sending = false;
        ck_assert(!conn_stream_is_idle(conn));
}

static void on_idle(void *userdata, Conn *conn) {
        Bench *bench = userdata;

        ck_assert(!bench->is_sending);
        ck_assert(conn_stream_is_idle(conn));
        bench->n_idle++;
        for (uint64_t began = test_now(); test_now() - began < bench->idle_usec;)
                ;
        if (bench->finishes)
                conn_finish(conn);
        else if (bench->n_to_send > 0) {
                bench->n_to_send--;
                send_blob(bench, conn);
        }
}

static void on_left(void *userdata, Conn *conn) {
        Bench *bench = userdata;

        ck_assert(!bench->is_sending);
        ck_assert_ptr_eq(conn, bench->conn);
        bench->n_left++;
        if (bench->finishes)
                conn_finish(conn);
}

#define LAST_WORDS "the last words"

/* It is cut off within a blob: up to a full thousand. */
static void on_slow(void *userdata, Conn *conn) {
        Bench *bench = userdata;
        size_t n_sent = conn_stream_n_sent(conn);

        ck_assert(!conn_stream_is_idle(conn));
        bench->n_slow++;
        conn_stream_cut(conn, (n_sent + 999) / 1000 * 1000, LAST_WORDS, strlen(LAST_WORDS));
}

static void on_rested(void *userdata, Conn *conn) {
        Bench *bench = userdata;

        ck_assert(conn_stream_is_idle(conn));
        bench->n_rested++;
        if (bench->n_to_send > 0) {
                bench->n_to_send--;
                send_blob(bench, conn);
        }
}

static void begin_stream(Bench *bench, Conn *conn) {
        bench->result = conn_stream_begin(conn, &(ConnStream){
                                                        .on_idle = on_idle,
                                                        .on_left = on_left,
                                                        .on_slow = on_slow,
                                                        .on_rested = on_rested,
                                                        .rest_usec = bench->rest_usec,
                                                        .userdata = bench,
                                                });
        if (bench->result >= 0 && bench->blob)
                send_blob(bench, conn);
}

static void on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Bench *bench = userdata;

        bench->conn = conn;
        bench->n_body = n_body;
        switch (body[0]) {
        case 'h':
                bench->result = conn_hold(conn, PLACE_HELD, 0, &(ConnHolder){ on_left, bench });
                break;
        case 's':
                begin_stream(bench, conn);
                break;
        case 'r':
                bench->result = conn_register(conn, bench->node, "ok", 2);
                conn_release_answer(conn);
                break;
        case 'b':
                conn_answer_blob(conn, NULL, 0, blob_ref(bench->blob));
                return;
        default:
                ck_abort_msg("no such request: %u", body[0]);
        }
        if (bench->result < 0)
                conn_answer(conn, "no", 2);
        memcpy(bench->said, body, n_body < sizeof bench->said ? n_body : sizeof bench->said);
}

static void on_end(void *userdata, Conn *conn) {
        Bench *bench = userdata;

        bench->n_ended++;
        conn_finish(conn);
}

static Bench *bench_new(uint64_t packet_timeout_usec, size_t n_conns_max) {
        Bench *bench = calloc(1, sizeof *bench);

        no_log();
        ck_assert_ptr_nonnull(bench);
        bench->event = make_event();
        bench->node = node_new(&(NodeInfo){ .name = "a", .n_name = 1 });
        ck_assert_int_eq(conns_new(&bench->conns, bench->event,
                                   &(ConnOptions){ .packet_timeout_usec = packet_timeout_usec,
                                                   .n_conns_max = n_conns_max },
                                   &(ConnHandler){ .on_request = on_request, .on_end = on_end, .userdata = bench }, &bench->counters),
                         0);
        return bench;
}

static Bench *patient_bench(void) {
        return bench_new(60 * USEC_PER_SEC, 1000);
}

static void bench_free(Bench *bench) {
        conns_free(bench->conns);
        blob_unref(bench->blob);
        node_free(bench->node);
        sd_event_unref(bench->event);
        free(bench);
}

static Blob *numbered_blob(size_t n_data) {
        Blob *blob = blob_new(NULL, n_data);

        ck_assert_ptr_nonnull(blob);
        for (size_t i = 0; i < n_data; i++)
                blob->data[i] = (uint8_t)(i * 7 + i / 251);
        return blob;
}

/* Two ends of a connection, not blocking. */
static void make_pair(int fds[static 2]) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static int silent_client(Bench *bench) {
        SocketAddress peer = { .sa.sa_family = AF_UNIX };
        int fds[2];

        make_pair(fds);
        conns_take(bench->conns, fds[1], CONN_CONTROL, 0, &peer);
        return fds[0];
}

/* A client whose one-letter request was read. */
static int client(Bench *bench, const char *request) {
        int fd = silent_client(bench);

        say_request(fd, request, strlen(request));
        turn(bench->event);
        return fd;
}

typedef enum Ending {
        ENDING_CLOSED,
        ENDING_HALF_CLOSED,
        ENDING_BYTE,
        _ENDING_N,
} Ending;

/* Returns what is left to close; -1: nothing. */
static int end_client(int fd, Ending ending) {
        switch (ending) {
        case ENDING_CLOSED:
                close(fd);
                return -1;
        case ENDING_HALF_CLOSED:
                ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
                break;
        case ENDING_BYTE:
                say(fd, "x", 1);
                break;
        case _ENDING_N:
                break;
        }
        return fd;
}

/* --- held --------------------------------------------------------------------------------------------- */

START_TEST(test_who_is_held_waits_without_a_timeout_and_without_work) {
        Bench *bench = bench_new(50 * USEC_PER_MSEC, 1000);
        int fd = client(bench, "hello");

        ck_assert_int_eq(bench->result, 0);
        ck_assert_uint_eq(run_for(bench->event, 1300 * USEC_PER_MSEC), 0);
        expect_silence(bench->event, fd);
        ck_assert_uint_eq(bench->n_left, 0);
        ck_assert_uint_eq(conns_n(bench->conns), 1);
        conn_answer(bench->conn, "hello", 5);
        expect_then_end(bench->event, fd, "hello", 5);
        ck_assert_uint_eq(bench->n_left, 0);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_was_held_can_get_a_long_answer_and_has_the_time_for_it) {
        Bench *bench = bench_new(300 * USEC_PER_MSEC, 1000);
        int fd = client(bench, "hello");
        Heard heard = { 0 };
        Blob *blob = numbered_blob(3000000);

        run_for(bench->event, 400 * USEC_PER_MSEC);
        conn_answer_blob(bench->conn, "head", 4, blob_ref(blob));
        run_for(bench->event, 100 * USEC_PER_MSEC);
        ck_assert(RUN_UNTIL(bench->event, hear(fd, &heard), LONG_USEC));
        ck_assert_uint_eq(bench->counters.n_timed_out, 0);
        ck_assert_uint_eq(heard.n_data, 4 + blob->n_data);
        ck_assert_mem_eq(heard.data + 4, blob->data, blob->n_data);
        ck_assert_uint_eq(blob->n_refs, 1);
        blob_unref(blob);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_was_held_can_be_registered) {
        Bench *bench = patient_bench();
        int fd = client(bench, "hello");

        ck_assert_int_eq(conn_register(bench->conn, bench->node, "ok", 2), 0);
        conn_release_answer(bench->conn);
        expect(bench->event, fd, "ok", 2);
        ck_assert_ptr_eq(conn_node(bench->conn), bench->node);
        close(fd);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        ck_assert_uint_eq(bench->n_left, 0);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_was_held_can_become_a_stream) {
        Bench *bench = patient_bench();
        int fd = client(bench, "hello");

        bench->blob = numbered_blob(10);
        begin_stream(bench, bench->conn);
        ck_assert_int_eq(bench->result, 0);
        expect(bench->event, fd, bench->blob->data, 10);
        close(fd);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_left, 1);
        bench_free(bench);
}
END_TEST

START_TEST(test_one_who_is_held_and_leaves_is_reported_once) {
        Bench *bench = patient_bench();
        int fd = client(bench, "hello");

        bench->finishes = _i >= _ENDING_N;
        fd = end_client(fd, (Ending)(_i % _ENDING_N));
        turn(bench->event);
        ck_assert_uint_eq(bench->n_left, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_left, 1);
        if (fd >= 0)
                expect_then_end(bench->event, fd, "", 0);
        bench_free(bench);
}
END_TEST

/* Its name is in the log after it was held, or registered. */
START_TEST(test_a_request_that_came_in_parts_stays_until_its_handler_is_done) {
        static const char *const requests[] = { "hello", "stays", "reads" };
        Bench *bench = patient_bench();
        int fd = silent_client(bench);

        say(fd, "\0\5", 2);
        say(fd, requests[_i], 2);
        turn(bench->event);
        say(fd, requests[_i] + 2, 3);
        turn(bench->event);
        ck_assert_int_eq(bench->result, 0);
        ck_assert_uint_eq(bench->n_body, 5);
        ck_assert_mem_eq(bench->said, requests[_i], 5);
        close(fd);
        bench_free(bench);
}
END_TEST

/* --- room (P6) ---------------------------------------------------------------------------------------- */

START_TEST(test_one_in_four_can_be_held_and_more_are_as_they_were) {
        Bench *bench = bench_new(60 * USEC_PER_SEC, 8);
        const char *request = _i ? "stream" : "hold";
        int fds[2], other;

        for (int i = 0; i < 2; i++) {
                fds[i] = client(bench, request);
                ck_assert_int_eq(bench->result, 0);
        }
        other = client(bench, request);
        ck_assert_int_eq(bench->result, -EBUSY);
        expect_then_end(bench->event, other, "no", 2);
        /* the other kind has room of its own */
        other = client(bench, _i ? "hold" : "stream");
        ck_assert_int_eq(bench->result, 0);
        /* and one that goes makes room for another */
        conn_finish(bench->conn);
        close(other);
        other = client(bench, _i ? "hold" : "stream");
        ck_assert_int_eq(bench->result, 0);
        bench_free(bench);
        close(other);
        close(fds[0]);
        close(fds[1]);
}
END_TEST

START_TEST(test_who_stays_is_never_shed) {
        Bench *bench = bench_new(60 * USEC_PER_SEC, 8);
        int held = client(bench, "hold"), stream = client(bench, "stream"), node = client(bench, "register");
        int others[10];

        expect(bench->event, node, "ok", 2);
        for (size_t i = 0; i < ELEMENTS(others); i++)
                others[i] = silent_client(bench);
        turn(bench->event);
        ck_assert_uint_eq(conns_n(bench->conns), 8);
        ck_assert_uint_eq(bench->counters.n_shed, 5);
        expect_silence(bench->event, held);
        expect_silence(bench->event, stream);
        expect_silence(bench->event, node);
        for (size_t i = 0; i < 5; i++)
                expect_then_end(bench->event, others[i], "", 0);
        for (size_t i = 5; i < ELEMENTS(others); i++)
                close(others[i]);
        bench_free(bench);
        close(held);
        close(stream);
        close(node);
}
END_TEST

/* Whoever came first goes first, also if he has begun to be answered since. */
START_TEST(test_one_keeps_his_place_when_he_begins_to_be_answered) {
        Bench *bench = bench_new(60 * USEC_PER_SEC, 3);
        int first = silent_client(bench), second = silent_client(bench), third, fourth;

        bench->blob = numbered_blob(5000000);
        say_request(first, "blob", 4);
        turn(bench->event);
        ck_assert_uint_eq(bench->blob->n_refs, 2);
        third = silent_client(bench);
        fourth = silent_client(bench);
        ck_assert_uint_eq(bench->counters.n_shed, 1);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        expect_silence(bench->event, second);
        expect_silence(bench->event, third);
        expect_silence(bench->event, fourth);
        bench_free(bench);
        close(first);
        close(second);
        close(third);
        close(fourth);
}
END_TEST

/* --- streams ------------------------------------------------------------------------------------------ */

START_TEST(test_a_stream_sends_one_blob_after_the_other) {
        Bench *bench = patient_bench();
        Heard heard = { 0 };
        int fd;

        bench->blob = numbered_blob(1000);
        bench->n_to_send = 9;
        fd = client(bench, "stream");
        ck_assert(RUN_UNTIL(bench->event, bench->n_idle == 10, LONG_USEC));
        hear_some(fd, &heard, SIZE_MAX);
        ck_assert_uint_eq(heard.n_data, 10000);
        for (size_t i = 0; i < 10; i++)
                ck_assert_mem_eq(heard.data + 1000 * i, bench->blob->data, 1000);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        ck_assert(conn_stream_is_idle(bench->conn));
        /* between two blobs there is nothing to do */
        ck_assert_uint_eq(run_for(bench->event, 50 * USEC_PER_MSEC), 0);
        send_blob(bench, bench->conn);
        heard_done(&heard);
        expect(bench->event, fd, bench->blob->data, 1000);
        ck_assert_uint_eq(bench->n_idle, 11);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_stream_whose_client_reads_slowly_waits_without_work) {
        Bench *bench = patient_bench();
        Heard heard = { 0 };
        int fd;

        bench->blob = numbered_blob(5000000);
        fd = client(bench, "stream");
        ck_assert_uint_eq(bench->n_idle, 0);
        ck_assert_uint_eq(run_for(bench->event, 50 * USEC_PER_MSEC), 0);
        while (heard.n_data < bench->blob->n_data) {
                ck_assert(!conn_stream_is_idle(bench->conn) || bench->n_idle == 1);
                hear_some(fd, &heard, 100000);
                turn(bench->event);
        }
        ck_assert_uint_eq(bench->n_idle, 1);
        ck_assert_mem_eq(heard.data, bench->blob->data, bench->blob->n_data);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_stream_whose_client_leaves_is_reported_once_and_lets_go) {
        Bench *bench = patient_bench();
        bool is_busy = _i >= 2 * _ENDING_N;
        int fd;

        bench->blob = numbered_blob(5000000);
        fd = client(bench, "stream");
        if (!is_busy) {
                Heard heard = { 0 };

                ck_assert(RUN_UNTIL(bench->event, (hear_some(fd, &heard, SIZE_MAX), bench->n_idle == 1), LONG_USEC));
                hear_some(fd, &heard, SIZE_MAX);
                heard_done(&heard);
        }
        bench->finishes = _i % 2;
        fd = end_client(fd, (Ending)(_i / 2 % _ENDING_N));
        turn(bench->event);
        ck_assert_uint_eq(bench->n_left, 1);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_left, 1);
        if (fd >= 0)
                close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_stream_may_be_closed_when_it_is_idle) {
        Bench *bench = patient_bench();
        int fd;

        bench->blob = numbered_blob(10);
        bench->finishes = true;
        fd = client(bench, "stream");
        expect_then_end(bench->event, fd, bench->blob->data, 10);
        ck_assert_uint_eq(bench->n_idle, 1);
        ck_assert_uint_eq(bench->n_left, 0);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_stream_that_takes_nothing_is_slow_after_ten_times_the_timeout) {
        Bench *bench = bench_new(30 * USEC_PER_MSEC, 1000);
        uint64_t began = test_now();
        Heard heard = { 0 };
        size_t n_data;
        int fd;

        bench->blob = numbered_blob(5000000);
        fd = client(bench, "stream");
        ck_assert(RUN_UNTIL(bench->event, bench->n_slow == 1, LONG_USEC));
        ck_assert_uint_ge(test_now() - began, 300 * USEC_PER_MSEC);
        ck_assert_uint_eq(bench->counters.n_timed_out, 1);
        ck_assert_uint_eq(bench->n_left, 0);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        /* what is there for him ends as it should, with a word */
        ck_assert(hear(fd, &heard));
        ck_assert_uint_gt(heard.n_data, strlen(LAST_WORDS));
        n_data = heard.n_data - strlen(LAST_WORDS);
        ck_assert_uint_eq(n_data % 1000, 0);
        ck_assert_mem_eq(heard.data, bench->blob->data, n_data);
        ck_assert_mem_eq(heard.data + n_data, LAST_WORDS, strlen(LAST_WORDS));
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_idle_stream_may_be_cut_off_too) {
        Bench *bench = patient_bench();
        int fd = client(bench, "stream");

        conn_stream_cut(bench->conn, 0, LAST_WORDS, strlen(LAST_WORDS));
        expect_then_end(bench->event, fd, LAST_WORDS, strlen(LAST_WORDS));
        ck_assert_uint_eq(bench->n_left + bench->n_slow, 0);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_stream_that_rests_is_told_so_again_and_again) {
        Bench *bench = bench_new(20 * USEC_PER_MSEC, 1000);
        uint64_t began = test_now();
        int fd;

        bench->blob = numbered_blob(10);
        bench->rest_usec = 200 * USEC_PER_MSEC;
        bench->n_to_send = 1; /* on_idle() sends it at once; nobody rests */
        fd = client(bench, "stream");
        ck_assert(RUN_UNTIL(bench->event, bench->n_rested == 2, LONG_USEC));
        ck_assert_uint_ge(test_now() - began, 400 * USEC_PER_MSEC);
        ck_assert_uint_eq(bench->n_idle, 2);
        /* what is sent then leaves, and the rest begins anew */
        began = test_now();
        bench->n_to_send = 1;
        ck_assert(RUN_UNTIL(bench->event, bench->n_idle == 3, LONG_USEC));
        ck_assert(RUN_UNTIL(bench->event, bench->n_rested == 4, LONG_USEC));
        ck_assert_uint_ge(test_now() - began, 400 * USEC_PER_MSEC);
        ck_assert_uint_eq(bench->n_slow + bench->counters.n_timed_out, 0);
        close(fd);
        bench_free(bench);
}
END_TEST

#define N_STREAMS 200

/* As many streams, all idle. */
static void begin_many(Bench *bench, int fds[static N_STREAMS], Conn *conns[static N_STREAMS]) {
        for (size_t i = 0; i < N_STREAMS; i++) {
                fds[i] = client(bench, "stream");
                conns[i] = bench->conn;
        }
        bench->blob = numbered_blob(10);
}

/* i: 1: the first of a turn take all the time that there is for it. */
START_TEST(test_many_streams_are_sent_some_in_each_turn_of_the_loop) {
        Bench *bench = patient_bench();
        unsigned n_idle = 0, n_turns = 0, n_idle_then = 0;
        int fds[N_STREAMS], other;
        Conn *conns[N_STREAMS];

        begin_many(bench, fds, conns);
        bench->idle_usec = _i ? 100 : 0;
        for (size_t i = 0; i < N_STREAMS; i++)
                send_blob(bench, conns[i]);
        other = silent_client(bench);
        bench->n_to_send = 1; /* and that one has his second turn after all others */
        for (; bench->n_idle < N_STREAMS + 1; n_turns++) {
                ck_assert_int_gt(sd_event_run(bench->event, 0), 0);
                ck_assert_uint_le(bench->n_idle - n_idle, N_STREAMS / 2);
                n_idle = bench->n_idle;
                if (n_turns == 0)
                        say_request(other, "hold", 4);
                if (n_idle_then == 0 && bench->n_body == 4)
                        n_idle_then = bench->n_idle;
        }
        ck_assert_uint_gt(n_turns, 3);
        /* nobody waits for the end of it */
        ck_assert_uint_gt(n_idle_then, 0);
        ck_assert_uint_lt(n_idle_then, N_STREAMS);
        ck_assert_uint_eq(turn(bench->event), 0);
        for (size_t i = 0; i < N_STREAMS; i++) {
                Heard heard = { 0 };

                ck_assert_uint_eq(hear_some(fds[i], &heard, SIZE_MAX), i == 0 ? 20 : 10);
                heard_done(&heard);
                close(fds[i]);
        }
        close(other);
        bench_free(bench);
}
END_TEST

/* First, in the middle, last: the others get what is theirs. */
START_TEST(test_a_stream_that_waits_for_its_turn_may_be_closed_or_cut_off) {
        static const size_t places[] = { 0, N_STREAMS / 2, N_STREAMS - 1 };
        Bench *bench = patient_bench();
        int fds[N_STREAMS];
        Conn *conns[N_STREAMS];

        begin_many(bench, fds, conns);
        for (size_t i = 0; i < N_STREAMS; i++)
                send_blob(bench, conns[i]);
        for (size_t i = 0; i < ELEMENTS(places); i++) {
                ck_assert_uint_eq(conn_stream_n_sent(conns[places[i]]), 0);
                if (_i == 0)
                        conn_finish(conns[places[i]]);
                else
                        conn_stream_cut(conns[places[i]], 0, LAST_WORDS, strlen(LAST_WORDS));
        }
        for (size_t i = 0, k = 0; i < N_STREAMS; i++) {
                if (k < ELEMENTS(places) && i == places[k]) {
                        k++;
                        expect_then_end(bench->event, fds[i], LAST_WORDS, _i == 0 ? 0 : strlen(LAST_WORDS));
                        continue;
                }
                expect(bench->event, fds[i], bench->blob->data, 10);
        }
        ck_assert_uint_eq(bench->n_idle, N_STREAMS - ELEMENTS(places));
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        bench_free(bench); /* closes all others; their clients' ends are the test process's */
}
END_TEST

/* The client's end is seen first, and then there is nothing to be sent. */
START_TEST(test_a_stream_that_waits_for_its_turn_may_be_left) {
        Bench *bench = patient_bench();
        int fds[N_STREAMS];
        Conn *conns[N_STREAMS];

        begin_many(bench, fds, conns);
        for (size_t i = 0; i < N_STREAMS; i++)
                send_blob(bench, conns[i]);
        close(fds[N_STREAMS - 1]);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_left, 1);
        ck_assert_uint_eq(bench->n_idle, N_STREAMS - 1);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        for (size_t i = 0; i < N_STREAMS - 1; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* Its rest may be over by the time its turn comes; that is not slowness. */
START_TEST(test_a_stream_that_waits_for_its_turn_does_not_rest) {
        Bench *bench = patient_bench();
        int fd;

        bench->rest_usec = 20 * USEC_PER_MSEC;
        fd = client(bench, "stream");
        bench->blob = numbered_blob(10);
        bench->n_to_send = 1;
        send_blob(bench, bench->conn);
        ck_assert(RUN_UNTIL(bench->event, bench->n_rested == 1, LONG_USEC)); /* its timer is armed again */
        send_blob(bench, bench->conn);
        /* longer than the timer's accuracy, without a turn of the loop: both would be ready */
        usleep(1200 * USEC_PER_MSEC);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_idle, 3);
        ck_assert_uint_eq(bench->n_slow + bench->counters.n_timed_out, 0);
        close(fd);
        bench_free(bench);
}
END_TEST

/* One whose machine is gone without a word. */
START_TEST(test_over_tcp_the_kernel_looks_after_a_stream) {
        Bench *bench = patient_bench();
        int listener_fd = listen_on("127.0.0.1"), fd = connect_to("127.0.0.1", port_of(listener_fd)), on = 0, n_room = 0;
        SocketAddress peer = { .sa.sa_family = AF_UNIX };
        socklen_t n = sizeof on;

        say_request(fd, "s", 1);
        conns_take(bench->conns, accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), CONN_EPMD, 0, &peer);
        turn(bench->event);
        ck_assert_int_eq(getsockopt(conn_fd(bench->conn), SOL_SOCKET, SO_KEEPALIVE, &on, &n), 0);
        ck_assert_int_eq(on, 1);
        ck_assert_int_eq(getsockopt(conn_fd(bench->conn), SOL_SOCKET, SO_SNDBUF, &n_room, &n), 0);
        ck_assert_int_le(n_room, 128 * 1024);
        close(fd);
        close(listener_fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_stream_that_takes_a_little_lives_on) {
        Bench *bench = bench_new(200 * USEC_PER_MSEC, 1000);
        Heard heard = { 0 };
        int fd;

        bench->blob = numbered_blob(50000000);
        fd = client(bench, "stream");
        /* longer than a whole answer may take, with less than that between two bytes */
        for (unsigned i = 0; i < 8; i++) {
                run_for(bench->event, 500 * USEC_PER_MSEC);
                ck_assert_uint_gt(hear_some(fd, &heard, 100000), 0);
        }
        ck_assert_uint_eq(bench->n_left, 0);
        ck_assert_uint_eq(bench->counters.n_timed_out, 0);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_idle_stream_has_no_timeout) {
        Bench *bench = bench_new(20 * USEC_PER_MSEC, 1000);
        int fd;

        bench->blob = numbered_blob(10);
        fd = client(bench, "stream");
        expect(bench->event, fd, bench->blob->data, 10);
        ck_assert_uint_eq(run_for(bench->event, 1500 * USEC_PER_MSEC), 0);
        ck_assert_uint_eq(bench->n_left, 0);
        send_blob(bench, bench->conn);
        expect(bench->event, fd, bench->blob->data, 10);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_nobody_is_told_when_all_are_closed_at_the_end) {
        Bench *bench = patient_bench();
        int held = client(bench, "hold"), stream, node = client(bench, "register");

        expect(bench->event, node, "ok", 2);
        bench->blob = numbered_blob(5000000);
        stream = client(bench, "stream");
        bench->conns = conns_free(bench->conns);
        ck_assert_uint_eq(bench->n_left + bench->n_ended, 0);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        expect_then_end(bench->event, held, "", 0);
        expect_then_end(bench->event, node, "", 0);
        close(stream);
        bench_free(bench);
}
END_TEST

/* --- kept elsewhere, too ------------------------------------------------------------------------------ */

/* A registered connection; `*ret_elsewhere` is its duplicate, such as systemd has. */
static int kept_client(Bench *bench, bool is_adopted, int *ret_elsewhere) {
        int fds[2], fd;

        if (is_adopted) {
                make_pair(fds);
                fd = fds[0];
                ck_assert_int_eq(conns_adopt(bench->conns, fds + 1, 4369, bench->node, &bench->conn), 0);
                ck_assert_int_eq(fds[1], -1);
        } else {
                fd = client(bench, "register");
                expect(bench->event, fd, "ok", 2);
        }
        *ret_elsewhere = dup(conn_fd(bench->conn));
        ck_assert_int_ge(*ret_elsewhere, 0);
        return fd;
}

/* Adopted; given away; with a place in the fd store, whether or not it was given away. */
START_TEST(test_a_registered_connection_that_is_finished_ends_also_for_who_has_a_duplicate) {
        Bench *bench = patient_bench();
        int elsewhere, fd = kept_client(bench, _i == 0, &elsewhere);

        if (_i == 1)
                conn_set_shared(bench->conn);
        if (_i == 2)
                conn_set_stored(bench->conn, (FdstoreEntry *)bench); /* any */
        conn_finish(bench->conn);
        expect_then_end(bench->event, fd, "", 0);
        close(elsewhere);
        bench_free(bench);
}
END_TEST

/* What wakes the loop for it would go on for ever. */
START_TEST(test_nothing_more_is_heard_of_one_that_is_finished_and_kept_elsewhere) {
        Bench *bench = patient_bench();
        int elsewhere, fd = kept_client(bench, _i == 0, &elsewhere);

        if (_i == 1)
                conn_set_shared(bench->conn);
        conn_finish(bench->conn);
        turn(bench->event);
        ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        turn(bench->event);
        ck_assert_int_eq(sd_event_run(bench->event, 0), 0);
        ck_assert_uint_eq(bench->n_ended, 0);
        close(fd);
        close(elsewhere);
        bench_free(bench);
}
END_TEST

START_TEST(test_at_the_end_what_is_kept_elsewhere_stays_open) {
        Bench *bench = patient_bench();
        int elsewhere, fd = kept_client(bench, _i, &elsewhere);

        conn_set_stored(bench->conn, (FdstoreEntry *)bench); /* any */
        bench->conns = conns_free(bench->conns);
        expect_silence(bench->event, fd);
        close(elsewhere);
        expect_then_end(bench->event, fd, "", 0);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_adopted_connection_is_as_any_registered_one) {
        Bench *bench = patient_bench();
        int elsewhere, fd = kept_client(bench, true, &elsewhere);

        ck_assert_ptr_eq(conn_node(bench->conn), bench->node);
        ck_assert_int_eq(conn_kind(bench->conn), CONN_EPMD);
        ck_assert_uint_eq(conn_listener_port(bench->conn), 4369);
        ck_assert(!conn_is_unanswered(bench->conn));
        ck_assert(!conn_has_ended(bench->conn));
        ck_assert_uint_eq(conns_n(bench->conns), 1);
        ck_assert_uint_eq(bench->counters.n_accepted, 0);
        ck_assert_ptr_null(conn_stored(bench->conn));
        conn_set_stored(bench->conn, (FdstoreEntry *)bench);
        ck_assert_ptr_eq(conn_stored(bench->conn), (FdstoreEntry *)bench);
        expect_silence(bench->event, fd);
        fd = end_client(fd, (Ending)_i);
        ck_assert(conn_has_ended(bench->conn));
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        if (fd >= 0)
                close(fd);
        close(elsewhere);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_adopted_connection_of_the_network_knows_its_peer) {
        Bench *bench = patient_bench();
        int listener_fd = listen_on("127.0.0.1"), fd = connect_to("127.0.0.1", port_of(listener_fd));
        int accepted_fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        char text[64];

        snprintf(text, sizeof text, "127.0.0.1:%u", port_of(fd));
        ck_assert_int_eq(conns_adopt(bench->conns, &accepted_fd, 1, bench->node, &bench->conn), 0);
        ck_assert_str_eq(conn_peer_text(bench->conn), text);
        reset(fd);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);

        /* one that has been reset has no peer any more, and ends at once */
        fd = connect_to("127.0.0.1", port_of(listener_fd));
        accepted_fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        reset(fd);
        ck_assert_int_eq(conns_adopt(bench->conns, &accepted_fd, 1, bench->node, &bench->conn), 0);
        ck_assert_str_eq(conn_peer_text(bench->conn), "an unknown peer");
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 2);
        close(listener_fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_what_cannot_be_adopted_stays_the_callers) {
        Bench *bench = patient_bench();
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), before = fd;
        Conn *conn = (Conn *)bench;

        ck_assert_int_lt(conns_adopt(bench->conns, &fd, 1, bench->node, &conn), 0); /* epoll takes no such file */
        ck_assert_int_eq(fd, before);
        ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
        ck_assert_ptr_eq(conn, (Conn *)bench); /* written only on success */
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        turn(bench->event);
        close(fd);
        bench_free(bench);
}
END_TEST

/* --- facts -------------------------------------------------------------------------------------------- */

START_TEST(test_who_is_at_the_other_end_of_a_control_connection_is_known) {
        Bench *bench = patient_bench();
        int fd = client(bench, "hold"), elsewhere, node_fd;
        uid_t uid = 4711;

        ck_assert_int_eq(conn_get_peer_uid(bench->conn, &uid), 0);
        ck_assert_uint_eq(uid, getuid());
        node_fd = kept_client(bench, true, &elsewhere);
        uid = 4711;
        ck_assert_int_lt(conn_get_peer_uid(bench->conn, &uid), 0);
        ck_assert_uint_eq(uid, 4711);
        bench_free(bench);
        close(fd);
        close(node_fd);
        close(elsewhere);
}
END_TEST

START_TEST(test_another_timeout_holds_for_those_who_come) {
        Bench *bench = patient_bench();
        int fd, patient_fd = silent_client(bench);

        turn(bench->event);
        conns_set_packet_timeout(bench->conns, 20 * USEC_PER_MSEC);
        fd = silent_client(bench);
        expect_then_end(bench->event, fd, "", 0);
        ck_assert_uint_eq(bench->counters.n_timed_out, 1);
        expect_silence(bench->event, patient_fd);
        close(patient_fd);
        bench_free(bench);
}
END_TEST

static void add_streams(Suite *suite) {
        TCase *tcase = tcase_create("streams");

        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_a_stream_sends_one_blob_after_the_other);
        tcase_add_test(tcase, test_a_stream_whose_client_reads_slowly_waits_without_work);
        tcase_add_loop_test(tcase, test_a_stream_whose_client_leaves_is_reported_once_and_lets_go, 0, 4 * _ENDING_N);
        tcase_add_test(tcase, test_a_stream_may_be_closed_when_it_is_idle);
        tcase_add_test(tcase, test_a_stream_that_takes_nothing_is_slow_after_ten_times_the_timeout);
        tcase_add_test(tcase, test_an_idle_stream_may_be_cut_off_too);
        tcase_add_test(tcase, test_a_stream_that_rests_is_told_so_again_and_again);
        tcase_add_loop_test(tcase, test_many_streams_are_sent_some_in_each_turn_of_the_loop, 0, 2);
        tcase_add_loop_test(tcase, test_a_stream_that_waits_for_its_turn_may_be_closed_or_cut_off, 0, 2);
        tcase_add_test(tcase, test_a_stream_that_waits_for_its_turn_may_be_left);
        tcase_add_test(tcase, test_a_stream_that_waits_for_its_turn_does_not_rest);
        tcase_add_test(tcase, test_over_tcp_the_kernel_looks_after_a_stream);
        tcase_add_test(tcase, test_a_stream_that_takes_a_little_lives_on);
        tcase_add_test(tcase, test_an_idle_stream_has_no_timeout);
        tcase_add_test(tcase, test_nobody_is_told_when_all_are_closed_at_the_end);
        suite_add_tcase(suite, tcase);
}

Suite *suite(void) {
        Suite *suite = suite_create("conn_stay");
        TCase *tcase = tcase_create("held");

        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_who_is_held_waits_without_a_timeout_and_without_work);
        tcase_add_test(tcase, test_who_was_held_can_get_a_long_answer_and_has_the_time_for_it);
        tcase_add_test(tcase, test_who_was_held_can_be_registered);
        tcase_add_test(tcase, test_who_was_held_can_become_a_stream);
        tcase_add_loop_test(tcase, test_one_who_is_held_and_leaves_is_reported_once, 0, 2 * _ENDING_N);
        tcase_add_loop_test(tcase, test_a_request_that_came_in_parts_stays_until_its_handler_is_done, 0, 3);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("room");
        tcase_add_loop_test(tcase, test_one_in_four_can_be_held_and_more_are_as_they_were, 0, 2);
        tcase_add_test(tcase, test_who_stays_is_never_shed);
        tcase_add_test(tcase, test_one_keeps_his_place_when_he_begins_to_be_answered);
        suite_add_tcase(suite, tcase);

        add_streams(suite);

        tcase = tcase_create("elsewhere");
        tcase_add_loop_test(tcase, test_a_registered_connection_that_is_finished_ends_also_for_who_has_a_duplicate, 0, 3);
        tcase_add_loop_test(tcase, test_nothing_more_is_heard_of_one_that_is_finished_and_kept_elsewhere, 0, 2);
        tcase_add_loop_test(tcase, test_at_the_end_what_is_kept_elsewhere_stays_open, 0, 2);
        tcase_add_loop_test(tcase, test_an_adopted_connection_is_as_any_registered_one, 0, _ENDING_N);
        tcase_add_test(tcase, test_an_adopted_connection_of_the_network_knows_its_peer);
        tcase_add_test(tcase, test_what_cannot_be_adopted_stays_the_callers);
        tcase_add_test(tcase, test_who_is_at_the_other_end_of_a_control_connection_is_known);
        tcase_add_test(tcase, test_another_timeout_holds_for_those_who_come);
        suite_add_tcase(suite, tcase);
        return suite;
}
