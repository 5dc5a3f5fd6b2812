#include "ingest/lookup.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/memory.h"

#define STEP_TIMEOUT_MS 2000

struct lookup {
    rd_kafka_t *kafka;
    void (*wake)(void *arg);
    void *arg;
    bool running; /* a thread was started and not joined; the asking thread's own */
    pthread_t thread;
    struct lookup_item *items; /* the helper's while it runs */
    size_t n_items;
    bool ok;
    struct error err;
    atomic_bool answered;
    atomic_bool cancelled;
};

struct lookup *lookup_new(rd_kafka_t *kafka, void (*wake)(void *arg), void *arg)
{
    struct lookup *lookup = memory_zero(1, sizeof(*lookup));
    lookup->kafka = kafka;
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

static bool ask_committed(struct lookup *lookup)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)lookup->n_items);
    for (size_t i = 0; i < lookup->n_items; i++)
        rd_kafka_topic_partition_list_add(list, lookup->items[i].topic, lookup->items[i].partition);

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

static bool ask_ends(struct lookup *lookup, struct lookup_item *item)
{
    if (atomic_load(&lookup->cancelled))
        return error_set(&lookup->err, "cancelled");
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        lookup->kafka, item->topic, item->partition, &item->low, &item->high, STEP_TIMEOUT_MS);
    if (code)
        return error_set(&lookup->err, "first and last offset of %s/%" PRId32 ": %s", item->topic,
                         item->partition, rd_kafka_err2str(code));
    return true;
}

static void *ask(void *arg)
{
    struct lookup *lookup = arg;
    lookup->ok = ask_committed(lookup);
    for (size_t i = 0; lookup->ok && i < lookup->n_items; i++)
        lookup->ok = ask_ends(lookup, &lookup->items[i]);
    atomic_store(&lookup->answered, true);
    lookup->wake(lookup->arg);
    return NULL;
}

void lookup_start(struct lookup *lookup, const struct lookup_item *items, size_t n_items)
{
    forget_items(lookup);
    lookup->items = memory_zero(n_items, sizeof(*items));
    lookup->n_items = n_items;
    for (size_t i = 0; i < n_items; i++)
        lookup->items[i] = (struct lookup_item){.topic = memory_string(items[i].topic),
                                                .partition = items[i].partition,
                                                .committed = -1};
    lookup->err.text[0] = '\0';
    atomic_store(&lookup->answered, false);
    lookup->running = true;
    int code = pthread_create(&lookup->thread, NULL, ask, lookup);
    if (code != 0)
        die("cannot start a thread: %s", strerror(code));
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
