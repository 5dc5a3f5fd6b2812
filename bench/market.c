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
