/* Fills a topic:   bench_produce BROKERS TOPIC PARTITIONS COUNT UPDATES [AFTER]
 *
 * AFTER: begins as many minutes later, so that the candles are others, with numbers above a
 * million.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "bench/market.h"

static void send_message(rd_kafka_topic_t *topic, rd_kafka_t *kafka, int32_t partition,
                         struct feed_message *message)
{
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, message->value,
                            message->value_size, message->key, strlen(message->key), NULL)) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(kafka, 10);
    }
}

static void on_delivery(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *arg)
{
    (void)kafka;
    (void)arg;
    if (message->err)
        die("a message was not delivered: %s", rd_kafka_err2str(message->err));
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 7)
        die("usage: bench_produce BROKERS TOPIC PARTITIONS COUNT UPDATES [AFTER]");
    int n_partitions = (int)market_number(argv[3]);
    int64_t count = market_number(argv[4]);
    char why[256];
    rd_kafka_conf_t *conf = market_kafka(argv[1]);
    market_set(conf, "linger.ms", "20");
    market_set(conf, "batch.size", "262144");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (!kafka)
        die("%s", why);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka, argv[2], NULL);

    int64_t after = argc == 7 ? market_number(argv[6]) : 0;
    struct feed *feed = feed_new(MARKET_START_MS + after * 60000, after ? 1000000 + after : 1,
                                 (int)market_number(argv[5]));
    for (int64_t number = 0; number < count; number++) {
        struct feed_message message;
        feed_next(feed, &message);
        send_message(topic, kafka, market_partition(number, n_partitions), &message);
        if (number % 1000 == 0)
            rd_kafka_poll(kafka, 0);
    }
    if (rd_kafka_flush(kafka, 120000))
        die("the broker does not take the messages");
    feed_free(feed);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(kafka);
    return 0;
}
