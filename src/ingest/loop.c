#include "ingest/loop.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/announce.h"
#include "ingest/consumer.h"
#include "ingest/counts.h"
#include "ingest/delivery.h"
#include "ingest/gather.h"
#include "ingest/hold.h"
#include "ingest/ledger.h"
#include "ingest/lookup.h"
#include "ingest/placement.h"
#include "ingest/probe.h"
#include "ingest/quiet.h"
#include "ingest/readiness.h"
#include "ingest/stop.h"
#include "ingest/subscription.h"
#include "ingest/vigil.h"

#define COMPONENT       "ingest"
#define TICK_MS         100
#define LAG_INTERVAL_MS 1000
#define TURN_US         20000 /* reading gives way to other events after so long */

struct loop_events {
    struct event *consumer;
    struct event *wake;
    struct event *tick;
    struct event *again;
};

struct loop {
    struct ingest_options options;
    struct mailbox *mailbox;
    struct stop stop;
    struct event_base *base;
    struct loop_events events;
    char *conninfo;
    char *application_name;
    struct writer *writer;
    struct consumer *consumer;
    struct lookup *lookup;
    struct placement *placement;
    struct delivery *delivery;
    struct counts *counts;
    struct ledger *ledger;
    struct announce announce;
    struct quiet *quiet;
    struct probe *probe;
    struct vigil *vigil;
    struct gather gather;
    struct subscription subscription;
    struct partitions partitions;
    struct holds holds;
    struct load loads[2];
    struct load *gathering;
    struct load *sending;  /* NULL: none */
    struct schema *schema; /* waits for the delivery to be idle */
    bool has_schema;       /* the writer has one */
    bool taken;            /* the group waits for its partitions */
    int64_t let_go_at_ms;  /* and until then at most */
    bool hurry;            /* look at paused streams at once */
    bool recheck;          /* the connection was lost: does PostgreSQL hold what it confirmed? */
    int64_t lag_at_ms;
    struct log_limit lost_limit;
    struct buffer reasons;
};

static bool is_running(const struct loop *loop)
{
    return loop->stop.state == STOP_RUNNING;
}

/* ---- events that other parts report: they only ask for another step ---- */

static void on_progress(void *arg)
{
    struct loop *loop = arg;
    event_active(loop->events.again, EV_TIMEOUT, 0);
}

/* From the helper thread of lookups. */
static void on_lookup(void *arg)
{
    struct loop *loop = arg;
    mailbox_wake(loop->mailbox);
}

static void on_database_ready(void *arg)
{
    struct loop *loop = arg;
    log_info(COMPONENT, "worker %d is connected to PostgreSQL", loop->options.number);
    on_progress(loop);
}

static void on_database_lost(const struct error *err, void *arg)
{
    struct loop *loop = arg;
    uint64_t held_back;
    loop->recheck = true;
    if (log_limit_pass(&loop->lost_limit, 5000, &held_back))
        log_warn(COMPONENT, "worker %d has no PostgreSQL: %s", loop->options.number, err->text);
}

/* ---- the group ---- */

static void on_given(const rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct loop *loop = arg;
    if (loop->partitions.count > 0)
        die("the group gives partitions before it took the old ones");
    for (int i = 0; i < list->cnt; i++)
        partitions_add(&loop->partitions, loop->options.metrics, list->elems[i].topic,
                       list->elems[i].partition);
    log_info(COMPONENT, "worker %d has %d partitions", loop->options.number, list->cnt);
    placement_begin(loop->placement);
    on_progress(loop);
}

static void on_taken(bool lost, void *arg)
{
    struct loop *loop = arg;
    int wait_ms = lost ? 0 : loop->options.settings->revoke_wait_ms;
    log_info(COMPONENT, "worker %d gives its partitions back%s", loop->options.number,
             lost ? ": they were lost to others" : "");
    loop->taken = true;
    loop->let_go_at_ms = clock_monotonic_ms() + wait_ms;
    placement_cancel(loop->placement);
    delivery_abandon(loop->delivery);
    on_progress(loop);
}

static void drop_loads(struct loop *loop)
{
    gather_reset(&loop->gather, &loop->loads[0]);
    gather_reset(&loop->gather, &loop->loads[1]);
    loop->sending = NULL;
}

/* Once nothing in flight points to the partitions; the connection is closed when that takes too
 * long, which ends it. */
static void let_go_step(struct loop *loop, int64_t now_ms)
{
    bool in_flight = !delivery_is_idle(loop->delivery) || placement_is_busy(loop->placement);
    if (in_flight && now_ms >= loop->let_go_at_ms) {
        log_warn(COMPONENT, "worker %d: a write did not end in time, its connection is closed",
                 loop->options.number);
        loop->let_go_at_ms = INT64_MAX;
        writer_reset(loop->writer);
        in_flight = !delivery_is_idle(loop->delivery) || placement_is_busy(loop->placement);
    }
    if (in_flight)
        return;
    drop_loads(loop);
    holds_clear(&loop->holds, loop->counts);
    ledger_forget(loop->ledger);
    partitions_clear(&loop->partitions);
    loop->taken = false;
    consumer_let_go(loop->consumer);
}

/* ---- what becomes of batches ---- */

static void on_finished(void *arg)
{
    struct loop *loop = arg;
    struct load *done = loop->sending;
    gather_reset(&loop->gather, done);
    loop->sending = NULL;
    if (!delivery_is_idle(loop->delivery)) {
        loop->sending = loop->gathering;
        loop->gathering = done;
    }
}

/* What has been gathered behind the batch hangs in the air: all begins anew. */
static void start_over(struct loop *loop)
{
    drop_loads(loop);
    holds_clear(&loop->holds, loop->counts);
    ledger_forget(loop->ledger);
    placement_begin(loop->placement);
}

static void on_swapped(void *arg)
{
    struct loop *loop = arg;
    log_warn(COMPONENT, "worker %d: another worker has moved the offsets; they are read again",
             loop->options.number);
    start_over(loop);
}

static void on_moved(void *arg)
{
    struct loop *loop = arg;
    log_warn(COMPONENT,
             "worker %d: PostgreSQL does not stand where it was when the connection was lost; "
             "messages are read again from where it stands",
             loop->options.number);
    delivery_abandon(loop->delivery);
    start_over(loop);
}

static void on_held(const struct refused_table *refused, void *arg)
{
    struct loop *loop = arg;
    holds_add(&loop->holds, refused, loop->counts, clock_monotonic_ms());
    batch_drop_topic(&loop->gathering->batch, 0, refused->topic);
    partitions_hold(&loop->partitions, refused->topic);
    consumer_place(loop->consumer, &loop->partitions);
}

static void on_stored(struct partition *const *partitions, size_t n_partitions, void *arg)
{
    struct loop *loop = arg;
    for (size_t i = 0; loop->holds.count > 0 && i < n_partitions; i++)
        holds_passed(&loop->holds, partitions[i]->topic, loop->counts);
}

static const struct batch *next_batch(void *arg)
{
    struct loop *loop = arg;
    bool same_rules = loop->sending && loop->sending->generation == loop->gathering->generation;
    return same_rules ? &loop->gathering->batch : NULL;
}

static void on_gap(struct partition *partition, int64_t to, bool is_anew, void *arg)
{
    struct loop *loop = arg;
    bool deleted = !is_anew;
    log_error(COMPONENT,
              "partition %s/%" PRId32 ": offset %" PRId64 " is gone from Kafka (%s); it goes on at "
              "%" PRId64,
              partition->topic, partition->number, partition->next,
              deleted ? "messages were deleted before they were read" : "the topic was made anew",
              to);
    counts_lost(loop->counts, partition, deleted ? (uint64_t)(to - partition->next) : 1);
    if (is_anew)
        counts_made_anew(loop->counts, partition);
    gather_jump(&loop->gather, loop->gathering, partition, to, true);
}

/* It is asked about once more, and its first offset is learnt. */
static void on_anew(struct partition *partition, void *arg)
{
    struct loop *loop = arg;
    partition_set_state(partition, PARTITION_DOUBTED);
    consumer_place(loop->consumer, &loop->partitions);
    on_progress(loop);
}

/* ---- one turn of the loop ---- */

static void schema_step(struct loop *loop)
{
    if (!loop->schema || !delivery_is_idle(loop->delivery))
        return;
    writer_set_schema(loop->writer, loop->schema);
    schema_release(loop->schema);
    loop->schema = NULL;
    loop->has_schema = true;
}

static void holds_step(struct loop *loop, int64_t now_ms)
{
    bool resumed = false;
    const char *topic;
    while ((topic = holds_take_due(&loop->holds, now_ms, loop->hurry))) {
        partitions_resume(&loop->partitions, topic);
        resumed = true;
    }
    if (resumed)
        consumer_place(loop->consumer, &loop->partitions);
    if (loop->hurry)
        delivery_hurry(loop->delivery);
    loop->hurry = false;
}

static enum gather_result gather_turn(struct loop *loop)
{
    int64_t until_us = clock_monotonic_us() + TURN_US;
    enum gather_result result;
    do
        result = gather_step(&loop->gather, loop->gathering);
    while (result == GATHER_MORE && clock_monotonic_us() < until_us);
    return result;
}

/* An idle connection writes as soon as nothing more is at hand. */
static bool is_due(const struct loop *loop, enum gather_result gathered)
{
    const struct batch *batch = &loop->gathering->batch;
    int64_t flush_us = (int64_t)loop->options.settings->flush_ms * 1000;
    return batch->n_entries > 0 &&
           (gathered != GATHER_MORE || clock_monotonic_us() - batch->began_us >= flush_us);
}

static void send_gathered(struct loop *loop)
{
    loop->sending = loop->gathering;
    loop->gathering = loop->gathering == &loop->loads[0] ? &loop->loads[1] : &loop->loads[0];
    delivery_begin(loop->delivery, &loop->sending->batch);
}

/* After a lost connection, between two batches. Without this, what a crash of PostgreSQL took back
 * would be missing until the next message of its partition. */
static void recheck_step(struct loop *loop)
{
    if (!loop->recheck || !delivery_is_idle(loop->delivery) || !writer_is_ready(loop->writer))
        return;
    if (!placement_check(loop->placement))
        return;
    loop->recheck = false;
    on_progress(loop);
}

static bool may_send(const struct loop *loop)
{
    bool checking = is_running(loop) && placement_is_checking(loop->placement);
    return loop->has_schema && delivery_is_idle(loop->delivery) && !checking;
}

/* A full batch is made ready while the one before it is written, unless something waits for the
 * connection between two batches. */
static void queue_step(struct loop *loop, int64_t now_ms)
{
    bool is_wanted = loop->schema || loop->recheck || announce_is_due(&loop->announce, now_ms) ||
                     quiet_is_due(loop->quiet, now_ms) || vigil_is_due(loop->vigil);
    if (loop->sending && !is_wanted && gather_is_full(&loop->gather, loop->gathering))
        delivery_prepare_next(loop->delivery, &loop->gathering->batch);
}

static void flow_step(struct loop *loop, int64_t now_ms)
{
    enum gather_result gathered = GATHER_EMPTY;
    if (is_running(loop))
        gathered = gather_turn(loop);
    announce_step(&loop->announce, now_ms);
    if (is_running(loop)) {
        quiet_step(loop->quiet, now_ms);
        vigil_step(loop->vigil, now_ms);
    }
    delivery_step(loop->delivery, now_ms);
    schema_step(loop);
    if (is_running(loop))
        recheck_step(loop);
    if (may_send(loop) && is_due(loop, gathered)) {
        send_gathered(loop);
        delivery_step(loop->delivery, now_ms);
    }
    if (is_running(loop))
        queue_step(loop, now_ms);
    if (gathered == GATHER_MORE ||
        (gathered == GATHER_FULL && loop->gathering->batch.n_entries == 0))
        on_progress(loop);
}

static void lag_step(struct loop *loop, int64_t now_ms)
{
    if (now_ms < loop->lag_at_ms)
        return;
    loop->lag_at_ms = now_ms + LAG_INTERVAL_MS;
    for (size_t i = 0; i < loop->partitions.count; i++) {
        struct partition *partition = loop->partitions.items[i];
        int64_t end = consumer_end_offset(loop->consumer, partition->topic, partition->number);
        if (end >= partition->stored && partition->state != PARTITION_NEW)
            gauge_set(partition->lag, (double)(end - partition->stored));
    }
    counts_say_saved(loop->counts, false);
}

static bool is_drained(const struct loop *loop)
{
    return delivery_is_idle(loop->delivery) && loop->gathering->batch.n_entries == 0;
}

/* ---- what other threads want and may know ---- */

static void read_mail(struct loop *loop, int64_t now_ms)
{
    struct mail mail = mailbox_take(loop->mailbox);
    loop->hurry = loop->hurry || mail.nudged;
    if (mail.schema) {
        schema_release(loop->schema);
        loop->schema = mail.schema;
        delivery_forget_next(loop->delivery);
    }
    if (mail.stop)
        stop_begin(&loop->stop, loop->options.settings->shutdown_timeout_ms, now_ms);
}

static void publish_readiness(struct loop *loop)
{
    const struct readiness readiness = {
        .writer = loop->writer,
        .consumer = loop->consumer,
        .placement = loop->placement,
        .delivery = loop->delivery,
        .holds = &loop->holds,
        .has_schema = loop->has_schema || loop->schema,
    };
    buffer_clear(&loop->reasons);
    readiness_describe(&readiness, &loop->reasons);
    mailbox_publish(loop->mailbox, &loop->reasons);
}

static void step(struct loop *loop)
{
    int64_t now_ms = clock_monotonic_ms();
    read_mail(loop, now_ms);
    consumer_poll(loop->consumer);
    if (loop->taken) {
        let_go_step(loop, now_ms);
    } else if (loop->stop.state <= STOP_DRAINING) {
        if (is_running(loop)) {
            subscription_follow(&loop->subscription, loop->options.rules, loop->consumer);
            holds_step(loop, now_ms);
            placement_step(loop->placement, now_ms);
        }
        flow_step(loop, now_ms);
        lag_step(loop, now_ms);
    }
    stop_step(&loop->stop, is_drained(loop), now_ms);
    if (loop->stop.state == STOP_STOPPED)
        event_base_loopbreak(loop->base);
}

/* ---- the thread ---- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    step(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    on_event(fd, what, arg);
    publish_readiness(arg);
}

static void open_events(struct loop *loop)
{
    struct loop_events *events = &loop->events;
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    events->consumer =
        event_new(loop->base, consumer_fd(loop->consumer), EV_READ | EV_PERSIST, on_event, loop);
    events->wake =
        event_new(loop->base, loop->mailbox->wake_fd, EV_READ | EV_PERSIST, on_event, loop);
    events->tick = event_new(loop->base, -1, EV_PERSIST, on_tick, loop);
    events->again = event_new(loop->base, -1, 0, on_event, loop);
    event_add(events->consumer, NULL);
    event_add(events->wake, NULL);
    event_add(events->tick, &tick);
}

static void close_events(struct loop *loop)
{
    struct event *events[] = {loop->events.consumer, loop->events.wake, loop->events.tick,
                              loop->events.again};
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        if (events[i])
            event_free(events[i]);
}

static struct writer *open_writer(struct loop *loop)
{
    const struct settings *settings = loop->options.settings;
    const struct writer_options options = {
        .conninfo = loop->conninfo,
        .application_name = loop->application_name,
        .connect_timeout_ms = settings->db_connect_timeout_ms,
        .write_timeout_ms = settings->db_write_timeout_ms,
    };
    const struct connection_events events = {.on_ready = on_database_ready,
                                             .on_lost = on_database_lost};
    return writer_new(loop->base, &options, &events, loop);
}

static void open_parts(struct loop *loop)
{
    const struct settings *settings = loop->options.settings;
    loop->writer = open_writer(loop);
    loop->counts = counts_new(loop->options.metrics);
    loop->ledger = ledger_new(loop->options.metrics);
    loop->probe = probe_new(settings, loop->options.number);
    loop->lookup = lookup_new(consumer_handle(loop->consumer), loop->probe, on_lookup, loop);
    const struct placement_options placement = {
        .writer = loop->writer,
        .consumer = loop->consumer,
        .lookup = loop->lookup,
        .partitions = &loop->partitions,
        .group_id = settings->kafka_group_id,
        .on_gap = on_gap,
        .on_moved = on_moved,
        .on_progress = on_progress,
        .arg = loop,
    };
    loop->placement = placement_new(&placement);
    const struct delivery_events delivery = {.on_finished = on_finished,
                                             .on_swapped = on_swapped,
                                             .on_held = on_held,
                                             .on_stored = on_stored,
                                             .next_batch = next_batch,
                                             .on_progress = on_progress};
    loop->delivery = delivery_new(loop->writer, settings->kafka_group_id, loop->counts,
                                  loop->ledger, &delivery, loop);
    loop->announce = (struct announce){
        .writer = loop->writer, .consumer = loop->consumer, .partitions = &loop->partitions};
    loop->stop = (struct stop){.worker = loop->options.number,
                               .consumer = loop->consumer,
                               .announce = &loop->announce,
                               .counts = loop->counts};
    const struct quiet_options quiet = {.writer = loop->writer,
                                        .consumer = loop->consumer,
                                        .partitions = &loop->partitions,
                                        .group_id = settings->kafka_group_id,
                                        .on_lookup = on_lookup,
                                        .on_progress = on_progress,
                                        .arg = loop};
    loop->quiet = quiet_new(&quiet);
    const struct vigil_options vigil = {.writer = loop->writer,
                                        .consumer = loop->consumer,
                                        .probe = loop->probe,
                                        .partitions = &loop->partitions,
                                        .group_id = settings->kafka_group_id,
                                        .on_anew = on_anew,
                                        .on_lookup = on_lookup,
                                        .on_progress = on_progress,
                                        .arg = loop};
    loop->vigil = vigil_new(&vigil);
    loop->gather = (struct gather){.settings = settings,
                                   .rules = loop->options.rules,
                                   .slot = loop->options.slot,
                                   .consumer = loop->consumer,
                                   .partitions = &loop->partitions};
}

static void close_parts(struct loop *loop)
{
    delivery_abandon(loop->delivery);
    placement_cancel(loop->placement);
    writer_free(loop->writer);
    delivery_free(loop->delivery);
    lookup_free(loop->lookup);
    quiet_free(loop->quiet);
    vigil_free(loop->vigil);
    probe_free(loop->probe);
    placement_free(loop->placement);
    drop_loads(loop);
    batch_free(&loop->loads[0].batch);
    batch_free(&loop->loads[1].batch);
    holds_clear(&loop->holds, loop->counts);
    partitions_clear(&loop->partitions);
    counts_free(loop->counts);
    ledger_free(loop->ledger);
    schema_release(loop->schema);
    subscription_free(&loop->subscription);
    consumer_free(loop->consumer);
    loop->consumer = NULL;
}

static bool open_base(struct loop *loop, struct error *err)
{
    const struct consumer_events events = {.on_given = on_given, .on_taken = on_taken};
    loop->base = event_base_new();
    if (!loop->base)
        return error_set(err, "libevent has no way to wait for events");
    loop->consumer = consumer_new(loop->options.settings, loop->options.number, &events, loop, err);
    return loop->consumer != NULL;
}

struct loop *loop_new(const struct ingest_options *options, struct mailbox *mailbox,
                      struct error *err)
{
    struct loop *loop = memory_zero(1, sizeof(*loop));
    loop->options = *options;
    loop->mailbox = mailbox;
    loop->conninfo = settings_database(options->settings);
    loop->application_name = memory_printf("core-service ingest/%d", options->number);
    loop->gathering = &loop->loads[0];
    batch_init(&loop->loads[0].batch, consumer_release);
    batch_init(&loop->loads[1].batch, consumer_release);
    if (!open_base(loop, err)) {
        loop_free(loop);
        return NULL;
    }
    return loop;
}

void loop_run(struct loop *loop)
{
    open_events(loop);
    open_parts(loop);
    publish_readiness(loop);
    event_base_dispatch(loop->base);
    close_parts(loop);
    close_events(loop);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    consumer_free(loop->consumer);
    if (loop->base)
        event_base_free(loop->base);
    buffer_free(&loop->reasons);
    free(loop->conninfo);
    free(loop->application_name);
    free(loop);
}
