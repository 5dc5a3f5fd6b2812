/* Which series of the ledger a row belongs to, as text: the values of the table's track.by in
 * order, '/' in them doubled, joined by '/' (ledger_series() in migrations/006_ledger.sql). */
#ifndef MODEL_SERIES_H
#define MODEL_SERIES_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "model/table.h"

/* Appends one more value of a series. False when it is NULL: there is no such series. */
bool series_append(struct buffer *series, bool is_first, const struct value *value)
    __attribute__((warn_unused_result));

/* Absent when one of the values is NULL. The table is tracked. */
struct bytes series_of_row(const struct row *row, struct arena *arena);

#endif
