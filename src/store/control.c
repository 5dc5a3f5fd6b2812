#include "store/control.h"

#include <event2/event.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/memory.h"
#include "store/connection.h"

#define STATEMENT_TIMEOUT "30000"
#define SILENCE_MS        60000

enum job_kind { JOB_SCHEMA, JOB_SAVE, JOB_MARK, JOB_LIST, JOB_QUERY };

typedef void (*schema_done_cb)(struct schema *schema, const struct error *err, void *arg);
typedef void (*done_cb)(bool ok, const struct error *err, void *arg);
typedef void (*list_done_cb)(const struct stored_generation *generations, size_t n,
                             const struct error *err, void *arg);

struct job {
    enum job_kind kind;
    struct control *control;
    char **texts; /* JOB_SCHEMA: tables, then statements; else the parameters of its statement */
    size_t n_texts;
    size_t n_tables;      /* JOB_SCHEMA */
    bool listed;          /* JOB_LIST, JOB_QUERY: the rows have been told */
    const char *sql;      /* JOB_QUERY */
    control_take_cb take; /* JOB_QUERY */
    union {
        schema_done_cb schema_done;
        done_cb done;
        list_done_cb list_done;
        control_done query_done;
    };
    void *arg;
    struct job *next;
    struct job *prev;
};

struct control {
    struct connection *connection;
    struct job *jobs; /* the first runs or is about to */
    bool running;     /* its segment is in flight */
};

static void run_next(struct control *control);

/* ---- the queue ---- */

static struct job *add_job(struct control *control, enum job_kind kind, const char *const *texts,
                           size_t n_texts, void *arg)
{
    struct job *job = memory_zero(1, sizeof *job);
    job->kind = kind;
    job->control = control;
    job->arg = arg;
    job->texts = memory_zero(n_texts, sizeof(char *));
    job->n_texts = n_texts;
    for (size_t i = 0; i < n_texts; i++)
        job->texts[i] = texts[i] ? memory_string(texts[i]) : NULL;
    DL_APPEND(control->jobs, job);
    return job;
}

static void free_job(struct job *job)
{
    for (size_t i = 0; i < job->n_texts; i++)
        free(job->texts[i]);
    free(job->texts);
    free(job);
}

/* Only the first job's connection attempt or statement can be under way, so a job that is added
 * behind others just waits; from a READY connection it starts at once. */
static void start(struct control *control)
{
    if (connection_state(control->connection) == CONNECTION_READY)
        run_next(control);
    else
        connection_open(control->connection);
}

/* The job is over and told; its successor follows, or the connection closes. */
static void finish(struct job *job)
{
    struct control *control = job->control;
    control->running = false;
    free_job(job);
    if (control->jobs)
        start(control);
    else
        connection_close(control->connection);
}

static struct job *take_first(struct control *control)
{
    struct job *job = control->jobs;
    DL_DELETE(control->jobs, job);
    return job;
}

static void tell_failure(struct job *job, const struct error *err)
{
    switch (job->kind) {
    case JOB_SCHEMA:
        job->schema_done(NULL, err, job->arg);
        return;
    case JOB_SAVE:
    case JOB_MARK:
        job->done(false, err, job->arg);
        return;
    case JOB_LIST:
        if (!job->listed)
            job->list_done(NULL, 0, err, job->arg);
        return;
    case JOB_QUERY:
        if (!job->listed)
            job->take(NULL, err, job->query_done, job->arg);
        return;
    }
}

/* ---- running ---- */

/* A lost connection is told by on_lost, once, to the job that was first. */
static bool is_over(struct control *control)
{
    bool lost = connection_state(control->connection) != CONNECTION_READY;
    if (lost)
        control->running = false;
    return !lost;
}

static void on_schema(struct schema *schema, const struct error *err, void *arg)
{
    struct job *job = arg;
    struct control *control = job->control;
    if (!is_over(control)) {
        schema_release(schema);
        return;
    }
    take_first(control);
    job->schema_done(schema, err, job->arg);
    finish(job);
}

static void on_end(enum segment_outcome outcome, const struct segment_failure *failure, void *arg)
{
    struct job *job = arg;
    struct control *control = job->control;
    if (!is_over(control))
        return;
    take_first(control);
    if (outcome != SEGMENT_DONE)
        tell_failure(job, &failure->err);
    else if (job->kind != JOB_LIST && job->kind != JOB_QUERY)
        job->done(true, &failure->err, job->arg);
    finish(job);
}

static void on_list(const struct pg_result *pg_result, void *arg)
{
    struct job *job = arg;
    const PGresult *rows = (const PGresult *)pg_result;
    size_t n = (size_t)PQntuples(rows);
    struct stored_generation *list = memory_zero(n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        int row = (int)i;
        list[i].id = strtoll(PQgetvalue(rows, row, 0), NULL, 10);
        list[i].hash = PQgetvalue(rows, row, 1);
        list[i].state = PQgetvalue(rows, row, 2);
        list[i].files_json = bytes_of(PQgetvalue(rows, row, 3), (size_t)PQgetlength(rows, row, 3));
        list[i].published_at_ms = strtoll(PQgetvalue(rows, row, 4), NULL, 10);
    }
    job->listed = true;
    job->list_done(list, n, NULL, job->arg);
    free(list);
}

static void on_rows(const struct pg_result *rows, void *arg)
{
    struct job *job = arg;
    job->listed = true;
    job->take(rows, NULL, job->query_done, job->arg);
}

static const char *sql_of(const struct job *job)
{
    switch (job->kind) {
    case JOB_QUERY:
        return job->sql;
    case JOB_SAVE:
        return "INSERT INTO rule_generations (hash, files, state)"
               " VALUES ($1::text, $2::jsonb, 'published')";
    case JOB_MARK:
        return "UPDATE rule_generations SET state = $2::text WHERE hash = $1::text";
    case JOB_LIST:
        return "SELECT generation, hash, state, files,"
               " (extract(epoch FROM published_at) * 1000)::bigint"
               " FROM rule_generations ORDER BY generation DESC LIMIT $1::bigint";
    case JOB_SCHEMA:
        break;
    }
    die("job %d has no statement", (int)job->kind);
}

static bool send_schema_job(struct job *job)
{
    const char *const *texts = (const char *const *)job->texts;
    const struct schema_wish wish = {
        .tables = texts,
        .n_tables = job->n_tables,
        .statements = texts + job->n_tables,
        .n_statements = job->n_texts - job->n_tables,
    };
    return schema_load(job->control->connection, &wish, on_schema, job);
}

static bool send_job(struct job *job)
{
    struct connection *connection = job->control->connection;
    if (job->kind == JOB_SCHEMA)
        return send_schema_job(job);
    const struct statement statement = {
        .sql = sql_of(job),
        .n_params = (int)job->n_texts,
        .values = (const char *const *)job->texts,
    };
    statement_result_cb on_result = NULL;
    if (job->kind == JOB_LIST)
        on_result = on_list;
    else if (job->kind == JOB_QUERY)
        on_result = on_rows;
    return connection_send(connection, &statement, on_result, job) &&
           connection_sync(connection, on_end, job);
}

/* What could not be sent fails when the connection says that it is lost. */
static void run_next(struct control *control)
{
    if (control->jobs && !control->running)
        control->running = send_job(control->jobs);
}

static void on_ready(void *arg)
{
    run_next(arg);
}

static void on_lost(const struct error *err, void *arg)
{
    struct control *control = arg;
    if (!control->jobs)
        return;
    struct job *job = take_first(control);
    tell_failure(job, err);
    finish(job);
}

/* ---- what callers see ---- */

struct control *control_new(struct event_base *base, const char *conninfo, int connect_timeout_ms)
{
    static const char *const setup[] = {
        "SET statement_timeout = " STATEMENT_TIMEOUT,
        "SET jit = off",
        "SET TimeZone = 'UTC'",
        "SET client_min_messages = warning",
        NULL,
    };
    static const struct connection_events events = {on_ready, on_lost};
    const struct connection_options options = {
        .conninfo = conninfo,
        .application_name = "core-service control",
        .connect_timeout_ms = connect_timeout_ms,
        .silence_timeout_ms = SILENCE_MS,
        .setup = setup,
    };
    struct control *control = memory_zero(1, sizeof *control);
    control->connection = connection_new(base, &options, &events, control);
    return control;
}

void control_free(struct control *control)
{
    if (!control)
        return;
    connection_free(control->connection);
    while (control->jobs)
        free_job(take_first(control));
    free(control);
}

void control_load_schema(struct control *control, const struct schema_wish *wish,
                         schema_done_cb done, void *arg)
{
    size_t n = wish->n_tables + wish->n_statements;
    const char **texts = memory_zero(n + 1, sizeof *texts);
    for (size_t i = 0; i < n; i++)
        texts[i] = i < wish->n_tables ? wish->tables[i] : wish->statements[i - wish->n_tables];
    struct job *job = add_job(control, JOB_SCHEMA, texts, n, arg);
    job->n_tables = wish->n_tables;
    job->schema_done = done;
    free(texts);
    start(control);
}

void control_save_generation(struct control *control, const char *hash, struct bytes files_json,
                             done_cb done, void *arg)
{
    char *files = memory_string_n(files_json.data, files_json.size);
    const char *const texts[] = {hash, files};
    add_job(control, JOB_SAVE, texts, 2, arg)->done = done;
    free(files);
    start(control);
}

void control_mark_generation(struct control *control, const char *hash, const char *state,
                             done_cb done, void *arg)
{
    const char *const texts[] = {hash, state};
    add_job(control, JOB_MARK, texts, 2, arg)->done = done;
    start(control);
}

void control_load_generations(struct control *control, size_t limit, list_done_cb done, void *arg)
{
    char number[24];
    snprintf(number, sizeof number, "%zu", limit);
    const char *const texts[] = {number};
    add_job(control, JOB_LIST, texts, 1, arg)->list_done = done;
    start(control);
}

void control_query(struct control *control, const char *sql, const char *const *values,
                   size_t n_values, control_take_cb take, control_done done, void *arg)
{
    struct job *job = add_job(control, JOB_QUERY, values, n_values, arg);
    job->sql = sql;
    job->take = take;
    job->query_done = done;
    start(control);
}
