/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: the registry against its model, a plain array of who is there. Four bytes are an event: what happens,
 * to which name, at which scope, and by whom. Whom the registry lets in, whom it ends for that, and by which events else
 * a node ends, the model says, too (P3, P4), and whom a lookup finds; no creation is given twice, and none changes (P5);
 * limits hold (P6). */

#include <assert.h>
#include <string.h>

#include "core/creation.h"
#include "core/registry.h"
#include "fuzz.h"

#define N_NAMES 4
#define N_SCOPES 3 /* the first is `*` */
#define NODES_MAX 7
#define PER_UID_MAX 4
#define MODEL_MAX 64
#define N_COOKIES 350 /* more than there are */

typedef struct Known {
        uint8_t name, scope, uid, version;
        uint64_t cookie;
        bool is_static, is_elsewhere, is_awaited, is_gone;
        bool is_awaited_for_ever;
        bool is_left_over;
        UnitPhase phase;
        uint64_t invocation;
        NodeAnnounced announced;
        uint32_t creation;
        uint64_t order; /* who came first */
} Known;

typedef struct Model {
        Known nodes[MODEL_MAX];
        size_t n_nodes;
        uint64_t n_entered;
        uint32_t last_creation;       /* of 32 bits */
        uint32_t last_of[N_NAMES];    /* what was given to the last one of that name that has ended; 0: none */
} Model;

static Address address_of(uint8_t scope) {
        return scope == 0 ? ADDRESS_ANY : (Address){ { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = scope } };
}

static char name_of(uint8_t name) {
        return (char)('a' + name);
}

static Node *find_node(const Registry *registry, const Known *known) {
        const Address scope = address_of(known->scope);
        const char name = name_of(known->name);

        return registry_find_key(registry, &name, 1, &scope);
}

/* --- the model -------------------------------------------------------------------------------- */

static bool are_in_the_way(const Known *old, const Known *new) {
        if (old->name != new->name)
                return false;
        if (old->is_elsewhere || new->is_elsewhere)
                return old->scope == new->scope;
        return old->scope == new->scope || old->scope == 0 || new->scope == 0;
}

static bool yields(const Known *old, const Known *new) {
        if (new->is_elsewhere)
                return false;
        if (old->is_gone || old->is_elsewhere)
                return true;
        if (new->is_static)
                return false;
        if (old->is_static)
                return old->cookie == new->cookie;
        /* Who is awaited for ever has a listener that lives: then it is the newcomer's, too, or it stays. */
        return old->is_awaited && (!old->is_awaited_for_ever || (new->cookie != 0 && old->cookie == new->cookie));
}

static bool is_going(const Known *known) {
        return known->is_gone || known->is_left_over || known->phase == UNIT_PHASE_STOPPING;
}

static bool is_stopping(const Known *known) {
        return known->is_gone || known->phase == UNIT_PHASE_STOPPING || known->announced == NODE_ANNOUNCED_DRAINING;
}

static bool returns(const Known *old, const Known *new) {
        return !old->is_static && !new->is_static && old->is_awaited && old->cookie != 0 && old->cookie == new->cookie &&
               old->version == new->version && are_in_the_way(old, new);
}

static Refusal model_judge(const Model *model, const Known *new) {
        size_t n_all = 0, n_of_uid = 0;

        for (size_t i = 0; i < model->n_nodes; i++) {
                const Known *old = model->nodes + i;

                if (are_in_the_way(old, new) && !yields(old, new))
                        return REFUSAL_NAME_TAKEN;
                if (are_in_the_way(old, new) || old->is_static)
                        continue;
                n_all++;
                n_of_uid += old->uid == new->uid;
        }
        if (new->is_static)
                return REFUSAL_NONE;
        return n_all >= NODES_MAX ? REFUSAL_NODES_LIMIT : n_of_uid >= PER_UID_MAX ? REFUSAL_UID_LIMIT : REFUSAL_NONE;
}

/* Of those that keep the newcomer out: whether all of them will be gone in a moment. */
static bool model_may_wait(const Model *model, const Known *new) {
        for (size_t i = 0; i < model->n_nodes; i++)
                if (are_in_the_way(model->nodes + i, new) && !yields(model->nodes + i, new) && !is_going(model->nodes + i))
                        return false;
        return true;
}

static void model_forget(Model *model, size_t i) {
        if (model->nodes[i].creation != 0)
                model->last_of[model->nodes[i].name] = model->nodes[i].creation;
        model->nodes[i] = model->nodes[--model->n_nodes];
}

/* Where it takes the place of several, each of them was the last one at its address: any will do. */
static Known *model_enter(Model *model, const Known *new) {
        size_t n_before = model->n_nodes;
        Known *known;

        for (size_t i = model->n_nodes; i > 0; i--)
                if (are_in_the_way(model->nodes + i - 1, new))
                        model_forget(model, i - 1);
        if (n_before - model->n_nodes > 1)
                model->last_of[new->name] = 0;
        assert(model->n_nodes < MODEL_MAX);
        known = model->nodes + model->n_nodes++;
        *known = *new;
        known->order = ++model->n_entered;
        return known;
}

/* Whom a lookup means that came in on `scope`: who is there exactly, else `*`, else who came first. */
static const Known *model_find(const Model *model, uint8_t name, uint8_t scope) {
        const Known *found = NULL;

        for (size_t i = 0; i < model->n_nodes; i++) {
                const Known *known = model->nodes + i;

                if (known->name != name || known->is_elsewhere)
                        continue;
                if (known->scope == scope || known->scope == 0)
                        return known;
                if (!found || known->order < found->order)
                        found = known;
        }
        return found;
}

/* The only one of its name on this machine. */
static bool is_alone(const Model *model, const Known *known) {
        for (size_t i = 0; i < model->n_nodes; i++)
                if (model->nodes + i != known && model->nodes[i].name == known->name && !model->nodes[i].is_elsewhere)
                        return false;
        return true;
}

/* systemd's word: the first start that is heard of is the node's. */
static void model_hear_of_unit(Known *known, const Event *event) {
        known->phase = event->unit_phase;
        if (known->invocation == 0 && !event->is_unit_over)
                known->invocation = event->unit_invocation;
        known->is_left_over = event->is_unit_over || (event->unit_invocation != 0 && known->invocation != 0 &&
                                                      event->unit_invocation != known->invocation);
}

/* True if it ends by that. */
static bool model_happens(Known *known, const Event *event) {
        switch (event->kind) {
        case EVENT_CONNECTION_ENDED:
        case EVENT_STOP:
        case EVENT_RELEASE:
        case EVENT_ENTRY_REMOVED:
                return true;
        case EVENT_AWAIT_EXPIRED:
                return known->is_awaited;
        case EVENT_LISTENER_GONE:
                known->is_gone = true;
                return known->is_awaited || known->is_static;
        case EVENT_CONNECTION_LOST:
                known->is_awaited = true;
                known->is_awaited_for_ever = event->await_until_usec == USEC_INFINITE;
                return false;
        case EVENT_UNIT:
                model_hear_of_unit(known, event);
                return false;
        case EVENT_ANNOUNCED:
                if (event->announced != NODE_ANNOUNCED_NOTHING)
                        known->announced = event->announced;
                return false;
        case EVENT_PINNED:
        case EVENT_CONNECTION_FOUND:
        case EVENT_REGISTER:
        case EVENT_STATIC:
                break;
        }
        return false;
}

/* --- both ------------------------------------------------------------------------------------- */

static void check_lookups(const Registry *registry, const Model *model) {
        for (uint8_t name = 0; name < N_NAMES; name++)
                for (uint8_t scope = 1; scope <= N_SCOPES; scope++) { /* at the last there is nobody */
                        const char text = name_of(name);
                        const Address local = address_of(scope);
                        const Known *known = model_find(model, name, scope);

                        assert(registry_find(registry, &text, 1, &local) == (known ? find_node(registry, known) : NULL));
                }
}

static void check_cookies(const Registry *registry, const Model *model) {
        for (size_t i = 0; i < model->n_nodes; i++) {
                uint64_t cookie = model->nodes[i].cookie;
                size_t n = 0;

                if (cookie == 0)
                        continue;
                for (size_t k = 0; k < model->n_nodes; k++)
                        n += model->nodes[k].cookie == cookie;
                for (Node *node = registry_find_by_cookie(registry, cookie); node;
                     node = registry_next_by_cookie(registry, node), n--)
                        assert(n > 0 && node->listener.cookie == cookie);
                assert(n == 0);
        }
        for (uint64_t cookie = 1; cookie < N_COOKIES; cookie++)
                for (Node *node = registry_find_by_cookie(registry, cookie); node; node = registry_next_by_cookie(registry, node))
                        assert(registry_find_key(registry, node->info.name, 1, &node->scope) == node);
}

static void check_order(const Registry *registry) {
        for (const Node *node = registry_newest(registry); node && node->older; node = node->older)
                assert(node->serial > node->older->serial);
        for (size_t i = 1; registry_at(registry, i); i++) {
                const Node *a = registry_at(registry, i - 1), *b = registry_at(registry, i);

                assert(node_compare_key(a->info.name, 1, &a->scope, b->info.name, 1, &b->scope) < 0);
        }
}

static void check_same(const Registry *registry, const Model *model) {
        size_t n_elsewhere = 0, n_awaited = 0, n_stopping = 0;

        for (size_t i = 0; i < model->n_nodes; i++) {
                const Known *known = model->nodes + i;
                const Node *node = find_node(registry, known);

                assert(node && node->facts.is_awaited == known->is_awaited && node_is_static(node) == known->is_static);
                assert(node->facts.is_listener_gone == known->is_gone && node->listener.cookie == known->cookie);
                assert(node->creation == known->creation && node->peer.uid == known->uid);
                assert(node_is_going(&node->facts) == is_going(known));
                assert((node->state == NODE_STOPPING) == is_stopping(known));
                n_elsewhere += known->is_elsewhere;
                n_awaited += known->is_awaited;
                n_stopping += !known->is_elsewhere && is_stopping(known);
        }
        assert(registry_n_nodes(registry) + registry_n_elsewhere(registry) == model->n_nodes);
        assert(registry_n_elsewhere(registry) == n_elsewhere && registry_n_awaited(registry) == n_awaited);
        assert(registry_n_in_state(registry, NODE_STOPPING) == n_stopping);
        assert((model->n_nodes == 0 || registry_at(registry, model->n_nodes - 1)) && !registry_at(registry, model->n_nodes));
        check_lookups(registry, model);
        check_cookies(registry, model);
        check_order(registry);
}

/* P5: what the newcomer was given. */
static void check_creation(Model *model, const Known *new) {
        if (new->is_static) {
                assert(new->creation == 0);
        } else if (new->version >= NODE_VERSION_CREATION_32) {
                assert(new->creation > model->last_creation);
                model->last_creation = new->creation;
        } else {
                assert(new->creation >= 1 && new->creation <= CREATION_SMALL_MAX);
                if (is_alone(model, new))
                        assert(new->creation != model->last_of[new->name]);
        }
}

/* The same node again: it keeps what it was given. */
static void come_back(Registry *registry, Model *model, const Known *new, Change *change, const Reply *reply) {
        size_t i = 0;

        while (!returns(model->nodes + i, new))
                assert(++i < model->n_nodes);
        assert(change->node == find_node(registry, model->nodes + i) && reply->node == change->node);
        assert(reply->refusal == REFUSAL_NONE && reply->creation == model->nodes[i].creation);
        model->nodes[i].is_awaited = false;
        model->nodes[i].uid = new->uid;
        registry_apply(registry, change);
}

static void check_refused(const Registry *registry, const Model *model, const Known *new, const Reply *reply) {
        size_t i = 0;

        if (reply->refusal != REFUSAL_NAME_TAKEN)
                return;
        while (find_node(registry, model->nodes + i) != reply->holder)
                assert(++i < model->n_nodes);
        assert(are_in_the_way(model->nodes + i, new) && !yields(model->nodes + i, new));
        assert(new->is_static || reply->is_holder_going == model_may_wait(model, new));
}

static void enter(Registry *registry, Model *model, const Known *new) {
        const char name = name_of(new->name);
        const Event event = {
                .kind = new->is_static ? EVENT_STATIC : EVENT_REGISTER,
                .scope = address_of(new->scope),
                .is_elsewhere = new->is_elsewhere,
                .info = { .name = &name, .n_name = 1, .port = 1, .highest_version = new->version },
                .peer = { .uid = new->uid },
                .listener = { .cookie = new->cookie, .address = address_of(new->scope) },
                .connection = model,
                .connection_fd = -1,
        };
        Refusal expected = model_judge(model, new);
        Change change;
        Known *entered;
        Reply reply;
        int r;

        while ((r = registry_decide(registry, &event, &change, &reply)) == REGISTRY_E_AGAIN)
                registry_apply(registry, &change);
        assert(r == 0);
        if (change.kind == CHANGE_RETURN) {
                come_back(registry, model, new, &change, &reply);
                return;
        }
        assert(reply.refusal == expected);
        check_refused(registry, model, new, &reply);
        if (expected != REFUSAL_NONE)
                return;
        registry_apply(registry, &change);
        assert(reply.node == find_node(registry, new) && reply.creation == (new->is_static ? 0 : reply.node->creation));
        entered = model_enter(model, new);
        entered->creation = reply.node->creation;
        check_creation(model, entered);
}

/* Two listeners of one owner, and the `i`th, which is awaited, was the one behind the connection of another. */
static void uncross(Registry *registry, Model *model, size_t i) {
        Known *known = model->nodes + i, *twin = model->nodes;
        Event event = { .kind = EVENT_CONNECTION_FOUND, .node = find_node(registry, known) };
        uint32_t creation = known->creation;
        Change change;

        if (known->is_static || !known->is_awaited)
                return;
        while (twin == known || twin->name != known->name || twin->is_static || twin->is_awaited)
                if (++twin == model->nodes + model->n_nodes)
                        return;
        event.twin = find_node(registry, twin);
        if (registry_decide(registry, &event, &change, NULL) < 0)
                abort();
        assert(change.kind == CHANGE_RETURN);
        registry_apply(registry, &change);
        known->is_awaited = false;
        known->announced = twin->announced;
        known->creation = twin->creation;
        twin->creation = creation;
        assert(find_node(registry, known)->connection && !event.twin->connection);

        event = (Event){ .kind = EVENT_CONNECTION_ENDED, .node = event.twin };
        if (registry_decide(registry, &event, &change, NULL) < 0)
                abort();
        registry_apply(registry, &change);
        model_forget(model, (size_t)(twin - model->nodes));
}

/* Something happens to the `i`th that is there, if it can. */
static void happen(Registry *registry, Model *model, size_t i, EventKind kind, uint8_t more) {
        const NodeProfile profile = { .host = (char[]){ 'h', (char)('a' + more % 26), 0 } };
        Known *known = model->nodes + i;
        Event event = {
                .kind = kind,
                .node = find_node(registry, known),
                .await_until_usec = more & 0x10 ? USEC_INFINITE : 1,
                .pinned_port = more,
                .unit_phase = more % (UNIT_PHASE_STOPPING + 1),
                .unit_invocation = more / 5 % 3,
                .is_unit_over = more & 0x40,
                .announced = more % (NODE_ANNOUNCED_DRAINING + 1),
                .profile = &profile,
        };
        bool has_connection = !known->is_static && !known->is_awaited;
        Change change;

        if (kind == EVENT_CONNECTION_FOUND) {
                uncross(registry, model, i);
                return;
        }
        if ((kind == EVENT_CONNECTION_ENDED || kind == EVENT_CONNECTION_LOST) && !has_connection)
                return;
        if (registry_decide(registry, &event, &change, NULL) < 0)
                abort();
        assert(change.kind == CHANGE_NONE || change.node == event.node);
        if (model_happens(known, &event)) {
                assert(change.kind == CHANGE_END);
                model_forget(model, i);
        } else {
                assert(change.kind != CHANGE_END);
        }
        registry_apply(registry, &change);
}

static void play(Registry *registry, Model *model, const uint8_t *bytes) {
        static const EventKind kinds[] = {
                EVENT_CONNECTION_ENDED, EVENT_CONNECTION_LOST, EVENT_LISTENER_GONE, EVENT_AWAIT_EXPIRED, EVENT_STOP,
                EVENT_UNIT,             EVENT_ANNOUNCED,       EVENT_RELEASE,       EVENT_PINNED,        EVENT_ENTRY_REMOVED,
                EVENT_CONNECTION_FOUND,
        };
        uint8_t what = bytes[0] % (8 + ELEMENTS(kinds));
        Known new = {
                .name = bytes[1] % N_NAMES,
                .scope = bytes[2] % N_SCOPES,
                .uid = bytes[3] % 3,
                .version = bytes[3] & 0x80 ? 5 : 6,
                .is_static = what == 6 || what == 7,
                .is_elsewhere = what == 7,
        };

        /* One listener has one address; where none is known the scope is `*`. */
        if (!new.is_elsewhere && !(new.scope == 0 && (bytes[2] & 0x80) && !new.is_static))
                new.cookie = 1 + (bytes[2] >> 6) * 100u + new.name * 10u + new.scope;
        if (what < 8)
                enter(registry, model, &new);
        else if (model->n_nodes > 0)
                happen(registry, model, bytes[1] % model->n_nodes, kinds[what - 8], bytes[3]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(registry_freep) Registry *registry = NULL;
        Model model = { 0 };

        if (registry_new(&registry, &(RegistryLimits){ NODES_MAX, PER_UID_MAX }, 1) < 0)
                abort();
        for (; size >= 4; data += 4, size -= 4) {
                play(registry, &model, data);
                check_same(registry, &model);
        }
        return 0;
}
