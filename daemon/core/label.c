/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how what a node said of itself is put in a word and found in it. Does not know where that is kept.
 *
 * The trap: a later daemon may write words that look like ours. What we would not have written ourselves tells nothing.
 */

#include "core/label.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_plain(uint8_t byte) {
        return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
               byte == '.' || byte == '_' || byte == '-';
}

/* Of each node that registers: printf() would cost more than all else that is done for the fd store. */
static size_t put_byte(char *to, uint8_t byte) {
        static const char digits[] = "0123456789ABCDEF";

        if (is_plain(byte)) {
                *to = (char)byte;
                return 1;
        }
        to[0] = '%';
        to[1] = digits[byte >> 4];
        to[2] = digits[byte & 15];
        return 3;
}

const char *label_format(const Node *node, char label[static LABEL_MAX]) {
        const NodeInfo *info = &node->info;
        const uint32_t numbers[] = { node->creation, info->port, info->type,
                                     info->protocol, info->highest_version, info->lowest_version };
        size_t at = 0;

        for (size_t i = 0; i < ELEMENTS(numbers); i++) {
                at += put_number(label + at, numbers[i]);
                label[at++] = '-';
        }
        for (size_t i = 0; i < info->n_name && at + 4 <= LABEL_MAX; i++)
                at += put_byte(label + at, (uint8_t)info->name[i]);
        label[at] = 0;
        if (at + 4 > LABEL_MAX || info->n_extra > 0)
                label[0] = 0;
        return label;
}

static int hex_digit(char digit) {
        static const char digits[] = "0123456789ABCDEF";
        const char *found = digit ? strchr(digits, digit) : NULL;

        return found ? (int)(found - digits) : -1;
}

/* Returns its length; 0: there is none. */
static size_t parse_name(const char *text, char name[static LABEL_MAX]) {
        size_t n = 0;

        for (; *text && n < LABEL_MAX; text++) {
                int high, low;

                if (*text != '%') {
                        name[n++] = *text;
                        continue;
                }
                high = hex_digit(text[1]);
                low = high < 0 ? -1 : hex_digit(text[2]);
                if (low < 0)
                        return 0;
                name[n++] = (char)(high << 4 | low);
                text += 2;
        }
        return n;
}

int label_parse(const char *label, Node **ret) {
        unsigned long numbers[6] = { 0 };
        char name[LABEL_MAX], again[LABEL_MAX], *end;
        _cleanup_(node_freep) Node *node = NULL;
        const char *text = label;

        for (size_t i = 0; i < ELEMENTS(numbers); i++) {
                numbers[i] = strtoul(text, &end, 10);
                if (*end != '-')
                        return -EINVAL;
                text = end + 1;
        }
        node = node_new(&(NodeInfo){
                .name = name,
                .n_name = parse_name(text, name),
                .port = (uint16_t)numbers[1],
                .type = (uint8_t)numbers[2],
                .protocol = (uint8_t)numbers[3],
                .highest_version = (uint16_t)numbers[4],
                .lowest_version = (uint16_t)numbers[5],
        });
        if (!node)
                return -ENOMEM;
        node->creation = (uint32_t)numbers[0];
        if (node_name_check(node->info.name, node->info.n_name) != NODE_NAME_OK ||
            strcmp(label_format(node, again), label) != 0)
                return -EINVAL;
        *ret = TAKE_PTR(node);
        return 0;
}
