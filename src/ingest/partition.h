/* The partitions that the group has given to this worker, and where each of them stands. One
 * thread. */
#ifndef INGEST_PARTITION_H
#define INGEST_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/trail.h"
#include "metrics/metrics.h"
#include "store/ledger.h"

enum partition_state {
    PARTITION_NEW,     /* where to begin is not known yet */
    PARTITION_READING, /* consumed from `next` on */
    PARTITION_DOUBTED, /* perhaps Kafka has no longer what was read, or `next`: it is being asked */
    PARTITION_HELD,    /* a table of its stream refuses every row: not consumed until tried again */
    PARTITION_ORPHAN,  /* no stream reads its topic any more: waits for the group to take it away */
};

struct partition {
    char *topic;
    int32_t number;
    enum partition_state state;
    int64_t next;      /* offset after the last gathered message */
    int64_t stored;    /* what PostgreSQL holds */
    int64_t flushing;  /* of that, what waits to be flushed before Kafka is told; -1: nothing */
    int64_t announced; /* what Kafka was last told; -1: nothing by us */
    struct trail trail;
    struct progress progress; /* as PostgreSQL holds it with `stored` */
    struct counter *messages;
    struct gauge *lag;
    struct gauge *assigned;
};

struct partitions {
    struct partition **items; /* each stays where it is until partitions_clear */
    size_t count;
    size_t last_found;
};

/* Adds one in state NEW. */
struct partition *partitions_add(struct partitions *partitions, struct metrics *metrics,
                                 const char *topic, int32_t number);
/* NULL when it is not ours. */
struct partition *partitions_find(struct partitions *partitions, const char *topic, int32_t number);
/* Forgets all; their gauges leave the exposition. */
void partitions_clear(struct partitions *partitions);

/* Those of the topic that are consumed, or would be: HELD, at what is stored. */
void partitions_hold(struct partitions *partitions, const char *topic);
/* Those that were held: READING. */
void partitions_resume(struct partitions *partitions, const char *topic);

/* Aborts when `state` may not follow the present one. */
void partition_set_state(struct partition *partition, enum partition_state state);
const char *partition_state_name(enum partition_state state);
/* PostgreSQL holds `offset` and `progress`, and consuming goes on there; `marks` is what it knows
 * of the messages before. */
void partition_place(struct partition *partition, int64_t offset, const struct progress *progress,
                     const struct marks *marks);

#endif
