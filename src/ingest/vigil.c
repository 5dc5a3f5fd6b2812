#include "ingest/vigil.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "ingest/lookup.h"

#define COMPONENT   "ingest"
#define INTERVAL_MS 5000
#define FIRST_MS    1000 /* for partitions of which nothing is kept yet */

enum vigil_state {
    VIGIL_RESTING,
    VIGIL_ASKING, /* Kafka is asked for what was read */
    VIGIL_SAVING, /* PostgreSQL is told what is kept now */
};

#define AFTER(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [VIGIL_RESTING] = {"resting", AFTER(VIGIL_ASKING) | AFTER(VIGIL_SAVING)},
    [VIGIL_ASKING] = {"asking", AFTER(VIGIL_RESTING)},
    [VIGIL_SAVING] = {"saving", AFTER(VIGIL_RESTING)},
};

struct vigil {
    struct vigil_options options;
    enum vigil_state state;
    struct lookup *lookup;
    int64_t ask_at_ms;
    int64_t first_at_ms;
    bool has_unsaved;                /* some partition may have */
    struct marked_partition *saving; /* names are ours */
    size_t n_saving;
};

static void set_state(struct vigil *vigil, enum vigil_state state)
{
    if (!(STATES[vigil->state].next & AFTER(state)))
        die("vigil: %s may not follow %s", STATES[state].name, STATES[vigil->state].name);
    vigil->state = state;
}

struct vigil *vigil_new(const struct vigil_options *options)
{
    struct vigil *vigil = memory_zero(1, sizeof(*vigil));
    vigil->options = *options;
    vigil->lookup = lookup_new(consumer_handle(options->consumer), options->probe,
                               options->on_lookup, options->arg);
    return vigil;
}

static void forget_saving(struct vigil *vigil)
{
    for (size_t i = 0; i < vigil->n_saving; i++)
        free((char *)vigil->saving[i].topic);
    free(vigil->saving);
    vigil->saving = NULL;
    vigil->n_saving = 0;
}

void vigil_free(struct vigil *vigil)
{
    if (!vigil)
        return;
    lookup_free(vigil->lookup);
    forget_saving(vigil);
    free(vigil);
}

void vigil_say_changed(const struct partition *partition)
{
    log_error(COMPONENT,
              "partition %s/%" PRId32 ": at offset %" PRId64 " Kafka has another message than the "
              "one that was read there, but the topic was not made anew for all that can be told: "
              "messages may be lost (an unclean leader election?)",
              partition->topic, partition->number, partition->trail.kept.recent.offset);
}

static void advance(struct vigil *vigil, struct partition *partition, enum trail_verdict verdict)
{
    int64_t low =
        consumer_first_offset(vigil->options.consumer, partition->topic, partition->number);
    trail_advance(&partition->trail, verdict, low);
    vigil->has_unsaved = true;
}

/* ---- PostgreSQL ---- */

static void on_saved(bool ok, const struct error *err, void *arg)
{
    struct vigil *vigil = arg;
    const struct partitions *partitions = vigil->options.partitions;
    if (!ok)
        log_debug(COMPONENT, "what was read cannot be noted: %s", err->text);
    vigil->has_unsaved = vigil->has_unsaved || !ok;
    for (size_t i = 0; !ok && i < vigil->n_saving; i++) {
        const struct marked_partition *marked = &vigil->saving[i];
        struct partition *partition =
            partitions_find((struct partitions *)partitions, marked->topic, marked->partition);
        if (partition)
            partition->trail.is_unsaved = true;
    }
    set_state(vigil, VIGIL_RESTING);
    vigil->options.on_progress(vigil->options.arg);
}

static bool is_to_be_saved(const struct partition *partition)
{
    return partition->state == PARTITION_READING && partition->trail.is_unsaved;
}

static void save(struct vigil *vigil)
{
    const struct partitions *partitions = vigil->options.partitions;
    forget_saving(vigil);
    for (size_t i = 0; i < partitions->count; i++)
        vigil->n_saving += is_to_be_saved(partitions->items[i]);
    if (vigil->n_saving == 0) {
        vigil->has_unsaved = false;
        return;
    }
    vigil->saving = memory_zero(vigil->n_saving, sizeof(*vigil->saving));
    size_t n = 0;
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if (is_to_be_saved(partition))
            vigil->saving[n++] = (struct marked_partition){
                .topic = memory_string(partition->topic),
                .partition = partition->number,
                .next_offset = partition->stored,
                .marks = partition->trail.kept,
            };
    }
    if (!writer_save_marks(vigil->options.writer, vigil->options.group_id, vigil->saving,
                           vigil->n_saving, on_saved, vigil))
        return;
    for (size_t i = 0; i < partitions->count; i++)
        if (is_to_be_saved(partitions->items[i]))
            partitions->items[i]->trail.is_unsaved = false;
    vigil->has_unsaved = false;
    set_state(vigil, VIGIL_SAVING);
}

/* ---- Kafka ---- */

static void take_verdict(struct vigil *vigil, const struct lookup_item *item)
{
    struct partition *partition =
        partitions_find(vigil->options.partitions, item->topic, item->partition);
    bool is_meant = partition && partition->state == PARTITION_READING &&
                    partition->trail.kept.recent.is_set &&
                    mark_is_same(&partition->trail.kept.recent, &item->kept.recent);
    if (!is_meant || item->verdict == TRAIL_SILENT)
        return;
    if (item->verdict == TRAIL_ANEW) {
        vigil->options.on_anew(partition, vigil->options.arg);
        return;
    }
    if (item->verdict == TRAIL_CHANGED)
        vigil_say_changed(partition);
    advance(vigil, partition, item->verdict);
}

static void take_answer(struct vigil *vigil)
{
    const struct lookup_item *items;
    size_t n_items;
    struct error err;
    enum lookup_answer answer = lookup_take(vigil->lookup, &items, &n_items, &err);
    if (answer == LOOKUP_NOT_YET)
        return;
    if (answer == LOOKUP_FAILED)
        log_debug(COMPONENT, "what was read cannot be looked for: %s", err.text);
    for (size_t i = 0; answer == LOOKUP_ANSWERED && i < n_items; i++)
        take_verdict(vigil, &items[i]);
    set_state(vigil, VIGIL_RESTING);
}

static void ask(struct vigil *vigil)
{
    const struct partitions *partitions = vigil->options.partitions;
    struct lookup_item *items = memory_zero(partitions->count + 1, sizeof(*items));
    size_t n_items = 0;
    for (size_t i = 0; i < partitions->count; i++) {
        struct partition *partition = partitions->items[i];
        if (partition->state != PARTITION_READING || !partition->trail.kept.recent.is_set)
            continue;
        trail_choose(&partition->trail, partition->stored);
        items[n_items++] = (struct lookup_item){.topic = partition->topic,
                                                .partition = partition->number,
                                                .kept = partition->trail.kept};
    }
    if (n_items > 0) {
        lookup_start_compare(vigil->lookup, items, n_items);
        set_state(vigil, VIGIL_ASKING);
    }
    free(items);
}

/* The first message of a partition needs no comparison. */
static void keep_first(struct vigil *vigil)
{
    const struct partitions *partitions = vigil->options.partitions;
    for (size_t i = 0; i < partitions->count; i++) {
        struct partition *partition = partitions->items[i];
        if (partition->state != PARTITION_READING || partition->trail.kept.recent.is_set)
            continue;
        trail_choose(&partition->trail, partition->stored);
        advance(vigil, partition, TRAIL_UNKNOWN);
    }
}

/* ---- the step ---- */

bool vigil_is_due(const struct vigil *vigil)
{
    return vigil->state == VIGIL_RESTING && vigil->has_unsaved;
}

void vigil_step(struct vigil *vigil, int64_t now_ms)
{
    if (vigil->state == VIGIL_ASKING)
        take_answer(vigil);
    if (vigil->state == VIGIL_RESTING && now_ms >= vigil->first_at_ms) {
        vigil->first_at_ms = now_ms + FIRST_MS;
        keep_first(vigil);
    }
    if (vigil_is_due(vigil) && writer_is_ready(vigil->options.writer))
        save(vigil);
    if (vigil->state == VIGIL_RESTING && now_ms >= vigil->ask_at_ms) {
        vigil->ask_at_ms = now_ms + INTERVAL_MS;
        ask(vigil);
    }
}
