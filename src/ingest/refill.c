#include "ingest/refill.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define MESSAGES_MAX 25000 /* a quarter of queued.min.messages, the other limit of the queue */

struct refill {
    rd_kafka_t *kafka;
    size_t bytes_max; /* between two questions */
    size_t messages;  /* taken since the last question */
    size_t bytes;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    rd_kafka_topic_partition_list_t *list; /* NULL: none */
    bool wanted;
    bool ended;
};

/* The list to ask about, NULL at the end. */
static rd_kafka_topic_partition_list_t *wait_for_work(struct refill *refill)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    pthread_mutex_lock(&refill->lock);
    while (!refill->ended && !(refill->wanted && refill->list))
        pthread_cond_wait(&refill->changed, &refill->lock);
    refill->wanted = false;
    if (!refill->ended)
        list = rd_kafka_topic_partition_list_copy(refill->list);
    pthread_mutex_unlock(&refill->lock);
    return list;
}

static void *ask(void *arg)
{
    struct refill *refill = arg;
    rd_kafka_topic_partition_list_t *list;
    while ((list = wait_for_work(refill))) {
        for (int i = 0; i < list->cnt; i++)
            list->elems[i].offset = RD_KAFKA_OFFSET_END;
        /* The answer does not matter: what goes wrong is said by fetching too. */
        rd_kafka_offsets_for_times(refill->kafka, list, REFILL_TIMEOUT_MS);
        rd_kafka_topic_partition_list_destroy(list);
    }
    return NULL;
}

struct refill *refill_new(rd_kafka_t *kafka, size_t queue_bytes)
{
    struct refill *refill = memory_zero(1, sizeof(*refill));
    refill->kafka = kafka;
    refill->bytes_max = queue_bytes / 4;
    pthread_mutex_init(&refill->lock, NULL);
    pthread_cond_init(&refill->changed, NULL);
    int code = pthread_create(&refill->thread, NULL, ask, refill);
    if (code != 0)
        die("cannot start a thread: %s", strerror(code));
    return refill;
}

void refill_free(struct refill *refill)
{
    if (!refill)
        return;
    pthread_mutex_lock(&refill->lock);
    refill->ended = true;
    pthread_cond_signal(&refill->changed);
    pthread_mutex_unlock(&refill->lock);
    pthread_join(refill->thread, NULL);
    if (refill->list)
        rd_kafka_topic_partition_list_destroy(refill->list);
    pthread_cond_destroy(&refill->changed);
    pthread_mutex_destroy(&refill->lock);
    free(refill);
}

void refill_set_partitions(struct refill *refill, const rd_kafka_topic_partition_list_t *list)
{
    pthread_mutex_lock(&refill->lock);
    if (refill->list)
        rd_kafka_topic_partition_list_destroy(refill->list);
    refill->list = list->cnt > 0 ? rd_kafka_topic_partition_list_copy(list) : NULL;
    pthread_mutex_unlock(&refill->lock);
}

void refill_took(struct refill *refill, size_t messages, size_t bytes)
{
    refill->messages += messages;
    refill->bytes += bytes;
    if (refill->messages < MESSAGES_MAX && refill->bytes < refill->bytes_max)
        return;
    refill->messages = 0;
    refill->bytes = 0;
    pthread_mutex_lock(&refill->lock);
    refill->wanted = true;
    pthread_cond_signal(&refill->changed);
    pthread_mutex_unlock(&refill->lock);
}
