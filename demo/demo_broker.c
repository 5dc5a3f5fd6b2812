/* demo-broker: a broker with a live market in it. See usage below. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker.h"
#include "feed.h"

enum {
    TICK_MS = 10,
    WATCH_MS = 200,
    REPORT_MS = 1000,
    CLOSE_TIMEOUT_MS = 5000,
    /* The mock cluster keeps about 5 MB of a partition and then drops the oldest; a message of the
     * feed takes about 330 bytes there. */
    MOCK_MAX_LAG = 8000,
};

static const char usage[] =
    "demo-broker: a Kafka mock cluster and a feed of one-minute candles for it\n\n"
    "  --brokers LIST     send to this cluster instead of a mock\n"
    "  --topic NAME       market_data\n"
    "  --partitions N     4, of the topic in the mock\n"
    "  --rate N           2000 messages a second; 0: as fast as it goes\n"
    "  --count N          0: until stopped\n"
    "  --updates N        6 messages for each candle\n"
    "  --from MS          1704067200000, open time of the first candle\n"
    "  --first-seq N      1, of every symbol\n"
    "  --group NAME       core-service-market-consumer: whose committed offsets are watched\n"
    "  --max-lag N        8000 (mock) or 0, no limit (--brokers): messages that a partition may "
    "be\n"
    "                     ahead of the group; the feed waits rather than lose some\n\n"
    "Prints 'bootstrap HOST:PORT' first, then a line a second: 'sent N lag N'. SIGTERM ends it.\n";

struct options {
    struct broker_options broker;
    int64_t rate, count, updates, from_ms, first_seq, max_lag;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t number_or_exit(const char *name, const char *text, int64_t least, int64_t most)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || number < least || number > most) {
        fprintf(stderr,
                "demo-broker: --%s: '%s' is no number between %" PRId64 " and %" PRId64 "\n", name,
                text, least, most);
        exit(2);
    }
    return number;
}

static void parse_or_exit(struct options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"brokers", required_argument, NULL, 'b'},
        {"topic", required_argument, NULL, 't'},
        {"partitions", required_argument, NULL, 'p'},
        {"rate", required_argument, NULL, 'r'},
        {"count", required_argument, NULL, 'c'},
        {"updates", required_argument, NULL, 'u'},
        {"from", required_argument, NULL, 'f'},
        {"first-seq", required_argument, NULL, 's'},
        {"group", required_argument, NULL, 'g'},
        {"max-lag", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int index = 0;
    for (int c; (c = getopt_long(argc, argv, "", names, &index)) != -1;) {
        const char *name = names[index].name;
        switch (c) {
        case 'b':
            options->broker.brokers = optarg;
            break;
        case 't':
            options->broker.topic = optarg;
            break;
        case 'g':
            options->broker.group = optarg;
            break;
        case 'p':
            options->broker.partitions = (int)number_or_exit(name, optarg, 1, 256);
            break;
        case 'r':
            options->rate = number_or_exit(name, optarg, 0, 10000000);
            break;
        case 'c':
            options->count = number_or_exit(name, optarg, 0, INT64_MAX);
            break;
        case 'u':
            options->updates = number_or_exit(name, optarg, 1, 1000000);
            break;
        case 'f':
            options->from_ms = number_or_exit(name, optarg, 0, 1LL << 50);
            break;
        case 's':
            options->first_seq = number_or_exit(name, optarg, 0, 1LL << 62);
            break;
        case 'l':
            options->max_lag = number_or_exit(name, optarg, 0, INT64_MAX);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "demo-broker: what is '%s'? See --help\n", argv[optind]);
        exit(2);
    }
    if (options->max_lag < 0)
        options->max_lag = options->broker.brokers ? 0 : MOCK_MAX_LAG;
}

/* How many messages may go out in this tick: what the rate owes since `start_ms`, capped so that
 * the time spent waiting for a slow reader is not made up for in one burst. */
static int64_t due(const struct options *options, int64_t sent, int64_t *start_ms, int64_t now_ms)
{
    int64_t burst = options->rate ? options->rate / 10 + 1 : 2000;
    int64_t owed = options->rate ? (now_ms - *start_ms) * options->rate / 1000 - sent : burst;
    if (owed > burst) {
        *start_ms += (owed - burst) * 1000 / options->rate;
        owed = burst;
    }
    if (options->count && owed > options->count - sent)
        owed = options->count - sent;
    return owed;
}

static void send_one(struct broker *broker, struct feed *feed)
{
    struct feed_message message;
    feed_next(feed, &message);
    while (!broker_send(broker, message.key, message.value, message.value_size) && !stopped)
        broker_serve(broker, TICK_MS);
}

static void report(int64_t sent, int64_t lag)
{
    printf("sent %" PRId64 " lag %" PRId64 "\n", sent, lag);
    fflush(stdout);
}

static void run(const struct options *options, struct broker *broker, struct feed *feed)
{
    int64_t start_ms = monotonic_ms(), watch_ms = 0, report_ms = start_ms;
    int64_t sent = 0, lag = 0, sent_at_watch = 0;
    while (!stopped && !(options->count && options->broker.brokers && sent == options->count)) {
        int64_t now_ms = monotonic_ms();
        /* Between two looks at the group, what was sent since counts as lag. */
        bool stale = options->max_lag && lag + sent - sent_at_watch > options->max_lag;
        if (now_ms >= watch_ms || (stale && sent != sent_at_watch)) {
            lag = broker_lag(broker);
            sent_at_watch = sent;
            watch_ms = now_ms + WATCH_MS;
        }
        for (int64_t n = due(options, sent, &start_ms, now_ms); n > 0 && !stopped; n--) {
            if (options->max_lag && lag + sent - sent_at_watch >= options->max_lag)
                break;
            send_one(broker, feed);
            sent++;
        }
        if (now_ms >= report_ms) {
            report(sent, lag);
            report_ms = now_ms + REPORT_MS;
        }
        broker_serve(broker, TICK_MS);
    }
    report(sent, lag);
}

int main(int argc, char **argv)
{
    struct options options = {
        .broker = {.topic = "market_data",
                   .partitions = 4,
                   .group = "core-service-market-consumer"},
        .rate = 2000,
        .updates = 6,
        .from_ms = 1704067200000,
        .first_seq = 1,
        .max_lag = -1,
    };
    parse_or_exit(&options, argc, argv);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    struct broker *broker = broker_open(&options.broker);
    if (!broker)
        return 1;
    printf("bootstrap %s\n", broker_bootstrap(broker));
    fflush(stdout);
    struct feed *feed = feed_new(options.from_ms, options.first_seq, (int)options.updates);
    run(&options, broker, feed);
    uint64_t failures = broker_failures(broker);
    broker_close(broker, CLOSE_TIMEOUT_MS);
    feed_free(feed);
    if (failures)
        fprintf(stderr, "demo-broker: %" PRIu64 " messages were not delivered\n", failures);
    return failures ? 1 : 0;
}
