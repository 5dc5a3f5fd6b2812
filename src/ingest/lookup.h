/* Asks Kafka about partitions: the group's committed offset, the first and the last offset, and
 * whether what was read is still there. These calls of librdkafka block, so they run in a thread of
 * their own, one question at a time. */
#ifndef INGEST_LOOKUP_H
#define INGEST_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/error.h"
#include "ingest/probe.h"
#include "ingest/trail.h"

struct lookup;

struct lookup_item {
    char *topic; /* owned by the lookup once started */
    int32_t partition;
    int64_t committed;          /* -1: the group has committed nothing there */
    int64_t low;                /* the first offset that Kafka has */
    int64_t high;               /* the one after the last */
    struct marks kept;          /* what was read; none: there is nothing to be compared */
    enum trail_verdict verdict; /* on it */
};

/* `wake` is called in the helper thread when there is an answer. `probe` may be NULL where nothing
 * is compared; others may use it too. */
struct lookup *lookup_new(rd_kafka_t *kafka, struct probe *probe, void (*wake)(void *arg),
                          void *arg);
/* Waits for the question that is being asked: at most about two seconds. */
void lookup_free(struct lookup *lookup);

bool lookup_is_idle(const struct lookup *lookup);
/* Copies topic, partition and `kept` of `items`. Only when idle. */
void lookup_start(struct lookup *lookup, const struct lookup_item *items, size_t n_items);
/* The same for nothing but the verdicts on `kept`, which all items must have. */
void lookup_start_compare(struct lookup *lookup, const struct lookup_item *items, size_t n_items);

enum lookup_answer { LOOKUP_NOT_YET, LOOKUP_FAILED, LOOKUP_ANSWERED };
/* Takes the answer once: then it is idle again, and `*items` stays valid until the next start. */
enum lookup_answer lookup_take(struct lookup *lookup, const struct lookup_item **items,
                               size_t *n_items, struct error *err);

#endif
