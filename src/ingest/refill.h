/* Keeps librdkafka fetching. Up to 2.1 a broker's thread that finds the queue full looks again only
 * when it has something else to do, or after a second: by then a fast reader has long been idle
 * (from 2.2 on there is fetch.queue.backoff.ms). So while much is read, the leaders are asked for
 * the ends of the partitions now and then, which gives their threads something to do. The question
 * blocks: it is asked by a thread of its own. */
#ifndef INGEST_REFILL_H
#define INGEST_REFILL_H

#include <stddef.h>

#include <librdkafka/rdkafka.h>

struct refill;

/* `queue_bytes`: what librdkafka holds at most. */
struct refill *refill_new(rd_kafka_t *kafka, size_t queue_bytes);
/* Waits for a question in flight, at most REFILL_TIMEOUT_MS. NULL is accepted. */
void refill_free(struct refill *refill);
#define REFILL_TIMEOUT_MS 500

/* The partitions that are consumed from now on; copied. */
void refill_set_partitions(struct refill *refill, const rd_kafka_topic_partition_list_t *list);
/* So much has been taken out of the queue. */
void refill_took(struct refill *refill, size_t messages, size_t bytes);

#endif
