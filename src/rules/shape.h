/* Reading the tables that rule files return, with errors that name file, field and what was
 * expected. Everything here raises such an error; strings and arrays come from the state's arena.
 * Private to rules/. */
#ifndef RULES_SHAPE_H
#define RULES_SHAPE_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

#define SHAPE_NAME_MAX 100

struct shape {
    lua_State *L;
    struct arena *arena;
    const char *file;
};

/* "streams/x.lua: " and the text. */
_Noreturn void shape_fail(const struct shape *shape, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What stands at `where` ("tables.klines.key") is at `index` and has to be a table; a
 * frozen one is replaced by its contents. */
void shape_expect_table(const struct shape *shape, int index, const char *where);
/* The table at `index` has no keys but these (NULL-terminated). `where` is "" for the file itself.
 */
void shape_check_keys(const struct shape *shape, int index, const char *where,
                      const char *const *known);

/* A field of the table at `index`. `where` names the field. A string is UTF-8, not empty and has no
 * zero byte. */
const char *shape_string(const struct shape *shape, int index, const char *key, const char *where);
/* NULL when it is nil. */
const char *shape_optional_string(const struct shape *shape, int index, const char *key,
                                  const char *where);
/* A string that is short enough for a log line's component and a metric's label; NULL: nil. */
const char *shape_name(const struct shape *shape, int index, const char *key);
/* The string at `index` itself. */
const char *shape_string_here(const struct shape *shape, int index, const char *where);
/* Pushes the field and returns its index. False: it is nil, nothing is pushed. */
bool shape_optional_table(const struct shape *shape, int index, const char *key, const char *where);
void shape_table(const struct shape *shape, int index, const char *key, const char *where);
/* A reference in the registry to a function; LUA_NOREF when it is nil. */
int shape_optional_function(const struct shape *shape, int index, const char *key,
                            const char *where);
int shape_function(const struct shape *shape, int index, const char *key, const char *where);

/* Length of the array at `index`: keys are 1 to n and nothing else. */
size_t shape_array_size(const struct shape *shape, int index, const char *where);
/* The keys of the table at `index`, all strings, sorted. */
const char **shape_names(const struct shape *shape, int index, const char *where, size_t *n_names);
/* A type with or without `?`. The bytes are without it. */
struct bytes shape_type(const struct shape *shape, int index, const char *where, bool *optional);

#endif
