/* For the specs of http/: a PostgreSQL in which the statement says what becomes of it, linked in
 * place of the real one, and a server that runs on it. */
#ifndef HTTP_HARNESS_H
#define HTTP_HARNESS_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "config/settings.h"
#include "http/server.h"
#include "http_client.h"
#include "rules/generation.h"
#include "store/reader.h"

/* ---- what the specs look at and set ---- */

static atomic_int fake_queries;   /* begun and neither done nor cancelled */
static atomic_int fake_cancelled; /* queries */
static atomic_int fake_pools;     /* made, ever */
static atomic_int fake_asked[64]; /* queries, by pool */
static atomic_bool fake_not_ready;
static atomic_bool fake_disconnected;

/* ---- PostgreSQL: the statement says what becomes of it ---- */

struct reader_pool {
    struct event_base *base;
    int number;
};

struct reader_query {
    char *sql;
    struct event *event;
    query_done_cb done;
    void *arg;
};

struct reader_pool *reader_pool_new(struct event_base *base, const struct reader_options *options)
{
    assert_int_equal(options->connections, 2);
    struct reader_pool *pool = memory_zero(1, sizeof *pool);
    pool->base = base;
    pool->number = fake_pools++;
    assert_true(pool->number < 64);
    return pool;
}

void reader_pool_free(struct reader_pool *pool)
{
    free(pool);
}

bool reader_pool_is_ready(const struct reader_pool *pool)
{
    (void)pool;
    return !fake_disconnected;
}

const char *reader_pool_trouble(const struct reader_pool *pool)
{
    (void)pool;
    return "secret words of PostgreSQL";
}

uint64_t reader_pool_now(const struct reader_pool *pool)
{
    (void)pool;
    return 1;
}

static void fake_query_free(struct reader_query *query)
{
    fake_queries--;
    event_free(query->event);
    free(query->sql);
    free(query);
}

static void fake_query_done(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct reader_query *query = arg;
    struct result result = {0};
    struct error err;
    error_set(&err, "secret words of PostgreSQL");
    if (strcmp(query->sql, "away") == 0)
        query->done(QUERY_UNAVAILABLE, NULL, &err, query->arg);
    else if (strcmp(query->sql, "late") == 0)
        query->done(QUERY_TIMEOUT, NULL, &err, query->arg);
    else if (strcmp(query->sql, "wrong") == 0)
        query->done(QUERY_FAILED, NULL, &err, query->arg);
    else
        query->done(QUERY_OK, &result, NULL, query->arg);
    fake_query_free(query);
}

/* "slow" takes 300 ms, "hang" a minute, the others 5 ms; "block" stops the whole thread for 150. */
struct reader_query *reader_pool_query(struct reader_pool *pool, const char *sql,
                                       const char *const *values, size_t n_values, uint64_t since,
                                       query_done_cb done, void *arg)
{
    (void)values, (void)n_values, (void)since;
    struct reader_query *query = memory_zero(1, sizeof *query);
    query->sql = memory_string(sql);
    query->done = done;
    if (strcmp(sql, "block") == 0)
        usleep(150000);
    query->arg = arg;
    query->event = event_new(pool->base, -1, 0, fake_query_done, query);
    int ms = strcmp(sql, "slow") == 0 ? 300 : strcmp(sql, "hang") == 0 ? 60000 : 5;
    event_add(query->event, &(struct timeval){ms / 1000, ms % 1000 * 1000});
    fake_queries++;
    fake_asked[pool->number]++;
    return query;
}

void reader_query_cancel(struct reader_query *query)
{
    fake_cancelled++;
    fake_query_free(query);
}

/* ---- the server ---- */

static bool fake_is_ready(struct buffer *reasons, void *arg)
{
    (void)arg;
    if (fake_not_ready)
        buffer_append_string(reasons, "the \"database\" is away\nno rules\n");
    return !fake_not_ready;
}

static struct settings fake_settings(void)
{
    return (struct settings){
        .host = "127.0.0.1",
        .http_threads = 2,
        .http_max_connections = 10000,
        .http_max_in_flight = 512,
        .http_max_header_bytes = 16384,
        .http_max_body_bytes = 65536,
        .http_request_timeout_ms = 10000,
        .http_idle_timeout_ms = 65000,
        .cors_origins = "*",
        .database_url = "",
        .db_host = "localhost",
        .db_port = 5432,
        .db_name = "x",
        .db_user = "x",
        .db_password = "",
        .db_pool_size = 2,
        .admin_host = "127.0.0.1",
        .admin_token = "",
    };
}

static struct metrics *metrics;
static struct rules_registry *registry; /* NULL where the rules are faked */
static struct settings settings;

static inline struct http_server *start_server(void)
{
    struct error err;
    if (!metrics)
        metrics = metrics_new();
    const struct http_options options = {
        .settings = &settings, .metrics = metrics, .rules = registry, .is_ready = fake_is_ready};
    struct http_server *server = http_server_start(&options, &err);
    if (!server)
        fail_msg("%s", err.text);
    return server;
}

/* True when it drained by itself. */
static inline bool stop_server(struct http_server *server)
{
    http_server_drain(server);
    return http_server_join(server, 3000);
}

static inline double metric(const char *line_begin)
{
    struct buffer text = {0};
    char pattern[256];
    metrics_write(metrics, &text);
    snprintf(pattern, sizeof pattern, "\n%s ", line_begin);
    const char *line = strstr(text.data, pattern);
    double value = line ? strtod(line + strlen(pattern), NULL) : -1;
    buffer_free(&text);
    return value;
}

#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t wait_deadline_ms = clock_monotonic_ms() + PATIENCE_MS;                             \
        while (!(condition)) {                                                                     \
            if (clock_monotonic_ms() > wait_deadline_ms)                                           \
                fail_msg("in vain: " #condition);                                                  \
            usleep(2000);                                                                          \
        }                                                                                          \
    } while (0)

#endif
