/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which nodes are meant. Does not know what they are wanted for.
 *
 * Names, prefixes and what patterns begin with are ranges of the registry's order. Two of them are apart or one is
 * within the other, so that of a sorted list those are left out that are within the one before, and the rest is walked
 * through without meeting a node twice.
 *
 * The trap: a name can be meant by one range and be found on the way through another (PREFIX "a", PATTERN "ab*[0-9]").
 * So there are two lists: where to look, and what is meant without a further look.
 */

#include "serve/filter.h"

#include <assert.h>
#include <string.h>

#include "core/glob.h"
#include "serve/selection.h"

typedef struct Range {
        const char *text; /* borrows from the filter's `said` */
        size_t n_text;    /* bytes */
        bool is_exact;    /* that name; else all that begin so */
} Range;

/* Sorted, and none within another. */
typedef struct Ranges {
        Range *ranges; /* owned */
        size_t n_ranges;
} Ranges;

struct Filter {
        unsigned n_refs;
        uint8_t *said; /* owned: the fields of the selection, as they came */
        size_t n_said;
        Ranges meant;  /* NAME, PREFIX */
        Ranges walked; /* and what patterns begin with */
        Glob *patterns, *excludes; /* NULL: none */
        bool is_wanted[_NODE_STATE_N];
        bool has_hidden;
        bool has_scope;
        Address scope;
};

/* --- ranges ----------------------------------------------------------------------------------- */

static int compare_bytes(const char *a, size_t n_a, const char *b, size_t n_b) {
        size_t n = n_a < n_b ? n_a : n_b;
        int order = n > 0 ? memcmp(a, b, n) : 0;

        return order != 0 ? order : (n_a > n_b) - (n_a < n_b);
}

/* A prefix comes before the name that is as long: that is within it. */
static int compare_ranges(const void *a, const void *b) {
        const Range *one = a, *other = b;
        int order = compare_bytes(one->text, one->n_text, other->text, other->n_text);

        return order != 0 ? order : one->is_exact - other->is_exact;
}

static bool begins_with(const char *name, size_t n_name, const Range *range) {
        return n_name >= range->n_text && (range->n_text == 0 || memcmp(name, range->text, range->n_text) == 0);
}

static bool range_contains(const Range *range, const char *name, size_t n_name) {
        return begins_with(name, n_name, range) && (!range->is_exact || n_name == range->n_text);
}

static void ranges_merge(Ranges *ranges) {
        size_t n = 0;

        if (ranges->n_ranges > 1)
                qsort(ranges->ranges, ranges->n_ranges, sizeof *ranges->ranges, compare_ranges);
        for (size_t i = 0; i < ranges->n_ranges; i++) {
                const Range *range = ranges->ranges + i;

                if (n == 0 || !range_contains(ranges->ranges + n - 1, range->text, range->n_text))
                        ranges->ranges[n++] = *range;
        }
        ranges->n_ranges = n;
}

/* Whatever contains the name is the last that does not come after it: all between a prefix and a name that begins so
 * are within the prefix, too. */
static bool ranges_contain(const Ranges *ranges, const char *name, size_t n_name) {
        size_t low = 0, high = ranges->n_ranges;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const Range *range = ranges->ranges + middle;

                if (compare_bytes(range->text, range->n_text, name, n_name) <= 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low > 0 && range_contains(ranges->ranges + low - 1, name, n_name);
}

/* --- parsing ---------------------------------------------------------------------------------- */

static bool is_selecting(uint16_t tag) {
        static const ControlTag tags[] = {
                CONTROL_TAG_NAME,  CONTROL_TAG_PREFIX, CONTROL_TAG_PATTERN, CONTROL_TAG_EXCLUDE,
                CONTROL_TAG_STATE, CONTROL_TAG_HIDDEN, CONTROL_TAG_SCOPE,
        };

        for (size_t i = 0; i < ELEMENTS(tags); i++)
                if (tags[i] == tag)
                        return true;
        return false;
}

/* What is parsed is the copy, so that all may borrow from it. */
static int filter_keep(Filter *filter, const ControlRequest *request) {
        ControlField field;
        size_t offset = 0, begin = 0;

        filter->said = malloc(request->n_fields + 1);
        if (!filter->said)
                return -ENOMEM;
        for (; control_next_field(request->fields, request->n_fields, &offset, &field); begin = offset) {
                if (!is_selecting(field.tag))
                        continue;
                memcpy(filter->said + filter->n_said, request->fields + begin, offset - begin);
                filter->n_said += offset - begin;
        }
        return 0;
}

static const char *check_name(const ControlField *field) {
        if (node_name_check((const char *)field->value, field->n_value) != NODE_NAME_OK)
                return "That cannot be the name of a node.";
        return NULL;
}

static const char *check_prefix(const ControlField *field) {
        if (field->n_value > 0 && node_name_check((const char *)field->value, field->n_value) != NODE_NAME_OK)
                return "No node's name can begin like that.";
        return NULL;
}

static const char *check_pattern(const ControlField *field) {
        if (node_name_check((const char *)field->value, field->n_value) != NODE_NAME_OK)
                return "No node's name can match that pattern.";
        return NULL;
}

static const char *parse_state(Filter *filter, const ControlField *field, bool *has_state) {
        *has_state = true;
        for (NodeState state = 0; state < _NODE_STATE_N; state++) {
                const char *word = node_state_to_string(state);

                if (field->n_value == strlen(word) && memcmp(field->value, word, field->n_value) == 0) {
                        filter->is_wanted[state] = true;
                        return NULL;
                }
        }
        if (field->n_value != strlen("any") || memcmp(field->value, "any", field->n_value) != 0)
                return "A state is up, starting, ready, stopping, awaited or any.";
        memset(filter->is_wanted, true, sizeof filter->is_wanted);
        return NULL;
}

static const char *parse_scope(Filter *filter, const ControlField *field) {
        filter->has_scope = true;
        return selection_parse_scope(field, &filter->scope) ? NULL : "The address is none.";
}

static const char *filter_parse_field(Filter *filter, const ControlField *field, bool *has_state) {
        switch (field->tag) {
        case CONTROL_TAG_NAME:
                return check_name(field);
        case CONTROL_TAG_PREFIX:
                return check_prefix(field);
        case CONTROL_TAG_PATTERN:
        case CONTROL_TAG_EXCLUDE:
                return check_pattern(field);
        case CONTROL_TAG_STATE:
                return parse_state(filter, field, has_state);
        case CONTROL_TAG_HIDDEN:
                filter->has_hidden = control_field_u64(field) != 0;
                return NULL;
        case CONTROL_TAG_SCOPE:
                return parse_scope(filter, field);
        default: /* none that was kept */
                return NULL;
        }
}

static const char *filter_parse(Filter *filter) {
        const char *wrong = NULL;
        bool has_state = false;
        ControlField field;
        size_t offset = 0;

        while (!wrong && control_next_field(filter->said, filter->n_said, &offset, &field))
                wrong = filter_parse_field(filter, &field, &has_state);
        for (NodeState state = 0; !has_state && state < _NODE_STATE_N; state++)
                filter->is_wanted[state] = state != NODE_STOPPING;
        return wrong;
}

/* --- names ------------------------------------------------------------------------------------ */

static size_t filter_count(const Filter *filter, ControlTag tag) {
        ControlField field;
        size_t offset = 0, n = 0;

        while (control_next_field(filter->said, filter->n_said, &offset, &field))
                n += field.tag == tag;
        return n;
}

static Range range_of(const ControlField *field) {
        GlobPattern pattern = { (const char *)field->value, field->n_value };
        Range range = { .text = pattern.text, .n_text = pattern.n_text, .is_exact = field->tag == CONTROL_TAG_NAME };

        if (field->tag == CONTROL_TAG_PATTERN)
                range.n_text = glob_literal_beginning(&pattern, &range.is_exact);
        return range;
}

static int filter_gather(const Filter *filter, bool has_patterns, Ranges *ranges) {
        ControlField field;
        size_t offset = 0;

        ranges->ranges = calloc(filter->n_said / 4 + 1, sizeof *ranges->ranges);
        if (!ranges->ranges)
                return -ENOMEM;
        while (control_next_field(filter->said, filter->n_said, &offset, &field))
                if (field.tag == CONTROL_TAG_NAME || field.tag == CONTROL_TAG_PREFIX ||
                    (has_patterns && field.tag == CONTROL_TAG_PATTERN))
                        ranges->ranges[ranges->n_ranges++] = range_of(&field);
        return 0;
}

/* Who names nothing means all: the prefix that has no bytes. */
static int filter_range(Filter *filter) {
        bool has_patterns = filter_count(filter, CONTROL_TAG_PATTERN) > 0;

        if (filter_gather(filter, false, &filter->meant) < 0 || filter_gather(filter, true, &filter->walked) < 0)
                return -ENOMEM;
        if (filter->meant.n_ranges == 0 && !has_patterns) {
                filter->meant.ranges[filter->meant.n_ranges++] = (Range){ .text = "" };
                filter->walked.ranges[filter->walked.n_ranges++] = (Range){ .text = "" };
        }
        ranges_merge(&filter->meant);
        ranges_merge(&filter->walked);
        return 0;
}

static int filter_compile(const Filter *filter, ControlTag tag, Glob **ret, const char **ret_wrong) {
        size_t n = filter_count(filter, tag), n_patterns = 0, offset = 0;
        _cleanup_(freep) GlobPattern *patterns = calloc(n + 1, sizeof *patterns);
        ControlField field;
        int r;

        if (!patterns)
                return -ENOMEM;
        if (n == 0)
                return 0;
        while (control_next_field(filter->said, filter->n_said, &offset, &field))
                if (field.tag == tag)
                        patterns[n_patterns++] = (GlobPattern){ (const char *)field.value, field.n_value };
        r = glob_new(ret, patterns, n_patterns);
        if (r == -ENOMEM || r == 0)
                return r;
        *ret_wrong = r == -E2BIG ? "The patterns are too long: 512 characters in all, one more for each."
                                 : "A pattern has a bracket that is not closed, an unknown class, or ends with a "
                                   "backslash.";
        return FILTER_E_SENSELESS;
}

/* --- life ------------------------------------------------------------------------------------- */

static int filter_fill(Filter *filter, const ControlRequest *request, const char **ret_wrong) {
        int r = filter_keep(filter, request);

        if (r < 0)
                return r;
        *ret_wrong = filter_parse(filter);
        if (*ret_wrong)
                return FILTER_E_SENSELESS;
        r = filter_range(filter);
        if (r == 0)
                r = filter_compile(filter, CONTROL_TAG_PATTERN, &filter->patterns, ret_wrong);
        if (r == 0)
                r = filter_compile(filter, CONTROL_TAG_EXCLUDE, &filter->excludes, ret_wrong);
        return r;
}

int filter_new(Filter **ret, const ControlRequest *request, const char **ret_wrong) {
        _cleanup_(filter_unrefp) Filter *filter = calloc(1, sizeof *filter);
        const char *wrong = NULL;
        int r;

        if (!filter)
                return -ENOMEM;
        filter->n_refs = 1;
        r = filter_fill(filter, request, &wrong);
        if (r == 0)
                *ret = TAKE_PTR(filter);
        else if (r > 0)
                *ret_wrong = wrong;
        return r;
}

Filter *filter_ref(Filter *filter) {
        filter->n_refs++;
        return filter;
}

Filter *filter_unref(Filter *filter) {
        if (!filter)
                return NULL;
        assert(filter->n_refs > 0);
        if (--filter->n_refs > 0)
                return NULL;
        glob_free(filter->patterns);
        glob_free(filter->excludes);
        free(filter->meant.ranges);
        free(filter->walked.ranges);
        free(filter->said);
        free(filter);
        return NULL;
}

bool filter_equal(const Filter *a, const Filter *b) {
        return a->n_said == b->n_said && memcmp(a->said, b->said, a->n_said) == 0;
}

/* --- matching --------------------------------------------------------------------------------- */

bool filter_matches(const Filter *filter, const char *name, size_t n_name, const Address *scope, bool is_hidden) {
        if (is_hidden && !filter->has_hidden)
                return false;
        if (filter->has_scope && !address_equal(&filter->scope, scope))
                return false;
        if (!ranges_contain(&filter->meant, name, n_name) &&
            !(filter->patterns && glob_matches(filter->patterns, name, n_name)))
                return false;
        return !filter->excludes || !glob_matches(filter->excludes, name, n_name);
}

bool filter_wants_state(const Filter *filter, NodeState state) {
        return filter->is_wanted[state];
}

bool filter_is_hidden(const Node *node) {
        return node->info.type == NODE_TYPE_HIDDEN || node->is_helper;
}

bool filter_selects(const Filter *filter, const Node *node) {
        return filter_wants_state(filter, node->state) &&
               filter_matches(filter, node->info.name, node->info.n_name, &node->scope, filter_is_hidden(node));
}

FilterWalk filter_walk(const Filter *filter, const Registry *registry) {
        return (FilterWalk){ .filter = filter, .registry = registry };
}

/* The next node of the ranges, whether it is selected or not. */
static Node *walk_step(FilterWalk *walk) {
        const Ranges *ranges = &walk->filter->walked;

        for (; walk->range < ranges->n_ranges; walk->range++, walk->is_in_range = false) {
                const Range *range = ranges->ranges + walk->range;
                Node *node;

                if (!walk->is_in_range)
                        walk->position = registry_seek(walk->registry, range->text, range->n_text);
                walk->is_in_range = true;
                node = registry_at(walk->registry, walk->position);
                if (node && range_contains(range, node->info.name, node->info.n_name)) {
                        walk->position++;
                        return node;
                }
        }
        return NULL;
}

Node *filter_walk_next(FilterWalk *walk) {
        Node *node;

        do
                node = walk_step(walk);
        while (node && !filter_selects(walk->filter, node));
        return node;
}
