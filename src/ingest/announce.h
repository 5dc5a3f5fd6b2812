/* Tells Kafka how far the group is, for lag tools and for going back to another program: at most
 * once a second, and only what PostgreSQL has flushed, as commits there are asynchronous. */
#ifndef INGEST_ANNOUNCE_H
#define INGEST_ANNOUNCE_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/consumer.h"
#include "ingest/partition.h"
#include "store/writer.h"

struct announce {
    struct writer *writer;
    struct consumer *consumer;
    struct partitions *partitions;
    bool asking; /* a question to PostgreSQL is in flight */
    int64_t next_ms;
    uint64_t lsn; /* `flushing` of the partitions survives a crash once this is flushed */
};

/* It waits for the writer. */
bool announce_is_due(const struct announce *announce, int64_t now_ms);
/* When something is due and the writer is free. */
void announce_step(struct announce *announce, int64_t now_ms);
/* Everything that is stored, flushed or not: at a clean stop. */
void announce_all(struct announce *announce);

#endif
