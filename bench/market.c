#include "bench/market.h"

#include <stdlib.h>
#include <string.h>

#include "app/commands.h"
#include "base/memory.h"

struct feed *market_feed(int updates)
{
    struct feed *feed = feed_new(MARKET_START_MS, 1, updates);
    feed_share_counter(feed); /* as the shipped rules expect it */
    return feed;
}

int32_t market_partition(int64_t number, int n_partitions)
{
    return (int32_t)(number % MARKET_SYMBOLS % n_partitions);
}

struct rules_generation *market_rules(const char *lua_dir, const char *stream_name, size_t *stream)
{
    struct error err;
    struct settings settings;
    setenv("LUA_DIR", lua_dir, 1);
    struct rules_generation *generation =
        settings_load(&settings, &err) ? command_load(&settings, &err) : NULL;
    if (!generation)
        die("%s", err.text);
    const struct rules_def *def = rules_generation_def(generation);
    for (*stream = 0; *stream < def->n_streams; ++*stream)
        if (strcmp(def->streams[*stream].name, stream_name) == 0)
            return generation;
    die("no stream %s in %s", stream_name, lua_dir);
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    for (size_t i = 0; i < a->table->n_key; i++) {
        size_t column = a->table->key[i];
        int order = value_compare(&a->values[column], &b->values[column]);
        if (order != 0)
            return order;
    }
    return 0;
}

static struct row make_row(struct rules_state *state, size_t stream, struct feed *feed,
                           struct arena *arena)
{
    struct feed_message made;
    struct map_result result;
    feed_next(feed, &made);
    struct message message = {.topic = "feed",
                              .timestamp_ms = -1,
                              .payload = arena_copy(arena, bytes_of(made.value, made.value_size))};
    rules_map(state, stream, &message, arena, &result);
    if (result.verdict != MAP_ROWS || result.n_rows != 1)
        die("the rules make no row of a message");
    return result.rows[0];
}

const struct row *market_rows(struct rules_generation *generation, size_t stream, struct feed *feed,
                              size_t n, struct arena *arena)
{
    struct row *rows = arena_alloc(arena, n * sizeof(*rows));
    for (size_t i = 0; i < n; i++)
        rows[i] = make_row(generation->states[0], stream, feed, arena);
    qsort(rows, n, sizeof(*rows), compare_rows);
    return rows;
}

long market_number(const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || number < 1)
        die("not a positive number: %s", text);
    return number;
}

void market_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof(why)) != RD_KAFKA_CONF_OK)
        die("%s", why);
}

rd_kafka_conf_t *market_kafka(const char *brokers)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    market_set(conf, "bootstrap.servers", brokers);
    return conf;
}
