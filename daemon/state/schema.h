/* SPDX-License-Identifier: Apache-2.0 */
/* The migrations of schema/, embedded by schema/embed.sh. */
#pragma once

/* SQL that leads from version i to i + 1. Append-only: what was released is never changed. */
extern const char *const schema_migrations[];
/* The schema version that this daemon writes. */
extern const unsigned n_schema_migrations;
