/* Memory that is given back all at once: what belongs to one batch or one request lives in its
 * arena. Zero-initialised is empty. Not shared between threads. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

#include "base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *head; /* the block being filled, then the full ones */
    size_t size_bytes;        /* handed out since the last reset */
};

/* Aligned for any type, not cleared. Never NULL. Valid until reset or free. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));
/* A copy of `bytes`, with a NUL behind it that does not count. An absent run stays absent. */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((returns_nonnull, format(printf, 2, 3)));
/* Forgets everything and keeps a block or two for the next use. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

#endif
