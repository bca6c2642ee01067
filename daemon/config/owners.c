/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how an owner of names is written, and asks who a user is. Does not know the rules (core/rules).
 *
 * The trap: a user database can be on the network and out of reach. That is not the same as a user who does not
 * exist, and must not lock the real one out.
 */

#include "config/owners.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define PASSWD_BYTES_FIRST 1024
#define PASSWD_BYTES_MAX (1024 * 1024)

static const char *after_prefix(const char *word, const char *prefix) {
        size_t n = strlen(prefix);

        return strncmp(word, prefix, n) == 0 ? word + n : NULL;
}

/* (uid_t)-1 is no uid, and stands for one that is not known. */
static int parse_uid(const char *text, uid_t *ret) {
        unsigned long value;

        if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
                return -EINVAL;
        value = strtoul(text, NULL, 10);
        if (value >= NODE_UID_UNKNOWN)
                return -EINVAL;
        *ret = (uid_t)value;
        return 0;
}

/* Without a suffix it would match no unit, and the names would be nobody's. */
static bool is_unit_pattern(const char *text) {
        return *text && strpbrk(text, ".*?[") && !strchr(text, '/');
}

int owner_check(const char *word, const char **ret_why) {
        const char *rest;
        uid_t uid;

        if ((rest = after_prefix(word, "uid:")) != NULL) {
                *ret_why = "is not a uid (uid:1000)";
                return parse_uid(rest, &uid);
        }
        if ((rest = after_prefix(word, "user:")) != NULL) {
                *ret_why = "names no user (user:rabbitmq)";
                return *rest ? 0 : -EINVAL;
        }
        if ((rest = after_prefix(word, "unit:")) != NULL) {
                *ret_why = "is not a pattern of unit names, which have a suffix (unit:rabbitmq-*.service)";
                return is_unit_pattern(rest) ? 0 : -EINVAL;
        }
        *ret_why = "is not uid:NUMBER, user:NAME or unit:PATTERN";
        return -EINVAL;
}

/* What getpwnam_r() may say of a user that does not exist, by its manual page. */
static bool means_no_such_user(int error) {
        return error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
}

/* 0; -ESRCH: there is none; another negative errno: nobody knows. */
static int find_user(const char *name, uid_t *ret) {
        _cleanup_(freep) char *bytes = NULL;
        struct passwd entry, *found = NULL;
        int error = ERANGE;

        for (size_t n = PASSWD_BYTES_FIRST; error == ERANGE && n <= PASSWD_BYTES_MAX; n *= 2) {
                char *grown = realloc(bytes, n);

                if (!grown)
                        return -ENOMEM;
                bytes = grown;
                error = getpwnam_r(name, &entry, bytes, n, &found);
        }
        if (found) {
                *ret = entry.pw_uid;
                return 0;
        }
        return means_no_such_user(error) ? -ESRCH : -error;
}

static int resolve_user(const char *name, RuleOwner *ret) {
        int r = find_user(name, &ret->uid);

        if (r == -ESRCH) {
                ret->kind = RULE_OWNER_NOBODY;
                return 0;
        }
        ret->kind = RULE_OWNER_UID;
        return r;
}

/* RuleOwner's strings are its own where the registry keeps it; here they are lent for the copy. */
static char *lend(const char *text) {
        union {
                const char *lent;
                char *string;
        } same = { .lent = text };

        return same.string;
}

int owner_resolve(const char *word, RuleOwner *ret) {
        const char *rest;

        *ret = (RuleOwner){ .kind = RULE_OWNER_NOBODY, .text = lend(word) };
        if ((rest = after_prefix(word, "user:")) != NULL)
                return resolve_user(rest, ret);
        if ((rest = after_prefix(word, "unit:")) != NULL) {
                ret->kind = RULE_OWNER_UNIT;
                ret->pattern = lend(rest);
                return 0;
        }
        ret->kind = RULE_OWNER_UID;
        rest = after_prefix(word, "uid:");
        return rest ? parse_uid(rest, &ret->uid) : -EINVAL;
}
