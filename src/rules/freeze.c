/* Tables that cannot be written. */
#include <lauxlib.h>

#include "rules/internal.h"
#include "rules/sandbox.h"

/* Keys of the registry. */
#define FROZEN   "rules.frozen"   /* read-only table -> table with its contents */
#define UNFROZEN "rules.unfrozen" /* set of definitions */

static int l_read_only(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING)
        return luaL_error(L, "the table is read-only: field '%s'", lua_tostring(L, 2));
    return luaL_error(L, "the table is read-only");
}

/* Puts a metatable on the frozen table at `index`; its contents are the table on top, popped. */
void rules_protect(lua_State *L, int index, bool in_place)
{
    lua_getfield(L, LUA_REGISTRYINDEX, FROZEN);
    lua_pushvalue(L, index);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    lua_createtable(L, 0, 3);
    if (!in_place) {
        lua_pushvalue(L, -2);
        lua_setfield(L, -2, "__index");
    }
    lua_pushcfunction(L, l_read_only);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, index);
    lua_pop(L, 1);
}

/* Where the interpreter looks for metamethods it asks no metatable. */
static bool is_metamethod(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING && strncmp(lua_tostring(L, index), "__", 2) == 0;
}

static void move_contents(lua_State *L, int index)
{
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
        lua_pop(L, 1);
        if (is_metamethod(L, -1))
            continue;
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, index);
    }
}

static bool is_definition(lua_State *L, int index)
{
    lua_getfield(L, LUA_REGISTRYINDEX, UNFROZEN);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    bool is = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return is;
}

void rules_freeze(lua_State *L, int index)
{
    if (lua_getmetatable(L, index)) {
        lua_pop(L, 1);
        return;
    }
    if (is_definition(L, index))
        return;
    luaL_checkstack(L, 12, "tables are nested too deep");
    rules_limits_enter(L);
    bool in_place = lua_objlen(L, index) > 0;
    if (in_place)
        lua_pushvalue(L, index);
    else
        move_contents(L, index);
    int contents = lua_gettop(L);
    lua_pushvalue(L, contents);
    rules_protect(L, index, in_place);
    lua_pushnil(L);
    while (lua_next(L, contents)) {
        if (lua_istable(L, -1))
            rules_freeze(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    rules_limits_leave(L);
}

static bool push_contents(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, FROZEN);
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (lua_istable(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

void rules_unfreeze(lua_State *L, int index)
{
    if (lua_istable(L, index) && push_contents(L, index))
        lua_replace(L, index);
}

bool rules_is_frozen(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !push_contents(L, index))
        return false;
    lua_pop(L, 1);
    return true;
}

void rules_keep_unfrozen(lua_State *L, int index)
{
    lua_getfield(L, LUA_REGISTRYINDEX, UNFROZEN);
    lua_pushvalue(L, index);
    lua_pushboolean(L, true);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

void rules_freezer_open(lua_State *L)
{
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, FROZEN);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, UNFROZEN);
}
