#include "http/service.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "http/exchange.h"
#include "http/openapi.h"
#include "http/probe.h"

#define ALLOW_SIZE 64

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
    const struct service_options *options = &exchange->service->options;
    struct buffer reasons = {0}, json = {0};
    bool ready = options->is_ready(&reasons, options->arg);
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

/* A path that cannot be routed is not served; the rules do not let one through. */
static void add_route(struct routing *routing, const char *method, const char *path,
                      struct target *target)
{
    struct error err;
    if (!route_table_add(routing->table, method, path, target, &err))
        log_error("http", "%s", err.text);
}

static void add_built_in(struct routing *routing, struct metrics *metrics)
{
    for (size_t i = 0; i < N_BUILT_IN; i++) {
        struct target *target = &routing->targets[i];
        target->serve = BUILT_IN[i];
        tally_init(&target->tally, metrics, BUILT_IN_PATHS[i]);
        add_route(routing, "GET", BUILT_IN_PATHS[i], target);
    }
}

static void add_endpoint(struct routing *routing, struct metrics *metrics,
                         const struct endpoint_def *endpoint, size_t number)
{
    struct target *target = &routing->targets[N_BUILT_IN + number];
    target->serve = exchange_ask_rules;
    target->endpoint = number;
    tally_init(&target->tally, metrics, endpoint->paths[0]);
    for (size_t i = 0; i < endpoint->n_paths; i++)
        add_route(routing, endpoint->method, endpoint->paths[i], target);
}

/* The built-in ones come first, so that rules cannot take their place. */
static struct routing *routing_new(const struct rules_generation *generation,
                                   const struct service_options *options)
{
    const struct openapi_options openapi = gate_describe(options->gate);
    struct metrics *metrics = options->metrics;
    const struct rules_def *rules = generation ? rules_generation_def(generation) : NULL;
    size_t n_endpoints = rules ? rules->n_endpoints : 0;
    struct routing *routing = memory_zero(1, sizeof *routing);
    routing->holds = 1;
    routing->generation = generation;
    routing->number = generation ? generation->number : 0;
    routing->table = route_table_new();
    routing->targets = memory_zero(N_BUILT_IN + n_endpoints, sizeof(struct target));
    add_built_in(routing, metrics);
    for (size_t i = 0; i < n_endpoints; i++)
        add_endpoint(routing, metrics, &rules->endpoints[i], i);
    openapi_write(rules, &openapi, &routing->openapi);
    return routing;
}

void routing_release(struct routing *routing)
{
    if (!routing || --routing->holds > 0)
        return;
    route_table_free(routing->table);
    buffer_free(&routing->openapi);
    free(routing->targets);
    free(routing);
}

/* The routes for this generation, with a hold for the caller. */
static struct routing *routing_for(struct service *service,
                                   const struct rules_generation *generation)
{
    uint64_t number = generation ? generation->number : 0;
    struct routing *routing = service->routing;
    if (!routing || routing->generation != generation || routing->number != number) {
        routing_release(routing);
        routing = service->routing = routing_new(generation, &service->options);
    }
    routing->holds++;
    return routing;
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

static void serve(struct exchange *exchange)
{
    struct service *service = exchange->service;
    struct request *request = &exchange->request;
    const struct route *route;
    char allow[ALLOW_SIZE];
    struct error err;
    exchange->generation = rules_registry_acquire(service->options.rules);
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
    int status;
    const char *wrong = request_check(http, &status);
    if (wrong) {
        client_refuse(client, status, wrong);
        return;
    }
    struct exchange *exchange = exchange_new(arg, client);
    struct error err;
    if (!request_read(&exchange->request, http, &err)) {
        exchange_fail(exchange, 400, err.text);
        return;
    }
    const char *text = NULL;
    status = is_open(&exchange->request)
                 ? 0
                 : gate_check(exchange->service->options.gate, &exchange->request, &text);
    if (status == 0)
        serve(exchange);
    else
        exchange_fail(exchange, status, text);
}

/* ---- life ---- */

struct service *service_new(const struct service_options *options)
{
    struct service *service = memory_zero(1, sizeof *service);
    service->options = *options;
    service->in_flight = metrics_gauge(options->metrics, "core_service_http_in_flight",
                                       "Requests that wait for the rules or the database", NULL, 0);
    service->waiting = (struct waiting_room){
        .base = options->base,
        .n_waiting = options->n_waiting,
        .max_waiting = (options->max_in_flight + 3) / 4,
        .gauge = metrics_gauge(options->metrics, "core_service_http_waiting",
                               "Requests that wait to be asked again", NULL, 0),
    };
    service->busy =
        metrics_counter(options->metrics, "core_service_http_busy_total",
                        "Requests answered 503 because too many were in flight", NULL, 0);
    service->abandoned = metrics_counter(options->metrics, "core_service_http_abandoned_total",
                                         "Requests whose client left before the answer", NULL, 0);
    tally_init(&service->unrouted, options->metrics, "none");
    return service;
}

void service_drain(struct service *service)
{
    waiting_room_close(&service->waiting);
}

void service_free(struct service *service)
{
    if (!service)
        return;
    routing_release(service->routing);
    free(service);
}
