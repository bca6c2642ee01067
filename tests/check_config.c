/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check_main.h"
#include "config/config.h"

#define MAX_WORDS 12
#define NOBODY ((uid_t)65534)

static const char *const variables[] = {
        "ERL_EPMD_PORT",  "ERL_EPMD_ADDRESS",  "ERL_EPMD_RELAXED_COMMAND_CHECK",
        "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR", "HOME",              "ROLLCALL_BOOT_ID",
        "NOTIFY_SOCKET",   "LISTEN_PID",        "ROLLCALL_FD_STORE_MAX",
};

/* "NAME=value" words, up to NULL; nothing else that matters here is set. */
static void set_environment(const char *const *words) {
        for (size_t i = 0; i < ELEMENTS(variables); i++)
                unsetenv(variables[i]);
        for (; words && *words; words++) {
                char name[64];
                size_t n = strcspn(*words, "=");

                ck_assert_uint_lt(n, sizeof name);
                memcpy(name, *words, n);
                name[n] = 0;
                setenv(name, *words + n + 1, 1);
        }
}

/* What was parsed, and what it said on stderr meanwhile. */
typedef struct Parsed {
        Config config;
        int result;
        char said[1024];
} Parsed;

static void parse_into(Parsed *ret, const char *const *words) {
        char copies[MAX_WORDS + 1][128] = { "rollcalld" }, *argv[MAX_WORDS + 2] = { copies[0] };
        int argc = 1, before = dup(STDERR_FILENO), file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        ssize_t n;

        for (; words && *words; words++, argc++) {
                ck_assert_int_le(argc, MAX_WORDS);
                snprintf(copies[argc], sizeof copies[argc], "%s", *words);
                argv[argc] = copies[argc];
        }
        ck_assert_int_ge(file, 0);
        ck_assert_int_ge(dup2(file, STDERR_FILENO), 0);
        ret->result = config_parse(&ret->config, argc, argv);
        fflush(stderr);
        dup2(before, STDERR_FILENO);
        close(before);
        n = pread(file, ret->said, sizeof ret->said - 1, 0);
        close(file);
        ck_assert_int_ge(n, 0);
        ret->said[n] = 0;
}

static void parse(Parsed *ret, const char *const *words, const char *const *environment) {
        set_environment(environment);
        parse_into(ret, words);
}

#define WORDS(...) (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL }

/* --- good options --------------------------------------------------------------------------------------- */

START_TEST(test_without_options_everything_has_its_default) {
        Parsed parsed;
        Address address;

        parse(&parsed, NULL, WORDS("STATE_DIRECTORY=/s", "RUNTIME_DIRECTORY=/r"));
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_str_eq(parsed.said, "");
        ck_assert(!parsed.config.help);
        ck_assert(!parsed.config.version);
        ck_assert_uint_eq(parsed.config.n_listen, 1);
        ck_assert(address_is_any(&parsed.config.listen[0].address));
        ck_assert_uint_eq(parsed.config.listen[0].port, 4369);
        ck_assert(!parsed.config.listen[0].is_optional);
        ck_assert_uint_eq(parsed.config.port, 4369);
        ck_assert_ptr_null(parsed.config.epmd_addresses);
        ck_assert_str_eq(parsed.config.control_path, "/r/control");
        ck_assert(!parsed.config.control_is_explicit);
        ck_assert_int_eq(parsed.config.state_mode, STATE_DEFAULT);
        ck_assert_str_eq(parsed.config.state_path, "/s/registry.db");
        ck_assert_int_eq(address_parse("10.0.0.1", &address), 0);
        ck_assert(access_list_contains(&parsed.config.settings.lookup_from, &address));
        ck_assert(!access_list_contains(&parsed.config.settings.list_from, &address));
        ck_assert(!parsed.config.relaxed_command_check);
        ck_assert_uint_eq(parsed.config.settings.packet_timeout_usec, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(parsed.config.delay_accept_sec, 0);
        ck_assert_uint_eq(parsed.config.delay_write_sec, 0);
        ck_assert_uint_eq(parsed.config.settings.n_nodes_per_uid_max, 0);
        ck_assert_uint_eq(parsed.config.settings.hold_usec, 5 * USEC_PER_SEC);
        ck_assert(parsed.config.settings.names_with_helpers);
        ck_assert_uint_eq(parsed.config.settings.history_days, 30);
        ck_assert_uint_eq(parsed.config.settings.history_rows, 50000);
        ck_assert_uint_eq(parsed.config.settings.history_per_name, 100);
        ck_assert_int_eq(parsed.config.log_format, LOG_FORMAT_AUTO);
        ck_assert_int_eq(parsed.config.settings.log_priority, LOG_INFO);
        ck_assert_int_eq(parsed.config.debug, 0);
        ck_assert_int_eq(parsed.config.ready_fd, -1);
        config_done(&parsed.config);
}
END_TEST

START_TEST(test_options_are_taken) {
        Parsed parsed;

        parse(&parsed,
              WORDS("--port", "5000", "--control", "/c", "--state=/f", "--history-days=7", "--history-rows=8",
                    "--history-per-name=9", "--max-nodes-per-uid=10", "--packet-timeout=11",
                    "--relaxed-command-check"),
              NULL);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_uint_eq(parsed.config.port, 5000);
        ck_assert_uint_eq(parsed.config.listen[0].port, 5000);
        ck_assert_str_eq(parsed.config.control_path, "/c");
        ck_assert(parsed.config.control_is_explicit);
        ck_assert_int_eq(parsed.config.state_mode, STATE_EXPLICIT);
        ck_assert_str_eq(parsed.config.state_path, "/f");
        ck_assert_uint_eq(parsed.config.settings.history_days, 7);
        ck_assert_uint_eq(parsed.config.settings.history_rows, 8);
        ck_assert_uint_eq(parsed.config.settings.history_per_name, 9);
        ck_assert_uint_eq(parsed.config.settings.n_nodes_per_uid_max, 10);
        ck_assert_uint_eq(parsed.config.settings.packet_timeout_usec, 11 * USEC_PER_SEC);
        ck_assert(parsed.config.relaxed_command_check);
        config_done(&parsed.config);

        parse(&parsed,
              WORDS("--delay-accept", "1", "--delay-write", "2", "--log-level", "warning", "--log-format",
                    "plain", "--ready-fd", "3", "-dd", "--debug"),
              NULL);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_uint_eq(parsed.config.delay_accept_sec, 1);
        ck_assert_uint_eq(parsed.config.delay_write_sec, 2);
        ck_assert_int_eq(parsed.config.settings.log_priority, LOG_WARNING);
        ck_assert_int_eq(parsed.config.log_format, LOG_FORMAT_PLAIN);
        ck_assert_int_eq(parsed.config.ready_fd, 3);
        ck_assert_int_eq(parsed.config.debug, 3);
        config_done(&parsed.config);
}
END_TEST

START_TEST(test_the_least_and_the_greatest_numbers_are_taken) {
        Parsed parsed;

        parse(&parsed,
              WORDS("--port", "1", "--history-days", "1", "--history-rows", "1", "--history-per-name", "1",
                    "--max-nodes-per-uid", "1", "--packet-timeout", "1"),
              NULL);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_uint_eq(parsed.config.port, 1);
        ck_assert_uint_eq(parsed.config.settings.history_days, 1);
        ck_assert_uint_eq(parsed.config.settings.packet_timeout_usec, USEC_PER_SEC);
        config_done(&parsed.config);

        parse(&parsed,
              WORDS("--port", "65535", "--history-days", "36500", "--max-nodes-per-uid", "2147483647",
                    "--packet-timeout", "1000000", "--delay-accept", "0", "--ready-fd", "0"),
              NULL);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_uint_eq(parsed.config.port, 65535);
        ck_assert_uint_eq(parsed.config.settings.history_days, 36500);
        ck_assert_uint_eq(parsed.config.settings.n_nodes_per_uid_max, 2147483647);
        ck_assert_uint_eq(parsed.config.settings.packet_timeout_usec, 1000000 * USEC_PER_SEC);
        ck_assert_int_eq(parsed.config.ready_fd, 0);
        config_done(&parsed.config);
}
END_TEST

/* Without effect on passed sockets, which the log then says. */
START_TEST(test_it_is_remembered_whether_addresses_and_port_were_asked_for) {
        static const struct {
                const char *const words[3], *const environment[2];
                bool has_listen, has_port;
        } asked[] = {
                { { NULL }, { NULL }, false, false },
                { { "--listen", "127.0.0.1" }, { NULL }, true, false },
                { { "--port", "5000" }, { NULL }, false, true },
                { { NULL }, { "ERL_EPMD_PORT=5000" }, false, true },
        };
        Parsed parsed;

        for (size_t i = 0; i < ELEMENTS(asked); i++) {
                parse(&parsed, asked[i].words, asked[i].environment);
                ck_assert_int_eq(parsed.config.has_listen, asked[i].has_listen);
                ck_assert_int_eq(parsed.config.has_port, asked[i].has_port);
                config_done(&parsed.config);
        }
}
END_TEST

static const struct {
        const char *word;
        int priority;
} levels[] = {
        { "error", LOG_ERR },   { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
        { "info", LOG_INFO },   { "debug", LOG_DEBUG },
};

static const struct {
        const char *word;
        LogFormat format;
} formats[] = {
        { "auto", LOG_FORMAT_AUTO }, { "journal", LOG_FORMAT_JOURNAL }, { "plain", LOG_FORMAT_PLAIN },
        { "epmd", LOG_FORMAT_EPMD }, { "syslog", LOG_FORMAT_SYSLOG },
};

START_TEST(test_every_level_and_format_of_the_log_has_a_word) {
        Parsed parsed;

        for (size_t i = 0; i < ELEMENTS(levels); i++) {
                parse(&parsed, WORDS("--log-level", levels[i].word), NULL);
                ck_assert_int_eq(parsed.result, 0);
                ck_assert_int_eq(parsed.config.settings.log_priority, levels[i].priority);
                config_done(&parsed.config);
        }
        for (size_t i = 0; i < ELEMENTS(formats); i++) {
                parse(&parsed, WORDS("--log-format", formats[i].word), NULL);
                ck_assert_int_eq(parsed.result, 0);
                ck_assert_int_eq(parsed.config.log_format, formats[i].format);
                config_done(&parsed.config);
        }
}
END_TEST

/* --- where it listens ------------------------------------------------------------------------------------ */

static const struct {
        const char *const words[6], *const environment[4];
        const char *expected; /* "ADDRESS:PORT", a "?" behind those that are optional */
} listens[] = {
        { { NULL }, { NULL }, "*:4369" },
        { { "--port", "5000" }, { NULL }, "*:5000" },
        { { NULL }, { "ERL_EPMD_PORT=5001" }, "*:5001" },
        { { "--port", "5000" }, { "ERL_EPMD_PORT=5001" }, "*:5000" },
        { { "--listen", "127.0.0.1" }, { NULL }, "127.0.0.1:4369" },
        { { "--listen", "127.0.0.1" }, { "ERL_EPMD_PORT=5001" }, "127.0.0.1:5001" },
        { { "--listen", "127.0.0.1", "--port", "5000" }, { NULL }, "127.0.0.1:5000" },
        { { "--listen", "127.0.0.1:6000", "--port", "5000" }, { NULL }, "127.0.0.1:6000" },
        { { "--listen", "[::1]:6000", "--listen", "10.0.0.1" }, { NULL }, "::1:6000 10.0.0.1:4369" },
        { { "--listen", "*" }, { NULL }, "*:4369" },
        { { "--listen", "::" }, { NULL }, "*:4369" },
        { { "--listen", "0.0.0.0:1" }, { NULL }, "*:1" },
        /* as ERL_EPMD_ADDRESS does: commas and blanks, and loopback beside what is listed */
        { { NULL }, { "ERL_EPMD_ADDRESS=10.0.0.1" }, "10.0.0.1:4369 127.0.0.1:4369? ::1:4369?" },
        { { NULL }, { "ERL_EPMD_ADDRESS=10.0.0.1, fd00::1 10.0.0.2", "ERL_EPMD_PORT=5001" },
          "10.0.0.1:5001 fd00::1:5001 10.0.0.2:5001 127.0.0.1:5001? ::1:5001?" },
        { { NULL }, { "ERL_EPMD_ADDRESS=127.0.0.1" }, "127.0.0.1:4369 ::1:4369?" },
        { { NULL }, { "ERL_EPMD_ADDRESS=::1,127.0.0.1" }, "::1:4369 127.0.0.1:4369" },
        { { NULL }, { "ERL_EPMD_ADDRESS=0.0.0.0" }, "*:4369 ::1:4369?" }, /* all of IPv4 */
        { { NULL }, { "ERL_EPMD_ADDRESS=" }, "*:4369" },
        { { "--epmd-address", "10.0.0.1" }, { "ERL_EPMD_ADDRESS=10.0.0.2" },
          "10.0.0.1:4369 127.0.0.1:4369? ::1:4369?" },
        { { "--listen", "10.0.0.1" }, { "ERL_EPMD_ADDRESS=10.0.0.2" }, "10.0.0.1:4369" },
};

START_TEST(test_it_listens_where_options_then_the_environment_say) {
        char text[512] = "";
        Parsed parsed;

        parse(&parsed, listens[_i].words, listens[_i].environment);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_int_eq(parsed.result, 0);
        for (size_t i = 0; i < parsed.config.n_listen; i++) {
                const ListenAddress *listen = parsed.config.listen + i;
                char address[ADDRESS_TEXT_MAX];
                size_t n = strlen(text);

                snprintf(text + n, sizeof text - n, "%s%s:%u%s", i ? " " : "",
                         address_format(&listen->address, address), listen->port,
                         listen->is_optional ? "?" : "");
        }
        ck_assert_str_eq(text, listens[_i].expected);
        config_done(&parsed.config);
}
END_TEST

START_TEST(test_the_variable_for_addresses_is_remembered_for_the_log) {
        Parsed parsed;

        parse(&parsed, NULL, WORDS("ERL_EPMD_ADDRESS=10.0.0.1"));
        ck_assert_str_eq(parsed.config.epmd_addresses, "10.0.0.1");
        config_done(&parsed.config);
}
END_TEST

START_TEST(test_any_value_of_the_relaxing_variable_relaxes_as_in_stock_epmd) {
        static const char *const values[] = {
                "ERL_EPMD_RELAXED_COMMAND_CHECK=",
                "ERL_EPMD_RELAXED_COMMAND_CHECK=0",
                "ERL_EPMD_RELAXED_COMMAND_CHECK=true",
        };
        Parsed parsed;

        for (size_t i = 0; i < ELEMENTS(values); i++) {
                parse(&parsed, NULL, WORDS(values[i]));
                ck_assert(parsed.config.relaxed_command_check);
                config_done(&parsed.config);
        }
}
END_TEST

/* --- paths ----------------------------------------------------------------------------------------------- */

static const struct {
        bool as_root;
        const char *const words[5], *const environment[6];
        const char *state, *control; /* NULL: nowhere */
} paths[] = {
        { true, { NULL }, { NULL }, "/var/lib/rollcall/registry.db", "/run/rollcall/control" },
        /* Each port has its own, but where a unit has a directory of its own. */
        { true, { "--port", "5000" }, { NULL }, "/var/lib/rollcall/registry-5000.db", "/run/rollcall/control" },
        { true, { "--listen", "127.0.0.1:5000" }, { NULL }, "/var/lib/rollcall/registry-5000.db",
          "/run/rollcall/control" },
        { true, { "--port", "5000" }, { "STATE_DIRECTORY=/s", "RUNTIME_DIRECTORY=/r" }, "/s/registry.db", "/r/control" },
        { true, { NULL }, { "STATE_DIRECTORY=/s", "RUNTIME_DIRECTORY=/r" }, "/s/registry.db", "/r/control" },
        { true, { NULL }, { "STATE_DIRECTORY=/s:/t", "RUNTIME_DIRECTORY=/r:/q" }, "/s/registry.db", "/r/control" },
        { true, { NULL }, { "HOME=/h", "XDG_STATE_HOME=/x", "XDG_RUNTIME_DIR=/y" },
          "/var/lib/rollcall/registry.db", "/run/rollcall/control" },
        { true, { "--state", "f", "--control", "c" }, { "STATE_DIRECTORY=/s", "RUNTIME_DIRECTORY=/r" }, "f", "c" },
        { true, { "--state-if-free", "/f" }, { "STATE_DIRECTORY=/s" }, "/f", "/run/rollcall/control" },
        { true, { "--no-state" }, { "STATE_DIRECTORY=/s" }, NULL, "/run/rollcall/control" },
        { true, { "--control", "none" }, { "RUNTIME_DIRECTORY=/r" }, "/var/lib/rollcall/registry.db", NULL },

        { false, { NULL }, { NULL }, NULL, NULL },
        { false, { NULL }, { "HOME=/h" }, "/h/.local/state/rollcall/registry.db", NULL },
        { false, { NULL }, { "HOME=/h", "XDG_STATE_HOME=/x", "XDG_RUNTIME_DIR=/y" }, "/x/rollcall/registry.db",
          "/y/rollcall/control" },
        { false, { NULL }, { "HOME=/h", "XDG_STATE_HOME=/x", "STATE_DIRECTORY=/s", "RUNTIME_DIRECTORY=/r",
                             "XDG_RUNTIME_DIR=/y" },
          "/s/registry.db", "/r/control" },
        /* what is no absolute path counts as not set */
        { false, { NULL }, { "HOME=/h", "XDG_STATE_HOME=x", "XDG_RUNTIME_DIR=" },
          "/h/.local/state/rollcall/registry.db", NULL },
};

static void assert_path(const char *path, const char *expected) {
        ck_assert_int_eq(path == NULL, expected == NULL);
        if (path)
                ck_assert_str_eq(path, expected);
}

START_TEST(test_files_lie_where_options_then_the_environment_say) {
        Parsed parsed;

        if (geteuid() != 0 && paths[_i].as_root) {
                puts("SKIP: only root has root's paths");
                return;
        }
        if (!paths[_i].as_root && geteuid() == 0)
                ck_assert_int_eq(seteuid(NOBODY), 0);
        parse(&parsed, paths[_i].words, paths[_i].environment);
        if (!paths[_i].as_root && getuid() == 0)
                ck_assert_int_eq(seteuid(0), 0);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_int_eq(parsed.result, 0);
        assert_path(parsed.config.state_path, paths[_i].state);
        assert_path(parsed.config.control_path, paths[_i].control);
        config_done(&parsed.config);
}
END_TEST

START_TEST(test_each_way_to_name_the_registry_has_its_mode) {
        Parsed parsed;

        parse(&parsed, WORDS("--state", "/f"), NULL);
        ck_assert_int_eq(parsed.config.state_mode, STATE_EXPLICIT);
        config_done(&parsed.config);
        parse(&parsed, WORDS("--state-if-free", "/f"), NULL);
        ck_assert_int_eq(parsed.config.state_mode, STATE_IF_FREE);
        config_done(&parsed.config);
        parse(&parsed, WORDS("--no-state"), NULL);
        ck_assert_int_eq(parsed.config.state_mode, STATE_NONE);
        config_done(&parsed.config);
}
END_TEST

START_TEST(test_the_boot_id_is_the_passed_one_or_the_machines) {
        Parsed parsed;

        parse(&parsed, NULL, WORDS("ROLLCALL_BOOT_ID=0123456789abcdef0123456789ABCDEF"));
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_str_eq(parsed.config.boot_id, "0123456789abcdef0123456789abcdef");
        config_done(&parsed.config);

        parse(&parsed, NULL, NULL);
        ck_assert_int_eq(parsed.result, 0);
        if (parsed.config.boot_id)
                ck_assert_uint_eq(strlen(parsed.config.boot_id), 32);
        config_done(&parsed.config);
}
END_TEST

/* --- who may ask ------------------------------------------------------------------------------------------- */

static const struct {
        const char *const words[6];
        const char *peer;
        bool may_look_up, may_list;
} accesses[] = {
        { { NULL }, "10.0.0.1", true, false },
        { { "--lookup-from", "local" }, "10.0.0.1", false, false },
        { { "--lookup-from", "10.0.0.0/8" }, "10.0.0.1", true, false },
        { { "--lookup-from", "10.0.0.0/8" }, "11.0.0.1", false, false },
        { { "--lookup-from", "10.0.0.0/8", "--lookup-from", "11.0.0.0/8" }, "11.0.0.1", true, false },
        { { "--list-from", "any" }, "10.0.0.1", true, true },
        { { "--list-from", "10.0.0.0/8" }, "10.0.0.1", true, true },
        { { "--list-from", "fd00::/8" }, "10.0.0.1", true, false },
        { { "--list-from", "fd00::/8", "--list-from", "10.0.0.1" }, "10.0.0.1", true, true },
        { { "--list-from", "local" }, "10.0.0.1", true, false },
};

START_TEST(test_others_may_ask_what_the_options_open) {
        Parsed parsed;
        Address peer;

        parse(&parsed, accesses[_i].words, NULL);
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_int_eq(address_parse(accesses[_i].peer, &peer), 0);
        ck_assert_int_eq(access_list_contains(&parsed.config.settings.lookup_from, &peer), accesses[_i].may_look_up);
        ck_assert_int_eq(access_list_contains(&parsed.config.settings.list_from, &peer), accesses[_i].may_list);
        config_done(&parsed.config);
}
END_TEST

/* --- bad ones ---------------------------------------------------------------------------------------------- */

static const struct {
        const char *const words[6], *const environment[3];
        const char *about[2]; /* what the line must name */
} mistakes[] = {
        { { "--bogus" }, { NULL }, { "--bogus" } },
        { { "-x" }, { NULL }, { "x" } },
        { { "--port" }, { NULL }, { "--port" } },
        { { "--list", "any" }, { NULL }, { "--list" } }, /* ambiguous */
        { { "--no-state=1" }, { NULL }, { "no-state" } },
        { { "start" }, { NULL }, { "start" } },
        { { "-d", "--", "start" }, { NULL }, { "start" } },

        { { "--port", "" }, { NULL }, { "--port" } },
        { { "--port", "0" }, { NULL }, { "--port", "'0'" } },
        { { "--port", "65536" }, { NULL }, { "--port", "65536" } },
        { { "--port", "70000" }, { NULL }, { "--port", "70000" } },
        { { "--port", "-1" }, { NULL }, { "--port", "-1" } },
        { { "--port", "+80" }, { NULL }, { "--port", "+80" } },
        { { "--port", "80x" }, { NULL }, { "--port", "80x" } },
        { { "--port", " 80" }, { NULL }, { "--port", " 80" } },
        { { "--port", "0x50" }, { NULL }, { "--port", "0x50" } },
        { { "--port", "18446744073709551617" }, { NULL }, { "--port" } },
        { { NULL }, { "ERL_EPMD_PORT=" }, { "ERL_EPMD_PORT" } },
        { { NULL }, { "ERL_EPMD_PORT=garbage" }, { "ERL_EPMD_PORT", "garbage" } },
        { { NULL }, { "ERL_EPMD_PORT=0" }, { "ERL_EPMD_PORT" } },
        { { NULL }, { "ERL_EPMD_PORT=70000" }, { "ERL_EPMD_PORT", "70000" } },
        { { NULL }, { "ERL_EPMD_PORT=4369 " }, { "ERL_EPMD_PORT" } },

        { { "--listen", "" }, { NULL }, { "--listen" } },
        { { "--listen", "localhost" }, { NULL }, { "--listen", "localhost" } },
        { { "--listen", "127.0.0.1:0" }, { NULL }, { "--listen", "127.0.0.1:0" } },
        { { "--listen", "127.0.0.1:" }, { NULL }, { "--listen", "127.0.0.1:" } },
        { { "--listen", "127.0.0.1:70000" }, { NULL }, { "--listen", "70000" } },
        { { "--listen", "[::1]x" }, { NULL }, { "--listen", "[::1]x" } },
        { { "--listen", "127.0.0.1", "--listen", "x" }, { NULL }, { "--listen", "x" } },
        { { "--epmd-address", "nonsense" }, { NULL }, { "nonsense" } },
        { { NULL }, { "ERL_EPMD_ADDRESS=10.0.0.1,x" }, { "ERL_EPMD_ADDRESS", "'x'" } },
        { { "--control", "" }, { NULL }, { "control" } },

        { { "--state", "" }, { NULL }, { "registry" } },
        { { "--state", "/a", "--state", "/b" }, { NULL }, { "--state" } },
        { { "--state", "/a", "--no-state" }, { NULL }, { "--no-state" } },
        { { "--no-state", "--state-if-free", "/a" }, { NULL }, { "--state-if-free" } },
        { { "--state-if-free", "/a", "--state", "/a" }, { NULL }, { "--state-if-free" } },
        { { "--history-days", "0" }, { NULL }, { "--history-days" } },
        { { "--history-days", "36501" }, { NULL }, { "--history-days", "36501" } },
        { { "--history-days", "many" }, { NULL }, { "--history-days", "many" } },
        { { "--history-rows", "-5" }, { NULL }, { "--history-rows" } },
        { { "--history-per-name", "1.5" }, { NULL }, { "--history-per-name" } },

        { { "--lookup-from", "" }, { NULL }, { "--lookup-from" } },
        { { "--lookup-from", "everyone" }, { NULL }, { "--lookup-from", "everyone" } },
        { { "--list-from", "10.1.2.3/8" }, { NULL }, { "--list-from", "10.1.2.3/8" } },
        { { "--list-from", "10.0.0.0/33" }, { NULL }, { "--list-from", "10.0.0.0/33" } },
        { { "--max-nodes-per-uid", "0" }, { NULL }, { "--max-nodes-per-uid" } },
        { { "--hold", "9.5" }, { NULL }, { "--hold", "9.5" } },
        { { "--config", "" }, { NULL }, { "--config" } },
        { { NULL }, { "ROLLCALL_FD_STORE_MAX=many" }, { "ROLLCALL_FD_STORE_MAX", "many" } },
        { { "--packet-timeout", "0" }, { NULL }, { "--packet-timeout" } },
        { { "--packet-timeout", "1000001" }, { NULL }, { "--packet-timeout" } },
        { { "--delay-accept", "x" }, { NULL }, { "--delay-accept" } },
        { { "--delay-write", "-1" }, { NULL }, { "--delay-write" } },

        { { "--log-level", "loud" }, { NULL }, { "--log-level", "loud" } },
        { { "--log-level", "" }, { NULL }, { "--log-level" } },
        { { "--log-format", "xml" }, { NULL }, { "--log-format", "xml" } },
        { { "--ready-fd", "-1" }, { NULL }, { "--ready-fd" } },
        { { "--ready-fd", "x" }, { NULL }, { "--ready-fd" } },
        { { NULL }, { "ROLLCALL_BOOT_ID=xyz" }, { "ROLLCALL_BOOT_ID", "xyz" } },
};

START_TEST(test_a_mistake_is_told_in_one_line) {
        Parsed parsed;
        const char *end;

        parse(&parsed, mistakes[_i].words, mistakes[_i].environment);
        ck_assert_int_eq(parsed.result, -EINVAL);
        ck_assert_msg(strncmp(parsed.said, "rollcalld: ", 11) == 0, "said: %s", parsed.said);
        end = strchr(parsed.said, '\n');
        ck_assert_ptr_nonnull(end);
        ck_assert_msg(end[1] == 0, "said: %s", parsed.said);
        for (size_t i = 0; i < ELEMENTS(mistakes[_i].about) && mistakes[_i].about[i]; i++)
                ck_assert_msg(strstr(parsed.said, mistakes[_i].about[i]) != NULL, "%s is not in: %s",
                              mistakes[_i].about[i], parsed.said);
        config_done(&parsed.config);
}
END_TEST

/* A service must not end for what a restart finds again. */
START_TEST(test_a_service_goes_on_without_what_is_a_mistake) {
        const char *environment[4] = { "NOTIFY_SOCKET=/nowhere" };
        const char *reason;
        Parsed parsed;

        for (size_t i = 0; i < 2; i++)
                environment[i + 1] = mistakes[_i].environment[i];
        parse(&parsed, mistakes[_i].words, environment);
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_str_eq(parsed.said, "");
        ck_assert_uint_ge(parsed.config.n_listen, 1);
        ck_assert_uint_ge(parsed.config.problems.n_errors, 1);
        reason = config_degraded_reason(&parsed.config);
        ck_assert_ptr_nonnull(reason);
        ck_assert_msg(strncmp(reason, "configuration: ", 15) == 0, "%s", reason);
        for (size_t i = 0; i < ELEMENTS(mistakes[_i].about) && mistakes[_i].about[i]; i++)
                ck_assert_msg(strstr(parsed.config.problems.kept[0].text, mistakes[_i].about[i]) != NULL,
                              "%s is not in: %s", mistakes[_i].about[i], parsed.config.problems.kept[0].text);
        config_done(&parsed.config);
}
END_TEST

/* Whatever else was given; with what becomes of the mistake. */
static const struct {
        const char *const words[8];
        const char *listen; /* the first address */
        size_t n_errors;
} narrowings[] = {
        { { "--listen", "x" }, "127.0.0.1", 1 }, /* what was meant to be narrow does not become wide */
        { { "--listen", "x", "--listen", "10.0.0.1" }, "10.0.0.1", 1 },
        { { "--epmd-address", "x" }, "127.0.0.1", 1 },
        { { "--bogus", "--listen", "10.0.0.1", "start" }, "10.0.0.1", 2 },
};

START_TEST(test_a_mistake_does_not_open_what_was_to_be_closed) {
        char address[ADDRESS_TEXT_MAX];
        Parsed parsed;

        parse(&parsed, narrowings[_i].words, WORDS("LISTEN_PID=1"));
        ck_assert_int_eq(parsed.result, 0);
        ck_assert_uint_eq(parsed.config.problems.n_errors, narrowings[_i].n_errors);
        ck_assert_str_eq(address_format(&parsed.config.listen[0].address, address), narrowings[_i].listen);
        config_done(&parsed.config);
}
END_TEST

/* --- files ------------------------------------------------------------------------------------------------- */

static const struct {
        const char *const words[5];
        const char *path; /* NULL: none is read */
        bool must_exist;
} files[] = {
        { { NULL }, CONFIG_FILE, false },
        { { "--config", "/f" }, "/f", true },
        { { "--config=none" }, NULL, true },
        { { "--config", "none", "--config", "/f" }, "/f", true }, /* the last one counts */
};

START_TEST(test_the_file_is_the_one_that_was_named) {
        Parsed parsed;

        parse(&parsed, files[_i].words, NULL);
        ck_assert_int_eq(parsed.result, 0);
        assert_path(parsed.config.source.path, files[_i].path);
        ck_assert_int_eq(parsed.config.source.must_exist, files[_i].must_exist);
        ck_assert_ptr_null(config_degraded_reason(&parsed.config));
        config_done(&parsed.config);
}
END_TEST

static ConfigLoad *make_load(SettingId id, const char *value, const char *error) {
        ConfigLoad *load = calloc(1, sizeof *load);
        char *why = NULL;

        ck_assert_ptr_nonnull(load);
        ck_assert_int_eq(draft_set(&load->draft, id, value, "f:1", &why), 0);
        ck_assert_int_eq(draft_make_settings(&load->draft, &load->settings, &load->problems), 0);
        if (error)
                problems_add_error(&load->problems, "%s", error);
        return load;
}

START_TEST(test_what_was_read_is_put_into_force_or_declined) {
        ConfigLoad *load = make_load(SETTING_HISTORY_DAYS, "7", NULL);
        Parsed parsed;

        parse(&parsed, NULL, NULL);
        config_adopt(&parsed.config, load);
        ck_assert_uint_eq(parsed.config.settings.history_days, 7);
        ck_assert_uint_eq(load->settings.history_days, 30);
        config_load_free(load);

        load = make_load(SETTING_HISTORY_DAYS, "8", "f:2: this is bad");
        config_decline(&parsed.config, load);
        ck_assert_uint_eq(parsed.config.settings.history_days, 7);
        ck_assert_str_eq(config_degraded_reason(&parsed.config), "configuration: f:2: this is bad");
        config_adopt(&parsed.config, load);
        ck_assert_uint_eq(parsed.config.settings.history_days, 8);
        ck_assert_str_eq(config_degraded_reason(&parsed.config), "configuration: f:2: this is bad");
        config_load_free(load);

        load = make_load(SETTING_HISTORY_DAYS, "9", NULL);
        config_adopt(&parsed.config, load);
        ck_assert_ptr_null(config_degraded_reason(&parsed.config));
        config_load_free(load);
        config_done(&parsed.config);
}
END_TEST

/* Files can be mended while a service runs, its options cannot. */
START_TEST(test_a_bad_option_stays_a_reason_when_files_are_good) {
        ConfigLoad *load = make_load(SETTING_HISTORY_DAYS, "7", "f:2: this is bad");
        Parsed parsed;

        parse(&parsed, WORDS("--bogus"), WORDS("NOTIFY_SOCKET=/n"));
        config_adopt(&parsed.config, load);
        ck_assert_ptr_nonnull(strstr(config_degraded_reason(&parsed.config), "2 errors, the first: '--bogus'"));
        config_load_free(load);
        load = make_load(SETTING_HISTORY_DAYS, "7", NULL);
        config_adopt(&parsed.config, load);
        ck_assert_ptr_nonnull(strstr(config_degraded_reason(&parsed.config), "'--bogus'"));
        config_load_free(load);
        config_done(&parsed.config);
}
END_TEST

/* --- help and version ---------------------------------------------------------------------------------------- */

START_TEST(test_help_and_version_are_given_whatever_the_environment_says) {
        static const char *const words[] = { "-h", "--help", "-V", "--version" };
        Parsed parsed;

        for (size_t i = 0; i < ELEMENTS(words); i++) {
                parse(&parsed, WORDS(words[i], "nonsense"),
                      WORDS("ERL_EPMD_PORT=garbage", "ERL_EPMD_ADDRESS=garbage", "ROLLCALL_BOOT_ID=garbage"));
                ck_assert_str_eq(parsed.said, "");
                ck_assert_int_eq(parsed.result, 0);
                ck_assert_int_eq(parsed.config.help, i < 2);
                ck_assert_int_eq(parsed.config.version, i >= 2);
                config_done(&parsed.config);
        }
}
END_TEST

START_TEST(test_help_names_every_option) {
        static const char *const options[] = {
                "--listen", "--port", "--epmd-address", "--control", "--state ", "--state-if-free", "--no-state",
                "--history-days", "--history-rows", "--history-per-name", "--lookup-from", "--list-from",
                "--config ", "--check-config", "--dump-config", "--hold",
                "--max-nodes-per-uid", "--packet-timeout", "--relaxed-command-check", "--delay-accept",
                "--delay-write", "--log-level", "--debug", "--log-format", "--ready-fd", "--help", "--version",
        };

        for (size_t i = 0; i < ELEMENTS(options); i++)
                ck_assert_msg(strstr(config_help, options[i]) != NULL, "%s", options[i]);
}
END_TEST

START_TEST(test_what_is_done_can_be_done_again) {
        Parsed parsed;

        parse(&parsed, WORDS("--state", "/f", "--list-from", "10.0.0.0/8"), NULL);
        config_done(&parsed.config);
        config_done(&parsed.config);
        ck_assert_ptr_null(parsed.config.state_path);
        ck_assert_int_eq(parsed.config.ready_fd, -1);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("config");
        TCase *tcase = tcase_create("options");

        tcase_add_test(tcase, test_without_options_everything_has_its_default);
        tcase_add_test(tcase, test_options_are_taken);
        tcase_add_test(tcase, test_the_least_and_the_greatest_numbers_are_taken);
        tcase_add_test(tcase, test_it_is_remembered_whether_addresses_and_port_were_asked_for);
        tcase_add_test(tcase, test_every_level_and_format_of_the_log_has_a_word);
        tcase_add_loop_test(tcase, test_it_listens_where_options_then_the_environment_say, 0, ELEMENTS(listens));
        tcase_add_test(tcase, test_the_variable_for_addresses_is_remembered_for_the_log);
        tcase_add_test(tcase, test_any_value_of_the_relaxing_variable_relaxes_as_in_stock_epmd);
        tcase_add_loop_test(tcase, test_files_lie_where_options_then_the_environment_say, 0, ELEMENTS(paths));
        tcase_add_test(tcase, test_each_way_to_name_the_registry_has_its_mode);
        tcase_add_test(tcase, test_the_boot_id_is_the_passed_one_or_the_machines);
        tcase_add_loop_test(tcase, test_others_may_ask_what_the_options_open, 0, ELEMENTS(accesses));
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("mistakes");
        tcase_add_loop_test(tcase, test_a_mistake_is_told_in_one_line, 0, ELEMENTS(mistakes));
        tcase_add_loop_test(tcase, test_a_service_goes_on_without_what_is_a_mistake, 0, ELEMENTS(mistakes));
        tcase_add_loop_test(tcase, test_a_mistake_does_not_open_what_was_to_be_closed, 0, ELEMENTS(narrowings));
        tcase_add_test(tcase, test_help_and_version_are_given_whatever_the_environment_says);
        tcase_add_test(tcase, test_help_names_every_option);
        tcase_add_test(tcase, test_what_is_done_can_be_done_again);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("files");
        tcase_add_loop_test(tcase, test_the_file_is_the_one_that_was_named, 0, ELEMENTS(files));
        tcase_add_test(tcase, test_what_was_read_is_put_into_force_or_declined);
        tcase_add_test(tcase, test_a_bad_option_stays_a_reason_when_files_are_good);
        suite_add_tcase(suite, tcase);
        return suite;
}
