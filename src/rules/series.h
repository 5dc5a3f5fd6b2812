/* Which series a message belongs to that has no row to say it: the functions `series` and
 * `track_key` of a stream file. Private to rules/. */
#ifndef RULES_SERIES_H
#define RULES_SERIES_H

#include <stdbool.h>
#include <stddef.h>

#include "message/reader.h"
#include "rules/internal.h"

/* For a message that `*result` refuses or skips: fills series_table and series where a function of
 * the stream knows. `record` NULL: no field could be read. */
void rules_find_series(struct rules_state *state, size_t stream, const struct message *message,
                       const struct record *record, struct arena *arena, struct map_result *result);

#endif
