/* Rows out of Lua tables. Private to rules/. */
#ifndef RULES_MAP_H
#define RULES_MAP_H

#include <lua.h>

#include "rules/convert.h"
#include "rules/internal.h"

/* At most this many rows from one message. */
#define RULES_ROWS_MAX 10000

/* Reads { table = row or array of rows, ... } at `index` into rows of the arena, ordered by table.
 * False: `reason` names table, column and what was expected. Raises for limits only. */
bool rules_take_rows(struct taker *taker, const struct stream_def *stream,
                     const struct rules_stream *runtime, int index, struct row **rows,
                     size_t *n_rows, struct error *reason);

#endif
