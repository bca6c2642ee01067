/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who waits, and whose turn it is. Does not know for what.
 *
 * The trap: with one queue for all whoever sends a thousand requests makes everybody wait for a thousand. With one for
 * each of a hundred thousand addresses nobody finds the next; so there are so many, and one more. In that one may be a
 * thousand times as many as in any other: every second turn is its own, so that nobody in it waits for more than twice
 * those before him.
 */

#include "core/turns.h"

#include <assert.h>

static TurnQueue *queue_of(Turns *turns, const Party *party) {
        TurnQueue *free_one = NULL;

        if (!party)
                return turns->queues;
        for (size_t i = 1; i <= TURNS_QUEUES_MAX; i++) {
                TurnQueue *queue = turns->queues + i;

                if (!queue->first)
                        free_one = free_one ? free_one : queue;
                else if (party_equal(&queue->party, party))
                        return queue;
        }
        if (!free_one)
                return turns->queues;
        free_one->party = *party;
        return free_one;
}

void turns_wait(Turns *turns, Turn *turn, const Party *party) {
        TurnQueue *queue = queue_of(turns, party);

        assert(!turn->queue);
        *turn = (Turn){ .previous = queue->last, .queue = queue };
        *(queue->last ? &queue->last->next : &queue->first) = turn;
        queue->last = turn;
        turns->n_waiting++;
}

void turns_leave(Turns *turns, Turn *turn) {
        TurnQueue *queue = turn->queue;

        if (!queue)
                return;
        *(turn->previous ? &turn->previous->next : &queue->first) = turn->next;
        *(turn->next ? &turn->next->previous : &queue->last) = turn->previous;
        *turn = (Turn){ .queue = NULL };
        turns->n_waiting--;
}

static Turn *oldest_of_next_party(Turns *turns) {
        for (size_t i = 0; i < TURNS_QUEUES_MAX; i++) {
                Turn *turn = turns->queues[1 + turns->next].first;

                turns->next = (turns->next + 1) % TURNS_QUEUES_MAX;
                if (turn)
                        return turn;
        }
        return NULL;
}

Turn *turns_take(Turns *turns) {
        Turn *turn = NULL;

        turns->is_of_all = !turns->is_of_all;
        if (!turns->is_of_all)
                turn = oldest_of_next_party(turns);
        if (!turn)
                turn = turns->queues[0].first;
        if (!turn)
                turn = oldest_of_next_party(turns);
        if (turn)
                turns_leave(turns, turn);
        return turn;
}
