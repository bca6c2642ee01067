/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who has how many places, and in which order they were taken. Does not know what a place is, nor how it is found
 * out whose it is.
 *
 * A hash finds the account of a party, a heap the one that has most passing places: an attack from a hundred thousand
 * addresses must not make every newcomer dear.
 *
 * The trap: a name costs system calls, so that places are taken without one until they become scarce; names are given
 * in the order in which the places were taken, so that each account has its own in that order, too.
 */

#include "core/shares.h"

#include <assert.h>
#include <errno.h>

#define BUCKETS_MIN 64

struct Account {
        Party party;
        Account *next; /* in the bucket */
        Place *oldest, *newest; /* passing ones */
        size_t n_places[_PLACE_N];
        size_t n_bytes;  /* of all of them */
        size_t position; /* in the heap, while it has passing places */
};

struct Shares {
        Account **buckets;
        size_t n_buckets; /* a power of two */
        size_t n_accounts;
        size_t n_taken[_PLACE_N];
        uint64_t seed, next_number;
        Account **heap; /* who has passing places, whoever goes first at the top; room for all accounts */
        size_t n_heap, n_heap_room;
        Place *oldest_unnamed, *newest_unnamed;
        Account unknown; /* of the user that is not known; always there */
};

/* --- the heap ------------------------------------------------------------------------------------- */

static bool account_goes_before(const Account *a, const Account *b) {
        if (a->n_places[PLACE_PASSING] != b->n_places[PLACE_PASSING])
                return a->n_places[PLACE_PASSING] > b->n_places[PLACE_PASSING];
        return a->oldest->number < b->oldest->number;
}

static void heap_set(Shares *shares, size_t position, Account *account) {
        shares->heap[position] = account;
        account->position = position;
}

static void heap_rise(Shares *shares, Account *account) {
        size_t position = account->position;

        while (position > 0) {
                Account *parent = shares->heap[(position - 1) / 2];

                if (!account_goes_before(account, parent))
                        break;
                heap_set(shares, position, parent);
                position = (position - 1) / 2;
        }
        heap_set(shares, position, account);
}

static void heap_sink(Shares *shares, Account *account) {
        size_t position = account->position, child;

        while ((child = 2 * position + 1) < shares->n_heap) {
                if (child + 1 < shares->n_heap && account_goes_before(shares->heap[child + 1], shares->heap[child]))
                        child++;
                if (!account_goes_before(shares->heap[child], account))
                        break;
                heap_set(shares, position, shares->heap[child]);
                position = child;
        }
        heap_set(shares, position, account);
}

static void heap_add(Shares *shares, Account *account) {
        account->position = shares->n_heap++;
        heap_rise(shares, account);
}

static void heap_remove(Shares *shares, Account *account) {
        Account *last = shares->heap[--shares->n_heap];

        if (last == account)
                return;
        heap_set(shares, account->position, last);
        heap_rise(shares, last);
        heap_sink(shares, last);
}

/* --- accounts ------------------------------------------------------------------------------------- */

static Account **bucket_of(const Shares *shares, const Party *party) {
        return shares->buckets + (party_hash(party, shares->seed) & (shares->n_buckets - 1));
}

static Account *find_account(const Shares *shares, const Party *party) {
        Account *account = *bucket_of(shares, party);

        while (account && !party_equal(&account->party, party))
                account = account->next;
        return account;
}

static void link_account(Shares *shares, Account *account) {
        Account **bucket = bucket_of(shares, &account->party);

        account->next = *bucket;
        *bucket = account;
}

/* Where there is no memory for it the buckets hold more. */
static void grow_buckets(Shares *shares) {
        Account **old = shares->buckets, **fresh;
        size_t n_old = shares->n_buckets;

        fresh = calloc(2 * n_old, sizeof(Account *));
        if (!fresh)
                return;
        shares->buckets = fresh;
        shares->n_buckets = 2 * n_old;
        for (size_t i = 0; i < n_old; i++)
                while (old[i]) {
                        Account *account = old[i];

                        old[i] = account->next;
                        link_account(shares, account);
                }
        free(old);
}

/* Room in the heap for every account that there is, and one more. */
static int reserve_heap(Shares *shares) {
        size_t n_room = shares->n_heap_room ? 2 * shares->n_heap_room : BUCKETS_MIN;
        Account **heap;

        if (shares->n_accounts < shares->n_heap_room)
                return 0;
        heap = reallocarray(shares->heap, n_room, sizeof(Account *));
        if (!heap)
                return -ENOMEM;
        shares->heap = heap;
        shares->n_heap_room = n_room;
        return 0;
}

static Account *make_account(Shares *shares, const Party *party) {
        Account *account;

        if (reserve_heap(shares) < 0)
                return NULL;
        account = calloc(1, sizeof *account);
        if (!account)
                return NULL;
        account->party = *party;
        if (shares->n_accounts >= shares->n_buckets)
                grow_buckets(shares);
        link_account(shares, account);
        shares->n_accounts++;
        return account;
}

static Account *get_account(Shares *shares, const Party *party) {
        Account *account = find_account(shares, party);

        if (!account)
                account = make_account(shares, party);
        return account ? account : &shares->unknown;
}

static void forget_if_empty(Shares *shares, Account *account) {
        Account **link;

        if (account == &shares->unknown)
                return;
        for (PlaceKind kind = 0; kind < _PLACE_N; kind++)
                if (account->n_places[kind] > 0)
                        return;
        for (link = bucket_of(shares, &account->party); *link != account;)
                link = &(*link)->next;
        *link = account->next;
        shares->n_accounts--;
        free(account);
}

/* --- places --------------------------------------------------------------------------------------- */

static void append(Place **oldest, Place **newest, Place *place) {
        place->older = *newest;
        place->newer = NULL;
        *(*newest ? &(*newest)->newer : oldest) = place;
        *newest = place;
}

static void unlink_place(Place **oldest, Place **newest, Place *place) {
        *(place->older ? &place->older->newer : oldest) = place->newer;
        *(place->newer ? &place->newer->older : newest) = place->older;
        place->older = place->newer = NULL;
}

static void add_to_account(Shares *shares, Account *account, Place *place) {
        place->account = account;
        account->n_places[place->kind]++;
        account->n_bytes += place->n_bytes;
        if (place->kind != PLACE_PASSING)
                return;
        append(&account->oldest, &account->newest, place);
        if (account->n_places[PLACE_PASSING] == 1)
                heap_add(shares, account);
        else
                heap_rise(shares, account);
}

static void remove_from_account(Shares *shares, Place *place) {
        Account *account = TAKE_PTR(place->account);

        if (place->kind == PLACE_PASSING) {
                /* Without its last it has no oldest to be compared by. */
                if (account->n_places[PLACE_PASSING] == 1)
                        heap_remove(shares, account);
                unlink_place(&account->oldest, &account->newest, place);
        }
        account->n_places[place->kind]--;
        account->n_bytes -= place->n_bytes;
        if (place->kind == PLACE_PASSING && account->n_places[PLACE_PASSING] > 0)
                heap_sink(shares, account);
        forget_if_empty(shares, account);
}

static void number_place(Shares *shares, Place *place, PlaceKind kind) {
        assert(place->number == 0);
        place->number = shares->next_number++;
        place->kind = kind;
        shares->n_taken[kind]++;
}

void shares_take_unnamed(Shares *shares, Place *place) {
        number_place(shares, place, PLACE_PASSING);
        append(&shares->oldest_unnamed, &shares->newest_unnamed, place);
}

Place *shares_oldest_unnamed(const Shares *shares) {
        return shares->oldest_unnamed;
}

void shares_name(Shares *shares, Place *place, const Party *party) {
        assert(place->number > 0 && !place->account);
        unlink_place(&shares->oldest_unnamed, &shares->newest_unnamed, place);
        add_to_account(shares, get_account(shares, party), place);
}

void shares_take(Shares *shares, Place *place, PlaceKind kind, const Party *party) {
        number_place(shares, place, kind);
        add_to_account(shares, get_account(shares, party), place);
}

void shares_leave(Shares *shares, Place *place) {
        if (place->number == 0)
                return;
        shares->n_taken[place->kind]--;
        if (place->account)
                remove_from_account(shares, place);
        else
                unlink_place(&shares->oldest_unnamed, &shares->newest_unnamed, place);
        place->number = 0;
        place->n_bytes = 0;
}

void shares_weigh(Place *place, size_t n_bytes) {
        assert(place->number > 0);
        if (place->account)
                place->account->n_bytes += n_bytes - place->n_bytes;
        place->n_bytes = n_bytes;
}

size_t shares_n_bytes_of_party(const Place *place) {
        return place->account ? place->account->n_bytes : place->n_bytes;
}

Place *shares_find_culprit(const Shares *shares) {
        return shares->n_heap > 0 ? shares->heap[0]->oldest : NULL;
}

const Party *place_party(const Place *place) {
        return place->account ? &place->account->party : NULL;
}

size_t shares_n_of(const Shares *shares, const Party *party, PlaceKind kind) {
        const Account *account = find_account(shares, party);

        return account ? account->n_places[kind] : 0;
}

size_t shares_n_taken(const Shares *shares, PlaceKind kind) {
        return shares->n_taken[kind];
}

/* --- the rules ------------------------------------------------------------------------------------ */

bool shares_allow(size_t n_own, size_t n_taken, size_t n_max) {
        return n_taken < n_max && n_own < n_max - n_taken;
}

bool shares_are_scarce(size_t n_taken, size_t n_max) {
        return n_taken >= n_max / 2;
}

/* --- life ----------------------------------------------------------------------------------------- */

int shares_new(Shares **ret, uint64_t seed) {
        _cleanup_(shares_freep) Shares *shares = calloc(1, sizeof *shares);

        if (!shares)
                return -ENOMEM;
        shares->seed = seed;
        shares->next_number = 1;
        shares->n_buckets = BUCKETS_MIN;
        shares->buckets = calloc(shares->n_buckets, sizeof(Account *));
        if (!shares->buckets || reserve_heap(shares) < 0)
                return -ENOMEM;
        shares->unknown.party = party_of_user(NODE_UID_UNKNOWN);
        link_account(shares, &shares->unknown);
        shares->n_accounts = 1;
        *ret = TAKE_PTR(shares);
        return 0;
}

Shares *shares_free(Shares *shares) {
        if (!shares)
                return NULL;
        assert(!shares->oldest_unnamed && shares->n_heap == 0 && shares->n_accounts <= 1);
        for (PlaceKind kind = 0; kind < _PLACE_N; kind++)
                assert(shares->n_taken[kind] == 0 && shares->unknown.n_places[kind] == 0);
        free(shares->heap);
        free(shares->buckets);
        free(shares);
        return NULL;
}
