/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall status`: how facts are shown, on a screen and as JSON. Knows no bytes of the protocol
 * (status_facts) and judges nothing: degraded is what the daemon says is degraded.
 *
 * The trap: the JSON form is an interface (rollcall(1)). Keys are added and never renamed; what the
 * daemon did not tell is null, never left out. */

#include "status.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "core/node_state.h"
#include "complaint.h"
#include "output.h"
#include "status_facts.h"
#include "text.h"
#include "user.h"
#include "util.h"

/* --- on a screen ------------------------------------------------------------------------------ */

#define LABEL_WIDTH 15
#define SCREEN_WIDTH 100

/* A label and items behind it, wrapped below each other where the screen ends. */
typedef struct Row {
        const char *label; /* NULL once it is printed */
        size_t column;
        size_t n_items;
} Row;

static Row row_begin(const char *label) {
        return (Row){ .label = label };
}

PRINTF_LIKE(2, 3) static void row_add(Row *row, const char *format, ...) {
        char item[8192];
        va_list arguments;
        size_t n;

        va_start(arguments, format);
        vsnprintf(item, sizeof(item), format, arguments);
        va_end(arguments);
        n = strlen(item);
        if (row->n_items > 0 && row->column + 2 + n > SCREEN_WIDTH) {
                printf(",\n%*s", 2 + LABEL_WIDTH, "");
                row->column = 2 + LABEL_WIDTH;
        } else if (row->n_items > 0)
                row->column += (size_t)printf(", ");
        else
                row->column = (size_t)printf("  %-*s", LABEL_WIDTH, row->label);
        fputs(item, stdout);
        row->column += n;
        row->n_items++;
}

static void row_end(const Row *row) {
        if (row->n_items > 0)
                putchar('\n');
}

/* Each on a line of its own, under one label. */
static void print_lines(const char *label, const StringList *list) {
        for (size_t i = 0; i < list->n_texts; i++)
                printf("  %-*s%s\n", LABEL_WIDTH, i == 0 ? label : "", list->texts[i]);
}

static const char *or_unknown(const char *text) {
        return text ? text : "unknown";
}

static void print_heading(const StatusFacts *facts) {
        uint64_t started_usec = facts->numbers[STATUS_STARTED_USEC];
        uint64_t now_usec = (uint64_t)time(NULL) * USEC_PER_SEC;
        char when[TEXT_TIME_MAX], since[TEXT_TIME_MAX];

        printf("rollcalld %s is %s: pid %" PRIu64, or_unknown(facts->texts[STATUS_PROGRAM_VERSION]),
               facts->degraded.n_texts > 0 ? "degraded" : "healthy", facts->numbers[STATUS_PID]);
        if (facts->has_number[STATUS_STARTED_USEC])
                printf(", since %s (%s)", text_time_local(started_usec, when),
                       text_duration(now_usec > started_usec ? now_usec - started_usec : 0, since));
        putchar('\n');
}

static void print_sockets(const StatusFacts *facts) {
        for (size_t i = 0; i < facts->n_sockets; i++) {
                const StatusSocket *socket = &facts->sockets[i];

                printf("  %-*s%s (%s)\n", LABEL_WIDTH, i == 0 ? "sockets" : "",
                       or_unknown(socket->address), or_unknown(socket->origin));
        }
}

static void print_registry(const StatusFacts *facts) {
        const uint64_t *numbers = facts->numbers;
        char size[TEXT_SIZE_MAX];
        Row row = row_begin("registry");

        if (facts->texts[STATUS_REGISTRY_PATH])
                row_add(&row, "%s: %s", facts->texts[STATUS_REGISTRY_PATH],
                        or_unknown(facts->texts[STATUS_REGISTRY_HEALTH]));
        else
                row_add(&row, "in memory only");
        if (facts->has_number[STATUS_REGISTRY_BYTES])
                row_add(&row, "%s", text_size(numbers[STATUS_REGISTRY_BYTES], size));
        if (facts->has_number[STATUS_WAL_BYTES])
                row_add(&row, "WAL %s", text_size(numbers[STATUS_WAL_BYTES], size));
        if (facts->has_number[STATUS_SCHEMA_VERSION])
                row_add(&row, "schema %" PRIu64, numbers[STATUS_SCHEMA_VERSION]);
        if (facts->has_number[STATUS_REVISION] && facts->has_number[STATUS_COMMITTED_REVISION])
                row_add(&row, "revision %" PRIu64 " of which %" PRIu64 " on disk",
                        numbers[STATUS_REVISION], numbers[STATUS_COMMITTED_REVISION]);
        row_end(&row);
        if (facts->texts[STATUS_REGISTRY_DETAIL] && facts->texts[STATUS_REGISTRY_DETAIL][0] != '\0')
                printf("  %-*s%s\n", LABEL_WIDTH, "", facts->texts[STATUS_REGISTRY_DETAIL]);
}

/* What an older daemon does not tell follows from what it does. */
static uint64_t n_up(const StatusFacts *facts) {
        uint64_t n = facts->numbers[STATUS_N_NODES];
        uint64_t n_others = facts->numbers[STATUS_N_AWAITED] + facts->numbers[STATUS_N_STOPPING];

        return n > n_others ? n - n_others : 0;
}

static bool n_in_state(const StatusFacts *facts, NodeState state, uint64_t *ret) {
        if (status_facts_n_in_state(facts, node_state_to_string(state), ret))
                return true;
        switch (state) {
        case NODE_UP:
                *ret = n_up(facts);
                return true;
        case NODE_AWAITED:
                *ret = facts->numbers[STATUS_N_AWAITED];
                return facts->has_number[STATUS_N_AWAITED];
        case NODE_STOPPING:
                *ret = facts->numbers[STATUS_N_STOPPING];
                return facts->has_number[STATUS_N_STOPPING];
        case NODE_STARTING:
        case NODE_READY:
        case _NODE_STATE_N:
                break;
        }
        return false;
}

/* Starting and ready are left out where there are none: only units of a certain kind, and announcements, make them. */
static void print_nodes(const StatusFacts *facts) {
        static const NodeState states[] = { NODE_READY, NODE_STARTING, NODE_UP, NODE_AWAITED, NODE_STOPPING };
        Row row = row_begin("nodes");
        const char *lead = "";
        char total[32];

        snprintf(total, sizeof(total), "%" PRIu64 ": ", facts->numbers[STATUS_N_NODES]);
        lead = total;
        for (size_t i = 0; i < ELEMENTS(states); i++) {
                uint64_t n;

                if (!n_in_state(facts, states[i], &n) ||
                    (n == 0 && (states[i] == NODE_READY || states[i] == NODE_STARTING)))
                        continue;
                row_add(&row, "%s%" PRIu64 " %s", lead, n, node_state_to_string(states[i]));
                lead = "";
        }
        if (facts->has_number[STATUS_NODES_PER_UID_MAX])
                row_add(&row, "at most %" PRIu64 " of one user",
                        facts->numbers[STATUS_NODES_PER_UID_MAX]);
        row_end(&row);
        if (facts->numbers[STATUS_N_HELD] > 0)
                printf("  %-*s%" PRIu64 " that wait for the end of a holder that is going\n", LABEL_WIDTH, "newcomers",
                       facts->numbers[STATUS_N_HELD]);
}

static void print_connections(const StatusFacts *facts) {
        Row row = row_begin("connections");

        row_add(&row, "%" PRIu64 " of at most %" PRIu64, facts->numbers[STATUS_N_CONNECTIONS],
                facts->numbers[STATUS_N_CONNECTIONS_MAX]);
        if (facts->numbers[STATUS_N_WATCHERS] > 0)
                row_add(&row, "%" PRIu64 " of them watch", facts->numbers[STATUS_N_WATCHERS]);
        row_end(&row);
        if (!facts->has_number[STATUS_FD_STORE_MAX])
                return;
        row = row_begin("fd store");
        row_add(&row, "%" PRIu64 " connections of at most %" PRIu64, facts->numbers[STATUS_FD_STORE_N],
                facts->numbers[STATUS_FD_STORE_MAX]);
        row_add(&row, "%" PRIu64 " not in it", facts->numbers[STATUS_FD_STORE_WAITING]);
        row_end(&row);
}

/* "uid 1000 (joe), worker.service" */
static void describe_culprit(const StatusCulprit *culprit, char *text, size_t n_text) {
        const char *name = culprit->has_uid ? user_name(culprit->uid) : NULL;
        int n = 0;

        if (culprit->address)
                n = snprintf(text, n_text, "%s", culprit->address);
        else if (culprit->has_uid)
                n = snprintf(text, n_text, "uid %" PRIu64 "%s%s%s", culprit->uid, name ? " (" : "", name ? name : "",
                             name ? ")" : "");
        else
                n = snprintf(text, n_text, "a user that is not known");
        if (culprit->unit && n >= 0 && (size_t)n < n_text)
                snprintf(text + n, n_text - (size_t)n, ", %s", culprit->unit);
}

/* Who was last stands first. */
static int compare_culprits(const void *a, const void *b) {
        const StatusCulprit *first = a, *second = b;

        return first->last_usec > second->last_usec ? -1 : first->last_usec < second->last_usec;
}

static void print_culprits(const StatusFacts *facts) {
        for (size_t i = 0; i < facts->n_culprits; i++) {
                const StatusCulprit *culprit = &facts->culprits[i];
                char when[TEXT_TIME_MAX], who[1024];
                Row row = row_begin(i == 0 ? "too many of" : "");

                describe_culprit(culprit, who, sizeof(who));
                row_add(&row, "%s: %" PRIu64 " closed", who, culprit->n_shed);
                if (culprit->n_busy > 0)
                        row_add(&row, "%" PRIu64 " turned away", culprit->n_busy);
                row_add(&row, "last %s", text_time_local(culprit->last_usec, when));
                row_end(&row);
        }
}

static size_t n_group(const char *name) {
        return strcspn(name, ".");
}

/* Whether a counter of the same group stands before: the group is printed at its first. */
static bool is_group_printed(const StatusFacts *facts, size_t position) {
        const char *name = facts->counters[position].name;

        for (size_t i = 0; i < position; i++)
                if (n_group(facts->counters[i].name) == n_group(name) &&
                    memcmp(facts->counters[i].name, name, n_group(name)) == 0)
                        return true;
        return false;
}

/* "requests.names" is the item "names" of the row "requests". Of a group, what is not zero. */
static void print_group(const StatusFacts *facts, size_t position) {
        const char *group = facts->counters[position].name;
        size_t n = n_group(group);
        char label[LABEL_WIDTH];
        Row row = row_begin(label);

        snprintf(label, sizeof(label), "%.*s", (int)n, group);
        for (size_t i = position; i < facts->n_counters; i++) {
                const StatusCounter *counter = &facts->counters[i];

                if (counter->value == 0 || n_group(counter->name) != n ||
                    memcmp(counter->name, group, n) != 0)
                        continue;
                row_add(&row, "%" PRIu64 " %s", counter->value,
                        counter->name[n] == '.' ? counter->name + n + 1 : counter->name);
        }
        if (row.n_items == 0)
                row_add(&row, "none");
        row_end(&row);
}

static void print_counters(const StatusFacts *facts) {
        if (facts->n_counters > 0)
                puts("counted since then:");
        for (size_t i = 0; i < facts->n_counters; i++)
                if (!is_group_printed(facts, i))
                        print_group(facts, i);
}

static void print_evidence(const StatusFacts *facts) {
        Row row = row_begin("evidence");

        for (size_t i = 0; i < facts->evidence.n_texts; i++)
                row_add(&row, "%s", facts->evidence.texts[i]);
        row_end(&row);
        if (facts->texts[STATUS_BLIND])
                printf("  %-*slisteners cannot be seen: %s\n", LABEL_WIDTH, "",
                       facts->texts[STATUS_BLIND]);
        if (facts->texts[STATUS_UNITS_UNSEEN])
                printf("  %-*sstates of units cannot be seen: %s\n", LABEL_WIDTH, "",
                       facts->texts[STATUS_UNITS_UNSEEN]);
}

static void print_screen(const StatusFacts *facts) {
        print_heading(facts);
        print_lines("degraded", &facts->degraded);
        print_lines("configuration", &facts->config_files);
        print_sockets(facts);
        print_registry(facts);
        print_nodes(facts);
        print_connections(facts);
        print_culprits(facts);
        print_evidence(facts);
        print_counters(facts);
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static json_t *number_to_json(const StatusFacts *facts, StatusNumber number) {
        return facts->has_number[number] ? json_integer((json_int_t)facts->numbers[number])
                                         : json_null();
}

static json_t *text_to_json(const char *text) {
        return text ? json_string(text) : json_null();
}

static json_t *started_to_json(const StatusFacts *facts) {
        char when[TEXT_TIME_MAX];

        return facts->has_number[STATUS_STARTED_USEC]
                       ? json_string(text_time_utc(facts->numbers[STATUS_STARTED_USEC], when))
                       : json_null();
}

static json_t *strings_to_json(const StringList *list) {
        json_t *array = json_array();

        for (size_t i = 0; i < list->n_texts; i++)
                json_array_append_new(array, json_string(list->texts[i]));
        return array;
}

static json_t *sockets_to_json(const StatusFacts *facts) {
        json_t *array = json_array();

        for (size_t i = 0; i < facts->n_sockets; i++) {
                const StatusSocket *socket = &facts->sockets[i];

                json_array_append_new(array, json_pack("{s:o, s:o}",
                                                       "address", text_to_json(socket->address),
                                                       "origin", text_to_json(socket->origin)));
        }
        return array;
}

static json_t *registry_to_json(const StatusFacts *facts) {
        const char *detail = facts->texts[STATUS_REGISTRY_DETAIL];

        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "path", text_to_json(facts->texts[STATUS_REGISTRY_PATH]),
                         "health", text_to_json(facts->texts[STATUS_REGISTRY_HEALTH]),
                         "detail", text_to_json(detail && detail[0] != '\0' ? detail : NULL),
                         "file_bytes", number_to_json(facts, STATUS_REGISTRY_BYTES),
                         "wal_bytes", number_to_json(facts, STATUS_WAL_BYTES),
                         "schema_version", number_to_json(facts, STATUS_SCHEMA_VERSION),
                         "revision", number_to_json(facts, STATUS_REVISION),
                         "committed_revision", number_to_json(facts, STATUS_COMMITTED_REVISION));
}

static json_t *state_to_json(const StatusFacts *facts, NodeState state) {
        uint64_t n;

        return n_in_state(facts, state, &n) ? json_integer((json_int_t)n) : json_null();
}

static json_t *nodes_to_json(const StatusFacts *facts) {
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "total", number_to_json(facts, STATUS_N_NODES),
                         "up", state_to_json(facts, NODE_UP),
                         "awaited", state_to_json(facts, NODE_AWAITED),
                         "stopping", state_to_json(facts, NODE_STOPPING),
                         "max_per_uid", number_to_json(facts, STATUS_NODES_PER_UID_MAX),
                         "starting", state_to_json(facts, NODE_STARTING),
                         "ready", state_to_json(facts, NODE_READY));
}

static json_t *fd_store_to_json(const StatusFacts *facts) {
        return json_pack("{s:o, s:o, s:o}",
                         "max", number_to_json(facts, STATUS_FD_STORE_MAX),
                         "stored", number_to_json(facts, STATUS_FD_STORE_N),
                         "waiting", number_to_json(facts, STATUS_FD_STORE_WAITING));
}

static json_t *connections_to_json(const StatusFacts *facts) {
        return json_pack("{s:o, s:o}",
                         "open", number_to_json(facts, STATUS_N_CONNECTIONS),
                         "max", number_to_json(facts, STATUS_N_CONNECTIONS_MAX));
}

static json_t *culprits_to_json(const StatusFacts *facts) {
        json_t *array = json_array();

        for (size_t i = 0; i < facts->n_culprits; i++) {
                const StatusCulprit *culprit = &facts->culprits[i];
                const char *name = culprit->has_uid ? user_name(culprit->uid) : NULL;
                char since[TEXT_TIME_MAX], last[TEXT_TIME_MAX];

                json_array_append_new(
                        array, json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:s}",
                                         "address", text_to_json(culprit->address),
                                         "uid", culprit->has_uid ? json_integer((json_int_t)culprit->uid) : json_null(),
                                         "user", text_to_json(name),
                                         "unit", text_to_json(culprit->unit),
                                         "closed", (json_int_t)culprit->n_shed,
                                         "turned_away", (json_int_t)culprit->n_busy,
                                         "since", text_time_utc(culprit->since_usec, since),
                                         "last", text_time_utc(culprit->last_usec, last)));
        }
        return array;
}

static json_t *counters_to_json(const StatusFacts *facts) {
        json_t *object = json_object();

        for (size_t i = 0; i < facts->n_counters; i++)
                json_object_set_new(object, facts->counters[i].name,
                                    json_integer((json_int_t)facts->counters[i].value));
        return object;
}

static json_t *status_to_json(const StatusFacts *facts) {
        return json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
                         " s:o, s:o, s:o, s:o, s:o, s:o}",
                         "version", text_to_json(facts->texts[STATUS_PROGRAM_VERSION]),
                         "pid", number_to_json(facts, STATUS_PID),
                         "started", started_to_json(facts),
                         "started_usec", number_to_json(facts, STATUS_STARTED_USEC),
                         "healthy", facts->degraded.n_texts == 0,
                         "degraded", strings_to_json(&facts->degraded),
                         "evidence", strings_to_json(&facts->evidence),
                         "blind", text_to_json(facts->texts[STATUS_BLIND]),
                         "sockets", sockets_to_json(facts),
                         "registry", registry_to_json(facts),
                         "nodes", nodes_to_json(facts),
                         "connections", connections_to_json(facts),
                         "counters", counters_to_json(facts),
                         "boot_id", text_to_json(facts->texts[STATUS_BOOT_ID]),
                         "held", number_to_json(facts, STATUS_N_HELD),
                         "watchers", number_to_json(facts, STATUS_N_WATCHERS),
                         "fd_store", fd_store_to_json(facts),
                         "units_unseen", text_to_json(facts->texts[STATUS_UNITS_UNSEEN]),
                         "config_files", strings_to_json(&facts->config_files),
                         "culprits", culprits_to_json(facts));
}

/* ---------------------------------------------------------------------------------------------- */

RollcallExit status_run(const Options *options) {
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(status_facts_done) StatusFacts facts = { 0 };
        RollcallExit status = ask_kind(options->control, CONTROL_STATUS, &answer);
        int r;

        if (status != ROLLCALL_EXIT_OK)
                return status;
        r = status_facts_read(&answer, options->is_json, &facts);
        if (r == -ENOMEM)
                return output_out_of_memory();
        if (r < 0) {
                complaint_print("the answer has no status in it: this is no rollcalld");
                return ROLLCALL_EXIT_UNREACHABLE;
        }
        if (facts.n_culprits > 0)
                qsort(facts.culprits, facts.n_culprits, sizeof(StatusCulprit), compare_culprits);
        if (!options->is_json)
                print_screen(&facts);
        status = options->is_json ? output_json(status_to_json(&facts)) : output_finish();
        if (status == ROLLCALL_EXIT_OK && facts.degraded.n_texts > 0)
                return ROLLCALL_EXIT_NO;
        return status;
}
