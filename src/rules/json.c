#include "rules/json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>

#include "message/json.h"
#include "model/value.h"
#include "rules/internal.h"
#include "rules/sandbox.h"

/* Keys of the registry. */
#define DECODE "rules.json.decode"
#define NUMBER "rules.json.number" /* metatable of number objects */
#define ARRAY  "rules.json.array"  /* metatable of tables that are arrays even when empty */

#define EXACT_WHOLE_MAX 9007199254740992.0 /* 2^53 */

int luaopen_cjson(lua_State *L); /* lua-cjson installs no header */

/* ---- null and numbers ---- */

void rules_push_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL); /* as lua-cjson does */
}

bool rules_is_null(lua_State *L, int index)
{
    return lua_islightuserdata(L, index) && !lua_touserdata(L, index);
}

void rules_push_number_object(lua_State *L, struct bytes text)
{
    char *copy = lua_newuserdata(L, text.size + 1);
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    lua_getfield(L, LUA_REGISTRYINDEX, NUMBER);
    lua_setmetatable(L, -2);
}

struct bytes rules_number_text(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return (struct bytes){0};
    lua_getfield(L, LUA_REGISTRYINDEX, NUMBER);
    bool is_number = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    if (!is_number)
        return (struct bytes){0};
    return bytes_of(lua_touserdata(L, index), lua_objlen(L, index) - 1);
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

/* ---- decode ---- */

/* What the decoded value of a text can take at most, from the sizes of LuaJIT's objects: a table
 * has 64 bytes, an element 8 or 24 (up to three times that while its table grows), a string 24
 * besides its text. */
static size_t decoded_size_max(struct bytes text)
{
    size_t size = 2 * text.size + 64;
    for (size_t i = 0; i < text.size; i++) {
        switch (text.data[i]) {
        case '[':
        case '{':
            size += 128;
            break;
        case ',':
        case ':':
            size += 48;
            break;
        case '"':
            size += 24;
            break;
        default:
            break;
        }
    }
    return size;
}

static void make_room(lua_State *L, size_t size)
{
    struct rules_limits *limits = rules_limits_of(L);
    if (limits->memory_used + size > limits->memory_max) {
        limits->unlimited = true; /* a collection may allocate */
        lua_gc(L, LUA_GCCOLLECT, 0);
        limits->unlimited = false;
    }
    if (limits->memory_used + size > limits->memory_max) {
        limits->out_of_memory = true;
        luaL_error(L, "out of memory");
    }
}

/* Calls the decoder with the string on top and puts the value, or what is wrong, in its place.
 * lua-cjson loses its own buffer when Lua runs out of memory under it: so there has to be room
 * before it starts, and then nothing is refused. */
static int call_decoder(lua_State *L)
{
    struct rules_limits *limits = rules_limits_of(L);
    struct bytes text;
    text.data = lua_tolstring(L, -1, &text.size);
    rules_limits_spend(L, text.size);
    make_room(L, decoded_size_max(text));
    luaL_checkstack(L, 2, "json");
    lua_getfield(L, LUA_REGISTRYINDEX, DECODE);
    lua_insert(L, -2);
    limits->unlimited = true;
    int status = lua_pcall(L, 1, 1, 0);
    limits->unlimited = false;
    return status;
}

void rules_json_decode(lua_State *L, struct bytes text)
{
    lua_pushlstring(L, text.data, text.size);
    if (call_decoder(L) != 0)
        lua_error(L);
}

bool rules_json_check(lua_State *L, struct bytes text, struct error *err)
{
    struct rules_state *state = rules_state_of(L);
    static const struct json_place whole = {.end = 1};
    struct json_found found;
    struct json_fault fault;
    rules_limits_spend(L, 1 + text.size / 16);
    if (text.size > JSON_MAX_BYTES || !json_parser_reserve(state->checker, text.size))
        return error_set(err, "too large for JSON");
    buffer_clear(&state->scratch);
    char *copy = buffer_reserve(&state->scratch, text.size + JSON_PADDING);
    memcpy(copy, text.data, text.size);
    return json_walk(state->checker, copy, text.size, &whole, &found, &fault) ||
           error_set(err, "%s (byte %zu)", fault.what, fault.at);
}

/* cs.json.decode(text): the value, or nil and what is wrong. */
static int l_decode(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 1);
    if (call_decoder(L) == 0)
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* ---- encode ---- */

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

static bool is_marked_array(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_getfield(L, LUA_REGISTRYINDEX, ARRAY);
    bool is_array = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_array;
}

static void encode_table(struct encoder *encoder, int index)
{
    lua_State *L = encoder->L;
    if (++encoder->depth > RULES_JSON_DEPTH_MAX)
        luaL_error(L, "json: nested deeper than %d", RULES_JSON_DEPTH_MAX);
    luaL_checkstack(L, 8, "json");
    rules_limits_spend(L, 4);
    if (is_marked_array(L, index)) {
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

/* ---- opening ---- */

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

static void open_decoder(lua_State *L)
{
    lua_pushcfunction(L, luaopen_cjson);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "decode_invalid_numbers");
    lua_pushboolean(L, false);
    lua_call(L, 1, 0);
    lua_getfield(L, -1, "decode_max_depth");
    lua_pushinteger(L, RULES_JSON_DEPTH_MAX);
    lua_call(L, 1, 0);
    lua_getfield(L, -1, "decode");
    lua_setfield(L, LUA_REGISTRYINDEX, DECODE);
    lua_pop(L, 1);
}

void rules_json_open(lua_State *L)
{
    static const luaL_Reg number_methods[] = {{"__eq", l_number_eq},
                                              {"__lt", l_number_lt},
                                              {"__le", l_number_le},
                                              {"__tostring", l_number_tostring},
                                              {NULL, NULL}};
    static const luaL_Reg array_methods[] = {{NULL, NULL}};
    static const luaL_Reg null_methods[] = {{"__tostring", l_null_tostring}, {NULL, NULL}};
    open_decoder(L);
    new_metatable(L, NUMBER, number_methods);
    new_metatable(L, ARRAY, array_methods);
    rules_push_null(L);
    new_metatable(L, NULL, null_methods);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

void rules_json_push_api(lua_State *L)
{
    static const luaL_Reg functions[] = {{"encode", l_encode},
                                         {"decode", l_decode},
                                         {"array", l_array},
                                         {"number", l_number},
                                         {NULL, NULL}};
    lua_newtable(L);
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushcfunction(L, function->func);
        lua_setfield(L, -2, function->name);
    }
}
