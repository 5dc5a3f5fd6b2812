/* What one HTTP thread answers with: its routes (those of the rules' current generation and the
 * built-in ones), its connections to PostgreSQL, its slot in each generation. */
#ifndef HTTP_SERVICE_H
#define HTTP_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "http/gate.h"
#include "http/guard.h"
#include "http/response.h"
#include "metrics/metrics.h"
#include "rules/generation.h"
#include "store/reader.h"

struct service;

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
    struct cors_policy policy;
    bool (*is_ready)(struct buffer *reasons, void *arg);
    void *arg;
};

/* See http_built_in_paths(). */
const char *const *service_built_in_paths(void);

struct service *service_new(const struct service_options *options);
/* Requests that wait are answered now, and no other waits. */
void service_drain(struct service *service);
void service_free(struct service *service); /* no exchange may be open; NULL is accepted */
/* The guard's on_request; `service` is a struct service. */
void service_on_request(struct client *client, struct evhttp_request *http, void *service);

#endif
