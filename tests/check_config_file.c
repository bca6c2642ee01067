/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "check_main.h"
#include "config/config_load.h"

static char directory[64], main_path[96];

static void set_up(void) {
        snprintf(directory, sizeof directory, "/tmp/rollcall-config-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(main_path, sizeof main_path, "%s/rollcall.conf", directory);
}

static void tear_down(void) {
        char command[128];

        snprintf(command, sizeof command, "rm -rf %s", directory);
        ck_assert_int_eq(system(command), 0);
}

static void write_bytes(const char *path, const void *bytes, size_t n) {
        FILE *file = fopen(path, "we");

        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
        ck_assert_int_eq(fclose(file), 0);
}

static void write_main(const char *text) {
        write_bytes(main_path, text, strlen(text));
}

static const char *drop_in_path(const char *name) {
        static char path[160];

        snprintf(path, sizeof path, "%s.d", main_path);
        (void)mkdir(path, 0755);
        snprintf(path, sizeof path, "%s.d/%s", main_path, name);
        return path;
}

static void write_drop_in(const char *name, const char *text) {
        write_bytes(drop_in_path(name), text, strlen(text));
}

static ConfigLoad *load(void) {
        ConfigLoad *loaded = config_load_new(&(ConfigSource){ .path = main_path });

        ck_assert_ptr_nonnull(loaded);
        return loaded;
}

/* What is in force, as it would be printed; good until the next call. */
static const char *print(const ConfigLoad *loaded) {
        static char *text;
        size_t n_text;
        FILE *out;

        free(text);
        out = open_memstream(&text, &n_text);
        ck_assert_ptr_nonnull(out);
        draft_print(&loaded->draft, out);
        ck_assert_int_eq(fclose(out), 0);
        return text;
}

static bool has_line(const char *text, const char *line) {
        size_t n = strlen(line);

        for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
                if ((at == text || at[-1] == '\n') && (at[n] == '\n' || at[n] == 0))
                        return true;
        return false;
}

static void assert_no_problem(const ConfigLoad *loaded) {
        ck_assert_msg(loaded->problems.n_kept == 0, "%s", loaded->problems.n_kept ? loaded->problems.kept[0].text : "");
        ck_assert_uint_eq(loaded->problems.n_errors + loaded->problems.n_warnings, 0);
}

/* --- lines ---------------------------------------------------------------------------------------------- */

/* A good file, and a line of what is then in force. */
static const struct {
        const char *text, *effect;
} good[] = {
        { "", "list-from = local" },
        { "", "lookup-from = any" },
        { "", "nodes-per-uid = auto" },
        { "", "hold = 5" },
        { "[access]\nlist-from = any\n", "list-from = any" },
        { "[access]\nlist-from=any", "list-from = any" }, /* no line feed at the end */
        { "[access]\nlist-from: any\n", "list-from = any" },
        { "[access]\r\nlist-from = any\r\n", "list-from = any" },
        { "\xef\xbb\xbf[access]\nlist-from = any\n", "list-from = any" },
        { "# a comment\n\n; another\n[access] ; a third\nlist-from = any ; a fourth\n", "list-from = any" },
        { "  [access]\n\t list-from  =  any  \n", "list-from = any" },
        { "# \001\n[access] \r\nlist-from\t=\tany\t\r\n", "list-from = any" },
        /* no continuation of the line above, as inih would have it */
        { "[history]\ndays = 7\n  rows = 8\n", "rows = 8" },
        { "[history]\ndays = 7\n  rows = 8\n", "days = 7" },
        { "[access]\nlist-from = 10.0.0.0/8, fd00::/8\n", "list-from = 10.0.0.0/8\nlist-from = fd00::/8" },
        { "[access]\nlist-from = 10.0.0.0/8\nlist-from = fd00::/8\n", "list-from = 10.0.0.0/8\nlist-from = fd00::/8" },
        { "[access]\nlist-from = 10.0.0.0/8\nlist-from =\n", "list-from =" },
        { "[access]\nlist-from = 10.0.0.0/8\nlist-from =\nlist-from = fd00::/8\n", "list-from = fd00::/8" },
        { "[access]\nlookup-from =\n", "lookup-from =" },
        { "[history]\ndays = 7\ndays = 8\n", "days = 8" },
        { "[history]\ndays = 7\ndays =\n", "days = 30" },
        { "[history]\ndays = 7\n[access]\nlist-from = any\n[history]\nrows = 9\n", "days = 7" },
        { "[history]\ndays = 36500\nper-name = 1\n", "days = 36500" },
        { "[history]\nrows = 2147483647\n", "rows = 2147483647" },
        { "[limits]\nnodes-per-uid = 3\n", "nodes-per-uid = 3" },
        { "[limits]\nnodes-per-uid = auto\n", "nodes-per-uid = auto" },
        { "[limits]\npacket-timeout = 1000000\n", "packet-timeout = 1000000" },
        { "[limits]\nhold = 0\n", "hold = 0" },
        { "[limits]\nhold = 0.25\n", "hold = 0.25" },
        { "[limits]\nhold = 9.000000\n", "hold = 9.000000" },
        { "[listings]\nhelpers = a* b?\nhelpers = [c]\n", "helpers = a*\nhelpers = b?\nhelpers = [c]" },
        { "[listings]\nhelpers =\n", "helpers =" },
        { "[listings]\nnames-with-helpers = no\n", "names-with-helpers = no" },
        { "[log]\nlevel = debug\n", "level = debug" },
        { "[reserve mail]\nnames = ejabberd*\nfor = uid:7\n", "[reserve mail]" },
        { "[reserve mail]\nnames = ejabberd*\nfor = uid:7\n", "names = ejabberd*" },
        { "[reserve mail]\nnames = ejabberd*\nfor = uid:7, unit:a@*.service\n", "for = uid:7\nfor = unit:a@*.service" },
        { "[reserve the mail host]\nnames = a\nfor =\n", "[reserve the mail host]" },
        { "[reserve a]\nnames = a\nfor = uid:1\n[reserve b]\nnames = b\nfor = uid:2\n[reserve a]\nnames = c\n",
          "names = a\nnames = c" },
};

START_TEST(test_a_good_line_has_its_effect) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_main(good[_i].text);
        loaded = load();
        assert_no_problem(loaded);
        ck_assert_msg(has_line(print(loaded), good[_i].effect), "\"%s\" is not in:\n%s", good[_i].effect, print(loaded));
}
END_TEST

#define LONG_WORD "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
#define DEFAULTS "list-from = local"

/* A bad file; what the first error says, with its line; and a line of what is in force all the same. */
static const struct {
        const char *text, *error, *effect;
        size_t n_errors;
} bad[] = {
        { "[access]\nlist-from = lcoal\n", ":2: list-from 'lcoal' is not", DEFAULTS, 1 },
        /* all of the line is left out, and nothing but the line */
        { "[access]\nlist-from = 10.0.0.0/8 lcoal\n", ":2: list-from 'lcoal' is not", DEFAULTS, 1 },
        { "[access]\nlist-from = 10.0.0.0/8\nlist-from = lcoal\n", ":3: list-from 'lcoal'", "list-from = 10.0.0.0/8", 1 },
        { "[access]\nlist-from = 10.1.2.3/8\n", ":2: list-from '10.1.2.3/8' is not", DEFAULTS, 1 },
        { "[access]\nlist-from = any # everybody\n", ":2: list-from '#' is not", DEFAULTS, 1 },
        { "[access]\nlist-form = any\n", ":2: there is no setting 'list-form' in [access]", DEFAULTS, 1 },
        { "[access]\nLIST-FROM = any\n", ":2: there is no setting 'LIST-FROM'", DEFAULTS, 1 },
        { "[access]\nrelaxed-command-check = yes\n", ":2: there is no setting 'relaxed-command-check'", DEFAULTS, 1 },
        { "[access]\n= any\n", ":2: there is no setting ''", DEFAULTS, 1 },
        { "[log]\nlist-from = any\n", ":2: there is no setting 'list-from' in [log]", DEFAULTS, 1 },
        { "list-from = any\n[access]\n", ":1: list-from stands before the first [section]", DEFAULTS, 1 },
        { "[access]\nlist-from any\n", ":2: 'list-from any' is neither", DEFAULTS, 1 },
        { "[access]\nlist-from ; = any\nlist-from ;: any\n", ":2: 'list-from ; = any' is neither", DEFAULTS, 2 },
        { "[access ;]\nlist-from = any\n", ":1: [access ;] lacks its closing bracket", DEFAULTS, 1 },
        /* what follows a bad heading belongs to no other section */
        { "[acess]\nlist-from = any\n", ":1: there is no section [acess]", DEFAULTS, 1 },
        { "[access]\n[acess]\nlist-from = any\nbogus\n", ":2: there is no section [acess]", DEFAULTS, 1 },
        { "[access]\n[log\nlist-from = any\n", ":2: [log lacks its closing bracket", DEFAULTS, 1 },
        { "[access]\n[log] x\nlist-from = any\n", ":2: [log] x has something behind its bracket", DEFAULTS, 1 },
        { "[ access]\nlist-from = any\n", ":1: there is no section", DEFAULTS, 1 },
        { "[]\nlist-from = any\n", ":1: there is no section []", DEFAULTS, 1 },
        { "[access]\n[reserve " LONG_WORD "]\nlist-from = any\n", ":2: [reserve 0123", DEFAULTS, 1 },
        { "[access]\n[" LONG_WORD LONG_WORD "]\nlist-from = any\n", ":2: the line is longer than 190 bytes", DEFAULTS, 1 },
        /* some control characters are blanks, but not to everybody */
        { "[listings]\nhelpers = rpc-*\v\n", ":2: 'helpers = rpc-*\\x0b' has a control character in it", DEFAULTS, 1 },
        { "[access]\n[access\001]\nlist-from = any\n", ":2: '[access\\x01]' has a control character", DEFAULTS, 1 },
        { "[history]\ndays = 7\n[bad]\n[history]\nrows = 8\n", ":3: there is no section [bad]", "rows = 8", 1 },
        { "[access]\nlist-from = 10.0.0.0/8 " LONG_WORD LONG_WORD "\n", ":2: the line is longer", DEFAULTS, 1 },
        { "[history]\ndays = 0\n", ":2: days '0' is not a whole number from 1 to 36500", "days = 30", 1 },
        { "[history]\ndays = 36501\n", ":2: days '36501'", "days = 30", 1 },
        { "[history]\ndays = 7 8\n", ":2: days '7 8' is not", "days = 30", 1 },
        { "[history]\ndays = -1\nrows = 0\nper-name = 1.5\n", ":2: days '-1'", "per-name = 100", 3 },
        { "[history]\nrows = 2147483648\n", ":2: rows", "rows = 50000", 1 },
        { "[limits]\nhold = 9.1\n", ":2: hold '9.1' is not a number of seconds from 0 to 9", "hold = 5", 1 },
        { "[limits]\nhold = 9.000001\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = 10\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = -1\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = .5\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = 1.\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = 1.0000001\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = 1.-1\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = 1e0\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\nhold = 5s\n", ":2: hold", "hold = 5", 1 },
        { "[limits]\npacket-timeout = 0\n", ":2: packet-timeout", "packet-timeout = 60", 1 },
        { "[limits]\npacket-timeout = 1.5\n", ":2: packet-timeout", "packet-timeout = 60", 1 },
        { "[limits]\npacket-timeout = 1000001\n", ":2: packet-timeout", "packet-timeout = 60", 1 },
        { "[limits]\nnodes-per-uid = 0\n", ":2: nodes-per-uid '0' is not 'auto', or", "nodes-per-uid = auto", 1 },
        { "[limits]\nnodes-per-uid = half\n", ":2: nodes-per-uid 'half'", "nodes-per-uid = auto", 1 },
        { "[listings]\nhelpers = rem-*@host\n", ":2: helpers 'rem-*@host' is not a pattern", "names-with-helpers = yes", 1 },
        { "[listings]\nnames-with-helpers = maybe\n", ":2: names-with-helpers 'maybe'", "names-with-helpers = yes", 1 },
        { "[log]\nlevel = loud\n", ":2: level 'loud' is not error, warning", "level = info", 1 },
        { "[log]\nlevel = \x1b[1m\n", ":2: 'level = \\x1b[1m' has a control character in it", "level = info", 1 },

        { "[reserve]\nnames = a\nfor = uid:1\n", ":1: [reserve] needs a label", DEFAULTS, 1 },
        { "[reserved a]\nnames = a\n", ":1: there is no section [reserved a]", DEFAULTS, 1 },
        { "[reserve a]\nname = a\nfor = uid:1\n", ":2: there is no setting 'name' in [reserve]", DEFAULTS, 2 },
        { "[reserve a]\nnames = a@host\nfor = uid:1\n", ":2: names 'a@host' is not a pattern of names", DEFAULTS, 2 },
        { "[reserve a]\nnames = a # b\nfor = uid:1\n", ":2: names '#' is not", DEFAULTS, 2 },
        { "[reserve a]\nnames =;a\nfor = uid:1\n", ":2: names ';a' is not", DEFAULTS, 2 },
        { "[listings]\nhelpers = a,;b c\n", ":2: helpers ';b' is not a pattern", "names-with-helpers = yes", 1 },
        { "[reserve a]\nnames = a\n", ":1: [reserve a] has no line for=", DEFAULTS, 1 },
        { "[reserve a]\nfor = uid:1\n", ":1: [reserve a] has no line names=", DEFAULTS, 1 },
        { "[reserve a]\n", ":1: [reserve a] has no line names=", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = root\n", ":3: for 'root' is not uid:NUMBER, user:NAME or unit:PATTERN", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = uid:root\n", ":3: for 'uid:root' is not a uid", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = uid:\n", ":3: for 'uid:'", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = uid:4294967295\n", ":3: for 'uid:4294967295'", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = user:\n", ":3: for 'user:' names no user", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = unit:\n", ":3: for 'unit:'", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor = unit:mail\n", ":3: for 'unit:mail' is not a pattern of unit names", DEFAULTS, 1 },
        { "[reserve a]\nnames = a\nfor: uid:1 group:2\n", ":3: for 'group:2'", DEFAULTS, 1 },
};

START_TEST(test_a_bad_line_is_told_and_left_out) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        const char *error;

        write_main(bad[_i].text);
        loaded = load();
        error = problems_first_error(&loaded->problems);
        ck_assert_ptr_nonnull(error);
        ck_assert_msg(strncmp(error, main_path, strlen(main_path)) == 0, "%s", error);
        ck_assert_msg(strncmp(error + strlen(main_path), bad[_i].error, strlen(bad[_i].error)) == 0,
                      "\"%s\" is expected, and not: %s", bad[_i].error, error);
        ck_assert_uint_eq(loaded->problems.n_errors, bad[_i].n_errors);
        ck_assert_msg(has_line(print(loaded), bad[_i].effect), "\"%s\" is not in:\n%s", bad[_i].effect, print(loaded));
        ck_assert_msg(!strstr(print(loaded), "[reserve"), "%s", print(loaded));
}
END_TEST

START_TEST(test_a_comment_may_be_long) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_main("# " LONG_WORD LONG_WORD LONG_WORD "\n[access]\nlist-from = any\n");
        loaded = load();
        assert_no_problem(loaded);
        ck_assert(loaded->settings.list_from.is_any);
}
END_TEST

START_TEST(test_a_line_may_have_190_bytes_and_no_more) {
        for (int n = 189; n <= 191; n++) {
                _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
                char text[256] = "[listings]\nhelpers=";

                memset(text + strlen(text), 'a', (size_t)n - strlen("helpers="));
                write_main(text);
                loaded = load();
                ck_assert_uint_eq(loaded->problems.n_errors, n > 190);
                ck_assert_int_eq(strstr(print(loaded), "aaaa") != NULL, n <= 190);
        }
}
END_TEST

START_TEST(test_many_errors_are_counted_and_the_first_ones_kept) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        char text[4096] = "[access]\n";

        for (size_t i = 0; i < 100; i++)
                strcat(text, "bogus\n");
        write_main(text);
        loaded = load();
        ck_assert_uint_eq(loaded->problems.n_errors, 100);
        ck_assert_uint_eq(loaded->problems.n_kept, PROBLEMS_KEPT);
}
END_TEST

/* --- what they mean -------------------------------------------------------------------------------------- */

START_TEST(test_all_settings_reach_the_struct) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        Address peer;

        write_main("[access]\nlookup-from = 10.0.0.0/8\nlist-from = 10.0.0.1\n"
                   "[limits]\nnodes-per-uid = 3\npacket-timeout = 4\nhold = 0.25\n"
                   "[history]\ndays = 5\nrows = 6\nper-name = 7\n"
                   "[listings]\nhelpers = h*\nnames-with-helpers = no\n"
                   "[log]\nlevel = warning\n"
                   "[reserve mail]\nnames = m*\nfor = uid:8\n");
        loaded = load();
        assert_no_problem(loaded);
        ck_assert_int_eq(address_parse("10.0.0.2", &peer), 0);
        ck_assert(access_list_contains(&loaded->settings.lookup_from, &peer));
        ck_assert(!access_list_contains(&loaded->settings.list_from, &peer));
        ck_assert_uint_eq(loaded->settings.n_nodes_per_uid_max, 3);
        ck_assert_uint_eq(loaded->settings.packet_timeout_usec, 4 * USEC_PER_SEC);
        ck_assert_uint_eq(loaded->settings.hold_usec, 250 * USEC_PER_MSEC);
        ck_assert_uint_eq(loaded->settings.history_days, 5);
        ck_assert_uint_eq(loaded->settings.history_rows, 6);
        ck_assert_uint_eq(loaded->settings.history_per_name, 7);
        ck_assert(!loaded->settings.names_with_helpers);
        ck_assert_int_eq(loaded->settings.log_priority, LOG_WARNING);
        ck_assert(rules_is_helper(&loaded->settings.rules, "h1", 2));
        ck_assert(!rules_is_helper(&loaded->settings.rules, "rabbitmqcli-1-a", 15));
        ck_assert(rules_allow(&loaded->settings.rules, "m1", 2, &(NodePeer){ .uid = 8 }, NULL, NULL));
        ck_assert(!rules_allow(&loaded->settings.rules, "m1", 2, &(NodePeer){ .uid = 9 }, NULL, NULL));
}
END_TEST

/* A file with one reservation for "a", and who may have the name. */
static const struct {
        const char *owners;
        uid_t uid;
        const char *unit;
        bool may;
        size_t n_warnings;
} owners[] = {
        { "for = uid:0", 0, NULL, true, 0 },
        { "for = uid:1", 0, NULL, false, 0 },
        { "for = user:root", 0, NULL, true, 0 },
        { "for = user:root", 1, NULL, false, 0 },
        { "for = user:nobody-of-that-name", 0, NULL, false, 1 },
        { "for = user:nobody-of-that-name uid:0", 0, NULL, true, 1 },
        { "for = unit:mail@*.service", 1, "mail@1.service", true, 0 },
        { "for = unit:mail@*.service", 1, "mail.service", false, 0 },
        { "for = unit:mail@*.service", 0, NULL, false, 0 },
        { "for =", 0, NULL, false, 0 },
        /* half a reservation would refuse whom the bad line names */
        { "for = uid:1\nfor = uid:x", 0, NULL, true, 0 },
        { "for = uid:x\nfor = uid:1", 0, NULL, true, 0 },
};

START_TEST(test_a_reserved_name_is_for_its_owners) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        char text[256];

        snprintf(text, sizeof text, "[reserve a]\nnames = a\n%s\n", owners[_i].owners);
        write_main(text);
        loaded = load();
        ck_assert_int_eq(rules_allow(&loaded->settings.rules, "a", 1, &(NodePeer){ .uid = owners[_i].uid },
                                     owners[_i].unit, NULL),
                         owners[_i].may);
        ck_assert_uint_eq(loaded->problems.n_warnings, owners[_i].n_warnings);
}
END_TEST

/* What the tools of OTP, Debian's packages and releases call their nodes; and nodes that look a little like it. */
static const struct {
        const char *name;
        bool is_helper;
} names[] = {
        { "epmd-starter-731812914", true },  { "rabbit_prelaunch_1234", true }, { "rabbitmqcli-842-rabbit", true },
        { "1f3-ctl-ejabberd", true },        { "A0f-debug-ejabberd", true },    { "rem-1a2b-app", true },
        { "rpc-90ff-app", true },            { "remsh0a1b2c3d-app", true },     { "app_maint_4711", true },
        { "rabbit", false },                 { "rem-eu-1", false },             { "rpc-server-1", false },
        { "ejabberd", false },               { "my-ctl-node", false },          { "remshell-app", false },
        { "app_maintenance", false },
};

START_TEST(test_names_of_known_tools_are_helpers_unless_told) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = load();

        for (size_t i = 0; i < ELEMENTS(names); i++)
                ck_assert_msg(rules_is_helper(&loaded->settings.rules, names[i].name, strlen(names[i].name)) ==
                                      names[i].is_helper,
                              "%s", names[i].name);
}
END_TEST

/* --- several files ---------------------------------------------------------------------------------------- */

START_TEST(test_later_files_replace_what_earlier_ones_say) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_main("[access]\nlookup-from = 10.0.0.0/8\nlist-from = 10.0.0.0/8\n[history]\ndays = 1\nrows = 1\n"
                   "[reserve a]\nnames = a\nfor = uid:1\n");
        write_drop_in("20-b.conf", "[history]\ndays = 3\n[access]\nlookup-from =\n");
        write_drop_in("10-a.conf", "[history]\ndays = 2\nrows = 2\n[access]\nlist-from = fd00::/8\n"
                                   "[reserve a]\nfor = uid:2\n");
        write_drop_in("30-c.conf.disabled", "[history]\ndays = 4\n");
        write_drop_in(".40.conf", "[history]\ndays = 5\n");
        loaded = load();
        assert_no_problem(loaded);
        ck_assert_uint_eq(loaded->files.n_paths, 3);
        ck_assert_str_eq(loaded->files.paths[0], main_path);
        ck_assert_str_eq(loaded->files.paths[1], drop_in_path("10-a.conf"));
        ck_assert_str_eq(loaded->files.paths[2], drop_in_path("20-b.conf"));
        ck_assert(has_line(print(loaded), "days = 3"));
        ck_assert(has_line(print(loaded), "rows = 2"));
        ck_assert(has_line(print(loaded), "lookup-from ="));
        ck_assert(!strstr(print(loaded), "10.0.0.0/8"));
        ck_assert(has_line(print(loaded), "names = a"));
        ck_assert(has_line(print(loaded), "for = uid:2"));
        ck_assert(!strstr(print(loaded), "uid:1"));
}
END_TEST

START_TEST(test_a_bad_line_of_a_later_file_leaves_the_earlier_ones) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_main("[access]\nlist-from = 10.0.0.0/8\n");
        write_drop_in("a.conf", "[access]\nlist-from = lcoal\n");
        loaded = load();
        ck_assert_uint_eq(loaded->problems.n_errors, 1);
        ck_assert(has_line(print(loaded), "list-from = 10.0.0.0/8"));
}
END_TEST

START_TEST(test_a_later_file_can_mend_a_reservation) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_main("[reserve a]\nnames = a\nfor = uid:x\n");
        write_drop_in("a.conf", "[reserve a]\nfor = uid:1\n");
        loaded = load();
        ck_assert_uint_eq(loaded->problems.n_errors, 1);
        ck_assert(has_line(print(loaded), "for = uid:1"));
        ck_assert(!rules_allow(&loaded->settings.rules, "a", 1, &(NodePeer){ .uid = 2 }, NULL, NULL));
}
END_TEST

START_TEST(test_options_count_more_than_files) {
        _cleanup_(config_source_done) ConfigSource source = { .path = strdup(main_path) };
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        char *why = NULL;

        write_main("[access]\nlist-from = 10.0.0.0/8\n[history]\ndays = 2\n");
        ck_assert_int_eq(draft_set(&source.options, SETTING_LIST_FROM, "fd00::/8", "--list-from", &why), 0);
        loaded = config_load_new(&source);
        assert_no_problem(loaded);
        ck_assert(has_line(print(loaded), "# --list-from\nlist-from = fd00::/8"));
        ck_assert(!strstr(print(loaded), "10.0.0.0/8"));
        ck_assert(has_line(print(loaded), "days = 2"));
}
END_TEST

START_TEST(test_no_file_is_no_error) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = load();

        assert_no_problem(loaded);
        ck_assert_uint_eq(loaded->files.n_paths, 0);
}
END_TEST

START_TEST(test_a_file_that_was_asked_for_must_be_there) {
        _cleanup_(config_source_done) ConfigSource source = { .path = strdup(main_path), .must_exist = true };
        _cleanup_(config_load_freep) ConfigLoad *loaded = config_load_new(&source);

        ck_assert_uint_eq(loaded->problems.n_errors, 1);
}
END_TEST

START_TEST(test_what_is_no_file_of_text_is_an_error_and_keeps_nobody_waiting) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        ck_assert_int_eq(mkfifo(main_path, 0644), 0);
        ck_assert_int_eq(mkdir(drop_in_path("a.conf"), 0755), 0);
        write_bytes(drop_in_path("b.conf"), "[history]\ndays = 2\0\n", 20);
        ck_assert_int_eq(symlink("/nowhere", drop_in_path("c.conf")), 0);
        ck_assert_int_eq(symlink("/dev/null", drop_in_path("d.conf")), 0); /* masked */
        write_drop_in("e.conf", "[history]\nrows = 3\n");
        loaded = load();
        ck_assert_uint_eq(loaded->problems.n_errors, 4);
        ck_assert_uint_eq(loaded->files.n_paths, 2);
        ck_assert(has_line(print(loaded), "days = 30"));
        ck_assert(has_line(print(loaded), "rows = 3"));
}
END_TEST

START_TEST(test_a_huge_file_is_not_read) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_main("[history]\ndays = 2\n");
        ck_assert_int_eq(truncate(main_path, CONFIG_FILE_BYTES_MAX + 1), 0);
        loaded = load();
        ck_assert_uint_eq(loaded->problems.n_errors, 1);
        ck_assert(has_line(print(loaded), "days = 30"));
}
END_TEST

START_TEST(test_a_file_that_may_not_be_read_is_an_error) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        if (geteuid() != 0) {
                puts("SKIP: only root can become another user");
                return;
        }
        write_main("[history]\ndays = 2\n");
        ck_assert_int_eq(chmod(main_path, 0600), 0);
        ck_assert_int_eq(chmod(directory, 0755), 0);
        ck_assert_int_eq(seteuid(65534), 0);
        loaded = load();
        ck_assert_int_eq(seteuid(0), 0);
        ck_assert_uint_eq(loaded->problems.n_errors, 1);
        ck_assert_ptr_nonnull(strstr(problems_first_error(&loaded->problems), "Permission denied"));
}
END_TEST

/* --- printed and read again -------------------------------------------------------------------------------- */

START_TEST(test_what_is_printed_can_be_read_again) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL, *again = NULL;
        _cleanup_(freep) char *first = NULL, *second = NULL;

        write_main("[access]\nlookup-from =\nlist-from = 10.0.0.0/8, fd00::/8\n[limits]\nhold=0.5\n"
                   "[listings]\nhelpers =\n[log]\nlevel=debug\n"
                   "[reserve a b]\nnames = a*, [b-c]?\nfor = uid:1 user:root unit:x@*.service\n"
                   "[reserve z]\nnames = z\nfor =\n");
        loaded = load();
        assert_no_problem(loaded);
        first = strdup(print(loaded));
        write_main(first);
        again = load();
        assert_no_problem(again);
        second = strdup(print(again));
        /* All but the comments is the same. */
        for (char *a = first, *b = second; *a || *b;) {
                size_t n_a = strcspn(a, "\n"), n_b = strcspn(b, "\n");

                ck_assert_msg(*a == '#' ? *b == '#' : n_a == n_b && strncmp(a, b, n_a) == 0, "%.*s / %.*s", (int)n_a, a,
                              (int)n_b, b);
                a += n_a + (a[n_a] != 0);
                b += n_b + (b[n_b] != 0);
        }
}
END_TEST

START_TEST(test_what_is_printed_says_where_it_comes_from) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        char origin[160];

        write_main("\n[history]\n\ndays = 2\n");
        loaded = load();
        snprintf(origin, sizeof origin, "# %s:4\ndays = 2", main_path);
        ck_assert(has_line(print(loaded), origin));
        ck_assert(has_line(print(loaded), "# built in\nrows = 50000"));
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("config_file");
        TCase *tcase = tcase_create("lines");

        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_loop_test(tcase, test_a_good_line_has_its_effect, 0, ELEMENTS(good));
        tcase_add_loop_test(tcase, test_a_bad_line_is_told_and_left_out, 0, ELEMENTS(bad));
        tcase_add_test(tcase, test_a_comment_may_be_long);
        tcase_add_test(tcase, test_a_line_may_have_190_bytes_and_no_more);
        tcase_add_test(tcase, test_many_errors_are_counted_and_the_first_ones_kept);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("meaning");
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_all_settings_reach_the_struct);
        tcase_add_loop_test(tcase, test_a_reserved_name_is_for_its_owners, 0, ELEMENTS(owners));
        tcase_add_test(tcase, test_names_of_known_tools_are_helpers_unless_told);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("files");
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_later_files_replace_what_earlier_ones_say);
        tcase_add_test(tcase, test_a_bad_line_of_a_later_file_leaves_the_earlier_ones);
        tcase_add_test(tcase, test_a_later_file_can_mend_a_reservation);
        tcase_add_test(tcase, test_options_count_more_than_files);
        tcase_add_test(tcase, test_no_file_is_no_error);
        tcase_add_test(tcase, test_a_file_that_was_asked_for_must_be_there);
        tcase_add_test(tcase, test_what_is_no_file_of_text_is_an_error_and_keeps_nobody_waiting);
        tcase_add_test(tcase, test_a_huge_file_is_not_read);
        tcase_add_test(tcase, test_a_file_that_may_not_be_read_is_an_error);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("printing");
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, test_what_is_printed_can_be_read_again);
        tcase_add_test(tcase, test_what_is_printed_says_where_it_comes_from);
        suite_add_tcase(suite, tcase);
        return suite;
}
