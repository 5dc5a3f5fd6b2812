/* What a run of entries adds to the ledger, while it is being gathered: for each series of each
 * partition the ranges, numbers and gaps. Private to the ledger (ledger.h). */
#ifndef INGEST_CUT_H
#define INGEST_CUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "ingest/partition.h"
#include "model/table.h"
#include "store/ledger.h"

struct cut_range;
struct cut_run;
struct cut_gap;

/* One series in one partition; or in all of them (`partition` NULL), for its gaps. */
struct cut_series {
    const struct partition *partition;
    struct series_name name;
    bool is_dense;
    struct cut_range *ranges;
    struct cut_run *runs;     /* the last one first */
    struct cut_gap *gaps;     /* the last one first; kept at `whole` */
    struct cut_series *whole; /* the same in all partitions; NULL: not needed yet */
    struct cut_series *next;
};

struct cut_index { /* open addressing, a power of two of places, at most half of them taken */
    struct cut_place *places;
    size_t mask;
    size_t n_taken;
};

/* Zero-initialised but for `arena`, from which all memory comes. */
struct cut {
    struct arena *arena;
    struct cut_series *series; /* all */
    struct cut_gap *wide_gaps; /* of every series of a partition */
    struct cut_late *late;
    size_t n_late;
    struct cut_index by_values; /* finds a series by the values of a row */
    struct cut_index by_name;
};

/* The series of a row; NULL when a value is NULL, or the name is too long to be tracked. */
struct cut_series *cut_find_row(struct cut *cut, const struct partition *partition,
                                const struct row *row);
struct cut_series *cut_find_name(struct cut *cut, const struct partition *partition,
                                 const char *table, struct bytes series);

/* A row with this number was accepted. */
void cut_widen(struct cut *cut, struct cut_series *series, int64_t sequence, int64_t time_ms);
/* A densely numbered series had this number. */
void cut_count(struct cut *cut, struct cut_series *series, int64_t sequence, bool accepted);
/* `series` NULL: of every series of the partition. */
void cut_open_gap(struct cut *cut, const struct partition *partition, struct cut_series *series,
                  int64_t from, int64_t to, enum hole_reason reason);
/* An accepted number that came late leaves the gaps that this run has opened... */
void cut_heal(struct cut *cut, struct cut_series *series, int64_t sequence);
/* ... and is to leave those that PostgreSQL knows. */
void cut_add_late(struct cut *cut, const struct cut_series *series, int64_t sequence);

/* All of it but the places, as arrays; runs of a series in the order in which they came. */
void cut_close(const struct cut *cut, struct ledger_update *update);

#endif
