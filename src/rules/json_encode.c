/* Lua values as JSON text, bounded in size and depth. */
#include <lauxlib.h>
#include <stdlib.h>

#include "rules/internal.h"
#include "rules/json.h"
#include "rules/sandbox.h"

struct encoder {
    lua_State *L;
    struct buffer *out;
    size_t size_max;
    int depth;
};

struct member {
    const char *key;
    size_t size;
};

static void encode_value(struct encoder *encoder, int index);

static void check_size(struct encoder *encoder)
{
    if (encoder->out->size > encoder->size_max)
        luaL_error(encoder->L, "json: the text is longer than %d bytes", (int)encoder->size_max);
}

static void encode_string(struct encoder *encoder, struct bytes text)
{
    rules_limits_spend(encoder->L, 1 + text.size / 16);
    if (text.size > encoder->size_max)
        luaL_error(encoder->L, "json: the text is longer than %d bytes", (int)encoder->size_max);
    buffer_append_json(encoder->out, text);
    check_size(encoder);
}

static void encode_array(struct encoder *encoder, int index, int size)
{
    lua_State *L = encoder->L;
    buffer_append_byte(encoder->out, '[');
    for (int i = 1; i <= size; i++) {
        if (i > 1)
            buffer_append_byte(encoder->out, ',');
        lua_rawgeti(L, index, i);
        encode_value(encoder, lua_gettop(L));
        lua_pop(L, 1);
    }
    buffer_append_byte(encoder->out, ']');
}

/* How many keys the table has; *whole: all of them are 1..n. Raises for keys that are neither
 * that nor strings. */
static int count_keys(struct encoder *encoder, int index, bool *whole)
{
    lua_State *L = encoder->L;
    int count = 0;
    int numbers = 0;
    int size = (int)lua_objlen(L, index);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        count++;
        if (lua_type(L, -1) == LUA_TNUMBER)
            numbers++;
        else if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "json: a key is a %s", luaL_typename(L, -1));
    }
    *whole = count > 0 && numbers == count && size == count;
    if (numbers > 0 && !*whole)
        luaL_error(L, "json: a table has numbers as keys, but not 1 to n (mark it with "
                      "cs.json.array, or use strings)");
    return count;
}

static int compare_members(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    int order = memcmp(a->key, b->key, a->size < b->size ? a->size : b->size);
    if (order != 0)
        return order;
    return a->size < b->size ? -1 : a->size > b->size;
}

static void sort_members(struct member *members, int count)
{
    if (count > 16) {
        qsort(members, (size_t)count, sizeof(*members), compare_members);
        return;
    }
    for (int i = 1; i < count; i++) {
        struct member moving = members[i];
        int place = i;
        for (; place > 0 && compare_members(&moving, &members[place - 1]) < 0; place--)
            members[place] = members[place - 1];
        members[place] = moving;
    }
}

static void encode_members(struct encoder *encoder, int index, struct member *members, int count)
{
    lua_State *L = encoder->L;
    int filled = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (filled == count)
            luaL_error(L, "json: the table changed");
        members[filled].key = lua_tolstring(L, -1, &members[filled].size);
        filled++;
    }
    sort_members(members, filled);
    buffer_append_byte(encoder->out, '{');
    for (int i = 0; i < filled; i++) {
        if (i > 0)
            buffer_append_byte(encoder->out, ',');
        encode_string(encoder, bytes_of(members[i].key, members[i].size));
        buffer_append_byte(encoder->out, ':');
        lua_pushlstring(L, members[i].key, members[i].size);
        lua_rawget(L, index);
        encode_value(encoder, lua_gettop(L));
        lua_pop(L, 1);
    }
    buffer_append_byte(encoder->out, '}');
}

static void encode_table(struct encoder *encoder, int index)
{
    lua_State *L = encoder->L;
    if (++encoder->depth > RULES_JSON_DEPTH_MAX)
        luaL_error(L, "json: nested deeper than %d", RULES_JSON_DEPTH_MAX);
    luaL_checkstack(L, 8, "json");
    rules_limits_spend(L, 4);
    if (rules_is_array(L, index)) {
        encode_array(encoder, index, (int)lua_objlen(L, index));
    } else {
        bool is_array;
        lua_pushvalue(L, index);
        int contents = lua_gettop(L);
        rules_unfreeze(L, contents);
        int count = count_keys(encoder, contents, &is_array);
        rules_limits_spend(L, (size_t)count);
        if (is_array) {
            encode_array(encoder, contents, count);
        } else {
            struct member few[32];
            struct member *members = few;
            if (count > 32)
                members = lua_newuserdata(L, (size_t)count * sizeof(*members));
            encode_members(encoder, contents, members, count);
        }
        lua_settop(L, contents - 1);
    }
    encoder->depth--;
}

static void encode_value(struct encoder *encoder, int index)
{
    lua_State *L = encoder->L;
    struct bytes text;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text.data = lua_tolstring(L, index, &text.size);
        encode_string(encoder, text);
        return;
    case LUA_TNUMBER:
        buffer_append_double(encoder->out, lua_tonumber(L, index));
        check_size(encoder);
        return;
    case LUA_TBOOLEAN:
        buffer_append_string(encoder->out, lua_toboolean(L, index) ? "true" : "false");
        return;
    case LUA_TTABLE:
        encode_table(encoder, index);
        check_size(encoder);
        return;
    case LUA_TNIL:
        buffer_append_string(encoder->out, "null");
        return;
    default:
        break;
    }
    if (rules_is_null(L, index)) {
        buffer_append_string(encoder->out, "null");
        return;
    }
    text = rules_number_text(L, index);
    if (!text.data)
        text = rules_raw_text(L, index);
    if (!text.data)
        luaL_error(L, "json: a %s has no JSON", luaL_typename(L, index));
    buffer_append(encoder->out, text.data, text.size);
    check_size(encoder);
}

void rules_json_encode(lua_State *L, int index, struct buffer *out)
{
    struct encoder encoder = {L, out, out->size + rules_limits_of(L)->memory_max / 2, 0};
    if (index < 0)
        index = lua_gettop(L) + index + 1;
    encode_value(&encoder, index);
}
