#include "rules/pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define IS_USED false /* AddressSanitizer is to see each block */
#else
#define IS_USED true
#endif

void pool_open(struct pool *pool)
{
    *pool = (struct pool){0};
    void *region = MAP_FAILED;
    if (IS_USED)
        region = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region != MAP_FAILED)
        pool->region = region;
}

void pool_close(struct pool *pool)
{
    if (pool->region)
        munmap(pool->region, POOL_BYTES);
    *pool = (struct pool){0};
}

static size_t class_of(size_t size)
{
    return (size - 1) / POOL_STEP;
}

static bool is_ours(const struct pool *pool, const void *block)
{
    return pool->region && (const char *)block >= pool->region &&
           (const char *)block < pool->region + POOL_BYTES;
}

static void *take(struct pool *pool, size_t size)
{
    if (size > POOL_BLOCK_MAX || !pool->region)
        return malloc(size);
    size_t class = class_of(size);
    struct pool_block *block = pool->unused[class];
    if (block) {
        pool->unused[class] = block->next;
        return block;
    }
    size_t rounded = (class + 1) * POOL_STEP;
    if (POOL_BYTES - pool->used < rounded)
        return malloc(size);
    void *fresh = pool->region + pool->used;
    pool->used += rounded;
    return fresh;
}

void pool_release(struct pool *pool, void *block, size_t size)
{
    if (!is_ours(pool, block)) {
        free(block);
        return;
    }
    struct pool_block *unused = block;
    unused->next = pool->unused[class_of(size)];
    pool->unused[class_of(size)] = unused;
}

void *pool_resize(struct pool *pool, void *block, size_t old_size, size_t new_size)
{
    if (!block)
        return take(pool, new_size);
    if (!is_ours(pool, block))
        return realloc(block, new_size);
    if (new_size <= POOL_BLOCK_MAX && class_of(new_size) == class_of(old_size))
        return block;
    void *moved = take(pool, new_size);
    if (!moved)
        return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    pool_release(pool, block, old_size);
    return moved;
}
