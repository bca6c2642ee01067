/* SPDX-License-Identifier: Apache-2.0 */
/* Random events, and a model that is written down once more in the simplest way. */

#include "check_main.h"
#include "core/creation.h"
#include "registry_test.h"

/* --- against a model -------------------------------------------------------------------------------- */

/* The rules once more, as an array and nothing else. Names are letters; listener N is bound to scope N % 4, of
 * which 0 is `*`. */
#define MODEL_NAMES 6
#define MODEL_SCOPES 4
#define MODEL_USERS 3
#define MODEL_LISTENERS 40
#define MODEL_NODES_MAX 14
#define MODEL_PER_USER_MAX 6

typedef struct ModelNode {
        int name, scope, user;
        uint64_t cookie;
        uint16_t version;
        NodeState state;
        bool without_limit;
        uint32_t creation;
        Node *node; /* the registry's */
} ModelNode;

typedef struct Model {
        ModelNode nodes[64]; /* oldest first */
        int n_nodes;
        ModelNode formers[64]; /* oldest first */
        int n_formers;
        uint32_t last_creation; /* the last 32-bit one */
} Model;

static const char *const model_scopes[MODEL_SCOPES] = { "*", "127.0.0.1", "127.0.0.2", "::1" };

static void model_forget_former(Model *model, int name) {
        for (int i = 0; i < model->n_formers; i++)
                if (model->formers[i].name == name) {
                        memmove(model->formers + i, model->formers + i + 1,
                                (size_t)(--model->n_formers - i) * sizeof *model->formers);
                        i--;
                }
}

static void model_end(Model *model, int i) {
        ModelNode node = model->nodes[i];

        memmove(model->nodes + i, model->nodes + i + 1, (size_t)(--model->n_nodes - i) * sizeof *model->nodes);
        model_forget_former(model, node.name);
        model->formers[model->n_formers++] = node;
}

static bool model_conflicts(const ModelNode *a, const ModelNode *b) {
        return a->name == b->name && (a->scope == 0 || b->scope == 0 || a->scope == b->scope);
}

static bool model_yields(const ModelNode *holder, const ModelNode *newcomer_) {
        if (holder->state == NODE_STOPPING)
                return true;
        return holder->state == NODE_AWAITED &&
               (!holder->without_limit || (newcomer_->cookie && newcomer_->cookie == holder->cookie));
}

static bool model_is_return(const ModelNode *holder, const ModelNode *newcomer_) {
        return holder->state == NODE_AWAITED && holder->cookie && holder->cookie == newcomer_->cookie &&
               holder->version == newcomer_->version;
}

/* What must follow; carries it out, but for the creation of a new node. */
static Refusal model_register(Model *model, const ModelNode *newcomer_, bool *ret_returned) {
        int n_nodes = model->n_nodes, n_of_user = 0;

        *ret_returned = false;
        for (int i = 0; i < model->n_nodes; i++) {
                ModelNode *holder = model->nodes + i;

                n_of_user += holder->user == newcomer_->user;
                if (!model_conflicts(holder, newcomer_))
                        continue;
                if (model_is_return(holder, newcomer_)) {
                        holder->state = NODE_UP;
                        holder->user = newcomer_->user;
                        *ret_returned = true;
                        return REFUSAL_NONE;
                }
                if (!model_yields(holder, newcomer_))
                        return REFUSAL_NAME_TAKEN;
                n_nodes--;
                n_of_user -= holder->user == newcomer_->user;
        }
        if (n_nodes >= MODEL_NODES_MAX)
                return REFUSAL_NODES_LIMIT;
        if (n_of_user >= MODEL_PER_USER_MAX)
                return REFUSAL_UID_LIMIT;
        for (int i = 0; i < model->n_nodes; i++)
                if (model_conflicts(model->nodes + i, newcomer_))
                        model_end(model, i--);
        model->nodes[model->n_nodes++] = *newcomer_;
        return REFUSAL_NONE;
}

static const ModelNode *model_find(const Model *model, int name, int local) {
        const ModelNode *found = NULL;

        for (int i = 0; i < model->n_nodes; i++) {
                const ModelNode *node = model->nodes + i;

                if (node->name != name)
                        continue;
                if (node->scope == 0 || node->scope == local)
                        return node;
                if (!found)
                        found = node;
        }
        return found;
}

static uid_t model_uid(int user) {
        return user ? (uid_t)(1000 + user) : NODE_UID_UNKNOWN;
}

static void model_check_creation(Model *model, const ModelNode *newcomer_, uint32_t creation,
                                 const ModelNode *former) {
        if (newcomer_->version >= NODE_VERSION_CREATION_32) {
                must(creation > model->last_creation);
                model->last_creation = creation;
        } else {
                must(creation >= 1);
                must(creation <= 3);
                if (former)
                        must(creation != former->creation);
        }
}

static void step_register(Model *model, Registry *registry, unsigned *seed) {
        uint64_t cookie = (uint64_t)rand_r(seed) % MODEL_LISTENERS;
        ModelNode node = {
                .name = rand_r(seed) % MODEL_NAMES,
                .scope = (int)(cookie % MODEL_SCOPES),
                .user = rand_r(seed) % MODEL_USERS,
                .cookie = cookie,
                .version = rand_r(seed) % 2 ? 6 : 5,
        };
        char name[2] = { (char)('a' + node.name), 0 };
        Event event = newcomer_at(name, model_scopes[node.scope], cookie);
        ModelNode former = { 0 };
        bool has_former = false, returned;
        int n_replaced = 0;
        Refusal expected;
        Reply reply;

        event.peer.uid = model_uid(node.user);
        event.info.highest_version = node.version;
        for (int i = 0; i < model->n_formers; i++)
                if (model->formers[i].name == node.name) {
                        former = model->formers[i];
                        has_former = true;
                }
        /* A holder that is replaced is the former by the time the newcomer is given its creation; of several
         * it is the last one, which the model does not order. */
        for (int i = 0; i < model->n_nodes; i++)
                if (model_conflicts(model->nodes + i, &node)) {
                        former = model->nodes[i];
                        has_former = ++n_replaced == 1;
                }
        expected = model_register(model, &node, &returned);
        carry(registry, &event, &reply);
        must(reply.refusal == expected);
        if (expected != REFUSAL_NONE)
                return;
        if (returned) {
                must(reply.creation == reply.node->creation);
                return;
        }
        model_check_creation(model, &node, reply.creation, has_former ? &former : NULL);
        model_forget_former(model, node.name);
        model->nodes[model->n_nodes - 1].creation = reply.creation;
        model->nodes[model->n_nodes - 1].node = reply.node;
}

static void step_event(Model *model, Registry *registry, unsigned *seed) {
        static const EventKind kinds[] = { EVENT_CONNECTION_ENDED, EVENT_LISTENER_GONE, EVENT_LISTENER_GONE,
                                           EVENT_AWAIT_EXPIRED, EVENT_STOP };
        EventKind kind = kinds[(size_t)rand_r(seed) % ELEMENTS(kinds)];
        int i;
        ModelNode *node;

        if (model->n_nodes == 0)
                return;
        i = rand_r(seed) % model->n_nodes;
        node = model->nodes + i;
        if (kind == EVENT_CONNECTION_ENDED && node->state == NODE_AWAITED)
                return; /* it has none */
        tell(registry, kind, node->node);
        switch (kind) {
        case EVENT_REGISTER:
                break;
        case EVENT_CONNECTION_ENDED:
        case EVENT_STOP:
                model_end(model, i);
                break;
        case EVENT_LISTENER_GONE:
                if (node->state == NODE_UP)
                        node->state = NODE_STOPPING;
                else if (node->state == NODE_AWAITED)
                        model_end(model, i);
                break;
        case EVENT_AWAIT_EXPIRED:
                if (node->state == NODE_AWAITED)
                        model_end(model, i);
                break;
        case EVENT_CONNECTION_LOST:
        case EVENT_CONNECTION_FOUND:
        case EVENT_UNIT:
        case EVENT_ANNOUNCED:
        case EVENT_RELEASE:
        case EVENT_STATIC:
        case EVENT_ENTRY_REMOVED:
        case EVENT_PINNED:
                break;
        }
}

/* The daemon is ended and started: what is copied out is restored, as the vigil does. */
static void step_restart(Model *model, Registry **registry) {
        Registry *next = make_registry(MODEL_NODES_MAX, MODEL_PER_USER_MAX);

        registry_advance_creation(next, registry_next_creation(*registry));
        for (int i = 0; i < model->n_formers; i++) {
                Node *copy = node_copy(model->formers[i].node);

                must(copy);
                must(registry_restore_former(next, &copy) == 0);
        }
        for (int i = 0; i < model->n_nodes; i++) {
                ModelNode *node = model->nodes + i;
                Node *copy = node_copy(node->node);

                must(copy);
                node->state = NODE_AWAITED;
                node->without_limit = node->cookie % 3 != 0;
                copy->await_until_usec = node->without_limit ? USEC_INFINITE : 12345;
                node->node = copy;
                restore(next, copy);
                model_forget_former(model, node->name);
        }
        registry_free(*registry);
        *registry = next;
        for (Node *former = registry_oldest_former(next); former; former = former->newer)
                for (int i = 0; i < model->n_formers; i++)
                        if (model->formers[i].name == former->info.name[0] - 'a')
                                model->formers[i].node = former;
}

static void assert_same(const Model *model, const Registry *registry) {
        size_t n_in_state[_NODE_STATE_N] = { 0 };
        Node *node = registry_newest(registry), *former = registry_oldest_former(registry);

        must(registry_n_nodes(registry) == (size_t)model->n_nodes);
        for (int i = model->n_nodes - 1; i >= 0; i--, node = node->older) {
                must(node == model->nodes[i].node);
                must(node->state == model->nodes[i].state);
                must(node->creation == model->nodes[i].creation);
                must(node->peer.uid == model_uid(model->nodes[i].user));
                n_in_state[node->state]++;
        }
        must(!node);
        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                must(registry_n_in_state(registry, state) == n_in_state[state]);
        for (int i = 0; i < model->n_formers; i++, former = former->newer)
                must(former == model->formers[i].node);
        must(!former);

        for (int name = 0; name < MODEL_NAMES; name++)
                for (int local = 1; local < MODEL_SCOPES; local++) {
                        const ModelNode *expected = model_find(model, name, local);
                        char text[2] = { (char)('a' + name), 0 };

                        must(find(registry, text, model_scopes[local]) == (expected ? expected->node : NULL));
                }
        for (uint64_t cookie = 1; cookie < MODEL_LISTENERS; cookie++) {
                Node *found = registry_find_by_cookie(registry, cookie);

                for (int i = 0; i < model->n_nodes; i++) {
                        if (model->nodes[i].cookie != cookie)
                                continue;
                        must(found == model->nodes[i].node);
                        found = registry_next_by_cookie(registry, found);
                }
                must(!found);
        }
}

START_TEST(test_random_events_lead_where_a_model_of_the_rules_says) {
        Registry *registry = make_registry(MODEL_NODES_MAX, MODEL_PER_USER_MAX);
        Model *model = calloc(1, sizeof *model);
        unsigned seed = 1 + (unsigned)_i;

        must(model);
        for (unsigned step = 0; step < 5000; step++) {
                int dice = rand_r(&seed) % 100;

                if (dice < 55)
                        step_register(model, registry, &seed);
                else if (dice < 99)
                        step_event(model, registry, &seed);
                else
                        step_restart(model, &registry);
                assert_same(model, registry);
        }
        registry_free(registry);
        free(model);
}
END_TEST

/* --- */

Suite *suite(void) {
        Suite *suite = suite_create("registry_model");
        TCase *tcase = tcase_create("model");

        tcase_set_timeout(tcase, 60);
        tcase_add_loop_test(tcase, test_random_events_lead_where_a_model_of_the_rules_says, 0, 8);
        suite_add_tcase(suite, tcase);
        return suite;
}
