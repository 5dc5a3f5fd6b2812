#include "store/arrays.h"

#include <endian.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

#define HEADER_BYTES  20
#define ELEMENT_BYTES 12 /* of most; others make it grow */

/* Milliseconds between 1970 and 2000, where PostgreSQL's timestamps begin. */
#define EPOCH_SHIFT_MS   INT64_C(946684800000)
#define EPOCH_SHIFT_DAYS 10957

void array_begin(struct buffer *array, enum pg_type element, size_t n)
{
    buffer_reserve(array, HEADER_BYTES + n * ELEMENT_BYTES);
    buffer_append_be32(array, n ? 1 : 0); /* dimensions */
    buffer_append_be32(array, 0);         /* flags: the reader looks for NULLs itself */
    buffer_append_be32(array, element);
    if (!n)
        return;
    buffer_append_be32(array, (uint32_t)n);
    buffer_append_be32(array, 1); /* the first index */
}

void array_add_null(struct buffer *array)
{
    buffer_append_be32(array, UINT32_MAX);
}

void array_add_int4(struct buffer *array, int32_t number)
{
    buffer_append_be32(array, 4);
    buffer_append_be32(array, (uint32_t)number);
}

/* Nearly all that travels, so in one go. */
void array_add_int8(struct buffer *array, int64_t number)
{
    struct __attribute__((packed)) {
        uint32_t size;
        uint64_t number;
    } element = {htobe32(8), htobe64((uint64_t)number)};
    buffer_append(array, &element, sizeof element);
}

void array_add_day(struct buffer *array, int32_t day)
{
    array_add_int4(array, day - EPOCH_SHIFT_DAYS);
}

void array_add_bytes(struct buffer *array, struct bytes bytes)
{
    if (!bytes.data) {
        array_add_null(array);
        return;
    }
    buffer_append_be32(array, (uint32_t)bytes.size);
    buffer_append(array, bytes.data, bytes.size);
}

void array_add_cleaned(struct buffer *array, struct bytes text)
{
    if (!text.data || (utf8_is_valid(text) && !memchr(text.data, '\0', text.size))) {
        array_add_bytes(array, text);
        return;
    }
    struct buffer clean = {0};
    while (text.size) {
        size_t size = utf8_char_size(text);
        if (size && *text.data)
            buffer_append(&clean, text.data, size);
        else
            buffer_append_string(&clean, "\xef\xbf\xbd");
        text = bytes_of(text.data + (size ? size : 1), text.size - (size ? size : 1));
    }
    array_add_bytes(array, buffer_bytes(&clean));
    buffer_free(&clean);
}

enum pg_type array_element(enum value_type wire)
{
    switch (wire) {
    case VALUE_INT8:
        return PG_INT8;
    case VALUE_FLOAT8:
        return PG_FLOAT8;
    case VALUE_BOOL:
        return PG_BOOL;
    case VALUE_TIME:
        return PG_TIMESTAMPTZ;
    case VALUE_TEXT:
    case VALUE_NUMERIC:
    case VALUE_JSON:
        return PG_TEXT;
    }
    die("value type %d", (int)wire);
}

static void add_float8(struct buffer *array, double number)
{
    int64_t bits;
    memcpy(&bits, &number, sizeof bits);
    array_add_int8(array, bits);
}

/* PostgreSQL refuses what is beyond its calendar; so must we what is beyond 64 bits, and the
 * extremes mean infinity to it. */
static void add_time(struct buffer *array, int64_t ms)
{
    int64_t us;
    if (__builtin_sub_overflow(ms, EPOCH_SHIFT_MS, &us) || __builtin_mul_overflow(us, 1000, &us))
        us = ms < 0 ? INT64_MIN + 1 : INT64_MAX - 1;
    array_add_int8(array, us);
}

/* The decimal text of a number that travels as numeric. */
static void add_decimal(struct buffer *array, const struct value *value)
{
    struct buffer text = {0};
    struct bytes decimal = value->type == VALUE_FLOAT8 ? value->source : value->text;
    if (value->type == VALUE_FLOAT8 && !decimal.data) {
        buffer_append_double(&text, value->float8);
        decimal = buffer_bytes(&text);
    }
    array_add_bytes(array, decimal);
    buffer_free(&text);
}

void array_add_value(struct buffer *array, enum value_type wire, const struct value *value)
{
    if (value->is_null) {
        array_add_null(array);
        return;
    }
    switch (wire) {
    case VALUE_INT8:
        array_add_int8(array, value->int8);
        return;
    case VALUE_FLOAT8:
        add_float8(array, value->float8);
        return;
    case VALUE_BOOL:
        array_add_bytes(array, bytes_of(value->boolean ? "\1" : "\0", 1));
        return;
    case VALUE_TIME:
        add_time(array, value->int8);
        return;
    case VALUE_NUMERIC:
        add_decimal(array, value);
        return;
    case VALUE_TEXT:
    case VALUE_JSON:
        array_add_bytes(array, value->text);
        return;
    }
    die("value type %d", (int)wire);
}
