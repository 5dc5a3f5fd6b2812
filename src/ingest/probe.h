/* Reads single messages back, on a Kafka client of its own that belongs to no group: what lies at
 * the places where something was read (trail.h)? Opened when it is first asked; any thread, one
 * question at a time. */
#ifndef INGEST_PROBE_H
#define INGEST_PROBE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config/settings.h"
#include "ingest/trail.h"

struct probe;

struct probe_item {
    const char *topic;
    int32_t partition;
    int64_t offset;
    struct trail_found found; /* FOUND_SILENT: there was no answer in time */
};

struct probe *probe_new(const struct settings *settings, int number);
void probe_free(struct probe *probe);

/* Blocks, at most for `timeout_ms`, less when *cancelled becomes true. Each partition at most once.
 * False with `err` when there is no client. */
bool probe_ask(struct probe *probe, struct probe_item *items, size_t n_items, int timeout_ms,
               const atomic_bool *cancelled, struct error *err) __attribute__((warn_unused_result));

#endif
