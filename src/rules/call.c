#include "rules/call.h"

#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "rules/convert.h"
#include "rules/json.h"
#include "rules/sandbox.h"

/* One step of a call, as its body sees it. */
struct step {
    struct rules_call *call;
    const struct request_view *request;
    const struct result *result;
    struct query_params *query;
    struct reply *reply;
    bool answered; /* *reply is the answer */
    bool skipped;  /* params() wants no query */
    int again_ms;  /* reply() wants to be asked again */
};

void rules_call_push_kept(lua_State *L, const struct rules_call *call, int which)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->kept);
    lua_rawgeti(L, -1, which);
    lua_remove(L, -2);
}

void rules_append_fields(lua_State *L, int index, struct buffer *object)
{
    if (!lua_istable(L, index))
        luaL_error(L, "a %s follows the body, expected a table", luaL_typename(L, index));
    if (object->size == 0 || object->data[0] != '{')
        luaL_error(L, "fields follow a body that is no object");
    size_t begin = object->size > 2 ? object->size - 1 : 0; /* the last brace, or all of {} */
    object->size = begin;
    rules_json_encode(L, index, object);
    if (object->data[begin] != '{')
        luaL_error(L, "a list follows the body, expected fields");
    if (begin == 0)
        return;
    bool has_fields = object->size > begin + 2;
    object->data[begin] = ',';
    if (!has_fields) {
        object->size = begin;
        buffer_append_byte(object, '}');
    }
}

/* ---- running a step ---- */

static void break_reply(struct reply *reply)
{
    buffer_clear(&reply->body);
    buffer_append_string(&reply->body, "{\"error\":\"Internal server error\"}");
    reply->status = 500;
    reply->failed = true;
}

/* False: the rule broke, *reply says so. */
static bool run_step(struct step *step, const char *hook, int limit_ms,
                     void (*body)(lua_State *L, void *arg))
{
    struct rules_call *call = step->call;
    struct rules_state *state = call->state;
    const struct rules_entry entry = {call->def->file, hook, limit_ms};
    step->answered = false;
    step->skipped = false;
    state->component = call->runtime->component;
    state->request_id = call->request_id;
    bool done = rules_enter(state, &entry, body, step, &step->reply->err) == RULES_DONE;
    state->request_id = NULL;
    state->component = "rules";
    if (!done)
        break_reply(step->reply);
    return done;
}

/* ---- answers ---- */

static int check_status(lua_State *L, int index)
{
    double status = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : 0;
    if (!(status >= 200 && status <= 599 && status == floor(status)))
        luaL_error(L, "the status is %s, expected a whole number from 200 to 599",
                   lua_isnumber(L, index) ? lua_tostring(L, index) : luaL_typename(L, index));
    return (int)status;
}

/* status, message, extra at `index`: {"error": message, and what extra has}. */
static void answer_error(lua_State *L, int index, struct step *step)
{
    int status = check_status(L, index);
    if (lua_type(L, index + 1) != LUA_TSTRING)
        luaL_error(L, "the message of status %d is a %s, expected a string", status,
                   luaL_typename(L, index + 1));
    lua_newtable(L);
    int body = lua_gettop(L);
    if (lua_istable(L, index + 2)) {
        rules_unfreeze(L, index + 2);
        lua_pushnil(L);
        while (lua_next(L, index + 2)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, body);
        }
    } else if (!lua_isnil(L, index + 2)) {
        luaL_error(L, "what follows the message is a %s, expected a table",
                   luaL_typename(L, index + 2));
    }
    lua_pushvalue(L, index + 1);
    lua_setfield(L, body, "error");
    buffer_clear(&step->reply->body);
    rules_json_encode(L, body, &step->reply->body);
    step->reply->status = status;
    step->answered = true;
}

/* ---- request() ---- */

bool rules_is_path_param(const struct endpoint_def *def, struct bytes name)
{
    for (size_t i = 0; i < def->n_paths; i++) {
        for (const char *at = def->paths[i]; (at = strstr(at, "/:")) != NULL;) {
            at += 2;
            size_t size = strcspn(at, "/");
            if (bytes_equal(bytes_of(at, size), name))
                return true;
        }
    }
    return false;
}

static void push_pairs(lua_State *L, const struct step *step, bool of_path)
{
    const struct request_view *request = step->request;
    lua_newtable(L);
    for (size_t i = 0; i < request->n_params; i++) {
        const struct pair *pair = &request->params[i];
        if (rules_is_path_param(step->call->def, pair->name) != of_path)
            continue;
        lua_pushlstring(L, pair->name.data, pair->name.size);
        lua_pushlstring(L, pair->value.data, pair->value.size);
        lua_rawset(L, -3);
    }
}

static void push_request(lua_State *L, const struct step *step)
{
    const struct request_view *request = step->request;
    lua_createtable(L, 0, 9);
    lua_pushinteger(L, 0);
    lua_setfield(L, -2, "waited_ms");
    lua_pushstring(L, request->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, request->path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, request->request_id);
    lua_setfield(L, -2, "id");
    push_pairs(L, step, true);
    lua_setfield(L, -2, "params");
    push_pairs(L, step, false);
    lua_setfield(L, -2, "query");
    if (request->claims.data) {
        rules_json_decode(L, request->claims);
        lua_setfield(L, -2, "claims");
    }
    if (request->body.data) {
        lua_pushlstring(L, request->body.data, request->body.size);
        lua_setfield(L, -2, "body");
    }
}

static void run_request(lua_State *L, void *arg)
{
    struct step *step = arg;
    struct rules_call *call = step->call;
    lua_createtable(L, 3, 0);
    int kept = lua_gettop(L);
    push_request(L, step);
    lua_rawseti(L, kept, KEPT_REQUEST);
    lua_newtable(L);
    lua_rawseti(L, kept, KEPT_RESULTS);
    lua_rawgeti(L, kept, KEPT_REQUEST);
    if (call->runtime->request == LUA_NOREF) {
        lua_getfield(L, -1, "query");
    } else {
        lua_rawgeti(L, LUA_REGISTRYINDEX, call->runtime->request);
        lua_insert(L, -2);
        lua_call(L, 1, 4);
        int first = lua_gettop(L) - 3;
        if (!lua_toboolean(L, first)) {
            answer_error(L, first + 1, step);
            return;
        }
        if (!lua_istable(L, first))
            luaL_error(L, "request returned a %s, expected a table or nil, status, message",
                       luaL_typename(L, first));
        lua_settop(L, first);
    }
    lua_rawseti(L, kept, KEPT_PARAMS);
    lua_settop(L, kept);
    call->kept = luaL_ref(L, LUA_REGISTRYINDEX);
}

struct rules_call *rules_call_begin(struct rules_state *state, size_t endpoint,
                                    const struct request_view *request, struct reply *reply)
{
    struct rules_call *call = memory_zero(1, sizeof(*call));
    call->state = state;
    call->def = &state->def.endpoints[endpoint];
    call->runtime = &state->endpoints[endpoint];
    call->kept = LUA_NOREF;
    call->request_id = memory_string(request->request_id);
    *reply = (struct reply){0};
    struct step step = {.call = call, .request = request, .reply = reply};
    if (run_step(&step, "request", state->options.request_ms, run_request) && !step.answered)
        return call;
    rules_call_free(call);
    return NULL;
}

/* ---- params() ---- */

/* Values stand by position; `n` may say how many there are. Anything else would be passed over. */
static void check_positions(lua_State *L, const struct rules_call *call, int index, size_t n_types)
{
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        bool is_number = lua_type(L, -2) == LUA_TNUMBER;
        double place = is_number ? lua_tonumber(L, -2) : 0;
        bool is_n = lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "n") == 0;
        if (is_n || (place >= 1 && place <= (double)n_types && place == floor(place)))
            continue;
        lua_pushvalue(L, -2);
        luaL_error(L, "queries[%d].params: there is no $%s (types has %d)", (int)call->current + 1,
                   lua_isstring(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1), (int)n_types);
    }
}

static void take_values(lua_State *L, struct step *step, int index)
{
    struct rules_call *call = step->call;
    const struct query_def *query = &call->def->queries[call->current];
    const char **values = arena_alloc(&call->arena, (query->n_types + 1) * sizeof(*values));
    struct taker taker = {
        .L = L, .arena = &call->arena, .size_left = call->state->limits.memory_max};
    rules_unfreeze(L, index);
    check_positions(L, call, index, query->n_types);
    for (size_t i = 0; i < query->n_types; i++) {
        struct value value = {.is_null = true};
        struct error reason;
        lua_rawgeti(L, index, (int)i + 1);
        int at = lua_gettop(L);
        if (!lua_isnil(L, at) && !rules_is_null(L, at) &&
            !rules_take_value(&taker, at, query->types[i], &value, &reason))
            luaL_error(L, "queries[%d].params: value %d: %s", (int)call->current + 1, (int)i + 1,
                       reason.text);
        values[i] = rules_value_text(&call->arena, &value);
        lua_pop(L, 1);
    }
    step->query->query = query;
    step->query->values = values;
}

static void run_params(lua_State *L, void *arg)
{
    struct step *step = arg;
    struct rules_call *call = step->call;
    int params = call->runtime->params[call->current];
    if (params == LUA_NOREF) {
        step->query->query = &call->def->queries[call->current];
        step->query->values = NULL;
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, params);
    rules_call_push_kept(L, call, KEPT_REQUEST);
    rules_call_push_kept(L, call, KEPT_PARAMS);
    rules_call_push_kept(L, call, KEPT_RESULTS);
    lua_call(L, 3, 4);
    int first = lua_gettop(L) - 3;
    if (lua_istable(L, first))
        take_values(L, step, first);
    else if (lua_toboolean(L, first))
        luaL_error(L, "queries[%d].params returned a %s, expected a table of values, or nil",
                   (int)call->current + 1, luaL_typename(L, first));
    else if (lua_isnil(L, first + 1))
        step->skipped = true;
    else
        answer_error(L, first + 1, step);
}

enum call_step rules_call_next(struct rules_call *call, struct query_params *query,
                               struct reply *reply)
{
    *reply = (struct reply){0};
    struct step step = {.call = call, .query = query, .reply = reply};
    while (call->next < call->def->n_queries) {
        call->current = call->next++;
        arena_reset(&call->arena);
        if (!run_step(&step, "params", call->state->options.request_ms, run_params) ||
            step.answered)
            return CALL_ANSWERED;
        if (!step.skipped)
            return CALL_QUERY;
    }
    return CALL_REPLY;
}

/* ---- rows ---- */

static void take_result(lua_State *L, void *arg)
{
    struct step *step = arg;
    struct rules_call *call = step->call;
    const struct result *result = step->result;
    luaL_checkstack(L, (int)result->n_columns + 10, "too many columns");
    rules_call_push_kept(L, call, KEPT_RESULTS);
    int results = lua_gettop(L);
    for (size_t column = 0; column < result->n_columns; column++)
        lua_pushstring(L, result->columns[column].name);
    lua_createtable(L, (int)result->n_rows, 0);
    int rows = lua_gettop(L);
    for (size_t row = 0; row < result->n_rows; row++) {
        rules_limits_spend(L, 4 * result->n_columns);
        lua_createtable(L, 0, (int)result->n_columns);
        for (size_t column = 0; column < result->n_columns; column++) {
            struct bytes cell = result->cell(result, row, column);
            if (!cell.data)
                continue;
            lua_pushvalue(L, results + 1 + (int)column);
            rules_push_cell(L, result->columns[column].type, cell);
            lua_rawset(L, rows + 1);
        }
        lua_rawseti(L, rows, (int)row + 1);
    }
    lua_rawseti(L, results, (int)call->current + 1);
}

bool rules_call_result(struct rules_call *call, const struct result *result, struct reply *reply)
{
    *reply = (struct reply){0};
    struct step step = {.call = call, .result = result, .reply = reply};
    return run_step(&step, "result", call->state->options.request_ms, take_result);
}

/* ---- reply() ---- */

static void take_body(lua_State *L, struct step *step, int index)
{
    struct buffer *body = &step->reply->body;
    int status = check_status(L, index);
    buffer_clear(body);
    size_t size;
    const char *text;
    switch (lua_type(L, index + 1)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, index + 1, &size);
        buffer_append(body, text, size);
        break;
    case LUA_TTABLE:
        rules_json_encode(L, index + 1, body);
        break;
    case LUA_TNIL:
        if (status == 204 || status == 304)
            break;
        /* fall through */
    default:
        luaL_error(L, "reply returned a %s as body, expected a table or a string",
                   luaL_typename(L, index + 1));
    }
    step->reply->status = status;
}

static int check_again(lua_State *L, int index, const struct rules_call *call)
{
    double ms = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : 0;
    if (!(ms > 0 && ms <= INT_MAX))
        luaL_error(L, "again is followed by a %s, expected milliseconds above 0",
                   luaL_typename(L, index));
    if (call->is_final)
        luaL_error(L, "again was returned although req.final says that there is no more time");
    return (int)ceil(ms);
}

static bool is_again(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "again") == 0;
}

static void run_reply(lua_State *L, void *arg)
{
    struct step *step = arg;
    struct rules_call *call = step->call;
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->runtime->reply);
    rules_call_push_kept(L, call, KEPT_REQUEST);
    rules_call_push_kept(L, call, KEPT_PARAMS);
    rules_call_push_kept(L, call, KEPT_RESULTS);
    lua_call(L, 3, 4);
    int first = lua_gettop(L) - 3;
    if (!lua_isnil(L, first)) {
        take_body(L, step, first);
        if (!lua_isnil(L, first + 2)) {
            step->reply->lasting = step->reply->body.size - 1;
            rules_append_fields(L, first + 2, &step->reply->body);
        }
    } else if (is_again(L, first + 1)) {
        step->again_ms = check_again(L, first + 2, call);
    } else {
        answer_error(L, first + 1, step);
    }
}

int rules_call_reply(struct rules_call *call, struct reply *reply)
{
    *reply = (struct reply){0};
    struct step step = {.call = call, .reply = reply};
    run_step(&step, "reply", call->state->options.reply_ms, run_reply);
    return reply->failed ? 0 : step.again_ms;
}

static void run_again(lua_State *L, void *arg)
{
    const struct step *step = arg;
    struct rules_call *call = step->call;
    rules_call_push_kept(L, call, KEPT_REQUEST);
    lua_pushinteger(L, call->waited_ms);
    lua_setfield(L, -2, "waited_ms");
    lua_pushboolean(L, call->is_final);
    lua_setfield(L, -2, "final");
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->kept);
    lua_newtable(L);
    lua_rawseti(L, -2, KEPT_RESULTS);
}

bool rules_call_again(struct rules_call *call, int waited_ms, bool is_final, struct reply *reply)
{
    *reply = (struct reply){0};
    struct step step = {.call = call, .reply = reply};
    call->next = 0;
    call->waited_ms = waited_ms;
    call->is_final = is_final;
    return run_step(&step, "reply", call->state->options.request_ms, run_again);
}

void rules_call_free(struct rules_call *call)
{
    if (!call)
        return;
    /* Outside a call the allocator refuses nothing, so this cannot raise. */
    luaL_unref(call->state->L, LUA_REGISTRYINDEX, call->kept);
    arena_free(&call->arena);
    free(call->request_id);
    free(call);
}
