#include "rules/json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "model/value.h"
#include "rules/internal.h"
#include "rules/sandbox.h"

/* Keys of the registry. */
#define NUMBER "rules.json.number" /* metatable of number objects */
#define RAW    "rules.json.raw"    /* metatable of JSON text that is encoded as it is */
#define ARRAY  "rules.json.array"  /* metatable of tables that are arrays even when empty */

#define EXACT_WHOLE_MAX 9007199254740992.0 /* 2^53 */

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

struct bytes rules_number_text(lua_State *L, int index)
{
    return object_text(L, index, NUMBER);
}

struct bytes rules_raw_text(lua_State *L, int index)
{
    return object_text(L, index, RAW);
}

/* cs.json.raw(text): JSON that goes into other JSON as it is. */
static int l_raw(lua_State *L)
{
    struct error err;
    struct bytes text;
    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "json: expected JSON text, got a %s", luaL_typename(L, 1));
    text.data = lua_tolstring(L, 1, &text.size);
    if (!rules_json_check(L, text, &err))
        return luaL_error(L, "json: %s", err.text);
    push_text_object(L, text, RAW);
    return 1;
}

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

/* cs.json.number(x): a plain number where that loses nothing. */
static int l_number(lua_State *L)
{
    struct bytes text = rules_number_text(L, 1);
    if (lua_type(L, 1) == LUA_TNUMBER || text.data) {
        lua_settop(L, 1);
        return 1;
    }
    text.data = luaL_checklstring(L, 1, &text.size);
    if (!value_is_numeric(text))
        return luaL_argerror(L, 1, "a decimal number expected");
    struct buffer *shortest = &rules_state_of(L)->scratch;
    double number = strtod(text.data, NULL);
    size_t before = shortest->size;
    buffer_append_double(shortest, number);
    bool exact = (number == floor(number) && fabs(number) < EXACT_WHOLE_MAX &&
                  !memchr(text.data, '.', text.size) && !memchr(text.data, 'e', text.size)) ||
                 bytes_equal(text, bytes_of(shortest->data + before, shortest->size - before));
    shortest->size = before;
    if (exact)
        lua_pushnumber(L, number);
    else
        rules_push_number_object(L, text);
    return 1;
}

static int l_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (rules_is_frozen(L, 1))
        return 1;
    lua_getfield(L, LUA_REGISTRYINDEX, ARRAY);
    if (lua_getmetatable(L, 1)) {
        if (!lua_rawequal(L, -1, -2))
            return luaL_argerror(L, 1, "the table has a metatable already");
        lua_settop(L, 1);
        return 1;
    }
    lua_setmetatable(L, 1);
    return 1;
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

/* ---- cs.json ---- */

/* cs.json.decode(text): the value, or nil and what is wrong: all that a message is refused for. */
static int l_decode(lua_State *L)
{
    struct error err;
    struct bytes text;
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 1);
    text.data = lua_tolstring(L, 1, &text.size);
    if (!rules_json_check(L, text, &err)) {
        lua_pushnil(L);
        lua_pushstring(L, err.text);
        return 2;
    }
    if (rules_call_decoder(L) == 0)
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* cs.json.encode(value) */
static int l_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct buffer *out = &rules_state_of(L)->scratch;
    buffer_clear(out);
    rules_json_encode(L, 1, out);
    lua_pushlstring(L, out->data, out->size);
    buffer_clear(out);
    return 1;
}

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

void rules_json_open(lua_State *L)
{
    static const luaL_Reg number_methods[] = {{"__eq", l_number_eq},
                                              {"__lt", l_number_lt},
                                              {"__le", l_number_le},
                                              {"__tostring", l_number_tostring},
                                              {NULL, NULL}};
    static const luaL_Reg raw_methods[] = {{NULL, NULL}};
    static const luaL_Reg array_methods[] = {{NULL, NULL}};
    static const luaL_Reg null_methods[] = {{"__tostring", l_null_tostring}, {NULL, NULL}};
    rules_decoder_open(L);
    new_metatable(L, NUMBER, number_methods);
    new_metatable(L, RAW, raw_methods);
    new_metatable(L, ARRAY, array_methods);
    rules_push_null(L);
    new_metatable(L, NULL, null_methods);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

void rules_json_push_api(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", l_encode}, {"decode", l_decode},
                                         {"array", l_array},   {"number", l_number},
                                         {"raw", l_raw},       {NULL, NULL}};
    lua_newtable(L);
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushcfunction(L, function->func);
        lua_setfield(L, -2, function->name);
    }
}
