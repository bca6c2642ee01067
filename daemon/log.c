/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows where messages go and how many of a kind are too many. Does not know what they mean.
 *
 * The trap: sd_journal_send() and syslog() block when journald does not read, and journald does not read
 * while the disk it writes to hangs; a pipe blocks when nobody reads it. A port mapper must not wait for that
 * (P2), so both protocols, a datagram each, are spoken here, and nothing here blocks; what cannot be sent is
 * counted.
 */

#include "log.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET "/dev/log"

/* Of one kind of event: so many at once, and so many more every second. */
#define BURST 40
#define PER_SEC 4

#define TEXT_MAX 4096

typedef struct Limit {
        uint64_t updated_usec;
        uint64_t n_suppressed;
        double tokens;
} Limit;

/* The log is the one thing that every module needs and none owns. */
static struct {
        LogFormat format;
        int max_priority;
        int debug;
        const char *socket_path; /* the journal's or syslog's; else NULL */
        int socket_fd;
        uint64_t n_unsent; /* that nobody took from the socket */
        uint64_t n_unread; /* that nobody read from stderr */
        Limit limits[_LOG_EVENT_N];
} state = { .format = LOG_FORMAT_PLAIN, .max_priority = LOG_INFO, .socket_fd = -1 };

/* Random 128-bit ids, fixed for ever: `journalctl MESSAGE_ID=...` finds all events of a kind. They are
 * listed in rollcalld(8). */
static const char *const message_ids[_LOG_EVENT_N] = {
        [LOG_EVENT_STARTED] = "10c13978f71d0e34fd092d88ff3b8545",
        [LOG_EVENT_STOPPED] = "f08eb3f66ff8716589782d8c4c8ff441",
        [LOG_EVENT_SOCKET_USELESS] = "4588eb3ee74c9c57b4e1fa18f40810b4",
        [LOG_EVENT_SETTING] = "245e739a10afb8d558d1ad0ca2b1a9f6",
        [LOG_EVENT_NODE_REGISTERED] = "c35494897cd1bb424f1a4bdd29fa6118",
        [LOG_EVENT_NODE_RETURNED] = "f18029db9a5b81164865776e6ebff56d",
        [LOG_EVENT_NODE_ENDED] = "e366a61217fadf1560a0b58d1027f2dc",
        [LOG_EVENT_NODE_AWAITED] = "1d444924f55cd5001ca70623cc7ee8b4",
        [LOG_EVENT_NODE_STOPPING] = "678432a70e5f88bfe9ac00c9774d34f5",
        [LOG_EVENT_NAME_REFUSED] = "a4521b91ed07ded8552612a14d4a3633",
        [LOG_EVENT_DENIED] = "5b61d7eee1c34f84f88ed273377db31c",
        [LOG_EVENT_GARBAGE] = "5eb79fd9d7380d7b01b237257aade86b",
        [LOG_EVENT_SHED] = "0dafd2da09355d3cad387f4ba09db953",
        [LOG_EVENT_BLIND] = "28b314e884447acc67f2c66a25d762e5",
        [LOG_EVENT_EVIDENCE_LOST] = "dd54568ca3e5573f133fd855ffafd45b",
        [LOG_EVENT_DEGRADED] = "67ffea07598f7ddc58991328aa58bfdd",
        [LOG_EVENT_HEALED] = "78957d84bb17bd1a600961adfe2b5460",
        [LOG_EVENT_REGISTRY_FILE] = "7fb8b90e8a2be45fe1a2b31a7b6c134f",
        [LOG_EVENT_KILL] = "0fbcbe5bc737c920f72ff245e8d76bbf",
        [LOG_EVENT_NODE_STATE] = "3db634b36da247389feb3040e88ac553",
        [LOG_EVENT_NODE_RELEASED] = "63ad7554504143929f01a7c951a49e52",
        [LOG_EVENT_NAME_HELD] = "5a4d7aa61dff4783a0b0af47b5340116",
        [LOG_EVENT_BUS] = "10c23083cca445cc90360b2e01156850",
        [LOG_EVENT_FD_STORE] = "069b99eba495482b86fa5474c726db74",
        [LOG_EVENT_CONFIG] = "7979beb757b14172be0b069927e835bd",
        [LOG_EVENT_ANNOUNCEMENT] = "98e6097546a44d9eb56b5c05e6ddf6c1",
        [LOG_EVENT_ENTRY] = "d9ca870c8fb84e158d51de702aebce7b",
};

/* systemd sets JOURNAL_STREAM to the device and inode of the stream it connected. */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return false;
        return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static int open_socket(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(close_fdp) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return -errno;
        strncpy(address.sun_path, path, sizeof address.sun_path - 1);
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        return TAKE_FD(fd);
}

void log_set_level(int max_priority, int debug) {
        state.max_priority = debug ? LOG_DEBUG : max_priority;
        state.debug = state.max_priority == LOG_DEBUG && debug == 0 ? 1 : debug;
}

void log_init(LogFormat format, int max_priority, int debug) {
        log_set_level(max_priority, debug);
        if (format == LOG_FORMAT_AUTO)
                format = stderr_is_journal() ? LOG_FORMAT_JOURNAL : LOG_FORMAT_PLAIN;
        if (format == LOG_FORMAT_JOURNAL)
                state.socket_path = JOURNAL_SOCKET;
        if (format == LOG_FORMAT_SYSLOG)
                state.socket_path = SYSLOG_SOCKET;
        if (state.socket_path)
                state.socket_fd = open_socket(state.socket_path);
        if (format == LOG_FORMAT_JOURNAL && state.socket_fd < 0)
                format = LOG_FORMAT_PLAIN;
        state.format = format;
}

void log_done(void) {
        close_fdp(&state.socket_fd);
        state.socket_fd = -1;
        state.socket_path = NULL;
        state.format = LOG_FORMAT_PLAIN;
}

bool log_is_debug(void) {
        return state.max_priority >= LOG_DEBUG;
}

int log_debug_level(void) {
        return state.debug;
}

/* --- what is sent ----------------------------------------------------------------------------- */

/* One journal entry under construction. Values with a line feed would need another form; every value here
 * is one line. */
typedef struct Entry {
        char text[TEXT_MAX + 1024];
        size_t n_text;
} Entry;

static void entry_add(Entry *entry, const char *key, const char *value) {
        size_t n_key = strlen(key), n_value = strcspn(value, "\n");

        if (entry->n_text + n_key + 1 + n_value + 1 > sizeof entry->text)
                return;
        memcpy(entry->text + entry->n_text, key, n_key);
        entry->n_text += n_key;
        entry->text[entry->n_text++] = '=';
        memcpy(entry->text + entry->n_text, value, n_value);
        entry->n_text += n_value;
        entry->text[entry->n_text++] = '\n';
}

static void entry_add_fields(Entry *entry, const LogFields *fields) {
        char text[1024];

        if (fields->node)
                entry_add(entry, "NODE",
                          log_printable(fields->node,
                                        fields->n_node ? fields->n_node : strlen(fields->node), text,
                                        sizeof text));
        if (fields->port) {
                snprintf(text, sizeof text, "%u", fields->port);
                entry_add(entry, "PORT", text);
        }
        if (fields->unit)
                entry_add(entry, "NODE_UNIT", fields->unit);
        if (fields->peer)
                entry_add(entry, "PEER", fields->peer);
        if (fields->uid)
                entry_add(entry, "NODE_UID", fields->uid);
        if (fields->reservation)
                entry_add(entry, "RESERVATION", fields->reservation);
}

static void send_datagram(const char *text, size_t n_text) {
        if (send(state.socket_fd, text, n_text, MSG_NOSIGNAL) >= 0) {
                state.n_unsent = 0;
                return;
        }
        state.n_unsent++;
        /* The other side was restarted: its socket is a new one, or not there yet (EBADF: nor the last time). */
        if (errno == ECONNREFUSED || errno == ENOTCONN || errno == EBADF) {
                close_fdp(&state.socket_fd);
                state.socket_fd = open_socket(state.socket_path);
        }
}

static void send_journal(int priority, LogEvent event, const LogFields *fields, const char *text) {
        char number[24];
        Entry entry;

        entry.n_text = 0;
        entry_add(&entry, "MESSAGE", text);
        snprintf(number, sizeof number, "%d", priority);
        entry_add(&entry, "PRIORITY", number);
        entry_add(&entry, "SYSLOG_IDENTIFIER", "rollcalld");
        if (message_ids[event])
                entry_add(&entry, "MESSAGE_ID", message_ids[event]);
        if (fields)
                entry_add_fields(&entry, fields);
        if (state.n_unsent) {
                snprintf(number, sizeof number, "%llu", (unsigned long long)state.n_unsent);
                entry_add(&entry, "UNSENT", number);
        }
        send_datagram(entry.text, entry.n_text);
}

/* RFC 3164, as syslog(3) writes it. */
static void send_syslog(int priority, const char *text) {
        char line[TEXT_MAX + 64], date[32] = "";
        time_t now = time(NULL);
        struct tm tm;
        int n;

        if (localtime_r(&now, &tm))
                strftime(date, sizeof date, "%b %e %H:%M:%S", &tm);
        n = snprintf(line, sizeof line, "<%d>%s epmd[%d]: %s", LOG_DAEMON | priority, date, (int)getpid(),
                     text);
        send_datagram(line, (size_t)n);
}

/* A pipe takes PIPE_BUF bytes at once, or is not writable; a longer line could wait for a reader. */
static void write_stderr(const char *line, size_t n_line) {
        struct pollfd pollfd = { .fd = STDERR_FILENO, .events = POLLOUT };

        if (poll(&pollfd, 1, 0) <= 0 || !(pollfd.revents & POLLOUT) ||
            write(STDERR_FILENO, line, n_line < PIPE_BUF ? n_line : PIPE_BUF) < 0)
                state.n_unread++;
        else
                state.n_unread = 0;
}

static void send_stderr(const char *text, bool as_epmd) {
        char line[PIPE_BUF], date[32] = "", lost[48] = "";
        const char *end = as_epmd ? "\r\n" : "\n";
        time_t now = time(NULL);
        int n;

        if (state.n_unread)
                snprintf(lost, sizeof lost, "(%llu messages lost) ",
                         (unsigned long long)state.n_unread);
        if (as_epmd) {
                ctime_r(&now, date);
                date[strcspn(date, "\n")] = 0;
                n = snprintf(line, sizeof line - 2, "epmd: %s: %s%s", date, lost, text);
        } else
                n = snprintf(line, sizeof line - 2, "rollcalld: %s%s", lost, text);
        if (n > (int)sizeof line - 3)
                n = (int)sizeof line - 3;
        memcpy(line + n, end, strlen(end));
        write_stderr(line, (size_t)n + strlen(end));
}

static void send_text(int priority, LogEvent event, const LogFields *fields, const char *text) {
        switch (state.format) {
        case LOG_FORMAT_JOURNAL:
                send_journal(priority, event, fields, text);
                break;
        case LOG_FORMAT_SYSLOG:
                send_syslog(priority, text);
                /* Whoever starts a daemon wants to read why it does not start; see server_tell_ready_fd(). */
                if (priority <= LOG_WARNING)
                        send_stderr(text, false);
                break;
        case LOG_FORMAT_EPMD:
                send_stderr(text, true);
                break;
        case LOG_FORMAT_AUTO:
        case LOG_FORMAT_PLAIN:
                send_stderr(text, false);
                break;
        }
}

/* --- how many --------------------------------------------------------------------------------- */

/* A token bucket for each kind. Plain messages and debugging are not limited: nobody but the operator can
 * make many of them. */
static bool limit_take(LogEvent event, uint64_t *ret_n_suppressed) {
        Limit *limit = state.limits + event;
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        *ret_n_suppressed = 0;
        if (event == LOG_EVENT_NONE)
                return true;
        if (limit->updated_usec == 0)
                limit->tokens = BURST;
        else
                limit->tokens += (double)(now - limit->updated_usec) * PER_SEC / USEC_PER_SEC;
        if (limit->tokens > BURST)
                limit->tokens = BURST;
        limit->updated_usec = now;
        if (limit->tokens < 1) {
                limit->n_suppressed++;
                return false;
        }
        limit->tokens -= 1;
        *ret_n_suppressed = limit->n_suppressed;
        limit->n_suppressed = 0;
        return true;
}

void log_event(int priority, LogEvent event, const LogFields *fields, const char *format, ...) {
        char text[TEXT_MAX];
        uint64_t n_suppressed;
        va_list arguments;
        int saved = errno, n;

        assert(event >= 0 && event < _LOG_EVENT_N);
        if (priority > state.max_priority)
                return;
        if (priority < LOG_DEBUG && !limit_take(event, &n_suppressed))
                return;

        va_start(arguments, format);
        n = vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        if (priority < LOG_DEBUG && n_suppressed && n > 0 && (size_t)n < sizeof text)
                snprintf(text + n, sizeof text - (size_t)n,
                         " (%llu more messages of this kind were not logged)",
                         (unsigned long long)n_suppressed);
        send_text(priority, event, fields, text);
        errno = saved;
}

void log_hex(const char *what, const uint8_t *data, size_t n_data) {
        if (state.debug < 2)
                return;
        log_debug("%s, %zu bytes", what, n_data);
        for (size_t at = 0; at < n_data; at += 16) {
                char hex[16 * 3 + 1] = "", ascii[17] = "";

                for (size_t i = 0; i < 16 && at + i < n_data; i++) {
                        uint8_t byte = data[at + i];

                        snprintf(hex + i * 3, 4, "%02x ", byte);
                        ascii[i] = byte >= 0x20 && byte < 0x7f ? (char)byte : '.';
                }
                log_debug("%04zx  %-48s %s", at, hex, ascii);
        }
}

const char *log_printable(const char *text, size_t n_text, char *out, size_t n_out) {
        bool is_name = node_name_check(text, n_text) == NODE_NAME_OK;
        size_t n = 0;

        assert(n_out >= 8);
        for (size_t i = 0; i < n_text; i++) {
                uint8_t byte = (uint8_t)text[i];

                if (n + 8 > n_out) {
                        /* not within a character */
                        for (; is_name && ((uint8_t)text[i] & 0xc0) == 0x80; i--)
                                n--;
                        memcpy(out + n, "...", 3);
                        n += 3;
                        break;
                }
                if (is_name || (byte >= 0x20 && byte < 0x7f))
                        out[n++] = (char)byte;
                else
                        n += (size_t)snprintf(out + n, 5, "\\x%02x", byte);
        }
        out[n] = 0;
        return out;
}
