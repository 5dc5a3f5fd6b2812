#include "http/routing.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

/* A path that cannot be routed is not served; the rules do not let one through. */
static void add_route(struct routing *routing, const char *method, const char *path,
                      struct target *target)
{
    struct error err;
    if (!route_table_add(routing->table, method, path, target, &err))
        log_error("http", "%s", err.text);
}

static void add_built_in(struct routing *routing, const struct routing_options *options,
                         size_t number)
{
    const char *path = options->built_in_paths[number];
    struct target *target = &routing->targets[number];
    target->serve = options->serve_built_in[number];
    tally_init(&target->tally, options->metrics, path);
    add_route(routing, "GET", path, target);
}

static void add_endpoint(struct routing *routing, const struct routing_options *options,
                         const struct endpoint_def *endpoint, size_t number)
{
    struct target *target = &routing->targets[options->n_built_in + number];
    target->serve = options->serve_endpoint;
    target->endpoint = number;
    tally_init(&target->tally, options->metrics, endpoint->paths[0]);
    for (size_t i = 0; i < endpoint->n_paths; i++)
        add_route(routing, endpoint->method, endpoint->paths[i], target);
}

static uint64_t number_of(const struct rules_generation *generation)
{
    return generation ? generation->number : 0;
}

struct routing *routing_new(const struct rules_generation *generation,
                            const struct routing_options *options)
{
    const struct rules_def *rules = generation ? rules_generation_def(generation) : NULL;
    size_t n_endpoints = rules ? rules->n_endpoints : 0;
    struct routing *routing = memory_zero(1, sizeof *routing);
    routing->holds = 1;
    routing->generation = generation;
    routing->number = number_of(generation);
    routing->table = route_table_new();
    routing->targets = memory_zero(options->n_built_in + n_endpoints, sizeof(struct target));
    for (size_t i = 0; i < options->n_built_in; i++)
        add_built_in(routing, options, i);
    for (size_t i = 0; i < n_endpoints; i++)
        add_endpoint(routing, options, &rules->endpoints[i], i);
    openapi_write(rules, &options->openapi, &routing->openapi);
    return routing;
}

bool routing_fits(const struct routing *routing, const struct rules_generation *generation)
{
    return routing->generation == generation && routing->number == number_of(generation);
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
