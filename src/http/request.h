/* One request as evhttp delivers it, checked where evhttp is lax and decoded: what comes out is
 * valid UTF-8 without U+0000. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"
#include "http/route.h"
#include "rules/state.h"

struct evhttp_request;

#define REQUEST_PARAMS_MAX  64
#define REQUEST_ID_SIZE_MAX 128

struct request {
    struct evhttp_request *http; /* borrowed; gone when the client is */
    struct arena arena;          /* holds all that follows */
    const char *method;
    const char *path; /* as it was sent, without the query */
    const char *id;   /* X-Request-Id, else the trace id of traceparent, else made here */
    struct bytes segments[ROUTE_SEGMENTS_MAX + 1]; /* of the path, decoded */
    size_t n_segments;
    struct pair *params; /* those of the path first, then the query's */
    size_t n_params, params_capacity;
    struct bytes body;    /* absent: none */
    struct bytes claims;  /* of the token that let it in, as JSON; absent: there was none */
    struct buffer header; /* lines of the answer's head that are known before the answer is */
};

/* Whether the header is one that can be trusted to say where the request ends: one Content-Length
 * or one Transfer-Encoding: chunked, no header name that is no name, a version that is spoken here.
 * NULL, or what is wrong (a literal) and *status: to be refused and the connection closed, because
 * what follows may be anything. */
const char *request_check(struct evhttp_request *http, int *status);

/* Reads method, path, query and body; `request` is zero-initialised. False: answer 400 with the
 * text in `err`; `id`, `method` and `path` are set in any case. request_free() afterwards in any
 * case. */
bool request_read(struct request *request, struct evhttp_request *http, struct error *err)
    __attribute__((warn_unused_result));
void request_free(struct request *request);

/* False: a name is in the path and in the query, or there are too many: 400. */
bool request_add_path_params(struct request *request, const struct route *route, struct error *err)
    __attribute__((warn_unused_result));

/* The header's value, the first one of several; NULL when it is absent. */
const char *request_header(const struct request *request, const char *name);
/* The values of all headers of this name, with commas between them (RFC 9110, 5.3): for what is a
 * list, and for what must be there once, as no such text is then one. NULL when there is none, or
 * they are empty. */
const char *request_header_list(struct request *request, const char *name);
/* A decoded parameter, or absent. */
struct bytes request_param(const struct request *request, const char *name);
bool request_is_head(const struct request *request);

#endif
