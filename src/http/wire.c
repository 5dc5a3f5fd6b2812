#include "http/wire.h"

#include <string.h>

#define SIZE_DIGITS_MAX 16 /* of 64 bits */

static const char CHUNKED_NAME[] = "transfer-encoding:";

void wire_begin(struct wire *wire)
{
    *wire = (struct wire){.place = WIRE_LINE};
}

/* ---- lines ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void end_line(struct wire *wire)
{
    bool is_last = wire->line_bytes == 0;
    wire->is_chunked |= wire->n_matched == sizeof CHUNKED_NAME - 1;
    wire->line_bytes = wire->n_matched = 0;
    if (is_last)
        wire->place = wire->is_chunked && !wire->has_chunks ? WIRE_SIZE : WIRE_DONE;
}

static bool read_line(struct wire *wire, char c)
{
    if (c == '\n') {
        end_line(wire);
    } else if (c != '\r') {
        if (wire->n_matched == wire->line_bytes && CHUNKED_NAME[wire->n_matched] == lower(c))
            wire->n_matched++;
        wire->line_bytes++;
    }
    return c != '\0';
}

/* ---- chunks ---- */

static bool read_size(struct wire *wire, char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit = c ? strchr(digits, lower(c)) : NULL;
    if (c == '\r' && wire->n_digits > 0) {
        wire->place = WIRE_SIZE_END;
        return true;
    }
    if (!digit || wire->n_digits++ == SIZE_DIGITS_MAX)
        return false;
    wire->left = wire->left * 16 + (uint64_t)(digit - digits);
    return true;
}

static bool end_size(struct wire *wire, char c)
{
    wire->has_chunks = wire->left == 0;
    wire->place = wire->has_chunks ? WIRE_LINE : WIRE_CHUNK;
    wire->n_digits = 0;
    return c == '\n';
}

/* Returns how many of the bytes belong to the chunk. */
static size_t skip_chunk(struct wire *wire, size_t size)
{
    size_t skipped = wire->left < size ? (size_t)wire->left : size;
    wire->left -= skipped;
    if (wire->left == 0)
        wire->place = WIRE_CHUNK_CR;
    return skipped;
}

static bool read_byte(struct wire *wire, char c)
{
    switch (wire->place) {
    case WIRE_SIZE:
        return read_size(wire, c);
    case WIRE_SIZE_END:
        return end_size(wire, c);
    case WIRE_CHUNK_CR:
        wire->place = WIRE_CHUNK_LF;
        return c == '\r';
    case WIRE_CHUNK_LF:
        wire->place = WIRE_SIZE;
        return c == '\n';
    default:
        return read_line(wire, c);
    }
}

const char *wire_read(struct wire *wire, const char *bytes, size_t size)
{
    size_t i = 0;
    while (i < size && wire->place != WIRE_DONE) {
        if (wire->place == WIRE_CHUNK) {
            i += skip_chunk(wire, size - i);
            continue;
        }
        bool is_line = wire->place == WIRE_LINE;
        if (!read_byte(wire, bytes[i++]))
            return is_line ? "The request has a NUL byte where text is expected"
                           : "The chunks of the request body are malformed";
    }
    return NULL;
}
