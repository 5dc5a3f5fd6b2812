/* Generations: a published set of rules, with one Lua state for each thread. Load, warm, then
 * publish; who works holds the generation it began with; who drops the last hold leaves it to the
 * main thread to be freed. */
#ifndef RULES_GENERATION_H
#define RULES_GENERATION_H

#include <stdint.h>

#include "rules/state.h"

struct rules_generation {
    uint64_t number;
    struct rules_snapshot *snapshot;
    int64_t published_at_ms;
    struct rules_state **states; /* one for each slot; a thread touches only its own */
    size_t n_slots;
    bool *resting; /* by stream: passed over, since its tables do not exist here; written before it
                      is published, only read afterwards */
    int holds;     /* under the registry's lock */
    struct rules_generation *next_retired; /* the registry's */
};

struct rules_registry;

struct rules_registry *rules_registry_new(void);
/* Nobody may hold a generation any more. */
void rules_registry_free(struct rules_registry *registry);

/* Builds `n_slots` states of the snapshot (which it takes over, also on failure) and runs the
 * examples in the first. Not published yet. Main thread. */
struct rules_generation *rules_generation_build(struct rules_snapshot *snapshot, size_t n_slots,
                                                const struct rules_options *options,
                                                struct error *err)
    __attribute__((warn_unused_result));
/* For a generation that was never published. NULL is accepted. */
void rules_generation_free(struct rules_generation *generation);

/* The definitions: equal in all states of a generation, taken from the first. */
const struct rules_def *rules_generation_def(const struct rules_generation *generation);

/* From here on every acquire returns it; the registry owns it. Main thread. */
void rules_registry_publish(struct rules_registry *registry, struct rules_generation *generation,
                            uint64_t number);

/* The current generation, held; NULL before the first publish. Any thread. */
struct rules_generation *rules_registry_acquire(struct rules_registry *registry);
void rules_registry_release(struct rules_registry *registry, struct rules_generation *generation);
/* The number of the current generation without holding it, 0 before the first: a cheap look for
 * "has it changed?". Any thread. */
uint64_t rules_registry_number(const struct rules_registry *registry);
/* Frees generations that nobody holds any more. Main thread, now and then. */
void rules_registry_reap(struct rules_registry *registry);

#endif
