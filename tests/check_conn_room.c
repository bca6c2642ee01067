/* SPDX-License-Identifier: Apache-2.0 */

#include "loop_test.h"
#include "serve/conn_private.h"

/* A server whose clients are users by letters. A request says what becomes of the connection: (h)eld, a (q)uestion, of
 * which there may be 4, a (s)tream, (r)egistered, (R)egistered also without room, (e)nded with an answer, (d)one so after
 * a while, (l)ong: what he is answered, (L)ong: what all are who ask so. */
typedef struct Bench {
        sd_event *event;
        Conns *conns;
        Counters counters;
        Node *node;
        Listings *listings;
        Blob *shared; /* no reference: its readers have it */
        char letter_of[4096]; /* by the server's descriptor */
        unsigned n_asked;     /* how often it had to be known whose one is */
        char offences[4096];  /* the letters of those who had too many: capital ones were shed */
        char served[256];     /* the letters of those whose dear requests were, in order */
        bool is_quick; /* what takes its time is said to, but does not */
        int result;
} Bench;

static void on_left(void *userdata, Conn *conn) {
        (void)userdata;
        (void)conn;
}

static void on_idle(void *userdata, Conn *conn) {
        (void)userdata;
        (void)conn;
}

/* More than a socket takes. */
#define LONG_BYTES (LISTING_BYTES_MAX / 10)

static Blob *long_answer(Bench *bench, bool is_shared) {
        size_t n_bytes = bench->is_quick ? 1000 * 1000 : LONG_BYTES;
        Blob *blob = is_shared && bench->shared ? blob_ref(bench->shared) : blob_new(NULL, n_bytes);

        ck_assert_ptr_nonnull(blob);
        memset(blob->data, 0, blob->n_data);
        if (!is_shared || !bench->shared)
                listings_keep(bench->listings, blob);
        if (is_shared && !bench->shared)
                bench->shared = blob;
        return blob;
}

static void on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Bench *bench = userdata;
        ConnHolder holder = { on_left, bench };

        (void)n_body;
        switch (body[0]) {
        case 'h':
                bench->result = conn_hold(conn, PLACE_HELD, 0, &holder);
                break;
        case 'q':
                bench->result = conn_hold(conn, PLACE_ASKING, 4, &holder);
                break;
        case 's':
                bench->result = conn_stream_begin(conn, &(ConnStream){ .on_idle = on_idle, .on_left = on_left });
                break;
        case 'r':
        case 'R':
                bench->result = body[0] == 'R' || conn_may_stay(conn) ? conn_register(conn, bench->node, "ok", 2)
                                                                      : -EBUSY;
                if (bench->result == 0)
                        conn_release_answer(conn);
                break;
        case 'e':
                bench->result = 0;
                conn_answer(conn, "e", 1);
                return;
        case 'l':
        case 'L':
                bench->result = 0;
                conn_answer_listing(conn, bench->listings, NULL, 0, long_answer(bench, body[0] == 'L'));
                return;
        case 'd':
                for (uint64_t began = test_now(); !bench->is_quick && test_now() < began + 2 * USEC_PER_MSEC;)
                        ;
                bench->conns->spent_usec += bench->is_quick ? 2 * USEC_PER_MSEC : 0;
                bench->served[strlen(bench->served)] = bench->letter_of[conn_fd(conn)];
                bench->result = 0;
                conn_answer(conn, "d", 1);
                return;
        default:
                ck_abort_msg("no such request: %u", body[0]);
        }
        if (bench->result < 0)
                conn_answer(conn, "no", 2);
}

static void on_end(void *userdata, Conn *conn) {
        (void)userdata;
        conn_finish(conn);
}

static bool is_dear(void *userdata, const Conn *conn, const uint8_t *body, size_t n_body) {
        (void)userdata;
        (void)conn;
        return n_body > 0 && body[0] == 'd';
}

static Party find_party(void *userdata, Conn *conn) {
        Bench *bench = userdata;

        bench->n_asked++;
        return party_of_user((uid_t)bench->letter_of[conn_fd(conn)]);
}

static void on_offence(void *userdata, const ConnOffence *offence) {
        Bench *bench = userdata;
        char letter = (char)offence->party->uid;

        ck_assert_int_eq(letter, bench->letter_of[conn_fd(offence->conn)]);
        bench->offences[strlen(bench->offences)] = (char)(offence->deed == CULPRIT_SHED ? letter - 'a' + 'A' : letter);
}

static Bench *bench_new(size_t n_conns_max) {
        Bench *bench = calloc(1, sizeof *bench);

        no_log();
        ck_assert_ptr_nonnull(bench);
        bench->event = make_event();
        ck_assert_int_eq(listings_new(&bench->listings), 0);
        bench->node = node_new(&(NodeInfo){ .name = "a", .n_name = 1 });
        ck_assert_int_eq(conns_new(&bench->conns, bench->event,
                                   &(ConnOptions){ .packet_timeout_usec = 60 * USEC_PER_SEC,
                                                   .n_conns_max = n_conns_max },
                                   &(ConnHandler){
                                           .on_request = on_request,
                                           .on_end = on_end,
                                           .is_dear = is_dear,
                                           .find_party = find_party,
                                           .on_offence = on_offence,
                                           .userdata = bench,
                                   },
                                   &bench->counters),
                         0);
        return bench;
}

static void bench_free(Bench *bench) {
        conns_free(bench->conns);
        listings_free(bench->listings);
        node_free(bench->node);
        sd_event_unref(bench->event);
        free(bench);
}

/* One whose request is there when it is taken. */
static int quick_client(Bench *bench, char letter, const char *request) {
        SocketAddress peer = { .sa.sa_family = AF_UNIX };
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        bench->letter_of[fds[1]] = letter;
        say_request(fds[0], request, strlen(request));
        conns_take(bench->conns, fds[1], CONN_CONTROL, 0, &peer);
        return fds[0];
}

/* One that says `request`, or nothing. */
static int client(Bench *bench, char letter, const char *request) {
        SocketAddress peer = { .sa.sa_family = AF_UNIX };
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        bench->letter_of[fds[1]] = letter;
        conns_take(bench->conns, fds[1], CONN_CONTROL, 0, &peer);
        if (request) {
                say_request(fds[0], request, 1);
                turn(bench->event);
        }
        return fds[0];
}

static bool is_open(Bench *bench, int fd) {
        uint8_t byte;

        turn(bench->event);
        return recv(fd, &byte, 1, MSG_PEEK) != 0;
}

/* --- who makes room ------------------------------------------------------------------------------------ */

START_TEST(test_whoever_floods_is_closed_and_nobody_else) {
        Bench *bench = bench_new(64);
        int others[4], fds[500];

        for (int i = 0; i < 2; i++)
                others[i] = client(bench, (char)('b' + i), NULL);
        for (int i = 0; i < 500; i++) {
                fds[i] = client(bench, 'a', NULL);
                if (i == 40 || i == 300)
                        others[i == 40 ? 2 : 3] = client(bench, 'd', NULL);
        }
        ck_assert_uint_eq(conns_n(bench->conns), 64);
        ck_assert_uint_eq(bench->counters.n_shed, 504 - 64);
        ck_assert_uint_eq(strspn(bench->offences, "A"), 504 - 64);
        /* his newest are there */
        for (int i = 0; i < 500; i++)
                ck_assert_int_eq(is_open(bench, fds[i]), i >= 500 - 60);
        for (int i = 0; i < 4; i++) {
                ck_assert(is_open(bench, others[i]));
                say_request(others[i], "e", 1);
                expect_then_end(bench->event, others[i], "e", 1);
        }
        for (int i = 0; i < 500; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_whose_one_is_is_not_asked_before_places_are_scarce) {
        Bench *bench = bench_new(64);
        int fds[100];

        for (int i = 0; i < 100; i++) { /* that do not wait, however many */
                int fd = client(bench, 'a', "e");

                expect_then_end(bench->event, fd, "e", 1);
        }
        for (int i = 0; i < 31; i++)
                fds[i] = client(bench, 'a', NULL);
        ck_assert_uint_eq(bench->n_asked, 0);
        for (int i = 31; i < 64; i++)
                fds[i] = client(bench, 'a', NULL);
        /* by the time that all are taken all have a name; each was asked once */
        ck_assert_uint_eq(bench->n_asked, 64);
        for (int i = 64; i < 100; i++)
                fds[i] = client(bench, 'a', NULL);
        ck_assert_uint_eq(bench->n_asked, 100);
        ck_assert_uint_eq(bench->counters.n_shed, 36);
        for (int i = 0; i < 100; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* Where there are no descriptors left nobody has a name yet. */
START_TEST(test_room_can_be_made_at_any_time) {
        Bench *bench = bench_new(1000);
        int quiet = client(bench, 'b', NULL), fds[3];

        for (int i = 0; i < 3; i++)
                fds[i] = client(bench, 'a', NULL);
        ck_assert_uint_eq(bench->n_asked, 0);
        ck_assert(conns_make_room(bench->conns));
        ck_assert(conns_make_room(bench->conns));
        ck_assert_str_eq(bench->offences, "AA");
        ck_assert(!is_open(bench, fds[0]) && !is_open(bench, fds[1]) && is_open(bench, fds[2]));
        ck_assert(is_open(bench, quiet));
        ck_assert(conns_make_room(bench->conns)); /* as many each: the oldest */
        ck_assert(!is_open(bench, quiet));
        ck_assert(conns_make_room(bench->conns));
        ck_assert(!conns_make_room(bench->conns));
        for (int i = 0; i < 3; i++)
                close(fds[i]);
        close(quiet);
        bench_free(bench);
}
END_TEST

/* --- what is read slowly ------------------------------------------------------------------------------- */

/* Ten long answers are as much as there may be. The request of each, 'l' or 'L', has his letter before it. */
static const struct {
        const char *what, *clients, *shed;
} readers[] = {
        { "as much as there may be", "blalalalalalalalalal", "" },
        { "whoever holds most goes, not whoever came first", "blalalalalalalalalalalal", "AA" },
        { "of as much the oldest", "blblblblblalalalalalcl", "B" },
        { "what is shared counts for each, and goes when all have gone", "aLaLblblblalalalalalclclclcl", "AAAA" },
        { "also of others", "aLaLbLblblblblblblclclclclcl", "BBB" },
};

START_TEST(test_who_holds_most_of_what_is_read_slowly_makes_room) {
        Bench *bench = bench_new(1000);
        const char *clients = readers[_i].clients;
        int fds[16], n = 0;

        for (; clients[2 * n]; n++)
                fds[n] = client(bench, clients[2 * n], (char[]){ clients[2 * n + 1], 0 });
        ck_assert_msg(strcmp(bench->offences, readers[_i].shed) == 0, "%s: %s", readers[_i].what, bench->offences);
        ck_assert_uint_eq(conns_n(bench->conns), (size_t)n - strlen(readers[_i].shed));
        ck_assert(!listings_are_too_many(bench->listings));
        for (int i = 0; i < n; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* Connections that say nothing, of which it is not known whose they are, hide nobody. */
START_TEST(test_who_reads_slowly_is_known_however_many_are_silent) {
        Bench *bench = bench_new(1000);
        int silent[300], fds[12];

        for (size_t i = 0; i < ELEMENTS(silent); i++)
                silent[i] = client(bench, 'a', NULL);
        fds[0] = client(bench, 'b', "l");
        for (size_t i = 1; i < ELEMENTS(fds); i++)
                fds[i] = client(bench, 'a', "l");
        ck_assert_str_eq(bench->offences, "AA");
        ck_assert(is_open(bench, fds[0]));
        ck_assert_uint_eq(bench->n_asked, ELEMENTS(fds));
        for (size_t i = 0; i < ELEMENTS(silent); i++)
                close(silent[i]);
        for (size_t i = 0; i < ELEMENTS(fds); i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* --- who may have one more ----------------------------------------------------------------------------- */

static const struct {
        const char *request;
        unsigned n_first, n_second, n_third; /* what one after the other gets */
} greed[] = {
        /* of a quarter of 128 */
        { "h", 16, 8, 4 },
        { "s", 16, 8, 4 },
        /* of four */
        { "q", 2, 1, 1 },
};

START_TEST(test_whoever_takes_what_he_can_leaves_some_for_others) {
        Bench *bench = bench_new(128);
        const unsigned n_got[] = { greed[_i].n_first, greed[_i].n_second, greed[_i].n_third };
        int fds[3 * 40], n = 0;

        for (int who = 0; who < 3; who++) {
                unsigned n_ok = 0;

                for (int i = 0; i < 40; i++) {
                        fds[n++] = client(bench, (char)('a' + who), greed[_i].request);
                        n_ok += bench->result == 0;
                        if (bench->result < 0)
                                ck_assert_int_eq(bench->result, -EBUSY);
                }
                ck_assert_uint_eq(n_ok, n_got[who]);
                /* and is told of */
                ck_assert_uint_eq(strlen(bench->offences), 40 - n_ok);
                ck_assert_uint_eq(strspn(bench->offences, (char[]){ (char)('a' + who), 0 }), 40 - n_ok);
                memset(bench->offences, 0, sizeof bench->offences);
        }
        /* his place is free again when he has left */
        close(fds[0]);
        turn(bench->event);
        fds[0] = client(bench, 'd', greed[_i].request);
        ck_assert_int_eq(bench->result, 0);
        for (int i = 0; i < n; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_finds_no_place_and_has_none_is_not_blamed) {
        Bench *bench = bench_new(16); /* 4 may be streams */
        int fds[6];

        for (int i = 0; i < 6; i++)
                fds[i] = client(bench, "aabcdc"[i], "s");
        ck_assert_int_eq(bench->result, -EBUSY);
        ck_assert_uint_eq(conns_n(bench->conns), 4);
        ck_assert_str_eq(bench->offences, "c");
        for (int i = 0; i < 6; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_kinds_of_waiting_have_a_bound_together) {
        Bench *bench = bench_new(16); /* 4 may be held; of one user 2 */
        int fds[4];

        fds[0] = client(bench, 'a', "h");
        ck_assert_int_eq(bench->result, 0);
        fds[1] = client(bench, 'a', "q");
        ck_assert_int_eq(bench->result, 0);
        fds[2] = client(bench, 'a', "q");
        ck_assert_int_eq(bench->result, -EBUSY);
        fds[3] = client(bench, 'b', "q");
        ck_assert_int_eq(bench->result, 0);
        for (int i = 0; i < 4; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

START_TEST(test_however_many_stay_some_places_are_left_to_come_and_go) {
        Bench *bench = bench_new(64);
        int fds[80], n = 0, fd;

        for (; n < 80; n++)
                fds[n] = client(bench, (char)('a' + n % 7), n % 3 ? "r" : n % 2 ? "h" : "s");
        ck_assert_uint_eq(conns_n(bench->conns), 64 - 64 / CONN_RESERVE);
        for (int i = 0; i < 10; i++) {
                fd = client(bench, 'a', "e");
                expect_then_end(bench->event, fd, "e", 1);
        }
        ck_assert_uint_eq(bench->counters.n_shed, 0);
        for (int i = 0; i < n; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* After a restart with a lower limit, for example. */
START_TEST(test_where_more_stay_than_may_others_come_and_go_and_are_shed_as_ever) {
        Bench *bench = bench_new(64);
        int nodes[80], fds[10], quiet, fd;

        for (int i = 0; i < 80; i++)
                nodes[i] = client(bench, 'n', "R");
        quiet = client(bench, 'b', NULL);
        for (int i = 0; i < 10; i++)
                fds[i] = client(bench, 'a', NULL);
        fd = client(bench, 'c', "e");
        expect_then_end(bench->event, fd, "e", 1);
        ck_assert(is_open(bench, quiet));
        ck_assert_str_eq(bench->offences, "AAAAAAAA");
        ck_assert_uint_eq(conns_n(bench->conns), 80 + 64 / CONN_RESERVE - 1);
        for (int i = 0; i < 80; i++)
                close(nodes[i]);
        for (int i = 0; i < 10; i++)
                close(fds[i]);
        close(quiet);
        bench_free(bench);
}
END_TEST

/* --- whose request is next ----------------------------------------------------------------------------- */

static size_t position_of(const Bench *bench, char letter) {
        const char *at = strchr(bench->served, letter);

        ck_assert_ptr_nonnull(at);
        return (size_t)(at - bench->served);
}

START_TEST(test_a_flood_of_dear_requests_delays_others_by_a_few_of_them) {
        enum { N = 60 };
        Bench *bench = bench_new(1000);
        int fds[N + 2], cheap;
        Heard heard = { 0 };

        for (int i = 0; i < N; i++)
                fds[i] = quick_client(bench, 'a', "d");
        /* what had its time was served, the others wait */
        ck_assert_str_eq(bench->served, "a");
        fds[N] = quick_client(bench, 'b', "d");
        fds[N + 1] = quick_client(bench, 'c', "d");
        cheap = quick_client(bench, 'b', "e");
        ck_assert(!hear(fds[1], &heard));
        expect_then_end(bench->event, cheap, "e", 1);
        turn(bench->event);
        ck_assert_uint_eq(strlen(bench->served), N + 2);
        ck_assert_uint_le(position_of(bench, 'b'), 4);
        ck_assert_uint_le(position_of(bench, 'c'), 6);
        for (int i = 0; i < N + 2; i++)
                expect_then_end(bench->event, fds[i], "d", 1);
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        heard_done(&heard);
        bench_free(bench);
}
END_TEST

START_TEST(test_between_dear_requests_the_loop_goes_on) {
        Bench *bench = bench_new(1000);
        int fds[20];

        for (int i = 0; i < 20; i++)
                fds[i] = quick_client(bench, 'a', "d");
        for (size_t n = 1; n < 20; n++) {
                ck_assert_uint_eq(strlen(bench->served), n);
                ck_assert_int_gt(sd_event_run(bench->event, 0), 0);
        }
        turn(bench->event);
        for (int i = 0; i < 20; i++)
                expect_then_end(bench->event, fds[i], "d", 1);
        bench_free(bench);
}
END_TEST

/* Also one that is shed, and one that has left, has no turn; and nothing is read twice. */
START_TEST(test_who_has_gone_while_waiting_has_no_turn) {
        Bench *bench = bench_new(8);
        int fds[12];

        for (int i = 0; i < 12; i++)
                fds[i] = quick_client(bench, 'a', "d");
        ck_assert_uint_eq(bench->counters.n_shed, 3);
        close(fds[11]);
        turn(bench->event);
        ck_assert_str_eq(bench->served, "aaaaaaaaa");
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        for (int i = 0; i < 11; i++)
                close(fds[i]);
        bench_free(bench);
}
END_TEST

/* One that has shut down its side reads on; one that has reset its connection does not. */
START_TEST(test_nothing_is_done_for_who_has_reset_his_connection) {
        Bench *bench = bench_new(100);
        int listener_fd = listen_on("127.0.0.1"), fds[4];
        SocketAddress peer = { .sa.sa_family = AF_INET };

        for (int i = 0; i < 4; i++) {
                int fd;

                fds[i] = connect_to("127.0.0.1", port_of(listener_fd));
                say_request(fds[i], "d", 1);
                fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                ck_assert_int_ge(fd, 0);
                bench->letter_of[fd] = (char)('a' + i);
                conns_take(bench->conns, fd, CONN_EPMD, 1, &peer);
        }
        ck_assert_str_eq(bench->served, "a");
        reset(fds[1]);
        ck_assert_int_eq(shutdown(fds[2], SHUT_WR), 0);
        expect_then_end(bench->event, fds[2], "d", 1);
        turn(bench->event);
        ck_assert_str_eq(bench->served, "acd");
        ck_assert_uint_eq(conns_n(bench->conns), 0);
        close(fds[0]);
        close(fds[3]);
        close(listener_fd);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_waits_at_the_end_is_closed) {
        Bench *bench = bench_new(100);
        int fds[20];

        for (int i = 0; i < 20; i++)
                fds[i] = quick_client(bench, 'a', "d");
        bench_free(bench);
        for (int i = 0; i < 20; i++)
                close(fds[i]);
}
END_TEST

/* --- whatever happens ---------------------------------------------------------------------------------- */

enum { N_CLIENTS = 48, N_STEPS = 500 };

static void count_places(const ConnList *list, size_t n_places[static _PLACE_N], size_t *n_turns) {
        for (const Conn *conn = list->first; conn; conn = conn->next) {
                n_places[conn->place.kind] += conn->place.number != 0;
                *n_turns += conn->turn.queue != NULL;
        }
}

/* Who stays has one place of his kind, who is registered none, and who passes one at most. */
static void check_places(const Conns *conns) {
        size_t n_places[_PLACE_N] = { 0 }, n_turns = 0, n_passing;

        count_places(&conns->passing, n_places, &n_turns);
        n_passing = n_places[PLACE_PASSING];
        ck_assert_uint_eq(n_turns, conns->turns.n_waiting);
        count_places(&conns->held, n_places, &n_turns);
        ck_assert_uint_eq(n_places[PLACE_HELD] + n_places[PLACE_ASKING], conns->held.n_conns);
        count_places(&conns->streaming, n_places, &n_turns);
        ck_assert_uint_eq(n_places[PLACE_STREAM], conns->streaming.n_conns);
        count_places(&conns->registered, n_places, &n_turns);
        count_places(&conns->finished, n_places, &n_turns);
        ck_assert_uint_eq(n_places[PLACE_PASSING], n_passing);
        ck_assert_uint_eq(n_turns, conns->turns.n_waiting);
        for (PlaceKind kind = 0; kind < _PLACE_N; kind++)
                ck_assert_uint_eq(n_places[kind], shares_n_taken(conns->shares, kind));
}

/* Whoever holds the first of those that are held lets go of it. */
static void let_go(Bench *bench, int how) {
        Conn *conn = bench->conns->held.first;

        if (!conn)
                return;
        if (how == 0)
                conn_answer(conn, "yes", 3);
        else if (how == 1)
                conn_finish(conn);
        else if (how == 2)
                (void)conn_stream_begin(conn, &(ConnStream){ .on_idle = on_idle, .on_left = on_left });
        else if (conn_register(conn, bench->node, "ok", 2) == 0)
                conn_release_answer(conn);
}

static int random_client(Bench *bench) {
        static const char *const requests[] = { "h", "h", "q", "s", "r", "e", "l", "L", "d", "d", "d", NULL };
        const char *request = requests[(size_t)rand() % ELEMENTS(requests)];
        char letter = (char)('a' + rand() % (rand() % 2 ? 2 : 20));

        bench->shared = NULL;
        memset(bench->served, 0, sizeof bench->served);
        memset(bench->offences, 0, sizeof bench->offences);
        if (request && rand() % 2)
                return quick_client(bench, letter, request);
        return client(bench, letter, request);
}

START_TEST(test_whatever_happens_every_place_is_left_once) {
        Bench *bench = bench_new(32);
        int fds[N_CLIENTS];

        srand((unsigned)_i + 1);
        bench->is_quick = true;
        memset(fds, -1, sizeof fds);
        for (int step = 0; step < N_STEPS; step++) {
                int *fd = fds + rand() % N_CLIENTS, what = rand() % 16;

                if (what == 0)
                        conns_make_room(bench->conns);
                else if (what < 3)
                        let_go(bench, rand() % 4);
                else if (what == 3)
                        (void)sd_event_run(bench->event, 0);
                else if (what == 4 && *fd >= 0)
                        (void)!send(*fd, "x", 1, MSG_NOSIGNAL); /* the end of all but those that read */
                else if (*fd >= 0) {
                        close(*fd);
                        *fd = -1;
                } else
                        *fd = random_client(bench);
                check_places(bench->conns);
        }
        for (int i = 0; i < N_CLIENTS; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        if (_i % 2)
                turn(bench->event);
        check_places(bench->conns);
        bench_free(bench);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("conn_room");
        TCase *room = tcase_create("room"), *more = tcase_create("more"), *turns = tcase_create("turns"),
              *whatever = tcase_create("whatever");

        tcase_add_test(room, test_whoever_floods_is_closed_and_nobody_else);
        tcase_add_test(room, test_whose_one_is_is_not_asked_before_places_are_scarce);
        tcase_add_test(room, test_room_can_be_made_at_any_time);
        suite_add_tcase(suite, room);
        tcase_add_loop_test(room, test_who_holds_most_of_what_is_read_slowly_makes_room, 0, ELEMENTS(readers));
        tcase_add_test(room, test_who_reads_slowly_is_known_however_many_are_silent);
        tcase_add_loop_test(more, test_whoever_takes_what_he_can_leaves_some_for_others, 0, ELEMENTS(greed));
        tcase_add_test(more, test_who_finds_no_place_and_has_none_is_not_blamed);
        tcase_add_test(more, test_kinds_of_waiting_have_a_bound_together);
        tcase_add_test(more, test_however_many_stay_some_places_are_left_to_come_and_go);
        tcase_add_test(more, test_where_more_stay_than_may_others_come_and_go_and_are_shed_as_ever);
        suite_add_tcase(suite, more);
        tcase_add_test(turns, test_a_flood_of_dear_requests_delays_others_by_a_few_of_them);
        tcase_add_test(turns, test_between_dear_requests_the_loop_goes_on);
        tcase_add_test(turns, test_who_has_gone_while_waiting_has_no_turn);
        tcase_add_test(turns, test_nothing_is_done_for_who_has_reset_his_connection);
        tcase_add_test(turns, test_who_waits_at_the_end_is_closed);
        suite_add_tcase(suite, turns);
        tcase_add_loop_test(whatever, test_whatever_happens_every_place_is_left_once, 0, 8);
        suite_add_tcase(suite, whatever);
        return suite;
}
