#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/guard_internal.h"
#include "http/status.h"

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

void client_set_phase(struct client *client, enum phase phase)
{
    struct guard *guard = client->guard;
    if (!(FOLLOWS[client->phase] & TO(phase)))
        die("a client went from phase %d to %d", client->phase, phase);
    TAILQ_REMOVE(&guard->queues[client->phase], client, entry);
    client->phase = phase;
    client->since_ms = clock_coarse_ms();
    TAILQ_INSERT_TAIL(&guard->queues[phase], client, entry);
}

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
    bufferevent_disable(client->bufferevent, EV_READ); /* its request must not be completed now */
    counter_add(guard->meter.refused[refusal_of(status)], 1);
    send_page(client, status, text);
    client_set_phase(client, PHASE_REFUSED);
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
        return "The request body is too large";
    case 414:
        return "The request line is too long";
    case 417:
        return "The expectation cannot be met";
    case 431:
        return "The request header is too large";
    case 501:
        return "The method is not implemented";
    case 505:
        return "HTTP/1.0 and HTTP/1.1 are served here";
    default:
        return "The request is malformed";
    }
}

/* What appears in the output while a request is being read is evhttp's own: its 100 Continue, which
 * it says in any version that it is asked in, or one of its pages. */
void client_on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg)
{
    struct client *client = arg;
    if (info->n_added == 0 || client->phase != PHASE_READING)
        return;
    char line[24] = "";
    int status = 400;
    if (evbuffer_copyout(output, line, sizeof line - 1) > 0)
        sscanf(line, "HTTP/%*d.%*d %d", &status);
    if (status == 100 && strncmp(line, "HTTP/1.1 ", 9) == 0)
        return;
    status = status == 100 ? 505 : better_status(client, status);
    client_refuse(client, status, refusal_text(status));
}

/* ---- reading ---- */

static void begin_request(struct client *client)
{
    client->received_bytes = 0;
    client->line_bytes = 0;
    wire_begin(&client->wire);
    client_set_phase(client, PHASE_READING);
}

/* Refuses what has come since `from` when others may read it in another way. */
static void check_wire(struct client *client, struct evbuffer *input, size_t from)
{
    struct evbuffer_iovec piece;
    struct evbuffer_ptr at;
    const char *wrong = NULL;
    while (!wrong && from < evbuffer_get_length(input) &&
           evbuffer_ptr_set(input, &at, from, EVBUFFER_PTR_SET) == 0 &&
           evbuffer_peek(input, 1, &at, &piece, 1) > 0) {
        wrong = wire_read(&client->wire, piece.iov_base, piece.iov_len);
        from += piece.iov_len;
    }
    if (wrong)
        client_refuse(client, 400, wrong);
}

/* Notes what has come since `from`, where the input begins with the request's first line as long
 * as that has not ended. */
static void note_received(struct client *client, struct evbuffer *input, size_t from)
{
    client->received_bytes += evbuffer_get_length(input) - from;
    check_wire(client, input, from);
    if (client->line_bytes > 0)
        return;
    struct evbuffer_ptr start;
    if (evbuffer_ptr_set(input, &start, from, EVBUFFER_PTR_SET) < 0)
        return;
    struct evbuffer_ptr end = evbuffer_search(input, "\n", 1, &start);
    if (end.pos >= 0)
        client->line_bytes = (size_t)end.pos + 1;
}

void client_on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg)
{
    struct client *client = arg;
    if (info->n_added == 0)
        return;
    if (client->phase == PHASE_OPENED || client->phase == PHASE_WAITING)
        begin_request(client);
    if (client->phase == PHASE_READING)
        note_received(client, input, info->orig_size);
}

enum peer client_look_at_peer(const struct client *client)
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
void client_on_peer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct client *client = arg;
    switch (client_look_at_peer(client)) {
    case PEER_QUIET:
        event_add(&client->peer, NULL);
        break;
    case PEER_SENDING:
        break;
    case PEER_ENDED:
        client_set_phase(client, PHASE_LEAVING);
        break;
    case PEER_BROKEN:
        evhttp_connection_free(client->connection);
        break;
    }
}

/* ---- one request ---- */

static void on_sent(struct evhttp_request *request, void *arg)
{
    (void)request;
    struct client *client = arg;
    struct evbuffer *input = bufferevent_get_input(client->bufferevent);
    if (evbuffer_get_length(input) == 0) {
        client_set_phase(client, PHASE_WAITING);
        return;
    }
    begin_request(client); /* it came together with the one before */
    note_received(client, input, 0);
}

void client_on_request(struct client *client, struct evhttp_request *request)
{
    struct guard *guard = client->guard;
    if (client->phase == PHASE_REFUSED)
        return; /* evhttp had nothing left to read, an empty body; both go with the connection */
    client_set_phase(client, PHASE_HANDLING);
    client->request = request;
    client->on_gone = NULL;
    evhttp_request_set_on_complete_cb(request, on_sent, client);
    guard->asking = client;
    guard->options.on_request(client, request, guard->options.request_arg);
    if (guard->asking && client->phase == PHASE_HANDLING)
        event_add(&client->peer, NULL);
    guard->asking = NULL;
}

void client_on_gone(struct client *client, void (*on_gone)(void *arg), void *arg)
{
    client->on_gone = on_gone;
    client->on_gone_arg = arg;
}

/* What the socket takes at once. 0 also when it is broken: writing the rest will find that out. */
static size_t send_now(const struct client *client, struct bytes head, struct bytes body)
{
    struct iovec parts[] = {{(char *)(uintptr_t)head.data, head.size},
                            {(char *)(uintptr_t)body.data, body.size}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = body.size > 0 ? 2 : 1};
    ssize_t sent = sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0;
}

static void add_rest(struct evbuffer *output, struct bytes part, size_t sent)
{
    if (sent < part.size && evbuffer_add(output, part.data + sent, part.size - sent) < 0)
        die("out of memory: an answer of %zu bytes", part.size);
}

/* Past evhttp, which would copy everything, wait for the loop to say that the socket can be written
 * to, and then ask it not to: for nearly all answers that is two more turns and four more calls of
 * epoll than needed. What the socket does not take goes the long way. */
static void send_answer(struct client *client, struct bytes head, struct bytes body)
{
    struct evbuffer *output = bufferevent_get_output(client->bufferevent);
    size_t sent = evbuffer_get_length(output) > 0 ? 0 : send_now(client, head, body);
    if (sent == head.size + body.size)
        return;
    add_rest(output, head, sent);
    add_rest(output, body, sent > head.size ? sent - head.size : 0);
    bufferevent_enable(client->bufferevent, EV_WRITE);
}

void client_answer(struct client *client, struct bytes head, struct bytes body, bool closes)
{
    struct evhttp_request *request = client->request;
    event_del(&client->peer);
    client_set_phase(client, PHASE_WRITING);
    client->request = NULL;
    client->on_gone = NULL;
    if (closes && evhttp_add_header(evhttp_request_get_output_headers(request), "Connection",
                                    "close") < 0) /* evhttp looks there when all is sent */
        die("out of memory: a header");
    send_answer(client, head, body);
    /* The socket is not read before that: a client that has only finished sending still gets the
     * rest of its answer. Whoever really left is found by the write. */
    request->chunked = 0; /* the client's body was; evhttp would end the answer as one */
    evhttp_send_reply_end(request);
}

bool client_must_close(const struct client *client)
{
    return client->guard->draining;
}
