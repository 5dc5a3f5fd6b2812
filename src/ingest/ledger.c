#include "ingest/ledger.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "ingest/cut.h"
#include "ingest/known.h"

#define COMPONENT       "ingest"
#define LOG_INTERVAL_MS 10000

struct ledger {
    struct metrics *metrics;
    struct counter *gaps[3]; /* by hole_reason; HOLE_NONE: never received */
    struct counter *splits;
    struct known known;
    struct log_limit regression_limit;
};

struct ledger *ledger_new(struct metrics *metrics)
{
    static const char *const reasons[] = {"never_received", "rejected", "lost"};
    struct ledger *ledger = memory_zero(1, sizeof(*ledger));
    ledger->metrics = metrics;
    for (size_t i = 0; i < 3; i++) {
        const struct label label = {"reason", reasons[i]};
        ledger->gaps[i] = metrics_counter(metrics, "core_service_ingest_gaps_total",
                                          "Gaps written into the ledger.", &label, 1);
    }
    ledger->splits =
        metrics_counter(metrics, "core_service_ingest_split_series_total",
                        "Densely numbered series seen in a second partition.", NULL, 0);
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    if (!ledger)
        return;
    known_clear(&ledger->known);
    free(ledger);
}

void ledger_forget(struct ledger *ledger)
{
    known_clear(&ledger->known);
}

/* ---- one entry ---- */

/* Where one entry's partition stands while a run is gone through. */
struct place {
    struct cut *cut;
    const struct partition *partition;
    struct progress *progress;
    struct regression *regression;
};

/* What an entry says of itself. */
struct number {
    bool is_there;
    int64_t value;
};

static void take_greatest(struct number *number, bool is_there, int64_t value)
{
    if (!is_there || value < 0 || (number->is_there && value <= number->value))
        return;
    *number = (struct number){true, value};
}

static bool is_tracked(const struct stream_def *stream)
{
    for (size_t i = 0; i < stream->n_tables; i++)
        if (stream->tables[i].track.by)
            return true;
    return false;
}

/* The number of a row; none when its table is not tracked. */
static struct number number_of_row(const struct row *row)
{
    struct number number = {0};
    const struct track_def *track = &row->table->track;
    if (track->by && !row->values[track->time].is_null)
        take_greatest(&number, !row->values[track->sequence].is_null,
                      row->values[track->sequence].int8);
    return number;
}

static struct number number_of_part(const struct part *part)
{
    struct number number = {0};
    take_greatest(&number, part->mapped.has_sequence, part->mapped.sequence);
    for (size_t i = 0; i < part->mapped.n_rows; i++) {
        struct number of_row = number_of_row(&part->mapped.rows[i]);
        take_greatest(&number, of_row.is_there, of_row.value);
    }
    return number;
}

/* Nothing below this number is still to come in the partition, as far as is known. */
static struct number reach_of(const struct progress *progress)
{
    struct number reach = {0};
    take_greatest(&reach, progress->has_max, progress->max_sequence);
    take_greatest(&reach, progress->has_clear, progress->clear_to);
    return reach;
}

static bool is_of(const struct progress *progress, const struct cut_series *series)
{
    return series && strcmp(progress->hole_table, series->name.table) == 0 &&
           bytes_equal(bytes_of_string(progress->hole_series), series->name.series);
}

/* Something is lost and its number with it. Before the first number nothing is known anyway. */
static void open_hole(struct place *place, enum hole_reason reason, const struct cut_series *series)
{
    struct progress *progress = place->progress;
    if (!reach_of(progress).is_there)
        return;
    bool is_first = progress->hole == HOLE_NONE;
    if (reason > progress->hole)
        progress->hole = reason;
    if (is_first && series) {
        snprintf(progress->hole_table, sizeof(progress->hole_table), "%s", series->name.table);
        snprintf(progress->hole_series, sizeof(progress->hole_series), "%.*s",
                 (int)series->name.series.size, series->name.series.data);
    } else if (!is_of(progress, series)) {
        progress->hole_table[0] = '\0';
        progress->hole_series[0] = '\0';
    }
}

static void close_hole(struct place *place, int64_t from, int64_t to)
{
    struct progress *progress = place->progress;
    struct cut_series *series = NULL;
    if (*progress->hole_table)
        series =
            cut_find_name(place->cut, place->partition,
                          arena_copy(place->cut->arena, bytes_of_string(progress->hole_table)).data,
                          arena_copy(place->cut->arena, bytes_of_string(progress->hole_series)));
    if (from < to)
        cut_open_gap(place->cut, place->partition, series, from, to, progress->hole);
    progress->hole = HOLE_NONE;
    progress->hole_table[0] = '\0';
    progress->hole_series[0] = '\0';
}

/* The partition has read a number of the global counter. */
static void advance(struct place *place, int64_t number)
{
    struct progress *progress = place->progress;
    struct number reach = reach_of(progress);
    if (progress->hole != HOLE_NONE && number > reach.value)
        close_hole(place, reach.value, number - 1);
    if (progress->has_max && number < progress->max_sequence) {
        place->regression->count++;
        place->regression->from = progress->max_sequence;
        place->regression->to = number;
        return;
    }
    progress->has_max = true;
    progress->max_sequence = number;
}

static void take_row(struct place *place, const struct row *row, bool is_dense,
                     const struct number *had)
{
    struct number number = number_of_row(row);
    struct cut_series *series =
        number.is_there ? cut_find_row(place->cut, place->partition, row) : NULL;
    if (!series)
        return;
    cut_widen(place->cut, series, number.value, row->values[row->table->track.time].int8);
    bool is_late = !is_dense && had->is_there && number.value <= had->value;
    if (is_dense)
        cut_count(place->cut, series, number.value, true);
    if (is_late)
        cut_add_late(place->cut, series, number.value);
    if (is_dense || is_late)
        cut_heal(place->cut, series, number.value);
}

/* A refused number of a series that is known, or (series NULL) not. */
static void refuse(struct place *place, struct cut_series *series, bool is_dense, int64_t number)
{
    if (is_dense && !series)
        return; /* the series will show that it jumped over it */
    if (is_dense)
        cut_count(place->cut, series, number, false);
    cut_open_gap(place->cut, place->partition, series, number - 1, number, HOLE_REJECTED);
}

/* PostgreSQL refused the rows. */
static void refuse_rows(struct place *place, const struct part *part)
{
    for (size_t i = 0; i < part->mapped.n_rows; i++) {
        struct number number = number_of_row(&part->mapped.rows[i]);
        if (number.is_there)
            refuse(place, cut_find_row(place->cut, place->partition, &part->mapped.rows[i]),
                   part->stream->dense != NULL, number.value);
    }
}

static struct cut_series *find_named(struct place *place, const struct part *part)
{
    if (!part->mapped.series_table.data)
        return NULL;
    return cut_find_name(place->cut, place->partition, part->mapped.series_table.data,
                         part->mapped.series);
}

static void take_rejected(struct place *place, const struct part *part, const struct number *number)
{
    bool is_dense = part->stream->dense != NULL;
    bool is_readable =
        part->mapped.stage != STAGE_DECODE && part->stream->identify_sequence != FIELD_NONE;
    if (part->mapped.stage == STAGE_DATABASE)
        refuse_rows(place, part);
    else if (number->is_there)
        refuse(place, find_named(place, part), is_dense, number->value);
    else if (!is_dense && !is_readable)
        open_hole(place, HOLE_REJECTED, find_named(place, part));
}

static void take_skipped(struct place *place, const struct part *part, const struct number *number)
{
    struct cut_series *series =
        part->stream->dense && number->is_there ? find_named(place, part) : NULL;
    if (series)
        cut_count(place->cut, series, number->value, false);
}

/* `number` is the entry's by the global counter, `had` the greatest before it. */
static void take_part(struct place *place, const struct part *part, const struct number *number,
                      const struct number *had)
{
    bool is_dense = part->stream->dense != NULL;
    struct number own = is_dense ? number_of_part(part) : *number;
    switch (part->mapped.verdict) {
    case MAP_ROWS:
        for (size_t i = 0; i < part->mapped.n_rows; i++)
            take_row(place, &part->mapped.rows[i], is_dense, had);
        break;
    case MAP_REJECT:
        take_rejected(place, part, &own);
        break;
    case MAP_SKIP:
        take_skipped(place, part, &own);
        break;
    }
}

static void take_entry(struct place *place, const struct entry *entry)
{
    struct number number = {0};
    size_t n_tracked = 0;
    for (size_t i = 0; i < entry->n_parts; i++) {
        const struct part *part = &entry->parts[i];
        if (!is_tracked(part->stream))
            continue;
        n_tracked++;
        if (part->stream->dense)
            continue;
        struct number of_part = number_of_part(part);
        take_greatest(&number, of_part.is_there, of_part.value);
    }
    struct number had = {place->progress->has_max, place->progress->max_sequence};
    if (number.is_there)
        advance(place, number.value);
    for (size_t i = 0; i < entry->n_parts; i++)
        if (is_tracked(entry->parts[i].stream))
            take_part(place, &entry->parts[i], &number, &had);
    /* Numbers are passed over while a stream reads the topic that stores none. */
    if (entry->is_lost || (entry->n_parts > 0 && n_tracked == 0))
        open_hole(place, HOLE_LOST, NULL);
}

/* ---- a run of entries ---- */

static size_t find_partition(const struct reduced *reduced, const struct partition *partition,
                             size_t last)
{
    size_t i = last;
    while (reduced->partitions[i] != partition)
        i = (i + 1) % reduced->n_offsets;
    return i;
}

static void list_places(const struct ledger *ledger, const struct cut *cut,
                        struct ledger_update *update)
{
    size_t count = 0;
    for (const struct cut_series *series = cut->series; series; series = series->next)
        count++;
    struct series_place *places = arena_alloc(cut->arena, count * sizeof(*places));
    update->places = places;
    for (const struct cut_series *series = cut->series; series; series = series->next) {
        if (!series->partition || series->is_dense)
            continue;
        const struct series_place place = {series->name, series->partition->topic,
                                           series->partition->number};
        if (!known_has(&ledger->known, &place))
            places[update->n_places++] = place;
    }
}

/* Where a partition stands once `before`, if there is one, is committed. */
static const struct progress *progress_after(const struct ledger_cut *before,
                                             const struct partition *partition)
{
    for (size_t i = 0; before && i < before->n_partitions; i++)
        if (before->partitions[i] == partition)
            return &before->offsets[i].progress;
    return &partition->progress;
}

static void begin_cut(struct reduced *reduced, const struct ledger_cut *before, struct arena *arena,
                      struct ledger_cut *out)
{
    size_t n = reduced->n_offsets;
    *out = (struct ledger_cut){
        .partitions = reduced->partitions, .offsets = reduced->offsets, .n_partitions = n};
    out->begun = arena_alloc(arena, n * sizeof(*out->begun));
    out->regressions = arena_alloc(arena, n * sizeof(*out->regressions));
    for (size_t i = 0; i < n; i++) {
        out->begun[i] = *progress_after(before, reduced->partitions[i]);
        reduced->offsets[i].progress = out->begun[i];
        out->regressions[i] = (struct regression){0};
    }
}

void ledger_compute(const struct ledger *ledger, const struct batch *batch, size_t from, size_t to,
                    struct reduced *reduced, const struct ledger_cut *before, struct arena *arena,
                    struct ledger_cut *out)
{
    struct cut cut = {.arena = arena};
    begin_cut(reduced, before, arena, out);
    size_t at = 0;
    for (size_t i = from; i < to; i++) {
        const struct entry *entry = &batch->entries[i];
        if (entry->dropped)
            continue;
        at = find_partition(reduced, entry->partition, at);
        struct place place = {&cut, entry->partition, &reduced->offsets[at].progress,
                              &out->regressions[at]};
        take_entry(&place, entry);
    }
    cut_close(&cut, &out->update);
    list_places(ledger, &cut, &out->update);
}

static bool is_same_progress(const struct progress *a, const struct progress *b)
{
    return a->has_max == b->has_max && (!a->has_max || a->max_sequence == b->max_sequence) &&
           a->has_clear == b->has_clear && (!a->has_clear || a->clear_to == b->clear_to) &&
           a->hole == b->hole && strcmp(a->hole_table, b->hole_table) == 0 &&
           strcmp(a->hole_series, b->hole_series) == 0;
}

bool ledger_is_current(const struct ledger_cut *cut)
{
    for (size_t i = 0; i < cut->n_partitions; i++)
        if (!is_same_progress(&cut->begun[i], &cut->partitions[i]->progress))
            return false;
    return true;
}

/* ---- once it is committed ---- */

static void tell_regression(struct ledger *ledger, const struct partition *partition,
                            const struct regression *regression)
{
    char number[16];
    snprintf(number, sizeof(number), "%" PRId32, partition->number);
    const struct label labels[] = {{"topic", partition->topic}, {"partition", number}};
    counter_add(metrics_counter(ledger->metrics, "core_service_ingest_sequence_regressions_total",
                                "Messages with a number lower than one before in the partition.",
                                labels, 2),
                regression->count);
    uint64_t held_back;
    if (log_limit_pass(&ledger->regression_limit, LOG_INTERVAL_MS, &held_back))
        log_warn(COMPONENT,
                 "sequence went back from %" PRId64 " to %" PRId64 " in %s/partition %" PRId32
                 " (a message that came late, or a counter that starts again)",
                 regression->from, regression->to, partition->topic, partition->number);
}

static void tell_found(struct ledger *ledger, const struct ledger_found *found)
{
    counter_add(ledger->gaps[HOLE_NONE], found->never_received);
    if (!*found->split_series)
        return;
    counter_add(ledger->splits, 1);
    log_error(COMPONENT,
              "the series %s is numbered densely but comes in two partitions: what it jumps over "
              "can no longer be told from what the other partition has",
              found->split_series);
}

void ledger_committed(struct ledger *ledger, const struct ledger_cut *cut,
                      const struct ledger_found *found)
{
    for (size_t i = 0; i < cut->n_partitions; i++) {
        cut->partitions[i]->progress = cut->offsets[i].progress;
        if (cut->regressions[i].count > 0)
            tell_regression(ledger, cut->partitions[i], &cut->regressions[i]);
    }
    for (size_t i = 0; i < cut->update.n_places; i++)
        known_add(&ledger->known, &cut->update.places[i]);
    for (size_t i = 0; i < cut->update.n_gaps; i++)
        counter_add(ledger->gaps[cut->update.gaps[i].reason], 1);
    if (found)
        tell_found(ledger, found);
}
