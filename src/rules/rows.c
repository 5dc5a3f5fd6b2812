#include <lauxlib.h>

#include "rules/json.h"
#include "rules/map.h"
#include "rules/sandbox.h"

struct row_list {
    struct row *rows;
    size_t n_rows;
    size_t capacity;
};

static struct row *add_row(struct taker *taker, struct row_list *list)
{
    if (list->n_rows == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 4 : 4;
        struct row *rows = arena_alloc(taker->arena, capacity * sizeof(*rows));
        if (list->n_rows > 0)
            memcpy(rows, list->rows, list->n_rows * sizeof(*rows));
        list->rows = rows;
        list->capacity = capacity;
    }
    return &list->rows[list->n_rows++];
}

/* Keys are interned: the same name is the same address. Rows are made by the same code, mostly with
 * their keys in the same order, so what came at this step last time is looked at first. */
static size_t find_column(const struct table_def *table, const struct rules_table *names,
                          const char *key, size_t step)
{
    if (step < table->n_columns && names->columns[names->guesses[step]] == key)
        return names->guesses[step];
    for (size_t i = 0; i < table->n_columns; i++) {
        if (names->columns[i] == key) {
            if (step < table->n_columns)
                names->guesses[step] = i;
            return i;
        }
    }
    return table->n_columns;
}

static bool take_column(struct taker *taker, const struct table_def *table, size_t column,
                        int index, struct value *value, struct error *reason)
{
    const struct column_def *def = &table->columns[column];
    if (rules_is_null(taker->L, index))
        return true; /* it is NULL already */
    return rules_take_value(taker, index, def->type, value, reason) ||
           error_context(reason, "%s.%s", table->name, def->name);
}

/* Every column is there or may be missing. cs.null counts as being there. */
static bool check_missing(const struct table_def *table, const bool *seen, struct error *reason)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (!seen[i] && !table->columns[i].optional)
            return error_set(reason,
                             "%s.%s: missing (cs.null stores NULL; declare it with ? to "
                             "leave it out)",
                             table->name, table->columns[i].name);
    return true;
}

static bool take_row(struct taker *taker, const struct table_def *table,
                     const struct rules_table *names, int index, struct row *row,
                     struct error *reason)
{
    lua_State *L = taker->L;
    struct value *values = arena_alloc(taker->arena, table->n_columns * sizeof(*values));
    bool *seen = arena_alloc(taker->arena, table->n_columns * sizeof(*seen));
    for (size_t i = 0; i < table->n_columns; i++) {
        values[i] = (struct value){.type = table->columns[i].type, .is_null = true};
        seen[i] = false;
    }
    rules_unfreeze(L, index);
    lua_pushnil(L);
    for (size_t step = 0; lua_next(L, index); step++) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        size_t column = key ? find_column(table, names, key, step) : table->n_columns;
        if (column == table->n_columns)
            return error_set(reason, "%s.%.60s: there is no such column", table->name,
                             key ? key : "[a key that is no name]");
        if (!take_column(taker, table, column, lua_gettop(L), &values[column], reason))
            return false;
        seen[column] = true;
        lua_pop(L, 1);
    }
    row->table = table;
    row->values = values;
    return check_missing(table, seen, reason);
}

/* Nothing of a list may be passed over: it has no keys but 1 to its length. */
static bool check_list(lua_State *L, int index, size_t size, const struct table_def *table,
                       struct error *reason)
{
    size_t n_keys = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        n_keys++;
    return n_keys == size ||
           error_set(reason, "%s: a list of rows has holes or other keys", table->name);
}

/* One row, or an array of them. */
static bool take_table(struct taker *taker, const struct table_def *table,
                       const struct rules_table *names, int index, struct row_list *list,
                       struct error *reason)
{
    lua_State *L = taker->L;
    if (!lua_istable(L, index))
        return error_set(reason, "%s: expected a row or an array of rows, got a %s", table->name,
                         luaL_typename(L, index));
    rules_unfreeze(L, index);
    lua_rawgeti(L, index, 1);
    bool is_array = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (!is_array) {
        lua_pushnil(L);
        if (!lua_next(L, index))
            return true; /* {} is an array without rows */
        lua_pop(L, 2);
        return take_row(taker, table, names, index, add_row(taker, list), reason);
    }
    size_t size = lua_objlen(L, index);
    if (list->n_rows + size > RULES_ROWS_MAX)
        return error_set(reason, "more than %d rows from one message", RULES_ROWS_MAX);
    if (!check_list(L, index, size, table, reason))
        return false;
    for (size_t i = 1; i <= size; i++) {
        lua_rawgeti(L, index, (int)i);
        if (!lua_istable(L, -1))
            return error_set(reason, "%s: row %zu is a %s", table->name, i, luaL_typename(L, -1));
        if (!take_row(taker, table, names, lua_gettop(L), add_row(taker, list), reason))
            return error_context(reason, "row %zu", i);
        lua_settop(L, index);
    }
    return true;
}

/* A key of the result that is no table of the stream. */
static bool check_tables(lua_State *L, const struct stream_def *stream,
                         const struct rules_stream *runtime, int index, struct error *reason)
{
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        size_t i = 0;
        while (i < stream->n_tables && runtime->tables[i].name != key)
            i++;
        if (i == stream->n_tables)
            return error_set(reason, "%.60s: the stream has no such table",
                             key ? key : "[a key that is no name]");
    }
    return true;
}

bool rules_take_rows(struct taker *taker, const struct stream_def *stream,
                     const struct rules_stream *runtime, int index, struct row **rows,
                     size_t *n_rows, struct error *reason)
{
    lua_State *L = taker->L;
    struct row_list list = {0};
    luaL_checkstack(L, 12, "rows");
    lua_pushvalue(L, index);
    index = lua_gettop(L);
    rules_unfreeze(L, index);
    if (!check_tables(L, stream, runtime, index, reason))
        return false;
    for (size_t i = 0; i < stream->n_tables; i++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->tables[i].name_reference);
        lua_rawget(L, index);
        if (!lua_isnil(L, -1) && !take_table(taker, &stream->tables[i], &runtime->tables[i],
                                             lua_gettop(L), &list, reason))
            return false;
        lua_settop(L, index);
    }
    *rows = list.rows;
    *n_rows = list.n_rows;
    return list.n_rows > 0 ||
           error_set(reason, "map returned no rows (return nil, \"skip\", reason to store none)");
}
