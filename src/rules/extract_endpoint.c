/* Endpoint files: route, statements, functions. */
#include <ctype.h>
#include <lauxlib.h>

#include "rules/extract.h"
#include "rules/json.h"

#define QUERIES_MAX 16
#define TYPES_MAX   64

static void *alloc_array(const struct shape *shape, size_t count, size_t size)
{
    void *block = arena_alloc(shape->arena, count * size + 1);
    memset(block, 0, count * size);
    return block;
}

static const char *extract_method(const struct shape *shape, int index)
{
    const char *method = shape_optional_string(shape, index, "method", "method");
    static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    for (size_t i = 0; method && i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(method, known[i]) == 0)
            return method;
    shape_fail(shape, "method: expected GET, POST, PUT, PATCH or DELETE, got %.60s",
               method ? method : "nil");
}

/* "/api/v1/insights/:symbol": segments are :name or plain text. */
static bool is_path(const char *path)
{
    if (*path != '/')
        return false;
    for (const char *at = path; *at; at++) {
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || strchr("?#%", *at))
            return false;
        if (*at == ':' && (at[-1] != '/' || !(isalnum((unsigned char)at[1]) || at[1] == '_')))
            return false;
    }
    return true;
}

/* What the router takes: not too many parts, and no parameter twice. */
static void check_parts(const struct shape *shape, const char *path, size_t number)
{
    size_t n_parts = 0;
    for (const char *at = path; at; at = strchr(at + 1, '/')) {
        size_t size = strcspn(at + 1, "/");
        for (const char *other = strchr(at + 1, '/'); other && at[1] == ':';
             other = strchr(other + 1, '/'))
            if (strcspn(other + 1, "/") == size && strncmp(at, other, size + 1) == 0)
                shape_fail(shape, "paths[%zu]: %.*s is named twice", number, (int)size, at + 1);
        n_parts++;
    }
    if (n_parts > ENDPOINT_PARTS_MAX)
        shape_fail(shape, "paths[%zu]: expected at most %d parts", number, ENDPOINT_PARTS_MAX);
}

bool rules_same_path(const char *a, const char *b)
{
    while (*a == '/' && *b == '/') {
        size_t a_size = strcspn(++a, "/"), b_size = strcspn(++b, "/");
        bool both_are_params = *a == ':' && *b == ':';
        if (!both_are_params && (a_size != b_size || strncmp(a, b, a_size) != 0))
            return false;
        a += a_size;
        b += b_size;
    }
    return (!*a || strcmp(a, "/") == 0) && (!*b || strcmp(b, "/") == 0);
}

/* Nobody else answers the path: neither this file by another nor the service itself. */
static void check_free(const struct shape *shape, const struct endpoint_def *endpoint,
                       size_t number)
{
    const char *const *taken = rules_state_of(shape->L)->options.taken_paths;
    const char *path = endpoint->paths[number];
    for (; taken && *taken; taken++)
        if (rules_same_path(path, *taken))
            shape_fail(shape, "paths[%zu]: %s is answered by the service itself", number + 1, path);
    for (size_t i = 0; i < number; i++)
        if (rules_same_path(path, endpoint->paths[i]))
            shape_fail(shape, "paths[%zu]: %s is paths[%zu] again", number + 1, path, i + 1);
}

static void extract_paths(const struct shape *shape, int index, struct endpoint_def *endpoint)
{
    lua_State *L = shape->L;
    shape_table(shape, index, "paths", "paths");
    int paths = lua_gettop(L);
    endpoint->n_paths = shape_array_size(shape, paths, "paths");
    if (endpoint->n_paths == 0)
        shape_fail(shape, "paths: expected at least one");
    endpoint->paths = alloc_array(shape, endpoint->n_paths, sizeof(*endpoint->paths));
    for (size_t i = 0; i < endpoint->n_paths; i++) {
        lua_rawgeti(L, paths, (int)i + 1);
        endpoint->paths[i] = shape_string_here(shape, lua_gettop(L), "paths");
        if (!is_path(endpoint->paths[i]))
            shape_fail(shape, "paths[%zu]: expected something like \"/api/v1/things/:name\"",
                       i + 1);
        check_parts(shape, endpoint->paths[i], i + 1);
        check_free(shape, endpoint, i);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void extract_types(const struct shape *shape, int index, const char *where,
                          struct query_def *query)
{
    lua_State *L = shape->L;
    where = arena_printf(shape->arena, "%s.types", where);
    if (!shape_optional_table(shape, index, "types", where))
        return;
    int list = lua_gettop(L);
    query->n_types = shape_array_size(shape, list, where);
    if (query->n_types > TYPES_MAX)
        shape_fail(shape, "%s: expected at most %d", where, TYPES_MAX);
    enum value_type *types = alloc_array(shape, query->n_types, sizeof(*types));
    for (size_t i = 0; i < query->n_types; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        const char *name = shape_string_here(shape, lua_gettop(L), where);
        if (!value_type_from_column_name(bytes_of_string(name), &types[i]))
            shape_fail(shape,
                       "%s[%zu]: \"%.60s\" is no type, known are text, int8, float8, numeric, "
                       "bool, timestamptz, json",
                       where, i + 1, name);
        lua_pop(L, 1);
    }
    query->types = types;
    lua_pop(L, 1);
}

static void extract_query(const struct shape *shape, int index, const char *where,
                          struct query_def *query, int *params)
{
    static const char *const known[] = {"sql", "types", "params", NULL};
    shape_expect_table(shape, index, where);
    shape_check_keys(shape, index, where, known);
    query->sql = shape_string(shape, index, "sql", arena_printf(shape->arena, "%s.sql", where));
    extract_types(shape, index, where, query);
    const char *params_where = arena_printf(shape->arena, "%s.params", where);
    *params = shape_optional_function(shape, index, "params", params_where);
    if (*params == LUA_NOREF && query->n_types > 0)
        shape_fail(shape, "%s: expected a function, got nil (types says there are %zu values)",
                   params_where, query->n_types);
}

static void extract_queries(const struct shape *shape, int index, struct endpoint_def *endpoint,
                            struct rules_endpoint *runtime)
{
    lua_State *L = shape->L;
    if (!shape_optional_table(shape, index, "queries", "queries"))
        return;
    int queries = lua_gettop(L);
    endpoint->n_queries = shape_array_size(shape, queries, "queries");
    if (endpoint->n_queries > QUERIES_MAX)
        shape_fail(shape, "queries: expected at most %d", QUERIES_MAX);
    endpoint->queries = alloc_array(shape, endpoint->n_queries, sizeof(*endpoint->queries));
    runtime->params = alloc_array(shape, endpoint->n_queries, sizeof(*runtime->params));
    for (size_t i = 0; i < endpoint->n_queries; i++) {
        lua_rawgeti(L, queries, (int)i + 1);
        extract_query(shape, lua_gettop(L), arena_printf(shape->arena, "queries[%zu]", i + 1),
                      &endpoint->queries[i], &runtime->params[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void rules_extract_endpoint(const struct shape *shape, int index, struct endpoint_def *endpoint,
                            struct rules_endpoint *runtime)
{
    static const char *const known[] = {"method",    "paths",    "request", "queries",
                                        "reply",     "name",     "summary", "parameters",
                                        "responses", "examples", NULL};
    lua_State *L = shape->L;
    luaL_checkstack(L, 20, "endpoint");
    shape_check_keys(shape, index, "", known);
    endpoint->file = arena_printf(shape->arena, "%s", shape->file);
    endpoint->name = shape_name(shape, index, "name");
    rules_extract_description(shape, index, endpoint);
    endpoint->method = extract_method(shape, index);
    extract_paths(shape, index, endpoint);
    extract_queries(shape, index, endpoint, runtime);
    runtime->component = endpoint->name ? endpoint->name : endpoint->file;
    runtime->request = shape_optional_function(shape, index, "request", "request");
    runtime->reply = shape_function(shape, index, "reply", "reply");
    runtime->examples = LUA_NOREF;
    if (shape_optional_table(shape, index, "examples", "examples")) {
        shape_array_size(shape, lua_gettop(L), "examples");
        runtime->examples = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}
