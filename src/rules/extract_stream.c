/* Stream files: fields and shapes, tables, what identifies a message. */
#include <lauxlib.h>
#include <stdlib.h>

#include "rules/extract.h"
#include "rules/sandbox.h"

#define COLUMNS_MAX 200
#define FIELDS_MAX  200
#define TOPIC_MAX   249

static void *alloc_array(const struct shape *shape, size_t count, size_t size)
{
    void *block = arena_alloc(shape->arena, count * size + 1);
    memset(block, 0, count * size);
    return block;
}

static const char *path(const struct shape *shape, const char *where, const char *name)
{
    return arena_printf(shape->arena, "%s.%s", where, name);
}

/* An interned string that lives as long as the state; returns its reference. */
static int intern(const struct shape *shape, const char *text, const char **interned)
{
    lua_pushstring(shape->L, text);
    if (interned)
        *interned = lua_tostring(shape->L, -1);
    return luaL_ref(shape->L, LUA_REGISTRYINDEX);
}

/* ---- fields and shapes ---- */

static void extract_field(const struct shape *shape, int index, const char *name,
                          struct field_def *field)
{
    const char *where = path(shape, "fields", name);
    field->name = name;
    struct bytes type = shape_type(shape, index, where, &field->optional);
    if (!value_type_from_field_name(type, &field->type))
        shape_fail(shape,
                   "%s: \"%.*s\" is no type, known are text, int8, float8, numeric, bool, ms, "
                   "json, with ? behind it for what may be absent",
                   where, (int)type.size, type.data);
}

static void extract_fields(const struct shape *shape, int index, struct stream_def *stream,
                           struct rules_stream *runtime)
{
    lua_State *L = shape->L;
    shape_table(shape, index, "fields", "fields");
    int fields = lua_gettop(L);
    size_t n_fields;
    const char **names = shape_names(shape, fields, "fields", &n_fields);
    if (n_fields == 0 || n_fields > FIELDS_MAX)
        shape_fail(shape, "fields: expected 1 to %d fields, got %zu", FIELDS_MAX, n_fields);
    struct field_def *defs = alloc_array(shape, n_fields, sizeof(*defs));
    runtime->fields = alloc_array(shape, n_fields, sizeof(*runtime->fields));
    for (size_t i = 0; i < n_fields; i++) {
        lua_getfield(L, fields, names[i]);
        extract_field(shape, lua_gettop(L), names[i], &defs[i]);
        runtime->fields[i] = intern(shape, names[i], NULL);
        lua_pop(L, 1);
    }
    stream->reader.fields = defs;
    stream->reader.n_fields = n_fields;
    lua_pop(L, 1);
}

static size_t find_field(const struct stream_def *stream, const char *name)
{
    for (size_t i = 0; i < stream->reader.n_fields; i++)
        if (strcmp(stream->reader.fields[i].name, name) == 0)
            return i;
    return FIELD_NONE;
}

/* A path, or a list of them, at `index`. */
static void extract_paths(const struct shape *shape, int index, const char *where,
                          struct field_paths *paths)
{
    lua_State *L = shape->L;
    bool is_list = lua_istable(L, index);
    paths->n_paths = is_list ? shape_array_size(shape, index, where) : 1;
    if (paths->n_paths == 0)
        shape_fail(shape, "%s: expected a path or a list of paths, got an empty list", where);
    paths->paths = alloc_array(shape, paths->n_paths, sizeof(*paths->paths));
    if (!is_list) {
        paths->paths[0] = shape_string_here(shape, index, where);
        return;
    }
    for (size_t i = 0; i < paths->n_paths; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        paths->paths[i] = shape_string_here(shape, lua_gettop(L), where);
        lua_pop(L, 1);
    }
}

static void extract_shape(const struct shape *shape, int index, const char *where,
                          const struct stream_def *stream, struct shape_def *def)
{
    lua_State *L = shape->L;
    shape_expect_table(shape, index, where);
    size_t n_names;
    const char **names = shape_names(shape, index, where, &n_names);
    def->fields = alloc_array(shape, stream->reader.n_fields, sizeof(*def->fields));
    for (size_t i = 0; i < n_names; i++) {
        const char *name_where = path(shape, where, names[i]);
        size_t field = find_field(stream, names[i]);
        if (field == FIELD_NONE)
            shape_fail(shape, "%s: there is no such field in fields", name_where);
        lua_getfield(L, index, names[i]);
        extract_paths(shape, lua_gettop(L), name_where, &def->fields[field]);
        lua_pop(L, 1);
    }
    for (size_t i = 0; i < stream->reader.n_fields; i++)
        if (def->fields[i].n_paths == 0 && !stream->reader.fields[i].optional)
            shape_fail(shape, "%s: no path for the field %s, which is not optional", where,
                       stream->reader.fields[i].name);
}

static void extract_shapes(const struct shape *shape, int index, struct stream_def *stream)
{
    lua_State *L = shape->L;
    shape_table(shape, index, "shapes", "shapes");
    int list = lua_gettop(L);
    size_t n_shapes = shape_array_size(shape, list, "shapes");
    if (n_shapes == 0)
        shape_fail(shape, "shapes: expected at least one");
    struct shape_def *shapes = alloc_array(shape, n_shapes, sizeof(*shapes));
    for (size_t i = 0; i < n_shapes; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        extract_shape(shape, lua_gettop(L), arena_printf(shape->arena, "shapes[%zu]", i + 1),
                      stream, &shapes[i]);
        lua_pop(L, 1);
    }
    stream->reader.shapes = shapes;
    stream->reader.n_shapes = n_shapes;
    lua_pop(L, 1);
}

/* ---- tables ---- */

static size_t find_column(const struct shape *shape, const struct table_def *table,
                          const char *name, const char *where)
{
    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return i;
    shape_fail(shape, "%s: %s is none of the columns of %s", where, name, table->name);
}

/* The list of column names at `index`. */
static size_t *extract_columns_list(const struct shape *shape, int index,
                                    const struct table_def *table, const char *where,
                                    size_t *n_columns)
{
    lua_State *L = shape->L;
    size_t size = shape_array_size(shape, index, where);
    if (size == 0)
        shape_fail(shape, "%s: expected at least one column", where);
    size_t *columns = alloc_array(shape, size, sizeof(*columns));
    for (size_t i = 0; i < size; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        columns[i] =
            find_column(shape, table, shape_string_here(shape, lua_gettop(L), where), where);
        for (size_t k = 0; k < i; k++)
            if (columns[k] == columns[i])
                shape_fail(shape, "%s: %s is named twice", where, table->columns[columns[i]].name);
        lua_pop(L, 1);
    }
    *n_columns = size;
    return columns;
}

static void extract_columns(const struct shape *shape, int index, const char *where,
                            struct table_def *table, struct rules_table *runtime)
{
    lua_State *L = shape->L;
    where = path(shape, where, "columns");
    shape_table(shape, index, "columns", where);
    int columns = lua_gettop(L);
    const char **names = shape_names(shape, columns, where, &table->n_columns);
    if (table->n_columns == 0 || table->n_columns > COLUMNS_MAX)
        shape_fail(shape, "%s: expected 1 to %d columns, got %zu", where, COLUMNS_MAX,
                   table->n_columns);
    table->columns = alloc_array(shape, table->n_columns, sizeof(*table->columns));
    runtime->columns = alloc_array(shape, table->n_columns, sizeof(*runtime->columns));
    runtime->guesses = alloc_array(shape, table->n_columns, sizeof(*runtime->guesses));
    for (size_t i = 0; i < table->n_columns; i++) {
        struct column_def *column = &table->columns[i];
        const char *column_where = path(shape, where, names[i]);
        lua_getfield(L, columns, names[i]);
        column->name = names[i];
        struct bytes type = shape_type(shape, lua_gettop(L), column_where, &column->optional);
        if (!value_type_from_column_name(type, &column->type))
            shape_fail(shape,
                       "%s: \"%.*s\" is no type, known are text, int8, float8, numeric, bool, "
                       "timestamptz, json, with ? behind it for what may be left out",
                       column_where, (int)type.size, type.data);
        intern(shape, names[i], &runtime->columns[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void extract_track(const struct shape *shape, int index, const char *where,
                          struct table_def *table)
{
    static const char *const known[] = {"by", "sequence", "time", NULL};
    lua_State *L = shape->L;
    where = path(shape, where, "track");
    if (!shape_optional_table(shape, index, "track", where))
        return;
    int track = lua_gettop(L);
    shape_check_keys(shape, track, where, known);
    const char *by = path(shape, where, "by");
    shape_table(shape, track, "by", by);
    struct track_def *def = &table->track;
    def->by = extract_columns_list(shape, lua_gettop(L), table, by, &def->n_by);
    const char *sequence = path(shape, where, "sequence");
    def->sequence =
        find_column(shape, table, shape_string(shape, track, "sequence", sequence), sequence);
    if (table->columns[def->sequence].type != VALUE_INT8)
        shape_fail(shape, "%s: expected a column of type int8", sequence);
    const char *time = path(shape, where, "time");
    def->time = find_column(shape, table, shape_string(shape, track, "time", time), time);
    if (table->columns[def->time].type != VALUE_TIME)
        shape_fail(shape, "%s: expected a column of type timestamptz", time);
    lua_settop(L, track - 1);
}

static void extract_table(const struct shape *shape, int index, struct table_def *table,
                          struct rules_table *runtime)
{
    static const char *const known[] = {"columns", "key", "newer", "track", NULL};
    lua_State *L = shape->L;
    const char *where = path(shape, "tables", table->name);
    shape_expect_table(shape, index, where);
    shape_check_keys(shape, index, where, known);
    extract_columns(shape, index, where, table, runtime);
    const char *key = path(shape, where, "key");
    shape_table(shape, index, "key", key);
    table->key = extract_columns_list(shape, lua_gettop(L), table, key, &table->n_key);
    lua_pop(L, 1);
    const char *newer_where = path(shape, where, "newer");
    const char *newer = shape_optional_string(shape, index, "newer", newer_where);
    table->has_newer = newer != NULL;
    if (newer)
        table->newer = find_column(shape, table, newer, newer_where);
    if (newer && table->columns[table->newer].type == VALUE_JSON)
        shape_fail(shape, "%s: expected a column with an order, %s is of type json", newer_where,
                   newer);
    extract_track(shape, index, where, table);
}

static void extract_tables(const struct shape *shape, int index, struct stream_def *stream,
                           struct rules_stream *runtime)
{
    lua_State *L = shape->L;
    shape_table(shape, index, "tables", "tables");
    int tables = lua_gettop(L);
    const char **names = shape_names(shape, tables, "tables", &stream->n_tables);
    if (stream->n_tables == 0)
        shape_fail(shape, "tables: expected at least one");
    stream->tables = alloc_array(shape, stream->n_tables, sizeof(*stream->tables));
    runtime->tables = alloc_array(shape, stream->n_tables, sizeof(*runtime->tables));
    for (size_t i = 0; i < stream->n_tables; i++) {
        stream->tables[i].name = names[i];
        runtime->tables[i].name_reference = intern(shape, names[i], &runtime->tables[i].name);
        lua_getfield(L, tables, names[i]);
        extract_table(shape, lua_gettop(L), &stream->tables[i], &runtime->tables[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- the rest ---- */

static size_t named_field(const struct shape *shape, const struct stream_def *stream,
                          const char *name, const char *where)
{
    size_t field = find_field(stream, name);
    if (field == FIELD_NONE)
        shape_fail(shape, "%s: %s is none of the fields", where, name);
    return field;
}

/* numbering = "global" (what it is without it), or { dense = { fields } }. */
static void extract_numbering(const struct shape *shape, int index, struct stream_def *stream)
{
    static const char *const known[] = {"dense", NULL};
    lua_State *L = shape->L;
    lua_getfield(L, index, "numbering");
    int numbering = lua_gettop(L);
    bool is_global = lua_isnil(L, numbering) || (lua_type(L, numbering) == LUA_TSTRING &&
                                                 strcmp(lua_tostring(L, numbering), "global") == 0);
    if (!is_global) {
        if (!lua_istable(L, numbering))
            shape_fail(shape, "numbering: expected \"global\" or { dense = { fields } }");
        shape_check_keys(shape, numbering, "numbering", known);
        shape_table(shape, numbering, "dense", "numbering.dense");
        int dense = lua_gettop(L);
        stream->n_dense = shape_array_size(shape, dense, "numbering.dense");
        if (stream->n_dense == 0)
            shape_fail(shape, "numbering.dense: expected at least one field");
        stream->dense = alloc_array(shape, stream->n_dense, sizeof(*stream->dense));
        for (size_t i = 0; i < stream->n_dense; i++) {
            lua_rawgeti(L, dense, (int)i + 1);
            const char *name = shape_string_here(shape, lua_gettop(L), "numbering.dense");
            stream->dense[i] = named_field(shape, stream, name, "numbering.dense");
            for (size_t k = 0; k < i; k++)
                if (stream->dense[k] == stream->dense[i])
                    shape_fail(shape, "numbering.dense: %s is named twice", name);
            lua_pop(L, 1);
        }
    }
    lua_settop(L, numbering - 1);
}

static size_t named_sequence(const struct shape *shape, const struct stream_def *stream,
                             const char *name)
{
    size_t field = named_field(shape, stream, name, "identify.sequence");
    enum value_type type = stream->reader.fields[field].type;
    if (type != VALUE_INT8 && type != VALUE_TEXT && type != VALUE_NUMERIC)
        shape_fail(shape, "identify.sequence: expected a field of type int8, text or numeric");
    return field;
}

static void extract_identify(const struct shape *shape, int index, struct stream_def *stream)
{
    static const char *const known[] = {"symbol", "sequence", NULL};
    stream->identify_symbol = FIELD_NONE;
    stream->identify_sequence = FIELD_NONE;
    if (!shape_optional_table(shape, index, "identify", "identify"))
        return;
    int identify = lua_gettop(shape->L);
    shape_check_keys(shape, identify, "identify", known);
    const char *symbol = shape_optional_string(shape, identify, "symbol", "identify.symbol");
    const char *sequence = shape_optional_string(shape, identify, "sequence", "identify.sequence");
    if (symbol)
        stream->identify_symbol = named_field(shape, stream, symbol, "identify.symbol");
    if (sequence)
        stream->identify_sequence = named_sequence(shape, stream, sequence);
    lua_pop(shape->L, 1);
}

/* The line after commits is a printf format: exactly one %d, every other % doubled. */
static void extract_saved(const struct shape *shape, int index, struct stream_def *stream)
{
    const char *saved = shape_optional_string(shape, index, "saved", "saved");
    stream->saved = saved ? saved : "Saved %d rows";
    int numbers = 0;
    bool is_good = true;
    for (const char *at = stream->saved; is_good && (at = strchr(at, '%')) != NULL; at += 2) {
        numbers += at[1] == 'd';
        is_good = at[1] == 'd' || at[1] == '%'; /* else it may be the last of the text */
    }
    if (!is_good || numbers != 1)
        shape_fail(shape, "saved: expected a text with one %%d in it and no other %%");
}

/* There must be a column for the number, and it is no number of a dense series: all streams share
 * one counter. */
static void check_tracker(const struct shape *shape, const struct stream_def *stream)
{
    bool has_column = false;
    if (stream->dense)
        shape_fail(shape, "sequence_from: numbers of the tracker cannot be dense, see numbering");
    for (size_t i = 0; i < stream->n_tables; i++) {
        const struct table_def *table = &stream->tables[i];
        has_column = has_column || table->has_newer || table->track.by;
        if (table->has_newer && table->columns[table->newer].type != VALUE_INT8)
            shape_fail(shape, "sequence_from: expected tables.%s.newer of type int8", table->name);
    }
    if (!has_column)
        shape_fail(shape, "sequence_from: expected a table with newer or track");
}

static void extract_sequence_from(const struct shape *shape, int index, struct stream_def *stream)
{
    const char *from = shape_optional_string(shape, index, "sequence_from", "sequence_from");
    if (from && strcmp(from, "tracker") != 0)
        shape_fail(shape, "sequence_from: expected \"tracker\", got \"%.60s\"", from);
    stream->sequence_from_tracker = from != NULL;
    if (from)
        check_tracker(shape, stream);
}

/* optional = true: where its tables do not exist the stream rests, and nothing is wrong. */
static void extract_optional(const struct shape *shape, int index, struct stream_def *stream)
{
    lua_State *L = shape->L;
    lua_getfield(L, index, "optional");
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        shape_fail(shape, "optional: expected true or false, got a %s", luaL_typename(L, -1));
    stream->where_table_exists = lua_toboolean(L, -1);
    lua_pop(L, 1);
}

/* As Kafka names topics; librdkafka would take "^..." for a pattern of many. */
static const char *extract_topic(const struct shape *shape, int index)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *topic = shape_string(shape, index, "topic", "topic");
    size_t size = strlen(topic);
    if (size > TOPIC_MAX || strspn(topic, letters) != size || strcmp(topic, ".") == 0 ||
        strcmp(topic, "..") == 0)
        shape_fail(shape,
                   "topic: expected at most %d of the characters a-z A-Z 0-9 . _ -, got "
                   "\"%.60s\"",
                   TOPIC_MAX, topic);
    return topic;
}

static bool has_field(lua_State *L, int index, const char *key)
{
    lua_getfield(L, index, key);
    bool has = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return has;
}

void rules_extract_stream(const struct shape *shape, int index, struct stream_def *stream,
                          struct rules_stream *runtime)
{
    static const char *const known[] = {"name",     "topic",     "fields",   "shapes",
                                        "tables",   "map",       "optional", "saved",
                                        "identify", "numbering", "examples", "sequence_from",
                                        "series",   "track_key", NULL};
    lua_State *L = shape->L;
    luaL_checkstack(L, 20, "stream");
    shape_check_keys(shape, index, "", known);
    stream->file = arena_printf(shape->arena, "%s", shape->file);
    stream->name = shape_name(shape, index, "name");
    if (!stream->name)
        shape_fail(shape, "name: expected a string, got nil");
    stream->topic = extract_topic(shape, index);
    if (has_field(L, index, "fields") || has_field(L, index, "shapes")) {
        extract_fields(shape, index, stream, runtime);
        extract_shapes(shape, index, stream);
    }
    extract_tables(shape, index, stream, runtime);
    extract_numbering(shape, index, stream);
    extract_identify(shape, index, stream);
    extract_saved(shape, index, stream);
    extract_sequence_from(shape, index, stream);
    extract_optional(shape, index, stream);
    runtime->map = shape_function(shape, index, "map", "map");
    lua_getfield(L, index, "map");
    runtime->wants_meta = rules_parameter_count(L, lua_gettop(L)) > 1;
    lua_pop(L, 1);
    runtime->series = shape_optional_function(shape, index, "series", "series");
    runtime->track_key = shape_optional_function(shape, index, "track_key", "track_key");
    runtime->examples = LUA_NOREF;
    if (shape_optional_table(shape, index, "examples", "examples")) {
        shape_array_size(shape, lua_gettop(L), "examples");
        runtime->examples = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}
