#include "ingest/quiet.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "ingest/lookup.h"

#define COMPONENT   "ingest"
#define INTERVAL_MS 1000

enum quiet_state {
    QUIET_RESTING,
    QUIET_READING,  /* PostgreSQL is asked for the topics' highest numbers */
    QUIET_ASKING,   /* Kafka is asked for the partitions' ends */
    QUIET_READY,    /* there is something to write */
    QUIET_CLEARING, /* it is being written */
};

#define AFTER(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [QUIET_RESTING] = {"resting", AFTER(QUIET_READING)},
    [QUIET_READING] = {"reading", AFTER(QUIET_RESTING) | AFTER(QUIET_ASKING)},
    [QUIET_ASKING] = {"asking", AFTER(QUIET_RESTING) | AFTER(QUIET_READY)},
    [QUIET_READY] = {"ready", AFTER(QUIET_CLEARING)},
    [QUIET_CLEARING] = {"clearing", AFTER(QUIET_RESTING)},
};

struct quiet {
    struct quiet_options options;
    enum quiet_state state;
    struct lookup *lookup;
    int64_t next_ms;
    struct topic_progress *topics; /* names are ours, as those of the partitions */
    size_t n_topics;
    struct quiet_partition *found;
    size_t n_found;
};

static void set_state(struct quiet *quiet, enum quiet_state state)
{
    if (!(STATES[quiet->state].next & AFTER(state)))
        die("quiet: %s may not follow %s", STATES[state].name, STATES[quiet->state].name);
    quiet->state = state;
}

struct quiet *quiet_new(const struct quiet_options *options)
{
    struct quiet *quiet = memory_zero(1, sizeof(*quiet));
    quiet->options = *options;
    quiet->lookup =
        lookup_new(consumer_handle(options->consumer), NULL, options->on_lookup, options->arg);
    return quiet;
}

static void forget(struct quiet *quiet)
{
    for (size_t i = 0; i < quiet->n_topics; i++)
        free((char *)quiet->topics[i].topic);
    for (size_t i = 0; i < quiet->n_found; i++)
        free((char *)quiet->found[i].topic);
    free(quiet->topics);
    free(quiet->found);
    quiet->topics = NULL;
    quiet->found = NULL;
    quiet->n_topics = quiet->n_found = 0;
}

void quiet_free(struct quiet *quiet)
{
    if (!quiet)
        return;
    lookup_free(quiet->lookup);
    forget(quiet);
    free(quiet);
}

/* ---- which partitions ---- */

/* All of it that was fetched is stored, and nothing of it is missing. */
static bool is_settled(const struct partition *partition)
{
    return partition->state == PARTITION_READING && partition->next == partition->stored &&
           partition->progress.hole == HOLE_NONE;
}

static bool is_at_end(const struct quiet *quiet, const struct partition *partition)
{
    return is_settled(partition) && consumer_end_offset(quiet->options.consumer, partition->topic,
                                                        partition->number) == partition->next;
}

static bool holds_back(const struct partition *partition, int64_t number)
{
    const struct progress *progress = &partition->progress;
    return (!progress->has_max || progress->max_sequence < number) &&
           (!progress->has_clear || progress->clear_to < number);
}

static struct topic_progress *find_topic(const struct quiet *quiet, const char *topic)
{
    for (size_t i = 0; i < quiet->n_topics; i++)
        if (strcmp(quiet->topics[i].topic, topic) == 0)
            return &quiet->topics[i];
    return NULL;
}

static void list_topics(struct quiet *quiet)
{
    const struct partitions *partitions = quiet->options.partitions;
    forget(quiet);
    quiet->topics = memory_zero(partitions->count + 1, sizeof(*quiet->topics));
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if (is_at_end(quiet, partition) && !find_topic(quiet, partition->topic))
            quiet->topics[quiet->n_topics++].topic = memory_string(partition->topic);
    }
}

/* Those that hold something back and seem to be at their end: Kafka is asked about them. */
static size_t list_items(const struct quiet *quiet, struct lookup_item *items)
{
    const struct partitions *partitions = quiet->options.partitions;
    size_t n = 0;
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        const struct topic_progress *topic = find_topic(quiet, partition->topic);
        if (topic && topic->has_max && is_at_end(quiet, partition) &&
            holds_back(partition, topic->max_sequence))
            items[n++] =
                (struct lookup_item){.topic = partition->topic, .partition = partition->number};
    }
    return n;
}

static void take_ends(struct quiet *quiet, const struct lookup_item *items, size_t n_items)
{
    quiet->found = memory_zero(n_items + 1, sizeof(*quiet->found));
    for (size_t i = 0; i < n_items; i++) {
        const struct partition *partition =
            partitions_find(quiet->options.partitions, items[i].topic, items[i].partition);
        if (partition && is_settled(partition) && partition->next == items[i].high)
            quiet->found[quiet->n_found++] = (struct quiet_partition){
                .topic = memory_string(partition->topic),
                .partition = partition->number,
                .next_offset = partition->next,
                .clear_to = find_topic(quiet, partition->topic)->max_sequence,
            };
    }
}

/* ---- answers ---- */

static void on_topics(bool ok, const struct error *err, void *arg)
{
    struct quiet *quiet = arg;
    size_t n_items = 0;
    struct lookup_item *items = memory_zero(quiet->options.partitions->count + 1, sizeof(*items));
    if (ok)
        n_items = list_items(quiet, items);
    else
        log_debug(COMPONENT, "the highest numbers cannot be read: %s", err->text);
    if (n_items > 0)
        lookup_start(quiet->lookup, items, n_items);
    free(items);
    set_state(quiet, n_items > 0 ? QUIET_ASKING : QUIET_RESTING);
}

static void on_cleared(bool ok, const struct error *err, void *arg)
{
    struct quiet *quiet = arg;
    if (!ok)
        log_debug(COMPONENT, "quiet partitions cannot be noted: %s", err->text);
    for (size_t i = 0; ok && i < quiet->n_found; i++) {
        const struct quiet_partition *found = &quiet->found[i];
        struct partition *partition =
            partitions_find(quiet->options.partitions, found->topic, found->partition);
        if (!partition || partition->stored != found->next_offset)
            continue;
        partition->progress.has_clear = true;
        partition->progress.clear_to = found->clear_to;
    }
    set_state(quiet, QUIET_RESTING);
    quiet->options.on_progress(quiet->options.arg);
}

static void take_answer(struct quiet *quiet)
{
    const struct lookup_item *items;
    size_t n_items;
    struct error err;
    enum lookup_answer answer = lookup_take(quiet->lookup, &items, &n_items, &err);
    if (answer == LOOKUP_NOT_YET)
        return;
    if (answer == LOOKUP_ANSWERED)
        take_ends(quiet, items, n_items);
    else
        log_debug(COMPONENT, "quiet partitions: %s", err.text);
    set_state(quiet, quiet->n_found > 0 ? QUIET_READY : QUIET_RESTING);
}

/* ---- the step ---- */

static void begin(struct quiet *quiet, int64_t now_ms)
{
    list_topics(quiet);
    if (quiet->n_topics == 0) {
        quiet->next_ms = now_ms + INTERVAL_MS;
        return;
    }
    if (!writer_read_topics(quiet->options.writer, quiet->options.group_id, quiet->topics,
                            quiet->n_topics, on_topics, quiet))
        return;
    quiet->next_ms = now_ms + INTERVAL_MS;
    set_state(quiet, QUIET_READING);
}

bool quiet_is_due(const struct quiet *quiet, int64_t now_ms)
{
    return quiet->state == QUIET_READY ||
           (quiet->state == QUIET_RESTING && now_ms >= quiet->next_ms);
}

void quiet_step(struct quiet *quiet, int64_t now_ms)
{
    if (!writer_is_ready(quiet->options.writer))
        return;
    if (quiet->state == QUIET_ASKING)
        take_answer(quiet);
    if (quiet->state == QUIET_READY &&
        writer_clear(quiet->options.writer, quiet->options.group_id, quiet->found, quiet->n_found,
                     on_cleared, quiet))
        set_state(quiet, QUIET_CLEARING);
    if (quiet->state == QUIET_RESTING && now_ms >= quiet->next_ms)
        begin(quiet, now_ms);
}
