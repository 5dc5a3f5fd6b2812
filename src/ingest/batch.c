#include "ingest/batch.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

void batch_init(struct batch *batch, void (*release)(void *kept))
{
    *batch = (struct batch){.release = release};
}

void batch_reset(struct batch *batch)
{
    for (size_t i = 0; i < batch->n_entries; i++)
        if (batch->entries[i].kept)
            batch->release(batch->entries[i].kept);
    arena_reset(&batch->arena);
    batch->n_entries = 0;
    batch->payload_bytes = 0;
    batch->has_unnumbered = false;
    batch->rules_hash = NULL;
}

void batch_free(struct batch *batch)
{
    batch_reset(batch);
    arena_free(&batch->arena);
    free(batch->entries);
}

static struct entry *append(struct batch *batch, struct partition *partition, int64_t to)
{
    if (batch->n_entries == batch->capacity) {
        batch->capacity = batch->capacity ? batch->capacity * 2 : 256;
        batch->entries = memory_resize(batch->entries, batch->capacity * sizeof(*batch->entries));
    }
    if (batch->n_entries == 0)
        batch->began_us = clock_monotonic_us();

    struct entry *entry = &batch->entries[batch->n_entries++];
    *entry = (struct entry){.partition = partition, .from = partition->next, .to = to};
    partition->next = to;
    return entry;
}

struct entry *batch_add(struct batch *batch, struct partition *partition,
                        const struct message *message, size_t n_parts, void *kept)
{
    struct entry *entry = append(batch, partition, message->offset + 1);
    entry->message = *message;
    entry->kept = kept;
    entry->parts = arena_alloc(&batch->arena, n_parts * sizeof(*entry->parts));
    memset(entry->parts, 0, n_parts * sizeof(*entry->parts));
    entry->n_parts = n_parts;
    batch->payload_bytes += message->payload.size + message->key.size;
    return entry;
}

void batch_jump(struct batch *batch, struct partition *partition, int64_t to, bool is_lost)
{
    append(batch, partition, to)->is_lost = is_lost;
}

size_t batch_bytes(const struct batch *batch)
{
    return batch->payload_bytes + batch->arena.size_bytes;
}

void batch_drop_topic(struct batch *batch, size_t first, const char *topic)
{
    for (size_t i = first; i < batch->n_entries; i++)
        if (strcmp(batch->entries[i].partition->topic, topic) == 0)
            batch->entries[i].dropped = true;
}

void batch_reject_part(struct batch *batch, struct part *part, const char *sqlstate,
                       const char *reason)
{
    part->sqlstate = arena_copy(&batch->arena, bytes_of_string(sqlstate)).data;
    part->mapped.verdict = MAP_REJECT;
    part->mapped.stage = STAGE_DATABASE;
    part->mapped.reason = arena_copy(&batch->arena, bytes_of_string(reason));
}
