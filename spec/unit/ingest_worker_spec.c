/* One worker against a mock Kafka and a fake PostgreSQL, which fails in every way it knows. The
 * worker lives through all of it: each spec goes on where the one before left it. */
#include "ingest_fakes.h"

static struct ingest_worker *worker;

static const char *const TOPICS[] = {"things", "others"};

static void check_value(const char *table, const char *key, const char *expected)
{
    char value[64];
    db_value(table, key, value);
    assert_string_equal(value, expected);
}

static int64_t stored(const char *topic, int n_partitions)
{
    int64_t sum = 0;
    for (int i = 0; i < n_partitions; i++) {
        int64_t offset = db_offset(topic, i);
        sum += offset > 0 ? offset : 0;
    }
    return sum;
}

/* Messages sent to each topic so far: what the offsets must come to. */
static int64_t n_things, n_others;

static void send_thing(const char *key, int64_t sequence, const char *value)
{
    kafka_send_row("things", (int32_t)(n_things % 3), key, sequence, value);
    n_things++;
}

/* All into one partition, so that their order counts. */
static void send_other(const char *key, int64_t sequence, const char *value)
{
    kafka_send_row("others", 0, key, sequence, value);
    n_others++;
}

static void wait_for_all(void)
{
    kafka_flush();
    wait_until(stored("things", 3) == n_things && stored("others", 1) == n_others);
}

static int open_all(void **state)
{
    (void)state;
    setenv("MARKET_CONSUMER_BATCH_SIZE", "25", 1); /* so that batches follow on each other */
    kafka_start();
    kafka_topic("things", 3);
    kafka_topic("others", 1);
    world_open();
    world_publish(TOPICS, 2);
    worker = world_start(0);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    world_close();
    kafka_stop();
    return 0;
}

static void stores_every_message_and_moves_the_offsets(void **state)
{
    (void)state;
    char key[64], value[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        snprintf(value, sizeof(value), "value-%d", i);
        send_thing(key, i, value);
    }
    wait_for_all();
    assert_int_equal(db_count(n_rows), 1000);
    assert_int_equal(db_count(n_written), 1000);
    check_value("t_things", "key-0", "value-0");
    check_value("t_things", "key-999", "value-999");
}

static void makes_a_full_batch_ready_while_the_one_before_it_is_written(void **state)
{
    (void)state;
    assert_true(db_count(n_prepared) > 0);
}

static void becomes_ready(void **state)
{
    (void)state;
    struct buffer reasons = {0};
    wait_until((buffer_clear(&reasons), ingest_worker_is_ready(worker, &reasons)));
    assert_int_equal(reasons.size, 0);
    buffer_free(&reasons);
}

static void keeps_the_newer_row_of_a_key(void **state)
{
    (void)state;
    send_other("one", 5, "first");
    send_other("one", 9, "newest");
    send_other("one", 7, "late");
    send_other("one", -1, "unnumbered");
    send_other("two", -1, "first");
    send_other("two", -1, "second");
    wait_for_all();
    check_value("t_others", "one", "newest");
    check_value("t_others", "two", "second");
}

static void counts_what_a_rule_skips(void **state)
{
    (void)state;
    size_t n_rows = db_count(n_rows);
    send_other("skipped", 1, "skip");
    wait_for_all();
    assert_int_equal(db_count(n_rows), n_rows);
    const struct label labels[] = {{"stream", "S_others"}, {"reason", "asked for"}};
    assert_int_equal(counter_get(metrics_counter(world.metrics, "core_service_ingest_skipped_total",
                                                 "Messages that a rule skipped.", labels, 2)),
                     1);
}

static void puts_what_cannot_be_read_into_rejected_messages(void **state)
{
    (void)state;
    kafka_send("others", 0, "no JSON \xff at all");
    n_others++;
    send_other("after", 1, "fine");
    wait_for_all();
    check_value("t_others", "after", "fine");
    assert_int_equal(db_count(n_rejected), 1);
    assert_string_equal(db.rejected[0].stage, "decode");
    assert_string_equal(db.rejected[0].stream, "S_others");
}

static void waits_and_tries_again_when_postgresql_is_full(void **state)
{
    (void)state;
    size_t n_rejected = db_count(n_rejected);
    db_set_fault(FAULT_RETRY, 2);
    send_thing("patient", 1, "there");
    wait_for_all();
    check_value("t_things", "patient", "there");
    assert_int_equal(db_count(n_rejected), n_rejected);
}

static void stores_once_when_the_connection_goes_before_the_commit(void **state)
{
    (void)state;
    size_t n_written = db_count(n_written);
    db_set_fault(FAULT_LOST_BEFORE, 1);
    send_thing("before", 1, "there");
    wait_for_all();
    check_value("t_things", "before", "there");
    assert_int_equal(db_count(n_written), n_written + 1);
}

static void stores_once_when_the_connection_goes_after_the_commit(void **state)
{
    (void)state;
    size_t n_written = db_count(n_written);
    db_set_fault(FAULT_LOST_AFTER, 1);
    send_thing("behind", 1, "there");
    wait_for_all();
    send_thing("behind it", 1, "there");
    wait_for_all();
    assert_int_equal(db_count(n_written), n_written + 2);
}

static void goes_on_by_itself_after_the_database_was_away(void **state)
{
    (void)state;
    struct buffer reasons = {0};
    db_set_away(true);
    wait_until(!ingest_worker_is_ready(worker, &reasons));
    for (int i = 0; i < 50; i++)
        send_thing("away", i, "there");
    kafka_flush();
    db_set_away(false);
    wait_for_all();
    check_value("t_things", "away", "there");
    buffer_free(&reasons);
}

static void reads_again_what_a_crash_of_the_database_took_back(void **state)
{
    (void)state;
    struct buffer reasons = {0};
    send_other("taken back", 1, "there");
    wait_for_all();
    db_set_away(true);
    wait_until(!ingest_worker_is_ready(worker, &reasons));
    size_t n_written = db_count(n_written);
    db_set_offset("others", 0, db_offset("others", 0) - 1);
    db_set_away(false);
    wait_for_all(); /* although no message comes */
    assert_int_equal(db_count(n_written), n_written + 1);
    buffer_free(&reasons);
}

static void reads_the_offsets_again_when_another_worker_has_moved_them(void **state)
{
    (void)state;
    char value[64];
    size_t n_written = db_count(n_written);
    db_set_offset("others", 0, db_offset("others", 0) + 2); /* two of three are said to be done */
    for (int i = 0; i < 3; i++) {
        snprintf(value, sizeof(value), "value-%d", i);
        kafka_send_row("others", 0, "moved", 10 + i, value);
    }
    n_others += 3;
    wait_for_all();
    check_value("t_others", "moved", "value-2");
    assert_int_equal(db_count(n_written), n_written + 1);
}

static void rejects_a_bad_row_alone(void **state)
{
    (void)state;
    size_t n_rejected = db_count(n_rejected);
    char key[64];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "mixed-%d", i);
        send_other(key, 1, i % 50 == 25 ? "bad" : "good");
    }
    wait_for_all();
    assert_int_equal(db_count(n_rejected), n_rejected + 4);
    assert_string_equal(db.rejected[n_rejected].stage, "database");
    assert_string_equal(db.rejected[n_rejected].sqlstate, "22001");
    check_value("t_others", "mixed-24", "good");
    check_value("t_others", "mixed-25", "");
    check_value("t_others", "mixed-26", "good");
}

static void keeps_a_good_older_row_when_the_newer_one_is_bad(void **state)
{
    (void)state;
    send_other("older", 1, "good");
    send_other("older", 2, "bad");
    wait_for_all();
    check_value("t_others", "older", "good");
}

static void pauses_a_stream_whose_table_refuses_everything_and_no_other(void **state)
{
    (void)state;
    size_t n_rejected = db_count(n_rejected);
    db_refuse("t_others");
    for (int i = 0; i < 20; i++)
        send_other("held", i, "there");
    kafka_flush();
    struct buffer reasons = {0};
    wait_until((buffer_clear(&reasons), !ingest_worker_is_ready(worker, &reasons)) &&
               strstr(reasons.data, "t_others"));
    buffer_free(&reasons);

    send_thing("meanwhile", 1, "there");
    kafka_flush();
    wait_until(stored("things", 3) == n_things);
    check_value("t_things", "meanwhile", "there");
    check_value("t_others", "held", "");
    assert_int_equal(db_count(n_rejected), n_rejected);

    db_refuse("");
    ingest_worker_nudge(worker);
    wait_for_all();
    check_value("t_others", "held", "there");
    assert_int_equal(db_count(n_rejected), n_rejected);
    wait_until(ingest_worker_is_ready(worker, &reasons));
    buffer_free(&reasons);
}

static void tells_kafka_how_far_it_is(void **state)
{
    (void)state;
    wait_until(kafka_committed("others", 0) == n_others);
}

static void follows_a_reload_to_a_new_topic(void **state)
{
    (void)state;
    static const char *const more[] = {"things", "others", "fresh"};
    kafka_topic("fresh", 1);
    world_publish(more, 3);
    ingest_worker_nudge(worker);
    kafka_send_row("fresh", 0, "new", 1, "there");
    kafka_flush();
    wait_until(db_offset("fresh", 0) == 1);
    check_value("t_fresh", "new", "there");
    rules_registry_reap(world.rules);
}

static void writes_what_it_has_and_commits_when_it_is_stopped(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++)
        send_thing("last", i, "there");
    kafka_flush();
    world_stop(worker);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kafka_committed("things", i), db_offset("things", i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_every_message_and_moves_the_offsets),
        cmocka_unit_test(makes_a_full_batch_ready_while_the_one_before_it_is_written),
        cmocka_unit_test(becomes_ready),
        cmocka_unit_test(keeps_the_newer_row_of_a_key),
        cmocka_unit_test(counts_what_a_rule_skips),
        cmocka_unit_test(puts_what_cannot_be_read_into_rejected_messages),
        cmocka_unit_test(waits_and_tries_again_when_postgresql_is_full),
        cmocka_unit_test(stores_once_when_the_connection_goes_before_the_commit),
        cmocka_unit_test(stores_once_when_the_connection_goes_after_the_commit),
        cmocka_unit_test(goes_on_by_itself_after_the_database_was_away),
        cmocka_unit_test(reads_again_what_a_crash_of_the_database_took_back),
        cmocka_unit_test(reads_the_offsets_again_when_another_worker_has_moved_them),
        cmocka_unit_test(rejects_a_bad_row_alone),
        cmocka_unit_test(keeps_a_good_older_row_when_the_newer_one_is_bad),
        cmocka_unit_test(pauses_a_stream_whose_table_refuses_everything_and_no_other),
        cmocka_unit_test(tells_kafka_how_far_it_is),
        cmocka_unit_test(follows_a_reload_to_a_new_topic),
        cmocka_unit_test(writes_what_it_has_and_commits_when_it_is_stopped),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
