/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the options, the variables and what stands for what is not given. Does not act on them.
 *
 * The trap: EPMD's variables are part of every node's environment; a bad value in one must be told, not
 * taken for something else.
 */

#include "config.h"

#include <assert.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <systemd/sd-id128.h>

#define PACKET_TIMEOUT_SEC 60
#define HOLD_SEC 5
#define HISTORY_DAYS 30
#define HISTORY_ROWS 50000
#define HISTORY_PER_NAME 100

const char config_help[] =
        "Usage: rollcalld [OPTION]...\n"
        "An Erlang port mapper that remembers. Takes the sockets that systemd passes, or opens its own.\n"
        "\n"
        "Where it listens (without passed sockets)\n"
        "  --listen ADDRESS[:PORT]   an address to listen on; may be repeated [every address]\n"
        "  --port PORT               the port [$ERL_EPMD_PORT, else 4369]\n"
        "  --epmd-address LIST       as ERL_EPMD_ADDRESS: these addresses and loopback\n"
        "  --control PATH            the control socket, or 'none'\n"
        "\n"
        "What it keeps\n"
        "  --state FILE              the registry; an error if another daemon has it\n"
        "  --state-if-free FILE      the registry; memory only if another daemon has it\n"
        "  --no-state                memory only\n"
        "  --history-days N          how long ended registrations are kept [30]\n"
        "  --history-rows N          how many, in all [50000]\n"
        "  --history-per-name N      how many, of one name [100]\n"
        "\n"
        "Whom it answers (this machine always; 'any', 'local', or a network such as 10.0.0.0/8)\n"
        "  --lookup-from NETWORK     who may look up a name; may be repeated [any]\n"
        "  --list-from NETWORK       who may list all names; may be repeated [local]\n"
        "  --max-nodes-per-uid N     registrations of one user [half of what the daemon can hold]\n"
        "  --packet-timeout SECONDS  silence after which a connection is closed [60]\n"
        "  --relaxed-command-check   allow KILL while nodes live, and STOP\n"
        "  --delay-accept SECONDS    rest after each accepted connection (for tests of clients)\n"
        "  --delay-write SECONDS     rest before each answer (for tests of clients)\n"
        "\n"
        "What it says\n"
        "  --log-level LEVEL         error, warning, notice, info or debug [info]\n"
        "  -d, --debug               show each request and answer; twice: their bytes, too\n"
        "  --log-format FORMAT       auto, journal, plain, epmd or syslog [auto]\n"
        "  --ready-fd FD             write READY to this descriptor once it answers\n"
        "  -h, --help                this text\n"
        "  -V, --version             the version\n";

enum {
        OPTION_LISTEN = 256,
        OPTION_PORT,
        OPTION_EPMD_ADDRESS,
        OPTION_CONTROL,
        OPTION_STATE,
        OPTION_STATE_IF_FREE,
        OPTION_NO_STATE,
        OPTION_HISTORY_DAYS,
        OPTION_HISTORY_ROWS,
        OPTION_HISTORY_PER_NAME,
        OPTION_LOOKUP_FROM,
        OPTION_LIST_FROM,
        OPTION_MAX_NODES_PER_UID,
        OPTION_PACKET_TIMEOUT,
        OPTION_RELAXED_COMMAND_CHECK,
        OPTION_DELAY_ACCEPT,
        OPTION_DELAY_WRITE,
        OPTION_LOG_LEVEL,
        OPTION_LOG_FORMAT,
        OPTION_READY_FD,
};

static const struct option options[] = {
        { "listen", required_argument, NULL, OPTION_LISTEN },
        { "port", required_argument, NULL, OPTION_PORT },
        { "epmd-address", required_argument, NULL, OPTION_EPMD_ADDRESS },
        { "control", required_argument, NULL, OPTION_CONTROL },
        { "state", required_argument, NULL, OPTION_STATE },
        { "state-if-free", required_argument, NULL, OPTION_STATE_IF_FREE },
        { "no-state", no_argument, NULL, OPTION_NO_STATE },
        { "history-days", required_argument, NULL, OPTION_HISTORY_DAYS },
        { "history-rows", required_argument, NULL, OPTION_HISTORY_ROWS },
        { "history-per-name", required_argument, NULL, OPTION_HISTORY_PER_NAME },
        { "lookup-from", required_argument, NULL, OPTION_LOOKUP_FROM },
        { "list-from", required_argument, NULL, OPTION_LIST_FROM },
        { "max-nodes-per-uid", required_argument, NULL, OPTION_MAX_NODES_PER_UID },
        { "packet-timeout", required_argument, NULL, OPTION_PACKET_TIMEOUT },
        { "relaxed-command-check", no_argument, NULL, OPTION_RELAXED_COMMAND_CHECK },
        { "delay-accept", required_argument, NULL, OPTION_DELAY_ACCEPT },
        { "delay-write", required_argument, NULL, OPTION_DELAY_WRITE },
        { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
        { "debug", no_argument, NULL, 'd' },
        { "log-format", required_argument, NULL, OPTION_LOG_FORMAT },
        { "ready-fd", required_argument, NULL, OPTION_READY_FD },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
};

/* What the command line says and cannot be stored at once, since a later option may bear on it. */
typedef struct Words {
        const char **listen; /* owned; the words are not */
        size_t n_listen;
        bool has_lookup_from, has_list_from;
} Words;

static void words_done(Words *words) {
        free(words->listen);
}

static int complain(const char *what, const char *value, const char *expected) {
        fprintf(stderr, "rollcalld: %s '%s' is not %s\n", what, value, expected);
        return -EINVAL;
}

/* A whole number within bounds, and nothing else. */
static int parse_number(const char *what, const char *text, unsigned long least, unsigned long most,
                        unsigned long *ret) {
        char expected[64];
        unsigned long value = 0;

        snprintf(expected, sizeof expected, "a whole number from %lu to %lu", least, most);
        if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
                return complain(what, text, expected);
        value = strtoul(text, NULL, 10);
        if (value < least || value > most)
                return complain(what, text, expected);
        *ret = value;
        return 0;
}

static int parse_days(const char *text, unsigned *ret) {
        unsigned long value;
        int r = parse_number("--history-days", text, 1, 36500, &value);

        if (r == 0)
                *ret = (unsigned)value;
        return r;
}

static int parse_unsigned(const char *what, const char *text, unsigned long least, unsigned *ret) {
        unsigned long value;
        int r = parse_number(what, text, least, INT_MAX, &value);

        if (r == 0)
                *ret = (unsigned)value;
        return r;
}

static int parse_port(const char *what, const char *text, uint16_t *ret) {
        unsigned long value;
        int r = parse_number(what, text, 1, UINT16_MAX, &value);

        if (r == 0)
                *ret = (uint16_t)value;
        return r;
}

static int replace_string(char **string, const char *value) {
        char *copy = strdup(value);

        if (!copy) {
                fprintf(stderr, "rollcalld: out of memory\n");
                return -EINVAL;
        }
        free(*string);
        *string = copy;
        return 0;
}

static int set_state(Config *config, StateMode mode, const char *path) {
        if (config->state_mode != STATE_DEFAULT) {
                fprintf(stderr, "rollcalld: --state, --state-if-free and --no-state exclude each other\n");
                return -EINVAL;
        }
        config->state_mode = mode;
        if (!path)
                return 0;
        if (!*path)
                return complain("The registry file", path, "a path");
        return replace_string(&config->state_path, path);
}

static int set_log_level(Config *config, const char *word) {
        static const struct {
                const char *word;
                int priority;
        } levels[] = {
                { "error", LOG_ERR },     { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
                { "info", LOG_INFO },     { "debug", LOG_DEBUG },
        };

        for (size_t i = 0; i < ELEMENTS(levels); i++)
                if (strcmp(levels[i].word, word) == 0) {
                        config->settings.log_priority = levels[i].priority;
                        return 0;
                }
        return complain("--log-level", word, "error, warning, notice, info or debug");
}

static int set_log_format(Config *config, const char *word) {
        static const char *const words[] = {
                [LOG_FORMAT_AUTO] = "auto", [LOG_FORMAT_JOURNAL] = "journal",
                [LOG_FORMAT_PLAIN] = "plain", [LOG_FORMAT_EPMD] = "epmd",
                [LOG_FORMAT_SYSLOG] = "syslog",
        };

        for (size_t i = 0; i < ELEMENTS(words); i++)
                if (strcmp(words[i], word) == 0) {
                        config->log_format = (LogFormat)i;
                        return 0;
                }
        return complain("--log-format", word, "auto, journal, plain, epmd or syslog");
}

static int add_network(AccessList *list, const char *option, const char *word) {
        int r = access_list_add(list, word);

        return r == -EINVAL ? complain(option, word, "'any', 'local', or a network such as 10.0.0.0/8") : r;
}

static int add_listen_word(Words *words, const char *word) {
        const char **grown = reallocarray(words->listen, words->n_listen + 1, sizeof *grown);

        if (!grown)
                return -ENOMEM;
        words->listen = grown;
        words->listen[words->n_listen++] = word;
        return 0;
}

static int set_packet_timeout(Config *config, const char *text) {
        unsigned long value;
        /* Times CONN_ANSWER_TIMES it must stay a sensible point in time. */
        int r = parse_number("--packet-timeout", text, 1, 1000000, &value);

        if (r == 0)
                config->settings.packet_timeout_usec = value * USEC_PER_SEC;
        return r;
}

static int set_ready_fd(Config *config, const char *text) {
        unsigned long value;
        int r = parse_number("--ready-fd", text, 0, INT_MAX, &value);

        if (r == 0)
                config->ready_fd = (int)value;
        return r;
}

static int set_nodes_per_uid(Config *config, const char *text) {
        unsigned long value;
        int r = parse_number("--max-nodes-per-uid", text, 1, INT_MAX, &value);

        if (r == 0)
                config->settings.n_nodes_per_uid_max = value;
        return r;
}

static int take_option(Config *config, Words *words, int option, const char *value) {
        switch (option) {
        case OPTION_LISTEN:
                return add_listen_word(words, value);
        case OPTION_PORT:
                return parse_port("--port", value, &config->port);
        case OPTION_EPMD_ADDRESS:
                config->epmd_addresses = value;
                return 0;
        case OPTION_CONTROL:
                if (!*value)
                        return complain("--control", value, "a path");
                config->control_is_explicit = true;
                return replace_string(&config->control_path, value);
        case OPTION_STATE:
                return set_state(config, STATE_EXPLICIT, value);
        case OPTION_STATE_IF_FREE:
                return set_state(config, STATE_IF_FREE, value);
        case OPTION_NO_STATE:
                return set_state(config, STATE_NONE, NULL);
        case OPTION_HISTORY_DAYS:
                return parse_days(value, &config->settings.history_days);
        case OPTION_HISTORY_ROWS:
                return parse_unsigned("--history-rows", value, 1, &config->settings.history_rows);
        case OPTION_HISTORY_PER_NAME:
                return parse_unsigned("--history-per-name", value, 1, &config->settings.history_per_name);
        case OPTION_LOOKUP_FROM:
                words->has_lookup_from = true;
                return add_network(&config->settings.lookup_from, "--lookup-from", value);
        case OPTION_LIST_FROM:
                words->has_list_from = true;
                return add_network(&config->settings.list_from, "--list-from", value);
        case OPTION_MAX_NODES_PER_UID:
                return set_nodes_per_uid(config, value);
        case OPTION_PACKET_TIMEOUT:
                return set_packet_timeout(config, value);
        case OPTION_RELAXED_COMMAND_CHECK:
                config->relaxed_command_check = true;
                return 0;
        case OPTION_DELAY_ACCEPT:
                return parse_unsigned("--delay-accept", value, 0, &config->delay_accept_sec);
        case OPTION_DELAY_WRITE:
                return parse_unsigned("--delay-write", value, 0, &config->delay_write_sec);
        case OPTION_LOG_LEVEL:
                return set_log_level(config, value);
        case OPTION_LOG_FORMAT:
                return set_log_format(config, value);
        case OPTION_READY_FD:
                return set_ready_fd(config, value);
        case 'd':
                config->debug++;
                return 0;
        case 'h':
                config->help = true;
                return 0;
        case 'V':
                config->version = true;
                return 0;
        default:
                /* getopt_long() has said what is wrong. */
                return -EINVAL;
        }
}

/* --- the environment, and what stands for what is not given ------------------------------------- */

/* An option counts more than the variable that stands for it. */
static int read_environment(Config *config) {
        const char *port = getenv("ERL_EPMD_PORT"), *addresses = getenv("ERL_EPMD_ADDRESS");

        if (!config->epmd_addresses && addresses && *addresses)
                config->epmd_addresses = addresses;
        /* Any value, also an empty one, as in stock epmd. */
        if (getenv("ERL_EPMD_RELAXED_COMMAND_CHECK"))
                config->relaxed_command_check = true;
        if (config->port != 0) {
                config->has_port = true;
                return 0;
        }
        config->port = EPMD_PORT;
        config->has_port = port != NULL;
        return port ? parse_port("ERL_EPMD_PORT", port, &config->port) : 0;
}

static int add_listen(Config *config, const ListenAddress *address) {
        ListenAddress *grown =
                reallocarray(config->listen, config->n_listen + 1, sizeof *config->listen);

        if (!grown)
                return -ENOMEM;
        config->listen = grown;
        config->listen[config->n_listen++] = *address;
        return 0;
}

static bool is_covered(const Config *config, const ListenAddress *address) {
        for (size_t i = 0; i < config->n_listen; i++)
                if (listen_address_covers(config->listen + i, address))
                        return true;
        return false;
}

/* Those that `address` serves as well. */
static void drop_covered(Config *config, const ListenAddress *address) {
        size_t n = 0;

        for (size_t i = 0; i < config->n_listen; i++)
                if (!listen_address_covers(address, config->listen + i))
                        config->listen[n++] = config->listen[i];
        config->n_listen = n;
}

static int add_listen_text(Config *config, const char *what, const char *text) {
        ListenAddress address;

        if (listen_address_parse(text, config->port, &address) < 0)
                return complain(what, text, "an address to listen on");
        drop_covered(config, &address);
        return is_covered(config, &address) ? 0 : add_listen(config, &address);
}

/* Nodes always register at loopback, so stock epmd adds it to whatever is listed. */
static int add_loopback(Config *config) {
        static const char *const loopbacks[] = { "127.0.0.1", "::1" };

        for (size_t i = 0; i < ELEMENTS(loopbacks); i++) {
                ListenAddress address;
                int r;

                if (listen_address_parse(loopbacks[i], config->port, &address) < 0)
                        return -EINVAL;
                address.is_optional = true;
                if (is_covered(config, &address))
                        continue;
                r = add_listen(config, &address);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_epmd_addresses(Config *config) {
        _cleanup_(freep) char *list = strdup(config->epmd_addresses);
        char *rest = NULL;

        if (!list)
                return -ENOMEM;
        for (char *word = strtok_r(list, ", ", &rest); word; word = strtok_r(NULL, ", ", &rest)) {
                int r = add_listen_text(config, "ERL_EPMD_ADDRESS", word);

                if (r < 0)
                        return r;
        }
        return add_loopback(config);
}

static int settle_listen(Config *config, const Words *words) {
        for (size_t i = 0; i < words->n_listen; i++) {
                int r = add_listen_text(config, "--listen", words->listen[i]);

                if (r < 0)
                        return r;
        }
        config->has_listen = config->n_listen > 0;
        if (config->n_listen == 0 && config->epmd_addresses)
                return add_epmd_addresses(config);
        if (config->n_listen == 0)
                return add_listen(config, &(ListenAddress){ .port = config->port });
        return 0;
}

/* `format` has two %s: a directory and what is below it. -ENOENT without a directory. */
static int make_path(char **ret, const char *directory, const char *below) {
        if (!directory || directory[0] != '/')
                return -ENOENT;
        return asprintf(ret, "%s%s", directory, below) < 0 ? -ENOMEM : 0;
}

/* systemd gives a list of directories; the first is ours. */
static int make_path_first(char **ret, const char *directories, const char *below) {
        _cleanup_(freep) char *first = NULL;

        if (!directories)
                return -ENOENT;
        first = strndup(directories, strcspn(directories, ":"));
        if (!first)
                return -ENOMEM;
        return make_path(ret, first, below);
}

/* A unit has a directory of its own. Elsewhere, what is registered at one port is not registered at another:
 * each has its own file. */
static int default_state_path(uint16_t port, char **ret) {
        char name[32] = "/registry.db", below[64];
        int r = make_path_first(ret, getenv("STATE_DIRECTORY"), name);

        if (port != EPMD_PORT)
                snprintf(name, sizeof name, "/registry-%u.db", port);
        if (r == -ENOENT && geteuid() == 0)
                r = make_path(ret, "/var/lib/rollcall", name);
        snprintf(below, sizeof below, "/rollcall%s", name);
        if (r == -ENOENT)
                r = make_path(ret, getenv("XDG_STATE_HOME"), below);
        snprintf(below, sizeof below, "/.local/state/rollcall%s", name);
        if (r == -ENOENT)
                r = make_path(ret, getenv("HOME"), below);
        return r;
}

static int default_control_path(char **ret) {
        int r = make_path_first(ret, getenv("RUNTIME_DIRECTORY"), "/control");

        if (r == -ENOENT && geteuid() == 0)
                r = make_path(ret, "/run/rollcall", "/control");
        if (r == -ENOENT)
                r = make_path(ret, getenv("XDG_RUNTIME_DIR"), "/rollcall/control");
        return r;
}

static int settle_paths(Config *config) {
        int r;

        if (config->state_mode == STATE_DEFAULT) {
                r = default_state_path(config->listen[0].port, &config->state_path);
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        if (!config->control_is_explicit) {
                r = default_control_path(&config->control_path);
                if (r < 0 && r != -ENOENT)
                        return r;
        } else if (strcmp(config->control_path, "none") == 0) {
                free(config->control_path);
                config->control_path = NULL;
        }
        return 0;
}

/* The unit passes it (%b), since /proc/sys is out of sight in its sandbox. */
static int settle_boot_id(Config *config) {
        const char *passed = getenv("ROLLCALL_BOOT_ID");
        char text[SD_ID128_STRING_MAX];
        sd_id128_t id;

        if (passed) {
                if (sd_id128_from_string(passed, &id) < 0)
                        return complain("ROLLCALL_BOOT_ID", passed, "a 128-bit id");
        } else if (sd_id128_get_boot(&id) < 0)
                return 0;
        return replace_string(&config->boot_id, sd_id128_to_string(id, text));
}

/* The unit says what its FileDescriptorStoreMax= is, since systemd does not. */
static int settle_fd_store(Config *config) {
        const char *passed = getenv("ROLLCALL_FD_STORE_MAX");
        unsigned long max;
        char *end;

        if (!passed)
                return 0;
        errno = 0;
        max = strtoul(passed, &end, 10);
        if (errno != 0 || *end || passed[0] < '0' || passed[0] > '9' || max > 1048576)
                return complain("ROLLCALL_FD_STORE_MAX", passed, "a number up to 1048576");
        config->n_fdstore_max = max;
        return 0;
}

static int settle(Config *config, const Words *words) {
        int r = settle_listen(config, words);

        if (r < 0)
                return r;
        if (!words->has_lookup_from)
                config->settings.lookup_from.is_any = true;
        r = settle_paths(config);
        if (r >= 0)
                r = settle_boot_id(config);
        return r < 0 ? r : settle_fd_store(config);
}

int config_parse(Config *config, int argc, char **argv) {
        _cleanup_(words_done) Words words = { 0 };
        int option, r;

        *config = (Config){
                .settings = {
                        .packet_timeout_usec = PACKET_TIMEOUT_SEC * USEC_PER_SEC,
                        .hold_usec = HOLD_SEC * USEC_PER_SEC,
                        .history_days = HISTORY_DAYS,
                        .history_rows = HISTORY_ROWS,
                        .history_per_name = HISTORY_PER_NAME,
                        .names_with_helpers = true,
                        .log_priority = LOG_INFO,
                },
                .ready_fd = -1,
        };
        optind = 0; /* from the beginning, whatever was parsed before */
        while ((option = getopt_long(argc, argv, "dhV", options, NULL)) >= 0) {
                r = take_option(config, &words, option, optarg);
                if (r < 0)
                        return r;
        }
        if (config->help || config->version)
                return 0;
        if (optind < argc)
                return complain("The argument", argv[optind], "an option");
        r = read_environment(config);
        if (r < 0)
                return r;
        return settle(config, &words);
}

void config_done(Config *config) {
        free(config->listen);
        free(config->control_path);
        free(config->state_path);
        free(config->boot_id);
        settings_done(&config->settings);
        *config = (Config){ .ready_fd = -1 };
}
