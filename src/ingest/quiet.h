/* Lets partitions that were read to their end hold nothing back (ingest_offsets.clear_to): with one
 * counter for all, a partition in which nothing happens would else keep every series that it
 * carries at the number that it had last.
 *
 * About once a second, in this order: the highest number of each topic is read from PostgreSQL,
 * then Kafka is asked where the partitions end. What lay there when the number was stored is older
 * than this answer, so a partition that stands at its end has nothing below that number to come. */
#ifndef INGEST_QUIET_H
#define INGEST_QUIET_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/consumer.h"
#include "ingest/partition.h"
#include "store/writer.h"

struct quiet;

struct quiet_options {
    struct writer *writer;
    struct consumer *consumer;
    struct partitions *partitions;
    const char *group_id;
    void (*on_lookup)(void *arg);   /* in another thread: quiet_step may have more to do */
    void (*on_progress)(void *arg); /* likewise, in this thread */
    void *arg;
};

struct quiet *quiet_new(const struct quiet_options *options);
/* The writer goes first, the consumer later. */
void quiet_free(struct quiet *quiet);
/* It waits for the writer. */
bool quiet_is_due(const struct quiet *quiet, int64_t now_ms);
/* When something is due and the writer is free. Partitions may come and go in between. */
void quiet_step(struct quiet *quiet, int64_t now_ms);

#endif
