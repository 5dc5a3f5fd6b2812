/* Asks Kafka about partitions: the group's committed offset, the first and the last offset. These
 * calls of librdkafka block, so they run in a thread of their own, one question at a time. */
#ifndef INGEST_LOOKUP_H
#define INGEST_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/error.h"

struct lookup;

struct lookup_item {
    char *topic; /* owned by the lookup once started */
    int32_t partition;
    int64_t committed; /* -1: the group has committed nothing there */
    int64_t low;       /* the first offset that Kafka has */
    int64_t high;      /* the one after the last */
};

/* `wake` is called in the helper thread when there is an answer. */
struct lookup *lookup_new(rd_kafka_t *kafka, void (*wake)(void *arg), void *arg);
/* Waits for the question that is being asked: at most about two seconds. */
void lookup_free(struct lookup *lookup);

bool lookup_is_idle(const struct lookup *lookup);
/* Copies topic and partition of `items`. Only when idle. */
void lookup_start(struct lookup *lookup, const struct lookup_item *items, size_t n_items);

enum lookup_answer { LOOKUP_NOT_YET, LOOKUP_FAILED, LOOKUP_ANSWERED };
/* Takes the answer once: then it is idle again, and `*items` stays valid until the next start. */
enum lookup_answer lookup_take(struct lookup *lookup, const struct lookup_item **items,
                               size_t *n_items, struct error *err);

#endif
