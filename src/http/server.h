/* The public HTTP server: HTTP_THREADS evhttp threads that accept from one listening socket.
 *
 * request ─▶ limits ─▶ auth ─▶ route ─▶ rules request() ─▶ queries ─▶ rules reply() ─▶ answer
 * Besides the endpoints of the rules it answers /health (the original's text), /healthz (alive),
 * /readyz and /openapi.json. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "config/settings.h"
#include "metrics/metrics.h"
#include "rules/generation.h"

struct http_server;

struct http_options {
    const struct settings *settings;
    struct metrics *metrics;
    struct rules_registry *rules;
    size_t first_slot; /* thread i uses slot first_slot + i */
    /* For /readyz, called in an HTTP thread: true, or false with reasons appended, one a line. */
    bool (*is_ready)(struct buffer *reasons, void *arg);
    void *arg;
};

/* Reads the keys of tokens, binds PORT (a taken port is an error at start), then starts the
 * threads. NULL with `err`. Main thread. */
struct http_server *http_server_start(const struct http_options *options, struct error *err)
    __attribute__((warn_unused_result));
/* The paths that it answers by itself, NULL-terminated, so that rules can leave them alone. */
const char *const *http_built_in_paths(void);
/* The port that is bound, for PORT=0. */
int http_server_port(const struct http_server *server);
/* Reads JWT_PUBLIC_KEY_FILE again, see auth_reload(). Main thread. */
bool http_server_reload(struct http_server *server, struct error *err);
/* Stops accepting, closes idle connections, lets requests in flight finish; any thread, any number
 * of times. */
void http_server_drain(struct http_server *server);
/* Waits for the threads at most `timeout_ms`, then frees. Main thread. */
bool http_server_join(struct http_server *server, int timeout_ms);

#endif
