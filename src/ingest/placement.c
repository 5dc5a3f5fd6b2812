#include "ingest/placement.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "ingest/vigil.h"

#define COMPONENT       "ingest"
#define RETRY_MS        1000
#define LOG_INTERVAL_MS 10000

enum placement_state {
    PLACEMENT_NONE, /* no partitions */
    PLACEMENT_READ, /* PostgreSQL is asked for offsets */
    PLACEMENT_ASK,  /* Kafka is asked about those that it does not know */
    PLACEMENT_INIT, /* PostgreSQL is told where those begin */
    PLACEMENT_DONE,
    PLACEMENT_CHECK, /* PostgreSQL is asked whether it still holds what it has confirmed */
};

#define AFTER(state) (1u << (state))

/* Rebalances may begin or end it at any time. */
static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [PLACEMENT_NONE] = {"none", AFTER(PLACEMENT_NONE) | AFTER(PLACEMENT_READ)},
    [PLACEMENT_READ] = {"read", AFTER(PLACEMENT_NONE) | AFTER(PLACEMENT_READ) |
                                    AFTER(PLACEMENT_ASK) | AFTER(PLACEMENT_DONE)},
    [PLACEMENT_ASK] = {"ask",
                       AFTER(PLACEMENT_NONE) | AFTER(PLACEMENT_READ) | AFTER(PLACEMENT_INIT)},
    [PLACEMENT_INIT] = {"init",
                        AFTER(PLACEMENT_NONE) | AFTER(PLACEMENT_READ) | AFTER(PLACEMENT_DONE)},
    [PLACEMENT_DONE] = {"done",
                        AFTER(PLACEMENT_NONE) | AFTER(PLACEMENT_READ) | AFTER(PLACEMENT_CHECK)},
    [PLACEMENT_CHECK] = {"check",
                         AFTER(PLACEMENT_NONE) | AFTER(PLACEMENT_READ) | AFTER(PLACEMENT_DONE)},
};

struct placement {
    struct placement_options options;
    enum placement_state state;
    uint64_t round;        /* grows with each begin and cancel: older answers are dropped */
    bool busy;             /* a question to PostgreSQL is in flight */
    uint64_t busy_round;   /* and for which round */
    uint64_t lookup_round; /* of the question to Kafka */
    struct partition_offset *offsets;
    size_t n_offsets;
    int64_t retry_at_ms;
    int64_t now_ms;
    struct log_limit trouble_limit;
    struct error trouble;
};

static void set_state(struct placement *placement, enum placement_state state)
{
    if (!(STATES[placement->state].next & AFTER(state)))
        die("placement: %s may not follow %s", STATES[state].name, STATES[placement->state].name);
    placement->state = state;
}

struct placement *placement_new(const struct placement_options *options)
{
    struct placement *placement = memory_zero(1, sizeof(*placement));
    placement->options = *options;
    return placement;
}

void placement_free(struct placement *placement)
{
    if (!placement)
        return;
    free(placement->offsets);
    free(placement);
}

bool placement_is_busy(const struct placement *placement)
{
    return placement->busy;
}

bool placement_is_open(const struct placement *placement)
{
    return placement->state != PLACEMENT_NONE && placement->state != PLACEMENT_DONE;
}

const char *placement_trouble(const struct placement *placement)
{
    return placement->trouble.text;
}

static void start_round(struct placement *placement, enum placement_state state)
{
    set_state(placement, state);
    placement->round++;
    placement->retry_at_ms = 0;
    placement->trouble.text[0] = '\0';
}

void placement_begin(struct placement *placement)
{
    struct partitions *partitions = placement->options.partitions;
    for (size_t i = 0; i < partitions->count; i++)
        partition_set_state(partitions->items[i], PARTITION_NEW);
    consumer_place(placement->options.consumer, partitions);
    start_round(placement, PLACEMENT_READ);
}

bool placement_check(struct placement *placement)
{
    if (placement->state == PLACEMENT_DONE)
        start_round(placement, PLACEMENT_CHECK);
    return placement->state == PLACEMENT_CHECK || placement->state == PLACEMENT_NONE;
}

bool placement_is_checking(const struct placement *placement)
{
    return placement->state == PLACEMENT_CHECK;
}

void placement_cancel(struct placement *placement)
{
    start_round(placement, PLACEMENT_NONE);
}

static void try_later(struct placement *placement, const char *what, const struct error *err)
{
    placement->retry_at_ms = placement->now_ms + RETRY_MS;
    error_set(&placement->trouble, "%s: %s", what, err->text);
    uint64_t held_back;
    if (log_limit_pass(&placement->trouble_limit, LOG_INTERVAL_MS, &held_back))
        log_warn(COMPONENT, "%s; it is tried again", placement->trouble.text);
}

/* ---- PostgreSQL ---- */

/* A list of the partitions that are NEW, or of those that are not. */
static void list_partitions(struct placement *placement, bool new)
{
    const struct partitions *partitions = placement->options.partitions;
    free(placement->offsets);
    placement->offsets = memory_zero(partitions->count + 1, sizeof(*placement->offsets));
    placement->n_offsets = 0;
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if ((partition->state == PARTITION_NEW) == new)
            placement->offsets[placement->n_offsets++] = (struct partition_offset){
                .topic = partition->topic, .partition = partition->number};
    }
}

/* Takes over what is known; returns how many are not. */
static size_t take_known(struct placement *placement, const char *source)
{
    size_t n_unknown = 0;
    for (size_t i = 0; i < placement->n_offsets; i++) {
        const struct partition_offset *found = &placement->offsets[i];
        struct partition *partition =
            partitions_find(placement->options.partitions, found->topic, found->partition);
        if (!found->known) {
            n_unknown++;
            continue;
        }
        partition_place(partition, found->next_offset, &found->progress, &found->marks);
        if (partition->trail.kept.recent.is_set) /* is it still there? */
            partition_set_state(partition, PARTITION_DOUBTED);
        log_info(COMPONENT, "partition %s/%" PRId32 " goes on at offset %" PRId64 " (%s)",
                 partition->topic, partition->number, partition->next, source);
    }
    consumer_place(placement->options.consumer, placement->options.partitions);
    return n_unknown;
}

/* PostgreSQL has answered. True when the answer is good and still wanted. */
static bool take_answer(struct placement *placement, bool ok, const char *what,
                        const struct error *err)
{
    placement->busy = false;
    placement->options.on_progress(placement->options.arg);
    if (placement->busy_round != placement->round)
        return false;
    if (ok)
        placement->trouble.text[0] = '\0';
    else
        try_later(placement, what, err);
    return ok;
}

static void on_read(bool ok, const struct error *err, void *arg)
{
    struct placement *placement = arg;
    if (!take_answer(placement, ok, "offsets cannot be read from PostgreSQL", err))
        return;
    size_t n_unknown = take_known(placement, "from PostgreSQL");
    set_state(placement, n_unknown > 0 ? PLACEMENT_ASK : PLACEMENT_DONE);
}

static void on_init(bool ok, const struct error *err, void *arg)
{
    struct placement *placement = arg;
    if (!take_answer(placement, ok, "offsets cannot be kept in PostgreSQL", err))
        return;
    size_t n_unknown = take_known(placement, "new to PostgreSQL, from Kafka");
    set_state(placement, n_unknown > 0 ? PLACEMENT_READ : PLACEMENT_DONE);
}

static void step_read(struct placement *placement)
{
    const struct placement_options *options = &placement->options;
    if (placement->busy || !writer_is_ready(options->writer))
        return;
    list_partitions(placement, true);
    if (placement->n_offsets == 0) {
        set_state(placement, PLACEMENT_DONE);
        return;
    }
    placement->busy_round = placement->round;
    placement->busy = writer_read_offsets(options->writer, options->group_id, placement->offsets,
                                          placement->n_offsets, on_read, placement);
}

static void step_init(struct placement *placement)
{
    const struct placement_options *options = &placement->options;
    if (placement->busy || !writer_is_ready(options->writer))
        return;
    placement->busy_round = placement->round;
    placement->busy = writer_init_offsets(options->writer, options->group_id, placement->offsets,
                                          placement->n_offsets, on_init, placement);
}

static bool holds_what_was_confirmed(const struct placement *placement)
{
    for (size_t i = 0; i < placement->n_offsets; i++) {
        const struct partition_offset *found = &placement->offsets[i];
        const struct partition *partition =
            partitions_find(placement->options.partitions, found->topic, found->partition);
        if (!found->known || found->next_offset != partition->stored)
            return false;
    }
    return true;
}

static void on_checked(bool ok, const struct error *err, void *arg)
{
    struct placement *placement = arg;
    if (!take_answer(placement, ok, "offsets cannot be read from PostgreSQL", err))
        return;
    set_state(placement, PLACEMENT_DONE);
    if (!holds_what_was_confirmed(placement))
        placement->options.on_moved(placement->options.arg);
}

static void step_check(struct placement *placement)
{
    const struct placement_options *options = &placement->options;
    if (placement->busy || !writer_is_ready(options->writer))
        return;
    list_partitions(placement, false);
    placement->busy_round = placement->round;
    placement->busy = writer_read_offsets(options->writer, options->group_id, placement->offsets,
                                          placement->n_offsets, on_checked, placement);
}

/* ---- Kafka ---- */

static bool start_lookup(struct placement *placement, enum partition_state state)
{
    const struct partitions *partitions = placement->options.partitions;
    struct lookup_item *items = memory_zero(partitions->count + 1, sizeof(*items));
    size_t n_items = 0;
    for (size_t i = 0; i < partitions->count; i++)
        if (partitions->items[i]->state == state)
            items[n_items++] = (struct lookup_item){.topic = partitions->items[i]->topic,
                                                    .partition = partitions->items[i]->number,
                                                    .kept = partitions->items[i]->trail.kept};
    if (n_items > 0) {
        lookup_start(placement->options.lookup, items, n_items);
        placement->lookup_round = placement->round;
    }
    free(items);
    return n_items > 0;
}

/* What the group has committed is where a running deployment stands. */
static void take_starts(struct placement *placement, const struct lookup_item *items,
                        size_t n_items)
{
    list_partitions(placement, true);
    for (size_t i = 0; i < placement->n_offsets; i++) {
        struct partition_offset *offset = &placement->offsets[i];
        for (size_t k = 0; k < n_items; k++)
            if (offset->partition == items[k].partition &&
                strcmp(offset->topic, items[k].topic) == 0)
                offset->next_offset = items[k].committed >= 0 ? items[k].committed : items[k].low;
    }
    set_state(placement, PLACEMENT_INIT);
}

/* False when Kafka has not said enough. */
static bool go_on(struct placement *placement, const struct lookup_item *item)
{
    static const struct marks none;
    struct partition *partition =
        partitions_find(placement->options.partitions, item->topic, item->partition);
    if (!partition || partition->state != PARTITION_DOUBTED)
        return true;
    if (item->verdict == TRAIL_SILENT)
        return false;
    bool below = partition->next < item->low;
    bool is_anew = partition->next > item->high || item->verdict == TRAIL_ANEW;
    if (item->verdict == TRAIL_CHANGED)
        vigil_say_changed(partition);
    if (item->verdict != TRAIL_SAME)
        trail_begin(&partition->trail, &none);
    partition_set_state(partition, PARTITION_READING);
    if (below || is_anew)
        placement->options.on_gap(partition, item->low, is_anew, placement->options.arg);
    return true;
}

static void take_ranges(struct placement *placement, const struct lookup_item *items,
                        size_t n_items)
{
    struct error err = {.text = "a partition does not answer"};
    bool is_whole = true;
    for (size_t i = 0; i < n_items; i++)
        is_whole = go_on(placement, &items[i]) && is_whole;
    consumer_place(placement->options.consumer, placement->options.partitions);
    if (!is_whole)
        try_later(placement, "Kafka cannot be asked for what was read", &err);
}

static void step_kafka(struct placement *placement)
{
    struct lookup *lookup = placement->options.lookup;
    const struct lookup_item *items;
    size_t n_items;
    struct error err;
    enum lookup_answer answer = lookup_take(lookup, &items, &n_items, &err);
    bool ours = placement->lookup_round == placement->round;
    if (answer == LOOKUP_FAILED && ours) {
        try_later(placement, "Kafka cannot be asked where to begin", &err);
    } else if (answer == LOOKUP_ANSWERED && ours) {
        placement->trouble.text[0] = '\0';
        if (placement->state == PLACEMENT_ASK)
            take_starts(placement, items, n_items);
        else
            take_ranges(placement, items, n_items);
    } else if (lookup_is_idle(lookup) && placement->now_ms >= placement->retry_at_ms) {
        start_lookup(placement,
                     placement->state == PLACEMENT_ASK ? PARTITION_NEW : PARTITION_DOUBTED);
    }
}

void placement_step(struct placement *placement, int64_t now_ms)
{
    placement->now_ms = now_ms;
    bool due = now_ms >= placement->retry_at_ms;
    if (placement->state == PLACEMENT_READ && due)
        step_read(placement);
    if (placement->state == PLACEMENT_ASK || placement->state == PLACEMENT_DONE)
        step_kafka(placement);
    if (placement->state == PLACEMENT_INIT && due)
        step_init(placement);
    if (placement->state == PLACEMENT_CHECK && due)
        step_check(placement);
}
