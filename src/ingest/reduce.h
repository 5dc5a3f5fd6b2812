/* Makes of a run of entries what is to be written: for each key the row that wins, the moved
 * offsets, the rejected messages. The entries stay as they are, so that any part of a batch can be
 * reduced again. */
#ifndef INGEST_REDUCE_H
#define INGEST_REDUCE_H

#include <stddef.h>

#include "base/arena.h"
#include "ingest/batch.h"
#include "store/writer.h"

struct reduced {
    struct write_rows *tables; /* in the order of their names, so that workers cannot deadlock */
    size_t *n_seen;            /* for each table: rows before they were reduced */
    size_t n_tables;
    struct offset_move *offsets;
    struct partition **partitions; /* of the offsets, in their order */
    size_t n_offsets;
    struct rejection *rejections;
    size_t n_rejections;
};

/* Entries [from, to) of the batch. All memory comes from `arena`. Of two rows with one key the
 * greater `newer` value wins, NULL lowest; of equals, and without `newer`, the later. */
void reduce_range(const struct batch *batch, size_t from, size_t to, struct arena *arena,
                  struct reduced *out);

#endif
