#include "rules/convert.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>

#include "base/utf8.h"
#include "rules/api.h"
#include "rules/internal.h"
#include "rules/json.h"

#define EXACT_WHOLE_MAX ((int64_t)1 << 53)

static bool is_exact(int64_t number)
{
    return number >= -EXACT_WHOLE_MAX && number <= EXACT_WHOLE_MAX;
}

static void push_int8(lua_State *L, int64_t number)
{
    if (is_exact(number)) {
        lua_pushnumber(L, (double)number);
        return;
    }
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, number);
    lua_pushstring(L, text);
}

void rules_push_field(lua_State *L, const struct value *value)
{
    switch (value->type) {
    case VALUE_INT8:
    case VALUE_TIME:
        push_int8(L, value->int8);
        return;
    case VALUE_FLOAT8:
        lua_pushnumber(L, value->float8);
        return;
    case VALUE_BOOL:
        lua_pushboolean(L, value->boolean);
        return;
    case VALUE_TEXT:
    case VALUE_NUMERIC:
    case VALUE_JSON:
        lua_pushlstring(L, value->text.data, value->text.size);
        return;
    }
}

void rules_push_fields(lua_State *L, const struct rules_stream *runtime,
                       const struct record *record)
{
    lua_createtable(L, 0, (int)record->n_values);
    for (size_t i = 0; i < record->n_values; i++) {
        if (record->values[i].is_null)
            continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->fields[i]);
        rules_push_field(L, &record->values[i]);
        lua_rawset(L, -3);
    }
}

/* ---- cells ---- */

static void push_number_cell(lua_State *L, enum value_type type, struct bytes text)
{
    int64_t whole;
    double number;
    if (type == VALUE_INT8 && value_parse_int8(text, &whole) && is_exact(whole))
        lua_pushnumber(L, (double)whole);
    else if (type == VALUE_FLOAT8 && value_parse_float8(text, &number))
        lua_pushnumber(L, number);
    else if (type != VALUE_FLOAT8 && value_is_numeric(text))
        rules_push_number_object(L, text);
    else
        rules_push_null(L);
}

void rules_push_cell(lua_State *L, enum value_type type, struct bytes text)
{
    switch (type) {
    case VALUE_INT8:
    case VALUE_FLOAT8:
    case VALUE_NUMERIC:
        push_number_cell(L, type, text);
        return;
    case VALUE_BOOL:
        lua_pushboolean(L, text.size > 0 && text.data[0] == 't');
        return;
    case VALUE_JSON:
        rules_json_decode(L, text);
        return;
    case VALUE_TEXT:
    case VALUE_TIME:
        lua_pushlstring(L, text.data, text.size);
        return;
    }
}

/* ---- taking ---- */

static struct bytes keep(struct taker *taker, struct bytes text)
{
    if (taker->payload.data && text.data >= taker->payload.data &&
        text.data + text.size <= taker->payload.data + taker->payload.size)
        return text;
    if (text.size > taker->size_left)
        luaL_error(taker->L, "the values are larger than %d bytes together",
                   (int)rules_limits_of(taker->L)->memory_max);
    taker->size_left -= text.size;
    return arena_copy(taker->arena, text);
}

static bool wrong(struct taker *taker, int index, const char *expected, struct error *reason)
{
    lua_State *L = taker->L;
    struct bytes number = rules_number_text(L, index);
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        return error_set(reason, "expected %s, got \"%.60s\"", expected, lua_tostring(L, index));
    case LUA_TNUMBER:
        return error_set(reason, "expected %s, got %.17g", expected, lua_tonumber(L, index));
    case LUA_TBOOLEAN:
        return error_set(reason, "expected %s, got %s", expected,
                         lua_toboolean(L, index) ? "true" : "false");
    default:
        if (number.data)
            return error_set(reason, "expected %s, got %.*s", expected, (int)number.size,
                             number.data);
        return error_set(reason, "expected %s, got a %s", expected, luaL_typename(L, index));
    }
}

/* The text of a string or a number object at `index`; absent for anything else. */
static struct bytes text_at(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TSTRING)
        return rules_number_text(L, index);
    struct bytes text;
    text.data = lua_tolstring(L, index, &text.size);
    return text;
}

static bool take_text(struct taker *taker, int index, struct value *value, struct error *reason)
{
    if (lua_type(taker->L, index) != LUA_TSTRING)
        return wrong(taker, index, "a string", reason);
    struct bytes text = text_at(taker->L, index);
    if (memchr(text.data, '\0', text.size))
        return error_set(reason, "expected text, got a string with a zero byte");
    if (!utf8_is_valid(text))
        return error_set(reason, "expected text, got a string that is not UTF-8");
    value->text = keep(taker, text);
    return true;
}

static bool take_whole(struct taker *taker, int index, const char *expected, int64_t *number,
                       struct error *reason)
{
    if (lua_type(taker->L, index) == LUA_TNUMBER) {
        double given = lua_tonumber(taker->L, index);
        if (given != floor(given) || fabs(given) > (double)EXACT_WHOLE_MAX)
            return wrong(taker, index, expected, reason);
        *number = (int64_t)given;
        return true;
    }
    struct bytes text = text_at(taker->L, index);
    return (text.data && value_parse_int8(text, number)) || wrong(taker, index, expected, reason);
}

static bool take_time(struct taker *taker, int index, struct value *value, struct error *reason)
{
    static const char expected[] = "whole milliseconds since 1970";
    if (!take_whole(taker, index, expected, &value->int8, reason))
        return false;
    return (value->int8 >= CALENDAR_MIN_MS && value->int8 <= CALENDAR_MAX_MS) ||
           wrong(taker, index, expected, reason);
}

/* The text that a number of the message was written with. */
static struct bytes source_of(const struct taker *taker, double number)
{
    for (size_t i = 0; taker->record && i < taker->record->n_values; i++) {
        const struct value *field = &taker->record->values[i];
        if (field->type == VALUE_FLOAT8 && !field->is_null && field->float8 == number)
            return field->source;
    }
    return (struct bytes){0};
}

static bool take_float8(struct taker *taker, int index, struct value *value, struct error *reason)
{
    if (lua_type(taker->L, index) == LUA_TNUMBER) {
        value->float8 = lua_tonumber(taker->L, index);
        if (!isfinite(value->float8))
            return wrong(taker, index, "a finite number", reason);
        struct bytes source = source_of(taker, value->float8);
        if (source.data)
            value->source = keep(taker, source);
        return true;
    }
    struct bytes text = text_at(taker->L, index);
    if (!text.data || !value_parse_float8(text, &value->float8))
        return wrong(taker, index, "a finite number", reason);
    value->source = keep(taker, text);
    return true;
}

static bool take_numeric(struct taker *taker, int index, struct value *value, struct error *reason)
{
    lua_State *L = taker->L;
    struct bytes text = text_at(L, index);
    if (text.data) {
        if (!value_is_numeric(text))
            return wrong(taker, index, "a decimal number", reason);
        value->text = keep(taker, text);
        return true;
    }
    double number = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || !isfinite(number))
        return wrong(taker, index, "a decimal number", reason);
    text = source_of(taker, number);
    if (!text.data) {
        struct buffer *scratch = &rules_state_of(L)->scratch;
        buffer_clear(scratch);
        buffer_append_double(scratch, number);
        text = buffer_bytes(scratch);
    }
    value->text = keep(taker, text);
    return true;
}

/* A string has to be JSON already; a table is encoded. */
static bool take_json(struct taker *taker, int index, struct value *value, struct error *reason)
{
    lua_State *L = taker->L;
    if (lua_type(L, index) == LUA_TSTRING) {
        struct bytes text = text_at(L, index);
        if (!rules_json_check(L, text, NULL))
            return wrong(taker, index, "JSON", reason);
        value->text = keep(taker, text);
        return true;
    }
    if (!lua_istable(L, index) && !lua_isnumber(L, index) && !lua_isboolean(L, index) &&
        !rules_number_text(L, index).data && !rules_raw_text(L, index).data)
        return wrong(taker, index, "JSON", reason);
    struct buffer *scratch = &rules_state_of(L)->scratch;
    buffer_clear(scratch);
    rules_json_encode(L, index, scratch);
    value->text = keep(taker, buffer_bytes(scratch));
    return true;
}

bool rules_take_value(struct taker *taker, int index, enum value_type type, struct value *value,
                      struct error *reason)
{
    *value = (struct value){.type = type};
    switch (type) {
    case VALUE_TEXT:
        return take_text(taker, index, value, reason);
    case VALUE_INT8:
        return take_whole(taker, index, "a whole number", &value->int8, reason);
    case VALUE_TIME:
        return take_time(taker, index, value, reason);
    case VALUE_FLOAT8:
        return take_float8(taker, index, value, reason);
    case VALUE_NUMERIC:
        return take_numeric(taker, index, value, reason);
    case VALUE_BOOL:
        value->boolean = lua_toboolean(taker->L, index);
        return lua_isboolean(taker->L, index) || wrong(taker, index, "true or false", reason);
    case VALUE_JSON:
        return take_json(taker, index, value, reason);
    }
    return error_set(reason, "unknown type");
}

/* ---- texts ---- */

static const char *time_text(struct arena *arena, int64_t ms)
{
    char iso[CALENDAR_ISO_SIZE];
    calendar_format_iso(ms, iso);
    return arena_printf(arena, "%s", iso);
}

const char *rules_value_text(struct arena *arena, const struct value *value)
{
    if (value->is_null)
        return NULL;
    struct buffer shortest = {0};
    const char *text = NULL;
    switch (value->type) {
    case VALUE_TEXT:
    case VALUE_NUMERIC:
    case VALUE_JSON:
        return arena_copy(arena, value->text).data;
    case VALUE_INT8:
        return arena_printf(arena, "%" PRId64, value->int8);
    case VALUE_BOOL:
        return value->boolean ? "t" : "f";
    case VALUE_TIME:
        return time_text(arena, value->int8);
    case VALUE_FLOAT8:
        if (value->source.data)
            return arena_copy(arena, value->source).data;
        buffer_append_double(&shortest, value->float8);
        text = arena_copy(arena, buffer_bytes(&shortest)).data;
        buffer_free(&shortest);
        return text;
    }
    return text;
}

void rules_value_append_json(struct buffer *out, const struct value *value)
{
    if (value->is_null) {
        buffer_append_string(out, "null");
        return;
    }
    switch (value->type) {
    case VALUE_TEXT:
        buffer_append_json(out, value->text);
        return;
    case VALUE_NUMERIC:
    case VALUE_JSON:
        buffer_append(out, value->text.data, value->text.size);
        return;
    case VALUE_INT8:
    case VALUE_TIME:
        buffer_printf(out, "%" PRId64, value->int8);
        return;
    case VALUE_BOOL:
        buffer_append_string(out, value->boolean ? "true" : "false");
        return;
    case VALUE_FLOAT8:
        buffer_append_double(out, value->float8);
        return;
    }
}
