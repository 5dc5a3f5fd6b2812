/* What scripts can reach: the globals, `require`, tables that cannot be written. Private to rules/.
 */
#ifndef RULES_SANDBOX_H
#define RULES_SANDBOX_H

#include <lua.h>
#include <stdbool.h>

#include "base/buffer.h"

/* Key of the registry, which no script can reach: the globals that all files share. */
#define RULES_GLOBALS "rules.globals"

/* Builds the globals of a new state. Raises. */
void rules_sandbox_open(lua_State *L);

/* ---- frozen tables ---- */

/* Once for each state. Raises. */
void rules_freezer_open(lua_State *L);
/* Makes the table at `index` read-only for those who have it; what they read is the table on top,
 * which is popped. `in_place`: that is the same table. Raises. */
void rules_protect(lua_State *L, int index, bool in_place);

/* Makes the table at `index` read-only in place, with the tables in it, metatables of a script's
 * own being left alone: every reference to it sees that. A table with array elements keeps them in
 * place, so that # and ipairs work; for it only new keys are refused. Metamethods stay in place
 * too, so that a class goes on being one. Raises. */
void rules_freeze(lua_State *L, int index);
/* If the table at `index` (a position on the stack, not a pseudo-index) is frozen, replaces it by
 * the one that holds its contents, for reading only. */
void rules_unfreeze(lua_State *L, int index);
/* True when the value at `index` is a frozen table. */
bool rules_is_frozen(lua_State *L, int index);

/* ---- modules ---- */

/* Appends "streams/a.lua, lib/b.lua", the files that init.lua requires and that returned no table.
 */
void rules_append_tableless(lua_State *L, struct buffer *out);
/* Freezes what every module returned. Raises. */
void rules_freeze_modules(lua_State *L);
/* The path of the file whose chunk returned the table at `index`, or NULL. Lives as long as the
 * state. */
const char *rules_file_of(lua_State *L, int index);
/* The same as require(name) in init.lua: leaves the module on the stack. Raises. */
void rules_require(lua_State *L, const char *name);
/* Nothing counts as loaded (any more): loading begins. Raises. */
void rules_modules_open(lua_State *L);
/* Marks the table at `index` as a definition (of a stream, an endpoint): it is never frozen. */
void rules_keep_unfrozen(lua_State *L, int index);

/* ---- */

/* Number of parameters that the Lua function at `index` declares; INT_MAX when it is variadic. */
int rules_parameter_count(lua_State *L, int index);

/* The functions that replace the library's, by file. */
int l_pcall(lua_State *L);
int l_xpcall(lua_State *L);
int l_require(lua_State *L);
int l_next(lua_State *L);
int l_pairs(lua_State *L);
int l_rawget(lua_State *L);
int l_rawset(lua_State *L);
int l_insert(lua_State *L);
int l_remove(lua_State *L);
int l_concat(lua_State *L);
int l_sort(lua_State *L);
int l_find(lua_State *L);
int l_match(lua_State *L);
int l_gmatch(lua_State *L);
int l_gsub(lua_State *L);
int l_rep(lua_State *L);
int l_format(lua_State *L);
int l_date(lua_State *L);

#endif
