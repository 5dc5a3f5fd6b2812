/* The clean stop of one worker, state by state. */
#ifndef INGEST_STOP_H
#define INGEST_STOP_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/announce.h"
#include "ingest/consumer.h"
#include "ingest/counts.h"

enum stop_state {
    STOP_RUNNING,    /* not asked for: in the group once there are rules */
    STOP_DRAINING,   /* what is gathered is written */
    STOP_ANNOUNCING, /* Kafka is told how far it is */
    STOP_LEAVING,    /* the group is left */
    STOP_STOPPED,
};

struct stop {
    int worker;
    enum stop_state state;
    int64_t deadline_ms;
    struct consumer *consumer;
    struct announce *announce;
    struct counts *counts;
};

/* A stop that has begun goes on. */
void stop_begin(struct stop *stop, int timeout_ms, int64_t now_ms);
/* `drained`: all that was gathered is stored. */
void stop_step(struct stop *stop, bool drained, int64_t now_ms);

#endif
