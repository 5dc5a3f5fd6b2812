/* One run of a batch's entries as the write that stores it; or one row, to be rehearsed. */
#ifndef INGEST_OUTGOING_H
#define INGEST_OUTGOING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "ingest/batch.h"
#include "ingest/ledger.h"
#include "ingest/reduce.h"
#include "store/writer.h"

struct outgoing {
    struct batch *batch; /* NULL: none */
    size_t from, to;     /* its entries */
    const struct ledger *ledger;
    struct arena arena; /* of all that follows */
    struct reduced reduced;
    struct ledger_cut cut;
    struct write_rows rehearsed;
    struct write_batch write;
};

/* Entries [from, to) of the batch; `before`: as they are once this has been committed, NULL: as
 * partitions and ledger stand now. False when there is nothing to be stored in them. */
bool outgoing_make(struct outgoing *out, const char *group_id, const struct ledger *ledger,
                   struct batch *batch, size_t from, size_t to, const struct outgoing *before);
/* A write of one row that is rolled back. `numbered`: its stream is, by the tracker. */
void outgoing_rehearse(struct outgoing *out, const char *group_id, const struct row *row,
                       bool numbered);
/* What it was made of is still so: the entries, and where their partitions stand. */
bool outgoing_is_current(const struct outgoing *out);
/* Forgets what it was made of. */
void outgoing_clear(struct outgoing *out);
void outgoing_free(struct outgoing *out);

#endif
