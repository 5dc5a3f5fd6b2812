/* A batch is stored as a whole or not at all, and says what became of it. */
#include "kit.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINUTE_MS INT64_C(1704067200000)

static const char *const tables[] = {"market_klines"};

/* One candle, one offset move; what most batches below consist of. */
struct sample {
    struct value values[8];
    struct row row;
    const struct row *rows[1];
    struct write_rows tables[1];
    struct offset_move move;
    struct write_batch batch;
};

static const struct kit_candle candle = {"A", MINUTE_MS, "1", 7};

static void fill_sample(struct sample *sample, int64_t from, int64_t to)
{
    memset(sample, 0, sizeof *sample);
    sample->row = kit_row(&candle, sample->values);
    sample->rows[0] = &sample->row;
    sample->tables[0] = (struct write_rows){&kit_market_klines, sample->rows, 1};
    sample->move =
        (struct offset_move){.topic = "market_data", .partition = 3, .from = from, .to = to};
    sample->batch = (struct write_batch){
        .group_id = "g",
        .tables = sample->tables,
        .n_tables = 1,
        .offsets = &sample->move,
        .n_offsets = 1,
    };
}

struct road {
    struct kit *kit;
    struct schema *schema;
    struct writer *writer;
};

static struct road start(void **state, int write_timeout_ms)
{
    struct road road = {.kit = *state};
    kit_sql(road.kit, "TRUNCATE market_klines, ingest_offsets, rejected_messages;"
                      "INSERT INTO ingest_offsets VALUES ('g', 'market_data', 3, 100),"
                      " ('g', 'market_data', 4, 200)");
    road.schema = kit_schema(road.kit, tables, 1);
    road.writer = kit_writer_with(road.kit, road.schema, write_timeout_ms);
    return road;
}

static void stop(struct road *road)
{
    writer_free(road->writer);
    schema_release(road->schema);
}

#define expect_stored(road, rows, offset)                                                          \
    kit_expect((road).kit, rows " " offset,                                                        \
               "SELECT (SELECT count(*) FROM market_klines) || ' ' || next_offset"                 \
               " FROM ingest_offsets WHERE partition = 3")

/* ---- offsets ---- */

static void moves_offsets_with_the_rows(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample, 100, 142);
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    expect_stored(road, "1", "142");
    stop(&road);
}

static void writes_nothing_when_the_offsets_were_moved_by_another(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample, 99, 142);
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_SWAPPED);
    assert_non_null(strstr(result.failure.err.text, "market_data/3: expected 99, is 100"));
    expect_stored(road, "0", "100");
    stop(&road);
}

static void checks_an_offset_that_does_not_move(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    const struct offset_move moves[] = {{"market_data", 3, 100, 101, {0}},
                                        {"market_data", 4, 200, 200, {0}}};
    fill_sample(&sample, 0, 0);
    sample.batch.offsets = moves;
    sample.batch.n_offsets = 2;
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    kit_sql(road.kit, "UPDATE ingest_offsets SET next_offset = 201 WHERE partition = 4");
    const struct offset_move again[] = {{"market_data", 3, 101, 102, {0}},
                                        {"market_data", 4, 200, 200, {0}}};
    sample.batch.offsets = again;
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome, WRITE_SWAPPED);
    expect_stored(road, "1", "101");
    stop(&road);
}

static void waits_for_another_worker_and_then_sees_that_it_was_late(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    struct kit_write write = {0};
    PGconn *other = kit_session(road.kit);
    kit_exec(other, "BEGIN; SELECT ingest_move_offsets('g', '{market_data}', '{3}', '{100}', "
                    "'{110}')");
    fill_sample(&sample, 100, 142);
    assert_true(writer_submit(road.writer, &sample.batch, kit_on_written, &write));
    event_base_loop(road.kit->base, EVLOOP_NONBLOCK);
    kit_wait_sql(road.kit, "1", "SELECT count(*) FROM pg_locks WHERE NOT granted");
    kit_exec(other, "COMMIT");
    kit_run_until(road.kit, &write.done, "the batch ends");
    assert_int_equal(write.result.outcome, WRITE_SWAPPED);
    expect_stored(road, "0", "110");
    PQfinish(other);
    stop(&road);
}

struct offsets_wait {
    bool done;
    bool ok;
    struct error err;
};

static void on_offsets(bool ok, const struct error *err, void *arg)
{
    struct offsets_wait *wait = arg;
    wait->done = true;
    wait->ok = ok;
    wait->err = *err;
}

static void reads_offsets_and_makes_those_that_are_missing(void **state)
{
    struct road road = start(state, 5000);
    struct partition_offset partitions[] = {
        {.topic = "market_data", .partition = 3, .next_offset = 7},
        {.topic = "new topic", .partition = 0, .next_offset = 55},
        {.topic = "market_data", .partition = 4, .known = true, .next_offset = 7}};
    struct offsets_wait wait = {0};
    assert_true(writer_read_offsets(road.writer, "g", partitions, 3, on_offsets, &wait));
    kit_run_until(road.kit, &wait.done, "offsets are read");
    assert_true(wait.ok);
    assert_true(partitions[0].known && partitions[0].next_offset == 100);
    assert_true(!partitions[1].known && partitions[1].next_offset == 55);
    assert_true(partitions[2].known && partitions[2].next_offset == 200);

    partitions[0].next_offset = 1; /* has appeared meanwhile: what is there stays */
    wait = (struct offsets_wait){0};
    assert_true(writer_init_offsets(road.writer, "g", partitions, 2, on_offsets, &wait));
    kit_run_until(road.kit, &wait.done, "offsets are made");
    assert_true(wait.ok);
    assert_true(partitions[0].next_offset == 100);
    assert_true(partitions[1].known && partitions[1].next_offset == 55);
    kit_expect(road.kit, "55", "SELECT next_offset FROM ingest_offsets WHERE topic = 'new topic'");
    stop(&road);
}

struct flushed_wait {
    bool done;
    uint64_t flushed;
    uint64_t insert;
};

static void on_flushed(bool ok, uint64_t flushed_lsn, uint64_t insert_lsn, void *arg)
{
    struct flushed_wait *wait = arg;
    assert_true(ok);
    *wait = (struct flushed_wait){true, flushed_lsn, insert_lsn};
}

static void tells_how_far_commits_survive_a_crash(void **state)
{
    struct road road = start(state, 5000);
    struct flushed_wait wait = {0};
    assert_true(writer_read_flushed(road.writer, on_flushed, &wait));
    kit_run_until(road.kit, &wait.done, "positions are read");
    assert_true(wait.flushed > 0 && wait.insert >= wait.flushed);
    stop(&road);
}

/* ---- refusals ---- */

static void names_the_table_that_was_refused(void **state)
{
    struct road road = start(state, 5000);
    static struct column_def columns[] = {{"id", VALUE_INT8, false}};
    static size_t key[] = {0};
    const struct table_def small = {
        .name = "small", .columns = columns, .n_columns = 1, .key = key, .n_key = 1};
    kit_sql(road.kit,
            "DROP TABLE IF EXISTS small;"
            "CREATE TABLE small (id int4 PRIMARY KEY CONSTRAINT positive CHECK (id > 0))");
    struct sample sample;
    fill_sample(&sample, 100, 142);
    struct value id = {.type = VALUE_INT8, .int8 = -5};
    const struct row row = {&small, &id};
    const struct row *rows[] = {&row};
    const struct write_rows both[] = {
        {&kit_market_klines, NULL, 0}, sample.tables[0], {&small, rows, 1}};
    sample.batch.tables = both;
    sample.batch.n_tables = 3;
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_int_equal(result.table, 2);
    assert_int_equal(result.class, SQLSTATE_DATA);
    assert_string_equal(result.failure.sqlstate, "23514");
    assert_string_equal(result.failure.constraint, "positive");
    assert_string_equal(result.failure.table, "small");
    expect_stored(road, "0", "100");
    id.int8 = INT64_C(1) << 40;
    result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_string_equal(result.failure.sqlstate, "22003");
    assert_int_equal(result.table, 2);
    id.int8 = 5;
    result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_COMMITTED);
    stop(&road);
}

static void sees_a_commit_that_fails(void **state)
{
    struct road road = start(state, 5000);
    kit_sql(road.kit, "CREATE TABLE known (symbol text PRIMARY KEY);"
                      "ALTER TABLE market_klines ADD CONSTRAINT known_symbol FOREIGN KEY (symbol)"
                      " REFERENCES known DEFERRABLE INITIALLY DEFERRED");
    struct sample sample;
    fill_sample(&sample, 100, 142);
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_string_equal(result.failure.sqlstate, "23503");
    assert_string_equal(result.failure.constraint, "known_symbol");
    sample.batch.rehearse = true;
    result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_string_equal(result.failure.sqlstate, "23503");
    expect_stored(road, "0", "100");
    kit_sql(road.kit, "ALTER TABLE market_klines DROP CONSTRAINT known_symbol; DROP TABLE known");
    sample.batch.rehearse = false;
    result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_COMMITTED);
    stop(&road);
}

static void rehearses_without_leaving_anything(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample, 100, 142);
    sample.batch.rehearse = true;
    for (int i = 0; i < 2; i++)
        assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                         WRITE_COMMITTED);
    expect_stored(road, "0", "100");
    stop(&road);
}

static void commits_durably_only_when_asked(void **state)
{
    struct road road = start(state, 5000);
    kit_sql(road.kit, "CREATE TABLE seen (id serial, mode text);"
                      "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                      " INSERT INTO seen (mode) VALUES (current_setting('synchronous_commit'));"
                      " RETURN NULL; END $$;"
                      "CREATE TRIGGER see AFTER INSERT ON market_klines EXECUTE FUNCTION see()");
    struct sample sample;
    for (int i = 0; i < 3; i++) {
        fill_sample(&sample, 100 + i, 101 + i);
        sample.batch.durable = i == 1;
        assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                         WRITE_COMMITTED);
    }
    kit_expect(road.kit, "off on off", "SELECT string_agg(mode, ' ' ORDER BY id) FROM seen");
    kit_sql(road.kit, "DROP TRIGGER see ON market_klines; DROP FUNCTION see; DROP TABLE seen");
    stop(&road);
}

static void asks_for_a_smaller_batch_when_a_statement_takes_too_long(void **state)
{
    struct road road = start(state, 200);
    struct sample sample;
    PGconn *other = kit_session(road.kit);
    kit_exec(other, "BEGIN; LOCK market_klines");
    fill_sample(&sample, 100, 142);
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_string_equal(result.failure.sqlstate, "57014");
    assert_int_equal(result.class, SQLSTATE_HALVE);
    assert_int_equal(result.table, 0);
    PQfinish(other);
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    stop(&road);
}

static void prepares_anew_when_the_session_forgot_its_statements(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    kit_sql(road.kit, "CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                      " EXECUTE 'DEALLOCATE ALL'; RETURN NULL; END $$;"
                      "CREATE TRIGGER forget AFTER INSERT ON market_klines"
                      " EXECUTE FUNCTION forget()");
    for (int i = 0; i < 3; i++) {
        fill_sample(&sample, 100 + i, 101 + i);
        struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
        if (result.outcome != WRITE_COMMITTED)
            fail_msg("batch %d: %s", i, result.failure.err.text);
    }
    expect_stored(road, "1", "103");
    kit_sql(road.kit, "DROP TRIGGER forget ON market_klines; DROP FUNCTION forget");
    stop(&road);
}

static void follows_a_table_that_changes_its_types(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample, 100, 101);
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    kit_sql(road.kit, "ALTER TABLE market_klines ALTER volume TYPE numeric,"
                      " ADD COLUMN note text DEFAULT 'x'");
    fill_sample(&sample, 101, 102);
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    kit_sql(road.kit, "ALTER TABLE market_klines ALTER volume TYPE double precision,"
                      " DROP COLUMN note");
    stop(&road);
}

/* ---- rejected messages ---- */

static struct rejection rejection_at(int64_t offset)
{
    return (struct rejection){
        .stream = "S",
        .topic = "market_data",
        .partition = 3,
        .offset = offset,
        .key = bytes_of_string("A_1m"),
        .payload = bytes_of("\0\xff{", 3),
        .stage = "decode",
        .reason = bytes_of("not \xff JSON\0!", 12),
        .rules_hash = "abc",
        .symbol = {0},
        .has_sequence = offset % 2 == 0,
        .sequence = offset,
    };
}

static void keeps_rejected_messages_byte_for_byte_and_once(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    const struct rejection rejections[] = {rejection_at(100), rejection_at(101)};
    for (int i = 0; i < 2; i++) {
        fill_sample(&sample, 100 + i, 101 + i);
        sample.batch.rejections = rejections;
        sample.batch.n_rejections = 2;
        struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
        if (result.outcome != WRITE_COMMITTED)
            fail_msg("%s", result.failure.err.text);
    }
    kit_expect(road.kit, "2", "SELECT count(*) FROM rejected_messages");
    kit_expect(road.kit, "g S market_data 3 100 A_1m 00ff7b decode abc - 100",
               "SELECT concat_ws(' ', group_id, stream, topic, partition, \"offset\","
               " convert_from(key, 'UTF8'), encode(payload, 'hex'), stage, rules_hash,"
               " coalesce(symbol, sqlstate, '-'), sequence)"
               " FROM rejected_messages WHERE \"offset\" = 100");
    kit_expect(road.kit, "not \xef\xbf\xbd JSON\xef\xbf\xbd!",
               "SELECT reason FROM rejected_messages WHERE \"offset\" = 101 AND sequence IS NULL");
    stop(&road);
}

/* ---- the connection goes away ---- */

static bool is_ready(void *writer)
{
    return writer_is_ready(writer);
}

static void terminate(struct kit *kit)
{
    kit_sql(kit, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                 " WHERE application_name = 'spec writer'");
}

static void tells_when_the_connection_was_lost_with_a_batch_in_flight(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    struct kit_write write = {0};
    PGconn *other = kit_session(road.kit);
    kit_exec(other, "BEGIN; LOCK market_klines");
    fill_sample(&sample, 100, 142);
    assert_true(writer_submit(road.writer, &sample.batch, kit_on_written, &write));
    event_base_loop(road.kit->base, EVLOOP_NONBLOCK);
    kit_wait_sql(road.kit, "1", "SELECT count(*) FROM pg_locks WHERE NOT granted");
    terminate(road.kit);
    kit_run_until(road.kit, &write.done, "the batch ends");
    assert_int_equal(write.result.outcome, WRITE_LOST);
    assert_non_null(strstr(write.result.failure.err.text, "administrator command"));
    assert_false(writer_submit(road.writer, &sample.batch, kit_on_written, &write));
    PQfinish(other);
    kit_run_until_true(road.kit, is_ready, road.writer, "it is ready again");
    expect_stored(road, "0", "100");
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    stop(&road);
}

static void comes_back_after_it_was_ended_while_idle(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    terminate(road.kit);
    /* Nobody has looked at the socket yet: the batch is sent into it, and is lost. */
    struct kit_write write = {0};
    fill_sample(&sample, 100, 142);
    if (writer_submit(road.writer, &sample.batch, kit_on_written, &write)) {
        kit_run_until(road.kit, &write.done, "the batch ends");
        assert_int_equal(write.result.outcome, WRITE_LOST);
    }
    kit_run_until_true(road.kit, is_ready, road.writer, "it is ready again");
    assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                     WRITE_COMMITTED);
    stop(&road);
}

static void drops_a_batch_when_it_is_reset(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    struct kit_write write = {0};
    PGconn *other = kit_session(road.kit);
    kit_exec(other, "BEGIN; LOCK market_klines");
    fill_sample(&sample, 100, 142);
    assert_true(writer_submit(road.writer, &sample.batch, kit_on_written, &write));
    event_base_loop(road.kit->base, EVLOOP_NONBLOCK);
    kit_wait_sql(road.kit, "1", "SELECT count(*) FROM pg_locks WHERE NOT granted");
    writer_reset(road.writer);
    assert_true(write.done);
    assert_int_equal(write.result.outcome, WRITE_LOST);
    PQfinish(other); /* what the old session does now is its own affair */
    kit_run_until_true(road.kit, is_ready, road.writer, "it is ready again");
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_true(result.outcome == WRITE_COMMITTED || result.outcome == WRITE_SWAPPED);
    expect_stored(road, "1", "142");
    stop(&road);
}

static void save_marks(struct road *road, const struct marks *marks, int64_t next_offset)
{
    const struct marked_partition marked = {"market_data", 3, next_offset, *marks};
    struct offsets_wait wait = {0};
    assert_true(writer_save_marks(road->writer, "g", &marked, 1, on_offsets, &wait));
    kit_run_until(road->kit, &wait.done, "marks are saved");
    assert_true(wait.ok);
}

static struct marks read_marks(struct road *road)
{
    struct partition_offset partition = {.topic = "market_data", .partition = 3, .next_offset = 0};
    struct offsets_wait wait = {0};
    assert_true(writer_read_offsets(road->writer, "g", &partition, 1, on_offsets, &wait));
    kit_run_until(road->kit, &wait.done, "offsets are read");
    return partition.marks;
}

static void expect_mark(const struct mark *found, const struct mark *mark)
{
    assert_true(found->is_set);
    assert_true(found->offset == mark->offset);
    assert_true(found->time_ms == mark->time_ms);
    assert_true(found->hash == mark->hash);
}

static void keeps_what_was_read_until_the_partition_goes_back(void **state)
{
    struct road road = start(state, 5000);
    struct partition_offset partition = {.topic = "market_data", .partition = 3, .next_offset = 0};
    struct offsets_wait wait = {0};
    assert_true(writer_read_offsets(road.writer, "g", &partition, 1, on_offsets, &wait));
    kit_run_until(road.kit, &wait.done, "offsets are read");
    assert_false(partition.marks.recent.is_set);

    const struct marks marks = {.recent = {true, 6, 1700000000000, INT64_MIN},
                                .oldest = {true, 0, -1, INT64_MAX}};
    save_marks(&road, &marks, partition.next_offset + 1); /* PostgreSQL stands elsewhere */
    assert_false(read_marks(&road).recent.is_set);
    save_marks(&road, &marks, partition.next_offset);
    struct marks found = read_marks(&road);
    expect_mark(&found.recent, &marks.recent);
    expect_mark(&found.oldest, &marks.oldest);

    kit_sql(road.kit, "UPDATE ingest_offsets SET next_offset = next_offset + 5");
    assert_true(read_marks(&road).recent.is_set);
    kit_sql(road.kit, "UPDATE ingest_offsets SET next_offset = next_offset - 1");
    assert_false(read_marks(&road).recent.is_set);
    stop(&road);
}

static int64_t read_offset(struct road *road)
{
    struct partition_offset partition = {.topic = "market_data", .partition = 3, .next_offset = 0};
    struct offsets_wait wait = {0};
    while (!wait.ok) {
        kit_run_until_true(road->kit, is_ready, road->writer, "it is ready again");
        wait = (struct offsets_wait){0};
        if (writer_read_offsets(road->writer, "g", &partition, 1, on_offsets, &wait))
            kit_run_until(road->kit, &wait.done, "offsets are read");
    }
    assert_true(partition.known);
    return partition.next_offset;
}

/* The session is ended at moments spread over the life of a batch: before it arrives, between its
 * statements, around its commit, and after. What was lost is looked up and sent again from there;
 * a trigger counts what was really stored. */
static void stores_each_batch_once_however_often_its_session_is_ended(void **state)
{
    struct road road = start(state, 5000);
    PGconn *killer = kit_session(road.kit);
    kit_sql(road.kit, "CREATE TABLE stored (id serial);"
                      "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                      " INSERT INTO stored DEFAULT VALUES; RETURN NULL; END $$;"
                      "CREATE TRIGGER count_it AFTER INSERT ON market_klines"
                      " EXECUTE FUNCTION count_it()");
    int64_t position = 100;
    unsigned n_lost = 0;
    for (unsigned round = 0; round < 30; round++) {
        struct sample sample;
        struct kit_write write = {0};
        fill_sample(&sample, position, position + 1);
        assert_true(writer_submit(road.writer, &sample.batch, kit_on_written, &write));
        usleep(round * 150);
        kit_exec(killer, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                         " WHERE application_name = 'spec writer'");
        kit_run_until(road.kit, &write.done, "the batch ends");
        assert_true(write.result.outcome == WRITE_LOST || write.result.outcome == WRITE_COMMITTED);
        n_lost += write.result.outcome == WRITE_LOST;
        int64_t now = read_offset(&road);
        assert_true(now == position + 1 || (now == position && write.result.outcome == WRITE_LOST));
        position = now;
    }
    print_message("# %u of 30 batches were lost, %d were stored\n", n_lost, (int)position - 100);
    char expected[32];
    snprintf(expected, sizeof expected, "%d", (int)position - 100);
    kit_expect(road.kit, expected, "SELECT count(*) FROM stored");
    kit_sql(road.kit, "DROP TRIGGER count_it ON market_klines; DROP FUNCTION count_it;"
                      "DROP TABLE stored");
    PQfinish(killer);
    stop(&road);
}

static void takes_one_batch_at_a_time(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    struct kit_write first = {0}, second = {0};
    fill_sample(&sample, 100, 142);
    assert_true(writer_submit(road.writer, &sample.batch, kit_on_written, &first));
    assert_false(writer_submit(road.writer, &sample.batch, kit_on_written, &second));
    kit_run_until(road.kit, &first.done, "the batch ends");
    assert_false(second.done);
    stop(&road);
}

/* ---- cuts ---- */

#define N_UPDATES 60

/* A stream of updates for three symbols, some numbered, some not, some late. */
static struct kit_candle update_at(size_t i, char price[16])
{
    static const char *const symbols[] = {"A", "B", "C"};
    uint32_t noise = (uint32_t)(i * 2654435761u) >> 8;
    snprintf(price, 16, "%u", noise % 1000 + 1);
    return (struct kit_candle){symbols[noise % 3], MINUTE_MS, price,
                               noise % 4 ? (int64_t)(noise % 40) : -1};
}

/* At most one row for each key in a batch: the winner among those of the cut. */
static void write_cut(struct road *road, size_t from, size_t to)
{
    struct kit_candle kept[3];
    static char prices[N_UPDATES][16];
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        struct kit_candle next = update_at(i, prices[i]);
        size_t at = 0;
        while (at < n && strcmp(kept[at].symbol, next.symbol) != 0)
            at++;
        if (at == n)
            kept[n++] = next;
        else if (next.sequence >= kept[at].sequence)
            kept[at] = next;
    }
    struct write_result result =
        kit_write_candles(road->kit, road->writer, &kit_market_klines, kept, n);
    assert_int_equal(result.outcome, WRITE_COMMITTED);
}

static void stores_the_same_however_the_stream_is_cut(void **state)
{
    struct road road = start(state, 5000);
    static const size_t sizes[] = {1, 2, 3, 7, 16, N_UPDATES};
    char expected[256] = "";
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        kit_sql(road.kit, "TRUNCATE market_klines");
        for (size_t from = 0; from < N_UPDATES; from += sizes[i])
            write_cut(&road, from,
                      from + sizes[i] < N_UPDATES ? from + sizes[i] : (size_t)N_UPDATES);
        const char *stored =
            kit_sql(road.kit, "SELECT string_agg(symbol || ' ' || close || ' ' || sequence, ', '"
                              " ORDER BY symbol) FROM market_klines");
        if (i == 0)
            snprintf(expected, sizeof expected, "%s", stored);
        assert_true(strlen(stored) > 10);
        assert_string_equal(stored, expected);
    }
    stop(&road);
}

/* ---- partitions ---- */

static void takes_a_missing_partition_for_a_trouble_of_the_table(void **state)
{
    struct road road = start(state, 5000);
    kit_sql(road.kit,
            "ALTER TABLE market_klines RENAME TO kept;"
            "CREATE TABLE market_klines (time timestamptz, symbol varchar(20), open float8,"
            " high float8, low float8, close float8, volume float8, sequence bigint,"
            " PRIMARY KEY (time, symbol)) PARTITION BY RANGE (time);"
            "CREATE TABLE day_1 PARTITION OF market_klines"
            " FOR VALUES FROM ('2024-01-02') TO ('2024-01-03')");
    struct sample sample;
    fill_sample(&sample, 100, 142);
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_string_equal(result.failure.sqlstate, "23514");
    assert_int_equal(result.class, SQLSTATE_RETRY);
    kit_sql(road.kit, "CREATE TABLE day_0 PARTITION OF market_klines"
                      " FOR VALUES FROM ('2024-01-01') TO ('2024-01-02')");
    for (int i = 0; i < 2; i++) {
        fill_sample(&sample, 100 + i, 101 + i);
        assert_int_equal(kit_write_batch(road.kit, road.writer, &sample.batch).outcome,
                         WRITE_COMMITTED);
    }
    expect_stored(road, "1", "102");
    kit_sql(road.kit, "DROP TABLE market_klines; ALTER TABLE kept RENAME TO market_klines");
    stop(&road);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(moves_offsets_with_the_rows),
        cmocka_unit_test(writes_nothing_when_the_offsets_were_moved_by_another),
        cmocka_unit_test(checks_an_offset_that_does_not_move),
        cmocka_unit_test(waits_for_another_worker_and_then_sees_that_it_was_late),
        cmocka_unit_test(reads_offsets_and_makes_those_that_are_missing),
        cmocka_unit_test(keeps_what_was_read_until_the_partition_goes_back),
        cmocka_unit_test(tells_how_far_commits_survive_a_crash),
        cmocka_unit_test(names_the_table_that_was_refused),
        cmocka_unit_test(sees_a_commit_that_fails),
        cmocka_unit_test(rehearses_without_leaving_anything),
        cmocka_unit_test(commits_durably_only_when_asked),
        cmocka_unit_test(asks_for_a_smaller_batch_when_a_statement_takes_too_long),
        cmocka_unit_test(prepares_anew_when_the_session_forgot_its_statements),
        cmocka_unit_test(follows_a_table_that_changes_its_types),
        cmocka_unit_test(keeps_rejected_messages_byte_for_byte_and_once),
        cmocka_unit_test(tells_when_the_connection_was_lost_with_a_batch_in_flight),
        cmocka_unit_test(comes_back_after_it_was_ended_while_idle),
        cmocka_unit_test(drops_a_batch_when_it_is_reset),
        cmocka_unit_test(stores_each_batch_once_however_often_its_session_is_ended),
        cmocka_unit_test(takes_one_batch_at_a_time),
        cmocka_unit_test(stores_the_same_however_the_stream_is_cut),
        cmocka_unit_test(takes_a_missing_partition_for_a_trouble_of_the_table),
    };
    return cmocka_run_group_tests(specs, kit_setup_migrated, kit_teardown);
}
