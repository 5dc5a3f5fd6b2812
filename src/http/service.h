/* What one HTTP thread answers with: its routes (those of the rules' current generation and the
 * built-in ones), its connections to PostgreSQL, its slot in each generation. */
#ifndef HTTP_SERVICE_H
#define HTTP_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/log.h"
#include "http/gate.h"
#include "http/guard.h"
#include "http/reply.h"
#include "http/tally.h"
#include "http/waiting.h"
#include "metrics/metrics.h"
#include "rules/generation.h"
#include "store/reader.h"

struct exchange;

struct service_options {
    struct metrics *metrics;
    struct rules_registry *rules;
    size_t slot;
    struct reader_pool *pool;
    struct gate *gate;     /* of all threads */
    atomic_int *in_flight; /* requests inside rules or the database, of all threads */
    int max_in_flight;
    struct event_base *base;
    atomic_int *n_waiting; /* of all threads; a quarter of max_in_flight may wait */
    struct reply_policy policy;
    bool (*is_ready)(struct buffer *reasons, void *arg);
    void *arg;
};

/* Where a route leads. */
struct target {
    void (*serve)(struct exchange *exchange);
    size_t endpoint; /* number of the rules' endpoint */
    struct tally tally;
};

/* The routes of one generation. An exchange holds them as long as the generation itself. */
struct routing {
    struct route_table *table;
    struct target *targets;
    struct buffer openapi;                     /* the text of /openapi.json */
    const struct rules_generation *generation; /* only compared; NULL: built-in routes alone */
    uint64_t number;                           /* the generation's */
    size_t holds;
};

struct service {
    struct service_options options;
    struct gauge *in_flight;
    struct waiting_room waiting;
    struct counter *busy;      /* 503 because too many were in flight */
    struct counter *abandoned; /* the client left before the answer */
    struct tally unrouted;
    struct routing *routing; /* held; those of the latest request */
    struct log_limit defect_limit, trouble_limit;
};

/* See http_built_in_paths(). */
const char *const *service_built_in_paths(void);

struct service *service_new(const struct service_options *options);
/* Requests that wait are answered now, and no other waits. */
void service_drain(struct service *service);
void service_free(struct service *service); /* no exchange may be open; NULL is accepted */
/* Drops a hold. NULL is accepted. */
void routing_release(struct routing *routing);
/* The guard's on_request; `service` is a struct service. */
void service_on_request(struct client *client, struct evhttp_request *http, void *service);

#endif
