/* How the rules are doing, for people: the last failure, readiness, gauges. Written by the main
 * thread; readiness is read by any. */
#ifndef APP_RULES_STATUS_H
#define APP_RULES_STATUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "metrics/metrics.h"
#include "rules/generation.h"

struct rules_status {
    struct metrics *metrics;
    bool has_failure; /* the last reload failed, or the start had to take an earlier generation */
    struct error failure;
    char failure_hash[SHA256_HEX_SIZE]; /* of the files that failed; "" when they could not be read
                                         */
    const char *failure_cause;          /* a literal */
    int64_t failure_at_ms;

    struct gauge *generation;
    struct gauge *last_reload;
    struct gauge *age; /* worked out when it is asked for */
    struct gauge *degraded;

    pthread_mutex_t lock; /* over the two below */
    bool ready;
    struct error trouble; /* why it is not ready, or degraded; "" neither */
};

void rules_status_init(struct rules_status *status, struct metrics *metrics);
void rules_status_destroy(struct rules_status *status);

void rules_status_fail(struct rules_status *status, const char *cause, const char *hash,
                       const struct error *err);
/* Counts the end of a reload by its outcome ("published", "failed", ...). */
void rules_status_count(struct rules_status *status, const char *outcome);
/* Works readiness out anew; after every change. `current` may be NULL. */
void rules_status_refresh(struct rules_status *status, const struct rules_generation *current,
                          bool has_schema);
/* Any thread; reasons are appended also when it is ready but degraded. */
bool rules_status_is_ready(struct rules_status *status, struct buffer *reasons);

/* "files":[...],"streams":[...],"endpoints":[...] */
void rules_status_describe_generation(const struct rules_generation *generation,
                                      struct buffer *json);
/* {"error":...,"hash":...,"cause":...,"at":...} or null */
void rules_status_describe_failure(const struct rules_status *status, struct buffer *json);

#endif
