/* Which row wins, and what travels to which type of column. */
#include "kit.h"

#include <string.h>

#define MINUTE_MS INT64_C(1704067200000)

static const char *const tables[] = {"market_klines"};

/* Writes the candles one batch after another and tells what is in the table then. */
static void expect_after(void **state, const struct table_def *table, const char *expected,
                         const struct kit_candle *candles, size_t n)
{
    struct kit *kit = *state;
    kit_sql(kit, "TRUNCATE market_klines");
    struct schema *schema = kit_schema(kit, tables, 1);
    struct writer *writer = kit_writer(kit, schema);
    for (size_t i = 0; i < n; i++) {
        struct write_result result = kit_write_candles(kit, writer, table, &candles[i], 1);
        assert_int_equal(result.outcome, WRITE_COMMITTED);
    }
    kit_expect(kit, expected,
               "SELECT string_agg(symbol || ' ' || close || ' ' || coalesce(sequence::text, '-'), "
               "', ' ORDER BY symbol) FROM market_klines");
    writer_free(writer);
    schema_release(schema);
}

static void keeps_the_newer_row_when_an_older_one_comes_late(void **state)
{
    const struct kit_candle candles[] = {
        {"A", MINUTE_MS, "1", 10}, {"A", MINUTE_MS, "2", 12}, {"A", MINUTE_MS, "3", 11}};
    expect_after(state, &kit_market_klines, "A 2 12", candles, 3);
}

static void takes_the_later_of_two_equal_numbers(void **state)
{
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "1", 10}, {"A", MINUTE_MS, "2", 10}};
    expect_after(state, &kit_market_klines, "A 2 10", candles, 2);
}

static void lets_any_number_win_over_none(void **state)
{
    const struct kit_candle candles[] = {
        {"A", MINUTE_MS, "1", -1}, {"A", MINUTE_MS, "2", 0}, {"A", MINUTE_MS, "3", -1}};
    expect_after(state, &kit_market_klines, "A 2 0", candles, 3);
}

static void takes_the_later_of_two_rows_without_number(void **state)
{
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "1", -1}, {"A", MINUTE_MS, "2", -1}};
    expect_after(state, &kit_market_klines, "A 2 -", candles, 2);
}

static void takes_the_later_where_the_rule_names_no_number(void **state)
{
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "1", 10}, {"A", MINUTE_MS, "2", 5}};
    expect_after(state, &kit_unnumbered, "A 2 5", candles, 2);
}

static void writes_many_keys_in_one_statement(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, "TRUNCATE market_klines");
    struct schema *schema = kit_schema(kit, tables, 1);
    struct writer *writer = kit_writer(kit, schema);
    struct kit_candle candles[500];
    for (size_t i = 0; i < 500; i++)
        candles[i] =
            (struct kit_candle){"A", MINUTE_MS + (int64_t)i * 60000, "50000.25", (int64_t)i};
    struct write_result result = kit_write_candles(kit, writer, &kit_market_klines, candles, 500);
    assert_int_equal(result.outcome, WRITE_COMMITTED);
    kit_expect(kit, "500 50000.25 2024-01-01 08:19:00+00",
               "SET TimeZone = 'UTC'; SELECT count(*) || ' ' || min(volume) || ' ' || max(time)"
               " FROM market_klines");
    writer_free(writer);
    schema_release(schema);
}

static void gives_every_digit_to_the_columns_of_the_original_service(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, "DROP TABLE IF EXISTS market_klines;"
                 "CREATE TABLE market_klines (id serial PRIMARY KEY, time timestamptz NOT NULL,"
                 " symbol text, open numeric(30, 20), high numeric, low text,"
                 " close varchar(40), volume real, sequence numeric, UNIQUE (time, symbol))");
    struct schema *schema = kit_schema(kit, tables, 1);
    struct error err;
    if (!schema_check_table(schema, &kit_market_klines, &err))
        fail_msg("%s", err.text);
    struct writer *writer = kit_writer(kit, schema);
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "50000.12345678901234567890", 9},
                                         {"A", MINUTE_MS, "1.5", 10},
                                         {"A", MINUTE_MS, "2.5", 8}};
    for (size_t i = 0; i < 3; i++) {
        struct write_result result =
            kit_write_candles(kit, writer, &kit_market_klines, &candles[i], 1);
        if (result.outcome != WRITE_COMMITTED)
            fail_msg("%s", result.failure.err.text);
        if (i == 0)
            kit_expect(kit,
                       "50000.12345678901234567890 50000.12345678901234567890"
                       " 50000.12345678901234567890 50000.12345678901234567890 50000.125",
                       "SELECT open || ' ' || high || ' ' || low || ' ' || close || ' ' || volume"
                       " FROM market_klines");
    }
    kit_expect(kit, "1.5 10", "SELECT low || ' ' || sequence FROM market_klines");
    writer_free(writer);
    schema_release(schema);
}

static void refuses_text_that_is_too_long_instead_of_cutting_it(void **state)
{
    struct kit *kit = *state;
    struct schema *schema = kit_schema(kit, tables, 1);
    struct writer *writer = kit_writer(kit, schema);
    const struct kit_candle candle = {"ABCDEFGHIJKLMNOPQRSTUVWXYZ", MINUTE_MS, "1", 1};
    struct write_result result = kit_write_candles(kit, writer, &kit_market_klines, &candle, 1);
    assert_int_equal(result.outcome, WRITE_REFUSED);
    assert_string_equal(result.failure.sqlstate, "22001");
    assert_int_equal(result.class, SQLSTATE_DATA);
    assert_int_equal(result.table, 0);
    writer_free(writer);
    schema_release(schema);
}

static void refuses_times_beyond_the_calendar(void **state)
{
    struct kit *kit = *state;
    struct schema *schema = kit_schema(kit, tables, 1);
    struct writer *writer = kit_writer(kit, schema);
    const int64_t times[] = {INT64_MAX, INT64_MIN, INT64_C(9300000000000000)};
    for (size_t i = 0; i < 3; i++) {
        const struct kit_candle candle = {"A", times[i], "1", 1};
        struct write_result result = kit_write_candles(kit, writer, &kit_market_klines, &candle, 1);
        assert_int_equal(result.outcome, WRITE_REFUSED);
        assert_string_equal(result.failure.sqlstate, "22008");
    }
    kit_expect(kit, "0", "SELECT count(*) FROM market_klines WHERE isfinite(time) IS FALSE");
    writer_free(writer);
    schema_release(schema);
}

static void does_nothing_on_conflict_when_all_columns_are_in_the_key(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, "CREATE TABLE \"Odd \"\"name\" (\"a b\" text PRIMARY KEY)");
    static struct column_def columns[] = {{"a b", VALUE_TEXT, false}};
    static size_t key[] = {0};
    const struct table_def table = {
        .name = "Odd \"name", .columns = columns, .n_columns = 1, .key = key, .n_key = 1};
    const char *const names[] = {"Odd \"name"};
    struct schema *schema = kit_schema(kit, names, 1);
    struct error err;
    if (!schema_check_table(schema, &table, &err))
        fail_msg("%s", err.text);
    struct writer *writer = kit_writer(kit, schema);
    struct value value = {.type = VALUE_TEXT, .text = bytes_of_string("x")};
    const struct row row = {&table, &value};
    const struct row *rows[] = {&row};
    const struct write_rows write = {&table, rows, 1};
    const struct write_batch batch = {.group_id = "g", .tables = &write, .n_tables = 1};
    for (int i = 0; i < 2; i++)
        assert_int_equal(kit_write_batch(kit, writer, &batch).outcome, WRITE_COMMITTED);
    kit_expect(kit, "1", "SELECT count(*) FROM \"Odd \"\"name\"");
    writer_free(writer);
    schema_release(schema);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(keeps_the_newer_row_when_an_older_one_comes_late),
        cmocka_unit_test(takes_the_later_of_two_equal_numbers),
        cmocka_unit_test(lets_any_number_win_over_none),
        cmocka_unit_test(takes_the_later_of_two_rows_without_number),
        cmocka_unit_test(takes_the_later_where_the_rule_names_no_number),
        cmocka_unit_test(writes_many_keys_in_one_statement),
        cmocka_unit_test(refuses_text_that_is_too_long_instead_of_cutting_it),
        cmocka_unit_test(refuses_times_beyond_the_calendar),
        cmocka_unit_test(does_nothing_on_conflict_when_all_columns_are_in_the_key),
        cmocka_unit_test(gives_every_digit_to_the_columns_of_the_original_service),
    };
    return cmocka_run_group_tests(specs, kit_setup_migrated, kit_teardown);
}
