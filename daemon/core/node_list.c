/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how nodes hang together. A node is in one list at most, since the links are its own. */

#include "core/node_list.h"

void node_list_done(NodeList *list) {
        while (list->newest) {
                Node *node = list->newest;

                list->newest = node->older;
                node_free(node);
        }
        *list = (NodeList){ 0 };
}

void node_list_push_newest(NodeList *list, Node *node) {
        node->older = list->newest;
        node->newer = NULL;
        if (list->newest)
                list->newest->newer = node;
        else
                list->oldest = node;
        list->newest = node;
        list->n_nodes++;
}

void node_list_remove(NodeList *list, Node *node) {
        if (node->newer)
                node->newer->older = node->older;
        else
                list->newest = node->older;
        if (node->older)
                node->older->newer = node->newer;
        else
                list->oldest = node->newer;
        node->newer = node->older = NULL;
        list->n_nodes--;
}
