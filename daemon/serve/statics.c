/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which entries there are, and when to look whether somebody listens where they say. Does not know how the
 * kernel is asked (serve/vigil, evidence/) nor what follows from a conflict (core/registry). That a listener has
 * closed is announced by the kernel and seen by the vigil; that one has come is not announced, so it is looked for:
 * once a second, and when somebody asks.
 *
 * The trap: an entry and its node are known by the same key, the node's scope being the entry's address, whatever the
 * listener is bound to. A node that registers itself may have another scope, and then only its listener says that it
 * is the same.
 */

#include "serve/statics.h"

#include <stdio.h>
#include <string.h>

#include "evidence/addresses.h"
#include "log.h"
#include "timer.h"

/* How often is looked for who is not there; and whether addresses have come to this machine, or left it. */
#define LOOK_USEC (1 * USEC_PER_SEC)
#define PLACES_USEC (10 * USEC_PER_SEC)
/* Of the time, so much is spent on looking where others cause it (P6): one part in */
#define LOOK_SHARE 10

typedef struct Static {
        const Entry *entry; /* in one of the lists */
        bool is_elsewhere;
} Static;

struct Statics {
        StaticsParts parts;
        Addresses *addresses; /* NULL: only loopback is known to be ours */
        sd_event_source *timer;

        Entries ordered, filed;
        Static *statics; /* what holds of both; an entry of a file before an ordered one of the same key */
        size_t n_statics;
        bool has_filed; /* the files were read */

        bool has_places; /* some are at an address that may come or go */
        uint64_t places_usec;            /* CLOCK_MONOTONIC: when that was looked at */
        uint64_t due_usec;               /* of the timer; USEC_INFINITE: it is off */
        uint64_t looked_usec, cost_usec; /* the last look, and how much of the processor it took */
};

/* --- which entries hold ------------------------------------------------------------------------- */

/* Where it cannot be told it stays as it was; at first, what is not loopback is not ours. */
static bool statics_find_elsewhere(Statics *statics, const Address *address, bool before) {
        int r;

        if (address_is_any(address) || address_is_loopback(address))
                return false;
        r = statics->addresses ? addresses_is_own(statics->addresses, address) : -ENOTCONN;
        return r < 0 ? before : r == 0;
}

static void statics_find_places(Statics *statics) {
        statics->has_places = false;
        for (size_t i = 0; i < statics->n_statics; i++) {
                Static *one = statics->statics + i;
                const Address *address = &one->entry->address;

                one->is_elsewhere = statics_find_elsewhere(statics, address, one->is_elsewhere);
                statics->has_places |= !address_is_any(address) && !address_is_loopback(address);
        }
        statics->places_usec = now_usec(CLOCK_MONOTONIC);
}

/* Each list is in the order of keys. There is room for both. */
static void statics_merge(Statics *statics) {
        size_t i = 0, j = 0;

        statics->n_statics = 0;
        while (i < statics->filed.n_entries || j < statics->ordered.n_entries) {
                const Entry *filed = i < statics->filed.n_entries ? statics->filed.entries + i : NULL;
                const Entry *ordered = j < statics->ordered.n_entries ? statics->ordered.entries + j : NULL;
                int order = !filed     ? 1
                            : !ordered ? -1
                                       : node_compare_key(filed->name, filed->n_name, &filed->address, ordered->name,
                                                          ordered->n_name, &ordered->address);

                i += order <= 0;
                j += order >= 0;
                statics->statics[statics->n_statics++] =
                        (Static){ .entry = order <= 0 ? filed : ordered, .is_elsewhere = true };
        }
        statics_find_places(statics);
}

/* Room for as many as there will be at most after a change of the lists. 0 or -ENOMEM. */
static int statics_reserve(Statics *statics, size_t n) {
        Static *grown = reallocarray(statics->statics, n > 0 ? n : 1, sizeof *grown);

        if (!grown)
                return -ENOMEM;
        statics->statics = grown;
        return 0;
}

/* The position of the first that is not before the key. */
static size_t statics_seek(const Statics *statics, const char *name, size_t n_name, const Address *address) {
        size_t low = 0, high = statics->n_statics;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Entry *entry = statics->statics[middle].entry;

                if (node_compare_key(entry->name, entry->n_name, &entry->address, name, n_name, address) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* NULL: there is none at that position, or it has another name. */
static const Static *statics_get(const Statics *statics, size_t position, const char *name, size_t n_name) {
        const Static *one = position < statics->n_statics ? statics->statics + position : NULL;

        return one && one->entry->n_name == n_name && memcmp(one->entry->name, name, n_name) == 0 ? one : NULL;
}

static const Static *statics_find(const Statics *statics, const char *name, size_t n_name, const Address *address) {
        const Static *one = statics_get(statics, statics_seek(statics, name, n_name, address), name, n_name);

        return one && address_equal(&one->entry->address, address) ? one : NULL;
}

/* --- which nodes are theirs ---------------------------------------------------------------------- */

/* What the node has announced itself counts more than what is said of it. */
static bool is_host_of(const Entry *entry, const NodeProfile *profile) {
        if (profile->host && !profile->is_host_static)
                return true;
        return !entry->host == !profile->host && (!entry->host || strcmp(entry->host, profile->host) == 0);
}

/* The node is there as the entry says. */
static bool static_describes(const Static *one, const Node *node) {
        return node_is_static(node) && node_is_elsewhere(node) == one->is_elsewhere &&
               node->info.port == one->entry->port && is_host_of(one->entry, &node->profile);
}

static Node *statics_find_node(const Statics *statics, const Entry *entry) {
        return registry_find_key(statics->parts.registry, entry->name, entry->n_name, &entry->address);
}

static bool static_is_in_place(const Statics *statics, const Static *one) {
        const Node *node = statics_find_node(statics, one->entry);

        return node && static_describes(one, node);
}

static bool statics_lack_one(const Statics *statics) {
        for (size_t i = 0; i < statics->n_statics; i++)
                if (!static_is_in_place(statics, statics->statics + i))
                        return true;
        return false;
}

/* --- looking -------------------------------------------------------------------------------------- */

static void statics_end(Statics *statics, Node *node, const char *by) {
        Event event = { .kind = EVENT_ENTRY_REMOVED, .node = node, .now_usec = now_usec(CLOCK_REALTIME), .by = by };

        ledger_carry(statics->parts.ledger, &event, NULL);
}

/* Nodes whose entry is not there any more, or says something else. */
static void statics_prune(Statics *statics) {
        for (Node *node = registry_newest(statics->parts.registry), *older; node; node = older) {
                const Static *one;

                older = node->older;
                if (!node_is_static(node))
                        continue;
                one = statics_find(statics, node->info.name, node->info.n_name, &node->scope);
                if (one ? !static_describes(one, node) : statics->has_filed)
                        statics_end(statics, node, NULL);
        }
}

/* What a node of today announces: nobody has told of this one. */
static NodeInfo info_of(const Entry *entry) {
        return (NodeInfo){
                .name = entry->name,
                .n_name = entry->n_name,
                .extra = (const uint8_t *)"",
                .port = entry->port,
                .highest_version = NODE_VERSION_CREATION_32,
                .lowest_version = NODE_VERSION_CREATION_32 - 1,
                .type = NODE_TYPE_NORMAL,
        };
}

/* A name that somebody else has is asked for again at the next look. */
static void statics_enter(Statics *statics, const Static *one, const SocketFacts *listener) {
        NodeProfile profile = { .host = one->entry->host, .is_host_static = one->entry->host != NULL };
        Event event = {
                .kind = EVENT_STATIC,
                .now_usec = now_usec(CLOCK_REALTIME),
                .info = info_of(one->entry),
                .scope = one->entry->address,
                .is_elsewhere = one->is_elsewhere,
                .peer = { .uid = NODE_UID_UNKNOWN },
                .profile = &profile,
                .pinned_port = pins_port_of(statics->parts.pins, one->entry->name, one->entry->n_name),
                .connection_fd = -1,
        };
        Reply reply;
        int r;

        if (listener) {
                vigil_examine_listener(statics->parts.vigil, listener, &event);
                /* There was no time to look for its unit: it enters with it a moment later. */
                if (event.is_unit_late)
                        return;
                unit_states_fill(statics->parts.unit_states, &event);
        }
        r = ledger_carry(statics->parts.ledger, &event, &reply);
        if (r < 0)
                log_error("%s cannot be entered: %s", one->entry->name, strerror(-r));
}

static void statics_look_at(Statics *statics, const Static *one, const VigilPicture *picture) {
        SocketFacts listener;

        if (static_is_in_place(statics, one))
                return;
        if (one->is_elsewhere)
                statics_enter(statics, one, NULL);
        else if (vigil_find_reached(statics->parts.vigil, picture, &one->entry->address, one->entry->port,
                                    &listener) == 0)
                statics_enter(statics, one, &listener);
}

/* Earlier than it is due already, never later: who comes and goes without end must not keep others waiting. */
static void statics_arm_within(Statics *statics, uint64_t usec) {
        uint64_t due = now_usec(CLOCK_MONOTONIC) + usec;

        if (due >= statics->due_usec)
                return;
        statics->due_usec = due;
        timer_arm(statics->timer, due);
}

static void statics_arm(Statics *statics) {
        if (statics_lack_one(statics))
                statics_arm_within(statics, LOOK_USEC);
        else if (statics->has_places)
                statics_arm_within(statics, PLACES_USEC);
}

static void statics_look_now(Statics *statics) {
        uint64_t begin = now_usec(CLOCK_THREAD_CPUTIME_ID);
        _cleanup_(vigil_picture_done) VigilPicture picture = { 0 };

        /* Where there is none, there is nobody in it; those on other machines need none. */
        (void)vigil_take_picture(statics->parts.vigil, &picture);
        for (size_t i = 0; i < statics->n_statics; i++)
                statics_look_at(statics, statics->statics + i, &picture);
        statics->looked_usec = now_usec(CLOCK_MONOTONIC);
        statics->cost_usec = now_usec(CLOCK_THREAD_CPUTIME_ID) - begin;
}

void statics_sync(Statics *statics) {
        statics_prune(statics);
        if (statics_lack_one(statics))
                statics_look_now(statics);
        statics_arm(statics);
}

static int statics_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Statics *statics = userdata;

        (void)source;
        (void)usec;
        statics->due_usec = USEC_INFINITE;
        if (statics->has_places && statics->places_usec + PLACES_USEC <= now_usec(CLOCK_MONOTONIC))
                statics_find_places(statics);
        statics_sync(statics);
        return 0;
}

void statics_look(Statics *statics) {
        if (!statics || statics->n_statics == 0 ||
            now_usec(CLOCK_MONOTONIC) < statics->looked_usec + LOOK_SHARE * statics->cost_usec)
                return;
        if (statics_lack_one(statics))
                statics_look_now(statics);
}

void statics_look_for(Statics *statics, const char *name, size_t n_name) {
        const Static *one;

        if (!statics || statics->n_statics == 0)
                return;
        for (size_t i = statics_seek(statics, name, n_name, &ADDRESS_ANY);
             (one = statics_get(statics, i, name, n_name)); i++) {
                statics_look_at(statics, one, NULL);
                if (!static_is_in_place(statics, one))
                        statics_look(statics);
        }
}

/* Not at once: what closes its connection may be closing its listener, too. */
void statics_on_news(Statics *statics, const LedgerNews *news) {
        const NodeInfo *info = &news->node->info;
        size_t position;

        if (news->kind != CHANGE_END || statics->n_statics == 0)
                return;
        position = statics_seek(statics, info->name, info->n_name, &ADDRESS_ANY);
        if (statics_get(statics, position, info->name, info->n_name))
                statics_arm_within(statics, LOOK_USEC);
}

/* --- the lists ------------------------------------------------------------------------------------ */

void statics_take_loaded(Statics *statics, Entries *loaded) {
        if (statics_reserve(statics, loaded->n_entries + statics->filed.n_entries) < 0) {
                log_error("The static entries are not known: %s", strerror(ENOMEM));
                return;
        }
        entries_done(&statics->ordered);
        statics->ordered = *loaded;
        *loaded = (Entries){ 0 };
        statics_merge(statics);
}

/* Those that say what was said before are as old as they were. */
static void keep_times(Entries *now, const Entries *before) {
        for (size_t i = 0; i < now->n_entries; i++) {
                Entry *entry = now->entries + i;
                const Entry *old = entries_find(before, entry->name, entry->n_name, &entry->address);

                if (old && entry_says_the_same(old, entry))
                        entry->since_usec = old->since_usec;
        }
}

int statics_set_filed(Statics *statics, const Entries *filed) {
        Entries copy = { 0 };

        if (statics_reserve(statics, statics->ordered.n_entries + filed->n_entries) < 0 ||
            entries_copy(filed, &copy) < 0)
                return -ENOMEM;
        keep_times(&copy, &statics->filed);
        entries_done(&statics->filed);
        statics->filed = copy;
        statics->has_filed = true;
        statics_merge(statics);
        return 0;
}

int statics_put(Statics *statics, Entry *entry) {
        /* In this order: what was merged points into the lists. */
        if (statics_reserve(statics, statics->ordered.n_entries + statics->filed.n_entries + 1) < 0 ||
            entries_reserve(&statics->ordered) < 0)
                return -ENOMEM;
        entries_put(&statics->ordered, entry);
        statics_merge(statics);
        statics_sync(statics);
        return 0;
}

void statics_remove(Statics *statics, const Entry *entry, const char *by) {
        Node *node = statics_find_node(statics, entry);

        entries_remove(&statics->ordered, entry->name, entry->n_name, &entry->address);
        statics_merge(statics);
        if (node && node_is_static(node) && !statics_find(statics, entry->name, entry->n_name, &entry->address))
                statics_end(statics, node, by);
        statics_sync(statics);
}

const Entries *statics_ordered(const Statics *statics) {
        return &statics->ordered;
}

const Entries *statics_filed(const Statics *statics) {
        return &statics->filed;
}

/* --- what is told of them -------------------------------------------------------------------------- */

const char *statics_state_to_string(StaticsState state) {
        static const char *const words[_STATICS_STATE_N] = {
                [STATICS_UP] = "up",
                [STATICS_DOWN] = "down",
                [STATICS_ELSEWHERE] = "elsewhere",
                [STATICS_SHADOWED] = "shadowed",
        };

        return words[state];
}

static StaticsState judge_holder(const Node *holder, char *reason, size_t n_reason) {
        char address[ADDRESS_TEXT_MAX];

        snprintf(reason, n_reason, "the name is held at port %u of %s, unit %s", holder->info.port,
                 address_is_any(&holder->scope) ? "every address" : address_format(&holder->scope, address),
                 holder->unit ? holder->unit : "unknown");
        return STATICS_SHADOWED;
}

/* What the kernel says, for several questions. */
typedef struct View {
        VigilPicture picture;
        int error; /* 0, or why there is none */
} View;

static View statics_view(Statics *statics) {
        View view = { .error = 0 };

        view.error = vigil_take_picture(statics->parts.vigil, &view.picture);
        return view;
}

static void view_done(View *view) {
        vigil_picture_done(&view->picture);
}

/* Nobody's node is in the registry as the entry says. */
static StaticsState statics_judge_absent(Statics *statics, const View *view, const Static *one, char *reason,
                                         size_t n_reason) {
        const Entry *entry = one->entry;
        const Node *holder = one->is_elsewhere
                                     ? statics_find_node(statics, entry)
                                     : registry_find_conflict(statics->parts.registry, entry->name, entry->n_name,
                                                              &entry->address, NULL);
        SocketFacts listener;

        if (one->is_elsewhere && holder)
                return judge_holder(holder, reason, n_reason);
        if (view->error < 0) {
                const char *why = vigil_blind_reason(statics->parts.vigil);

                snprintf(reason, n_reason, "whether it listens cannot be seen: %s", why ? why : strerror(-view->error));
        } else if (vigil_find_reached(statics->parts.vigil, &view->picture, &entry->address, entry->port,
                                      &listener) < 0)
                snprintf(reason, n_reason, "nobody listens at port %u", entry->port);
        else if (!holder)
                snprintf(reason, n_reason, "its listener has just come");
        else if (holder->listener.cookie != listener.cookie)
                return judge_holder(holder, reason, n_reason);
        else {
                snprintf(reason, n_reason, "it has registered by itself");
                return STATICS_UP;
        }
        return STATICS_DOWN;
}

static void statics_tell(Statics *statics, const View *view, const Static *one, StaticsTell tell, void *userdata) {
        StaticsState state = one->is_elsewhere ? STATICS_ELSEWHERE : STATICS_UP;
        char reason[512] = "";

        if (!static_is_in_place(statics, one))
                state = statics_judge_absent(statics, view, one, reason, sizeof reason);
        tell(userdata, one->entry, state, reason);
}

void statics_tell_one(Statics *statics, const Entry *entry, StaticsTell tell, void *userdata) {
        const Static *one = statics_find(statics, entry->name, entry->n_name, &entry->address);
        _cleanup_(view_done) View view = statics_view(statics);

        if (one)
                statics_tell(statics, &view, one, tell, userdata);
}

void statics_tell_name(Statics *statics, const char *name, size_t n_name, StaticsTell tell, void *userdata) {
        size_t i = statics_seek(statics, name, n_name, &ADDRESS_ANY);
        const Static *one = statics_get(statics, i, name, n_name);
        _cleanup_(view_done) View view = { .error = 0 };

        /* Most names have no entry: for them the kernel is not asked for all that listens. */
        if (one)
                view = statics_view(statics);
        for (; one; one = statics_get(statics, ++i, name, n_name))
                statics_tell(statics, &view, one, tell, userdata);
}

void statics_tell_ordered(Statics *statics, const Entry *entry, StaticsTell tell, void *userdata) {
        const Entry *ordered = entries_find(&statics->ordered, entry->name, entry->n_name, &entry->address);
        const Static *one = statics_find(statics, entry->name, entry->n_name, &entry->address);
        char reason[ENTRY_BY_BYTES_MAX + 64];

        if (!ordered || !one)
                return;
        if (one->entry == ordered) {
                statics_tell_one(statics, entry, tell, userdata);
                return;
        }
        snprintf(reason, sizeof reason, "the entry in %s counts more", one->entry->by);
        tell(userdata, ordered, STATICS_DOWN, reason);
}

void statics_tell_all(Statics *statics, StaticsTell tell, void *userdata) {
        _cleanup_(view_done) View view = statics_view(statics);

        for (size_t i = 0; i < statics->n_statics; i++)
                statics_tell(statics, &view, statics->statics + i, tell, userdata);
}

/* --- life ------------------------------------------------------------------------------------------- */

int statics_new(Statics **ret, sd_event *event, const StaticsParts *parts) {
        _cleanup_(statics_freep) Statics *statics = calloc(1, sizeof *statics);
        int r;

        if (!statics)
                return -ENOMEM;
        statics->parts = *parts;
        statics->due_usec = USEC_INFINITE;
        r = addresses_new(&statics->addresses);
        if (r < 0)
                log_debug("rtnetlink cannot be opened, so that only loopback is known to be ours: %s", strerror(-r));
        r = timer_new(&statics->timer, event, 50 * USEC_PER_MSEC, statics_on_timer, statics);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(statics);
        return 0;
}

Statics *statics_free(Statics *statics) {
        if (!statics)
                return NULL;
        sd_event_source_disable_unref(statics->timer);
        addresses_free(statics->addresses);
        entries_done(&statics->ordered);
        entries_done(&statics->filed);
        free(statics->statics);
        free(statics);
        return NULL;
}
