/* SPDX-License-Identifier: Apache-2.0 */

#include <fnmatch.h>
#include <limits.h>

#include "loop_test.h"
#include "serve/watch.h"

/* A registry that is changed by hand, and watchers on sockets. Nothing is told but by tell(). */
typedef struct Bench {
        sd_event *event;
        Counters counters;
        Conns *conns;
        Registry *registry;
        Watch *watch;
        uint64_t told;
        uint64_t skipped; /* revisions that nobody was told of: in news they are that much higher */
} Bench;

static void on_request(void *userdata, Conn *conn, const uint8_t *body, size_t n_body) {
        Bench *bench = userdata;
        ControlRequest request;

        ck_assert(control_parse_request(body, n_body, &request));
        ck_assert_uint_eq(request.kind, CONTROL_WATCH);
        watch_on_request(bench->watch, conn, &request);
}

static void on_end(void *userdata, Conn *conn) {
        (void)userdata;
        (void)conn;
        ck_abort_msg("nobody is registered here");
}

static Bench *hasty_bench(uint64_t packet_timeout_usec) {
        Bench *bench = calloc(1, sizeof *bench);

        no_log();
        ck_assert_ptr_nonnull(bench);
        bench->event = make_event();
        ck_assert_int_eq(registry_new(&bench->registry, &(RegistryLimits){ 100000, 100000 }, 1), 0);
        ck_assert_int_eq(watch_new(&bench->watch, bench->registry), 0);
        ck_assert_int_eq(conns_new(&bench->conns, bench->event,
                                   &(ConnOptions){ .packet_timeout_usec = packet_timeout_usec, .n_conns_max = 10000 },
                                   &(ConnHandler){ .on_request = on_request, .on_end = on_end, .userdata = bench }, &bench->counters),
                         0);
        return bench;
}

static Bench *bench_new(void) {
        return hasty_bench(60 * USEC_PER_SEC);
}

static void bench_free(Bench *bench) {
        watch_free(bench->watch);
        conns_free(bench->conns);
        registry_free(bench->registry);
        sd_event_unref(bench->event);
        free(bench);
}

/* --- what happens ------------------------------------------------------------------------------------- */

static uint64_t revision(const Bench *bench) {
        return registry_revision(bench->registry);
}

static void tell(Bench *bench, uint64_t told) {
        bench->told = told;
        watch_tell(bench->watch, told);
}

static void tell_all(Bench *bench) {
        tell(bench, revision(bench));
}

static void carry(Bench *bench, const Event *event) {
        Change change;
        Reply reply;
        int r;

        do {
                LedgerNews news;

                r = registry_decide(bench->registry, event, &change, &reply);
                ck_assert_int_ge(r, 0);
                if (change.kind == CHANGE_NONE)
                        continue;
                news = (LedgerNews){ .kind = change.kind, .node = change.node, .state_before = change.node->state,
                                     .end = change.end, .by = change.by };
                registry_apply(bench->registry, &change);
                news.revision = revision(bench) + bench->skipped;
                watch_note(bench->watch, &news);
        } while (r == REGISTRY_E_AGAIN);
}

static Node *find(const Bench *bench, const char *name, const char *scope) {
        Address address;
        Node *node = NULL;

        ck_assert_int_eq(address_parse(scope, &address), 0);
        while ((node = registry_find_name(bench->registry, name, strlen(name), node)))
                if (address_equal(&node->scope, &address))
                        break;
        return node;
}

/* A name that is taken is refused, as ever. Those that begin with h are hidden nodes. */
static void enter(Bench *bench, const char *name, const char *scope) {
        static uint64_t cookie;
        Event event = {
                .kind = EVENT_REGISTER,
                .info = { .name = name, .n_name = strlen(name), .highest_version = 6, .port = 4000,
                          .type = name[0] == 'h' ? NODE_TYPE_HIDDEN : NODE_TYPE_NORMAL },
                .peer.uid = 1000,
                .listener.cookie = ++cookie,
                .connection = bench,
                .connection_fd = -1,
                .now_usec = 1000,
        };

        ck_assert_int_eq(address_parse(scope, &event.listener.address), 0);
        carry(bench, &event);
}

static void leave(Bench *bench, const char *name, const char *scope) {
        Node *node = find(bench, name, scope);

        if (node)
                carry(bench, &(Event){ .kind = EVENT_CONNECTION_ENDED, .node = node, .now_usec = 2000 });
}

/* Its state is the one thing that can change of a node with one name and one creation. */
static void announce(Bench *bench, const char *name, const char *scope, NodeAnnounced announced) {
        Node *node = find(bench, name, scope);

        if (node)
                carry(bench, &(Event){ .kind = EVENT_ANNOUNCED, .node = node, .announced = announced });
}

/* --- a watcher ---------------------------------------------------------------------------------------- */

/* One node as a watcher knows it, or as the model does. */
typedef struct Known {
        char name[8], scope[16];
        uint32_t creation;
        char state[12];
} Known;

typedef struct Image {
        Known nodes[16];
        size_t n_nodes;
} Image;

typedef struct Client {
        Bench *bench;
        int fd;
        Heard heard;
        size_t n_read; /* of what was heard */
        bool has_head;
        const char *states; /* those it has asked for, as Wanted says them */
        bool is_strict;     /* it is told of no end of what it does not know */
        Image image;
        Image synced; /* at the last SYNCED */
        uint64_t epoch, revision;
        unsigned n_epochs, n_nodes, n_left, n_gone, n_synced; /* left: told once more, in a state not asked for */
        unsigned error; /* ControlError, once it was told one */
        char by[32], how[32];
        bool is_helper; /* of the last node it heard of */
        bool has_uid, has_cookie;
} Client;

typedef struct Wanted {
        const char *name, *prefix, *scope, *pattern, *exclude;
        const char *states; /* words; NULL: any; "": not said, all but stopping */
        bool hides;         /* no hidden ones */
        bool is_tcp;
        uint32_t heartbeat_msec;  /* 0: not said */
        uint64_t epoch, revision; /* to go on from; epoch 0: not said */
} Wanted;

static bool wants_state(const char *states, const char *state) {
        if (!states)
                return true;
        return states[0] ? strstr(states, state) != NULL : strcmp(state, "stopping") != 0;
}

static void put_text(ControlBuffer *buffer, ControlTag tag, const char *text) {
        if (text)
                control_put_text(buffer, tag, text, strlen(text));
}

static void put_states(ControlBuffer *buffer, const char *states) {
        _cleanup_(freep) char *words = strdup(states ? states : "any");
        char *save = NULL;

        for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
                put_text(buffer, CONTROL_TAG_STATE, word);
}

static void client_say(Client *client, const Wanted *wanted) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_request_begin(&buffer, CONTROL_WATCH);
        put_text(&buffer, CONTROL_TAG_NAME, wanted->name);
        put_text(&buffer, CONTROL_TAG_PREFIX, wanted->prefix);
        put_text(&buffer, CONTROL_TAG_SCOPE, wanted->scope);
        put_text(&buffer, CONTROL_TAG_PATTERN, wanted->pattern);
        put_text(&buffer, CONTROL_TAG_EXCLUDE, wanted->exclude);
        put_states(&buffer, wanted->states);
        if (!wanted->hides)
                control_put_u8(&buffer, CONTROL_TAG_HIDDEN, 1);
        if (wanted->heartbeat_msec != 0)
                control_put_u32(&buffer, CONTROL_TAG_HEARTBEAT, wanted->heartbeat_msec);
        if (wanted->epoch != 0) {
                control_put_u64(&buffer, CONTROL_TAG_EPOCH, wanted->epoch);
                control_put_u64(&buffer, CONTROL_TAG_REVISION, wanted->revision);
        }
        control_put_request_end(&buffer);
        say(client->fd, buffer.data, buffer.n_data);
}

static void client_open(Client *client, Bench *bench, const Wanted *wanted, int n_sndbuf) {
        SocketAddress peer = { .sa.sa_family = AF_UNIX };
        int fds[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
        if (n_sndbuf > 0)
                ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &n_sndbuf, sizeof n_sndbuf), 0);
        client->bench = bench;
        client->fd = fds[0];
        client->states = wanted->states;
        client_say(client, wanted);
        conns_take(bench->conns, fds[1], wanted->is_tcp ? CONN_EPMD : CONN_CONTROL, 0, &peer);
}

static Client *client_new(Bench *bench, const Wanted *wanted) {
        Client *client = calloc(1, sizeof *client);

        ck_assert_ptr_nonnull(client);
        client_open(client, bench, wanted ? wanted : &(Wanted){ 0 }, 0);
        return client;
}

static void client_close(Client *client) {
        close(client->fd);
        heard_done(&client->heard);
        client->n_read = 0;
        client->has_head = false;
}

static Client *client_free(Client *client) {
        client_close(client);
        free(client);
        return NULL;
}

static void copy_text(const ControlField *field, char *ret, size_t n_ret) {
        ck_assert_uint_lt(field->n_value, n_ret);
        memcpy(ret, field->value, field->n_value);
        ret[field->n_value] = 0;
}

typedef struct Heading {
        Known known;
        uint64_t epoch, revision;
} Heading;

static Heading client_read_fields(Client *client, const uint8_t *fields, size_t n_fields) {
        Heading heading = { .revision = UINT64_MAX };
        ControlField field;
        size_t offset = 0;

        if (control_find_field(fields, n_fields, CONTROL_TAG_NAME, &field)) {
                client->is_helper = control_find_field(fields, n_fields, CONTROL_TAG_HELPER, &field);
                client->has_uid = control_find_field(fields, n_fields, CONTROL_TAG_UID, &field);
                client->has_cookie = control_find_field(fields, n_fields, CONTROL_TAG_LISTENER, &field);
        }
        while (control_next_field(fields, n_fields, &offset, &field))
                switch (field.tag) {
                case CONTROL_TAG_NAME:
                        copy_text(&field, heading.known.name, sizeof heading.known.name);
                        break;
                case CONTROL_TAG_SCOPE:
                        copy_text(&field, heading.known.scope, sizeof heading.known.scope);
                        break;
                case CONTROL_TAG_STATE:
                        copy_text(&field, heading.known.state, sizeof heading.known.state);
                        break;
                case CONTROL_TAG_CREATION:
                        heading.known.creation = (uint32_t)control_field_u64(&field);
                        break;
                case CONTROL_TAG_EPOCH:
                        heading.epoch = control_field_u64(&field);
                        break;
                case CONTROL_TAG_REVISION:
                        heading.revision = control_field_u64(&field);
                        break;
                case CONTROL_TAG_BY:
                        copy_text(&field, client->by, sizeof client->by);
                        break;
                case CONTROL_TAG_HOW:
                        copy_text(&field, client->how, sizeof client->how);
                        break;
                case CONTROL_TAG_ERROR:
                        client->error = (unsigned)control_field_u64(&field);
                        break;
                default:
                        break;
                }
        ck_assert_uint_eq(offset, n_fields);
        return heading;
}

static Known *image_find(Image *image, const Known *known) {
        for (size_t i = 0; i < image->n_nodes; i++)
                if (strcmp(image->nodes[i].name, known->name) == 0 && strcmp(image->nodes[i].scope, known->scope) == 0)
                        return image->nodes + i;
        return NULL;
}

static void image_put(Image *image, const Known *known) {
        Known *place = image_find(image, known);

        if (!place) {
                ck_assert_uint_lt(image->n_nodes, ELEMENTS(image->nodes));
                place = image->nodes + image->n_nodes++;
        }
        *place = *known;
}

/* Whoever goes on from a SYNCED with more than he knew there hears of some ends twice. */
static void client_drop(Client *client, const Known *known) {
        Known *place = image_find(&client->image, known);

        ck_assert_msg(place || !client->is_strict, "%s@%s was not known", known->name, known->scope);
        if (place)
                *place = client->image.nodes[--client->image.n_nodes];
}

static void client_take(Client *client, uint8_t kind, const uint8_t *fields, size_t n_fields) {
        Heading heading = client_read_fields(client, fields, n_fields);

        /* P1: whatever it is about, it may be told. */
        if (kind != CONTROL_ERROR)
                ck_assert_uint_le(heading.revision, client->bench->told);
        switch (kind) {
        case CONTROL_EPOCH_RECORD:
                client->image.n_nodes = 0;
                client->epoch = heading.epoch;
                client->n_epochs++;
                break;
        case CONTROL_NODE_RECORD:
                if (wants_state(client->states, heading.known.state)) {
                        image_put(&client->image, &heading.known);
                        client->n_nodes++;
                } else {
                        client_drop(client, &heading.known);
                        client->n_left++;
                }
                break;
        case CONTROL_GONE_RECORD:
                client_drop(client, &heading.known);
                client->n_gone++;
                break;
        case CONTROL_SYNCED_RECORD:
                client->revision = heading.revision;
                client->synced = client->image;
                client->n_synced++;
                break;
        case CONTROL_ERROR:
                ck_assert_uint_ne(client->error, 0);
                break;
        default:
                ck_abort_msg("a record of kind %u", kind);
        }
}

/* Takes in one record, if a whole one was heard. */
static bool client_step(Client *client) {
        const uint8_t *data = client->heard.data + client->n_read, *fields;
        size_t n_data = client->heard.n_data - client->n_read, n, n_fields;
        uint8_t kind, version;

        if (!client->has_head) {
                if (control_parse_answer_head(data, n_data, &version) < 1)
                        return false;
                client->has_head = true;
                client->n_read += CONTROL_ANSWER_HEAD;
                return true;
        }
        if (control_next_record(data, n_data, &n, &kind, &fields, &n_fields) < 1)
                return false;
        client_take(client, kind, fields, n_fields);
        client->n_read += n;
        return true;
}

/* What was read is not needed any more. */
static void client_compact(Client *client) {
        if (client->n_read == 0)
                return;
        memmove(client->heard.data, client->heard.data + client->n_read, client->heard.n_data - client->n_read);
        client->heard.n_data -= client->n_read;
        client->n_read = 0;
}

/* Lets everything happen that can, and takes in all of it. */
static void settle(Client *client) {
        size_t n;

        do {
                turn(client->bench->event);
                n = hear_some(client->fd, &client->heard, SIZE_MAX);
                while (client_step(client))
                        ;
                client_compact(client);
        } while (n > 0);
}

#define assert_client(client, epochs, nodes, gone, syncs)            \
        do {                                                         \
                settle(client);                                      \
                ck_assert_uint_eq((client)->n_epochs, (epochs));     \
                ck_assert_uint_eq((client)->n_nodes, (nodes));       \
                ck_assert_uint_eq((client)->n_gone, (gone));         \
                ck_assert_uint_eq((client)->n_synced, (syncs));      \
                ck_assert_uint_eq((client)->error, 0);               \
        } while (0)

/* --- the first answer --------------------------------------------------------------------------------- */

START_TEST(test_a_watcher_hears_of_all_there_is_and_then_of_what_happens) {
        Bench *bench = bench_new();
        Client *client;

        enter(bench, "a", "*");
        enter(bench, "b", "127.0.0.1");
        tell_all(bench);
        client = client_new(bench, NULL);
        assert_client(client, 1, 2, 0, 1);
        ck_assert_uint_eq(client->epoch, watch_epoch(bench->watch));
        ck_assert_uint_eq(client->revision, 2);
        ck_assert_uint_eq(watch_n(bench->watch), 1);

        enter(bench, "c", "*");
        announce(bench, "a", "*", NODE_ANNOUNCED_READY);
        leave(bench, "b", "127.0.0.1");
        tell_all(bench);
        assert_client(client, 1, 4, 1, 2);
        ck_assert_uint_eq(client->revision, 5);
        ck_assert_uint_eq(client->synced.n_nodes, 2);
        ck_assert_str_eq(image_find(&client->synced, &(Known){ .name = "a", .scope = "*" })->state, "ready");
        ck_assert_str_eq(client->how, "left");
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_an_empty_registry_is_told_too) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL);

        assert_client(client, 1, 0, 0, 1);
        ck_assert_uint_eq(client->revision, 0);
        ck_assert_uint_ne(client->epoch, 0);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_releases_a_name_is_told) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL);

        enter(bench, "a", "*");
        carry(bench, &(Event){ .kind = EVENT_RELEASE, .node = find(bench, "a", "*"), .by = "uid 7", .now_usec = 5 });
        tell_all(bench);
        assert_client(client, 1, 1, 1, 2);
        ck_assert_str_eq(client->how, "released");
        ck_assert_str_eq(client->by, "uid 7");
        ck_assert_uint_eq(client->synced.n_nodes, 0);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_each_process_has_an_epoch_of_its_own) {
        Bench *bench = bench_new(), *other = bench_new();

        ck_assert_uint_ne(watch_epoch(bench->watch), 0);
        ck_assert_uint_ne(watch_epoch(bench->watch), watch_epoch(other->watch));
        bench_free(bench);
        bench_free(other);
}
END_TEST

/* --- not before it may be told (P1) ------------------------------------------------------------------- */

START_TEST(test_a_snapshot_waits_until_it_may_be_told_and_is_of_its_moment) {
        Bench *bench = bench_new();
        Client *client;

        enter(bench, "a", "*");
        tell_all(bench);
        enter(bench, "b", "*");
        client = client_new(bench, NULL);
        assert_client(client, 0, 0, 0, 0);
        ck_assert(client->has_head);
        enter(bench, "c", "*");
        tell(bench, 2);
        assert_client(client, 1, 2, 0, 1);
        ck_assert_uint_eq(client->revision, 2);
        tell(bench, 3);
        assert_client(client, 1, 3, 0, 2);
        ck_assert_uint_eq(client->revision, 3);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_changes_wait_until_they_may_be_told) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL);

        assert_client(client, 1, 0, 0, 1);
        for (unsigned i = 1; i <= 5; i++) {
                char name[2] = { (char)('a' + i), 0 };

                enter(bench, name, "*");
        }
        assert_client(client, 1, 0, 0, 1);
        tell(bench, 2);
        assert_client(client, 1, 2, 0, 2);
        tell(bench, 1); /* it never goes back */
        bench->told = 2;
        assert_client(client, 1, 2, 0, 2);
        tell(bench, 5);
        assert_client(client, 1, 5, 0, 3);
        client_free(client);
        bench_free(bench);
}
END_TEST

/* --- filters ------------------------------------------------------------------------------------------ */

START_TEST(test_what_does_not_match_is_not_told_and_costs_nothing) {
        Bench *bench = bench_new();
        Client *by_name, *by_prefix, *by_scope;

        enter(bench, "a", "127.0.0.1");
        enter(bench, "a", "127.0.0.2");
        enter(bench, "ab", "*");
        enter(bench, "b", "127.0.0.1");
        tell_all(bench);
        by_name = client_new(bench, &(Wanted){ .name = "a" });
        by_prefix = client_new(bench, &(Wanted){ .prefix = "a" });
        by_scope = client_new(bench, &(Wanted){ .scope = "127.0.0.1" });
        assert_client(by_name, 1, 2, 0, 1);
        assert_client(by_prefix, 1, 3, 0, 1);
        assert_client(by_scope, 1, 2, 0, 1);
        leave(bench, "ab", "*");
        enter(bench, "c", "*");
        tell_all(bench);
        assert_client(by_name, 1, 2, 0, 1);
        assert_client(by_prefix, 1, 3, 1, 2);
        assert_client(by_scope, 1, 2, 0, 1);
        /* who is not told of anything is up to date all the same */
        leave(bench, "a", "127.0.0.1");
        tell_all(bench);
        assert_client(by_name, 1, 2, 1, 2);
        ck_assert_uint_eq(by_name->revision, revision(bench));
        assert_client(by_scope, 1, 2, 1, 2);
        client_free(by_name);
        client_free(by_prefix);
        client_free(by_scope);
        bench_free(bench);
}
END_TEST

/* What a node is told to be in, one after the other, and what one who has asked for certain states hears of it: (n)ode,
 * (l)eft, (g)one, or nothing (.). The first is how it enters: up. */
static const struct {
        const char *states, *steps, *heard;
} passages[] = {
        { "", "e", "n" },
        { "", "ed", "nl" },
        { "", "edr", "nln" },
        { "", "edx", "nl." },
        { "", "ex", "ng" },
        { "", "erx", "nng" },
        { "", "edrx", "nlng" },
        { "", "edhx", "nl.." },   /* what he tells of a node that has left is told nobody */
        { "", "erhx", "nnng" },
        { "ready", "erx", ".ng" },
        { "ready", "ex", ".." },
        { "ready", "edx", "..." },
        { "ready", "edrdrx", "..nlng" },
        { "up ready", "edrd", "nlnl" },
        { "stopping", "edrdx", ".nlng" },
        { "awaited", "edrx", "...." },
        { NULL, "edrhx", "nnnng" },
};

static void pass(Bench *bench, char step) {
        NodeProfile profile = { 0 };

        switch (step) {
        case 'e':
                enter(bench, "a", "*");
                break;
        case 'd':
                announce(bench, "a", "*", NODE_ANNOUNCED_DRAINING);
                break;
        case 'r':
                announce(bench, "a", "*", NODE_ANNOUNCED_READY);
                break;
        case 'h':
                ck_assert_int_eq(node_profile_set(&profile, "k", 1, "v", 1), 0);
                carry(bench, &(Event){ .kind = EVENT_ANNOUNCED, .node = find(bench, "a", "*"), .profile = &profile });
                node_profile_done(&profile);
                break;
        case 'x':
                leave(bench, "a", "*");
                break;
        default:
                ck_abort_msg("no such step: %c", step);
        }
        tell_all(bench);
}

static char heard_since(const Client *before, const Client *now) {
        if (now->n_nodes > before->n_nodes)
                return 'n';
        if (now->n_left > before->n_left)
                return 'l';
        return now->n_gone > before->n_gone ? 'g' : '.';
}

START_TEST(test_who_asks_for_states_hears_who_comes_into_them_and_who_leaves_them) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, &(Wanted){ .states = passages[_i].states });
        Client *late;
        char heard[16] = "";

        client->is_strict = true;
        settle(client);
        for (size_t i = 0; passages[_i].steps[i]; i++) {
                Client before = *client;

                pass(bench, passages[_i].steps[i]);
                settle(client);
                heard[i] = heard_since(&before, client);
                ck_assert_uint_eq(client->n_nodes + client->n_left + client->n_gone -
                                          (before.n_nodes + before.n_left + before.n_gone),
                                  heard[i] != '.');
                /* whoever comes now knows the same */
                late = client_new(bench, &(Wanted){ .states = passages[_i].states });
                settle(late);
                ck_assert_uint_eq(late->n_left, 0);
                ck_assert_uint_eq(late->synced.n_nodes, client->synced.n_nodes);
                client_free(late);
        }
        ck_assert_str_eq(heard, passages[_i].heard);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_hidden_nodes_are_told_to_those_who_ask_for_them) {
        Bench *bench = bench_new();
        Client *client, *all;

        enter(bench, "h1", "*");
        enter(bench, "a", "*");
        tell_all(bench);
        client = client_new(bench, &(Wanted){ .hides = true });
        all = client_new(bench, NULL);
        assert_client(client, 1, 1, 0, 1);
        assert_client(all, 1, 2, 0, 1);
        enter(bench, "h2", "*");
        leave(bench, "h1", "*");
        tell_all(bench);
        assert_client(client, 1, 1, 0, 1);
        assert_client(all, 1, 3, 1, 2);
        client_free(client);
        client_free(all);
        bench_free(bench);
}
END_TEST

START_TEST(test_what_patterns_select_and_exclude) {
        Bench *bench = bench_new();
        Client *client;

        enter(bench, "web_1", "*");
        enter(bench, "db", "*");
        tell_all(bench);
        client = client_new(bench, &(Wanted){ .pattern = "w*_?", .exclude = "*_9" });
        assert_client(client, 1, 1, 0, 1);
        enter(bench, "web_2", "*");
        enter(bench, "web_9", "*");
        enter(bench, "web_22", "*");
        tell_all(bench);
        assert_client(client, 1, 2, 0, 2);
        client_free(client);
        bench_free(bench);
}
END_TEST

/* P7; and one encoding serves both. */
START_TEST(test_over_tcp_what_concerns_this_machine_alone_is_left_out) {
        Bench *bench = bench_new();
        Client *client, *other;

        enter(bench, "a", "*");
        tell_all(bench);
        client = client_new(bench, NULL);
        other = client_new(bench, &(Wanted){ .is_tcp = true });
        for (unsigned i = 0; i < 3; i++) {
                settle(client);
                settle(other);
                ck_assert(client->has_uid && client->has_cookie);
                ck_assert(!other->has_uid && !other->has_cookie);
                ck_assert_uint_eq(client->n_nodes + client->n_gone, i + 1);
                ck_assert_uint_eq(other->n_nodes + other->n_gone, i + 1);
                ck_assert_uint_eq(other->synced.n_nodes, i < 2);
                if (i == 0)
                        announce(bench, "a", "*", NODE_ANNOUNCED_READY);
                else
                        leave(bench, "a", "*");
                tell_all(bench);
        }
        ck_assert_str_eq(other->how, "left");
        client_free(client);
        client_free(other);
        bench_free(bench);
}
END_TEST

/* --- going on from before ----------------------------------------------------------------------------- */

START_TEST(test_who_comes_back_hears_only_what_he_has_missed) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL);

        enter(bench, "a", "*");
        tell_all(bench);
        assert_client(client, 1, 1, 0, 2);
        client_close(client);
        turn(bench->event);
        ck_assert_uint_eq(watch_n(bench->watch), 0);
        enter(bench, "b", "*");
        leave(bench, "a", "*");
        tell_all(bench);
        client_open(client, bench, &(Wanted){ .epoch = client->epoch, .revision = client->revision }, 0);
        assert_client(client, 1, 2, 1, 3);
        ck_assert_uint_eq(client->revision, 3);
        /* also if that was nothing */
        client_close(client);
        client_open(client, bench, &(Wanted){ .epoch = client->epoch, .revision = client->revision }, 0);
        assert_client(client, 1, 2, 1, 4);
        enter(bench, "c", "*");
        tell_all(bench);
        assert_client(client, 1, 3, 1, 5);
        client_free(client);
        bench_free(bench);
}
END_TEST

static const struct {
        const char *what;
        bool is_our_epoch;
        int64_t revision;
} strangers[] = {
        { "another epoch", false, 5 },
        { "a revision that will never be", true, INT64_MAX },
        { "a revision before anybody watched", true, 1 },
};

START_TEST(test_who_cannot_go_on_from_there_hears_all_anew) {
        Bench *bench = bench_new();
        Client *first, *client;
        char name[4] = "a";

        for (unsigned i = 0; i < 3; i++, name[0]++)
                enter(bench, name, "*");
        first = client_new(bench, NULL);
        for (unsigned i = 0; i < 8; i++, name[0]++)
                enter(bench, name, "*");
        tell(bench, 10);
        client = client_new(bench, &(Wanted){ .epoch = watch_epoch(bench->watch) + !strangers[_i].is_our_epoch,
                                              .revision = (uint64_t)strangers[_i].revision });
        settle(client);
        ck_assert_msg(client->n_epochs == 0, "%s", strangers[_i].what); /* not before its snapshot may be told */
        tell_all(bench);
        assert_client(client, 1, 11, 0, 1);
        client_free(client);
        client_free(first);
        bench_free(bench);
}
END_TEST

/* Whoever was told of it by FIND may be a moment ahead of those who watch. */
START_TEST(test_who_knows_more_than_may_be_told_waits_for_it) {
        Bench *bench = bench_new();
        Client *first = client_new(bench, NULL), *client;

        enter(bench, "a", "*");
        enter(bench, "b", "*");
        tell(bench, 1);
        client = client_new(bench, &(Wanted){ .epoch = watch_epoch(bench->watch), .revision = 2 });
        assert_client(client, 0, 0, 0, 0);
        enter(bench, "c", "*");
        tell(bench, 2);
        assert_client(client, 0, 0, 0, 1);
        ck_assert_uint_eq(client->revision, 2);
        tell(bench, 3);
        assert_client(client, 0, 1, 0, 2);
        ck_assert_uint_eq(client->revision, 3);
        client_free(client);
        client_free(first);
        bench_free(bench);
}
END_TEST

/* FIND, too, tells of a revision. */
START_TEST(test_changes_are_remembered_once_somebody_may_go_on_from_them) {
        Bench *bench = bench_new();
        Client *client;

        enter(bench, "a", "*");
        tell_all(bench);
        watch_remember(bench->watch);
        enter(bench, "b", "*");
        tell_all(bench);
        client = client_new(bench, &(Wanted){ .epoch = watch_epoch(bench->watch), .revision = 1 });
        assert_client(client, 0, 1, 0, 1);
        ck_assert_uint_eq(client->revision, 2);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_one_of_epoch_and_revision_is_not_enough) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, &(Wanted){ .epoch = watch_epoch(bench->watch), .revision = 0 });
        static const ControlTag tags[] = { CONTROL_TAG_EPOCH, CONTROL_TAG_REVISION };

        assert_client(client, 0, 0, 0, 1);
        client_free(client);
        for (size_t i = 0; i < ELEMENTS(tags); i++) {
                _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
                SocketAddress peer = { .sa.sa_family = AF_UNIX };
                int fds[2];

                client = calloc(1, sizeof *client);
                ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
                control_put_request_begin(&buffer, CONTROL_WATCH);
                control_put_string(&buffer, CONTROL_TAG_STATE, "any");
                control_put_u64(&buffer, tags[i], i == 0 ? watch_epoch(bench->watch) : 0);
                control_put_request_end(&buffer);
                say(fds[0], buffer.data, buffer.n_data);
                client->bench = bench;
                client->fd = fds[0];
                conns_take(bench->conns, fds[1], CONN_CONTROL, 0, &peer);
                assert_client(client, 1, 0, 0, 1);
                client_free(client);
        }
        bench_free(bench);
}
END_TEST

/* --- slow readers, and what is forgotten -------------------------------------------------------------- */

static void churn(Bench *bench, unsigned n_changes) {
        for (unsigned i = 0; i < n_changes / 2; i++) {
                enter(bench, "x", "*");
                leave(bench, "x", "*");
        }
}

START_TEST(test_who_reads_slowly_goes_on_where_he_was) {
        Bench *bench = bench_new();
        Client *client = calloc(1, sizeof *client);

        client_open(client, bench, &(Wanted){ 0 }, 1);
        turn(bench->event);
        for (unsigned i = 0; i < 10; i++) {
                churn(bench, 400);
                tell_all(bench);
                turn(bench->event);
        }
        settle(client);
        ck_assert_uint_eq(client->n_epochs, 1);
        ck_assert_uint_eq(client->n_nodes, 2000);
        ck_assert_uint_eq(client->n_gone, 2000);
        ck_assert_uint_eq(client->revision, 4000);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_is_too_far_behind_hears_all_anew) {
        Bench *bench = bench_new();
        Client *client = calloc(1, sizeof *client), *quick = client_new(bench, NULL);

        client_open(client, bench, &(Wanted){ 0 }, 1);
        settle(quick);
        turn(bench->event);
        enter(bench, "a", "*");
        for (unsigned i = 0; i < 6; i++) {
                churn(bench, 1000);
                tell_all(bench);
                settle(quick);
        }
        ck_assert_uint_eq(quick->n_epochs, 1);
        ck_assert_uint_eq(quick->n_gone, 3000);
        settle(client);
        ck_assert_uint_eq(client->n_epochs, 2);
        ck_assert_uint_eq(client->revision, 6001);
        ck_assert_uint_eq(client->synced.n_nodes, 1);
        client_free(client);
        client_free(quick);
        bench_free(bench);
}
END_TEST

START_TEST(test_much_at_once_comes_in_steps_each_of_which_is_whole) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL);

        assert_client(client, 1, 0, 0, 1);
        churn(bench, 2000);
        tell_all(bench);
        settle(client);
        ck_assert_uint_eq(client->n_nodes + client->n_gone, 2000);
        ck_assert_uint_gt(client->n_synced, 5);
        ck_assert_uint_lt(client->n_synced, 100);
        client_free(client);
        bench_free(bench);
}
END_TEST

/* What was lost for want of memory looks like this. */
START_TEST(test_after_a_gap_every_watcher_hears_all_anew) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL);

        assert_client(client, 1, 0, 0, 1);
        enter(bench, "a", "*");
        tell_all(bench);
        assert_client(client, 1, 1, 0, 2);
        bench->skipped = 1; /* one more than there was */
        enter(bench, "b", "*");
        bench->skipped = 0;
        enter(bench, "c", "*");
        tell_all(bench);
        assert_client(client, 2, 4, 0, 3);
        ck_assert_uint_eq(client->synced.n_nodes, 3);
        client_free(client);
        bench_free(bench);
}
END_TEST

static void set_helpers(Bench *bench, const Rules *rules) {
        registry_set_rules(bench->registry, rules, &(RegistryLimits){ 100000, 100000 });
        watch_begin_anew(bench->watch);
}

START_TEST(test_when_what_is_known_changes_every_watcher_hears_all_anew) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL), *waiting, *back;
        uint64_t epoch = watch_epoch(bench->watch);
        Rules rules = { 0 };

        enter(bench, "a", "*");
        tell_all(bench);
        assert_client(client, 1, 1, 0, 2);
        ck_assert(!client->is_helper);
        enter(bench, "b", "*");
        waiting = client_new(bench, &(Wanted){ .name = "a" });
        settle(waiting);
        ck_assert_int_eq(rules_add_helper(&rules, "a"), 0);
        set_helpers(bench, &rules);
        assert_client(client, 1, 1, 0, 2); /* not before it may be told what it is of */
        tell_all(bench);
        assert_client(client, 2, 3, 0, 3);
        assert_client(waiting, 1, 1, 0, 1);
        ck_assert(waiting->is_helper);
        ck_assert_uint_ne(client->epoch, epoch);
        ck_assert_uint_eq(client->epoch, watch_epoch(bench->watch));
        /* nobody goes on from before */
        back = client_new(bench, &(Wanted){ .epoch = epoch, .revision = 2 });
        assert_client(back, 1, 2, 0, 1);
        set_helpers(bench, NULL);
        assert_client(back, 2, 4, 0, 2);
        assert_client(waiting, 2, 2, 0, 2);
        ck_assert(!waiting->is_helper);
        enter(bench, "c", "*");
        tell_all(bench);
        assert_client(back, 2, 5, 0, 3);
        client_free(client);
        client_free(waiting);
        client_free(back);
        bench_free(bench);
        rules_done(&rules);
}
END_TEST

/* What there is to be heard is whole up to its last record, and that is the word. Takes nothing in. */
static void assert_cut_off_with_a_word(Client *client) {
        size_t at = client->n_read + (client->has_head ? 0 : CONTROL_ANSWER_HEAD), n, n_fields;
        const uint8_t *fields;
        ControlField error;
        uint8_t kind = 0;

        ck_assert(hear(client->fd, &client->heard));
        for (; at < client->heard.n_data; at += n)
                ck_assert_int_eq(control_next_record(client->heard.data + at, client->heard.n_data - at, &n, &kind,
                                                     &fields, &n_fields),
                                 1);
        ck_assert_uint_eq(kind, CONTROL_ERROR);
        ck_assert(control_find_field(fields, n_fields, CONTROL_TAG_ERROR, &error));
        ck_assert_uint_eq(control_field_u64(&error), CONTROL_E_TOO_SLOW);
}

static bool may_watch_while_true(void *userdata, Conn *conn) {
        (void)conn;
        return *(bool *)userdata;
}

/* P7: also those who are there. */
START_TEST(test_who_may_not_watch_any_more_is_told_so) {
        Bench *bench = bench_new();
        Client *local = client_new(bench, NULL), *remote = client_new(bench, &(Wanted){ .is_tcp = true });
        bool may = true;

        settle(local);
        settle(remote);
        watch_review(bench->watch, may_watch_while_true, &may);
        assert_client(remote, 1, 0, 0, 1);
        may = false;
        watch_review(bench->watch, may_watch_while_true, &may);
        settle(remote);
        ck_assert(remote->heard.has_ended);
        ck_assert_uint_eq(remote->error, CONTROL_E_DENIED);
        ck_assert_uint_eq(watch_n(bench->watch), 1);
        enter(bench, "a", "*");
        tell_all(bench);
        assert_client(local, 1, 1, 0, 2);
        client_free(local);
        client_free(remote);
        bench_free(bench);
}
END_TEST

/* --- bounds (P6) -------------------------------------------------------------------------------------- */

START_TEST(test_there_is_room_for_so_many_watchers_and_more_are_told_so) {
        Bench *bench = bench_new();
        static Client *clients[WATCHERS_MAX];
        Client *late;

        for (size_t i = 0; i < WATCHERS_MAX; i++)
                clients[i] = client_new(bench, NULL);
        turn(bench->event);
        ck_assert_uint_eq(watch_n(bench->watch), WATCHERS_MAX);
        late = client_new(bench, NULL);
        settle(late);
        ck_assert_uint_eq(late->error, CONTROL_E_BUSY);
        ck_assert(late->heard.has_ended);
        client_free(late);
        enter(bench, "a", "*");
        tell_all(bench);
        for (size_t i = 0; i < WATCHERS_MAX; i++)
                assert_client(clients[i], 1, 1, 0, 2);
        /* one that goes makes room for another */
        client_free(clients[0]);
        turn(bench->event);
        ck_assert_uint_eq(watch_n(bench->watch), WATCHERS_MAX - 1);
        clients[0] = client_new(bench, NULL);
        assert_client(clients[0], 1, 1, 0, 1);
        for (size_t i = 0; i < WATCHERS_MAX; i++)
                client_free(clients[i]);
        bench_free(bench);
}
END_TEST

/* A node that has announced as much as it can. */
static void enter_heavy(Bench *bench, unsigned number) {
        static char value[NODE_METADATA_VALUE_MAX];
        NodeProfile profile = { 0 };
        char name[8];

        snprintf(name, sizeof name, "n%u", number);
        memset(value, 'v', sizeof value);
        for (unsigned i = 0; i < NODE_METADATA_PAIRS_MAX; i++) {
                char key[NODE_METADATA_KEY_MAX + 1];

                snprintf(key, sizeof key, "%064u", i);
                ck_assert_int_eq(node_profile_set(&profile, key, 64, value, sizeof value), 0);
        }
        enter(bench, name, "*");
        carry(bench, &(Event){ .kind = EVENT_ANNOUNCED, .node = find(bench, name, "*"), .profile = &profile });
        node_profile_done(&profile);
}

START_TEST(test_who_holds_the_oldest_snapshot_goes_when_they_are_too_much) {
        enum { N = 12 };
        Bench *bench = bench_new();
        Client *clients[N];
        size_t n_left;

        for (unsigned i = 0; i < 1000; i++) /* a snapshot is 10 MiB */
                enter_heavy(bench, i);
        for (unsigned i = 0; i < N; i++) {
                enter_heavy(bench, 1000 + i);
                tell_all(bench);
                clients[i] = client_new(bench, NULL);
                turn(bench->event);
        }
        n_left = watch_n(bench->watch);
        ck_assert_uint_lt(n_left, N);
        ck_assert_uint_gt(n_left, 3);
        for (unsigned i = 0; i < N; i++) {
                if (i < N - n_left)
                        assert_cut_off_with_a_word(clients[i]);
                else
                        ck_assert(!hear(clients[i]->fd, &clients[i]->heard));
                client_free(clients[i]);
        }
        bench_free(bench);
}
END_TEST

START_TEST(test_who_takes_nothing_is_cut_off_with_a_word_and_loses_nothing) {
        Bench *bench = hasty_bench(20 * USEC_PER_MSEC);
        Client *client = calloc(1, sizeof *client);
        uint64_t began = test_now();

        client->is_strict = true;
        client_open(client, bench, &(Wanted){ .is_tcp = _i }, 1);
        settle(client);
        for (unsigned i = 0; i < 20; i++)
                churn(bench, 100);
        enter(bench, "a", "*");
        tell_all(bench);
        ck_assert(RUN_UNTIL(bench->event, watch_n(bench->watch) == 0, LONG_USEC));
        ck_assert_uint_ge(test_now() - began, 200 * USEC_PER_MSEC);
        ck_assert_uint_eq(bench->counters.n_timed_out, 1);
        assert_cut_off_with_a_word(client);
        settle(client);
        ck_assert_uint_eq(client->error, CONTROL_E_TOO_SLOW);
        ck_assert_uint_gt(client->n_nodes, 0);
        ck_assert_uint_lt(client->n_nodes + client->n_gone, 2001);
        client_close(client);
        client->image = client->synced;
        client->error = 0;
        client_open(client, bench, &(Wanted){ .epoch = client->epoch, .revision = client->revision, .is_tcp = _i }, 0);
        settle(client);
        ck_assert_uint_eq(client->n_epochs, 1);
        ck_assert_uint_eq(client->revision, 2001);
        ck_assert_uint_eq(client->synced.n_nodes, 1);
        client_free(client);
        bench_free(bench);
}
END_TEST

START_TEST(test_who_wants_to_hear_of_us_does_when_there_is_nothing_else) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, &(Wanted){ .heartbeat_msec = 1, .name = "a" }), *quiet = client_new(bench, NULL);
        uint64_t began = test_now();

        assert_client(client, 1, 0, 0, 1);
        enter(bench, "b", "*"); /* does not concern him */
        tell_all(bench);
        assert_client(client, 1, 0, 0, 1);
        ck_assert(RUN_UNTIL(bench->event, (settle(client), client->n_synced == 2), LONG_USEC));
        ck_assert_uint_ge(test_now() - began, USEC_PER_SEC); /* a thousandth counts as a second */
        ck_assert_uint_eq(client->revision, 1);
        ck_assert(RUN_UNTIL(bench->event, (settle(client), client->n_synced == 3), LONG_USEC));
        ck_assert_uint_ge(test_now() - began, 2 * USEC_PER_SEC);
        assert_client(client, 1, 0, 0, 3);
        assert_client(quiet, 1, 1, 0, 2);
        client_free(client);
        client_free(quiet);
        bench_free(bench);
}
END_TEST

/* Nothing is said to be known that may not be told (P1). */
START_TEST(test_who_waits_for_the_disk_hears_nothing_before_it) {
        Bench *bench = bench_new();
        Client *client;

        enter(bench, "a", "*");
        client = client_new(bench, &(Wanted){ .heartbeat_msec = 1000 });
        settle(client);
        run_for(bench->event, 2500 * USEC_PER_MSEC);
        assert_client(client, 0, 0, 0, 0);
        tell_all(bench);
        assert_client(client, 1, 1, 0, 1);
        client_free(client);
        bench_free(bench);
}
END_TEST

/* --- ends --------------------------------------------------------------------------------------------- */

START_TEST(test_a_watch_ends_with_whatever_the_client_sends) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, NULL), *half = client_new(bench, NULL), *other = client_new(bench, NULL);

        settle(client);
        settle(half);
        settle(other);
        ck_assert_uint_eq(watch_n(bench->watch), 3);
        say(client->fd, "x", 1);
        settle(client);
        ck_assert(client->heard.has_ended);
        ck_assert_uint_eq(watch_n(bench->watch), 2);
        ck_assert_int_eq(shutdown(half->fd, SHUT_WR), 0);
        settle(half);
        ck_assert(half->heard.has_ended);
        ck_assert_uint_eq(watch_n(bench->watch), 1);
        enter(bench, "a", "*");
        tell_all(bench);
        assert_client(other, 1, 1, 0, 2);
        client_free(client);
        client_free(half);
        client_free(other);
        bench_free(bench);
}
END_TEST

START_TEST(test_all_watchers_are_closed_with_the_watch) {
        Bench *bench = bench_new();
        Client *reading = client_new(bench, NULL), *waiting;

        settle(reading);
        enter(bench, "a", "*");
        waiting = client_new(bench, NULL); /* for a snapshot that may not be told */
        settle(waiting);
        bench->watch = watch_free(bench->watch);
        settle(reading);
        settle(waiting);
        ck_assert(reading->heard.has_ended);
        ck_assert(waiting->heard.has_ended);
        client_free(reading);
        client_free(waiting);
        bench_free(bench);
}
END_TEST

static const Wanted bad_ones[] = {
        { .name = "" }, { .prefix = "\n" }, { .scope = "nowhere" }, { .states = "upward" }, { .pattern = "[" },
        { .exclude = "\\" },
};

START_TEST(test_a_request_without_sense_is_told_so) {
        Bench *bench = bench_new();
        Client *client = client_new(bench, bad_ones + _i);

        settle(client);
        ck_assert_uint_eq(client->error, CONTROL_E_MALFORMED);
        ck_assert(client->heard.has_ended);
        ck_assert_uint_eq(watch_n(bench->watch), 0);
        client_free(client);
        bench_free(bench);
}
END_TEST

/* --- a model ------------------------------------------------------------------------------------------ */

#define MODEL_STEPS 30000
#define MODEL_CLIENTS 10

/* What the registry was at each revision. */
typedef struct Model {
        Image *images;
        uint64_t n_images;
        unsigned seed;
} Model;

static const char *const model_names[] = { "a", "ab", "abc", "b", "ba", "ha" };
static const char *const model_scopes[] = { "*", "127.0.0.1", "127.0.0.2" };

static const Wanted model_wanted[] = {
        { 0 },
        { .name = "a" },
        { .prefix = "a" },
        { .prefix = "ab", .scope = "127.0.0.1" },
        { .scope = "*" },
        { .name = "nobody" },
        { .states = "", .hides = true },
        { .states = "ready", .pattern = "*a*", .is_tcp = true },
        { .states = "stopping up", .prefix = "b", .hides = true },
        { .states = "", .pattern = "?", .exclude = "b*", .is_tcp = true },
};

static unsigned pick(Model *model, size_t n) {
        return (unsigned)rand_r(&model->seed) % (unsigned)n;
}

static void copy_scope(const Address *scope, char ret[static 16]) {
        char text[ADDRESS_TEXT_MAX];

        address_format(scope, text);
        ck_assert_uint_lt(strlen(text), 16);
        memcpy(ret, text, strlen(text) + 1);
}

static void model_record(Model *model, const Bench *bench) {
        Image *image = model->images + revision(bench);

        ck_assert_uint_lt(revision(bench), model->n_images);
        ck_assert_uint_le(registry_n_nodes(bench->registry), ELEMENTS(image->nodes));
        image->n_nodes = 0;
        for (Node *node = registry_newest(bench->registry); node; node = node->older) {
                Known *known = image->nodes + image->n_nodes++;

                snprintf(known->name, sizeof known->name, "%s", node->info.name);
                copy_scope(&node->scope, known->scope);
                known->creation = node->creation;
                snprintf(known->state, sizeof known->state, "%s", node_state_to_string(node->state));
        }
}

static bool model_wants(const Wanted *wanted, const Known *known) {
        return wants_state(wanted->states, known->state) && !(wanted->hides && known->name[0] == 'h') &&
               (!wanted->pattern || fnmatch(wanted->pattern, known->name, 0) == 0) &&
               (!wanted->exclude || fnmatch(wanted->exclude, known->name, 0) != 0) &&
               (!wanted->name || strcmp(wanted->name, known->name) == 0) &&
               (!wanted->prefix || strncmp(wanted->prefix, known->name, strlen(wanted->prefix)) == 0) &&
               (!wanted->scope || strcmp(wanted->scope, known->scope) == 0);
}

static void assert_client_knows(Client *client, const Model *model, const Wanted *wanted) {
        const Image *expected = model->images + client->revision;
        size_t n = 0;

        for (size_t i = 0; i < expected->n_nodes; i++) {
                const Known *node = expected->nodes + i, *known;

                if (!model_wants(wanted, node))
                        continue;
                n++;
                known = image_find(&client->synced, node);
                ck_assert_msg(known && known->creation == node->creation && strcmp(known->state, node->state) == 0,
                              "%s@%s at revision %llu", node->name, node->scope, (unsigned long long)client->revision);
        }
        ck_assert_uint_eq(client->synced.n_nodes, n);
}

static void model_change(Model *model, Bench *bench) {
        const char *name = model_names[pick(model, ELEMENTS(model_names))];
        const char *scope = model_scopes[pick(model, ELEMENTS(model_scopes))];
        uint64_t before = revision(bench);

        if (!find(bench, name, scope))
                enter(bench, name, scope);
        else if (pick(model, 2))
                leave(bench, name, scope);
        else
                announce(bench, name, scope, pick(model, 2) ? NODE_ANNOUNCED_READY : NODE_ANNOUNCED_DRAINING);
        ck_assert_uint_le(revision(bench), before + 1);
        model_record(model, bench);
}

/* Reads some bytes, and checks what is known whenever it is whole. */
static void model_read(Model *model, Client *client, const Wanted *wanted) {
        hear_some(client->fd, &client->heard, 1 + pick(model, pick(model, 8) ? 500 : 20000));
        for (unsigned n_synced = client->n_synced; client_step(client); n_synced = client->n_synced)
                if (client->n_synced != n_synced)
                        assert_client_knows(client, model, wanted);
        client_compact(client);
}

/* Hangs up, wherever he is, and comes back: with what he knew at the last SYNCED or, now and then, with nothing. */
static void model_come_back(Model *model, Client *client, const Wanted *wanted) {
        Wanted again = *wanted;

        client_close(client);
        client->image = client->synced;
        if (client->n_synced > 0 && pick(model, 4)) {
                again.epoch = client->epoch;
                again.revision = client->revision;
        }
        client_open(client, client->bench, &again, 1);
}

static void model_step(Model *model, Bench *bench, Client *clients) {
        unsigned i = pick(model, MODEL_CLIENTS);

        switch (pick(model, 16)) {
        case 0:
                tell(bench, bench->told + pick(model, revision(bench) - bench->told + 1));
                break;
        case 1:
        case 2:
        case 3:
                sd_event_run(bench->event, 0);
                break;
        case 4:
        case 5:
                /* The first two are slow: one is often behind, the other so far that he gets a snapshot. */
                if (i > 1 || pick(model, i ? 30 : 400) == 0)
                        model_read(model, clients + i, model_wanted + i);
                break;
        case 6:
                if (pick(model, i > 1 ? 20 : 400) == 0)
                        model_come_back(model, clients + i, model_wanted + i);
                break;
        default:
                model_change(model, bench);
                break;
        }
}

START_TEST(test_whatever_happens_a_watcher_knows_what_there_was) {
        static Client clients[MODEL_CLIENTS];
        Bench *bench = bench_new();
        Model model = { .n_images = MODEL_STEPS + 1, .seed = (unsigned)_i + 1 };
        model.images = calloc(model.n_images, sizeof *model.images);
        ck_assert_ptr_nonnull(model.images);
        for (size_t i = 0; i < MODEL_CLIENTS; i++) {
                client_open(clients + i, bench, model_wanted + i, 1);
                clients[i].is_strict = true;
        }
        for (unsigned step = 0; step < MODEL_STEPS; step++)
                model_step(&model, bench, clients);
        tell_all(bench);
        for (size_t i = 0; i < MODEL_CLIENTS; i++) {
                settle(clients + i);
                assert_client_knows(clients + i, &model, model_wanted + i);
        }
        ck_assert_uint_eq(clients[0].revision, revision(bench));
        for (size_t i = 0; i < MODEL_CLIENTS; i++)
                client_close(clients + i);
        free(model.images);
        bench_free(bench);
}
END_TEST

static void add_answers(Suite *suite) {
        TCase *tcase = tcase_create("answers");

        tcase_add_test(tcase, test_a_watcher_hears_of_all_there_is_and_then_of_what_happens);
        tcase_add_test(tcase, test_an_empty_registry_is_told_too);
        tcase_add_test(tcase, test_who_releases_a_name_is_told);
        tcase_add_test(tcase, test_each_process_has_an_epoch_of_its_own);
        tcase_add_test(tcase, test_a_snapshot_waits_until_it_may_be_told_and_is_of_its_moment);
        tcase_add_test(tcase, test_changes_wait_until_they_may_be_told);
        tcase_add_test(tcase, test_what_does_not_match_is_not_told_and_costs_nothing);
        tcase_add_loop_test(tcase, test_who_asks_for_states_hears_who_comes_into_them_and_who_leaves_them, 0,
                            ELEMENTS(passages));
        tcase_add_test(tcase, test_hidden_nodes_are_told_to_those_who_ask_for_them);
        tcase_add_test(tcase, test_what_patterns_select_and_exclude);
        tcase_add_test(tcase, test_over_tcp_what_concerns_this_machine_alone_is_left_out);
        tcase_add_test(tcase, test_who_comes_back_hears_only_what_he_has_missed);
        tcase_add_loop_test(tcase, test_who_cannot_go_on_from_there_hears_all_anew, 0, ELEMENTS(strangers));
        tcase_add_test(tcase, test_who_knows_more_than_may_be_told_waits_for_it);
        tcase_add_test(tcase, test_changes_are_remembered_once_somebody_may_go_on_from_them);
        tcase_add_test(tcase, test_one_of_epoch_and_revision_is_not_enough);
        suite_add_tcase(suite, tcase);
}

Suite *suite(void) {
        Suite *suite = suite_create("watch");
        TCase *tcase = tcase_create("bounds");

        add_answers(suite);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_who_reads_slowly_goes_on_where_he_was);
        tcase_add_test(tcase, test_who_is_too_far_behind_hears_all_anew);
        tcase_add_test(tcase, test_much_at_once_comes_in_steps_each_of_which_is_whole);
        tcase_add_test(tcase, test_after_a_gap_every_watcher_hears_all_anew);
        tcase_add_test(tcase, test_when_what_is_known_changes_every_watcher_hears_all_anew);
        tcase_add_test(tcase, test_who_may_not_watch_any_more_is_told_so);
        tcase_add_test(tcase, test_there_is_room_for_so_many_watchers_and_more_are_told_so);
        tcase_add_test(tcase, test_who_holds_the_oldest_snapshot_goes_when_they_are_too_much);
        tcase_add_loop_test(tcase, test_who_takes_nothing_is_cut_off_with_a_word_and_loses_nothing, 0, 2);
        tcase_add_test(tcase, test_who_wants_to_hear_of_us_does_when_there_is_nothing_else);
        tcase_add_test(tcase, test_who_waits_for_the_disk_hears_nothing_before_it);
        tcase_add_test(tcase, test_a_watch_ends_with_whatever_the_client_sends);
        tcase_add_test(tcase, test_all_watchers_are_closed_with_the_watch);
        tcase_add_loop_test(tcase, test_a_request_without_sense_is_told_so, 0, ELEMENTS(bad_ones));
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("model");
        tcase_set_timeout(tcase, 120);
        tcase_add_loop_test(tcase, test_whatever_happens_a_watcher_knows_what_there_was, 0, 8);
        suite_add_tcase(suite, tcase);
        return suite;
}
