/* Where the requests of one generation of the rules are led: to its endpoints, and to those that
 * are built in. Belongs to one thread. */
#ifndef HTTP_ROUTING_H
#define HTTP_ROUTING_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "http/openapi.h"
#include "http/route.h"
#include "http/tally.h"
#include "rules/generation.h"

struct exchange;

/* Where a route leads. */
struct target {
    void (*serve)(struct exchange *exchange);
    size_t endpoint; /* number of the rules' endpoint */
    struct tally tally;
};

struct routing {
    struct route_table *table; /* its targets are struct target */
    struct target *targets;
    struct buffer openapi;                     /* the text of /openapi.json */
    const struct rules_generation *generation; /* only compared; NULL: built-in routes alone */
    uint64_t number;                           /* the generation's */
    size_t holds;
};

struct routing_options {
    struct metrics *metrics;
    /* Each of one segment and GET; they come first, so that rules cannot take their place. */
    const char *const *built_in_paths;
    void (*const *serve_built_in)(struct exchange *exchange);
    size_t n_built_in;
    void (*serve_endpoint)(struct exchange *exchange);
    struct openapi_options openapi;
};

/* With one hold, the caller's. `generation`, which may be NULL, lives longer; the options are
 * borrowed for the call. */
struct routing *routing_new(const struct rules_generation *generation,
                            const struct routing_options *options);
/* Whether it leads where this generation, which may be NULL, answers. */
bool routing_fits(const struct routing *routing, const struct rules_generation *generation);
/* Drops a hold. NULL is accepted. */
void routing_release(struct routing *routing);

#endif
