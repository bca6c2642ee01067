/* SPDX-License-Identifier: Apache-2.0 */
/* A node, a registration of the past or a refusal, taken out of its record. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"
#include "core/control.h"

typedef enum RowText {
        ROW_NAME,
        ROW_STATE,
        ROW_STATE_SOURCE,
        ROW_SCOPE,
        ROW_UNIT,
        ROW_HOST,
        ROW_ANNOUNCED,
        ROW_LISTENER_ADDRESS,
        ROW_HOW,
        ROW_BY,
        ROW_REASON,
        ROW_ADDRESS,
        ROW_HOST_SOURCE,
        ROW_NAME_KIND,
        ROW_NODE_ORIGIN,
        _ROW_TEXT_N,
} RowText;

typedef enum RowNumber {
        ROW_PORT,
        ROW_TYPE,
        ROW_PROTOCOL,
        ROW_HIGHEST_VERSION,
        ROW_LOWEST_VERSION,
        ROW_CREATION,
        ROW_SINCE_USEC,
        ROW_STATE_SINCE_USEC,
        ROW_UID,
        ROW_UNIT_PID,
        ROW_LISTENER,
        ROW_AWAITED,
        ROW_HELPER,
        ROW_IN_FD_STORE,
        ROW_UNTIL_USEC,
        ROW_AT_USEC,
        ROW_REVISION,
        ROW_EPOCH,
        ROW_CURSOR,
        ROW_ELSEWHERE,
        ROW_PINNED_PORT,
        _ROW_NUMBER_N,
} RowNumber;

typedef struct Row {
        ControlKind kind;
        ControlField texts[_ROW_TEXT_N]; /* borrow from the record; value NULL: not told */
        uint64_t numbers[_ROW_NUMBER_N];
        bool has_number[_ROW_NUMBER_N];
        Record record; /* for what may come more than once */

        /* What those who ask several machines add to it; all borrowed. */
        const char *machine; /* as it was given; NULL: nobody has said */
        ControlField assumed_host; /* taken for its host part, which it has not told; value NULL: nothing */
        bool is_by_stock; /* a stock epmd's word: its name and port, no more */
} Row;

/* Fields that are not known are passed over: a newer daemon tells more. */
void row_read(const Record *record, Row *ret);

/* The value of a pair, or of evidence, one after the other: `*offset` begins at 0. */
bool row_next_evidence(const Row *row, size_t *offset, ControlField *ret);
bool row_next_pair(const Row *row, size_t *offset, ControlField *ret_key, ControlField *ret_value);

/* Allocated and clean (text.h); NULL: not told, or ENOMEM. */
char *row_text(const Row *row, RowText text);
bool row_text_is(const Row *row, RowText text, const char *word);
/* Its name, and its host part (or what is taken for it) behind an @; cleaned by text_for_people() or text_for_json(). */
char *row_full_name(const Row *row, char *(*clean)(const uint8_t *bytes, size_t n_bytes));

/* Rows that only grow. Begins as all zero. */
typedef struct Rows {
        Row *rows;
        size_t n_rows, n_room;
} Rows;

void rows_done(Rows *rows);
/* 0 or -ENOMEM. */
int rows_add(Rows *rows, const Row *row);
/* By name, then scope: as the view `nodes` of the registry file. */
void rows_sort_by_name(Rows *rows);
