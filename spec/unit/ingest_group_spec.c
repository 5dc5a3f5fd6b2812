/* Where partitions begin, and how workers share them, against a mock Kafka and a fake PostgreSQL.
 */
#include "ingest_fakes.h"

static int open_all(void **state)
{
    (void)state;
    kafka_start();
    world_open();
    world.settings.revoke_wait_ms = 300;
    world.settings.shutdown_timeout_ms = 5000;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    world_close();
    kafka_stop();
    return 0;
}

static void send_numbered(const char *topic, int32_t partition, const char *prefix, int n)
{
    char key[64], value[64];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s-%d", prefix, i);
        snprintf(value, sizeof(value), "value-%d", i);
        kafka_send_row(topic, partition, key, 1, value);
    }
    kafka_flush();
}

static size_t count_rows_of(const char *table)
{
    size_t count = 0;
    pthread_mutex_lock(&db.lock);
    for (size_t i = 0; i < db.n_rows; i++)
        count += strcmp(db.rows[i].table, table) == 0;
    pthread_mutex_unlock(&db.lock);
    return count;
}

static uint64_t count_lost(const char *topic)
{
    const struct label labels[] = {{"topic", topic}, {"partition", "0"}};
    return counter_get(metrics_counter(
        world.metrics, "core_service_ingest_lost_messages_total",
        "Messages that Kafka deleted before they were read; 1 for a topic that was made anew, "
        "where their number is not known.",
        labels, 2));
}

static void begins_where_postgresql_then_kafka_then_the_topic_say(void **state)
{
    (void)state;
    static const char *const topics[] = {"known", "taken", "untold", "anew"};
    for (int i = 0; i < 4; i++) {
        kafka_topic(topics[i], 1);
        send_numbered(topics[i], 0, "row", 10);
    }
    db_set_offset("known", 0, 3);
    kafka_commit("known", 0, 8); /* does not count: PostgreSQL knows better */
    kafka_commit("taken", 0, 6);
    db_set_offset("anew", 0, 1000); /* of the topic that had this name before */

    world_publish(topics, 4);
    struct ingest_worker *worker = world_start(0);
    wait_until(db_offset("known", 0) == 10 && db_offset("taken", 0) == 10 &&
               db_offset("untold", 0) == 10 && db_offset("anew", 0) == 10);
    world_stop(worker);

    assert_int_equal(count_rows_of("t_known"), 7);
    assert_int_equal(count_rows_of("t_taken"), 4);
    assert_int_equal(count_rows_of("t_untold"), 10);
    assert_int_equal(count_rows_of("t_anew"), 10);
    assert_int_equal(count_lost("anew"), 1);
    assert_int_equal(count_lost("known"), 0);
}

static size_t n_assigned(const char *topic, int n_partitions)
{
    size_t count = 0;
    for (int i = 0; i < n_partitions; i++)
        count += db_offset(topic, i) >= 0;
    return count;
}

static int64_t sum_of_offsets(const char *topic, int n_partitions)
{
    int64_t sum = 0;
    for (int i = 0; i < n_partitions; i++)
        sum += db_offset(topic, i);
    return sum;
}

static void send_everywhere(const char *topic, int n_partitions, const char *prefix, int n)
{
    char name[64];
    for (int i = 0; i < n_partitions; i++) {
        snprintf(name, sizeof(name), "%s-%d", prefix, i);
        send_numbered(topic, i, name, n);
    }
}

static void two_workers_share_a_topic_and_store_everything_once(void **state)
{
    (void)state;
    static const char *const topics[] = {"shared"};
    db_clear();
    kafka_topic("shared", 4);
    world_publish(topics, 1);
    send_everywhere("shared", 4, "first", 50);
    struct ingest_worker *first = world_start(0);
    wait_until(n_assigned("shared", 4) == 4);

    struct ingest_worker *second = world_start(1);
    for (int round = 0; round < 10; round++) {
        char name[32];
        snprintf(name, sizeof(name), "round%d", round);
        send_everywhere("shared", 4, name, 10);
        usleep(700000);
    }
    wait_until(sum_of_offsets("shared", 4) == 600);
    assert_int_equal(count_rows_of("t_shared"), 600);
    assert_int_equal(db_count(n_written), 600);

    /* A write that hangs when the group takes the partitions is cut off; nothing is lost by it. */
    db_set_fault(FAULT_SLOW, 1);
    send_everywhere("shared", 4, "stuck", 10);
    wait_until(db_count(n_hanging) == 2); /* both have partitions, and write */
    world_stop(second);
    wait_until(db_count(n_resets) > 0);
    db_set_fault(FAULT_NONE, 0);
    wait_until(sum_of_offsets("shared", 4) == 640);
    assert_int_equal(count_rows_of("t_shared"), 640);
    assert_int_equal(db_count(n_written), 640);
    world_stop(first);
}

static void gives_up_in_time_when_it_is_stopped_without_a_database(void **state)
{
    (void)state;
    static const char *const topics[] = {"stranded"};
    db_clear();
    kafka_topic("stranded", 1);
    world_publish(topics, 1);
    send_numbered("stranded", 0, "row", 10);
    struct ingest_worker *worker = world_start(0);
    wait_until(db_offset("stranded", 0) == 10);
    db_set_away(true);
    send_numbered("stranded", 0, "late", 10);
    int64_t began_ms = clock_monotonic_ms();
    world_stop(worker);
    assert_true(clock_monotonic_ms() - began_ms <= 5500);
    assert_int_equal(db_offset("stranded", 0), 10);
    db_set_away(false);

    worker = world_start(0);
    wait_until(db_offset("stranded", 0) == 20);
    world_stop(worker);
    assert_int_equal(count_rows_of("t_stranded"), 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_where_postgresql_then_kafka_then_the_topic_say),
        cmocka_unit_test(two_workers_share_a_topic_and_store_everything_once),
        cmocka_unit_test(gives_up_in_time_when_it_is_stopped_without_a_database),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
