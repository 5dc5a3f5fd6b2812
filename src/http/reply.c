#include "http/reply.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/memory.h"

#define JSON_TYPE "application/json; charset=utf-8"
#define ETAG_SIZE sizeof "W/\"0123456789abcdef\""

static void add_header(const struct request *request, const char *name, const char *value)
{
    if (evhttp_add_header(evhttp_request_get_output_headers(request->http), name, value) < 0)
        die("the header %s cannot be sent", name);
}

/* Unless whoever made the answer knew better. */
static void add_default(const struct request *request, const char *name, const char *value)
{
    if (!evhttp_find_header(evhttp_request_get_output_headers(request->http), name))
        add_header(request, name, value);
}

/* One part of a comma list, without the spaces around it, is `wanted`. */
static bool list_has(const char *list, struct bytes wanted, bool ignore_case)
{
    while (*list) {
        list += strspn(list, ", \t");
        size_t size = strcspn(list, ",");
        size_t part = size;
        while (part > 0 && (list[part - 1] == ' ' || list[part - 1] == '\t'))
            part--;
        if (part > 0 && part == wanted.size &&
            (ignore_case ? strncasecmp(list, wanted.data, part) == 0
                         : memcmp(list, wanted.data, part) == 0))
            return true;
        list += size;
    }
    return false;
}

/* ---- headers of all answers ---- */

/* True when the origin, if there is one, may read the answer. */
static bool add_cors(const struct request *request, const struct reply_policy *policy)
{
    const char *origin = request_header(request, "Origin");
    if (strcmp(policy->cors_origins, "*") == 0) {
        add_header(request, "Access-Control-Allow-Origin", "*");
    } else if (origin && list_has(policy->cors_origins, bytes_of_string(origin), false)) {
        add_header(request, "Access-Control-Allow-Origin", origin);
    } else {
        return false;
    }
    add_header(request, "Access-Control-Expose-Headers",
               "ETag, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
               "WWW-Authenticate, X-Request-Id");
    return true;
}

static void add_common(const struct request *request, const char *cache_control)
{
    add_header(request, "Cache-Control", cache_control);
    add_header(request, "X-Request-Id", request->id);
    const char *connection = request_header(request, "Connection");
    if (connection && list_has(connection, bytes_of_string("close"), true))
        add_header(request, "Connection", "close"); /* evhttp knows it alone only */
}

static int send_body(struct client *client, const struct request *request, int status,
                     const char *type, struct bytes body)
{
    char size[24];
    snprintf(size, sizeof size, "%zu", body.size);
    add_header(request, "Content-Type", type);
    add_header(request, "Content-Length", size);
    if (!request_is_head(request) &&
        evbuffer_add(evhttp_request_get_output_buffer(request->http), body.data, body.size) < 0)
        die("out of memory: an answer of %zu bytes", body.size);
    client_answer(client, status);
    return status;
}

/* ---- JSON ---- */

static void make_etag(struct bytes lasting, char etag[ETAG_SIZE])
{
    snprintf(etag, ETAG_SIZE, "W/\"%016" PRIx64 "\"", hash_bytes(0, lasting));
}

/* Weak comparison (RFC 9110, 13.1.2): with or without W/. */
static bool client_has(const struct request *request, const char *etag)
{
    const char *known = request_header(request, "If-None-Match");
    return known && (strcmp(known, "*") == 0 || list_has(known, bytes_of_string(etag), false) ||
                     list_has(known, bytes_of_string(etag + strlen("W/")), false));
}

int reply_json(struct client *client, const struct request *request,
               const struct reply_policy *policy, int status, struct bytes json,
               struct bytes lasting)
{
    add_common(request, status == 200 ? "no-cache" : "no-store");
    add_header(request, "Vary", "Authorization, Origin");
    add_cors(request, policy);
    if (status == 503 || status == 429)
        add_default(request, "Retry-After", "1");
    if (status == 401)
        add_default(request, "WWW-Authenticate", "Bearer");
    bool is_get = strcmp(request->method, "GET") == 0 || request_is_head(request);
    if (status == 200 && is_get) {
        char etag[ETAG_SIZE];
        make_etag(lasting, etag);
        add_header(request, "ETag", etag);
        if (client_has(request, etag)) {
            client_answer(client, 304);
            return 304;
        }
    }
    return send_body(client, request, status, JSON_TYPE, json);
}

int reply_error(struct client *client, const struct request *request,
                const struct reply_policy *policy, int status, const char *text)
{
    struct buffer json = {0};
    buffer_append_string(&json, "{\"error\":");
    buffer_append_json(&json, bytes_of_string(text));
    buffer_append_byte(&json, '}');
    reply_json(client, request, policy, status, buffer_bytes(&json), buffer_bytes(&json));
    buffer_free(&json);
    return status;
}

int reply_not_allowed(struct client *client, const struct request *request,
                      const struct reply_policy *policy, const char *allow)
{
    add_header(request, "Allow", allow);
    return reply_error(client, request, policy, 405, "The method is not allowed here");
}

int reply_options(struct client *client, const struct request *request,
                  const struct reply_policy *policy, const char *allow)
{
    add_common(request, "no-store");
    add_header(request, "Vary", "Authorization, Origin, Access-Control-Request-Headers");
    add_header(request, "Allow", allow);
    if (add_cors(request, policy)) {
        const char *wanted = request_header(request, "Access-Control-Request-Headers");
        add_header(request, "Access-Control-Allow-Methods", allow);
        add_header(request, "Access-Control-Allow-Headers",
                   wanted && *wanted ? wanted
                                     : "Authorization, Content-Type, If-None-Match, X-Request-Id");
        add_header(request, "Access-Control-Max-Age", "600");
    }
    client_answer(client, 204);
    return 204;
}

int reply_text(struct client *client, const struct request *request, const char *content_type,
               struct bytes text)
{
    add_common(request, "no-store");
    return send_body(client, request, 200, content_type, text);
}
