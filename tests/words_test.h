/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: the control protocol in words, said and heard. A field is its name and its value, a record is a line. */
#pragma once

#include "core/control.h"
#include "desk_test.h"

static const struct {
        const char *name;
        ControlTag tag;
        enum { FIELD_TEXT, FIELD_NUMBER, FIELD_PAIR } shape;
} field_names[] = {
        { "error", CONTROL_TAG_ERROR, FIELD_NUMBER },
        { "text", CONTROL_TAG_TEXT, FIELD_TEXT },
        { "version", CONTROL_TAG_VERSION, FIELD_NUMBER },
        { "name", CONTROL_TAG_NAME, FIELD_TEXT },
        { "state", CONTROL_TAG_STATE, FIELD_TEXT },
        { "port", CONTROL_TAG_PORT, FIELD_NUMBER },
        { "creation", CONTROL_TAG_CREATION, FIELD_NUMBER },
        { "since", CONTROL_TAG_SINCE, FIELD_NUMBER },
        { "scope", CONTROL_TAG_SCOPE, FIELD_TEXT },
        { "uid", CONTROL_TAG_UID, FIELD_NUMBER },
        { "unit", CONTROL_TAG_UNIT, FIELD_TEXT },
        { "source", CONTROL_TAG_STATE_SOURCE, FIELD_TEXT },
        { "pid", CONTROL_TAG_UNIT_PID, FIELD_NUMBER },
        { "host", CONTROL_TAG_HOST, FIELD_TEXT },
        { "announced", CONTROL_TAG_ANNOUNCED, FIELD_TEXT },
        { "pair", CONTROL_TAG_PAIR, FIELD_PAIR },
        { "awaited", CONTROL_TAG_AWAITED, FIELD_NUMBER },
        { "evidence", CONTROL_TAG_EVIDENCE_OF_LIFE, FIELD_TEXT },
        { "listens", CONTROL_TAG_LISTENER_ADDRESS, FIELD_TEXT },
        { "stored", CONTROL_TAG_IN_FD_STORE, FIELD_NUMBER },
        { "until", CONTROL_TAG_UNTIL, FIELD_NUMBER },
        { "how", CONTROL_TAG_HOW, FIELD_TEXT },
        { "by", CONTROL_TAG_BY, FIELD_TEXT },
        { "at", CONTROL_TAG_AT, FIELD_NUMBER },
        { "reason", CONTROL_TAG_REASON, FIELD_TEXT },
        { "cursor", CONTROL_TAG_CURSOR, FIELD_NUMBER },
        { "epoch", CONTROL_TAG_EPOCH, FIELD_NUMBER },
        { "revision", CONTROL_TAG_REVISION, FIELD_NUMBER },
        { "prefix", CONTROL_TAG_PREFIX, FIELD_TEXT },
        { "pattern", CONTROL_TAG_PATTERN, FIELD_TEXT },
        { "exclude", CONTROL_TAG_EXCLUDE, FIELD_TEXT },
        { "hidden", CONTROL_TAG_HIDDEN, FIELD_NUMBER },
        { "host-source", CONTROL_TAG_HOST_SOURCE, FIELD_TEXT },
        { "kind", CONTROL_TAG_NAME_KIND, FIELD_TEXT },
        { "address", CONTROL_TAG_ADDRESS, FIELD_TEXT },
        { "origin", CONTROL_TAG_NODE_ORIGIN, FIELD_TEXT },
        { "elsewhere", CONTROL_TAG_ELSEWHERE, FIELD_NUMBER },
        { "pinned", CONTROL_TAG_PINNED_PORT, FIELD_NUMBER },
};

/* One field from the words of a test: "name" "a", "creation" "4711", "pair" "key=value". */
static inline void put_word(ControlBuffer *buffer, const char *name, const char *value) {
        char pair[1024];

        for (size_t i = 0; i < ELEMENTS(field_names); i++) {
                if (strcmp(field_names[i].name, name) != 0)
                        continue;
                if (field_names[i].shape == FIELD_NUMBER)
                        control_put_u64(buffer, field_names[i].tag, strtoull(value, NULL, 10));
                else {
                        snprintf(pair, sizeof pair, "%s", value);
                        if (field_names[i].shape == FIELD_PAIR && strchr(pair, '='))
                                *strchr(pair, '=') = 0;
                        control_put_text(buffer, field_names[i].tag, pair, strlen(value));
                }
                return;
        }
        ck_abort_msg("no field is named %s", name);
}

static inline void say_words(int fd, ControlKind kind, const char *const *words) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_request_begin(&buffer, kind);
        for (; words[0]; words += 2)
                put_word(&buffer, words[0], words[1]);
        control_put_request_end(&buffer);
        ck_assert_int_eq(buffer.error, 0);
        say(fd, buffer.data, buffer.n_data);
}

static inline void show_field(const ControlField *field, FILE *out) {
        for (size_t i = 0; i < ELEMENTS(field_names); i++) {
                if (field_names[i].tag != field->tag)
                        continue;
                if (field_names[i].shape == FIELD_NUMBER)
                        fprintf(out, " %s=%llu", field_names[i].name, (unsigned long long)control_field_u64(field));
                else {
                        fprintf(out, " %s=", field_names[i].name);
                        for (size_t j = 0; j < field->n_value; j++)
                                fputc(field->value[j] ? field->value[j] : '=', out);
                }
                return;
        }
}

static inline const char *kind_word(uint8_t kind) {
        switch (kind) {
        case CONTROL_END:
                return "end";
        case CONTROL_ERROR:
                return "error";
        case CONTROL_NODE_RECORD:
                return "node";
        case CONTROL_TENURE_RECORD:
                return "tenure";
        case CONTROL_REFUSAL_RECORD:
                return "refusal";
        case CONTROL_MORE_RECORD:
                return "more";
        case CONTROL_EPOCH_RECORD:
                return "epoch";
        case CONTROL_ENTRY_RECORD:
                return "entry";
        case CONTROL_PIN_RECORD:
                return "pin";
        }
        return "?";
}

/* An answer as text, a line for each record: "node name=a state=up ... \n end \n". To be freed. */
static inline char *show_answer(const uint8_t *data, size_t n_data) {
        char *text = NULL;
        size_t n_text = 0, at = CONTROL_ANSWER_HEAD;
        FILE *out = open_memstream(&text, &n_text);
        uint8_t version = 0, kind = 0;

        ck_assert_int_eq(control_parse_answer_head(data, n_data, &version), 1);
        while (at < n_data) {
                const uint8_t *fields;
                size_t n, n_fields, offset = 0;
                ControlField field;

                ck_assert_int_eq(control_next_record(data + at, n_data - at, &n, &kind, &fields, &n_fields), 1);
                fputs(kind_word(kind), out);
                while (control_next_field(fields, n_fields, &offset, &field))
                        show_field(&field, out);
                fputs(" \n", out);
                at += n;
        }
        fclose(out);
        ck_assert(kind == CONTROL_END || kind == CONTROL_ERROR);
        return text;
}

/* Turns the loop until the answer is complete. "" where the desk has closed without one. Closes `fd`. */
static inline char *hear_words(Desk *desk, int fd) {
        Heard heard = { 0 };
        char *text;

        ck_assert_msg(RUN_UNTIL(desk->event, hear(fd, &heard), LONG_USEC), "no answer");
        text = heard.n_data > 0 ? show_answer(heard.data, heard.n_data) : strdup("");
        heard_done(&heard);
        close(fd);
        return text;
}

#define WORDS(...) (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL, NULL }

/* A request on the control socket, whose answer is still to be heard. */
static inline int begin_words(Desk *desk, ControlKind kind, const char *const *words) {
        int fd = desk_connect_control(desk);

        say_words(fd, kind, words);
        return fd;
}

/* ask_words(desk, CONTROL_WHY, WORDS("name", "a")) */
static inline char *ask_words(Desk *desk, ControlKind kind, const char *const *words) {
        return hear_words(desk, begin_words(desk, kind, words));
}

/* The answer contains each of `wanted`, in whatever order. */
#define ck_assert_says(answer, ...)                                                              \
        do {                                                                                     \
                const char *wanted_[] = { __VA_ARGS__ };                                         \
                for (size_t i_ = 0; i_ < ELEMENTS(wanted_); i_++)                                \
                        ck_assert_msg(strstr((answer), wanted_[i_]), "'%s' is not in: %s", wanted_[i_], (answer)); \
        } while (0)

/* How many lines of it begin with `word`. */
static inline unsigned n_records(const char *answer, const char *word) {
        unsigned n = 0;

        for (const char *line = answer; line && *line; line = strchr(line, '\n'), line += line != NULL)
                n += strncmp(line, word, strlen(word)) == 0 && line[strlen(word)] == ' ';
        return n;
}
