/* SPDX-License-Identifier: Apache-2.0 */
/* A shell pattern of full names: "web_*", "web_?@db*". Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/glob.h"

/* What the part before the @ asks for: what an index can answer is not left to a search. */
typedef enum PatternKind {
        PATTERN_EXACT,
        PATTERN_PREFIX, /* "web_*": `name` is "web_" */
        PATTERN_SHELL,
        PATTERN_ALL, /* "*", or nothing before the @ */
} PatternKind;

typedef struct Pattern {
        PatternKind kind;
        char *name; /* what stands before the last @; owned */
        char *host; /* ... and behind it; NULL: any; owned */
        Glob *name_glob, *host_glob; /* of PATTERN_SHELL, and of a host; owned */
} Pattern;

void pattern_done(Pattern *pattern);
/* 0; -EINVAL: a bracket that is not closed, and the like; -E2BIG; -ENOMEM. */
int pattern_parse(const char *text, Pattern *ret);
/* Names that begin with `prefix`, whatever characters it has. 0 or -ENOMEM. */
int pattern_from_prefix(const char *prefix, Pattern *ret);

bool pattern_fits_name(const Pattern *pattern, const char *name, size_t n_name);
/* True for every host if the pattern says none. */
bool pattern_fits_host(const Pattern *pattern, const char *host, size_t n_host);
