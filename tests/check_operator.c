/* SPDX-License-Identifier: Apache-2.0 */

#include "core/control.h"
#include "desk_test.h"
#include "epmd_test.h"
#include "serve/operator.h"

static char own_path[] = "/run/rollcall/control";

static Desk *make_desk(const DeskOptions *options) {
        static ListenSocket entries[] = {
                { .kind = LISTEN_EPMD, .fd = -1, .is_passed = true, .port = 4369, .family = AF_INET6 },
                { .kind = LISTEN_CONTROL, .fd = -1, .path = own_path },
        };
        Desk *desk = desk_new(options);

        desk->sockets = (ListenSockets){ entries, ELEMENTS(entries) };
        return desk;
}

/* --- an answer as text ------------------------------------------------------------------------------------ */

static bool is_text(unsigned tag) {
        static const unsigned tags[] = { 2,  16, 17, 25, 27, 29, 32, 33, 37, 38, 40, 41, 43, 44,
                                         46, 49, 54, 55, 60, 63, 64, 65, 66, 67, 79, 81, 88, 89 };

        for (size_t i = 0; i < ELEMENTS(tags); i++)
                if (tags[i] == tag)
                        return true;
        return false;
}

/* "{KIND TAG=VALUE TAG=VALUE ...}", counters as "NAME=VALUE", pairs as "KEY:VALUE". */
static void show_record(uint8_t kind, const uint8_t *fields, size_t n_fields, FILE *out) {
        ControlField field;
        size_t offset = 0;

        fprintf(out, "{%u", kind);
        while (control_next_field(fields, n_fields, &offset, &field)) {
                const char *name, *pair_value;
                size_t n_name, n_pair_value;
                uint64_t value;

                if (field.tag == CONTROL_TAG_COUNTER || field.tag == CONTROL_TAG_N_IN_STATE) {
                        ck_assert(control_field_counter(&field, &name, &n_name, &value));
                        fprintf(out, " %.*s=%llu", (int)n_name, name, (unsigned long long)value);
                } else if (field.tag == CONTROL_TAG_PAIR) {
                        ck_assert(control_field_pair(&field, &name, &n_name, &pair_value, &n_pair_value));
                        fprintf(out, " %.*s:%.*s", (int)n_name, name, (int)n_pair_value, pair_value);
                } else if (is_text(field.tag))
                        fprintf(out, " %u=%.*s", field.tag, field.n_value, (const char *)field.value);
                else
                        fprintf(out, " %u=%llu", field.tag, (unsigned long long)control_field_u64(&field));
        }
        ck_assert_uint_eq(offset, n_fields);
        fprintf(out, " }");
}

static char *ask_control(Desk *desk, const void *body, size_t n_body) {
        int fd = desk_connect_control(desk);
        Heard heard = { 0 };
        char *text = NULL;
        size_t n_text = 0, at = CONTROL_ANSWER_HEAD;
        FILE *out = open_memstream(&text, &n_text);
        uint8_t version, kind = 0;

        ck_assert_ptr_nonnull(out);
        say_request(fd, body, n_body);
        ck_assert(RUN_UNTIL(desk->event, hear(fd, &heard), LONG_USEC));
        ck_assert_int_eq(control_parse_answer_head(heard.data, heard.n_data, &version), 1);
        ck_assert_uint_eq(version, CONTROL_VERSION);
        while (at < heard.n_data) {
                const uint8_t *fields;
                size_t n, n_fields;

                ck_assert_int_eq(control_next_record(heard.data + at, heard.n_data - at, &n, &kind, &fields, &n_fields), 1);
                show_record(kind, fields, n_fields, out);
                at += n;
        }
        fclose(out);
        ck_assert(kind == CONTROL_END || kind == CONTROL_ERROR);
        heard_done(&heard);
        close(fd);
        return text;
}

#define assert_tells(text, part) ck_assert_msg(strstr((text), (part)) != NULL, "'%s' is not in: %s", (part), (text))
#define assert_tells_not(text, part) ck_assert_msg(strstr((text), (part)) == NULL, "'%s' is in: %s", (part), (text))

static char *ask_status(Desk *desk) {
        return ask_control(desk, "LRC\1\1", 5);
}

static char *ask_names(Desk *desk) {
        return ask_control(desk, "LRC\1\2", 5);
}

/* --- names ------------------------------------------------------------------------------------------------ */

START_TEST(test_an_empty_registry_is_an_answer_too) {
        Desk *desk = make_desk(NULL);
        char *text = ask_names(desk);

        ck_assert_str_eq(text, "{64 }");
        free(text);
        desk_free(desk);
}
END_TEST

START_TEST(test_each_node_is_told_with_all_that_is_known_newest_first) {
        Desk *desk = make_desk(NULL);
        int listener_fd = listen_on("127.0.0.2"), fd = register_node(desk, "a", port_of(listener_fd), NULL);
        int other_fd = register_node(desk, "b\xc3\xa9", 4001, NULL);
        const Node *a = desk_find(desk, "a"), *b = desk_find(desk, "b\xc3\xa9");
        char *text = ask_names(desk), part[512];

        snprintf(part, sizeof part,
                 "{67 16=b\xc3\xa9 17=up 29=connection 30=%llu 18=4001 19=77 20=0 21=6 22=5 23=%u 24=%llu 25=* 26=%u",
                 (unsigned long long)b->state_since_usec, b->creation, (unsigned long long)b->since_usec, getuid());
        ck_assert_msg(strncmp(text, part, strlen(part)) == 0, "%s is not at the beginning of %s", part, text);
        assert_tells_not(text, " 28=0");
        snprintf(part, sizeof part,
                 "{67 16=a 17=up 29=connection 30=%llu 18=%u 19=77 20=0 21=6 22=5 23=%u 24=%llu 25=127.0.0.2 "
                 "38=127.0.0.2 26=%u",
                 (unsigned long long)a->state_since_usec, port_of(listener_fd), a->creation,
                 (unsigned long long)a->since_usec, getuid());
        assert_tells(text, part);
        snprintf(part, sizeof part, " 28=%llu }{64 }", (unsigned long long)cookie_of(listener_fd));
        assert_tells(text, part);
        free(text);

        close(listener_fd);
        ck_assert(RUN_UNTIL(desk->event, a->state == NODE_STOPPING, LONG_USEC));
        text = ask_names(desk);
        assert_tells(text, "16=a 17=stopping 29=listener ");
        free(text);
        close(fd);
        close(other_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_what_is_not_known_is_absent) {
        Desk *desk = make_desk(&(DeskOptions){ .blind = true });
        int fd = register_node(desk, "a", 4000, NULL);
        char *text = ask_names(desk);

        assert_tells(text, "16=a 17=up");
        assert_tells_not(text, " 26=");
        assert_tells_not(text, " 27=");
        assert_tells_not(text, " 28=");
        assert_tells_not(text, " 31=");
        assert_tells_not(text, " 32=");
        assert_tells_not(text, " 33=");
        assert_tells_not(text, " 35=");
        assert_tells_not(text, " 36=");
        assert_tells_not(text, " 38=");
        free(text);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_many_nodes_are_all_told) {
        enum { N = 3000 };
        Desk *desk = make_desk(NULL);
        char *text;
        unsigned n = 0;

        for (unsigned i = 0; i < N; i++) {
                char name[32];
                Event event;
                Reply reply;

                snprintf(name, sizeof name, "node%u", i);
                event = (Event){ .kind = EVENT_REGISTER,
                                 .info = { .name = name, .n_name = strlen(name), .highest_version = 6 },
                                 .peer = { .uid = NODE_UID_UNKNOWN },
                                 .connection_fd = -1 };
                ck_assert_int_eq(ledger_carry(desk->ledger, &event, &reply), 0);
        }
        text = ask_names(desk);
        for (const char *at = text; (at = strstr(at, "{67 ")); at++)
                n++;
        ck_assert_uint_eq(n, N);
        assert_tells(text, " 16=node0 ");
        free(text);
        desk_free(desk);
}
END_TEST

/* --- status ----------------------------------------------------------------------------------------------- */

START_TEST(test_status_tells_how_the_daemon_fares) {
        const char *file = desk_file();
        Desk *desk = make_desk(&(DeskOptions){ .file = file, .boot_id = "boot-1" });
        int fd = register_node(desk, "a", 4000, NULL);
        char *text, part[256];

        ck_assert(RUN_UNTIL(desk->event, !ledger_degraded_reason(desk->ledger), LONG_USEC));
        look_up(desk, "a");
        look_up(desk, "b");
        text = ask_status(desk);
        assert_tells(text, "60=" PACKAGE_VERSION);
        snprintf(part, sizeof part, " 61=%d ", (int)getpid());
        assert_tells(text, part);
        snprintf(part, sizeof part, " 62=%llu ", (unsigned long long)DESK_STARTED);
        assert_tells(text, part);
        assert_tells_not(text, " 63=");
        assert_tells(text, " 64=connections");
        assert_tells(text, " 64=listeners");
        assert_tells_not(text, " 81=");
        snprintf(part, sizeof part, " 65=%s ", file);
        assert_tells(text, part);
        assert_tells(text, " 66=ok ");
        assert_tells(text, " 70=3 ");
        assert_tells(text, " 71=1 ");
        assert_tells(text, " 72=0 ");
        assert_tells(text, " 73=0 ");
        assert_tells(text, " 74=2 "); /* the node's, and this one */
        assert_tells(text, " 76=1 ");
        assert_tells(text, " 77=1 ");
        assert_tells(text, " 79=boot-1 ");
        assert_tells(text, " 80=77 ");
        assert_tells_not(text, " 83="); /* without systemd there is no fd store */
        assert_tells(text, " 86=0 ");
        assert_tells(text, " 87=0 ");
        assert_tells(text, " up=1 ");
        assert_tells(text, " requests.port2=2 ");
        assert_tells(text, " lookups.missed=1 ");
        assert_tells(text, " nodes.registered=1 ");
        assert_tells(text, " refused.name-taken=0 ");
        assert_tells(text, " registry.queued=0 ");
        assert_tells_not(text, " registry.commits=0 ");
        assert_tells_not(text, " 68=0 ");
        assert_tells(text, "{68 40=[::]:4369 41=systemd }");
        assert_tells(text, "{68 40=/run/rollcall/control 41=own }");
        ck_assert_str_eq(text + strlen(text) - 5, "{64 }");
        free(text);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_status_tells_what_is_wrong) {
        Desk *desk = make_desk(&(DeskOptions){ .blind = true });
        char *text = ask_status(desk);

        assert_tells(text, " 63=no registry file");
        assert_tells(text, " 64=connections");
        assert_tells_not(text, " 64=listeners");
        assert_tells_not(text, " 64=units");
        assert_tells(text, " 81=");
        assert_tells_not(text, " 65=");
        assert_tells(text, " 66=no-file ");
        assert_tells_not(text, " 79=");
        free(text);
        desk_free(desk);
}
END_TEST

START_TEST(test_status_counts_those_who_are_awaited_and_going) {
        const char *file = desk_file();
        Desk *desk = make_desk(&(DeskOptions){ .file = file });
        int listener_fd = listen_on("127.0.0.1"), going_fd = listen_on("127.0.0.1");
        int fd = register_node(desk, "a", port_of(listener_fd), NULL), other_fd;
        char *text;

        desk_free(desk);
        close(fd);
        desk = make_desk(&(DeskOptions){ .file = file });
        other_fd = register_node(desk, "b", port_of(going_fd), NULL);
        close(going_fd);
        ck_assert(RUN_UNTIL(desk->event, registry_n_in_state(desk->registry, NODE_STOPPING) == 1, LONG_USEC));
        text = ask_status(desk);
        assert_tells(text, " 71=2 ");
        assert_tells(text, " 72=1 ");
        assert_tells(text, " 73=1 ");
        assert_tells(text, " awaited=1 stopping=1 ");
        free(text);
        close(other_fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

/* --- errors ----------------------------------------------------------------------------------------------- */

static const struct {
        const char *what;
        const uint8_t *body;
        size_t n_body;
        const char *answer; /* how it begins */
        bool tells_version;
} errors[] = {
        { "a request that is not known", BYTES("LRC\1\77"), "{65 1=3 2=", false },
        { "no request", BYTES("LRC\1"), "{65 1=1 2=", false },
        { "a record", BYTES("LRC\1\100"), "{65 1=3 2=", false },
        { "a later version", BYTES("LRC\2\1"), "{65 1=2 2=", true },
        { "a version that came before", BYTES("LRC\0\1"), "{65 1=2 2=", true },
        { "a later version with other fields", BYTES("LRC\11\1xyz"), "{65 1=2 2=", true },
        { "EPMD", BYTES("n"), "{65 1=1 2=", false },
        { "half a magic", BYTES("LR"), "{65 1=1 2=", false },
        { "another magic", BYTES("LRX\1\1"), "{65 1=1 2=", false },
        { "a field that is cut", BYTES("LRC\1\1\0\20\0"), "{65 1=1 2=", false },
        { "a field that runs over the end", BYTES("LRC\1\2\0\20\0\2a"), "{65 1=1 2=", false },
};

START_TEST(test_what_cannot_be_answered_is_told_why) {
        Desk *desk = make_desk(NULL);
        char *text = ask_control(desk, errors[_i].body, errors[_i].n_body);

        ck_assert_msg(strncmp(text, errors[_i].answer, strlen(errors[_i].answer)) == 0, "%s: %s", errors[_i].what, text);
        ck_assert_msg((strstr(text, " 3=1 }") != NULL) == errors[_i].tells_version, "%s: %s", errors[_i].what, text);
        free(text);
        desk_free(desk);
}
END_TEST

START_TEST(test_fields_that_are_not_known_are_passed_over) {
        Desk *desk = make_desk(NULL);
        char *text = ask_control(desk, "LRC\1\2\377\376\0\3abc", 12);

        ck_assert_str_eq(text, "{64 }");
        free(text);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("operator");
        TCase *tcase = tcase_create("answers");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_an_empty_registry_is_an_answer_too);
        tcase_add_test(tcase, test_each_node_is_told_with_all_that_is_known_newest_first);
        tcase_add_test(tcase, test_what_is_not_known_is_absent);
        tcase_add_test(tcase, test_many_nodes_are_all_told);
        tcase_add_test(tcase, test_status_tells_how_the_daemon_fares);
        tcase_add_test(tcase, test_status_tells_what_is_wrong);
        tcase_add_test(tcase, test_status_counts_those_who_are_awaited_and_going);
        tcase_add_loop_test(tcase, test_what_cannot_be_answered_is_told_why, 0, ELEMENTS(errors));
        tcase_add_test(tcase, test_fields_that_are_not_known_are_passed_over);
        suite_add_tcase(suite, tcase);
        return suite;
}
