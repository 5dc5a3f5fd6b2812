#include "rules/limits.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "base/clock.h"
#include "rules/internal.h"

#define STEPS_PER_LOOK (1 << 12)
#define BYTES_PER_LOOK (1 << 20)

/* Reading the thread's CPU clock is a system call, ten times the price of the monotonic one. CPU
 * time never runs faster than the wall, so one reading serves as a lower bound for a while: a call
 * that starts w microseconds later starts at most w later on the CPU clock. */
static _Thread_local struct {
    int64_t wall_us;
    int64_t cpu_us;
} sample;

static void take_sample(int64_t now_us)
{
    sample.wall_us = now_us;
    sample.cpu_us = clock_thread_cpu_us();
}

static bool time_is_over(struct rules_limits *limits)
{
    if (!limits->armed)
        return false;
    if (limits->expired)
        return true;
    int64_t now_us = clock_monotonic_us();
    if (now_us < limits->look_at_us)
        return false;
    take_sample(now_us);
    if (sample.cpu_us >= limits->cpu_deadline_us)
        limits->expired = true;
    else
        limits->look_at_us = now_us + limits->cpu_deadline_us - sample.cpu_us;
    return limits->expired;
}

static bool is_refused(struct rules_limits *limits, size_t old_size, size_t new_size)
{
    if (new_size <= old_size || limits->unlimited)
        return false;
    limits->allocated += new_size;
    if (limits->allocated > BYTES_PER_LOOK) {
        limits->allocated = 0;
        if (time_is_over(limits))
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
        free(block);
        return NULL;
    }
    if (is_refused(limits, old_size, new_size))
        return NULL;
    void *moved = realloc(block, new_size);
    if (moved)
        limits->memory_used += new_size - old_size;
    else
        limits->out_of_memory = true;
    return moved;
}

static void on_count(lua_State *L, lua_Debug *ar);

/* From now on every instruction raises again, so that no handler gets anywhere. */
static void raise_expired(lua_State *L)
{
    struct rules_limits *limits = rules_limits_of(L);
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_where(L, 0);
    if (lua_objlen(L, -1) == 0) {
        lua_pop(L, 1);
        luaL_where(L, 1);
    }
    lua_pushfstring(L, "stopped after %d ms of CPU time", (int)(limits->limit_us / 1000));
    lua_concat(L, 2);
    lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    if (time_is_over(rules_limits_of(L)))
        raise_expired(L);
}

void rules_limits_begin(lua_State *L, int limit_ms)
{
    struct rules_limits *limits = rules_limits_of(L);
    int64_t now_us = clock_monotonic_us();
    limits->limit_us = (int64_t)limit_ms * 1000;
    if (sample.wall_us == 0 || now_us - sample.wall_us > limits->limit_us / 8)
        take_sample(now_us);
    limits->cpu_deadline_us = sample.cpu_us + (now_us - sample.wall_us) + limits->limit_us;
    limits->look_at_us = now_us + limits->limit_us;
    limits->fuel = STEPS_PER_LOOK;
    limits->depth = 0;
    limits->expired = false;
    limits->out_of_memory = false;
    limits->unlimited = false;
    limits->armed = true;
}

bool rules_limits_end(lua_State *L)
{
    struct rules_limits *limits = rules_limits_of(L);
    bool over = time_is_over(limits);
    limits->armed = false;
    limits->unlimited = true;
    if (over)
        lua_sethook(L, on_count, LUA_MASKCOUNT, RULES_HOOK_COUNT);
    return over;
}

void rules_limits_install(lua_State *L)
{
    lua_sethook(L, on_count, LUA_MASKCOUNT, RULES_HOOK_COUNT);
}

bool rules_limits_breached(const struct rules_limits *limits)
{
    return limits->expired || limits->out_of_memory;
}

void rules_limits_spend(lua_State *L, size_t steps)
{
    struct rules_limits *limits = rules_limits_of(L);
    limits->fuel -= steps < INT32_MAX ? (int64_t)steps : INT32_MAX;
    if (limits->fuel > 0)
        return;
    limits->fuel = STEPS_PER_LOOK;
    if (time_is_over(limits))
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
