/* One ingest worker: a thread with its own consumer in the group, its own connection and its own
 * slot of each generation.
 *
 *   consume ─▶ map ─▶ gather (batch) ─▶ reduce ─▶ write ─▶ committed
 *                                         ▲           │ refused: bisect, reject, reduce again
 *                                         └───────────┘
 * Offsets live in PostgreSQL and move with the rows (compare and swap); Kafka's committed offsets
 * follow for tools. */
#ifndef INGEST_WORKER_H
#define INGEST_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/settings.h"
#include "metrics/metrics.h"
#include "rules/generation.h"
#include "store/schema.h"

struct ingest_worker;

struct ingest_options {
    const struct settings *settings;
    struct metrics *metrics;
    struct rules_registry *rules;
    size_t slot; /* of the generations' states */
    int number;  /* 0, 1, ...: in log lines and client ids */
};

/* Checks the Kafka settings (KAFKA_CONFIG_FILE included) without a broker: an unknown property is
 * an operator's error at start. */
bool ingest_check_settings(const struct settings *settings, struct error *err)
    __attribute__((warn_unused_result));

/* Starts the thread. It waits for a schema before it writes. NULL with `err`. Main thread. */
struct ingest_worker *ingest_worker_start(const struct ingest_options *options, struct error *err)
    __attribute__((warn_unused_result));

/* A (new) schema to make statements for; held. Any thread. */
void ingest_worker_set_schema(struct ingest_worker *worker, struct schema *schema);
/* Rules were published or an operator asks: look at once instead of at the next tick; a paused
 * stream tries again. Any thread. */
void ingest_worker_nudge(struct ingest_worker *worker);

/* Begins a clean stop: no more messages, write what is gathered, commit to Kafka, leave the group.
 * Any thread, any number of times. */
void ingest_worker_stop(struct ingest_worker *worker);
/* Waits for the thread at most `timeout_ms` after stop; true when it ended by itself; otherwise it
 * is abandoned (the process is about to exit). Frees the worker. Main thread. */
bool ingest_worker_join(struct ingest_worker *worker, int timeout_ms);

/* True when it has a database, a broker and, after the first assignment, no paused stream; else
 * appends reasons, one a line. Any thread. */
bool ingest_worker_is_ready(struct ingest_worker *worker, struct buffer *reasons);

#endif
