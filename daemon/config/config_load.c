/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what counts more than what. Does not know who needs it, or whether errors matter to him. */

#include "config/config_load.h"

#include <string.h>

void config_source_done(ConfigSource *source) {
        free(source->path);
        draft_done(&source->options);
        *source = (ConfigSource){ 0 };
}

int config_source_copy(const ConfigSource *source, ConfigSource *ret) {
        _cleanup_(config_source_done) ConfigSource copy = { .must_exist = source->must_exist };
        int r;

        if (source->path && !(copy.path = strdup(source->path)))
                return -ENOMEM;
        r = draft_overlay(&copy.options, &source->options);
        if (r < 0)
                return r;
        *ret = copy;
        copy = (ConfigSource){ 0 };
        return 0;
}

ConfigLoad *config_load_new(const ConfigSource *source) {
        _cleanup_(config_load_freep) ConfigLoad *load = calloc(1, sizeof *load);
        int r = 0;

        if (!load)
                return NULL;
        if (source->path)
                r = config_files_read(source->path, source->must_exist, &load->draft, &load->problems, &load->files);
        if (r == 0)
                r = draft_overlay(&load->draft, &source->options);
        if (r == 0)
                r = draft_make_settings(&load->draft, &load->settings, &load->problems);
        if (r == 0)
                r = node_drafts_make(&load->draft.nodes, &load->nodes, &load->problems);
        return r < 0 ? NULL : TAKE_PTR(load);
}

ConfigLoad *config_load_free(ConfigLoad *load) {
        if (!load)
                return NULL;
        draft_done(&load->draft);
        settings_done(&load->settings);
        entries_done(&load->nodes);
        problems_done(&load->problems);
        config_files_done(&load->files);
        free(load);
        return NULL;
}
