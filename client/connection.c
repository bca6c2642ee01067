/* SPDX-License-Identifier: Apache-2.0 */
/* Knows sockets and the frames of records (core/control). Does not know what is asked, nor what to say where that
 * fails.
 *
 * The trap: an answer has no length of its own, and may come in any pieces; a record is handed out whole or not at
 * all. */

#include "connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define CONNECT_TIMEOUT_SEC 5
#define READ_BYTES 16384
#define KEPT_BYTES_MAX ((size_t)256 << 20)

void connection_done(Connection *connection) {
        close_fdp(&connection->fd);
        free(connection->place);
        free(connection->data);
        *connection = CONNECTION_NONE;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* A descriptor, or negative errno. Neither connect() nor send() on it waits longer than CONNECT_TIMEOUT_SEC; with
 * SOCK_NONBLOCK in `flags`, not at all. */
static int connect_to(const struct sockaddr *address, socklen_t n_address, int flags) {
        static const struct timeval timeout = { .tv_sec = CONNECT_TIMEOUT_SEC };
        _cleanup_(close_fdp) int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
            connect(fd, address, n_address) < 0)
                return errno == EINPROGRESS ? -EAGAIN : -errno;
        return TAKE_FD(fd);
}

static int open_path(const char *path, int flags, Connection *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        *ret = CONNECTION_NONE;
        ret->place = strdup(path);
        if (!ret->place)
                return -ENOMEM;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        ret->fd = connect_to((struct sockaddr *)&address, sizeof(address), flags);
        return ret->fd < 0 ? ret->fd : 0;
}

int connection_open(const char *path, Connection *ret) {
        return open_path(path, 0, ret);
}

int connection_try(const char *path, Connection *ret) {
        return open_path(path, SOCK_NONBLOCK, ret);
}

int connection_take(int fd, const char *place, Connection *ret) {
        *ret = CONNECTION_NONE;
        ret->fd = fd;
        ret->place = strdup(place);
        return ret->place ? 0 : -ENOMEM;
}

int connection_open_loopback(uint16_t port, Connection *ret) {
        const struct sockaddr_in four = {
                .sin_family = AF_INET,
                .sin_port = htons(port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        const struct sockaddr_in6 six = {
                .sin6_family = AF_INET6,
                .sin6_port = htons(port),
                .sin6_addr = IN6ADDR_LOOPBACK_INIT,
        };
        int r;

        *ret = CONNECTION_NONE;
        if (asprintf(&ret->place, "127.0.0.1:%u", port) < 0) {
                ret->place = NULL;
                return -ENOMEM;
        }
        r = ret->fd = connect_to((const struct sockaddr *)&four, sizeof(four), 0);
        if (r < 0)
                ret->fd = connect_to((const struct sockaddr *)&six, sizeof(six), 0);
        /* What is told is why the first of the two failed: the second is often not there at all. */
        return ret->fd < 0 ? r : 0;
}

int connection_send(Connection *connection, const ControlBuffer *request) {
        ssize_t n;

        if (request->error < 0)
                return request->error;
        n = send(connection->fd, request->data, request->n_data, MSG_NOSIGNAL);
        return n < 0 && errno != EPIPE && errno != ECONNRESET ? -errno : 0;
}

/* --- records ---------------------------------------------------------------------------------- */

int record_parse(const uint8_t *data, size_t n_data, size_t *ret_n, Record *ret) {
        uint8_t kind;
        int r = control_next_record(data, n_data, ret_n, &kind, &ret->fields, &ret->n_fields);

        if (r <= 0)
                return r;
        ret->kind = kind;
        return control_fields_are_well_formed(ret->fields, ret->n_fields) ? 1 : -EBADMSG;
}

/* Room for READ_BYTES. What was handed out makes place, unless it is kept. */
static int make_room(Connection *connection) {
        size_t n_room;
        uint8_t *data;

        if (!connection->keeps && connection->n_taken > CONTROL_ANSWER_HEAD) {
                size_t n_gone = connection->n_taken - CONTROL_ANSWER_HEAD;

                memmove(connection->data + CONTROL_ANSWER_HEAD, connection->data + connection->n_taken,
                        connection->n_data - connection->n_taken);
                connection->n_data -= n_gone;
                connection->n_taken -= n_gone;
        }
        if (connection->n_room - connection->n_data >= READ_BYTES)
                return 0;
        n_room = 2 * connection->n_room + 2 * READ_BYTES;
        if (n_room > KEPT_BYTES_MAX)
                return -EBADMSG;
        data = realloc(connection->data, n_room);
        if (!data)
                return -ENOMEM;
        connection->data = data;
        connection->n_room = n_room;
        return 0;
}

/* 1: there is something to read, or the end; 0: the time is over; negative errno. */
static int wait_readable(int fd, uint64_t deadline_usec) {
        for (;;) {
                struct pollfd item = { .fd = fd, .events = POLLIN };
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int timeout_msec = -1, r;

                if (deadline_usec != USEC_INFINITE && deadline_usec <= now)
                        timeout_msec = 0;
                else if (deadline_usec != USEC_INFINITE) /* in steps of an hour, and never a moment too early */
                        timeout_msec = (int)min_u64((deadline_usec - now + 999) / 1000, 3600 * 1000);
                r = poll(&item, 1, timeout_msec);
                if (r > 0)
                        return 1;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (timeout_msec == 0)
                        return 0;
        }
}

/* 1: more has come; 0: the time is over; negative errno. */
static int read_more(Connection *connection, uint64_t deadline_usec) {
        ssize_t n;
        int r = make_room(connection);

        if (r < 0)
                return r;
        for (;;) {
                r = wait_readable(connection->fd, deadline_usec);
                if (r <= 0)
                        return r;
                n = recv(connection->fd, connection->data + connection->n_data,
                         connection->n_room - connection->n_data, MSG_DONTWAIT);
                if (n > 0)
                        break;
                if (n == 0 || errno == ECONNRESET)
                        return -ENODATA;
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        }
        connection->n_data += (size_t)n;
        return 1;
}

/* What has come already: 1 and a record, 0: more bytes are needed, -EBADMSG. */
static int take_record(Connection *connection, Record *ret) {
        size_t n;
        int r;

        if (connection->n_taken == 0) {
                uint8_t version;

                r = control_parse_answer_head(connection->data, connection->n_data, &version);
                if (r <= 0)
                        return r;
                /* Whatever the version: an error record is the same in all of them. */
                connection->n_taken = CONTROL_ANSWER_HEAD;
        }
        r = record_parse(connection->data + connection->n_taken, connection->n_data - connection->n_taken, &n, ret);
        if (r > 0)
                connection->n_taken += n;
        return r;
}

int connection_next(Connection *connection, uint64_t deadline_usec, Record *ret) {
        for (;;) {
                int r = take_record(connection, ret);

                if (r != 0)
                        return r;
                r = read_more(connection, deadline_usec);
                if (r <= 0)
                        return r;
        }
}
