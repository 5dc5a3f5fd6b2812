/* What a batch adds to the ledger is the same however it is cut, and what a plain model says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ingest/batch.h"
#include "ingest/ledger.h"
#include "ingest/reduce.h"

enum { COLUMN_SEQUENCE, COLUMN_SYMBOL, COLUMN_TIME, N_COLUMNS };
#define N_PARTITIONS 2
#define N_SYMBOLS    3
#define NUMBERS_MAX  200 /* what trials number with */
#define DAY_MS       INT64_C(86400000)

static struct column_def columns[N_COLUMNS] = {
    {"sequence", VALUE_INT8, true}, {"symbol", VALUE_TEXT, true}, {"time", VALUE_TIME, false}};
static size_t key_columns[] = {COLUMN_TIME, COLUMN_SYMBOL};
static size_t by_columns[] = {COLUMN_SYMBOL};
static struct table_def candles = {
    .name = "candles",
    .columns = columns,
    .n_columns = N_COLUMNS,
    .key = key_columns,
    .n_key = 2,
    .has_newer = true,
    .newer = COLUMN_SEQUENCE,
    .track = {.by = by_columns, .n_by = 1, .sequence = COLUMN_SEQUENCE, .time = COLUMN_TIME},
};
static struct table_def untracked = {
    .name = "news", .columns = columns, .n_columns = N_COLUMNS, .key = key_columns, .n_key = 2};
static size_t dense_fields[] = {0};
static const struct stream_def global_stream = {
    .name = "Global", .tables = &candles, .n_tables = 1, .identify_sequence = 0};
static const struct stream_def dense_stream = {.name = "Dense",
                                               .tables = &candles,
                                               .n_tables = 1,
                                               .identify_sequence = 0,
                                               .dense = dense_fields,
                                               .n_dense = 1};
static const struct stream_def plain_stream = {
    .name = "Plain", .tables = &untracked, .n_tables = 1, .identify_sequence = FIELD_NONE};

static const char *const symbols[N_SYMBOLS] = {"A", "B", "C/D"};
static const char *const names[N_SYMBOLS] = {"A", "B", "C//D"};

static void release(void *kept)
{
    (void)kept;
}

/* ---- messages ---- */

static struct part *add_message(struct batch *batch, struct partition *partition,
                                const struct stream_def *stream, enum map_verdict verdict,
                                int64_t sequence)
{
    const struct message message = {.topic = partition->topic,
                                    .partition = partition->number,
                                    .offset = partition->next,
                                    .payload = bytes_of_string("payload")};
    struct part *part = batch_add(batch, partition, &message, 1, batch)->parts;
    part->stream = stream;
    part->mapped.verdict = verdict;
    part->mapped.stage = STAGE_MAP;
    part->mapped.reason = bytes_of_string("for a reason");
    part->mapped.has_sequence = sequence >= 0;
    part->mapped.sequence = sequence;
    return part;
}

static void accept(struct batch *batch, struct partition *partition,
                   const struct stream_def *stream, const char *symbol, int64_t sequence,
                   int64_t time_ms)
{
    struct part *part = add_message(batch, partition, stream, MAP_ROWS, sequence);
    struct value *values = arena_alloc(&batch->arena, N_COLUMNS * sizeof(*values));
    memset(values, 0, N_COLUMNS * sizeof(*values));
    values[COLUMN_SEQUENCE] =
        (struct value){.type = VALUE_INT8, .int8 = sequence, .is_null = sequence < 0};
    values[COLUMN_SYMBOL] = (struct value){
        .type = VALUE_TEXT, .text = bytes_of_string(symbol), .is_null = symbol == NULL};
    values[COLUMN_TIME] = (struct value){.type = VALUE_TIME, .int8 = time_ms};
    part->mapped.rows = arena_alloc(&batch->arena, sizeof(struct row));
    part->mapped.rows[0] = (struct row){stream->tables, values};
    part->mapped.n_rows = 1;
}

/* `name` NULL: no series could be read; `sequence` -1: no number. */
static struct part *refuse(struct batch *batch, struct partition *partition,
                           const struct stream_def *stream, enum reject_stage stage,
                           const char *name, int64_t sequence)
{
    struct part *part = add_message(batch, partition, stream, MAP_REJECT, sequence);
    part->mapped.stage = stage;
    if (name) {
        part->mapped.series_table = bytes_of_string("candles");
        part->mapped.series = bytes_of_string(name);
    }
    return part;
}

#define UNSEEN (-2)

/* ---- what PostgreSQL would hold (migrations/006_ledger.sql) ---- */

enum { LOST = 1, REJECTED = 2, NEVER_RECEIVED = 4 };

struct model {
    /* why numbers are missing, by series (N_SYMBOLS: of every series) and partition; a number may
     * be for more than one reason */
    char gaps[N_SYMBOLS + 1][N_PARTITIONS][NUMBERS_MAX];
    int64_t dense_max[N_SYMBOLS][N_PARTITIONS]; /* UNSEEN */
    bool carries[N_SYMBOLS][N_PARTITIONS];
    struct progress progress[N_PARTITIONS];
    char covered[N_SYMBOLS][NUMBERS_MAX]; /* numbers that lie in a range */
    int64_t regressions;
};

static void model_init(struct model *model)
{
    memset(model, 0, sizeof(*model));
    for (size_t s = 0; s < N_SYMBOLS; s++)
        for (size_t p = 0; p < N_PARTITIONS; p++)
            model->dense_max[s][p] = UNSEEN;
}

static size_t symbol_of(struct bytes series)
{
    for (size_t s = 0; s < N_SYMBOLS; s++)
        if (bytes_equal(series, bytes_of_string(names[s])))
            return s;
    fail_msg("no such series: %.*s", (int)series.size, series.data);
    return 0;
}

static void heal(struct model *model, size_t symbol, int64_t sequence, int reasons)
{
    for (size_t p = 0; p < N_PARTITIONS; p++)
        model->gaps[symbol][p][sequence] &= (char)~reasons;
}

static int compare_runs(const void *left, const void *right)
{
    const struct series_run *a = left, *b = right;
    return a->from != b->from ? (a->from > b->from) - (a->from < b->from)
                              : (a->to > b->to) - (a->to < b->to);
}

static void model_take_run(struct model *model, const struct series_run *run)
{
    size_t s = symbol_of(run->place.name.series), p = (size_t)run->place.partition;
    int64_t *max = &model->dense_max[s][p];
    for (int64_t n = run->from + 1; n <= run->to && n <= *max; n++)
        heal(model, s, n, run->accepted ? ~0 : NEVER_RECEIVED);
    for (int64_t n = *max + 1; n <= run->from; n++)
        model->gaps[s][p][n] |= NEVER_RECEIVED;
    if (run->to > *max)
        *max = run->to;
}

/* As ledger_encode() orders the statements. */
static void model_take(struct model *model, const struct ledger_update *update)
{
    struct series_run *runs = memory_alloc((update->n_runs + 1) * sizeof(*runs));
    if (update->n_runs > 0)
        memcpy(runs, update->runs, update->n_runs * sizeof(*runs));
    for (size_t i = 0; i < update->n_runs; i++) {
        int64_t *max =
            &model->dense_max[symbol_of(runs[i].place.name.series)][runs[i].place.partition];
        if (*max == UNSEEN)
            *max = runs[i].from;
    }
    qsort(runs, update->n_runs, sizeof(*runs), compare_runs);
    for (size_t i = 0; i < update->n_runs; i++)
        model_take_run(model, &runs[i]);
    free(runs);
    for (size_t i = 0; i < update->n_late; i++)
        heal(model, symbol_of(update->late[i].name.series), update->late[i].sequence, ~0);
    for (size_t i = 0; i < update->n_gaps; i++) {
        const struct series_gap *gap = &update->gaps[i];
        size_t s = gap->place.name.table ? symbol_of(gap->place.name.series) : N_SYMBOLS;
        assert_true(gap->from < gap->to);
        for (int64_t n = gap->from + 1; n <= gap->to; n++)
            model->gaps[s][gap->place.partition][n] |= gap->reason == HOLE_LOST ? LOST : REJECTED;
    }
    for (size_t i = 0; i < update->n_places; i++)
        model->carries[symbol_of(update->places[i].name.series)][update->places[i].partition] =
            true;
    for (size_t i = 0; i < update->n_ranges; i++) {
        const struct series_range *range = &update->ranges[i];
        assert_true(range->min_sequence <= range->max_sequence);
        assert_true(range->min_time_ms >= range->day * DAY_MS);
        assert_true(range->max_time_ms < (range->day + 1) * DAY_MS);
        for (int64_t n = range->min_sequence; n <= range->max_sequence && n < NUMBERS_MAX; n++)
            model->covered[symbol_of(range->name.series)][n] = 1;
    }
}

/* ---- cuts ---- */

struct site {
    struct metrics *metrics;
    struct ledger *ledger;
    struct partition partitions[N_PARTITIONS];
    struct batch batch;
    struct arena arena;
    struct model model;
};

static void site_open(struct site *site)
{
    memset(site, 0, sizeof(*site));
    site->metrics = metrics_new();
    site->ledger = ledger_new(site->metrics);
    for (int32_t p = 0; p < N_PARTITIONS; p++)
        site->partitions[p] = (struct partition){.topic = "topic", .number = p};
    batch_init(&site->batch, release);
    model_init(&site->model);
}

static void site_close(struct site *site)
{
    batch_free(&site->batch);
    arena_free(&site->arena);
    ledger_free(site->ledger);
    metrics_free(site->metrics);
}

/* Entries [from, to) as one transaction. */
static void store(struct site *site, size_t from, size_t to)
{
    struct reduced reduced;
    struct ledger_cut cut;
    arena_reset(&site->arena);
    reduce_range(&site->batch, from, to, &site->arena, &reduced);
    ledger_compute(site->ledger, &site->batch, from, to, &reduced, NULL, &site->arena, &cut);
    model_take(&site->model, &cut.update);
    for (size_t i = 0; i < cut.n_partitions; i++)
        site->model.regressions += (int64_t)cut.regressions[i].count;
    const struct ledger_found found = {0};
    ledger_committed(site->ledger, &cut, &found);
    for (size_t p = 0; p < N_PARTITIONS; p++)
        site->model.progress[p] = site->partitions[p].progress;
}

static void store_all(struct site *site)
{
    store(site, 0, site->batch.n_entries);
}

static void expect_gaps(const struct site *site, size_t series, int32_t partition,
                        const char *expected)
{
    char found[NUMBERS_MAX + 1] = "";
    for (size_t n = 0; n < strlen(expected); n++)
        found[n] =
            ".lrbn???"[(int)site->model.gaps[series][partition][n]]; /* b: lost and rejected */
    assert_string_equal(found, expected);
    for (size_t n = strlen(expected); n < NUMBERS_MAX; n++)
        assert_int_equal(site->model.gaps[series][partition][n], 0);
}

#define ALL N_SYMBOLS

/* ---- random trials ---- */

/* One message at random; `mixed` numbers jump, come late, twice or not at all. */
static void add_at_random(struct site *site, const struct stream_def *stream, int64_t counter[2])
{
    struct partition *partition = &site->partitions[rand() % N_PARTITIONS];
    size_t s = stream->dense ? (size_t)partition->number : (size_t)rand() % N_SYMBOLS;
    int64_t *next = &counter[stream->dense ? partition->number : 0];
    int64_t number = *next + (rand() % 4 == 0 ? rand() % 3 : 0);
    if (rand() % 8 == 0 && number > 4)
        number -= rand() % 4;
    if (number >= NUMBERS_MAX - 4)
        number = NUMBERS_MAX - 4;
    if (number >= *next)
        *next = number + 1;
    int dice = rand() % 20;
    if (dice < 12)
        accept(&site->batch, partition, stream, symbols[s], rand() % 15 ? number : -1,
               rand() % 3 * DAY_MS + rand() % 1000);
    else if (dice < 14)
        refuse(&site->batch, partition, stream, rand() % 2 ? STAGE_MAP : STAGE_ROW,
               rand() % 3 ? names[s] : NULL, number);
    else if (dice < 16)
        refuse(&site->batch, partition, stream, STAGE_DECODE, rand() % 3 ? names[s] : NULL, -1);
    else if (dice < 18)
        add_message(&site->batch, partition, stream, MAP_SKIP, number)->mapped.series_table =
            bytes_of_string("candles");
    else if (dice < 19)
        batch_jump(&site->batch, partition, partition->next + 1 + rand() % 5, rand() % 2);
    else
        accept(&site->batch, partition, stream, NULL, number, 0);
    struct entry *last = &site->batch.entries[site->batch.n_entries - 1];
    if (last->n_parts > 0 && last->parts[0].mapped.verdict == MAP_SKIP)
        last->parts[0].mapped.series = bytes_of_string(names[s]);
}

static void fill(struct site *site, const struct stream_def *stream, unsigned seed)
{
    int64_t counter[2] = {rand() % 3, rand() % 3};
    srand(seed);
    size_t n = 1 + (size_t)rand() % 100;
    for (size_t i = 0; i < n; i++)
        add_at_random(site, stream, counter);
}

static void check_same(const struct model *a, const struct model *b)
{
    assert_memory_equal(a->gaps, b->gaps, sizeof(a->gaps));
    assert_memory_equal(a->dense_max, b->dense_max, sizeof(a->dense_max));
    assert_memory_equal(a->carries, b->carries, sizeof(a->carries));
    assert_int_equal(a->regressions, b->regressions);
    for (size_t p = 0; p < N_PARTITIONS; p++) {
        const struct progress *x = &a->progress[p], *y = &b->progress[p];
        assert_int_equal(x->has_max, y->has_max);
        assert_int_equal(x->max_sequence, y->max_sequence);
        assert_int_equal(x->hole, y->hole);
        assert_string_equal(x->hole_table, y->hole_table);
        assert_string_equal(x->hole_series, y->hole_series);
    }
}

/* Every accepted number lies in a range, whatever the ranges are. */
static void check_covered(const struct site *site)
{
    for (size_t i = 0; i < site->batch.n_entries; i++) {
        const struct entry *entry = &site->batch.entries[i];
        if (entry->n_parts == 0 || entry->parts[0].mapped.verdict != MAP_ROWS)
            continue;
        const struct value *values = entry->parts[0].mapped.rows[0].values;
        if (values[COLUMN_SEQUENCE].is_null || values[COLUMN_SYMBOL].is_null)
            continue;
        size_t s = 0;
        while (!bytes_equal(values[COLUMN_SYMBOL].text, bytes_of_string(symbols[s])))
            s++;
        assert_true(site->model.covered[s][values[COLUMN_SEQUENCE].int8]);
    }
}

static void try_cuts(const struct stream_def *stream)
{
    for (unsigned trial = 0; trial < 400; trial++) {
        struct site whole, each, some;
        struct site *sites[] = {&whole, &each, &some};
        for (size_t i = 0; i < 3; i++) {
            srand(trial);
            site_open(sites[i]);
            fill(sites[i], stream, trial);
        }
        store_all(&whole);
        for (size_t i = 0; i < each.batch.n_entries; i++)
            store(&each, i, i + 1);
        for (size_t from = 0, to; from < some.batch.n_entries; from = to) {
            size_t left = some.batch.n_entries - from;
            to = from + 1 + (size_t)rand() % left;
            store(&some, from, to);
        }
        check_same(&whole.model, &each.model);
        check_same(&whole.model, &some.model);
        for (size_t i = 0; i < 3; i++) {
            check_covered(sites[i]);
            site_close(sites[i]);
        }
    }
}

static void equals_message_by_message_however_it_is_cut(void **state)
{
    (void)state;
    try_cuts(&global_stream);
}

static void equals_message_by_message_with_dense_numbers(void **state)
{
    (void)state;
    try_cuts(&dense_stream);
}

/* ---- one thing at a time ---- */

static void notes_progress_of_every_numbered_message(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    accept(&site.batch, &site.partitions[0], &global_stream, "A", 5, 0);
    add_message(&site.batch, &site.partitions[0], &global_stream, MAP_SKIP, 6);
    refuse(&site.batch, &site.partitions[1], &global_stream, STAGE_MAP, "B", 9);
    accept(&site.batch, &site.partitions[1], &global_stream, "A", -1, 0);
    store_all(&site);
    assert_int_equal(site.partitions[0].progress.max_sequence, 6);
    assert_int_equal(site.partitions[1].progress.max_sequence, 9);
    assert_true(site.model.carries[0][0] && site.model.carries[1][1]);
    assert_false(site.model.carries[0][1]);
    expect_gaps(&site, 1, 1, ".........r");
    site_close(&site);
}

static void says_nothing_of_rows_without_a_series_or_a_number(void **state)
{
    (void)state;
    struct site site;
    struct reduced reduced;
    struct ledger_cut cut;
    char longer[LEDGER_SERIES_MAX + 2];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    site_open(&site);
    accept(&site.batch, &site.partitions[0], &global_stream, NULL, 5, 0);
    accept(&site.batch, &site.partitions[0], &global_stream, longer, 6, 0);
    accept(&site.batch, &site.partitions[0], &global_stream, "A", -1, 0);
    accept(&site.batch, &site.partitions[0], &plain_stream, "A", 7, 0);
    reduce_range(&site.batch, 0, 4, &site.arena, &reduced);
    ledger_compute(site.ledger, &site.batch, 0, 4, &reduced, NULL, &site.arena, &cut);
    assert_int_equal(cut.update.n_ranges + cut.update.n_places + cut.update.n_gaps, 0);
    site_close(&site);
}

static void opens_a_hole_that_the_next_number_ends(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[0];
    accept(&site.batch, partition, &global_stream, "A", 3, 0);
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, NULL, -1);
    store_all(&site);
    assert_int_equal(partition->progress.hole, HOLE_REJECTED);
    batch_reset(&site.batch);
    accept(&site.batch, partition, &global_stream, "B", 2, 0); /* late: ends nothing */
    store_all(&site);
    assert_int_equal(partition->progress.hole, HOLE_REJECTED);
    batch_reset(&site.batch);
    accept(&site.batch, partition, &global_stream, "B", 7, 0);
    store_all(&site);
    assert_int_equal(partition->progress.hole, HOLE_NONE);
    expect_gaps(&site, ALL, 0, "....rrr.");
    site_close(&site);
}

static void gives_a_hole_to_the_series_of_the_key(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[0];
    accept(&site.batch, partition, &global_stream, "A", 3, 0);
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, "C//D", -1);
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, "C//D", -1);
    accept(&site.batch, partition, &global_stream, "A", 6, 0);
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, "C//D", -1);
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, "B", -1); /* of two series */
    accept(&site.batch, partition, &global_stream, "A", 8, 0);
    store_all(&site);
    expect_gaps(&site, 2, 0, "....rr");
    expect_gaps(&site, ALL, 0, ".......r");
    site_close(&site);
}

static void takes_lost_offsets_for_numbers_of_any_series(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[1];
    batch_jump(&site.batch, partition, 10, true); /* nothing is known before it */
    accept(&site.batch, partition, &global_stream, "A", 3, 0);
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, "A", -1);
    batch_jump(&site.batch, partition, 20, true);
    batch_jump(&site.batch, partition, 22, false); /* the end of a transaction */
    accept(&site.batch, partition, &global_stream, "A", 5, 0);
    store_all(&site);
    expect_gaps(&site, ALL, 1, "....l");
    site_close(&site);
}

static void counts_clear_to_as_read(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[0];
    partition->progress = (struct progress){.has_clear = true, .clear_to = 4};
    refuse(&site.batch, partition, &global_stream, STAGE_DECODE, NULL, -1);
    accept(&site.batch, partition, &global_stream, "A", 7, 0);
    store_all(&site);
    expect_gaps(&site, ALL, 0, ".....rr");
    site_close(&site);
}

static void lets_a_late_number_leave_its_gap(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[0];
    refuse(&site.batch, partition, &global_stream, STAGE_MAP, "A", 4);
    refuse(&site.batch, partition, &global_stream, STAGE_MAP, "A", 5);
    refuse(&site.batch, partition, &global_stream, STAGE_MAP, "A", 6);
    accept(&site.batch, partition, &global_stream, "A", 5, 0);
    store_all(&site);
    expect_gaps(&site, 0, 0, "....r.r");
    batch_reset(&site.batch);
    accept(&site.batch, partition, &global_stream, "A", 4, 0);
    refuse(&site.batch, partition, &global_stream, STAGE_MAP, "A", 5); /* and once more */
    store_all(&site);
    expect_gaps(&site, 0, 0, ".....rr");
    assert_int_equal(site.model.regressions, 3);
    site_close(&site);
}

static void keeps_the_numbers_of_rows_that_postgresql_refused(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    accept(&site.batch, &site.partitions[0], &global_stream, "B", 5, 0);
    batch_reject_part(&site.batch, &site.batch.entries[0].parts[0], "22001", "too long");
    store_all(&site);
    expect_gaps(&site, 1, 0, ".....r");
    assert_int_equal(site.partitions[0].progress.max_sequence, 5);
    site_close(&site);
}

static void finds_what_a_dense_series_jumped_over(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[0];
    accept(&site.batch, partition, &dense_stream, "A", 3, 0);
    accept(&site.batch, partition, &dense_stream, "A", 6, 0);
    refuse(&site.batch, partition, &dense_stream, STAGE_MAP, "A", 7);
    accept(&site.batch, partition, &dense_stream, "B", 1, 0);
    struct part *skipped = add_message(&site.batch, partition, &dense_stream, MAP_SKIP, 8);
    skipped->mapped.series_table = bytes_of_string("candles");
    skipped->mapped.series = bytes_of_string("A");
    accept(&site.batch, partition, &dense_stream, "A", 9, 0);
    store_all(&site);
    expect_gaps(&site, 0, 0, "....nn.r");
    expect_gaps(&site, 1, 0, "");
    assert_false(partition->progress.has_max);
    batch_reset(&site.batch);
    accept(&site.batch, partition, &dense_stream, "A", 5, 0);
    store_all(&site);
    expect_gaps(&site, 0, 0, "....n..r");
    site_close(&site);
}

static void tells_a_series_once(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    accept(&site.batch, &site.partitions[0], &global_stream, "A", 1, 0);
    store_all(&site);
    memset(site.model.carries, 0, sizeof(site.model.carries));
    batch_reset(&site.batch);
    accept(&site.batch, &site.partitions[0], &global_stream, "A", 2, 0);
    accept(&site.batch, &site.partitions[1], &global_stream, "A", 3, 0);
    store_all(&site);
    assert_false(site.model.carries[0][0]);
    assert_true(site.model.carries[0][1]);
    ledger_forget(site.ledger);
    batch_reset(&site.batch);
    accept(&site.batch, &site.partitions[0], &global_stream, "A", 4, 0);
    store_all(&site);
    assert_true(site.model.carries[0][0]);
    site_close(&site);
}

static void parts_ranges_by_day_and_by_distance(void **state)
{
    (void)state;
    static const struct {
        int64_t sequence, time_ms;
    } rows[] = {{10, 5}, {12, DAY_MS - 1}, {11, DAY_MS}, {1000000, 7}, {20, -1}, {21, 6}};
    struct site site;
    struct reduced reduced;
    struct ledger_cut cut;
    site_open(&site);
    for (size_t i = 0; i < 6; i++)
        accept(&site.batch, &site.partitions[0], &global_stream, "A", rows[i].sequence,
               rows[i].time_ms);
    reduce_range(&site.batch, 0, 6, &site.arena, &reduced);
    ledger_compute(site.ledger, &site.batch, 0, 6, &reduced, NULL, &site.arena, &cut);
    /* Day 0 holds 10..12; 21 is behind day -1's 20; 1000000 is far away. */
    assert_int_equal(cut.update.n_ranges, 5);
    int64_t found[5][3];
    for (size_t i = 0; i < 5; i++) {
        const struct series_range *range = &cut.update.ranges[4 - i]; /* newest first */
        found[i][0] = range->day;
        found[i][1] = range->min_sequence;
        found[i][2] = range->max_sequence;
    }
    const int64_t expected[5][3] = {
        {0, 10, 12}, {1, 11, 11}, {0, 1000000, 1000000}, {-1, 20, 20}, {0, 21, 21}};
    assert_memory_equal(found, expected, sizeof(expected));
    site_close(&site);
}

static void loses_what_a_stream_without_numbers_reads(void **state)
{
    (void)state;
    struct site site;
    site_open(&site);
    struct partition *partition = &site.partitions[0];
    accept(&site.batch, partition, &global_stream, "A", 3, 0);
    accept(&site.batch, partition, &plain_stream, "A", 4, 0);
    accept(&site.batch, partition, &global_stream, "A", 6, 0);
    store_all(&site);
    expect_gaps(&site, ALL, 0, "....ll");
    site_close(&site);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(equals_message_by_message_however_it_is_cut),
        cmocka_unit_test(equals_message_by_message_with_dense_numbers),
        cmocka_unit_test(notes_progress_of_every_numbered_message),
        cmocka_unit_test(says_nothing_of_rows_without_a_series_or_a_number),
        cmocka_unit_test(opens_a_hole_that_the_next_number_ends),
        cmocka_unit_test(gives_a_hole_to_the_series_of_the_key),
        cmocka_unit_test(takes_lost_offsets_for_numbers_of_any_series),
        cmocka_unit_test(counts_clear_to_as_read),
        cmocka_unit_test(lets_a_late_number_leave_its_gap),
        cmocka_unit_test(keeps_the_numbers_of_rows_that_postgresql_refused),
        cmocka_unit_test(finds_what_a_dense_series_jumped_over),
        cmocka_unit_test(tells_a_series_once),
        cmocka_unit_test(parts_ranges_by_day_and_by_distance),
        cmocka_unit_test(loses_what_a_stream_without_numbers_reads),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
