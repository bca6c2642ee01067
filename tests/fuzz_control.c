/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: the body of any request, its selection, what that selects, and what it orders. Besides that nothing is read or written
 * where it should not be, it asserts that a walk finds exactly what a look at every node finds, and that patterns mean
 * what fnmatch(3) says. */

#include <assert.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "core/glob.h"
#include "fuzz.h"
#include "serve/filter.h"
#include "serve/said.h"

static Registry *make_registry(void) {
        static const char *const names[] = { "a", "ab", "abc", "b", "ba", "web_1", "web_2", "web_10", "db", "\xc3\xa9", "[x]" };
        Registry *registry = NULL;

        if (registry_new(&registry, &(RegistryLimits){ 100, 100 }, 1) < 0)
                abort();
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                Node *node = node_new(&(NodeInfo){
                        .name = names[i],
                        .n_name = strlen(names[i]),
                        .type = i % 4 ? NODE_TYPE_NORMAL : NODE_TYPE_HIDDEN,
                });

                if (!node)
                        abort();
                node->serial = i + 1;
                node_set_facts(node, &(NodeFacts){ .is_listener_gone = i % 3 == 2 }, 1);
                if (registry_restore(registry, &node) != 0)
                        abort();
        }
        return registry;
}

static void check_walk(const Filter *filter, const Registry *registry) {
        FilterWalk walk = filter_walk(filter, registry);
        size_t n_expected = 0, n = 0;
        Node *node;

        for (node = registry_newest(registry); node; node = node->older)
                n_expected += filter_selects(filter, node);
        for (; (node = filter_walk_next(&walk)); n++)
                assert(filter_selects(filter, node));
        assert(n == n_expected);
}

/* fnmatch() wants terminated ones, and names that are not too long for it. */
static void check_pattern(const ControlField *field, const Registry *registry) {
        GlobPattern pattern = { (const char *)field->value, field->n_value };
        _cleanup_(glob_freep) Glob *glob = NULL;
        char text[256];

        if (field->n_value >= sizeof text || memchr(field->value, 0, field->n_value) ||
            glob_new(&glob, &pattern, 1) != 0)
                return;
        memcpy(text, field->value, field->n_value);
        text[field->n_value] = 0;
        for (const Node *node = registry_newest(registry); node; node = node->older)
                assert(glob_matches(glob, node->info.name, node->info.n_name) ==
                       (fnmatch(text, node->info.name, 0) == 0));
}

/* Whatever was asked for is tried as a name, too. */
static void check_fields(const Filter *filter, const ControlRequest *request, const Registry *registry) {
        ControlField field;
        size_t offset = 0;

        while (control_next_field(request->fields, request->n_fields, &offset, &field)) {
                (void)filter_matches(filter, (const char *)field.value, field.n_value, &ADDRESS_ANY, false);
                if (field.tag == CONTROL_TAG_PATTERN || field.tag == CONTROL_TAG_EXCLUDE)
                        check_pattern(&field, registry);
        }
        assert(offset != SIZE_MAX);
}

static void check_announcement(const ControlRequest *request) {
        _cleanup_(said_announcement_done) SaidAnnouncement said = { 0 };
        const char *key, *value;
        size_t offset = 0, n_pairs = 0;

        if (said_announcement_parse(request, &said))
                return;
        assert(node_name_check(said.selection.name, said.selection.n_name) == NODE_NAME_OK);
        assert(!said.profile.host || node_host_is_valid(said.profile.host, strlen(said.profile.host)));
        while (node_profile_next(&said.profile, &offset, &key, &value))
                n_pairs++;
        assert(n_pairs <= NODE_METADATA_PAIRS_MAX && offset == said.profile.n_metadata);
}

static void check_entry(const ControlRequest *request) {
        SaidEntry said;

        if (said_entry_parse(request, true, &said))
                return;
        assert(node_name_check(said.selection.name, said.selection.n_name) == NODE_NAME_OK);
        assert(said.port > 0 && said.port <= UINT16_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static Registry *registry;
        _cleanup_(filter_unrefp) Filter *filter = NULL;
        const char *wrong = NULL;
        ControlRequest request;
        int r;

        if (!registry)
                registry = make_registry();
        if (!control_parse_request(data, size, &request) || request.version != CONTROL_VERSION)
                return 0;
        assert(control_has_magic(data, size));
        check_announcement(&request);
        check_entry(&request);
        r = filter_new(&filter, &request, &wrong);
        assert(r <= 0 || wrong);
        if (r != 0)
                return 0;
        check_walk(filter, registry);
        check_fields(filter, &request, registry);
        return 0;
}
