/* The Kafka side of one worker: librdkafka on an event loop, nothing blocks.
 *
 * Two queues, so that a full batch stops messages without stopping the group: the consumer's own
 * queue carries rebalances, errors and answers and is always served; the partitions are forwarded
 * to a second one, from which only consumer_read takes. What lies there is bounded by
 * INGEST_PREFETCH_BYTES. Both write to one file descriptor.
 *
 * Rebalancing is eager: the group gives all partitions, and takes all. */
#ifndef INGEST_CONSUMER_H
#define INGEST_CONSUMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "config/settings.h"
#include "ingest/partition.h"
#include "rules/state.h"

struct consumer;

struct consumer_events {
    /* The group has given these partitions: nothing is consumed before consumer_place. */
    void (*on_given)(const rd_kafka_topic_partition_list_t *list, void *arg);
    /* The group takes everything back and waits for consumer_let_go; when `lost` it has already
     * given it to others. */
    void (*on_taken)(bool lost, void *arg);
};

/* NULL with `err`. Brokers are not awaited. */
struct consumer *consumer_new(const struct settings *settings, int number,
                              const struct consumer_events *events, void *arg, struct error *err)
    __attribute__((warn_unused_result));
/* Without waiting for the group; see consumer_close. All messages must have been released. */
void consumer_free(struct consumer *consumer);

/* Readable when consumer_poll or consumer_read may have something. */
int consumer_fd(const struct consumer *consumer);
rd_kafka_t *consumer_handle(struct consumer *consumer);

/* Serves what is not a message; calls the events. To be called when the fd is readable and at least
 * every few seconds. */
void consumer_poll(struct consumer *consumer);

enum item_kind {
    ITEM_MESSAGE,
    ITEM_END,  /* nothing behind message.offset yet */
    ITEM_LOST, /* Kafka has no such offset: the partition stands still */
};

struct item {
    enum item_kind kind;
    struct message message; /* its memory is held by `kept` */
    void *kept;             /* consumer_release it */
};

/* Takes at most `max` items that are at hand. */
size_t consumer_read(struct consumer *consumer, struct item *items, size_t max);
void consumer_release(void *kept);

/* False with `err` when librdkafka refuses. A running assignment is taken back first. */
bool consumer_subscribe(struct consumer *consumer, const char *const *topics, size_t n_topics,
                        struct error *err) __attribute__((warn_unused_result));
/* Consumes the partitions that are READING from their `next` on, and no other. What was fetched
 * before is dropped. */
void consumer_place(struct consumer *consumer, const struct partitions *partitions);
/* Answers on_taken. */
void consumer_let_go(struct consumer *consumer);

/* Tells Kafka, for tools, that everything below each partition's `announced` is done. */
void consumer_commit(struct consumer *consumer, const struct partitions *partitions);
/* Commits that Kafka has not answered. */
int consumer_commits_in_flight(const struct consumer *consumer);

/* The end of the partition as of the last fetch; -1 when it is not known. */
int64_t consumer_end_offset(struct consumer *consumer, const char *topic, int32_t partition);

/* The first offset of the partition, as of a few seconds ago; -1 when it is not known. */
int64_t consumer_first_offset(struct consumer *consumer, const char *topic, int32_t partition);

/* A broker is connected. */
bool consumer_is_connected(const struct consumer *consumer);
/* No broker has answered anything lately, as far as is known: nothing is for 2 s after the start.
 */
bool consumer_is_silent(const struct consumer *consumer);
/* What Kafka complains about, "" when it has not for a while. */
const char *consumer_trouble(const struct consumer *consumer);

/* Leaves the group. consumer_poll goes on being called until consumer_is_closed. */
void consumer_close(struct consumer *consumer);
bool consumer_is_closed(const struct consumer *consumer);

#endif
