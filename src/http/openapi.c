#include "http/openapi.h"

#include <ctype.h>
#include <string.h>

#include "http/status.h"

/* What answers besides the rules. None of it needs a token. */
static const char BUILT_IN[] =
    "\"/health\":{\"get\":{\"operationId\":\"health\",\"tags\":[\"service\"],\"security\":[],"
    "\"summary\":\"Whether the service answers, as its predecessor said it\","
    "\"responses\":{\"200\":{\"description\":\"It does\",\"content\":{\"application/json\":"
    "{\"schema\":{\"type\":\"object\",\"required\":[\"status\",\"service\"],"
    "\"additionalProperties\":false,\"properties\":{\"status\":{\"const\":\"ok\"},"
    "\"service\":{\"const\":\"core-service\"}}}}}}}}},"
    "\"/healthz\":{\"get\":{\"operationId\":\"healthz\",\"tags\":[\"service\"],\"security\":[],"
    "\"summary\":\"Whether the process is alive\","
    "\"responses\":{\"200\":{\"description\":\"It is\",\"content\":{\"application/json\":"
    "{\"schema\":{\"type\":\"object\",\"required\":[\"status\"],\"additionalProperties\":false,"
    "\"properties\":{\"status\":{\"const\":\"alive\"}}}}}}}}},"
    "\"/readyz\":{\"get\":{\"operationId\":\"readyz\",\"tags\":[\"service\"],\"security\":[],"
    "\"summary\":\"Whether it has all that it needs: database, broker, rules\","
    "\"responses\":{\"200\":{\"description\":\"It has; degraded: something wants attention\","
    "\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/Readiness\"}}}"
    "},\"503\":{\"description\":\"It has not\",\"content\":{\"application/json\":{\"schema\":"
    "{\"$ref\":\"#/components/schemas/Readiness\"}}}}}}},"
    "\"/openapi.json\":{\"get\":{\"operationId\":\"openapi\",\"tags\":[\"service\"],"
    "\"security\":[],\"summary\":\"This document\",\"responses\":{\"200\":{\"description\":"
    "\"The document\",\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\","
    "\"required\":[\"openapi\",\"info\",\"paths\"]}}}}}}}";

static const char COMPONENTS[] =
    "\"components\":{\"schemas\":{"
    "\"Error\":{\"type\":\"object\",\"required\":[\"error\"],"
    "\"properties\":{\"error\":{\"type\":\"string\",\"minLength\":1}}},"
    "\"Readiness\":{\"type\":\"object\",\"required\":[\"status\"],\"properties\":{"
    "\"status\":{\"enum\":[\"ready\",\"degraded\",\"unavailable\"]},"
    "\"reasons\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}},"
    "\"headers\":{\"ETag\":{\"description\":\"For If-None-Match\",\"required\":true,"
    "\"schema\":{\"type\":\"string\",\"pattern\":\"^W/\\\"[0-9a-f]{16}\\\"$\"}},"
    "\"RetryAfter\":{\"description\":\"Seconds after which to ask again\",\"required\":true,"
    "\"schema\":{\"type\":\"string\",\"pattern\":\"^[0-9]+$\"}}}";

static void append_quoted(struct buffer *json, const char *text)
{
    buffer_append_json(json, bytes_of_string(text));
}

/* ---- paths ---- */

/* "/things/:name" as "/things/{name}". */
static void append_template(struct buffer *json, const char *path)
{
    bool in_param = false;
    buffer_append_byte(json, '"');
    for (const char *c = path; *c; c++) {
        if (*c == '/' && in_param) {
            buffer_append_byte(json, '}');
            in_param = false;
        }
        in_param |= *c == ':';
        if (*c == ':')
            buffer_append_byte(json, '{');
        else if (*c == '"' || *c == '\\')
            buffer_printf(json, "\\%c", *c);
        else
            buffer_append_byte(json, *c);
    }
    buffer_append_string(json, in_param ? "}\"" : "\"");
}

/* "get_things_name": no two operations have the same path and method. */
static void append_operation_id(struct buffer *json, const char *method, const char *path)
{
    buffer_append_string(json, "\"operationId\":\"");
    for (const char *c = method; *c; c++)
        buffer_append_byte(json, (char)tolower((unsigned char)*c));
    for (const char *c = path; *c; c++) {
        if (isalnum((unsigned char)*c))
            buffer_append_byte(json, *c);
        else if (*c != ':')
            buffer_append_byte(json, '_');
    }
    buffer_append_byte(json, '"');
}

static bool path_has(const char *path, const char *param)
{
    size_t size = strlen(param);
    for (const char *at = strchr(path, ':'); at; at = strchr(at + 1, ':')) {
        if (strncmp(at + 1, param, size) == 0 && (at[1 + size] == '/' || at[1 + size] == '\0'))
            return true;
    }
    return false;
}

/* ---- parameters ---- */

static void append_param(struct buffer *json, const char *path, const struct param_def *param)
{
    bool in_path = path_has(path, param->name);
    buffer_append_string(json, "{\"name\":");
    append_quoted(json, param->name);
    buffer_printf(json, ",\"in\":\"%s\",\"required\":%s", in_path ? "path" : "query",
                  in_path || param->is_required ? "true" : "false");
    if (param->description) {
        buffer_append_string(json, ",\"description\":");
        append_quoted(json, param->description);
    }
    buffer_printf(json, ",\"schema\":%s}", param->schema);
}

static bool is_declared(const struct endpoint_def *endpoint, struct bytes name)
{
    for (size_t i = 0; i < endpoint->n_params; i++) {
        if (bytes_equal(bytes_of_string(endpoint->params[i].name), name))
            return true;
    }
    return false;
}

/* What the file does not speak of is in the path all the same. */
static void append_undeclared(struct buffer *json, const char *path,
                              const struct endpoint_def *endpoint, const char *comma)
{
    for (const char *at = strchr(path, ':'); at; at = strchr(at + 1, ':')) {
        struct bytes name = bytes_of(at + 1, strcspn(at + 1, "/"));
        if (is_declared(endpoint, name))
            continue;
        buffer_printf(json, "%s{\"name\":", comma);
        buffer_append_json(json, name);
        buffer_append_string(json, ",\"in\":\"path\",\"required\":true,"
                                   "\"schema\":{\"type\":\"string\",\"minLength\":1}}");
        comma = ",";
    }
}

static void append_params(struct buffer *json, const char *path,
                          const struct endpoint_def *endpoint)
{
    buffer_append_string(json, ",\"parameters\":[");
    for (size_t i = 0; i < endpoint->n_params; i++) {
        buffer_append_string(json, i > 0 ? "," : "");
        append_param(json, path, &endpoint->params[i]);
    }
    append_undeclared(json, path, endpoint, endpoint->n_params > 0 ? "," : "");
    buffer_append_byte(json, ']');
}

/* ---- responses ---- */

static void append_error(struct buffer *json, const char *comma, int status,
                         const char *description, const char *headers)
{
    buffer_printf(json, "%s\"%d\":{\"description\":", comma, status);
    append_quoted(json, description);
    buffer_printf(json,
                  ",%s\"content\":{\"application/json\":"
                  "{\"schema\":{\"$ref\":\"#/components/schemas/Error\"}}}}",
                  headers);
}

static void append_response(struct buffer *json, const char *comma, bool has_etag,
                            const struct response_def *response)
{
    if (!response->schema) {
        append_error(
            json, comma, response->status,
            response->description ? response->description : status_phrase(response->status), "");
        return;
    }
    buffer_printf(json, "%s\"%d\":{\"description\":", comma, response->status);
    append_quoted(json,
                  response->description ? response->description : status_phrase(response->status));
    if (has_etag && response->status == 200)
        buffer_append_string(json, ",\"headers\":{\"ETag\":{\"$ref\":\"#/components/headers/ETag\""
                                   "}}");
    buffer_printf(json, ",\"content\":{\"application/json\":{\"schema\":%s}}}", response->schema);
}

static bool answers(const struct endpoint_def *endpoint, int status)
{
    for (size_t i = 0; i < endpoint->n_responses; i++) {
        if (endpoint->responses[i].status == status)
            return true;
    }
    return false;
}

/* What the service itself answers for every endpoint. */
static void append_common(struct buffer *json, const struct endpoint_def *endpoint,
                          const struct openapi_options *options)
{
    static const char retry_after[] =
        "\"headers\":{\"Retry-After\":{\"$ref\":\"#/components/headers/RetryAfter\"}},";
    const struct {
        int status;
        bool applies;
        const char *description, *headers;
    } common[] = {
        {400, true, "A parameter is missing, wrong or given more than once", ""},
        {401, options->needs_token, "The token is missing, wrong or expired", ""},
        {429, options->is_limited, "Too many requests", retry_after},
        {500, true, "A defect; the log has more, under the X-Request-Id of the answer", ""},
        {503, true, "The database is not available, or the service is busy", retry_after},
    };
    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++) {
        if (common[i].applies && !answers(endpoint, common[i].status))
            append_error(json, ",", common[i].status, common[i].description, common[i].headers);
    }
}

static void append_responses(struct buffer *json, const struct endpoint_def *endpoint,
                             const struct openapi_options *options)
{
    static const struct response_def anything = {.status = 200, .schema = "true"};
    bool is_get = strcmp(endpoint->method, "GET") == 0;
    buffer_append_string(json, ",\"responses\":{");
    if (!answers(endpoint, 200))
        append_response(json, "", is_get, &anything);
    for (size_t i = 0; i < endpoint->n_responses; i++)
        append_response(json, i > 0 || !answers(endpoint, 200) ? "," : "", is_get,
                        &endpoint->responses[i]);
    if (is_get)
        buffer_append_string(json, ",\"304\":{\"description\":\"The client has it already\"}");
    append_common(json, endpoint, options);
    buffer_append_byte(json, '}');
}

/* ---- operations ---- */

static void append_operation(struct buffer *json, const char *path,
                             const struct endpoint_def *endpoint,
                             const struct openapi_options *options)
{
    bool has_body = strcmp(endpoint->method, "GET") != 0 && strcmp(endpoint->method, "DELETE") != 0;
    buffer_append_byte(json, '"');
    for (const char *c = endpoint->method; *c; c++)
        buffer_append_byte(json, (char)tolower((unsigned char)*c));
    buffer_append_string(json, "\":{");
    append_operation_id(json, endpoint->method, path);
    if (endpoint->name) {
        buffer_append_string(json, ",\"tags\":[");
        append_quoted(json, endpoint->name);
        buffer_append_byte(json, ']');
    }
    if (endpoint->summary) {
        buffer_append_string(json, ",\"summary\":");
        append_quoted(json, endpoint->summary);
    }
    append_params(json, path, endpoint);
    if (has_body)
        buffer_append_string(json, ",\"requestBody\":{\"content\":{\"application/json\":{}}}");
    append_responses(json, endpoint, options);
    buffer_append_byte(json, '}');
}

static bool has_path(const struct endpoint_def *endpoint, const char *path)
{
    for (size_t i = 0; i < endpoint->n_paths; i++) {
        if (strcmp(endpoint->paths[i], path) == 0)
            return true;
    }
    return false;
}

/* Whether an endpoint before the one of number `before` has the path, and with it the method. */
static bool is_taken(const struct rules_def *rules, size_t before, const char *path,
                     const char *method)
{
    for (size_t i = 0; i < before; i++) {
        const struct endpoint_def *endpoint = &rules->endpoints[i];
        if (has_path(endpoint, path) && (!method || strcmp(endpoint->method, method) == 0))
            return true;
    }
    return false;
}

static void append_path(struct buffer *json, const struct rules_def *rules, size_t first,
                        const char *path, const struct openapi_options *options)
{
    const char *comma = "";
    buffer_append_byte(json, ',');
    append_template(json, path);
    buffer_append_string(json, ":{");
    for (size_t i = first; i < rules->n_endpoints; i++) {
        const struct endpoint_def *endpoint = &rules->endpoints[i];
        if (!has_path(endpoint, path) || is_taken(rules, i, path, endpoint->method))
            continue;
        buffer_append_string(json, comma);
        append_operation(json, path, endpoint, options);
        comma = ",";
    }
    buffer_append_byte(json, '}');
}

/* ---- the document ---- */

void openapi_write(const struct rules_def *rules, const struct openapi_options *options,
                   struct buffer *json)
{
    buffer_append_string(json, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"core-service\","
                               "\"version\":\"" CS_VERSION "\"},\"paths\":{");
    buffer_append_string(json, BUILT_IN);
    for (size_t i = 0; rules && i < rules->n_endpoints; i++) {
        const struct endpoint_def *endpoint = &rules->endpoints[i];
        for (size_t p = 0; p < endpoint->n_paths; p++) {
            if (!is_taken(rules, i, endpoint->paths[p], NULL))
                append_path(json, rules, i, endpoint->paths[p], options);
        }
    }
    buffer_append_string(json, "},");
    buffer_append_string(json, COMPONENTS);
    if (options->needs_token)
        buffer_append_string(json, ",\"securitySchemes\":{\"token\":{\"type\":\"http\","
                                   "\"scheme\":\"bearer\",\"bearerFormat\":\"JWT\"}}},"
                                   "\"security\":[{\"token\":[]}]}");
    else
        buffer_append_string(json, "}}");
}
