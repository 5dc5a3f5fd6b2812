#include "base/buffer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/double.h"
#include "base/memory.h"
#include "base/utf8.h"

#define CAPACITY_MIN 64

char *buffer_reserve(struct buffer *buf, size_t size)
{
    if (size >= SIZE_MAX / 4 || buf->size >= SIZE_MAX / 4)
        die("a buffer of %zu and %zu bytes", buf->size, size);
    size_t needed = buf->size + size + 1;
    if (needed > buf->capacity) {
        size_t capacity = buf->capacity ? buf->capacity * 2 : CAPACITY_MIN;
        buf->capacity = capacity > needed ? capacity : needed;
        buf->data = memory_resize(buf->data, buf->capacity);
    }
    return buf->data + buf->size;
}

void buffer_append(struct buffer *buf, const void *data, size_t size)
{
    char *end = buffer_reserve(buf, size);
    if (size)
        memcpy(end, data, size);
    buf->size += size;
    buf->data[buf->size] = '\0';
}

void buffer_append_string(struct buffer *buf, const char *text)
{
    buffer_append(buf, text, strlen(text));
}

void buffer_append_byte(struct buffer *buf, char byte)
{
    buffer_append(buf, &byte, 1);
}

void buffer_printf(struct buffer *buf, const char *format, ...)
{
    va_list args;
    buffer_reserve(buf, 0);
    va_start(args, format);
    int size = vsnprintf(buf->data + buf->size, buf->capacity - buf->size, format, args);
    va_end(args);
    if (size < 0)
        die("cannot format \"%s\"", format);
    if ((size_t)size >= buf->capacity - buf->size) {
        buffer_reserve(buf, (size_t)size);
        va_start(args, format);
        vsnprintf(buf->data + buf->size, (size_t)size + 1, format, args);
        va_end(args);
    }
    buf->size += (size_t)size;
}

void buffer_append_be16(struct buffer *buf, uint16_t number)
{
    char bytes[] = {(char)(number >> 8), (char)number};
    buffer_append(buf, bytes, sizeof bytes);
}

void buffer_append_be32(struct buffer *buf, uint32_t number)
{
    char bytes[] = {(char)(number >> 24), (char)(number >> 16), (char)(number >> 8), (char)number};
    buffer_append(buf, bytes, sizeof bytes);
}

void buffer_append_be64(struct buffer *buf, uint64_t number)
{
    buffer_append_be32(buf, (uint32_t)(number >> 32));
    buffer_append_be32(buf, (uint32_t)number);
}

static void append_json_escape(struct buffer *buf, unsigned char byte)
{
    static const char short_form[0x80] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                          ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    if (short_form[byte]) {
        buffer_append_byte(buf, '\\');
        buffer_append_byte(buf, short_form[byte]);
    } else {
        buffer_printf(buf, "\\u%04x", byte);
    }
}

/* The size of the longest beginning of `text` that goes into a JSON string as it is. */
static size_t json_plain_size(struct bytes text)
{
    size_t at = 0;
    while (at < text.size) {
        unsigned char byte = (unsigned char)text.data[at];
        if (byte < 0x20 || byte == '"' || byte == '\\' || byte == 0x7f)
            break;
        size_t size = byte < 0x80 ? 1 : utf8_char_size(bytes_of(text.data + at, text.size - at));
        if (size == 0)
            break;
        at += size;
    }
    return at;
}

void buffer_append_json(struct buffer *buf, struct bytes text)
{
    buffer_append_byte(buf, '"');
    while (text.size > 0) {
        size_t plain = json_plain_size(text);
        buffer_append(buf, text.data, plain);
        text = bytes_of(text.data + plain, text.size - plain);
        if (text.size == 0)
            break;
        if ((unsigned char)text.data[0] < 0x80)
            append_json_escape(buf, (unsigned char)text.data[0]);
        else
            buffer_append_string(buf, "\xef\xbf\xbd");
        text = bytes_of(text.data + 1, text.size - 1);
    }
    buffer_append_byte(buf, '"');
}

/* A finite number above 0 is 0.DIGITS times ten to the power of `point`. */
struct decimal {
    char digits[24];
    int n_digits;
    int point;
};

static void shortest_decimal(double number, struct decimal *decimal)
{
    char text[DOUBLE_TEXT_SIZE];
    double_write(number, text);
    decimal->n_digits = 0;
    const char *c = text;
    for (; *c != 'e'; c++) {
        if (*c != '.')
            decimal->digits[decimal->n_digits++] = *c;
    }
    decimal->point = (int)strtol(c + 1, NULL, 10) + 1;
}

static void append_zeros(struct buffer *buf, int count)
{
    for (int i = 0; i < count; i++)
        buffer_append_byte(buf, '0');
}

static void append_exponent_form(struct buffer *buf, const struct decimal *decimal)
{
    buffer_append_byte(buf, decimal->digits[0]);
    if (decimal->n_digits > 1) {
        buffer_append_byte(buf, '.');
        buffer_append(buf, decimal->digits + 1, (size_t)decimal->n_digits - 1);
    }
    buffer_printf(buf, "e%+d", decimal->point - 1);
}

static void append_plain_form(struct buffer *buf, const struct decimal *decimal)
{
    size_t n_digits = (size_t)decimal->n_digits;
    if (decimal->point <= 0) {
        buffer_append_string(buf, "0.");
        append_zeros(buf, -decimal->point);
        buffer_append(buf, decimal->digits, n_digits);
    } else if (decimal->point >= decimal->n_digits) {
        buffer_append(buf, decimal->digits, n_digits);
        append_zeros(buf, decimal->point - decimal->n_digits);
    } else {
        size_t whole = (size_t)decimal->point;
        buffer_append(buf, decimal->digits, whole);
        buffer_append_byte(buf, '.');
        buffer_append(buf, decimal->digits + whole, n_digits - whole);
    }
}

static void append_whole(struct buffer *buf, uint64_t number)
{
    char digits[20];
    char *first = digits + sizeof digits;
    do {
        *--first = (char)('0' + number % 10);
    } while ((number /= 10) > 0);
    buffer_append(buf, first, (size_t)(digits + sizeof digits - first));
}

void buffer_append_double(struct buffer *buf, double number)
{
    if (!isfinite(number)) {
        buffer_append_string(buf, "null");
        return;
    }
    double magnitude = fabs(number);
    if (signbit(number))
        buffer_append_byte(buf, '-');
    if (magnitude < 1e15 && magnitude == floor(magnitude)) { /* the short way for whole numbers */
        append_whole(buf, (uint64_t)magnitude);
        return;
    }
    struct decimal decimal;
    shortest_decimal(magnitude, &decimal);
    if (decimal.point > 21 || decimal.point < -5)
        append_exponent_form(buf, &decimal);
    else
        append_plain_form(buf, &decimal);
}

struct bytes buffer_bytes(const struct buffer *buf)
{
    return bytes_of(buf->data ? buf->data : "", buf->size);
}

void buffer_clear(struct buffer *buf)
{
    buf->size = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

void buffer_free(struct buffer *buf)
{
    if (!buf)
        return;
    free(buf->data);
    *buf = (struct buffer){0};
}
