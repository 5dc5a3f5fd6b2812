/* Keeps the ledger (design, section 4) up with what is stored: computes what a run of entries adds
 * to it, from the entries and from what PostgreSQL knows already, so that the result is the same
 * however a batch is cut. One worker's, one thread. */
#ifndef INGEST_LEDGER_H
#define INGEST_LEDGER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "ingest/batch.h"
#include "ingest/reduce.h"
#include "metrics/metrics.h"
#include "store/writer.h"

struct ledger;

/* Numbers of a partition that were lower than one read before. */
struct regression {
    uint64_t count;
    int64_t from; /* of the last */
    int64_t to;
};

struct ledger_cut {
    struct ledger_update update;
    struct partition *const *partitions; /* those of `reduced` */
    const struct offset_move *offsets;
    struct progress *begun; /* of the partitions, before these entries */
    struct regression *regressions;
    size_t n_partitions;
};

struct ledger *ledger_new(struct metrics *metrics);
void ledger_free(struct ledger *ledger);
/* Partitions are gone, or PostgreSQL may know less than was thought. */
void ledger_forget(struct ledger *ledger);

/* Entries [from, to) of the batch, reduced as `reduced`: fills `progress` of its offsets, and *cut.
 * They follow on what is committed; or on `before`, which is not yet. All memory comes from
 * `arena`. Nothing is changed yet. */
void ledger_compute(const struct ledger *ledger, const struct batch *batch, size_t from, size_t to,
                    struct reduced *reduced, const struct ledger_cut *before, struct arena *arena,
                    struct ledger_cut *cut);
/* The partitions have come to where the cut begins. */
bool ledger_is_current(const struct ledger_cut *cut);
/* It was committed. `found` is what PostgreSQL said; NULL: the answer was lost. */
void ledger_committed(struct ledger *ledger, const struct ledger_cut *cut,
                      const struct ledger_found *found);

#endif
