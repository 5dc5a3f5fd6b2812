/* A growable run of bytes that its holder owns. Zero-initialised is empty. Not shared between
 * threads. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct buffer {
    char *data; /* NUL-terminated after every call below, so that it can be printed; NULL while
                   nothing was added */
    size_t size;
    size_t capacity;
};

void buffer_append(struct buffer *buf, const void *data, size_t size);
void buffer_append_string(struct buffer *buf, const char *text);
void buffer_append_byte(struct buffer *buf, char byte);
void buffer_printf(struct buffer *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Big-endian, as PostgreSQL's binary formats want them. */
void buffer_append_be16(struct buffer *buf, uint16_t number);
void buffer_append_be32(struct buffer *buf, uint32_t number);
void buffer_append_be64(struct buffer *buf, uint64_t number);
/* Makes room for `size` more bytes and returns where they go; the caller then adds to buf->size. */
char *buffer_reserve(struct buffer *buf, size_t size);
/* Appends text as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void buffer_append_json(struct buffer *buf, struct bytes text);
/* Appends the shortest decimal text that reads back as the same double, laid out as JavaScript
 * does: plain from 1e-6 up to below 1e21 ("0.1", "50000"), else with an exponent ("1e+300",
 * "1e-7"). NaN and the infinities become `null`. */
void buffer_append_double(struct buffer *buf, double number);
struct bytes buffer_bytes(const struct buffer *buf);
/* Empties it and keeps the memory. */
void buffer_clear(struct buffer *buf);
/* Gives the memory back; the buffer is empty and usable afterwards. NULL is accepted. */
void buffer_free(struct buffer *buf);

#endif
