/* What a worker tells about its work: metrics, and the log lines about stored and refused messages.
 * Everything is counted when it is committed, so a message that is read again counts once. */
#ifndef INGEST_COUNTS_H
#define INGEST_COUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/batch.h"
#include "ingest/partition.h"
#include "ingest/reduce.h"
#include "metrics/metrics.h"

struct counts;

struct counts *counts_new(struct metrics *metrics);
void counts_free(struct counts *counts);

/* Entries [from, to) of the batch were committed as `reduced`, after a write of `write_us`. */
void counts_stored(struct counts *counts, const struct batch *batch, size_t from, size_t to,
                   const struct reduced *reduced, int64_t write_us);
/* Writes the "Saved" lines that are due, or all that there is. */
void counts_say_saved(struct counts *counts, bool all);

/* A write will be tried again. `sqlstate` "" for a lost connection. */
void counts_retry(struct counts *counts, const char *sqlstate);
void counts_swapped(struct counts *counts);
void counts_lost(struct counts *counts, const struct partition *partition, uint64_t messages);
void counts_made_anew(struct counts *counts, const struct partition *partition);
void counts_paused(struct counts *counts, const char *stream, bool paused);

#endif
