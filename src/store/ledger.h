/* What a batch adds to the ledger (migrations/006_ledger.sql, design section 4): what the writer
 * sends and the functions there take. Bounds of numbers: from exclusive, to inclusive. */
#ifndef STORE_LEDGER_H
#define STORE_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define LEDGER_SERIES_MAX 255 /* bytes of a series' name; longer ones are not tracked */
#define LEDGER_TABLE_MAX  127

enum hole_reason { HOLE_NONE, HOLE_REJECTED, HOLE_LOST };
/* "rejected", "lost"; NULL for none. */
const char *hole_reason_name(enum hole_reason reason);

/* What is known of a partition whose stream numbers globally, as in ingest_offsets. */
struct progress {
    bool has_max;
    int64_t max_sequence; /* the highest number read */
    bool has_clear;
    int64_t clear_to; /* read to its end, it holds nothing back up to here */
    /* Something was lost and nobody knows which number it had: less than the next one. */
    enum hole_reason hole;
    char hole_table[LEDGER_TABLE_MAX + 1]; /* whose number it was; "": of any series */
    char hole_series[LEDGER_SERIES_MAX + 1];
};

/* A series: one value of a table's track.by. */
struct series_name {
    const char *table;
    struct bytes series;
};

struct series_range {
    struct series_name name;
    int32_t day; /* since 1970, UTC */
    int64_t min_sequence;
    int64_t max_sequence;
    int64_t min_time_ms;
    int64_t max_time_ms;
};

/* A partition that carries a series. */
struct series_place {
    struct series_name name;
    const char *topic;
    int32_t partition;
};

/* Consecutive numbers that a densely numbered series had. */
struct series_run {
    struct series_place place;
    int64_t from;
    int64_t to;
    bool accepted; /* else skipped or rejected */
};

struct series_gap {
    struct series_place place; /* table NULL: every series of the partition */
    int64_t from;
    int64_t to;
    enum hole_reason reason;
};

/* A number that came after its series had gone on. */
struct series_late {
    struct series_name name;
    int64_t sequence;
};

struct ledger_update {
    const struct series_run *runs;
    size_t n_runs;
    const struct series_late *late; /* may lie in a gap of an earlier batch: no longer */
    size_t n_late;
    const struct series_gap *gaps;
    size_t n_gaps;
    const struct series_place *places; /* of globally numbered series, perhaps new */
    size_t n_places;
    const struct series_range *ranges;
    size_t n_ranges;
};

/* What PostgreSQL found while it took the runs. */
struct ledger_found {
    uint64_t never_received; /* gaps opened */
    char split_series[400];  /* a dense series that is in two partitions now; "": none */
};

#endif
