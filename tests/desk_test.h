/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of registrations and of all that is asked beyond EPMD: everything the server has, but for its signals and
 * its configuration, with real sockets, a real registry file and real evidence. What systemd says is said by the test
 * (units_test.h). Wants -lsqlite3. */
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
#include "units_test.h"

typedef struct DeskOptions {
        const char *file;   /* NULL: memory only */
        const char *listen; /* NULL: 127.0.0.1 */
        uint64_t hold_usec;
        bool blind;
        bool impatient;          /* does not wait for the file at start */
        const char *notify_path; /* systemd's; NULL: there is no fd store */
        size_t n_nodes_per_uid_max; /* 0: plenty */
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
        AccessList lookup_from, list_from;
        bool names_with_helpers;
        ListenSockets sockets; /* none are told */
        int listener_fd, control_fd; /* outlive a restart, as systemd's do */
        uint16_t port;
        char control_path[108];
} Desk;

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
        (void)userdata;
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
        vigil_reconcile(desk->vigil, desk->keeper, loaded, NULL);
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
        (void)userdata;
}

static inline void desk_open_state(Desk *desk) {
        size_t n_per_uid = desk->options.n_nodes_per_uid_max;
        StoreOptions options = {
                .path = desk->options.file,
                .history_days = 30,
                .history_rows = 50000,
                .history_per_name = 1000,
        };
        pid_t holder = 0;

        ck_assert_int_eq(registry_new(&desk->registry, &(RegistryLimits){ 100000, n_per_uid ? n_per_uid : 100000 }), 0);
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
                                   desk->options.blind ? deaf_fd : desk->listener_fd),
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

static inline void desk_open_service(Desk *desk) {
        ck_assert_int_eq(conns_new(&desk->conns, desk->event,
                                   &(ConnOptions){ .packet_timeout_usec = 60 * USEC_PER_SEC, .n_conns_max = 100000 },
                                   &(ConnHandler){ .on_request = desk_on_request, .on_end = desk_on_end,
                                                   .find_party = desk_find_party, .on_offence = desk_on_offence,
                                                   .userdata = desk }, &desk->counters),
                         0);
        ck_assert_int_eq(acceptors_new(&desk->acceptors, desk->event, desk->conns, 0), 0);
        ck_assert_int_eq(keeper_new(&desk->keeper, desk->event, desk->fdstore, desk->conns, &desk->kept, desk->port), 0);
        ck_assert_int_eq(listings_new(&desk->listings), 0);
        ck_assert_int_eq(registrar_new(&desk->registrar, desk->event,
                                       &(RegistrarParts){ desk->ledger, desk->vigil, desk->unit_states,
                                                          desk->refusals, desk->store, &desk->counters, desk->pins },
                                       &desk->options.hold_usec),
                         0);
        ck_assert_int_eq(access_list_add(&desk->lookup_from, "any"), 0);
        ck_assert_int_eq(access_list_add(&desk->list_from, "local"), 0);
        ck_assert_int_eq(gate_new(&desk->gate, desk->vigil, &desk->counters), 0);
        ck_assert_int_eq(blame_new(&desk->blame, desk->event, desk->vigil, BLAME_INTERVAL_USEC), 0);
        ck_assert_int_eq(mapper_new(&desk->mapper,
                                    &(MapperParts){ desk->registry, desk->ledger, desk->vigil, desk->gate,
                                                    desk->registrar, desk->listings, &desk->counters,
                                                    desk->statics },
                                    &(MapperOptions){ .lookup_from = &desk->lookup_from,
                                                      .list_from = &desk->list_from,
                                                      .names_with_helpers = &desk->names_with_helpers,
                                                      .relaxed_command_check = true,
                                                      .on_kill = desk_on_kill }),
                         0);
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
        desk_open_service(desk);
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
        ledger_free(desk->ledger);
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

static inline Desk *desk_new(const DeskOptions *options) {
        Desk *desk = calloc(1, sizeof *desk);

        no_log();
        signal(SIGPIPE, SIG_IGN);
        ck_assert_ptr_nonnull(desk);
        if (options)
                desk->options = *options;
        desk->listener_fd = listen_on(desk->options.listen ? desk->options.listen : "127.0.0.1");
        desk->port = port_of(desk->listener_fd);
        desk->control_fd = listen_on_path(desk->control_path);
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

/* --- nodes ----------------------------------------------------------------------------------------------- */

static inline int desk_connect(Desk *desk) {
        return connect_to("127.0.0.1", desk->port);
}

/* ALIVE2_REQ. Returns its length in bytes. */
static inline size_t fill_alive2(uint8_t body[static 2048], const char *name, uint16_t port) {
        const uint8_t head[] = { 'x', (uint8_t)(port >> 8), (uint8_t)port, 'M', 0, 0, 6, 0, 5 };
        size_t n_name = strlen(name), n = sizeof head;

        memcpy(body, head, n);
        body[n++] = (uint8_t)(n_name >> 8);
        body[n++] = (uint8_t)n_name;
        memcpy(body + n, name, n_name);
        n += n_name;
        body[n++] = 0;
        body[n++] = 0;
        return n;
}

static inline void ask_alive2(int fd, const char *name, uint16_t port) {
        uint8_t body[2048];

        say_request(fd, body, fill_alive2(body, name, port));
}

/* A newcomer's connection, on which the request was sent; the desk has looked at it. */
static inline int newcomer(Desk *desk, const char *name, uint16_t port) {
        int fd = desk_connect(desk);

        ask_alive2(fd, name, port);
        turn(desk->event);
        return fd;
}

#define NO_ANSWER (-1)    /* yet */
#define CLOSED (-2)       /* without one */

/* What a newcomer has been told so far: a result, 0 for "registered", NO_ANSWER or CLOSED. */
static inline int heard_result(int fd) {
        uint8_t answer[6];
        ssize_t n = recv(fd, answer, sizeof answer, MSG_DONTWAIT | MSG_PEEK);

        if (n < 0 && errno == EAGAIN)
                return NO_ANSWER;
        if (n <= 0)
                return CLOSED;
        ck_assert_int_eq(n, 6);
        ck_assert_uint_eq(answer[0], 'v');
        return answer[1];
}

static inline uint32_t heard_creation(int fd) {
        uint8_t answer[6];

        ck_assert_int_eq(recv(fd, answer, sizeof answer, MSG_DONTWAIT | MSG_PEEK), 6);
        return (uint32_t)answer[2] << 24 | (uint32_t)answer[3] << 16 | (uint32_t)answer[4] << 8 | answer[5];
}

/* Turns the loop until the newcomer has his answer. */
static inline int result_of(Desk *desk, int fd) {
        ck_assert_msg(RUN_UNTIL(desk->event, heard_result(fd) != NO_ANSWER, LONG_USEC), "no answer");
        return heard_result(fd);
}

/* Registers, which must succeed. Returns the connection; the answer has not been read from it. */
static inline int registered(Desk *desk, const char *name, uint16_t port) {
        int fd = newcomer(desk, name, port);

        ck_assert_msg(result_of(desk, fd) == 0, "%s was not registered", name);
        return fd;
}

/* True once the desk has closed its side, whatever it has said before. */
static inline bool is_hung_up(int fd) {
        Heard heard = { 0 };
        bool has_ended = hear(fd, &heard);

        heard_done(&heard);
        return has_ended;
}

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

/* As if its cgroup had said so. */
static inline void live_in(Desk *desk, const char *name, const char *unit) {
        Node *node = desk_find(desk, name);

        ck_assert_ptr_nonnull(node);
        if (node->unit)
                units_unwatch(&systemd, node->unit);
        free(node->unit);
        node->unit = strdup(unit);
        node->is_unit_own = true;
        ck_assert_int_eq(units_watch(&systemd, unit), 0);
}

/* --- the control protocol ---------------------------------------------------------------------------------- */

static const struct {
        const char *name;
        ControlTag tag;
        enum { FIELD_TEXT, FIELD_NUMBER, FIELD_PAIR } shape;
} field_names[] = {
        { "error", CONTROL_TAG_ERROR, FIELD_NUMBER },
        { "text", CONTROL_TAG_TEXT, FIELD_TEXT },
        { "version", CONTROL_TAG_VERSION, FIELD_NUMBER },
        { "name", CONTROL_TAG_NAME, FIELD_TEXT },
        { "state", CONTROL_TAG_STATE, FIELD_TEXT },
        { "port", CONTROL_TAG_PORT, FIELD_NUMBER },
        { "creation", CONTROL_TAG_CREATION, FIELD_NUMBER },
        { "since", CONTROL_TAG_SINCE, FIELD_NUMBER },
        { "scope", CONTROL_TAG_SCOPE, FIELD_TEXT },
        { "uid", CONTROL_TAG_UID, FIELD_NUMBER },
        { "unit", CONTROL_TAG_UNIT, FIELD_TEXT },
        { "source", CONTROL_TAG_STATE_SOURCE, FIELD_TEXT },
        { "pid", CONTROL_TAG_UNIT_PID, FIELD_NUMBER },
        { "host", CONTROL_TAG_HOST, FIELD_TEXT },
        { "announced", CONTROL_TAG_ANNOUNCED, FIELD_TEXT },
        { "pair", CONTROL_TAG_PAIR, FIELD_PAIR },
        { "awaited", CONTROL_TAG_AWAITED, FIELD_NUMBER },
        { "evidence", CONTROL_TAG_EVIDENCE_OF_LIFE, FIELD_TEXT },
        { "listens", CONTROL_TAG_LISTENER_ADDRESS, FIELD_TEXT },
        { "stored", CONTROL_TAG_IN_FD_STORE, FIELD_NUMBER },
        { "until", CONTROL_TAG_UNTIL, FIELD_NUMBER },
        { "how", CONTROL_TAG_HOW, FIELD_TEXT },
        { "by", CONTROL_TAG_BY, FIELD_TEXT },
        { "at", CONTROL_TAG_AT, FIELD_NUMBER },
        { "reason", CONTROL_TAG_REASON, FIELD_TEXT },
        { "cursor", CONTROL_TAG_CURSOR, FIELD_NUMBER },
        { "epoch", CONTROL_TAG_EPOCH, FIELD_NUMBER },
        { "revision", CONTROL_TAG_REVISION, FIELD_NUMBER },
        { "prefix", CONTROL_TAG_PREFIX, FIELD_TEXT },
        { "pattern", CONTROL_TAG_PATTERN, FIELD_TEXT },
        { "exclude", CONTROL_TAG_EXCLUDE, FIELD_TEXT },
        { "hidden", CONTROL_TAG_HIDDEN, FIELD_NUMBER },
        { "host-source", CONTROL_TAG_HOST_SOURCE, FIELD_TEXT },
        { "kind", CONTROL_TAG_NAME_KIND, FIELD_TEXT },
        { "address", CONTROL_TAG_ADDRESS, FIELD_TEXT },
        { "origin", CONTROL_TAG_NODE_ORIGIN, FIELD_TEXT },
        { "elsewhere", CONTROL_TAG_ELSEWHERE, FIELD_NUMBER },
        { "pinned", CONTROL_TAG_PINNED_PORT, FIELD_NUMBER },
};

/* One field from the words of a test: "name" "a", "creation" "4711", "pair" "key=value". */
static inline void put_word(ControlBuffer *buffer, const char *name, const char *value) {
        char pair[1024];

        for (size_t i = 0; i < ELEMENTS(field_names); i++) {
                if (strcmp(field_names[i].name, name) != 0)
                        continue;
                if (field_names[i].shape == FIELD_NUMBER)
                        control_put_u64(buffer, field_names[i].tag, strtoull(value, NULL, 10));
                else {
                        snprintf(pair, sizeof pair, "%s", value);
                        if (field_names[i].shape == FIELD_PAIR && strchr(pair, '='))
                                *strchr(pair, '=') = 0;
                        control_put_text(buffer, field_names[i].tag, pair, strlen(value));
                }
                return;
        }
        ck_abort_msg("no field is named %s", name);
}

static inline void say_words(int fd, ControlKind kind, const char *const *words) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_request_begin(&buffer, kind);
        for (; words[0]; words += 2)
                put_word(&buffer, words[0], words[1]);
        control_put_request_end(&buffer);
        ck_assert_int_eq(buffer.error, 0);
        say(fd, buffer.data, buffer.n_data);
}

static inline void show_field(const ControlField *field, FILE *out) {
        for (size_t i = 0; i < ELEMENTS(field_names); i++) {
                if (field_names[i].tag != field->tag)
                        continue;
                if (field_names[i].shape == FIELD_NUMBER)
                        fprintf(out, " %s=%llu", field_names[i].name, (unsigned long long)control_field_u64(field));
                else {
                        fprintf(out, " %s=", field_names[i].name);
                        for (size_t j = 0; j < field->n_value; j++)
                                fputc(field->value[j] ? field->value[j] : '=', out);
                }
                return;
        }
}

static inline const char *kind_word(uint8_t kind) {
        switch (kind) {
        case CONTROL_END:
                return "end";
        case CONTROL_ERROR:
                return "error";
        case CONTROL_NODE_RECORD:
                return "node";
        case CONTROL_TENURE_RECORD:
                return "tenure";
        case CONTROL_REFUSAL_RECORD:
                return "refusal";
        case CONTROL_MORE_RECORD:
                return "more";
        case CONTROL_EPOCH_RECORD:
                return "epoch";
        case CONTROL_ENTRY_RECORD:
                return "entry";
        case CONTROL_PIN_RECORD:
                return "pin";
        }
        return "?";
}

/* An answer as text, a line for each record: "node name=a state=up ... \n end \n". To be freed. */
static inline char *show_answer(const uint8_t *data, size_t n_data) {
        char *text = NULL;
        size_t n_text = 0, at = CONTROL_ANSWER_HEAD;
        FILE *out = open_memstream(&text, &n_text);
        uint8_t version = 0, kind = 0;

        ck_assert_int_eq(control_parse_answer_head(data, n_data, &version), 1);
        while (at < n_data) {
                const uint8_t *fields;
                size_t n, n_fields, offset = 0;
                ControlField field;

                ck_assert_int_eq(control_next_record(data + at, n_data - at, &n, &kind, &fields, &n_fields), 1);
                fputs(kind_word(kind), out);
                while (control_next_field(fields, n_fields, &offset, &field))
                        show_field(&field, out);
                fputs(" \n", out);
                at += n;
        }
        fclose(out);
        ck_assert(kind == CONTROL_END || kind == CONTROL_ERROR);
        return text;
}

/* Turns the loop until the answer is complete. "" where the desk has closed without one. Closes `fd`. */
static inline char *hear_words(Desk *desk, int fd) {
        Heard heard = { 0 };
        char *text;

        ck_assert_msg(RUN_UNTIL(desk->event, hear(fd, &heard), LONG_USEC), "no answer");
        text = heard.n_data > 0 ? show_answer(heard.data, heard.n_data) : strdup("");
        heard_done(&heard);
        close(fd);
        return text;
}

static inline int connect_control(Desk *desk) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(address.sun_path, desk->control_path);
        ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
        return fd;
}

#define WORDS(...) (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL, NULL }

/* A request on the control socket, whose answer is still to be heard. */
static inline int begin_words(Desk *desk, ControlKind kind, const char *const *words) {
        int fd = connect_control(desk);

        say_words(fd, kind, words);
        return fd;
}

/* ask_words(desk, CONTROL_WHY, WORDS("name", "a")) */
static inline char *ask_words(Desk *desk, ControlKind kind, const char *const *words) {
        return hear_words(desk, begin_words(desk, kind, words));
}

/* The answer contains each of `wanted`, in whatever order. */
#define ck_assert_says(answer, ...)                                                              \
        do {                                                                                     \
                const char *wanted_[] = { __VA_ARGS__ };                                         \
                for (size_t i_ = 0; i_ < ELEMENTS(wanted_); i_++)                                \
                        ck_assert_msg(strstr((answer), wanted_[i_]), "'%s' is not in: %s", wanted_[i_], (answer)); \
        } while (0)

/* How many lines of it begin with `word`. */
static inline unsigned n_records(const char *answer, const char *word) {
        unsigned n = 0;

        for (const char *line = answer; line && *line; line = strchr(line, '\n'), line += line != NULL)
                n += strncmp(line, word, strlen(word)) == 0 && line[strlen(word)] == ' ';
        return n;
}
