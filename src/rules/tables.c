/* The part of the table library and of the basic functions that has to know frozen tables, and
 * loops of the library that a script could make long. */
#include <lauxlib.h>

#include "rules/internal.h"
#include "rules/sandbox.h"

int l_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    rules_unfreeze(L, 1);
    if (lua_next(L, 1))
        return 2;
    lua_pushnil(L);
    return 1;
}

/* Upvalue: the library's `next`, which the interpreter knows how to run fast. */
int l_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (rules_is_frozen(L, 1))
        lua_pushcfunction(L, l_next);
    else
        lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

int l_rawget(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    rules_unfreeze(L, 1);
    lua_rawget(L, 1);
    return 1;
}

static void check_writable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (rules_is_frozen(L, 1))
        luaL_error(L, "the table is read-only");
}

int l_rawset(lua_State *L)
{
    check_writable(L);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 1;
}

int l_insert(lua_State *L)
{
    check_writable(L);
    int size = (int)lua_objlen(L, 1);
    if (lua_gettop(L) == 2) {
        lua_rawseti(L, 1, size + 1);
        return 0;
    }
    if (lua_gettop(L) != 3)
        return luaL_error(L, "wrong number of arguments to 'insert'");
    int position = luaL_checkint(L, 2);
    if (position < 1 || position > size + 1)
        return luaL_argerror(L, 2, "position out of bounds");
    rules_limits_spend(L, (size_t)(size + 1 - position));
    for (int i = size; i >= position; i--) {
        lua_rawgeti(L, 1, i);
        lua_rawseti(L, 1, i + 1);
    }
    lua_rawseti(L, 1, position);
    return 0;
}

int l_remove(lua_State *L)
{
    check_writable(L);
    int size = (int)lua_objlen(L, 1);
    int position = luaL_optint(L, 2, size);
    if (position < 1 || position > size)
        return 0;
    rules_limits_spend(L, (size_t)(size - position));
    lua_rawgeti(L, 1, position);
    for (int i = position; i < size; i++) {
        lua_rawgeti(L, 1, i + 1);
        lua_rawseti(L, 1, i);
    }
    lua_pushnil(L);
    lua_rawseti(L, 1, size);
    return 1;
}

int l_concat(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t separator_size;
    const char *separator = luaL_optlstring(L, 2, "", &separator_size);
    int first = luaL_optint(L, 3, 1);
    int last = luaL_optint(L, 4, (int)lua_objlen(L, 1));
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (int64_t i = first; i <= last; i++) {
        lua_rawgeti(L, 1, (int)i);
        if (!lua_isstring(L, -1))
            return luaL_error(L, "concat: element %d is a %s", (int)i, luaL_typename(L, -1));
        rules_limits_spend(L, 4 + (lua_objlen(L, -1) + separator_size) / 64);
        luaL_addvalue(&out);
        if (i < last)
            luaL_addlstring(&out, separator, separator_size);
    }
    luaL_pushresult(&out);
    return 1;
}

/* ---- sort: a heap, so that no order function, however wrong, makes it long or deep ---- */

/* Is the value at `left` less than the one at `right`? Argument 2 is the order, if any. */
static bool is_less(lua_State *L, int left, int right)
{
    size_t steps = 4;
    if (lua_type(L, left) == LUA_TSTRING)
        steps += lua_objlen(L, left) / 64;
    rules_limits_spend(L, steps);
    rules_limits_enter(L);
    bool less;
    if (lua_isnil(L, 2)) {
        less = lua_lessthan(L, left, right);
    } else {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, left);
        lua_pushvalue(L, right);
        lua_call(L, 2, 1);
        less = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    rules_limits_leave(L);
    return less;
}

/* Lets the value on top sink from `place` into a heap of `size` elements; pops it. */
static void sift_down(lua_State *L, int place, int size)
{
    int value = lua_gettop(L);
    for (int child; (child = 2 * place) <= size; place = child) {
        lua_rawgeti(L, 1, child);
        if (child < size) {
            lua_rawgeti(L, 1, child + 1);
            if (is_less(L, value + 1, value + 2)) {
                child++;
                lua_remove(L, value + 1);
            } else {
                lua_pop(L, 1);
            }
        }
        if (!is_less(L, value, value + 1)) {
            lua_pop(L, 1);
            break;
        }
        lua_rawseti(L, 1, place);
    }
    lua_rawseti(L, 1, place);
}

int l_sort(lua_State *L)
{
    check_writable(L);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    int size = (int)lua_objlen(L, 1);
    for (int place = size / 2; place >= 1; place--) {
        lua_rawgeti(L, 1, place);
        sift_down(L, place, size);
    }
    for (int last = size; last > 1; last--) {
        lua_rawgeti(L, 1, last);
        lua_rawgeti(L, 1, 1);
        lua_rawseti(L, 1, last);
        sift_down(L, 1, last - 1);
    }
    return 0;
}
