/* Array parameters in PostgreSQL's binary format
 * (https://github.com/postgres/postgres/blob/REL_15_STABLE/src/backend/utils/adt/arrayfuncs.c,
 * array_recv): one dimension, elements behind one another, each with its length. */
#ifndef STORE_ARRAYS_H
#define STORE_ARRAYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "model/value.h"

/* Type oids, fixed in PostgreSQL's catalogs. */
enum pg_type {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_INT8 = 20,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_FLOAT8 = 701,
    PG_DATE = 1082,
    PG_TIMESTAMPTZ = 1184,
};

/* Begins an array of `n` elements in an empty buffer; exactly n array_add_... must follow. */
void array_begin(struct buffer *array, enum pg_type element, size_t n);
void array_add_null(struct buffer *array);
void array_add_int4(struct buffer *array, int32_t number);
void array_add_int8(struct buffer *array, int64_t number);
/* A date, in days since 1970. */
void array_add_day(struct buffer *array, int32_t day);
/* Absent is NULL. */
void array_add_bytes(struct buffer *array, struct bytes bytes);
/* Text from outside that is only to be read: what is not UTF-8, and NUL, becomes U+FFFD. */
void array_add_cleaned(struct buffer *array, struct bytes text);

/* The element type in which values of `wire` travel: numeric and JSON go as text. */
enum pg_type array_element(enum value_type wire);
/* `value` is of the declared type or of `wire` (schema_upsert_sql). */
void array_add_value(struct buffer *array, enum value_type wire, const struct value *value);

#endif
