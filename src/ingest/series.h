/* Which series of the ledger a row belongs to. */
#ifndef INGEST_SERIES_H
#define INGEST_SERIES_H

#include <stdbool.h>

#include "base/arena.h"
#include "model/table.h"
#include "store/writer.h"

/* The values of the table's track.by as text, '/' in them doubled, joined by '/' (ledger_series in
 * migrations/006_ledger.sql). Absent when one of them is NULL. The table is tracked. */
struct bytes series_of_row(const struct row *row, struct arena *arena);

/* The number that a stored row gives to its series; false when the table is not tracked, or the row
 * has no number, time or series. */
bool series_number(const struct row *row, struct arena *arena, struct healed_number *out);

#endif
