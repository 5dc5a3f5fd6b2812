#include "store/prepared.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define uthash_fatal(message) die("uthash: %s", message)
#include <uthash.h>

struct item {
    struct prepared_statement statement;
    UT_hash_handle by_sql;
    UT_hash_handle by_number;
};

struct prepared_cache {
    struct item *by_sql;
    struct item *by_number;
    unsigned last_number;
};

struct prepared_cache *prepared_new(void)
{
    return memory_zero(1, sizeof(struct prepared_cache));
}

static void drop(struct prepared_cache *cache, struct item *item)
{
    HASH_DELETE(by_sql, cache->by_sql, item);
    HASH_DELETE(by_number, cache->by_number, item);
    free(item->statement.sql);
    free(item);
}

void prepared_clear(struct prepared_cache *cache)
{
    struct item *item, *next;
    HASH_ITER (by_sql, cache->by_sql, item, next) {
        drop(cache, item);
    }
}

void prepared_free(struct prepared_cache *cache)
{
    if (!cache)
        return;
    prepared_clear(cache);
    free(cache);
}

struct prepared_statement *prepared_find(struct prepared_cache *cache, const char *sql)
{
    struct item *item = NULL;
    HASH_FIND(by_sql, cache->by_sql, sql, strlen(sql), item);
    return item ? &item->statement : NULL;
}

struct prepared_statement *prepared_add(struct prepared_cache *cache, const char *sql,
                                        uint64_t segment)
{
    struct item *item = memory_zero(1, sizeof *item);
    item->statement.sql = memory_string(sql);
    item->statement.number = ++cache->last_number;
    item->statement.state = PREPARED_SENT;
    item->statement.segment = segment;
    snprintf(item->statement.name, sizeof item->statement.name, "cs_%u", item->statement.number);
    HASH_ADD_KEYPTR(by_sql, cache->by_sql, item->statement.sql, strlen(sql), item);
    HASH_ADD(by_number, cache->by_number, statement.number, sizeof(unsigned), item);
    return &item->statement;
}

void prepared_settle(struct prepared_cache *cache, unsigned number, bool ok)
{
    struct item *item = NULL;
    HASH_FIND(by_number, cache->by_number, &number, sizeof number, item);
    if (!item)
        return;
    if (ok)
        item->statement.state = PREPARED_KNOWN;
    else
        drop(cache, item);
}

size_t prepared_count(const struct prepared_cache *cache)
{
    return HASH_CNT(by_sql, cache->by_sql);
}
