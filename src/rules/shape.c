#include "rules/shape.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/utf8.h"
#include "rules/sandbox.h"

void shape_fail(const struct shape *shape, const char *format, ...)
{
    char text[sizeof(((struct error *)0)->text)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    lua_pushfstring(shape->L, "%s: %s", shape->file, text);
    lua_error(shape->L);
    abort(); /* lua_error does not return */
}

static const char *dot(const char *where)
{
    return *where ? ": " : "";
}

static const char *type_at(const struct shape *shape, int index)
{
    return luaL_typename(shape->L, index);
}

void shape_expect_table(const struct shape *shape, int index, const char *where)
{
    if (!lua_istable(shape->L, index))
        shape_fail(shape, "%s%sexpected a table, got %s", where, dot(where), type_at(shape, index));
    rules_unfreeze(shape->L, index < 0 ? lua_gettop(shape->L) + index + 1 : index);
}

static const char *join_names(const struct shape *shape, const char *const *names)
{
    const char *list = "";
    for (; *names; names++)
        list = arena_printf(shape->arena, "%s%s%s", list, *list ? ", " : "", *names);
    return list;
}

void shape_check_keys(const struct shape *shape, int index, const char *where,
                      const char *const *known)
{
    lua_State *L = shape->L;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        size_t i = 0;
        while (key && known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!key)
            shape_fail(shape, "%s%sa key is a %s, expected %s", where, dot(where),
                       type_at(shape, -1), join_names(shape, known));
        if (!known[i])
            shape_fail(shape, "%s%s%.60s: unknown key, known are %s", where, *where ? "." : "", key,
                       join_names(shape, known));
    }
}

const char *shape_string_here(const struct shape *shape, int index, const char *where)
{
    if (lua_type(shape->L, index) != LUA_TSTRING)
        shape_fail(shape, "%s: expected a string, got %s", where, type_at(shape, index));
    struct bytes text;
    text.data = lua_tolstring(shape->L, index, &text.size);
    if (text.size == 0 || memchr(text.data, '\0', text.size) || !utf8_is_valid(text))
        shape_fail(shape, "%s: expected a string of UTF-8 that is not empty and has no zero byte",
                   where);
    return arena_copy(shape->arena, text).data;
}

const char *shape_name(const struct shape *shape, int index, const char *key)
{
    const char *name = shape_optional_string(shape, index, key, key);
    bool is_good = !name || strlen(name) <= SHAPE_NAME_MAX;
    for (const char *at = name; is_good && at && *at; at++)
        is_good = (unsigned char)*at >= ' ' && *at != 0x7f;
    if (!is_good)
        shape_fail(shape, "%s: expected at most %d bytes on one line", key, SHAPE_NAME_MAX);
    return name;
}

const char *shape_optional_string(const struct shape *shape, int index, const char *key,
                                  const char *where)
{
    lua_getfield(shape->L, index, key);
    const char *text =
        lua_isnil(shape->L, -1) ? NULL : shape_string_here(shape, lua_gettop(shape->L), where);
    lua_pop(shape->L, 1);
    return text;
}

const char *shape_string(const struct shape *shape, int index, const char *key, const char *where)
{
    const char *text = shape_optional_string(shape, index, key, where);
    if (!text)
        shape_fail(shape, "%s: expected a string, got nil", where);
    return text;
}

bool shape_optional_table(const struct shape *shape, int index, const char *key, const char *where)
{
    lua_getfield(shape->L, index, key);
    if (lua_isnil(shape->L, -1)) {
        lua_pop(shape->L, 1);
        return false;
    }
    shape_expect_table(shape, -1, where);
    return true;
}

void shape_table(const struct shape *shape, int index, const char *key, const char *where)
{
    if (!shape_optional_table(shape, index, key, where))
        shape_fail(shape, "%s: expected a table, got nil", where);
}

int shape_optional_function(const struct shape *shape, int index, const char *key,
                            const char *where)
{
    lua_getfield(shape->L, index, key);
    if (lua_isnil(shape->L, -1)) {
        lua_pop(shape->L, 1);
        return LUA_NOREF;
    }
    if (!lua_isfunction(shape->L, -1))
        shape_fail(shape, "%s: expected a function, got %s", where, type_at(shape, -1));
    return luaL_ref(shape->L, LUA_REGISTRYINDEX);
}

int shape_function(const struct shape *shape, int index, const char *key, const char *where)
{
    int function = shape_optional_function(shape, index, key, where);
    if (function == LUA_NOREF)
        shape_fail(shape, "%s: expected a function, got nil", where);
    return function;
}

size_t shape_array_size(const struct shape *shape, int index, const char *where)
{
    lua_State *L = shape->L;
    size_t size = lua_objlen(L, index);
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TNUMBER)
            shape_fail(shape, "%s: expected a list, got a table with a %s as key", where,
                       type_at(shape, -1));
        count++;
    }
    if (count != size)
        shape_fail(shape, "%s: expected a list without holes", where);
    return size;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

const char **shape_names(const struct shape *shape, int index, const char *where, size_t *n_names)
{
    lua_State *L = shape->L;
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        count++;
    }
    const char **names = arena_alloc(shape->arena, (count + 1) * sizeof(*names));
    count = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            shape_fail(shape, "%s: expected names as keys, got a %s", where, type_at(shape, -1));
        names[count++] = shape_string_here(shape, lua_gettop(L), where);
    }
    qsort(names, count, sizeof(*names), compare_names);
    *n_names = count;
    return names;
}

struct bytes shape_type(const struct shape *shape, int index, const char *where, bool *optional)
{
    struct bytes name = bytes_of_string(shape_string_here(shape, index, where));
    *optional = name.data[name.size - 1] == '?';
    name.size -= *optional;
    return name;
}
