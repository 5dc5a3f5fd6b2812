/* JSON text as Lua values (lua-cjson), and the check of texts (message/json.h). */
#include <lauxlib.h>

#include "message/json.h"
#include "rules/internal.h"
#include "rules/json.h"

#define DECODE "rules.json.decode" /* key of the registry */

int luaopen_cjson(lua_State *L); /* lua-cjson installs no header */

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
int rules_call_decoder(lua_State *L)
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
    if (rules_call_decoder(L) != 0)
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

void rules_decoder_open(lua_State *L)
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
