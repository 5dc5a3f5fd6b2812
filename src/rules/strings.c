/* The string functions whose work a script decides: find, match, gmatch, gsub, rep, format; and
 * os.date. */
#include <ctype.h>
#include <lauxlib.h>

#include "rules/internal.h"
#include "rules/pattern.h"
#include "rules/sandbox.h"

static struct bytes check_bytes(lua_State *L, int argument)
{
    size_t size;
    const char *data = luaL_checklstring(L, argument, &size);
    return bytes_of(data, size);
}

/* The offset that argument 3 of find and match names, within the text. */
static size_t start_offset(lua_State *L, size_t size)
{
    ptrdiff_t init = luaL_optinteger(L, 3, 1);
    if (init < 0)
        init = (size_t)-init > size ? 1 : (ptrdiff_t)size + init + 1;
    if (init == 0)
        init = 1;
    return (size_t)init - 1 > size ? size : (size_t)init - 1;
}

static bool has_specials(struct bytes pattern)
{
    static const bool is_special[256] = {
        ['^'] = true, ['$'] = true, ['*'] = true, ['+'] = true, ['?'] = true,
        ['.'] = true, ['('] = true, ['['] = true, ['%'] = true, ['-'] = true};
    for (size_t i = 0; i < pattern.size; i++)
        if (is_special[(unsigned char)pattern.data[i]])
            return true;
    return false;
}

static int find_plain(lua_State *L, struct bytes text, struct bytes wanted, size_t start)
{
    rules_limits_spend(L, 1 + (text.size - start) / 64);
    const char *at = memmem(text.data + start, text.size - start, wanted.data, wanted.size);
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, at - text.data + 1);
    lua_pushinteger(L, at - text.data + (ptrdiff_t)wanted.size);
    return 2;
}

/* The first match at or behind `from`; *end is behind it. NULL: none. */
static const char *search(struct pattern *pattern, const char *from, const char **end)
{
    for (const char *s = from; s <= pattern->subject_end; s++) {
        *end = pattern_match(pattern, s);
        if (*end)
            return s;
        if (pattern->anchored)
            break;
    }
    return NULL;
}

static int find_or_match(lua_State *L, bool find)
{
    struct bytes text = check_bytes(L, 1);
    struct bytes wanted = check_bytes(L, 2);
    size_t start = start_offset(L, text.size);
    if (find && (lua_toboolean(L, 4) || !has_specials(wanted)))
        return find_plain(L, text, wanted, start);
    struct pattern pattern;
    pattern_init(&pattern, L, wanted, text);
    const char *end;
    const char *at = search(&pattern, text.data + start, &end);
    if (!at) {
        lua_pushnil(L);
        return 1;
    }
    if (!find)
        return pattern_push_captures(&pattern, at, end, true);
    lua_pushinteger(L, at - text.data + 1);
    lua_pushinteger(L, end - text.data);
    return 2 + pattern_push_captures(&pattern, at, end, false);
}

int l_find(lua_State *L)
{
    return find_or_match(L, true);
}

int l_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* Upvalues: text, pattern, offset to go on from. */
static int l_gmatch_step(lua_State *L)
{
    size_t size, wanted_size;
    const char *text = lua_tolstring(L, lua_upvalueindex(1), &size);
    const char *wanted = lua_tolstring(L, lua_upvalueindex(2), &wanted_size);
    size_t start = (size_t)lua_tointeger(L, lua_upvalueindex(3));
    if (start > size)
        return 0;
    struct pattern pattern;
    pattern_init(&pattern, L, bytes_of(wanted, wanted_size), bytes_of(text, size));
    /* In gmatch a '^' matches nothing but itself (manual 5.1). */
    pattern.text = wanted;
    pattern.anchored = false;
    const char *end;
    const char *at = search(&pattern, text + start, &end);
    if (!at)
        return 0;
    lua_pushinteger(L, end - text + (end == at));
    lua_replace(L, lua_upvalueindex(3));
    return pattern_push_captures(&pattern, at, end, true);
}

int l_gmatch(lua_State *L)
{
    check_bytes(L, 1);
    check_bytes(L, 2);
    lua_settop(L, 2);
    lua_tostring(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, l_gmatch_step, 3);
    return 1;
}

/* ---- gsub ---- */

/* The replacement text with %0 to %9 filled in. */
static void add_template(struct pattern *pattern, luaL_Buffer *out, struct bytes template,
                         const char *start, const char *end)
{
    lua_State *L = pattern->L;
    for (size_t i = 0; i < template.size; i++) {
        if (template.data[i] != '%') {
            luaL_addchar(out, template.data[i]);
            continue;
        }
        i++;
        if (i >= template.size)
            luaL_error(L, "invalid use of '%%' in the replacement");
        char c = template.data[i];
        if (!isdigit((unsigned char)c)) {
            luaL_addchar(out, c);
        } else if (c == '0') {
            luaL_addlstring(out, start, (size_t)(end - start));
        } else {
            pattern_push_capture(pattern, c - '1', start, end);
            luaL_addvalue(out);
        }
    }
}

/* Asks the function or table at argument 3; nil and false keep the original. */
static void add_answer(struct pattern *pattern, luaL_Buffer *out, const char *start,
                       const char *end)
{
    lua_State *L = pattern->L;
    rules_limits_enter(L);
    if (lua_isfunction(L, 3)) {
        lua_pushvalue(L, 3);
        lua_call(L, pattern_push_captures(pattern, start, end, true), 1);
    } else {
        pattern_push_capture(pattern, 0, start, end);
        lua_gettable(L, 3);
    }
    rules_limits_leave(L);
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        lua_pushlstring(L, start, (size_t)(end - start));
    } else if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
    luaL_addvalue(out);
}

static void add_replacement(struct pattern *pattern, luaL_Buffer *out, const char *start,
                            const char *end)
{
    if (lua_type(pattern->L, 3) != LUA_TSTRING) {
        add_answer(pattern, out, start, end);
        return;
    }
    struct bytes template = check_bytes(pattern->L, 3);
    rules_limits_spend(pattern->L, 1 + template.size / 8);
    add_template(pattern, out, template, start, end);
}

int l_gsub(lua_State *L)
{
    struct bytes text = check_bytes(L, 1);
    struct bytes wanted = check_bytes(L, 2);
    if (lua_isnumber(L, 3))
        lua_tostring(L, 3);
    int type = lua_type(L, 3);
    if (type != LUA_TSTRING && type != LUA_TTABLE && type != LUA_TFUNCTION)
        return luaL_argerror(L, 3, "string, function or table expected");
    ptrdiff_t most = luaL_optinteger(L, 4, PTRDIFF_MAX);
    struct pattern pattern;
    pattern_init(&pattern, L, wanted, text);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    const char *s = text.data;
    ptrdiff_t count = 0;
    while (count < most) {
        const char *end = pattern_match(&pattern, s);
        if (end) {
            count++;
            add_replacement(&pattern, &out, s, end);
        }
        if (end && end > s)
            s = end;
        else if (s < pattern.subject_end)
            luaL_addchar(&out, *s++);
        else
            break;
        if (pattern.anchored)
            break;
    }
    luaL_addlstring(&out, s, (size_t)(pattern.subject_end - s));
    luaL_pushresult(&out);
    lua_pushinteger(L, count);
    return 2;
}

/* ---- rep, format, date ---- */

/* Fills `size` bytes with the `unit` bytes that are there, over and over. */
static void repeat(char *out, size_t unit, size_t size)
{
    for (size_t filled = unit; filled < size;) {
        size_t piece = filled < size - filled ? filled : size - filled;
        memcpy(out + filled, out, piece);
        filled += piece;
    }
}

int l_rep(lua_State *L)
{
    struct bytes text = check_bytes(L, 1);
    ptrdiff_t count = luaL_checkinteger(L, 2);
    struct bytes separator = {"", 0};
    separator.data = luaL_optlstring(L, 3, "", &separator.size);
    size_t unit = text.size + separator.size;
    if (count <= 0 || unit == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if ((size_t)count > rules_limits_of(L)->memory_max / 4 / unit)
        return luaL_error(L, "rep: the result is too long");
    size_t size = unit * (size_t)count;
    rules_limits_spend(L, 1 + size / 64);
    char *out = lua_newuserdata(L, size);
    memcpy(out, text.data, text.size);
    memcpy(out + text.size, separator.data, separator.size);
    repeat(out, unit, size);
    lua_pushlstring(L, out, size - separator.size);
    return 1;
}

/* Upvalue: the library's own. Its %s may call a __tostring, which may call format again: counted,
 * so that it does not eat the C stack. */
int l_format(lua_State *L)
{
    rules_limits_enter(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    rules_limits_leave(L);
    return 1;
}

/* os.date. Upvalue: the library's own, which takes its time for a long format. */
int l_date(lua_State *L)
{
    luaL_argcheck(L, !lua_isstring(L, 1) || lua_objlen(L, 1) <= 200, 1, "the format is too long");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}
