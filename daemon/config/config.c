/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the options, the variables, what stands for what is not given, and what of all that is in force. Does not act
 * on it, and does not know how files are read (config_file).
 *
 * The trap: EPMD's variables are part of every node's environment; a bad value in one must be told, not
 * taken for something else. And a service must not end for it: a restart would find the same value.
 */

#include "config/config.h"

#include <assert.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <systemd/sd-id128.h>

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
        "What it reads\n"
        "  --config FILE             settings, and those in FILE.d; or 'none' [" CONFIG_FILE "]\n"
        "  --check-config            say what is wrong with them; exit status 0: nothing, 1: something\n"
        "  --dump-config             print the settings in force, and where they come from\n"
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
        "  --hold SECONDS            how long a newcomer waits for a holder that is going [5]\n"
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
        OPTION_CONFIG,
        OPTION_CHECK_CONFIG,
        OPTION_DUMP_CONFIG,
        OPTION_HOLD,
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
        { "config", required_argument, NULL, OPTION_CONFIG },
        { "check-config", no_argument, NULL, OPTION_CHECK_CONFIG },
        { "dump-config", no_argument, NULL, OPTION_DUMP_CONFIG },
        { "hold", required_argument, NULL, OPTION_HOLD },
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

/* Addresses: what they mean depends on the port, which may be given later. */
typedef struct Words {
        const char **listen; /* owned; the words are not */
        size_t n_listen;
} Words;

static void words_done(Words *words) {
        free(words->listen);
}

/* Always -EINVAL. */
static int config_complain(Config *config, const char *format, ...) PRINTF_LIKE(2, 3);
static int config_complain(Config *config, const char *format, ...) {
        _cleanup_(freep) char *text = NULL;
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r < 0)
                text = NULL;
        if (config->is_service)
                problems_add_error(&config->problems, "%s", text ? text : "out of memory");
        else
                fprintf(stderr, "rollcalld: %s\n", text ? text : "out of memory");
        return -EINVAL;
}

static int complain(Config *config, const char *what, const char *value, const char *expected) {
        return config_complain(config, "%s '%s' is not %s", what, value, expected);
}

/* What was told of a service is left out, and the next one is looked at. */
static int forgive(const Config *config, int r) {
        return r == -EINVAL && config->is_service ? 0 : r;
}

static int parse_number(Config *config, const char *what, const char *text, unsigned long least, unsigned long most,
                        unsigned long *ret) {
        char expected[64];

        if (setting_parse_number(text, least, most, ret) == 0)
                return 0;
        snprintf(expected, sizeof expected, "a whole number from %lu to %lu", least, most);
        return complain(config, what, text, expected);
}

static int parse_unsigned(Config *config, const char *what, const char *text, unsigned *ret) {
        unsigned long value;
        int r = parse_number(config, what, text, 0, INT_MAX, &value);

        if (r == 0)
                *ret = (unsigned)value;
        return r;
}

static int parse_port(Config *config, const char *what, const char *text, uint16_t *ret) {
        unsigned long value;
        int r = parse_number(config, what, text, 1, UINT16_MAX, &value);

        if (r == 0)
                *ret = (uint16_t)value;
        return r;
}

static int replace_string(char **string, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*string);
        *string = copy;
        return 0;
}

static int set_state(Config *config, StateMode mode, const char *path) {
        if (config->state_mode != STATE_DEFAULT)
                return config_complain(config, "--state, --state-if-free and --no-state exclude each other");
        if (path && !*path)
                return complain(config, "The registry file", path, "a path");
        config->state_mode = mode;
        return path ? replace_string(&config->state_path, path) : 0;
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
        return complain(config, "--log-format", word, "auto, journal, plain, epmd or syslog");
}

static int add_listen_word(Words *words, const char *word) {
        const char **grown = reallocarray(words->listen, words->n_listen + 1, sizeof *grown);

        if (!grown)
                return -ENOMEM;
        words->listen = grown;
        words->listen[words->n_listen++] = word;
        return 0;
}

/* A setting that the files may have, too. */
static int set_setting(Config *config, SettingId id, const char *option, const char *value) {
        _cleanup_(freep) char *why = NULL;
        int r = *value ? draft_set(&config->source.options, id, value, option, &why)
                       : complain(config, option, value, setting_get(id)->expected);

        return why ? config_complain(config, "%s %s", option, why) : r;
}

static int set_ready_fd(Config *config, const char *text) {
        unsigned long value;
        int r = parse_number(config, "--ready-fd", text, 0, INT_MAX, &value);

        if (r == 0)
                config->ready_fd = (int)value;
        return r;
}

static int set_control(Config *config, const char *path) {
        if (!*path)
                return complain(config, "--control", path, "a path");
        config->control_is_explicit = true;
        return replace_string(&config->control_path, path);
}

static int set_config_file(Config *config, const char *path) {
        if (!*path)
                return complain(config, "--config", path, "a path");
        config->source.must_exist = true;
        return replace_string(&config->source.path, path);
}

static int take_option(Config *config, Words *words, int option, const char *value) {
        switch (option) {
        case OPTION_LISTEN:
                return add_listen_word(words, value);
        case OPTION_PORT:
                return parse_port(config, "--port", value, &config->port);
        case OPTION_EPMD_ADDRESS:
                config->epmd_addresses = value;
                return 0;
        case OPTION_CONTROL:
                return set_control(config, value);
        case OPTION_CONFIG:
                return set_config_file(config, value);
        case OPTION_CHECK_CONFIG:
                config->check_config = true;
                return 0;
        case OPTION_DUMP_CONFIG:
                config->dump_config = true;
                return 0;
        case OPTION_STATE:
                return set_state(config, STATE_EXPLICIT, value);
        case OPTION_STATE_IF_FREE:
                return set_state(config, STATE_IF_FREE, value);
        case OPTION_NO_STATE:
                return set_state(config, STATE_NONE, NULL);
        case OPTION_HISTORY_DAYS:
                return set_setting(config, SETTING_HISTORY_DAYS, "--history-days", value);
        case OPTION_HISTORY_ROWS:
                return set_setting(config, SETTING_HISTORY_ROWS, "--history-rows", value);
        case OPTION_HISTORY_PER_NAME:
                return set_setting(config, SETTING_HISTORY_PER_NAME, "--history-per-name", value);
        case OPTION_LOOKUP_FROM:
                return set_setting(config, SETTING_LOOKUP_FROM, "--lookup-from", value);
        case OPTION_LIST_FROM:
                return set_setting(config, SETTING_LIST_FROM, "--list-from", value);
        case OPTION_MAX_NODES_PER_UID:
                return set_setting(config, SETTING_NODES_PER_UID, "--max-nodes-per-uid", value);
        case OPTION_PACKET_TIMEOUT:
                return set_setting(config, SETTING_PACKET_TIMEOUT, "--packet-timeout", value);
        case OPTION_HOLD:
                return set_setting(config, SETTING_HOLD, "--hold", value);
        case OPTION_RELAXED_COMMAND_CHECK:
                config->relaxed_command_check = true;
                return 0;
        case OPTION_DELAY_ACCEPT:
                return parse_unsigned(config, "--delay-accept", value, &config->delay_accept_sec);
        case OPTION_DELAY_WRITE:
                return parse_unsigned(config, "--delay-write", value, &config->delay_write_sec);
        case OPTION_LOG_LEVEL:
                return set_setting(config, SETTING_LOG_LEVEL, "--log-level", value);
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
        return port ? forgive(config, parse_port(config, "ERL_EPMD_PORT", port, &config->port)) : 0;
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
                return complain(config, what, text, "an address to listen on");
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
                int r = forgive(config, add_listen_text(config, "ERL_EPMD_ADDRESS", word));

                if (r < 0)
                        return r;
        }
        return add_loopback(config);
}

/* Where all that was asked for was bad, a service answers this machine only: what was meant to be narrow must not
 * become wide (P7). */
static int settle_listen(Config *config, const Words *words) {
        for (size_t i = 0; i < words->n_listen; i++) {
                int r = forgive(config, add_listen_text(config, "--listen", words->listen[i]));

                if (r < 0)
                        return r;
        }
        config->has_listen = words->n_listen > 0;
        if (config->has_listen)
                return config->n_listen > 0 ? 0 : add_loopback(config);
        if (config->epmd_addresses)
                return add_epmd_addresses(config);
        return add_listen(config, &(ListenAddress){ .port = config->port });
}

/* -ENOENT without a directory. */
static int make_path(char **ret, const char *directory, const char *below) {
        if (!directory || directory[0] != '/')
                return -ENOENT;
        if (asprintf(ret, "%s%s", directory, below) >= 0)
                return 0;
        *ret = NULL;
        return -ENOMEM;
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
        int r = 0;

        if (passed && sd_id128_from_string(passed, &id) < 0)
                r = complain(config, "ROLLCALL_BOOT_ID", passed, "a 128-bit id");
        if (forgive(config, r) < 0)
                return r;
        if ((!passed || r < 0) && sd_id128_get_boot(&id) < 0)
                return 0;
        return replace_string(&config->boot_id, sd_id128_to_string(id, text));
}

/* The unit says what its FileDescriptorStoreMax= is, since systemd does not. */
static int settle_fd_store(Config *config) {
        const char *passed = getenv("ROLLCALL_FD_STORE_MAX");
        unsigned long max;
        int r;

        if (!passed)
                return 0;
        r = setting_parse_number(passed, 0, 1048576, &max);
        if (r < 0)
                return forgive(config, complain(config, "ROLLCALL_FD_STORE_MAX", passed, "a number up to 1048576"));
        config->n_fdstore_max = max;
        return 0;
}

static int settle_config_file(Config *config) {
        ConfigSource *source = &config->source;

        if (!source->must_exist)
                return replace_string(&source->path, CONFIG_FILE);
        if (strcmp(source->path, "none") == 0) {
                free(source->path);
                source->path = NULL;
        }
        return 0;
}

static int settle(Config *config, const Words *words) {
        int r = settle_listen(config, words);

        if (r >= 0)
                r = settle_paths(config);
        if (r >= 0)
                r = settle_boot_id(config);
        if (r >= 0)
                r = settle_fd_store(config);
        if (r >= 0)
                r = settle_config_file(config);
        return r < 0 ? r : draft_make_settings(&config->source.options, &config->settings, &config->problems);
}

/* What getopt_long() would print. For a short option optind may still be at its word. */
static int complain_of_option(Config *config, char **argv) {
        if (!config->is_service)
                return -EINVAL; /* it has printed it */
        if (optopt > 0 && optopt < 256)
                return config_complain(config, "there is no option -%c, or it lacks its value", optopt);
        return config_complain(config, "'%s' is no option, or its value is missing or none it takes", argv[optind - 1]);
}

static int read_options(Config *config, Words *words, int argc, char **argv) {
        int option, r;

        optind = 0; /* from the beginning, whatever was parsed before */
        opterr = !config->is_service;
        while ((option = getopt_long(argc, argv, "dhV", options, NULL)) >= 0) {
                r = option == '?' ? complain_of_option(config, argv) : take_option(config, words, option, optarg);
                if (forgive(config, r) < 0)
                        return r;
        }
        if (config->help || config->version)
                return 0;
        for (; optind < argc; optind++) {
                r = complain(config, "The argument", argv[optind], "an option");
                if (forgive(config, r) < 0)
                        return r;
        }
        return 0;
}

static void config_say_why(Config *config, const Problems *problems);

int config_parse(Config *config, int argc, char **argv) {
        _cleanup_(words_done) Words words = { 0 };
        int r;

        *config = (Config){
                .is_service = getenv("NOTIFY_SOCKET") || getenv("LISTEN_PID"),
                .ready_fd = -1,
        };
        r = read_options(config, &words, argc, argv);
        if (r < 0 || config->help || config->version)
                return r;
        r = read_environment(config);
        if (r >= 0)
                r = settle(config, &words);
        if (r >= 0)
                config_say_why(config, NULL);
        return r;
}

void config_done(Config *config) {
        free(config->listen);
        free(config->control_path);
        free(config->state_path);
        free(config->boot_id);
        settings_done(&config->settings);
        config_source_done(&config->source);
        config_files_done(&config->files);
        entries_done(&config->nodes);
        problems_done(&config->problems);
        *config = (Config){ .ready_fd = -1 };
}

/* --- what is in force ------------------------------------------------------------------------------- */

/* `problems`: those of the files, or NULL. */
static void config_say_why(Config *config, const Problems *problems) {
        size_t n_options = config->problems.n_errors, n_files = problems ? problems->n_errors : 0;
        const char *first = problems_first_error(n_files > 0 && n_options == 0 ? problems : &config->problems);

        config->reason[0] = 0;
        if (n_options + n_files == 1)
                snprintf(config->reason, sizeof config->reason, "configuration: %s", first ? first : "1 error");
        else if (n_options + n_files > 1)
                snprintf(config->reason, sizeof config->reason, "configuration: %zu errors, the first: %s",
                         n_options + n_files, first ? first : "out of memory");
}

const char *config_degraded_reason(const Config *config) {
        return config->reason[0] ? config->reason : NULL;
}

void config_adopt(Config *config, ConfigLoad *load) {
        Settings settings = config->settings;
        ConfigFiles files = config->files;
        Entries nodes = config->nodes;

        config->nodes = load->nodes;
        load->nodes = nodes;
        config->has_adopted = true;
        config->settings = load->settings;
        config->files = load->files;
        load->settings = settings;
        load->files = files;
        config_say_why(config, &load->problems);
}

void config_decline(Config *config, const ConfigLoad *load) {
        config_say_why(config, &load->problems);
}

/* --- for those who ask ------------------------------------------------------------------------------ */

static void print_problems(const Problems *problems) {
        for (size_t i = 0; i < problems->n_kept; i++)
                fprintf(stderr, "%s%s\n", problems->kept[i].is_error ? "" : "warning: ", problems->kept[i].text);
        if (problems->n_errors + problems->n_warnings > problems->n_kept)
                fprintf(stderr, "and %zu more\n", problems->n_errors + problems->n_warnings - problems->n_kept);
}

static ConfigLoad *load_and_print_problems(const Config *config) {
        ConfigLoad *load = config_load_new(&config->source);

        if (load)
                print_problems(&load->problems);
        else
                fprintf(stderr, "rollcalld: %s\n", strerror(ENOMEM));
        return load;
}

int config_check(const Config *config) {
        _cleanup_(config_load_freep) ConfigLoad *load = load_and_print_problems(config);

        return load && load->problems.n_errors == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int config_dump(const Config *config) {
        _cleanup_(config_load_freep) ConfigLoad *load = load_and_print_problems(config);

        if (!load)
                return EXIT_FAILURE;
        puts("# The settings in force, and where each comes from; see rollcall.conf(5).");
        for (size_t i = 0; i < load->files.n_paths; i++)
                printf("# read: %s\n", load->files.paths[i]);
        if (load->files.n_paths == 0)
                puts("# no file was read");
        putchar('\n');
        draft_print(&load->draft, stdout);
        node_drafts_print(&load->nodes, stdout);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
