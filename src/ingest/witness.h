/* For each table the row that PostgreSQL accepted last, copied. When a row is refused, this one is
 * rehearsed: if it is refused too, the table has changed, not the data. */
#ifndef INGEST_WITNESS_H
#define INGEST_WITNESS_H

#include <stddef.h>

#include "model/table.h"

struct witness;

struct witnesses {
    struct witness **items;
    size_t count;
};

/* Copies the row in place of the one before it. */
void witnesses_keep(struct witnesses *witnesses, const struct row *row);
/* The row for a table of the same name and columns, as a row of `table`; NULL when there is none.
 * Valid until the next call. */
const struct row *witnesses_find(struct witnesses *witnesses, const struct table_def *table);
void witnesses_free(struct witnesses *witnesses);

#endif
