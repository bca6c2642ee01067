/* SPDX-License-Identifier: Apache-2.0 */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

#define STRANGER 54321 /* a uid that is neither root's nor ours */

/* --- who asks --------------------------------------------------------------------------------------------------- */

/* As another user: the kernel notes who connects. -1 where we may not become him. */
static int connect_as(Desk *desk, uid_t uid, bool is_tcp) {
        uid_t own = geteuid();
        int fd;

        ck_assert_int_eq(chmod(desk->control_path, 0777), 0);
        if (seteuid(uid) < 0) {
                puts("SKIP: only root can become another user");
                return -1;
        }
        fd = is_tcp ? desk_connect(desk) : desk_connect_control(desk);
        ck_assert_int_eq(seteuid(own), 0);
        return fd;
}

static char *announce(Desk *desk, const char *const *words) {
        return ask_words(desk, CONTROL_ANNOUNCE, words);
}

/* --- announcements -------------------------------------------------------------------------------------------------- */

START_TEST(test_a_node_can_say_that_it_is_ready_or_draining) {
        static const char *const words[][3] = {
                { "ready", "state=ready source=announcement", "announced=ready" },
                { "draining", "state=stopping source=announcement", "announced=draining" },
                { "ready", "state=ready source=announcement", "announced=ready" },
        };
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);

        for (size_t i = 0; i < ELEMENTS(words); i++) {
                _cleanup_(freep) char *answer = announce(desk, WORDS("name", "a", "announced", words[i][0]));

                ck_assert_says(answer, words[i][1], words[i][2], "name=a ", "\nend");
                ck_assert_uint_eq(n_records(answer, "node"), 1);
        }
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_what_is_not_said_again_stays) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *first =
                announce(desk, WORDS("name", "a", "host", "127.0.0.1", "announced", "ready", "pair", "role=db", "pair", "zone=1"));
        _cleanup_(freep) char *second = announce(desk, WORDS("name", "a", "pair", "zone=2"));
        _cleanup_(freep) char *third = announce(desk, WORDS("name", "a", "announced", "draining"));
        _cleanup_(freep) char *fourth = announce(desk, WORDS("name", "a", "host", "mail.example.org", "pair", "role="));

        ck_assert_says(first, "host=127.0.0.1", "announced=ready", "pair=role=db", "pair=zone=1");
        ck_assert_says(second, "host=127.0.0.1", "announced=ready", "pair=role=db", "pair=zone=2");
        ck_assert_says(third, "host=127.0.0.1", "announced=draining", "pair=role=db", "pair=zone=2");
        ck_assert_says(fourth, "host=mail.example.org", "announced=draining", "pair=role= ", "pair=zone=2");
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_an_announcement_that_says_nothing_new_changes_nothing) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *first = announce(desk, WORDS("name", "a", "announced", "ready", "pair", "k=v"));
        uint64_t revision = registry_revision(desk->registry);
        _cleanup_(freep) char *again = announce(desk, WORDS("name", "a", "announced", "ready", "pair", "k=v"));
        _cleanup_(freep) char *nothing = announce(desk, WORDS("name", "a"));

        ck_assert_says(first, "announced=ready");
        ck_assert_str_eq(again, first);
        ck_assert_str_eq(nothing, first);
        ck_assert_uint_eq(registry_revision(desk->registry), revision);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_new_node_begins_with_nothing_announced) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *answer = announce(desk, WORDS("name", "a", "announced", "ready", "pair", "k=v"));
        _cleanup_(freep) char *why = NULL;

        ck_assert_says(answer, "announced=ready");
        close(fd);
        turn(desk->event);
        fd = registered(desk, "a", 1);
        why = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        ck_assert_says(why, "state=up");
        ck_assert_ptr_null(strstr(why, "announced="));
        ck_assert_ptr_null(strstr(why, "pair="));
        close(fd);
        desk_free(desk);
}
END_TEST

static const struct {
        const char *field;
        const char *value;
        size_t n_value; /* 0: strlen */
        ControlTag tag;
        const char *said; /* NULL: it is fine */
} fields[] = {
        { "announced", "ready", 0, CONTROL_TAG_ANNOUNCED, NULL },
        { "announced", "", 0, CONTROL_TAG_ANNOUNCED, "A node can announce that it is ready or draining." },
        { "announced", "Ready", 0, CONTROL_TAG_ANNOUNCED, "A node can announce that it is ready or draining." },
        { "announced", "stopping", 0, CONTROL_TAG_ANNOUNCED, "A node can announce that it is ready or draining." },
        { "announced", "ready\0", 6, CONTROL_TAG_ANNOUNCED, "A node can announce that it is ready or draining." },
        { "announced", "ready\n", 0, CONTROL_TAG_ANNOUNCED, "A node can announce that it is ready or draining." },
        { "host", "h", 0, CONTROL_TAG_HOST, NULL },
        { "host", "::1", 0, CONTROL_TAG_HOST, NULL },
        { "host", "", 0, CONTROL_TAG_HOST, "That cannot be the host part of a node's name." },
        { "host", "a b", 0, CONTROL_TAG_HOST, "That cannot be the host part of a node's name." },
        { "host", "a@b", 0, CONTROL_TAG_HOST, "That cannot be the host part of a node's name." },
        { "host", "a\0b", 3, CONTROL_TAG_HOST, "That cannot be the host part of a node's name." },
        { "host", "\xff", 0, CONTROL_TAG_HOST, "That cannot be the host part of a node's name." },
        { "host", "a\x1b[1m", 0, CONTROL_TAG_HOST, "That cannot be the host part of a node's name." },
        { "pair", "k\0v", 3, CONTROL_TAG_PAIR, NULL },
        { "pair", "k\0", 2, CONTROL_TAG_PAIR, NULL },
        { "pair", "k\0a=b c\xc3\xa9", 9, CONTROL_TAG_PAIR, NULL },
        { "pair", "kv", 0, CONTROL_TAG_PAIR, "A pair is a key, a zero byte and a value." },
        { "pair", "", 0, CONTROL_TAG_PAIR, "A pair is a key, a zero byte and a value." },
        { "pair", "\0v", 2, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "pair", "k y\0v", 5, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "pair", "k=\0v", 4, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "pair", "k\xc3\xa9\0v", 5, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "pair", "k\0v\0w", 5, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "pair", "k\0\n", 3, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "pair", "k\0\xff", 3, CONTROL_TAG_PAIR, "A key is 1 to 64 letters" },
        { "name", "", 0, CONTROL_TAG_NAME, "That cannot be the name of a node." },
        { "name", "\n", 0, CONTROL_TAG_NAME, "That cannot be the name of a node." },
        { "scope", "nowhere", 0, CONTROL_TAG_SCOPE, "The address is none." },
        { "unknown", "\xff\0\xff", 3, (ControlTag)9999, NULL },
};

START_TEST(test_a_field_that_is_none_is_told_and_changes_nothing) {
        Desk *desk = desk_new(NULL);
        int node_fd = registered(desk, "a", 1), fd = desk_connect_control(desk);
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        _cleanup_(freep) char *answer = NULL;
        uint64_t revision = registry_revision(desk->registry);
        size_t n_value = fields[_i].n_value ? fields[_i].n_value : strlen(fields[_i].value);

        control_put_request_begin(&buffer, CONTROL_ANNOUNCE);
        control_put_text(&buffer, CONTROL_TAG_NAME, "a", 1);
        control_put_text(&buffer, CONTROL_TAG_PAIR, "other\0one", 9);
        control_put_text(&buffer, fields[_i].tag, fields[_i].value, n_value);
        control_put_request_end(&buffer);
        say(fd, buffer.data, buffer.n_data);
        answer = hear_words(desk, fd);
        if (fields[_i].said) {
                ck_assert_says(answer, "error error=1 ", fields[_i].said);
                ck_assert_uint_eq(registry_revision(desk->registry), revision);
        } else
                ck_assert_says(answer, "node name=a", "pair=other=one", "\nend");
        close(node_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_pairs_are_bounded_in_number_and_length) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        char pairs[NODE_METADATA_PAIRS_MAX + 1][400];
        const char *words[2 * NODE_METADATA_PAIRS_MAX + 6] = { "name", "a" };
        _cleanup_(freep) char *full = NULL, *more = NULL, *too_many = NULL, *long_key = NULL, *long_value = NULL;
        uint64_t revision;

        for (size_t i = 0; i <= NODE_METADATA_PAIRS_MAX; i++) {
                snprintf(pairs[i], sizeof pairs[i], "key%061zu=%0256zu", i, i);
                words[2 + 2 * i] = "pair";
                words[3 + 2 * i] = pairs[i];
        }
        /* 32 pairs of 64 and 256 bytes do not fit one request: they are said bit by bit */
        for (size_t i = 0; i < NODE_METADATA_PAIRS_MAX; i++) {
                free(full);
                full = announce(desk, WORDS("name", "a", "pair", pairs[i]));
                ck_assert_says(full, "node name=a");
        }
        ck_assert_says(full, pairs[0], pairs[NODE_METADATA_PAIRS_MAX - 1]);
        revision = registry_revision(desk->registry);
        more = announce(desk, WORDS("name", "a", "pair", pairs[NODE_METADATA_PAIRS_MAX]));
        ck_assert_says(more, "error error=1 ", "32 pairs at most");
        for (size_t i = 0; i <= NODE_METADATA_PAIRS_MAX; i++)
                snprintf(pairs[i], sizeof pairs[i], "k%zu=v", i);
        too_many = announce(desk, words);
        ck_assert_says(too_many, "error error=1 ", "32 pairs at most");
        snprintf(pairs[0], sizeof pairs[0], "%065d=v", 0);
        long_key = announce(desk, WORDS("name", "a", "pair", pairs[0]));
        ck_assert_says(long_key, "error error=1 ", "A key is 1 to 64 letters");
        snprintf(pairs[0], sizeof pairs[0], "k=%0257d", 0);
        long_value = announce(desk, WORDS("name", "a", "pair", pairs[0]));
        ck_assert_says(long_value, "error error=1 ", "a value at most 256 bytes");
        ck_assert_uint_eq(registry_revision(desk->registry), revision);
        close(fd);
        desk_free(desk);
}
END_TEST

/* --- for whom -------------------------------------------------------------------------------------------------------- */

START_TEST(test_a_creation_must_be_the_nodes) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        uint32_t creation = desk_find(desk, "a")->creation;
        char text[32];
        _cleanup_(freep) char *right = NULL, *wrong = NULL, *small = NULL, *big = NULL;

        snprintf(text, sizeof text, "%u", creation);
        right = announce(desk, WORDS("name", "a", "creation", text, "announced", "ready"));
        ck_assert_says(right, "announced=ready");
        snprintf(text, sizeof text, "%u", creation - 1);
        wrong = announce(desk, WORDS("name", "a", "creation", text, "announced", "draining"));
        ck_assert_says(wrong, "error error=4 ", "That is the creation of an earlier node of this name.");
        small = announce(desk, WORDS("name", "a", "creation", "0", "announced", "draining"));
        ck_assert_says(small, "error error=4 ");
        /* not what is left of it in 32 bits */
        snprintf(text, sizeof text, "%llu", (1ULL << 32) + creation);
        big = announce(desk, WORDS("name", "a", "creation", text, "announced", "draining"));
        ck_assert_says(big, "error error=4 ");
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_READY);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_nobody_is_announced_who_is_not_registered) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *none = announce(desk, WORDS("name", "b", "announced", "ready"));
        _cleanup_(freep) char *elsewhere = announce(desk, WORDS("name", "a", "scope", "127.0.0.9", "announced", "ready"));
        _cleanup_(freep) char *unnamed = announce(desk, WORDS("announced", "ready"));

        ck_assert_says(none, "error error=7 ", "No node named b is registered.");
        ck_assert_says(elsewhere, "error error=7 ", "No node named a is registered at 127.0.0.9.");
        ck_assert_says(unnamed, "error error=1 ", "The request names no node.");
        close(fd);
        desk_free(desk);
}
END_TEST

/* A unit's script can be earlier than its node: while the one from before is still going. */
START_TEST(test_ready_is_not_for_one_that_is_going) {
        Desk *desk = desk_new(&(DeskOptions){ .hold_usec = LONG_USEC });
        int fd = registered(desk, "a", 1), next_fd;
        _cleanup_(freep) char *early = NULL, *own = NULL, *draining = NULL, *late = NULL;
        char creation[32];

        live_in(desk_find(desk, "a"), "old.service");
        systemd_says("old.service", "simple", "deactivating", "stop-sigterm", 1);
        early = announce(desk, WORDS("name", "a", "announced", "ready", "pair", "role=web"));
        ck_assert_str_eq(early, "error error=7 text=The node of that name is going, and the next is not registered yet. \n");
        snprintf(creation, sizeof creation, "%u", desk_find(desk, "a")->creation);
        own = announce(desk, WORDS("name", "a", "creation", creation, "announced", "ready"));
        ck_assert_says(own, "announced=ready", "state=stopping source=unit");
        draining = announce(desk, WORDS("name", "a", "announced", "draining"));
        ck_assert_says(draining, "announced=draining");
        next_fd = newcomer(desk, "a", 2);
        ck_assert_int_eq(heard_result(next_fd), NO_ANSWER);
        close(fd);
        ck_assert_int_eq(result_of(desk, next_fd), 0);
        late = announce(desk, WORDS("name", "a", "announced", "ready"));
        ck_assert_says(late, "port=2 ", "state=ready source=announcement");
        ck_assert_ptr_null(strstr(late, "role=web"));
        close(next_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_of_several_of_one_name_the_right_one_is_found) {
        Desk *desk = desk_new(NULL);
        int listener_fds[] = { listen_on("127.0.0.1"), listen_on("127.0.0.2") }, fds[2];
        char text[32];
        _cleanup_(freep) char *any = NULL, *by_scope = NULL, *by_creation = NULL, *by_both = NULL, *by_neither = NULL;

        for (int i = 0; i < 2; i++)
                fds[i] = registered(desk, "a", port_of(listener_fds[i]));
        any = announce(desk, WORDS("name", "a", "announced", "ready"));
        ck_assert_says(any, "error error=8 ", "Several nodes are named a");
        by_scope = announce(desk, WORDS("name", "a", "scope", "127.0.0.2", "announced", "ready"));
        ck_assert_says(by_scope, "scope=127.0.0.2", "announced=ready");
        snprintf(text, sizeof text, "%u", heard_creation(fds[0]));
        by_creation = announce(desk, WORDS("name", "a", "creation", text, "announced", "draining"));
        ck_assert_says(by_creation, "scope=127.0.0.1", "announced=draining");
        by_both = announce(desk, WORDS("name", "a", "creation", text, "scope", "127.0.0.2", "announced", "draining"));
        ck_assert_says(by_both, "error error=4 ");
        by_neither = announce(desk, WORDS("name", "a", "creation", "7", "announced", "ready"));
        ck_assert_says(by_neither, "error error=8 ");
        for (int i = 0; i < 2; i++) {
                close(fds[i]);
                close(listener_fds[i]);
        }
        desk_free(desk);
}
END_TEST

/* i & 1: over TCP; i & 2: a release */
START_TEST(test_another_user_is_turned_away) {
        Desk *desk = desk_new(NULL);
        int node_fd = registered(desk, "a", 1), fd;
        _cleanup_(freep) char *answer = NULL;
        uint64_t revision = registry_revision(desk->registry);
        ControlKind kind = _i & 2 ? CONTROL_RELEASE : CONTROL_ANNOUNCE;

        fd = connect_as(desk, STRANGER, _i & 1);
        if (fd < 0) {
                close(node_fd);
                desk_free(desk);
                return;
        }
        say_words(fd, kind, _i & 2 ? WORDS("name", "a") : WORDS("name", "a", "announced", "draining"));
        answer = hear_words(desk, fd);
        ck_assert_says(answer, "error error=4 ",
                       _i == 3   ? "That is answered on the control socket only."
                       : _i == 2 ? "Only root and the daemon's own user may release a name."
                       : _i == 1 ? "Over TCP only the user who registered the name may announce for it."
                                 : "Only the user who registered the name, or root, may announce for it.");
        ck_assert_uint_eq(registry_revision(desk->registry), revision);
        close(node_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_the_user_who_registered_may_announce) {
        Desk *desk = desk_new(NULL);
        int node_fd = connect_as(desk, STRANGER, true), fd;
        _cleanup_(freep) char *answer = NULL, *roots = NULL;

        if (node_fd < 0) {
                desk_free(desk);
                return;
        }
        say_alive2(node_fd, "a", 1, 6);
        ck_assert_int_eq(result_of(desk, node_fd), 0);
        fd = connect_as(desk, STRANGER, _i);
        say_words(fd, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready"));
        answer = hear_words(desk, fd);
        ck_assert_says(answer, "uid=54321", "announced=ready");
        roots = announce(desk, WORDS("name", "a", "announced", "draining"));
        ck_assert_says(roots, "uid=54321", "announced=draining");
        close(node_fd);
        desk_free(desk);
}
END_TEST

/* P7: whoever is behind a proxy of root's is not root. */
START_TEST(test_over_tcp_root_announces_for_his_own_nodes_only) {
        Desk *desk = desk_new(NULL);
        int own_fd = registered(desk, "own", 1), node_fd = connect_as(desk, STRANGER, true), fd;
        _cleanup_(freep) char *for_own = NULL, *for_other = NULL, *by_name = NULL;
        char creation[32];

        if (node_fd < 0) {
                close(own_fd);
                desk_free(desk);
                return;
        }
        say_alive2(node_fd, "a", 2, 6);
        ck_assert_int_eq(result_of(desk, node_fd), 0);
        say_words(fd = desk_connect(desk), CONTROL_ANNOUNCE, WORDS("name", "own", "announced", "ready"));
        for_own = hear_words(desk, fd);
        ck_assert_says(for_own, "announced=ready");
        say_words(fd = desk_connect(desk), CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "draining"));
        for_other = hear_words(desk, fd);
        ck_assert_says(for_other, "error error=4 text=Over TCP only the user who registered");
        snprintf(creation, sizeof creation, "%u", desk_find(desk, "a")->creation);
        say_words(fd = desk_connect(desk), CONTROL_ANNOUNCE, WORDS("name", "a", "creation", creation, "announced", "draining"));
        by_name = hear_words(desk, fd);
        ck_assert_str_eq(by_name, for_other);
        ck_assert_int_eq(desk_find(desk, "a")->state, NODE_UP);
        close(own_fd);
        close(node_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_whose_end_cannot_be_seen_is_not_believed) {
        Desk *desk = desk_new(&(DeskOptions){ .blind = true });
        int node_fd = registered(desk, "a", 1), fd = desk_connect(desk);
        _cleanup_(freep) char *answer = NULL, *on_socket = NULL;

        say_words(fd, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready"));
        answer = hear_words(desk, fd);
        ck_assert_says(answer, "error error=4 ", "It cannot be told who asks.");
        on_socket = announce(desk, WORDS("name", "a", "announced", "ready"));
        if (getuid() == 0)
                ck_assert_says(on_socket, "announced=ready");
        close(node_fd);
        desk_free(desk);
}
END_TEST

/* --- TCP ---------------------------------------------------------------------------------------------------------------- */

static const struct {
        const char *request;
        size_t n_request;
        const char *said; /* NULL: closed without a byte */
} over_tcp[] = {
        { "LRC\1\1", 5, "error error=4 text=That is answered on the control socket only." },
        { "LRC\1\2", 5, "error error=4 text=That is answered on the control socket only." },
        { "LRC\1\3", 5, "error error=4 text=That is answered on the control socket only." },
        { "LRC\1\4", 5, "error error=4 text=That is answered on the control socket only." },
        { "LRC\1\5", 5, "error error=4 text=That is answered on the control socket only." },
        { "LRC\1\10", 5, "error error=4 text=That is answered on the control socket only." },
        { "LRC\1\x3f", 5, "error error=3 text=This daemon does not know that request." },
        { "LRC\1\x40", 5, "error error=3 text=This daemon does not know that request." },
        { "LRC\1\0", 5, "error error=3 text=This daemon does not know that request." },
        { "LRC\2\7", 5, "error error=2 text=This daemon speaks version 1 of the control protocol. version=1" },
        { "LRC\0", 4, "error error=2 " },
        { "LRC\xff\xff\xff\xff", 7, "error error=2 " },
        { "LRC\1\7", 5, "error error=1 text=The request names no node." },
        { "L", 1, NULL },
        { "LR", 2, NULL },
        { "LRC", 3, "error error=1 text=This is no request of the control protocol." },
        { "LRX\1\7", 5, NULL },
        /* a field that ends in its head, or in its value */
        { "LRC\1\7\0", 6, "error error=1 text=This is no request of the control protocol." },
        { "LRC\1\7\0\x10\0\2a", 10, "error error=1 text=This is no request of the control protocol." },
        { "lRC\1\7", 5, NULL },
};

START_TEST(test_over_tcp_who_speaks_the_protocol_is_answered_in_words) {
        Desk *desk = desk_new(NULL);
        int fd = desk_connect(desk);
        _cleanup_(freep) char *answer = NULL;

        say_request(fd, over_tcp[_i].request, over_tcp[_i].n_request);
        answer = hear_words(desk, fd);
        if (over_tcp[_i].said)
                ck_assert_mem_eq(answer, over_tcp[_i].said, strlen(over_tcp[_i].said));
        else
                ck_assert_str_eq(answer, "");
        desk_free(desk);
}
END_TEST

/* --- the disk ------------------------------------------------------------------------------------------------------------- */

static Desk *make_desk_with_disk(void) {
        disk_install();
        disk_match = "registry.db";
        return desk_new(&(DeskOptions){ .file = desk_file() });
}

START_TEST(test_an_order_is_answered_when_it_is_on_disk) {
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1);
        _cleanup_(freep) char *announced = announce(desk, WORDS("name", "a", "announced", "ready", "pair", "k=v", "host", "h"));
        _cleanup_(freep) char *released = NULL;

        ck_assert_says(announced, "announced=ready");
        ck_assert_answer(desk->options.file, "SELECT state FROM nodes", "ready");
        ck_assert_answer(desk->options.file, "SELECT key || '=' || value FROM metadata", "k=v");
        released = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
        ck_assert_says(released, "state=ready");
        ck_assert_answer(desk->options.file, "SELECT count(*) FROM nodes", "0");
        ck_assert_answer(desk->options.file, "SELECT how || ' ' || by FROM history", "released uid 0");
        close(fd);
        desk_free(desk);
}
END_TEST

/* P2: also where nobody registers meanwhile. */
START_TEST(test_a_disk_that_hangs_keeps_an_order_waiting_for_two_seconds) {
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1), order_fd;
        _cleanup_(freep) char *answer = NULL;
        uint64_t began;

        hang_the_disk(desk);
        began = test_now();
        order_fd = _i ? begin_words(desk, CONTROL_RELEASE, WORDS("name", "a"))
                      : begin_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready"));
        answer = hear_words(desk, order_fd);
        ck_assert_says(answer, "node name=a", _i ? "state=up" : "state=ready", "\nend");
        ck_assert_uint_lt(test_now() - began, 6 * USEC_PER_SEC);
        ck_assert_ptr_nonnull(ledger_degraded_reason(desk->ledger));
        disk_hang(0);
        ck_assert(RUN_UNTIL(desk->event, !ledger_degraded_reason(desk->ledger), LONG_USEC));
        close(fd);
        desk_free(desk);
}
END_TEST

/* Also where all that was not written yet is what the start has found. */
START_TEST(test_a_disk_that_hangs_from_the_start_on_keeps_an_order_waiting_for_two_seconds) {
        Desk *desk = make_desk_with_disk();
        int listener_fd = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener_fd));
        _cleanup_(freep) char *answer = announce(desk, WORDS("name", "a", "announced", "ready"));
        uint64_t began;

        desk_stop(desk);
        disk_hang(DISK_SYNC);
        desk_start(desk);
        disk_wait_until_hung();
        began = test_now();
        free(TAKE_PTR(answer));
        answer = announce(desk, WORDS("name", "a", "announced", "ready")); /* nothing new */
        ck_assert_says(answer, "node name=a", "announced=ready", "\nend");
        ck_assert_uint_lt(test_now() - began, 6 * USEC_PER_SEC);
        ck_assert_ptr_nonnull(ledger_degraded_reason(desk->ledger));
        disk_hang(0);
        close(fd);
        close(listener_fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_whoever_leaves_while_the_disk_hangs_leaves_nothing_behind) {
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1), order_fds[3];
        _cleanup_(freep) char *answer = NULL;

        hang_the_disk(desk);
        for (int i = 0; i < 3; i++)
                order_fds[i] = begin_words(desk, CONTROL_ANNOUNCE,
                                           i ? WORDS("name", "a", "pair", i == 1 ? "k=1" : "k=2")
                                             : WORDS("name", "a", "announced", "ready"));
        turn(desk->event);
        if (_i == 0)
                close(order_fds[1]);
        else
                say(order_fds[1], "x", 1);
        turn(desk->event);
        disk_hang(0);
        answer = hear_words(desk, order_fds[0]);
        ck_assert_says(answer, "announced=ready");
        free(TAKE_PTR(answer));
        answer = hear_words(desk, order_fds[2]);
        ck_assert_says(answer, "pair=k=2");
        if (_i)
                expect_then_end(desk->event, order_fds[1], "", 0);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_whoever_waits_at_the_end_is_closed) {
        Desk *desk = make_desk_with_disk();
        int fd = registered(desk, "a", 1), order_fd;

        hang_the_disk(desk);
        order_fd = begin_words(desk, CONTROL_ANNOUNCE, WORDS("name", "a", "announced", "ready"));
        turn(desk->event);
        disk_hang(0);
        desk_free(desk);
        ck_assert(is_hung_up(order_fd));
        close(order_fd);
        close(fd);
}
END_TEST

/* --- release ------------------------------------------------------------------------------------------------------------- */

START_TEST(test_a_released_name_is_free_and_it_is_known_by_whom) {
        Desk *desk = desk_new(NULL);
        int fd = registered(desk, "a", 1), newcomer_fd;
        _cleanup_(freep) char *answer = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
        _cleanup_(freep) char *why = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        _cleanup_(freep) char *again = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
        char by[32];

        snprintf(by, sizeof by, "how=released by=uid %u", getuid());
        ck_assert_says(answer, "node name=a state=up", "\nend");
        ck_assert(is_hung_up(fd));
        ck_assert_says(why, "tenure name=a ", by);
        ck_assert_says(again, "error error=7 ", "No node named a is registered.");
        newcomer_fd = registered(desk, "a", 2);
        close(newcomer_fd);
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_of_several_is_released) {
        Desk *desk = desk_new(NULL);
        int listener_fds[] = { listen_on("127.0.0.1"), listen_on("127.0.0.2") }, fds[2];
        _cleanup_(freep) char *any = NULL, *one = NULL, *other = NULL, *unnamed = NULL;

        for (int i = 0; i < 2; i++)
                fds[i] = registered(desk, "a", port_of(listener_fds[i]));
        any = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
        ck_assert_says(any, "error error=8 ");
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        one = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a", "scope", "127.0.0.2"));
        ck_assert_says(one, "scope=127.0.0.2");
        ck_assert(!is_hung_up(fds[0]));
        ck_assert(is_hung_up(fds[1]));
        other = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
        ck_assert_says(other, "scope=127.0.0.1");
        unnamed = ask_words(desk, CONTROL_RELEASE, WORDS("scope", "127.0.0.1"));
        ck_assert_says(unnamed, "error error=1 ");
        for (int i = 0; i < 2; i++) {
                close(fds[i]);
                close(listener_fds[i]);
        }
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("orders");
        TCase *tcase = tcase_create("announcements");

        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_node_can_say_that_it_is_ready_or_draining);
        tcase_add_test(tcase, test_what_is_not_said_again_stays);
        tcase_add_test(tcase, test_an_announcement_that_says_nothing_new_changes_nothing);
        tcase_add_test(tcase, test_a_new_node_begins_with_nothing_announced);
        tcase_add_loop_test(tcase, test_a_field_that_is_none_is_told_and_changes_nothing, 0, ELEMENTS(fields));
        tcase_add_test(tcase, test_pairs_are_bounded_in_number_and_length);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("for whom");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_creation_must_be_the_nodes);
        tcase_add_test(tcase, test_nobody_is_announced_who_is_not_registered);
        tcase_add_test(tcase, test_ready_is_not_for_one_that_is_going);
        tcase_add_test(tcase, test_of_several_of_one_name_the_right_one_is_found);
        tcase_add_loop_test(tcase, test_another_user_is_turned_away, 0, 4);
        tcase_add_loop_test(tcase, test_the_user_who_registered_may_announce, 0, 2);
        tcase_add_test(tcase, test_over_tcp_root_announces_for_his_own_nodes_only);
        tcase_add_test(tcase, test_whose_end_cannot_be_seen_is_not_believed);
        tcase_add_loop_test(tcase, test_over_tcp_who_speaks_the_protocol_is_answered_in_words, 0, ELEMENTS(over_tcp));
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("disk");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_an_order_is_answered_when_it_is_on_disk);
        tcase_add_loop_test(tcase, test_a_disk_that_hangs_keeps_an_order_waiting_for_two_seconds, 0, 2);
        tcase_add_test(tcase, test_a_disk_that_hangs_from_the_start_on_keeps_an_order_waiting_for_two_seconds);
        tcase_add_loop_test(tcase, test_whoever_leaves_while_the_disk_hangs_leaves_nothing_behind, 0, 2);
        tcase_add_test(tcase, test_whoever_waits_at_the_end_is_closed);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("release");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_released_name_is_free_and_it_is_known_by_whom);
        tcase_add_test(tcase, test_one_of_several_is_released);
        suite_add_tcase(suite, tcase);
        return suite;
}
