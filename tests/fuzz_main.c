/* SPDX-License-Identifier: Apache-2.0 */
/* For compilers without libFuzzer, and for every `make check`: gives each file of the target's corpus to the target, whole
 * and cut at each byte. The corpus of fuzz_wire is CORPORA/wire, unless another directory is named. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_BYTES_MAX 65536

/* In a buffer of that size, so that a sanitizer sees what is read beyond it. */
static void try(const uint8_t *data, size_t size) {
        uint8_t *copy = malloc(size ? size : 1);

        if (!copy)
                abort();
        memcpy(copy, data, size);
        LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

static void replay(const char *path) {
        static uint8_t data[INPUT_BYTES_MAX];
        FILE *file = fopen(path, "re");
        size_t size;

        if (!file) {
                perror(path);
                exit(1);
        }
        size = fread(data, 1, sizeof data, file);
        fclose(file);
        for (size_t n = 0; n <= size; n++)
                try(data, n);
}

int main(int argc, char *argv[]) {
        const char *target = strrchr(program_invocation_short_name, '_');
        char directory[4096];
        struct dirent **entries = NULL;
        int n, n_files = 0;

        if (argc > 1)
                snprintf(directory, sizeof directory, "%s", argv[1]);
        else
                snprintf(directory, sizeof directory, "%s/%s", CORPORA, target ? target + 1 : "");
        n = scandir(directory, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
                char path[4096 + 256];

                snprintf(path, sizeof path, "%s/%s", directory, entries[i]->d_name);
                if (entries[i]->d_name[0] != '.') {
                        replay(path);
                        n_files++;
                }
                free(entries[i]);
        }
        free(entries);
        printf("%d files of %s\n", n_files, directory);
        return n_files > 0 ? 0 : 1;
}
