/* SPDX-License-Identifier: Apache-2.0 */
/* From what the command line and the files say to the settings that are in force. */
#pragma once

#include "config/config_file.h"
#include "config/draft.h"
#include "config/problems.h"
#include "util.h"

/* Where settings come from, beside what is built in: files, then options, which count more. */
typedef struct ConfigSource {
        char *path; /* the main file; owned; NULL: none */
        bool must_exist;
        Draft options;
} ConfigSource;

void config_source_done(ConfigSource *source);
/* 0 or -ENOMEM. */
int config_source_copy(const ConfigSource *source, ConfigSource *ret);

typedef struct ConfigLoad {
        Draft draft;
        Settings settings;
        Entries nodes;
        Problems problems;
        ConfigFiles files;
} ConfigLoad;

/* Reads the files and asks the user database, which may take its time. NULL on ENOMEM. */
ConfigLoad *config_load_new(const ConfigSource *source);
ConfigLoad *config_load_free(ConfigLoad *load);
DEFINE_CLEANUP(ConfigLoad *, config_load_free)
