#include "app/reload.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "app/fit.h"
#include "app/history.h"
#include "app/rules_status.h"
#include "base/log.h"
#include "base/memory.h"
#include "rules/watch.h"

#define CHECK_AGAIN_MIN_MS 500 /* first wait before the database is asked again */
#define CHECK_AGAIN_MAX_MS 5000

enum reload_state { STARTING, IDLE, CHECKING };

/* Somebody who waits for the outcome. */
struct waiter {
    reload_done_cb done;
    void *arg;
    struct waiter *next;
};

struct request {
    enum reload_cause cause;
    bool force;
    bool fell_back; /* the candidate is not what was asked for: the files on disk did not serve */
    struct waiter *waiters;
};

struct reload {
    struct reload_options options;
    struct rules_options rules;
    enum reload_state state;
    struct request running;             /* CHECKING: what asked for the candidate */
    struct rules_generation *candidate; /* CHECKING: built, not published */
    bool has_pending;                   /* asked for while not IDLE; runs next */
    struct request pending;

    struct rules_generation *current; /* held through the registry; NULL before the first */
    struct schema *schema;            /* last seen; NULL before the database was first reached */
    bool verified;                    /* `current` fits a schema that was read since it was built */
    bool recorded;                    /* `current` is in rule_generations */
    bool stored_known;      /* rule_generations was read: history and held_back are complete */
    struct history history; /* what a rollback can reach */
    char
        newest_stored[SHA256_HEX_SIZE]; /* hash of the newest row of rule_generations, "" unknown */
    char held_back[SHA256_HEX_SIZE];    /* hash that was rolled back; "": none */

    struct rules_watch *watch;
    struct event *again; /* asks the database again */
    int again_ms;

    struct rules_status status;
};

static void run(struct reload *reload, struct request request);

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
    const struct rules_snapshot *earlier = history_newest(&reload->history);

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

/* ---- the end of a request ---- */

static void answer_waiters(struct waiter *waiter, const struct reload_result *result)
{
    while (waiter) {
        struct waiter *next = waiter->next;
        waiter->done(result, waiter->arg);
        free(waiter);
        waiter = next;
    }
}

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
    if (!reload->has_pending)
        return;
    struct request next = reload->pending;
    reload->has_pending = false;
    reload->pending.waiters = NULL;
    run(reload, next);
}

/* One line for each reload; whoever asked is answered; what was asked meanwhile runs. */
static void finish(struct reload *reload, struct request *request, enum reload_outcome outcome,
                   const char *hash, const struct error *err)
{
    struct reload_result result = {outcome, reload->current ? reload->current->number : 0, hash,
                                   err};
    reload->state = IDLE;
    log_outcome(reload, request->cause, outcome, hash, err);
    if (outcome == RELOAD_FAILED)
        rules_status_fail(&reload->status, cause_name(request->cause), hash, err);
    else if (outcome != RELOAD_HELD_BACK && !request->fell_back)
        reload->status.has_failure = false;
    rules_status_count(&reload->status, outcome_name(outcome));
    refresh_status(reload);
    answer_waiters(request->waiters, &result);
    run_pending(reload);
}

/* ---- rule_generations ---- */

static void ask_again_later(struct reload *reload)
{
    struct timeval wait = {reload->again_ms / 1000, reload->again_ms % 1000 * 1000};
    event_add(reload->again, &wait);
    reload->again_ms *= 2;
    if (reload->again_ms > CHECK_AGAIN_MAX_MS)
        reload->again_ms = CHECK_AGAIN_MAX_MS;
}

static void on_recorded(bool ok, const struct error *err, void *arg)
{
    struct reload *reload = arg;
    if (ok) {
        reload->recorded = true;
        snprintf(reload->newest_stored, sizeof reload->newest_stored, "%s",
                 reload->current->snapshot->hash);
        return;
    }
    log_warn("rules", "generation not recorded in rule_generations yet: %s", err->text);
    ask_again_later(reload);
}

static void record_current(struct reload *reload)
{
    struct buffer files = {0};
    rules_snapshot_to_json(reload->current->snapshot, &files);
    control_save_generation(reload->options.control, reload->current->snapshot->hash,
                            buffer_bytes(&files), on_recorded, reload);
    buffer_free(&files);
}

static void on_marked(bool ok, const struct error *err, void *arg)
{
    (void)arg;
    if (!ok)
        log_warn("rules",
                 "the rollback is not recorded, a restart would load the files on disk: %s",
                 err->text);
}

/* ---- publish ---- */

static void publish(struct reload *reload, struct rules_generation *generation,
                    enum reload_cause cause, bool verified)
{
    struct rules_generation *earlier = reload->current;
    if (cause == RELOAD_ROLLBACK) {
        snprintf(reload->held_back, sizeof reload->held_back, "%s", earlier->snapshot->hash);
        control_mark_generation(reload->options.control, reload->held_back, "rolled_back",
                                on_marked, reload);
    } else if (earlier) {
        history_push(&reload->history, rules_snapshot_copy(earlier->snapshot));
        reload->held_back[0] = '\0';
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
    history_forget(&reload->history, reload->current->snapshot->hash);
    reload->verified = verified;
    reload->recorded = strcmp(reload->newest_stored, reload->current->snapshot->hash) == 0;
    if (verified && !reload->recorded)
        record_current(reload);
    if (!verified)
        ask_again_later(reload);
}

/* ---- checking against the schema ---- */

/* Reads the tables of the current generation and of the candidate: a batch of the current one may
 * still be on its way. */
static void load_schema(struct reload *reload,
                        void (*done)(struct schema *, const struct error *, void *))
{
    size_t n_current = 0, n_candidate = 0;
    const char **current =
        reload->current ? fit_tables(rules_generation_def(reload->current), &n_current) : NULL;
    const char **candidate = reload->candidate
                                 ? fit_tables(rules_generation_def(reload->candidate), &n_candidate)
                                 : NULL;
    const char **all = memory_zero(n_current + n_candidate + 1, sizeof *all);

    if (n_current)
        memcpy(all, current, n_current * sizeof *all);
    if (n_candidate)
        memcpy(all + n_current, candidate, n_candidate * sizeof *all);
    control_load_schema(reload->options.control, all, n_current + n_candidate, done, reload);
    free(all);
    free(candidate);
    free(current);
}

static void take_schema(struct reload *reload, struct schema *schema)
{
    schema_release(reload->schema);
    reload->schema = schema;
    reload->again_ms = CHECK_AGAIN_MIN_MS;
}

/* ---- the start, when the files on disk do not serve ---- */

/* Takes the newest stored generation instead, as the candidate of the same request; without one the
 * start has failed, or has to wait for the database. */
static void fall_back(struct reload *reload, struct request *request, const char *hash,
                      const struct error *err)
{
    struct error trouble = {""};
    struct rules_snapshot *snapshot;
    rules_status_fail(&reload->status, cause_name(request->cause), hash, err);
    request->fell_back = true;
    while ((snapshot = history_pop(&reload->history))) {
        log_error("rules",
                  "the rules on disk do not serve: %s; taking the last good generation, hash %.12s",
                  err->text, snapshot->hash);
        reload->candidate =
            rules_generation_build(snapshot, reload->options.n_slots, &reload->rules, &trouble);
        if (reload->candidate)
            return;
        log_error("rules", "that generation does not serve either: %s", trouble.text);
    }
    if (reload->stored_known) {
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

/* ---- a request ---- */

static void check_candidate(struct reload *reload, struct request request);

static void on_candidate_schema(struct schema *schema, const struct error *trouble, void *arg)
{
    struct reload *reload = arg;
    struct rules_generation *candidate = reload->candidate;
    struct request request = reload->running;
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
        publish(reload, candidate, request.cause, schema != NULL);
        finish(reload, &request, RELOAD_PUBLISHED, hash, NULL);
        return;
    }
    rules_generation_free(candidate);
    if (reload->current)
        finish(reload, &request, RELOAD_FAILED, hash, &err);
    else
        fall_back(reload, &request, hash, &err);
    if (reload->candidate && reload->state == CHECKING)
        check_candidate(reload, request);
}

static void check_candidate(struct reload *reload, struct request request)
{
    reload->running = request;
    load_schema(reload, on_candidate_schema);
}

static struct rules_snapshot *read_wanted(struct reload *reload, enum reload_cause cause,
                                          struct error *err)
{
    if (cause != RELOAD_ROLLBACK)
        return rules_snapshot_read(reload->options.settings->lua_dir, err);
    const struct rules_snapshot *earlier = history_newest(&reload->history);
    if (reload->current && earlier)
        return rules_snapshot_copy(earlier);
    error_set(err, "there is no earlier generation to roll back to");
    return NULL;
}

/* Whether these files are to be left alone: nothing new, or rolled back by an operator. */
static bool is_settled(const struct reload *reload, const struct request *request, const char *hash,
                       enum reload_outcome *outcome)
{
    if (request->force || request->cause == RELOAD_ROLLBACK)
        return false;
    bool asked = request->cause == RELOAD_ADMIN || request->cause == RELOAD_SIGNAL;
    if (reload->current && asked && fit_any_rests(reload->current))
        return false; /* their tables may exist by now */
    if (reload->current && strcmp(hash, reload->current->snapshot->hash) == 0)
        *outcome = RELOAD_UNCHANGED;
    else if (strcmp(hash, reload->held_back) == 0)
        *outcome = RELOAD_HELD_BACK;
    else
        return false;
    return true;
}

/* Builds the candidate; false when the request has ended already. */
static bool build_candidate(struct reload *reload, struct request *request)
{
    struct error err = {""};
    char hash[SHA256_HEX_SIZE] = "";
    enum reload_outcome outcome = RELOAD_FAILED;
    struct rules_snapshot *snapshot = read_wanted(reload, request->cause, &err);

    if (snapshot) {
        snprintf(hash, sizeof hash, "%s", snapshot->hash);
        if (!is_settled(reload, request, hash, &outcome)) {
            reload->candidate =
                rules_generation_build(snapshot, reload->options.n_slots, &reload->rules, &err);
            if (reload->candidate)
                return true;
        } else {
            rules_snapshot_free(snapshot);
            error_set(&err, "the files on disk were rolled back and have not changed since");
        }
    }
    if (!reload->current) {
        fall_back(reload, request, hash, &err);
        return reload->candidate != NULL;
    }
    finish(reload, request, outcome, hash, &err);
    return false;
}

static void run(struct reload *reload, struct request request)
{
    log_info("rules", "reload started (%s)", cause_name(request.cause));
    reload->state = CHECKING;
    if (build_candidate(reload, &request))
        check_candidate(reload, request);
}

void reload_request(struct reload *reload, enum reload_cause cause, bool force, reload_done_cb done,
                    void *arg)
{
    struct waiter *waiter = NULL;
    bool is_asked = cause == RELOAD_SIGNAL || cause == RELOAD_ADMIN;
    if (is_asked && reload->options.on_asked)
        reload->options.on_asked(reload->options.arg);
    if (done) {
        waiter = memory_zero(1, sizeof *waiter);
        waiter->done = done;
        waiter->arg = arg;
    }
    if (reload->state == IDLE) {
        run(reload, (struct request){cause, force, false, waiter});
        return;
    }
    if (!reload->has_pending)
        reload->pending = (struct request){cause, force, false, NULL};
    reload->has_pending = true;
    reload->pending.cause = cause;
    reload->pending.force = reload->pending.force || force;
    if (waiter)
        LL_APPEND(reload->pending.waiters, waiter);
}

static void on_files_changed(void *arg)
{
    reload_request(arg, RELOAD_FILES, false, NULL, NULL);
}

/* ---- the start ---- */

/* History and what was rolled back, from rule_generations (newest first). */
static void take_stored(struct reload *reload, const struct stored_generation *stored, size_t n)
{
    reload->stored_known = true;
    history_clear(&reload->history);
    if (n > 0)
        snprintf(reload->newest_stored, sizeof reload->newest_stored, "%s", stored[0].hash);
    for (size_t i = 0; i < n; i++) {
        struct error err = {""};
        if (strcmp(stored[i].state, "published") != 0) {
            if (!reload->held_back[0] && !history_has(&reload->history, stored[i].hash))
                snprintf(reload->held_back, sizeof reload->held_back, "%s", stored[i].hash);
            continue;
        }
        struct rules_snapshot *snapshot = rules_snapshot_from_json(stored[i].files_json, &err);
        if (snapshot)
            history_append(&reload->history, snapshot);
        else
            log_warn("rules", "rule_generations row %lld is unreadable: %s",
                     (long long)stored[i].id, err.text);
    }
}

static void on_stored(const struct stored_generation *stored, size_t n, const struct error *trouble,
                      void *arg)
{
    struct reload *reload = arg;
    if (stored || !trouble)
        take_stored(reload, stored, n);
    else
        log_warn("rules", "cannot read rule_generations: %s", trouble->text);
    run(reload, (struct request){.cause = RELOAD_START});
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
    if (fit_check(schema, rules_generation_def(reload->current), &err)) {
        reload->verified = true;
        log_info("rules", "generation %llu fits the schema",
                 (unsigned long long)reload->current->number);
        reload->options.on_schema(schema, reload->options.arg);
        record_current(reload);
        refresh_status(reload);
        if (fit_could_wake(reload->current, schema))
            reload_request(reload, RELOAD_TABLES, true, NULL, NULL);
        return;
    }
    if (!history_newest(&reload->history)) {
        reload->options.on_fatal(&err, reload->options.arg);
        return;
    }
    log_error("rules", "generation %llu does not fit the schema: %s; rolling back",
              (unsigned long long)reload->current->number, err.text);
    reload_request(reload, RELOAD_ROLLBACK, true, NULL, NULL);
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
    else if (!reload->verified)
        load_schema(reload, on_current_schema);
    else if (!reload->recorded)
        record_current(reload);
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
    rules_status_init(&reload->status, options->metrics);
    refresh_status(reload);
    return reload;
}

static void free_waiters(struct waiter *waiter)
{
    while (waiter) {
        struct waiter *next = waiter->next;
        free(waiter);
        waiter = next;
    }
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
    history_clear(&reload->history);
    free_waiters(reload->running.waiters);
    free_waiters(reload->pending.waiters);
    schema_release(reload->schema);
    rules_status_destroy(&reload->status);
    free(reload);
}
