#include "rules/limits.h"

#include <lauxlib.h>

#include "rules/internal.h"

#define STEPS_PER_LOOK (1 << 12)
#define BYTES_PER_LOOK (1 << 20)

static bool is_refused(struct rules_limits *limits, size_t old_size, size_t new_size)
{
    if (new_size <= old_size || limits->unlimited)
        return false;
    limits->allocated += new_size;
    if (limits->allocated > BYTES_PER_LOOK) {
        limits->allocated = 0;
        if (watchdog_is_over(&limits->watch))
            return true;
    }
    if (new_size <= limits->memory_max / 4 &&
        limits->memory_used + (new_size - old_size) <= limits->memory_max)
        return false;
    limits->out_of_memory = true;
    return true;
}

void *rules_limits_allocate(void *user_data, void *block, size_t old_size, size_t new_size)
{
    struct rules_limits *limits = user_data;
    if (new_size == 0) {
        limits->memory_used -= old_size;
        pool_release(&limits->pool, block, old_size);
        return NULL;
    }
    if (is_refused(limits, old_size, new_size))
        return NULL;
    void *moved = pool_resize(&limits->pool, block, old_size, new_size);
    if (moved)
        limits->memory_used += new_size - old_size;
    else
        limits->out_of_memory = true;
    return moved;
}

/* The hook is at count 1 by now: after this every instruction raises again, so that no handler gets
 * anywhere. */
static void raise_expired(lua_State *L)
{
    luaL_where(L, 0);
    if (lua_objlen(L, -1) == 0) {
        lua_pop(L, 1);
        luaL_where(L, 1);
    }
    lua_pushfstring(L, "stopped after %d ms of CPU time", rules_limits_of(L)->limit_ms);
    lua_concat(L, 2);
    lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    if (watchdog_is_over(&rules_limits_of(L)->watch))
        raise_expired(L);
}

void rules_limits_begin(lua_State *L, int limit_ms)
{
    struct rules_limits *limits = rules_limits_of(L);
    limits->limit_ms = limit_ms;
    limits->fuel = STEPS_PER_LOOK;
    limits->depth = 0;
    limits->out_of_memory = false;
    limits->unlimited = false;
    watchdog_begin(&limits->watch, L, on_count, limit_ms);
}

bool rules_limits_end(lua_State *L)
{
    struct rules_limits *limits = rules_limits_of(L);
    limits->unlimited = true;
    return watchdog_end(&limits->watch);
}

bool rules_limits_breached(const struct rules_limits *limits)
{
    return limits->watch.expired || limits->out_of_memory;
}

void rules_limits_spend(lua_State *L, size_t steps)
{
    struct rules_limits *limits = rules_limits_of(L);
    limits->fuel -= steps < INT32_MAX ? (int64_t)steps : INT32_MAX;
    if (limits->fuel > 0)
        return;
    limits->fuel = STEPS_PER_LOOK;
    if (watchdog_is_over(&limits->watch))
        raise_expired(L);
}

void rules_limits_enter(lua_State *L)
{
    struct rules_limits *limits = rules_limits_of(L);
    if (limits->depth >= RULES_DEPTH_MAX)
        luaL_error(L, "calls are nested too deep");
    limits->depth++;
}

void rules_limits_leave(lua_State *L)
{
    rules_limits_of(L)->depth--;
}
