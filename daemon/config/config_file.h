/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration files: see rollcall.conf(5). The only user of inih. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/draft.h"
#include "config/problems.h"

/* Bytes of a line, without its end: what every build of inih takes. Comments may be longer. */
#define CONFIG_FILE_LINE_MAX 190
#define CONFIG_FILE_BYTES_MAX (1024 * 1024)

/* Those that were read, in order. */
typedef struct ConfigFiles {
        char **paths; /* owned */
        size_t n_paths;
} ConfigFiles;

void config_files_done(ConfigFiles *files);

/* Reads `path`, then PATH.d/ *.conf in the order of their names, then *.conf in nodes.d beside it, where only nodes are
 * named. What is bad is told in `problems` and left out,
 * line by line. Neither the file nor the directory need be there, but where it `must_exist`. May take as long as the
 * disk does. 0 or -ENOMEM. */
int config_files_read(const char *path, bool must_exist, Draft *draft, Problems *problems, ConfigFiles *ret);

/* The same of one text without a NUL, as if it stood at `path`, or in nodes.d if `has_nodes_only`. 0 or -ENOMEM. */
int config_file_parse(const char *path, const char *text, size_t n_text, bool has_nodes_only, Draft *draft,
                      Problems *problems);
