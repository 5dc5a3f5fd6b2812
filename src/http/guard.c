#include "http/guard.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/farewell.h"
#include "http/guard_meter.h"
#include "http/status.h"

#define YIELD_MS         5
#define TICK_MS          100
#define DRAIN_READING_MS 1000 /* for a request that had begun to arrive when draining began */
#define DRAIN_WRITING_MS 5000
#define LEAVING_MS       1000 /* for a client that has closed its side and may still be reading */

enum phase {
    PHASE_OPENED,   /* nothing has come yet */
    PHASE_WAITING,  /* between two requests */
    PHASE_READING,  /* a request has begun to arrive */
    PHASE_HANDLING, /* an answer is being made; the socket is not read */
    PHASE_LEAVING,  /* the same, and the client has closed its side: gone, or only done sending */
    PHASE_WRITING,  /* the answer is on its way */
    PHASE_REFUSED,  /* it has been told why; to be closed in this turn of the loop */
    N_PHASES,
};

#define TO(phase) (1u << (phase))

/* What may follow what. Closed is possible from each of them and no phase. */
static const unsigned FOLLOWS[N_PHASES] = {
    [PHASE_OPENED] = TO(PHASE_READING) | TO(PHASE_REFUSED),
    [PHASE_WAITING] = TO(PHASE_READING),
    [PHASE_READING] = TO(PHASE_HANDLING) | TO(PHASE_REFUSED),
    [PHASE_HANDLING] = TO(PHASE_LEAVING) | TO(PHASE_WRITING) | TO(PHASE_REFUSED),
    [PHASE_LEAVING] = TO(PHASE_WRITING) | TO(PHASE_REFUSED),
    [PHASE_WRITING] = TO(PHASE_WAITING) | TO(PHASE_READING),
};

struct client {
    TAILQ_ENTRY(client) entry; /* in its phase's queue */
    struct guard *guard;
    enum phase phase;
    int64_t since_ms; /* in this phase; monotonic */
    struct bufferevent *bufferevent;
    struct evhttp_connection *connection; /* NULL until the end of the turn that accepted it */
    evutil_socket_t fd;                   /* valid with `connection` */
    struct evhttp_request *request;       /* while HANDLING and LEAVING */
    struct event peer;                    /* looks for the client's end while HANDLING */
    void (*on_gone)(void *arg);
    void *on_gone_arg;
    size_t received_bytes; /* of the request that is being read, at least */
    size_t line_bytes;     /* of its first line; 0: the line has not ended yet */
};

TAILQ_HEAD(client_queue, client);

struct guard {
    struct guard_options options;
    struct guard_meter meter;
    struct evhttp *http;
    struct evhttp_bound_socket *bound; /* NULL when not accepting */
    struct client_queue queues[N_PHASES];
    int64_t limits_ms[N_PHASES]; /* 0: none */
    size_t n_clients;
    struct client **by_fd;
    size_t n_by_fd;
    struct farewell *farewell;
    struct event *yield;  /* others had their chance to accept */
    struct event *settle; /* what is left to do at the end of this turn of the loop */
    struct event *tick;
    bool draining;
    bool drained;
};

static void set_phase(struct client *client, enum phase phase)
{
    struct guard *guard = client->guard;
    if (!(FOLLOWS[client->phase] & TO(phase)))
        die("a client went from phase %d to %d", client->phase, phase);
    TAILQ_REMOVE(&guard->queues[client->phase], client, entry);
    client->phase = phase;
    client->since_ms = clock_monotonic_ms();
    TAILQ_INSERT_TAIL(&guard->queues[phase], client, entry);
}

/* Also when evhttp closes the connection: every client ends here. */
static void on_closed(struct evhttp_connection *connection, void *arg);

/* ---- refusing ---- */

static enum refusal refusal_of(int status)
{
    switch (status) {
    case 408:
        return REFUSAL_TIMEOUT;
    case 413:
    case 414:
    case 431:
        return REFUSAL_TOO_LARGE;
    case 503:
        return REFUSAL_CONNECTIONS;
    default:
        return REFUSAL_MALFORMED;
    }
}

/* Sent past evhttp, which may be just about to send a page of its own: nothing of ours is waiting
 * to be written in the phases that this is called in. If the socket takes no more, the client is
 * not reading and will see the connection close. */
static void send_page(struct client *client, int status, const char *text)
{
    struct buffer page = {0};
    buffer_printf(&page,
                  "HTTP/1.1 %d %s\r\n"
                  "Content-Type: application/json; charset=utf-8\r\n"
                  "Content-Length: %zu\r\n"
                  "Cache-Control: no-store\r\n"
                  "Connection: close\r\n"
                  "%s\r\n"
                  "{\"error\":\"%s\"}",
                  status, status_phrase(status), strlen(text) + strlen("{\"error\":\"\"}"),
                  status == 503 ? "Retry-After: 1\r\n" : "", text);
    if (send(client->fd, page.data, page.size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("http", "a refused client was not told why: %s", strerror(errno));
    shutdown(client->fd, SHUT_WR); /* what evhttp has to say comes too late */
    buffer_free(&page);
}

void client_refuse(struct client *client, int status, const char *text)
{
    struct guard *guard = client->guard;
    log_debug("http", "refused with %d: %s", status, text);
    client->on_gone = NULL;
    event_del(&client->peer);
    counter_add(guard->meter.refused[refusal_of(status)], 1);
    send_page(client, status, text);
    set_phase(client, PHASE_REFUSED);
    event_active(guard->settle, EV_TIMEOUT, 0);
}

/* evhttp says 400 for everything that is wrong with a header. */
static int better_status(const struct client *client, int status)
{
    size_t limit = client->guard->options.max_header_bytes;
    if (status != 400 || client->received_bytes <= limit)
        return status;
    return client->line_bytes == 0 || client->line_bytes > limit ? 414 : 431;
}

static const char *refusal_text(int status)
{
    switch (status) {
    case 413:
        return "The request body is too large or its chunks are malformed";
    case 414:
        return "The request line is too long";
    case 417:
        return "The expectation cannot be met";
    case 431:
        return "The request header is too large";
    case 501:
        return "The method is not implemented";
    default:
        return "The request is malformed";
    }
}

/* What appears in the output while a request is being read is evhttp's own: its 100 Continue, or
 * one of its pages. */
static void on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct client *client = arg;
    if (info->n_added == 0 || client->phase != PHASE_READING)
        return;
    char line[24] = "";
    int status = 400;
    if (evbuffer_copyout(output, line, sizeof line - 1) > 0)
        sscanf(line, "HTTP/%*d.%*d %d", &status);
    if (status == 100)
        return;
    status = better_status(client, status);
    client_refuse(client, status, refusal_text(status));
}

/* ---- reading ---- */

static void begin_request(struct client *client)
{
    client->received_bytes = 0;
    client->line_bytes = 0;
    set_phase(client, PHASE_READING);
}

/* Notes what has come since `from`, where the input begins with the request's first line as long
 * as that has not ended. */
static void note_received(struct client *client, struct evbuffer *input, size_t from)
{
    client->received_bytes += evbuffer_get_length(input) - from;
    if (client->line_bytes > 0)
        return;
    struct evbuffer_ptr start;
    if (evbuffer_ptr_set(input, &start, from, EVBUFFER_PTR_SET) < 0)
        return;
    struct evbuffer_ptr end = evbuffer_search(input, "\n", 1, &start);
    if (end.pos >= 0)
        client->line_bytes = (size_t)end.pos + 1;
}

static void on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct client *client = arg;
    if (info->n_added == 0)
        return;
    if (client->phase == PHASE_OPENED || client->phase == PHASE_WAITING)
        begin_request(client);
    if (client->phase == PHASE_READING)
        note_received(client, input, info->orig_size);
}

enum peer { PEER_QUIET, PEER_SENDING, PEER_ENDED, PEER_BROKEN };

static enum peer look_at_peer(const struct client *client)
{
    char byte;
    ssize_t n = recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0)
        return PEER_SENDING;
    if (n == 0)
        return PEER_ENDED;
    return errno == EAGAIN || errno == EINTR ? PEER_QUIET : PEER_BROKEN;
}

/* evhttp must not be let to read while an answer is being made (it would end the process), so the
 * client's end is looked for beside it. A client that has sent its next request already is not
 * watched any more. */
static void on_peer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct client *client = arg;
    switch (look_at_peer(client)) {
    case PEER_QUIET:
        event_add(&client->peer, NULL);
        break;
    case PEER_SENDING:
        break;
    case PEER_ENDED:
        set_phase(client, PHASE_LEAVING);
        break;
    case PEER_BROKEN:
        evhttp_connection_free(client->connection);
        break;
    }
}

/* ---- one request ---- */

static struct client *client_of(const struct guard *guard, struct evhttp_request *request)
{
    struct evhttp_connection *connection = evhttp_request_get_connection(request);
    evutil_socket_t fd = bufferevent_getfd(evhttp_connection_get_bufferevent(connection));
    if (fd < 0 || (size_t)fd >= guard->n_by_fd || !guard->by_fd[fd])
        die("a request came on a connection that nobody knows");
    return guard->by_fd[fd];
}

static void on_sent(struct evhttp_request *request, void *arg)
{
    (void)request;
    struct client *client = arg;
    struct evbuffer *input = bufferevent_get_input(client->bufferevent);
    if (evbuffer_get_length(input) == 0) {
        set_phase(client, PHASE_WAITING);
        return;
    }
    begin_request(client); /* it came together with the one before */
    note_received(client, input, 0);
}

static void on_request(struct evhttp_request *request, void *arg)
{
    struct guard *guard = arg;
    struct client *client = client_of(guard, request);
    set_phase(client, PHASE_HANDLING);
    client->request = request;
    client->on_gone = NULL;
    evhttp_request_set_on_complete_cb(request, on_sent, client);
    guard->options.on_request(client, request, guard->options.request_arg);
    if (client->phase == PHASE_HANDLING)
        event_add(&client->peer, NULL);
}

void client_on_gone(struct client *client, void (*on_gone)(void *arg), void *arg)
{
    client->on_gone = on_gone;
    client->on_gone_arg = arg;
}

void client_answer(struct client *client, int status)
{
    struct evhttp_request *request = client->request;
    event_del(&client->peer);
    set_phase(client, PHASE_WRITING);
    client->request = NULL;
    client->on_gone = NULL;
    if (client->guard->draining) {
        struct evkeyvalq *header = evhttp_request_get_output_headers(request);
        evhttp_remove_header(header, "Connection");
        evhttp_add_header(header, "Connection", "close");
    }
    evhttp_send_reply(request, status, status_phrase(status), NULL);
    /* evhttp reads on to notice when the client ends, and then drops the rest of the answer: wrong
     * for a client that has only finished sending. Whoever really left is found by the write. */
    bufferevent_disable(client->bufferevent, EV_READ);
}

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

/* evhttp asks for the bufferevent of a connection that it has just accepted. */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
    struct guard *guard = arg;
    struct client *client = memory_zero(1, sizeof *client);
    client->guard = guard;
    client->fd = -1;
    client->since_ms = clock_monotonic_ms();
    client->bufferevent = bufferevent_socket_new(base, -1, 0);
    if (!client->bufferevent)
        die("no bufferevent for a connection");
    /* A body, or one chunk of it, waits there until it is complete. */
    size_t header = guard->options.max_header_bytes, body = guard->options.max_body_bytes;
    bufferevent_setwatermark(client->bufferevent, EV_READ, 0,
                             (header > body ? header : body) + 4096);
    evbuffer_add_cb(bufferevent_get_input(client->bufferevent), on_input, client);
    evbuffer_add_cb(bufferevent_get_output(client->bufferevent), on_output, client);
    TAILQ_INSERT_TAIL(&guard->queues[PHASE_OPENED], client, entry);
    guard->n_clients++;
    atomic_fetch_add(guard->options.connections, 1);
    gauge_add(guard->meter.connections, 1);
    evconnlistener_disable(evhttp_bound_socket_get_listener(guard->bound));
    event_active(guard->settle, EV_TIMEOUT, 0);
    return client->bufferevent;
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
    event_assign(&client->peer, guard->options.base, client->fd, EV_READ, on_peer, client);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (atomic_load(guard->options.connections) > guard->options.max_connections)
        client_refuse(client, 503, "There are too many connections");
}

static void accept_again(struct guard *guard)
{
    if (guard->bound)
        evconnlistener_enable(evhttp_bound_socket_get_listener(guard->bound));
}

/* By enough that short connections, which come and go, do not make everybody wait for the others.
 */
static bool has_more_than_its_share(const struct guard *guard)
{
    int total = atomic_load(guard->options.connections);
    return (int)guard->n_clients > total / guard->options.n_sharing + total / 8 + 2;
}

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
    evbuffer_remove_cb(bufferevent_get_input(client->bufferevent), on_input, client);
    evbuffer_remove_cb(bufferevent_get_output(client->bufferevent), on_output, client);
    if (client->phase == PHASE_REFUSED) {
        evutil_socket_t fd = dup(client->fd);
        if (fd >= 0)
            farewell_add(guard->farewell, fd);
    }
    if (!has_more_than_its_share(guard))
        accept_again(guard);
    if (client->on_gone)
        client->on_gone(client->on_gone_arg);
    free(client);
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
    int64_t now_ms = clock_monotonic_ms();
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
        if (client->connection && look_at_peer(client) != PEER_SENDING)
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
    uint64_t held_back;
    evconnlistener_disable(listener);
    if (log_limit_pass(&limit, 1000, &held_back))
        log_warn("http", "cannot accept connections: %s (%llu times more since the last line)",
                 strerror(error), (unsigned long long)held_back);
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
                                         EVHTTP_REQ_PATCH);
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
