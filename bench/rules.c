/* What protection costs: microseconds of CPU for a message through rules_map() with the shipped
 * streams/market_data_v2.lua, sandboxed and limited as in the service, beside the same work with
 * the same file in a plain interpreter: the libraries of LuaJIT, no limit of time, no memory limit,
 * no protected call, no frozen tables. Both read the message, call map and take its row with the
 * same code; rounds alternate, the medians are compared.
 *
 *   cmake --preset release -DCS_BENCH=ON && ninja -C build bench_rules && build/bench/bench_rules
 */
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "rules/internal.h"
#include "rules/snapshot.h"

#define ROUNDS     21
#define REPETITION 10000

struct subject {
    struct rules_state *state;
    bool is_bare;
    double us[ROUNDS];
};

/* ---- bare ---- */

static bool runs_bare;

enum rules_outcome real_enter(struct rules_state *state, const struct rules_entry *entry,
                              void (*body)(lua_State *L, void *arg), void *arg,
                              struct error *err) __asm__("__real_rules_enter");
enum rules_outcome wrapped_enter(struct rules_state *state, const struct rules_entry *entry,
                                 void (*body)(lua_State *L, void *arg), void *arg,
                                 struct error *err) __asm__("__wrap_rules_enter");

/* Linked in place of rules_enter(). */
enum rules_outcome wrapped_enter(struct rules_state *state, const struct rules_entry *entry,
                                 void (*body)(lua_State *L, void *arg), void *arg,
                                 struct error *err)
{
    if (!runs_bare)
        return real_enter(state, entry, body, arg, err);
    body(state->L, arg);
    lua_settop(state->L, 1);
    return RULES_DONE;
}

static void *allocate(void *user_data, void *block, size_t old_size, size_t new_size)
{
    (void)user_data;
    (void)old_size;
    if (new_size > 0)
        return realloc(block, new_size);
    free(block);
    return NULL;
}

/* Puts map() of a plainly loaded file in the place of the sandboxed one. */
static void make_bare(struct rules_state *state)
{
    static const char plain[] = "package.path = '" CS_SOURCE_DIR "/lua/?.lua'\n"
                                "cs = { env = function(_, default) return default end }\n"
                                "return require('streams.market_data_v2').map\n";
    lua_State *L = state->L;
    lua_setallocf(L, allocate, &state->limits);
    lua_pushnil(L); /* else the libraries open what the sandbox has put away */
    lua_setfield(L, LUA_REGISTRYINDEX, "_LOADED");
    luaL_openlibs(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    if (luaL_dostring(L, plain))
        die("%s", lua_tostring(L, -1));
    lua_rawseti(L, LUA_REGISTRYINDEX, state->streams[0].map);
    lua_settop(L, 1);
}

/* ---- measuring ---- */

static struct rules_state *load_shipped(void)
{
    static const struct rules_options options = {
        .load_ms = 1000,
        .map_ms = 50,
        .request_ms = 50,
        .reply_ms = 200,
        .memory_bytes = (size_t)64 << 20,
        .message_max_bytes = (size_t)1 << 20,
    };
    struct error err = {.text = ""};
    struct rules_snapshot *snapshot = rules_snapshot_read(CS_SOURCE_DIR "/lua", &err);
    struct rules_state *state = snapshot ? rules_state_new(snapshot, &options, &err) : NULL;
    if (!state)
        die("%s", err.text);
    if (strcmp(rules_state_def(state)->streams[0].file, "streams/market_data_v2.lua") != 0)
        die("lua/init.lua does not begin with streams.market_data_v2");
    rules_snapshot_free(snapshot);
    return state;
}

static double measure(const struct subject *subject, const struct message *message)
{
    struct arena arena = {0};
    struct map_result result;
    runs_bare = subject->is_bare;
    int64_t start_us = clock_thread_cpu_us();
    for (int i = 0; i < REPETITION; i++) {
        rules_map(subject->state, 0, message, &arena, &result);
        if (result.verdict != MAP_ROWS)
            die("no row: %.*s", (int)result.reason.size, result.reason.data);
        arena_reset(&arena);
    }
    double us = (double)(clock_thread_cpu_us() - start_us) / REPETITION;
    runs_bare = false;
    arena_free(&arena);
    return us;
}

static int compare(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return difference < 0 ? -1 : difference > 0;
}

static double median(double *us)
{
    qsort(us, ROUNDS, sizeof(*us), compare);
    return us[ROUNDS / 2];
}

static void compare_line(struct subject *subjects, int number, struct bytes line)
{
    const struct message message = {.topic = "market_data", .timestamp_ms = -1, .payload = line};
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++)
            subjects[i].us[round] = measure(&subjects[i], &message);
    double guarded = median(subjects[0].us), bare = median(subjects[1].us);
    printf("%5d %8zu %10.3f %10.3f %8.1f %%\n", number, line.size, guarded, bare,
           (guarded / bare - 1) * 100);
}

int main(void)
{
    static const char path[] = CS_SOURCE_DIR "/spec/fixtures/market_data.jsonl";
    FILE *file = fopen(path, "r");
    if (!file)
        die("cannot read %s", path);
    struct subject subjects[] = {{.state = load_shipped()},
                                 {.state = load_shipped(), .is_bare = true}};
    make_bare(subjects[1].state);
    printf("%5s %8s %10s %10s %10s   (us per message)\n", "line", "bytes", "rules_map", "bare",
           "cost");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    for (int number = 1; (size = getline(&line, &capacity, file)) > 0; number++)
        compare_line(subjects, number, bytes_of(line, (size_t)size));
    free(line);
    fclose(file);
    rules_state_free(subjects[1].state);
    rules_state_free(subjects[0].state);
    return 0;
}
