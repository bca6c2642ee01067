/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about the past, and orders, and their answers, in order. Plain data; whoever shares it locks it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/store.h"
#include "util.h"

typedef struct Question {
        struct Question *next;
        StoreQuery query;    /* its name is owned by the question */
        bool is_order;       /* then not the query, but: */
        StoreOrder order;    /* owned */
        uint64_t after;      /* so many changes come before it */
        bool is_cancelled;   /* while somebody answers it */
        StoreAnswer *answer; /* made with the question, so that it can always be answered */
} Question;

Question *question_free(Question *question);
DEFINE_CLEANUP(Question *, question_free)

/* All zero: there is none. */
typedef struct Questions {
        Question *waiting;   /* oldest first */
        Question *answering; /* taken by the one who answers */
        Question *answered;  /* oldest first */
        size_t n_questions;  /* in all */
        uint64_t last_number;
} Questions;

void questions_done(Questions *questions);

/* 0 and its number (never 0); -EBUSY: there are STORE_QUERIES_MAX; -ENOMEM. */
int questions_ask(Questions *questions, const StoreQuery *query, uint64_t after, uint64_t *ret_number);
int questions_order(Questions *questions, const StoreOrder *order, uint64_t after, uint64_t *ret_number);
/* In whatever state it is; fine with one that is not there. */
void questions_cancel(Questions *questions, uint64_t number);

/* True if there is one that `n_done` changes suffice for. */
bool questions_has_next(const Questions *questions, uint64_t n_done);
/* That one, to be answered; NULL: none. One at a time. */
Question *questions_take_next(Questions *questions, uint64_t n_done);
/* Its answer is filled in. True if anybody waits for it. */
bool questions_answer(Questions *questions, Question *question);
/* All that wait get no answer but this error. True if there were any. */
bool questions_refuse_all(Questions *questions, int error);

/* The oldest answer, or NULL; the caller owns it. */
StoreAnswer *questions_take_answer(Questions *questions);
