/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol's bytes, for the daemon and its clients: frames, records, fields. Pure; PROTOCOL.md
 * ("The control protocol") is its source. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*  request   +--------+-----+-----+-----+---------+------+--------
 *            | u16 n  | 'L' | 'R' | 'C' | version | kind | field*
 *            +--------+-----+-----+-----+---------+------+--------     n counts from 'L'
 *  answer    +-----+-----+-----+---------+--------
 *            | 'L' | 'R' | 'C' | version | record*                     then the connection closes
 *            +-----+-----+-----+---------+--------
 *  record    +--------+------+--------
 *            | u32 n  | kind | field*                                  n counts from kind
 *            +--------+------+--------
 *  field     +--------+--------+----------
 *            | u16 tag| u16 n  | n bytes     integers: big endian, 1, 2, 4 or 8 bytes
 *            +--------+--------+----------
 *  The last record of an answer is CONTROL_END or CONTROL_ERROR. Unknown records and fields are skipped. */
#define CONTROL_OPCODE 'L'
#define CONTROL_VERSION 1
#define CONTROL_REQUEST_HEAD 5 /* bytes from 'L' to kind */
#define CONTROL_ANSWER_HEAD 4
/* Bytes of a record, from its kind; whoever is told of more hangs up. */
#define CONTROL_RECORD_BYTES_MAX (UINT32_C(1) << 20)

typedef enum ControlKind {
        /* requests */
        CONTROL_STATUS = 1,
        CONTROL_NAMES = 2,
        CONTROL_WHY = 3,      /* NAME, SCOPE? : who holds it, who was refused it, who had it last */
        CONTROL_HISTORY = 4,  /* NAME?, SINCE?, UNTIL?, CURSOR?: tenures that overlap that time, newest first */
        CONTROL_AT = 5,       /* AT, CURSOR?: who was registered then */
        CONTROL_WATCH = 6,    /* a selection (serve/filter), EPOCH? and REVISION? to go on from, HEARTBEAT?; also on TCP */
        CONTROL_ANNOUNCE = 7, /* NAME, HOST?, SCOPE?, CREATION?, ANNOUNCED?, PAIR*: also on loopback TCP */
        CONTROL_RELEASE = 8,  /* NAME, SCOPE? */
        CONTROL_FIND = 9,     /* a selection: who is registered now; also on TCP */
        CONTROL_ADD = 10,     /* a static entry: NAME, PORT, ADDRESS?, HOST? */
        CONTROL_REMOVE = 11,  /* NAME, ADDRESS? */
        CONTROL_PIN = 12,     /* NAME, PORT */
        CONTROL_UNPIN = 13,   /* NAME */
        CONTROL_PINS = 14,    /* NAME?; with a NAME also on TCP, from this machine */
        CONTROL_ENTRIES = 15, /* all static entries */
        /* records */
        CONTROL_END = 64,
        CONTROL_ERROR = 65,
        CONTROL_STATUS_RECORD = 66,
        CONTROL_NODE_RECORD = 67,
        CONTROL_SOCKET_RECORD = 68,
        CONTROL_TENURE_RECORD = 69,  /* a registration that has ended: a node's fields, UNTIL, HOW, BY? */
        CONTROL_REFUSAL_RECORD = 70, /* who was refused a name last: NAME, AT, REASON, PORT, UID?, UNIT? */
        CONTROL_EPOCH_RECORD = 71,   /* FIND, WATCH: forget what you know, here comes all there is: EPOCH, REVISION */
        CONTROL_SYNCED_RECORD = 72,  /* WATCH: you know all there was at REVISION */
        CONTROL_GONE_RECORD = 73,    /* WATCH: a tenure record's fields and REVISION: not registered any more */
        CONTROL_MORE_RECORD = 74,    /* HISTORY, AT: there is more, ask again with this CURSOR */
        CONTROL_PIN_RECORD = 75,     /* NAME, PORT, SINCE, BY? */
        CONTROL_ENTRY_RECORD = 76,   /* NAME, HOST?, PORT, ADDRESS, SINCE, BY, STATE, REASON? */
        CONTROL_CULPRIT_RECORD = 77, /* who has too many connections: UID or ADDRESS, UNIT?, SINCE, AT, N_SHED, N_BUSY */
} ControlKind;

typedef enum ControlError {
        CONTROL_E_MALFORMED = 1,
        CONTROL_E_BAD_VERSION = 2, /* with the highest version the daemon speaks */
        CONTROL_E_UNKNOWN_REQUEST = 3,
        CONTROL_E_DENIED = 4,
        CONTROL_E_BUSY = 5,
        CONTROL_E_INTERNAL = 6,
        CONTROL_E_NOT_FOUND = 7,   /* no such node */
        CONTROL_E_AMBIGUOUS = 8,   /* several nodes have that name: a SCOPE is needed */
        CONTROL_E_UNAVAILABLE = 9, /* the registry file cannot be read, or takes no writes now */
        CONTROL_E_TOO_SLOW = 10,   /* WATCH: its reader is cut off, and can go on from the last SYNCED */
        CONTROL_E_EXISTS = 11,     /* such an entry or pin is there, and says something else */
} ControlError;

const char *control_error_to_string(uint32_t error); /* "malformed", ...; "unknown" for others */

/* Tags are listed in PROTOCOL.md; a number is never used twice. */
typedef enum ControlTag {
        CONTROL_TAG_ERROR = 1,   /* u16 ControlError */
        CONTROL_TAG_TEXT = 2,    /* text: for a person */
        CONTROL_TAG_VERSION = 3, /* u8: highest protocol version */

        /* CONTROL_NODE_RECORD */
        CONTROL_TAG_NAME = 16,
        CONTROL_TAG_STATE = 17,  /* text: up, awaited, stopping, starting, ready */
        CONTROL_TAG_PORT = 18,   /* u16 */
        CONTROL_TAG_TYPE = 19,   /* u8 */
        CONTROL_TAG_PROTOCOL = 20,
        CONTROL_TAG_HIGHEST_VERSION = 21,
        CONTROL_TAG_LOWEST_VERSION = 22,
        CONTROL_TAG_CREATION = 23, /* u32 */
        CONTROL_TAG_SINCE = 24,    /* u64 microseconds since 1970 */
        CONTROL_TAG_SCOPE = 25,    /* text: an address or * */
        CONTROL_TAG_UID = 26,      /* u32; absent: unknown */
        CONTROL_TAG_UNIT = 27,     /* text; absent: unknown */
        CONTROL_TAG_LISTENER = 28, /* u64 cookie; absent: no listener is known */

        CONTROL_TAG_STATE_SOURCE = 29, /* text: connection, listener, unit, announcement, entry */
        CONTROL_TAG_STATE_SINCE = 30,  /* u64 microseconds since 1970 */
        CONTROL_TAG_UNIT_PID = 31,     /* u32: the main process of its unit; absent: unknown */
        CONTROL_TAG_HOST = 32,         /* text: the host part of its full name; absent: not announced */
        CONTROL_TAG_ANNOUNCED = 33,    /* text: ready, draining; absent: nothing */
        CONTROL_TAG_PAIR = 34,         /* key NUL value; once for each */
        CONTROL_TAG_AWAITED = 35,      /* u8 1: its connection was lost by our restart */
        CONTROL_TAG_HELPER = 36,       /* u8 1: a tool's, left out of listings unless asked for */
        CONTROL_TAG_EVIDENCE_OF_LIFE = 37, /* WHY: text: connection, listener, grace; once for each */
        CONTROL_TAG_LISTENER_ADDRESS = 38, /* text: what its listener is bound to */
        CONTROL_TAG_IN_FD_STORE = 39,  /* WHY: u8 1: its connection is in systemd's fd store */

        /* CONTROL_SOCKET_RECORD */
        CONTROL_TAG_ADDRESS = 40, /* text */
        CONTROL_TAG_ORIGIN = 41,  /* text: systemd, own */

        /* CONTROL_TENURE_RECORD, CONTROL_REFUSAL_RECORD, requests */
        CONTROL_TAG_UNTIL = 42,    /* u64 microseconds since 1970 */
        CONTROL_TAG_HOW = 43,      /* text: left, replaced, released, ... */
        CONTROL_TAG_BY = 44,       /* text: who did it: "uid 0" */
        CONTROL_TAG_AT = 45,       /* u64 microseconds since 1970 */
        CONTROL_TAG_REASON = 46,   /* text: name-taken, name-reserved, ... */
        CONTROL_TAG_CURSOR = 47,   /* u64, of a CONTROL_MORE_RECORD */
        CONTROL_TAG_EPOCH = 48,    /* u64 */
        CONTROL_TAG_PREFIX = 49,   /* text; selections: once for each */
        CONTROL_TAG_PATTERN = 50,  /* text: a shell pattern; once for each */
        CONTROL_TAG_EXCLUDE = 51,  /* text: a shell pattern; once for each */
        CONTROL_TAG_HIDDEN = 52,   /* u8 1: hidden nodes and helpers, too */
        CONTROL_TAG_HEARTBEAT = 53, /* u32 milliseconds */

        /* CONTROL_NODE_RECORD */
        CONTROL_TAG_HOST_SOURCE = 54, /* text: announced, static; absent: the host part is unknown */
        CONTROL_TAG_NAME_KIND = 55,   /* text: short, long; absent: unknown */
        CONTROL_TAG_NODE_ORIGIN = 56, /* text: static; absent: it has registered */
        CONTROL_TAG_ELSEWHERE = 58,   /* u8 1: on another machine, at SCOPE */
        CONTROL_TAG_PINNED_PORT = 59, /* u16: which its name was given for good; absent: none */

        /* CONTROL_STATUS_RECORD */
        CONTROL_TAG_PROGRAM_VERSION = 60, /* text */
        CONTROL_TAG_PID = 61,             /* u32 */
        CONTROL_TAG_STARTED = 62,         /* u64 microseconds since 1970 */
        CONTROL_TAG_DEGRADED = 63,        /* text: why; absent: healthy. May occur more than once */
        CONTROL_TAG_EVIDENCE = 64,        /* text: one field for each kind at hand: connections, listeners, units */
        CONTROL_TAG_REGISTRY_PATH = 65,   /* text; absent: memory only */
        CONTROL_TAG_REGISTRY_HEALTH = 66, /* text: store_health_to_string() */
        CONTROL_TAG_REGISTRY_DETAIL = 67,
        CONTROL_TAG_REGISTRY_BYTES = 68,  /* u64 */
        CONTROL_TAG_WAL_BYTES = 69,       /* u64 */
        CONTROL_TAG_SCHEMA_VERSION = 70,  /* u32 */
        CONTROL_TAG_N_NODES = 71,         /* u64, in all */
        CONTROL_TAG_N_AWAITED = 72,
        CONTROL_TAG_N_STOPPING = 73,
        CONTROL_TAG_N_CONNECTIONS = 74,
        CONTROL_TAG_N_CONNECTIONS_MAX = 75,
        CONTROL_TAG_REVISION = 76,           /* u64 */
        CONTROL_TAG_COMMITTED_REVISION = 77, /* u64 */
        CONTROL_TAG_COUNTER = 78,            /* u64 value, then its name (text); once for each counter */
        CONTROL_TAG_BOOT_ID = 79,
        CONTROL_TAG_NODES_PER_UID_MAX = 80, /* u64 */
        CONTROL_TAG_BLIND = 81, /* text: why listeners cannot be seen; absent: they can */
        CONTROL_TAG_N_IN_STATE = 82,   /* u64 value, then the state (text); once for each state that occurs */
        CONTROL_TAG_FD_STORE_MAX = 83, /* u64; absent: there is no fd store */
        CONTROL_TAG_FD_STORE_N = 84,   /* u64 connections in it */
        CONTROL_TAG_FD_STORE_WAITING = 85, /* u64 that are not (yet) */
        CONTROL_TAG_N_WATCHERS = 86,   /* u64 */
        CONTROL_TAG_N_HELD = 87,       /* u64 newcomers that wait for a holder that is going */
        CONTROL_TAG_UNITS_UNSEEN = 88, /* text: why systemd cannot be asked about units; absent: it can */
        CONTROL_TAG_CONFIG_FILE = 89,  /* text: a configuration file that is in force; once for each */

        /* CONTROL_CULPRIT_RECORD */
        CONTROL_TAG_N_SHED = 90, /* u64 connections of his that were closed to make room */
        CONTROL_TAG_N_BUSY = 91, /* u64 that were told that too many of his are held, or watch, already */
} ControlTag;

typedef struct ControlField {
        uint16_t tag;
        uint16_t n_value; /* bytes */
        const uint8_t *value; /* borrows from what is parsed */
} ControlField;

/* --- reading ---------------------------------------------------------------------------------- */

typedef struct ControlRequest {
        uint8_t version;
        uint8_t kind;
        const uint8_t *fields;
        size_t n_fields; /* bytes */
} ControlRequest;

/* True if the body of a frame (from 'L') means to be a request of this protocol, whatever is wrong with it. */
bool control_has_magic(const uint8_t *body, size_t n_body);
/* The body of a frame (from 'L'). True if it is a request of this protocol: of CONTROL_VERSION and well formed,
 * or of another version, whatever follows; one of those that ends before its kind has kind 0, which no request has.
 * What is no request is CONTROL_E_MALFORMED. */
bool control_parse_request(const uint8_t *body, size_t n_body, ControlRequest *ret);

/* Steps through fields: true and the next one, or false at the end. `*offset` begins at 0. A field that
 * runs over the end stops the walk and sets `*offset` to SIZE_MAX. */
bool control_next_field(const uint8_t *fields, size_t n_fields, size_t *offset, ControlField *ret);
/* True if a walk gets to the end. */
bool control_fields_are_well_formed(const uint8_t *fields, size_t n_fields);

/* The first CONTROL_ANSWER_HEAD bytes of an answer: 1 and the version its sender speaks, 0 if more bytes are
 * needed, -EBADMSG if this is no answer of this protocol. */
int control_parse_answer_head(const uint8_t *data, size_t n_data, uint8_t *ret_version);

/* The next record in `data`: 1 and its size in bytes in `*ret_n` (to be skipped), 0 if more bytes are needed,
 * -EBADMSG (empty, or above CONTROL_RECORD_BYTES_MAX). */
int control_next_record(const uint8_t *data, size_t n_data, size_t *ret_n, uint8_t *ret_kind,
                        const uint8_t **ret_fields, size_t *ret_n_fields);

/* The value of an integer field of 1, 2, 4 or 8 bytes; 0 for any other length. */
uint64_t control_field_u64(const ControlField *field);

/* The last field with that tag, which is the one that counts; false: there is none. */
bool control_find_field(const uint8_t *fields, size_t n_fields, ControlTag tag, ControlField *ret);

/* The parts of a CONTROL_TAG_COUNTER or CONTROL_TAG_N_IN_STATE; `*ret_name` borrows from the field and is not
 * terminated. False if the field has no room for a value and a name. */
bool control_field_counter(const ControlField *field, const char **ret_name, size_t *ret_n_name,
                           uint64_t *ret_value);
/* The parts of a CONTROL_TAG_PAIR, which borrow from the field; the value is not terminated. False if it has no
 * key. */
bool control_field_pair(const ControlField *field, const char **ret_key, size_t *ret_n_key, const char **ret_value,
                        size_t *ret_n_value);

/* --- writing ---------------------------------------------------------------------------------- */

/* Grows as it is written to. Begins as all zero. Errors stick, and nothing is written after one: write all,
 * then look at `error`. */
typedef struct ControlBuffer {
        uint8_t *data;
        size_t n_data;
        size_t n_room;
        size_t record; /* where the open record begins */
        int error;     /* 0, -ENOMEM, or -EMSGSIZE: a request or a record became too long */
} ControlBuffer;

void control_buffer_done(ControlBuffer *buffer);

/* Fields are put between _begin and _end, which fills in the length. */
void control_put_request_begin(ControlBuffer *buffer, ControlKind kind);
void control_put_request_end(ControlBuffer *buffer);
void control_put_answer_head(ControlBuffer *buffer);
void control_put_record_begin(ControlBuffer *buffer, ControlKind kind);
void control_put_record_end(ControlBuffer *buffer);
/* The length in front of a record of `n_record` bytes, all in all: for one of which the last fields are left out. */
void control_set_record_length(uint8_t *record, size_t n_record);
void control_put_u8(ControlBuffer *buffer, ControlTag tag, uint8_t value);
void control_put_u16(ControlBuffer *buffer, ControlTag tag, uint16_t value);
void control_put_u32(ControlBuffer *buffer, ControlTag tag, uint32_t value);
void control_put_u64(ControlBuffer *buffer, ControlTag tag, uint64_t value);
/* Cut at 65535 bytes, not within a character. */
void control_put_text(ControlBuffer *buffer, ControlTag tag, const char *text, size_t n_text);
/* The same of a terminated text. */
void control_put_string(ControlBuffer *buffer, ControlTag tag, const char *text);
/* A number and what it counts: CONTROL_TAG_COUNTER, CONTROL_TAG_N_IN_STATE. */
void control_put_named_u64(ControlBuffer *buffer, ControlTag tag, const char *name, uint64_t value);
void control_put_counter(ControlBuffer *buffer, const char *name, uint64_t value);
/* A key and its value, both terminated. */
void control_put_pair(ControlBuffer *buffer, const char *key, const char *value);
/* An error record. `text` is one sentence. CONTROL_E_BAD_VERSION also tells CONTROL_VERSION. */
void control_put_error(ControlBuffer *buffer, ControlError error, const char *text);
/* A whole error answer: head, error record. */
void control_put_error_answer(ControlBuffer *buffer, ControlError error, const char *text);
