/* Ends a call into Lua when its CPU time is over, and costs a call that ends in time two stores.
 *
 * A count hook that is always set makes every instruction of LuaJIT's interpreter slower, so there
 * is none while a call is within its time. Each thread that enters Lua has a timer that ticks with
 * the thread's own CPU clock: asleep, it never ticks. Its signal goes to that thread only. The
 * handler looks at the call that the thread is in, and once that has had its time, sets the hook at
 * count 1: from then on every instruction calls it.
 *
 * Why the handler may do that, where almost nothing is allowed:
 * - It touches the running call of its own thread only, through a lock-free pointer and fields that
 *   nothing else writes while the pointer is there.
 * - lua_sethook() allocates nothing, takes no lock, and is what LuaJIT's own program calls in its
 *   handler of SIGINT. Two of them must not be inside each other, nor inside what else rewrites the
 *   dispatch table (luaJIT_setmode(), luaopen_jit()): none of ours runs while a call is watched.
 * - LuaJIT changes other bits of the word that says which hooks are set, so the handler's bit may
 *   be lost when it comes in the middle of that. Never the other way round. So every tick after the
 *   end of time sets the hook again.
 * - lua_sethook() was called once before the first tick: the dynamic linker has nothing to do.
 *
 * A system that refuses a timer (RLIMIT_SIGPENDING) gets the hook at a count for the whole call
 * and looks at the clock: slower, and as sure.
 *
 * A call gets at least its limit. Past it, the kernel notices at the first of its own ticks (4 ms
 * at 250 a second) that finds the thread running: so the end comes one to three of those late, more
 * where many threads share a CPU. Private to rules/. */
#ifndef RULES_WATCHDOG_H
#define RULES_WATCHDOG_H

#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define WATCHDOG_TICK_MS 2

/* A running call. */
struct watch {
    lua_State *L;
    lua_Hook hook;
    struct watch *outer; /* the call, of another state, inside which this thread began this one */
    bool has_ticked;     /* the first tick says when its time began, at the latest */
    int ticks_left;      /* after the first */
    volatile sig_atomic_t expired;
    int64_t deadline_us; /* without a timer: of the thread's CPU clock; else 0 */
};

/* The calling thread enters `L`. `hook` is called from the end of time on, at every instruction,
 * and without a timer also before: it raises when watchdog_is_over(). */
void watchdog_begin(struct watch *watch, lua_State *L, lua_Hook hook, int limit_ms);
/* On the same thread; no hook is set any more. True when the time was over. */
bool watchdog_end(struct watch *watch);
/* Between the two, on the same thread. */
bool watchdog_is_over(struct watch *watch);

#endif
