/* An invented market: symbols whose prices walk at random, one-minute candles that are updated
 * several times each, and one dense sequence per symbol. */
#ifndef DEMO_FEED_H
#define DEMO_FEED_H

#include <stddef.h>
#include <stdint.h>

struct feed;

/* `start_ms` is the open time of the first candle, `first_seq` the first number of each symbol. A
 * candle gets `updates` messages. The same arguments make the same feed. free it with feed_free. */
struct feed *feed_new(int64_t start_ms, int64_t first_seq, int updates);
void feed_free(struct feed *feed);
/* One counter for all symbols instead of one each. Before the first message. */
void feed_share_counter(struct feed *feed);

struct feed_message {
    char key[32];    /* "BTCUSDT_1m" */
    char value[512]; /* as the Stream Ingester sends it, numbered by the Stream Service */
    size_t value_size;
};

/* The next message; the symbols take turns. */
void feed_next(struct feed *feed, struct feed_message *message);

#endif
