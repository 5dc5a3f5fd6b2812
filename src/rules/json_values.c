/* The values of JSON that Lua has no type for: null, numbers that keep their text, text that goes
 * in as it is, tables that are arrays even when empty. */
#include <lauxlib.h>

#include "model/value.h"
#include "rules/json.h"

/* Keys of the registry. */
#define NUMBER "rules.json.number" /* metatable of number objects */
#define RAW    "rules.json.raw"    /* metatable of JSON text that is encoded as it is */
#define ARRAY  "rules.json.array"  /* metatable of tables that are arrays even when empty */

/* ---- null and numbers ---- */

void rules_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL); /* as lua-cjson does */
}

bool rules_is_null(lua_State *L, int index)
{
    return lua_islightuserdata(L, index) && !lua_touserdata(L, index);
}

/* A userdata that keeps a text; `key` of its metatable says what it is the text of. */
static void push_text_object(lua_State *L, struct bytes text, const char *key)
{
    char *copy = lua_newuserdata(L, text.size + 1);
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    lua_setmetatable(L, -2);
}

static struct bytes object_text(lua_State *L, int index, const char *key)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return (struct bytes){0};
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    bool is_one = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (!is_one)
        return (struct bytes){0};
    return bytes_of(lua_touserdata(L, index), lua_objlen(L, index) - 1);
}

void rules_push_number_object(lua_State *L, struct bytes text)
{
    push_text_object(L, text, NUMBER);
}

void rules_push_raw_object(lua_State *L, struct bytes text)
{
    push_text_object(L, text, RAW);
}

struct bytes rules_number_text(lua_State *L, int index)
{
    return object_text(L, index, NUMBER);
}

struct bytes rules_raw_text(lua_State *L, int index)
{
    return object_text(L, index, RAW);
}

/* ---- numbers are ordered ---- */

static struct value numeric_of(lua_State *L, int index)
{
    struct bytes text = rules_number_text(L, index);
    return (struct value){.type = VALUE_NUMERIC, .is_null = !text.data, .text = text};
}

static int compare_numbers(lua_State *L)
{
    struct value left = numeric_of(L, 1), right = numeric_of(L, 2);
    if (left.is_null || right.is_null)
        luaL_error(L, "attempt to compare a number object with something else");
    return value_compare(&left, &right);
}

static int l_number_eq(lua_State *L)
{
    lua_pushboolean(L, compare_numbers(L) == 0);
    return 1;
}

static int l_number_lt(lua_State *L)
{
    lua_pushboolean(L, compare_numbers(L) < 0);
    return 1;
}

static int l_number_le(lua_State *L)
{
    lua_pushboolean(L, compare_numbers(L) <= 0);
    return 1;
}

static int l_number_tostring(lua_State *L)
{
    struct bytes text = rules_number_text(L, 1);
    lua_pushlstring(L, text.data ? text.data : "", text.size);
    return 1;
}

/* ---- arrays ---- */

bool rules_mark_array(lua_State *L, int index)
{
    lua_getfield(L, LUA_REGISTRYINDEX, ARRAY);
    if (!lua_getmetatable(L, index)) {
        lua_setmetatable(L, index);
        return true;
    }
    bool is_array = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_array;
}

bool rules_is_array(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_getfield(L, LUA_REGISTRYINDEX, ARRAY);
    bool is_array = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_array;
}

/* ---- the metatables ---- */

static int l_null_tostring(lua_State *L)
{
    lua_pushliteral(L, "null");
    return 1;
}

static void new_metatable(lua_State *L, const char *key, const luaL_Reg *methods)
{
    lua_newtable(L);
    for (; methods->name; methods++) {
        lua_pushcfunction(L, methods->func);
        lua_setfield(L, -2, methods->name);
    }
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    if (key)
        lua_setfield(L, LUA_REGISTRYINDEX, key);
}

void rules_json_values_open(lua_State *L)
{
    static const luaL_Reg number_methods[] = {{"__eq", l_number_eq},
                                              {"__lt", l_number_lt},
                                              {"__le", l_number_le},
                                              {"__tostring", l_number_tostring},
                                              {NULL, NULL}};
    static const luaL_Reg raw_methods[] = {{NULL, NULL}};
    static const luaL_Reg array_methods[] = {{NULL, NULL}};
    static const luaL_Reg null_methods[] = {{"__tostring", l_null_tostring}, {NULL, NULL}};
    new_metatable(L, NUMBER, number_methods);
    new_metatable(L, RAW, raw_methods);
    new_metatable(L, ARRAY, array_methods);
    rules_push_null(L);
    new_metatable(L, NULL, null_methods);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}
