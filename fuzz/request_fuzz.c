/* Any bytes at all from a client, in pieces of any size: through evhttp, the guard of its
 * connections, request and route to endpoints that answer what they were asked. What comes back
 * must be whole answers, JSON in UTF-8, none of them a defect, and then the end.
 *
 * The first byte of the input is no part of what is sent: its lower bits are the size of a piece
 * ('0': all at once), the highest bit asks for tokens and counts requests. */
#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "config/settings.h"
#include "http/gate.h"
#include "http/guard.h"
#include "http/service.h"
#include "rules/generation.h"
#include "store/reader.h"

#define TURNS_MAX 1000 /* of the event loop, for one input; each of them does something */

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            die("not so: %s", #condition);                                                         \
    } while (0)

/* ---- PostgreSQL: one empty result in the next turn of the loop ---- */

struct reader_query {
    struct event *event;
    query_done_cb done;
    void *arg;
};

uint64_t reader_pool_now(const struct reader_pool *pool)
{
    (void)pool;
    return 1;
}

static void on_rows(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct reader_query *query = arg;
    const struct result result = {0};
    query->done(QUERY_OK, &result, NULL, query->arg);
    event_free(query->event);
    free(query);
}

static struct event_base *base;

struct reader_query *reader_pool_query(struct reader_pool *pool, const char *sql,
                                       const char *const *values, size_t n_values, uint64_t since,
                                       query_done_cb done, void *arg)
{
    (void)pool, (void)sql, (void)values, (void)n_values, (void)since;
    struct reader_query *query = memory_zero(1, sizeof *query);
    *query = (struct reader_query){event_new(base, -1, 0, on_rows, query), done, arg};
    event_add(query->event, &(struct timeval){0, 0});
    return query;
}

void reader_query_cancel(struct reader_query *query)
{
    event_free(query->event);
    free(query);
}

/* ---- rules: endpoints that answer what they were asked ---- */

enum { ECHO, ASK, BODY, N_ENDPOINTS };

static struct endpoint_def endpoints[N_ENDPOINTS] = {
    [ECHO] = {.method = "GET",
              .paths = (const char *[]){"/echo", "/echo/:name", "/:first/:second"},
              .n_paths = 3},
    [ASK] = {.method = "GET", .paths = (const char *[]){"/ask/:name"}, .n_paths = 1},
    [BODY] = {.method = "POST", .paths = (const char *[]){"/body"}, .n_paths = 1},
};
static struct rules_def def = {.endpoints = endpoints, .n_endpoints = N_ENDPOINTS};
static struct rules_state *states[1];
static struct rules_generation generation = {.number = 1, .states = states, .n_slots = 1};

struct rules_call {
    struct buffer answer;
    bool asked;
};

const struct rules_def *rules_generation_def(const struct rules_generation *of)
{
    (void)of;
    return &def;
}

struct rules_generation *rules_registry_acquire(struct rules_registry *registry)
{
    (void)registry;
    return &generation;
}

void rules_registry_release(struct rules_registry *registry, struct rules_generation *of)
{
    (void)registry, (void)of;
}

/* What a rule may rely on. */
static void expect_text(struct bytes text)
{
    REQUIRE(utf8_is_valid(text));
    REQUIRE(text.size == 0 || !memchr(text.data, '\0', text.size));
}

static void expect_view(const struct request_view *request)
{
    for (size_t i = 0; i < request->n_params; i++) {
        expect_text(request->params[i].name);
        expect_text(request->params[i].value);
        REQUIRE(request->params[i].name.size > 0);
        for (size_t j = 0; j < i; j++)
            REQUIRE(!bytes_equal(request->params[i].name, request->params[j].name));
    }
    REQUIRE(request->request_id[0] && request->path[0]);
}

static void echo(const struct request_view *request, struct buffer *json)
{
    buffer_append_byte(json, '{');
    for (size_t i = 0; i < request->n_params; i++) {
        if (i > 0)
            buffer_append_byte(json, ',');
        buffer_append_json(json, request->params[i].name);
        buffer_append_byte(json, ':');
        buffer_append_json(json, request->params[i].value);
    }
    buffer_append_byte(json, '}');
}

struct rules_call *rules_call_begin(struct rules_state *state, size_t endpoint,
                                    const struct request_view *request, struct reply *reply)
{
    (void)state;
    expect_view(request);
    reply->status = 200;
    if (endpoint == ASK) {
        struct rules_call *call = memory_zero(1, sizeof *call);
        echo(request, &call->answer);
        return call;
    }
    if (endpoint == BODY)
        buffer_printf(&reply->body, "{\"size\":%zu}", request->body.size);
    else
        echo(request, &reply->body);
    return NULL;
}

enum call_step rules_call_next(struct rules_call *call, struct query_params *query,
                               struct reply *reply)
{
    (void)reply;
    static const struct query_def NOTHING = {.sql = "SELECT 1"};
    if (call->asked)
        return CALL_REPLY;
    call->asked = true;
    *query = (struct query_params){.query = &NOTHING};
    return CALL_QUERY;
}

bool rules_call_result(struct rules_call *call, const struct result *result, struct reply *reply)
{
    (void)call, (void)result, (void)reply;
    return true;
}

int rules_call_reply(struct rules_call *call, struct reply *reply)
{
    reply->status = 200;
    buffer_append(&reply->body, call->answer.data, call->answer.size);
    return 0;
}

bool rules_call_again(struct rules_call *call, int waited_ms, bool is_final, struct reply *reply)
{
    (void)call, (void)waited_ms, (void)is_final, (void)reply;
    die("nobody asked to be asked again");
}

void rules_call_free(struct rules_call *call)
{
    buffer_free(&call->answer);
    free(call);
}

/* ---- the server: an open and a strict one behind the same guard ---- */

static struct service *services[2];
static struct service *service; /* that answers this input */
static atomic_int n_connections, n_in_flight, n_waiting;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_size = sizeof address;

static bool is_ready(struct buffer *reasons, void *arg)
{
    (void)arg;
    buffer_append_string(reasons, "nothing is behind it\n");
    return false;
}

static void on_request(struct client *client, struct evhttp_request *http, void *arg)
{
    (void)arg;
    service_on_request(client, http, service);
}

static struct service *new_service(struct metrics *metrics, const struct settings *settings)
{
    struct error err;
    struct gate *gate = gate_new(settings, metrics, &err);
    if (!gate)
        die("%s", err.text);
    const struct service_options options = {
        .metrics = metrics,
        .gate = gate,
        .in_flight = &n_in_flight,
        .max_in_flight = 16,
        .base = base,
        .n_waiting = &n_waiting,
        .policy = {.origins = "http://a.example,http://b.example"},
        .is_ready = is_ready,
    };
    return service_new(&options);
}

/* Limits that inputs of a few kilobytes reach. */
static struct guard *new_guard(struct metrics *metrics)
{
    const struct guard_options options = {
        .base = base,
        .max_connections = 8,
        .n_sharing = 1,
        .connections = &n_connections,
        .max_header_bytes = 1024,
        .max_body_bytes = 256,
        .request_timeout_ms = 60000,
        .idle_timeout_ms = 60000,
        .metrics = metrics,
        .listener = "public",
        .on_request = on_request,
    };
    return guard_new(&options);
}

/* On a name that the kernel chooses. */
static int listen_unnamed(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0);
    REQUIRE(listen(fd, 8) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &address_size) == 0);
    return fd;
}

/* ---- the answers ---- */

/* The header's value as a number, or 0. */
static size_t length_in(const char *header, const char *end)
{
    static const char NAME[] = "\r\nContent-Length: ";
    const char *found = memmem(header, (size_t)(end - header), NAME, sizeof NAME - 1);
    return found ? strtoul(found + sizeof NAME - 1, NULL, 10) : 0;
}

static void expect_status(int status)
{
    static const int STATUSES[] = {100, 200, 204, 304, 400, 401, 404, 405,
                                   413, 414, 417, 429, 431, 501, 503, 505};
    for (size_t i = 0; i < sizeof STATUSES / sizeof *STATUSES; i++) {
        if (STATUSES[i] == status)
            return;
    }
    die("answered with %d", status);
}

/* What follows the answer at `text`. */
static const char *expect_answer(const char *text)
{
    int status;
    REQUIRE(sscanf(text, "HTTP/1.%*1[01] %3d ", &status) == 1);
    expect_status(status);
    const char *body = strstr(text, "\r\n\r\n");
    REQUIRE(body);
    size_t size = length_in(text, body);
    body += 4;
    if (*body != '{') { /* to HEAD, or 100, 204, 304 */
        REQUIRE(*body == '\0' || strncmp(body, "HTTP/1.", 7) == 0);
        return body;
    }
    REQUIRE(strnlen(body, size) == size);
    json_t *json = json_loadb(body, size, 0, NULL);
    REQUIRE(json);
    REQUIRE(status == 200 || status == 503 || json_is_string(json_object_get(json, "error")));
    json_decref(json);
    return body + size;
}

static void expect_answers(const struct buffer *answers)
{
    const char *text = answers->data;
    REQUIRE(strlen(text) == answers->size);
    while (*text)
        text = expect_answer(text);
}

/* ---- one client ---- */

/* True when the other side has ended. */
static bool hear(int fd, struct buffer *answers)
{
    char part[16384];
    ssize_t n;
    while ((n = recv(fd, part, sizeof part, MSG_DONTWAIT)) > 0)
        buffer_append(answers, part, (size_t)n);
    return n == 0;
}

static void turn(void)
{
    REQUIRE(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

/* Until all is sent or the other side takes no more. */
static void say(int fd, struct bytes text, size_t piece, struct buffer *answers)
{
    for (int turns = 0; text.size > 0 && turns < TURNS_MAX + (int)text.size; turns++) {
        size_t size = text.size < piece ? text.size : piece;
        ssize_t n = send(fd, text.data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            text = bytes_of(text.data + n, text.size - (size_t)n);
        turn();
        if (hear(fd, answers))
            return;
    }
}

/* Says all, ends its side, and hears the other to its end. */
static void converse(struct bytes text, size_t piece, struct buffer *answers)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&address, address_size) == 0);
    say(fd, text, piece, answers);
    shutdown(fd, SHUT_WR);
    int turns = 0;
    for (; !hear(fd, answers) && turns < TURNS_MAX; turns++)
        turn();
    REQUIRE(turns < TURNS_MAX);
    close(fd);
    for (turns = 0; n_connections > 0 && turns < TURNS_MAX; turns++)
        turn();
    REQUIRE(n_connections == 0 && n_in_flight == 0);
    buffer_append_byte(answers, '\0');
    answers->size--;
}

/* All of this would pass, too, were everybody sent away at the door. */
static void expect_service(void)
{
    struct buffer answers = {0};
    service = services[0];
    converse(bytes_of_string("GET /ask/a HTTP/1.1\r\nHost: x\r\n\r\n"), SIZE_MAX, &answers);
    REQUIRE(strstr(answers.data, "\r\n\r\n{\"name\":\"a\"}"));
    buffer_free(&answers);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    static const struct settings lax = {0};
    static const struct settings strict = {
        .jwt_secret = "secret words of more than thirty-two bytes",
        .rate_limit_rps = 1000,
        .rate_limit_burst = 10,
        .trusted_proxies = "::/0,0.0.0.0/0",
    };
    struct metrics *metrics = metrics_new();
    base = event_base_new();
    services[0] = new_service(metrics, &lax);
    services[1] = new_service(metrics, &strict);
    guard_accept(new_guard(metrics), listen_unnamed());
    expect_service();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t piece = data[0] & 0x7f;
    struct buffer answers = {0};
    service = services[data[0] >> 7];
    converse(bytes_of((const char *)data + 1, size - 1),
             piece == 0 || piece == '0' ? SIZE_MAX : piece, &answers);
    expect_answers(&answers);
    buffer_free(&answers);
    return 0;
}
