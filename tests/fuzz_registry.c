/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: the registry against its model, a plain array of who is there. Four bytes are an event: what happens,
 * to which name, at which scope, and by whom. Whom the registry lets in, and whom it ends for that, the model says, too
 * (P4); no creation is given twice (P5); limits hold (P6). */

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

typedef struct Known {
        uint8_t name, scope, uid, version;
        uint64_t cookie;
        bool is_static, is_elsewhere, is_awaited, is_gone;
} Known;

typedef struct Model {
        Known nodes[MODEL_MAX];
        size_t n_nodes;
        uint32_t last_creation; /* of 32 bits */
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
        return !new->is_static && (old->is_static ? old->cookie == new->cookie : old->is_awaited);
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

static void model_forget(Model *model, size_t i) {
        model->nodes[i] = model->nodes[--model->n_nodes];
}

static void model_enter(Model *model, const Known *new) {
        for (size_t i = model->n_nodes; i > 0; i--)
                if (are_in_the_way(model->nodes + i - 1, new))
                        model_forget(model, i - 1);
        assert(model->n_nodes < MODEL_MAX);
        model->nodes[model->n_nodes++] = *new;
}

/* --- both ------------------------------------------------------------------------------------- */

static void check_same(const Registry *registry, const Model *model) {
        size_t n_elsewhere = 0, n_awaited = 0, n_gone = 0;

        for (size_t i = 0; i < model->n_nodes; i++) {
                const Known *known = model->nodes + i;
                const Node *node = find_node(registry, known);

                assert(node && node->facts.is_awaited == known->is_awaited && node_is_static(node) == known->is_static);
                assert(node->facts.is_listener_gone == known->is_gone && node->listener.cookie == known->cookie);
                n_elsewhere += known->is_elsewhere;
                n_awaited += known->is_awaited;
                n_gone += known->is_gone;
        }
        assert(registry_n_nodes(registry) + registry_n_elsewhere(registry) == model->n_nodes);
        assert(registry_n_elsewhere(registry) == n_elsewhere && registry_n_awaited(registry) == n_awaited);
        assert(registry_n_in_state(registry, NODE_STOPPING) == n_gone);
        for (size_t i = 1; i < model->n_nodes; i++) {
                const Node *a = registry_at(registry, i - 1), *b = registry_at(registry, i);

                assert(node_compare_key(a->info.name, 1, &a->scope, b->info.name, 1, &b->scope) < 0);
        }
        assert(!registry_at(registry, model->n_nodes));
}

/* P5, where this is the only node of its name. */
static void check_creation(const Registry *registry, Model *model, const Known *new, uint32_t former) {
        const Node *node = find_node(registry, new);

        if (new->is_static) {
                assert(node->creation == 0);
        } else if (new->version >= NODE_VERSION_CREATION_32) {
                assert(node->creation > model->last_creation);
                model->last_creation = node->creation;
        } else {
                assert(node->creation >= 1 && node->creation <= CREATION_SMALL_MAX && node->creation != former);
        }
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
        const Node *former;
        uint32_t last;
        size_t i = 0;
        Change change;
        Reply reply;
        int r;

        while ((r = registry_decide(registry, &event, &change, &reply)) == REGISTRY_E_AGAIN)
                registry_apply(registry, &change);
        assert(r == 0);
        if (change.kind == CHANGE_RETURN) {
                while (!returns(model->nodes + i, new))
                        assert(++i < model->n_nodes);
                model->nodes[i].is_awaited = false;
                model->nodes[i].uid = new->uid;
                registry_apply(registry, &change);
                return;
        }
        assert(reply.refusal == expected);
        if (expected != REFUSAL_NONE)
                return;
        former = registry_find_former(registry, &name, 1);
        last = former ? former->creation : 0;
        registry_apply(registry, &change);
        model_enter(model, new);
        check_creation(registry, model, new, last);
}

/* Something happens to the `i`th that is there, if it can. */
static void happen(Registry *registry, Model *model, size_t i, EventKind kind, uint8_t more) {
        const NodeProfile profile = { .host = (char[]){ 'h', (char)('a' + more % 26), 0 } };
        Known *known = model->nodes + i;
        Event event = {
                .kind = kind,
                .node = find_node(registry, known),
                .await_until_usec = 1,
                .pinned_port = more,
                .unit_phase = more % UNIT_PHASE_STOPPING,
                .unit_invocation = more % 3,
                .announced = more % NODE_ANNOUNCED_DRAINING,
                .profile = &profile,
        };
        bool has_connection = !known->is_static && !known->is_awaited;
        Change change;

        if ((kind == EVENT_CONNECTION_ENDED || kind == EVENT_CONNECTION_LOST) && !has_connection)
                return;
        if (registry_decide(registry, &event, &change, NULL) < 0)
                abort();
        if (change.kind == CHANGE_END) {
                assert(change.node == event.node);
                model_forget(model, i);
        } else if (kind == EVENT_CONNECTION_LOST) {
                known->is_awaited = true;
        } else if (kind == EVENT_LISTENER_GONE) {
                known->is_gone = true;
        }
        assert(change.kind == CHANGE_END || kind == EVENT_CONNECTION_LOST || kind == EVENT_LISTENER_GONE ||
               kind == EVENT_AWAIT_EXPIRED || kind >= EVENT_UNIT);
        registry_apply(registry, &change);
}

static void play(Registry *registry, Model *model, const uint8_t *bytes) {
        static const EventKind kinds[] = {
                EVENT_CONNECTION_ENDED, EVENT_CONNECTION_LOST, EVENT_LISTENER_GONE, EVENT_AWAIT_EXPIRED, EVENT_STOP,
                EVENT_UNIT,             EVENT_ANNOUNCED,       EVENT_RELEASE,       EVENT_PINNED,        EVENT_ENTRY_REMOVED,
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

        if (registry_new(&registry, &(RegistryLimits){ NODES_MAX, PER_UID_MAX }) < 0)
                abort();
        for (; size >= 4; data += 4, size -= 4) {
                play(registry, &model, data);
                check_same(registry, &model);
        }
        return 0;
}
