/* SPDX-License-Identifier: Apache-2.0 */
/* What sock_diag says, out of its messages. A part of listeners.c; pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "evidence/listeners.h"

typedef struct DiagEndpoint {
        Address address;
        uint16_t port;   /* host order */
        uint32_t device; /* 0: none in particular */
} DiagEndpoint;

/* A socket as the kernel describes it. */
typedef struct DiagSocket {
        SocketFacts facts;
        DiagEndpoint remote;
        uint8_t state;
} DiagSocket;

/* An answer as it comes in: one entry, or those of a dump. Begins as all zero. */
typedef struct DiagAnswer {
        DiagSocket *entries; /* owned */
        size_t n_entries;
        size_t n_allocated;
        int error; /* the first one */
        bool is_interrupted;
        bool is_complete;
} DiagAnswer;

void diag_answer_done(DiagAnswer *answer);

/* Takes what came by one read; `data` is aligned as nlmsghdr is. Messages that do not answer the request of that
 * sequence are passed over. */
void diag_answer_read(DiagAnswer *answer, const void *data, size_t n_data, uint32_t sequence);

/* The cookie of the socket whose end is announced. 0; -EPROTO: the message is no announcement. */
int diag_parse_event(const void *data, size_t n_data, uint64_t *ret_cookie);
