/* SPDX-License-Identifier: Apache-2.0 */
/* config/node_drafts, and nodes.d as config_file reads it: what a file may say of nodes. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "check_main.h"
#include "config/config_load.h"

static char directory[64], main_path[96];

static void set_up(void) {
        snprintf(directory, sizeof directory, "/tmp/rollcall-nodes-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(main_path, sizeof main_path, "%s/rollcall.conf", directory);
}

static void tear_down(void) {
        char command[128];

        snprintf(command, sizeof command, "rm -rf %s", directory);
        ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *name, const char *text) {
        char path[160];
        FILE *file;

        snprintf(path, sizeof path, "%s/nodes.d", directory);
        (void)mkdir(path, 0755);
        snprintf(path, sizeof path, "%s/%s", directory, name);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
        ck_assert_int_eq(fclose(file), 0);
}

static ConfigLoad *load(void) {
        ConfigLoad *loaded = config_load_new(&(ConfigSource){ .path = main_path });

        ck_assert_ptr_nonnull(loaded);
        return loaded;
}

/* "name|address|port|host|file", one for each entry, with blanks between. */
static const char *show(const Entries *entries) {
        static char text[1024];
        size_t n = 0;

        text[0] = 0;
        for (size_t i = 0; i < entries->n_entries; i++) {
                const Entry *entry = entries->entries + i;
                char address[ADDRESS_TEXT_MAX];

                ck_assert_int_eq(strncmp(entry->by, directory, strlen(directory)), 0);
                n += (size_t)snprintf(text + n, sizeof text - n, "%s%s|%s|%u|%s|%s", i ? " " : "", entry->name,
                                      address_format(&entry->address, address), entry->port,
                                      entry->host ? entry->host : "-", entry->by + strlen(directory) + 1);
                ck_assert_uint_gt(entry->since_usec, 0);
        }
        return text;
}

static const struct {
        const char *text;
        const char *entries;
        const char *problem; /* a part of the first one; NULL: there is none */
} cases[] = {
        { "", "", NULL },
        { "[node a]\nport = 9100\n", "a|*|9100|-|nodes.d/n.conf", NULL },
        { "[node a]\nhost-part=a.example.org\naddress=127.0.0.2\nport=1\n", "a|127.0.0.2|1|a.example.org|nodes.d/n.conf", NULL },
        { "[node  a ]\naddress = *\nport : 65535\n", "a|*|65535|-|nodes.d/n.conf", NULL },
        { "[node a]\nport=1\n[node a]\naddress=::1\nport=2\n", "a|*|1|-|nodes.d/n.conf a|::1|2|-|nodes.d/n.conf", NULL },
        { "[node b\xc3\xbc" "cher]\nport=1\n", "b\xc3\xbc" "cher|*|1|-|nodes.d/n.conf", NULL },
        { "[node a]\n", "", "n.conf:1: [node a] has no line port=" },
        { "[node]\nport=1\n", "", "n.conf:1: [node] needs a name" },
        { "[node a@h]\nport=1\n", "", "n.conf:1: [node] 'a@h' is not the name of a node" },
        { "[node a]\nport=0\n", "", "n.conf:2: port '0' is not a port" },
        { "[node a]\nport=65536\n", "", "n.conf:2: port '65536' is not a port" },
        { "[node a]\nport=9100\naddress=here\n", "", "n.conf:3: address 'here' is not an address, or *" },
        { "[node a]\nport=9100\nhost-part=a b\n", "", "n.conf:3: host-part 'a b' is not the host part" },
        { "[node a]\nport=9100\nhost=h\n", "", "n.conf:3: there is no setting 'host' in [node]" },
        { "[node a]\nport=9100\nnonsense\n[node b]\nport=1\n", "b|*|1|-|nodes.d/n.conf", "n.conf:3: 'nonsense' is neither" },
        { "[node a]\nport=1\n[node a]\naddress=*\nport=2\n", "a|*|1|-|nodes.d/n.conf", "n.conf:3: [node a] has an entry for that address already, in" },
        { "[access]\nlist-from=any\n[node a]\nport=1\n", "a|*|1|-|nodes.d/n.conf", "n.conf:1: there is no section [access] in files of nodes.d" },
        { "port=1\n", "", "n.conf:1: port stands before the first [section]" },
};

START_TEST(test_a_file_of_nodes_says_what_it_says) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_file("nodes.d/n.conf", cases[_i].text);
        loaded = load();
        ck_assert_str_eq(show(&loaded->nodes), cases[_i].entries);
        if (!cases[_i].problem) {
                ck_assert_uint_eq(loaded->problems.n_errors, 0);
                return;
        }
        ck_assert_uint_ge(loaded->problems.n_errors, 1);
        ck_assert_msg(strstr(problems_first_error(&loaded->problems), cases[_i].problem), "%s",
                      problems_first_error(&loaded->problems));
}
END_TEST

START_TEST(test_nodes_may_stand_in_the_other_files_and_files_have_an_order) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;

        write_file("rollcall.conf", "[node m]\nport=1\n[log]\nlevel=debug\n");
        write_file("nodes.d/b.conf", "[node b]\nport=2\n");
        write_file("nodes.d/a.conf", "[node a]\nport=3\n");
        write_file("nodes.d/.hidden.conf", "[node c]\nport=4\n");
        write_file("nodes.d/readme", "no section\n");
        loaded = load();
        ck_assert_uint_eq(loaded->problems.n_errors, 0);
        ck_assert_str_eq(show(&loaded->nodes), "a|*|3|-|nodes.d/a.conf b|*|2|-|nodes.d/b.conf m|*|1|-|rollcall.conf");
        ck_assert_uint_eq(loaded->files.n_paths, 3);
}
END_TEST

START_TEST(test_there_is_a_bound) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL;
        static char text[64 * (ENTRIES_STATICS_MAX + 1)];
        size_t n = 0;

        for (unsigned i = 0; i <= ENTRIES_STATICS_MAX; i++)
                n += (size_t)snprintf(text + n, sizeof text - n, "[node n%u]\nport=1\n", i);
        write_file("nodes.d/n.conf", text);
        loaded = load();
        ck_assert_uint_eq(loaded->nodes.n_entries, ENTRIES_STATICS_MAX);
        ck_assert_uint_eq(loaded->problems.n_errors, 1);
        ck_assert_ptr_nonnull(strstr(problems_first_error(&loaded->problems), "[node n1000] is one more than 1000"));
}
END_TEST

START_TEST(test_what_is_printed_can_be_read_again) {
        _cleanup_(config_load_freep) ConfigLoad *loaded = NULL, *again = NULL;
        _cleanup_(freep) char *text = NULL;
        size_t n_text;
        FILE *out;

        write_file("nodes.d/n.conf", "[node a]\nport=1\nhost-part=h\n[node a]\naddress=::1\nport=2\n");
        loaded = load();
        out = open_memstream(&text, &n_text);
        ck_assert_ptr_nonnull(out);
        node_drafts_print(&loaded->nodes, out);
        fclose(out);
        write_file("nodes.d/n.conf", text);
        again = load();
        ck_assert_uint_eq(again->problems.n_errors, 0);
        ck_assert_uint_eq(again->nodes.n_entries, 2);
        for (size_t i = 0; i < 2; i++)
                ck_assert(entry_says_the_same(loaded->nodes.entries + i, again->nodes.entries + i));
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("node_drafts");
        TCase *tcase = tcase_create("node_drafts");

        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_loop_test(tcase, test_a_file_of_nodes_says_what_it_says, 0, ELEMENTS(cases));
        tcase_add_test(tcase, test_nodes_may_stand_in_the_other_files_and_files_have_an_order);
        tcase_add_test(tcase, test_there_is_a_bound);
        tcase_add_test(tcase, test_what_is_printed_can_be_read_again);
        suite_add_tcase(suite, tcase);
        return suite;
}
