/* cs.log: lines carry the name of the stream or endpoint that writes them, and the request that
 * they are about. */
#include <inttypes.h>
#include <lauxlib.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "rules/api.h"
#include "rules/internal.h"

/* Keys of cs.log.limited in one state. Beyond that many the least recently passed gives way: a key
 * made from a message cannot take memory without end. */
#define KEYS_MAX 64

struct rules_log_limit {
    uint64_t key; /* hash of component and key */
    bool used;
    struct log_limit limit;
};

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR};

static void write_line(lua_State *L, enum log_level level, int argument, uint64_t held_back)
{
    const struct rules_state *state = rules_state_of(L);
    const char *component = state->component;
    size_t size;
    const char *text = luaL_checklstring(L, argument, &size);
    if (state->rehearsing)
        return;
    int shown = size > 2000 ? 2000 : (int)size;
    const char *about = state->request_id ? ", request " : "";
    const char *id = state->request_id ? state->request_id : "";
    if (held_back > 0)
        log_write(level, component, "%.*s%s%s (%" PRIu64 " more like it)", shown, text, about, id,
                  held_back);
    else
        log_write(level, component, "%.*s%s%s", shown, text, about, id);
}

/* Upvalue: the index of the level. */
static int l_log(lua_State *L)
{
    write_line(L, levels[lua_tointeger(L, lua_upvalueindex(1))], 1, 0);
    return 0;
}

static struct log_limit *find_limit(struct rules_state *state, struct bytes key)
{
    uint64_t hash = hash_bytes(hash_bytes(0, bytes_of_string(state->component)), key);
    if (!state->log_limits)
        state->log_limits = memory_zero(KEYS_MAX, sizeof(*state->log_limits));
    struct rules_log_limit *oldest = state->log_limits;
    for (size_t i = 0; i < KEYS_MAX; i++) {
        struct rules_log_limit *entry = &state->log_limits[i];
        if (entry->used && entry->key == hash)
            return &entry->limit;
        if (entry->limit.next_us < oldest->limit.next_us)
            oldest = entry;
    }
    *oldest = (struct rules_log_limit){.key = hash, .used = true};
    return &oldest->limit;
}

/* cs.log.limited(key, interval_ms, level, text) */
static int l_limited(lua_State *L)
{
    struct bytes key;
    key.data = luaL_checklstring(L, 1, &key.size);
    lua_Number interval_ms = luaL_checknumber(L, 2);
    enum log_level level = levels[luaL_checkoption(L, 3, NULL, level_names)];
    luaL_checkstring(L, 4);
    if (!(interval_ms >= 0 && interval_ms <= 86400000.0))
        return luaL_argerror(L, 2, "0 to 86400000 ms expected");
    uint64_t held_back;
    struct log_limit *limit = find_limit(rules_state_of(L), key);
    if (log_enabled(level) && log_limit_pass(limit, (int64_t)interval_ms, &held_back))
        write_line(L, level, 4, held_back);
    return 0;
}

void rules_log_push(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; level_names[i]; i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, l_log, 1);
        lua_setfield(L, -2, level_names[i]);
    }
    lua_pushcfunction(L, l_limited);
    lua_setfield(L, -2, "limited");
}

void rules_log_limits_free(struct rules_state *state)
{
    free(state->log_limits);
}
