/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which questions wait, which one is being answered, and which answers nobody has fetched yet. Does not know
 * what is asked.
 *
 * The trap: the one who answers may hang in the kernel with its question. That one stays counted and is his;
 * cancelled, it is freed when he returns, if ever.
 */

#include "state/questions.h"

#include <assert.h>
#include <string.h>

Question *question_free(Question *question) {
        if (question) {
                store_answer_free(question->answer);
                free((char *)(uintptr_t)question->query.name);
                entry_done(&question->order.entry);
        }
        free(question);
        return NULL;
}

static void free_list(Question *first) {
        while (first) {
                Question *next = first->next;

                question_free(first);
                first = next;
        }
}

void questions_done(Questions *questions) {
        free_list(questions->waiting);
        free_list(questions->answered);
        question_free(questions->answering);
        *questions = (Questions){ .waiting = NULL };
}

static void append(Question **first, Question *question) {
        while (*first)
                first = &(*first)->next;
        *first = question;
}

static Question *question_new(void) {
        _cleanup_(question_freep) Question *question = calloc(1, sizeof *question);

        if (!question)
                return NULL;
        question->answer = calloc(1, sizeof *question->answer);
        return question->answer ? TAKE_PTR(question) : NULL;
}

static Question *question_new_query(const StoreQuery *query) {
        _cleanup_(question_freep) Question *question = question_new();
        char *name;

        if (!question)
                return NULL;
        question->query = *query;
        question->query.name = NULL;
        if (query->name) {
                name = malloc(query->n_name + 1);
                if (!name)
                        return NULL;
                memcpy(name, query->name, query->n_name);
                question->query.name = name;
        }
        return TAKE_PTR(question);
}

static Question *question_new_order(const StoreOrder *order) {
        _cleanup_(question_freep) Question *question = question_new();

        if (!question || entry_copy(&order->entry, &question->order.entry) < 0)
                return NULL;
        question->order.kind = order->kind;
        question->is_order = true;
        return TAKE_PTR(question);
}

/* Takes `question`; NULL: there was no memory for it. */
static int enqueue(Questions *questions, Question *question, uint64_t after, uint64_t *ret_number) {
        if (!question)
                return -ENOMEM;
        question->after = after;
        question->answer->query = ++questions->last_number;
        append(&questions->waiting, question);
        questions->n_questions++;
        *ret_number = question->answer->query;
        return 0;
}

static bool remove_from(Question **first, uint64_t number) {
        for (; *first; first = &(*first)->next) {
                Question *question = *first;

                if (question->answer->query != number)
                        continue;
                *first = question->next;
                question_free(question);
                return true;
        }
        return false;
}

void questions_cancel(Questions *questions, uint64_t number) {
        if (questions->answering && questions->answering->answer->query == number)
                questions->answering->is_cancelled = true;
        else if (remove_from(&questions->waiting, number) || remove_from(&questions->answered, number))
                questions->n_questions--;
}

int questions_ask(Questions *questions, const StoreQuery *query, uint64_t after, uint64_t *ret_number) {
        if (questions->n_questions >= STORE_QUERIES_MAX)
                return -EBUSY;
        return enqueue(questions, question_new_query(query), after, ret_number);
}

int questions_order(Questions *questions, const StoreOrder *order, uint64_t after, uint64_t *ret_number) {
        if (questions->n_questions >= STORE_QUERIES_MAX)
                return -EBUSY;
        return enqueue(questions, question_new_order(order), after, ret_number);
}

bool questions_has_next(const Questions *questions, uint64_t n_done) {
        return questions->waiting && questions->waiting->after <= n_done;
}

Question *questions_take_next(Questions *questions, uint64_t n_done) {
        Question *question = questions->waiting;

        assert(!questions->answering);
        if (!questions_has_next(questions, n_done))
                return NULL;
        questions->waiting = question->next;
        question->next = NULL;
        questions->answering = question;
        return question;
}

bool questions_answer(Questions *questions, Question *question) {
        assert(questions->answering == question);
        questions->answering = NULL;
        if (!question->is_cancelled) {
                append(&questions->answered, question);
                return true;
        }
        question_free(question);
        questions->n_questions--;
        return false;
}

bool questions_refuse_all(Questions *questions, int error) {
        Question *refused = TAKE_PTR(questions->waiting);

        for (Question *question = refused; question; question = question->next)
                question->answer->error = error;
        append(&questions->answered, refused);
        return refused;
}

StoreAnswer *questions_take_answer(Questions *questions) {
        Question *question = questions->answered;
        StoreAnswer *answer;

        if (!question)
                return NULL;
        questions->answered = question->next;
        questions->n_questions--;
        answer = TAKE_PTR(question->answer);
        question_free(question);
        return answer;
}
