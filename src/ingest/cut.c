#include "ingest/cut.h"

#include "base/hash.h"
#include "model/series.h"

#define DAY_MS       INT64_C(86400000)
#define REACH        65536 /* numbers so near to a range belong to it (ledger_widen) */
#define PLACES_FIRST 64

struct cut_place {
    uint64_t hash;
    struct cut_series *series; /* NULL with `row`: it has none */
    const struct partition *partition;
    const struct row *row; /* by_values: one that belongs there; NULL in by_name */
};

struct cut_range {
    struct series_range range;
    int64_t begins_ms; /* its day */
    struct cut_range *next;
};

struct cut_run {
    int64_t from;
    int64_t to;
    bool accepted;
    struct cut_run *next;
};

struct cut_gap {
    struct series_gap gap;
    struct cut_gap *next;
};

struct cut_late {
    struct series_late late;
    struct cut_late *next;
};

static void *alloc_zero(struct cut *cut, size_t size)
{
    void *block = arena_alloc(cut->arena, size);
    memset(block, 0, size);
    return block;
}

/* ---- finding a series ---- */

static bool is_taken(const struct cut_place *place)
{
    return place->series || place->row;
}

static void grow(struct cut *cut, struct cut_index *index)
{
    struct cut_index larger = {.mask = index->places ? index->mask * 2 + 1 : PLACES_FIRST - 1,
                               .n_taken = index->n_taken};
    larger.places = alloc_zero(cut, (larger.mask + 1) * sizeof(*larger.places));
    for (size_t i = 0; index->places && i <= index->mask; i++) {
        if (!is_taken(&index->places[i]))
            continue;
        size_t at = index->places[i].hash & larger.mask;
        while (is_taken(&larger.places[at]))
            at = (at + 1) & larger.mask;
        larger.places[at] = index->places[i];
    }
    *index = larger;
}

static uint64_t hash_partition(const struct partition *partition)
{
    return (uint64_t)(uintptr_t)partition * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t hash_row(const struct partition *partition, const struct row *row)
{
    const struct track_def *track = &row->table->track;
    uint64_t hash = hash_partition(partition) ^ (uint64_t)(uintptr_t)row->table;
    for (size_t i = 0; i < track->n_by; i++)
        hash = value_hash(hash, &row->values[track->by[i]]);
    return hash;
}

static bool is_same_series(const struct row *a, const struct row *b)
{
    if (a->table != b->table)
        return false;
    const struct track_def *track = &a->table->track;
    for (size_t i = 0; i < track->n_by; i++)
        if (value_compare(&a->values[track->by[i]], &b->values[track->by[i]]) != 0)
            return false;
    return true;
}

static struct cut_place *find_row(const struct cut_index *index, uint64_t hash,
                                  const struct partition *partition, const struct row *row)
{
    size_t at = hash & index->mask;
    for (;; at = (at + 1) & index->mask) {
        struct cut_place *place = &index->places[at];
        if (!is_taken(place) || (place->hash == hash && place->partition == partition &&
                                 is_same_series(place->row, row)))
            return place;
    }
}

static struct cut_place *find_name(const struct cut_index *index, uint64_t hash,
                                   const struct partition *partition, const char *table,
                                   struct bytes series)
{
    size_t at = hash & index->mask;
    for (;; at = (at + 1) & index->mask) {
        struct cut_place *place = &index->places[at];
        if (!place->series || (place->hash == hash && place->partition == partition &&
                               bytes_equal(place->series->name.series, series) &&
                               strcmp(place->series->name.table, table) == 0))
            return place;
    }
}

static void make_room(struct cut *cut, struct cut_index *index)
{
    if (!index->places || index->n_taken * 2 > index->mask)
        grow(cut, index);
}

static bool is_trackable(const char *table, struct bytes series)
{
    return series.data && series.size <= LEDGER_SERIES_MAX && strlen(table) <= LEDGER_TABLE_MAX;
}

struct cut_series *cut_find_name(struct cut *cut, const struct partition *partition,
                                 const char *table, struct bytes series)
{
    if (!is_trackable(table, series))
        return NULL;
    make_room(cut, &cut->by_name);
    uint64_t hash = hash_bytes(hash_partition(partition), bytes_of_string(table));
    hash = hash_bytes(hash, series);
    struct cut_place *place = find_name(&cut->by_name, hash, partition, table, series);
    if (!place->series) {
        struct cut_series *made = alloc_zero(cut, sizeof(*made));
        made->partition = partition;
        made->name = (struct series_name){table, series};
        made->next = cut->series;
        cut->series = made;
        cut->by_name.n_taken++;
        *place = (struct cut_place){hash, made, partition, NULL};
    }
    return place->series;
}

struct cut_series *cut_find_row(struct cut *cut, const struct partition *partition,
                                const struct row *row)
{
    make_room(cut, &cut->by_values);
    uint64_t hash = hash_row(partition, row);
    struct cut_place *place = find_row(&cut->by_values, hash, partition, row);
    if (!place->row) {
        struct bytes series = series_of_row(row, cut->arena);
        cut->by_values.n_taken++;
        *place = (struct cut_place){hash, cut_find_name(cut, partition, row->table->name, series),
                                    partition, row};
    }
    return place->series;
}

/* ---- what happened to it ---- */

static int64_t day_of(int64_t time_ms)
{
    return time_ms / DAY_MS - (time_ms % DAY_MS < 0);
}

/* As ledger_widen() decides: near enough, and no other day's range begins in between. */
static bool can_hold(const struct cut_series *series, const struct cut_range *range,
                     int64_t sequence)
{
    int64_t min = range->range.min_sequence, max = range->range.max_sequence;
    if (sequence >= min && sequence <= max)
        return true;
    if (sequence < min - REACH || sequence - REACH > max)
        return false;
    int64_t above = sequence < max ? sequence : max;
    int64_t below = sequence > min ? sequence : min;
    for (const struct cut_range *other = series->ranges; other; other = other->next)
        if (other->begins_ms != range->begins_ms && other->range.min_sequence > above &&
            other->range.min_sequence < below)
            return false;
    return true;
}

static struct cut_range *find_range(struct cut *cut, struct cut_series *series, int64_t sequence,
                                    int64_t time_ms)
{
    for (struct cut_range *range = series->ranges; range; range = range->next)
        if (time_ms >= range->begins_ms && time_ms - range->begins_ms < DAY_MS &&
            can_hold(series, range, sequence))
            return range;

    int64_t day = day_of(time_ms);
    struct cut_range *made = arena_alloc(cut->arena, sizeof(*made));
    made->range = (struct series_range){.name = series->name,
                                        .day = (int32_t)day,
                                        .min_sequence = sequence,
                                        .max_sequence = sequence,
                                        .min_time_ms = time_ms,
                                        .max_time_ms = time_ms};
    made->begins_ms = day * DAY_MS;
    made->next = series->ranges;
    series->ranges = made;
    return made;
}

void cut_widen(struct cut *cut, struct cut_series *series, int64_t sequence, int64_t time_ms)
{
    struct series_range *range = &find_range(cut, series, sequence, time_ms)->range;
    if (sequence < range->min_sequence)
        range->min_sequence = sequence;
    if (sequence > range->max_sequence)
        range->max_sequence = sequence;
    if (time_ms < range->min_time_ms)
        range->min_time_ms = time_ms;
    if (time_ms > range->max_time_ms)
        range->max_time_ms = time_ms;
}

void cut_count(struct cut *cut, struct cut_series *series, int64_t sequence, bool accepted)
{
    struct cut_run *last = series->runs;
    series->is_dense = true;
    if (last && last->accepted == accepted && last->to == sequence - 1) {
        last->to = sequence;
        return;
    }
    struct cut_run *run = arena_alloc(cut->arena, sizeof(*run));
    *run = (struct cut_run){sequence - 1, sequence, accepted, last};
    series->runs = run;
}

static struct cut_series *whole_of(struct cut *cut, struct cut_series *series)
{
    if (!series->whole)
        series->whole = cut_find_name(cut, NULL, series->name.table, series->name.series);
    return series->whole;
}

void cut_open_gap(struct cut *cut, const struct partition *partition, struct cut_series *series,
                  int64_t from, int64_t to, enum hole_reason reason)
{
    struct cut_gap **gaps = series ? &whole_of(cut, series)->gaps : &cut->wide_gaps;
    struct series_gap gap = {.place = {.topic = partition->topic, .partition = partition->number},
                             .from = from,
                             .to = to,
                             .reason = reason};
    if (series)
        gap.place.name = series->name;
    struct cut_gap *last = *gaps;
    if (last && last->gap.to == from && last->gap.reason == reason &&
        last->gap.place.partition == partition->number &&
        strcmp(last->gap.place.topic, partition->topic) == 0) {
        last->gap.to = to;
        return;
    }
    struct cut_gap *made = arena_alloc(cut->arena, sizeof(*made));
    *made = (struct cut_gap){gap, last};
    *gaps = made;
}

void cut_heal(struct cut *cut, struct cut_series *series, int64_t sequence)
{
    for (struct cut_gap *at = whole_of(cut, series)->gaps; at; at = at->next) {
        if (at->gap.from >= sequence || at->gap.to < sequence)
            continue;
        struct cut_gap *behind = arena_alloc(cut->arena, sizeof(*behind));
        *behind = *at;
        behind->gap.from = sequence;
        at->gap.to = sequence - 1;
        at->next = behind;
        at = behind;
    }
}

void cut_add_late(struct cut *cut, const struct cut_series *series, int64_t sequence)
{
    struct cut_late *late = arena_alloc(cut->arena, sizeof(*late));
    *late = (struct cut_late){{series->name, sequence}, cut->late};
    cut->late = late;
    cut->n_late++;
}

/* ---- as arrays ---- */

static size_t count_gaps(const struct cut_gap *gaps)
{
    size_t count = 0;
    for (const struct cut_gap *at = gaps; at; at = at->next)
        count += at->gap.from < at->gap.to; /* healed ones are empty */
    return count;
}

static void list_gaps(const struct cut_gap *gaps, struct series_gap *out, size_t *n)
{
    for (const struct cut_gap *at = gaps; at; at = at->next)
        if (at->gap.from < at->gap.to)
            out[(*n)++] = at->gap;
}

static void close_gaps(const struct cut *cut, struct ledger_update *update)
{
    size_t count = count_gaps(cut->wide_gaps);
    for (const struct cut_series *series = cut->series; series; series = series->next)
        count += count_gaps(series->gaps);
    struct series_gap *gaps = arena_alloc(cut->arena, count * sizeof(*gaps));
    update->gaps = gaps;
    list_gaps(cut->wide_gaps, gaps, &update->n_gaps);
    for (const struct cut_series *series = cut->series; series; series = series->next)
        list_gaps(series->gaps, gaps, &update->n_gaps);
}

static void close_ranges(const struct cut *cut, struct ledger_update *update)
{
    size_t count = 0;
    for (const struct cut_series *series = cut->series; series; series = series->next)
        for (const struct cut_range *at = series->ranges; at; at = at->next)
            count++;
    struct series_range *ranges = arena_alloc(cut->arena, count * sizeof(*ranges));
    update->ranges = ranges;
    for (const struct cut_series *series = cut->series; series; series = series->next)
        for (const struct cut_range *at = series->ranges; at; at = at->next)
            ranges[update->n_ranges++] = at->range;
}

static void close_runs(const struct cut *cut, struct ledger_update *update)
{
    size_t count = 0;
    for (const struct cut_series *series = cut->series; series; series = series->next)
        for (const struct cut_run *at = series->runs; at; at = at->next)
            count++;
    struct series_run *runs = arena_alloc(cut->arena, count * sizeof(*runs));
    update->runs = runs;
    update->n_runs = count;
    for (const struct cut_series *series = cut->series; series; series = series->next)
        for (const struct cut_run *at = series->runs; at; at = at->next)
            runs[--count] = (struct series_run){
                .place = {series->name, series->partition->topic, series->partition->number},
                .from = at->from,
                .to = at->to,
                .accepted = at->accepted,
            };
}

static void close_late(const struct cut *cut, struct ledger_update *update)
{
    struct series_late *late = arena_alloc(cut->arena, cut->n_late * sizeof(*late));
    update->late = late;
    for (const struct cut_late *at = cut->late; at; at = at->next)
        late[update->n_late++] = at->late;
}

void cut_close(const struct cut *cut, struct ledger_update *update)
{
    *update = (struct ledger_update){0};
    close_gaps(cut, update);
    close_ranges(cut, update);
    close_runs(cut, update);
    close_late(cut, update);
}
