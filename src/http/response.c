#include "http/response.h"

#include <event2/http.h>
#include <event2/http_struct.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "http/head.h"

#define JSON_TYPE "application/json; charset=utf-8"
#define ETAG_SIZE sizeof "W/\"0123456789abcdef\""

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

/* ---- all answers ---- */

static void add(struct response *response, const char *name, const char *value)
{
    head_add(&response->text, name, value);
}

/* evhttp closes after HTTP/1.0 without keep-alive, and after a lone "close"; a list it cannot
 * read. */
static void add_connection(struct response *response, const struct request *request)
{
    const char *wanted = request_header(request, "Connection");
    response->closes = client_must_close(response->client) ||
                       (wanted && list_has(wanted, bytes_of_string("close"), true));
    if (response->closes)
        add(response, "Connection", "close");
    else if (request->http->minor == 0 && wanted && strcasecmp(wanted, "keep-alive") == 0)
        add(response, "Connection", "keep-alive");
}

static struct response begin(struct client *client, const struct request *request, int status,
                             const char *cache_control)
{
    struct response response = {.client = client, .status = status};
    head_begin(&response.text, request->http->minor, status);
    buffer_append(&response.text, request->header.data, request->header.size);
    add(&response, "Cache-Control", cache_control);
    add(&response, "X-Request-Id", request->id);
    add_connection(&response, request);
    return response;
}

static void end_with_body(struct response *response, const struct request *request,
                          const char *type, struct bytes body)
{
    add(response, "Content-Type", type);
    head_add_number(&response->text, "Content-Length", body.size);
    head_end(&response->text);
    if (!request_is_head(request))
        response->body = body;
}

void response_send(struct response *response)
{
    client_answer(response->client, buffer_bytes(&response->text), response->body,
                  response->closes);
    buffer_free(&response->text);
}

/* True when the origin, if there is one, may read the answer. */
static bool add_cors(struct response *response, const struct request *request,
                     const struct cors_policy *policy)
{
    const char *origin = request_header(request, "Origin");
    if (strcmp(policy->origins, "*") == 0) {
        add(response, "Access-Control-Allow-Origin", "*");
    } else if (origin && list_has(policy->origins, bytes_of_string(origin), false)) {
        add(response, "Access-Control-Allow-Origin", origin);
    } else {
        return false;
    }
    add(response, "Access-Control-Expose-Headers",
        "ETag, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
        "WWW-Authenticate, X-Request-Id");
    return true;
}

/* ---- JSON ---- */

/* W/"0123456789abcdef" */
static void make_etag(struct bytes lasting, char etag[ETAG_SIZE])
{
    memcpy(etag, "W/\"", 3);
    hash_hex(hash_bytes(0, lasting), etag + 3);
    memcpy(etag + 3 + HASH_HEX_SIZE, "\"", 2);
}

/* Weak comparison (RFC 9110, 13.1.2): with or without W/. */
static bool client_has(const struct request *request, const char *etag)
{
    const char *known = request_header(request, "If-None-Match");
    return known && (strcmp(known, "*") == 0 || list_has(known, bytes_of_string(etag), false) ||
                     list_has(known, bytes_of_string(etag + strlen("W/")), false));
}

/* What an answer of this status must say, unless whoever saw the request before said it better. */
static void add_advice(struct response *response, const struct request *request, int status)
{
    if ((status == 503 || status == 429) && !head_has(&request->header, "Retry-After"))
        add(response, "Retry-After", "1");
    if (status == 401 && !head_has(&request->header, "WWW-Authenticate"))
        add(response, "WWW-Authenticate", "Bearer");
}

struct response response_json(struct client *client, const struct request *request,
                              const struct cors_policy *policy, int status, struct bytes json,
                              struct bytes lasting)
{
    char etag[ETAG_SIZE] = "";
    bool is_known = false;
    if (status == 200 && (strcmp(request->method, "GET") == 0 || request_is_head(request))) {
        make_etag(lasting, etag);
        is_known = client_has(request, etag);
    }
    struct response response =
        begin(client, request, is_known ? 304 : status, status == 200 ? "no-cache" : "no-store");
    add(&response, "Vary", "Authorization, Origin");
    add_cors(&response, request, policy);
    add_advice(&response, request, status);
    if (*etag)
        add(&response, "ETag", etag);
    if (is_known)
        head_end(&response.text);
    else
        end_with_body(&response, request, JSON_TYPE, json);
    return response;
}

struct response response_error(struct client *client, const struct request *request,
                               const struct cors_policy *policy, int status, const char *text)
{
    struct buffer json = {0};
    buffer_append_string(&json, "{\"error\":");
    buffer_append_json(&json, bytes_of_string(text));
    buffer_append_byte(&json, '}');
    struct response response =
        response_json(client, request, policy, status, buffer_bytes(&json), buffer_bytes(&json));
    buffer_append(&response.text, response.body.data, response.body.size);
    response.body = (struct bytes){0};
    buffer_free(&json);
    return response;
}

struct response response_not_allowed(struct client *client, struct request *request,
                                     const struct cors_policy *policy, const char *allow)
{
    head_add(&request->header, "Allow", allow);
    return response_error(client, request, policy, 405, "The method is not allowed here");
}

struct response response_options(struct client *client, const struct request *request,
                                 const struct cors_policy *policy, const char *allow)
{
    struct response response = begin(client, request, 204, "no-store");
    add(&response, "Vary", "Authorization, Origin, Access-Control-Request-Headers");
    add(&response, "Allow", allow);
    if (add_cors(&response, request, policy)) {
        const char *wanted = request_header(request, "Access-Control-Request-Headers");
        add(&response, "Access-Control-Allow-Methods", allow);
        add(&response, "Access-Control-Allow-Headers",
            wanted && *wanted ? wanted
                              : "Authorization, Content-Type, If-None-Match, X-Request-Id");
        add(&response, "Access-Control-Max-Age", "600");
    }
    head_end(&response.text);
    return response;
}

struct response response_text(struct client *client, const struct request *request,
                              const char *content_type, struct bytes text)
{
    struct response response = begin(client, request, 200, "no-store");
    end_with_body(&response, request, content_type, text);
    return response;
}
