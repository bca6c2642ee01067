/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: nodes, and others who speak EPMD's protocol with the desk. */
#pragma once

#include "desk_test.h"

/* ALIVE2_REQ. Returns its length in bytes. */
static inline size_t fill_alive2(uint8_t body[static 2048], const char *name, uint16_t port, uint16_t highest) {
        const uint8_t head[] = { 'x', (uint8_t)(port >> 8), (uint8_t)port, 'M', 0, (uint8_t)(highest >> 8),
                                 (uint8_t)highest, 0, 5 };
        size_t n_name = strlen(name), n = sizeof head;

        memcpy(body, head, n);
        body[n++] = (uint8_t)(n_name >> 8);
        body[n++] = (uint8_t)n_name;
        memcpy(body + n, name, n_name);
        n += n_name;
        body[n++] = 0;
        body[n++] = 0;
        return n;
}

static inline void say_alive2(int fd, const char *name, uint16_t port, uint16_t highest) {
        uint8_t body[2048];

        say_request(fd, body, fill_alive2(body, name, port, highest));
}

/* --- the answer is taken ---------------------------------------------------------------------------------- */

typedef struct Answer {
        uint8_t result; /* 0xff: closed without a byte */
        uint32_t creation;
        bool has_ended;
} Answer;

static inline Answer hear_answer(Desk *desk, int fd) {
        Heard heard = { 0 };
        Answer answer = { .result = 0xff };

        ck_assert_msg(RUN_UNTIL(desk->event, hear(fd, &heard) || heard.n_data > 0, LONG_USEC), "no answer");
        if (heard.n_data > 0) {
                bool is_wide = heard.data[0] == 'v';

                ck_assert(heard.data[0] == 'v' || heard.data[0] == 'y');
                ck_assert_uint_eq(heard.n_data, is_wide ? 6 : 4);
                answer.result = heard.data[1];
                for (size_t i = 2; i < heard.n_data; i++)
                        answer.creation = answer.creation << 8 | heard.data[i];
        }
        turn(desk->event);
        answer.has_ended = hear(fd, &heard);
        heard_done(&heard);
        return answer;
}

static inline Answer ask_to_register(Desk *desk, int fd, const char *name, uint16_t port) {
        say_alive2(fd, name, port, 6);
        return hear_answer(desk, fd);
}

/* Registers, which must succeed. Returns the connection. */
static inline int register_node(Desk *desk, const char *name, uint16_t port, uint32_t *ret_creation) {
        int fd = desk_connect(desk);
        Answer answer = ask_to_register(desk, fd, name, port);

        ck_assert_msg(answer.result == 0, "%s was not registered: %u", name, answer.result);
        ck_assert(!answer.has_ended);
        if (ret_creation)
                *ret_creation = answer.creation;
        return fd;
}

/* PORT_PLEASE2_REQ at `address`. 0: there is no such node. */
static inline uint16_t look_up_at(Desk *desk, const char *address, const char *name) {
        uint8_t body[2048] = { 'z' };
        int fd = connect_to(address, desk->port);
        Heard heard = { 0 };
        uint16_t port = 0;

        memcpy(body + 1, name, strlen(name));
        say_request(fd, body, 1 + strlen(name));
        ck_assert(RUN_UNTIL(desk->event, hear(fd, &heard), LONG_USEC));
        ck_assert_uint_ge(heard.n_data, 2);
        ck_assert_int_eq(heard.data[0], 'w');
        if (heard.data[1] == 0)
                port = (uint16_t)(heard.data[2] << 8 | heard.data[3]);
        else
                ck_assert_uint_eq(heard.n_data, 2);
        heard_done(&heard);
        close(fd);
        return port;
}

static inline uint16_t look_up(Desk *desk, const char *name) {
        return look_up_at(desk, "127.0.0.1", name);
}

/* --- the answer is looked at and stays in the socket -------------------------------------------------------- */

/* A newcomer's connection, on which the request was sent; the desk has looked at it. */
static inline int newcomer(Desk *desk, const char *name, uint16_t port) {
        int fd = desk_connect(desk);

        say_alive2(fd, name, port, 6);
        turn(desk->event);
        return fd;
}

#define NO_ANSWER (-1)    /* yet */
#define CLOSED (-2)       /* without one */

/* What a newcomer has been told so far: a result, 0 for "registered", NO_ANSWER or CLOSED. */
static inline int heard_result(int fd) {
        uint8_t answer[6];
        ssize_t n = recv(fd, answer, sizeof answer, MSG_DONTWAIT | MSG_PEEK);

        if (n < 0 && errno == EAGAIN)
                return NO_ANSWER;
        if (n <= 0)
                return CLOSED;
        ck_assert_int_eq(n, 6);
        ck_assert_uint_eq(answer[0], 'v');
        return answer[1];
}

static inline uint32_t heard_creation(int fd) {
        uint8_t answer[6];

        ck_assert_int_eq(recv(fd, answer, sizeof answer, MSG_DONTWAIT | MSG_PEEK), 6);
        return (uint32_t)answer[2] << 24 | (uint32_t)answer[3] << 16 | (uint32_t)answer[4] << 8 | answer[5];
}

/* Turns the loop until the newcomer has his answer. */
static inline int result_of(Desk *desk, int fd) {
        ck_assert_msg(RUN_UNTIL(desk->event, heard_result(fd) != NO_ANSWER, LONG_USEC), "no answer");
        return heard_result(fd);
}

/* Registers, which must succeed. Returns the connection; the answer has not been read from it. */
static inline int registered(Desk *desk, const char *name, uint16_t port) {
        int fd = newcomer(desk, name, port);

        ck_assert_msg(result_of(desk, fd) == 0, "%s was not registered", name);
        return fd;
}

/* True once the desk has closed its side, whatever it has said before. */
static inline bool is_hung_up(int fd) {
        Heard heard = { 0 };
        bool has_ended = hear(fd, &heard);

        heard_done(&heard);
        return has_ended;
}
