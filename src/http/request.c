#include "http/request.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/util.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/utf8.h"

#define PARAMS_CAPACITY_MIN 8
#define TRACEPARENT_SIZE    (sizeof "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00" - 1)

/* ---- the header ---- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 9110, 5.6.2. */
static bool is_token(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++) {
        if (!is_alnum(*text) && !strchr("!#$%&'*+-.^_`|~", *text))
            return false;
    }
    return true;
}

static bool is_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

/* A host with or without a port: what RFC 9110, 7.2 lets be there, be it a name or an address. */
static bool is_host(const char *text)
{
    for (; *text; text++) {
        if (!is_alnum(*text) && !strchr("-._~%!$&'()*+,;=:[]", *text))
            return false;
    }
    return true;
}

/* What decides where the request ends and whom it is for. */
struct framing {
    int n_lengths, n_encodings, n_hosts;
    bool has_body;
};

static const char *check_framing(const struct evhttp_request *http, const struct framing *framing)
{
    if (framing->n_lengths + framing->n_encodings > 1)
        return "The request says more than once how long its body is";
    if (framing->n_encodings > 0 && http->minor == 0)
        return "HTTP/1.0 has no transfer encodings";
    if (framing->has_body && http->type == EVHTTP_REQ_HEAD)
        return "A HEAD request has no body";
    if (framing->n_hosts > 1)
        return "There is more than one Host header";
    if (framing->n_hosts == 0 && http->minor >= 1)
        return "The Host header is missing";
    return NULL;
}

static const char *check_header(const struct evkeyval *header, struct framing *framing)
{
    if (!is_token(header->key))
        return "A header's name is malformed";
    for (const char *c = header->value; *c; c++) {
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return "A header's value has control characters";
    }
    if (strcasecmp(header->key, "Content-Length") == 0) {
        framing->n_lengths++;
        framing->has_body |= strspn(header->value, "0") != strlen(header->value);
        if (!is_digits(header->value))
            return "Content-Length is not a number";
    } else if (strcasecmp(header->key, "Transfer-Encoding") == 0) {
        framing->n_encodings++;
        framing->has_body = true;
        if (strcasecmp(header->value, "chunked") != 0)
            return "The transfer encoding is not chunked";
    } else if (strcasecmp(header->key, "Host") == 0) {
        framing->n_hosts++;
        if (!is_host(header->value))
            return "The Host header is malformed";
    }
    return NULL;
}

const char *request_check(struct evhttp_request *http, int *status)
{
    /* evhttp takes an absolute URI for a proxy's request, which closes without a word. */
    http->flags &= ~EVHTTP_PROXY_REQUEST;
    if (http->major != 1 || (http->minor != 0 && http->minor != 1)) {
        http->minor = 1;
        *status = 505;
        return "HTTP/1.0 and HTTP/1.1 are served here";
    }
    *status = 400;
    struct framing framing = {0};
    const struct evkeyval *header;
    TAILQ_FOREACH(header, http->input_headers, next)
    {
        const char *wrong = check_header(header, &framing);
        if (wrong)
            return wrong;
    }
    return check_framing(http, &framing);
}

const char *request_header(const struct request *request, const char *name)
{
    return evhttp_find_header(request->http->input_headers, name);
}

const char *request_header_list(struct request *request, const char *name)
{
    struct buffer list = {0};
    const char *separator = "";
    const struct evkeyval *header;
    TAILQ_FOREACH(header, request->http->input_headers, next)
    {
        if (strcasecmp(header->key, name) != 0)
            continue;
        buffer_append_string(&list, separator);
        separator = ", ";
        buffer_append_string(&list, header->value);
    }
    const char *text = list.size > 0 ? arena_copy(&request->arena, buffer_bytes(&list)).data : NULL;
    buffer_free(&list);
    return text;
}

/* ---- the request's id ---- */

static bool is_sane_id(const char *id)
{
    size_t size = strlen(id);
    if (size == 0 || size > REQUEST_ID_SIZE_MAX)
        return false;
    for (; *id; id++) {
        if (!is_alnum(*id) && !strchr("-._:+/=@", *id))
            return false;
    }
    return true;
}

/* The trace id of a W3C traceparent header (version-traceid-parentid-flags), or absent. */
static struct bytes trace_id(const char *traceparent)
{
    const size_t hyphens[] = {2, 35, 52};
    if (strlen(traceparent) < TRACEPARENT_SIZE || strncmp(traceparent, "ff", 2) == 0)
        return (struct bytes){0};
    for (size_t i = 0; i < sizeof hyphens / sizeof hyphens[0]; i++) {
        size_t begin = i > 0 ? hyphens[i - 1] + 1 : 0;
        if (strspn(traceparent + begin, "0123456789abcdef") != hyphens[i] - begin ||
            traceparent[hyphens[i]] != '-')
            return (struct bytes){0};
    }
    struct bytes id = bytes_of(traceparent + 3, 32);
    return strspn(id.data, "0") >= id.size ? (struct bytes){0} : id;
}

static const char *new_id(struct arena *arena)
{
    static _Thread_local uint64_t seed, count;
    if (count++ == 0 && getrandom(&seed, sizeof seed, 0) != sizeof seed)
        die("no random bytes");
    uint64_t id = hash_bytes(seed, bytes_of((const char *)&count, sizeof count));
    char *digits = arena_alloc(arena, HASH_HEX_SIZE + 1);
    hash_hex(id, digits);
    digits[HASH_HEX_SIZE] = '\0';
    return digits;
}

/* X-Request-Id, else the trace that the request belongs to, else one of our own. */
static const char *id_of(struct request *request)
{
    const char *id = request_header(request, "X-Request-Id");
    if (id && is_sane_id(id))
        return arena_copy(&request->arena, bytes_of_string(id)).data;
    const char *traceparent = request_header(request, "traceparent");
    struct bytes trace = traceparent ? trace_id(traceparent) : (struct bytes){0};
    if (trace.data)
        return arena_copy(&request->arena, trace).data;
    return new_id(&request->arena);
}

/* ---- path and query ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Into the arena. False: malformed, U+0000 or no UTF-8. */
static bool decode(struct arena *arena, struct bytes text, bool plus_is_space,
                   struct bytes *decoded)
{
    char *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.size ? hex_digit(text.data[i + 1]) : -1;
            int low = i + 2 < text.size ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == '\0')
            return false;
        out[size++] = c;
    }
    out[size] = '\0';
    *decoded = bytes_of(out, size);
    return utf8_is_valid(*decoded);
}

/* The target without scheme and authority; NULL when it is none that is served here. */
static const char *target_of(const struct evhttp_request *http)
{
    const char *uri = http->uri;
    for (const char *c = uri; *c; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '#')
            return NULL;
    }
    if (strncasecmp(uri, "http://", 7) == 0 || strncasecmp(uri, "https://", 8) == 0) {
        const char *authority = strstr(uri, "//") + 2;
        uri = authority + strcspn(authority, "/?");
        return uri == authority ? NULL : uri;
    }
    bool is_asterisk = strcmp(uri, "*") == 0 && http->type == EVHTTP_REQ_OPTIONS;
    return *uri == '/' || is_asterisk ? uri : NULL;
}

static bool read_path(struct request *request, struct bytes path, struct error *err)
{
    request->path = path.size ? arena_copy(&request->arena, path).data : "/";
    const char *rest = request->path;
    if (strcmp(rest, "*") == 0)
        return true;
    while (*rest == '/' && rest[1]) { /* "/a/" is "/a" */
        if (request->n_segments > ROUTE_SEGMENTS_MAX)
            return true; /* longer than any pattern */
        size_t size = strcspn(++rest, "/");
        if (!decode(&request->arena, bytes_of(rest, size), false,
                    &request->segments[request->n_segments]))
            return error_set(err, "The path is not valid UTF-8 in percent-encoding");
        request->n_segments++;
        rest += size;
    }
    return true;
}

static void grow_params(struct request *request)
{
    size_t capacity = request->params_capacity ? request->params_capacity * 2 : PARAMS_CAPACITY_MIN;
    struct pair *params = arena_alloc(&request->arena, capacity * sizeof *params);
    if (request->n_params > 0)
        memcpy(params, request->params, request->n_params * sizeof *params);
    request->params = params;
    request->params_capacity = capacity;
}

static bool add_param(struct request *request, struct bytes name, struct bytes value,
                      struct error *err)
{
    for (size_t i = 0; i < request->n_params; i++) {
        if (bytes_equal(request->params[i].name, name))
            return error_set(err, "%.64s is given more than once", name.data);
    }
    if (request->n_params == REQUEST_PARAMS_MAX)
        return error_set(err, "There are more than %d parameters", REQUEST_PARAMS_MAX);
    if (request->n_params == request->params_capacity)
        grow_params(request);
    request->params[request->n_params++] = (struct pair){name, value};
    return true;
}

static bool read_param(struct request *request, struct bytes text, struct error *err)
{
    const char *equals = memchr(text.data, '=', text.size);
    size_t name_size = equals ? (size_t)(equals - text.data) : text.size;
    struct bytes raw_value =
        equals ? bytes_of(equals + 1, text.size - name_size - 1) : bytes_of("", 0);
    struct bytes name, value;
    if (!decode(&request->arena, bytes_of(text.data, name_size), true, &name) ||
        !decode(&request->arena, raw_value, true, &value))
        return error_set(err, "The query is not valid UTF-8 in percent-encoding");
    if (name.size == 0)
        return error_set(err, "A parameter has no name");
    return add_param(request, name, value, err);
}

static bool read_query(struct request *request, const char *query, struct error *err)
{
    while (*query) {
        size_t size = strcspn(query, "&");
        if (size > 0 && !read_param(request, bytes_of(query, size), err))
            return false;
        query += size;
        if (*query == '&')
            query++;
    }
    return true;
}

/* ---- the whole ---- */

static const char *method_name(enum evhttp_cmd_type type)
{
    switch (type) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    case EVHTTP_REQ_OPTIONS:
        return "OPTIONS";
    case EVHTTP_REQ_PATCH:
        return "PATCH";
    case EVHTTP_REQ_TRACE:
        return "TRACE"; /* nothing answers it: 405 */
    default:
        die("a method that was not allowed came through: %d", (int)type);
    }
}

bool request_read(struct request *request, struct evhttp_request *http, struct error *err)
{
    request->http = http;
    request->method = method_name(http->type);
    request->id = id_of(request);
    request->path = "/";
    size_t body_size = evbuffer_get_length(http->input_buffer);
    if (body_size > 0)
        request->body = bytes_of((const char *)evbuffer_pullup(http->input_buffer, -1), body_size);
    const char *target = target_of(http);
    if (!target)
        return error_set(err, "The request target is malformed");
    size_t path_size = strcspn(target, "?");
    if (!read_path(request, bytes_of(target, path_size), err))
        return false;
    return target[path_size] == '\0' || read_query(request, target + path_size + 1, err);
}

void request_free(struct request *request)
{
    arena_free(&request->arena);
    buffer_free(&request->header);
}

bool request_add_path_params(struct request *request, const struct route *route, struct error *err)
{
    size_t n_query = request->n_params;
    for (size_t i = 0; i < route->n_segments; i++) {
        struct bytes segment = route->segments[i];
        if (segment.size < 2 || segment.data[0] != ':')
            continue;
        struct bytes name =
            arena_copy(&request->arena, bytes_of(segment.data + 1, segment.size - 1));
        if (!add_param(request, name, request->segments[i], err))
            return false;
    }
    size_t n_path = request->n_params - n_query;
    if (n_path == 0)
        return true;
    struct pair sorted[REQUEST_PARAMS_MAX];
    memcpy(sorted, request->params + n_query, n_path * sizeof *sorted);
    memcpy(sorted + n_path, request->params, n_query * sizeof *sorted);
    memcpy(request->params, sorted, request->n_params * sizeof *sorted);
    return true;
}

struct bytes request_param(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->n_params; i++) {
        if (bytes_equal(request->params[i].name, bytes_of_string(name)))
            return request->params[i].value;
    }
    return (struct bytes){0};
}

bool request_is_head(const struct request *request)
{
    return request->http->type == EVHTTP_REQ_HEAD;
}
