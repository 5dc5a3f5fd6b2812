#include "rules/extract.h"

#include <lauxlib.h>

#include "rules/sandbox.h"

/* Which file it was cannot be told from what it returned, but few return no table. */
static void refuse_element(const struct shape *init, int index, const char *key, size_t number)
{
    struct buffer *files = &rules_state_of(init->L)->scratch;
    const char *found = luaL_typename(init->L, index);
    buffer_clear(files);
    rules_append_tableless(init->L, files);
    if (files->size == 0)
        shape_fail(init, "%s[%zu]: expected the table that a file returns, got %s", key, number,
                   found);
    shape_fail(init,
               "%s[%zu]: expected the table that a file returns, got %s (no table comes "
               "from %s)",
               key, number, found, files->data);
}

/* Calls `extract` for each element of the list that init.lua returned under `key`. The element's
 * index and number are its arguments. */
static size_t each_file(const struct shape *init, int index, const char *key,
                        void (*extract)(const struct shape *shape, int index, size_t i, void *arg),
                        void *arg)
{
    lua_State *L = init->L;
    if (!shape_optional_table(init, index, key, key))
        return 0;
    int list = lua_gettop(L);
    size_t size = shape_array_size(init, list, key);
    for (size_t i = 0; i < size; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        if (!lua_istable(L, -1))
            refuse_element(init, lua_gettop(L), key, i + 1);
        int element = lua_gettop(L);
        const char *file = rules_file_of(L, element);
        const struct shape shape = {L, init->arena, file ? file : init->file};
        rules_keep_unfrozen(L, element);
        extract(&shape, element, i, arg);
        lua_settop(L, list);
    }
    lua_pop(L, 1);
    return size;
}

static void extract_stream(const struct shape *shape, int index, size_t i, void *arg)
{
    struct rules_state *state = arg;
    struct stream_def *streams = state->def.streams;
    rules_extract_stream(shape, index, &streams[i], &state->streams[i]);
    for (size_t other = 0; other < i; other++)
        if (strcmp(streams[other].name, streams[i].name) == 0)
            shape_fail(shape, "name: \"%s\" is the name of %s already", streams[i].name,
                       streams[other].file);
}

static void check_route(const struct shape *shape, const struct endpoint_def *endpoint,
                        const struct endpoint_def *other)
{
    if (strcmp(endpoint->method, other->method) != 0)
        return;
    for (size_t i = 0; i < endpoint->n_paths; i++)
        for (size_t k = 0; k < other->n_paths; k++)
            if (rules_same_path(endpoint->paths[i], other->paths[k]))
                shape_fail(shape, "paths: %s %s is answered by %s already", endpoint->method,
                           endpoint->paths[i], other->file);
}

static void extract_endpoint(const struct shape *shape, int index, size_t i, void *arg)
{
    struct rules_state *state = arg;
    struct endpoint_def *endpoints = state->def.endpoints;
    rules_extract_endpoint(shape, index, &endpoints[i], &state->endpoints[i]);
    for (size_t other = 0; other < i; other++)
        check_route(shape, &endpoints[i], &endpoints[other]);
}

static size_t list_size(const struct shape *init, int index, const char *key)
{
    size_t size = 0;
    if (shape_optional_table(init, index, key, key)) {
        size = lua_objlen(init->L, -1);
        lua_pop(init->L, 1);
    }
    return size;
}

static void *alloc_zero(struct arena *arena, size_t count, size_t size)
{
    void *block = arena_alloc(arena, count * size + 1);
    memset(block, 0, count * size);
    return block;
}

void rules_extract(lua_State *L, struct rules_state *state)
{
    static const char *const known[] = {"streams", "endpoints", NULL};
    const struct shape init = {L, &state->memory, "init.lua"};
    rules_modules_open(L);
    rules_require(L, "init");
    int index = lua_gettop(L);
    if (!lua_istable(L, index))
        shape_fail(&init, "expected it to return { streams = {...}, endpoints = {...} }, got %s",
                   luaL_typename(L, index));
    shape_check_keys(&init, index, "", known);
    struct rules_def *def = &state->def;
    def->n_streams = 0;
    def->n_endpoints = 0;
    size_t n_streams = list_size(&init, index, "streams");
    size_t n_endpoints = list_size(&init, index, "endpoints");
    def->streams = alloc_zero(&state->memory, n_streams, sizeof(*def->streams));
    state->streams = alloc_zero(&state->memory, n_streams, sizeof(*state->streams));
    def->endpoints = alloc_zero(&state->memory, n_endpoints, sizeof(*def->endpoints));
    state->endpoints = alloc_zero(&state->memory, n_endpoints, sizeof(*state->endpoints));
    def->n_streams = each_file(&init, index, "streams", extract_stream, state);
    def->n_endpoints = each_file(&init, index, "endpoints", extract_endpoint, state);
    lua_settop(L, index - 1);
}
