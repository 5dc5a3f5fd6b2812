/* For the specs of a whole ingest worker: librdkafka's mock cluster as Kafka, and in place of
 * store/writer.c a PostgreSQL of a few lines that fails when it is told to. Included once by each;
 * as it defines the functions of store/writer.h, the real ones are not linked. */
#ifndef SPEC_INGEST_FAKES_H
#define SPEC_INGEST_FAKES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <event2/event.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/worker.h"
#include "rules/snapshot.h"
#include "store/writer.h"

#define FAKE_ROWS     4000
#define FAKE_OFFSETS  64
#define FAKE_REJECTED 4000
#define WAIT_MS       30000
#define GROUP         "spec-group"

/* ---- the database ---- */

enum fake_fault {
    FAULT_NONE,
    FAULT_RETRY,       /* refused with 53300 */
    FAULT_LOST_BEFORE, /* the connection goes before the commit */
    FAULT_LOST_AFTER,  /* the connection goes after the commit */
    FAULT_SLOW,        /* no answer before the connection is reset */
};

struct fake_row {
    char table[32];
    char key[64];
    char value[64];
    bool has_sequence;
    int64_t sequence;
};

struct fake_offset {
    char topic[64];
    int32_t partition;
    int64_t next_offset;
};

struct fake_rejected {
    char stream[32];
    char stage[16];
    char sqlstate[6];
    int32_t partition;
    int64_t offset;
};

static struct fake_db {
    pthread_mutex_t lock;
    bool away;
    enum fake_fault fault; /* of the next `n_faults` writes */
    int n_faults;
    char refused_table[32]; /* refuses every row */
    struct fake_row rows[FAKE_ROWS];
    size_t n_rows;
    struct fake_offset offsets[FAKE_OFFSETS];
    size_t n_offsets;
    struct fake_rejected rejected[FAKE_REJECTED];
    size_t n_rejected;
    size_t n_written; /* rows that reached a table, also those that were updated */
    size_t n_commits;
    size_t n_resets;
    size_t n_prepared; /* batches that had been made ready while another was written */
    size_t n_hanging;  /* writes that wait for a reset */
    uint64_t lsn;
} db = {.lock = PTHREAD_MUTEX_INITIALIZER};

enum fake_work { FAKE_NONE, FAKE_BATCH, FAKE_READ, FAKE_INIT, FAKE_QUIET, FAKE_FLUSHED };

struct writer {
    struct event *timer;
    struct event *watch; /* notices that db.away has changed */
    struct connection_events events;
    void *arg;
    bool ready;
    bool has_schema;
    const struct write_batch *prepared;
    uint64_t prepared_print;
    bool hanging; /* under the lock of `db` */
    enum fake_work work;
    const struct write_batch *batch;
    const char *group_id;
    struct partition_offset *partitions;
    size_t n_partitions;
    void (*batch_done)(const struct write_result *result, void *arg);
    void (*offsets_done)(bool ok, const struct error *err, void *arg);
    void (*flushed_done)(bool ok, uint64_t flushed_lsn, uint64_t insert_lsn, void *arg);
    void *done_arg;
};

static struct fake_offset *fake_offset_of(const char *topic, int32_t partition, bool make)
{
    for (size_t i = 0; i < db.n_offsets; i++)
        if (db.offsets[i].partition == partition && strcmp(db.offsets[i].topic, topic) == 0)
            return &db.offsets[i];
    if (!make)
        return NULL;
    if (db.n_offsets == FAKE_OFFSETS)
        die("the fake database keeps %d offsets", FAKE_OFFSETS);
    struct fake_offset *offset = &db.offsets[db.n_offsets++];
    snprintf(offset->topic, sizeof(offset->topic), "%s", topic);
    offset->partition = partition;
    offset->next_offset = -1;
    return offset;
}

static struct fake_row *fake_row_of(const char *table, const char *key, bool make)
{
    for (size_t i = 0; i < db.n_rows; i++)
        if (strcmp(db.rows[i].key, key) == 0 && strcmp(db.rows[i].table, table) == 0)
            return &db.rows[i];
    if (!make)
        return NULL;
    if (db.n_rows == FAKE_ROWS)
        die("the fake database keeps %d rows", FAKE_ROWS);
    struct fake_row *row = &db.rows[db.n_rows++];
    memset(row, 0, sizeof(*row));
    snprintf(row->table, sizeof(row->table), "%s", table);
    snprintf(row->key, sizeof(row->key), "%s", key);
    return row;
}

static const struct value *fake_value_of(const struct row *row, const char *column)
{
    for (size_t i = 0; i < row->table->n_columns; i++)
        if (strcmp(row->table->columns[i].name, column) == 0)
            return &row->values[i];
    die("table %s has no column %s", row->table->name, column);
}

static inline void fake_text_of(const struct row *row, const char *column, char text[64])
{
    const struct value *value = fake_value_of(row, column);
    snprintf(text, 64, "%.*s", (int)value->text.size, value->text.data);
}

/* A row whose value is "bad" is refused, as is any row of the refused table. */
static inline bool fake_refuses(const struct row *row)
{
    char value[64];
    fake_text_of(row, "v", value);
    return strcmp(value, "bad") == 0 || strcmp(row->table->name, db.refused_table) == 0;
}

static inline void fake_upsert(const struct row *row)
{
    char key[64], value[64];
    fake_text_of(row, "k", key);
    fake_text_of(row, "v", value);
    const struct value *sequence = fake_value_of(row, "seq");
    struct fake_row *kept = fake_row_of(row->table->name, key, true);
    bool wins = !kept->has_sequence || (!sequence->is_null && sequence->int8 >= kept->sequence);
    db.n_written++;
    if (!wins)
        return;
    snprintf(kept->value, sizeof(kept->value), "%s", value);
    kept->has_sequence = !sequence->is_null;
    kept->sequence = kept->has_sequence ? sequence->int8 : 0;
}

static inline void fake_fail(struct write_result *result, const char *sqlstate,
                             enum sqlstate_class class)
{
    result->outcome = WRITE_REFUSED;
    result->class = class;
    snprintf(result->failure.sqlstate, sizeof(result->failure.sqlstate), "%s", sqlstate);
    error_set(&result->failure.err, "the fake database says %s", sqlstate);
}

static inline bool fake_offsets_fit(const struct write_batch *batch)
{
    for (size_t i = 0; i < batch->n_offsets; i++) {
        const struct fake_offset *offset =
            fake_offset_of(batch->offsets[i].topic, batch->offsets[i].partition, false);
        if (!offset || offset->next_offset != batch->offsets[i].from)
            return false;
    }
    return true;
}

static inline void fake_commit(const struct write_batch *batch)
{
    for (size_t i = 0; i < batch->n_offsets; i++)
        fake_offset_of(batch->offsets[i].topic, batch->offsets[i].partition, false)->next_offset =
            batch->offsets[i].to;
    for (size_t t = 0; t < batch->n_tables; t++)
        for (size_t i = 0; i < batch->tables[t].n_rows; i++)
            fake_upsert(batch->tables[t].rows[i]);
    for (size_t i = 0; i < batch->n_rejections; i++) {
        const struct rejection *rejection = &batch->rejections[i];
        struct fake_rejected *kept = &db.rejected[db.n_rejected++ % FAKE_REJECTED];
        snprintf(kept->stream, sizeof(kept->stream), "%s", rejection->stream);
        snprintf(kept->stage, sizeof(kept->stage), "%s", rejection->stage);
        snprintf(kept->sqlstate, sizeof(kept->sqlstate), "%s",
                 rejection->sqlstate ? rejection->sqlstate : "");
        kept->partition = rejection->partition;
        kept->offset = rejection->offset;
    }
    db.n_commits++;
    db.lsn += 10;
}

static inline void fake_write(const struct write_batch *batch, struct write_result *result)
{
    *result = (struct write_result){.outcome = WRITE_COMMITTED, .table = batch->n_tables};
    enum fake_fault fault = db.n_faults > 0 && !batch->rehearse ? db.fault : FAULT_NONE;
    if (fault != FAULT_NONE)
        db.n_faults--;
    if (fault == FAULT_LOST_BEFORE) {
        result->outcome = WRITE_LOST;
        return;
    }
    if (fault == FAULT_RETRY) {
        fake_fail(result, "53300", SQLSTATE_RETRY);
        return;
    }
    if (!fake_offsets_fit(batch)) {
        result->outcome = WRITE_SWAPPED;
        return;
    }
    for (size_t t = 0; t < batch->n_tables; t++)
        for (size_t i = 0; i < batch->tables[t].n_rows; i++)
            if (fake_refuses(batch->tables[t].rows[i])) {
                fake_fail(result, "22001", SQLSTATE_DATA);
                result->table = t;
                return;
            }
    if (!batch->rehearse)
        fake_commit(batch);
    if (fault == FAULT_LOST_AFTER)
        result->outcome = WRITE_LOST;
}

static inline void fake_find_offsets(struct writer *writer)
{
    for (size_t i = 0; i < writer->n_partitions; i++) {
        struct partition_offset *asked = &writer->partitions[i];
        struct fake_offset *found = fake_offset_of(asked->topic, asked->partition, false);
        if (!found && writer->work == FAKE_INIT) {
            found = fake_offset_of(asked->topic, asked->partition, true);
            found->next_offset = asked->next_offset;
        }
        asked->known = found != NULL;
        if (found)
            asked->next_offset = found->next_offset;
    }
}

/* Ends what is in flight; `lost` when the connection went. */
static inline void fake_finish(struct writer *writer, bool lost)
{
    enum fake_work work = writer->work;
    struct write_result result = {.outcome = WRITE_LOST};
    struct error err = {.text = "connection lost"};
    uint64_t lsn;
    pthread_mutex_lock(&db.lock);
    if (work == FAKE_BATCH && !lost)
        fake_write(writer->batch, &result);
    if ((work == FAKE_READ || work == FAKE_INIT) && !lost)
        fake_find_offsets(writer);
    lsn = db.lsn;
    pthread_mutex_unlock(&db.lock);

    writer->work = FAKE_NONE;
    if (work == FAKE_BATCH)
        writer->batch_done(&result, writer->done_arg);
    else if (work == FAKE_READ || work == FAKE_INIT || work == FAKE_QUIET)
        writer->offsets_done(!lost, &err, writer->done_arg);
    else if (work == FAKE_FLUSHED)
        writer->flushed_done(!lost, lsn, lsn, writer->done_arg);
}

static inline void fake_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fake_finish(arg, false);
}

static inline void fake_on_watch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct writer *writer = arg;
    pthread_mutex_lock(&db.lock);
    bool away = db.away;
    pthread_mutex_unlock(&db.lock);
    if (away == !writer->ready)
        return;
    writer->ready = !away;
    if (away) {
        struct error err = {.text = "the fake database is away"};
        event_del(writer->timer);
        fake_finish(writer, true);
        writer->events.on_lost(&err, writer->arg);
    } else {
        writer->events.on_ready(writer->arg);
    }
}

struct writer *writer_new(struct event_base *base, const struct writer_options *options,
                          const struct connection_events *events, void *arg)
{
    static const struct timeval often = {.tv_usec = 5000};
    (void)options;
    struct writer *writer = memory_zero(1, sizeof(*writer));
    writer->events = *events;
    writer->arg = arg;
    writer->timer = event_new(base, -1, 0, fake_on_timer, writer);
    writer->watch = event_new(base, -1, EV_PERSIST, fake_on_watch, writer);
    event_add(writer->watch, &often);
    return writer;
}

void writer_free(struct writer *writer)
{
    event_free(writer->timer);
    event_free(writer->watch);
    fake_finish(writer, true);
    free(writer);
}

bool writer_is_ready(const struct writer *writer)
{
    return writer->ready;
}

const char *writer_trouble(const struct writer *writer)
{
    return writer->ready ? "" : "the fake database is away";
}

void writer_reset(struct writer *writer)
{
    pthread_mutex_lock(&db.lock);
    db.n_resets++;
    db.n_hanging -= writer->hanging;
    writer->hanging = false;
    pthread_mutex_unlock(&db.lock);
    event_del(writer->timer);
    fake_finish(writer, true);
}

void writer_set_schema(struct writer *writer, struct schema *schema)
{
    writer->has_schema = schema != NULL;
}

static inline bool fake_start(struct writer *writer, enum fake_work work, void *arg)
{
    static const struct timeval soon = {.tv_usec = 500};
    if (writer->work != FAKE_NONE || !writer->ready)
        return false;
    pthread_mutex_lock(&db.lock);
    bool slow = work == FAKE_BATCH && db.fault == FAULT_SLOW && db.n_faults > 0;
    writer->hanging = slow;
    db.n_hanging += slow;
    pthread_mutex_unlock(&db.lock);
    writer->work = work;
    writer->done_arg = arg;
    if (!slow)
        event_add(writer->timer, &soon);
    return true;
}

/* What a batch says, as one number. */
static inline uint64_t fake_fingerprint(const struct write_batch *batch)
{
    uint64_t print = batch->n_rejections;
    for (size_t i = 0; i < batch->n_offsets; i++) {
        const struct offset_move *move = &batch->offsets[i];
        print = print * 31 + (uint64_t)move->from;
        print = print * 31 + (uint64_t)move->to;
        print = print * 31 + (uint64_t)move->progress.max_sequence;
    }
    for (size_t i = 0; i < batch->n_tables; i++)
        print = print * 31 + batch->tables[i].n_rows;
    return print;
}

void writer_prepare(struct writer *writer, const struct write_batch *batch)
{
    assert_true(!batch || (writer->has_schema && batch->n_numbers == 0));
    writer->prepared = batch;
    writer->prepared_print = batch ? fake_fingerprint(batch) : 0;
}

bool writer_submit(struct writer *writer, const struct write_batch *batch,
                   void (*done)(const struct write_result *result, void *arg), void *arg)
{
    assert_true(writer->has_schema);
    assert_string_equal(batch->group_id, GROUP);
    if (writer->prepared == batch) {
        assert_true(fake_fingerprint(batch) == writer->prepared_print);
        pthread_mutex_lock(&db.lock);
        db.n_prepared++;
        pthread_mutex_unlock(&db.lock);
    }
    writer->prepared = NULL;
    writer->batch = batch;
    writer->batch_done = done;
    return fake_start(writer, FAKE_BATCH, arg);
}

static inline bool fake_start_offsets(struct writer *writer, enum fake_work work,
                                      struct partition_offset *partitions, size_t n_partitions,
                                      void (*done)(bool ok, const struct error *err, void *arg),
                                      void *arg)
{
    if (writer->work != FAKE_NONE || !writer->ready)
        return false;
    writer->partitions = partitions;
    writer->n_partitions = n_partitions;
    writer->offsets_done = done;
    return fake_start(writer, work, arg);
}

bool writer_read_offsets(struct writer *writer, const char *group_id,
                         struct partition_offset *partitions, size_t n_partitions,
                         void (*done)(bool ok, const struct error *err, void *arg), void *arg)
{
    assert_string_equal(group_id, GROUP);
    return fake_start_offsets(writer, FAKE_READ, partitions, n_partitions, done, arg);
}

bool writer_init_offsets(struct writer *writer, const char *group_id,
                         struct partition_offset *partitions, size_t n_partitions,
                         void (*done)(bool ok, const struct error *err, void *arg), void *arg)
{
    assert_string_equal(group_id, GROUP);
    return fake_start_offsets(writer, FAKE_INIT, partitions, n_partitions, done, arg);
}

/* No topic is numbered here. */
bool writer_read_topics(struct writer *writer, const char *group_id, struct topic_progress *topics,
                        size_t n_topics, void (*done)(bool ok, const struct error *err, void *arg),
                        void *arg)
{
    assert_string_equal(group_id, GROUP);
    for (size_t i = 0; i < n_topics; i++)
        topics[i].has_max = false;
    if (writer->work != FAKE_NONE || !writer->ready)
        return false;
    writer->offsets_done = done;
    return fake_start(writer, FAKE_QUIET, arg);
}

bool writer_clear(struct writer *writer, const char *group_id,
                  const struct quiet_partition *partitions, size_t n_partitions,
                  void (*done)(bool ok, const struct error *err, void *arg), void *arg)
{
    (void)writer;
    (void)group_id;
    (void)partitions;
    (void)n_partitions;
    (void)done;
    (void)arg;
    die("nothing is numbered: there is nothing to clear");
}

bool writer_save_marks(struct writer *writer, const char *group_id,
                       const struct marked_partition *partitions, size_t n_partitions,
                       void (*done)(bool ok, const struct error *err, void *arg), void *arg)
{
    assert_string_equal(group_id, GROUP);
    assert_true(n_partitions > 0 && partitions[0].topic);
    if (writer->work != FAKE_NONE || !writer->ready)
        return false;
    writer->offsets_done = done;
    return fake_start(writer, FAKE_QUIET, arg);
}

bool writer_read_flushed(struct writer *writer,
                         void (*done)(bool ok, uint64_t flushed_lsn, uint64_t insert_lsn,
                                      void *arg),
                         void *arg)
{
    writer->flushed_done = done;
    return fake_start(writer, FAKE_FLUSHED, arg);
}

struct schema {
    int unused;
};
static struct schema fake_schema;

struct schema *schema_hold(struct schema *schema)
{
    return schema;
}

void schema_release(struct schema *schema)
{
    (void)schema;
}

/* ---- Kafka ---- */

static struct fake_kafka {
    rd_kafka_t *producer;
    rd_kafka_mock_cluster_t *cluster;
    const char *brokers;
} kafka;

static inline void kafka_start(void)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", why, sizeof(why));
    rd_kafka_conf_set(conf, "linger.ms", "0", why, sizeof(why));
    rd_kafka_conf_set(conf, "log_level", "3", why, sizeof(why));
    kafka.producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    assert_non_null(kafka.producer);
    kafka.cluster = rd_kafka_handle_mock_cluster(kafka.producer);
    kafka.brokers = rd_kafka_mock_cluster_bootstraps(kafka.cluster);
}

static inline void kafka_stop(void)
{
    rd_kafka_destroy(kafka.producer);
}

static inline void kafka_topic(const char *topic, int partitions)
{
    assert_int_equal(rd_kafka_mock_topic_create(kafka.cluster, topic, partitions, 1), 0);
}

static inline void kafka_send(const char *topic, int32_t partition, const char *payload)
{
    assert_int_equal(
        rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)payload, strlen(payload)),
                          RD_KAFKA_V_END),
        0);
}

/* `sequence` -1: none. */
static inline void kafka_send_row(const char *topic, int32_t partition, const char *key,
                                  int64_t sequence, const char *value)
{
    char payload[256];
    if (sequence >= 0)
        snprintf(payload, sizeof(payload), "{\"k\":\"%s\",\"seq\":%" PRId64 ",\"v\":\"%s\"}", key,
                 sequence, value);
    else
        snprintf(payload, sizeof(payload), "{\"k\":\"%s\",\"v\":\"%s\"}", key, value);
    kafka_send(topic, partition, payload);
}

static inline void kafka_flush(void)
{
    assert_int_equal(rd_kafka_flush(kafka.producer, WAIT_MS), 0);
}

/* What the group has committed, -1001: nothing. */
static inline int64_t kafka_committed(const char *topic, int32_t partition)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka.brokers, why, sizeof(why));
    rd_kafka_conf_set(conf, "group.id", GROUP, why, sizeof(why));
    rd_kafka_t *asker = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    assert_int_equal(rd_kafka_committed(asker, list, WAIT_MS), 0);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(asker);
    return offset;
}

static inline void kafka_commit(const char *topic, int32_t partition, int64_t offset)
{
    char why[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka.brokers, why, sizeof(why));
    rd_kafka_conf_set(conf, "group.id", GROUP, why, sizeof(why));
    rd_kafka_t *teller = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    assert_int_equal(rd_kafka_commit(teller, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(teller);
}

/* ---- the worker ---- */

static struct fake_world {
    struct settings settings;
    struct metrics *metrics;
    struct rules_registry *rules;
    uint64_t generation;
    char config[64]; /* KAFKA_CONFIG_FILE */
} world;

static const char STREAM_FORMAT[] =
    "return { name = '%s', topic = '%s', fields = { k = 'text', seq = 'int8?', v = 'text' },"
    " shapes = { { k = 'k', seq = 'seq', v = 'v' } },"
    " tables = { %s = { columns = { k = 'text', seq = 'int8?', v = 'text' }, key = { 'k' },"
    " newer = 'seq' } },"
    " saved = 'Saved %%d things',"
    " map = function(f) if f.v == 'skip' then return nil, 'skip', 'asked for' end"
    " return { %s = { k = f.k, seq = f.seq, v = f.v } } end }";

/* Publishes rules with one stream for each topic: stream S_topic into table t_topic. */
static inline void world_publish(const char *const *topics, size_t n_topics)
{
    struct buffer json = {0}, init = {0};
    buffer_append_string(&init, "return { streams = {");
    buffer_append_string(&json, "{");
    for (size_t i = 0; i < n_topics; i++) {
        char *name = memory_printf("S_%s", topics[i]);
        char *table = memory_printf("t_%s", topics[i]);
        char *text = memory_printf(STREAM_FORMAT, name, topics[i], table, table);
        buffer_printf(&init, "require 'streams.%s',", topics[i]);
        buffer_printf(&json, "\"streams/%s.lua\":", topics[i]);
        buffer_append_json(&json, bytes_of_string(text));
        buffer_append_string(&json, ",");
        free(name);
        free(table);
        free(text);
    }
    buffer_append_string(&init, "} }");
    buffer_append_string(&json, "\"init.lua\":");
    buffer_append_json(&json, buffer_bytes(&init));
    buffer_append_string(&json, "}");

    const struct rules_options options = {.load_ms = 2000,
                                          .map_ms = 500,
                                          .request_ms = 500,
                                          .reply_ms = 500,
                                          .memory_bytes = (size_t)16 << 20,
                                          .message_max_bytes = 4096};
    struct error err;
    struct rules_snapshot *snapshot = rules_snapshot_from_json(buffer_bytes(&json), &err);
    if (!snapshot)
        fail_msg("%s", err.text);
    struct rules_generation *generation = rules_generation_build(snapshot, 2, &options, &err);
    if (!generation)
        fail_msg("%s", err.text);
    rules_registry_publish(world.rules, generation, ++world.generation);
    buffer_free(&json);
    buffer_free(&init);
}

/* The mock cluster waits for members of a group for nearly a whole session. */
static inline void world_write_config(void)
{
    static const char text[] = "# short sessions\nsession.timeout.ms = 6000\n"
                               "heartbeat.interval.ms=300\n";
    snprintf(world.config, sizeof(world.config), "/tmp/ingest_spec_XXXXXX");
    int fd = mkstemp(world.config);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    setenv("KAFKA_CONFIG_FILE", world.config, 1);
}

static inline void world_open(void)
{
    struct error err;
    world_write_config();
    setenv("KAFKA_BROKERS", kafka.brokers, 1);
    setenv("MARKET_CONSUMER_GROUP_ID", GROUP, 1);
    if (!settings_load(&world.settings, &err))
        fail_msg("%s", err.text);
    log_setup(getenv("SPEC_VERBOSE") ? LOG_DEBUG : LOG_ERROR, false);
    world.metrics = metrics_new();
    world.rules = rules_registry_new();
    world.generation = 0;
}

static inline void world_close(void)
{
    rules_registry_free(world.rules);
    metrics_free(world.metrics);
    unlink(world.config);
}

static inline struct ingest_worker *world_start(int number)
{
    const struct ingest_options options = {.settings = &world.settings,
                                           .metrics = world.metrics,
                                           .rules = world.rules,
                                           .slot = (size_t)number,
                                           .number = number};
    struct error err;
    struct ingest_worker *worker = ingest_worker_start(&options, &err);
    if (!worker)
        fail_msg("%s", err.text);
    ingest_worker_set_schema(worker, &fake_schema);
    return worker;
}

static inline void world_stop(struct ingest_worker *worker)
{
    ingest_worker_stop(worker);
    assert_true(ingest_worker_join(worker, WAIT_MS));
}

static inline void db_clear(void)
{
    pthread_mutex_lock(&db.lock);
    db.away = false;
    db.n_faults = 0;
    db.refused_table[0] = '\0';
    db.n_rows = db.n_offsets = db.n_rejected = db.n_written = db.n_commits = db.n_resets = 0;
    db.n_prepared = 0;
    pthread_mutex_unlock(&db.lock);
}

static inline void db_set_fault(enum fake_fault fault, int times)
{
    pthread_mutex_lock(&db.lock);
    db.fault = fault;
    db.n_faults = times;
    pthread_mutex_unlock(&db.lock);
}

static inline void db_set_away(bool away)
{
    pthread_mutex_lock(&db.lock);
    db.away = away;
    pthread_mutex_unlock(&db.lock);
}

static inline void db_refuse(const char *table)
{
    pthread_mutex_lock(&db.lock);
    snprintf(db.refused_table, sizeof(db.refused_table), "%s", table);
    pthread_mutex_unlock(&db.lock);
}

static inline void db_set_offset(const char *topic, int32_t partition, int64_t offset)
{
    pthread_mutex_lock(&db.lock);
    fake_offset_of(topic, partition, true)->next_offset = offset;
    pthread_mutex_unlock(&db.lock);
}

static inline int64_t db_offset(const char *topic, int32_t partition)
{
    pthread_mutex_lock(&db.lock);
    const struct fake_offset *offset = fake_offset_of(topic, partition, false);
    int64_t next_offset = offset ? offset->next_offset : -1;
    pthread_mutex_unlock(&db.lock);
    return next_offset;
}

/* "" when there is no such row. */
static inline void db_value(const char *table, const char *key, char value[64])
{
    pthread_mutex_lock(&db.lock);
    const struct fake_row *row = fake_row_of(table, key, false);
    snprintf(value, 64, "%s", row ? row->value : "");
    pthread_mutex_unlock(&db.lock);
}

#define db_count(field) db_count_(&db.field)
static size_t db_count_(const size_t *field)
{
    pthread_mutex_lock(&db.lock);
    size_t count = *field;
    pthread_mutex_unlock(&db.lock);
    return count;
}

/* Waits until the expression holds, and fails with its text when it never does. */
#define wait_until(condition)                                                                      \
    do {                                                                                           \
        int64_t until_ms_ = clock_monotonic_ms() + WAIT_MS;                                        \
        while (!(condition)) {                                                                     \
            if (clock_monotonic_ms() > until_ms_)                                                  \
                fail_msg("not within %d ms: %s", WAIT_MS, #condition);                             \
            usleep(5000);                                                                          \
        }                                                                                          \
    } while (0)

#endif
