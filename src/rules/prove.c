/* At start: runaway scripts are let loose on a scratch state, and each has to be stopped. */
#include <inttypes.h>
#include <lauxlib.h>

#include "base/clock.h"
#include "rules/internal.h"

#define PROOF_MS    20
#define PATIENCE_US (2 * 1000 * 1000) /* of CPU time for one of them */

struct runaway {
    const char *name;
    const char *text;
    enum rules_outcome outcome;
};

static const struct runaway runaways[] = {
    {"an endless loop", "while true do end", RULES_OUT_OF_TIME},
    {"a loop around pcall", "while true do pcall(function() while true do end end) end",
     RULES_OUT_OF_TIME},
    {"an error handler that loops",
     "while true do xpcall(error, function() while true do end end) end", RULES_OUT_OF_TIME},
    {"a loop inside pcall inside an error handler",
     "local function again() pcall(again) while true do end end xpcall(again, again)",
     RULES_OUT_OF_TIME},
    {"a pattern that tries for ever", "('x'):rep(200000):find('.-.-.-b')", RULES_OUT_OF_TIME},
    {"a long sort",
     "local t = {} for i = 1, 30000 do t[i] = -i end "
     "while true do table.sort(t) table.sort(t, function(a, b) return a > b end) end",
     RULES_OUT_OF_TIME},
    {"a string without end", "local s = 'x' while true do s = s .. s end", RULES_OUT_OF_MEMORY},
    {"a table without end", "local t = {} while true do t[#t + 1] = {} end", RULES_OUT_OF_MEMORY},
    {"recursion without end", "local function f() return 1 + f() end f()", RULES_RAISED},
};

static void run_chunk(lua_State *L, void *arg)
{
    rules_run_file(L, "proof.lua", bytes_of_string(arg));
}

static bool prove_one(struct rules_state *state, const struct runaway *runaway, struct error *err)
{
    bool by_memory = runaway->outcome == RULES_OUT_OF_MEMORY;
    const struct rules_entry entry = {"proof.lua", "proof", by_memory ? 10000 : PROOF_MS};
    struct error ignored;
    int64_t start_us = clock_thread_cpu_us();
    enum rules_outcome outcome =
        rules_enter(state, &entry, run_chunk, (void *)(uintptr_t)runaway->text, &ignored);
    int64_t used_us = clock_thread_cpu_us() - start_us;
    if (outcome != runaway->outcome)
        return error_set(err, "LuaJIT on this machine does not stop %s as it should",
                         runaway->name);
    if (!by_memory && used_us > PATIENCE_US)
        return error_set(err, "LuaJIT on this machine stops %s after %" PRId64 " ms, not %d",
                         runaway->name, used_us / 1000, PROOF_MS);
    const struct rules_entry after = {"proof.lua", "proof", 1000};
    if (rules_enter(state, &after, run_chunk, (void *)(uintptr_t) "assert(1 + 1 == 2)", err) !=
        RULES_DONE)
        return error_context(err, "after %s the state is broken", runaway->name);
    return true;
}

bool rules_prove_limits(const struct rules_options *options, struct error *err)
{
    struct rules_options scratch = *options;
    scratch.memory_bytes = (size_t)32 << 20;
    scratch.metrics = NULL;
    struct rules_state *state = rules_state_bare(&scratch, err);
    if (!state)
        return false;
    bool proven = true;
    for (size_t i = 0; proven && i < sizeof(runaways) / sizeof(*runaways); i++)
        proven = prove_one(state, &runaways[i], err);
    rules_state_free(state);
    return proven;
}
