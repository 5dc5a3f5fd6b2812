#include "rules/generation.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

struct rules_registry {
    pthread_mutex_t lock; /* over the pointers and all holds */
    struct rules_generation *current;
    struct rules_generation *retired; /* replaced, not freed yet */
    _Atomic uint64_t number;          /* of the current one */
};

/* ---- one generation ---- */

struct rules_generation *rules_generation_build(struct rules_snapshot *snapshot, size_t n_slots,
                                                const struct rules_options *options,
                                                struct error *err)
{
    if (n_slots == 0)
        die("a generation for no threads");
    struct rules_generation *generation = memory_zero(1, sizeof *generation);
    generation->snapshot = snapshot;
    generation->states = memory_zero(n_slots, sizeof *generation->states);
    generation->n_slots = n_slots;
    for (size_t i = 0; i < n_slots; i++) {
        generation->states[i] = rules_state_new(snapshot, options, err);
        if (!generation->states[i])
            goto failed;
        /* Before the other states are built: most mistakes show here. */
        if (i == 0 && !rules_state_run_examples(generation->states[0], err))
            goto failed;
    }
    generation->resting =
        memory_zero(rules_generation_def(generation)->n_streams + 1, sizeof *generation->resting);
    return generation;

failed:
    rules_generation_free(generation);
    return NULL;
}

void rules_generation_free(struct rules_generation *generation)
{
    if (!generation)
        return;
    for (size_t i = 0; i < generation->n_slots; i++) {
        if (generation->states[i])
            rules_state_free(generation->states[i]);
    }
    free(generation->states);
    free(generation->resting);
    rules_snapshot_free(generation->snapshot);
    free(generation);
}

const struct rules_def *rules_generation_def(const struct rules_generation *generation)
{
    return rules_state_def(generation->states[0]);
}

/* ---- the registry ---- */

struct rules_registry *rules_registry_new(void)
{
    struct rules_registry *registry = memory_zero(1, sizeof *registry);
    if (pthread_mutex_init(&registry->lock, NULL) != 0)
        die("no mutex");
    return registry;
}

void rules_registry_free(struct rules_registry *registry)
{
    if (!registry)
        return;
    rules_registry_reap(registry);
    if (registry->retired)
        die("rules generation %" PRIu64 " is still held", registry->retired->number);
    if (registry->current && registry->current->holds > 0)
        die("rules generation %" PRIu64 " is still held", registry->current->number);
    rules_generation_free(registry->current);
    pthread_mutex_destroy(&registry->lock);
    free(registry);
}

void rules_registry_publish(struct rules_registry *registry, struct rules_generation *generation,
                            uint64_t number)
{
    generation->number = number;
    generation->published_at_ms = clock_realtime_ms();
    pthread_mutex_lock(&registry->lock);
    struct rules_generation *replaced = registry->current;
    registry->current = generation;
    atomic_store_explicit(&registry->number, number, memory_order_release);
    if (replaced) {
        replaced->next_retired = registry->retired;
        registry->retired = replaced;
    }
    pthread_mutex_unlock(&registry->lock);
}

struct rules_generation *rules_registry_acquire(struct rules_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    struct rules_generation *generation = registry->current;
    if (generation)
        generation->holds++;
    pthread_mutex_unlock(&registry->lock);
    return generation;
}

void rules_registry_release(struct rules_registry *registry, struct rules_generation *generation)
{
    pthread_mutex_lock(&registry->lock);
    if (generation->holds == 0)
        die("rules generation %" PRIu64 " is released more often than it was acquired",
            generation->number);
    generation->holds--;
    pthread_mutex_unlock(&registry->lock);
}

uint64_t rules_registry_number(const struct rules_registry *registry)
{
    return atomic_load_explicit(&registry->number, memory_order_acquire);
}

/* Takes those that nobody holds out of the list, and frees them without the lock: closing a Lua
 * state takes longer than a thread that wants to begin should wait. */
void rules_registry_reap(struct rules_registry *registry)
{
    struct rules_generation *unheld = NULL;
    pthread_mutex_lock(&registry->lock);
    struct rules_generation **at = &registry->retired;
    while (*at) {
        struct rules_generation *generation = *at;
        if (generation->holds > 0) {
            at = &generation->next_retired;
            continue;
        }
        *at = generation->next_retired;
        generation->next_retired = unheld;
        unheld = generation;
    }
    pthread_mutex_unlock(&registry->lock);
    while (unheld) {
        struct rules_generation *next = unheld->next_retired;
        rules_generation_free(unheld);
        unheld = next;
    }
}
