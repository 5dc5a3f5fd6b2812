#include "rules/series.h"

#include <lauxlib.h>

#include "base/log.h"
#include "model/series.h"
#include "rules/convert.h"
#include "rules/json.h"
#include "rules/sandbox.h"

#define LOG_INTERVAL_MS 10000

/* One call of series() or track_key(), as its body sees it. */
struct naming {
    struct rules_state *state;
    const struct stream_def *stream;
    const struct rules_stream *runtime;
    const struct message *message;
    const struct record *record;
    struct arena *arena;
    struct map_result *result;
};

static const struct table_def *find_table(lua_State *L, const struct stream_def *stream, int index)
{
    const char *name = lua_tostring(L, index);
    for (size_t i = 0; i < stream->n_tables; i++)
        if (strcmp(stream->tables[i].name, name) == 0 && stream->tables[i].track.by)
            return &stream->tables[i];
    luaL_error(L, "\"%s\" is no tracked table of the stream", name);
    return NULL;
}

/* The values at `index`, each as its column takes it; absent when one is missing. */
static struct bytes take_values(lua_State *L, struct naming *naming, const struct table_def *table,
                                int index)
{
    struct taker taker = {.L = L,
                          .arena = naming->arena,
                          .size_left = naming->state->limits.memory_max,
                          .record = naming->record,
                          .fields = naming->stream->reader.fields,
                          .payload = naming->message->payload};
    struct value *values = arena_alloc(naming->arena, table->n_columns * sizeof(*values));
    struct error reason = {.text = ""};
    rules_unfreeze(L, index);
    if (lua_objlen(L, index) > table->track.n_by)
        luaL_error(L, "%s is tracked by %d columns, got %d values", table->name,
                   (int)table->track.n_by, (int)lua_objlen(L, index));
    for (size_t i = 0; i < table->track.n_by; i++) {
        size_t column = table->track.by[i];
        lua_rawgeti(L, index, (int)i + 1);
        values[column] = (struct value){.is_null = true};
        if (!lua_isnil(L, -1) && !rules_is_null(L, lua_gettop(L)) &&
            !rules_take_value(&taker, lua_gettop(L), table->columns[column].type, &values[column],
                              &reason))
            luaL_error(L, "%s.%s: %s", table->name, table->columns[column].name, reason.text);
        lua_pop(L, 1);
    }
    const struct row row = {table, values};
    return series_of_row(&row, naming->arena);
}

/* nil: unknown; or the name of a table and a list of values. */
static void take_name(lua_State *L, struct naming *naming)
{
    int first = lua_gettop(L) - 1;
    if (lua_isnil(L, first))
        return;
    if (lua_type(L, first) != LUA_TSTRING || !lua_istable(L, first + 1))
        luaL_error(L, "expected the name of a table and a list of values, or nil");
    const struct table_def *table = find_table(L, naming->stream, first);
    struct bytes series = take_values(L, naming, table, first + 1);
    if (!series.data)
        return;
    naming->result->series_table = bytes_of_string(table->name);
    naming->result->series = series;
}

/* The names of the fields that are there but could not be read, each true. */
static void push_unread(lua_State *L, const struct naming *naming)
{
    const struct record *record = naming->record;
    lua_createtable(L, 0, 0);
    for (size_t i = 0; record && record->unread && i < record->n_values; i++) {
        if (!record->unread[i])
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, naming->runtime->fields[i]);
        lua_pushboolean(L, true);
        lua_rawset(L, -3);
    }
}

static void run_series(lua_State *L, void *arg)
{
    struct naming *naming = arg;
    struct error err;
    lua_rawgeti(L, LUA_REGISTRYINDEX, naming->runtime->series);
    if (naming->record)
        rules_push_fields(L, naming->runtime, naming->record);
    else if (!naming->stream->plan && rules_json_check(L, naming->message->payload, &err))
        rules_json_decode(L, naming->message->payload);
    else
        return;
    push_unread(L, naming);
    lua_call(L, 2, 2);
    take_name(L, naming);
}

static void run_track_key(lua_State *L, void *arg)
{
    struct naming *naming = arg;
    lua_rawgeti(L, LUA_REGISTRYINDEX, naming->runtime->track_key);
    lua_pushlstring(L, naming->message->key.data, naming->message->key.size);
    lua_call(L, 1, 2);
    take_name(L, naming);
}

/* A function that breaks names no series: the loss then counts for all of the partition. */
static void call(struct naming *naming, const char *hook, void (*body)(lua_State *L, void *arg))
{
    const struct rules_entry entry = {naming->stream->file, hook, naming->state->options.map_ms};
    struct error err = {.text = ""};
    uint64_t held_back;
    naming->state->component = naming->stream->name;
    if (rules_enter(naming->state, &entry, body, naming, &err) != RULES_DONE &&
        log_limit_pass(&naming->state->series_limit, LOG_INTERVAL_MS, &held_back))
        log_warn(naming->stream->name, "%s", err.text);
    naming->state->component = "rules";
}

void rules_find_series(struct rules_state *state, size_t stream, const struct message *message,
                       const struct record *record, struct arena *arena, struct map_result *result)
{
    const struct rules_stream *runtime = &state->streams[stream];
    struct naming naming = {state, &state->def.streams[stream], runtime, message, record, arena,
                            result};
    bool is_rejected = result->verdict == MAP_REJECT;
    bool is_wanted = is_rejected || (result->verdict == MAP_SKIP && naming.stream->dense);
    if (is_wanted && runtime->series != LUA_NOREF && message->payload.data)
        call(&naming, "series", run_series);
    if (is_rejected && !result->series.data && runtime->track_key != LUA_NOREF && message->key.data)
        call(&naming, "track_key", run_track_key);
}
