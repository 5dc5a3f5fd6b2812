/* cs.json: what scripts call. */
#include "rules/json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "model/value.h"
#include "rules/internal.h"
#include "rules/sandbox.h"

#define EXACT_WHOLE_MAX 9007199254740992.0 /* 2^53 */

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
    rules_push_raw_object(L, text);
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
    if (!rules_is_frozen(L, 1) && !rules_mark_array(L, 1))
        return luaL_argerror(L, 1, "the table has a metatable already");
    return 1;
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
