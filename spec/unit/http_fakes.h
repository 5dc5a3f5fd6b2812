/* For the specs of http/: rules that do what the path says, linked in place of the real ones:
 * - GET /api/echo/:name and /echo/:name answer the parameters;
 * - GET /ask/:sql runs the query (see reader_pool_query()) and then answers;
 * - GET /broken is a rule that fails;
 * - GET /status/:status answers that status;
 * - POST /body answers the body. */
#ifndef HTTP_FAKES_H
#define HTTP_FAKES_H

#include "http_harness.h"

static atomic_int fake_holds; /* of generations */
static atomic_int fake_calls; /* open in the rules */
static atomic_bool fake_unpublished;

/* ---- rules ---- */

enum { ECHO, ASK, BROKEN, STATUS, BODY, N_ENDPOINTS };

static const char *echo_paths[] = {"/api/echo/:name", "/echo/:name"};
static const char *ask_paths[] = {"/ask/:sql"};
static const char *broken_paths[] = {"/broken"};
static const char *status_paths[] = {"/status/:status"};
static const char *body_paths[] = {"/body"};

static struct endpoint_def fake_endpoints[N_ENDPOINTS] = {
    [ECHO] = {.method = "GET", .paths = echo_paths, .n_paths = 2},
    [ASK] = {.method = "GET", .paths = ask_paths, .n_paths = 1},
    [BROKEN] = {.method = "GET", .paths = broken_paths, .n_paths = 1},
    [STATUS] = {.method = "GET", .paths = status_paths, .n_paths = 1},
    [BODY] = {.method = "POST", .paths = body_paths, .n_paths = 1},
};
static struct rules_def fake_def = {.endpoints = fake_endpoints, .n_endpoints = N_ENDPOINTS};
static struct rules_state *fake_states[8];
static struct rules_generation fake_generation = {.number = 1, .states = fake_states};

struct rules_call {
    char *sql;
    bool asked;
    int waited_ms;
    bool is_final;
    struct query_def query;
};

const struct rules_def *rules_generation_def(const struct rules_generation *generation)
{
    assert_ptr_equal(generation, &fake_generation);
    return &fake_def;
}

struct rules_generation *rules_registry_acquire(struct rules_registry *rules)
{
    (void)rules;
    if (fake_unpublished)
        return NULL;
    fake_holds++;
    return &fake_generation;
}

void rules_registry_release(struct rules_registry *rules, struct rules_generation *generation)
{
    (void)rules, (void)generation;
    fake_holds--;
}

static void echo(const struct request_view *request, struct reply *reply)
{
    buffer_append_byte(&reply->body, '{');
    for (size_t i = 0; i < request->n_params; i++) {
        if (i > 0)
            buffer_append_byte(&reply->body, ',');
        buffer_append_json(&reply->body, request->params[i].name);
        buffer_append_byte(&reply->body, ':');
        buffer_append_json(&reply->body, request->params[i].value);
    }
    buffer_append_byte(&reply->body, '}');
}

struct rules_call *rules_call_begin(struct rules_state *state, size_t endpoint,
                                    const struct request_view *request, struct reply *reply)
{
    (void)state;
    reply->status = 200;
    switch (endpoint) {
    case ASK: {
        struct rules_call *call = memory_zero(1, sizeof *call);
        call->sql = memory_string_n(request->params[0].value.data, request->params[0].value.size);
        call->query.sql = call->sql;
        fake_calls++;
        return call;
    }
    case BROKEN:
        reply->failed = true;
        error_set(&reply->err, "endpoints/broken.lua:3: it broke");
        return NULL;
    case STATUS:
        reply->status = atoi(request->params[0].value.data);
        buffer_append_string(&reply->body, "{\"error\":\"as you wish\"}");
        return NULL;
    case BODY:
        buffer_append_json(&reply->body, request->body.data ? request->body : bytes_of("", 0));
        return NULL;
    default:
        echo(request, reply);
        return NULL;
    }
}

enum call_step rules_call_next(struct rules_call *call, struct query_params *query,
                               struct reply *reply)
{
    (void)reply;
    if (call->asked)
        return CALL_REPLY;
    call->asked = true;
    *query = (struct query_params){.query = &call->query};
    return CALL_QUERY;
}

bool rules_call_result(struct rules_call *call, const struct result *result, struct reply *reply)
{
    (void)call, (void)reply;
    assert_non_null(result);
    return true;
}

/* "again" wants to be asked again after 100 ms until it has waited 300 ms, "always" as long as it
 * may. */
int rules_call_reply(struct rules_call *call, struct reply *reply)
{
    if (strcmp(call->sql, "again") == 0 && !call->is_final && call->waited_ms < 300)
        return 100;
    if (strcmp(call->sql, "always") == 0 && !call->is_final)
        return 100;
    reply->status = 200;
    buffer_printf(&reply->body, "{\"sql\":\"%s\"", call->sql);
    reply->lasting = reply->body.size;
    if (call->waited_ms > 0)
        buffer_printf(&reply->body, ",\"waited\":%d", call->waited_ms);
    buffer_append_byte(&reply->body, '}');
    return 0;
}

bool rules_call_again(struct rules_call *call, int waited_ms, bool is_final, struct reply *reply)
{
    (void)reply;
    assert_false(call->is_final);
    call->asked = false;
    call->waited_ms = waited_ms;
    call->is_final = is_final;
    return true;
}

void rules_call_free(struct rules_call *call)
{
    fake_calls--;
    free(call->sql);
    free(call);
}

#endif
