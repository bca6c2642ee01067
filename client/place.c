/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the places where a daemon's control socket is. Does not know how it is spoken to. */

#include "place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

typedef struct Place {
        const char *directory, *rest;
} Place;

/* "No such file" means that the daemon is not there; anything else (no permission) that it may be. */
static bool may_exist(const char *path) {
        return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static char *path_of(const Place *place) {
        char *path;

        /* systemd separates several directories by colons. */
        if (asprintf(&path, "%.*s/%s", (int)strcspn(place->directory, ":"), place->directory, place->rest) < 0)
                return NULL;
        return path;
}

/* Takes `*list` and returns it with `path` behind what is in it; NULL on ENOMEM. */
static char *add_tried(char *list, const char *path) {
        char *longer;

        if (!list)
                return strdup(path);
        if (asprintf(&longer, "%s or %s", list, path) < 0)
                longer = NULL;
        free(list);
        return longer;
}

static char *find_socket(char **ret_tried) {
        const Place places[] = {
                { getenv("RUNTIME_DIRECTORY"), "control" },
                { "/run/rollcall", "control" },
                { getenv("XDG_RUNTIME_DIR"), "rollcall/control" },
        };
        _cleanup_(freep) char *tried = NULL;

        for (size_t i = 0; i < ELEMENTS(places); i++) {
                _cleanup_(freep) char *path = NULL;

                if (!places[i].directory || places[i].directory[0] != '/')
                        continue;
                path = path_of(&places[i]);
                if (!path)
                        return NULL;
                if (may_exist(path))
                        return TAKE_PTR(path);
                tried = add_tried(tried, path);
                if (!tried)
                        return NULL;
        }
        *ret_tried = TAKE_PTR(tried);
        return NULL;
}

static const char *path_given(const char *given) {
        const char *by_environment = getenv("ROLLCALL_CONTROL");

        if (given)
                return given;
        return by_environment && by_environment[0] != '\0' ? by_environment : NULL;
}

bool place_is_given(const char *given) {
        return path_given(given) != NULL;
}

char *place_choose(const char *given, char **ret_tried) {
        const char *path = path_given(given);

        *ret_tried = NULL;
        return path ? strdup(path) : find_socket(ret_tried);
}
