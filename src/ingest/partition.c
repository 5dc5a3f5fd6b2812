#include "ingest/partition.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"

#define AFTER(state) (1u << (state))

/* What may follow what. Everything may go back to NEW: the offsets are read again. */
static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [PARTITION_NEW] = {"new", AFTER(PARTITION_NEW) | AFTER(PARTITION_READING)},
    [PARTITION_READING] = {"reading", AFTER(PARTITION_NEW) | AFTER(PARTITION_DOUBTED) |
                                          AFTER(PARTITION_HELD) | AFTER(PARTITION_ORPHAN)},
    [PARTITION_DOUBTED] = {"doubted", AFTER(PARTITION_NEW) | AFTER(PARTITION_READING) |
                                          AFTER(PARTITION_HELD) | AFTER(PARTITION_ORPHAN)},
    [PARTITION_HELD] = {"held", AFTER(PARTITION_NEW) | AFTER(PARTITION_READING)},
    [PARTITION_ORPHAN] = {"orphan", AFTER(PARTITION_NEW)},
};

const char *partition_state_name(enum partition_state state)
{
    return STATES[state].name;
}

void partition_set_state(struct partition *partition, enum partition_state state)
{
    if (!(STATES[partition->state].next & AFTER(state)))
        die("partition %s/%" PRId32 ": %s may not follow %s", partition->topic, partition->number,
            STATES[state].name, STATES[partition->state].name);
    partition->state = state;
}

void partition_place(struct partition *partition, int64_t offset, const struct progress *progress,
                     const struct marks *marks)
{
    static const struct marks none;
    bool is_known = marks->recent.is_set && marks->recent.offset < offset;
    trail_begin(&partition->trail, is_known ? marks : &none);
    partition->progress = *progress;
    partition->next = offset;
    partition->stored = offset;
    partition_set_state(partition, PARTITION_READING);
}

static void find_series(struct partition *partition, struct metrics *metrics)
{
    char number[16];
    snprintf(number, sizeof(number), "%" PRId32, partition->number);
    const struct label labels[] = {{"topic", partition->topic}, {"partition", number}};

    partition->messages =
        metrics_counter(metrics, "core_service_ingest_messages_total",
                        "Messages that ended as rows, skipped or rejected.", labels, 2);
    partition->lag = metrics_gauge(metrics, "core_service_ingest_lag_messages",
                                   "Messages in Kafka that are not stored yet.", labels, 2);
    partition->assigned =
        metrics_gauge(metrics, "core_service_ingest_assigned",
                      "1 for each partition that a worker of this process has.", labels, 2);
    gauge_set(partition->assigned, 1);
}

struct partition *partitions_add(struct partitions *partitions, struct metrics *metrics,
                                 const char *topic, int32_t number)
{
    struct partition *partition = memory_zero(1, sizeof(*partition));
    partition->topic = memory_string(topic);
    partition->number = number;
    partition->flushing = -1;
    partition->announced = -1;
    if (metrics)
        find_series(partition, metrics);

    partitions->items =
        memory_resize(partitions->items, (partitions->count + 1) * sizeof(*partitions->items));
    partitions->items[partitions->count++] = partition;
    return partition;
}

static bool is_named(const struct partition *partition, const char *topic, int32_t number)
{
    return partition->number == number && strcmp(partition->topic, topic) == 0;
}

struct partition *partitions_find(struct partitions *partitions, const char *topic, int32_t number)
{
    /* Messages come in runs of one partition. */
    if (partitions->last_found < partitions->count &&
        is_named(partitions->items[partitions->last_found], topic, number))
        return partitions->items[partitions->last_found];

    for (size_t i = 0; i < partitions->count; i++) {
        if (is_named(partitions->items[i], topic, number)) {
            partitions->last_found = i;
            return partitions->items[i];
        }
    }
    return NULL;
}

void partitions_clear(struct partitions *partitions)
{
    for (size_t i = 0; i < partitions->count; i++) {
        struct partition *partition = partitions->items[i];
        if (partition->lag)
            gauge_hide(partition->lag);
        if (partition->assigned)
            gauge_hide(partition->assigned);
        free(partition->topic);
        free(partition);
    }
    free(partitions->items);
    *partitions = (struct partitions){0};
}

void partitions_hold(struct partitions *partitions, const char *topic)
{
    for (size_t i = 0; i < partitions->count; i++) {
        struct partition *partition = partitions->items[i];
        bool stands =
            partition->state == PARTITION_READING || partition->state == PARTITION_DOUBTED;
        if (stands && strcmp(partition->topic, topic) == 0) {
            partition->next = partition->stored;
            partition_set_state(partition, PARTITION_HELD);
        }
    }
}

void partitions_resume(struct partitions *partitions, const char *topic)
{
    for (size_t i = 0; i < partitions->count; i++) {
        struct partition *partition = partitions->items[i];
        if (partition->state == PARTITION_HELD && strcmp(partition->topic, topic) == 0)
            partition_set_state(partition, PARTITION_READING);
    }
}
