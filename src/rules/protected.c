/* pcall and xpcall: a limit that was hit passes through them, and handlers run after unwinding,
 * where the hook that ends a call is on again. */
#include <lauxlib.h>

#include "rules/internal.h"
#include "rules/sandbox.h"

/* Calls what lies below its `n_arguments` arguments. Raises again what nothing may catch. */
static int call_protected(lua_State *L, int n_arguments)
{
    struct rules_state *state = rules_state_of(L);
    struct rules_limits *limits = &state->limits;
    int depth = limits->depth;
    const char *loading = state->loading;
    rules_limits_enter(L);
    int status = lua_pcall(L, n_arguments, LUA_MULTRET, 0);
    limits->depth = depth;
    if (status != 0 && rules_limits_breached(limits))
        lua_error(L);
    state->loading = loading;
    return status;
}

int l_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    int status = call_protected(L, lua_gettop(L) - 1);
    luaL_checkstack(L, 1, "too many results");
    lua_pushboolean(L, status == 0);
    lua_insert(L, 1);
    return lua_gettop(L);
}

int l_xpcall(lua_State *L)
{
    luaL_checkany(L, 2);
    lua_pushvalue(L, 2);
    lua_remove(L, 2);
    lua_insert(L, 1); /* handler, function, arguments... */
    int status = call_protected(L, lua_gettop(L) - 2);
    if (status != 0) {
        lua_pushvalue(L, 1);
        lua_insert(L, 2);
        lua_settop(L, 3);
        call_protected(L, 1);
    }
    luaL_checkstack(L, 1, "too many results");
    lua_pushboolean(L, status == 0);
    lua_replace(L, 1);
    return lua_gettop(L);
}
