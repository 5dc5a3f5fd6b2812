#include "ingest/gather.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "ingest/numbers.h"

#define COMPONENT     "ingest"
#define READ_MAX      256
#define TYPICAL_BYTES 4096 /* what a message comes to, before the first is seen */
#define REASON_MAX    2000 /* bytes of a reason that are kept */

bool gather_is_full(const struct gather *gather, const struct load *load)
{
    return load->batch.n_entries >= (size_t)gather->settings->batch_size ||
           batch_bytes(&load->batch) >= (size_t)gather->settings->batch_bytes;
}

void gather_reset(struct gather *gather, struct load *load)
{
    batch_reset(&load->batch);
    if (load->generation)
        rules_registry_release(gather->rules, load->generation);
    load->generation = NULL;
}

/* One generation for all messages of a batch; a jump alone does not bind those behind it. */
static void take_generation(struct gather *gather, struct load *load)
{
    bool is_bound = load->batch.n_entries > 0;
    if (load->generation &&
        (is_bound || load->generation->number == rules_registry_number(gather->rules)))
        return;
    if (load->generation)
        rules_registry_release(gather->rules, load->generation);
    load->generation = rules_registry_acquire(gather->rules);
    if (!load->generation)
        die("messages came before the first generation of rules");
    load->batch.rules_hash = load->generation->snapshot->hash;
}

void gather_jump(struct gather *gather, struct load *load, struct partition *partition, int64_t to,
                 bool is_lost)
{
    take_generation(gather, load);
    batch_jump(&load->batch, partition, to, is_lost);
}

/* PostgreSQL's text takes UTF-8 without U+0000, and a reason may quote any message. */
static struct bytes clean(struct arena *arena, struct bytes text)
{
    if (!text.data)
        return text;
    size_t size = text.size < REASON_MAX ? text.size : REASON_MAX;
    char *copy = arena_alloc(arena, size + 1);
    size_t at = 0;
    while (at < size) {
        size_t step = utf8_char_size(bytes_of(text.data + at, size - at));
        if (step == 0 || text.data[at] == '\0') {
            copy[at++] = '?';
            continue;
        }
        memcpy(copy + at, text.data + at, step);
        at += step;
    }
    copy[size] = '\0';
    return bytes_of(copy, size);
}

static bool reads(const struct rules_generation *generation, const struct rules_def *def,
                  size_t stream, const char *topic)
{
    return !generation->resting[stream] && strcmp(def->streams[stream].topic, topic) == 0;
}

static size_t count_streams(const struct rules_generation *generation, const struct rules_def *def,
                            const char *topic)
{
    size_t count = 0;
    for (size_t i = 0; i < def->n_streams; i++)
        count += reads(generation, def, i, topic);
    return count;
}

static void map_message(struct load *load, struct rules_state *state, struct entry *entry)
{
    const struct rules_def *def = rules_state_def(state);
    struct arena *arena = &load->batch.arena;
    struct part *part = entry->parts;
    for (size_t i = 0; i < def->n_streams; i++) {
        if (!reads(load->generation, def, i, entry->message.topic))
            continue;
        part->stream = &def->streams[i];
        rules_map(state, i, &entry->message, arena, &part->mapped);
        if (part->mapped.verdict == MAP_REJECT) {
            part->mapped.reason = clean(arena, part->mapped.reason);
            part->mapped.symbol = clean(arena, part->mapped.symbol);
        }
        numbers_note(part, &load->batch);
        part++;
    }
}

/* No stream reads the topic since a reload: the message stays where it is, for the day that one
 * does again. */
static void leave(struct partition *partition)
{
    log_info(COMPONENT,
             "partition %s/%" PRId32 " stays at offset %" PRId64
             ": no stream reads its topic any more",
             partition->topic, partition->number, partition->next);
    partition_set_state(partition, PARTITION_ORPHAN);
}

/* True when the message was added, and its memory with it. */
static bool add_message(struct gather *gather, struct load *load, struct partition *partition,
                        struct item *item)
{
    if (item->message.offset < partition->next)
        return false; /* it has been gathered */
    take_generation(gather, load);
    struct rules_state *state = load->generation->states[gather->slot];
    size_t n_streams = count_streams(load->generation, rules_state_def(state), partition->topic);
    if (n_streams == 0) {
        leave(partition);
        return false;
    }
    struct message *message = &item->message;
    message->topic = partition->topic;
    trail_note(&partition->trail, message);
    map_message(load, state, batch_add(&load->batch, partition, message, n_streams, item->kept));
    return true;
}

/* True when the item's memory is held by the batch. */
static bool take_item(struct gather *gather, struct load *load, struct item *item)
{
    struct partition *partition =
        partitions_find(gather->partitions, item->message.topic, item->message.partition);
    if (!partition || partition->state != PARTITION_READING)
        return false;
    switch (item->kind) {
    case ITEM_MESSAGE:
        return add_message(gather, load, partition, item);
    case ITEM_END: /* behind the last message there may be transaction marks */
        if (item->message.offset > partition->next)
            gather_jump(gather, load, partition, item->message.offset, false);
        return false;
    case ITEM_LOST:
        log_warn(COMPONENT, "partition %s/%" PRId32 ": Kafka has no offset %" PRId64,
                 partition->topic, partition->number, partition->next);
        partition_set_state(partition, PARTITION_DOUBTED);
        return false;
    }
    die("unknown kind of item: %d", (int)item->kind);
}

/* How many messages a batch that is not full has room for, by what the last ones came to: their
 * size is known only once they are taken. */
static size_t count_room(const struct gather *gather, const struct load *load)
{
    size_t typical = gather->typical_bytes ? gather->typical_bytes : TYPICAL_BYTES;
    size_t left = (size_t)gather->settings->batch_bytes - batch_bytes(&load->batch);
    size_t by_bytes = left / typical + 1;
    size_t by_rows = (size_t)gather->settings->batch_size - load->batch.n_entries;
    size_t room = by_bytes < by_rows ? by_bytes : by_rows;
    return room < READ_MAX ? room : READ_MAX;
}

enum gather_result gather_step(struct gather *gather, struct load *load)
{
    if (gather_is_full(gather, load))
        return GATHER_FULL;

    struct item items[READ_MAX];
    size_t had = batch_bytes(&load->batch);
    size_t n = consumer_read(gather->consumer, items, count_room(gather, load));
    for (size_t i = 0; i < n; i++)
        if (!take_item(gather, load, &items[i]))
            consumer_release(items[i].kept);
    if (n == 0)
        return GATHER_EMPTY;
    if (batch_bytes(&load->batch) > had)
        gather->typical_bytes = (batch_bytes(&load->batch) - had) / n + 1;
    return gather_is_full(gather, load) ? GATHER_FULL : GATHER_MORE;
}
