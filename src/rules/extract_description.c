/* What an endpoint file says of itself, for people and for the description of the API. */
#include <stdlib.h>

#include "rules/extract.h"
#include "rules/json.h"

#define PARAMS_MAX    64
#define RESPONSES_MAX 16

/* The schema in the table at `index`, as JSON text; NULL: there is none. */
static const char *extract_schema(const struct shape *shape, int index, const char *where)
{
    struct buffer *out = &rules_state_of(shape->L)->scratch;
    if (!shape_optional_table(shape, index, "schema",
                              arena_printf(shape->arena, "%s.schema", where)))
        return NULL;
    buffer_clear(out);
    rules_json_encode(shape->L, lua_gettop(shape->L), out);
    lua_pop(shape->L, 1);
    return arena_copy(shape->arena, buffer_bytes(out)).data;
}

static const char *extract_text(const struct shape *shape, int index, const char *where)
{
    return shape_optional_string(shape, index, "description",
                                 arena_printf(shape->arena, "%s.description", where));
}

/* ---- parameters ---- */

static void extract_param(const struct shape *shape, int params, struct param_def *param)
{
    static const char *const known[] = {"required", "description", "schema", NULL};
    lua_State *L = shape->L;
    const char *where = arena_printf(shape->arena, "parameters.%s", param->name);
    shape_table(shape, params, param->name, where);
    int index = lua_gettop(L);
    shape_check_keys(shape, index, where, known);
    lua_getfield(L, index, "required");
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        shape_fail(shape, "%s.required: expected true or false", where);
    param->is_required = lua_toboolean(L, -1);
    param->description = extract_text(shape, index, where);
    param->schema = extract_schema(shape, index, where);
    if (!param->schema)
        shape_fail(shape, "%s.schema: expected a table, got nil", where);
    lua_settop(L, index - 1);
}

static void extract_params(const struct shape *shape, int index, struct endpoint_def *endpoint)
{
    if (!shape_optional_table(shape, index, "parameters", "parameters"))
        return;
    int params = lua_gettop(shape->L);
    const char **names = shape_names(shape, params, "parameters", &endpoint->n_params);
    if (endpoint->n_params > PARAMS_MAX)
        shape_fail(shape, "parameters: expected at most %d", PARAMS_MAX);
    endpoint->params =
        arena_alloc(shape->arena, (endpoint->n_params + 1) * sizeof *endpoint->params);
    for (size_t i = 0; i < endpoint->n_params; i++) {
        endpoint->params[i].name = names[i];
        extract_param(shape, params, &endpoint->params[i]);
    }
    lua_pop(shape->L, 1);
}

/* ---- responses ---- */

/* The key on top of the stack but one: a status, as a number or as its digits. */
static int status_here(const struct shape *shape)
{
    lua_Number status = lua_isnumber(shape->L, -2) ? lua_tonumber(shape->L, -2) : 0;
    if (status < 200 || status > 599 || status != (int)status)
        shape_fail(shape, "responses: expected statuses as keys, 200 to 599");
    return (int)status;
}

/* The table on top of the stack. */
static void extract_response(const struct shape *shape, struct response_def *response)
{
    static const char *const known[] = {"description", "schema", NULL};
    const char *where = arena_printf(shape->arena, "responses[%d]", response->status);
    shape_expect_table(shape, -1, where);
    int index = lua_gettop(shape->L);
    shape_check_keys(shape, index, where, known);
    response->description = extract_text(shape, index, where);
    response->schema = extract_schema(shape, index, where);
}

static int by_status(const void *left, const void *right)
{
    return ((const struct response_def *)left)->status -
           ((const struct response_def *)right)->status;
}

static void extract_responses(const struct shape *shape, int index, struct endpoint_def *endpoint)
{
    lua_State *L = shape->L;
    if (!shape_optional_table(shape, index, "responses", "responses"))
        return;
    int table = lua_gettop(L);
    endpoint->responses = arena_alloc(shape->arena, RESPONSES_MAX * sizeof *endpoint->responses);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (endpoint->n_responses == RESPONSES_MAX)
            shape_fail(shape, "responses: expected at most %d", RESPONSES_MAX);
        struct response_def *response = &endpoint->responses[endpoint->n_responses++];
        response->status = status_here(shape);
        extract_response(shape, response);
    }
    qsort(endpoint->responses, endpoint->n_responses, sizeof *endpoint->responses, by_status);
    for (size_t i = 1; i < endpoint->n_responses; i++) {
        if (endpoint->responses[i - 1].status == endpoint->responses[i].status)
            shape_fail(shape, "responses: %d is given twice", endpoint->responses[i].status);
    }
    lua_pop(L, 1);
}

void rules_extract_description(const struct shape *shape, int index, struct endpoint_def *endpoint)
{
    endpoint->summary = shape_optional_string(shape, index, "summary", "summary");
    extract_params(shape, index, endpoint);
    extract_responses(shape, index, endpoint);
}
