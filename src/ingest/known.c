#include "ingest/known.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"

#define uthash_fatal(message) die("uthash: %s", message)
#include <uthash.h>

struct known_item {
    UT_hash_handle hh;
    char key[];
};

/* All of a place as one run of bytes. */
static void write_key(const struct series_place *place, struct buffer *key)
{
    buffer_append_be32(key, (uint32_t)place->partition);
    buffer_append(key, place->topic, strlen(place->topic) + 1);
    buffer_append(key, place->name.table, strlen(place->name.table) + 1);
    buffer_append(key, place->name.series.data, place->name.series.size);
}

bool known_has(const struct known *known, const struct series_place *place)
{
    struct known_item *found;
    struct buffer key = {0};
    write_key(place, &key);
    HASH_FIND(hh, known->items, key.data, key.size, found);
    buffer_free(&key);
    return found != NULL;
}

void known_add(struct known *known, const struct series_place *place)
{
    if (known_has(known, place))
        return;
    if (HASH_COUNT(known->items) >= KNOWN_MAX)
        known_clear(known);
    struct buffer key = {0};
    write_key(place, &key);
    struct known_item *item = memory_alloc(sizeof(*item) + key.size);
    memcpy(item->key, key.data, key.size);
    HASH_ADD_KEYPTR(hh, known->items, item->key, key.size, item);
    buffer_free(&key);
}

void known_clear(struct known *known)
{
    struct known_item *item, *next;
    HASH_ITER (hh, known->items, item, next) {
        HASH_DEL(known->items, item);
        free(item);
    }
}

size_t known_count(const struct known *known)
{
    return HASH_COUNT(known->items);
}
