#include "rules/sandbox.h"

#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>

#include "rules/api.h"
#include "rules/internal.h"
#include "rules/json.h"

/* Key of the registry: debug.getinfo, for rules_parameter_count. */
#define PARAMETER "rules.parameter"

static const char *const globals_kept[] = {"assert", "error",    "getmetatable", "ipairs",
                                           "select", "rawequal", "setmetatable", "tonumber",
                                           "type",   "tostring", "unpack",       NULL};
static const luaL_Reg globals_own[] = {
    {"next", l_next},     {"pcall", l_pcall},     {"xpcall", l_xpcall}, {"rawget", l_rawget},
    {"rawset", l_rawset}, {"require", l_require}, {NULL, NULL}};
static const char *const string_kept[] = {"byte",  "char",    "len", "lower",
                                          "upper", "reverse", "sub", NULL};
static const luaL_Reg string_own[] = {{"find", l_find}, {"match", l_match}, {"gmatch", l_gmatch},
                                      {"gsub", l_gsub}, {"rep", l_rep},     {NULL, NULL}};
static const luaL_Reg table_own[] = {{"insert", l_insert},
                                     {"remove", l_remove},
                                     {"concat", l_concat},
                                     {"sort", l_sort},
                                     {NULL, NULL}};
static const char *const os_kept[] = {"time", "difftime", "clock", NULL};

static void open_library(lua_State *L, lua_CFunction open, const char *name)
{
    lua_pushcfunction(L, open);
    lua_pushstring(L, name);
    lua_call(L, 1, 0);
}

/* Copies the named fields of the table at `from` into the one on top. */
static void copy_fields(lua_State *L, int from, const char *const *names)
{
    for (; *names; names++) {
        lua_getfield(L, from, *names);
        lua_setfield(L, -2, *names);
    }
}

static void set_functions(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        lua_pushcfunction(L, functions->func);
        lua_setfield(L, -2, functions->name);
    }
}

/* Adds a function to the table on top whose upvalue is the library function it stands for, at
 * `from`. */
static void set_wrapper(lua_State *L, lua_CFunction function, int from, const char *original,
                        const char *name)
{
    lua_getfield(L, from, original);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

int rules_parameter_count(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_getfield(L, LUA_REGISTRYINDEX, PARAMETER);
    lua_insert(L, -2);
    lua_pushliteral(L, "u");
    lua_call(L, 2, 1);
    lua_getfield(L, -1, "isvararg");
    lua_getfield(L, -2, "nparams");
    int count = lua_toboolean(L, -2) ? INT_MAX : (int)lua_tointeger(L, -1);
    lua_pop(L, 3);
    return count;
}

/* ---- globals ---- */

/* Adds the table on top to the shared globals, frozen, and pops it. */
static void offer_library(lua_State *L, int base, const char *name)
{
    rules_freeze(L, lua_gettop(L));
    lua_setfield(L, base, name);
}

static void offer_strings(lua_State *L, int base)
{
    lua_newtable(L);
    lua_getglobal(L, "string");
    lua_insert(L, -2);
    copy_fields(L, lua_gettop(L) - 1, string_kept);
    set_functions(L, string_own);
    set_wrapper(L, l_format, lua_gettop(L) - 1, "format", "format");
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    offer_library(L, base, "string");
    /* ("x"):rep() finds the same functions; nobody gets hold of this metatable. */
    lua_pushvalue(L, -1);
    rules_unfreeze(L, lua_gettop(L));
    lua_pushliteral(L, "");
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 3);
}

static void offer_rest(lua_State *L, int base)
{
    lua_newtable(L);
    set_functions(L, table_own);
    offer_library(L, base, "table");

    lua_getglobal(L, "os");
    lua_newtable(L);
    copy_fields(L, lua_gettop(L) - 1, os_kept);
    set_wrapper(L, l_date, lua_gettop(L) - 1, "date", "date");
    offer_library(L, base, "os");
    lua_pop(L, 1);

    lua_getglobal(L, "math");
    offer_library(L, base, "math");
    lua_getglobal(L, "bit");
    offer_library(L, base, "bit");

    rules_api_push(L);
    offer_library(L, base, "cs");
}

static void keep_getinfo(lua_State *L)
{
    lua_getglobal(L, "debug");
    lua_getfield(L, -1, "getinfo");
    lua_setfield(L, LUA_REGISTRYINDEX, PARAMETER);
    lua_pop(L, 1);
}

void rules_sandbox_open(lua_State *L)
{
    open_library(L, luaopen_base, "");
    open_library(L, luaopen_string, LUA_STRLIBNAME);
    open_library(L, luaopen_math, LUA_MATHLIBNAME);
    open_library(L, luaopen_bit, LUA_BITLIBNAME);
    open_library(L, luaopen_os, LUA_OSLIBNAME);
    open_library(L, luaopen_debug, LUA_DBLIBNAME);
    rules_freezer_open(L);
    keep_getinfo(L);
    rules_json_values_open(L);
    rules_decoder_open(L);

    lua_newtable(L);
    int base = lua_gettop(L);
    copy_fields(L, LUA_GLOBALSINDEX, globals_kept);
    set_functions(L, globals_own);
    set_wrapper(L, l_pairs, LUA_GLOBALSINDEX, "next", "pairs");
    lua_pushvalue(L, base);
    lua_setfield(L, LUA_REGISTRYINDEX, RULES_GLOBALS);
    offer_strings(L, base);
    offer_rest(L, base);
    lua_newtable(L); /* _G: the shared globals, to be read */
    lua_pushvalue(L, base);
    rules_protect(L, base + 1, false);
    lua_setfield(L, base, "_G");
    rules_modules_open(L);
    /* What was opened and not offered is unreachable from here on. */
    lua_newtable(L);
    lua_replace(L, LUA_GLOBALSINDEX);
    lua_settop(L, 0);
}
