#include "ingest/counts.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#define SAVED_INTERVAL_MS 5000
#define REASON_MAX        80 /* of a skip reason as a label */

/* What is told of one stream, among it the line about stored rows. */
struct stream_counts {
    char *stream;
    char *saved; /* with one %d */
    uint64_t rows;
    int64_t said_ms;
    struct log_limit rejected_limit;
    struct histogram *delay_seconds;
};

struct counts {
    struct metrics *metrics;
    struct counter *batches;
    struct counter *swapped;
    struct histogram *batch_messages;
    struct histogram *write_seconds;
    struct stream_counts *streams;
    size_t n_streams;
};

static const double SIZE_BOUNDS[] = {1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000};
static const double WRITE_BOUNDS[] = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30};
static const double DELAY_BOUNDS[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,  1,
                                      2.5,   5,    10,    30,   60,  300,  1800, 7200};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct counts *counts_new(struct metrics *metrics)
{
    struct counts *counts = memory_zero(1, sizeof(*counts));
    counts->metrics = metrics;
    counts->batches = metrics_counter(metrics, "core_service_ingest_batches_total",
                                      "Transactions that were committed.", NULL, 0);
    counts->swapped = metrics_counter(metrics, "core_service_ingest_swapped_total",
                                      "Batches dropped because another worker had moved the "
                                      "offsets.",
                                      NULL, 0);
    counts->batch_messages = metrics_histogram(metrics, "core_service_ingest_batch_messages",
                                               "Messages in a committed transaction.", SIZE_BOUNDS,
                                               LENGTH(SIZE_BOUNDS), NULL, 0);
    counts->write_seconds = metrics_histogram(metrics, "core_service_ingest_write_seconds",
                                              "Time from sending a transaction to its commit.",
                                              WRITE_BOUNDS, LENGTH(WRITE_BOUNDS), NULL, 0);
    return counts;
}

void counts_free(struct counts *counts)
{
    if (!counts)
        return;
    for (size_t i = 0; i < counts->n_streams; i++) {
        free(counts->streams[i].stream);
        free(counts->streams[i].saved);
    }
    free(counts->streams);
    free(counts);
}

/* Valid until the next call. */
static struct stream_counts *counts_of(struct counts *counts, const struct stream_def *stream)
{
    for (size_t i = 0; i < counts->n_streams; i++)
        if (strcmp(counts->streams[i].stream, stream->name) == 0)
            return &counts->streams[i];

    const struct label label = {"stream", stream->name};
    counts->streams =
        memory_resize(counts->streams, (counts->n_streams + 1) * sizeof(*counts->streams));
    struct stream_counts *of_stream = &counts->streams[counts->n_streams++];
    *of_stream = (struct stream_counts){
        .stream = memory_string(stream->name),
        .saved = memory_string(stream->saved),
        .delay_seconds = metrics_histogram(counts->metrics, "core_service_ingest_delay_seconds",
                                           "Time from a message's timestamp to its commit.",
                                           DELAY_BOUNDS, LENGTH(DELAY_BOUNDS), &label, 1),
    };
    return of_stream;
}

/* The text comes from a rule file: it is no format of printf. */
static void say_saved(struct stream_counts *of_stream, int64_t now_ms)
{
    const char *text = of_stream->saved, *mark = strstr(text, "%d");
    int before = mark ? (int)(mark - text) : (int)strlen(text);
    log_info(of_stream->stream, "%.*s%" PRIu64 "%s", before, text, of_stream->rows,
             mark ? mark + 2 : "");
    of_stream->rows = 0;
    of_stream->said_ms = now_ms;
}

void counts_say_saved(struct counts *counts, bool all)
{
    int64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < counts->n_streams; i++) {
        struct stream_counts *of_stream = &counts->streams[i];
        bool due = of_stream->said_ms == 0 || now_ms - of_stream->said_ms >= SAVED_INTERVAL_MS;
        if (of_stream->rows > 0 && (due || all))
            say_saved(of_stream, now_ms);
    }
}

static void count_skipped(struct counts *counts, const struct part *part)
{
    char reason[REASON_MAX + 1];
    size_t size = part->mapped.reason.size < REASON_MAX ? part->mapped.reason.size : REASON_MAX;
    if (size > 0)
        memcpy(reason, part->mapped.reason.data, size);
    reason[size] = '\0';
    const struct label labels[] = {{"stream", part->stream->name}, {"reason", reason}};
    counter_add(metrics_counter(counts->metrics, "core_service_ingest_skipped_total",
                                "Messages that a rule skipped.", labels, 2),
                1);
}

static void count_rejected(struct counts *counts, const struct part *part)
{
    const char *stage = reject_stage_name(part->mapped.stage);
    const struct label labels[] = {{"stream", part->stream->name}, {"stage", stage}};
    counter_add(metrics_counter(counts->metrics, "core_service_ingest_rejected_total",
                                "Messages that went into rejected_messages.", labels, 2),
                1);

    log_limited(&counts_of(counts, part->stream)->rejected_limit, SAVED_INTERVAL_MS, LOG_WARN,
                part->stream->name, "message rejected (%s): %.*s", stage,
                (int)part->mapped.reason.size, part->mapped.reason.data);
}

static void count_entry(struct counts *counts, const struct entry *entry, int64_t now_ms)
{
    if (entry->n_parts == 0)
        return;
    if (entry->partition->messages)
        counter_add(entry->partition->messages, 1);
    for (size_t i = 0; i < entry->n_parts; i++) {
        if (entry->message.timestamp_ms >= 0)
            histogram_observe(counts_of(counts, entry->parts[i].stream)->delay_seconds,
                              (double)(now_ms - entry->message.timestamp_ms) / 1e3);
        if (entry->parts[i].mapped.verdict == MAP_SKIP)
            count_skipped(counts, &entry->parts[i]);
        else if (entry->parts[i].mapped.verdict == MAP_REJECT)
            count_rejected(counts, &entry->parts[i]);
    }
}

static const struct stream_def *stream_of(const struct batch *batch, size_t from, size_t to,
                                          const struct table_def *table)
{
    for (size_t i = from; i < to; i++)
        for (size_t p = 0; p < batch->entries[i].n_parts; p++) {
            const struct stream_def *stream = batch->entries[i].parts[p].stream;
            if (table >= stream->tables && table < stream->tables + stream->n_tables)
                return stream;
        }
    die("no stream of the batch has table %s", table->name);
}

static void count_rows(struct counts *counts, const struct stream_def *stream, size_t stored,
                       size_t superseded)
{
    const struct label labels[] = {{"stream", stream->name}};
    counter_add(metrics_counter(counts->metrics, "core_service_ingest_rows_total", "Rows written.",
                                labels, 1),
                stored);
    counter_add(metrics_counter(counts->metrics, "core_service_ingest_superseded_total",
                                "Rows that a newer one of the same batch replaced.", labels, 1),
                superseded);
    counts_of(counts, stream)->rows += stored;
}

void counts_stored(struct counts *counts, const struct batch *batch, size_t from, size_t to,
                   const struct reduced *reduced, int64_t write_us)
{
    int64_t now_ms = clock_realtime_ms();
    size_t n_messages = 0;
    for (size_t i = from; i < to; i++) {
        const struct entry *entry = &batch->entries[i];
        if (entry->dropped)
            continue;
        n_messages += entry->n_parts > 0;
        count_entry(counts, entry, now_ms);
    }
    for (size_t i = 0; i < reduced->n_tables; i++) {
        const struct write_rows *table = &reduced->tables[i];
        count_rows(counts, stream_of(batch, from, to, table->table), table->n_rows,
                   reduced->n_seen[i] - table->n_rows);
    }
    counter_add(counts->batches, 1);
    histogram_observe(counts->batch_messages, (double)n_messages);
    histogram_observe(counts->write_seconds, (double)write_us / 1e6);
    counts_say_saved(counts, false);
}

void counts_retry(struct counts *counts, const char *sqlstate)
{
    const struct label labels[] = {{"sqlstate", *sqlstate ? sqlstate : "lost"}};
    counter_add(metrics_counter(counts->metrics, "core_service_ingest_retries_total",
                                "Writes that are tried again, by SQLSTATE.", labels, 1),
                1);
}

void counts_swapped(struct counts *counts)
{
    counter_add(counts->swapped, 1);
}

static void count_of_partition(struct counts *counts, const struct partition *partition,
                               const char *name, const char *help, uint64_t n)
{
    char number[16];
    snprintf(number, sizeof(number), "%" PRId32, partition->number);
    const struct label labels[] = {{"topic", partition->topic}, {"partition", number}};
    counter_add(metrics_counter(counts->metrics, name, help, labels, 2), n);
}

void counts_lost(struct counts *counts, const struct partition *partition, uint64_t messages)
{
    count_of_partition(counts, partition, "core_service_ingest_lost_messages_total",
                       "Messages that Kafka deleted before they were read; 1 for a topic that was "
                       "made anew, where their number is not known.",
                       messages);
}

void counts_made_anew(struct counts *counts, const struct partition *partition)
{
    count_of_partition(counts, partition, "core_service_ingest_made_anew_total",
                       "Times that a topic was deleted and made anew, by its partitions.", 1);
}

void counts_paused(struct counts *counts, const char *stream, bool paused)
{
    const struct label labels[] = {{"stream", stream}};
    gauge_set(metrics_gauge(counts->metrics, "core_service_ingest_stream_paused",
                            "1 while a table refuses every row of the stream.", labels, 1),
              paused ? 1 : 0);
}
