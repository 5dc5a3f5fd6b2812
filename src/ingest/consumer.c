#include "ingest/consumer.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/kafka_conf.h"
#include "ingest/refill.h"

#define COMPONENT         "ingest"
#define READ_MAX          256
#define ERROR_INTERVAL_MS 10000
#define TROUBLE_MS        15000   /* a complaint that is not repeated for so long is over */
#define SILENT_US         5000000 /* fetches and heartbeats are answered more often than that */

struct consumer {
    rd_kafka_t *kafka;
    rd_kafka_queue_t *group_queue; /* what consumer_poll serves */
    rd_kafka_queue_t *data_queue;  /* where the partitions are forwarded to */
    int fd;                        /* an eventfd; librdkafka adds to it */
    struct refill *refill;
    struct consumer_events events;
    void *arg;
    bool connected;
    bool silent;
    bool closing;
    int commits_in_flight;
    struct log_limit error_limit;
    struct log_limit unknown_limit;
    struct error trouble;
    int64_t trouble_until_ms;
};

static void on_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text)
{
    (void)kafka;
    enum log_level ours = level <= 4 ? LOG_WARN : level <= 6 ? LOG_INFO : LOG_DEBUG;
    log_write(ours, COMPONENT, "librdkafka: %s: %s", facility, text);
}

/* Says what Kafka complains about, at intervals; the last complaint stays for /readyz. */
static void complain(struct consumer *consumer, rd_kafka_resp_err_t code, const char *text)
{
    if (code == RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL)
        error_set(&consumer->trouble,
                  "Kafka: the group has members of another protocol (%s): the original service "
                  "must be stopped first",
                  rd_kafka_err2name(code));
    else
        error_set(&consumer->trouble, "Kafka: %s: %s", rd_kafka_err2name(code), text);
    consumer->trouble_until_ms = clock_monotonic_ms() + TROUBLE_MS;

    log_limited(&consumer->error_limit, ERROR_INTERVAL_MS, LOG_ERROR, COMPONENT, "%s",
                consumer->trouble.text);
}

static void on_error(rd_kafka_t *kafka, int code, const char *text, void *arg)
{
    struct consumer *consumer = arg;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        consumer->connected = false;
        consumer->silent = true;
    }
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        char why[512];
        rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(kafka, why, sizeof(why));
        complain(consumer, fatal, why);
        return;
    }
    complain(consumer, code, text);
}

/* A machine that is gone closes no connection. */
static void look_at_brokers(struct consumer *consumer, json_t *stats)
{
    const char *name;
    json_t *broker;
    consumer->connected = false;
    consumer->silent = true;
    json_object_foreach (json_object_get(stats, "brokers"), name, broker) {
        const char *state = json_string_value(json_object_get(broker, "state"));
        if (!state || strcmp(state, "UP") != 0)
            continue;
        consumer->connected = true;
        if (json_integer_value(json_object_get(broker, "rxidle")) < SILENT_US)
            consumer->silent = false;
    }
}

static int on_stats(rd_kafka_t *kafka, char *text, size_t size, void *arg)
{
    (void)kafka;
    struct consumer *consumer = arg;
    json_t *stats = json_loadb(text, size, 0, NULL);
    look_at_brokers(consumer, stats);
    json_decref(stats);
    return 0;
}

static void forward_partition(struct consumer *consumer, const char *topic, int32_t partition)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(consumer->kafka, topic, partition);
    if (!queue)
        die("librdkafka has no queue for %s/%" PRId32, topic, partition);
    rd_kafka_queue_forward(queue, consumer->data_queue);
    rd_kafka_queue_destroy(queue);
}

static void forward_list(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++)
        forward_partition(consumer, list->elems[i].topic, list->elems[i].partition);
}

/* librdkafka cuts a partition's forwarding when it stops fetching it, which assign() does in a
 * later turn of its own thread. A question that the same thread answers in order tells that this
 * has happened; what was fetched in between follows when the partition is forwarded again. */
static void wait_for_turn(struct consumer *consumer)
{
    rd_kafka_topic_partition_list_t *assigned;
    if (!rd_kafka_assignment(consumer->kafka, &assigned))
        rd_kafka_topic_partition_list_destroy(assigned);
}

static void assign(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    forward_list(consumer, list);
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->kafka, list);
    if (code)
        complain(consumer, code, rd_kafka_err2str(code));
    wait_for_turn(consumer);
    forward_list(consumer, list);
}

/* The answer to what the group gives: nothing is consumed before its place is known, and the group
 * need not wait for that. */
static void assign_nothing(struct consumer *consumer)
{
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
    assign(consumer, none);
    rd_kafka_topic_partition_list_destroy(none);
}

static void on_rebalance(rd_kafka_t *kafka, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct consumer *consumer = arg;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        assign_nothing(consumer);
        consumer->trouble_until_ms = 0;
        consumer->events.on_given(list, consumer->arg);
    } else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        consumer->events.on_taken(rd_kafka_assignment_lost(kafka), consumer->arg);
    } else {
        complain(consumer, code, rd_kafka_err2str(code));
        consumer->events.on_taken(true, consumer->arg);
    }
}

static void on_committed(rd_kafka_t *kafka, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *arg)
{
    (void)kafka;
    (void)list;
    struct consumer *consumer = arg;
    consumer->commits_in_flight--;
    /* Kafka's offsets are for tools: the next commit says it again. */
    if (code && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
        log_debug(COMPONENT, "Kafka did not take the committed offsets: %s",
                  rd_kafka_err2str(code));
}

static void add_callbacks(rd_kafka_conf_t *conf, struct consumer *consumer)
{
    rd_kafka_conf_set_opaque(conf, consumer);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_committed);
}

static bool open_queues(struct consumer *consumer, struct error *err)
{
    static const uint64_t ONE = 1; /* what an eventfd wants to be given */
    consumer->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (consumer->fd < 0)
        return error_set(err, "eventfd: %s", strerror(errno));

    rd_kafka_poll_set_consumer(consumer->kafka);
    consumer->group_queue = rd_kafka_queue_get_consumer(consumer->kafka);
    consumer->data_queue = rd_kafka_queue_new(consumer->kafka);
    rd_kafka_queue_io_event_enable(consumer->group_queue, consumer->fd, &ONE, sizeof(ONE));
    rd_kafka_queue_io_event_enable(consumer->data_queue, consumer->fd, &ONE, sizeof(ONE));
    return true;
}

struct consumer *consumer_new(const struct settings *settings, int number,
                              const struct consumer_events *events, void *arg, struct error *err)
{
    rd_kafka_conf_t *conf = kafka_conf_new(settings, number, err);
    if (!conf)
        return NULL;

    struct consumer *consumer = memory_zero(1, sizeof(*consumer));
    consumer->fd = -1;
    consumer->events = *events;
    consumer->arg = arg;
    add_callbacks(conf, consumer);

    char why[512];
    consumer->kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!consumer->kafka) {
        rd_kafka_conf_destroy(conf);
        error_set(err, "Kafka: %s", why);
        goto failed;
    }
    if (!open_queues(consumer, err))
        goto failed;
    consumer->refill = refill_new(consumer->kafka, (size_t)settings->prefetch_bytes);
    return consumer;

failed:
    consumer_free(consumer);
    return NULL;
}

static void free_queue(rd_kafka_queue_t *queue)
{
    if (!queue)
        return;
    rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
    rd_kafka_queue_destroy(queue);
}

void consumer_free(struct consumer *consumer)
{
    if (!consumer)
        return;
    refill_free(consumer->refill);
    free_queue(consumer->data_queue);
    free_queue(consumer->group_queue);
    if (consumer->kafka)
        rd_kafka_destroy_flags(consumer->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (consumer->fd >= 0)
        close(consumer->fd);
    free(consumer);
}

int consumer_fd(const struct consumer *consumer)
{
    return consumer->fd;
}

rd_kafka_t *consumer_handle(struct consumer *consumer)
{
    return consumer->kafka;
}

/* It may be made later; the other topics go on. */
static void say_unknown(struct consumer *consumer, const char *text)
{
    log_limited(&consumer->unknown_limit, ERROR_INTERVAL_MS, LOG_WARN, COMPONENT, "Kafka: %s",
                text);
}

/* A message here is an error: those of partitions come by the other queue. */
static void on_group_message(struct consumer *consumer, const rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
        log_warn(COMPONENT, "Kafka: the event loop was held up for longer than "
                            "max.poll.interval.ms");
    else if (message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        say_unknown(consumer, rd_kafka_message_errstr(message));
    else if (message->err)
        complain(consumer, message->err, rd_kafka_message_errstr(message));
}

void consumer_poll(struct consumer *consumer)
{
    uint64_t count;
    while (read(consumer->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;

    rd_kafka_message_t *message;
    while ((message = rd_kafka_consumer_poll(consumer->kafka, 0))) {
        on_group_message(consumer, message);
        rd_kafka_message_destroy(message);
    }
}

static struct message describe(const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);
    return (struct message){
        .topic = rd_kafka_topic_name(message->rkt),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : timestamp_ms,
        .key = bytes_of(message->key, message->key ? message->key_len : 0),
        .payload = bytes_of(message->payload, message->payload ? message->len : 0),
    };
}

/* False when it is none and has been dealt with. */
static bool make_item(struct consumer *consumer, rd_kafka_message_t *message, struct item *item)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        *item = (struct item){ITEM_MESSAGE, describe(message), message};
        return true;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        *item = (struct item){ITEM_END, describe(message), message};
        return true;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        *item = (struct item){ITEM_LOST, describe(message), message};
        return true;
    default:
        complain(consumer, message->err, rd_kafka_message_errstr(message));
        rd_kafka_message_destroy(message);
        return false;
    }
}

size_t consumer_read(struct consumer *consumer, struct item *items, size_t max)
{
    rd_kafka_message_t *messages[READ_MAX];
    ssize_t n = rd_kafka_consume_batch_queue(consumer->data_queue, 0, messages,
                                             max < READ_MAX ? max : READ_MAX);
    size_t n_items = 0, bytes = 0;
    for (ssize_t i = 0; i < n; i++) {
        bytes += messages[i]->len + messages[i]->key_len;
        n_items += make_item(consumer, messages[i], &items[n_items]);
    }
    if (n > 0)
        refill_took(consumer->refill, (size_t)n, bytes);
    return n_items;
}

void consumer_release(void *kept)
{
    rd_kafka_message_destroy(kept);
}

bool consumer_subscribe(struct consumer *consumer, const char *const *topics, size_t n_topics,
                        struct error *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n_topics);
    for (size_t i = 0; i < n_topics; i++)
        rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = n_topics > 0 ? rd_kafka_subscribe(consumer->kafka, list)
                                            : rd_kafka_unsubscribe(consumer->kafka);
    rd_kafka_topic_partition_list_destroy(list);
    return code ? error_set(err, "Kafka: subscribe: %s", rd_kafka_err2str(code)) : true;
}

void consumer_place(struct consumer *consumer, const struct partitions *partitions)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)partitions->count);
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if (partition->state == PARTITION_READING)
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->number)->offset =
                partition->next;
    }
    refill_set_partitions(consumer->refill, list);
    assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
}

void consumer_let_go(struct consumer *consumer)
{
    rd_kafka_resp_err_t code = rd_kafka_assign(consumer->kafka, NULL);
    if (code)
        complain(consumer, code, rd_kafka_err2str(code));
}

void consumer_commit(struct consumer *consumer, const struct partitions *partitions)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)partitions->count);
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if (partition->announced >= 0)
            rd_kafka_topic_partition_list_add(list, partition->topic, partition->number)->offset =
                partition->announced;
    }
    if (list->cnt > 0) {
        rd_kafka_resp_err_t code = rd_kafka_commit(consumer->kafka, list, 1);
        if (code)
            log_debug(COMPONENT, "Kafka: commit: %s", rd_kafka_err2str(code));
        else
            consumer->commits_in_flight++;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

int consumer_commits_in_flight(const struct consumer *consumer)
{
    return consumer->commits_in_flight;
}

int64_t consumer_end_offset(struct consumer *consumer, const char *topic, int32_t partition)
{
    int64_t low, high;
    rd_kafka_resp_err_t code =
        rd_kafka_get_watermark_offsets(consumer->kafka, topic, partition, &low, &high);
    return code || high < 0 ? -1 : high;
}

int64_t consumer_first_offset(struct consumer *consumer, const char *topic, int32_t partition)
{
    int64_t low, high;
    rd_kafka_resp_err_t code =
        rd_kafka_get_watermark_offsets(consumer->kafka, topic, partition, &low, &high);
    return code || low < 0 ? -1 : low;
}

bool consumer_is_connected(const struct consumer *consumer)
{
    return consumer->connected;
}

bool consumer_is_silent(const struct consumer *consumer)
{
    return consumer->silent;
}

const char *consumer_trouble(const struct consumer *consumer)
{
    return clock_monotonic_ms() < consumer->trouble_until_ms ? consumer->trouble.text : "";
}

void consumer_close(struct consumer *consumer)
{
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(consumer->kafka, consumer->group_queue);
    if (error) {
        log_warn(COMPONENT, "Kafka: leaving the group: %s", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        return;
    }
    consumer->closing = true;
}

bool consumer_is_closed(const struct consumer *consumer)
{
    return !consumer->closing || rd_kafka_consumer_closed(consumer->kafka);
}
