/* Values between Lua and the model's types. Private to rules/. */
#ifndef RULES_CONVERT_H
#define RULES_CONVERT_H

#include <lua.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "message/reader.h"
#include "model/value.h"

struct rules_stream;

/* Pushes a field of a message as Lua sees it: whole numbers beyond 2^53 as decimal strings. */
void rules_push_field(lua_State *L, const struct value *value);
/* Pushes a table of the fields that are there. */
void rules_push_fields(lua_State *L, const struct rules_stream *runtime,
                       const struct record *record);

/* Pushes a cell of a result: numbers exactly (as number objects where a double is not enough), NaN
 * and the infinities as cs.null, json decoded. Raises. */
void rules_push_cell(lua_State *L, enum value_type type, struct bytes text);

/* Takes values out of Lua. */
struct taker {
    lua_State *L;
    struct arena *arena;         /* texts are copied into it */
    size_t size_left;            /* bytes that may still be copied */
    const struct record *record; /* the message: its numbers lend their text; NULL: none */
    const struct field_def *fields;
    struct bytes payload; /* texts that lie in it are not copied */
};

/* Reads the value at `index`, which is neither nil nor cs.null, as `type`. NULL, or what is wrong
 * with it ("expected a finite number, got nil"), in `reason`. Never raises but for limits. */
bool rules_take_value(struct taker *taker, int index, enum value_type type, struct value *value,
                      struct error *reason);

/* A value in PostgreSQL's text format, NUL-terminated, in the arena; NULL for SQL NULL. */
const char *rules_value_text(struct arena *arena, const struct value *value);

/* A value as JSON, for messages to people. */
void rules_value_append_json(struct buffer *out, const struct value *value);

#endif
