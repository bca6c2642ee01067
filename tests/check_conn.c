/* SPDX-License-Identifier: Apache-2.0 */

#include <linux/tcp.h>
#include <sys/resource.h>

#include "loop_test.h"
#include "serve/acceptor.h"
#include "serve/conn.h"

/* A server whose requests say what is to be done with the connection:
 *     e...  answer with what follows                 k  nothing yet (the connection is `kept`)
 *     b...  answer with that head and the blob       f  close without a byte
 *     r...  register; what follows is the answer     o  close `other` without a byte, then answer "o" */
typedef struct Bench {
        sd_event *event;
        Conns *conns;
        Acceptors *acceptors;
        Counters counters;
        uint16_t port;
        Blob *blob;
        Node *node; /* all that register stand for it */
        Conn *kept, *other, *registered;
        unsigned n_requests, n_ended;
        bool ends_other; /* the end of one closes `other`, too */
        char peer_text[80];
} Bench;

static void on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Bench *bench = userdata;

        bench->n_requests++;
        snprintf(bench->peer_text, sizeof bench->peer_text, "%s", conn_peer_text(conn));
        switch (body[0]) {
        case 'e':
                conn_answer(conn, body + 1, n_body - 1);
                break;
        case 'b':
                conn_answer_blob(conn, body + 1, n_body - 1, blob_ref(bench->blob));
                break;
        case 'r':
                ck_assert_int_eq(conn_register(conn, bench->node, body + 1, n_body - 1), 0);
                bench->registered = conn;
                break;
        case 'k':
                bench->kept = conn;
                break;
        case 'f':
                conn_finish(conn);
                break;
        case 'o':
                if (bench->other)
                        conn_finish(bench->other);
                conn_answer(conn, "o", 1);
                break;
        default:
                ck_abort_msg("no such request: %u", body[0]);
        }
}

static void on_end(void *userdata, Conn *conn) {
        Bench *bench = userdata;

        bench->n_ended++;
        if (bench->ends_other)
                conn_finish(bench->other);
        if (conn == bench->other)
                bench->other = NULL;
        conn_finish(conn);
}

static Bench *bench_new_delayed(const ConnOptions *options, unsigned delay_accept_sec) {
        static const ConnOptions usual = { .packet_timeout_usec = 60 * USEC_PER_SEC, .n_conns_max = 1000 };
        Bench *bench = calloc(1, sizeof *bench);
        int fd = listen_on("127.0.0.1");

        no_log();
        ck_assert_ptr_nonnull(bench);
        bench->event = make_event();
        bench->port = port_of(fd);
        bench->node = node_new(&(NodeInfo){ .name = "a", .n_name = 1 });
        ck_assert_int_eq(conns_new(&bench->conns, bench->event, options ? options : &usual,
                                   &(ConnHandler){ .on_request = on_request, .on_end = on_end, .userdata = bench }, &bench->counters),
                         0);
        ck_assert_int_eq(acceptors_new(&bench->acceptors, bench->event, bench->conns, delay_accept_sec), 0);
        ck_assert_int_eq(acceptors_add(bench->acceptors, &fd, CONN_EPMD, bench->port), 0);
        ck_assert_int_eq(fd, -1);
        turn(bench->event);
        return bench;
}

static Bench *bench_new(const ConnOptions *options) {
        return bench_new_delayed(options, 0);
}

static void bench_free(Bench *bench) {
        acceptors_free(bench->acceptors);
        conns_free(bench->conns);
        blob_unref(bench->blob);
        node_free(bench->node);
        sd_event_unref(bench->event);
        free(bench);
}

static int client(Bench *bench) {
        return connect_to("127.0.0.1", bench->port);
}

/* A client whose connection the server has accepted and read nothing from. */
static int idle_client(Bench *bench) {
        int fd = client(bench);

        turn(bench->event);
        return fd;
}

static int registered_client(Bench *bench) {
        int fd = client(bench);

        say_request(fd, "rok", 3);
        turn(bench->event);
        ck_assert(conn_is_unanswered(bench->registered));
        conn_release_answer(bench->registered);
        ck_assert(!conn_is_unanswered(bench->registered));
        expect(bench->event, fd, "ok", 2);
        return fd;
}

static bool is_closed(Bench *bench, int fd) {
        Heard heard = { 0 };
        bool closed;

        turn(bench->event);
        closed = hear(fd, &heard);
        ck_assert_uint_eq(heard.n_data, 0);
        heard_done(&heard);
        return closed;
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* Most clients have sent their request by the time they are accepted. */
START_TEST(test_a_request_that_is_there_is_answered_when_it_is_accepted) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);
        Heard heard = { 0 };

        say_request(fd, "ehello", 6);
        ck_assert_int_gt(sd_event_run(bench->event, 0), 0);
        ck_assert(hear(fd, &heard));
        ck_assert_uint_eq(heard.n_data, 5);
        ck_assert_mem_eq(heard.data, "hello", 5);
        ck_assert(!heard.is_reset);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_request_that_comes_byte_by_byte_is_answered_with_its_last) {
        static const uint8_t request[] = "\0\6ehello";
        Bench *bench = bench_new(NULL);
        int fd = idle_client(bench);

        for (size_t i = 0; i < sizeof request - 1; i++) {
                expect_silence(bench->event, fd);
                ck_assert_uint_eq(bench->n_requests, 0);
                say(fd, request + i, 1);
        }
        expect_then_end(bench->event, fd, "hello", 5);
        ck_assert_uint_eq(bench->n_requests, 1);
        bench_free(bench);
}
END_TEST

START_TEST(test_the_longest_request_arrives_whole_in_two_parts_cut_anywhere) {
        static const size_t cuts[] = { 1, 2, 3, 100, 3057, 3058 };
        Bench *bench = bench_new(NULL);
        uint8_t request[3059];

        memset(request, 'x', sizeof request);
        request[0] = 3057 >> 8;
        request[1] = 3057 & 0xff;
        request[2] = 'e';
        for (size_t i = 0; i < ELEMENTS(cuts); i++) {
                int fd = client(bench);

                say(fd, request, cuts[i]);
                expect_silence(bench->event, fd);
                say(fd, request + cuts[i], sizeof request - cuts[i]);
                expect_then_end(bench->event, fd, request + 3, 3056);
        }
        bench_free(bench);
}
END_TEST

static const struct {
        const char *what;
        const uint8_t *first;
        size_t n_first;
        const uint8_t *then;
        size_t n_then;
} garbage[] = {
        { "length 0", BYTES("\0\0"), BYTES("") },
        { "length 3058", BYTES("\x0b\xf2"), BYTES("") },
        { "an HTTP request", BYTES("GET / HTTP/1.1\r\n\r\n"), BYTES("") },
        { "length 0 in two parts", BYTES("\0"), BYTES("\0") },
        { "two requests at once", BYTES("\0\2ea\0\2ea"), BYTES("") },
        { "a byte too many", BYTES("\0\2eax"), BYTES("") },
        { "a request and its successor, in two parts", BYTES("\0\2e"), BYTES("a\0\2ea") },
};

START_TEST(test_garbage_is_closed_without_a_byte_and_counted) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say(fd, garbage[_i].first, garbage[_i].n_first);
        turn(bench->event);
        if (garbage[_i].n_then > 0)
                say(fd, garbage[_i].then, garbage[_i].n_then);
        ck_assert_msg(is_closed(bench, fd), "%s", garbage[_i].what);
        ck_assert_uint_eq(bench->counters.n_malformed, 1);
        ck_assert_uint_eq(bench->n_requests, 0);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_client_that_leaves_before_its_request_is_whole_is_forgotten) {
        Bench *bench = bench_new(NULL);

        for (int how = 0; how < 3; how++) {
                int fd = client(bench);

                if (how > 0)
                        say(fd, "\0\2", 2);
                turn(bench->event);
                ck_assert_uint_eq(conns_n(bench->conns), 1);
                if (how == 2)
                        reset(fd);
                else
                        close(fd);
                turn(bench->event);
                ck_assert_uint_eq(conns_n(bench->conns), 0);
        }
        ck_assert_uint_eq(bench->counters.n_malformed, 0);
        ck_assert_uint_eq(bench->counters.n_accepted, 3);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_client_that_has_shut_down_its_side_is_answered_all_the_same) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say_request(fd, "ehello", 6);
        ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        expect_then_end(bench->event, fd, "hello", 5);
        bench_free(bench);
}
END_TEST

START_TEST(test_many_clients_at_once_are_all_answered) {
        enum { N = 300 };
        Bench *bench = bench_new(NULL);
        int fds[N];

        for (int i = 0; i < N; i++) {
                fds[i] = client(bench);
                if (i % 2)
                        say_request(fds[i], "ex", 2);
                else
                        say(fds[i], "\0", 1);
        }
        turn(bench->event);
        for (int i = 0; i < N; i += 2)
                say(fds[i], "\2ex", 3);
        for (int i = 0; i < N; i++)
                expect_then_end(bench->event, fds[i], "x", 1);
        ck_assert_uint_eq(bench->counters.n_accepted, N);
        ck_assert_uint_eq(bench->n_requests, N);
        bench_free(bench);
}
END_TEST

/* --- answering ---------------------------------------------------------------------------------------- */

/* Segments that the client has received by the time it reads the end. */
static uint32_t n_segments_in(int fd) {
        struct tcp_info info = { 0 };
        socklen_t n = sizeof info;

        ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n), 0);
        return info.tcpi_segs_in;
}

START_TEST(test_the_answer_and_the_end_leave_in_one_segment) {
        Bench *bench = bench_new(NULL);
        int listener_fd = listen_on("127.0.0.1"), plain_fd, server_fd, fd;
        Heard heard = { 0 };

        /* Who just sends and closes needs one more. */
        plain_fd = connect_to("127.0.0.1", port_of(listener_fd));
        say_request(plain_fd, "ehello", 6);
        server_fd = accept(listener_fd, NULL, NULL);
        ck_assert_int_ge(server_fd, 0);
        ck_assert_int_eq(recv(server_fd, (uint8_t[16]){ 0 }, 16, 0), 8);
        say(server_fd, "hello", 5);
        close(server_fd);
        ck_assert(RUN_UNTIL(bench->event, hear(plain_fd, &heard), LONG_USEC));
        heard_done(&heard);

        fd = client(bench);
        say_request(fd, "ehello", 6);
        ck_assert(RUN_UNTIL(bench->event, hear(fd, &heard), LONG_USEC));
        ck_assert_uint_eq(heard.n_data, 5);
        heard_done(&heard);
        ck_assert_uint_eq(n_segments_in(fd) + 1, n_segments_in(plain_fd));
        close(fd);
        close(plain_fd);
        close(listener_fd);
        bench_free(bench);
}
END_TEST

static Blob *numbered_blob(size_t n_data) {
        Blob *blob = blob_new(NULL, n_data);

        ck_assert_ptr_nonnull(blob);
        for (size_t i = 0; i < n_data; i++)
                blob->data[i] = (uint8_t)(i % 251);
        return blob;
}

static void assert_numbered(const Heard *heard, size_t n_head, size_t n_data) {
        ck_assert_uint_eq(heard->n_data, n_head + n_data);
        for (size_t i = 0; i < n_data; i++)
                if (heard->data[n_head + i] != (uint8_t)(i % 251))
                        ck_abort_msg("byte %zu is wrong", i);
}

START_TEST(test_a_head_and_a_blob_arrive_as_one_answer_and_the_blob_is_let_go) {
        static const size_t sizes[] = { 0, 1, 1000, 100000 };
        Bench *bench = bench_new(NULL);

        for (size_t i = 0; i < ELEMENTS(sizes); i++)
                for (size_t n_head = 0; n_head <= CONN_HEAD_MAX; n_head += 4) {
                        Heard heard = { 0 };
                        int fd = client(bench);

                        if (sizes[i] + n_head == 0) {
                                close(fd);
                                continue;
                        }
                        bench->blob = numbered_blob(sizes[i]);
                        say_request(fd, "b12345678", 1 + n_head);
                        ck_assert(RUN_UNTIL(bench->event, hear(fd, &heard), LONG_USEC));
                        assert_numbered(&heard, n_head, sizes[i]);
                        ck_assert_mem_eq(heard.data, "12345678", n_head);
                        heard_done(&heard);
                        close(fd);
                        ck_assert_uint_eq(bench->blob->n_refs, 1);
                        bench->blob = blob_unref(bench->blob);
                }
        bench_free(bench);
}
END_TEST

START_TEST(test_a_slow_reader_gets_all_of_it_and_delays_nobody) {
        enum { N_DATA = 20 * 1000 * 1000 };
        Bench *bench = bench_new(NULL);
        Heard heard = { 0 };
        unsigned n_others = 0;
        int fd;

        bench->blob = numbered_blob(N_DATA);
        fd = client(bench);
        say_request(fd, "bhead", 5);
        turn(bench->event);
        while (!heard.has_ended) {
                uint64_t before = test_now();
                int other_fd = client(bench);

                /* Whoever comes in between is answered by two turns, however much the first has to get. */
                say_request(other_fd, "ehello", 6);
                expect_then_end(bench->event, other_fd, "hello", 5);
                ck_assert_uint_lt(test_now() - before, 2 * USEC_PER_SEC);
                n_others++;
                hear_some(fd, &heard, 1000 * 1000);
                turn(bench->event);
        }
        ck_assert_uint_gt(n_others, 10);
        assert_numbered(&heard, 4, N_DATA);
        ck_assert(!heard.is_reset);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_reader_that_goes_away_lets_go_of_the_blob) {
        Bench *bench = bench_new(NULL);

        bench->blob = numbered_blob(20 * 1000 * 1000);
        for (int how = 0; how < 2; how++) {
                int fd = client(bench);

                say_request(fd, "b", 1);
                turn(bench->event);
                ck_assert_uint_eq(bench->blob->n_refs, 2);
                if (how)
                        reset(fd);
                else
                        close(fd);
                ck_assert(RUN_UNTIL(bench->event, conns_n(bench->conns) == 0, LONG_USEC));
                ck_assert_uint_eq(bench->blob->n_refs, 1);
        }
        bench_free(bench);
}
END_TEST

START_TEST(test_a_long_answer_that_the_socket_does_not_take_at_once_is_copied_and_arrives) {
        Bench *bench = bench_new(NULL);
        uint8_t *data = malloc(8 * 1000 * 1000);
        Heard heard = { 0 };
        int fd = client(bench);

        ck_assert_ptr_nonnull(data);
        for (size_t i = 0; i < 8 * 1000 * 1000; i++)
                data[i] = (uint8_t)(i % 251);
        say_request(fd, "k", 1);
        turn(bench->event);
        conn_answer(bench->kept, data, 8 * 1000 * 1000);
        memset(data, 0, 8 * 1000 * 1000);
        free(data);
        ck_assert(RUN_UNTIL(bench->event, hear(fd, &heard), LONG_USEC));
        assert_numbered(&heard, 0, 8 * 1000 * 1000);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

/* --- time --------------------------------------------------------------------------------------------- */

#define SHORT_USEC (300 * USEC_PER_MSEC)

static const ConnOptions impatient = { .packet_timeout_usec = SHORT_USEC, .n_conns_max = 1000 };

/* Never early, and at most 5 s late. */
#define assert_took(began_usec, least_usec)                                                 \
        do {                                                                                \
                uint64_t took_ = test_now() - (began_usec);                                 \
                ck_assert_uint_ge(took_ + 5 * USEC_PER_MSEC, (least_usec));                 \
                ck_assert_uint_le(took_, (least_usec) + 5 * USEC_PER_SEC);                  \
        } while (0)

static const char *const beginnings[] = { "", "\0", "\0\6ehel" };

START_TEST(test_a_silent_client_is_closed_no_earlier_than_said) {
        static const size_t n_beginnings[] = { 0, 1, 6 };
        Bench *bench = bench_new(&impatient);
        int fd = client(bench);
        uint64_t began = test_now();
        Heard heard = { 0 };

        if (n_beginnings[_i])
                say(fd, beginnings[_i], n_beginnings[_i]);
        ck_assert(RUN_UNTIL(bench->event, hear(fd, &heard), LONG_USEC));
        assert_took(began, SHORT_USEC);
        ck_assert_uint_eq(heard.n_data, 0);
        ck_assert_uint_eq(bench->counters.n_timed_out, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
}
END_TEST

/* A client that does something every 50 ms. Where the two of us are not let run for nearly as long as silence may last, that
 * was silence, and says nothing of the server: then all is played again. */
typedef struct Busy {
        uint64_t began_usec, last_usec, longest_usec;
} Busy;

enum { BUSY_ATTEMPTS = 10 };

static void busy_begin(Busy *busy) {
        *busy = (Busy){ .began_usec = test_now(), .last_usec = test_now() };
}

static void busy_note(Busy *busy) {
        uint64_t now = test_now();

        busy->longest_usec = max_u64(busy->longest_usec, now - busy->last_usec);
        busy->last_usec = now;
}

static bool busy_was_kept(const Busy *busy) {
        return busy->longest_usec >= SHORT_USEC - 100 * USEC_PER_MSEC;
}

static bool silence_is_counted_from_the_last_byte(void) {
        Bench *bench = bench_new(&impatient);
        int fd = client(bench);
        Heard heard = { 0 };
        Busy busy;

        busy_begin(&busy);
        /* 3000 bytes announced, of which one comes every 50 ms. */
        say(fd, "\x0b\xb8", 2);
        while (!hear(fd, &heard) && test_now() - busy.began_usec < LONG_USEC) {
                run_for(bench->event, 50 * USEC_PER_MSEC);
                (void)!send(fd, "x", 1, MSG_NOSIGNAL);
                busy_note(&busy);
        }
        if (!busy_was_kept(&busy))
                assert_took(busy.began_usec, CONN_REQUEST_TIMES * SHORT_USEC);
        ck_assert_uint_eq(bench->counters.n_timed_out, 1);
        ck_assert_uint_eq(heard.n_data, 0);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
        return !busy_was_kept(&busy);
}

START_TEST(test_silence_is_counted_from_the_last_byte_and_the_whole_request_has_a_bound) {
        for (int i = 0; i < BUSY_ATTEMPTS && !silence_is_counted_from_the_last_byte(); i++)
                ;
}
END_TEST

START_TEST(test_a_client_that_does_not_read_is_closed) {
        Bench *bench = bench_new(&impatient);
        int fd = client(bench);
        uint64_t began;

        bench->blob = numbered_blob(20 * 1000 * 1000);
        began = test_now();
        say_request(fd, "b", 1);
        ck_assert(RUN_UNTIL(bench->event, bench->counters.n_timed_out > 0, LONG_USEC));
        assert_took(began, SHORT_USEC);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        close(fd);
        bench_free(bench);
}
END_TEST

static void set_buffers(int fd, int n_bytes) {
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n_bytes, sizeof n_bytes), 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n_bytes, sizeof n_bytes), 0);
}

static bool reads_a_little_now_and_then(void) {
        Bench *bench = bench_new(&impatient);
        int fd = client(bench);
        Heard heard = { 0 };
        Busy busy;

        bench->blob = numbered_blob(10 * 1000 * 1000);
        say_request(fd, "k", 1);
        turn(bench->event);
        /* Small buffers on both sides, so that the server sees each time that something was read. */
        set_buffers(fd, 65536);
        set_buffers(conn_fd(bench->kept), 65536);
        busy_begin(&busy);
        conn_answer_blob(bench->kept, NULL, 0, blob_ref(bench->blob));
        while (bench->counters.n_timed_out == 0 && test_now() - busy.began_usec < LONG_USEC) {
                hear_some(fd, &heard, 60 * 1000);
                run_for(bench->event, 50 * USEC_PER_MSEC);
                busy_note(&busy);
        }
        if (!busy_was_kept(&busy))
                assert_took(busy.began_usec, CONN_ANSWER_TIMES * SHORT_USEC);
        ck_assert(!heard.has_ended);
        heard_done(&heard);
        close(fd);
        bench_free(bench);
        return !busy_was_kept(&busy);
}

START_TEST(test_a_client_that_reads_a_little_now_and_then_has_ten_times_as_long) {
        for (int i = 0; i < BUSY_ATTEMPTS && !reads_a_little_now_and_then(); i++)
                ;
}
END_TEST

START_TEST(test_a_registered_connection_has_no_timeout) {
        Bench *bench = bench_new(&impatient);
        int fd = registered_client(bench), idle_fd = client(bench);
        Heard heard = { 0 };

        /* By the time that a silent one has been closed twice, it would have been, too. */
        ck_assert(RUN_UNTIL(bench->event, hear(idle_fd, &heard), LONG_USEC));
        run_for(bench->event, CONN_ANSWER_TIMES * SHORT_USEC);
        expect_silence(bench->event, fd);
        ck_assert_uint_eq(bench->counters.n_timed_out, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 1);
        heard_done(&heard);
        close(idle_fd);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_answers_can_be_delayed_for_tests_of_clients) {
        ConnOptions options = { .packet_timeout_usec = SHORT_USEC, .n_conns_max = 10, .delay_write_sec = 1 };
        Bench *bench = bench_new(&options);
        int fd = client(bench), blob_fd = client(bench);
        uint64_t began = test_now();
        Heard heard = { 0 };

        bench->blob = numbered_blob(100000);
        say_request(fd, "ehello", 6);
        say_request(blob_fd, "b", 1);
        expect_silence(bench->event, fd);
        expect_then_end(bench->event, fd, "hello", 5);
        assert_took(began, USEC_PER_SEC);
        ck_assert(RUN_UNTIL(bench->event, hear(blob_fd, &heard), LONG_USEC));
        assert_numbered(&heard, 0, 100000);
        ck_assert_uint_eq(bench->counters.n_timed_out, 0);
        heard_done(&heard);
        close(blob_fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_accepting_can_be_delayed_for_tests_of_clients) {
        ConnOptions options = { .packet_timeout_usec = USEC_PER_SEC, .n_conns_max = 10 };
        Bench *bench = bench_new_delayed(&options, 1);
        int first_fd = client(bench), second_fd = client(bench);
        uint64_t began = test_now();

        say_request(first_fd, "ehello", 6);
        say_request(second_fd, "ehello", 6);
        expect_then_end(bench->event, first_fd, "hello", 5);
        ck_assert_uint_lt(test_now() - began, USEC_PER_SEC);
        expect_then_end(bench->event, second_fd, "hello", 5);
        assert_took(began, USEC_PER_SEC);
        bench_free(bench);
}
END_TEST

/* --- room (P6) ---------------------------------------------------------------------------------------- */

static const ConnOptions narrow = { .packet_timeout_usec = 60 * USEC_PER_SEC, .n_conns_max = 4 };

START_TEST(test_when_there_are_too_many_the_oldest_without_a_node_goes_first) {
        Bench *bench = bench_new(&narrow);
        int idle_fd[3], node_fd = registered_client(bench), newest_fd;

        for (int i = 0; i < 3; i++)
                idle_fd[i] = idle_client(bench);
        ck_assert_uint_eq(conns_n(bench->conns), 4);
        ck_assert_uint_eq(conns_n_max(bench->conns), 4);
        newest_fd = idle_client(bench);
        ck_assert_uint_eq(conns_n(bench->conns), 4);
        ck_assert_uint_eq(bench->counters.n_shed, 1);
        ck_assert(is_closed(bench, idle_fd[0]));
        expect_silence(bench->event, idle_fd[1]);
        expect_silence(bench->event, idle_fd[2]);
        expect_silence(bench->event, node_fd);

        say_request(newest_fd, "ehello", 6);
        expect_then_end(bench->event, newest_fd, "hello", 5);
        for (int i = 0; i < 3; i++)
                close(idle_fd[i]);
        close(node_fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_one_that_still_reads_its_answer_can_be_shed) {
        Bench *bench = bench_new(&narrow);
        int fds[5];

        bench->blob = numbered_blob(20 * 1000 * 1000);
        for (int i = 0; i < 5; i++) {
                fds[i] = client(bench);
                if (i == 0)
                        say_request(fds[i], "b", 1);
                turn(bench->event);
        }
        ck_assert_uint_eq(bench->counters.n_shed, 1);
        ck_assert_uint_eq(bench->blob->n_refs, 1);
        for (int i = 1; i < 5; i++)
                expect_silence(bench->event, fds[i]);
        for (int i = 0; i < 5; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_registered_ones_are_never_shed) {
        Bench *bench = bench_new(&narrow);
        int node_fd[4], fd;

        for (int i = 0; i < 4; i++)
                node_fd[i] = registered_client(bench);
        for (int round = 0; round < 3; round++) {
                fd = client(bench);
                say_request(fd, "ehello", 6);
                ck_assert(is_closed(bench, fd));
                close(fd);
        }
        ck_assert_uint_eq(bench->counters.n_shed, 3);
        ck_assert_uint_eq(bench->n_ended, 0);
        for (int i = 0; i < 4; i++)
                expect_silence(bench->event, node_fd[i]);

        /* as soon as one leaves there is room again */
        close(node_fd[0]);
        turn(bench->event);
        fd = client(bench);
        say_request(fd, "ehello", 6);
        expect_then_end(bench->event, fd, "hello", 5);
        for (int i = 1; i < 4; i++)
                close(node_fd[i]);
        bench_free(bench);
}
END_TEST

/* Valgrind plays the kernel's part here, and closes what was accepted. */
static bool descriptors_can_run_out(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (!preload || !strstr(preload, "vgpreload"))
                return true;
        puts("SKIP: valgrind has its own limit of descriptors");
        return false;
}

/* Leaves room for `n_free` more descriptors. Returns the limit that was. */
static struct rlimit squeeze_descriptors(unsigned n_free) {
        struct rlimit before, limit;
        int fd = dup(0);

        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        limit = before;
        limit.rlim_cur = (rlim_t)fd + n_free;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        return before;
}

START_TEST(test_without_descriptors_the_oldest_without_a_node_makes_room) {
        enum { N = 20, N_FREE = 3 };
        Bench *bench;
        struct rlimit limit;
        unsigned n_closed = 0, n_events;
        int fds[N];

        if (!descriptors_can_run_out())
                return;
        bench = bench_new(NULL);
        for (int i = 0; i < N; i++)
                fds[i] = client(bench);
        limit = squeeze_descriptors(N_FREE);
        n_events = turn(bench->event);
        ck_assert_uint_eq(conns_n(bench->conns), N_FREE);
        ck_assert_uint_eq(bench->counters.n_accepted, N);
        ck_assert_uint_eq(bench->counters.n_shed, N - N_FREE);
        ck_assert_uint_lt(n_events, 2 * N);
        for (int i = 0; i < N; i++) {
                if (i >= N - N_FREE)
                        expect_silence(bench->event, fds[i]);
                else
                        n_closed += is_closed(bench, fds[i]);
        }
        ck_assert_uint_eq(n_closed, N - N_FREE);
        /* and the newest is served */
        say_request(fds[N - 1], "ehello", 6);
        expect_then_end(bench->event, fds[N - 1], "hello", 5);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        for (int i = 0; i < N - 1; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_without_descriptors_and_nobody_to_shed_it_neither_spins_nor_gives_up) {
        Bench *bench;
        int node_fd, fd;
        struct rlimit limit;
        unsigned n_events;

        if (!descriptors_can_run_out())
                return;
        bench = bench_new(NULL);
        node_fd = registered_client(bench);
        fd = client(bench);
        limit = squeeze_descriptors(0);
        n_events = run_for(bench->event, 550 * USEC_PER_MSEC);
        ck_assert_uint_ge(n_events, 2); /* it tries again, */
        ck_assert_uint_le(n_events, 16); /* ten times a second */
        expect_silence(bench->event, node_fd);
        ck_assert_uint_eq(conns_n(bench->conns), 1);

        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        say_request(fd, "ehello", 6);
        expect_then_end(bench->event, fd, "hello", 5);
        close(node_fd);
        bench_free(bench);
}
END_TEST

/* --- registered --------------------------------------------------------------------------------------- */

typedef enum Ending {
        ENDING_CLOSE,
        ENDING_RESET,
        ENDING_HALF_CLOSE,
        ENDING_BYTE,
        ENDING_REQUEST,
        _ENDING_N,
} Ending;

static int end_in_this_way(int fd, Ending ending) {
        switch (ending) {
        case ENDING_CLOSE:
                close(fd);
                return -1;
        case ENDING_RESET:
                reset(fd);
                return -1;
        case ENDING_HALF_CLOSE:
                shutdown(fd, SHUT_WR);
                break;
        case ENDING_BYTE:
                say(fd, "x", 1);
                break;
        case ENDING_REQUEST:
                say_request(fd, "ehello", 6);
                break;
        case _ENDING_N:
                break;
        }
        return fd;
}

START_TEST(test_whatever_comes_on_it_ends_a_registered_connection) {
        Bench *bench = bench_new(NULL);
        int fd = registered_client(bench), other_fd = registered_client(bench);
        Conn *other = bench->registered;

        ck_assert_ptr_eq(conn_node(other), bench->node);
        fd = end_in_this_way(fd, (Ending)_i);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 1);
        ck_assert_uint_eq(bench->n_requests, 2);
        if (fd >= 0) {
                ck_assert(is_closed(bench, fd));
                close(fd);
        }
        ck_assert(!conn_has_ended(other));
        expect_silence(bench->event, other_fd);
        close(other_fd);
        bench_free(bench);
}
END_TEST

/* P4: a newcomer's request can overtake the close before it. */
START_TEST(test_the_end_can_be_seen_before_the_loop_comes_by) {
        Bench *bench = bench_new(NULL);
        int fd = registered_client(bench);
        Conn *conn = bench->registered;

        ck_assert(!conn_has_ended(conn));
        fd = end_in_this_way(fd, (Ending)_i);
        ck_assert(conn_has_ended(conn));
        ck_assert(conn_has_ended(conn)); /* looking takes nothing away */
        ck_assert_uint_eq(bench->n_ended, 0);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        if (fd >= 0)
                close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_byte_behind_the_registration_ends_it_also_before_the_answer) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say_request(fd, "rok", 3);
        turn(bench->event);
        say(fd, "x", 1);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_answer_is_kept_until_it_is_released_and_then_leaves_whole) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say_request(fd, "r12345678", 9);
        expect_silence(bench->event, fd);
        ck_assert(conn_is_unanswered(bench->registered));
        conn_release_answer(bench->registered);
        expect(bench->event, fd, "12345678", 8);
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_registration_in_parts_is_registered_too) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say(fd, "\0\3r", 3);
        turn(bench->event);
        say(fd, "ok", 2);
        turn(bench->event);
        conn_release_answer(bench->registered);
        expect(bench->event, fd, "ok", 2);
        end_in_this_way(fd, ENDING_CLOSE);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_answer_to_one_who_has_gone_ends_its_registration) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say_request(fd, "rok", 3);
        ck_assert_int_gt(sd_event_run(bench->event, 0), 0);
        reset(fd);
        conn_release_answer(bench->registered);
        ck_assert_uint_eq(bench->n_ended, 0);
        turn(bench->event);
        ck_assert_uint_eq(bench->n_ended, 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        bench_free(bench);
}
END_TEST

/* --- one closes another ------------------------------------------------------------------------------- */

typedef enum Other {
        OTHER_REGISTERED,
        OTHER_UNANSWERED, /* registered, and its answer waits */
        OTHER_ANSWERING,  /* reads a blob */
        OTHER_READING,
        _OTHER_N,
} Other;

static int make_other(Bench *bench, Other kind) {
        int fd = client(bench);

        say_request(fd, "k", 1);
        turn(bench->event);
        bench->other = bench->kept;
        switch (kind) {
        case OTHER_REGISTERED:
        case OTHER_UNANSWERED:
                ck_assert_int_eq(conn_register(bench->other, bench->node, "ok", 2), 0);
                if (kind == OTHER_REGISTERED)
                        conn_release_answer(bench->other);
                break;
        case OTHER_ANSWERING:
                bench->blob = numbered_blob(20 * 1000 * 1000);
                conn_answer_blob(bench->other, NULL, 0, blob_ref(bench->blob));
                break;
        case OTHER_READING:
        case _OTHER_N:
                break;
        }
        turn(bench->event);
        return fd;
}

/* What makes the loop look at it. */
static void give_news(int fd) {
        Heard heard = { 0 };

        hear_some(fd, &heard, 5 * 1000 * 1000);
        heard_done(&heard);
        say(fd, "x", 1);
}

/* Both are ready in one turn, in either order; or only the one that closes the other is. */
START_TEST(test_a_request_may_close_another_connection) {
        for (Other kind = 0; kind < _OTHER_N; kind++) {
                Bench *bench = bench_new(NULL);
                int other_fd = make_other(bench, kind), fd = idle_client(bench);

                say(fd, "\0", 1);
                turn(bench->event);
                if (_i == 1)
                        give_news(other_fd);
                say(fd, "\1o", 2);
                if (_i == 2)
                        give_news(other_fd);
                expect_then_end(bench->event, fd, "o", 1);
                turn(bench->event);
                ck_assert_uint_eq(conns_n(bench->conns), 0);
                if (bench->blob)
                        ck_assert_uint_eq(bench->blob->n_refs, 1);
                close(other_fd);
                bench_free(bench);
        }
}
END_TEST

START_TEST(test_the_end_of_a_registration_may_close_another_connection) {
        for (Other kind = 0; kind < _OTHER_N; kind++) {
                Bench *bench = bench_new(NULL);
                int fd = registered_client(bench), other_fd = make_other(bench, kind);

                bench->ends_other = true;
                if (_i == 1 && kind != OTHER_REGISTERED && kind != OTHER_UNANSWERED)
                        give_news(other_fd);
                say(fd, "x", 1);
                if (_i == 2)
                        give_news(other_fd);
                turn(bench->event);
                ck_assert_uint_eq(conns_n(bench->conns), 0);
                ck_assert_uint_eq(bench->n_ended, 1);
                close(fd);
                close(other_fd);
                bench_free(bench);
        }
}
END_TEST

/* From a timer or a signal, say: nothing of ours is on the stack. */
START_TEST(test_a_connection_may_be_closed_from_outside) {
        for (Other kind = 0; kind < _OTHER_N; kind++) {
                Bench *bench = bench_new(NULL);
                int fd = make_other(bench, kind);

                conn_finish(bench->other);
                conn_finish(bench->other); /* as often as one likes, until the loop turns */
                ck_assert_uint_eq(conns_n(bench->conns), 0);
                turn(bench->event);
                close(fd);
                bench_free(bench);
        }
}
END_TEST

START_TEST(test_a_request_may_be_closed_without_a_byte) {
        Bench *bench = bench_new(NULL);
        int fd = client(bench);

        say_request(fd, "f", 1);
        ck_assert(is_closed(bench, fd));
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_all_that_is_open_goes_with_the_connections) {
        for (Other kind = 0; kind < _OTHER_N; kind++) {
                Bench *bench = bench_new(NULL);
                int fds[2] = { make_other(bench, kind), idle_client(bench) };
                Heard heard = { 0 };

                say(fds[1], "\0", 1);
                turn(bench->event);
                bench->conns = conns_free(bench->conns);
                for (int i = 0; i < 2; i++) {
                        ck_assert(hear(fds[i], &heard));
                        heard_done(&heard);
                        close(fds[i]);
                }
                ck_assert_uint_eq(bench->n_ended, 0); /* they are awaited at the next start */
                bench_free(bench);
        }
        ck_assert_ptr_null(conns_free(NULL));
}
END_TEST

START_TEST(test_without_listeners_those_who_are_there_are_still_served) {
        Bench *bench = bench_new(NULL);
        int fd = idle_client(bench);

        acceptors_close(bench->acceptors);
        ck_assert_int_lt(try_connect_from(NULL, "127.0.0.1", bench->port), 0);
        say_request(fd, "ehello", 6);
        expect_then_end(bench->event, fd, "hello", 5);
        bench_free(bench);
}
END_TEST

/* --- facts -------------------------------------------------------------------------------------------- */

static const struct {
        const char *listener, *from, *to;
        const char *peer, *local; /* as Address prints them */
        const char *peer_text;    /* before its port */
} facts[] = {
        { "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1:" },
        { "0.0.0.0", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3", "127.0.0.2:" },
        { "::", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3", "127.0.0.2:" },
        { "::", "::1", "::1", "::1", "::1", "[::1]:" },
        { "::1", "::1", "::1", "::1", "::1", "[::1]:" },
};

START_TEST(test_a_connection_knows_both_its_ends) {
        int listener_fd = try_listen_on(facts[_i].listener, 0), fd;
        Bench *bench;
        uint16_t port, peer_port, local_port;
        Address peer, local;
        char text[ADDRESS_TEXT_MAX];

        if (listener_fd < 0) {
                puts("SKIP: this machine has no IPv6");
                return;
        }
        bench = bench_new(NULL);
        port = port_of(listener_fd);
        ck_assert_int_eq(acceptors_add(bench->acceptors, &listener_fd, CONN_EPMD, 4369), 0);
        fd = try_connect_from(facts[_i].from, facts[_i].to, port);
        ck_assert_int_ge(fd, 0);
        say_request(fd, "k", 1);
        turn(bench->event);
        ck_assert_ptr_nonnull(bench->kept);
        ck_assert_int_eq(conn_kind(bench->kept), CONN_EPMD);
        ck_assert_uint_eq(conn_listener_port(bench->kept), 4369);
        ck_assert_int_ge(conn_fd(bench->kept), 0);
        ck_assert_int_eq(address_from_sockaddr(conn_peer(bench->kept), &peer, &peer_port), 0);
        ck_assert_str_eq(address_format(&peer, text), facts[_i].peer);
        ck_assert_uint_eq(peer_port, port_of(fd));
        ck_assert_int_eq(address_from_sockaddr(conn_local(bench->kept), &local, &local_port), 0);
        ck_assert_str_eq(address_format(&local, text), facts[_i].local);
        ck_assert_uint_eq(local_port, port);
        snprintf(text, sizeof text, "%s%u", facts[_i].peer_text, peer_port);
        ck_assert_str_eq(bench->peer_text, text);
        ck_assert_ptr_null(conn_node(bench->kept));
        close(fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_connection_of_the_control_socket_is_called_so) {
        Bench *bench = bench_new(NULL);
        TestAddress address = { .un = { .sun_family = AF_UNIX } };
        int listener_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        snprintf(address.un.sun_path, sizeof address.un.sun_path, "%s/control", new_directory());
        ck_assert_int_eq(bind(listener_fd, &address.sa, sizeof address.un), 0);
        ck_assert_int_eq(listen(listener_fd, 5), 0);
        ck_assert_int_eq(acceptors_add(bench->acceptors, &listener_fd, CONN_CONTROL, 0), 0);
        ck_assert_int_eq(connect(fd, &address.sa, sizeof address.un), 0);
        say_request(fd, "k", 1);
        turn(bench->event);
        ck_assert_ptr_nonnull(bench->kept);
        ck_assert_int_eq(conn_kind(bench->kept), CONN_CONTROL);
        ck_assert_str_eq(bench->peer_text, "control socket");
        conn_answer(bench->kept, "hello", 5);
        expect_then_end(bench->event, fd, "hello", 5);
        bench_free(bench);
}
END_TEST

START_TEST(test_a_listener_that_cannot_be_watched_stays_the_callers) {
        Bench *bench = bench_new(NULL);
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), before = fd;

        ck_assert_int_lt(acceptors_add(bench->acceptors, &fd, CONN_EPMD, 1), 0); /* epoll takes no such file */
        ck_assert_int_eq(fd, before);
        close(fd);
        bench_free(bench);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("conn");
        TCase *tcase = tcase_create("reading");

        tcase_add_test(tcase, test_a_request_that_is_there_is_answered_when_it_is_accepted);
        tcase_add_test(tcase, test_a_request_that_comes_byte_by_byte_is_answered_with_its_last);
        tcase_add_test(tcase, test_the_longest_request_arrives_whole_in_two_parts_cut_anywhere);
        tcase_add_loop_test(tcase, test_garbage_is_closed_without_a_byte_and_counted, 0, ELEMENTS(garbage));
        tcase_add_test(tcase, test_a_client_that_leaves_before_its_request_is_whole_is_forgotten);
        tcase_add_test(tcase, test_a_client_that_has_shut_down_its_side_is_answered_all_the_same);
        tcase_add_test(tcase, test_many_clients_at_once_are_all_answered);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("answering");
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_the_answer_and_the_end_leave_in_one_segment);
        tcase_add_test(tcase, test_a_head_and_a_blob_arrive_as_one_answer_and_the_blob_is_let_go);
        tcase_add_test(tcase, test_a_slow_reader_gets_all_of_it_and_delays_nobody);
        tcase_add_test(tcase, test_a_reader_that_goes_away_lets_go_of_the_blob);
        tcase_add_test(tcase, test_a_long_answer_that_the_socket_does_not_take_at_once_is_copied_and_arrives);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("time");
        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, test_a_silent_client_is_closed_no_earlier_than_said, 0, ELEMENTS(beginnings));
        tcase_add_test(tcase, test_silence_is_counted_from_the_last_byte_and_the_whole_request_has_a_bound);
        tcase_add_test(tcase, test_a_client_that_does_not_read_is_closed);
        tcase_add_test(tcase, test_a_client_that_reads_a_little_now_and_then_has_ten_times_as_long);
        tcase_add_test(tcase, test_a_registered_connection_has_no_timeout);
        tcase_add_test(tcase, test_answers_can_be_delayed_for_tests_of_clients);
        tcase_add_test(tcase, test_accepting_can_be_delayed_for_tests_of_clients);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("room");
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_when_there_are_too_many_the_oldest_without_a_node_goes_first);
        tcase_add_test(tcase, test_one_that_still_reads_its_answer_can_be_shed);
        tcase_add_test(tcase, test_registered_ones_are_never_shed);
        tcase_add_test(tcase, test_without_descriptors_the_oldest_without_a_node_makes_room);
        tcase_add_test(tcase, test_without_descriptors_and_nobody_to_shed_it_neither_spins_nor_gives_up);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("registered");
        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, test_whatever_comes_on_it_ends_a_registered_connection, 0, _ENDING_N);
        tcase_add_loop_test(tcase, test_the_end_can_be_seen_before_the_loop_comes_by, 0, _ENDING_N);
        tcase_add_test(tcase, test_a_byte_behind_the_registration_ends_it_also_before_the_answer);
        tcase_add_test(tcase, test_an_answer_is_kept_until_it_is_released_and_then_leaves_whole);
        tcase_add_test(tcase, test_a_registration_in_parts_is_registered_too);
        tcase_add_test(tcase, test_an_answer_to_one_who_has_gone_ends_its_registration);
        tcase_add_loop_test(tcase, test_a_request_may_close_another_connection, 0, 3);
        tcase_add_loop_test(tcase, test_the_end_of_a_registration_may_close_another_connection, 0, 3);
        tcase_add_test(tcase, test_a_connection_may_be_closed_from_outside);
        tcase_add_test(tcase, test_a_request_may_be_closed_without_a_byte);
        tcase_add_test(tcase, test_all_that_is_open_goes_with_the_connections);
        tcase_add_test(tcase, test_without_listeners_those_who_are_there_are_still_served);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("facts");
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_a_connection_knows_both_its_ends, 0, ELEMENTS(facts));
        tcase_add_test(tcase, test_a_connection_of_the_control_socket_is_called_so);
        tcase_add_test(tcase, test_a_listener_that_cannot_be_watched_stays_the_callers);
        suite_add_tcase(suite, tcase);
        return suite;
}
