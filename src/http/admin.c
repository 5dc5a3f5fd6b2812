#include "http/admin.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "http/guard.h"
#include "http/listen.h"
#include "http/probe.h"
#include "http/request.h"
#include "http/response.h"
#include "http/route.h"

#define ADMIN_CONNECTIONS_MAX 64
#define ADMIN_BODY_BYTES_MAX  ((size_t)16 * 1024 * 1024) /* a rules directory as a tar file */
#define ALLOW_SIZE            64

/* Who may read what an operator sees in a browser: no other site. */
static const struct cors_policy POLICY = {.origins = ""};

struct admin_target {
    struct admin_target *next;
    admin_handler handle;
    void *arg;
};

struct admin_server {
    struct admin_options options;
    int listen_fd;
    int port;
    atomic_int n_connections;
    struct guard *guard;
    struct route_table *routes;
    struct admin_target *targets;
};

struct admin_request {
    struct admin_server *server;
    struct client *client; /* NULL: gone */
    struct request request;
};

/* ---- answers ---- */

static void send_response(struct response response)
{
    response_send(&response);
}

static void admin_request_free(struct admin_request *request)
{
    request_free(&request->request);
    free(request);
}

static void on_gone(void *arg)
{
    struct admin_request *request = arg;
    request->client = NULL;
}

void admin_request_answer(struct admin_request *request, int status, struct bytes json)
{
    if (request->client)
        send_response(
            response_json(request->client, &request->request, &POLICY, status, json, json));
    admin_request_free(request);
}

void admin_request_fail(struct admin_request *request, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        die("out of memory: formatting \"%s\"", format);
    va_end(args);
    if (request->client)
        send_response(response_error(request->client, &request->request, &POLICY, status, text));
    admin_request_free(request);
    free(text);
}

struct bytes admin_request_param(const struct admin_request *request, const char *name)
{
    return request_param(&request->request, name);
}

struct bytes admin_request_body(const struct admin_request *request)
{
    return request->request.body;
}

/* ---- its own endpoints ---- */

static void get_metrics(struct admin_request *request, void *arg)
{
    const struct admin_server *server = arg;
    struct buffer text = {0};
    metrics_write(server->options.metrics, &text);
    send_response(response_text(request->client, &request->request,
                                "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&text)));
    admin_request_free(request);
    buffer_free(&text);
}

static void get_health(struct admin_request *request, void *arg)
{
    (void)arg;
    admin_request_answer(request, 200, bytes_of_string(PROBE_HEALTH));
}

static void get_alive(struct admin_request *request, void *arg)
{
    (void)arg;
    admin_request_answer(request, 200, bytes_of_string(PROBE_ALIVE));
}

static void get_ready(struct admin_request *request, void *arg)
{
    const struct admin_server *server = arg;
    struct buffer reasons = {0}, json = {0};
    bool ready = server->options.is_ready(&reasons, server->options.arg);
    int status = probe_ready(ready, &reasons, &json);
    admin_request_answer(request, status, buffer_bytes(&json));
    buffer_free(&json);
    buffer_free(&reasons);
}

/* ---- requests ---- */

/* Digests are compared, all of them, so that the time taken tells nothing about the token. */
static bool is_same_secret(const char *given, const char *expected)
{
    char a[SHA256_HEX_SIZE], b[SHA256_HEX_SIZE];
    struct sha256 *digest = sha256_new();
    sha256_add(digest, bytes_of_string(given));
    sha256_finish(digest, a);
    digest = sha256_new();
    sha256_add(digest, bytes_of_string(expected));
    sha256_finish(digest, b);
    unsigned differing = 0;
    for (size_t i = 0; i < sizeof a; i++)
        differing |= (unsigned char)(a[i] ^ b[i]);
    return differing == 0;
}

static bool is_allowed(struct admin_request *request)
{
    const char *token = request->server->options.settings->admin_token;
    if (!token || !*token)
        return true;
    const char *given = request_header_list(&request->request, "Authorization");
    return given && strncasecmp(given, "Bearer ", 7) == 0 && is_same_secret(given + 7, token);
}

static void route(struct admin_request *admin)
{
    const struct route_table *routes = admin->server->routes;
    struct request *request = &admin->request;
    const struct route *found;
    char allow[ALLOW_SIZE];
    switch (route_find(routes, request->method, request->segments, request->n_segments, &found)) {
    case ROUTE_FOUND: {
        const struct admin_target *target = found->target;
        client_on_gone(admin->client, on_gone, admin);
        target->handle(admin, target->arg);
        break;
    }
    case ROUTE_NO_PATH:
        admin_request_fail(admin, 404, "There is nothing at this path");
        break;
    case ROUTE_NO_METHOD:
        route_allow(routes, request->segments, request->n_segments, allow, sizeof allow);
        send_response(response_not_allowed(admin->client, request, &POLICY, allow));
        admin_request_free(admin);
        break;
    }
}

static void on_request(struct client *client, struct evhttp_request *http, void *arg)
{
    int status;
    const char *wrong = request_check(http, &status);
    if (wrong) {
        client_refuse(client, status, wrong);
        return;
    }
    struct admin_request *admin = memory_zero(1, sizeof *admin);
    struct error err;
    admin->server = arg;
    admin->client = client;
    bool is_readable = request_read(&admin->request, http, &err);
    if (!is_allowed(admin)) {
        admin_request_fail(admin, 401, "The admin token is missing or wrong");
        return;
    }
    if (!is_readable) {
        admin_request_fail(admin, 400, "%s", err.text);
        return;
    }
    /* A handler may answer after the client, and evhttp's buffer with it, is gone. */
    admin->request.body = arena_copy(&admin->request.arena, admin->request.body);
    route(admin);
}

/* ---- life ---- */

static void on_drained(void *arg)
{
    (void)arg; /* the listener is closed at once, never drained */
}

static struct guard *new_guard(struct admin_server *server, struct event_base *base)
{
    const struct settings *settings = server->options.settings;
    const struct guard_options options = {
        .base = base,
        .max_connections = ADMIN_CONNECTIONS_MAX,
        .n_sharing = 1,
        .connections = &server->n_connections,
        .max_header_bytes = (size_t)settings->http_max_header_bytes,
        .max_body_bytes = ADMIN_BODY_BYTES_MAX,
        .request_timeout_ms = settings->http_request_timeout_ms,
        .idle_timeout_ms = settings->http_idle_timeout_ms,
        .metrics = server->options.metrics,
        .listener = "admin",
        .on_request = on_request,
        .request_arg = server,
        .on_drained = on_drained,
    };
    return guard_new(&options);
}

struct admin_server *admin_server_start(struct event_base *base,
                                        const struct admin_options *options, struct error *err)
{
    const struct settings *settings = options->settings;
    int port = 0;
    int listen_fd = listen_on(settings->admin_host, settings->admin_port, &port, err);
    if (listen_fd < 0)
        return NULL;
    struct admin_server *server = memory_zero(1, sizeof *server);
    server->options = *options;
    server->listen_fd = listen_fd;
    server->port = port;
    server->routes = route_table_new();
    admin_server_on(server, "GET", "/metrics", get_metrics, server);
    admin_server_on(server, "GET", "/health", get_health, server);
    admin_server_on(server, "GET", "/healthz", get_alive, server);
    admin_server_on(server, "GET", "/readyz", get_ready, server);
    server->guard = new_guard(server, base);
    guard_accept(server->guard, listen_fd);
    log_info("admin", "listening on %s port %d", settings->admin_host, port);
    return server;
}

int admin_server_port(const struct admin_server *server)
{
    return server->port;
}

void admin_server_free(struct admin_server *server)
{
    if (!server)
        return;
    guard_free(server->guard);
    close(server->listen_fd);
    route_table_free(server->routes);
    while (server->targets) {
        struct admin_target *next = server->targets->next;
        free(server->targets);
        server->targets = next;
    }
    free(server);
}

void admin_server_on(struct admin_server *server, const char *method, const char *path,
                     admin_handler handle, void *arg)
{
    struct admin_target *target = memory_zero(1, sizeof *target);
    struct error err;
    *target = (struct admin_target){server->targets, handle, arg};
    server->targets = target;
    if (!route_table_add(server->routes, method, path, target, &err))
        die("%s", err.text);
}
