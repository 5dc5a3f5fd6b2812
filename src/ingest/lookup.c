#include "ingest/lookup.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"

#define STEP_TIMEOUT_MS 2000

struct lookup {
    rd_kafka_t *kafka;
    struct probe *probe;
    void (*wake)(void *arg);
    void *arg;
    bool running; /* a thread was started and not joined; the asking thread's own */
    pthread_t thread;
    struct lookup_item *items; /* the helper's while it runs */
    size_t n_items;
    bool compares_only;
    bool ok;
    struct error err;
    atomic_bool answered;
    atomic_bool cancelled;
};

struct lookup *lookup_new(rd_kafka_t *kafka, struct probe *probe, void (*wake)(void *arg),
                          void *arg)
{
    struct lookup *lookup = memory_zero(1, sizeof(*lookup));
    lookup->kafka = kafka;
    lookup->probe = probe;
    lookup->wake = wake;
    lookup->arg = arg;
    return lookup;
}

static void forget_items(struct lookup *lookup)
{
    for (size_t i = 0; i < lookup->n_items; i++)
        free(lookup->items[i].topic);
    free(lookup->items);
    lookup->items = NULL;
    lookup->n_items = 0;
}

void lookup_free(struct lookup *lookup)
{
    if (!lookup)
        return;
    atomic_store(&lookup->cancelled, true);
    if (lookup->running)
        pthread_join(lookup->thread, NULL);
    forget_items(lookup);
    free(lookup);
}

bool lookup_is_idle(const struct lookup *lookup)
{
    return !lookup->running;
}

static rd_kafka_topic_partition_list_t *list_items(const struct lookup *lookup, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)lookup->n_items);
    for (size_t i = 0; i < lookup->n_items; i++)
        rd_kafka_topic_partition_list_add(list, lookup->items[i].topic, lookup->items[i].partition)
            ->offset = offset;
    return list;
}

static bool ask_committed(struct lookup *lookup)
{
    rd_kafka_topic_partition_list_t *list = list_items(lookup, RD_KAFKA_OFFSET_INVALID);
    rd_kafka_resp_err_t code = rd_kafka_committed(lookup->kafka, list, STEP_TIMEOUT_MS);
    if (code)
        error_set(&lookup->err, "committed offsets: %s", rd_kafka_err2str(code));
    for (int i = 0; !code && i < list->cnt; i++) {
        code = list->elems[i].err;
        if (code)
            error_set(&lookup->err, "committed offset of %s/%" PRId32 ": %s", list->elems[i].topic,
                      list->elems[i].partition, rd_kafka_err2str(code));
        lookup->items[i].committed = list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* The first or the last offsets of all. Not by rd_kafka_query_watermark_offsets(): once a broker is
 * asked, that one heeds no time-out but the socket's. */
static bool ask_ends(struct lookup *lookup, int64_t which)
{
    if (atomic_load(&lookup->cancelled))
        return error_set(&lookup->err, "cancelled");
    const char *name = which == RD_KAFKA_OFFSET_END ? "last" : "first";
    rd_kafka_topic_partition_list_t *list = list_items(lookup, which);
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(lookup->kafka, list, STEP_TIMEOUT_MS);
    if (code)
        error_set(&lookup->err, "%s offsets: %s", name, rd_kafka_err2str(code));
    for (int i = 0; !code && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &list->elems[i];
        code = found->err;
        if (code)
            error_set(&lookup->err, "%s offset of %s/%" PRId32 ": %s", name, found->topic,
                      found->partition, rd_kafka_err2str(code));
        else if (which == RD_KAFKA_OFFSET_END)
            lookup->items[i].high = found->offset;
        else
            lookup->items[i].low = found->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- is what was read still there? ---- */

/* One message of each item that is in question, as a question to the probe and its answer. */
struct places {
    struct probe_item *asked;
    struct lookup_item **items;
    size_t count;
};

static struct places places_new(size_t n)
{
    return (struct places){.asked = memory_zero(n + 1, sizeof(struct probe_item)),
                           .items = memory_zero(n + 1, sizeof(struct lookup_item *))};
}

static void places_free(struct places *places)
{
    free(places->asked);
    free(places->items);
}

static void add_place(struct places *places, struct lookup_item *item, const struct mark *mark)
{
    places->items[places->count] = item;
    places->asked[places->count++] = (struct probe_item){
        .topic = item->topic, .partition = item->partition, .offset = mark->offset};
}

/* The older message is looked at only where the recent one is not what it was. */
static void ask_oldest(struct lookup *lookup, const struct places *recent)
{
    static const struct trail_found nothing = {.what = FOUND_SILENT};
    struct places doubted = places_new(recent->count);
    const struct trail_found **found = memory_zero(recent->count + 1, sizeof(*found));
    for (size_t i = 0; i < recent->count; i++) {
        struct lookup_item *item = recent->items[i];
        const struct trail_found *at = &recent->asked[i].found;
        if (at->what == FOUND_MESSAGE && !mark_is_same(&item->kept.recent, &at->mark)) {
            found[doubted.count] = at;
            add_place(&doubted, item, &item->kept.oldest);
        } else {
            item->verdict = trail_judge(&item->kept, at, &nothing);
        }
    }
    if (doubted.count > 0)
        lookup->ok = probe_ask(lookup->probe, doubted.asked, doubted.count, STEP_TIMEOUT_MS,
                               &lookup->cancelled, &lookup->err);
    for (size_t i = 0; i < doubted.count; i++)
        doubted.items[i]->verdict =
            trail_judge(&doubted.items[i]->kept, found[i], &doubted.asked[i].found);
    free(found);
    places_free(&doubted);
}

static void compare(struct lookup *lookup)
{
    struct places recent = places_new(lookup->n_items);
    for (size_t i = 0; i < lookup->n_items; i++) {
        struct lookup_item *item = &lookup->items[i];
        item->verdict = TRAIL_UNKNOWN;
        if (item->kept.recent.is_set)
            add_place(&recent, item, &item->kept.recent);
    }
    if (recent.count > 0) {
        lookup->ok = probe_ask(lookup->probe, recent.asked, recent.count, STEP_TIMEOUT_MS,
                               &lookup->cancelled, &lookup->err);
        if (lookup->ok)
            ask_oldest(lookup, &recent);
    }
    places_free(&recent);
}

static void *ask(void *arg)
{
    struct lookup *lookup = arg;
    lookup->ok = lookup->compares_only ||
                 (ask_committed(lookup) && ask_ends(lookup, RD_KAFKA_OFFSET_BEGINNING) &&
                  ask_ends(lookup, RD_KAFKA_OFFSET_END));
    if (lookup->ok)
        compare(lookup);
    atomic_store(&lookup->answered, true);
    lookup->wake(lookup->arg);
    return NULL;
}

static void start(struct lookup *lookup, const struct lookup_item *items, size_t n_items,
                  bool compares_only)
{
    forget_items(lookup);
    lookup->compares_only = compares_only;
    lookup->items = memory_zero(n_items, sizeof(*items));
    lookup->n_items = n_items;
    for (size_t i = 0; i < n_items; i++)
        lookup->items[i] = (struct lookup_item){.topic = memory_string(items[i].topic),
                                                .partition = items[i].partition,
                                                .kept = items[i].kept,
                                                .committed = -1};
    lookup->err.text[0] = '\0';
    atomic_store(&lookup->answered, false);
    lookup->running = true;
    int code = pthread_create(&lookup->thread, NULL, ask, lookup);
    if (code != 0)
        die("cannot start a thread: %s", strerror(code));
}

void lookup_start(struct lookup *lookup, const struct lookup_item *items, size_t n_items)
{
    start(lookup, items, n_items, false);
}

void lookup_start_compare(struct lookup *lookup, const struct lookup_item *items, size_t n_items)
{
    start(lookup, items, n_items, true);
}

enum lookup_answer lookup_take(struct lookup *lookup, const struct lookup_item **items,
                               size_t *n_items, struct error *err)
{
    if (!lookup->running || !atomic_load(&lookup->answered))
        return LOOKUP_NOT_YET;
    pthread_join(lookup->thread, NULL);
    lookup->running = false;
    *items = lookup->items;
    *n_items = lookup->n_items;
    *err = lookup->err;
    return lookup->ok ? LOOKUP_ANSWERED : LOOKUP_FAILED;
}
