/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the serving parts together: everything the server has, but for its signals and its configuration, with
 * real sockets, a real registry file and real evidence. Where units_test.h is included, too, what systemd says is said by
 * the test. Who speaks with it: epmd_test.h, words_test.h. Wants -lsqlite3, and make_test_root(). */
#pragma once

#include <limits.h>
#include <signal.h>

#include "core/refusals.h"
#include "loop_test.h"
#include "serve/acceptor.h"
#include "serve/entry_orders.h"
#include "serve/gate.h"
#include "serve/inquiry.h"
#include "serve/keeper.h"
#include "serve/ledger.h"
#include "serve/listing.h"
#include "serve/mapper.h"
#include "serve/operator.h"
#include "serve/orders.h"
#include "serve/pending.h"
#include "serve/pins.h"
#include "serve/registrar.h"
#include "serve/salvage.h"
#include "serve/statics.h"
#include "serve/unit_states.h"
#include "serve/vigil.h"
#include "serve/watch.h"
#include "state/fdstore.h"
#include "state/store.h"
#include "state_test.h"

typedef struct DeskOptions {
        const char *file; /* NULL: memory only */
        const char *boot_id;
        const char *listen; /* NULL: 127.0.0.1 */
        size_t n_nodes_max, n_nodes_per_uid_max; /* 0: plenty */
        size_t n_conns_max;                      /* 0: plenty */
        const char *lookup_from, *list_from;     /* one word each; NULL: any, local */
        uint64_t hold_usec;
        uint64_t review_usec; /* 0: as usual */
        bool relaxed;
        bool blind;
        bool impatient;          /* does not wait for the file at start */
        const char *notify_path; /* systemd's; NULL: there is no fd store */
} DeskOptions;

typedef struct Desk {
        DeskOptions options;
        sd_event *event;
        Counters counters;
        Registry *registry;
        Refusals *refusals;
        Store *store;
        Ledger *ledger;
        Vigil *vigil;
        UnitStates *unit_states;
        Pins *pins;
        Statics *statics;
        EntryOrders *entry_orders;
        Fdstore *fdstore;
        FdstoreKeptList kept; /* what systemd hands back at the next start */
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
        ListenSockets sockets; /* as the operator is told: none, if the test does not say otherwise; borrowed */
        AccessList lookup_from, list_from;
        bool names_with_helpers;
        MapperOptions mapper_options;
        int listener_fd, control_fd; /* outlive a restart, as systemd's do */
        uint16_t port;
        char control_path[108];
        unsigned n_changes, n_kills;
} Desk;

#define DESK_STARTED UINT64_C(1763687473000000)
#define DESK_PER_UID_MAX 77 /* as the operator is told */

static inline void desk_on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Desk *desk = userdata;

        if (conn_kind(conn) == CONN_CONTROL)
                operator_on_request(&desk->operator_parts, conn, body, n_body);
        else if (!operator_on_tcp_request(&desk->operator_parts, conn, body, n_body))
                mapper_on_request(desk->mapper, conn, body, n_body);
}

static inline Party desk_find_party(void *userdata, Conn *conn) {
        return gate_find_party(((Desk *)userdata)->gate, conn);
}

static inline void desk_on_offence(void *userdata, const ConnOffence *offence) {
        blame_note(((Desk *)userdata)->blame, offence);
}

static inline void desk_on_end(void *userdata, Conn *conn) {
        mapper_on_end(((Desk *)userdata)->mapper, conn);
}

static inline void desk_on_news(void *userdata, const LedgerNews *news) {
        Desk *desk = userdata;

        keeper_on_news(desk->keeper, news);
        unit_states_on_news(desk->unit_states, news);
        registrar_on_news(desk->registrar, news);
        statics_on_news(desk->statics, news);
        watch_note(desk->watch, news);
}

static inline void desk_on_answered(void *userdata, Conn *conn) {
        keeper_on_answered(((Desk *)userdata)->keeper, conn);
}

static inline void desk_on_tellable(void *userdata, uint64_t revision) {
        Desk *desk = userdata;

        pending_tell(desk->pending, revision);
        watch_tell(desk->watch, revision);
}

static inline void desk_on_answer(void *userdata, const StoreAnswer *answer) {
        inquiry_on_answer(((Desk *)userdata)->inquiry, answer);
        entry_orders_on_answer(((Desk *)userdata)->entry_orders, answer);
}

static inline void desk_on_change(void *userdata) {
        ((Desk *)userdata)->n_changes++;
}

static inline void desk_on_loaded(void *userdata, StoreLoaded *loaded) {
        Desk *desk = userdata;
        StoreHealth health = store_health(desk->store);
        SalvageParts salvage = { desk->registry, desk->ledger, desk->vigil, desk->keeper };

        for (size_t i = 0; i < loaded->n_refused; i++)
                refusals_note(desk->refusals, loaded->refused + i);
        pins_take_loaded(desk->pins, &loaded->pins);
        statics_take_loaded(desk->statics, &loaded->entries);
        salvage_meet_rows(&salvage, loaded);
        salvage_uncross_rows(&salvage, loaded);
        vigil_reconcile(desk->vigil, desk->keeper, loaded, desk->options.boot_id);
        salvage_nodes(&salvage);
        pins_tell_all(desk->pins);
        statics_sync(desk->statics);
        keeper_release_rest(desk->keeper, health == STORE_OK || health == STORE_NO_FILE);
}

static inline void desk_on_heard(void *userdata, const char *unit) {
        (void)unit;
        registrar_on_heard(((Desk *)userdata)->registrar);
}

static inline void desk_on_kill(void *userdata) {
        ((Desk *)userdata)->n_kills++;
}

static inline size_t or_plenty(size_t n) {
        return n ? n : 1000000;
}

static inline void desk_open_state(Desk *desk) {
        RegistryLimits limits = { or_plenty(desk->options.n_nodes_max), or_plenty(desk->options.n_nodes_per_uid_max) };
        StoreOptions options = {
                .path = desk->options.file,
                .boot_id = desk->options.boot_id,
                .history_days = 30,
                .history_rows = 50000,
                .history_per_name = 1000,
        };
        pid_t holder = 0;

        ck_assert_int_eq(registry_new(&desk->registry, &limits, 1), 0);
        ck_assert_int_eq(refusals_new(&desk->refusals), 0);
        ck_assert_int_eq(store_new(&desk->store, &options, &holder), 0);
        ck_assert_int_eq(ledger_new(&desk->ledger, desk->event, desk->registry, desk->store, &desk->counters,
                                    &(LedgerHandler){
                                            .on_news = desk_on_news,
                                            .on_answered = desk_on_answered,
                                            .on_tellable = desk_on_tellable,
                                            .on_answer = desk_on_answer,
                                            .on_change = desk_on_change,
                                            .on_loaded = desk_on_loaded,
                                            .userdata = desk,
                                    }),
                         0);
}

static inline void desk_open_evidence(Desk *desk) {
        /* A socket that does not listen cannot be found among those that do. */
        _cleanup_(close_fdp) int deaf_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ck_assert_int_eq(vigil_new(&desk->vigil, desk->event, desk->registry, desk->ledger, &desk->counters,
                                   desk->options.blind ? deaf_fd : desk->listener_fd,
                                   desk->options.review_usec ? desk->options.review_usec : VIGIL_REVIEW_USEC),
                         0);
        ck_assert_int_eq(unit_states_new(&desk->unit_states, desk->event, desk->registry, desk->ledger,
                                         &(UnitStatesHandler){ desk_on_heard, desk }),
                         0);
        ck_assert_int_eq(pins_new(&desk->pins, desk->registry, desk->ledger), 0);
        ck_assert_int_eq(statics_new(&desk->statics, desk->event,
                                     &(StaticsParts){ desk->registry, desk->ledger, desk->vigil, desk->unit_states,
                                                      desk->pins }),
                         0);
        ck_assert_int_eq(fdstore_new(&desk->fdstore, desk->event, desk->options.notify_path,
                                     desk->options.notify_path ? 512 : 0),
                         0);
}

static inline void desk_open_access(Desk *desk) {
        const char *lookup_from = desk->options.lookup_from, *list_from = desk->options.list_from;

        ck_assert_int_eq(access_list_add(&desk->lookup_from, lookup_from ? lookup_from : "any"), 0);
        ck_assert_int_eq(access_list_add(&desk->list_from, list_from ? list_from : "local"), 0);
        ck_assert_int_eq(gate_new(&desk->gate, desk->vigil, &desk->counters), 0);
        ck_assert_int_eq(blame_new(&desk->blame, desk->event, desk->vigil, BLAME_INTERVAL_USEC), 0);
        desk->mapper_options = (MapperOptions){
                .lookup_from = &desk->lookup_from,
                .list_from = &desk->list_from,
                .names_with_helpers = &desk->names_with_helpers,
                .relaxed_command_check = desk->options.relaxed,
                .on_kill = desk_on_kill,
                .userdata = desk,
        };
}

static inline void desk_open_conns(Desk *desk) {
        ck_assert_int_eq(conns_new(&desk->conns, desk->event,
                                   &(ConnOptions){ .packet_timeout_usec = 60 * USEC_PER_SEC,
                                                   .n_conns_max = or_plenty(desk->options.n_conns_max) },
                                   &(ConnHandler){ .on_request = desk_on_request, .on_end = desk_on_end,
                                                   .find_party = desk_find_party, .on_offence = desk_on_offence,
                                                   .userdata = desk }, &desk->counters),
                         0);
        ck_assert_int_eq(acceptors_new(&desk->acceptors, desk->event, desk->conns, 0), 0);
        ck_assert_int_eq(keeper_new(&desk->keeper, desk->event, desk->fdstore, desk->conns, &desk->kept, desk->port), 0);
}

static inline void desk_open_service(Desk *desk) {
        ck_assert_int_eq(listings_new(&desk->listings), 0);
        ck_assert_int_eq(registrar_new(&desk->registrar, desk->event,
                                       &(RegistrarParts){ desk->ledger, desk->vigil, desk->unit_states,
                                                          desk->refusals, desk->store, &desk->counters, desk->pins,
                                                          desk->registry },
                                       &desk->options.hold_usec),
                         0);
        ck_assert_int_eq(mapper_new(&desk->mapper,
                                    &(MapperParts){ desk->registry, desk->ledger, desk->vigil, desk->gate,
                                                    desk->registrar, desk->listings, &desk->counters, desk->statics },
                                    &desk->mapper_options),
                         0);
}

static inline void desk_open_operator(Desk *desk) {
        ck_assert_int_eq(watch_new(&desk->watch, desk->registry), 0);
        ck_assert_int_eq(inquiry_new(&desk->inquiry, desk->event,
                                     &(InquiryParts){ desk->registry, desk->refusals, desk->store, desk->vigil,
                                                      desk->statics }),
                         0);
        ck_assert_int_eq(pending_new(&desk->pending, &(PendingParts){ desk->registry, desk->ledger, desk->listings }),
                         0);
        ck_assert_int_eq(orders_new(&desk->orders, &(OrdersParts){ desk->registry, desk->ledger, desk->vigil,
                                                                   desk->pending }),
                         0);
        ck_assert_int_eq(entry_orders_new(&desk->entry_orders, desk->event,
                                          &(EntryOrdersParts){ desk->store, desk->statics, desk->pins }),
                         0);
        desk->operator_parts = (OperatorParts){
                .registry = desk->registry,
                .sockets = &desk->sockets,
                .store = desk->store,
                .ledger = desk->ledger,
                .vigil = desk->vigil,
                .gate = desk->gate,
                .blame = desk->blame,
                .list_from = &desk->list_from,
                .conns = desk->conns,
                .listings = desk->listings,
                .fdstore = desk->fdstore,
                .unit_states = desk->unit_states,
                .registrar = desk->registrar,
                .inquiry = desk->inquiry,
                .orders = desk->orders,
                .watch = desk->watch,
                .pending = desk->pending,
                .statics = desk->statics,
                .entry_orders = desk->entry_orders,
                .counters = &desk->counters,
                .boot_id = desk->options.boot_id,
                .started_usec = DESK_STARTED,
                .n_nodes_per_uid_max = DESK_PER_UID_MAX,
        };
}

static inline void desk_load(Desk *desk) {
        _cleanup_(store_loaded_freep) StoreLoaded *loaded = NULL;

        if (!desk->options.impatient) {
                ck_assert_int_eq(store_wait_loaded(desk->store, LONG_USEC), 0);
                loaded = store_take_loaded(desk->store);
        }
        if (loaded)
                desk_on_loaded(desk, loaded);
        else {
                registry_advance_creation(desk->registry, (uint32_t)time(NULL));
                salvage_nodes(&(SalvageParts){ desk->registry, desk->ledger, desk->vigil, desk->keeper });
                keeper_release_rest(desk->keeper, false);
        }
        ledger_check_health(desk->ledger);
}

/* As server_new() does it. */
static inline void desk_start(Desk *desk) {
        int fd = fcntl(desk->listener_fd, F_DUPFD_CLOEXEC, 0);
        int control_fd = fcntl(desk->control_fd, F_DUPFD_CLOEXEC, 0);

        desk->event = make_event();
        desk_open_state(desk);
        desk_open_evidence(desk);
        desk_open_access(desk);
        desk_open_conns(desk);
        desk_open_service(desk);
        desk_open_operator(desk);
        desk_load(desk);
        ck_assert_int_eq(acceptors_add(desk->acceptors, &fd, CONN_EPMD, desk->port), 0);
        ck_assert_int_eq(acceptors_add(desk->acceptors, &control_fd, CONN_CONTROL, 0), 0);
}

/* As server_free() does it. */
static inline void desk_stop(Desk *desk) {
        acceptors_free(desk->acceptors);
        (void)store_stop(desk->store, LONG_USEC);
        ledger_answer_written(desk->ledger);
        fdstore_flush(desk->fdstore);
        mapper_free(desk->mapper);
        blame_free(desk->blame);
        gate_free(desk->gate);
        watch_free(desk->watch);
        entry_orders_free(desk->entry_orders);
        orders_free(desk->orders);
        pending_free(desk->pending);
        inquiry_free(desk->inquiry);
        registrar_free(desk->registrar);
        listings_free(desk->listings);
        desk->ledger = ledger_free(desk->ledger);
        keeper_free(desk->keeper);
        conns_free(desk->conns);
        fdstore_free(desk->fdstore);
        statics_free(desk->statics);
        pins_free(desk->pins);
        unit_states_free(desk->unit_states);
        vigil_free(desk->vigil);
        store_free(desk->store);
        refusals_free(desk->refusals);
        registry_free(desk->registry);
        access_list_done(&desk->lookup_from);
        access_list_done(&desk->list_from);
        sd_event_unref(desk->event);
}

static inline int listen_on_path(char file[static 108]) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        snprintf(file, sizeof address.sun_path, "%s/control", new_directory());
        strcpy(address.sun_path, file);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(listen(fd, SOMAXCONN), 0);
        return fd;
}

/* Its sockets, and nothing behind them. */
static inline Desk *desk_open(const DeskOptions *options) {
        Desk *desk = calloc(1, sizeof *desk);

        no_log();
        signal(SIGPIPE, SIG_IGN);
        ck_assert_ptr_nonnull(desk);
        if (options)
                desk->options = *options;
        desk->listener_fd = listen_on(desk->options.listen ? desk->options.listen : "127.0.0.1");
        desk->port = port_of(desk->listener_fd);
        desk->control_fd = listen_on_path(desk->control_path);
        return desk;
}

static inline Desk *desk_new(const DeskOptions *options) {
        Desk *desk = desk_open(options);

        desk_start(desk);
        return desk;
}

static inline void desk_free(Desk *desk) {
        desk_stop(desk);
        close(desk->listener_fd);
        close(desk->control_fd);
        free(desk);
}

static inline void desk_restart(Desk *desk) {
        desk_stop(desk);
        memset(&desk->counters, 0, sizeof desk->counters);
        desk_start(desk);
}

/* A registry file for one desk. */
static inline const char *desk_file(void) {
        static char buffers[4][96];
        static unsigned n;
        char *file = buffers[n++ % ELEMENTS(buffers)];

        snprintf(file, sizeof buffers[0], "%s/registry.db", new_directory());
        return file;
}

/* What the registry knows. */
static inline Node *desk_find(Desk *desk, const char *name) {
        return registry_find(desk->registry, name, strlen(name), &ADDRESS_ANY);
}

static inline bool is_written(Desk *desk) {
        return store_committed_revision(desk->store) >= registry_revision(desk->registry);
}

/* The file is made anew, with a disk that does not answer: no commit ends any more. Wants disk_install() before the
 * desk is there. */
static inline void hang_the_disk(Desk *desk) {
        ck_assert(RUN_UNTIL(desk->event, is_written(desk), LONG_USEC));
        disk_hang(DISK_OPEN | DISK_SYNC);
        ck_assert_int_eq(unlink(desk->options.file), 0);
        store_poke(desk->store);
        disk_wait_until_hung();
}

static inline int desk_connect(Desk *desk) {
        return connect_to(desk->options.listen && strchr(desk->options.listen, ':') ? "::1" : "127.0.0.1", desk->port);
}

static inline int desk_connect_control(Desk *desk) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, desk->control_path);
        ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
}
