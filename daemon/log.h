/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's log: journal with fields, or lines on stderr; repeated messages are limited and counted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

#include "core/node.h"
#include "util.h"

typedef enum LogFormat {
        LOG_FORMAT_AUTO,    /* journal if stderr leads there, else plain */
        LOG_FORMAT_JOURNAL, /* journald's native protocol, never blocking */
        LOG_FORMAT_PLAIN,   /* "<text>" lines on stderr */
        LOG_FORMAT_EPMD,    /* as stock epmd: "epmd: Sat Nov 21 01:02:03 2026: <text>" CR LF on stderr */
        LOG_FORMAT_SYSLOG,  /* as stock epmd -daemon: syslog, ident "epmd" */
} LogFormat;

/* One for each kind of event: a MESSAGE_ID in the journal, a limit of its own. */
typedef enum LogEvent {
        LOG_EVENT_NONE,
        LOG_EVENT_STARTED,
        LOG_EVENT_STOPPED,
        LOG_EVENT_SOCKET_USELESS,
        LOG_EVENT_SETTING, /* an option or variable has no effect, or is odd */
        LOG_EVENT_NODE_REGISTERED,
        LOG_EVENT_NODE_RETURNED,
        LOG_EVENT_NODE_ENDED,
        LOG_EVENT_NODE_AWAITED,
        LOG_EVENT_NODE_STOPPING,
        LOG_EVENT_NAME_REFUSED,
        LOG_EVENT_DENIED,
        LOG_EVENT_GARBAGE,
        LOG_EVENT_SHED,
        LOG_EVENT_BLIND,
        LOG_EVENT_EVIDENCE_LOST,
        LOG_EVENT_DEGRADED,
        LOG_EVENT_HEALED,
        LOG_EVENT_REGISTRY_FILE,
        LOG_EVENT_KILL,
        LOG_EVENT_NODE_STATE,
        LOG_EVENT_NODE_RELEASED, /* by an operator */
        LOG_EVENT_NAME_HELD, /* a newcomer waits for a holder that is going */
        LOG_EVENT_BUS, /* the system bus was lost or is back */
        LOG_EVENT_FD_STORE,
        LOG_EVENT_CONFIG, /* the configuration file */
        LOG_EVENT_ANNOUNCEMENT, /* one that was not accepted */
        LOG_EVENT_ENTRY, /* a static entry or a pinned port was ordered, or is not kept to */
        _LOG_EVENT_N,
} LogEvent;

/* Opens what the format needs. `debug` 0: up to LOG_INFO; 1: LOG_DEBUG; 2: with hex dumps. */
void log_init(LogFormat format, int max_priority, int debug);
/* As log_init() has them; also later. */
void log_set_level(int max_priority, int debug);
void log_done(void);
bool log_is_debug(void);
int log_debug_level(void);

/* Facts that go into fields of their own: NODE=, PORT=, NODE_UNIT=, PEER=, NODE_UID=, RESERVATION=. NULL or 0:
 * absent. */
typedef struct LogFields {
        const char *node;
        size_t n_node; /* bytes; 0 with a node: strlen() */
        uint16_t port;
        const char *unit;
        const char *peer;
        const char *uid;         /* in digits */
        const char *reservation; /* its label */
} LogFields;

void log_event(int priority, LogEvent event, const LogFields *fields, const char *format, ...)
        PRINTF_LIKE(4, 5);
#define log_error(...) log_event(LOG_ERR, LOG_EVENT_NONE, NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_WARNING, LOG_EVENT_NONE, NULL, __VA_ARGS__)
#define log_info(...) log_event(LOG_INFO, LOG_EVENT_NONE, NULL, __VA_ARGS__)
#define log_debug(...)                                                        \
        do {                                                                  \
                if (log_is_debug())                                           \
                        log_event(LOG_DEBUG, LOG_EVENT_NONE, NULL, __VA_ARGS__); \
        } while (0)
/* At debug level 2: the bytes, sixteen a line, with what they are. */
void log_hex(const char *what, const uint8_t *data, size_t n_data);

/* Copies `text` into `out` with control characters and bytes that are not UTF-8 shown as \xNN, so that no
 * client can forge a line of the log. Returns `out`. */
const char *log_printable(const char *text, size_t n_text, char *out, size_t n_out);
