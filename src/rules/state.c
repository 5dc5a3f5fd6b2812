#include "rules/state.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <luajit.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "message/json.h"
#include "message/reader.h"
#include "rules/api.h"
#include "rules/extract.h"
#include "rules/internal.h"
#include "rules/sandbox.h"

const struct rules_def *rules_state_def(const struct rules_state *state)
{
    return &state->def;
}

/* Only reached when an unprotected call raises, and there is none. */
static int on_panic(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no text";
    die("Lua raised outside a protected call: %s", text);
}

/* Lies at the bottom of the stack for the state's life, so that starting a call allocates nothing
 * outside protection. */
static int l_enter(lua_State *L)
{
    struct rules_state *state = rules_state_of(L);
    state->body(L, state->arg);
    return 0;
}

static void count_outcome(struct rules_state *state, const struct rules_entry *entry,
                          enum rules_outcome outcome)
{
    struct metrics *metrics = state->options.metrics;
    if (!metrics || state->rehearsing)
        return;
    const struct label failed[] = {{"file", entry->file}, {"hook", entry->hook}};
    counter_add(metrics_counter(metrics, "core_service_rules_errors_total",
                                "Calls into rules that failed", failed, 2),
                1);
    if (outcome == RULES_RAISED)
        return;
    const struct label limit[] = {{"kind", outcome == RULES_OUT_OF_TIME ? "cpu" : "memory"},
                                  {"hook", entry->hook}};
    counter_add(metrics_counter(metrics, "core_service_rules_limit_total",
                                "Calls into rules that broke a limit", limit, 2),
                1);
}

/* Nothing here may run code of a script: a table's __tostring is not asked. */
static void describe_error(lua_State *L, const char *file, struct error *err)
{
    if (lua_type(L, -1) != LUA_TSTRING) {
        error_set(err, "%s: error object is a %s", file, luaL_typename(L, -1));
        return;
    }
    const char *text = lua_tostring(L, -1);
    if (strstr(text, ".lua:"))
        error_set(err, "%s", text);
    else
        error_set(err, "%s: %s", file, text);
}

static void describe_outcome(struct rules_state *state, const struct rules_entry *entry,
                             enum rules_outcome outcome, struct error *err)
{
    lua_State *L = state->L;
    const char *file = state->loading ? state->loading : entry->file;
    if (outcome == RULES_OUT_OF_MEMORY)
        error_set(err, "%s: out of memory: a state of the rules may use %zu bytes", file,
                  state->limits.memory_max);
    else if (lua_gettop(L) > 1 && lua_type(L, -1) == LUA_TSTRING &&
             strstr(lua_tostring(L, -1), "CPU time"))
        describe_error(L, file, err);
    else if (outcome == RULES_OUT_OF_TIME)
        error_set(err, "%s: stopped after %d ms of CPU time", file, entry->limit_ms);
    else
        describe_error(L, file, err);
}

static enum rules_outcome run_once(struct rules_state *state, int limit_ms)
{
    lua_State *L = state->L;
    lua_settop(L, 1);
    state->loading = NULL;
    rules_limits_begin(L, limit_ms);
    lua_pushvalue(L, 1);
    int status = lua_pcall(L, 0, 0, 0);
    if (rules_limits_end(L))
        return RULES_OUT_OF_TIME;
    if (status == 0)
        return RULES_DONE;
    if (status == LUA_ERRMEM || state->limits.out_of_memory)
        return RULES_OUT_OF_MEMORY;
    return RULES_RAISED;
}

enum rules_outcome rules_enter(struct rules_state *state, const struct rules_entry *entry,
                               void (*body)(lua_State *L, void *arg), void *arg, struct error *err)
{
    lua_State *L = state->L;
    state->body = body;
    state->arg = arg;
    enum rules_outcome outcome = run_once(state, entry->limit_ms);
    if (outcome == RULES_DONE)
        return outcome;
    if (outcome == RULES_OUT_OF_MEMORY) {
        lua_settop(L, 1);
        lua_gc(L, LUA_GCCOLLECT, 0);
        outcome = run_once(state, entry->limit_ms);
    }
    if (outcome != RULES_DONE) {
        describe_outcome(state, entry, outcome, err);
        count_outcome(state, entry, outcome);
    }
    lua_settop(L, 1);
    if (outcome == RULES_OUT_OF_MEMORY)
        lua_gc(L, LUA_GCCOLLECT, 0);
    return outcome;
}

static void open_sandbox(lua_State *L, void *arg)
{
    (void)arg;
    rules_sandbox_open(L);
}

struct rules_state *rules_state_bare(const struct rules_options *options, struct error *err)
{
    struct rules_state *state = memory_zero(1, sizeof(*state));
    state->options = *options;
    if (options->env_allow)
        state->options.env_allow =
            arena_copy(&state->memory, bytes_of_string(options->env_allow)).data;
    state->component = "rules";
    state->reader = reader_new();
    state->checker = json_parser_new();
    if (!state->checker)
        die("no memory for a JSON parser");
    state->limits.unlimited = true;
    state->limits.memory_max = options->memory_bytes;
    pool_open(&state->limits.pool);
    state->L = lua_newstate(rules_limits_allocate, &state->limits);
    if (!state->L) {
        error_set(err, "cannot create a Lua state: this LuaJIT takes no allocator (GC64 needed)");
        goto failed;
    }
    lua_atpanic(state->L, on_panic);
    luaJIT_setmode(state->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_pushcfunction(state->L, l_enter);
    const struct rules_entry entry = {"sandbox", "load", options->load_ms};
    if (rules_enter(state, &entry, open_sandbox, NULL, err) == RULES_DONE)
        return state;
failed:
    rules_state_free(state);
    return NULL;
}

static void load_all(lua_State *L, void *arg)
{
    struct rules_state *state = arg;
    rules_extract(L, state);
    rules_freeze_modules(L);
}

static bool make_plans(struct rules_state *state, struct error *err)
{
    for (size_t i = 0; i < state->def.n_streams; i++) {
        struct stream_def *stream = &state->def.streams[i];
        if (stream->reader.n_fields == 0)
            continue;
        stream->plan = reader_plan_new(&stream->reader, err);
        if (!stream->plan)
            return error_context(err, "%s: shapes", stream->file);
    }
    return true;
}

struct rules_state *rules_state_new(const struct rules_snapshot *snapshot,
                                    const struct rules_options *options, struct error *err)
{
    struct rules_state *state = rules_state_bare(options, err);
    if (!state)
        return NULL;
    const struct rules_entry entry = {"init.lua", "load", options->load_ms};
    state->snapshot = snapshot;
    enum rules_outcome outcome = rules_enter(state, &entry, load_all, state, err);
    state->snapshot = NULL;
    if (outcome == RULES_DONE && make_plans(state, err))
        return state;
    rules_state_free(state);
    return NULL;
}

void rules_state_free(struct rules_state *state)
{
    if (!state)
        return;
    if (state->L)
        lua_close(state->L);
    pool_close(&state->limits.pool);
    for (size_t i = 0; i < state->def.n_streams; i++)
        reader_plan_free(state->def.streams[i].plan);
    reader_free(state->reader);
    json_parser_free(state->checker);
    rules_log_limits_free(state);
    buffer_free(&state->scratch);
    arena_free(&state->memory);
    free(state);
}
