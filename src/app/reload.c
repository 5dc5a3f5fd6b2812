#include "app/reload.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "app/archive.h"
#include "app/fit.h"
#include "app/reload_queue.h"
#include "app/rules_status.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/server.h"
#include "rules/watch.h"

#define CHECK_AGAIN_MIN_MS 500 /* first wait before the database is asked again */
#define CHECK_AGAIN_MAX_MS 5000

#define WORDS_HELD_BACK "the files on disk were rolled back and have not changed since"

enum reload_state { STARTING, IDLE, CHECKING };

struct reload {
    struct reload_options options;
    struct rules_options rules;
    enum reload_state state;
    struct reload_order running;        /* CHECKING: what asked for the candidate */
    struct rules_generation *candidate; /* CHECKING: built, not published */
    struct reload_order *pending;       /* asked for while not IDLE, in their order */
    struct waiter *unrecorded; /* whose rollback is in force, but not yet in rule_generations */

    struct rules_generation *current; /* held through the registry; NULL before the first */
    struct schema *schema;            /* last seen; NULL before the database was first reached */
    bool verified;                    /* `current` fits a schema that was read since it was built */
    bool was_verified;                /* any generation ever did */
    struct archive archive;

    struct rules_watch *watch;
    struct event *again; /* asks the database again */
    int again_ms;

    struct rules_status status;
};

static void run(struct reload *reload, struct reload_order order);

static const char *cause_name(enum reload_cause cause)
{
    static const char *const names[] = {
        [RELOAD_START] = "start",       [RELOAD_FILES] = "files changed",
        [RELOAD_SIGNAL] = "SIGHUP",     [RELOAD_ADMIN] = "admin",
        [RELOAD_ROLLBACK] = "rollback", [RELOAD_TABLES] = "tables are known",
    };
    return names[cause];
}

static const char *outcome_name(enum reload_outcome outcome)
{
    static const char *const names[] = {
        [RELOAD_PUBLISHED] = "published",
        [RELOAD_UNCHANGED] = "unchanged",
        [RELOAD_HELD_BACK] = "held_back",
        [RELOAD_FAILED] = "failed",
    };
    return names[outcome];
}

struct rules_options reload_rules_options(const struct settings *settings, struct metrics *metrics)
{
    return (struct rules_options){
        .load_ms = settings->rules_load_ms,
        .map_ms = settings->rules_map_ms,
        .request_ms = settings->rules_request_ms,
        .reply_ms = settings->rules_reply_ms,
        .memory_bytes = (size_t)settings->rules_memory_bytes,
        .message_max_bytes = (size_t)settings->message_max_bytes,
        .env_allow = settings->rules_env,
        .taken_paths = http_built_in_paths(),
        .metrics = metrics,
    };
}

/* ---- what others may know ---- */

static void refresh_status(struct reload *reload)
{
    rules_status_refresh(&reload->status, reload->current, reload->schema != NULL);
}

bool reload_is_ready(struct reload *reload, struct buffer *reasons)
{
    return rules_status_is_ready(&reload->status, reasons);
}

void reload_describe(const struct reload *reload, struct buffer *json)
{
    const struct rules_generation *current = reload->current;
    const struct rules_snapshot *earlier = history_newest(&reload->archive.history);

    buffer_printf(json, "{\"generation\":%llu,",
                  current ? (unsigned long long)current->number : 0ULL);
    if (current) {
        buffer_printf(json, "\"hash\":\"%s\",\"publishedAt\":%lld,\"verified\":%s,",
                      current->snapshot->hash, (long long)current->published_at_ms,
                      reload->verified ? "true" : "false");
        rules_status_describe_generation(current, json);
        buffer_append_string(json, ",");
    }
    buffer_printf(json, earlier ? "\"rollbackTo\":\"%s\"," : "\"rollbackTo\":null,",
                  earlier ? earlier->hash : "");
    buffer_append_string(json, "\"lastFailure\":");
    rules_status_describe_failure(&reload->status, json);
    buffer_append_string(json, "}");
}

/* ---- the end of an order ---- */

static void log_outcome(const struct reload *reload, enum reload_cause cause,
                        enum reload_outcome outcome, const char *hash, const struct error *err)
{
    unsigned long long number = reload->current ? reload->current->number : 0;
    if (outcome == RELOAD_FAILED)
        log_error("rules", "reload failed (%s): %s; generation %llu stays, candidate %.12s",
                  cause_name(cause), err->text, number, hash[0] ? hash : "unread");
    else
        log_info("rules", "reload %s (%s): generation %llu, hash %.12s%s",
                 outcome == RELOAD_PUBLISHED ? "done" : outcome_name(outcome), cause_name(cause),
                 number, hash,
                 outcome == RELOAD_PUBLISHED && !reload->verified
                     ? ", to be checked when the database answers"
                     : "");
}

static void run_pending(struct reload *reload)
{
    struct reload_order next;
    if (reload_queue_take(&reload->pending, &next))
        run(reload, next);
}

/* Whoever was told of a rollback may rely on it, also after a crash. Everything else is in the
 * files, which are read again at a start. */
static bool must_be_recorded(const struct reload *reload, const struct reload_order *order,
                             enum reload_outcome outcome)
{
    return order->cause == RELOAD_ROLLBACK && outcome == RELOAD_PUBLISHED &&
           archive_is_behind(&reload->archive);
}

static void answer_unrecorded(struct reload *reload, const struct error *trouble)
{
    struct waiter *waiters = reload->unrecorded;
    reload->unrecorded = NULL;
    waiters_answer_kept(waiters, trouble);
}

/* One line for each reload; whoever asked is answered; what was asked meanwhile runs. */
static void finish(struct reload *reload, struct reload_order *order, enum reload_outcome outcome,
                   const char *hash, const struct error *err)
{
    struct reload_result result = {outcome, reload->current ? reload->current->number : 0, hash,
                                   err, NULL};
    reload->state = IDLE;
    log_outcome(reload, order->cause, outcome, hash, err);
    if (outcome == RELOAD_FAILED)
        rules_status_fail(&reload->status, cause_name(order->cause), hash, err);
    else if (outcome != RELOAD_HELD_BACK && !order->keeps_failure)
        reload->status.has_failure = false;
    rules_status_count(&reload->status, outcome_name(outcome));
    refresh_status(reload);
    if (must_be_recorded(reload, order, outcome)) {
        waiters_keep_result(order->waiters, &result);
        waiters_join(&reload->unrecorded, order->waiters);
    } else {
        waiters_answer(order->waiters, &result);
    }
    run_pending(reload);
}

/* ---- the database, again ---- */

static void ask_again_later(struct reload *reload)
{
    struct timeval wait = {reload->again_ms / 1000, reload->again_ms % 1000 * 1000};
    event_add(reload->again, &wait);
    reload->again_ms *= 2;
    if (reload->again_ms > CHECK_AGAIN_MAX_MS)
        reload->again_ms = CHECK_AGAIN_MAX_MS;
}

static void on_behind(const struct error *err, void *arg)
{
    struct error trouble = *err;
    error_context(&trouble, "in force, but not recorded in rule_generations yet");
    answer_unrecorded(arg, &trouble);
    ask_again_later(arg);
}

static void on_caught_up(void *arg)
{
    answer_unrecorded(arg, NULL);
}

/* ---- publish ---- */

static void note_verified(struct reload *reload)
{
    reload->verified = true;
    fit_warn(reload->schema, rules_generation_def(reload->current));
    reload->was_verified = true;
    archive_record(&reload->archive, reload->current->snapshot);
}

static void publish(struct reload *reload, struct rules_generation *generation,
                    enum reload_cause cause, bool verified)
{
    struct rules_generation *earlier = reload->current;
    if (cause == RELOAD_ROLLBACK) {
        archive_hold_back(&reload->archive, earlier->snapshot);
    } else if (earlier && strcmp(generation->snapshot->hash, earlier->snapshot->hash) != 0) {
        history_push(&reload->archive.history, rules_snapshot_copy(earlier->snapshot));
        archive_let_go(&reload->archive);
    }
    fit_mark_resting(generation, reload->schema);
    if (reload->schema)
        reload->options.on_schema(reload->schema, reload->options.arg);
    rules_registry_publish(reload->options.registry, generation, earlier ? earlier->number + 1 : 1);
    reload->current = rules_registry_acquire(reload->options.registry);
    if (earlier)
        rules_registry_release(reload->options.registry, earlier);
    if (reload->schema)
        reload->options.on_schema(reload->schema, reload->options.arg);
    history_forget(&reload->archive.history, reload->current->snapshot->hash);
    if (reload->options.on_published)
        reload->options.on_published(reload->current->number, reload->options.arg);
    reload->verified = false;
    if (verified)
        note_verified(reload);
    else
        ask_again_later(reload);
}

/* ---- checking against the schema ---- */

static const struct rules_def *def_of(const struct rules_generation *generation)
{
    return generation ? rules_generation_def(generation) : NULL;
}

/* Reads what the current generation and the candidate name: a batch of the current one may still be
 * on its way. */
static void load_schema(struct reload *reload,
                        void (*done)(struct schema *, const struct error *, void *))
{
    fit_load_schema(reload->options.control, def_of(reload->current), def_of(reload->candidate),
                    true, done, reload);
}

static void take_schema(struct reload *reload, struct schema *schema)
{
    schema_release(reload->schema);
    reload->schema = schema;
    reload->again_ms = CHECK_AGAIN_MIN_MS;
}

/* ---- the start, when the files on disk do not serve ---- */

/* Takes the newest stored generation instead, as the candidate of the same order; without one the
 * start has failed, or has to wait for the database. */
static void fall_back(struct reload *reload, struct reload_order *order, const char *hash,
                      const struct error *err)
{
    struct error trouble = {""};
    struct rules_snapshot *snapshot;
    rules_status_fail(&reload->status, cause_name(order->cause), hash, err);
    order->keeps_failure = true;
    while ((snapshot = history_pop(&reload->archive.history))) {
        log_error("rules",
                  "the rules on disk do not serve: %s; taking the last good generation, hash %.12s",
                  err->text, snapshot->hash);
        reload->candidate =
            rules_generation_build(snapshot, reload->options.n_slots, &reload->rules, &trouble);
        if (reload->candidate)
            return;
        log_error("rules", "that generation does not serve either: %s", trouble.text);
    }
    if (reload->archive.is_known) {
        reload->options.on_fatal(err, reload->options.arg);
        return;
    }
    reload->state = STARTING;
    refresh_status(reload);
    log_error(
        "rules",
        "no rules to run: %s; waiting for the database, which may hold a generation that works",
        err->text);
    ask_again_later(reload);
}

/* ---- an order ---- */

static void check_candidate(struct reload *reload, struct reload_order order);

static void on_candidate_schema(struct schema *schema, const struct error *trouble, void *arg)
{
    struct reload *reload = arg;
    struct rules_generation *candidate = reload->candidate;
    struct reload_order order = reload->running;
    struct error err = {""};
    char hash[SHA256_HEX_SIZE];

    snprintf(hash, sizeof hash, "%s", candidate->snapshot->hash);
    reload->candidate = NULL;
    reload->running.waiters = NULL;
    if (schema && !reload->current && !schema_check_migrations(schema, &err)) {
        take_schema(reload, schema);
        rules_generation_free(candidate);
        reload->options.on_fatal(&err, reload->options.arg);
        return;
    }
    if (schema)
        take_schema(reload, schema);
    else
        log_warn("rules", "cannot read the schema (%s): %s", trouble->text,
                 reload->schema ? "checking against the one last seen" : "to be checked later");
    if (!reload->schema || fit_check(reload->schema, rules_generation_def(candidate), &err)) {
        publish(reload, candidate, order.cause, schema != NULL);
        finish(reload, &order, RELOAD_PUBLISHED, hash, NULL);
        return;
    }
    rules_generation_free(candidate);
    if (reload->current) {
        finish(reload, &order, RELOAD_FAILED, hash, &err);
        return;
    }
    fall_back(reload, &order, hash, &err);
    if (reload->candidate)
        check_candidate(reload, order);
}

static void check_candidate(struct reload *reload, struct reload_order order)
{
    reload->running = order;
    load_schema(reload, on_candidate_schema);
}

static struct rules_snapshot *read_wanted(struct reload *reload, enum reload_cause cause,
                                          struct error *err)
{
    if (cause == RELOAD_TABLES)
        return rules_snapshot_copy(reload->current->snapshot);
    if (cause != RELOAD_ROLLBACK)
        return rules_snapshot_read(reload->options.settings->lua_dir, err);
    const struct rules_snapshot *earlier = history_newest(&reload->archive.history);
    if (reload->current && earlier)
        return rules_snapshot_copy(earlier);
    error_set(err, "there is no earlier generation to roll back to");
    return NULL;
}

/* Whether these files are to be left alone: nothing new, or rolled back by an operator. */
static bool is_settled(const struct reload *reload, const struct reload_order *order,
                       const char *hash, enum reload_outcome *outcome)
{
    if (order->force || order->cause == RELOAD_ROLLBACK)
        return false;
    bool is_asked = order->cause == RELOAD_ADMIN || order->cause == RELOAD_SIGNAL;
    bool is_current = reload->current && strcmp(hash, reload->current->snapshot->hash) == 0;
    if (is_current && is_asked && fit_any_rests(reload->current))
        return false; /* their tables may exist by now */
    if (is_current)
        *outcome = RELOAD_UNCHANGED;
    else if (archive_is_held_back(&reload->archive, hash))
        *outcome = RELOAD_HELD_BACK;
    else
        return false;
    return true;
}

/* Builds the candidate; false when the order has ended already. */
static bool build_candidate(struct reload *reload, struct reload_order *order)
{
    struct error err = {""};
    char hash[SHA256_HEX_SIZE] = "";
    enum reload_outcome outcome = RELOAD_FAILED;
    struct rules_snapshot *snapshot = read_wanted(reload, order->cause, &err);

    if (snapshot) {
        snprintf(hash, sizeof hash, "%s", snapshot->hash);
        if (!is_settled(reload, order, hash, &outcome)) {
            reload->candidate =
                rules_generation_build(snapshot, reload->options.n_slots, &reload->rules, &err);
            if (reload->candidate)
                return true;
        } else {
            rules_snapshot_free(snapshot);
            error_set(&err, WORDS_HELD_BACK);
            if (outcome == RELOAD_UNCHANGED) /* other files than those that were rolled back */
                archive_let_go(&reload->archive);
        }
    }
    if (!reload->current) {
        fall_back(reload, order, hash, &err);
        return reload->candidate != NULL;
    }
    finish(reload, order, outcome, hash, &err);
    return false;
}

static void run(struct reload *reload, struct reload_order order)
{
    log_info("rules", "reload started (%s)", cause_name(order.cause));
    reload->state = CHECKING;
    if (build_candidate(reload, &order))
        check_candidate(reload, order);
}

void reload_request(struct reload *reload, enum reload_cause cause, bool force, reload_done_cb done,
                    void *arg)
{
    struct waiter *waiter = NULL;
    struct error trouble = {""};
    bool is_asked = cause == RELOAD_SIGNAL || cause == RELOAD_ADMIN;
    bool has_trouble = is_asked && reload->options.on_asked &&
                       !reload->options.on_asked(&trouble, reload->options.arg);
    if (done)
        waiter = waiters_new(done, arg, has_trouble ? &trouble : NULL);
    struct reload_order order = {.cause = cause, .force = force, .waiters = waiter};
    if (reload->state == IDLE)
        run(reload, order);
    else
        reload_queue_add(&reload->pending, &order);
}

static void on_files_changed(void *arg)
{
    reload_request(arg, RELOAD_FILES, false, NULL, NULL);
}

/* ---- the start ---- */

static void on_stored(const struct stored_generation *stored, size_t n, const struct error *trouble,
                      void *arg)
{
    struct reload *reload = arg;
    if (trouble)
        log_warn("rules", "cannot read rule_generations: %s", trouble->text);
    else
        archive_take_stored(&reload->archive, stored, n);
    run(reload, (struct reload_order){.cause = RELOAD_START});
}

/* The current generation turned out to be one that may not run: the one before it takes over, or,
 * when it is the first that this process has, the start has failed. */
static void withdraw_current(struct reload *reload, const struct error *err)
{
    const char *hash = reload->current->snapshot->hash;
    rules_status_fail(&reload->status, "checked again", hash, err);
    refresh_status(reload);
    if (history_newest(&reload->archive.history)) {
        log_error("rules", "generation %llu may not run: %s; rolling back",
                  (unsigned long long)reload->current->number, err->text);
        run(reload,
            (struct reload_order){.cause = RELOAD_ROLLBACK, .force = true, .keeps_failure = true});
    } else if (!reload->was_verified) {
        reload->options.on_fatal(err, reload->options.arg);
    } else {
        log_error("rules", "generation %llu may not run, but there is no other: %s",
                  (unsigned long long)reload->current->number, err->text);
    }
    if (!reload->verified)
        ask_again_later(reload);
}

/* What was published without a look at the schema gets one now. */
static void on_current_schema(struct schema *schema, const struct error *trouble, void *arg)
{
    struct reload *reload = arg;
    struct error err = {""};
    if (!schema) {
        log_warn("rules", "cannot check generation %llu against the schema yet: %s",
                 (unsigned long long)reload->current->number, trouble->text);
        ask_again_later(reload);
        return;
    }
    take_schema(reload, schema);
    if (reload->state != IDLE || reload->verified) {
        ask_again_later(reload); /* another generation is on its way */
        return;
    }
    if (!fit_check(schema, rules_generation_def(reload->current), &err)) {
        withdraw_current(reload, &err);
        return;
    }
    log_info("rules", "generation %llu fits the schema",
             (unsigned long long)reload->current->number);
    note_verified(reload);
    reload->options.on_schema(schema, reload->options.arg);
    if (strcmp(reload->status.failure_hash, reload->current->snapshot->hash) == 0)
        reload->status.has_failure = false;
    refresh_status(reload);
    if (fit_could_wake(reload->current, schema))
        reload_request(reload, RELOAD_TABLES, true, NULL, NULL);
}

/* The database answers for the first time, later than the start could wait for. */
static void on_stored_late(const struct stored_generation *stored, size_t n,
                           const struct error *trouble, void *arg)
{
    struct reload *reload = arg;
    struct error err = {""};
    if (trouble || reload->state != IDLE) {
        ask_again_later(reload);
        return;
    }
    archive_take_stored(&reload->archive, stored, n);
    history_forget(&reload->archive.history, reload->current->snapshot->hash);
    if (!archive_is_held_back(&reload->archive, reload->current->snapshot->hash)) {
        load_schema(reload, on_current_schema);
        return;
    }
    error_set(&err, WORDS_HELD_BACK);
    withdraw_current(reload, &err);
}

static void on_again(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    struct reload *reload = arg;
    if (reload->state == STARTING)
        control_load_generations(reload->options.control, HISTORY_MAX, on_stored, reload);
    else if (reload->state == CHECKING)
        ask_again_later(reload);
    else if (!reload->archive.is_known)
        control_load_generations(reload->options.control, HISTORY_MAX, on_stored_late, reload);
    else if (!reload->verified)
        load_schema(reload, on_current_schema);
    else if (archive_is_behind(&reload->archive))
        archive_catch_up(&reload->archive);
}

void reload_start(struct reload *reload)
{
    const struct settings *settings = reload->options.settings;
    control_load_generations(reload->options.control, HISTORY_MAX, on_stored, reload);
    if (settings->rules_watch_ms > 0)
        reload->watch = rules_watch_new(reload->options.base, settings->lua_dir,
                                        settings->rules_watch_ms, on_files_changed, reload);
}

struct reload *reload_new(const struct reload_options *options)
{
    struct reload *reload = memory_zero(1, sizeof *reload);

    reload->options = *options;
    reload->rules = reload_rules_options(options->settings, options->metrics);
    reload->state = STARTING;
    reload->again_ms = CHECK_AGAIN_MIN_MS;
    reload->again = evtimer_new(options->base, on_again, reload);
    archive_init(&reload->archive, options->control, on_behind, on_caught_up, reload);
    rules_status_init(&reload->status, options->metrics);
    refresh_status(reload);
    return reload;
}

void reload_flush(struct reload *reload, int timeout_ms)
{
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    while (reload->archive.is_writing && clock_monotonic_ms() < deadline_ms)
        if (event_base_loop(reload->options.base, EVLOOP_ONCE) != 0)
            return;
}

void reload_free(struct reload *reload)
{
    if (!reload)
        return;
    rules_watch_free(reload->watch);
    event_free(reload->again);
    rules_generation_free(reload->candidate);
    if (reload->current)
        rules_registry_release(reload->options.registry, reload->current);
    archive_destroy(&reload->archive);
    waiters_free(reload->running.waiters);
    waiters_free(reload->unrecorded);
    reload_queue_free(&reload->pending);
    schema_release(reload->schema);
    rules_status_destroy(&reload->status);
    free(reload);
}
