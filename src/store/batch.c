#include "store/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "store/ledger_encode.h"
#include "store/params.h"
#include "store/segment.h"

#define BATCH_OTHER 16 /* statements that are about no table, at most */

static void add_number(struct buffer *array, bool is_there, int64_t number)
{
    if (is_there)
        array_add_int8(array, number);
    else
        array_add_null(array);
}

static struct bytes text_or_null(const char *text)
{
    return bytes_of_string(*text ? text : NULL);
}

static void encode_offsets(struct segment *segment, const struct write_batch *batch)
{
    size_t n = batch->n_offsets;
    struct params params = params_new(9);
    params_add_text(&params, batch->group_id);
    struct buffer *topics = params_add_array(&params, PG_TEXT, n);
    struct buffer *partitions = params_add_array(&params, PG_INT4, n);
    struct buffer *from = params_add_array(&params, PG_INT8, n);
    struct buffer *to = params_add_array(&params, PG_INT8, n);
    struct buffer *max_sequences = params_add_array(&params, PG_INT8, n);
    struct buffer *holes = params_add_array(&params, PG_TEXT, n);
    struct buffer *hole_tables = params_add_array(&params, PG_TEXT, n);
    struct buffer *hole_series = params_add_array(&params, PG_TEXT, n);
    for (size_t i = 0; i < n; i++) {
        const struct offset_move *move = &batch->offsets[i];
        const struct progress *progress = &move->progress;
        array_add_bytes(topics, bytes_of_string(move->topic));
        array_add_int4(partitions, move->partition);
        array_add_int8(from, move->from);
        array_add_int8(to, move->to);
        add_number(max_sequences, progress->has_max, progress->max_sequence);
        array_add_bytes(holes, bytes_of_string(hole_reason_name(progress->hole)));
        array_add_bytes(hole_tables, text_or_null(progress->hole_table));
        array_add_bytes(hole_series, text_or_null(progress->hole_series));
    }
    segment_add(segment,
                "SELECT ledger_move_offsets($1::text, $2::text[], $3::integer[],"
                " $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],"
                " $9::text[])",
                &params, NULL, NULL);
}

/* Row by row, as each row's values lie together. */
static void encode_rows(struct segment *segment, const struct schema *schema,
                        const struct write_rows *rows, enum upsert_order order)
{
    const struct table_def *table = rows->table;
    enum value_type *wire_types = NULL;
    char *sql = schema_upsert_sql(schema, table, order, &wire_types);
    struct params params = params_new(table->n_columns);
    for (size_t column = 0; column < table->n_columns; column++)
        params_add_array(&params, array_element(wire_types[column]), rows->n_rows);
    for (size_t i = 0; i < rows->n_rows; i++)
        for (size_t column = 0; column < table->n_columns; column++)
            array_add_value(&params.arrays[column], wire_types[column],
                            &rows->rows[i]->values[column]);
    segment_add(segment, sql, &params, NULL, NULL);
    free(wire_types);
    free(sql);
}

#define PLACE "group_id, stream, topic, topic_id, partition, \"offset\""
#define REST  "key, payload, stage, reason, sqlstate, rules_hash, symbol, sequence"

/* A message that stood at this place before the topic was made anew keeps its row: the other one
 * gets a topic_id of its own. The same message again changes nothing. */
static const char rejections_sql[] =
    "WITH r AS (SELECT $1::text AS group_id, u.* FROM unnest($2::text[], $3::text[],"
    " $4::integer[], $5::bigint[], $6::bytea[], $7::bytea[], $8::text[], $9::text[], $10::text[],"
    " $11::text[], $12::text[], $13::bigint[])"
    " AS u (stream, topic, partition, \"offset\", " REST ")),"
    " fresh AS (INSERT INTO rejected_messages (" PLACE ", " REST ")"
    " SELECT group_id, stream, topic, '', partition, \"offset\", " REST " FROM r"
    " ON CONFLICT DO NOTHING RETURNING stream, topic, partition, \"offset\")"
    " INSERT INTO rejected_messages (" PLACE ", " REST ")"
    " SELECT group_id, stream, topic, md5(coalesce(payload, '')), partition, \"offset\", " REST
    " FROM r WHERE NOT EXISTS (SELECT FROM fresh f WHERE (f.stream, f.topic, f.partition,"
    " f.\"offset\") = (r.stream, r.topic, r.partition, r.\"offset\"))"
    " AND NOT EXISTS (SELECT FROM rejected_messages o WHERE (o.group_id, o.stream, o.topic,"
    " o.topic_id, o.partition, o.\"offset\") = (r.group_id, r.stream, r.topic, '', r.partition,"
    " r.\"offset\") AND o.payload IS NOT DISTINCT FROM r.payload)"
    " ON CONFLICT DO NOTHING";

static void encode_rejections(struct segment *segment, const struct write_batch *batch)
{
    static const enum pg_type types[] = {PG_TEXT, PG_TEXT, PG_INT4, PG_INT8, PG_BYTEA, PG_BYTEA,
                                         PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT, PG_TEXT,  PG_INT8};
    enum { N_ARRAYS = sizeof types / sizeof types[0] };
    struct buffer *array[N_ARRAYS];
    struct params params = params_new(N_ARRAYS + 1);
    params_add_text(&params, batch->group_id);
    for (size_t i = 0; i < N_ARRAYS; i++)
        array[i] = params_add_array(&params, types[i], batch->n_rejections);
    for (size_t i = 0; i < batch->n_rejections; i++) {
        const struct rejection *rejection = &batch->rejections[i];
        array_add_bytes(array[0], bytes_of_string(rejection->stream));
        array_add_bytes(array[1], bytes_of_string(rejection->topic));
        array_add_int4(array[2], rejection->partition);
        array_add_int8(array[3], rejection->offset);
        array_add_bytes(array[4], rejection->key);
        array_add_bytes(array[5], rejection->payload);
        array_add_bytes(array[6], bytes_of_string(rejection->stage));
        array_add_cleaned(array[7], rejection->reason);
        array_add_bytes(array[8], bytes_of_string(rejection->sqlstate));
        array_add_bytes(array[9], bytes_of_string(rejection->rules_hash));
        array_add_cleaned(array[10], rejection->symbol);
        if (rejection->has_sequence)
            array_add_int8(array[11], rejection->sequence);
        else
            array_add_null(array[11]);
    }
    segment_add(segment, rejections_sql, &params, NULL, NULL);
}

static void encode_settlements(struct segment *segment, const struct write_batch *batch)
{
    size_t n = batch->n_settlements;
    struct params params = params_new(6);
    struct buffer *ids = params_add_array(&params, PG_INT8, n);
    struct buffer *passed = params_add_array(&params, PG_BOOL, n);
    struct buffer *stages = params_add_array(&params, PG_TEXT, n);
    struct buffer *reasons = params_add_array(&params, PG_TEXT, n);
    struct buffer *sqlstates = params_add_array(&params, PG_TEXT, n);
    for (size_t i = 0; i < n; i++) {
        const struct settlement *settlement = &batch->settlements[i];
        array_add_int8(ids, settlement->id);
        array_add_bytes(passed, bytes_of(settlement->passed ? "\1" : "\0", 1));
        array_add_bytes(stages, bytes_of_string(settlement->stage));
        array_add_cleaned(reasons, settlement->reason);
        array_add_bytes(sqlstates, bytes_of_string(settlement->sqlstate));
    }
    params_add_text(&params, batch->rules_hash);
    segment_add(segment,
                "SELECT redrive_settle($1::bigint[], $2::boolean[], $3::text[], $4::text[],"
                " $5::text[], $6::text)",
                &params, NULL, NULL);
}

static void encode_healed(struct segment *segment, const struct write_batch *batch)
{
    struct params params = params_new(4);
    struct buffer *tables = params_add_array(&params, PG_TEXT, batch->n_healed);
    struct buffer *series = params_add_array(&params, PG_TEXT, batch->n_healed);
    struct buffer *sequences = params_add_array(&params, PG_INT8, batch->n_healed);
    struct buffer *times = params_add_array(&params, PG_TIMESTAMPTZ, batch->n_healed);
    for (size_t i = 0; i < batch->n_healed; i++) {
        const struct healed_number *healed = &batch->healed[i];
        const struct value time = {.type = VALUE_TIME, .int8 = healed->time_ms};
        array_add_bytes(tables, bytes_of_string(healed->table));
        array_add_bytes(series, healed->series);
        array_add_int8(sequences, healed->sequence);
        array_add_value(times, VALUE_TIME, &time);
    }
    segment_add(segment,
                "SELECT ledger_heal($1::text[], $2::text[], $3::bigint[]),"
                " ledger_widen($1::text[], $2::text[],"
                " (SELECT array_agg((u.at AT TIME ZONE 'UTC')::date ORDER BY u.place)"
                "  FROM unnest($4::timestamptz[]) WITH ORDINALITY AS u (at, place)),"
                " $3::bigint[], $3::bigint[], $4::timestamptz[], $4::timestamptz[])",
                &params, NULL, NULL);
}

/* set_config and not SET LOCAL: a segment is a transaction, but no transaction block. */
static const char durable_sql[] = "SELECT pg_catalog.set_config('synchronous_commit', 'on', true)";

/* Where the row may be locked. */
static const char unlock_sql[] =
    "SELECT ingest_end_half_writes() FROM sequence_tracker WHERE xmax <> 0 LIMIT 1";

/* The row that get_next_sequence() counts in; its lock lasts until the transaction ends. */
static const char reserve_sql[] =
    "UPDATE sequence_tracker SET last_sequence = last_sequence + $1::bigint,"
    " updated_at = CURRENT_TIMESTAMP WHERE id = (SELECT min(id) FROM sequence_tracker)"
    " RETURNING last_sequence";

static bool send_plain(struct connection *connection, const char *sql)
{
    const struct statement statement = {.sql = sql};
    return connection_send(connection, &statement, NULL, NULL);
}

bool batch_send_reservation(struct connection *connection, const struct write_batch *batch,
                            statement_result_cb on_number, void *arg)
{
    char count[24];
    snprintf(count, sizeof count, "%zu", batch->n_numbers);
    if (!send_plain(connection, "BEGIN") || !send_plain(connection, unlock_sql))
        return false;
    struct params params = params_new(1);
    params_add_text(&params, count);
    return params_send_asking(&params, connection, reserve_sql, on_number, arg);
}

/* What a commit would check is checked now, and then everything is undone. */
static const char rehearse_sql[] =
    "DO $$ BEGIN SET CONSTRAINTS ALL IMMEDIATE;"
    " RAISE EXCEPTION 'a rehearsal: rolled back on purpose' USING ERRCODE = '" REHEARSED_SQLSTATE
    "'; END $$";

static void encode_plain(struct segment *segment, const char *sql)
{
    segment_add(segment, sql, NULL, NULL, NULL);
}

void batch_encode(const struct write_batch *batch, const struct schema *schema,
                  struct ledger_found *found, struct batch_segment *out)
{
    struct segment *segment = &out->statements;
    batch_segment_clear(out);
    out->batch = batch;
    out->tables = memory_alloc((batch->n_tables + BATCH_OTHER) * sizeof *out->tables);
    for (size_t i = 0; i < batch->n_tables + BATCH_OTHER; i++)
        out->tables[i] = batch->n_tables;
    if (batch->n_offsets)
        encode_offsets(segment, batch);
    if (batch->n_settlements)
        encode_settlements(segment, batch);
    if (batch->durable || batch->n_numbers)
        encode_plain(segment, durable_sql);
    for (size_t i = 0; i < batch->n_tables; i++) {
        if (!batch->tables[i].n_rows)
            continue;
        out->tables[segment->count] = i;
        encode_rows(segment, schema, &batch->tables[i], batch->order);
    }
    if (batch->n_rejections)
        encode_rejections(segment, batch);
    if (batch->n_healed)
        encode_healed(segment, batch);
    if (batch->ledger)
        ledger_encode(batch->ledger, batch->group_id, found, segment);
    if (batch->rehearse)
        encode_plain(segment, rehearse_sql);
    if (batch->n_numbers)
        encode_plain(segment, "COMMIT");
}

size_t batch_segment_table(const struct batch_segment *segment, size_t statement)
{
    size_t n_tables = segment->batch->n_tables;
    return statement < n_tables + BATCH_OTHER ? segment->tables[statement] : n_tables;
}

void batch_segment_clear(struct batch_segment *segment)
{
    segment_clear(&segment->statements);
    free(segment->tables);
    segment->tables = NULL;
    segment->batch = NULL;
}

void batch_segment_free(struct batch_segment *segment)
{
    batch_segment_clear(segment);
    segment_free(&segment->statements);
}
