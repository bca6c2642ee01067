/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "check_main.h"
#include "machine.h"
#include "util.h"

static const struct {
        const char *text, *host;
        uint16_t port;
} machines[] = {
        { "db1", "db1", 4369 },
        { "db1:5000", "db1", 5000 },
        { "db1.example.org:1", "db1.example.org", 1 },
        { "10.0.0.1", "10.0.0.1", 4369 },
        { "10.0.0.1:65535", "10.0.0.1", 65535 },
        { "fd00::2", "fd00::2", 4369 },
        { "::1", "::1", 4369 },
        { "[::1]", "::1", 4369 },
        { "[fd00::2]:5000", "fd00::2", 5000 },
        { "fe80::1%eth0", "fe80::1%eth0", 4369 },
        { "local", NULL, 4369 },
        { "local:5000", "local", 5000 },
};

START_TEST(test_a_machine_is_understood) {
        Machine machine;

        ck_assert_int_eq(machine_parse(machines[_i].text, 4369, &machine), 0);
        ck_assert_str_eq(machine.text, machines[_i].text);
        ck_assert_pstr_eq(machine.host, machines[_i].host);
        ck_assert_uint_eq(machine.port, machines[_i].port);
        machine_done(&machine);
}
END_TEST

START_TEST(test_what_is_no_machine) {
        static const char *const texts[] = { "",       ":5000",   "db1:",       "db1:0",  "db1:65536", "db1:http", "db1:+1",
                                             "app@db", "db 1",    "http://db1", "[::1",   "[::1]5000", "[]:1",     "[::1]:",
                                             "a/b",    "db1:1 ", "db1:99999999999" };
        Machine machine;

        for (size_t i = 0; i < ELEMENTS(texts); i++)
                ck_assert_msg(machine_parse(texts[i], 4369, &machine) == -EINVAL, "'%s'", texts[i]);
}
END_TEST

static void expect_hosts(const char *machine_text, const char *own, const char *expected) {
        char found[2048] = "";
        Machine machine;
        MachineHosts hosts;

        ck_assert_int_eq(machine_parse(machine_text, 4369, &machine), 0);
        machine_hosts_of(&machine, own, &hosts);
        for (size_t i = 0; i < hosts.n_hosts; i++) {
                if (i == hosts.n_names)
                        strcat(found, "| ");
                strcat(strcat(found, hosts.hosts[i]), " ");
        }
        ck_assert_str_eq(found, expected);
        machine_done(&machine);
}

START_TEST(test_the_host_part_of_those_who_do_not_tell_theirs) {
        expect_hosts("local", "vm", "vm | localhost 127.0.0.1 ::1 ");
        expect_hosts("local", "mail.example.org", "mail mail.example.org | localhost 127.0.0.1 ::1 ");
        expect_hosts("local", "localhost", "localhost | 127.0.0.1 ::1 ");
        expect_hosts("local", "", "| localhost 127.0.0.1 ::1 ");
        expect_hosts("db1:5000", "vm", "db1 ");
        expect_hosts("[fd00::2]", "vm", "fd00::2 ");
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("machine");
        TCase *t = tcase_create("machine");

        tcase_add_loop_test(t, test_a_machine_is_understood, 0, (int)ELEMENTS(machines));
        tcase_add_test(t, test_what_is_no_machine);
        tcase_add_test(t, test_the_host_part_of_those_who_do_not_tell_theirs);
        suite_add_tcase(s, t);
        return s;
}
