/* `require`: files of the snapshot, each with an environment of its own.
 *
 * Each file that init.lua names, with all that it requires, is a realm: it has its own copy of
 * every library, so that whatever it does to one (a list's elements, a local of it, a table with a
 * metatable cannot be frozen) no other stream or endpoint ever sees. */
#include <lauxlib.h>

#include "rules/internal.h"
#include "rules/sandbox.h"

/* Keys of the registry. */
#define REALMS "rules.realms" /* a list of them; the first is that of init.lua */
#define FILES  "rules.files"  /* table that a module returned -> its path */

/* A realm is a table: module name -> what it returned, false while it runs; and here its globals,
 * the shared ones with a `require` of its own. */
#define GLOBALS_OF_REALM 1

static int l_global_assigned(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    return luaL_error(L, "global '%s' is assigned: write `local %s`", name, name);
}

/* Pushes the environment of a file; `globals` is where the table of its globals stands. */
static void push_environment(lua_State *L, int globals)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, globals);
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

/* Pushes the chunk of a file, with an environment of its own over the globals at `globals`. */
static void compile_file(lua_State *L, const char *path, struct bytes text, int globals)
{
    lua_pushfstring(L, "@%s", path);
    /* "t": a file that is bytecode is refused. */
    if (lua_loadx(L, read_once, &text, lua_tostring(L, -1), "t") != 0)
        lua_error(L);
    lua_remove(L, -2);
    push_environment(L, globals);
    lua_setfenv(L, -2);
}

void rules_run_file(lua_State *L, const char *path, struct bytes text)
{
    lua_getfield(L, LUA_REGISTRYINDEX, RULES_GLOBALS);
    compile_file(L, path, text, lua_gettop(L));
    lua_remove(L, -2);
    lua_call(L, 0, 1);
}

/* ---- realms ---- */

/* Pushes a new realm. */
static void new_realm(lua_State *L)
{
    lua_newtable(L);
    int realm = lua_gettop(L);
    lua_newtable(L);
    lua_getfield(L, LUA_REGISTRYINDEX, RULES_GLOBALS);
    for (lua_pushnil(L); lua_next(L, realm + 2);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, realm + 1);
    }
    lua_pop(L, 1);
    lua_pushvalue(L, realm);
    lua_pushcclosure(L, l_require, 1);
    lua_setfield(L, realm + 1, "require");
    lua_rawseti(L, realm, GLOBALS_OF_REALM);
    lua_getfield(L, LUA_REGISTRYINDEX, REALMS);
    lua_pushvalue(L, realm);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_pop(L, 1);
}

static void push_first_realm(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, REALMS);
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
}

/* Pushes the realm that a module belongs to when a file of `realm` requires it first: what init.lua
 * names begins one, in which init.lua is being loaded. */
static void push_realm_of(lua_State *L, int realm, const char *name)
{
    push_first_realm(L);
    bool begins = lua_rawequal(L, -1, realm) && strcmp(name, "init") != 0;
    lua_pop(L, 1);
    if (!begins) {
        lua_pushvalue(L, realm);
        return;
    }
    new_realm(L);
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "init");
}

/* ---- require ---- */

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

/* What `name` stands for in both realms from now on: the value on top, which stays. */
static void set_module(lua_State *L, int realm, int own, const char *name)
{
    lua_pushvalue(L, -1);
    lua_setfield(L, realm, name);
    lua_pushvalue(L, -1);
    lua_setfield(L, own, name);
}

/* Runs the file and puts what it returned on the stack; while it runs, false stands for "being
 * loaded". After an error state->loading still names the file. */
static void run_module(lua_State *L, int realm, const char *name, const struct rules_file *file)
{
    struct rules_state *state = rules_state_of(L);
    const char *outer = state->loading;
    state->loading = file->path;
    push_realm_of(L, realm, name);
    int own = lua_gettop(L);
    lua_rawgeti(L, own, GLOBALS_OF_REALM);
    compile_file(L, file->path, bytes_of(file->data, file->size), own + 1);
    lua_pushboolean(L, false);
    set_module(L, realm, own, name);
    lua_pop(L, 1);
    rules_limits_enter(L);
    if (lua_pcall(L, 0, 1, 0) != 0) {
        lua_pushnil(L);
        set_module(L, realm, own, name);
        lua_pop(L, 1);
        lua_error(L);
    }
    rules_limits_leave(L);
    state->loading = outer;
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, true);
    }
    set_module(L, realm, own, name);
    remember_file(L, file->path);
    lua_replace(L, own);
    lua_settop(L, own);
}

/* Leaves the module on the stack. */
static void load_module(lua_State *L, int realm, const char *name)
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
    lua_pop(L, 1);
    run_module(L, realm, name, file);
}

/* Leaves the module on the stack. */
static void require_in(lua_State *L, int realm, const char *name)
{
    luaL_checkstack(L, 20, "files require each other too deep");
    lua_getfield(L, realm, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        load_module(L, realm, name);
    } else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
        luaL_error(L, "require '%s': it is being loaded already, files require each other", name);
    }
}

void rules_require(lua_State *L, const char *name)
{
    push_first_realm(L);
    require_in(L, lua_gettop(L), name);
    lua_remove(L, -2);
}

/* Upvalue: the realm. The shared globals have one without, which is that of init.lua. */
int l_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (lua_istable(L, lua_upvalueindex(1)))
        lua_pushvalue(L, lua_upvalueindex(1));
    else
        push_first_realm(L);
    require_in(L, lua_gettop(L), name);
    return 1;
}

void rules_modules_open(lua_State *L)
{
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, FILES);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, REALMS);
    new_realm(L);
    lua_pop(L, 1);
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

static bool is_tableless(lua_State *L, int name, int value)
{
    return !lua_istable(L, value) && strcmp(lua_tostring(L, name), "init") != 0;
}

void rules_append_tableless(lua_State *L, struct buffer *out)
{
    push_first_realm(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (!is_tableless(L, -2, -1))
            continue;
        const char *path = luaL_gsub(L, lua_tostring(L, -2), ".", "/");
        buffer_printf(out, "%s%s.lua", out->size ? ", " : "", path);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void freeze_realm(lua_State *L, int realm)
{
    for (lua_pushnil(L); lua_next(L, realm); lua_pop(L, 1))
        if (lua_istable(L, -1) && lua_type(L, -2) == LUA_TSTRING)
            rules_freeze(L, lua_gettop(L));
}

void rules_freeze_modules(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, REALMS);
    int realms = lua_gettop(L);
    for (size_t i = lua_objlen(L, realms); i > 0; i--) {
        lua_rawgeti(L, realms, (int)i);
        freeze_realm(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
