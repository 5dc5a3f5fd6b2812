#include "store/connection.h"

#include <event2/event.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "store/conninfo.h"
#include "store/libpq_error.h"
#include "store/pipeline.h"
#include "store/resolve.h"

#define BACKOFF_MIN_MS    100
#define BACKOFF_MAX_MS    5000
#define LOST_LOG_EVERY_MS 10000

struct connection {
    struct event_base *base;
    struct connection_events events;
    void *arg;
    char *conninfo;
    char *application_name;
    int connect_timeout_ms;
    int silence_timeout_ms;
    char **setup; /* NULL-terminated */

    enum connection_state state;
    struct error trouble; /* why it is not READY */
    char farewell[256];   /* the FATAL notice with which an idle session ended */
    unsigned n_failures;  /* attempts since it was READY */
    size_t first_host;    /* where the next attempt begins in the list of addresses */

    struct conninfo *parsed;     /* RESOLVING, CONNECTING */
    struct resolve *resolve;     /* RESOLVING */
    PGconn *session;             /* CONNECTING; afterwards the pipeline's */
    struct pipeline *pipeline;   /* SETUP, READY */
    struct event *readable;      /* of the session's socket; CONNECTING: what libpq waits for */
    struct event *writable;      /* SETUP, READY: libpq has more to write */
    struct event *timer;         /* what it is for follows from the state */
    int64_t heard_ms;            /* last sign of life while segments were in flight */
    struct log_limit lost_limit; /* of the log line for losses */

    unsigned entered; /* callbacks of ours on the stack */
    bool freed;       /* connection_free was called in one of them */
};

/* ---- state ---- */

static const unsigned may_follow[] = {
    [CONNECTION_IDLE] =
        1u << CONNECTION_RESOLVING | 1u << CONNECTION_CONNECTING | 1u << CONNECTION_BACKOFF,
    [CONNECTION_RESOLVING] =
        1u << CONNECTION_CONNECTING | 1u << CONNECTION_BACKOFF | 1u << CONNECTION_IDLE,
    [CONNECTION_CONNECTING] =
        1u << CONNECTION_SETUP | 1u << CONNECTION_BACKOFF | 1u << CONNECTION_IDLE,
    [CONNECTION_SETUP] = 1u << CONNECTION_READY | 1u << CONNECTION_BACKOFF | 1u << CONNECTION_IDLE,
    [CONNECTION_READY] = 1u << CONNECTION_BACKOFF | 1u << CONNECTION_IDLE,
    [CONNECTION_BACKOFF] = 1u << CONNECTION_RESOLVING | 1u << CONNECTION_CONNECTING |
                           1u << CONNECTION_IDLE | 1u << CONNECTION_BACKOFF,
};

const char *connection_state_name(enum connection_state state)
{
    static const char *const names[] = {
        [CONNECTION_IDLE] = "idle",
        [CONNECTION_RESOLVING] = "resolving",
        [CONNECTION_CONNECTING] = "connecting",
        [CONNECTION_SETUP] = "setup",
        [CONNECTION_READY] = "ready",
        [CONNECTION_BACKOFF] = "backoff",
    };
    return names[state];
}

static void set_state(struct connection *connection, enum connection_state state)
{
    if (!(may_follow[connection->state] & 1u << state))
        die("connection: %s after %s", connection_state_name(state),
            connection_state_name(connection->state));
    connection->state = state;
}

static void set_timer(struct connection *connection, int64_t delay_ms)
{
    const struct timeval delay = {delay_ms / 1000, delay_ms % 1000 * 1000};
    if (event_add(connection->timer, &delay))
        die("no timer for a connection");
}

/* ---- memory: callbacks may free the connection that calls them ---- */

static void release(struct connection *connection)
{
    for (char **setup = connection->setup; *setup; setup++)
        free(*setup);
    free(connection->setup);
    event_free(connection->timer);
    free(connection->conninfo);
    free(connection->application_name);
    free(connection);
}

static void enter(struct connection *connection)
{
    connection->entered++;
}

static void leave(struct connection *connection)
{
    if (--connection->entered == 0 && connection->freed)
        release(connection);
}

static char **copy_strings(const char *const *strings)
{
    size_t n = 0;
    while (strings && strings[n])
        n++;
    char **copy = memory_zero(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = memory_string(strings[i]);
    return copy;
}

/* ---- the end of a session ---- */

static void forget_event(struct event **event)
{
    if (*event)
        event_free(*event);
    *event = NULL;
}

/* Gives up whatever is under way; outstanding segments are told `err`. */
static void drop_session(struct connection *connection, const struct error *err)
{
    struct pipeline *pipeline = connection->pipeline;
    event_del(connection->timer);
    forget_event(&connection->readable);
    forget_event(&connection->writable);
    resolve_cancel(connection->resolve);
    conninfo_free(connection->parsed);
    PQfinish(connection->session);
    connection->resolve = NULL;
    connection->parsed = NULL;
    connection->session = NULL;
    connection->pipeline = NULL;
    pipeline_close(pipeline, err);
}

static int64_t backoff_ms(unsigned n_failures)
{
    int64_t limit = BACKOFF_MIN_MS;
    for (unsigned i = 1; i < n_failures && limit < BACKOFF_MAX_MS; i++)
        limit *= 2;
    if (limit > BACKOFF_MAX_MS)
        limit = BACKOFF_MAX_MS;
    return limit / 2 + (int64_t)arc4random_uniform((uint32_t)(limit / 2) + 1);
}

static void log_loss(struct connection *connection, enum connection_state state)
{
    uint64_t held_back;
    if (!log_limit_pass(&connection->lost_limit, LOST_LOG_EVERY_MS, &held_back))
        return;
    log_warn("store", "%s: %s: %s", connection->application_name,
             state == CONNECTION_READY ? "connection lost" : "PostgreSQL not reached",
             connection->trouble.text);
}

/* The connection was not reached or is lost. Calls back, so the caller must have entered and must
 * look at the state again. */
static void fail(struct connection *connection, const struct error *err)
{
    enum connection_state state = connection->state;
    struct error why = *err;
    if (state == CONNECTION_READY && *connection->farewell)
        error_set(&why, "%s", connection->farewell);
    connection->farewell[0] = '\0';
    connection->trouble = why;
    connection->n_failures++;
    log_loss(connection, state);
    set_state(connection, CONNECTION_BACKOFF);
    drop_session(connection, &why);
    if (connection->state != CONNECTION_BACKOFF || connection->freed)
        return;
    set_timer(connection, backoff_ms(connection->n_failures));
    if (connection->events.on_lost)
        connection->events.on_lost(&why, connection->arg);
}

/* ---- a session at work: SETUP and READY ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct connection *connection = arg;
    struct error err;
    enter(connection);
    connection->heard_ms = clock_monotonic_ms();
    if (pipeline_read(connection->pipeline, &err) == PIPELINE_BROKEN)
        fail(connection, &err);
    leave(connection);
}

/* A send that failed is reported from the loop: callers are promised no callback from inside their
 * call. */
static void fail_soon(struct connection *connection, const struct error *err)
{
    connection->trouble = *err;
    event_active(connection->timer, EV_TIMEOUT, 0);
    forget_event(&connection->readable);
}

/* Writes what the socket takes; on_writable goes on with the rest. */
static void flush(struct connection *connection)
{
    bool more = false;
    struct error err;
    if (!pipeline_write(connection->pipeline, &more, &err))
        fail_soon(connection, &err);
    else if (more && event_add(connection->writable, NULL))
        die("no event for a connection");
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush(arg);
}

static bool is_broken(const struct connection *connection)
{
    return !connection->readable;
}

static bool send_statement(struct connection *connection, const struct statement *statement,
                           bool prepare, statement_result_cb on_result, void *arg)
{
    struct error err;
    if (is_broken(connection))
        return false;
    if (pipeline_send(connection->pipeline, statement, prepare, on_result, arg, &err))
        return true;
    fail_soon(connection, &err);
    return false;
}

static bool sync_segment(struct connection *connection, segment_end_cb on_end, void *arg)
{
    struct error err;
    if (is_broken(connection))
        return false;
    if (!pipeline_sync(connection->pipeline, on_end, arg, &err)) {
        fail_soon(connection, &err);
        return false;
    }
    flush(connection); /* should this fail, the segment ends as lost */
    if (connection->state != CONNECTION_READY || !connection->silence_timeout_ms)
        return true;
    if (pipeline_in_flight(connection->pipeline) == 1)
        connection->heard_ms = clock_monotonic_ms();
    if (!event_pending(connection->timer, EV_TIMEOUT, NULL))
        set_timer(connection, connection->silence_timeout_ms);
    return true;
}

static void on_silence(struct connection *connection)
{
    if (!pipeline_in_flight(connection->pipeline))
        return;
    int64_t quiet_ms = clock_monotonic_ms() - connection->heard_ms;
    if (quiet_ms < connection->silence_timeout_ms) {
        set_timer(connection, connection->silence_timeout_ms - quiet_ms);
        return;
    }
    struct error err;
    error_set(&err, "no answer from PostgreSQL for %lld ms", (long long)quiet_ms);
    fail(connection, &err);
}

/* ---- connecting ---- */

static void on_setup_end(enum segment_outcome outcome, const struct segment_failure *failure,
                         void *arg)
{
    struct connection *connection = arg;
    if (outcome == SEGMENT_LOST)
        return;
    if (outcome == SEGMENT_FAILED) {
        fail(connection, &failure->err);
        return;
    }
    event_del(connection->timer);
    log_write(connection->n_failures ? LOG_INFO : LOG_DEBUG, "store", "%s: connected",
              connection->application_name);
    connection->n_failures = 0;
    connection->trouble.text[0] = '\0';
    connection->farewell[0] = '\0';
    set_state(connection, CONNECTION_READY);
    if (connection->events.on_ready)
        connection->events.on_ready(connection->arg);
}

/* Notices are for whoever debugs; the FATAL ones say why an idle session is about to end. */
static void on_notice(void *arg, const PGresult *notice)
{
    struct connection *connection = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    if (!severity || !message)
        return;
    log_debug("store", "%s: %s: %s", connection->application_name, severity, message);
    if (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)
        snprintf(connection->farewell, sizeof connection->farewell, "%s: %s", severity, message);
}

static void watch(struct connection *connection, struct event **event, short what,
                  event_callback_fn callback)
{
    evutil_socket_t fd = connection->session ? PQsocket(connection->session) : -1;
    forget_event(event);
    *event = event_new(connection->base, fd, what, callback, connection);
    if (!*event)
        die("no event for a connection");
}

static void start_setup(struct connection *connection)
{
    struct error err;
    watch(connection, &connection->readable, EV_READ | EV_PERSIST, on_readable);
    watch(connection, &connection->writable, EV_WRITE, on_writable);
    conninfo_free(connection->parsed);
    connection->parsed = NULL;
    set_state(connection, CONNECTION_SETUP);
    PQsetNoticeReceiver(connection->session, on_notice, connection);
    connection->pipeline = pipeline_new(connection->session, &err);
    connection->session = NULL;
    if (!connection->pipeline) {
        fail(connection, &err);
        return;
    }
    if (event_add(connection->readable, NULL))
        die("no event for a connection");
    for (char **setup = connection->setup; *setup; setup++) {
        const struct statement statement = {.sql = *setup};
        if (!send_statement(connection, &statement, false, NULL, NULL))
            return;
    }
    if (!sync_segment(connection, on_setup_end, connection))
        log_debug("store", "%s: setup not sent", connection->application_name);
}

static void on_connecting(evutil_socket_t fd, short what, void *arg);

static void await_socket(struct connection *connection, short what)
{
    watch(connection, &connection->readable, what, on_connecting);
    if (event_add(connection->readable, NULL))
        die("no event for a connection");
}

static void on_connecting(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct connection *connection = arg;
    struct error err;
    enter(connection);
    switch (PQconnectPoll(connection->session)) {
    case PGRES_POLLING_READING:
        await_socket(connection, EV_READ);
        break;
    case PGRES_POLLING_WRITING:
        await_socket(connection, EV_WRITE);
        break;
    case PGRES_POLLING_OK:
        start_setup(connection);
        break;
    default:
        libpq_error(&err, PQerrorMessage(connection->session));
        fail(connection, &err);
    }
    leave(connection);
}

/* `answers` is NULL when there was nothing to look up. */
static void start_connecting(struct connection *connection, const struct resolved_host *answers)
{
    struct connect_params params;
    struct error err;
    if (!conninfo_build(connection->parsed, answers, connection->first_host,
                        connection->application_name, &params, &err)) {
        fail(connection, &err);
        return;
    }
    set_state(connection, CONNECTION_CONNECTING);
    connection->session = PQconnectStartParams(params.keywords, params.values, 0);
    connect_params_free(&params);
    if (!connection->session)
        die("out of memory: a connection");
    if (PQstatus(connection->session) == CONNECTION_BAD) {
        libpq_error(&err, PQerrorMessage(connection->session));
        fail(connection, &err);
        return;
    }
    await_socket(connection, EV_WRITE);
}

static void on_resolved(const struct resolved_host *hosts, size_t n_hosts, void *arg)
{
    (void)n_hosts;
    struct connection *connection = arg;
    connection->resolve = NULL; /* it frees itself */
    enter(connection);
    start_connecting(connection, hosts);
    leave(connection);
}

static void attempt(struct connection *connection)
{
    struct error err;
    connection->parsed = conninfo_parse(connection->conninfo, &err);
    if (!connection->parsed) {
        fail(connection, &err);
        return;
    }
    set_timer(connection, connection->connect_timeout_ms);
    if (!conninfo_needs_lookup(connection->parsed)) {
        start_connecting(connection, NULL);
        return;
    }
    size_t n_hosts;
    const char *const *hosts = conninfo_names(connection->parsed, &n_hosts);
    set_state(connection, CONNECTION_RESOLVING);
    connection->resolve = resolve_start(connection->base, hosts, n_hosts, on_resolved, connection);
}

/* ---- the timer ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct connection *connection = arg;
    struct error err;
    enter(connection);
    switch (connection->state) {
    case CONNECTION_IDLE: /* just opened */
    case CONNECTION_BACKOFF:
        attempt(connection);
        break;
    case CONNECTION_RESOLVING:
    case CONNECTION_CONNECTING:
    case CONNECTION_SETUP:
        if (connection->state == CONNECTION_SETUP && is_broken(connection)) {
            err = connection->trouble;
        } else {
            error_set(&err, "no connection within %d ms (%s)", connection->connect_timeout_ms,
                      connection_state_name(connection->state));
            connection->first_host++;
        }
        fail(connection, &err);
        break;
    case CONNECTION_READY:
        err = connection->trouble;
        if (is_broken(connection))
            fail(connection, &err);
        else
            on_silence(connection);
        break;
    }
    leave(connection);
}

/* ---- what callers see ---- */

struct connection *connection_new(struct event_base *base, const struct connection_options *options,
                                  const struct connection_events *events, void *arg)
{
    struct connection *connection = memory_zero(1, sizeof *connection);
    connection->base = base;
    if (events)
        connection->events = *events;
    connection->arg = arg;
    connection->conninfo = memory_string(options->conninfo);
    connection->application_name =
        memory_string(options->application_name ? options->application_name : "core-service");
    connection->connect_timeout_ms = options->connect_timeout_ms;
    connection->silence_timeout_ms = options->silence_timeout_ms;
    connection->setup = copy_strings(options->setup);
    connection->timer = event_new(base, -1, 0, on_timer, connection);
    if (!connection->timer)
        die("no timer for a connection");
    error_set(&connection->trouble, "not connected yet");
    return connection;
}

void connection_free(struct connection *connection)
{
    if (!connection || connection->freed)
        return;
    enter(connection);
    connection->freed = true;
    connection_close(connection);
    leave(connection);
}

void connection_open(struct connection *connection)
{
    if (connection->state == CONNECTION_IDLE && !connection->freed)
        set_timer(connection, 0);
}

void connection_close(struct connection *connection)
{
    struct error err;
    error_set(&err, "the connection was closed");
    connection->trouble = err;
    connection->n_failures = 0;
    if (connection->state == CONNECTION_IDLE)
        event_del(connection->timer); /* opened, and not begun */
    else
        set_state(connection, CONNECTION_IDLE);
    enter(connection);
    drop_session(connection, &err);
    leave(connection);
}

enum connection_state connection_state(const struct connection *connection)
{
    return connection->state;
}

const char *connection_trouble(const struct connection *connection)
{
    return connection->trouble.text;
}

bool connection_send(struct connection *connection, const struct statement *statement,
                     statement_result_cb on_result, void *arg)
{
    return connection->state == CONNECTION_READY &&
           send_statement(connection, statement, true, on_result, arg);
}

bool connection_sync(struct connection *connection, segment_end_cb on_end, void *arg)
{
    return connection->state == CONNECTION_READY && sync_segment(connection, on_end, arg);
}

size_t connection_in_flight(const struct connection *connection)
{
    return connection->pipeline ? pipeline_in_flight(connection->pipeline) : 0;
}

void connection_forget_prepared(struct connection *connection)
{
    if (connection->pipeline)
        pipeline_forget_prepared(connection->pipeline);
}
