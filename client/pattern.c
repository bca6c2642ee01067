/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what a user means who writes a pattern of nodes. What `*`, `?` and `[...]` mean is the daemon's (core/glob):
 * the two never differ on a name. */

#include "pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/node.h"
#include "util.h"

static const char special[] = "*?[\\";

void pattern_done(Pattern *pattern) {
        free(pattern->name);
        free(pattern->host);
        glob_free(pattern->name_glob);
        glob_free(pattern->host_glob);
        *pattern = (Pattern){ 0 };
}

static PatternKind kind_of(const char *name) {
        size_t n_plain = strcspn(name, special);

        if (name[0] == '\0' || strcmp(name, "*") == 0)
                return PATTERN_ALL;
        if (name[n_plain] == '\0')
                return PATTERN_EXACT;
        return strcmp(name + n_plain, "*") == 0 ? PATTERN_PREFIX : PATTERN_SHELL;
}

static int compile(const char *text, Glob **ret) {
        const GlobPattern pattern = { .text = text, .n_text = strlen(text) };

        return glob_new(ret, &pattern, 1);
}

/* A name, and a beginning of one, has to be what a name can be; of the rest the glob knows. */
static int check_name(const Pattern *pattern) {
        if (pattern->kind == PATTERN_ALL || pattern->kind == PATTERN_SHELL || pattern->name[0] == '\0')
                return 0;
        switch (node_name_check(pattern->name, strlen(pattern->name))) {
        case NODE_NAME_OK:
                return 0;
        case NODE_NAME_TOO_LONG:
                return -E2BIG;
        case NODE_NAME_EMPTY:
        case NODE_NAME_NOT_UTF8:
        case NODE_NAME_CONTROL_CHARACTER:
                break;
        }
        return -EINVAL;
}

/* Takes `pattern` in any case. */
static int finish(Pattern *pattern, bool has_host, Pattern *ret) {
        int r = !pattern->name || (has_host && !pattern->host) ? -ENOMEM : 0;

        if (r == 0)
                r = check_name(pattern);
        if (r == 0 && pattern->kind == PATTERN_SHELL)
                r = compile(pattern->name, &pattern->name_glob);
        if (r == 0 && has_host)
                r = compile(pattern->host, &pattern->host_glob);
        if (r < 0)
                pattern_done(pattern);
        else
                *ret = *pattern;
        return r;
}

int pattern_parse(const char *text, Pattern *ret) {
        const char *at = strrchr(text, '@');
        bool has_host = at && at[1] != '\0' && strcmp(at + 1, "*") != 0;
        Pattern pattern = {
                .name = at ? strndup(text, (size_t)(at - text)) : strdup(text),
                .host = has_host ? strdup(at + 1) : NULL,
        };

        if (pattern.name) {
                pattern.kind = kind_of(pattern.name);
                if (pattern.kind == PATTERN_PREFIX)
                        pattern.name[strlen(pattern.name) - 1] = '\0';
        }
        return finish(&pattern, has_host, ret);
}

int pattern_from_prefix(const char *prefix, Pattern *ret) {
        Pattern pattern = { .kind = PATTERN_PREFIX, .name = strdup(prefix) };

        return finish(&pattern, false, ret);
}

bool pattern_fits_name(const Pattern *pattern, const char *name, size_t n_name) {
        size_t n_pattern = strlen(pattern->name);

        switch (pattern->kind) {
        case PATTERN_EXACT:
                return n_name == n_pattern && memcmp(pattern->name, name, n_name) == 0;
        case PATTERN_PREFIX:
                return n_name >= n_pattern && memcmp(pattern->name, name, n_pattern) == 0;
        case PATTERN_SHELL:
                return glob_matches(pattern->name_glob, name, n_name);
        case PATTERN_ALL:
                return true;
        }
        return false;
}

bool pattern_fits_host(const Pattern *pattern, const char *host, size_t n_host) {
        return !pattern->host || glob_matches(pattern->host_glob, host, n_host);
}
