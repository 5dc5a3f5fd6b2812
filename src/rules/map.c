#include "rules/map.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "rules/json.h"
#include "rules/series.h"

#define REASON_MAX 500

const char *reject_stage_name(enum reject_stage stage)
{
    switch (stage) {
    case STAGE_DECODE:
        return "decode";
    case STAGE_MAP:
        return "map";
    case STAGE_ROW:
        return "row";
    case STAGE_DATABASE:
        return "database";
    }
    die("reject stage %d", (int)stage);
}

/* One call of map(), as its body sees it. */
struct mapping {
    struct rules_state *state;
    const struct stream_def *stream;
    const struct rules_stream *runtime;
    const struct message *message;
    const struct record *record; /* NULL: the payload is to be decoded whole */
    struct arena *arena;
    struct map_result *result;
};

/* A reason is text for a column of type text: UTF-8 without zero bytes, whatever a script says. */
static struct bytes keep_reason(struct arena *arena, struct bytes reason)
{
    static const char replacement[] = "\xef\xbf\xbd";
    char *kept = arena_alloc(arena, REASON_MAX + sizeof(replacement));
    size_t size = 0;
    while (reason.size > 0) {
        size_t taken = utf8_char_size(reason);
        bool is_good = taken > 0 && *reason.data != '\0';
        struct bytes part = is_good ? bytes_of(reason.data, taken) : bytes_of_string(replacement);
        if (size + part.size > REASON_MAX)
            break;
        memcpy(kept + size, part.data, part.size);
        size += part.size;
        reason.data += is_good ? taken : 1;
        reason.size -= is_good ? taken : 1;
    }
    return bytes_of(kept, size);
}

static void reject(struct mapping *mapping, enum reject_stage stage, const char *reason)
{
    mapping->result->verdict = MAP_REJECT;
    mapping->result->stage = stage;
    mapping->result->reason = keep_reason(mapping->arena, bytes_of_string(reason));
}

/* ---- what names a message that is rejected ---- */

static void identify_symbol(struct mapping *mapping, const struct value *value)
{
    struct bytes *symbol = &mapping->result->symbol;
    if (value->type == VALUE_TEXT || value->type == VALUE_NUMERIC || value->type == VALUE_JSON)
        *symbol = arena_copy(mapping->arena, value->text);
    else
        *symbol = bytes_of_string(rules_value_text(mapping->arena, value));
}

static void identify_sequence(struct mapping *mapping, const struct value *value)
{
    struct map_result *result = mapping->result;
    if (value->type == VALUE_INT8) {
        result->sequence = value->int8;
        result->has_sequence = true;
    } else {
        result->has_sequence = value_parse_int8(value->text, &result->sequence);
    }
}

static void identify(struct mapping *mapping, const struct record *record)
{
    size_t symbol = mapping->stream->identify_symbol;
    size_t sequence = mapping->stream->identify_sequence;
    if (symbol < record->n_values && !record->values[symbol].is_null)
        identify_symbol(mapping, &record->values[symbol]);
    if (sequence < record->n_values && !record->values[sequence].is_null)
        identify_sequence(mapping, &record->values[sequence]);
}

/* ---- arguments ---- */

static void push_meta(lua_State *L, const struct mapping *mapping)
{
    const struct message *message = mapping->message;
    lua_createtable(L, 0, 6);
    lua_pushstring(L, message->topic);
    lua_setfield(L, -2, "topic");
    lua_pushinteger(L, message->partition);
    lua_setfield(L, -2, "partition");
    lua_pushnumber(L, (double)message->offset);
    lua_setfield(L, -2, "offset");
    if (message->key.data) {
        lua_pushlstring(L, message->key.data, message->key.size);
        lua_setfield(L, -2, "key");
    }
    if (message->timestamp_ms >= 0) {
        lua_pushnumber(L, (double)message->timestamp_ms);
        lua_setfield(L, -2, "timestamp");
    }
    if (mapping->record) {
        lua_pushnumber(L, (double)(mapping->record->shape + 1));
        lua_setfield(L, -2, "shape");
    }
}

/* ---- results ---- */

static const char *verdict_at(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
}

/* nil, "skip" or "reject", reason */
static void take_refusal(lua_State *L, struct mapping *mapping, int first)
{
    const char *verdict = verdict_at(L, first + 1);
    bool is_skip = strcmp(verdict, "skip") == 0;
    if (!is_skip && strcmp(verdict, "reject") != 0) {
        reject(mapping, STAGE_MAP,
               "map returned neither rows nor nil, \"skip\" or \"reject\", reason");
        return;
    }
    struct bytes reason = {0};
    if (lua_type(L, first + 2) == LUA_TSTRING)
        reason.data = lua_tolstring(L, first + 2, &reason.size);
    if (reason.size == 0)
        reason = bytes_of_string(is_skip ? "no reason given" : "rejected without a reason");
    mapping->result->verdict = is_skip ? MAP_SKIP : MAP_REJECT;
    mapping->result->stage = STAGE_MAP;
    mapping->result->reason = keep_reason(mapping->arena, reason);
}

static void take_result(lua_State *L, struct mapping *mapping, int first)
{
    if (!lua_istable(L, first)) {
        take_refusal(L, mapping, first);
        return;
    }
    struct taker taker = {
        .L = L,
        .arena = mapping->arena,
        .size_left = mapping->state->limits.memory_max,
        .record = mapping->record,
        .fields = mapping->stream->reader.fields,
        .payload = mapping->message->payload,
    };
    struct error reason = {.text = ""};
    struct map_result *result = mapping->result;
    if (rules_take_rows(&taker, mapping->stream, mapping->runtime, first, &result->rows,
                        &result->n_rows, &reason))
        result->verdict = MAP_ROWS;
    else
        reject(mapping, STAGE_ROW, reason.text);
}

/* Decodes the whole message. False: it is rejected. */
static bool push_decoded(lua_State *L, struct mapping *mapping)
{
    struct bytes payload = mapping->message->payload;
    struct error err;
    if (!rules_json_check(L, payload, &err)) {
        error_context(&err, "not JSON");
        reject(mapping, STAGE_DECODE, err.text);
        return false;
    }
    rules_json_decode(L, payload);
    return true;
}

static void run_map(lua_State *L, void *arg)
{
    struct mapping *mapping = arg;
    lua_rawgeti(L, LUA_REGISTRYINDEX, mapping->runtime->map);
    if (mapping->record)
        rules_push_fields(L, mapping->runtime, mapping->record);
    else if (!push_decoded(L, mapping))
        return;
    if (mapping->runtime->wants_meta)
        push_meta(L, mapping);
    else
        lua_pushnil(L);
    lua_call(L, 2, 3);
    take_result(L, mapping, lua_gettop(L) - 2);
}

/* ---- one message ---- */

/* Reads the fields. False: the message is rejected already. */
static bool read_fields(struct mapping *mapping, struct record *record)
{
    struct error err = {.text = ""};
    enum read_result read = reader_read(mapping->state->reader, mapping->stream->plan,
                                        mapping->message->payload, record, &err);
    if (read == READ_OK || read == READ_WRONG_TYPE)
        identify(mapping, record);
    if (read != READ_OK)
        reject(mapping, STAGE_DECODE, err.text);
    return read == READ_OK;
}

static void map_payload(struct mapping *mapping, struct record *record)
{
    struct rules_state *state = mapping->state;
    const struct stream_def *stream = mapping->stream;
    if (mapping->message->payload.size > state->options.message_max_bytes) {
        reject(mapping, STAGE_DECODE, "the message is larger than the limit");
        return;
    }
    if (stream->plan) {
        if (!read_fields(mapping, record))
            return;
        mapping->record = record;
    }
    state->component = stream->name;
    const struct rules_entry entry = {stream->file, "map", state->options.map_ms};
    struct error err = {.text = ""};
    if (rules_enter(state, &entry, run_map, mapping, &err) != RULES_DONE)
        reject(mapping, STAGE_MAP, err.text);
    state->component = "rules";
}

void rules_map(struct rules_state *state, size_t stream, const struct message *message,
               struct arena *arena, struct map_result *result)
{
    const struct stream_def *def = &state->def.streams[stream];
    struct mapping mapping = {state, def, &state->streams[stream], message, NULL, arena, result};
    struct record record = {0};
    *result = (struct map_result){.verdict = MAP_REJECT};
    if (!message->payload.data) {
        result->verdict = MAP_SKIP;
        result->reason = bytes_of_string("tombstone");
        return;
    }
    map_payload(&mapping, &record);
    if (result->verdict != MAP_ROWS)
        rules_find_series(state, stream, message, record.n_values > 0 ? &record : NULL, arena,
                          result);
}
