#include "http/server.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "http/gate.h"
#include "http/guard.h"
#include "http/listen.h"
#include "http/service.h"
#include "store/reader.h"

#define STOP_MS 2000 /* for a thread to end that was told to drop everything */

struct http_thread {
    struct http_server *server;
    char name[32];
    pthread_t thread;
    struct event_base *base;
    struct event *wake; /* another thread wrote to wake_fd: look at the server's flags */
    int wake_fd;
    struct guard *guard;
    struct reader_pool *pool;
    struct service *service;
    bool draining;
    bool running; /* started and not joined; main thread's */
};

struct http_server {
    struct http_options options;
    char *conninfo;
    struct gate *gate;
    int listen_fd;
    int port;
    atomic_bool draining; /* answer what is there, then end */
    atomic_bool stopping; /* end at once */
    atomic_int n_accepting;
    atomic_int n_connections;
    atomic_int n_in_flight;
    atomic_int n_waiting;
    size_t n_threads;
    struct http_thread *threads;
};

/* ---- in the threads ---- */

static bool is_ready(struct buffer *reasons, void *arg)
{
    const struct http_thread *thread = arg;
    const struct http_options *options = &thread->server->options;
    bool ready = options->is_ready(reasons, options->arg);
    if (reader_pool_is_ready(thread->pool))
        return ready;
    buffer_printf(reasons, "%s has no connection to PostgreSQL\n", thread->name); /* why: the log */
    return false;
}

static void on_drained(void *arg)
{
    struct http_thread *thread = arg;
    event_base_loopbreak(thread->base);
}

/* The last to stop accepting closes the door, so that clients are refused instead of kept waiting.
 */
static void drain(struct http_thread *thread)
{
    thread->draining = true;
    service_drain(thread->service);
    guard_drain(thread->guard);
    if (atomic_fetch_sub(&thread->server->n_accepting, 1) == 1)
        shutdown(thread->server->listen_fd, SHUT_RDWR);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct http_thread *thread = arg;
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
        die("%s cannot be woken: %s", thread->name, strerror(errno));
    if (atomic_load(&thread->server->stopping))
        event_base_loopbreak(thread->base);
    else if (atomic_load(&thread->server->draining) && !thread->draining)
        drain(thread);
}

static void *run(void *arg)
{
    struct http_thread *thread = arg;
    pthread_setname_np(pthread_self(), thread->name);
    if (event_base_dispatch(thread->base) < 0)
        die("%s cannot wait for events", thread->name);
    guard_free(thread->guard);
    service_free(thread->service);
    reader_pool_free(thread->pool);
    event_free(thread->wake);
    event_base_free(thread->base);
    return NULL;
}

/* ---- in the main thread ---- */

static struct reader_pool *new_pool(const struct http_thread *thread)
{
    const struct settings *settings = thread->server->options.settings;
    char name[64];
    snprintf(name, sizeof name, "core-service %s", thread->name);
    const struct reader_options options = {
        .conninfo = thread->server->conninfo,
        .application_name = name,
        .connections = settings->db_pool_size,
        .connect_timeout_ms = settings->db_connect_timeout_ms,
        .statement_timeout_ms = settings->db_statement_timeout_ms,
        .shared = metrics_counter(thread->server->options.metrics,
                                  "core_service_http_shared_queries_total",
                                  "Queries answered by the rows of another that asked the same at "
                                  "the same moment",
                                  NULL, 0),
    };
    return reader_pool_new(thread->base, &options);
}

static struct service *new_service(struct http_thread *thread, size_t slot)
{
    const struct http_options *options = &thread->server->options;
    const struct service_options service = {
        .metrics = options->metrics,
        .rules = options->rules,
        .slot = slot,
        .pool = thread->pool,
        .gate = thread->server->gate,
        .in_flight = &thread->server->n_in_flight,
        .max_in_flight = options->settings->http_max_in_flight,
        .base = thread->base,
        .n_waiting = &thread->server->n_waiting,
        .policy = {.origins = options->settings->cors_origins},
        .is_ready = is_ready,
        .arg = thread,
    };
    return service_new(&service);
}

static struct guard *new_guard(struct http_thread *thread)
{
    const struct http_options *options = &thread->server->options;
    const struct settings *settings = options->settings;
    const struct guard_options guard = {
        .base = thread->base,
        .max_connections = settings->http_max_connections,
        .n_sharing = settings->http_threads,
        .connections = &thread->server->n_connections,
        .max_header_bytes = (size_t)settings->http_max_header_bytes,
        .max_body_bytes = (size_t)settings->http_max_body_bytes,
        .request_timeout_ms = settings->http_request_timeout_ms,
        .idle_timeout_ms = settings->http_idle_timeout_ms,
        .metrics = options->metrics,
        .listener = "public",
        .on_request = service_on_request,
        .on_drained = on_drained,
        .request_arg = thread->service,
        .arg = thread,
    };
    return guard_new(&guard);
}

/* Without a lock: no other thread ever touches it, what they have to say comes through wake_fd. */
static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) < 0)
        die("out of memory: an event loop's configuration");
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

/* Everything of a thread is made here and from pthread_create() on used there only. */
static void thread_init(struct http_thread *thread, struct http_server *server, size_t number)
{
    thread->server = server;
    snprintf(thread->name, sizeof thread->name, "http/%zu", number);
    thread->base = new_base();
    thread->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!thread->base || thread->wake_fd < 0)
        die("no event loop for %s: %s", thread->name, strerror(errno));
    thread->wake = event_new(thread->base, thread->wake_fd, EV_READ | EV_PERSIST, on_wake, thread);
    if (!thread->wake || event_add(thread->wake, NULL) < 0)
        die("no event for %s", thread->name);
    thread->pool = new_pool(thread);
    thread->service = new_service(thread, server->options.first_slot + number);
    thread->guard = new_guard(thread);
    guard_accept(thread->guard, server->listen_fd);
}

static void thread_start(struct http_thread *thread)
{
    int rc = pthread_create(&thread->thread, NULL, run, thread);
    if (rc != 0)
        die("cannot start %s: %s", thread->name, strerror(rc));
    thread->running = true;
}

struct http_server *http_server_start(const struct http_options *options, struct error *err)
{
    const struct settings *settings = options->settings;
    int port = 0;
    struct gate *gate = gate_new(settings, options->metrics, err);
    int listen_fd = gate ? listen_on(settings->host, settings->port, &port, err) : -1;
    if (listen_fd < 0) {
        gate_free(gate);
        return NULL;
    }
    struct http_server *server = memory_zero(1, sizeof *server);
    server->options = *options;
    server->conninfo = settings_database(settings);
    server->gate = gate;
    server->listen_fd = listen_fd;
    server->port = port;
    server->n_threads = (size_t)settings->http_threads;
    atomic_store(&server->n_accepting, settings->http_threads);
    server->threads = memory_zero(server->n_threads, sizeof(struct http_thread));
    for (size_t i = 0; i < server->n_threads; i++)
        thread_init(&server->threads[i], server, i);
    for (size_t i = 0; i < server->n_threads; i++)
        thread_start(&server->threads[i]);
    log_info("http", "listening on %s port %d with %zu threads", settings->host, port,
             server->n_threads);
    return server;
}

const char *const *http_built_in_paths(void)
{
    return service_built_in_paths();
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}

bool http_server_reload(struct http_server *server, struct error *err)
{
    return gate_reload(server->gate, err);
}

static void wake_all(struct http_server *server)
{
    for (size_t i = 0; i < server->n_threads; i++) {
        uint64_t one = 1;
        if (write(server->threads[i].wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
            die("cannot wake %s: %s", server->threads[i].name, strerror(errno));
    }
}

void http_server_drain(struct http_server *server)
{
    if (!atomic_exchange(&server->draining, true))
        wake_all(server);
}

/* True when all have ended. */
static bool join_threads(struct http_server *server, int timeout_ms)
{
    struct timespec until;
    bool all = true;
    clock_gettime(CLOCK_REALTIME, &until); /* what pthread_timedjoin_np() goes by */
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    for (size_t i = 0; i < server->n_threads; i++) {
        struct http_thread *thread = &server->threads[i];
        if (thread->running && pthread_timedjoin_np(thread->thread, NULL, &until) == 0)
            thread->running = false;
        all &= !thread->running;
    }
    return all;
}

bool http_server_join(struct http_server *server, int timeout_ms)
{
    bool in_time = join_threads(server, timeout_ms);
    if (!in_time) {
        log_warn("http", "requests were still open after %d ms and are dropped", timeout_ms);
        atomic_store(&server->stopping, true);
        wake_all(server);
        if (!join_threads(server, STOP_MS)) {
            log_error("http", "a thread does not end; its memory is left to it");
            return false;
        }
    }
    for (size_t i = 0; i < server->n_threads; i++)
        close(server->threads[i].wake_fd);
    close(server->listen_fd);
    free(server->threads);
    gate_free(server->gate);
    free(server->conninfo);
    free(server);
    return in_time;
}
