/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: the name of a descriptor that systemd hands back, with a node's label in it. What is read from it is
 * what we would have written. */

#include <assert.h>
#include <string.h>

#include "core/label.h"
#include "fuzz.h"
#include "state/fdstore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(freep) char *text = strndup((const char *)data, size);
        char name[FDSTORE_NAME_MAX], label[LABEL_MAX];
        _cleanup_(node_freep) Node *node = NULL;
        const char *found = text;
        FdstoreKey key;

        if (!text)
                return 0;
        if (fdstore_parse_name(text, &key, &found) == 0)
                assert(strcmp(fdstore_format_name(&key, found, name), text) == 0);
        if (label_parse(found, &node) < 0)
                return 0;
        assert(node_name_check(node->info.name, node->info.n_name) == NODE_NAME_OK);
        assert(node->info.n_extra == 0);
        assert(strcmp(label_format(node, label), found) == 0);
        return 0;
}
