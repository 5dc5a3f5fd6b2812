#include "ingest/delivery.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/numbers.h"
#include "ingest/outgoing.h"
#include "ingest/refusal.h"
#include "ingest/witness.h"

#define COMPONENT        "ingest"
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS   10000
#define LOG_INTERVAL_MS  10000

enum delivery_state {
    DELIVERY_IDLE,
    DELIVERY_READY,   /* the present step is to be sent */
    DELIVERY_WRITING, /* it has been sent */
    DELIVERY_WAITING, /* it is to be sent again at retry_at_ms */
    DELIVERY_UNSURE,  /* the connection was lost in between: was it committed? */
    DELIVERY_ASKING,  /* the offsets that answer this are being read */
};

#define AFTER(state) (1u << (state))

static const struct {
    const char *name;
    unsigned next;
} STATES[] = {
    [DELIVERY_IDLE] = {"idle", AFTER(DELIVERY_READY)},
    [DELIVERY_READY] = {"ready", AFTER(DELIVERY_WRITING) | AFTER(DELIVERY_IDLE)},
    [DELIVERY_WRITING] = {"writing", AFTER(DELIVERY_READY) | AFTER(DELIVERY_WAITING) |
                                         AFTER(DELIVERY_UNSURE) | AFTER(DELIVERY_IDLE)},
    [DELIVERY_WAITING] = {"waiting", AFTER(DELIVERY_READY) | AFTER(DELIVERY_IDLE)},
    [DELIVERY_UNSURE] = {"unsure", AFTER(DELIVERY_ASKING) | AFTER(DELIVERY_IDLE)},
    [DELIVERY_ASKING] = {"asking",
                         AFTER(DELIVERY_READY) | AFTER(DELIVERY_UNSURE) | AFTER(DELIVERY_IDLE)},
};

/* The single entry that is refused, and why. */
struct suspect {
    struct part *part;
    const struct table_def *table;
    char sqlstate[6];
    struct error reason;
};

struct delivery {
    struct writer *writer;
    const char *group_id;
    struct counts *counts;
    struct ledger *ledger;
    struct delivery_events events;
    void *arg;

    enum delivery_state state;
    bool abandoned;
    struct batch *batch;
    struct refusal plan;
    struct suspect suspect;
    struct witnesses witnesses;

    struct outgoing writes[2];
    struct outgoing *present; /* what is being sent */
    struct outgoing *next;    /* and what is made ready behind it, if it has a batch */
    bool prepared;            /* `present` is the present step */
    struct partition_offset *asked;
    int64_t sent_us;

    int backoff_ms;
    int64_t retry_at_ms;
    struct log_limit retry_limit;
    struct error trouble;
};

static void set_state(struct delivery *delivery, enum delivery_state state)
{
    if (!(STATES[delivery->state].next & AFTER(state)))
        die("delivery: %s may not follow %s", STATES[state].name, STATES[delivery->state].name);
    delivery->state = state;
}

struct delivery *delivery_new(struct writer *writer, const char *group_id, struct counts *counts,
                              struct ledger *ledger, const struct delivery_events *events,
                              void *arg)
{
    struct delivery *delivery = memory_zero(1, sizeof(*delivery));
    delivery->writer = writer;
    delivery->group_id = group_id;
    delivery->counts = counts;
    delivery->ledger = ledger;
    delivery->events = *events;
    delivery->arg = arg;
    delivery->present = &delivery->writes[0];
    delivery->next = &delivery->writes[1];
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    if (!delivery)
        return;
    witnesses_free(&delivery->witnesses);
    outgoing_free(&delivery->writes[0]);
    outgoing_free(&delivery->writes[1]);
    free(delivery);
}

bool delivery_is_idle(const struct delivery *delivery)
{
    return delivery->state == DELIVERY_IDLE;
}

const char *delivery_trouble(const struct delivery *delivery)
{
    return delivery->trouble.text;
}

static void went_well(struct delivery *delivery)
{
    delivery->backoff_ms = 0;
    delivery->trouble.text[0] = '\0';
}

void delivery_begin(struct delivery *delivery, struct batch *batch)
{
    set_state(delivery, DELIVERY_READY);
    delivery->batch = batch;
    delivery->abandoned = false;
    delivery->prepared = false;
    refusal_begin(&delivery->plan, batch->n_entries);
}

void delivery_forget_next(struct delivery *delivery)
{
    if (!delivery->next->batch)
        return;
    outgoing_clear(delivery->next);
    writer_prepare(delivery->writer, NULL);
}

static void end(struct delivery *delivery)
{
    set_state(delivery, DELIVERY_IDLE);
    delivery_forget_next(delivery);
    delivery->batch = NULL;
    went_well(delivery);
}

void delivery_abandon(struct delivery *delivery)
{
    delivery_forget_next(delivery);
    if (delivery->state == DELIVERY_WRITING || delivery->state == DELIVERY_ASKING)
        delivery->abandoned = true;
    else if (delivery->state != DELIVERY_IDLE)
        end(delivery);
}

void delivery_hurry(struct delivery *delivery)
{
    delivery->retry_at_ms = 0;
}

/* ---- making the present step ready to be sent ---- */

static const struct row *row_of_table(const struct part *part, const struct table_def *table)
{
    for (size_t i = 0; part->mapped.verdict == MAP_ROWS && i < part->mapped.n_rows; i++)
        if (part->mapped.rows[i].table == table)
            return &part->mapped.rows[i];
    return NULL;
}

static struct part *part_of_table(const struct entry *entry, const struct table_def *table)
{
    for (size_t i = 0; i < entry->n_parts; i++)
        if (row_of_table(&entry->parts[i], table))
            return &entry->parts[i];
    return NULL;
}

/* The rows of the suspect's table in entries from `first` on: their number, and row number
 * `wanted`. */
static size_t count_others(const struct batch *batch, size_t first, const struct table_def *table,
                           size_t wanted, const struct row **row)
{
    size_t count = 0;
    for (size_t i = first; batch && i < batch->n_entries; i++) {
        const struct part *part = part_of_table(&batch->entries[i], table);
        if (part && count++ == wanted)
            *row = row_of_table(part, table);
    }
    return count;
}

/* The n-th of up to REFUSAL_OTHERS_MAX rows, spread evenly over what is at hand: bad rows often
 * come in runs. */
static const struct row *find_other(struct delivery *delivery, size_t n)
{
    const struct table_def *table = delivery->suspect.table;
    const struct batch *behind = delivery->events.next_batch(delivery->arg);
    const struct row *row = NULL;
    size_t first = delivery->plan.from + 1;
    size_t here = count_others(delivery->batch, first, table, SIZE_MAX, &row);
    size_t total = here + count_others(behind, 0, table, SIZE_MAX, &row);
    if (n >= total)
        return NULL;

    size_t wanted = total <= REFUSAL_OTHERS_MAX ? n : n * total / REFUSAL_OTHERS_MAX;
    if (wanted < here)
        count_others(delivery->batch, first, table, wanted, &row);
    else
        count_others(behind, 0, table, wanted - here, &row);
    return row;
}

static bool prepare_rehearsal(struct delivery *delivery, const struct row *row)
{
    if (row)
        outgoing_rehearse(delivery->present, delivery->group_id, row,
                          delivery->suspect.part->stream->sequence_from_tracker);
    return row != NULL;
}

static bool prepare_write(struct delivery *delivery)
{
    return outgoing_make(delivery->present, delivery->group_id, delivery->ledger, delivery->batch,
                         delivery->plan.from, delivery->plan.to, NULL);
}

static void reject_suspect(struct delivery *delivery)
{
    const struct suspect *suspect = &delivery->suspect;
    numbers_take_back(suspect->part);
    batch_reject_part(delivery->batch, suspect->part, suspect->sqlstate, suspect->reason.text);
}

static void hold_suspect(struct delivery *delivery)
{
    const struct suspect *suspect = &delivery->suspect;
    const struct entry *entry = &delivery->batch->entries[delivery->plan.from];
    const struct refused_table refused = {
        .topic = entry->partition->topic,
        .stream = suspect->part->stream->name,
        .table = suspect->table->name,
        .sqlstate = suspect->sqlstate,
        .reason = suspect->reason.text,
        .certain = delivery->plan.n_refused_rows > 0,
    };
    batch_drop_topic(delivery->batch, delivery->plan.from, refused.topic);
    delivery->events.on_held(&refused, delivery->arg);
}

/* Goes through the plan up to a step that has something to send. False when there is none left. */
static bool prepare(struct delivery *delivery)
{
    for (;;) {
        switch (delivery->plan.step) {
        case REFUSAL_WRITE:
        case REFUSAL_AGAIN:
            if (prepare_write(delivery))
                return true;
            refusal_tell(&delivery->plan, REFUSAL_PASSED);
            break;
        case REFUSAL_WITNESS:
            if (prepare_rehearsal(delivery,
                                  witnesses_find(&delivery->witnesses, delivery->suspect.table)))
                return true;
            refusal_tell(&delivery->plan, REFUSAL_MISSING);
            break;
        case REFUSAL_OTHER:
            if (prepare_rehearsal(delivery, find_other(delivery, delivery->plan.other)))
                return true;
            refusal_tell(&delivery->plan, REFUSAL_MISSING);
            break;
        case REFUSAL_REJECT:
            reject_suspect(delivery);
            refusal_tell(&delivery->plan, REFUSAL_PASSED);
            break;
        case REFUSAL_HOLD:
            hold_suspect(delivery);
            refusal_tell(&delivery->plan, REFUSAL_PASSED);
            break;
        case REFUSAL_DONE:
            return false;
        }
    }
}

/* ---- what became of it ---- */

static void retry_later(struct delivery *delivery, const char *sqlstate, const struct error *why)
{
    delivery->backoff_ms = delivery->backoff_ms == 0 ? BACKOFF_FIRST_MS : delivery->backoff_ms * 2;
    if (delivery->backoff_ms > BACKOFF_MAX_MS)
        delivery->backoff_ms = BACKOFF_MAX_MS;
    delivery->retry_at_ms = clock_monotonic_ms() + delivery->backoff_ms;
    counts_retry(delivery->counts, sqlstate);
    error_set(&delivery->trouble, "a write is refused for now (%s): %s", sqlstate, why->text);

    uint64_t held_back;
    if (log_limit_pass(&delivery->retry_limit, LOG_INTERVAL_MS, &held_back))
        log_warn(COMPONENT, "%s; nothing is lost, it is tried again", delivery->trouble.text);
    set_state(delivery, DELIVERY_WAITING);
}

static void keep_witnesses(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->present->reduced.n_tables; i++) {
        const struct write_rows *table = &delivery->present->reduced.tables[i];
        witnesses_keep(&delivery->witnesses, table->rows[table->n_rows - 1]);
    }
}

static bool is_writing(const struct refusal *plan)
{
    return plan->step == REFUSAL_WRITE || plan->step == REFUSAL_AGAIN;
}

/* PostgreSQL holds the entries of the present step. `found` NULL: its answer was lost. */
static void take_stored(struct delivery *delivery, const struct ledger_found *found)
{
    const struct reduced *reduced = &delivery->present->reduced;
    for (size_t i = 0; i < reduced->n_offsets; i++)
        reduced->partitions[i]->stored = reduced->offsets[i].to;
    ledger_committed(delivery->ledger, &delivery->present->cut, found);
}

static void tell_stored(struct delivery *delivery, int64_t write_us)
{
    const struct outgoing *present = delivery->present;
    counts_stored(delivery->counts, present->batch, present->from, present->to, &present->reduced,
                  write_us);
    keep_witnesses(delivery);
    delivery->events.on_stored(present->reduced.partitions, present->reduced.n_offsets,
                               delivery->arg);
}

static void step_passed(struct delivery *delivery, const struct ledger_found *found)
{
    if (is_writing(&delivery->plan)) {
        take_stored(delivery, found);
        tell_stored(delivery, clock_monotonic_us() - delivery->sent_us);
    }
    refusal_tell(&delivery->plan, REFUSAL_PASSED);
}

static void step_refused(struct delivery *delivery, const struct write_result *result)
{
    struct refusal *plan = &delivery->plan;
    if (is_writing(plan) && plan->to - plan->from == 1) {
        const struct table_def *table = delivery->present->write.tables[result->table].table;
        struct suspect *suspect = &delivery->suspect;
        suspect->table = table;
        suspect->part = part_of_table(&delivery->batch->entries[plan->from], table);
        snprintf(suspect->sqlstate, sizeof(suspect->sqlstate), "%s", result->failure.sqlstate);
        suspect->reason = result->failure.err;
    }
    refusal_tell(plan, REFUSAL_REFUSED);
}

static void on_refused(struct delivery *delivery, const struct write_result *result)
{
    const struct segment_failure *failure = &result->failure;
    enum sqlstate_class class = result->class;
    log_debug(COMPONENT, "%s of entries %zu to %zu refused (%s): %s",
              refusal_step_name(delivery->plan.step), delivery->plan.from, delivery->plan.to,
              failure->sqlstate, failure->err.text);

    /* What none of the tables refused is the service's own trouble: no message is at fault. */
    bool of_a_table = result->table < delivery->present->write.n_tables;
    bool can_halve = class == SQLSTATE_HALVE && delivery->plan.to - delivery->plan.from > 1;
    if (class == SQLSTATE_RETRY || (!of_a_table && !can_halve)) {
        retry_later(delivery, failure->sqlstate, &failure->err);
        return;
    }
    set_state(delivery, DELIVERY_READY);
    step_refused(delivery, result);
}

static void on_swapped(struct delivery *delivery)
{
    counts_swapped(delivery->counts);
    end(delivery);
    delivery->events.on_swapped(delivery->arg);
}

static void on_lost(struct delivery *delivery, const struct write_result *result)
{
    counts_retry(delivery->counts, "");
    error_set(&delivery->trouble, "the connection was lost while writing: %s",
              result->failure.err.text);
    set_state(delivery, delivery->present->write.rehearse ? DELIVERY_READY : DELIVERY_UNSURE);
}

static void on_written(const struct write_result *result, void *arg);

static bool submit(struct delivery *delivery, const struct outgoing *out)
{
    if (!writer_submit(delivery->writer, &out->write, on_written, delivery))
        return false;
    delivery->sent_us = clock_monotonic_us();
    return true;
}

/* Before the batch that has been stored is accounted for: PostgreSQL is idle meanwhile. */
static bool send_next(struct delivery *delivery)
{
    return delivery->next->batch && outgoing_is_current(delivery->next) &&
           submit(delivery, delivery->next);
}

/* The next batch, which has been sent, takes the place of the present one. */
static void go_on_with_next(struct delivery *delivery)
{
    struct outgoing *done = delivery->present;
    delivery->present = delivery->next;
    delivery->next = done;
    outgoing_clear(done);
    delivery->batch = delivery->present->batch;
    delivery->prepared = true;
    refusal_begin(&delivery->plan, delivery->batch->n_entries);
    delivery->events.on_finished(delivery->arg);
}

static void on_committed(struct delivery *delivery, const struct ledger_found *found)
{
    went_well(delivery);
    int64_t write_us = clock_monotonic_us() - delivery->sent_us;
    bool stored = is_writing(&delivery->plan);
    if (stored)
        take_stored(delivery, found);
    bool goes_on = send_next(delivery);
    if (stored)
        tell_stored(delivery, write_us);
    refusal_tell(&delivery->plan, REFUSAL_PASSED);
    if (goes_on)
        go_on_with_next(delivery);
    else
        set_state(delivery, DELIVERY_READY);
}

static void on_written(const struct write_result *result, void *arg)
{
    struct delivery *delivery = arg;
    delivery->prepared = false;
    if (delivery->abandoned) {
        if (result->outcome == WRITE_COMMITTED)
            step_passed(delivery, &result->found);
        end(delivery);
    } else if (result->outcome == WRITE_COMMITTED) {
        on_committed(delivery, &result->found);
    } else if (result->outcome == WRITE_SWAPPED) {
        on_swapped(delivery);
    } else if (result->outcome == WRITE_LOST) {
        on_lost(delivery, result);
    } else {
        on_refused(delivery, result);
    }
    delivery_forget_next(delivery); /* it has been sent, or what it follows on did not happen */
    delivery->events.on_progress(delivery->arg);
}

/* ---- after a lost connection ---- */

enum place { PLACE_BEFORE, PLACE_AFTER, PLACE_ELSEWHERE };

/* Where PostgreSQL's offsets are, seen from the write that was lost: they moved all or none. */
static enum place compare_asked(const struct delivery *delivery)
{
    const struct reduced *reduced = &delivery->present->reduced;
    bool before = true, after = true;
    for (size_t i = 0; i < reduced->n_offsets; i++) {
        const struct partition_offset *found = &delivery->asked[i];
        before = before && found->known && found->next_offset == reduced->offsets[i].from;
        after = after && found->known && found->next_offset == reduced->offsets[i].to;
    }
    return after ? PLACE_AFTER : before ? PLACE_BEFORE : PLACE_ELSEWHERE;
}

static void on_asked(bool ok, const struct error *err, void *arg)
{
    struct delivery *delivery = arg;
    if (delivery->abandoned) {
        end(delivery);
    } else if (!ok) {
        error_set(&delivery->trouble, "offsets cannot be read: %s", err->text);
        delivery->retry_at_ms = clock_monotonic_ms() + BACKOFF_FIRST_MS;
        set_state(delivery, DELIVERY_UNSURE);
    } else {
        switch (compare_asked(delivery)) {
        case PLACE_AFTER:
            log_info(COMPONENT, "the write that was cut off had been committed");
            step_passed(delivery, NULL);
            set_state(delivery, DELIVERY_READY);
            break;
        case PLACE_BEFORE:
            set_state(delivery, DELIVERY_READY);
            break;
        case PLACE_ELSEWHERE:
            on_swapped(delivery);
            break;
        }
    }
    delivery->events.on_progress(delivery->arg);
}

static void ask(struct delivery *delivery)
{
    const struct reduced *reduced = &delivery->present->reduced;
    delivery->asked =
        arena_alloc(&delivery->present->arena, reduced->n_offsets * sizeof(*delivery->asked));
    for (size_t i = 0; i < reduced->n_offsets; i++)
        delivery->asked[i] = (struct partition_offset){.topic = reduced->offsets[i].topic,
                                                       .partition = reduced->offsets[i].partition};
    if (writer_read_offsets(delivery->writer, delivery->group_id, delivery->asked,
                            reduced->n_offsets, on_asked, delivery))
        set_state(delivery, DELIVERY_ASKING);
}

/* ---- the step ---- */

static void send(struct delivery *delivery)
{
    if (!delivery->prepared && !prepare(delivery)) {
        end(delivery);
        delivery->events.on_finished(delivery->arg);
        return;
    }
    delivery->prepared = true;
    if (submit(delivery, delivery->present))
        set_state(delivery, DELIVERY_WRITING);
}

void delivery_step(struct delivery *delivery, int64_t now_ms)
{
    if (!writer_is_ready(delivery->writer))
        return;
    if (delivery->state == DELIVERY_WAITING && now_ms >= delivery->retry_at_ms)
        set_state(delivery, DELIVERY_READY);
    if (delivery->state == DELIVERY_UNSURE && now_ms >= delivery->retry_at_ms)
        ask(delivery);
    if (delivery->state == DELIVERY_READY)
        send(delivery);
}

/* Only a batch that is written as a whole has one behind it: of what is cut in pieces nobody knows
 * what will have been stored at the end. */
static bool may_prepare_next(const struct delivery *delivery)
{
    const struct refusal *plan = &delivery->plan;
    return delivery->state == DELIVERY_WRITING && !delivery->abandoned && !delivery->next->batch &&
           plan->step == REFUSAL_WRITE && plan->from == 0 &&
           plan->to == delivery->batch->n_entries && delivery->present->write.n_numbers == 0;
}

void delivery_prepare_next(struct delivery *delivery, struct batch *batch)
{
    if (!may_prepare_next(delivery) || numbers_count(batch, 0, batch->n_entries) > 0)
        return;
    if (outgoing_make(delivery->next, delivery->group_id, delivery->ledger, batch, 0,
                      batch->n_entries, delivery->present))
        writer_prepare(delivery->writer, &delivery->next->write);
    else
        outgoing_clear(delivery->next);
}
