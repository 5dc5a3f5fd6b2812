/* What one call into Lua may cost: CPU time, memory, depth of C frames. Private to rules/. */
#ifndef RULES_LIMITS_H
#define RULES_LIMITS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules/pool.h"
#include "rules/watchdog.h"

/* How deep functions of the host may call back into Lua, one inside the other. */
#define RULES_DEPTH_MAX 150

struct rules_limits {
    size_t memory_used;
    size_t memory_max;
    struct pool pool;   /* opened before the state is made, closed after it */
    size_t allocated;   /* bytes handed out since it was last looked whether time is over */
    bool unlimited;     /* the host itself works (creation, collection, closing): no refusals */
    bool out_of_memory; /* in this call an allocation was refused */
    struct watch watch; /* of this call: its CPU time */
    int limit_ms;
    int64_t fuel; /* steps of host loops until it is looked whether time is over */
    int depth;
};

/* The lua_Alloc of every state; `limits` is its user data. Refuses above the memory limit, refuses
 * single blocks above a quarter of it, and refuses everything once the CPU time is over. */
void *rules_limits_allocate(void *limits, void *block, size_t old_size, size_t new_size);

/* A call begins: its clock starts, its flags are cleared. */
void rules_limits_begin(lua_State *L, int limit_ms);
/* It is over, on the same thread. True when its CPU time had run out. */
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
