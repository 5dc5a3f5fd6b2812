#include "ingest/announce.h"

#define INTERVAL_MS 1000

static bool has_news(const struct partitions *partitions)
{
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if (partition->state != PARTITION_NEW && partition->announced != partition->stored)
            return true;
    }
    return false;
}

/* What waited for the flush is announced; what is stored now waits for the next one. No write can
 * have been committed since the question was sent: the writer does one thing at a time. */
static void on_flushed(bool ok, uint64_t flushed_lsn, uint64_t insert_lsn, void *arg)
{
    struct announce *announce = arg;
    announce->asking = false;
    if (!ok)
        return;

    bool reached = announce->lsn > 0 && flushed_lsn >= announce->lsn;
    bool news = false;
    for (size_t i = 0; i < announce->partitions->count; i++) {
        struct partition *partition = announce->partitions->items[i];
        if (reached && partition->flushing >= 0 && partition->announced != partition->flushing) {
            partition->announced = partition->flushing;
            news = true;
        }
        if (partition->state != PARTITION_NEW && (reached || announce->lsn == 0))
            partition->flushing = partition->stored;
    }
    if (reached || announce->lsn == 0)
        announce->lsn = insert_lsn;
    if (news)
        consumer_commit(announce->consumer, announce->partitions);
}

bool announce_is_due(const struct announce *announce, int64_t now_ms)
{
    return !announce->asking && now_ms >= announce->next_ms && has_news(announce->partitions);
}

void announce_step(struct announce *announce, int64_t now_ms)
{
    if (announce_is_due(announce, now_ms) && writer_is_ready(announce->writer) &&
        writer_read_flushed(announce->writer, on_flushed, announce)) {
        announce->asking = true;
        announce->next_ms = now_ms + INTERVAL_MS;
    }
}

void announce_all(struct announce *announce)
{
    for (size_t i = 0; i < announce->partitions->count; i++) {
        struct partition *partition = announce->partitions->items[i];
        /* Nor does an answer that is still to come take the announcement back. */
        if (partition->state != PARTITION_NEW)
            partition->announced = partition->flushing = partition->stored;
    }
    consumer_commit(announce->consumer, announce->partitions);
}
