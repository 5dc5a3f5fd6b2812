#include "feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { INTERVAL_MS = 60 * 1000 };

static const char *const symbols[] = {
    "BTCUSDT",  "ETHUSDT",  "BNBUSDT",  "SOLUSDT", "XRPUSDT", "ADAUSDT",  "DOGEUSDT",
    "AVAXUSDT", "DOTUSDT",  "LINKUSDT", "LTCUSDT", "TRXUSDT", "ATOMUSDT", "UNIUSDT",
    "XLMUSDT",  "NEARUSDT", "APTUSDT",  "FILUSDT", "ARBUSDT", "OPUSDT",
};
enum { SYMBOLS = sizeof(symbols) / sizeof(*symbols) };

struct candle {
    double open, high, low, close, volume;
    int64_t open_ms;
    int updates; /* sent so far */
    int64_t seq; /* of the next message */
};

struct feed {
    struct candle candles[SYMBOLS];
    int updates;
    int64_t step; /* from one number of a symbol to its next */
    size_t turn;
    uint64_t random;
};

struct feed *feed_new(int64_t start_ms, int64_t first_seq, int updates)
{
    struct feed *feed = calloc(1, sizeof(*feed));
    if (!feed)
        abort();
    feed->updates = updates;
    feed->step = 1;
    feed->random = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < SYMBOLS; i++) {
        struct candle *candle = &feed->candles[i];
        candle->close = 50000.0 / (double)(1 + i * i);
        candle->open_ms = start_ms - INTERVAL_MS;
        candle->updates = updates;
        candle->seq = first_seq;
    }
    return feed;
}

void feed_free(struct feed *feed)
{
    free(feed);
}

void feed_share_counter(struct feed *feed)
{
    feed->step = SYMBOLS;
    for (size_t i = 0; i < SYMBOLS; i++)
        feed->candles[i].seq += (int64_t)i;
}

/* xorshift64*; uniform in [0, 1). */
static double next_random(struct feed *feed)
{
    feed->random ^= feed->random >> 12;
    feed->random ^= feed->random << 25;
    feed->random ^= feed->random >> 27;
    return (double)((feed->random * 0x2545f4914f6cdd1du) >> 11) / 9007199254740992.0;
}

static void begin_candle(struct candle *candle)
{
    candle->open_ms += INTERVAL_MS;
    candle->open = candle->high = candle->low = candle->close;
    candle->volume = 0;
    candle->updates = 0;
}

static void walk(struct feed *feed, struct candle *candle)
{
    candle->close *= 1 + (next_random(feed) - 0.5) * 0.002;
    candle->volume += next_random(feed) * 10;
    if (candle->close > candle->high)
        candle->high = candle->close;
    if (candle->close < candle->low)
        candle->low = candle->close;
    candle->updates++;
}

void feed_next(struct feed *feed, struct feed_message *message)
{
    const char *symbol = symbols[feed->turn];
    struct candle *candle = &feed->candles[feed->turn];
    feed->turn = (feed->turn + 1) % SYMBOLS;
    if (candle->updates == feed->updates)
        begin_candle(candle);
    walk(feed, candle);

    int64_t now_ms = candle->open_ms + (int64_t)candle->updates * INTERVAL_MS / (feed->updates + 1);
    snprintf(message->key, sizeof(message->key), "%s_1m", symbol);
    int size = snprintf(
        message->value, sizeof(message->value),
        "{\"seq\":%" PRId64 ",\"timestamp\":%" PRId64 ",\"symbol\":\"%s\",\"interval\":\"1m\","
        "\"kline\":{\"openTime\":%" PRId64 ",\"closeTime\":%" PRId64 ","
        "\"open\":\"%.8f\",\"high\":\"%.8f\",\"low\":\"%.8f\",\"close\":\"%.8f\","
        "\"volume\":\"%.8f\",\"isFinal\":%s}}",
        candle->seq, now_ms, symbol, candle->open_ms, candle->open_ms + INTERVAL_MS - 1,
        candle->open, candle->high, candle->low, candle->close, candle->volume,
        candle->updates == feed->updates ? "true" : "false");
    if (size < 0 || (size_t)size >= sizeof(message->value))
        abort();
    message->value_size = (size_t)size;
    candle->seq += feed->step;
}
