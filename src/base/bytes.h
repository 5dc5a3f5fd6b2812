/* A borrowed run of bytes: pointer and size, never NUL-terminated by promise, never owned. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct bytes {
    const char *data; /* NULL: absent (as opposed to empty) */
    size_t size;
};

static inline struct bytes bytes_of(const char *data, size_t size)
{
    return (struct bytes){data, size};
}

static inline struct bytes bytes_of_string(const char *text)
{
    return (struct bytes){text, text ? strlen(text) : 0};
}

/* Two absent runs are equal; an absent one and an empty one are not. */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    if (!a.data || !b.data)
        return a.data == b.data;
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

#endif
