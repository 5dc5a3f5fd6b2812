#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define ALIGNMENT _Alignof(max_align_t)
/* The smallest is, with its head, of a size that malloc keeps at hand: enough for most requests.
 * Larger ones than the largest hold one allocation and are not kept. */
#define BLOCK_BYTES_MIN ((size_t)960)
#define BLOCK_BYTES_MAX ((size_t)1024 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    size_t used;
    _Alignas(max_align_t) char data[];
};

static struct arena_block *new_block(size_t capacity)
{
    struct arena_block *block = memory_alloc(sizeof *block + capacity);
    *block = (struct arena_block){.capacity = capacity};
    return block;
}

/* Blocks double from the smallest to the largest size, so that a request costs little and a batch
 * few calls. */
static struct arena_block *add_block(struct arena *arena, size_t size)
{
    struct arena_block *head = arena->head;
    if (head && size > BLOCK_BYTES_MAX / 4) { /* its own block, so that the head is filled on */
        struct arena_block *block = new_block(size);
        block->next = head->next;
        head->next = block;
        return block;
    }
    size_t capacity = head ? head->capacity * 2 : BLOCK_BYTES_MIN;
    if (capacity > BLOCK_BYTES_MAX)
        capacity = BLOCK_BYTES_MAX;
    struct arena_block *block = new_block(capacity > size ? capacity : size);
    block->next = head;
    arena->head = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        die("an arena allocation of %zu bytes", size);
    size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded == 0)
        rounded = ALIGNMENT;
    struct arena_block *block = arena->head;
    if (!block || block->capacity - block->used < rounded)
        block = add_block(arena, rounded);
    void *memory = block->data + block->used;
    block->used += rounded;
    arena->size_bytes += rounded;
    return memory;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    if (!bytes.data)
        return bytes;
    char *copy = arena_alloc(arena, bytes.size + 1);
    memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = '\0';
    return bytes_of(copy, bytes.size);
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0)
        die("cannot format \"%s\"", format);
    char *text = arena_alloc(arena, (size_t)size + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)size + 1, format, args);
    va_end(args);
    return text;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = NULL;
    struct arena_block *block = arena->head;
    while (block) {
        struct arena_block *next = block->next;
        bool keep =
            block->capacity <= BLOCK_BYTES_MAX && (!kept || block->capacity > kept->capacity);
        if (keep) {
            free(kept);
            kept = block;
        } else {
            free(block);
        }
        block = next;
    }
    if (kept) {
        kept->next = NULL;
        kept->used = 0;
    }
    *arena = (struct arena){.head = kept};
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    struct arena_block *block = arena->head;
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (struct arena){0};
}
