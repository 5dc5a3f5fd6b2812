/* From produce to visible by SQL, at a steady rate:
 *
 *   bench_latency BROKERS TOPIC PARTITIONS RATE SECONDS DATABASE_URL UPDATES
 *
 * Prints p50, p99 and p99.9 in milliseconds. Another connection asks without a pause of more than
 * half a millisecond which sequence each symbol has in the table; a message is visible when an
 * answer that came after it was sent holds its number or a higher one. */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/market.h"

#define LINGER_MS  "5" /* a request a message would measure the broker */
#define POLL_US    500
#define GIVE_UP_US 30000000
#define WARM_UP_S  2 /* at the beginning, not counted */

struct run {
    const char *url;
    int64_t count;
    int64_t *sent_us; /* by message number */
    int64_t *seen_us;
};

static const char visible_sql[] =
    "SELECT (SELECT max(sequence) FROM market_klines WHERE symbol = s.symbol)"
    " FROM unnest($1::text[]) WITH ORDINALITY AS s (symbol, place) ORDER BY place";

/* "{BTCUSDT,...}" in the order in which the symbols take turns. */
static char *list_symbols(void)
{
    struct buffer list = {0};
    struct feed *feed = market_feed(1);
    for (int i = 0; i < MARKET_SYMBOLS; i++) {
        struct feed_message message;
        feed_next(feed, &message);
        message.key[strcspn(message.key, "_")] = '\0';
        buffer_printf(&list, "%c%s", i ? ',' : '{', message.key);
    }
    buffer_append_byte(&list, '}');
    feed_free(feed);
    return list.data;
}

static PGconn *connect_to(const char *url)
{
    PGconn *connection = PQconnectdb(url);
    if (PQstatus(connection) != CONNECTION_OK)
        die("%s", PQerrorMessage(connection));
    PGresult *result = PQprepare(connection, "visible", visible_sql, 0, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        die("%s", PQerrorMessage(connection));
    PQclear(result);
    return connection;
}

/* How many messages of a symbol there are up to the one with this number. */
static int64_t count_up_to(int64_t sequence, int symbol)
{
    return sequence > 0 ? (sequence - 1 - symbol) / MARKET_SYMBOLS + 1 : 0;
}

/* Messages number `from` to `to` of the symbol. */
static int64_t mark_seen(struct run *run, int symbol, int64_t from, int64_t to, int64_t now_us)
{
    for (int64_t n = from; n < to; n++) {
        int64_t number = n * MARKET_SYMBOLS + symbol;
        if (number < run->count)
            run->seen_us[number] = now_us;
    }
    return to - from;
}

static void *watch(void *arg)
{
    struct run *run = arg;
    PGconn *connection = connect_to(run->url);
    char *symbols = list_symbols();
    const char *const values[] = {symbols};
    int64_t known[MARKET_SYMBOLS] = {0}, n_seen = 0;
    int64_t last_us = clock_monotonic_us();
    while (n_seen < run->count) {
        PGresult *result = PQexecPrepared(connection, "visible", 1, values, NULL, NULL, 0);
        if (PQresultStatus(result) != PGRES_TUPLES_OK)
            die("%s", PQerrorMessage(connection));
        int64_t now_us = clock_monotonic_us();
        for (int i = 0; i < MARKET_SYMBOLS; i++) {
            int64_t newest = count_up_to(strtoll(PQgetvalue(result, i, 0), NULL, 10), i);
            if (newest > known[i])
                last_us = now_us;
            n_seen += mark_seen(run, i, known[i], newest, now_us);
            known[i] = newest;
        }
        PQclear(result);
        if (now_us - last_us > GIVE_UP_US)
            die("%lld messages never became visible", (long long)(run->count - n_seen));
        usleep(POLL_US);
    }
    free(symbols);
    PQfinish(connection);
    return NULL;
}

static void produce(struct run *run, rd_kafka_t *kafka, rd_kafka_topic_t *topic, int n_partitions,
                    long rate, int updates)
{
    struct feed *feed = market_feed(updates);
    int64_t began_us = clock_monotonic_us();
    for (int64_t number = 0; number < run->count; number++) {
        int64_t due_us = began_us + number * 1000000 / rate;
        int64_t early_us = due_us - clock_monotonic_us();
        if (early_us > 200)
            usleep((useconds_t)early_us);
        struct feed_message message;
        feed_next(feed, &message);
        run->sent_us[number] = clock_monotonic_us();
        if (rd_kafka_produce(topic, market_partition(number, n_partitions), RD_KAFKA_MSG_F_COPY,
                             message.value, message.value_size, message.key, strlen(message.key),
                             NULL))
            die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(kafka, 0);
    }
    rd_kafka_flush(kafka, 30000);
    feed_free(feed);
}

static int compare_numbers(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void report(struct run *run, long rate)
{
    int64_t first = WARM_UP_S * rate < run->count ? WARM_UP_S * rate : 0;
    int64_t n = run->count - first;
    int64_t *taken_us = memory_alloc((size_t)n * sizeof(*taken_us));
    for (int64_t i = 0; i < n; i++)
        taken_us[i] = run->seen_us[first + i] - run->sent_us[first + i];
    qsort(taken_us, (size_t)n, sizeof(*taken_us), compare_numbers);
    printf("%.2f %.2f %.2f\n", (double)taken_us[n / 2] / 1000,
           (double)taken_us[n * 99 / 100] / 1000, (double)taken_us[n * 999 / 1000] / 1000);
    free(taken_us);
}

int main(int argc, char **argv)
{
    if (argc != 8)
        die("usage: bench_latency BROKERS TOPIC PARTITIONS RATE SECONDS DATABASE_URL UPDATES");
    long rate = market_number(argv[4]);
    struct run run = {.url = argv[6], .count = rate * market_number(argv[5])};
    run.sent_us = memory_zero((size_t)run.count, sizeof(*run.sent_us));
    run.seen_us = memory_zero((size_t)run.count, sizeof(*run.seen_us));

    char why[256];
    rd_kafka_conf_t *conf = market_kafka(argv[1]);
    market_set(conf, "linger.ms", LINGER_MS);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (!kafka)
        die("%s", why);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, argv[2], NULL);
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch, &run))
        die("no thread");
    produce(&run, kafka, topic, (int)market_number(argv[3]), rate, (int)market_number(argv[7]));
    pthread_join(watcher, NULL);
    report(&run, rate);

    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
    free(run.sent_us);
    free(run.seen_us);
    return 0;
}
