#include "model/value.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/double.h"
#include "base/hash.h"
#include "base/memory.h"

struct type_name {
    enum value_type type;
    const char *column;
    const char *field;
};

static const struct type_name type_names[] = {
    {VALUE_TEXT, "text", "text"},       {VALUE_INT8, "int8", "int8"},
    {VALUE_FLOAT8, "float8", "float8"}, {VALUE_NUMERIC, "numeric", "numeric"},
    {VALUE_BOOL, "bool", "bool"},       {VALUE_TIME, "timestamptz", "ms"},
    {VALUE_JSON, "json", "json"},
};

#define N_TYPES (sizeof type_names / sizeof type_names[0])

static const struct type_name *name_of(enum value_type type)
{
    if ((size_t)type >= N_TYPES)
        die("value type %d", (int)type);
    return &type_names[type];
}

const char *value_type_column_name(enum value_type type)
{
    return name_of(type)->column;
}

const char *value_type_field_name(enum value_type type)
{
    return name_of(type)->field;
}

bool value_type_from_column_name(struct bytes name, enum value_type *type)
{
    for (size_t i = 0; i < N_TYPES; i++) {
        if (bytes_equal(name, bytes_of_string(type_names[i].column))) {
            *type = type_names[i].type;
            return true;
        }
    }
    if (!bytes_equal(name, bytes_of_string("jsonb")))
        return false;
    *type = VALUE_JSON;
    return true;
}

bool value_type_from_field_name(struct bytes name, enum value_type *type)
{
    for (size_t i = 0; i < N_TYPES; i++) {
        if (bytes_equal(name, bytes_of_string(type_names[i].field))) {
            *type = type_names[i].type;
            return true;
        }
    }
    return false;
}

/* ---- numbers as text ---- */

/* The parts of a number in JSON's grammar, as they stand in its text. */
struct number_parts {
    bool negative;
    struct bytes whole;    /* at least one digit */
    struct bytes fraction; /* digits behind the point; size 0: none */
    struct bytes exponent; /* sign and digits; size 0: none */
};

static struct bytes take_digits(struct bytes *rest)
{
    size_t size = 0;
    while (size < rest->size && rest->data[size] >= '0' && rest->data[size] <= '9')
        size++;
    struct bytes digits = bytes_of(rest->data, size);
    *rest = bytes_of(rest->data + size, rest->size - size);
    return digits;
}

static bool take_either(struct bytes *rest, char one, char other)
{
    if (rest->size == 0 || (rest->data[0] != one && rest->data[0] != other))
        return false;
    *rest = bytes_of(rest->data + 1, rest->size - 1);
    return true;
}

static bool take_byte(struct bytes *rest, char byte)
{
    return take_either(rest, byte, byte);
}

/* False when `text` is not a number in JSON's grammar. */
static bool split_number(struct bytes text, struct number_parts *parts)
{
    *parts = (struct number_parts){0};
    if (!text.data)
        return false;
    parts->negative = take_byte(&text, '-');
    parts->whole = take_digits(&text);
    if (parts->whole.size == 0 || (parts->whole.size > 1 && parts->whole.data[0] == '0'))
        return false;
    if (take_byte(&text, '.')) {
        parts->fraction = take_digits(&text);
        if (parts->fraction.size == 0)
            return false;
    }
    if (take_either(&text, 'e', 'E')) {
        const char *start = text.data;
        take_either(&text, '+', '-');
        if (take_digits(&text).size == 0)
            return false;
        parts->exponent = bytes_of(start, (size_t)(text.data - start));
    }
    return text.size == 0;
}

bool value_is_numeric(struct bytes text)
{
    struct number_parts parts;
    return split_number(text, &parts);
}

bool value_parse_int8(struct bytes text, int64_t *number)
{
    struct number_parts parts;
    if (!split_number(text, &parts) || parts.fraction.size || parts.exponent.size)
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < parts.whole.size; i++) {
        int digit = parts.whole.data[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, parts.negative ? -digit : digit, &value))
            return false;
    }
    *number = value;
    return true;
}

/* Prices and volumes are short: 15 digits are a whole number that a double holds exactly, and so is
 * the power of ten to divide it by, so that the one division is the one rounding. Five such fields
 * cost 0.25 us less than with strtod() (bench/reader.c). False when the number is not so short. */
static bool read_short_float8(const struct number_parts *parts, double *number)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    _Static_assert(FLT_EVAL_METHOD == 0, "a double is computed as a double");
    if (parts->exponent.size || parts->whole.size + parts->fraction.size > 15)
        return false;
    int64_t digits = 0;
    for (size_t i = 0; i < parts->whole.size; i++)
        digits = digits * 10 + (parts->whole.data[i] - '0');
    for (size_t i = 0; i < parts->fraction.size; i++)
        digits = digits * 10 + (parts->fraction.data[i] - '0');
    double value = (double)digits / powers[parts->fraction.size];
    *number = parts->negative ? -value : value;
    return true;
}

bool value_parse_float8(struct bytes text, double *number)
{
    struct number_parts parts;
    if (!split_number(text, &parts))
        return false;
    if (read_short_float8(&parts, number) || double_read(text, number))
        return true;
    char *terminated = memory_string_n(text.data, text.size);
    double value = strtod(terminated, NULL); /* 0 where it is as good as that */
    free(terminated);
    if (!isfinite(value))
        return false;
    *number = value;
    return true;
}

/* ---- exact decimals ---- */

/* Beyond this an exponent is as good as infinite; no database takes such a number. */
#define EXPONENT_MAX INT64_C(1000000000000000)

/* The number 0.D1 D2 D3... times ten to the power of `magnitude`, with D1 not zero. The digits stay
 * where they are: the whole part's and the fraction's, seen as one run. */
struct decimal {
    int sign; /* -1, 0, 1 */
    int64_t magnitude;
    struct bytes whole;
    struct bytes fraction;
    size_t first; /* index of D1 in the run */
    size_t end;   /* index behind the last digit that is not zero */
};

static char digit_at(const struct decimal *decimal, size_t index)
{
    if (index >= decimal->end)
        return '0';
    return index < decimal->whole.size ? decimal->whole.data[index]
                                       : decimal->fraction.data[index - decimal->whole.size];
}

static int64_t exponent_of(struct bytes text)
{
    bool negative = take_byte(&text, '-');
    if (!negative)
        take_byte(&text, '+');
    int64_t exponent = 0;
    for (size_t i = 0; i < text.size && exponent < EXPONENT_MAX; i++)
        exponent = exponent * 10 + (text.data[i] - '0');
    exponent = exponent < EXPONENT_MAX ? exponent : EXPONENT_MAX;
    return negative ? -exponent : exponent;
}

static void read_decimal(struct bytes text, struct decimal *decimal)
{
    struct number_parts parts;
    if (!split_number(text, &parts))
        die("\"%.*s\" is not a number", (int)(text.size < 64 ? text.size : 64), text.data);
    *decimal = (struct decimal){.whole = parts.whole, .fraction = parts.fraction};
    decimal->end = parts.whole.size + parts.fraction.size;
    while (decimal->first < decimal->end && digit_at(decimal, decimal->first) == '0')
        decimal->first++;
    if (decimal->first == decimal->end)
        return;
    while (digit_at(decimal, decimal->end - 1) == '0')
        decimal->end--;
    decimal->sign = parts.negative ? -1 : 1;
    decimal->magnitude = (int64_t)parts.whole.size - (int64_t)decimal->first;
    decimal->magnitude += exponent_of(parts.exponent);
}

static int compare_magnitudes(const struct decimal *a, const struct decimal *b)
{
    if (a->magnitude != b->magnitude)
        return a->magnitude < b->magnitude ? -1 : 1;
    size_t a_size = a->end - a->first;
    size_t b_size = b->end - b->first;
    for (size_t i = 0; i < a_size || i < b_size; i++) {
        int difference = digit_at(a, a->first + i) - digit_at(b, b->first + i);
        if (difference != 0)
            return difference < 0 ? -1 : 1;
    }
    return 0;
}

static int compare_numeric(struct bytes a, struct bytes b)
{
    struct decimal left, right;
    read_decimal(a, &left);
    read_decimal(b, &right);
    if (left.sign != right.sign)
        return left.sign < right.sign ? -1 : 1;
    return left.sign * compare_magnitudes(&left, &right);
}

/* Equal numbers hash alike however they are written: "1.50", "15e-1". */
static uint64_t hash_numeric(uint64_t seed, struct bytes text)
{
    struct decimal decimal;
    read_decimal(text, &decimal);
    int64_t head[] = {decimal.sign, decimal.magnitude};
    uint64_t hash = hash_bytes(seed, bytes_of((const char *)head, sizeof head));
    if (decimal.sign == 0)
        return hash;
    char chunk[32];
    for (size_t at = decimal.first; at < decimal.end;) {
        size_t size = 0;
        while (size < sizeof chunk && at < decimal.end)
            chunk[size++] = digit_at(&decimal, at++);
        hash = hash_bytes(hash, bytes_of(chunk, size));
    }
    return hash;
}

/* ---- values ---- */

static int compare_bytes(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order == 0)
        return (a.size > b.size) - (a.size < b.size);
    return order < 0 ? -1 : 1;
}

int value_compare(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        die("%s compared with %s", name_of(a->type)->column, name_of(b->type)->column);
    if (a->is_null || b->is_null)
        return (int)b->is_null - (int)a->is_null;
    switch (a->type) {
    case VALUE_INT8:
    case VALUE_TIME:
        return (a->int8 > b->int8) - (a->int8 < b->int8);
    case VALUE_FLOAT8:
        return (a->float8 > b->float8) - (a->float8 < b->float8);
    case VALUE_BOOL:
        return (int)a->boolean - (int)b->boolean;
    case VALUE_NUMERIC:
        return compare_numeric(a->text, b->text);
    case VALUE_TEXT:
    case VALUE_JSON:
        return compare_bytes(a->text, b->text);
    }
    die("value type %d", (int)a->type);
}

uint64_t value_hash(uint64_t seed, const struct value *value)
{
    if (value->is_null)
        return hash_bytes(seed, bytes_of(NULL, 0));
    switch (value->type) {
    case VALUE_INT8:
    case VALUE_TIME:
        return hash_bytes(seed, bytes_of((const char *)&value->int8, sizeof value->int8));
    case VALUE_FLOAT8: {
        double number = value->float8 == 0 ? 0 : value->float8; /* -0 equals 0 */
        return hash_bytes(seed, bytes_of((const char *)&number, sizeof number));
    }
    case VALUE_BOOL:
        return hash_bytes(seed, bytes_of(value->boolean ? "t" : "f", 1));
    case VALUE_NUMERIC:
        return hash_numeric(seed, value->text);
    case VALUE_TEXT:
    case VALUE_JSON:
        return hash_bytes(seed, value->text);
    }
    die("value type %d", (int)value->type);
}
