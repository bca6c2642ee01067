/* SPDX-License-Identifier: Apache-2.0 */
/* Knows where user names are to be had. A directory service may be behind that: the last answer is remembered, since
 * the rows of a table are mostly of few users. */

#include "user.h"

#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

const char *user_name(uint64_t uid) {
        static bool is_asked;
        static uint64_t asked;
        static char name[256];
        const struct passwd *found;

        if (uid >= UINT32_MAX)
                return NULL;
        if (!is_asked || asked != uid) {
                found = getpwuid((uid_t)uid);
                snprintf(name, sizeof(name), "%s", found ? found->pw_name : "");
                asked = uid;
                is_asked = true;
        }
        return name[0] != '\0' ? name : NULL;
}
