/* Which series of the ledger a row belongs to, and which number it gives to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingest/series.h"
#include "model/series.h"

enum { AT, INTERVAL, SEQ, SYMBOL };

static struct column_def columns[] = {{"at", VALUE_TIME, false},
                                      {"interval", VALUE_TEXT, false},
                                      {"seq", VALUE_INT8, true},
                                      {"symbol", VALUE_TEXT, false}};
static size_t by[] = {SYMBOL, INTERVAL};
static const struct table_def tracked = {
    .name = "klines",
    .columns = columns,
    .n_columns = 4,
    .track = {.by = by, .n_by = 2, .sequence = SEQ, .time = AT},
};
static const struct table_def plain = {.name = "plain", .columns = columns, .n_columns = 4};

static struct value text(const char *data)
{
    return (struct value){.type = VALUE_TEXT, .text = bytes_of_string(data)};
}

static void fill(struct value values[4], const char *symbol, const char *interval)
{
    values[AT] = (struct value){.type = VALUE_TIME, .int8 = 1000};
    values[INTERVAL] = text(interval);
    values[SEQ] = (struct value){.type = VALUE_INT8, .int8 = 7};
    values[SYMBOL] = text(symbol);
}

static void joins_the_values_in_their_order_with_slashes(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct value values[4];
    struct healed_number number;
    fill(values, "BTCUSDT", "5m");
    assert_true(series_number(&(struct row){&tracked, values}, &arena, &number));
    assert_string_equal(number.series.data, "BTCUSDT/5m");
    assert_string_equal(number.table, "klines");
    assert_int_equal(number.sequence, 7);
    assert_int_equal(number.time_ms, 1000);
    arena_free(&arena);
}

static void doubles_slashes_so_that_two_series_never_share_a_name(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct value values[4];
    fill(values, "A/B", "");
    assert_string_equal(series_of_row(&(struct row){&tracked, values}, &arena).data, "A//B/");
    fill(values, "A", "B/");
    assert_string_equal(series_of_row(&(struct row){&tracked, values}, &arena).data, "A/B//");
    arena_free(&arena);
}

static void writes_numbers_as_postgresql_does(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct value values[4];
    fill(values, "A", "");
    values[INTERVAL] = (struct value){.type = VALUE_INT8, .int8 = INT64_MIN};
    assert_string_equal(series_of_row(&(struct row){&tracked, values}, &arena).data,
                        "A/-9223372036854775808");
    values[INTERVAL] = (struct value){.type = VALUE_BOOL, .boolean = true};
    assert_string_equal(series_of_row(&(struct row){&tracked, values}, &arena).data, "A/true");
    arena_free(&arena);
}

static void gives_nothing_without_number_time_or_series(void **state)
{
    (void)state;
    static const size_t needed[] = {SEQ, AT, SYMBOL};
    struct arena arena = {0};
    struct value values[4];
    struct healed_number number;
    for (size_t i = 0; i < 3; i++) {
        fill(values, "A", "1m");
        values[needed[i]].is_null = true;
        assert_false(series_number(&(struct row){&tracked, values}, &arena, &number));
    }
    fill(values, "A", "1m");
    assert_false(series_number(&(struct row){&plain, values}, &arena, &number));
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(joins_the_values_in_their_order_with_slashes),
        cmocka_unit_test(doubles_slashes_so_that_two_series_never_share_a_name),
        cmocka_unit_test(writes_numbers_as_postgresql_does),
        cmocka_unit_test(gives_nothing_without_number_time_or_series),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
