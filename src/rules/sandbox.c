#include "rules/sandbox.h"

#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>

#include "base/memory.h"
#include "rules/api.h"
#include "rules/internal.h"
#include "rules/json.h"

/* Keys of the registry, which no script can reach. */
#define BASE      "rules.base"      /* the globals that all files share */
#define FROZEN    "rules.frozen"    /* read-only table -> table with its contents */
#define LOADED    "rules.loaded"    /* module name -> what it returned */
#define FILES     "rules.files"     /* table that a module returned -> its path */
#define UNFROZEN  "rules.unfrozen"  /* set of definitions */
#define PARAMETER "rules.parameter" /* debug.getinfo, for rules_parameter_count */

static const char *const globals_kept[] = {"assert", "error",    "getmetatable", "ipairs",
                                           "select", "rawequal", "setmetatable", "tonumber",
                                           "type",   "tostring", "unpack",       NULL};
static const luaL_Reg globals_own[] = {{"next", l_next},     {"pcall", l_pcall},
                                       {"xpcall", l_xpcall}, {"rawget", l_rawget},
                                       {"rawset", l_rawset}, {NULL, NULL}};
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

/* ---- frozen tables ---- */

static int l_read_only(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING)
        return luaL_error(L, "the table is read-only: field '%s'", lua_tostring(L, 2));
    return luaL_error(L, "the table is read-only");
}

/* Puts a metatable on the frozen table at `index`; its contents are the table on top, popped. */
static void protect(lua_State *L, int index, bool in_place)
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

static void move_contents(lua_State *L, int index)
{
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
        lua_pop(L, 1);
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
    protect(L, index, in_place);
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

void rules_freeze_modules(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LOADED);
    int loaded = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, loaded)) {
        if (lua_istable(L, -1))
            rules_freeze(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- files ---- */

static int l_global_assigned(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    return luaL_error(L, "global '%s' is assigned: write `local %s`", name, name);
}

static void push_environment(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_getfield(L, LUA_REGISTRYINDEX, BASE);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_global_assigned);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

static const char *read_once(lua_State *L, void *arg, size_t *size)
{
    (void)L;
    struct bytes *text = arg;
    const char *data = text->data;
    *size = text->size;
    *text = (struct bytes){0};
    return data;
}

void rules_run_file(lua_State *L, const char *path, struct bytes text)
{
    lua_pushfstring(L, "@%s", path);
    /* "t": a file that is bytecode is refused. */
    if (lua_loadx(L, read_once, &text, lua_tostring(L, -1), "t") != 0)
        lua_error(L);
    lua_remove(L, -2);
    push_environment(L);
    lua_setfenv(L, -2);
    lua_call(L, 0, 1);
}

static const struct rules_file *find_file(lua_State *L, const char *path)
{
    const struct rules_snapshot *snapshot = rules_state_of(L)->snapshot;
    for (size_t i = 0; snapshot && i < snapshot->n_files; i++)
        if (strcmp(snapshot->files[i].path, path) == 0)
            return &snapshot->files[i];
    return NULL;
}

static void remember_file(lua_State *L, const char *path)
{
    if (!lua_istable(L, -1))
        return;
    lua_getfield(L, LUA_REGISTRYINDEX, FILES);
    lua_pushvalue(L, -2);
    lua_pushstring(L, path);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static void load_module(lua_State *L, int loaded, const char *name)
{
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") !=
            strlen(name) ||
        strstr(name, "..") || name[0] == '.' || name[0] == '\0')
        luaL_error(L, "require '%s': not the name of a module (\"lib.numbers\")", name);
    if (!rules_state_of(L)->snapshot)
        luaL_error(L, "require '%s': modules are loaded when the file is loaded, not later", name);
    luaL_gsub(L, name, ".", "/");
    lua_pushliteral(L, ".lua");
    lua_concat(L, 2);
    const char *path = lua_tostring(L, -1);
    const struct rules_file *file = find_file(L, path);
    if (!file)
        luaL_error(L, "require '%s': there is no file %s", name, path);
    lua_pushboolean(L, false); /* being loaded */
    lua_setfield(L, loaded, name);
    rules_limits_enter(L);
    rules_run_file(L, path, bytes_of(file->data, file->size));
    rules_limits_leave(L);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, true);
    }
    remember_file(L, path);
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, loaded, name);
}

void rules_require(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LOADED);
    int loaded = lua_gettop(L);
    lua_getfield(L, loaded, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        load_module(L, loaded, name);
    } else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
        luaL_error(L, "require '%s': it is being loaded already, files require each other", name);
    }
    lua_remove(L, loaded);
}

static void new_registry_table(lua_State *L, const char *key)
{
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, key);
}

void rules_forget_modules(lua_State *L)
{
    new_registry_table(L, LOADED);
    new_registry_table(L, FILES);
    new_registry_table(L, UNFROZEN);
}

static int l_require(lua_State *L)
{
    rules_require(L, luaL_checkstring(L, 1));
    return 1;
}

const char *rules_file_of(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_getfield(L, LUA_REGISTRYINDEX, FILES);
    lua_insert(L, -2);
    lua_rawget(L, -2);
    const char *path = lua_tostring(L, -1);
    lua_pop(L, 2);
    return path;
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
    push_contents(L, lua_gettop(L));
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
    new_registry_table(L, FROZEN);
    rules_forget_modules(L);
    keep_getinfo(L);
    rules_json_open(L);

    lua_newtable(L);
    int base = lua_gettop(L);
    copy_fields(L, LUA_GLOBALSINDEX, globals_kept);
    set_functions(L, globals_own);
    set_wrapper(L, l_pairs, LUA_GLOBALSINDEX, "next", "pairs");
    lua_pushcfunction(L, l_require);
    lua_setfield(L, base, "require");
    lua_pushvalue(L, base);
    lua_setfield(L, LUA_REGISTRYINDEX, BASE);
    offer_strings(L, base);
    offer_rest(L, base);
    lua_newtable(L); /* _G: the shared globals, to be read */
    lua_pushvalue(L, base);
    protect(L, base + 1, false);
    lua_setfield(L, base, "_G");
    /* What was opened and not offered is unreachable from here on. */
    lua_newtable(L);
    lua_replace(L, LUA_GLOBALSINDEX);
    lua_settop(L, 0);
}
