/* A batch as statements: what writer_submit sends, in order. */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "store/connection.h"
#include "store/segment.h"
#include "store/writer.h"

/* SQLSTATE with which a rehearsal that went well ends itself. */
#define REHEARSED_SQLSTATE "CS002"

/* For a batch that takes numbers, in a segment of its own: begins the transaction, and `on_number`
 * gets the last of them, or no row where sequence_tracker has none. Same returns. */
bool batch_send_reservation(struct connection *connection, const struct write_batch *batch,
                            statement_result_cb on_number, void *arg)
    __attribute__((warn_unused_result));

/* All of a batch but the Sync; ends the transaction of a reservation. */
struct batch_segment {
    const struct write_batch *batch; /* NULL: none */
    struct segment statements;
    size_t *tables; /* of each statement: index into batch->tables, n_tables: about none of them */
};

/* Replaces what `out` had. `found` is filled while the segment is answered. */
void batch_encode(const struct write_batch *batch, const struct schema *schema,
                  struct ledger_found *found, struct batch_segment *out);
/* The index into batch->tables of what statement number `statement` is about, else n_tables. */
size_t batch_segment_table(const struct batch_segment *segment, size_t statement);
void batch_segment_clear(struct batch_segment *segment);
void batch_segment_free(struct batch_segment *segment);

#endif
