/* Which number a stored row gives to the ledger. */
#ifndef INGEST_SERIES_H
#define INGEST_SERIES_H

#include <stdbool.h>

#include "base/arena.h"
#include "model/table.h"
#include "store/writer.h"

/* The number that a stored row gives to its series; false when the table is not tracked, or the row
 * has no number, time or series. */
bool series_number(const struct row *row, struct arena *arena, struct healed_number *out);

#endif
