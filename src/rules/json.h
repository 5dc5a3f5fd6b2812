/* JSON between Lua and text, and the values that Lua has no type for. Private to rules/. */
#ifndef RULES_JSON_H
#define RULES_JSON_H

#include <lua.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"

#define RULES_JSON_DEPTH_MAX 100

/* Once for each state, before anything else here. Raise. */
void rules_json_values_open(lua_State *L);
void rules_decoder_open(lua_State *L);

/* Pushes the decoded value. Raises with the decoder's words ("Expected value but found invalid
 * token at character 1"). NaN, Infinity and hexadecimal numbers are refused. */
void rules_json_decode(lua_State *L, struct bytes text);

/* True for one JSON text by RFC 8259, UTF-8 included; otherwise `err` (may be NULL) says what is
 * wrong and at which byte. */
bool rules_json_check(lua_State *L, struct bytes text, struct error *err);

/* Appends the value at `index`. Keys are in the order of their bytes, so that equal tables make
 * equal texts. Raises for what has no JSON, for too great a depth, and when `out` would exceed the
 * memory limit of a state. */
void rules_json_encode(lua_State *L, int index, struct buffer *out);

/* Marked by cs.json.array: an array even when it is empty. False: it has another metatable. */
bool rules_mark_array(lua_State *L, int index);
bool rules_is_array(lua_State *L, int index);

/* Calls the decoder with the string on top, in whose place is then the value, or what is wrong when
 * the result is not 0. Raises. */
int rules_call_decoder(lua_State *L);

/* cs.null */
void rules_push_null(lua_State *L);
bool rules_is_null(lua_State *L, int index);

/* A decimal number that keeps its text. */
void rules_push_number_object(lua_State *L, struct bytes text);
/* Its text, or absent when the value at `index` is none. */
struct bytes rules_number_text(lua_State *L, int index);
/* JSON that goes into other JSON as it is. */
void rules_push_raw_object(lua_State *L, struct bytes text);
/* The text of what cs.json.raw made, or absent when the value at `index` is none. */
struct bytes rules_raw_text(lua_State *L, int index);

/* The functions of cs.json; pushed as one table. */
void rules_json_push_api(lua_State *L);

#endif
