/* SPDX-License-Identifier: Apache-2.0 */
/* core/, where there is no memory: each allocation of each operation fails once. Then the operation says so, what it was
 * to change is as before, and nothing is lost (AddressSanitizer sees that). The linker gives us the allocations
 * (--wrap). */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/access.h"
#include "core/changes.h"
#include "core/control.h"
#include "core/entries.h"
#include "core/glob.h"
#include "core/label.h"
#include "core/refusals.h"
#include "core/registry.h"
#include "core/rules.h"
#include "core/shares.h"

/* --- allocations that fail -------------------------------------------------------------------- */

static unsigned n_until_failure;
static bool is_short; /* false: none fails, as libcheck, too, is linked so */
static bool has_failed;

/* What it returns. */
#define WHILE_SHORT(call)            \
        ({                           \
                typeof(call) r_;     \
                is_short = true;     \
                r_ = (call);         \
                is_short = false;    \
                r_;                  \
        })

static bool is_to_fail(void) {
        if (!is_short || n_until_failure == 0 || --n_until_failure > 0)
                return false;
        has_failed = true;
        return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t n_each);
void *__real_realloc(void *old, size_t n);
void *__real_reallocarray(void *old, size_t n, size_t n_each);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t n_each);
void *__wrap_realloc(void *old, size_t n);
void *__wrap_reallocarray(void *old, size_t n, size_t n_each);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

void *__wrap_malloc(size_t n) {
        return is_to_fail() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t n_each) {
        return is_to_fail() ? NULL : __real_calloc(n, n_each);
}

void *__wrap_realloc(void *old, size_t n) {
        return is_to_fail() ? NULL : __real_realloc(old, n);
}

void *__wrap_reallocarray(void *old, size_t n, size_t n_each) {
        return is_to_fail() ? NULL : __real_reallocarray(old, n, n_each);
}

char *__wrap_strdup(const char *text) {
        return is_to_fail() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t n) {
        return is_to_fail() ? NULL : __real_strndup(text, n);
}

/* --- operations: each begins anew, and returns what came of it --------------------------------- */

static const char pairs[] = "colour\0red\0size\0big";
static const NodeProfile profile = {
        .host = (char *)(uintptr_t) "example.org",
        .metadata = (char *)(uintptr_t)pairs,
        .n_metadata = sizeof pairs,
};

static Registry *new_registry(void) {
        Registry *registry;

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1), 0);
        return registry;
}

static Event event_of(EventKind kind) {
        return (Event){
                .kind = kind,
                .info = { .name = "mail", .n_name = 4, .extra = (const uint8_t *)"x", .n_extra = 1, .port = 1, .highest_version = 6 },
                .peer = { .uid = 7 },
                .listener = { .cookie = 9 },
                .unit = "mail.service",
                .connection_fd = -1,
        };
}

static Node *enter(Registry *registry) {
        Event event = event_of(EVENT_REGISTER);
        Change change;
        Reply reply;

        ck_assert_int_eq(registry_decide(registry, &event, &change, &reply), 0);
        registry_apply(registry, &change);
        return reply.node;
}

/* Decides and, where that is possible, applies. Nothing has changed otherwise. */
static int carry(Registry *registry, const Event *event) {
        uint64_t revision = registry_revision(registry);
        uint32_t creation = registry_next_creation(registry);
        size_t n_nodes = registry_n_nodes(registry);
        Change change;
        Reply reply = { 0 };
        int r = WHILE_SHORT(registry_decide(registry, event, &change, &reply));

        if (r < 0) {
                ck_assert_uint_eq(registry_revision(registry), revision);
                ck_assert_uint_eq(registry_next_creation(registry), creation);
                ck_assert_uint_eq(registry_n_nodes(registry), n_nodes);
                return r;
        }
        ck_assert_int_eq(reply.refusal, REFUSAL_NONE);
        registry_apply(registry, &change);
        ck_assert_uint_eq(registry_revision(registry), revision + 1);
        return 0;
}

/* The same where there is memory. */
static void prepare(Registry *registry, const Event *event) {
        Change change;
        Reply reply;

        ck_assert_int_eq(registry_decide(registry, event, &change, &reply), 0);
        registry_apply(registry, &change);
}

static int op_registry(void) {
        const RegistryLimits limits = { 1, 1 };
        _cleanup_(registry_freep) Registry *registry = NULL;

        return WHILE_SHORT(registry_new(&registry, &limits, 1));
}

static int op_register(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        Event event = event_of(EVENT_REGISTER);

        return carry(registry, &event);
}

static int op_static(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        Event event = event_of(EVENT_STATIC);

        event.profile = &profile;
        return carry(registry, &event);
}

/* Users as many as there is room for, with the one there is: for one more memory is needed. */
static void fill_users(Registry *registry) {
        for (char c = 'a'; c < 'a' + 15; c++) {
                Event event = event_of(EVENT_REGISTER);

                event.info.name = &c;
                event.info.n_name = 1;
                event.peer.uid = (uid_t)c;
                prepare(registry, &event);
        }
}

/* It returns to its row, of another user than before. */
static int op_return(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        Event lost = { .kind = EVENT_CONNECTION_LOST, .node = enter(registry), .await_until_usec = 1 };
        Event event = event_of(EVENT_REGISTER);

        prepare(registry, &lost);
        event.peer.uid = 8;
        fill_users(registry);
        return carry(registry, &event);
}

/* It turns out to be behind its twin's connection. */
static int op_found(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        Event lost = { .kind = EVENT_CONNECTION_LOST, .node = enter(registry), .await_until_usec = 1 };
        Event event = { .kind = EVENT_CONNECTION_FOUND, .node = lost.node };

        prepare(registry, &lost);
        fill_users(registry);
        event.twin = registry_newest(registry);
        return carry(registry, &event);
}

static int op_announced(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        NodeProfile old = { .host = (char *)(uintptr_t) "old" };
        Event event = { .kind = EVENT_ANNOUNCED, .node = enter(registry), .profile = &old };

        prepare(registry, &event);
        event.profile = &profile;
        return carry(registry, &event);
}

static int op_restore(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        _cleanup_(node_freep) Node *node = node_new(&(NodeInfo){ .name = "mail", .n_name = 4 });
        int r;

        node->serial = 1;
        r = WHILE_SHORT(registry_restore(registry, &node));
        ck_assert(r == 0 ? !node : node && registry_n_nodes(registry) == 0);
        return r;
}

static int op_copy_node(void) {
        _cleanup_(registry_freep) Registry *registry = new_registry();
        Event event = { .kind = EVENT_ANNOUNCED, .node = enter(registry), .profile = &profile };
        _cleanup_(node_freep) Node *copy = NULL;

        prepare(registry, &event);
        copy = WHILE_SHORT(node_copy(event.node));
        return copy ? 0 : -ENOMEM;
}

static int op_label(void) {
        _cleanup_(node_freep) Node *node = NULL;

        return WHILE_SHORT(label_parse("1-2-3-4-5-6-mail", &node));
}

static int op_changes(void) {
        const ChangeRecord change = {
                .revision = 2, .name = "mail", .n_name = 4, .record = (const uint8_t *)"record", .n_record = 6,
        };
        _cleanup_(changes_freep) Changes *changes = NULL;
        int r = WHILE_SHORT(changes_new(&changes, 4, 4096, 1));

        if (r < 0)
                return r;
        r = WHILE_SHORT(changes_add(changes, &change));
        /* A gap is worse than none. */
        ck_assert(r == 0 || !changes_reach_back_to(changes, 1));
        return r;
}

static int op_control(void) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        is_short = true;
        control_put_error_answer(&buffer, CONTROL_E_BUSY, "text");
        control_put_record_begin(&buffer, CONTROL_NODE_RECORD);
        for (int i = 0; i < 500; i++)
                control_put_pair(&buffer, "key", "value");
        control_put_record_end(&buffer);
        is_short = false;
        return buffer.error;
}

static int op_entries(void) {
        char name[] = "mail", host[] = "h", by[] = "uid 0";
        const Entry entry = { .name = name, .n_name = 4, .host = host, .by = by };
        _cleanup_(entries_done) Entries entries = { 0 };
        _cleanup_(entries_done) Entries copies = { 0 };
        Entry copy;
        int r = WHILE_SHORT(entry_copy(&entry, &copy));

        if (r == 0 && (r = WHILE_SHORT(entries_reserve(&entries))) < 0)
                entry_done(&copy);
        if (r < 0)
                return r;
        entries_put(&entries, &copy);
        return WHILE_SHORT(entries_copy(&entries, &copies));
}

static int op_glob(void) {
        const GlobPattern pattern = { "a*", 2 };
        _cleanup_(glob_freep) Glob *glob = NULL;

        return WHILE_SHORT(glob_new(&glob, &pattern, 1));
}

static int op_refusals(void) {
        char name[] = "mail", unit[] = "mail.service";
        const Refused refused = { .name = name, .n_name = 4, .unit = unit, .at_usec = 1, .reason = REFUSAL_NAME_TAKEN };
        _cleanup_(refusals_freep) Refusals *refusals = NULL;
        int r = WHILE_SHORT(refusals_new(&refusals));

        if (r < 0)
                return r;
        r = WHILE_SHORT(refusals_note(refusals, &refused));
        ck_assert_int_eq(!refusals_find(refusals, name, 4), r < 0);
        if (r >= 0) /* once more: what is replaced may stay, but must be one */
                r = WHILE_SHORT(refusals_note(refusals, &refused));
        return r < 0 ? r : 0;
}

/* Nobody is told: who cannot be written down counts as a user who is not known, and buckets that cannot be had make the
 * search longer. What is counted is right all the same. */
static int op_shares(void) {
        enum { N = 150 };
        const Party unknown = party_of_user(NODE_UID_UNKNOWN);
        _cleanup_(shares_freep) Shares *shares = NULL;
        Place places[N] = { { 0 } };
        size_t n_unknown = 0;
        int r = WHILE_SHORT(shares_new(&shares, 1));

        if (r < 0)
                return r;
        for (size_t i = 0; i < N; i++) {
                const Party party = party_of_user((uid_t)i);

                is_short = true;
                shares_take(shares, places + i, PLACE_PASSING, &party);
                is_short = false;
                n_unknown += party_equal(place_party(places + i), &unknown);
                ck_assert_uint_eq(shares_n_of(shares, &party, PLACE_PASSING), party_equal(place_party(places + i), &party));
        }
        ck_assert_uint_le(n_unknown, has_failed);
        ck_assert_uint_eq(shares_n_of(shares, &unknown, PLACE_PASSING), n_unknown);
        ck_assert_uint_eq(shares_n_taken(shares, PLACE_PASSING), N);
        for (size_t i = 0; i < N; i++) {
                ck_assert_ptr_eq(shares_find_culprit(shares), places + i);
                shares_leave(shares, places + i);
        }
        return has_failed ? -ENOMEM : 0;
}

static int op_rules(void) {
        char pattern[] = "mail*", text[] = "unit:mail*";
        const RuleOwner owner = { .kind = RULE_OWNER_UNIT, .pattern = pattern, .text = text };
        _cleanup_(rules_done) Rules rules = { 0 };
        Reservation *reservation = WHILE_SHORT(rules_add_reservation(&rules, "label"));
        int r;

        if (!reservation)
                return -ENOMEM;
        r = WHILE_SHORT(reservation_add_pattern(reservation, "mail"));
        if (r == 0)
                r = WHILE_SHORT(reservation_add_owner(reservation, &owner));
        return r < 0 ? r : WHILE_SHORT(rules_add_helper(&rules, "rpc-*"));
}

static int op_access(void) {
        _cleanup_(access_list_done) AccessList list = { 0 };

        return WHILE_SHORT(access_list_add(&list, "10.0.0.0/8"));
}

/* --- the test ----------------------------------------------------------------------------------- */

static const struct {
        const char *name;
        int (*run)(void);
} operations[] = {
        { "registry", op_registry }, { "register", op_register }, { "static", op_static },   { "return", op_return },
        { "found", op_found }, { "announced", op_announced }, { "restore", op_restore }, { "copy node", op_copy_node }, { "label", op_label },
        { "changes", op_changes },   { "control", op_control },   { "entries", op_entries }, { "glob", op_glob },
        { "refusals", op_refusals }, { "rules", op_rules },       { "access", op_access },
        { "shares", op_shares },
};

START_TEST(test_an_allocation_that_fails_is_told_and_changes_nothing) {
        unsigned n_failures = 0;

        for (unsigned n = 1;; n++) {
                int r;

                n_until_failure = n;
                has_failed = false;
                r = operations[_i].run();
                ck_assert_msg(r == (has_failed ? -ENOMEM : 0), "%s, allocation %u: %d", operations[_i].name, n, r);
                if (!has_failed)
                        break;
                n_failures++;
        }
        ck_assert_uint_gt(n_failures, 0);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("memory");
        TCase *tcase = tcase_create("memory");

        tcase_add_loop_test(tcase, test_an_allocation_that_fails_is_told_and_changes_nothing, 0, ELEMENTS(operations));
        suite_add_tcase(suite, tcase);
        return suite;
}
