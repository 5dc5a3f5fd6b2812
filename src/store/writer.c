#include "store/writer.h"

#include <event2/event.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "store/arrays.h"
#include "store/batch.h"
#include "store/params.h"

#define SILENCE_MARGIN_MS 5000

typedef void (*write_done_cb)(const struct write_result *result, void *arg);
typedef void (*offsets_done_cb)(bool ok, const struct error *err, void *arg);
typedef void (*flushed_done_cb)(bool ok, uint64_t flushed_lsn, uint64_t insert_lsn, void *arg);

/* What is in flight; at most one of them. */
enum work {
    WORK_NONE,
    WORK_BATCH,
    WORK_OFFSETS,
    WORK_TOPICS,
    WORK_CLEAR,
    WORK_MARKS,
    WORK_FLUSHED
};

struct writer {
    struct connection *connection;
    struct schema *schema;
    enum work work;
    void *arg; /* of the callback below that is waiting */

    const struct write_batch *batch; /* WORK_BATCH */
    write_done_cb batch_done;
    struct batch_segment present; /* of `batch`, once it is sent */
    struct batch_segment next;    /* of the one that was given to writer_prepare */
    struct ledger_found found;
    bool retried;    /* statements were prepared anew and the batch sent again */
    bool has_number; /* of a batch that takes numbers: there were some; the last of them */
    int64_t last_number;
    struct write_result refusal; /* told once its transaction is rolled back */

    struct partition_offset *partitions; /* WORK_OFFSETS */
    size_t n_partitions;
    struct topic_progress *topics; /* WORK_TOPICS */
    size_t n_topics;
    offsets_done_cb offsets_done; /* of these, WORK_CLEAR and WORK_MARKS */

    uint64_t lsn[2]; /* WORK_FLUSHED: flushed, insert */
    flushed_done_cb flushed_done;
};

struct writer *writer_new(struct event_base *base, const struct writer_options *options,
                          const struct connection_events *events, void *arg)
{
    char timeout[64], idle[80];
    snprintf(timeout, sizeof timeout, "SET statement_timeout = %d", options->write_timeout_ms);
    snprintf(idle, sizeof idle, "SET idle_in_transaction_session_timeout = %d",
             options->write_timeout_ms);
    const char *const setup[] = {
        timeout,
        idle,
        "SET synchronous_commit = off", /* rows and offsets are lost together or not at all */
        "SET jit = off",                /* batches are small change for a compiler */
        "SET TimeZone = 'UTC'",
        "SET client_min_messages = warning",
        NULL,
    };
    const struct connection_options connection_options = {
        .conninfo = options->conninfo,
        .application_name = options->application_name,
        .connect_timeout_ms = options->connect_timeout_ms,
        /* A segment is answered when all its statements are done: twice the time-out of one. */
        .silence_timeout_ms = 2 * options->write_timeout_ms + SILENCE_MARGIN_MS,
        .setup = setup,
    };
    struct writer *writer = memory_zero(1, sizeof *writer);
    writer->connection = connection_new(base, &connection_options, events, arg);
    connection_open(writer->connection);
    return writer;
}

void writer_free(struct writer *writer)
{
    if (!writer)
        return;
    connection_free(writer->connection);
    schema_release(writer->schema);
    batch_segment_free(&writer->present);
    batch_segment_free(&writer->next);
    free(writer);
}

bool writer_is_ready(const struct writer *writer)
{
    return connection_state(writer->connection) == CONNECTION_READY;
}

const char *writer_trouble(const struct writer *writer)
{
    return connection_trouble(writer->connection);
}

void writer_reset(struct writer *writer)
{
    connection_close(writer->connection);
    connection_open(writer->connection);
}

void writer_set_schema(struct writer *writer, struct schema *schema)
{
    schema_hold(schema);
    schema_release(writer->schema);
    writer->schema = schema;
    batch_segment_clear(&writer->next);
}

static bool is_free(const struct writer *writer)
{
    return writer->work == WORK_NONE && writer_is_ready(writer);
}

/* ---- batches ---- */

static bool start_batch(struct writer *writer);

/* Statements that PostgreSQL no longer knows or no longer runs are prepared anew, once. True: the
 * batch is under way again. */
static bool send_again(struct writer *writer, struct write_result *result)
{
    if (result->outcome != WRITE_REFUSED || result->class != SQLSTATE_REPREPARE || writer->retried)
        return false;
    writer->retried = true;
    connection_forget_prepared(writer->connection);
    if (start_batch(writer))
        return true;
    result->outcome = WRITE_LOST;
    return false;
}

static void end_batch(struct writer *writer, struct write_result *result)
{
    if (send_again(writer, result))
        return;
    result->found = writer->found;
    writer->work = WORK_NONE;
    batch_segment_clear(&writer->present);
    writer->batch_done(result, writer->arg);
}

static void on_rolled_back(enum segment_outcome outcome, const struct segment_failure *failure,
                           void *arg)
{
    (void)failure;
    struct writer *writer = arg;
    struct write_result result = writer->refusal;
    if (outcome == SEGMENT_FAILED)
        writer_reset(writer); /* nobody knows what is open in that session */
    end_batch(writer, &result);
}

/* A transaction that was begun by name has to be ended by name, even a failed one. */
static void refuse_batch(struct writer *writer, struct write_result *result)
{
    static const struct statement rollback = {.sql = "ROLLBACK"};
    writer->refusal = *result;
    if (!writer->batch->n_numbers || !connection_send(writer->connection, &rollback, NULL, NULL) ||
        !connection_sync(writer->connection, on_rolled_back, writer))
        end_batch(writer, result);
}

static enum write_outcome outcome_of_failure(const struct write_batch *batch,
                                             const struct write_result *result)
{
    if (batch->rehearse && strcmp(result->failure.sqlstate, REHEARSED_SQLSTATE) == 0)
        return WRITE_COMMITTED;
    return result->class == SQLSTATE_SWAP ? WRITE_SWAPPED : WRITE_REFUSED;
}

static void on_batch_end(enum segment_outcome outcome, const struct segment_failure *failure,
                         void *arg)
{
    struct writer *writer = arg;
    const struct write_batch *batch = writer->batch;
    struct write_result result = {.table = batch->n_tables, .failure = *failure};
    if (outcome != SEGMENT_FAILED) {
        result.outcome = outcome == SEGMENT_LOST ? WRITE_LOST : WRITE_COMMITTED;
        end_batch(writer, &result);
        return;
    }
    result.class = sqlstate_classify(failure->sqlstate, failure->constraint);
    result.outcome = outcome_of_failure(batch, &result);
    result.table = batch_segment_table(&writer->present, failure->statement);
    refuse_batch(writer, &result);
}

static void encode_batch(struct writer *writer, const struct write_batch *batch,
                         struct batch_segment *segment)
{
    batch_encode(batch, writer->schema, &writer->found, segment);
}

static bool send_batch(struct writer *writer)
{
    return segment_send(&writer->present.statements, writer->connection) &&
           connection_sync(writer->connection, on_batch_end, writer);
}

/* ---- batches that take numbers ---- */

static void on_number(const struct pg_result *pg_result, void *arg)
{
    struct writer *writer = arg;
    const PGresult *result = (const PGresult *)pg_result;
    writer->has_number = PQntuples(result) == 1;
    if (writer->has_number)
        writer->last_number = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
}

/* No message is at fault: it is tried again until there are numbers. */
static void refuse_reservation(struct writer *writer, const struct segment_failure *failure)
{
    enum sqlstate_class class = sqlstate_classify(failure->sqlstate, failure->constraint);
    struct write_result result = {
        .outcome = WRITE_REFUSED,
        .class = class == SQLSTATE_REPREPARE && !writer->retried ? class : SQLSTATE_RETRY,
        .failure = *failure,
        .table = writer->batch->n_tables,
    };
    refuse_batch(writer, &result);
}

static void lose_batch(struct writer *writer, const struct segment_failure *failure)
{
    struct write_result result = {
        .outcome = WRITE_LOST, .failure = *failure, .table = writer->batch->n_tables};
    end_batch(writer, &result);
}

static void on_reserved(enum segment_outcome outcome, const struct segment_failure *failure,
                        void *arg)
{
    struct writer *writer = arg;
    const struct write_batch *batch = writer->batch;
    if (outcome == SEGMENT_LOST) {
        lose_batch(writer, failure);
    } else if (outcome == SEGMENT_FAILED) {
        refuse_reservation(writer, failure);
    } else if (!writer->has_number) {
        struct segment_failure none = {.sqlstate = "P0002"};
        error_set(&none.err, "sequence_tracker has no row: apply migrations/"
                             "002_add_sequence_numbers.sql again");
        refuse_reservation(writer, &none);
    } else {
        batch->on_numbers(writer->last_number - (int64_t)batch->n_numbers + 1, batch->numbers_arg);
        encode_batch(writer, batch, &writer->present);
        if (send_batch(writer))
            return;
        struct segment_failure unsent = {0};
        error_set(&unsent.err, "the connection went away before the rows were sent");
        writer_reset(writer); /* its transaction is open */
        lose_batch(writer, &unsent);
    }
}

static bool start_batch(struct writer *writer)
{
    writer->found = (struct ledger_found){0};
    if (!writer->batch->n_numbers)
        return send_batch(writer);
    writer->has_number = false;
    return batch_send_reservation(writer->connection, writer->batch, on_number, writer) &&
           connection_sync(writer->connection, on_reserved, writer);
}

/* What was made for this batch while another one was written, else made now. */
static void take_segment(struct writer *writer, const struct write_batch *batch)
{
    if (writer->next.batch == batch) {
        struct batch_segment present = writer->present;
        writer->present = writer->next;
        writer->next = present;
    } else {
        encode_batch(writer, batch, &writer->present);
    }
    batch_segment_clear(&writer->next);
}

bool writer_submit(struct writer *writer, const struct write_batch *batch, write_done_cb done,
                   void *arg)
{
    if (!is_free(writer))
        return false;
    writer->batch = batch;
    writer->batch_done = done;
    writer->arg = arg;
    writer->retried = false;
    if (!batch->n_numbers)
        take_segment(writer, batch);
    if (!start_batch(writer))
        return false;
    writer->work = WORK_BATCH;
    return true;
}

void writer_prepare(struct writer *writer, const struct write_batch *batch)
{
    if (batch)
        encode_batch(writer, batch, &writer->next);
    else
        batch_segment_clear(&writer->next);
}

/* ---- offsets ---- */

static const char read_sql[] = "SELECT p.place, o.next_offset, o.max_sequence, o.clear_to, o.hole,"
                               " o.hole_table, o.hole_series, o.marks"
                               " FROM unnest($2::text[], $3::integer[]) WITH ORDINALITY"
                               "  AS p (topic, partition, place)"
                               " JOIN ingest_offsets o ON o.group_id = $1::text AND o.topic = "
                               "p.topic AND o.partition = p.partition";

static const char init_sql[] =
    "INSERT INTO ingest_offsets (group_id, topic, partition, next_offset)"
    " SELECT $1::text, p.topic, p.partition, p.next_offset"
    " FROM unnest($2::text[], $3::integer[], $4::bigint[])"
    "  AS p (topic, partition, next_offset)"
    " ORDER BY p.topic, p.partition ON CONFLICT DO NOTHING";

static bool take_number(const PGresult *result, int row, int column, int64_t *number)
{
    *number = strtoll(PQgetvalue(result, row, column), NULL, 10);
    return !PQgetisnull(result, row, column);
}

static void take_progress(const PGresult *result, int row, struct progress *progress)
{
    const char *hole = PQgetvalue(result, row, 4);
    progress->has_max = take_number(result, row, 2, &progress->max_sequence);
    progress->has_clear = take_number(result, row, 3, &progress->clear_to);
    if (strcmp(hole, "lost") == 0)
        progress->hole = HOLE_LOST;
    else if (*hole)
        progress->hole = HOLE_REJECTED;
    snprintf(progress->hole_table, sizeof progress->hole_table, "%s", PQgetvalue(result, row, 5));
    snprintf(progress->hole_series, sizeof progress->hole_series, "%s", PQgetvalue(result, row, 6));
}

static void on_offset_rows(const struct pg_result *pg_result, void *arg)
{
    struct writer *writer = arg;
    const PGresult *result = (const PGresult *)pg_result;
    for (size_t i = 0; i < writer->n_partitions; i++) {
        writer->partitions[i].known = false;
        writer->partitions[i].progress = (struct progress){0};
        writer->partitions[i].marks = (struct marks){0};
    }
    for (int row = 0; row < PQntuples(result); row++) {
        size_t place = strtoul(PQgetvalue(result, row, 0), NULL, 10);
        if (place < 1 || place > writer->n_partitions)
            die("offsets: place %zu of %zu", place, writer->n_partitions);
        writer->partitions[place - 1].known = true;
        writer->partitions[place - 1].next_offset = strtoll(PQgetvalue(result, row, 1), NULL, 10);
        take_progress(result, row, &writer->partitions[place - 1].progress);
        writer->partitions[place - 1].marks = marks_parse(PQgetvalue(result, row, 7));
    }
}

static void on_offsets_end(enum segment_outcome outcome, const struct segment_failure *failure,
                           void *arg)
{
    struct writer *writer = arg;
    struct error err = failure->err;
    if (outcome == SEGMENT_FAILED &&
        sqlstate_classify(failure->sqlstate, failure->constraint) == SQLSTATE_REPREPARE)
        connection_forget_prepared(writer->connection);
    writer->work = WORK_NONE;
    writer->offsets_done(outcome == SEGMENT_DONE, &err, writer->arg);
}

/* $1 group, $2 topics, $3 partitions, $4 offsets for init_sql. */
static bool send_offset_statement(struct writer *writer, const char *sql, const char *group_id,
                                  statement_result_cb on_result)
{
    size_t n = writer->n_partitions;
    struct buffer topics = {0}, partitions = {0}, offsets = {0};
    array_begin(&topics, PG_TEXT, n);
    array_begin(&partitions, PG_INT4, n);
    array_begin(&offsets, PG_INT8, n);
    for (size_t i = 0; i < n; i++) {
        array_add_bytes(&topics, bytes_of_string(writer->partitions[i].topic));
        array_add_int4(&partitions, writer->partitions[i].partition);
        array_add_int8(&offsets, writer->partitions[i].next_offset);
    }
    const char *const values[] = {group_id, topics.data, partitions.data, offsets.data};
    const int lengths[] = {0, (int)topics.size, (int)partitions.size, (int)offsets.size};
    const int formats[] = {0, 1, 1, 1};
    const struct statement statement = {
        .sql = sql,
        .n_params = sql == init_sql ? 4 : 3,
        .values = values,
        .lengths = lengths,
        .formats = formats,
    };
    bool sent = connection_send(writer->connection, &statement, on_result, writer);
    buffer_free(&topics);
    buffer_free(&partitions);
    buffer_free(&offsets);
    return sent;
}

static bool start_offsets(struct writer *writer, const char *group_id, bool init,
                          struct partition_offset *partitions, size_t n_partitions,
                          offsets_done_cb done, void *arg)
{
    if (!is_free(writer))
        return false;
    writer->partitions = partitions;
    writer->n_partitions = n_partitions;
    writer->offsets_done = done;
    writer->arg = arg;
    if (init && !send_offset_statement(writer, init_sql, group_id, NULL))
        return false;
    if (!send_offset_statement(writer, read_sql, group_id, on_offset_rows) ||
        !connection_sync(writer->connection, on_offsets_end, writer))
        return false;
    writer->work = WORK_OFFSETS;
    return true;
}

bool writer_read_offsets(struct writer *writer, const char *group_id,
                         struct partition_offset *partitions, size_t n_partitions,
                         offsets_done_cb done, void *arg)
{
    return start_offsets(writer, group_id, false, partitions, n_partitions, done, arg);
}

bool writer_init_offsets(struct writer *writer, const char *group_id,
                         struct partition_offset *partitions, size_t n_partitions,
                         offsets_done_cb done, void *arg)
{
    return start_offsets(writer, group_id, true, partitions, n_partitions, done, arg);
}

/* ---- quiet partitions ---- */

static void on_topic_rows(const struct pg_result *pg_result, void *arg)
{
    struct writer *writer = arg;
    const PGresult *result = (const PGresult *)pg_result;
    for (int row = 0; row < PQntuples(result); row++) {
        size_t place = strtoul(PQgetvalue(result, row, 0), NULL, 10);
        if (place < 1 || place > writer->n_topics)
            die("topics: place %zu of %zu", place, writer->n_topics);
        struct topic_progress *topic = &writer->topics[place - 1];
        topic->has_max = take_number(result, row, 1, &topic->max_sequence);
    }
}

bool writer_read_topics(struct writer *writer, const char *group_id, struct topic_progress *topics,
                        size_t n_topics, offsets_done_cb done, void *arg)
{
    if (!is_free(writer))
        return false;
    writer->topics = topics;
    writer->n_topics = n_topics;
    writer->offsets_done = done;
    writer->arg = arg;
    struct params params = params_new(2);
    params_add_text(&params, group_id);
    struct buffer *names = params_add_array(&params, PG_TEXT, n_topics);
    for (size_t i = 0; i < n_topics; i++)
        array_add_bytes(names, bytes_of_string(topics[i].topic));
    if (!params_send_asking(&params, writer->connection,
                            "SELECT t.place, max(o.max_sequence)"
                            " FROM unnest($2::text[]) WITH ORDINALITY AS t (topic, place)"
                            " LEFT JOIN ingest_offsets o ON o.group_id = $1::text"
                            "  AND o.topic = t.topic GROUP BY t.place",
                            on_topic_rows, writer) ||
        !connection_sync(writer->connection, on_offsets_end, writer))
        return false;
    writer->work = WORK_TOPICS;
    return true;
}

/* Places in partitions, as three arrays of a statement. */
struct places {
    struct buffer *topics;
    struct buffer *partitions;
    struct buffer *offsets;
};

static struct places add_places(struct params *params, size_t n)
{
    struct places places;
    places.topics = params_add_array(params, PG_TEXT, n);
    places.partitions = params_add_array(params, PG_INT4, n);
    places.offsets = params_add_array(params, PG_INT8, n);
    return places;
}

static void add_place(struct places *places, const char *topic, int32_t partition, int64_t offset)
{
    array_add_bytes(places->topics, bytes_of_string(topic));
    array_add_int4(places->partitions, partition);
    array_add_int8(places->offsets, offset);
}

bool writer_clear(struct writer *writer, const char *group_id,
                  const struct quiet_partition *partitions, size_t n_partitions,
                  offsets_done_cb done, void *arg)
{
    if (!is_free(writer))
        return false;
    writer->offsets_done = done;
    writer->arg = arg;
    struct params params = params_new(5);
    params_add_text(&params, group_id);
    struct places places = add_places(&params, n_partitions);
    struct buffer *clear_to = params_add_array(&params, PG_INT8, n_partitions);
    for (size_t i = 0; i < n_partitions; i++) {
        add_place(&places, partitions[i].topic, partitions[i].partition, partitions[i].next_offset);
        array_add_int8(clear_to, partitions[i].clear_to);
    }
    if (!params_send(&params, writer->connection,
                     "SELECT ledger_clear($1::text, $2::text[], $3::integer[], $4::bigint[],"
                     " $5::bigint[])") ||
        !connection_sync(writer->connection, on_offsets_end, writer))
        return false;
    writer->work = WORK_CLEAR;
    return true;
}

/* ---- what was read where ---- */

static void add_marks(struct buffer *array, const struct marks *marks)
{
    struct buffer text = {0};
    marks_write(marks, &text);
    if (text.size > 0)
        array_add_bytes(array, buffer_bytes(&text));
    else
        array_add_null(array);
    buffer_free(&text);
}

bool writer_save_marks(struct writer *writer, const char *group_id,
                       const struct marked_partition *partitions, size_t n_partitions,
                       offsets_done_cb done, void *arg)
{
    if (!is_free(writer))
        return false;
    writer->offsets_done = done;
    writer->arg = arg;
    struct params params = params_new(5);
    params_add_text(&params, group_id);
    struct places places = add_places(&params, n_partitions);
    struct buffer *marks = params_add_array(&params, PG_TEXT, n_partitions);
    for (size_t i = 0; i < n_partitions; i++) {
        add_place(&places, partitions[i].topic, partitions[i].partition, partitions[i].next_offset);
        add_marks(marks, &partitions[i].marks);
    }
    if (!params_send(&params, writer->connection,
                     /* a row that is locked is about to move: nothing is worth waiting for */
                     "UPDATE ingest_offsets o SET marks = free.marks::bigint[]"
                     " FROM (SELECT f.topic, f.partition, m.marks FROM ingest_offsets f"
                     "  JOIN unnest($2::text[], $3::integer[], $4::bigint[], $5::text[])"
                     "   AS m (topic, partition, next_offset, marks)"
                     "   ON m.topic = f.topic AND m.partition = f.partition"
                     "    AND m.next_offset = f.next_offset"
                     "  WHERE f.group_id = $1::text FOR UPDATE OF f SKIP LOCKED) AS free"
                     " WHERE o.group_id = $1::text AND o.topic = free.topic"
                     "  AND o.partition = free.partition") ||
        !connection_sync(writer->connection, on_offsets_end, writer))
        return false;
    writer->work = WORK_MARKS;
    return true;
}

/* ---- what a crash of PostgreSQL would leave ---- */

static void on_flushed_row(const struct pg_result *pg_result, void *arg)
{
    struct writer *writer = arg;
    const PGresult *result = (const PGresult *)pg_result;
    for (int i = 0; i < 2; i++)
        writer->lsn[i] = strtoull(PQgetvalue(result, 0, i), NULL, 10);
}

static void on_flushed_end(enum segment_outcome outcome, const struct segment_failure *failure,
                           void *arg)
{
    (void)failure;
    struct writer *writer = arg;
    writer->work = WORK_NONE;
    writer->flushed_done(outcome == SEGMENT_DONE, writer->lsn[0], writer->lsn[1], writer->arg);
}

bool writer_read_flushed(struct writer *writer, flushed_done_cb done, void *arg)
{
    static const struct statement statement = {
        .sql = "SELECT pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn,"
               " pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
    };
    if (!is_free(writer))
        return false;
    writer->flushed_done = done;
    writer->arg = arg;
    memset(writer->lsn, 0, sizeof writer->lsn);
    if (!connection_send(writer->connection, &statement, on_flushed_row, writer) ||
        !connection_sync(writer->connection, on_flushed_end, writer))
        return false;
    writer->work = WORK_FLUSHED;
    return true;
}
