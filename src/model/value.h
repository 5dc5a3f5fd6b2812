/* The types that rules declare and the values that rules make and PostgreSQL stores. */
#ifndef MODEL_VALUE_H
#define MODEL_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* One type for a field of a message and for a column of a table; they differ in the name of
 * VALUE_TIME only. */
enum value_type {
    VALUE_TEXT,    /* "text": UTF-8 without U+0000 */
    VALUE_INT8,    /* "int8": a whole number, 64 bits, signed */
    VALUE_FLOAT8,  /* "float8": a finite double */
    VALUE_NUMERIC, /* "numeric": a decimal number as its text, exact; value_is_numeric() */
    VALUE_BOOL,    /* "bool" */
    VALUE_TIME,    /* "ms" as a field, "timestamptz" as a column: milliseconds since 1970 UTC */
    VALUE_JSON,    /* "json" ("jsonb" is accepted for a column): one JSON text */
};

struct value {
    enum value_type type;
    bool is_null;
    union {
        int64_t int8;  /* VALUE_INT8, VALUE_TIME */
        double float8; /* VALUE_FLOAT8 */
        bool boolean;  /* VALUE_BOOL */
        /* VALUE_TEXT, VALUE_NUMERIC, VALUE_JSON; for VALUE_FLOAT8 see `source` */
        struct bytes text;
    };
    /* VALUE_FLOAT8: the decimal text it was read from where it is known, so that a numeric column
     * gets every digit; absent otherwise */
    struct bytes source;
};

/* "text", "float8", ... as a column's type; NULL is never returned. */
const char *value_type_column_name(enum value_type type);
const char *value_type_field_name(enum value_type type);
/* False when the name is no type. Names are exact, without the `?` of optional ones. */
bool value_type_from_column_name(struct bytes name, enum value_type *type);
bool value_type_from_field_name(struct bytes name, enum value_type *type);

/* A total order within one type, NULL lowest; numeric text compares by value, exactly: "1.50"
 * equals "15e-1". For sorting keys and for "which row wins". Values of two types abort. */
int value_compare(const struct value *a, const struct value *b);
/* Values that compare as equal hash alike. */
uint64_t value_hash(uint64_t seed, const struct value *value);

/* Strict readers of text: the whole of it must be the number. On false `*number` is not touched. */
/* Digits and an optional minus, within 64 bits; no leading zeros, "5.0" is none. */
bool value_parse_int8(struct bytes text, int64_t *number);
/* JSON's number grammar, finite as a double. */
bool value_parse_float8(struct bytes text, double *number);
/* JSON's number grammar. */
bool value_is_numeric(struct bytes text);

#endif
