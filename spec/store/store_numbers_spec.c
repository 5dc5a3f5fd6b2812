/* A batch that takes numbers from sequence_tracker: they are known before its rows are sent, belong
 * to its transaction, and collide with nobody's. */
#include "kit.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS INT64_C(1704067200000)
#define N_ROWS    3

static const char *const tables[] = {"market_klines"};

/* Candles that are numbered when the batch learns its numbers. */
struct sample {
    struct kit_candle candles[N_ROWS];
    struct value values[N_ROWS][8];
    struct row rows[N_ROWS];
    const struct row *list[N_ROWS];
    struct write_rows tables[1];
    struct write_batch batch;
    int64_t first;
    int n_calls;
};

static void on_numbers(int64_t first, void *arg)
{
    struct sample *sample = arg;
    sample->first = first;
    sample->n_calls++;
    for (size_t i = 0; i < N_ROWS; i++) {
        sample->candles[i].sequence = first + (int64_t)i;
        sample->rows[i] = kit_row(&sample->candles[i], sample->values[i]);
        sample->list[i] = &sample->rows[i];
    }
    sample->tables[0] = (struct write_rows){&kit_market_klines, sample->list, N_ROWS};
    sample->batch.tables = sample->tables;
    sample->batch.n_tables = 1;
}

static void fill_sample(struct sample *sample)
{
    static const char *const symbols[N_ROWS] = {"A", "B", "C"};
    memset(sample, 0, sizeof *sample);
    for (size_t i = 0; i < N_ROWS; i++)
        sample->candles[i] = (struct kit_candle){symbols[i], MINUTE_MS, "1", -1};
    sample->batch = (struct write_batch){
        .group_id = "g", .n_numbers = N_ROWS, .on_numbers = on_numbers, .numbers_arg = sample};
}

struct road {
    struct kit *kit;
    struct schema *schema;
    struct writer *writer;
};

static struct road start(void **state, int write_timeout_ms)
{
    struct road road = {.kit = *state};
    kit_sql(road.kit, "TRUNCATE market_klines; TRUNCATE sequence_tracker;"
                      "INSERT INTO sequence_tracker (last_sequence) VALUES (10)");
    road.schema = kit_schema(road.kit, tables, 1);
    road.writer = kit_writer_with(road.kit, road.schema, write_timeout_ms);
    return road;
}

static void stop(struct road *road)
{
    writer_free(road->writer);
    schema_release(road->schema);
}

#define expect_stored(road, rows, last)                                                            \
    kit_expect((road).kit, rows " " last,                                                          \
               "SELECT coalesce((SELECT string_agg(symbol || sequence, ',' ORDER BY symbol)"       \
               " FROM market_klines), '') || ' ' || last_sequence FROM sequence_tracker")

static void expect_committed(struct road *road, struct sample *sample, int64_t first)
{
    assert_int_equal(kit_write_batch(road->kit, road->writer, &sample->batch).outcome,
                     WRITE_COMMITTED);
    assert_int_equal(sample->first, first);
}

static void numbers_rows_before_they_are_sent(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    expect_committed(&road, &sample, 11);
    expect_stored(road, "A11,B12,C13", "13");
    kit_expect(road.kit, "14", "SELECT get_next_sequence()");
    expect_committed(&road, &sample, 15);
    expect_stored(road, "A15,B16,C17", "17");
    stop(&road);
}

static void gives_numbers_back_with_a_batch_that_is_refused(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    kit_sql(road.kit, "ALTER TABLE market_klines ADD CONSTRAINT not_b CHECK (symbol <> 'B')");
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_int_equal(result.class, SQLSTATE_DATA);
    assert_int_equal(result.table, 0);
    assert_string_equal(result.failure.constraint, "not_b");
    expect_stored(road, "", "10");
    kit_sql(road.kit, "ALTER TABLE market_klines DROP CONSTRAINT not_b");
    expect_committed(&road, &sample, 11);
    expect_stored(road, "A11,B12,C13", "13");
    stop(&road);
}

static void takes_no_number_for_a_rehearsal(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    sample.batch.rehearse = true;
    expect_committed(&road, &sample, 11);
    expect_stored(road, "", "10");
    sample.batch.rehearse = false;
    expect_committed(&road, &sample, 11);
    stop(&road);
}

static void sees_a_commit_that_fails(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    kit_sql(road.kit, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                      " 'BEGIN RAISE EXCEPTION ''not today''; END';"
                      "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON market_klines"
                      " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()");
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_int_equal(result.table, 1);
    assert_non_null(strstr(result.failure.err.text, "not today"));
    kit_sql(road.kit, "DROP TRIGGER late ON market_klines; DROP FUNCTION refuse()");
    expect_stored(road, "", "10");
    expect_committed(&road, &sample, 11);
    stop(&road);
}

static void waits_for_whoever_has_a_number_and_is_not_done(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    struct kit_write write = {0};
    PGconn *other = kit_session(road.kit);
    fill_sample(&sample);
    kit_exec(other, "BEGIN; SELECT get_next_sequence()");
    assert_true(writer_submit(road.writer, &sample.batch, kit_on_written, &write));
    event_base_loop(road.kit->base, EVLOOP_NONBLOCK);
    kit_wait_sql(road.kit, "1", "SELECT count(*) FROM pg_locks WHERE NOT granted");
    kit_exec(other, "COMMIT");
    kit_run_until(road.kit, &write.done, "the batch ends");
    assert_int_equal(write.result.outcome, WRITE_COMMITTED);
    assert_int_equal(sample.first, 12);
    PQfinish(other);
    stop(&road);
}

static void asks_to_be_tried_again_when_numbers_are_long_in_coming(void **state)
{
    struct road road = start(state, 200);
    struct sample sample;
    PGconn *other = kit_session(road.kit);
    fill_sample(&sample);
    kit_exec(other, "BEGIN; SELECT get_next_sequence()");
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_string_equal(result.failure.sqlstate, "57014");
    assert_int_equal(result.class, SQLSTATE_RETRY);
    assert_int_equal(result.table, sample.batch.n_tables);
    assert_int_equal(sample.n_calls, 0);
    kit_exec(other, "ROLLBACK");
    expect_committed(&road, &sample, 11);
    PQfinish(other);
    stop(&road);
}

static void says_what_to_do_without_a_tracker(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    kit_sql(road.kit, "TRUNCATE sequence_tracker");
    struct write_result result = kit_write_batch(road.kit, road.writer, &sample.batch);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_int_equal(result.class, SQLSTATE_RETRY);
    assert_non_null(strstr(result.failure.err.text, "002_add_sequence_numbers.sql"));
    kit_sql(road.kit, "INSERT INTO sequence_tracker (last_sequence) VALUES (20)");
    expect_committed(&road, &sample, 21);
    stop(&road);
}

static void commits_durably(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    kit_sql(road.kit,
            "CREATE TABLE seen (mode text); CREATE FUNCTION see() RETURNS trigger LANGUAGE"
            " plpgsql AS 'BEGIN INSERT INTO seen VALUES"
            " (current_setting(''synchronous_commit'')); RETURN NULL; END';"
            "CREATE TRIGGER see AFTER INSERT ON market_klines FOR EACH STATEMENT"
            " EXECUTE FUNCTION see()");
    expect_committed(&road, &sample, 11);
    kit_expect(road.kit, "on", "SELECT string_agg(mode, ' ') FROM seen");
    kit_sql(road.kit, "DROP TRIGGER see ON market_klines; DROP FUNCTION see; DROP TABLE seen");
    stop(&road);
}

/* A table whose column changed its type: the statement that was prepared is refused once. */
static void begins_anew_when_statements_are_prepared_anew(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    fill_sample(&sample);
    expect_committed(&road, &sample, 11);
    kit_sql(road.kit, "ALTER TABLE sequence_tracker ALTER COLUMN last_sequence TYPE numeric");
    sample.n_calls = 0;
    expect_committed(&road, &sample, 14);
    assert_int_equal(sample.n_calls, 1);
    kit_sql(road.kit, "ALTER TABLE sequence_tracker ALTER COLUMN last_sequence TYPE bigint");
    expect_committed(&road, &sample, 17);
    expect_stored(road, "A17,B18,C19", "19");
    stop(&road);
}

/* Submits while `other` holds a lock, and drops the connection once that is waited for. */
static void lose_connection(struct road *road, struct sample *sample, PGconn *other)
{
    struct kit_write write = {0};
    assert_true(writer_submit(road->writer, &sample->batch, kit_on_written, &write));
    while (atoi(kit_sql(road->kit, "SELECT count(*) FROM pg_locks WHERE NOT granted")) == 0)
        event_base_loop(road->kit->base, EVLOOP_NONBLOCK);
    writer_reset(road->writer);
    assert_true(write.done);
    assert_int_equal(write.result.outcome, WRITE_LOST);
    PQfinish(other);
    while (!writer_is_ready(road->writer))
        event_base_loop(road->kit->base, EVLOOP_ONCE);
}

static void loses_the_numbers_with_the_connection(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    PGconn *other = kit_session(road.kit);
    fill_sample(&sample);
    kit_exec(other, "BEGIN; UPDATE sequence_tracker SET last_sequence = 12");
    lose_connection(&road, &sample, other);
    assert_int_equal(sample.n_calls, 0);
    expect_committed(&road, &sample, 11);
    expect_stored(road, "A11,B12,C13", "13");
    stop(&road);
}

static void keeps_the_numbers_when_the_commit_had_been_sent(void **state)
{
    struct road road = start(state, 5000);
    struct sample sample;
    PGconn *other = kit_session(road.kit);
    fill_sample(&sample);
    kit_exec(other, "BEGIN; LOCK market_klines IN SHARE MODE");
    lose_connection(&road, &sample, other);
    assert_int_equal(sample.first, 11);
    kit_wait_sql(road.kit, "13", "SELECT max(sequence) FROM market_klines");
    expect_committed(&road, &sample, 14);
    expect_stored(road, "A14,B15,C16", "16");
    stop(&road);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(numbers_rows_before_they_are_sent),
        cmocka_unit_test(gives_numbers_back_with_a_batch_that_is_refused),
        cmocka_unit_test(takes_no_number_for_a_rehearsal),
        cmocka_unit_test(sees_a_commit_that_fails),
        cmocka_unit_test(waits_for_whoever_has_a_number_and_is_not_done),
        cmocka_unit_test(asks_to_be_tried_again_when_numbers_are_long_in_coming),
        cmocka_unit_test(says_what_to_do_without_a_tracker),
        cmocka_unit_test(commits_durably),
        cmocka_unit_test(begins_anew_when_statements_are_prepared_anew),
        cmocka_unit_test(loses_the_numbers_with_the_connection),
        cmocka_unit_test(keeps_the_numbers_when_the_commit_had_been_sent),
    };
    return cmocka_run_group_tests(specs, kit_setup_migrated, kit_teardown);
}
