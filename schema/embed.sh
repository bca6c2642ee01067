#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh FILE...: prints a C file that carries the migrations, in the order given (the position is the
# version). Comments come along: SQLite keeps those within a CREATE, and `.schema` shows them to readers.
set -eu

if [ $# -eq 0 ]; then
        echo "usage: embed.sh FILE..." >&2
        exit 2
fi
for file; do
        if [ ! -s "$file" ]; then
                echo "embed.sh: $file is empty or cannot be read" >&2
                exit 1
        fi
done

echo '/* Made by schema/embed.sh. */'
echo '#include "state/schema.h"'
echo
echo 'const char *const schema_migrations[] = {'
for file; do
        echo "        /* ${file##*/} */"
        sed -e 's/[\\"]/\\&/g' -e 's/^/        "/' -e 's/$/\\n"/' "$file"
        echo '        ,'
done
echo '};'
echo 'const unsigned n_schema_migrations = sizeof schema_migrations / sizeof *schema_migrations;'
