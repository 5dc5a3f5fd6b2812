#include "ingest/redrive.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "ingest/batch.h"
#include "ingest/reduce.h"
#include "ingest/series.h"
#include "store/rejected.h"
#include "store/writer.h"

#define COMPONENT     "ingest"
#define PAGE_MESSAGES 500
#define PAGE_BYTES    ((size_t)8 * 1024 * 1024)
#define TURN_US       20000 /* of mapping, before the loop is given to others */
#define TRIES_MAX     5
#define RETRY_MS      200
#define RANGES_MAX    64 /* more than halvings of a page */
#define REASON_BYTES  200

enum redrive_state {
    REDRIVE_READING,
    REDRIVE_MAPPING,
    REDRIVE_WRITING,
    REDRIVE_WAITING,
    REDRIVE_ENDED,
};

/* Entries [from, to) of the page, to be written as one transaction. */
struct range {
    size_t from;
    size_t to;
};

struct redrive {
    struct redrive_options options;
    struct rejected_filter filter;
    char *stream;
    char *reason;
    void (*done)(const struct redrive_report *report, void *arg);
    void *arg;
    struct writer *writer;
    struct event *turn; /* the next step; WAITING: after a while */
    enum redrive_state state;

    /* the page: oldest first, as messages are reduced in that order */
    int64_t before;           /* all messages from this id on are dealt with */
    struct batch batch;       /* its entries have one part each, none when no stream is left */
    struct partition nowhere; /* of these entries: no offset moves */
    int64_t *ids;             /* of the entries; in the batch's arena */
    size_t n_mapped;

    struct range ranges[RANGES_MAX]; /* still to be written, the newest on top */
    size_t n_ranges;
    bool in_flight; /* the top one is */
    struct arena scratch;
    struct write_batch write;
    struct ledger_update ledger; /* which partitions carry the series */
    struct reduced reduced;
    int n_tries;

    struct redrive_report report;
};

/* ---- state ---- */

static const unsigned may_follow[] = {
    [REDRIVE_READING] = 1u << REDRIVE_MAPPING | 1u << REDRIVE_ENDED,
    [REDRIVE_MAPPING] = 1u << REDRIVE_WRITING | 1u << REDRIVE_ENDED,
    [REDRIVE_WRITING] = 1u << REDRIVE_READING | 1u << REDRIVE_WAITING | 1u << REDRIVE_ENDED,
    [REDRIVE_WAITING] = 1u << REDRIVE_WRITING | 1u << REDRIVE_ENDED,
    [REDRIVE_ENDED] = 0,
};

static void set_state(struct redrive *redrive, enum redrive_state state)
{
    if (!(may_follow[redrive->state] & 1u << state))
        die("re-drive: state %d after %d", (int)state, (int)redrive->state);
    redrive->state = state;
}

static void step_after(struct redrive *redrive, int delay_ms)
{
    const struct timeval delay = {delay_ms / 1000, delay_ms % 1000 * 1000};
    if (event_add(redrive->turn, &delay))
        die("no timer for a re-drive");
}

/* `done` is called from the loop, not from whatever found this out. */
static void end(struct redrive *redrive, const struct error *trouble)
{
    if (redrive->state == REDRIVE_ENDED)
        return;
    set_state(redrive, REDRIVE_ENDED);
    redrive->report.ok = !trouble;
    if (trouble)
        redrive->report.err = *trouble;
    step_after(redrive, 0);
}

/* ---- reading ---- */

/* Its number, or n_streams: there is none of that name, or it rests. */
static size_t find_stream(const struct rules_generation *rules, const char *name)
{
    const struct rules_def *def = rules_generation_def(rules);
    size_t i = 0;
    while (i < def->n_streams && strcmp(def->streams[i].name, name) != 0)
        i++;
    return i < def->n_streams && rules->resting[i] ? def->n_streams : i;
}

static void add_message(struct redrive *redrive, const struct rejected_message *rejected)
{
    struct batch *batch = &redrive->batch;
    struct arena *arena = &batch->arena;
    const struct rules_def *def = rules_generation_def(redrive->options.rules);
    size_t stream = find_stream(redrive->options.rules, rejected->stream);
    const struct message message = {
        .topic = arena_copy(arena, bytes_of_string(rejected->topic)).data,
        .partition = rejected->partition,
        .offset = rejected->offset,
        .timestamp_ms = -1, /* rejected_messages does not keep it */
        .key = arena_copy(arena, rejected->key),
        .payload = arena_copy(arena, rejected->payload),
    };
    redrive->ids[batch->n_entries] = rejected->id;
    bool known = stream < def->n_streams;
    struct entry *entry = batch_add(batch, &redrive->nowhere, &message, known, NULL);
    if (known)
        entry->parts[0].stream = &def->streams[stream];
}

static void on_settled(const struct error *err, void *arg)
{
    end(arg, err);
}

/* All messages are dealt with; what they had left open in the ledger is closed where nothing of it
 * is pending. */
static void settle_gaps(struct redrive *redrive)
{
    if (redrive->options.dry_run)
        end(redrive, NULL);
    else
        rejected_settle(redrive->options.control, redrive->filter.group_id, on_settled, redrive);
}

static void on_page(const struct rejected_message *messages, size_t n, const struct error *err,
                    void *arg)
{
    struct redrive *redrive = arg;
    if (redrive->state == REDRIVE_ENDED)
        return;
    if (!messages) {
        end(redrive, err);
        return;
    }
    if (n == 0) {
        settle_gaps(redrive);
        return;
    }
    redrive->ids = arena_alloc(&redrive->batch.arena, n * sizeof *redrive->ids);
    for (size_t i = n; i > 0; i--)
        add_message(redrive, &messages[i - 1]);
    redrive->n_mapped = 0;
    set_state(redrive, REDRIVE_MAPPING);
    step_after(redrive, 0);
}

static void read_page(struct redrive *redrive)
{
    const struct rejected_page page = {redrive->before, PAGE_MESSAGES, PAGE_BYTES};
    batch_reset(&redrive->batch);
    rejected_list(redrive->options.control, &redrive->filter, &page, on_page, redrive);
}

/* ---- mapping ---- */

static void map_some(struct redrive *redrive)
{
    struct batch *batch = &redrive->batch;
    const struct rules_def *def = rules_generation_def(redrive->options.rules);
    int64_t until_us = clock_monotonic_us() + TURN_US;
    while (redrive->n_mapped < batch->n_entries && clock_monotonic_us() < until_us) {
        struct entry *entry = &batch->entries[redrive->n_mapped++];
        if (entry->n_parts > 0)
            rules_map(redrive->options.rules->states[0],
                      (size_t)(entry->parts[0].stream - def->streams), &entry->message,
                      &batch->arena, &entry->parts[0].mapped);
    }
    if (redrive->n_mapped == batch->n_entries) {
        redrive->ranges[0] = (struct range){0, batch->n_entries};
        redrive->n_ranges = 1;
        redrive->n_tries = 0;
        set_state(redrive, REDRIVE_WRITING);
    }
    step_after(redrive, 0);
}

/* ---- what is written ---- */

static struct settlement settlement_of(int64_t id, const struct part *part)
{
    const struct map_result *mapped = &part->mapped;
    if (mapped->verdict != MAP_REJECT)
        return (struct settlement){.id = id, .passed = true};
    return (struct settlement){.id = id,
                               .stage = reject_stage_name(mapped->stage),
                               .reason = mapped->reason,
                               .sqlstate = part->sqlstate};
}

static void add_settlements(struct redrive *redrive, struct range range)
{
    struct settlement *settlements =
        arena_alloc(&redrive->scratch, (range.to - range.from) * sizeof *settlements);
    size_t n = 0;
    for (size_t i = range.from; i < range.to; i++)
        if (redrive->batch.entries[i].n_parts > 0)
            settlements[n++] = settlement_of(redrive->ids[i], redrive->batch.entries[i].parts);
    redrive->write.settlements = settlements;
    redrive->write.n_settlements = n;
}

static size_t count_rows(const struct batch *batch, struct range range)
{
    size_t n = 0;
    for (size_t i = range.from; i < range.to; i++)
        if (batch->entries[i].n_parts > 0)
            n += batch->entries[i].parts[0].mapped.n_rows;
    return n;
}

/* What a range adds to the ledger, while it is gone through; with room for all its rows. */
struct healing {
    struct healed_number *healed;
    size_t n_healed;
    struct series_place *places; /* numbered globally */
    size_t n_places;
    struct series_run *runs; /* numbered densely */
    size_t n_runs;
};

/* The number has been read in this partition after all. */
static void add_number(struct healing *healing, const struct entry *entry)
{
    const struct healed_number *healed = &healing->healed[healing->n_healed++];
    const struct series_place place = {.name = {healed->table, healed->series},
                                       .topic = entry->message.topic,
                                       .partition = entry->message.partition};
    if (entry->parts[0].stream->dense)
        healing->runs[healing->n_runs++] = (struct series_run){
            .place = place, .from = healed->sequence - 1, .to = healed->sequence, .accepted = true};
    else
        healing->places[healing->n_places++] = place;
}

/* The ledger's share: every number that a series has got now, superseded ones included, and where.
 */
static void add_healed(struct redrive *redrive, struct range range)
{
    const struct batch *batch = &redrive->batch;
    struct arena *arena = &redrive->scratch;
    size_t room = count_rows(batch, range);
    struct healing healing = {.healed = arena_alloc(arena, room * sizeof *healing.healed),
                              .places = arena_alloc(arena, room * sizeof *healing.places),
                              .runs = arena_alloc(arena, room * sizeof *healing.runs)};
    for (size_t i = range.from; i < range.to; i++) {
        const struct entry *entry = &batch->entries[i];
        if (entry->n_parts == 0 || entry->parts[0].mapped.verdict != MAP_ROWS)
            continue;
        const struct map_result *mapped = &entry->parts[0].mapped;
        for (size_t r = 0; r < mapped->n_rows; r++)
            if (series_number(&mapped->rows[r], arena, &healing.healed[healing.n_healed]))
                add_number(&healing, entry);
    }
    redrive->write.healed = healing.healed;
    redrive->write.n_healed = healing.n_healed;
    redrive->ledger = (struct ledger_update){.runs = healing.runs,
                                             .n_runs = healing.n_runs,
                                             .places = healing.places,
                                             .n_places = healing.n_places};
    redrive->write.ledger = &redrive->ledger;
}

static void prepare(struct redrive *redrive, struct range range)
{
    arena_reset(&redrive->scratch);
    reduce_range(&redrive->batch, range.from, range.to, &redrive->scratch, &redrive->reduced);
    redrive->write = (struct write_batch){
        .group_id = redrive->filter.group_id,
        .tables = redrive->reduced.tables,
        .n_tables = redrive->reduced.n_tables,
        .rules_hash = redrive->options.rules->snapshot->hash,
        .order = UPSERT_LATE,
        .durable = true,
        .rehearse = redrive->options.dry_run,
    };
    add_settlements(redrive, range);
    add_healed(redrive, range);
}

/* ---- the account ---- */

static void note_reason(struct redrive_report *report, struct bytes reason)
{
    size_t size = reason.size < REASON_BYTES ? reason.size : REASON_BYTES;
    if (report->n_reasons == REDRIVE_REASONS_MAX)
        return;
    for (size_t i = 0; i < report->n_reasons; i++)
        if (bytes_equal(bytes_of_string(report->reasons[i]), bytes_of(reason.data, size)))
            return;
    report->reasons[report->n_reasons++] = memory_string_n(reason.data, size);
}

static void count_entry(struct redrive_report *report, const struct entry *entry)
{
    report->seen++;
    if (entry->n_parts == 0) {
        report->refused++;
        note_reason(report, bytes_of_string("its stream is not live today"));
        return;
    }
    const struct map_result *mapped = &entry->parts[0].mapped;
    switch (mapped->verdict) {
    case MAP_ROWS:
        report->stored++;
        return;
    case MAP_SKIP:
        report->skipped++;
        return;
    case MAP_REJECT:
        report->refused++;
        note_reason(report, mapped->reason);
        return;
    }
    die("verdict %d", (int)mapped->verdict);
}

/* The range on top is dealt with. */
static void finish_range(struct redrive *redrive)
{
    struct range range = redrive->ranges[--redrive->n_ranges];
    for (size_t i = range.from; i < range.to; i++)
        count_entry(&redrive->report, &redrive->batch.entries[i]);
    redrive->before = redrive->ids[range.from];
    redrive->n_tries = 0;
}

/* ---- when PostgreSQL refuses ---- */

/* No rows of ours can help: what is asked for is not there or not allowed. A table that has changed
 * refuses every row, and no message is to blame for it. */
static bool is_about_the_table(const struct write_result *result)
{
    return result->class == SQLSTATE_DATA && strncmp(result->failure.sqlstate, "42", 2) == 0;
}

/* "No partition for the row" is waited for by ingest; a message this old may never get one. */
static bool is_to_be_repeated(const struct write_result *result)
{
    return result->class == SQLSTATE_RETRY && strcmp(result->failure.sqlstate, "23514") != 0;
}

static void repeat(struct redrive *redrive, const struct error *trouble)
{
    if (++redrive->n_tries > TRIES_MAX) {
        end(redrive, trouble);
        return;
    }
    set_state(redrive, REDRIVE_WAITING);
    step_after(redrive, RETRY_MS * redrive->n_tries);
}

/* The newer half is written first, so that it does the filling. */
static void halve(struct redrive *redrive)
{
    struct range *top = &redrive->ranges[redrive->n_ranges - 1];
    size_t middle = top->from + (top->to - top->from) / 2;
    if (redrive->n_ranges == RANGES_MAX)
        die("re-drive: a page was halved %d times", RANGES_MAX);
    redrive->ranges[redrive->n_ranges++] = (struct range){middle, top->to};
    top->to = middle;
}

static void refused(struct redrive *redrive, const struct write_result *result)
{
    struct range range = redrive->ranges[redrive->n_ranges - 1];
    struct entry *entry = &redrive->batch.entries[range.from];
    if (is_to_be_repeated(result)) {
        repeat(redrive, &result->failure.err);
    } else if (is_about_the_table(result)) {
        struct error err = result->failure.err;
        error_context(&err, strcmp(result->failure.sqlstate, "42883") == 0
                                ? "not all migrations are applied (scripts/migrate, installed as "
                                  "core-service-migrate)"
                                : "the table refuses every row");
        end(redrive, &err);
    } else if (range.to - range.from > 1) {
        halve(redrive);
        step_after(redrive, 0);
    } else if (entry->n_parts > 0 && entry->parts[0].mapped.verdict == MAP_ROWS) {
        batch_reject_part(&redrive->batch, entry->parts, result->failure.sqlstate,
                          result->failure.err.text);
        step_after(redrive, 0);
    } else {
        end(redrive, &result->failure.err);
    }
}

/* ---- writing ---- */

static void on_written(const struct write_result *result, void *arg)
{
    struct redrive *redrive = arg;
    redrive->in_flight = false;
    if (redrive->state == REDRIVE_ENDED)
        return;
    switch (result->outcome) {
    case WRITE_COMMITTED:
        finish_range(redrive);
        step_after(redrive, 0);
        return;
    case WRITE_SWAPPED: /* another re-drive had one of them: what is left of the page is read anew
                         */
        redrive->n_ranges = 0;
        step_after(redrive, 0);
        return;
    case WRITE_REFUSED:
        refused(redrive, result);
        return;
    case WRITE_LOST:
        end(redrive, &result->failure.err);
        return;
    }
    die("outcome %d", (int)result->outcome);
}

static void write_next(struct redrive *redrive)
{
    if (redrive->in_flight || !writer_is_ready(redrive->writer))
        return; /* on_written or on_ready go on */
    if (redrive->n_ranges == 0) {
        set_state(redrive, REDRIVE_READING);
        read_page(redrive);
        return;
    }
    prepare(redrive, redrive->ranges[redrive->n_ranges - 1]);
    if (redrive->write.n_settlements == 0) {
        finish_range(redrive); /* all of streams that are gone: they stay as they are */
        step_after(redrive, 0);
        return;
    }
    redrive->in_flight = writer_submit(redrive->writer, &redrive->write, on_written, redrive);
}

static void on_ready(void *arg)
{
    struct redrive *redrive = arg;
    if (redrive->state == REDRIVE_WRITING)
        step_after(redrive, 0);
}

static void on_lost(const struct error *err, void *arg)
{
    end(arg, err);
}

/* ---- the whole ---- */

static void finish(struct redrive *redrive)
{
    const struct redrive_report *report = &redrive->report;
    log_write(report->ok ? LOG_INFO : LOG_ERROR, COMPONENT,
              "re-drive%s: %" PRId64 " messages seen, %" PRId64 " stored, %" PRId64
              " skipped, %" PRId64 " refused%s%s",
              report->dry_run ? " (dry run)" : "", report->seen, report->stored, report->skipped,
              report->refused, report->ok ? "" : ", then it stopped: ", report->err.text);
    redrive->done(report, redrive->arg);
}

static void on_turn(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct redrive *redrive = arg;
    switch (redrive->state) {
    case REDRIVE_READING:
        read_page(redrive);
        return;
    case REDRIVE_MAPPING:
        map_some(redrive);
        return;
    case REDRIVE_WAITING:
        set_state(redrive, REDRIVE_WRITING);
        write_next(redrive);
        return;
    case REDRIVE_WRITING:
        write_next(redrive);
        return;
    case REDRIVE_ENDED:
        finish(redrive);
        return;
    }
    die("state %d", (int)redrive->state);
}

static struct writer *open_writer(struct redrive *redrive)
{
    static const struct connection_events events = {on_ready, on_lost};
    const struct settings *settings = redrive->options.settings;
    char *database = settings_database(settings);
    const struct writer_options options = {
        .conninfo = database,
        .application_name = "core-service redrive",
        .connect_timeout_ms = settings->db_connect_timeout_ms,
        .write_timeout_ms = settings->db_write_timeout_ms,
    };
    struct writer *writer = writer_new(redrive->options.base, &options, &events, redrive);
    writer_set_schema(writer, redrive->options.schema);
    free(database);
    return writer;
}

struct redrive *redrive_start(const struct redrive_options *options,
                              void (*done)(const struct redrive_report *report, void *arg),
                              void *arg)
{
    struct redrive *redrive = memory_zero(1, sizeof *redrive);
    redrive->options = *options;
    redrive->done = done;
    redrive->arg = arg;
    redrive->stream = options->stream ? memory_string(options->stream) : NULL;
    redrive->reason = options->reason ? memory_string(options->reason) : NULL;
    redrive->filter = (struct rejected_filter){
        .group_id = options->settings->kafka_group_id,
        .stream = redrive->stream,
        .reason = redrive->reason,
        .state = REJECTED_PENDING,
    };
    redrive->before = INT64_MAX;
    redrive->report.dry_run = options->dry_run;
    batch_init(&redrive->batch, NULL);
    redrive->turn = evtimer_new(options->base, on_turn, redrive);
    redrive->writer = open_writer(redrive);
    step_after(redrive, 0);
    return redrive;
}

void redrive_free(struct redrive *redrive)
{
    if (!redrive)
        return;
    writer_free(redrive->writer);
    event_free(redrive->turn);
    batch_free(&redrive->batch);
    arena_free(&redrive->scratch);
    for (size_t i = 0; i < redrive->report.n_reasons; i++)
        free((char *)redrive->report.reasons[i]);
    free(redrive->stream);
    free(redrive->reason);
    free(redrive);
}
