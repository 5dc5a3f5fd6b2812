/* The admin listener, on the main thread's event_base: /metrics, /health, /healthz, /readyz and
 * what other parts register. Loopback by default; with ADMIN_TOKEN every request needs
 * "Authorization: Bearer <token>". */
#ifndef HTTP_ADMIN_H
#define HTTP_ADMIN_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"
#include "config/settings.h"
#include "metrics/metrics.h"
#include "rules/state.h"

struct event_base;
struct admin_server;
struct admin_request; /* to be answered, at once or later */

struct admin_options {
    const struct settings *settings;
    struct metrics *metrics;
    bool (*is_ready)(struct buffer *reasons, void *arg);
    void *arg;
};

struct admin_server *admin_server_start(struct event_base *base,
                                        const struct admin_options *options, struct error *err)
    __attribute__((warn_unused_result));
int admin_server_port(const struct admin_server *server);
void admin_server_free(struct admin_server *server);

/* `handle` must answer the request exactly once. `method` "GET" or "POST"; `path` exact, a literal.
 */
typedef void (*admin_handler)(struct admin_request *request, void *arg);
void admin_server_on(struct admin_server *server, const char *method, const char *path,
                     admin_handler handle, void *arg);

/* A decoded query parameter, or absent. Valid until answered. */
struct bytes admin_request_param(const struct admin_request *request, const char *name);
struct bytes admin_request_body(const struct admin_request *request);
/* Sends and releases the request. `json` is copied. */
void admin_request_answer(struct admin_request *request, int status, struct bytes json);
/* {"error": "..."} */
void admin_request_fail(struct admin_request *request, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
