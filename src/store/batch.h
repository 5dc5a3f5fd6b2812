/* A batch as statements: what writer_submit sends, in order. */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "store/connection.h"
#include "store/writer.h"

/* SQLSTATE with which a rehearsal that went well ends itself. */
#define REHEARSED_SQLSTATE "CS002"

/* For a batch that takes numbers, in a segment of its own: begins the transaction, and `on_number`
 * gets the last of them, or no row where sequence_tracker has none. Same returns. */
bool batch_send_reservation(struct connection *connection, const struct write_batch *batch,
                            statement_result_cb on_number, void *arg)
    __attribute__((warn_unused_result));

/* Sends everything but the Sync; ends the transaction of a reservation. tables[n] gets, for
 * statement n of the segment, the index into batch->tables, or n_tables when it is about none; it
 * has room for n_tables + BATCH_OTHER. `found` is filled while the segment is answered. False: the
 * connection is not ready. */
#define BATCH_OTHER 16
bool batch_send(struct connection *connection, const struct schema *schema,
                const struct write_batch *batch, size_t *tables, struct ledger_found *found)
    __attribute__((warn_unused_result));

#endif
