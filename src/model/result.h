/* What a query returned, as store lends it to rules: nothing is copied. */
#ifndef MODEL_RESULT_H
#define MODEL_RESULT_H

#include <stdbool.h>
#include <stddef.h>

#include "model/value.h"

struct result_column {
    const char *name;
    enum value_type type; /* how the cells are to be read; a PostgreSQL type that has no counterpart
                             is VALUE_TEXT */
};

/* Borrowed: valid until the callback that received it returns. Cells are PostgreSQL's text format.
 * A timestamptz column is VALUE_TEXT: a statement that wants milliseconds says so in SQL. */
struct result {
    const struct result_column *columns;
    size_t n_columns;
    size_t n_rows;
    /* The cell, absent (data NULL) for SQL NULL. */
    struct bytes (*cell)(const struct result *result, size_t row, size_t column);
    const void *source; /* store's own */
};

#endif
