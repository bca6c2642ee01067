/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the serving parts together: a port mapper with a real registry file, real sockets and real
 * evidence, but for the signals and the service manager. Wants -lsqlite3. */
#pragma once

#include <limits.h>
#include <signal.h>

#include "core/creation.h"
#include "loop_test.h"
#include "serve/acceptor.h"
#include "serve/gate.h"
#include "serve/mapper.h"
#include "serve/operator.h"

typedef struct WorldOptions {
        const char *file; /* NULL: memory only */
        const char *boot_id;
        const char *listen; /* NULL: 127.0.0.1 */
        size_t n_nodes_max, n_nodes_per_uid_max; /* 0: plenty */
        size_t n_conns_max;                      /* 0: plenty */
        const char *lookup_from, *list_from;     /* one word each; NULL: any, local */
        bool relaxed;
        bool blind;
        bool impatient; /* does not wait for the file at start */
        uint64_t hold_usec;
        bool has_control; /* a control socket, too */
} WorldOptions;

typedef struct World World;

struct World {
        WorldOptions options;
        sd_event *event;
        Counters counters;
        Registry *registry;
        Refusals *refusals;
        Store *store;
        Fdstore *fdstore;
        Ledger *ledger;
        Vigil *vigil;
        UnitStates *unit_states;
        Conns *conns;
        Acceptors *acceptors;
        Keeper *keeper;
        Listings *listings;
        Gate *gate;
        Blame *blame;
        Registrar *registrar;
        Mapper *mapper;
        Watch *watch;
        Pending *pending;
        Inquiry *inquiry;
        Orders *orders;
        OperatorParts operator_parts;
        ListenSockets sockets; /* as the operator is told; borrowed */
        AccessList lookup_from, list_from;
        bool names_with_helpers;
        MapperOptions mapper_options;
        int listener_fd, control_fd; /* outlive a restart, as systemd's do */
        uint16_t port;
        char control_path[96];
        unsigned n_changes, n_kills;
};

static inline void world_on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        World *world = userdata;

        if (conn_kind(conn) == CONN_CONTROL)
                operator_on_request(&world->operator_parts, conn, body, n_body);
        else if (!operator_on_tcp_request(&world->operator_parts, conn, body, n_body))
                mapper_on_request(world->mapper, conn, body, n_body);
}

static inline Party world_find_party(void *userdata, Conn *conn) {
        return gate_find_party(((World *)userdata)->gate, conn);
}

static inline void world_on_offence(void *userdata, const ConnOffence *offence) {
        blame_note(((World *)userdata)->blame, offence);
}

static inline void world_on_end(void *userdata, Conn *conn) {
        World *world = userdata;

        mapper_on_end(world->mapper, conn);
}

static inline void world_on_kill(void *userdata) {
        ((World *)userdata)->n_kills++;
}

static inline void world_on_news(void *userdata, const LedgerNews *news) {
        World *world = userdata;

        keeper_on_news(world->keeper, news);
        unit_states_on_news(world->unit_states, news);
        registrar_on_news(world->registrar, news);
        watch_note(world->watch, news);
}

static inline void world_on_answered(void *userdata, Conn *conn) {
        keeper_on_answered(((World *)userdata)->keeper, conn);
}

static inline void world_on_tellable(void *userdata, uint64_t revision) {
        World *world = userdata;

        pending_tell(world->pending, revision);
        watch_tell(world->watch, revision);
}

static inline void world_on_answer(void *userdata, const StoreAnswer *answer) {
        World *world = userdata;

        inquiry_on_answer(world->inquiry, answer);
}

static inline void world_on_heard(void *userdata, const char *unit) {
        World *world = userdata;

        (void)unit;
        registrar_on_heard(world->registrar);
}

static inline void world_on_change(void *userdata) {
        ((World *)userdata)->n_changes++;
}

static inline void world_on_loaded(void *userdata, StoreLoaded *loaded) {
        World *world = userdata;

        for (size_t i = 0; i < loaded->n_refused; i++)
                refusals_note(world->refusals, loaded->refused + i);
        vigil_reconcile(world->vigil, world->keeper, loaded, world->options.boot_id);
        keeper_release_rest(world->keeper, true);
}

static inline size_t or_plenty(size_t n) {
        return n ? n : 1000000;
}

static inline void world_open_store(World *world) {
        StoreOptions options = {
                .path = world->options.file,
                .boot_id = world->options.boot_id,
                .history_days = 30,
                .history_rows = 50000,
                .history_per_name = 100,
        };
        pid_t holder = 0;

        ck_assert_int_eq(store_new(&world->store, &options, &holder), 0);
}

static inline void world_load(World *world) {
        _cleanup_(store_loaded_freep) StoreLoaded *loaded = NULL;

        if (!world->options.impatient) {
                ck_assert_int_eq(store_wait_loaded(world->store, LONG_USEC), 0);
                loaded = store_take_loaded(world->store);
        }
        if (loaded)
                world_on_loaded(world, loaded);
        else
                registry_advance_creation(world->registry, (uint32_t)time(NULL));
        ledger_check_health(world->ledger);
}

static inline void world_open_access(World *world) {
        world->mapper_options = (MapperOptions){
                .lookup_from = &world->lookup_from,
                .list_from = &world->list_from,
                .names_with_helpers = &world->names_with_helpers,
                .relaxed_command_check = world->options.relaxed,
                .on_kill = world_on_kill,
                .userdata = world,
        };
        ck_assert_int_eq(access_list_add(&world->lookup_from,
                                         world->options.lookup_from ? world->options.lookup_from : "any"),
                         0);
        ck_assert_int_eq(access_list_add(&world->list_from,
                                         world->options.list_from ? world->options.list_from : "local"),
                         0);
}

static inline void world_build_state(World *world, int fd) {
        int no_listener_fd = -1;

        ck_assert_int_eq(registry_new(&world->registry,
                                      &(RegistryLimits){ or_plenty(world->options.n_nodes_max),
                                                         or_plenty(world->options.n_nodes_per_uid_max) }),
                         0);
        ck_assert_int_eq(refusals_new(&world->refusals), 0);
        world_open_store(world);
        ck_assert_int_eq(ledger_new(&world->ledger, world->event, world->registry, world->store,
                                    &world->counters,
                                    &(LedgerHandler){ world_on_news, world_on_answered, world_on_tellable,
                                                      world_on_answer, world_on_change, world_on_loaded,
                                                      world }),
                         0);
        /* A socket that does not listen cannot be found among those that do. */
        if (world->options.blind)
                no_listener_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(vigil_new(&world->vigil, world->event, world->registry, world->ledger,
                                   &world->counters, world->options.blind ? no_listener_fd : fd),
                         0);
        close_fdp(&no_listener_fd);
        ck_assert_int_eq(unit_states_new(&world->unit_states, world->event, world->registry, world->ledger,
                                         &(UnitStatesHandler){ world_on_heard, world }),
                         0);
        ck_assert_int_eq(fdstore_new(&world->fdstore, world->event, NULL, 0), 0);
}

static inline void world_build_service(World *world) {
        FdstoreKeptList kept = { 0 };

        ck_assert_int_eq(conns_new(&world->conns, world->event,
                                   &(ConnOptions){ .packet_timeout_usec = 60 * USEC_PER_SEC,
                                                   .n_conns_max = or_plenty(world->options.n_conns_max) },
                                   &(ConnHandler){ .on_request = world_on_request, .on_end = world_on_end,
                                                   .find_party = world_find_party, .on_offence = world_on_offence,
                                                   .userdata = world }, &world->counters),
                         0);
        ck_assert_int_eq(acceptors_new(&world->acceptors, world->event, world->conns, 0), 0);
        ck_assert_int_eq(keeper_new(&world->keeper, world->event, world->fdstore, world->conns, &kept,
                                    world->port),
                         0);
        ck_assert_int_eq(listings_new(&world->listings), 0);
        ck_assert_int_eq(registrar_new(&world->registrar, world->event,
                                       &(RegistrarParts){ world->ledger, world->vigil, world->unit_states,
                                                          world->refusals, world->store, &world->counters, NULL },
                                       &world->options.hold_usec),
                         0);
        world_open_access(world);
        ck_assert_int_eq(gate_new(&world->gate, world->vigil, &world->counters), 0);
        ck_assert_int_eq(blame_new(&world->blame, world->event, world->vigil, BLAME_INTERVAL_USEC), 0);
        ck_assert_int_eq(mapper_new(&world->mapper,
                                    &(MapperParts){ world->registry, world->ledger, world->vigil,
                                                    world->gate, world->registrar, world->listings, &world->counters, NULL },
                                    &world->mapper_options),
                         0);
}

#define WORLD_STARTED UINT64_C(1763687473000000)
#define WORLD_PER_UID_MAX 77 /* as the operator is told */

static inline void world_build_desk(World *world) {
        ck_assert_int_eq(watch_new(&world->watch, world->registry), 0);
        ck_assert_int_eq(inquiry_new(&world->inquiry, world->event,
                                     &(InquiryParts){ world->registry, world->refusals, world->store,
                                                      world->vigil, NULL }),
                         0);
        ck_assert_int_eq(pending_new(&world->pending,
                                     &(PendingParts){ world->registry, world->ledger, world->listings }),
                         0);
        ck_assert_int_eq(orders_new(&world->orders, &(OrdersParts){ world->registry, world->ledger, world->vigil,
                                                                    world->pending }),
                         0);
        world->operator_parts = (OperatorParts){
                .registry = world->registry,
                .sockets = &world->sockets,
                .store = world->store,
                .ledger = world->ledger,
                .vigil = world->vigil,
                .gate = world->gate,
                .blame = world->blame,
                .list_from = &world->list_from,
                .conns = world->conns,
                .listings = world->listings,
                .fdstore = world->fdstore,
                .unit_states = world->unit_states,
                .registrar = world->registrar,
                .inquiry = world->inquiry,
                .orders = world->orders,
                .watch = world->watch,
                .pending = world->pending,
                .counters = &world->counters,
                .boot_id = world->options.boot_id,
                .started_usec = WORLD_STARTED,
                .n_nodes_per_uid_max = WORLD_PER_UID_MAX,
        };
}

static inline void world_add_listener(World *world, int own_fd, ConnKind kind, uint16_t port) {
        int fd = fcntl(own_fd, F_DUPFD_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(acceptors_add(world->acceptors, &fd, kind, port), 0);
}

/* As server_new() does it. */
static inline void world_start(World *world) {
        world->event = make_event();
        world_build_state(world, world->listener_fd);
        world_build_service(world);
        world_build_desk(world);
        world_load(world);
        world_add_listener(world, world->listener_fd, CONN_EPMD, world->port);
        if (world->options.has_control)
                world_add_listener(world, world->control_fd, CONN_CONTROL, 0);
}

/* As server_free() does it. */
static inline void world_stop(World *world) {
        acceptors_free(world->acceptors);
        (void)store_stop(world->store, LONG_USEC);
        ledger_answer_written(world->ledger);
        mapper_free(world->mapper);
        blame_free(world->blame);
        gate_free(world->gate);
        watch_free(world->watch);
        orders_free(world->orders);
        pending_free(world->pending);
        inquiry_free(world->inquiry);
        registrar_free(world->registrar);
        listings_free(world->listings);
        world->ledger = ledger_free(world->ledger);
        keeper_free(world->keeper);
        conns_free(world->conns);
        fdstore_free(world->fdstore);
        unit_states_free(world->unit_states);
        vigil_free(world->vigil);
        store_free(world->store);
        refusals_free(world->refusals);
        registry_free(world->registry);
        access_list_done(&world->lookup_from);
        access_list_done(&world->list_from);
        sd_event_unref(world->event);
}

/* Wants make_test_root(). */
static inline void world_open_control(World *world) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        snprintf(world->control_path, sizeof world->control_path, "%s/control", new_directory());
        strcpy(address.sun_path, world->control_path);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(listen(fd, SOMAXCONN), 0);
        world->control_fd = fd;
}

static inline World *world_new(const WorldOptions *options) {
        World *world = calloc(1, sizeof *world);

        no_log();
        signal(SIGPIPE, SIG_IGN);
        ck_assert_ptr_nonnull(world);
        if (options)
                world->options = *options;
        world->listener_fd = listen_on(world->options.listen ? world->options.listen : "127.0.0.1");
        world->port = port_of(world->listener_fd);
        world->control_fd = -1;
        if (world->options.has_control)
                world_open_control(world);
        world_start(world);
        return world;
}

static inline void world_free(World *world) {
        world_stop(world);
        close(world->listener_fd);
        close_fdp(&world->control_fd);
        free(world);
}

static inline void world_restart(World *world) {
        world_stop(world);
        memset(&world->counters, 0, sizeof world->counters);
        world_start(world);
}

/* A file for one world. */
static inline const char *new_file(void) {
        static char buffers[4][96];
        static unsigned n;
        char *file = buffers[n++ % ELEMENTS(buffers)];

        snprintf(file, sizeof buffers[0], "%s/registry.db", new_directory());
        return file;
}

/* --- clients ------------------------------------------------------------------------------------------ */

static inline int world_connect(World *world) {
        return connect_to(world->options.listen && strchr(world->options.listen, ':') ? "::1" : "127.0.0.1",
                          world->port);
}

static inline int world_connect_control(World *world) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, world->control_path);
        ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
}

/* ALIVE2_REQ. Returns its length in bytes. */
static inline size_t put_alive2(uint8_t body[static 2048], const char *name, uint16_t port, uint16_t highest) {
        size_t n_name = strlen(name), n = 0;

        body[n++] = 'x';
        body[n++] = (uint8_t)(port >> 8);
        body[n++] = (uint8_t)port;
        body[n++] = 'M';
        body[n++] = 0;
        body[n++] = (uint8_t)(highest >> 8);
        body[n++] = (uint8_t)highest;
        body[n++] = 0;
        body[n++] = 5;
        body[n++] = (uint8_t)(n_name >> 8);
        body[n++] = (uint8_t)n_name;
        memcpy(body + n, name, n_name);
        n += n_name;
        body[n++] = 0;
        body[n++] = 0;
        return n;
}

static inline void say_alive2(int fd, const char *name, uint16_t port, uint16_t highest) {
        uint8_t body[2048];

        say_request(fd, body, put_alive2(body, name, port, highest));
}

typedef struct Answer {
        uint8_t result; /* 0xff: closed without a byte */
        uint32_t creation;
        bool has_ended;
} Answer;

static inline Answer hear_answer(World *world, int fd) {
        Heard heard = { 0 };
        Answer answer = { .result = 0xff };

        ck_assert_msg(RUN_UNTIL(world->event, hear(fd, &heard) || heard.n_data > 0, LONG_USEC), "no answer");
        if (heard.n_data > 0) {
                bool is_wide = heard.data[0] == 'v';

                ck_assert(heard.data[0] == 'v' || heard.data[0] == 'y');
                ck_assert_uint_eq(heard.n_data, is_wide ? 6 : 4);
                answer.result = heard.data[1];
                for (size_t i = 2; i < heard.n_data; i++)
                        answer.creation = answer.creation << 8 | heard.data[i];
        }
        turn(world->event);
        answer.has_ended = hear(fd, &heard);
        heard_done(&heard);
        return answer;
}

static inline Answer ask_to_register(World *world, int fd, const char *name, uint16_t port) {
        say_alive2(fd, name, port, 6);
        return hear_answer(world, fd);
}

/* Registers, which must succeed. Returns the connection. */
static inline int register_node(World *world, const char *name, uint16_t port, uint32_t *ret_creation) {
        int fd = world_connect(world);
        Answer answer = ask_to_register(world, fd, name, port);

        ck_assert_msg(answer.result == 0, "%s was not registered: %u", name, answer.result);
        ck_assert(!answer.has_ended);
        if (ret_creation)
                *ret_creation = answer.creation;
        return fd;
}

/* PORT_PLEASE2_REQ at `address`. 0: there is no such node. */
static inline uint16_t look_up_at(World *world, const char *address, const char *name) {
        uint8_t body[2048] = { 'z' };
        int fd = connect_to(address, world->port);
        Heard heard = { 0 };
        uint16_t port = 0;

        memcpy(body + 1, name, strlen(name));
        say_request(fd, body, 1 + strlen(name));
        ck_assert(RUN_UNTIL(world->event, hear(fd, &heard), LONG_USEC));
        ck_assert_uint_ge(heard.n_data, 2);
        ck_assert_int_eq(heard.data[0], 'w');
        if (heard.data[1] == 0)
                port = (uint16_t)(heard.data[2] << 8 | heard.data[3]);
        else
                ck_assert_uint_eq(heard.n_data, 2);
        heard_done(&heard);
        close(fd);
        return port;
}

static inline uint16_t look_up(World *world, const char *name) {
        return look_up_at(world, "127.0.0.1", name);
}

/* What the registry knows. */
static inline Node *world_find(World *world, const char *name) {
        return registry_find(world->registry, name, strlen(name), &ADDRESS_ANY);
}

static inline uint64_t cookie_of(int fd) {
        uint64_t cookie = 0;
        socklen_t n = sizeof cookie;

        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n), 0);
        return cookie;
}
