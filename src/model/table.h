/* What a stream file says of its tables, as the host keeps it. Immutable once its generation is
 * published; owned by it. */
#ifndef MODEL_TABLE_H
#define MODEL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "model/value.h"

struct column_def {
    const char *name;
    enum value_type type;
    bool optional; /* declared with `?`: a row may leave it out, it is NULL then */
};

/* The series that a table is tracked by (the ledger); indexes into table_def.columns. */
struct track_def {
    size_t *by; /* NULL: the table is not tracked */
    size_t n_by;
    size_t sequence;
    size_t time;
};

struct table_def {
    const char *name; /* as in the rule file: a table on the search_path, or schema.table */
    /* in the order of their names, so that equal definitions make equal statements */
    struct column_def *columns;
    size_t n_columns;
    size_t *key; /* the conflict target; indexes into columns; at least one */
    size_t n_key;
    bool has_newer;
    size_t newer; /* the column whose greatest value wins; valid when has_newer */
    struct track_def track;
};

/* One row on its way to a table. Memory: the arena of its batch, or whatever the value points into
 * (the payload). */
struct row {
    const struct table_def *table;
    struct value *values; /* table->n_columns of them */
};

#endif
