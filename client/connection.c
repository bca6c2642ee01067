/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: where it is, how it is asked, and what to say where that fails. Knows frames
 * and records (core/control) and the error record; what else is in an answer is for those who
 * asked.
 *
 * The trap: an answer has no length of its own. It is complete when its last record says so, not
 * when the connection closes, and one that stops before must not be shown as if it were all. */

#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "text.h"
#include "util.h"

#define TIMEOUT_SEC 5
#define ANSWER_BYTES_MAX ((size_t)256 << 20)

/* --- answers ---------------------------------------------------------------------------------- */

void answer_done(Answer *answer) {
        free(answer->data);
        *answer = (Answer){ 0 };
}

/* 1 and a record; 0: more bytes are needed; -EBADMSG. */
static int next_record(const Answer *answer, size_t position, size_t *ret_n, Record *ret) {
        uint8_t kind;
        int r = control_next_record(answer->data + position, answer->n_data - position, ret_n,
                                    &kind, &ret->fields, &ret->n_fields);

        if (r <= 0)
                return r;
        ret->kind = kind;
        return control_fields_are_well_formed(ret->fields, ret->n_fields) ? 1 : -EBADMSG;
}

static bool is_last(const Record *record) {
        return record->kind == CONTROL_END || record->kind == CONTROL_ERROR;
}

bool answer_next_record(const Answer *answer, size_t *position, Record *ret) {
        size_t n;

        if (*position == 0)
                *position = CONTROL_ANSWER_HEAD;
        if (next_record(answer, *position, &n, ret) != 1 || is_last(ret))
                return false;
        *position += n;
        return true;
}

static int answer_reserve(Answer *answer) {
        size_t n_room = answer->n_room ? 2 * answer->n_room : 65536;
        uint8_t *data;

        if (answer->n_room - answer->n_data >= 16384)
                return 0;
        if (n_room > ANSWER_BYTES_MAX)
                return -EBADMSG;
        data = realloc(answer->data, n_room);
        if (!data)
                return -ENOMEM;
        answer->data = data;
        answer->n_room = n_room;
        return 0;
}

/* 1 and the last record once the answer is complete, 0: more bytes are needed, -EBADMSG. */
static int answer_judge(Answer *answer, Record *ret_last) {
        size_t n;
        int r;

        if (answer->n_judged == 0) {
                uint8_t version;

                r = control_parse_answer_head(answer->data, answer->n_data, &version);
                if (r <= 0)
                        return r;
                /* Whatever the version: an error record is the same in all of them. */
                answer->n_judged = CONTROL_ANSWER_HEAD;
        }
        for (;;) {
                r = next_record(answer, answer->n_judged, &n, ret_last);
                if (r <= 0)
                        return r;
                answer->n_judged += n;
                if (is_last(ret_last))
                        return 1;
        }
}

/* --- where the daemon is ---------------------------------------------------------------------- */

typedef struct Place {
        const char *directory, *rest;
} Place;

/* "No such file" means that the daemon is not there; anything else (no permission) that it may be.
 */
static bool may_exist(const char *path) {
        return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* The first that exists. An allocated path, or NULL where it has said that there is none. */
static char *find_socket(void) {
        const Place places[] = {
                { getenv("RUNTIME_DIRECTORY"), "control" },
                { "/run/rollcall", "control" },
                { getenv("XDG_RUNTIME_DIR"), "rollcall/control" },
        };
        char tried[3 * sizeof(struct sockaddr_un)] = "";
        size_t n_tried = 0;

        for (size_t i = 0; i < ELEMENTS(places); i++) {
                _cleanup_(freep) char *path = NULL;

                if (!places[i].directory || places[i].directory[0] != '/')
                        continue;
                if (asprintf(&path, "%.*s/%s", (int)strcspn(places[i].directory, ":"),
                             places[i].directory, places[i].rest) < 0) {
                        path = NULL;
                        continue;
                }
                if (may_exist(path))
                        return TAKE_PTR(path);
                if (n_tried < sizeof(tried))
                        n_tried += (size_t)snprintf(tried + n_tried, sizeof(tried) - n_tried,
                                                    "%s%s", n_tried > 0 ? " or " : "", path);
        }
        fprintf(stderr, "rollcall: there is no control socket at %s: is rollcalld running?\n",
                tried);
        return NULL;
}

static char *choose_socket(const char *path) {
        const char *by_environment = getenv("ROLLCALL_CONTROL");

        if (path)
                return strdup(path);
        if (by_environment && by_environment[0] != '\0')
                return strdup(by_environment);
        return find_socket();
}

/* --- asking ----------------------------------------------------------------------------------- */

static RollcallExit complain(const char *path, const char *what) {
        fprintf(stderr, "rollcall: %s: %s\n", path, what);
        return ROLLCALL_EXIT_UNREACHABLE;
}

static RollcallExit complain_connect(const char *path, int error) {
        switch (error) {
        case ENOENT:
        case ENOTDIR:
                return complain(path, "there is no such socket: is rollcalld running?");
        case ECONNREFUSED:
                return complain(path, "nobody listens on this socket: rollcalld has ended");
        case EACCES:
        case EPERM:
                return complain(path, "permission denied: members of the group rollcall may ask "
                                      "(as root: usermod -aG rollcall NAME, then log in anew)");
        case EAGAIN: /* SO_SNDTIMEO, while the backlog is full */
                return complain(path,
                                "rollcalld does not accept connections: it hangs or is overloaded");
        }
        return complain(path, strerror(error));
}

static RollcallExit complain_read(const char *path, int error, size_t n_data) {
        switch (error) {
        case EAGAIN:
                return complain(path, "rollcalld has not answered within 5 s");
        case ENOMEM:
                complain(path, "out of memory");
                return ROLLCALL_EXIT_FAILED;
        case EBADMSG:
                return complain(path,
                                "the answer is not of the control protocol: this is no rollcalld");
        case ENODATA:
                return complain(path,
                                n_data > 0 ? "the answer breaks off" : "closed without an answer");
        }
        return complain(path, strerror(error));
}

/* The daemon's refusal, in its own words. */
static RollcallExit complain_error(const char *path, const Record *record) {
        _cleanup_(freep) char *text = NULL;
        ControlField field;
        size_t offset = 0;
        uint64_t error = 0, version = 0;

        while (control_next_field(record->fields, record->n_fields, &offset, &field))
                if (field.tag == CONTROL_TAG_ERROR)
                        error = control_field_u64(&field);
                else if (field.tag == CONTROL_TAG_VERSION)
                        version = control_field_u64(&field);
                else if (field.tag == CONTROL_TAG_TEXT) {
                        free(text);
                        text = text_for_people(field.value, field.n_value);
                }
        fprintf(stderr, "rollcall: %s: rollcalld refuses (%s)%s%s", path,
                control_error_to_string((uint32_t)error), text ? ": " : "", text ? text : "");
        if (error == CONTROL_E_BAD_VERSION && version > 0)
                fprintf(stderr, "; it speaks version %u, this rollcall %u", (unsigned)version,
                        CONTROL_VERSION);
        fputc('\n', stderr);
        return ROLLCALL_EXIT_UNREACHABLE;
}

/* A descriptor, or negative errno. No call on it waits longer than TIMEOUT_SEC. */
static int connect_to(const char *path) {
        static const struct timeval timeout = { .tv_sec = TIMEOUT_SEC };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
            connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int send_request(int fd, ControlKind request) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        ssize_t n;

        control_put_request_begin(&buffer, request);
        control_put_request_end(&buffer);
        if (buffer.error < 0)
                return buffer.error;
        n = send(fd, buffer.data, buffer.n_data, MSG_NOSIGNAL);
        /* Who closes at once may still have said why. */
        return n < 0 && errno != EPIPE ? -errno : 0;
}

/* 0 and the last record, -ENODATA: closed before the end; other negative errno. */
static int receive_answer(int fd, Answer *answer, Record *ret_last) {
        for (;;) {
                int r = answer_reserve(answer);
                ssize_t n;

                if (r < 0)
                        return r;
                n = recv(fd, answer->data + answer->n_data, answer->n_room - answer->n_data, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 && errno != ECONNRESET ? -errno : -ENODATA;
                answer->n_data += (size_t)n;
                r = answer_judge(answer, ret_last);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
}

RollcallExit connection_ask(const char *path, ControlKind request, Answer *ret) {
        _cleanup_(freep) char *chosen = choose_socket(path);
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(close_fdp) int fd = -1;
        Record last;
        int r;

        if (!chosen)
                return ROLLCALL_EXIT_UNREACHABLE;
        fd = connect_to(chosen);
        if (fd < 0)
                return complain_connect(chosen, -fd);
        r = send_request(fd, request);
        if (r == 0)
                r = receive_answer(fd, &answer, &last);
        if (r < 0)
                return complain_read(chosen, -r, answer.n_data);
        if (last.kind == CONTROL_ERROR)
                return complain_error(chosen, &last);
        *ret = answer;
        answer = (Answer){ 0 };
        return ROLLCALL_EXIT_OK;
}
