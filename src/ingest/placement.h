/* Finds out where each given partition begins and has it consumed from there: what PostgreSQL
 * knows, else what the group has committed to Kafka, else the first message there is. Also finds
 * the place to go on where Kafka has lost messages, or has others than those that were read. Keeps
 * trying while one of the two is away. */
#ifndef INGEST_PLACEMENT_H
#define INGEST_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/consumer.h"
#include "ingest/lookup.h"
#include "ingest/partition.h"
#include "store/writer.h"

struct placement;

struct placement_options {
    struct writer *writer;
    struct consumer *consumer;
    struct lookup *lookup;
    struct partitions *partitions;
    const char *group_id;
    /* The partition is to go on at `to`: Kafka has lost the messages before it, or (`is_anew`) the
     * topic was made anew. Called from placement_step. */
    void (*on_gap)(struct partition *partition, int64_t to, bool is_anew, void *arg);
    /* PostgreSQL no longer stands where it has said: a crash takes back what was committed last.
     * All must begin anew. Called when an answer comes. */
    void (*on_moved)(void *arg);
    /* An answer has come: placement_step may have more to do. */
    void (*on_progress)(void *arg);
    void *arg;
};

struct placement *placement_new(const struct placement_options *options);
/* The writer and the lookup go first. */
void placement_free(struct placement *placement);

/* Begins anew with all partitions, which become NEW; nothing is consumed until they are known. */
void placement_begin(struct placement *placement);
/* After a lost connection: compares what PostgreSQL holds with what it has confirmed. False: not
 * now, ask again; the places are still being found. */
bool placement_check(struct placement *placement);
bool placement_is_checking(const struct placement *placement);
/* Forgets what is being asked. */
void placement_cancel(struct placement *placement);
/* A question to PostgreSQL is in flight: the partitions must stay. */
bool placement_is_busy(const struct placement *placement);
/* Some partition's place is not known yet. */
bool placement_is_open(const struct placement *placement);
void placement_step(struct placement *placement, int64_t now_ms);
/* Why it does not get on, "" when it does. */
const char *placement_trouble(const struct placement *placement);

#endif
