#include "ingest/delivery.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/numbers.h"
#include "ingest/reduce.h"
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

    struct arena arena; /* of what is being sent */
    struct reduced reduced;
    struct ledger_cut cut;
    struct write_rows rehearsed;
    struct write_batch write;
    bool prepared; /* `write` is the present step */
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
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    if (!delivery)
        return;
    witnesses_free(&delivery->witnesses);
    arena_free(&delivery->arena);
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

static void end(struct delivery *delivery)
{
    set_state(delivery, DELIVERY_IDLE);
    delivery->batch = NULL;
    went_well(delivery);
}

void delivery_abandon(struct delivery *delivery)
{
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

static void on_rehearsal_number(int64_t first, void *arg)
{
    struct delivery *delivery = arg;
    const struct row **rows = arena_alloc(&delivery->arena, sizeof(*rows));
    rows[0] = numbers_copy_row(delivery->rehearsed.rows[0], first, &delivery->arena);
    delivery->rehearsed.rows = rows;
}

/* A write of one row that is rolled back. False when there is no row. */
static bool prepare_rehearsal(struct delivery *delivery, const struct row *row)
{
    if (!row)
        return false;
    const struct row **rows = arena_alloc(&delivery->arena, sizeof(*rows));
    rows[0] = row;
    delivery->rehearsed = (struct write_rows){row->table, rows, 1};
    delivery->write = (struct write_batch){.group_id = delivery->group_id,
                                           .tables = &delivery->rehearsed,
                                           .n_tables = 1,
                                           .rehearse = true};
    if (delivery->suspect.part->stream->sequence_from_tracker) {
        delivery->write.n_numbers = 1;
        delivery->write.on_numbers = on_rehearsal_number;
        delivery->write.numbers_arg = delivery;
    }
    return true;
}

/* Fills in what the present run of entries comes to. */
static void fill_write(struct delivery *delivery)
{
    struct reduced *reduced = &delivery->reduced;
    struct write_batch *write = &delivery->write;
    reduce_range(delivery->batch, delivery->plan.from, delivery->plan.to, &delivery->arena,
                 reduced);
    ledger_compute(delivery->ledger, delivery->batch, delivery->plan.from, delivery->plan.to,
                   reduced, &delivery->arena, &delivery->cut);
    write->tables = reduced->tables;
    write->n_tables = reduced->n_tables;
    write->offsets = reduced->offsets;
    write->n_offsets = reduced->n_offsets;
    write->rejections = reduced->rejections;
    write->n_rejections = reduced->n_rejections;
    write->ledger = &delivery->cut.update;
}

/* Which row wins and what the ledger records follow from the numbers. */
static void on_numbers(int64_t first, void *arg)
{
    struct delivery *delivery = arg;
    numbers_give(delivery->batch, delivery->plan.from, delivery->plan.to, first);
    fill_write(delivery);
}

/* False when there is nothing to be stored in this run. What is still to be numbered is filled in
 * again by on_numbers(); until then offsets and tables are there for when something goes wrong. */
static bool prepare_write(struct delivery *delivery)
{
    size_t n_numbers = numbers_count(delivery->batch, delivery->plan.from, delivery->plan.to);
    delivery->write = (struct write_batch){.group_id = delivery->group_id,
                                           .n_numbers = n_numbers,
                                           .on_numbers = on_numbers,
                                           .numbers_arg = delivery};
    fill_write(delivery);
    return delivery->reduced.n_offsets > 0;
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
        arena_reset(&delivery->arena);
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
    for (size_t i = 0; i < delivery->reduced.n_tables; i++) {
        const struct write_rows *table = &delivery->reduced.tables[i];
        witnesses_keep(&delivery->witnesses, table->rows[table->n_rows - 1]);
    }
}

static bool is_writing(const struct refusal *plan)
{
    return plan->step == REFUSAL_WRITE || plan->step == REFUSAL_AGAIN;
}

/* `found` NULL: PostgreSQL's answer was lost. */
static void step_passed(struct delivery *delivery, const struct ledger_found *found)
{
    if (is_writing(&delivery->plan)) {
        const struct reduced *reduced = &delivery->reduced;
        for (size_t i = 0; i < reduced->n_offsets; i++)
            reduced->partitions[i]->stored = reduced->offsets[i].to;
        ledger_committed(delivery->ledger, &delivery->cut, found);
        counts_stored(delivery->counts, delivery->batch, delivery->plan.from, delivery->plan.to,
                      reduced, clock_monotonic_us() - delivery->sent_us);
        keep_witnesses(delivery);
        delivery->events.on_stored(reduced->partitions, reduced->n_offsets, delivery->arg);
    }
    refusal_tell(&delivery->plan, REFUSAL_PASSED);
}

static void step_refused(struct delivery *delivery, const struct write_result *result)
{
    struct refusal *plan = &delivery->plan;
    if (is_writing(plan) && plan->to - plan->from == 1) {
        const struct table_def *table = delivery->write.tables[result->table].table;
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
    bool of_a_table = result->table < delivery->write.n_tables;
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
    set_state(delivery, delivery->write.rehearse ? DELIVERY_READY : DELIVERY_UNSURE);
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
        went_well(delivery);
        step_passed(delivery, &result->found);
        set_state(delivery, DELIVERY_READY);
    } else if (result->outcome == WRITE_SWAPPED) {
        on_swapped(delivery);
    } else if (result->outcome == WRITE_LOST) {
        on_lost(delivery, result);
    } else {
        on_refused(delivery, result);
    }
    delivery->events.on_progress(delivery->arg);
}

/* ---- after a lost connection ---- */

enum place { PLACE_BEFORE, PLACE_AFTER, PLACE_ELSEWHERE };

/* Where PostgreSQL's offsets are, seen from the write that was lost: they moved all or none. */
static enum place compare_asked(const struct delivery *delivery)
{
    const struct reduced *reduced = &delivery->reduced;
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
    const struct reduced *reduced = &delivery->reduced;
    delivery->asked = arena_alloc(&delivery->arena, reduced->n_offsets * sizeof(*delivery->asked));
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
    if (writer_submit(delivery->writer, &delivery->write, on_written, delivery)) {
        delivery->sent_us = clock_monotonic_us();
        set_state(delivery, DELIVERY_WRITING);
    }
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
