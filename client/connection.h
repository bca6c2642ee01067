/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to the daemon: a request goes out, records come in. Says nothing to anybody. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/control.h"
#include "util.h"

/* Whose fields have been walked once: control_next_field() will not stop within. */
typedef struct Record {
        ControlKind kind;
        const uint8_t *fields; /* borrows from the connection, or the answer */
        size_t n_fields;       /* bytes */
} Record;

typedef struct Connection {
        int fd;      /* -1: none */
        char *place; /* for messages: a path, or an address with its port; owned */
        bool keeps;  /* true: records stay good until connection_done(), false: until the next one */
        uint8_t *data;
        size_t n_data, n_room;
        size_t n_taken; /* bytes of the head and of records that were handed out */
} Connection;

#define CONNECTION_NONE ((Connection){ .fd = -1 })

/* Leaves CONNECTION_NONE. */
void connection_done(Connection *connection);

/* Each writes `*ret` also where it fails (with a place, without a descriptor). 0 or negative errno; -EAGAIN: nobody
 * accepts. */
int connection_open(const char *path, Connection *ret);
/* The same without waiting: -EAGAIN at once. */
int connection_try(const char *path, Connection *ret);
/* Takes a descriptor that is connected. */
int connection_take(int fd, const char *place, Connection *ret);
/* 127.0.0.1, else ::1. */
int connection_open_loopback(uint16_t port, Connection *ret);

/* 0 also where the other side has closed already: it may still have said why. Else negative errno. */
int connection_send(Connection *connection, const ControlBuffer *request);

/* The next record, CONTROL_END and CONTROL_ERROR as any other. 1; 0: none before `deadline_usec`
 * (CLOCK_MONOTONIC; USEC_INFINITE: whenever it comes); -ENODATA: closed; -EBADMSG: this is no answer of the control
 * protocol; other negative errno. */
int connection_next(Connection *connection, uint64_t deadline_usec, Record *ret);

/* The record at `data`, of which `*ret_n` bytes are then to be skipped. 1; 0: more bytes are needed; -EBADMSG. */
int record_parse(const uint8_t *data, size_t n_data, size_t *ret_n, Record *ret);
