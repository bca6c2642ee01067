/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the parts and the order in which they come and go. Decides nothing about nodes.
 *
 * The trap: the order at start. The kernel's announcements are subscribed to before anybody is looked at,
 * and nothing is accepted before the registry is reconciled: clients wait in the listen queue, which no one
 * of them can tell from an ordinary connection.
 */

#include "server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "core/creation.h"
#include "herald.h"
#include "log.h"
#include "loop.h"
#include "config/reload.h"
#include "serve/acceptor.h"
#include "serve/blame.h"
#include "serve/conn.h"
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
#include "serve/sockets.h"
#include "serve/statics.h"
#include "serve/unit_states.h"
#include "serve/vigil.h"
#include "serve/watch.h"
#include "state/fdstore.h"
#include "state/store.h"

/* Descriptors that are not connections: SQLite's, netlink, the log, and room for what libraries open. */
#define DESCRIPTORS_RESERVED 64
/* How long the start waits for a disk that does not let us read (P2). */
#define LOAD_PATIENCE_USEC (3 * USEC_PER_SEC)
/* How long the end waits for a disk that does not let us write. */
#define STOP_PATIENCE_USEC (3 * USEC_PER_SEC)

struct Server {
        Config *config;
        size_t n_conns_max;
        Reload *reload;
        bool is_reloading; /* the service manager waits for the end of it */
        sd_event *event;
        Herald *herald;
        ListenSockets sockets;
        FdstoreKeptList kept; /* until the keeper has it */
        Counters counters;

        Registry *registry;
        Refusals *refusals;
        Store *store;
        Fdstore *fdstore;
        Ledger *ledger;
        Vigil *vigil;
        UnitStates *unit_states;
        Pins *pins;
        Statics *statics;
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
        EntryOrders *entry_orders;
        OperatorParts operator_parts;

        sd_event_source *signals[3];
};

/* --- limits ----------------------------------------------------------------------------------- */

/* No limit at 1024: what the machine allows is what we use (P6). */
static size_t raise_descriptor_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 1024;
        if (limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                        log_warning("The limit of open files cannot be raised: %s", strerror(errno));
                if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                        return 1024;
        }
        return limit.rlim_cur > 1048576 ? 1048576 : (size_t)limit.rlim_cur;
}

static size_t count_connections_max(size_t n_descriptors) {
        return n_descriptors > 2 * DESCRIPTORS_RESERVED ? n_descriptors - DESCRIPTORS_RESERVED
                                                        : n_descriptors / 2;
}

/* --- sockets ---------------------------------------------------------------------------------- */

static bool server_has_socket(const Server *server, ListenKind kind) {
        for (size_t i = 0; i < server->sockets.n_sockets; i++)
                if (server->sockets.sockets[i].kind == kind)
                        return true;
        return false;
}

/* Status is a comfort: without it the nodes are served all the same. */
static void server_open_control(Server *server) {
        const char *path = server->config->control_path;
        int r;

        if (!path || server_has_socket(server, LISTEN_CONTROL))
                return;
        r = listen_sockets_open_control(&server->sockets, path);
        if (r < 0)
                log_event(LOG_WARNING, LOG_EVENT_SETTING, NULL,
                          "The control socket %s cannot be opened (%s): 'rollcall status' will not work",
                          path, strerror(-r));
}

static void warn_about_loopback(const Config *config) {
        for (size_t i = 0; i < config->n_listen; i++)
                if (address_is_any(&config->listen[i].address) ||
                    address_is_loopback(&config->listen[i].address))
                        return;
        log_event(LOG_WARNING, LOG_EVENT_SETTING, NULL,
                  "No loopback address is listened on: nodes of this machine cannot register");
}

static int server_open_own_sockets(Server *server) {
        const Config *config = server->config;

        for (size_t i = 0; i < config->n_listen; i++) {
                int r = listen_sockets_open(&server->sockets, config->listen + i);

                if (r < 0)
                        return r;
        }
        warn_about_loopback(config);
        return 0;
}

static bool server_has_port(const Server *server, uint16_t port) {
        for (size_t i = 0; i < server->sockets.n_sockets; i++)
                if (server->sockets.sockets[i].kind == LISTEN_EPMD &&
                    server->sockets.sockets[i].port == port)
                        return true;
        return false;
}

/* An operator who sets these expects something of them. */
static void warn_about_ignored_settings(const Server *server) {
        const Config *config = server->config;
        const char *setting = NULL;

        if (config->has_listen)
                setting = "--listen";
        else if (config->epmd_addresses)
                setting = "ERL_EPMD_ADDRESS";
        else if (config->has_port && !server_has_port(server, config->port))
                setting = "the port (--port, ERL_EPMD_PORT)";
        if (setting)
                log_event(LOG_WARNING, LOG_EVENT_SETTING, NULL,
                          "%s has no effect: systemd's epmd.socket decides where we listen", setting);
}

static int server_open_sockets(Server *server) {
        int r = listen_sockets_take_passed(&server->sockets, &server->kept);

        if (r < 0) {
                log_error("The passed sockets cannot be taken over: %s", strerror(-r));
                return r;
        }
        if (!server_has_socket(server, LISTEN_EPMD)) {
                r = server_open_own_sockets(server);
                if (r < 0)
                        return r;
        } else
                warn_about_ignored_settings(server);
        server_open_control(server);
        return 0;
}

static int server_find_listener_fd(const Server *server) {
        for (size_t i = 0; i < server->sockets.n_sockets; i++)
                if (server->sockets.sockets[i].kind == LISTEN_EPMD)
                        return server->sockets.sockets[i].fd;
        return -1;
}

/* What clients are told is EPMD's port, where it cannot be told from the socket they came by. */
static uint16_t server_find_port(const Server *server) {
        for (size_t i = 0; i < server->sockets.n_sockets; i++)
                if (server->sockets.sockets[i].kind == LISTEN_EPMD)
                        return server->sockets.sockets[i].port;
        return EPMD_PORT;
}

/* --- the words for systemd -------------------------------------------------------------------- */

static void server_describe(void *userdata, char *text, size_t n_text) {
        const Server *server = userdata;
        size_t n_nodes = registry_n_nodes(server->registry);
        size_t n_awaited = registry_n_awaited(server->registry);
        const char *reason = ledger_degraded_reason(server->ledger);
        const char *config_reason = config_degraded_reason(server->config);
        char evidence[160];

        snprintf(text, n_text, "%s%s%s%s%s%zu node%s, %zu awaited; evidence: %s",
                 reason || config_reason ? "DEGRADED, " : "", reason ? reason : "", reason ? "; " : "",
                 config_reason ? config_reason : "", config_reason ? "; " : "", n_nodes, n_nodes == 1 ? "" : "s", n_awaited,
                 vigil_describe_evidence(server->vigil, evidence, sizeof evidence));
}

/* --- what has happened ---------------------------------------------------------------------------- */

static void server_on_news(void *userdata, const LedgerNews *news) {
        Server *server = userdata;

        keeper_on_news(server->keeper, news);
        unit_states_on_news(server->unit_states, news);
        registrar_on_news(server->registrar, news);
        statics_on_news(server->statics, news);
        watch_note(server->watch, news);
}

static void server_on_answered(void *userdata, Conn *conn) {
        Server *server = userdata;

        keeper_on_answered(server->keeper, conn);
}

static void server_on_tellable(void *userdata, uint64_t revision) {
        Server *server = userdata;

        pending_tell(server->pending, revision);
        watch_tell(server->watch, revision);
}

static void server_on_answer(void *userdata, const StoreAnswer *answer) {
        Server *server = userdata;

        inquiry_on_answer(server->inquiry, answer);
        entry_orders_on_answer(server->entry_orders, answer);
}

static void server_on_heard(void *userdata, const char *unit) {
        Server *server = userdata;

        (void)unit;
        registrar_on_heard(server->registrar);
}

static void server_on_change(void *userdata) {
        Server *server = userdata;

        herald_note_change(server->herald);
}

/* --- the configuration -------------------------------------------------------------------------- */

static RegistryLimits server_limits(const Server *server) {
        size_t n_per_uid = server->config->settings.n_nodes_per_uid_max;

        return (RegistryLimits){
                .n_nodes_max = server->n_conns_max,
                .n_nodes_per_uid_max = n_per_uid ? n_per_uid : server->n_conns_max / 2,
        };
}

static void server_tell_operator(Server *server) {
        OperatorParts *parts = &server->operator_parts;

        parts->n_nodes_per_uid_max = server_limits(server).n_nodes_per_uid_max;
        parts->config_reason = config_degraded_reason(server->config);
        parts->config_files = server->config->files.paths;
        parts->n_config_files = server->config->files.n_paths;
}

static bool server_may_watch(void *userdata, Conn *conn) {
        const Server *server = userdata;

        return operator_may_watch(&server->operator_parts, conn);
}

/* Static entries of the files; until they were read, none of theirs is gone. */
static void server_take_nodes(Server *server) {
        if (!server->config->has_adopted)
                return;
        if (statics_set_filed(server->statics, &server->config->nodes) < 0)
                log_error("The static entries of the configuration are not in force: %s", strerror(ENOMEM));
}

/* What may change while the daemon runs; at the start there is nobody yet to be told. */
static void server_apply_settings(Server *server) {
        const Settings *settings = &server->config->settings;
        RegistryLimits limits = server_limits(server);

        log_set_level(settings->log_priority, server->config->debug);
        if (!server->mapper)
                return;
        registry_set_rules(server->registry, &settings->rules, &limits);
        listings_forget(server->listings);
        watch_review(server->watch, server_may_watch, server);
        watch_begin_anew(server->watch);
        server_tell_operator(server);
        conns_set_packet_timeout(server->conns, settings->packet_timeout_usec);
        store_set_history_bounds(server->store, settings->history_days, settings->history_rows,
                                 settings->history_per_name);
        server_take_nodes(server);
        statics_sync(server->statics);
}

static void server_on_config(void *userdata) {
        Server *server = userdata;

        server_apply_settings(server);
        if (server->is_reloading)
                herald_reloaded(server->herald);
        server->is_reloading = false;
}

/* --- signals ---------------------------------------------------------------------------------- */

static int server_on_end_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                                void *userdata) {
        Server *server = userdata;

        (void)source;
        log_debug("Ending on signal %u", info->ssi_signo);
        return sd_event_exit(server->event, 0);
}

/* SIGHUP: look again at everything outside that we remember: the registry file, the kernel, our own sight, the
 * configuration. */
static int server_on_reload(sd_event_source *source, const struct signalfd_siginfo *info,
                            void *userdata) {
        Server *server = userdata;

        (void)source;
        (void)info;
        herald_reloading(server->herald);
        store_poke(server->store);
        vigil_look_again(server->vigil);
        unit_states_look_again(server->unit_states);
        log_info("Looked again at the registry file and at every listening socket");
        server->is_reloading = true;
        reload_start(server->reload);
        return 0;
}

static int server_block_signals(void) {
        sigset_t mask;

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigaddset(&mask, SIGINT);
        sigaddset(&mask, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : 0;
}

static int server_watch_signals(Server *server) {
        static const struct {
                int signal;
                sd_event_signal_handler_t handler;
        } handled[] = {
                { SIGTERM, server_on_end_signal },
                { SIGINT, server_on_end_signal },
                { SIGHUP, server_on_reload },
        };

        for (size_t i = 0; i < ELEMENTS(handled); i++) {
                int r = sd_event_add_signal(server->event, server->signals + i, handled[i].signal,
                                            handled[i].handler, server);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- requests --------------------------------------------------------------------------------- */

static void server_on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Server *server = userdata;

        switch (conn_kind(conn)) {
        case CONN_EPMD:
                if (!operator_on_tcp_request(&server->operator_parts, conn, body, n_body))
                        mapper_on_request(server->mapper, conn, body, n_body);
                break;
        case CONN_CONTROL:
                operator_on_request(&server->operator_parts, conn, body, n_body);
                break;
        }
}

static void server_on_end(void *userdata, Conn *conn) {
        Server *server = userdata;

        mapper_on_end(server->mapper, conn);
}

static Party server_find_party(void *userdata, Conn *conn) {
        Server *server = userdata;

        return gate_find_party(server->gate, conn);
}

static void server_on_offence(void *userdata, const ConnOffence *offence) {
        Server *server = userdata;

        blame_note(server->blame, offence);
}

/* Before the answer leaves: whoever reads it may start our successor at once. */
static void server_on_kill(void *userdata) {
        Server *server = userdata;

        listen_sockets_unlink(&server->sockets);
        acceptors_close(server->acceptors);
        sd_event_exit(server->event, 0);
}

/* --- the registry ----------------------------------------------------------------------------- */

/* With a file of the operator's choice a second daemon is a mistake. With a default one it is served
 * around until the other has ended, loudly: a restart must not fail because the one before is slow to go. */
static int server_open_store(Server *server) {
        const Config *config = server->config;
        StoreOptions options = {
                .path = config->state_mode == STATE_NONE ? NULL : config->state_path,
                .boot_id = config->boot_id,
                .waits_for_lock = config->state_mode != STATE_EXPLICIT,
                .history_days = config->settings.history_days,
                .history_rows = config->settings.history_rows,
                .history_per_name = config->settings.history_per_name,
        };
        pid_t holder = 0;
        int r = store_new(&server->store, &options, &holder);

        if (r == 0)
                store_gather(server->store);
        if (r == -EBUSY)
                log_error("The registry %s is in use by process %d. End that one, or choose another file",
                          options.path, (int)holder);
        return r;
}

/* False while the disk may let us read in a moment. Rows of a file that fails, or is not for us to write, may come
 * much later, or never. */
static bool server_has_read_all(const Server *server) {
        return store_health(server->store) != STORE_OPENING;
}

static SalvageParts server_salvage(const Server *server) {
        return (SalvageParts){ server->registry, server->ledger, server->vigil, server->keeper };
}

/* Also when the disk lets us read late: what was registered meanwhile counts more than what is in the file. */
static void server_on_loaded(void *userdata, StoreLoaded *loaded) {
        Server *server = userdata;
        SalvageParts salvage = server_salvage(server);

        /* Of a file that is read late: what has happened since is newer. */
        for (size_t i = 0; i < loaded->n_refused; i++)
                if (!refusals_find(server->refusals, loaded->refused[i].name, loaded->refused[i].n_name))
                        refusals_note(server->refusals, loaded->refused + i);
        pins_take_loaded(server->pins, &loaded->pins);
        statics_take_loaded(server->statics, &loaded->entries);
        salvage_meet_rows(&salvage, loaded);
        salvage_uncross_rows(&salvage, loaded);
        vigil_reconcile(server->vigil, server->keeper, loaded, server->config->boot_id);
        salvage_nodes(&salvage);
        pins_tell_all(server->pins);
        statics_sync(server->statics);
        keeper_release_rest(server->keeper, server_has_read_all(server));
}

static void server_load(Server *server) {
        _cleanup_(store_loaded_freep) StoreLoaded *loaded = NULL;
        SalvageParts salvage = server_salvage(server);

        if (store_wait_loaded(server->store, LOAD_PATIENCE_USEC) == 0)
                loaded = store_take_loaded(server->store);
        if (loaded)
                server_on_loaded(server, loaded);
        else {
                registry_advance_creation(server->registry, creation_unknown((uint64_t)time(NULL), random_u32()));
                salvage_nodes(&salvage);
                keeper_release_rest(server->keeper, server_has_read_all(server));
        }
        ledger_check_health(server->ledger);
}

/* --- life ------------------------------------------------------------------------------------- */

static int server_build_state(Server *server, const RegistryLimits *limits) {
        int r = registry_new(&server->registry, limits, random_u64());

        if (r >= 0)
                r = refusals_new(&server->refusals);
        if (r >= 0)
                registry_set_rules(server->registry, &server->config->settings.rules, limits);
        if (r >= 0)
                r = server_open_store(server);
        if (r >= 0)
                r = ledger_new(&server->ledger, server->event, server->registry, server->store,
                               &server->counters,
                               &(LedgerHandler){
                                       .on_news = server_on_news,
                                       .on_answered = server_on_answered,
                                       .on_tellable = server_on_tellable,
                                       .on_answer = server_on_answer,
                                       .on_change = server_on_change,
                                       .on_loaded = server_on_loaded,
                                       .userdata = server,
                               });
        if (r >= 0)
                r = vigil_new(&server->vigil, server->event, server->registry, server->ledger,
                              &server->counters, server_find_listener_fd(server), VIGIL_REVIEW_USEC);
        if (r >= 0)
                r = unit_states_new(&server->unit_states, server->event, server->registry, server->ledger,
                                    &(UnitStatesHandler){ server_on_heard, server });
        if (r >= 0)
                r = pins_new(&server->pins, server->registry, server->ledger);
        if (r >= 0)
                r = statics_new(&server->statics, server->event,
                                &(StaticsParts){ server->registry, server->ledger, server->vigil,
                                                 server->unit_states, server->pins });
        if (r >= 0)
                r = fdstore_new(&server->fdstore, server->event, herald_notify_path(server->herald),
                                server->config->n_fdstore_max);
        return r;
}

/* Those who ask for more than EPMD knows. */
static int server_build_desk(Server *server) {
        int r = watch_new(&server->watch, server->registry);

        if (r >= 0)
                r = inquiry_new(&server->inquiry, server->event,
                                &(InquiryParts){ server->registry, server->refusals, server->store,
                                                 server->vigil, server->statics });
        if (r >= 0)
                r = pending_new(&server->pending,
                                &(PendingParts){ server->registry, server->ledger, server->listings });
        if (r >= 0)
                r = orders_new(&server->orders,
                               &(OrdersParts){ server->registry, server->ledger, server->vigil, server->pending });
        if (r >= 0)
                r = entry_orders_new(&server->entry_orders, server->event,
                                     &(EntryOrdersParts){ server->store, server->statics, server->pins });
        return r;
}

static int server_build_service(Server *server, size_t n_conns_max) {
        const Config *config = server->config;
        int r;

        r = conns_new(&server->conns, server->event,
                      &(ConnOptions){
                              .packet_timeout_usec = config->settings.packet_timeout_usec,
                              .n_conns_max = n_conns_max,
                              .delay_write_sec = config->delay_write_sec,
                      },
                      &(ConnHandler){
                              .on_request = server_on_request,
                              .on_end = server_on_end,
                              .is_dear = mapper_is_dear,
                              .find_party = server_find_party,
                              .on_offence = server_on_offence,
                              .userdata = server,
                      },
                      &server->counters);
        if (r >= 0)
                r = acceptors_new(&server->acceptors, server->event, server->conns,
                                  config->delay_accept_sec);
        if (r >= 0)
                r = keeper_new(&server->keeper, server->event, server->fdstore, server->conns, &server->kept,
                               server_find_port(server));
        if (r >= 0)
                r = listings_new(&server->listings);
        return r;
}

static int server_build_mapper(Server *server) {
        const Config *config = server->config;
        int r = registrar_new(&server->registrar, server->event,
                              &(RegistrarParts){ server->ledger, server->vigil, server->unit_states,
                                                 server->refusals, server->store, &server->counters, server->pins,
                                                 server->registry },
                              &config->settings.hold_usec);

        if (r >= 0)
                r = gate_new(&server->gate, server->vigil, &server->counters);
        if (r >= 0)
                r = blame_new(&server->blame, server->event, server->vigil, BLAME_INTERVAL_USEC);
        if (r >= 0)
                r = mapper_new(&server->mapper,
                               &(MapperParts){ server->registry, server->ledger, server->vigil,
                                               server->gate, server->registrar, server->listings, &server->counters,
                                               server->statics },
                               &(MapperOptions){ &config->settings.lookup_from, &config->settings.list_from,
                                                 &config->settings.names_with_helpers,
                                                 config->relaxed_command_check, server_on_kill,
                                                 server });
        return r;
}

static void server_seat_operator(Server *server) {
        server->operator_parts = (OperatorParts){
                .registry = server->registry,
                .sockets = &server->sockets,
                .store = server->store,
                .ledger = server->ledger,
                .vigil = server->vigil,
                .gate = server->gate,
                .blame = server->blame,
                .list_from = &server->config->settings.list_from,
                .conns = server->conns,
                .listings = server->listings,
                .fdstore = server->fdstore,
                .unit_states = server->unit_states,
                .registrar = server->registrar,
                .inquiry = server->inquiry,
                .orders = server->orders,
                .watch = server->watch,
                .pending = server->pending,
                .statics = server->statics,
                .entry_orders = server->entry_orders,
                .counters = &server->counters,
                .boot_id = server->config->boot_id,
                .started_usec = now_usec(CLOCK_REALTIME),
        };
        server_tell_operator(server);
}

static int server_build(Server *server) {
        RegistryLimits limits = server_limits(server);
        int r = server_build_state(server, &limits);

        if (r >= 0)
                r = server_build_service(server, server->n_conns_max);
        if (r >= 0)
                r = server_build_mapper(server);
        if (r >= 0)
                r = server_build_desk(server);
        if (r < 0)
                return r;
        server_seat_operator(server);
        server_take_nodes(server);
        server_load(server);
        statics_sync(server->statics);
        return 0;
}

int server_new(Server **ret, Config *config) {
        _cleanup_(server_freep) Server *server = calloc(1, sizeof *server);
        int r;

        if (!server)
                return -ENOMEM;
        server->config = config;
        server->n_conns_max = count_connections_max(raise_descriptor_limit());
        r = server_block_signals();
        if (r >= 0)
                r = sd_event_new(&server->event);
        if (r >= 0)
                r = server_watch_signals(server);
        if (r >= 0)
                r = herald_new(&server->herald, server->event, server_describe, server);
        if (r >= 0)
                r = reload_new(&server->reload, server->event, config, &(ReloadHandler){ server_on_config, server });
        if (r < 0) {
                log_error("The daemon cannot be set up: %s", strerror(-r));
                return r;
        }
        r = server_open_sockets(server);
        if (r < 0)
                return r;
        r = server_build(server);
        if (r < 0) {
                if (r != -EBUSY)
                        log_error("The daemon cannot be set up: %s", strerror(-r));
                return r;
        }
        *ret = TAKE_PTR(server);
        return 0;
}

/* Who waits for his registration to be written is answered before he is closed: a node that boots would not
 * try again. */
static void server_stop_store(Server *server) {
        if (!server->store)
                return;
        if (store_stop(server->store, STOP_PATIENCE_USEC) < 0)
                log_event(LOG_ERR, LOG_EVENT_REGISTRY_FILE, NULL,
                          "Ending although the disk has not taken the last changes within %u s",
                          (unsigned)(STOP_PATIENCE_USEC / USEC_PER_SEC));
        if (server->ledger)
                ledger_answer_written(server->ledger);
}

Server *server_free(Server *server) {
        if (!server)
                return NULL;
        listen_sockets_unlink(&server->sockets);
        reload_free(server->reload);
        server->acceptors = acceptors_free(server->acceptors);
        server_stop_store(server);
        /* Those that are not a second old yet: whoever starts next finds them, too. */
        if (server->fdstore)
                fdstore_flush(server->fdstore);
        mapper_free(server->mapper);
        watch_free(server->watch);
        entry_orders_free(server->entry_orders);
        orders_free(server->orders);
        pending_free(server->pending);
        inquiry_free(server->inquiry);
        registrar_free(server->registrar);
        listings_free(server->listings);
        server->ledger = ledger_free(server->ledger);
        keeper_free(server->keeper);
        conns_free(server->conns);
        fdstore_free(server->fdstore);
        statics_free(server->statics);
        pins_free(server->pins);
        unit_states_free(server->unit_states);
        blame_free(server->blame);
        gate_free(server->gate);
        vigil_free(server->vigil);
        store_free(server->store);
        refusals_free(server->refusals);
        registry_free(server->registry);
        fdstore_kept_done(&server->kept);
        listen_sockets_done(&server->sockets);
        for (size_t i = 0; i < ELEMENTS(server->signals); i++)
                sd_event_source_disable_unref(server->signals[i]);
        herald_free(server->herald);
        sd_event_unref(server->event);
        free(server);
        return NULL;
}

static int server_open_doors(Server *server) {
        for (size_t i = 0; i < server->sockets.n_sockets; i++) {
                ListenSocket *entry = server->sockets.sockets + i;
                int r = acceptors_add(server->acceptors, &entry->fd,
                                           entry->kind == LISTEN_EPMD ? CONN_EPMD : CONN_CONTROL,
                                           entry->port);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* From now on nobody reads there: `epmd -daemon` has come back to its caller. */
static void leave_standard_streams(void) {
        _cleanup_(close_fdp) int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        for (int stream = STDIN_FILENO; fd >= 0 && stream <= STDERR_FILENO; stream++)
                if (dup2(fd, stream) < 0)
                        log_warning("A standard stream stays open: %s", strerror(errno));
}

/* Whoever started us in another way than by systemd may wait for this. */
static void server_tell_ready_fd(const Server *server) {
        int fd = server->config->ready_fd;

        if (fd < 0)
                return;
        if (write(fd, "READY\n", 6) < 0)
                log_warning("Nobody reads --ready-fd %d: %s", fd, strerror(errno));
        close(fd);
        if (server->config->log_format == LOG_FORMAT_SYSLOG)
                leave_standard_streams();
}

static void server_announce(Server *server) {
        char text[512];

        server_describe(server, text, sizeof text);
        log_event(LOG_INFO, LOG_EVENT_STARTED, NULL, "rollcalld " PACKAGE_VERSION " is ready: %s", text);
        for (size_t i = 0; i < server->sockets.n_sockets; i++)
                log_debug("Listening on %s",
                          listen_socket_format(server->sockets.sockets + i, text, sizeof text));
        herald_ready(server->herald);
        server_tell_ready_fd(server);
}

int server_run(Server *server) {
        int r = server_open_doors(server);

        if (r < 0) {
                log_error("The sockets cannot be watched: %s", strerror(-r));
                return r;
        }
        server_announce(server);
        r = loop_run(server->event, server->store);
        herald_stopping(server->herald);
        if (r < 0)
                log_error("The event loop has failed: %s", strerror(-r));
        log_event(LOG_INFO, LOG_EVENT_STOPPED, NULL, "Ending; nodes to be awaited at the next start: %zu",
                  registry_n_nodes(server->registry));
        return r;
}
