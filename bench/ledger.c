/* What the ledger's computation costs a message, beside reducing the same batch:
 *
 *   bench_ledger [SERIES] [BATCH]        300 and 10000 when not given
 *
 * Accepted candles of many series in one partition, as ingest has them before it sends a batch. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "ingest/ledger.h"

#define ROUNDS 300

enum { SEQUENCE, SYMBOL, TIME, N_COLUMNS };

static struct column_def columns[N_COLUMNS] = {
    {"sequence", VALUE_INT8, true}, {"symbol", VALUE_TEXT, false}, {"time", VALUE_TIME, false}};
static size_t key[] = {TIME, SYMBOL};
static size_t by[] = {SYMBOL};
static struct table_def table = {
    .name = "market_klines",
    .columns = columns,
    .n_columns = N_COLUMNS,
    .key = key,
    .n_key = 2,
    .has_newer = true,
    .newer = SEQUENCE,
    .track = {.by = by, .n_by = 1, .sequence = SEQUENCE, .time = TIME},
};
static const struct stream_def stream = {.name = "bench", .tables = &table, .n_tables = 1};

static void release(void *kept)
{
    (void)kept;
}

static void add_candle(struct batch *batch, struct partition *partition, int64_t sequence,
                       int n_series)
{
    const struct message message = {.topic = partition->topic, .offset = partition->next};
    struct part *part = batch_add(batch, partition, &message, 1, batch)->parts;
    struct value *values = arena_alloc(&batch->arena, N_COLUMNS * sizeof *values);
    char *symbol = arena_printf(&batch->arena, "SYM%dUSDT", (int)(sequence % n_series));
    values[SEQUENCE] = (struct value){.type = VALUE_INT8, .int8 = sequence};
    values[SYMBOL] = (struct value){.type = VALUE_TEXT, .text = bytes_of_string(symbol)};
    values[TIME] = (struct value){.type = VALUE_TIME, .int8 = sequence / n_series * 60000};
    part->stream = &stream;
    part->mapped = (struct map_result){.verdict = MAP_ROWS, .has_sequence = true};
    part->mapped.sequence = sequence;
    part->mapped.rows = arena_alloc(&batch->arena, sizeof(struct row));
    part->mapped.rows[0] = (struct row){&table, values};
    part->mapped.n_rows = 1;
}

int main(int argc, char **argv)
{
    int n_series = argc > 1 ? atoi(argv[1]) : 300;
    size_t size = argc > 2 ? (size_t)atoi(argv[2]) : 10000;
    if (n_series < 1 || size < 1)
        die("bench_ledger [SERIES] [BATCH]");
    struct metrics *metrics = metrics_new();
    struct ledger *ledger = ledger_new(metrics);
    struct partition partition = {.topic = "bench"};
    struct batch batch;
    struct arena arena = {0};
    struct reduced reduced;
    struct ledger_cut cut;
    batch_init(&batch, release);
    for (size_t i = 0; i < size; i++)
        add_candle(&batch, &partition, (int64_t)i, n_series);

    int64_t reduce_us = 0, ledger_us = 0;
    for (int round = 0; round < ROUNDS; round++) {
        arena_reset(&arena);
        int64_t began_us = clock_monotonic_us();
        reduce_range(&batch, 0, size, &arena, &reduced);
        int64_t reduced_us = clock_monotonic_us();
        ledger_compute(ledger, &batch, 0, size, &reduced, NULL, &arena, &cut);
        ledger_us += clock_monotonic_us() - reduced_us;
        reduce_us += reduced_us - began_us;
        ledger_committed(ledger, &cut, NULL); /* from the second round on it knows the series */
        partition.progress = (struct progress){0};
    }
    printf("%d series, %zu messages: reduce %.3f us, ledger %.3f us a message\n", n_series, size,
           (double)reduce_us / ROUNDS / (double)size, (double)ledger_us / ROUNDS / (double)size);
    batch_free(&batch);
    arena_free(&arena);
    ledger_free(ledger);
    metrics_free(metrics);
    return 0;
}
