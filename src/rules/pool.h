/* Small blocks of one Lua state: freed ones wait in a list for the next of their size, which takes
 * a tenth of malloc's time. They come from one region of fixed size, so that what a script has
 * once used of one size is held for good up to POOL_BYTES and no further; the rest is malloc's.
 * Private to rules/. */
#ifndef RULES_POOL_H
#define RULES_POOL_H

#include <stddef.h>

#define POOL_BYTES     ((size_t)2 * 1024 * 1024) /* pages that were never used cost nothing */
#define POOL_BLOCK_MAX 256                       /* bytes of a small block */
#define POOL_STEP      16
#define POOL_CLASSES   (POOL_BLOCK_MAX / POOL_STEP)

struct pool_block {
    struct pool_block *next;
};

struct pool {
    char *region; /* NULL: everything is malloc's */
    size_t used;
    struct pool_block *unused[POOL_CLASSES];
};

void pool_open(struct pool *pool);
/* All blocks must have been given back. */
void pool_close(struct pool *pool);

/* As realloc; `old_size` is what the block was asked for with. NULL: no memory, `block` stays. */
void *pool_resize(struct pool *pool, void *block, size_t old_size, size_t new_size);
void pool_release(struct pool *pool, void *block, size_t size);

#endif
