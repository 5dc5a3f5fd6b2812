/* `require`: files of the snapshot, each with an environment of its own. */
#include <lauxlib.h>

#include "rules/internal.h"
#include "rules/sandbox.h"

/* Keys of the registry. */
#define LOADED "rules.loaded" /* module name -> what it returned */
#define FILES  "rules.files"  /* table that a module returned -> its path */

static int l_global_assigned(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    return luaL_error(L, "global '%s' is assigned: write `local %s`", name, name);
}

static void push_environment(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_getfield(L, LUA_REGISTRYINDEX, RULES_GLOBALS);
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

/* Pushes the chunk of a file, with an environment of its own. */
static void compile_file(lua_State *L, const char *path, struct bytes text)
{
    lua_pushfstring(L, "@%s", path);
    /* "t": a file that is bytecode is refused. */
    if (lua_loadx(L, read_once, &text, lua_tostring(L, -1), "t") != 0)
        lua_error(L);
    lua_remove(L, -2);
    push_environment(L);
    lua_setfenv(L, -2);
}

void rules_run_file(lua_State *L, const char *path, struct bytes text)
{
    compile_file(L, path, text);
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

static bool is_module_name(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return *name && *name != '.' && !strstr(name, "..") && strspn(name, letters) == strlen(name);
}

/* Runs the chunk on top. While it runs its name stands for "being loaded". */
static void run_module(lua_State *L, int loaded, const char *name)
{
    lua_pushboolean(L, false);
    lua_setfield(L, loaded, name);
    rules_limits_enter(L);
    if (lua_pcall(L, 0, 1, 0) != 0) {
        lua_pushnil(L);
        lua_setfield(L, loaded, name);
        lua_error(L);
    }
    rules_limits_leave(L);
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, true);
    }
}

static void load_module(lua_State *L, int loaded, const char *name)
{
    if (!is_module_name(name))
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
    compile_file(L, path, bytes_of(file->data, file->size));
    run_module(L, loaded, name);
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

void rules_modules_open(lua_State *L)
{
    new_registry_table(L, LOADED);
    new_registry_table(L, FILES);
}

int l_require(lua_State *L)
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
