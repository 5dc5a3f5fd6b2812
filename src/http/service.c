#include "http/service.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "http/exchange.h"
#include "http/probe.h"
#include "http/routing.h"

#define ALLOW_SIZE 64

struct service {
    struct metrics *metrics;
    struct gate *gate;
    struct exchange_shared shared;
    struct routing *routing; /* held; those of the latest request */
};

/* ---- built-in endpoints ---- */

static void serve_health(struct exchange *exchange)
{
    exchange_answer(exchange, 200, bytes_of_string(PROBE_HEALTH));
}

static void serve_alive(struct exchange *exchange)
{
    exchange_answer(exchange, 200, bytes_of_string(PROBE_ALIVE));
}

static void serve_ready(struct exchange *exchange)
{
    const struct exchange_shared *shared = exchange->shared;
    struct buffer reasons = {0}, json = {0};
    bool ready = shared->is_ready(&reasons, shared->arg);
    int status = probe_ready(ready, &reasons, &json);
    exchange_answer(exchange, status, buffer_bytes(&json));
    buffer_free(&json);
    buffer_free(&reasons);
}

static void serve_openapi(struct exchange *exchange)
{
    exchange_answer(exchange, 200, buffer_bytes(&exchange->routing->openapi));
}

static const char *const BUILT_IN_PATHS[] = {"/health", "/healthz", "/readyz", "/openapi.json",
                                             NULL};
static void (*const BUILT_IN[])(struct exchange *exchange) = {serve_health, serve_alive,
                                                              serve_ready, serve_openapi};

#define N_BUILT_IN (sizeof BUILT_IN / sizeof BUILT_IN[0])

const char *const *service_built_in_paths(void)
{
    return BUILT_IN_PATHS;
}

/* ---- routes ---- */

static struct routing *new_routing(const struct service *service,
                                   const struct rules_generation *generation)
{
    const struct routing_options options = {
        .metrics = service->metrics,
        .built_in_paths = BUILT_IN_PATHS,
        .serve_built_in = BUILT_IN,
        .n_built_in = N_BUILT_IN,
        .serve_endpoint = exchange_ask_rules,
        .openapi = gate_describe(service->gate),
    };
    return routing_new(generation, &options);
}

/* The routes for this generation, with a hold for the caller. */
static struct routing *routing_for(struct service *service,
                                   const struct rules_generation *generation)
{
    if (!service->routing || !routing_fits(service->routing, generation)) {
        routing_release(service->routing);
        service->routing = new_routing(service, generation);
    }
    service->routing->holds++;
    return service->routing;
}

/* ---- requests ---- */

/* Whether anybody may ask: how the service is, and what a browser asks before it can show a token.
 */
static bool is_open(const struct request *request)
{
    bool is_built_in = false;
    for (size_t i = 0; request->n_segments == 1 && i < N_BUILT_IN; i++)
        is_built_in |= bytes_equal(request->segments[0], bytes_of_string(BUILT_IN_PATHS[i] + 1));
    return is_built_in || strcmp(request->method, "OPTIONS") == 0;
}

static void serve(struct service *service, struct exchange *exchange)
{
    struct request *request = &exchange->request;
    const struct route *route;
    char allow[ALLOW_SIZE];
    struct error err;
    exchange->generation = rules_registry_acquire(service->shared.rules);
    exchange->routing = routing_for(service, exchange->generation);
    switch (route_find(exchange->routing->table, request->method, request->segments,
                       request->n_segments, &route)) {
    case ROUTE_FOUND:
        exchange->target = route->target;
        if (request_add_path_params(request, route, &err))
            exchange->target->serve(exchange);
        else
            exchange_fail(exchange, 400, err.text);
        break;
    case ROUTE_NO_PATH:
        if (strcmp(request->path, "*") == 0)
            exchange_options(exchange, "GET, HEAD, OPTIONS");
        else if (exchange->generation)
            exchange_fail(exchange, 404, "There is nothing at this path");
        else
            exchange_fail(exchange, 503, "The rules are not loaded yet, please try again");
        break;
    case ROUTE_NO_METHOD:
        route_allow(exchange->routing->table, request->segments, request->n_segments, allow,
                    sizeof allow);
        if (strcmp(request->method, "OPTIONS") == 0)
            exchange_options(exchange, allow);
        else
            exchange_not_allowed(exchange, allow);
        break;
    }
}

void service_on_request(struct client *client, struct evhttp_request *http, void *arg)
{
    struct service *service = arg;
    int status;
    const char *wrong = request_check(http, &status);
    if (wrong) {
        client_refuse(client, status, wrong);
        return;
    }
    struct exchange *exchange = exchange_new(&service->shared, client);
    struct error err;
    if (!request_read(&exchange->request, http, &err)) {
        exchange_fail(exchange, 400, err.text);
        return;
    }
    const char *text = NULL;
    status = is_open(&exchange->request) ? 0 : gate_check(service->gate, &exchange->request, &text);
    if (status == 0)
        serve(service, exchange);
    else
        exchange_fail(exchange, status, text);
}

/* ---- life ---- */

struct service *service_new(const struct service_options *options)
{
    struct metrics *metrics = options->metrics;
    struct service *service = memory_zero(1, sizeof *service);
    service->metrics = metrics;
    service->gate = options->gate;
    service->shared = (struct exchange_shared){
        .rules = options->rules,
        .slot = options->slot,
        .pool = options->pool,
        .policy = options->policy,
        .in_flight = options->in_flight,
        .max_in_flight = options->max_in_flight,
        .is_ready = options->is_ready,
        .arg = options->arg,
    };
    struct exchange_shared *shared = &service->shared;
    shared->in_flight_gauge =
        metrics_gauge(metrics, "core_service_http_in_flight",
                      "Requests that wait for the rules or the database", NULL, 0);
    shared->waiting = (struct waiting_room){
        .base = options->base,
        .n_waiting = options->n_waiting,
        .max_waiting = (options->max_in_flight + 3) / 4,
        .gauge = metrics_gauge(metrics, "core_service_http_waiting",
                               "Requests that wait to be asked again", NULL, 0),
    };
    shared->busy =
        metrics_counter(metrics, "core_service_http_busy_total",
                        "Requests answered 503 because too many were in flight", NULL, 0);
    shared->abandoned = metrics_counter(metrics, "core_service_http_abandoned_total",
                                        "Requests whose client left before the answer", NULL, 0);
    tally_init(&shared->unrouted, metrics, "none");
    return service;
}

void service_drain(struct service *service)
{
    waiting_room_close(&service->shared.waiting);
}

void service_free(struct service *service)
{
    if (!service)
        return;
    routing_release(service->routing);
    free(service);
}
