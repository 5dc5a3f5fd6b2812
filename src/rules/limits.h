/* What one call into Lua may cost: CPU time, memory, depth of C frames. Private to rules/. */
#ifndef RULES_LIMITS_H
#define RULES_LIMITS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many instructions run between two looks at the clock. */
#define RULES_HOOK_COUNT 200
/* How deep functions of the host may call back into Lua, one inside the other. */
#define RULES_DEPTH_MAX 150

struct rules_limits {
    size_t memory_used;
    size_t memory_max;
    size_t allocated;   /* bytes handed out since the clock was last looked at */
    bool unlimited;     /* the host itself works (creation, collection, closing): no refusals */
    bool out_of_memory; /* in this call an allocation was refused */
    bool armed;         /* a call is running */
    bool expired;       /* in this call the CPU time ran out */
    int64_t limit_us;
    int64_t look_at_us;      /* monotonic: before this the CPU time cannot have run out */
    int64_t cpu_deadline_us; /* of the thread's CPU clock */
    int64_t fuel;            /* steps of host loops until the clock is looked at */
    int depth;
};

/* The lua_Alloc of every state; `limits` is its user data. Refuses above the memory limit, refuses
 * single blocks above a quarter of it, and refuses everything once the CPU time is over. */
void *rules_limits_allocate(void *limits, void *block, size_t old_size, size_t new_size);

/* Once for each state. */
void rules_limits_install(lua_State *L);
/* A call begins: its clock starts, its flags are cleared. */
void rules_limits_begin(lua_State *L, int limit_ms);
/* It is over: the hook goes back to its usual pace. True when its CPU time had run out. */
bool rules_limits_end(lua_State *L);
/* A limit was hit in this call: nothing may catch the error. */
bool rules_limits_breached(const struct rules_limits *limits);

/* For loops of the host on behalf of a script, about 10 ns a step. Raises when time is over. */
void rules_limits_spend(lua_State *L, size_t steps);
/* Before the host calls back into Lua; raises when nested too deep. The counter is put back by
 * whoever catches an error, and by rules_limits_leave() when there is none. */
void rules_limits_enter(lua_State *L);
void rules_limits_leave(lua_State *L);

#endif
