#include "store/reader.h"

#include <event2/event.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/hash.h"
#include "base/memory.h"
#include "store/connection.h"

#define SILENCE_MARGIN_MS 5000
#define ASKERS_MAX        1024    /* of one statement; who comes then has another sent */
#define UNDEFINED_TABLE   "42P01" /* not made yet, or being replaced: the rules were checked */

/* A statement on its way, for all who asked the same before its rows came. */
struct flight {
    struct reader_pool *pool;
    struct connection *connection; /* NULL: there was none; it waits to be told so */
    uint64_t hash;                 /* of sql and values */
    uint64_t sent_at;              /* reader_pool_now() */
    bool is_open;                  /* in the pool's list: others may still join */
    bool retried;
    char *sql; /* kept, with the values, to be sent once more after a change of the schema */
    char **values;
    size_t n_values;
    struct reader_query *askers; /* empty: all have cancelled, or were told */
    size_t n_askers;
    struct flight *next;
    struct flight *prev;
};

struct reader_query {
    struct flight *flight;
    query_done_cb done;
    void *arg;
    struct reader_query *next;
    struct reader_query *prev;
};

struct reader_pool {
    struct connection **connections;
    size_t n_connections;
    struct flight *open;    /* have no rows yet */
    struct flight *refused; /* no connection was there: told from the loop */
    struct counter *shared;
    uint64_t now;
    struct event *refuse;
    struct result_column *columns; /* of the result being lent */
    size_t columns_capacity;
};

/* ---- the pool ---- */

static void on_refuse(evutil_socket_t fd, short what, void *arg);

static struct connection *open_connection(struct event_base *base,
                                          const struct reader_options *options)
{
    char timeout[64];
    snprintf(timeout, sizeof timeout, "SET statement_timeout = %d", options->statement_timeout_ms);
    const char *const setup[] = {
        timeout,
        /* Time bounds must be known when the plan is made, or all partitions are locked. */
        "SET plan_cache_mode = force_custom_plan",
        /* Plans that open few rows are dear by estimate: compiling them takes 100 times as long. */
        "SET jit = off",
        "SET default_transaction_read_only = on",
        "SET TimeZone = 'UTC'",
        "SET DateStyle = 'ISO'",
        "SET client_min_messages = warning",
        NULL,
    };
    const struct connection_options connection_options = {
        .conninfo = options->conninfo,
        .application_name = options->application_name,
        .connect_timeout_ms = options->connect_timeout_ms,
        .silence_timeout_ms = options->statement_timeout_ms + SILENCE_MARGIN_MS,
        .setup = setup,
    };
    struct connection *connection = connection_new(base, &connection_options, NULL, NULL);
    connection_open(connection);
    return connection;
}

struct reader_pool *reader_pool_new(struct event_base *base, const struct reader_options *options)
{
    struct reader_pool *pool = memory_zero(1, sizeof *pool);
    pool->now = 1;
    pool->shared = options->shared;
    pool->n_connections = options->connections > 0 ? (size_t)options->connections : 1;
    pool->connections = memory_zero(pool->n_connections, sizeof(struct connection *));
    for (size_t i = 0; i < pool->n_connections; i++)
        pool->connections[i] = open_connection(base, options);
    pool->refuse = event_new(base, -1, 0, on_refuse, pool);
    if (!pool->refuse)
        die("no event for a reader");
    return pool;
}

void reader_pool_free(struct reader_pool *pool)
{
    if (!pool)
        return;
    for (size_t i = 0; i < pool->n_connections; i++)
        connection_free(pool->connections[i]);
    on_refuse(-1, 0, pool);
    event_free(pool->refuse);
    free(pool->connections);
    free(pool->columns);
    free(pool);
}

static bool is_ready(const struct connection *connection)
{
    return connection_state(connection) == CONNECTION_READY;
}

bool reader_pool_is_ready(const struct reader_pool *pool)
{
    for (size_t i = 0; i < pool->n_connections; i++)
        if (is_ready(pool->connections[i]))
            return true;
    return false;
}

const char *reader_pool_trouble(const struct reader_pool *pool)
{
    return reader_pool_is_ready(pool) ? "" : connection_trouble(pool->connections[0]);
}

static struct connection *least_busy(const struct reader_pool *pool)
{
    struct connection *best = NULL;
    for (size_t i = 0; i < pool->n_connections; i++) {
        struct connection *connection = pool->connections[i];
        if (!is_ready(connection))
            continue;
        if (!best || connection_in_flight(connection) < connection_in_flight(best))
            best = connection;
    }
    return best;
}

/* ---- results ---- */

static struct bytes result_cell(const struct result *result, size_t row, size_t column)
{
    const PGresult *source = result->source;
    if (PQgetisnull(source, (int)row, (int)column))
        return (struct bytes){0};
    return bytes_of(PQgetvalue(source, (int)row, (int)column),
                    (size_t)PQgetlength(source, (int)row, (int)column));
}

static enum value_type type_of_oid(Oid oid)
{
    switch (oid) {
    case 20: /* int8 */
    case 21: /* int2 */
    case 23: /* int4 */
        return VALUE_INT8;
    case 700: /* float4 */
    case 701: /* float8 */
        return VALUE_FLOAT8;
    case 1700:
        return VALUE_NUMERIC;
    case 16:
        return VALUE_BOOL;
    case 114:  /* json */
    case 3802: /* jsonb */
        return VALUE_JSON;
    default:
        return VALUE_TEXT;
    }
}

static struct result lend(struct reader_pool *pool, const PGresult *source)
{
    size_t n = (size_t)PQnfields(source);
    if (n > pool->columns_capacity) {
        pool->columns = memory_resize(pool->columns, n * sizeof *pool->columns);
        pool->columns_capacity = n;
    }
    for (size_t i = 0; i < n; i++) {
        pool->columns[i].name = PQfname(source, (int)i);
        pool->columns[i].type = type_of_oid(PQftype(source, (int)i));
    }
    return (struct result){
        .columns = pool->columns,
        .n_columns = n,
        .n_rows = (size_t)PQntuples(source),
        .cell = result_cell,
        .source = source,
    };
}

/* ---- flights ---- */

static void free_flight(struct flight *flight)
{
    for (size_t i = 0; i < flight->n_values; i++)
        free(flight->values[i]);
    free(flight->values);
    free(flight->sql);
    free(flight);
}

static void leave(struct reader_query *query)
{
    DL_DELETE(query->flight->askers, query);
    query->flight->n_askers--;
    free(query);
}

static void close_flight(struct flight *flight)
{
    if (!flight->is_open)
        return;
    flight->is_open = false;
    DL_DELETE(flight->pool->open, flight);
}

/* All who wait. Those who are told may ask again and cancel others meanwhile. */
static void tell(struct flight *flight, enum query_outcome outcome, const struct result *result,
                 const struct error *err)
{
    close_flight(flight);
    while (flight->askers) {
        const struct reader_query first = *flight->askers;
        leave(flight->askers);
        first.done(outcome, result, err, first.arg);
    }
}

static void on_result(const struct pg_result *pg_result, void *arg)
{
    struct flight *flight = arg;
    flight->pool->now++;
    if (!flight->askers) {
        close_flight(flight);
        return;
    }
    struct result result = lend(flight->pool, (const PGresult *)pg_result);
    tell(flight, QUERY_OK, &result, NULL);
}

static enum query_outcome outcome_of_failure(const struct segment_failure *failure)
{
    if (strcmp(failure->sqlstate, "57014") == 0)
        return QUERY_TIMEOUT;
    enum sqlstate_class class = sqlstate_classify(failure->sqlstate, failure->constraint);
    if (strcmp(failure->sqlstate, UNDEFINED_TABLE) == 0)
        return QUERY_UNAVAILABLE;
    /* A statement that writes is wrong on every server, not only on this one. */
    bool writes = strcmp(failure->sqlstate, "25006") == 0;
    bool passing = class == SQLSTATE_RETRY || class == SQLSTATE_HALVE;
    return passing && !writes ? QUERY_UNAVAILABLE : QUERY_FAILED;
}

static bool send_flight(struct flight *flight);

/* After a change of the schema each statement fails once on each connection: nobody needs to see
 * that. */
static bool send_again(struct flight *flight, const struct segment_failure *failure)
{
    if (flight->retried || !flight->askers ||
        sqlstate_classify(failure->sqlstate, failure->constraint) != SQLSTATE_REPREPARE)
        return false;
    flight->retried = true;
    connection_forget_prepared(flight->connection);
    return send_flight(flight);
}

static void on_end(enum segment_outcome outcome, const struct segment_failure *failure, void *arg)
{
    struct flight *flight = arg;
    if (outcome == SEGMENT_FAILED && send_again(flight, failure))
        return;
    if (outcome == SEGMENT_FAILED)
        tell(flight, outcome_of_failure(failure), NULL, &failure->err);
    else
        tell(flight, QUERY_UNAVAILABLE, NULL, &failure->err);
    free_flight(flight);
}

static bool send_flight(struct flight *flight)
{
    const struct statement statement = {
        .sql = flight->sql,
        .n_params = (int)flight->n_values,
        .values = (const char *const *)flight->values,
    };
    return connection_send(flight->connection, &statement, on_result, flight) &&
           connection_sync(flight->connection, on_end, flight);
}

static void on_refuse(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct reader_pool *pool = arg;
    while (pool->refused) {
        struct flight *flight = pool->refused;
        struct error err;
        DL_DELETE(pool->refused, flight);
        error_set(&err, "no connection to PostgreSQL: %s", reader_pool_trouble(pool));
        tell(flight, QUERY_UNAVAILABLE, NULL, &err);
        free_flight(flight);
    }
}

static struct flight *new_flight(struct reader_pool *pool, uint64_t hash, const char *sql,
                                 const char *const *values, size_t n_values)
{
    struct flight *flight = memory_zero(1, sizeof *flight);
    flight->pool = pool;
    flight->hash = hash;
    flight->sent_at = pool->now;
    flight->sql = memory_string(sql);
    flight->values = memory_zero(n_values, sizeof(char *));
    flight->n_values = n_values;
    for (size_t i = 0; i < n_values; i++)
        flight->values[i] = values[i] ? memory_string(values[i]) : NULL;
    return flight;
}

static struct flight *start_flight(struct reader_pool *pool, uint64_t hash, const char *sql,
                                   const char *const *values, size_t n_values)
{
    struct flight *flight = new_flight(pool, hash, sql, values, n_values);
    flight->connection = least_busy(pool);
    if (flight->connection && send_flight(flight)) {
        flight->is_open = true;
        DL_APPEND(pool->open, flight);
        return flight;
    }
    DL_APPEND(pool->refused, flight);
    event_active(pool->refuse, EV_TIMEOUT, 0);
    return flight;
}

/* ---- sharing ---- */

static uint64_t hash_of(const char *sql, const char *const *values, size_t n_values)
{
    uint64_t hash = hash_bytes(n_values, bytes_of_string(sql));
    for (size_t i = 0; i < n_values; i++)
        hash = values[i] ? hash_bytes(hash, bytes_of_string(values[i])) : hash + 1;
    return hash;
}

static bool is_same(const struct flight *flight, const char *sql, const char *const *values,
                    size_t n_values)
{
    if (flight->n_values != n_values || strcmp(flight->sql, sql) != 0)
        return false;
    for (size_t i = 0; i < n_values; i++) {
        const char *value = flight->values[i];
        if (!value != !values[i] || (value && strcmp(value, values[i]) != 0))
            return false;
    }
    return true;
}

static struct flight *find_flight(const struct reader_pool *pool, uint64_t hash, const char *sql,
                                  const char *const *values, size_t n_values, uint64_t since)
{
    struct flight *flight;
    DL_FOREACH (pool->open, flight) {
        if (flight->hash == hash && flight->sent_at >= since && flight->n_askers < ASKERS_MAX &&
            is_same(flight, sql, values, n_values))
            return flight;
    }
    return NULL;
}

uint64_t reader_pool_now(const struct reader_pool *pool)
{
    return pool->now;
}

/* All connections are read-only: a statement that is sent once has done no more or less than one
 * that is sent twice. */
struct reader_query *reader_pool_query(struct reader_pool *pool, const char *sql,
                                       const char *const *values, size_t n_values, uint64_t since,
                                       query_done_cb done, void *arg)
{
    uint64_t hash = hash_of(sql, values, n_values);
    struct flight *flight = find_flight(pool, hash, sql, values, n_values, since);
    if (flight && pool->shared)
        counter_add(pool->shared, 1);
    if (!flight)
        flight = start_flight(pool, hash, sql, values, n_values);
    struct reader_query *query = memory_zero(1, sizeof *query);
    *query = (struct reader_query){.flight = flight, .done = done, .arg = arg};
    DL_APPEND(flight->askers, query);
    flight->n_askers++;
    return query;
}

void reader_query_cancel(struct reader_query *query)
{
    leave(query);
}
