/* SPDX-License-Identifier: Apache-2.0 */
/* Shell patterns, several at once, matched in one pass over the name: for patterns that come from outside. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util.h"

/* A pattern is a shell's, as in core/rules: * ? [...] [!...] and classes such as [[:digit:]], matched against the whole
 * name, case and all; a backslash takes the next byte as it is; ? is one byte. Of fnmatch(3) in the C locale it differs
 * in what it refuses: a bracket that is not closed, a class that is none, [.x.] and [=x=], a range up to [, a
 * backslash at the end. */

/* P6: bytes, sets and question marks of all patterns of a set, and one for each of these. */
#define GLOB_ITEMS_MAX 512

typedef struct GlobPattern {
        const char *text; /* not terminated */
        size_t n_text;    /* bytes */
} GlobPattern;

typedef struct Glob Glob;

/* 0; -EINVAL: one of them is no pattern; -E2BIG: they are too long; -ENOMEM. Keeps nothing of `patterns`. */
int glob_new(Glob **ret, const GlobPattern *patterns, size_t n_patterns);
Glob *glob_free(Glob *glob);
DEFINE_CLEANUP(Glob *, glob_free)

/* True if one of the patterns matches. Its time is that of the name's length times the patterns' length by 64, whatever
 * they are. */
bool glob_matches(const Glob *glob, const char *name, size_t n_name);

/* How many bytes of `pattern` every name that it matches begins with. `*ret_is_whole`: that is all there is. */
size_t glob_literal_beginning(const GlobPattern *pattern, bool *ret_is_whole);
