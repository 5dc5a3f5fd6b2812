#include "broker.h"

#include <stdio.h>
#include <stdlib.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { MAX_PARTITIONS = 256, COMMITTED_TIMEOUT_MS = 2000 };

struct broker {
    struct broker_options options;
    rd_kafka_t *host; /* the mock cluster lives in it; NULL with a real cluster */
    rd_kafka_mock_cluster_t *mock;
    const char *bootstrap;
    rd_kafka_t *producer;
    rd_kafka_t *watcher;                /* knows the group's committed offsets; never a member */
    int64_t end_offset[MAX_PARTITIONS]; /* after the last delivered message */
    uint64_t failures;
};

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *arg)
{
    struct broker *broker = arg;
    (void)producer;
    if (message->err) {
        if (broker->failures++ == 0)
            fprintf(stderr, "demo-broker: a message was not delivered: %s\n",
                    rd_kafka_err2str(message->err));
    } else if (message->partition < MAX_PARTITIONS) {
        broker->end_offset[message->partition] = message->offset + 1;
    }
}

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return true;
    fprintf(stderr, "demo-broker: %s\n", text);
    return false;
}

/* Takes `conf` in every case. */
static rd_kafka_t *open_handle(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[256];
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof(text));
    if (!handle) {
        fprintf(stderr, "demo-broker: %s\n", text);
        rd_kafka_conf_destroy(conf);
    }
    return handle;
}

static bool start_mock(struct broker *broker)
{
    /* It never connects, and would say so in a notice. */
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (!set(conf, "log_level", "4")) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    broker->host = open_handle(RD_KAFKA_PRODUCER, conf);
    if (!broker->host)
        return false;
    broker->mock = rd_kafka_mock_cluster_new(broker->host, 1);
    if (!broker->mock) {
        fprintf(stderr, "demo-broker: no mock cluster\n");
        return false;
    }
    rd_kafka_resp_err_t error = rd_kafka_mock_topic_create(broker->mock, broker->options.topic,
                                                           broker->options.partitions, 1);
    if (error) {
        fprintf(stderr, "demo-broker: topic %s: %s\n", broker->options.topic,
                rd_kafka_err2str(error));
        return false;
    }
    broker->bootstrap = rd_kafka_mock_cluster_bootstraps(broker->mock);
    return true;
}

static bool open_producer(struct broker *broker)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    rd_kafka_conf_set_opaque(conf, broker);
    /* The order within a partition is what the feed is about. */
    if (!set(conf, "bootstrap.servers", broker->bootstrap) || !set(conf, "linger.ms", "5") ||
        !set(conf, "max.in.flight", "1") || !set(conf, "partitioner", "murmur2_random") ||
        !set(conf, "client.id", "demo-feed")) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    broker->producer = open_handle(RD_KAFKA_PRODUCER, conf);
    return broker->producer != NULL;
}

static bool open_watcher(struct broker *broker)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (!set(conf, "bootstrap.servers", broker->bootstrap) ||
        !set(conf, "group.id", broker->options.group)) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    broker->watcher = open_handle(RD_KAFKA_CONSUMER, conf);
    return broker->watcher != NULL;
}

struct broker *broker_open(const struct broker_options *options)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    if (!broker)
        abort();
    broker->options = *options;
    broker->bootstrap = options->brokers;
    if ((options->brokers || start_mock(broker)) && open_producer(broker) && open_watcher(broker))
        return broker;
    broker_close(broker, 0);
    return NULL;
}

const char *broker_bootstrap(const struct broker *broker)
{
    return broker->bootstrap;
}

bool broker_send(struct broker *broker, const char *key, const void *value, size_t size)
{
    rd_kafka_resp_err_t error = rd_kafka_producev(
        broker->producer, RD_KAFKA_V_TOPIC(broker->options.topic), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return false;
    if (error && broker->failures++ == 0)
        fprintf(stderr, "demo-broker: cannot send: %s\n", rd_kafka_err2str(error));
    return true;
}

void broker_serve(struct broker *broker, int timeout_ms)
{
    rd_kafka_poll(broker->producer, timeout_ms);
}

int64_t broker_lag(struct broker *broker)
{
    int64_t most = 0;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(broker->options.partitions);
    for (int i = 0; i < MAX_PARTITIONS; i++)
        if (broker->end_offset[i] > 0)
            rd_kafka_topic_partition_list_add(list, broker->options.topic, i);
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        error = rd_kafka_committed(broker->watcher, list, COMMITTED_TIMEOUT_MS);
    /* The offsets are then unset: nothing counts as read, and the feed waits. */
    if (error)
        fprintf(stderr, "demo-broker: offsets of %s: %s\n", broker->options.group,
                rd_kafka_err2str(error));
    for (int i = 0; i < list->cnt; i++) {
        int64_t read = list->elems[i].offset > 0 ? list->elems[i].offset : 0;
        int64_t lag = broker->end_offset[list->elems[i].partition] - read;
        if (lag > most)
            most = lag;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return most + rd_kafka_outq_len(broker->producer);
}

uint64_t broker_failures(const struct broker *broker)
{
    return broker->failures;
}

void broker_close(struct broker *broker, int timeout_ms)
{
    if (broker->producer) {
        rd_kafka_flush(broker->producer, timeout_ms);
        rd_kafka_purge(broker->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(broker->producer);
    }
    if (broker->watcher)
        rd_kafka_destroy(broker->watcher);
    if (broker->mock)
        rd_kafka_mock_cluster_destroy(broker->mock);
    if (broker->host)
        rd_kafka_destroy(broker->host);
    free(broker);
}
