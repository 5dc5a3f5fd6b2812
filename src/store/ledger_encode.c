#include "store/ledger_encode.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

const char *hole_reason_name(enum hole_reason reason)
{
    switch (reason) {
    case HOLE_NONE:
        return NULL;
    case HOLE_REJECTED:
        return "rejected";
    case HOLE_LOST:
        return "lost";
    }
    die("hole reason %d", (int)reason);
}

/* Where a series is, as four arrays. */
struct places {
    struct buffer *topics;
    struct buffer *partitions;
    struct buffer *tables;
    struct buffer *series;
};

static struct places add_places(struct params *params, size_t n)
{
    return (struct places){.topics = params_add_array(params, PG_TEXT, n),
                           .partitions = params_add_array(params, PG_INT4, n),
                           .tables = params_add_array(params, PG_TEXT, n),
                           .series = params_add_array(params, PG_TEXT, n)};
}

static void add_place(const struct places *places, const struct series_place *place)
{
    array_add_bytes(places->topics, bytes_of_string(place->topic));
    array_add_int4(places->partitions, place->partition);
    array_add_bytes(places->tables, bytes_of_string(place->name.table));
    array_add_bytes(places->series, place->name.series);
}

static void on_runs(const struct pg_result *pg_result, void *arg)
{
    struct ledger_found *found = arg;
    const PGresult *result = (const PGresult *)pg_result;
    found->never_received = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    snprintf(found->split_series, sizeof found->split_series, "%s", PQgetvalue(result, 0, 1));
}

static void add_runs(struct segment *segment, const char *group_id,
                     const struct ledger_update *update, struct ledger_found *found)
{
    struct params params = params_new(8);
    params_add_text(&params, group_id);
    struct places places = add_places(&params, update->n_runs);
    struct buffer *from = params_add_array(&params, PG_INT8, update->n_runs);
    struct buffer *to = params_add_array(&params, PG_INT8, update->n_runs);
    struct buffer *accepted = params_add_array(&params, PG_BOOL, update->n_runs);
    for (size_t i = 0; i < update->n_runs; i++) {
        const struct series_run *run = &update->runs[i];
        add_place(&places, &run->place);
        array_add_int8(from, run->from);
        array_add_int8(to, run->to);
        array_add_bytes(accepted, bytes_of(run->accepted ? "\1" : "\0", 1));
    }
    segment_add(segment,
                "SELECT opened, split FROM ledger_take_runs($1::text, $2::text[],"
                " $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],"
                " $8::boolean[])",
                &params, on_runs, found);
}

static void add_late(struct segment *segment, const struct ledger_update *update)
{
    struct params params = params_new(3);
    struct buffer *tables = params_add_array(&params, PG_TEXT, update->n_late);
    struct buffer *series = params_add_array(&params, PG_TEXT, update->n_late);
    struct buffer *sequences = params_add_array(&params, PG_INT8, update->n_late);
    for (size_t i = 0; i < update->n_late; i++) {
        array_add_bytes(tables, bytes_of_string(update->late[i].name.table));
        array_add_bytes(series, update->late[i].name.series);
        array_add_int8(sequences, update->late[i].sequence);
    }
    segment_add(segment, "SELECT ledger_heal($1::text[], $2::text[], $3::bigint[])", &params, NULL,
                NULL);
}

static void add_gaps(struct segment *segment, const char *group_id,
                     const struct ledger_update *update)
{
    struct params params = params_new(8);
    params_add_text(&params, group_id);
    struct places places = add_places(&params, update->n_gaps);
    struct buffer *from = params_add_array(&params, PG_INT8, update->n_gaps);
    struct buffer *to = params_add_array(&params, PG_INT8, update->n_gaps);
    struct buffer *reasons = params_add_array(&params, PG_TEXT, update->n_gaps);
    for (size_t i = 0; i < update->n_gaps; i++) {
        const struct series_gap *gap = &update->gaps[i];
        add_place(&places, &gap->place);
        array_add_int8(from, gap->from);
        array_add_int8(to, gap->to);
        array_add_bytes(reasons, bytes_of_string(hole_reason_name(gap->reason)));
    }
    segment_add(segment,
                "INSERT INTO sequence_gaps (group_id, topic, partition, table_name, series,"
                " from_seq, to_seq, reason, read_to)"
                " SELECT $1::text, g.*, o.next_offset"
                " FROM unnest($2::text[], $3::integer[], $4::text[], $5::text[],"
                "  $6::bigint[], $7::bigint[], $8::text[])"
                "  AS g (topic, partition, table_name, series, from_seq, to_seq, reason)"
                " LEFT JOIN ingest_offsets o ON o.group_id = $1::text"
                "  AND o.topic = g.topic AND o.partition = g.partition",
                &params, NULL, NULL);
}

static void add_series_places(struct segment *segment, const char *group_id,
                              const struct ledger_update *update)
{
    struct params params = params_new(5);
    params_add_text(&params, group_id);
    struct places places = add_places(&params, update->n_places);
    for (size_t i = 0; i < update->n_places; i++)
        add_place(&places, &update->places[i]);
    segment_add(segment,
                "SELECT ledger_place_series($1::text, $2::text[], $3::integer[],"
                " $4::text[], $5::text[])",
                &params, NULL, NULL);
}

static void add_time(struct buffer *array, int64_t ms)
{
    const struct value time = {.type = VALUE_TIME, .int8 = ms};
    array_add_value(array, VALUE_TIME, &time);
}

static void add_ranges(struct segment *segment, const struct ledger_update *update)
{
    struct params params = params_new(7);
    struct buffer *tables = params_add_array(&params, PG_TEXT, update->n_ranges);
    struct buffer *series = params_add_array(&params, PG_TEXT, update->n_ranges);
    struct buffer *days = params_add_array(&params, PG_DATE, update->n_ranges);
    struct buffer *min_sequences = params_add_array(&params, PG_INT8, update->n_ranges);
    struct buffer *max_sequences = params_add_array(&params, PG_INT8, update->n_ranges);
    struct buffer *min_times = params_add_array(&params, PG_TIMESTAMPTZ, update->n_ranges);
    struct buffer *max_times = params_add_array(&params, PG_TIMESTAMPTZ, update->n_ranges);
    for (size_t i = 0; i < update->n_ranges; i++) {
        const struct series_range *range = &update->ranges[i];
        array_add_bytes(tables, bytes_of_string(range->name.table));
        array_add_bytes(series, range->name.series);
        array_add_day(days, range->day);
        array_add_int8(min_sequences, range->min_sequence);
        array_add_int8(max_sequences, range->max_sequence);
        add_time(min_times, range->min_time_ms);
        add_time(max_times, range->max_time_ms);
    }
    segment_add(segment,
                "SELECT ledger_widen($1::text[], $2::text[], $3::date[], $4::bigint[],"
                " $5::bigint[], $6::timestamptz[], $7::timestamptz[])",
                &params, NULL, NULL);
}

void ledger_encode(const struct ledger_update *update, const char *group_id,
                   struct ledger_found *found, struct segment *segment)
{
    if (update->n_runs)
        add_runs(segment, group_id, update, found);
    if (update->n_late)
        add_late(segment, update);
    if (update->n_gaps)
        add_gaps(segment, group_id, update);
    if (update->n_places)
        add_series_places(segment, group_id, update);
    if (update->n_ranges)
        add_ranges(segment, update);
}
