/* Where the feed goes: a mock cluster inside this process, or a real one elsewhere. */
#ifndef DEMO_BROKER_H
#define DEMO_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broker;

struct broker_options {
    const char *brokers; /* NULL: a mock cluster */
    const char *topic;
    int partitions;    /* of the topic in the mock */
    const char *group; /* whose committed offsets say how far the reader is */
};

/* NULL after a message on stderr. */
struct broker *broker_open(const struct broker_options *options)
    __attribute__((warn_unused_result));
const char *broker_bootstrap(const struct broker *broker);

/* Copies and queues one message. False when the queue is full: serve and try again. A message that
 * cannot be delivered is reported on stderr and counted. */
bool broker_send(struct broker *broker, const char *key, const void *value, size_t size)
    __attribute__((warn_unused_result));
/* Handles delivery reports, waiting at most `timeout_ms` for the first. */
void broker_serve(struct broker *broker, int timeout_ms);

/* Messages in the fullest partition that the group has not committed yet, those still queued
 * included. Asks the broker. */
int64_t broker_lag(struct broker *broker);
uint64_t broker_failures(const struct broker *broker);

/* Delivers what is queued, at most `timeout_ms`, and releases everything. */
void broker_close(struct broker *broker, int timeout_ms);

#endif
