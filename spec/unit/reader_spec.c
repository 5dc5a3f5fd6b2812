/* message/reader: shapes, paths and typed fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "message/json.h"
#include "message/reader.h"
#include "support/market_data.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A reader with its plan and what it read last. */
struct fixture {
    struct reader *reader;
    struct reader_plan *plan;
    struct record record;
    struct error err;
};

static struct fixture open_reader(const struct reader_def *def)
{
    struct fixture f = {.reader = reader_new()};
    f.plan = reader_plan_new(def, &f.err);
    if (!f.plan)
        fail_msg("no plan: %s", f.err.text);
    return f;
}

static void close_reader(struct fixture *f)
{
    reader_plan_free(f->plan);
    reader_free(f->reader);
}

/* One optional field at one path. */
static struct fixture open_field(enum value_type type, const char *path)
{
    struct field_def field = {"field", type, true};
    struct field_paths paths = {&path, 1};
    struct shape_def shape = {&paths};
    return open_reader(&(struct reader_def){&field, 1, &shape, 1});
}

static enum read_result read_text(struct fixture *f, const char *text)
{
    f->err.text[0] = '\0';
    return reader_read(f->reader, f->plan, bytes_of_string(text), &f->record, &f->err);
}

static void expect_result(struct fixture *f, const char *text, enum read_result expected)
{
    enum read_result result = read_text(f, text);
    if (result != expected)
        fail_msg("%s: result %d, expected %d (%s)", text, (int)result, (int)expected, f->err.text);
}

static const struct value *read_value(struct fixture *f, const char *text)
{
    expect_result(f, text, READ_OK);
    return &f->record.values[0];
}

static void expect_bytes(struct bytes bytes, const char *expected)
{
    assert_int_equal(bytes.size, strlen(expected));
    assert_memory_equal(bytes.data, expected, bytes.size);
}

/* The value is refused, is NULL, and the reason ends with `reason`. */
static void expect_wrong(struct fixture *f, const char *text, const char *reason)
{
    expect_result(f, text, READ_WRONG_TYPE);
    assert_true(f->record.values[0].is_null);
    assert_string_equal(f->err.text, reason);
}

/* ---- the messages of the market data topic ---- */

struct candle {
    const char *symbol, *interval;
    size_t shape;
    int64_t time;
    double open, high, low, close, volume;
    int final;   /* -1: absent */
    int64_t seq; /* -1: absent */
};

static void expect_candle(const struct record *record, const struct candle *expected)
{
    const struct value *v = record->values;
    assert_int_equal(record->n_values, N_MARKET_FIELDS);
    assert_int_equal(record->shape, expected->shape);
    expect_bytes(v[FIELD_SYMBOL].text, expected->symbol);
    assert_int_equal(v[FIELD_INTERVAL].is_null, expected->interval == NULL);
    if (expected->interval)
        expect_bytes(v[FIELD_INTERVAL].text, expected->interval);
    assert_true(v[FIELD_TIME].int8 == expected->time);
    assert_true(v[FIELD_OPEN].float8 == expected->open);
    assert_true(v[FIELD_HIGH].float8 == expected->high);
    assert_true(v[FIELD_LOW].float8 == expected->low);
    assert_true(v[FIELD_CLOSE].float8 == expected->close);
    assert_true(v[FIELD_VOLUME].float8 == expected->volume);
    assert_int_equal(v[FIELD_FINAL].is_null, expected->final < 0);
    if (expected->final >= 0)
        assert_int_equal(v[FIELD_FINAL].boolean, expected->final);
    assert_int_equal(v[FIELD_SEQ].is_null, expected->seq < 0);
    if (expected->seq >= 0)
        assert_true(v[FIELD_SEQ].int8 == expected->seq);
    for (size_t i = 0; i < record->n_values; i++)
        assert_int_equal(v[i].type, market_fields[i].type);
}

static void reads_every_sample_message(void **state)
{
    (void)state;
    static const int64_t time = 1704067200000;
    static const struct candle candles[] = {
        {"BTCUSDT", "1m", SHAPE_INGESTER, time, 50000, 50100, 49900, 50050, 10.5, 1, 101},
        {"BTCUSDT", "5m", SHAPE_INGESTER, time, 50000, 50180, 49900, 50120.10, 55.1, 0, -1},
        {"ETHUSDT", "1m", SHAPE_COMBINED, time, 2280.10, 2282, 2279.90, 2281.55, 311.2042, 0, -1},
        {"BNBUSDT", "1m", SHAPE_RAW, time, 310.2, 310.6, 310.1, 310.4, 98.11, 1, 102},
        {"SOLUSDT", "1m", SHAPE_RAW, time, 101.2, 101.6, 101.1, 101.4, 9811.5, 1, 103},
        {"XRPUSDT", NULL, SHAPE_FLAT, time, 0.6152, 0.6160, 0.6150, 0.6157, 120034, -1, 104},
    };
    struct reader_def def = market_data_def();
    struct fixture f = open_reader(&def);
    FILE *file = fopen(CS_SOURCE_DIR "/spec/fixtures/market_data.jsonl", "r");
    assert_non_null(file);
    char line[1024];
    for (size_t i = 0; i < COUNT(candles); i++) {
        assert_non_null(fgets(line, sizeof line, file));
        expect_result(&f, line, READ_OK);
        expect_candle(&f.record, &candles[i]);
    }
    assert_null(fgets(line, sizeof line, file));
    fclose(file);
    close_reader(&f);
}

static void keeps_the_decimal_text_of_a_float8(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_FLOAT8, "v");
    expect_bytes(read_value(&f, "{\"v\":\"50000.00000000\"}")->source, "50000.00000000");
    expect_bytes(read_value(&f, "{\"v\":0.6160 }")->source, "0.6160");
    close_reader(&f);
}

/* ---- shapes ---- */

static void the_first_shape_that_fits_counts(void **state)
{
    (void)state;
    struct reader_def def = market_data_def();
    struct fixture f = open_reader(&def);
    expect_result(&f,
                  "{\"s\":\"FLAT\",\"t\":1,\"o\":1,\"h\":1,\"l\":1,\"c\":1,\"v\":1,"
                  "\"k\":{\"s\":\"RAW\",\"t\":2,\"o\":2,\"h\":2,\"l\":2,\"c\":2,\"v\":2}}",
                  READ_OK);
    assert_int_equal(f.record.shape, SHAPE_RAW);
    expect_bytes(f.record.values[FIELD_SYMBOL].text, "RAW");
    expect_result(&f,
                  "{\"s\":\"FLAT\",\"t\":1,\"o\":1,\"h\":1,\"l\":1,\"c\":1,\"v\":1,"
                  "\"k\":{\"s\":\"RAW\",\"t\":2,\"o\":2,\"h\":2,\"l\":2,\"c\":2,\"v\":null}}",
                  READ_OK);
    assert_int_equal(f.record.shape, SHAPE_FLAT);
    expect_bytes(f.record.values[FIELD_SYMBOL].text, "FLAT");
    close_reader(&f);
}

static void says_what_each_shape_lacks(void **state)
{
    (void)state;
    struct reader_def def = market_data_def();
    struct fixture f = open_reader(&def);
    expect_result(&f, "{\"symbol\":\"A\",\"k\":{\"s\":\"A\",\"t\":1}}", READ_NO_SHAPE);
    assert_string_equal(f.err.text, "no shape fits: 1 lacks kline.openTime, 2 lacks data.k.s, "
                                    "3 lacks k.o, 4 lacks s");
    static const char *const other[] = {"[]", "{}", "null", "1", "\"symbol\"", "[{\"s\":1}]"};
    for (size_t i = 0; i < COUNT(other); i++)
        expect_result(&f, other[i], READ_NO_SHAPE);
    close_reader(&f);
}

static void the_first_alternative_that_is_there_counts(void **state)
{
    (void)state;
    struct field_def field = {"seq", VALUE_INT8, true};
    const char *alternatives[] = {"seq", "k.seq", "k"};
    struct field_paths paths = {alternatives, 3};
    struct shape_def shape = {&paths};
    struct fixture f = open_reader(&(struct reader_def){&field, 1, &shape, 1});
    assert_true(read_value(&f, "{\"k\":{\"seq\":2},\"seq\":1}")->int8 == 1);
    assert_true(read_value(&f, "{\"k\":{\"seq\":2},\"seq\":null}")->int8 == 2);
    assert_true(read_value(&f, "{\"k\":{\"seq\":2}}")->int8 == 2);
    assert_true(read_value(&f, "{\"k\":3}")->int8 == 3);
    assert_true(read_value(&f, "{\"k\":null}")->is_null);
    assert_true(read_value(&f, "{}")->is_null);
    expect_wrong(&f, "{\"seq\":\"x\",\"k\":{\"seq\":2}}",
                 "seq: expected int8, found \"x\" (byte 7)");
    close_reader(&f);
}

static void a_path_through_something_else_than_an_object_is_not_there(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "a.b");
    assert_true(read_value(&f, "{\"a\":{\"b\":1}}")->int8 == 1);
    static const char *const other[] = {
        "{\"a\":[{\"b\":1}]}",
        "{\"a\":\"b\"}",
        "{\"a\":1}",
        "{\"a\":null}",
        "[{\"a\":{\"b\":1}}]",
        "{\"b\":1}",
        "{\"a.b\":1}",
        "{\"a\":{\"a\":{\"b\":1}}}",
        "{\"a\":{\"B\":1}}",
        "\"a\"",
        "{\"a\":{\"b\":null}}",
        "{\"a\":{\"bb\":1,\"\":2}}",
    };
    for (size_t i = 0; i < COUNT(other); i++)
        assert_true(read_value(&f, other[i])->is_null);
    close_reader(&f);
}

static void an_optional_field_without_a_path_is_null(void **state)
{
    (void)state;
    struct field_def fields[] = {{"a", VALUE_INT8, false}, {"b", VALUE_TEXT, true}};
    const char *path = "a";
    struct field_paths paths[] = {{&path, 1}, {NULL, 0}};
    struct shape_def shape = {paths};
    struct fixture f = open_reader(&(struct reader_def){fields, 2, &shape, 1});
    expect_result(&f, "{\"a\":1,\"b\":\"x\"}", READ_OK);
    assert_false(f.record.values[0].is_null);
    assert_true(f.record.values[1].is_null);
    assert_int_equal(f.record.values[1].type, VALUE_TEXT);
    close_reader(&f);
}

/* ---- keys ---- */

static void of_duplicate_keys_the_last_counts(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "a.b");
    assert_true(read_value(&f, "{\"a\":{\"b\":1,\"b\":2}}")->int8 == 2);
    assert_true(read_value(&f, "{\"a\":{\"b\":1},\"a\":{\"b\":2}}")->int8 == 2);
    assert_true(read_value(&f, "{\"a\":{\"b\":1,\"b\":null}}")->is_null);
    assert_true(read_value(&f, "{\"a\":{\"b\":\"x\",\"b\":2}}")->int8 == 2);
    assert_true(read_value(&f, "{\"a\":{\"b\":1},\"\\u0061\":{\"\\u0062\":2}}")->int8 == 2);
    close_reader(&f);
}

static void a_later_object_replaces_the_earlier_one_entirely(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "a.b.c");
    static const char *const replaced[] = {
        "{\"a\":{\"b\":{\"c\":1}},\"a\":{\"b\":{}}}", "{\"a\":{\"b\":{\"c\":1}},\"a\":{}}",
        "{\"a\":{\"b\":{\"c\":1}},\"a\":1}",          "{\"a\":{\"b\":{\"c\":1}},\"a\":[]}",
        "{\"a\":{\"b\":{\"c\":1},\"b\":null}}",       "{\"a\":{\"b\":{\"c\":1}},\"a\":null}",
    };
    for (size_t i = 0; i < COUNT(replaced); i++)
        assert_true(read_value(&f, replaced[i])->is_null);
    assert_true(read_value(&f, "{\"a\":1,\"a\":{\"b\":{\"c\":2}}}")->int8 == 2);
    close_reader(&f);
}

static void keys_are_compared_decoded(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "pri\xc3\xa9x");
    assert_true(read_value(&f, "{\"pri\xc3\xa9x\":1}")->int8 == 1);
    assert_true(read_value(&f, "{\"\\u0070ri\\u00e9x\":2}")->int8 == 2);
    assert_true(read_value(&f, "{\"prie\\u0301x\":3}")->is_null);
    assert_true(read_value(&f, "{\"pri\xc3\xa9x\\u0000\":3}")->is_null);
    close_reader(&f);
}

static void a_place_may_be_a_field_and_the_way_to_others(void **state)
{
    (void)state;
    struct field_def fields[] = {{"whole", VALUE_JSON, false}, {"part", VALUE_TEXT, false}};
    const char *whole = "k";
    const char *part = "k.s";
    struct field_paths paths[] = {{&whole, 1}, {&part, 1}};
    struct shape_def shape = {paths};
    struct fixture f = open_reader(&(struct reader_def){fields, 2, &shape, 1});
    expect_result(&f, "{\"k\": {\"s\":\"\\u0041\", \"n\" : [1e999]} }", READ_OK);
    expect_bytes(f.record.values[0].text, "{\"s\":\"\\u0041\", \"n\" : [1e999]}");
    expect_bytes(f.record.values[1].text, "A");
    close_reader(&f);
}

/* ---- types ---- */

static void text_is_a_string_without_nul(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_TEXT, "v");
    expect_bytes(read_value(&f, "{\"v\":\"\"}")->text, "");
    expect_bytes(read_value(&f, "{\"v\":\"BTCUSDT\" }")->text, "BTCUSDT");
    expect_bytes(read_value(&f, "{\"v\":\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"}")->text,
                 "a\"\\/\b\f\n\r\tz");
    expect_bytes(read_value(&f, "{\"v\":\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\xc3\xa9\"}")->text,
                 "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9");
    expect_wrong(&f, "{\"v\":\"a\\u0000b\"}",
                 "v: expected text, found a string with \\u0000 (byte 5)");
    expect_wrong(&f, "{\"v\":1}", "v: expected text, found 1 (byte 5)");
    expect_wrong(&f, "{\"v\": true}", "v: expected text, found true (byte 6)");
    expect_wrong(&f, "{\"v\":{}}", "v: expected text, found an object (byte 5)");
    expect_wrong(&f, "{\"v\":[]}", "v: expected text, found an array (byte 5)");
    close_reader(&f);
}

static void int8_is_whole_and_exact(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "v");
    assert_true(read_value(&f, "{\"v\":9223372036854775807}")->int8 == INT64_MAX);
    assert_true(read_value(&f, "{\"v\":-9223372036854775808}")->int8 == INT64_MIN);
    assert_true(read_value(&f, "{\"v\":9007199254740993}")->int8 == 9007199254740993);
    assert_true(read_value(&f, "{\"v\":\"9007199254740993\"}")->int8 == 9007199254740993);
    assert_true(read_value(&f, "{\"v\":\"\\u0031\\u0032\"}")->int8 == 12);
    assert_true(read_value(&f, "{\"v\":-0}")->int8 == 0);
    static const char *const wrong[] = {
        "9223372036854775808",
        "-9223372036854775809",
        "5.0",
        "1e3",
        "1E0",
        "\"9223372036854775808\"",
        "\"5.0\"",
        "\"1e3\"",
        "\" 1\"",
        "\"1 \"",
        "\"+1\"",
        "\"01\"",
        "\"\"",
        "\"0x1\"",
        "\"1\\u0000\"",
        "true",
        "[1]",
        "{\"v\":1}",
        "\"one\"",
        "\"-\"",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"v\":%s}", wrong[i]);
        expect_result(&f, text, READ_WRONG_TYPE);
        assert_true(f.record.values[0].is_null);
    }
    expect_wrong(&f, "{\"v\":5.0}", "v: expected int8, found 5.0 (byte 5)");
    close_reader(&f);
}

static void ms_is_read_like_int8(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_TIME, "v");
    assert_true(read_value(&f, "{\"v\":1704067200000}")->int8 == 1704067200000);
    assert_true(read_value(&f, "{\"v\":\"1704067200000\"}")->int8 == 1704067200000);
    expect_wrong(&f, "{\"v\":1.704e12}", "v: expected ms, found 1.704e12 (byte 5)");
    expect_wrong(&f, "{\"v\":\"2024-01-01T00:00:00Z\"}",
                 "v: expected ms, found \"2024-01-01T00:00:00Z\" (byte 5)");
    close_reader(&f);
}

static void float8_is_rounded_correctly_and_finite(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_FLOAT8, "v");
    static const struct {
        const char *text;
        double number;
    } good[] = {
        {"0.1", 0.1},
        {"-0.0", -0.0},
        {"\"50050.00000000\"", 50050},
        {"9007199254740993", 9007199254740992},
        {"9007199254740993.0000000000000000000000001", 9007199254740994},
        {"1.7976931348623157e308", 0x1.fffffffffffffp1023},
        {"1.7976931348623158e308", 0x1.fffffffffffffp1023},
        {"5e-324", 0x1p-1074},
        {"2.4703282292062328e-324", 0x1p-1074},
        {"2.2250738585072011e-308", 0x0.fffffffffffffp-1022},
        {"1e-999", 0},
        {"\"1E+2\"", 100},
        {"123456789012345678901234567890", 0x1.8ee90ff6c373ep96},
    };
    char text[128];
    for (size_t i = 0; i < COUNT(good); i++) {
        snprintf(text, sizeof text, "{\"v\":%s}", good[i].text);
        const struct value *value = read_value(&f, text);
        assert_memory_equal(&value->float8, &good[i].number, sizeof(double));
    }
    static const char *const wrong[] = {"1e999",   "-1e309",    "\"1e999\"", "\"NaN\"",
                                        "\"inf\"", "\"0x1p3\"", "\"1.\"",    "\".5\"",
                                        "\"1,5\"", "\"\"",      "\" 1\"",    "\"Infinity\"",
                                        "true",    "[]",        "\"+1\"",    "\"1\\u0000\""};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        snprintf(text, sizeof text, "{\"v\":%s}", wrong[i]);
        expect_result(&f, text, READ_WRONG_TYPE);
        assert_true(f.record.values[0].is_null);
    }
    close_reader(&f);
}

static void numeric_keeps_its_text(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_NUMERIC, "v");
    expect_bytes(read_value(&f, "{\"v\":1.50}")->text, "1.50");
    expect_bytes(read_value(&f, "{\"v\" : -1e999 , \"w\":1}")->text, "-1e999");
    expect_bytes(read_value(&f, "{\"v\":\"123456789012345678901234567890.10\"}")->text,
                 "123456789012345678901234567890.10");
    expect_bytes(read_value(&f, "{\"v\":\"1\\u002e5\"}")->text, "1.5");
    expect_wrong(&f, "{\"v\":\"1.\"}", "v: expected numeric, found \"1.\" (byte 5)");
    expect_wrong(&f, "{\"v\":\"NaN\"}", "v: expected numeric, found \"NaN\" (byte 5)");
    expect_wrong(&f, "{\"v\":false}", "v: expected numeric, found false (byte 5)");
    close_reader(&f);
}

static void bool_is_true_or_false(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_BOOL, "v");
    assert_true(read_value(&f, "{\"v\":true}")->boolean);
    assert_false(read_value(&f, "{\"v\":false}")->boolean);
    assert_false(f.record.values[0].is_null);
    expect_wrong(&f, "{\"v\":1}", "v: expected bool, found 1 (byte 5)");
    expect_wrong(&f, "{\"v\":\"true\"}", "v: expected bool, found \"true\" (byte 5)");
    close_reader(&f);
}

static void json_is_any_value_as_it_is_written(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_JSON, "v");
    static const char *const texts[] = {
        "1",
        "-1.50e+07",
        "true",
        "false",
        "\"\\u0041\\n\"",
        "\"\"",
        "{}",
        "[]",
        "[ 1 , {\"a\" : \"\\/\"} ]",
        "{\"a\":\"\\ud83d\\ude00\"}",
        "123456789012345678901234567890",
        "\"a\\u0000\"",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        char text[128];
        snprintf(text, sizeof text, " {\"u\":\"\\t\",\"v\" : %s \n,\"w\":[]}", texts[i]);
        expect_bytes(read_value(&f, text)->text, texts[i]);
    }
    assert_true(read_value(&f, "{\"v\":null}")->is_null);
    close_reader(&f);
}

/* ---- reasons ---- */

static void fields_that_were_read_well_survive_a_wrong_one(void **state)
{
    (void)state;
    struct reader_def def = market_data_def();
    struct fixture f = open_reader(&def);
    expect_result(&f,
                  "{\"symbol\":\"BTCUSDT\",\"interval\":7,\"seq\":101,\"kline\":{\"openTime\":1,"
                  "\"open\":\"abc\",\"high\":2,\"low\":[],\"close\":4,\"volume\":5}}",
                  READ_WRONG_TYPE);
    assert_string_equal(f.err.text, "interval: expected text, found 7 (byte 31)");
    assert_int_equal(f.record.shape, SHAPE_INGESTER);
    const struct value *v = f.record.values;
    expect_bytes(v[FIELD_SYMBOL].text, "BTCUSDT");
    assert_true(v[FIELD_SEQ].int8 == 101);
    assert_true(v[FIELD_CLOSE].float8 == 4);
    assert_true(v[FIELD_INTERVAL].is_null && v[FIELD_OPEN].is_null && v[FIELD_LOW].is_null);
    close_reader(&f);
}

static void a_long_value_is_shown_cut_at_a_character(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "v");
    expect_wrong(&f, "{\"v\":\"0123456789012345678901234567890123456789\"}",
                 "v: expected int8, found \"012345678901234567890123456789012345678... (byte 5)");
    expect_wrong(&f, "{\"v\":\"01234567890123456789012345678901234567\xe2\x82\xac\xe2\x82\xac\"}",
                 "v: expected int8, found \"01234567890123456789012345678901234567... (byte 5)");
    close_reader(&f);
}

static void a_text_that_is_no_json_is_named_with_its_byte(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "v");
    expect_result(&f, "{\"v\":1 \"w\":2}", READ_NOT_JSON);
    assert_string_equal(f.err.text, "not JSON: ',' or '}' is expected (byte 7)");
    expect_result(&f, "", READ_NOT_JSON);
    assert_string_equal(f.err.text, "not JSON: the text is empty (byte 0)");
    assert_int_equal(reader_read(f.reader, f.plan, bytes_of(NULL, 0), &f.record, &f.err),
                     READ_NOT_JSON);
    assert_int_equal(
        reader_read(f.reader, f.plan, bytes_of("{}", JSON_MAX_BYTES + 1), &f.record, &f.err),
        READ_NOT_JSON);
    close_reader(&f);
}

/* ---- plans and reuse ---- */

static void expect_no_plan(const struct reader_def *def, const char *reason)
{
    struct error err;
    assert_null(reader_plan_new(def, &err));
    assert_string_equal(err.text, reason);
}

static void malformed_plans_are_refused(void **state)
{
    (void)state;
    struct field_def field = {"open", VALUE_FLOAT8, false};
    const char *path = "kline.open";
    struct field_paths good = {&path, 1};
    struct field_paths paths = {NULL, 0};
    struct shape_def shapes[] = {{&good}, {&paths}};
    struct reader_def def = {&field, 1, shapes, 2};
    expect_no_plan(&def, "shape 2, field open: no path, and the field is not optional");
    static const char *const wrong[] = {"", ".", "a.", ".a", "a..b"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char reason[96];
        path = wrong[i];
        snprintf(reason, sizeof reason, "shape 1, field open: path \"%s\" has an empty part", path);
        expect_no_plan(&def, reason);
    }
    char deep[2 * 65] = "a";
    for (int i = 0; i < 64; i++)
        memcpy(deep + 1 + 2 * i, ".a", 2);
    deep[sizeof deep - 1] = '\0';
    path = deep;
    struct error err;
    assert_null(reader_plan_new(&def, &err));
    assert_non_null(strstr(err.text, "deeper than the 64 levels"));
    def.n_shapes = 0;
    expect_no_plan(&def, "there is no shape");
}

static void the_deepest_path_is_read(void **state)
{
    (void)state;
    char path[2 * 64] = "a";
    char text[64 * 6 + 2] = "";
    for (int i = 0; i < 63; i++)
        memcpy(path + 1 + 2 * i, ".a", 2);
    for (int i = 0; i < 64; i++)
        memcpy(text + 5 * i, "{\"a\":", 5);
    text[320] = '7';
    memset(text + 321, '}', 64);
    struct fixture f = open_field(VALUE_INT8, path);
    assert_true(read_value(&f, text)->int8 == 7);
    close_reader(&f);
}

static void a_plan_keeps_copies_of_names_and_paths(void **state)
{
    (void)state;
    char name[] = "open";
    char path[] = "k.o";
    const char *alternatives[] = {path};
    struct field_def field = {name, VALUE_INT8, false};
    struct field_paths paths = {alternatives, 1};
    struct shape_def shape = {&paths};
    struct fixture f = open_reader(&(struct reader_def){&field, 1, &shape, 1});
    memset(name, 'x', 4);
    memset(path, 'x', 3);
    alternatives[0] = NULL;
    paths = (struct field_paths){NULL, 0};
    field.type = VALUE_BOOL;
    assert_true(read_value(&f, "{\"k\":{\"o\":5}}")->int8 == 5);
    expect_result(&f, "{}", READ_NO_SHAPE);
    assert_string_equal(f.err.text, "no shape fits: 1 lacks k.o");
    close_reader(&f);
}

static void one_reader_serves_plans_and_texts_of_any_size(void **state)
{
    (void)state;
    struct reader_def def = market_data_def();
    struct fixture market = open_reader(&def);
    struct fixture f = open_field(VALUE_TEXT, "v");
    static const size_t sizes[] = {1, 100000, 10, 4096, 300000, 0};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t size = sizes[i];
        char *text = memory_alloc(size + 16);
        memcpy(text, "{\"v\":\"", 6);
        memset(text + 6, 'a', size);
        memcpy(text + 6 + size, "\"}", 3);
        const struct value *value = read_value(&f, text);
        assert_int_equal(value->text.size, size);
        assert_true(size == 0 || value->text.data[size - 1] == 'a');
        free(text);
        expect_result(&f, "{\"v\":", READ_NOT_JSON);
        f.err.text[0] = '\0';
        assert_int_equal(reader_read(f.reader, market.plan,
                                     bytes_of_string("{\"s\":\"A\",\"t\":1,\"o\":1,\"h\":1,\"l\":1,"
                                                     "\"c\":1,\"v\":1}"),
                                     &f.record, &f.err),
                         READ_OK);
        assert_int_equal(f.record.n_values, N_MARKET_FIELDS);
    }
    close_reader(&f);
    close_reader(&market);
}

static void nothing_is_left_of_the_message_before(void **state)
{
    (void)state;
    struct fixture f = open_field(VALUE_INT8, "a.b");
    assert_true(read_value(&f, "{\"a\":{\"b\":1}}")->int8 == 1);
    assert_true(read_value(&f, "{\"a\":{}}")->is_null);
    assert_true(read_value(&f, "{}")->is_null);
    close_reader(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_sample_message),
        cmocka_unit_test(keeps_the_decimal_text_of_a_float8),
        cmocka_unit_test(the_first_shape_that_fits_counts),
        cmocka_unit_test(says_what_each_shape_lacks),
        cmocka_unit_test(the_first_alternative_that_is_there_counts),
        cmocka_unit_test(a_path_through_something_else_than_an_object_is_not_there),
        cmocka_unit_test(an_optional_field_without_a_path_is_null),
        cmocka_unit_test(of_duplicate_keys_the_last_counts),
        cmocka_unit_test(a_later_object_replaces_the_earlier_one_entirely),
        cmocka_unit_test(keys_are_compared_decoded),
        cmocka_unit_test(a_place_may_be_a_field_and_the_way_to_others),
        cmocka_unit_test(text_is_a_string_without_nul),
        cmocka_unit_test(int8_is_whole_and_exact),
        cmocka_unit_test(ms_is_read_like_int8),
        cmocka_unit_test(float8_is_rounded_correctly_and_finite),
        cmocka_unit_test(numeric_keeps_its_text),
        cmocka_unit_test(bool_is_true_or_false),
        cmocka_unit_test(json_is_any_value_as_it_is_written),
        cmocka_unit_test(fields_that_were_read_well_survive_a_wrong_one),
        cmocka_unit_test(a_long_value_is_shown_cut_at_a_character),
        cmocka_unit_test(a_text_that_is_no_json_is_named_with_its_byte),
        cmocka_unit_test(malformed_plans_are_refused),
        cmocka_unit_test(the_deepest_path_is_read),
        cmocka_unit_test(a_plan_keeps_copies_of_names_and_paths),
        cmocka_unit_test(one_reader_serves_plans_and_texts_of_any_size),
        cmocka_unit_test(nothing_is_left_of_the_message_before),
    };
    return cmocka_run_group_tests_name("reader", tests, NULL, NULL);
}
