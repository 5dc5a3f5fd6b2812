/* Writes batches: rows, moved offsets and rejected messages, all in one transaction, on one
 * connection. Belongs to one ingest thread. */
#ifndef STORE_WRITER_H
#define STORE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "model/table.h"
#include "store/connection.h"
#include "store/ledger.h"
#include "store/marks.h"
#include "store/schema.h"

struct event_base;
struct writer;

struct write_rows {
    const struct table_def *table;
    const struct row *const *rows; /* at most one for each key, sorted by key */
    size_t n_rows;
};

struct offset_move {
    const char *topic;
    int32_t partition;
    int64_t from; /* what PostgreSQL must hold now */
    int64_t to;
    struct progress progress; /* max_sequence and hole, after the move */
};

struct rejection {
    const char *stream;
    const char *topic;
    int32_t partition;
    int64_t offset;
    struct bytes key;
    struct bytes payload;
    const char *stage;
    struct bytes reason;
    const char *sqlstate; /* NULL: none */
    const char *rules_hash;
    struct bytes symbol;
    bool has_sequence;
    int64_t sequence;
};

/* How it went with a rejected message that was run again. */
struct settlement {
    int64_t id;
    bool passed; /* stored, or skipped now; else the fields below say why not */
    const char *stage;
    struct bytes reason;
    const char *sqlstate;
};

/* A number that a series has got after all: taken out of the ledger's gaps, into its ranges. */
struct healed_number {
    const char *table;
    struct bytes series;
    int64_t sequence;
    int64_t time_ms;
};

struct write_batch {
    const char *group_id;
    /* So many numbers are taken from sequence_tracker in the batch's own transaction, before
     * anything else; on_numbers gets the first of them and fills in the rest of the batch, and may
     * be called again when the batch has to begin anew. Until the end of the transaction nobody
     * else gets a number: what is rolled back nobody has seen, and it is given out again. */
    size_t n_numbers;
    void (*on_numbers)(int64_t first, void *arg);
    void *numbers_arg;
    const struct write_rows *tables;
    size_t n_tables;
    const struct offset_move *offsets;
    size_t n_offsets;
    const struct rejection *rejections;
    size_t n_rejections;
    const struct ledger_update *ledger;   /* NULL: nothing */
    const struct settlement *settlements; /* WRITE_SWAPPED when one was settled by another */
    size_t n_settlements;
    const char *rules_hash; /* of the settlements */
    const struct healed_number *healed;
    size_t n_healed;
    enum upsert_order order; /* of all rows */
    bool durable;            /* commit synchronously (always where numbers are taken); else the
                                connection's synchronous_commit = off */
    bool rehearse;           /* run everything, then roll back: is this row good? */
};

enum write_outcome {
    WRITE_COMMITTED, /* for a rehearsal: would have been */
    WRITE_SWAPPED,   /* somebody else moved the offsets: nothing was written; re-read them */
    WRITE_REFUSED, /* nothing was written: sqlstate, table and error say why; the class says what to
                      do */
    WRITE_LOST, /* the connection went away: read the offsets to learn whether it was committed */
};

struct write_result {
    enum write_outcome outcome;
    enum sqlstate_class class; /* WRITE_REFUSED */
    struct segment_failure failure;
    size_t table; /* WRITE_REFUSED: index into batch.tables, or n_tables when it was none of them */
    struct ledger_found found; /* WRITE_COMMITTED */
};

struct writer_options {
    const char *conninfo;
    const char *application_name;
    int connect_timeout_ms;
    int write_timeout_ms;
};

/* `events` as those of a connection. The writer opens its connection at once. */
struct writer *writer_new(struct event_base *base, const struct writer_options *options,
                          const struct connection_events *events, void *arg);
void writer_free(struct writer *writer);
bool writer_is_ready(const struct writer *writer);
const char *writer_trouble(const struct writer *writer);
/* Drops the connection; a write in flight ends as WRITE_LOST; it then connects again. */
void writer_reset(struct writer *writer);

/* The schema that statements are made for; held. Given before the first submit and after each
 * reload. */
void writer_set_schema(struct writer *writer, struct schema *schema);

/* One at a time: false when one is in flight or the connection is not ready. `batch` and all it
 * points to must stay until `done`, which is called exactly once, never from inside this call. */
bool writer_submit(struct writer *writer, const struct write_batch *batch,
                   void (*done)(const struct write_result *result, void *arg), void *arg)
    __attribute__((warn_unused_result));

/* Makes the statements of a batch that is likely to be submitted next, so that it takes less time
 * then; at any time. It must not change in between: whoever changes it calls this again. NULL
 * forgets it, as any submit does. Not for batches that take numbers. */
void writer_prepare(struct writer *writer, const struct write_batch *batch);

struct partition_offset {
    const char *topic;
    int32_t partition;
    bool known; /* PostgreSQL has a row */
    int64_t next_offset;
    struct progress progress; /* nothing known where there is no row */
    struct marks marks;       /* likewise */
};

/* Reads what PostgreSQL knows of the given partitions, filling `known`, `next_offset`, `progress`
 * and `marks`. Same rules as writer_submit. */
bool writer_read_offsets(struct writer *writer, const char *group_id,
                         struct partition_offset *partitions, size_t n_partitions,
                         void (*done)(bool ok, const struct error *err, void *arg), void *arg)
    __attribute__((warn_unused_result));
/* Makes rows for partitions that have none, at the given offset; where one has appeared meanwhile
 * it is left and *partitions gets its value. Same rules as writer_submit. */
bool writer_init_offsets(struct writer *writer, const char *group_id,
                         struct partition_offset *partitions, size_t n_partitions,
                         void (*done)(bool ok, const struct error *err, void *arg), void *arg)
    __attribute__((warn_unused_result));
/* The highest number read in any partition of a topic. */
struct topic_progress {
    const char *topic;
    bool has_max;
    int64_t max_sequence;
};
/* Fills `has_max` and `max_sequence`. Same rules as writer_submit. */
bool writer_read_topics(struct writer *writer, const char *group_id, struct topic_progress *topics,
                        size_t n_topics, void (*done)(bool ok, const struct error *err, void *arg),
                        void *arg) __attribute__((warn_unused_result));

/* A partition that was read to its end. */
struct quiet_partition {
    const char *topic;
    int32_t partition;
    int64_t next_offset; /* passed over when PostgreSQL has moved on */
    int64_t clear_to;
};
/* Same rules as writer_submit. */
bool writer_clear(struct writer *writer, const char *group_id,
                  const struct quiet_partition *partitions, size_t n_partitions,
                  void (*done)(bool ok, const struct error *err, void *arg), void *arg)
    __attribute__((warn_unused_result));

/* What was read of a partition. */
struct marked_partition {
    const char *topic;
    int32_t partition;
    int64_t next_offset; /* passed over when PostgreSQL has moved on */
    struct marks marks;
};
/* Same rules as writer_submit. */
bool writer_save_marks(struct writer *writer, const char *group_id,
                       const struct marked_partition *partitions, size_t n_partitions,
                       void (*done)(bool ok, const struct error *err, void *arg), void *arg)
    __attribute__((warn_unused_result));

/* The WAL position up to which commits survive a crash of PostgreSQL (pg_current_wal_flush_lsn),
 * and that of the last commit. */
bool writer_read_flushed(struct writer *writer,
                         void (*done)(bool ok, uint64_t flushed_lsn, uint64_t insert_lsn,
                                      void *arg),
                         void *arg) __attribute__((warn_unused_result));

#endif
