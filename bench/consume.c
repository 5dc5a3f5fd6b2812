/* The limits of reading, one thread beside librdkafka's own:
 *
 *   bench_consume BROKERS TOPIC PARTITIONS COUNT                    consume and count
 *   bench_consume BROKERS TOPIC PARTITIONS COUNT LUA_DIR STREAM     and read the fields and map
 *
 * Prints messages a second, from the first message on. */
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/market.h"

#define READ_MAX    1000
#define ARENA_RESET 10000 /* messages: as many as the service has in a batch */

struct mapper {
    struct rules_state *state; /* NULL: count only */
    size_t stream;
    struct arena arena;
    int64_t n_mapped;
};

static void map(struct mapper *mapper, const rd_kafka_message_t *kafka_message)
{
    struct map_result result;
    const struct message message = {
        .topic = rd_kafka_topic_name(kafka_message->rkt),
        .partition = kafka_message->partition,
        .offset = kafka_message->offset,
        .timestamp_ms = -1,
        .key = bytes_of(kafka_message->key, kafka_message->key_len),
        .payload = bytes_of(kafka_message->payload, kafka_message->len),
    };
    rules_map(mapper->state, mapper->stream, &message, &mapper->arena, &result);
    if (result.verdict != MAP_ROWS)
        die("a message was refused: %.*s", (int)result.reason.size, result.reason.data);
    if (++mapper->n_mapped % ARENA_RESET == 0)
        arena_reset(&mapper->arena);
}

static rd_kafka_t *open_consumer(const char *brokers)
{
    char why[256];
    rd_kafka_conf_t *conf = market_kafka(brokers);
    market_set(conf, "group.id", "bench-consume");
    market_set(conf, "enable.auto.commit", "false");
    market_set(conf, "auto.offset.reset", "error");
    /* Never full: librdkafka 2.0 would wait for a second then. */
    market_set(conf, "queued.min.messages", "10000000");
    market_set(conf, "queued.max.messages.kbytes", "2000000");
    rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    if (!kafka)
        die("%s", why);
    rd_kafka_poll_set_consumer(kafka);
    return kafka;
}

static void assign(rd_kafka_t *kafka, const char *topic, int n_partitions)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n_partitions);
    for (int i = 0; i < n_partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = 0;
    rd_kafka_resp_err_t code = rd_kafka_assign(kafka, list);
    if (code)
        die("assign: %s", rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(list);
}

static double consume(rd_kafka_t *kafka, int64_t count, struct mapper *mapper)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(kafka);
    rd_kafka_message_t *messages[READ_MAX];
    int64_t done = 0, began_us = 0;
    while (done < count) {
        ssize_t n = rd_kafka_consume_batch_queue(queue, 1000, messages, READ_MAX);
        if (began_us == 0 && n > 0)
            began_us = clock_monotonic_us();
        for (ssize_t i = 0; i < n; i++) {
            if (messages[i]->err)
                die("consume: %s", rd_kafka_message_errstr(messages[i]));
            if (mapper->state)
                map(mapper, messages[i]);
            rd_kafka_message_destroy(messages[i]);
        }
        done += n > 0 ? n : 0;
    }
    rd_kafka_queue_destroy(queue);
    return (double)count * 1e6 / (double)(clock_monotonic_us() - began_us);
}

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 7)
        die("usage: bench_consume BROKERS TOPIC PARTITIONS COUNT [LUA_DIR STREAM]");
    struct mapper mapper = {0};
    struct rules_generation *generation = NULL;
    if (argc == 7) {
        generation = market_rules(argv[5], argv[6], &mapper.stream);
        mapper.state = generation->states[0];
    }
    rd_kafka_t *kafka = open_consumer(argv[1]);
    assign(kafka, argv[2], (int)market_number(argv[3]));
    printf("%.0f\n", consume(kafka, market_number(argv[4]), &mapper));

    rd_kafka_consumer_close(kafka);
    rd_kafka_destroy(kafka);
    arena_free(&mapper.arena);
    rules_generation_free(generation);
    return 0;
}
