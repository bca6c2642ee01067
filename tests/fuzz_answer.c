/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: whatever answers on the control socket, as the client reads and shows it. What is shown to a program is
 * JSON, what is shown to people has no control character in it. */

#include <assert.h>
#include <string.h>

#include "ask.h"
#include "fuzz.h"
#include "known.h"
#include "row_json.h"
#include "sentence.h"
#include "status_facts.h"
#include "text.h"

static void check_json(json_t *json) {
        _cleanup_(freep) char *text = json_dumps(json, JSON_COMPACT);

        assert(text);
        json_decref(json);
}

static void check_text(const char *text) {
        for (; text && *text; text++)
                assert((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void check_sentences(const Row *row) {
        static char *(*const forms[])(const Row *row) = {
                sentence_name,     sentence_who,   sentence_where,  sentence_state, sentence_how,
                sentence_evidence, sentence_pairs, sentence_reason, sentence_by,
        };

        for (size_t i = 0; i < ELEMENTS(forms); i++) {
                _cleanup_(freep) char *sentence = forms[i](row);

                check_text(sentence);
        }
}

static void check_row(const Row *row) {
        static json_t *(*const forms[])(const Row *row) = {
                row_to_json, row_tenure_to_json,  row_holder_to_json, row_found_to_json,
                row_entry_to_json, row_refusal_to_json, row_pin_to_json,
        };
        ControlField key, value;
        size_t offset = 0;

        for (size_t i = 0; i < ELEMENTS(forms); i++)
                check_json(forms[i](row));
        for (RowText text = 0; text < _ROW_TEXT_N; text++) {
                _cleanup_(freep) char *shown = row_text(row, text);

                check_text(shown);
        }
        check_sentences(row);
        while (row_next_pair(row, &offset, &key, &value))
                assert(value.value == key.value + key.n_value + 1);
}

static void check_list(const StringList *list) {
        for (size_t i = 0; i < list->n_texts; i++)
                check_text(list->texts[i]);
}

static void check_status(const Answer *answer, bool for_json) {
        StatusFacts facts;

        if (status_facts_read(answer, for_json, &facts) < 0)
                return;
        for (StatusText text = 0; text < _STATUS_TEXT_N; text++)
                check_text(facts.texts[text]);
        check_list(&facts.degraded);
        check_list(&facts.evidence);
        check_list(&facts.config_files);
        for (size_t i = 0; i < facts.n_sockets; i++) {
                check_text(facts.sockets[i].address);
                check_text(facts.sockets[i].origin);
        }
        for (size_t i = 0; i < facts.n_culprits; i++) {
                check_text(facts.culprits[i].address);
                check_text(facts.culprits[i].unit);
        }
        for (size_t i = 0; i < facts.n_counters; i++)
                check_text(facts.counters[i].name);
        for (size_t i = 0; i < facts.n_states; i++)
                check_text(facts.states[i].name);
        status_facts_done(&facts);
}

/* What a watcher remembers of it. */
static void check_known(Known *known, const Row *row) {
        known_forget(known, row);
        assert(known_learn(known, row) == 0);
        check_row(&known->nodes[known->n_nodes - 1].row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        /* Nobody writes to it. */
        const Answer answer = { .data = (uint8_t *)(uintptr_t)data, .n_data = size };
        _cleanup_(known_done) Known known = { 0 };
        size_t position = 0;
        uint8_t version;
        Record record;

        if (control_parse_answer_head(data, size, &version) != 1)
                return 0;
        while (answer_next_record(&answer, &position, &record)) {
                _cleanup_(freep) char *refusal = ask_refusal_in_words(&record);
                Row row;

                check_text(refusal);
                row_read(&record, &row);
                check_row(&row);
                check_known(&known, &row);
        }
        check_status(&answer, true);
        check_status(&answer, false);
        return 0;
}
