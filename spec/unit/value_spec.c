/* model/value: types, order and strict numbers. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "model/value.h"

static struct value text_value(enum value_type type, const char *text)
{
    return (struct value){.type = type, .text = bytes_of_string(text)};
}

static struct value float8_value(double number)
{
    return (struct value){.type = VALUE_FLOAT8, .float8 = number};
}

static struct value int8_value(int64_t number)
{
    return (struct value){.type = VALUE_INT8, .int8 = number};
}

static void expect_order(struct value low, struct value high)
{
    assert_int_equal(value_compare(&low, &high), -1);
    assert_int_equal(value_compare(&high, &low), 1);
    assert_int_equal(value_compare(&low, &low), 0);
    assert_int_equal(value_compare(&high, &high), 0);
}

static void expect_equal(struct value a, struct value b)
{
    assert_int_equal(value_compare(&a, &b), 0);
    assert_int_equal(value_compare(&b, &a), 0);
    assert_true(value_hash(7, &a) == value_hash(7, &b));
}

static void type_names_differ_for_time_only(void **state)
{
    (void)state;
    for (int i = VALUE_TEXT; i <= VALUE_JSON; i++) {
        enum value_type type;
        const char *column = value_type_column_name((enum value_type)i);
        const char *field = value_type_field_name((enum value_type)i);
        assert_true(value_type_from_column_name(bytes_of_string(column), &type));
        assert_int_equal(type, i);
        assert_true(value_type_from_field_name(bytes_of_string(field), &type));
        assert_int_equal(type, i);
        assert_int_equal(strcmp(column, field) == 0, i != VALUE_TIME);
    }
    assert_string_equal(value_type_column_name(VALUE_TIME), "timestamptz");
    assert_string_equal(value_type_field_name(VALUE_TIME), "ms");
}

static void jsonb_is_a_column_and_no_field(void **state)
{
    (void)state;
    enum value_type type = VALUE_TEXT;
    assert_true(value_type_from_column_name(bytes_of_string("jsonb"), &type));
    assert_int_equal(type, VALUE_JSON);
    assert_false(value_type_from_field_name(bytes_of_string("jsonb"), &type));
    assert_false(value_type_from_field_name(bytes_of_string("timestamptz"), &type));
    assert_false(value_type_from_column_name(bytes_of_string("ms"), &type));
    assert_false(value_type_from_column_name(bytes_of_string("int8?"), &type));
    assert_false(value_type_from_column_name(bytes_of_string(""), &type));
}

static void null_is_the_lowest_value(void **state)
{
    (void)state;
    struct value null = {.type = VALUE_INT8, .is_null = true};
    expect_order(null, int8_value(INT64_MIN));
    expect_equal(null, null);
}

static void values_are_ordered_within_their_type(void **state)
{
    (void)state;
    expect_order(int8_value(INT64_MIN), int8_value(INT64_MAX));
    expect_order(int8_value(INT64_C(9007199254740992)), int8_value(INT64_C(9007199254740993)));
    expect_order(float8_value(-1.5), float8_value(0.25));
    expect_equal(float8_value(0.0), float8_value(-0.0));
    expect_order(text_value(VALUE_TEXT, ""), text_value(VALUE_TEXT, "a"));
    expect_order(text_value(VALUE_TEXT, "BTC"), text_value(VALUE_TEXT, "BTCUSDT"));
    expect_order(text_value(VALUE_TEXT, "Z"), text_value(VALUE_TEXT, "\xc3\xa9"));
    expect_order((struct value){.type = VALUE_BOOL, .boolean = false},
                 (struct value){.type = VALUE_BOOL, .boolean = true});
}

static void numeric_text_is_compared_by_its_exact_value(void **state)
{
    (void)state;
    static const char *const ascending[] = {"-1e400",
                                            "-100",
                                            "-99.99",
                                            "-1e-400",
                                            "0",
                                            "1e-400",
                                            "0.00999",
                                            "0.01",
                                            "9",
                                            "10",
                                            "9007199254740992",
                                            "9007199254740992.000000000000000001",
                                            "9007199254740993",
                                            "1e400",
                                            "1.00000000000000000000000000000000000000000001e400",
                                            "1e99999999999999999999"};
    size_t count = sizeof ascending / sizeof ascending[0];
    for (size_t i = 0; i < count; i++) {
        for (size_t j = i + 1; j < count; j++)
            expect_order(text_value(VALUE_NUMERIC, ascending[i]),
                         text_value(VALUE_NUMERIC, ascending[j]));
    }
}

static void numbers_written_differently_are_equal_and_hash_alike(void **state)
{
    (void)state;
    static const char *const equal[][2] = {{"1.50", "15e-1"}, {"0", "-0.000"},   {"0e5", "0"},
                                           {"1000", "1E+3"},  {"0.001", "1e-3"}, {"-20", "-2e1"},
                                           {"0.0500", "5e-2"}};
    for (size_t i = 0; i < sizeof equal / sizeof equal[0]; i++)
        expect_equal(text_value(VALUE_NUMERIC, equal[i][0]),
                     text_value(VALUE_NUMERIC, equal[i][1]));
    struct value a = text_value(VALUE_NUMERIC, "1.5");
    struct value b = text_value(VALUE_NUMERIC, "-1.5");
    struct value c = text_value(VALUE_NUMERIC, "15");
    assert_true(value_hash(0, &a) != value_hash(0, &b));
    assert_true(value_hash(0, &a) != value_hash(0, &c));
}

static void int8_text_is_read_whole_and_exactly(void **state)
{
    (void)state;
    int64_t number = 77;
    assert_true(value_parse_int8(bytes_of_string("9223372036854775807"), &number));
    assert_true(number == INT64_MAX);
    assert_true(value_parse_int8(bytes_of_string("-9223372036854775808"), &number));
    assert_true(number == INT64_MIN);
    assert_true(value_parse_int8(bytes_of("123456", 3), &number));
    assert_int_equal(number, 123);
    static const char *const wrong[] = {"",
                                        "-",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "01",
                                        "1.0",
                                        "1e3",
                                        "0x1",
                                        "1_0",
                                        "a",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "99999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(value_parse_int8(bytes_of_string(wrong[i]), &number));
    assert_false(value_parse_int8(bytes_of(NULL, 0), &number));
    assert_false(value_parse_int8(bytes_of("1\0", 2), &number));
    assert_int_equal(number, 123);
}

static void float8_text_is_decimal_and_finite(void **state)
{
    (void)state;
    double number = 0;
    assert_true(value_parse_float8(bytes_of_string("50000.10"), &number));
    assert_true(number == 50000.10);
    assert_true(value_parse_float8(bytes_of_string("-1.5E-3"), &number));
    assert_true(number == -1.5e-3);
    assert_true(value_parse_float8(bytes_of("12345", 2), &number));
    assert_true(number == 12);
    char zeros[200];
    memset(zeros, '0', sizeof zeros);
    memcpy(zeros, "7.", 2);
    assert_true(value_parse_float8(bytes_of(zeros, sizeof zeros), &number));
    assert_true(number == 7);
    static const char *const wrong[] = {"",      "+1",  ".5",  "5.",   "1e", "1e+",
                                        "0x10",  "NaN", "inf", "1,5",  "00", "Infinity",
                                        "1e999", " 1",  "--1", "1.2.3"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(value_parse_float8(bytes_of_string(wrong[i]), &number));
    assert_true(number == 7);
    assert_true(value_is_numeric(bytes_of_string("1e999")));
    assert_false(value_is_numeric(bytes_of_string("NaN")));
}

/* Short decimals take a way of their own; strtod() is the judge. */
static void float8_text_is_rounded_correctly_at_any_length(void **state)
{
    (void)state;
    uint64_t random = 20240101;
    for (int i = 0; i < 200000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t whole = (random >> 20) % (i % 3 ? 1000000 : UINT64_C(100000000000000000));
        unsigned fraction = (unsigned)(random >> 33) % 1000000000;
        int n_digits = 9 + (int)(random >> 60) % 4;
        char text[64];
        snprintf(text, sizeof text, "%s%" PRIu64 ".%0*u", i % 2 ? "-" : "", whole, n_digits,
                 fraction);
        double number = 1;
        assert_true(value_parse_float8(bytes_of_string(text), &number));
        double expected = strtod(text, NULL);
        assert_memory_equal(&number, &expected, sizeof number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(type_names_differ_for_time_only),
        cmocka_unit_test(jsonb_is_a_column_and_no_field),
        cmocka_unit_test(null_is_the_lowest_value),
        cmocka_unit_test(values_are_ordered_within_their_type),
        cmocka_unit_test(numeric_text_is_compared_by_its_exact_value),
        cmocka_unit_test(numbers_written_differently_are_equal_and_hash_alike),
        cmocka_unit_test(int8_text_is_read_whole_and_exactly),
        cmocka_unit_test(float8_text_is_decimal_and_finite),
        cmocka_unit_test(float8_text_is_rounded_correctly_at_any_length),
    };
    return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
