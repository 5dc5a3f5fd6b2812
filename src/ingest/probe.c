#include "ingest/probe.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/kafka_conf.h"

#define COMPONENT "ingest"
#define POLL_MS   20

struct probe {
    const struct settings *settings;
    int number;
    pthread_mutex_t lock; /* of a question */
    rd_kafka_t *kafka;    /* NULL: not opened yet */
};

/* As few bytes as Kafka gives: of each partition the batch with the message. */
static const struct {
    const char *name;
    const char *value;
} SMALL[] = {
    {"queued.min.messages", "1"},     {"fetch.message.max.bytes", "16384"},
    {"fetch.wait.max.ms", "10"},      {"statistics.interval.ms", "0"},
    {"fetch.error.backoff.ms", "50"},
};

struct probe *probe_new(const struct settings *settings, int number)
{
    struct probe *probe = memory_zero(1, sizeof(*probe));
    probe->settings = settings;
    probe->number = number;
    pthread_mutex_init(&probe->lock, NULL);
    return probe;
}

void probe_free(struct probe *probe)
{
    if (!probe)
        return;
    if (probe->kafka)
        rd_kafka_destroy_flags(probe->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_destroy(&probe->lock);
    free(probe);
}

/* The consumer has the same brokers and says what is wrong with them. */
static void on_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text)
{
    (void)kafka;
    (void)level;
    log_debug(COMPONENT, "librdkafka, reading back: %s: %s", facility, text);
}

static bool open_client(struct probe *probe, struct error *err)
{
    char why[512];
    rd_kafka_conf_t *conf = kafka_conf_new(probe->settings, probe->number, err);
    if (!conf)
        return false;
    rd_kafka_conf_set_log_cb(conf, on_log);
    for (size_t i = 0; i < sizeof(SMALL) / sizeof(SMALL[0]); i++)
        if (rd_kafka_conf_set(conf, SMALL[i].name, SMALL[i].value, why, sizeof(why)))
            die("librdkafka does not take %s: %s", SMALL[i].name, why);
    probe->kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!probe->kafka) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, "Kafka: %s", why);
    }
    rd_kafka_poll_set_consumer(probe->kafka);
    return true;
}

static struct probe_item *find_item(struct probe_item *items, size_t n_items,
                                    const rd_kafka_message_t *message)
{
    const char *topic = message->rkt ? rd_kafka_topic_name(message->rkt) : "";
    for (size_t i = 0; i < n_items; i++)
        if (items[i].partition == message->partition && strcmp(items[i].topic, topic) == 0)
            return &items[i];
    return NULL;
}

static struct mark mark_of(const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    int64_t time_ms = rd_kafka_message_timestamp(message, &type);
    const struct message seen = {
        .offset = message->offset,
        .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : time_ms,
        .key = bytes_of(message->key, message->key ? message->key_len : 0),
        .payload = bytes_of(message->payload, message->payload ? message->len : 0),
    };
    return mark_of_message(&seen);
}

/* What the first message at or behind the place says of it. Other errors tell nothing: the
 * partition stays silent. */
static bool take_answer(struct probe_item *item, const rd_kafka_message_t *message)
{
    if (item->found.what != FOUND_SILENT)
        return false;
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        if (message->offset < item->offset)
            return false;
        item->found.what = message->offset == item->offset ? FOUND_MESSAGE : FOUND_GONE;
        if (item->found.what == FOUND_MESSAGE)
            item->found.mark = mark_of(message);
        return true;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        item->found.what = FOUND_GONE;
        return true;
    default:
        return false;
    }
}

static void assign(struct probe *probe, const struct probe_item *items, size_t n_items)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n_items);
    for (size_t i = 0; i < n_items; i++)
        rd_kafka_topic_partition_list_add(list, items[i].topic, items[i].partition)->offset =
            items[i].offset;
    rd_kafka_resp_err_t code = rd_kafka_assign(probe->kafka, list);
    if (code)
        log_debug(COMPONENT, "Kafka: reading back: %s", rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(list);
}

static void read_back(struct probe *probe, struct probe_item *items, size_t n_items, int timeout_ms,
                      const atomic_bool *cancelled)
{
    int64_t until_ms = clock_monotonic_ms() + timeout_ms;
    size_t n_open = n_items;
    assign(probe, items, n_items);
    while (n_open > 0 && !atomic_load(cancelled) && clock_monotonic_ms() < until_ms) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(probe->kafka, POLL_MS);
        if (!message)
            continue;
        struct probe_item *item = find_item(items, n_items, message);
        n_open -= item && take_answer(item, message);
        rd_kafka_message_destroy(message);
    }
    assign(probe, NULL, 0);
}

bool probe_ask(struct probe *probe, struct probe_item *items, size_t n_items, int timeout_ms,
               const atomic_bool *cancelled, struct error *err)
{
    for (size_t i = 0; i < n_items; i++)
        items[i].found = (struct trail_found){.what = FOUND_SILENT};
    pthread_mutex_lock(&probe->lock);
    bool ok = probe->kafka || open_client(probe, err);
    if (ok)
        read_back(probe, items, n_items, timeout_ms, cancelled);
    pthread_mutex_unlock(&probe->lock);
    return ok;
}
