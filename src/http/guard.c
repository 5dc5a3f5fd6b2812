#include "http/guard.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/farewell.h"
#include "http/guard_internal.h"

#define YIELD_MS         5
#define TICK_MS          100
#define DRAIN_READING_MS 1000 /* for a request that had begun to arrive when draining began */
#define DRAIN_WRITING_MS 5000
#define LEAVING_MS       1000 /* for a client that has closed its side and may still be reading */

/* ---- connections ---- */

static void remember(struct guard *guard, struct client *client)
{
    size_t fd = (size_t)client->fd;
    if (fd >= guard->n_by_fd) {
        size_t n = fd < 64 ? 128 : fd * 2;
        guard->by_fd = memory_resize(guard->by_fd, n * sizeof(struct client *));
        memset(guard->by_fd + guard->n_by_fd, 0, (n - guard->n_by_fd) * sizeof(struct client *));
        guard->n_by_fd = n;
    }
    guard->by_fd[fd] = client;
}

static struct client *client_of(const struct guard *guard, struct evhttp_request *request)
{
    struct evhttp_connection *connection = evhttp_request_get_connection(request);
    evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(connection));
    if (fd < 0 || (size_t)fd >= guard->n_by_fd || !guard->by_fd[fd])
        die("a request came on a connection that nobody knows");
    return guard->by_fd[fd];
}

static void on_request(struct evhttp_request *request, void *arg)
{
    client_on_request(client_of(arg, request), request);
}

/* evhttp asks for the bufferevent of a connection that it has just accepted. */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
    struct guard *guard = arg;
    struct client *client = memory_zero(1, sizeof *client);
    client->guard = guard;
    client->fd = -1;
    client->since_ms = clock_coarse_ms();
    client->bufferevent = bufferevent_socket_new(base, -1, 0);
    if (!client->bufferevent)
        die("no bufferevent for a connection");
    /* A body, or one chunk of it, waits there until it is complete. */
    size_t header = guard->options.max_header_bytes, body = guard->options.max_body_bytes;
    bufferevent_setwatermark(client->bufferevent, EV_READ, 0,
                             (header > body ? header : body) + 4096);
    evbuffer_add_cb(bufferevent_get_input(client->bufferevent), client_on_input, client);
    evbuffer_add_cb(bufferevent_get_output(client->bufferevent), client_on_output, client);
    TAILQ_INSERT_TAIL(&guard->queues[PHASE_OPENED], client, entry);
    guard->n_clients++;
    atomic_fetch_add(guard->options.connections, 1);
    gauge_add(guard->meter.connections, 1);
    evconnlistener_disable(evhttp_bound_socket_get_listener(guard->bound));
    event_active(guard->settle, EV_TIMEOUT, 0);
    return client->bufferevent;
}

static void accept_again(struct guard *guard)
{
    if (guard->bound)
        evconnlistener_enable(evhttp_bound_socket_get_listener(guard->bound));
}

/* By enough that short connections, coming and going, do not make everybody wait for the others. */
static bool has_more_than_its_share(const struct guard *guard)
{
    int total = atomic_load(guard->options.connections);
    return (int)guard->n_clients > total / guard->options.n_sharing + total / 8 + 2;
}

/* Every client ends here, also when evhttp closes the connection. */
static void on_closed(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    struct client *client = arg;
    struct guard *guard = client->guard;
    TAILQ_REMOVE(&guard->queues[client->phase], client, entry);
    guard->by_fd[client->fd] = NULL;
    guard->n_clients--;
    atomic_fetch_sub(guard->options.connections, 1);
    gauge_add(guard->meter.connections, -1);
    event_del(&client->peer);
    evbuffer_remove_cb(bufferevent_get_input(client->bufferevent), client_on_input, client);
    evbuffer_remove_cb(bufferevent_get_output(client->bufferevent), client_on_output, client);
    if (client->phase == PHASE_REFUSED) {
        evutil_socket_t fd = dup(client->fd);
        if (fd >= 0)
            farewell_add(guard->farewell, fd);
    }
    if (!has_more_than_its_share(guard))
        accept_again(guard);
    if (client->on_gone)
        client->on_gone(client->on_gone_arg);
    if (guard->asking == client)
        guard->asking = NULL;
    free(client);
}

/* evhttp has finished with the new connection, and nothing has been read from it. */
static void adopt(struct client *client)
{
    struct guard *guard = client->guard;
    void *connection = NULL;
    bufferevent_getcb(client->bufferevent, NULL, NULL, NULL, &connection);
    client->connection = connection;
    client->fd = bufferevent_getfd(client->bufferevent);
    evhttp_connection_set_closecb(client->connection, on_closed, client);
    remember(guard, client);
    event_assign(&client->peer, guard->options.base, client->fd, EV_READ, client_on_peer, client);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (atomic_load(guard->options.connections) > guard->options.max_connections)
        client_refuse(client, 503, "There are too many connections");
}

/* ---- turns and ticks ---- */

static void finish_drain(struct guard *guard)
{
    if (!guard->draining || guard->drained || guard->n_clients > 0 ||
        !farewell_is_empty(guard->farewell))
        return;
    guard->drained = true;
    guard->options.on_drained(guard->options.arg);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct guard *guard = arg;
    struct client *client = TAILQ_LAST(&guard->queues[PHASE_OPENED], client_queue);
    while (client && !client->connection) {
        struct client *earlier = TAILQ_PREV(client, client_queue, entry);
        adopt(client);
        client = earlier;
    }
    while ((client = TAILQ_FIRST(&guard->queues[PHASE_REFUSED])))
        evhttp_connection_free(client->connection);
    if (guard->bound && has_more_than_its_share(guard))
        event_add(guard->yield, &(struct timeval){0, YIELD_MS * 1000});
    else
        accept_again(guard);
}

static void on_yielded(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    accept_again(arg);
}

static void expire(struct client *client)
{
    counter_add(client->guard->meter.timed_out, 1);
    if (client->phase == PHASE_READING)
        client_refuse(client, 408, "The request did not arrive in time");
    else
        evhttp_connection_free(client->connection);
}

static void expire_overdue(struct guard *guard)
{
    int64_t now_ms = clock_coarse_ms();
    for (int phase = 0; phase < N_PHASES; phase++) {
        struct client *client;
        while (guard->limits_ms[phase] > 0 && (client = TAILQ_FIRST(&guard->queues[phase])) &&
               now_ms - client->since_ms >= guard->limits_ms[phase])
            expire(client);
    }
}

/* Those that have no request under way, and none in the socket. */
static void close_idle(struct guard *guard, enum phase phase)
{
    struct client *client = TAILQ_FIRST(&guard->queues[phase]);
    while (client) {
        struct client *next = TAILQ_NEXT(client, entry);
        if (client->connection && client_look_at_peer(client) != PEER_SENDING)
            evhttp_connection_free(client->connection);
        client = next;
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct guard *guard = arg;
    expire_overdue(guard);
    accept_again(guard); /* had it failed */
    if (guard->draining) {
        close_idle(guard, PHASE_OPENED);
        close_idle(guard, PHASE_WAITING);
    }
    finish_drain(guard);
}

/* Out of file descriptors, mostly: stop until the next tick instead of spinning. */
static void on_accept_failed(struct evconnlistener *listener, void *http)
{
    (void)http; /* the listener is evhttp's, and so is what it passes */
    static _Thread_local struct log_limit limit;
    int error = errno;
    evconnlistener_disable(listener);
    log_limited(&limit, 1000, LOG_WARN, "http", "cannot accept connections: %s", strerror(error));
}

/* ---- life ---- */

static struct evhttp *new_http(struct guard *guard)
{
    const struct guard_options *options = &guard->options;
    struct evhttp *http = evhttp_new(options->base);
    if (!http)
        die("no evhttp");
    evhttp_set_max_headers_size(http, (ev_ssize_t)options->max_header_bytes);
    evhttp_set_max_body_size(http, (ev_ssize_t)options->max_body_bytes);
    evhttp_set_default_content_type(http, NULL);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD |
                                         EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS |
                                         EVHTTP_REQ_PATCH | EVHTTP_REQ_TRACE);
    evhttp_set_bevcb(http, on_accepted, guard);
    evhttp_set_gencb(http, on_request, guard);
    return http;
}

struct guard *guard_new(const struct guard_options *options)
{
    struct guard *guard = memory_zero(1, sizeof *guard);
    guard->options = *options;
    guard->limits_ms[PHASE_OPENED] = options->request_timeout_ms;
    guard->limits_ms[PHASE_READING] = options->request_timeout_ms;
    guard->limits_ms[PHASE_WAITING] = options->idle_timeout_ms;
    guard->limits_ms[PHASE_WRITING] = options->idle_timeout_ms;
    guard->limits_ms[PHASE_LEAVING] = LEAVING_MS;
    for (int i = 0; i < N_PHASES; i++)
        TAILQ_INIT(&guard->queues[i]);
    guard_meter_init(&guard->meter, options->metrics, options->listener);
    guard->http = new_http(guard);
    guard->farewell = farewell_new(options->base);
    guard->settle = event_new(options->base, -1, 0, on_settle, guard);
    guard->yield = event_new(options->base, -1, 0, on_yielded, guard);
    guard->tick = event_new(options->base, -1, EV_PERSIST, on_tick, guard);
    if (!guard->settle || !guard->yield || !guard->tick)
        die("no event for the connections' guard");
    event_add(guard->tick, &(struct timeval){0, TICK_MS * 1000});
    signal(SIGPIPE, SIG_IGN); /* libevent writes with writev(2) */
    return guard;
}

void guard_free(struct guard *guard)
{
    if (!guard)
        return;
    guard->bound = NULL;     /* evhttp frees it */
    on_settle(-1, 0, guard); /* so that each connection is known and ends in on_closed() */
    evhttp_free(guard->http);
    farewell_free(guard->farewell);
    event_free(guard->settle);
    event_free(guard->yield);
    event_free(guard->tick);
    free(guard->by_fd);
    free(guard);
}

void guard_accept(struct guard *guard, evutil_socket_t listening)
{
    struct evconnlistener *listener =
        evconnlistener_new(guard->options.base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, listening);
    if (!listener)
        die("no listener for a listening socket");
    guard->bound = evhttp_bind_listener(guard->http, listener);
    if (!guard->bound)
        die("no listener for evhttp");
    evconnlistener_set_error_cb(listener, on_accept_failed);
}

static void shorten(struct guard *guard, enum phase phase, int64_t limit_ms)
{
    if (guard->limits_ms[phase] > limit_ms)
        guard->limits_ms[phase] = limit_ms;
}

void guard_drain(struct guard *guard)
{
    guard->draining = true;
    shorten(guard, PHASE_READING, DRAIN_READING_MS);
    shorten(guard, PHASE_WRITING, DRAIN_WRITING_MS);
    if (guard->bound)
        evhttp_del_accept_socket(guard->http, guard->bound);
    guard->bound = NULL;
    event_active(guard->tick, EV_TIMEOUT, 0);
}
