/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"
#include "serve/twins.h"

/* --- who is a twin -------------------------------------------------------------------------------------------- */

typedef struct Twin {
        uint16_t port;
        uid_t uid;
        uint64_t cgroup_id, cookie;
        bool is_awaited;
} Twin;

static const struct {
        Twin a, b;
        bool is_connected_twin, is_awaited_twin; /* b is one of a */
} twins[] = {
        { { 1, 1000, 7, 11, false }, { 1, 1000, 7, 12, false }, true, false },
        { { 1, 1000, 7, 11, false }, { 1, 1000, 7, 12, true }, false, true },
        { { 1, 1000, 7, 11, true }, { 1, 1000, 7, 12, false }, true, false },
        { { 1, 1000, 7, 11, true }, { 1, 1000, 7, 12, true }, false, true },
        { { 1, 1000, 0, 11, false }, { 1, 1000, 0, 12, false }, true, false }, /* no cgroups */
        { { 1, 1000, 7, 11, false }, { 2, 1000, 7, 12, false }, false, false },
        { { 1, 1000, 7, 11, false }, { 1, 1001, 7, 12, false }, false, false },
        { { 1, NODE_UID_UNKNOWN, 0, 11, false }, { 1, NODE_UID_UNKNOWN, 0, 12, false }, false, false },
        { { 1, 1000, 7, 11, false }, { 1, 1000, 8, 12, false }, false, false },
        { { 1, 1000, 7, 0, false }, { 1, 1000, 7, 12, false }, false, false },
        { { 1, 1000, 7, 11, false }, { 1, 1000, 7, 0, false }, false, false },
};

static Node *enter(Registry *registry, const char *name, const char *address, const Twin *twin) {
        NodeInfo info = { .name = name, .n_name = strlen(name), .port = twin->port };
        Node *node = node_new(&info), *entered = node;

        ck_assert_ptr_nonnull(node);
        node->listener.cookie = twin->cookie;
        ck_assert_int_eq(address_parse(address, &node->scope), 0);
        node->peer = (NodePeer){ twin->uid, twin->cgroup_id };
        node->connection = twin->is_awaited ? NULL : &info;
        node->serial = registry_n_nodes(registry) + 1;
        node_set_facts(node, &(NodeFacts){ .is_awaited = twin->is_awaited }, 1);
        ck_assert_int_eq(registry_restore(registry, &node), 0);
        return entered;
}

START_TEST(test_a_twin_is_who_could_have_been_mistaken_for_the_other) {
        Registry *registry;
        Node *a, *b;

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1), 0);
        a = enter(registry, "a", "127.0.0.1", &twins[_i].a);
        b = enter(registry, "a", "127.0.0.2", &twins[_i].b);
        enter(registry, "other", "127.0.0.3", &twins[_i].b);
        ck_assert_ptr_eq(twins_next(registry, a, true, NULL), twins[_i].is_connected_twin ? b : NULL);
        ck_assert_ptr_eq(twins_next(registry, a, false, NULL), twins[_i].is_awaited_twin ? b : NULL);
        registry_free(registry);
}
END_TEST

START_TEST(test_nobody_is_his_own_twin) {
        Registry *registry;
        Node *a;

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1), 0);
        a = enter(registry, "a", "*", &twins[0].a);
        ck_assert_ptr_null(twins_next(registry, a, true, NULL));
        ck_assert_ptr_null(twins_next(registry, a, false, NULL));
        registry_free(registry);
}
END_TEST

START_TEST(test_all_twins_are_stepped_through) {
        static const Twin others[] = { { 1, 1000, 7, 12, false }, { 1, 1000, 7, 13, true }, { 2, 1000, 7, 14, false },
                                       { 1, 1000, 7, 15, false }, { 1, 1000, 7, 16, true } };
        Registry *registry;
        Node *a, *twin = NULL, *nodes[ELEMENTS(others)];
        char address[16];

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1), 0);
        a = enter(registry, "a", "127.0.0.3", &twins[0].a);
        for (size_t i = 0; i < ELEMENTS(others); i++) {
                snprintf(address, sizeof address, "127.0.0.%zu", i < 2 ? i + 1 : i + 2);
                nodes[i] = enter(registry, "a", address, others + i);
        }
        twin = twins_next(registry, a, true, twin);
        ck_assert_ptr_eq(twin, nodes[0]);
        twin = twins_next(registry, a, true, twin);
        ck_assert_ptr_eq(twin, nodes[3]);
        ck_assert_ptr_null(twins_next(registry, a, true, twin));
        twin = twins_next(registry, a, false, NULL);
        ck_assert_ptr_eq(twin, nodes[1]);
        twin = twins_next(registry, a, false, twin);
        ck_assert_ptr_eq(twin, nodes[4]);
        ck_assert_ptr_null(twins_next(registry, a, false, twin));
        registry_free(registry);
}
END_TEST

/* --- two real ones ------------------------------------------------------------------------------------------------ */

/* Of two that listen already when they register the first is taken for the one at 127.0.0.1, whichever it is. */
typedef struct Pair {
        Desk *desk;
        int first_fd, second_fd;                   /* connections */
        int first_listener_fd, second_listener_fd; /* of the processes behind them */
        const char *first, *second;                /* where these listen */
        uint16_t port;
} Pair;

static Pair pair_new(Desk *desk, bool is_crossed) {
        Pair pair = {
                .desk = desk,
                .first_listener_fd = -1,
                .first = is_crossed ? "127.0.0.2" : "127.0.0.1",
                .second = is_crossed ? "127.0.0.1" : "127.0.0.2",
        };

        /* a port that is free on one address may be taken on the other */
        do {
                close_fdp(&pair.first_listener_fd);
                pair.first_listener_fd = listen_on(pair.first);
                pair.port = port_of(pair.first_listener_fd);
                pair.second_listener_fd = try_listen_on(pair.second, pair.port);
        } while (pair.second_listener_fd < 0);
        pair.first_fd = registered(desk, "a", pair.port);
        pair.second_fd = registered(desk, "a", pair.port);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        return pair;
}

static void pair_done(Pair *pair) {
        close_fdp(&pair->first_fd);
        close_fdp(&pair->second_fd);
        close_fdp(&pair->first_listener_fd);
        close_fdp(&pair->second_listener_fd);
}

static Node *find_at(Desk *desk, const char *address) {
        Address scope;
        Node *node;

        ck_assert_int_eq(address_parse(address, &scope), 0);
        node = registry_find(desk->registry, "a", 1, &scope);
        return node && address_equal(&node->scope, &scope) ? node : NULL;
}

/* The one who is left listens at `address`, and `fd` is his connection. */
static void assert_left(Pair *pair, const char *address, int fd) {
        Node *node = find_at(pair->desk, address);

        ck_assert_uint_eq(registry_n_nodes(pair->desk->registry), 1);
        ck_assert_ptr_nonnull(node);
        ck_assert_ptr_nonnull(node->connection);
        ck_assert(!node->facts.is_awaited);
        ck_assert_int_eq(node->state, NODE_UP);
        ck_assert_ptr_eq(conn_node(node->connection), node);
        ck_assert(!is_hung_up(fd));
}

/* Whom of two the kernel's announcement is about may be known only with the next one. */
static bool is_settled(Pair *pair, const char *address) {
        const Node *node = find_at(pair->desk, address);

        return registry_n_nodes(pair->desk->registry) == 1 && node && !node->facts.is_awaited && node->state == NODE_UP;
}

typedef enum Order {
        CONNECTION_FIRST,
        LISTENER_FIRST,
        CONNECTION_ONLY_SEEN_LATER,
        LISTENER_NOT_ANNOUNCED, /* in time: the kernel is busy */
        _ORDER_N,
} Order;

static void end_one(Pair *pair, int *fd, int *listener_fd, Order order) {
        switch (order) {
        case CONNECTION_FIRST:
                close(TAKE_FD(*fd));
                turn(pair->desk->event);
                close(TAKE_FD(*listener_fd));
                break;
        case LISTENER_FIRST:
                close(TAKE_FD(*listener_fd));
                turn(pair->desk->event);
                close(TAKE_FD(*fd));
                break;
        case CONNECTION_ONLY_SEEN_LATER:
                close(TAKE_FD(*listener_fd));
                close(TAKE_FD(*fd));
                break;
        case LISTENER_NOT_ANNOUNCED:
                close(TAKE_FD(*fd));
                turn(pair->desk->event);
                /* It listens no more; the kernel only announces sockets that are gone. */
                shutdown(*listener_fd, SHUT_RD);
                break;
        case _ORDER_N:
                break;
        }
}

/* i: which ends, whether they were matched crosswise, in which order connection and listener go */
START_TEST(test_when_one_of_two_ends_the_other_is_found_where_it_listens) {
        Desk *desk = desk_new(NULL);
        bool is_crossed = _i & 1, is_first = _i & 2;
        Pair pair = pair_new(desk, is_crossed);

        if (is_first)
                end_one(&pair, &pair.first_fd, &pair.first_listener_fd, (Order)(_i / 4));
        else
                end_one(&pair, &pair.second_fd, &pair.second_listener_fd, (Order)(_i / 4));
        ck_assert(RUN_UNTIL(desk->event, is_settled(&pair, is_first ? pair.second : pair.first), LONG_USEC));
        assert_left(&pair, is_first ? pair.second : pair.first, is_first ? pair.second_fd : pair.first_fd);
        /* and his connection is his life */
        if (is_first)
                close(TAKE_FD(pair.second_fd));
        else
                close(TAKE_FD(pair.first_fd));
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        pair_done(&pair);
        desk_free(desk);
}
END_TEST

START_TEST(test_when_both_end_nobody_is_left) {
        Desk *desk = desk_new(NULL);
        Pair pair = pair_new(desk, _i & 1);

        end_one(&pair, &pair.first_fd, &pair.first_listener_fd, (Order)(_i / 2));
        end_one(&pair, &pair.second_fd, &pair.second_listener_fd, (Order)(_i / 2));
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        ck_assert_uint_eq(conns_n(desk->conns), 0);
        pair_done(&pair);
        desk_free(desk);
}
END_TEST

/* One that only leaves EPMD, and goes on listening. */
START_TEST(test_one_that_leaves_and_goes_on_listening_is_awaited_for_a_second) {
        Desk *desk = desk_new(NULL);
        Pair pair = pair_new(desk, _i);
        uint64_t began = test_now();

        close(TAKE_FD(pair.first_fd));
        ck_assert(RUN_UNTIL(desk->event, registry_n_awaited(desk->registry) == 1, LONG_USEC));
        ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 1, LONG_USEC));
        ck_assert_uint_ge(test_now() - began, 900 * USEC_PER_MSEC);
        ck_assert_uint_lt(test_now() - began, 10 * USEC_PER_SEC);
        ck_assert(!is_hung_up(pair.second_fd));
        pair_done(&pair);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_that_comes_back_at_once_has_its_name) {
        Desk *desk = desk_new(NULL);
        Pair pair = pair_new(desk, _i);

        close(TAKE_FD(pair.first_fd));
        ck_assert(RUN_UNTIL(desk->event, registry_n_awaited(desk->registry) == 1, LONG_USEC));
        pair.first_fd = registered(desk, "a", pair.port);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        ck_assert_uint_eq(registry_n_awaited(desk->registry), 0);
        run_for(desk->event, 1500 * USEC_PER_MSEC);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        ck_assert(!is_hung_up(pair.second_fd));
        pair_done(&pair);
        desk_free(desk);
}
END_TEST

/* A restart of one of the two: the newcomer comes while the old one's end is still being sorted out. */
START_TEST(test_a_restart_of_one_of_two_is_never_refused) {
        Desk *desk = desk_new(NULL);

        for (int round = 0; round < 20; round++) {
                Pair pair = pair_new(desk, round & 1);

                end_one(&pair, &pair.first_fd, &pair.first_listener_fd, (Order)(round % _ORDER_N));
                pair.first_listener_fd = try_listen_on(pair.first, pair.port);
                ck_assert_int_ge(pair.first_listener_fd, 0);
                pair.first_fd = registered(desk, "a", pair.port);
                ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 2 &&
                                                         registry_n_awaited(desk->registry) == 0,
                                    LONG_USEC));
                ck_assert(find_at(desk, "127.0.0.1") && find_at(desk, "127.0.0.2"));
                ck_assert(!is_hung_up(pair.second_fd));
                pair_done(&pair);
                ck_assert(RUN_UNTIL(desk->event, registry_n_nodes(desk->registry) == 0, LONG_USEC));
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_blind_a_connection_is_all_there_is) {
        Desk *desk = desk_new(&(DeskOptions){ .blind = true });
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener_fd)), other_fd;

        other_fd = newcomer(desk, "a", port_of(listener_fd));
        ck_assert_int_eq(heard_result(other_fd), 1);
        close(fd);
        turn(desk->event);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 0);
        close(other_fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

/* What the node behind the connection that is left was given, the row has, too. */
START_TEST(test_the_row_that_is_left_has_the_creation_of_the_node_behind_it) {
        Desk *desk = desk_new(NULL);
        Pair pair = pair_new(desk, _i);
        uint32_t creation = heard_creation(pair.second_fd);

        end_one(&pair, &pair.first_fd, &pair.first_listener_fd, CONNECTION_FIRST);
        ck_assert(RUN_UNTIL(desk->event, is_settled(&pair, pair.second), LONG_USEC));
        ck_assert_uint_eq(registry_newest(desk->registry)->creation, creation);
        pair_done(&pair);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("twins");
        TCase *tcase = tcase_create("rule");

        tcase_add_loop_test(tcase, test_a_twin_is_who_could_have_been_mistaken_for_the_other, 0, ELEMENTS(twins));
        tcase_add_test(tcase, test_nobody_is_his_own_twin);
        tcase_add_test(tcase, test_all_twins_are_stepped_through);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("pairs");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_loop_test(tcase, test_when_one_of_two_ends_the_other_is_found_where_it_listens, 0, 4 * _ORDER_N);
        tcase_add_loop_test(tcase, test_when_both_end_nobody_is_left, 0, 2 * _ORDER_N);
        tcase_add_loop_test(tcase, test_one_that_leaves_and_goes_on_listening_is_awaited_for_a_second, 0, 2);
        tcase_add_loop_test(tcase, test_one_that_comes_back_at_once_has_its_name, 0, 2);
        tcase_add_test(tcase, test_a_restart_of_one_of_two_is_never_refused);
        tcase_add_test(tcase, test_blind_a_connection_is_all_there_is);
        tcase_add_loop_test(tcase, test_the_row_that_is_left_has_the_creation_of_the_node_behind_it, 0, 2);
        suite_add_tcase(suite, tcase);
        return suite;
}
