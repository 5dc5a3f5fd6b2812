/* What TimescaleDB says of the tables: part of loading a schema (schema.c). */
#ifndef STORE_HYPERTABLE_H
#define STORE_HYPERTABLE_H

#include <stdbool.h>

#include "store/schema_private.h"

/* Sends the question whether TimescaleDB is in this database and loaded; the answer is in
 * schema->timescale. False: not sent. */
bool hypertable_ask_extension(struct connection *connection, struct schema *schema)
    __attribute__((warn_unused_result));

/* Sends the question which of `names` (a text[] literal of the schema's tables, in their order) are
 * hypertables and by which columns they are compressed. In a segment after the answer to the first
 * one, and only when that found the extension: its tables do not exist without it. */
bool hypertable_ask_tables(struct connection *connection, const char *names, struct schema *schema)
    __attribute__((warn_unused_result));

#endif
