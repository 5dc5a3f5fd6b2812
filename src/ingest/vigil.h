/* Notices that a topic is deleted and made anew while it is read, and keeps in PostgreSQL what is
 * needed to notice it at the next start (trail.h). Kafka clients see neither: they go on at their
 * offset as soon as the new topic is long enough.
 *
 * Every few seconds, in this order: of each partition a message that is stored is chosen, then
 * Kafka is asked whether one chosen before is still there. If so, so is the one chosen now, and it
 * takes its place. */
#ifndef INGEST_VIGIL_H
#define INGEST_VIGIL_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/consumer.h"
#include "ingest/partition.h"
#include "store/writer.h"

struct vigil;

struct vigil_options {
    struct writer *writer;
    struct consumer *consumer;
    struct probe *probe;
    struct partitions *partitions;
    const char *group_id;
    /* Other messages lie where this partition was read. */
    void (*on_anew)(struct partition *partition, void *arg);
    void (*on_lookup)(void *arg);   /* in another thread: vigil_step may have more to do */
    void (*on_progress)(void *arg); /* the writer is free again */
    void *arg;
};

struct vigil *vigil_new(const struct vigil_options *options);
/* The writer goes first, the consumer and the probe later. */
void vigil_free(struct vigil *vigil);
/* It waits for the writer. */
bool vigil_is_due(const struct vigil *vigil);
/* When something is due and the writer is free. Partitions may come and go in between. */
void vigil_step(struct vigil *vigil, int64_t now_ms);

/* Says so, once for each such finding. */
void vigil_say_changed(const struct partition *partition);

#endif
