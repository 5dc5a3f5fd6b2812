/* What the measuring programs share: the messages that are measured with, and the rules that read
 * them. Any trouble ends the program with a message. */
#ifndef BENCH_MARKET_H
#define BENCH_MARKET_H

#include <stddef.h>
#include <stdint.h>

#include <librdkafka/rdkafka.h>

#include "base/arena.h"
#include "demo/feed.h"
#include "model/table.h"
#include "rules/generation.h"

#define MARKET_SYMBOLS  20
#define MARKET_START_MS INT64_C(1704067200000)

/* The feed of the demo, from its first candle on; `updates` messages a candle; the n-th message has
 * number n. */
struct feed *market_feed(int updates);
/* The partition of message number `number`: all of a symbol are in one. */
int32_t market_partition(int64_t number, int n_partitions);

/* The rules of `lua_dir` with one state; *stream gets the number of the stream named so. */
struct rules_generation *market_rules(const char *lua_dir, const char *stream_name, size_t *stream);

/* The rows that the rules make of the next `n` messages, one each, sorted by key. */
const struct row *market_rows(struct rules_generation *generation, size_t stream, struct feed *feed,
                              size_t n, struct arena *arena);

/* A whole positive number from the command line. */
long market_number(const char *text);
rd_kafka_conf_t *market_kafka(const char *brokers);
void market_set(rd_kafka_conf_t *conf, const char *name, const char *value);

#endif
