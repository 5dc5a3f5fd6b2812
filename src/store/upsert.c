/* The one statement by which rows reach a table. */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "store/quote.h"
#include "store/schema_private.h"

static bool is_key(const struct table_def *table, size_t column)
{
    for (size_t i = 0; i < table->n_key; i++)
        if (table->key[i] == column)
            return true;
    return false;
}

/* How a column's values travel: a float8 goes as decimal text into a column that keeps decimals or
 * text, so that no digit is lost on the way. */
static enum value_type wire_type(enum value_type declared, const struct live_column *real)
{
    if (declared != VALUE_FLOAT8 || !real)
        return declared;
    bool exact = real->is_string || strcmp(real->base_type, "numeric") == 0;
    return exact ? VALUE_NUMERIC : VALUE_FLOAT8;
}

static const char *array_type(enum value_type wire)
{
    switch (wire) {
    case VALUE_INT8:
        return "bigint[]";
    case VALUE_FLOAT8:
        return "double precision[]";
    case VALUE_BOOL:
        return "boolean[]";
    case VALUE_TIME:
        return "timestamptz[]";
    default:
        return "text[]";
    }
}

/* What travels as text without being text is cast to its base type; the rest of the way is
 * INSERT's own assignment, which refuses what an explicit cast to varchar(n) would cut. */
static const char *cast_suffix(enum value_type wire, const struct live_column *real)
{
    if (real && real->is_string)
        return "";
    if (wire == VALUE_NUMERIC)
        return "::numeric";
    if (wire == VALUE_JSON)
        return real && strcmp(real->base_type, "json") == 0 ? "::json" : "::jsonb";
    return "";
}

static void add_column_list(struct buffer *sql, const struct table_def *table)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        buffer_append_string(sql, i ? ", " : "");
        quote_identifier(sql, table->columns[i].name);
    }
}

static void add_source(struct buffer *sql, const struct live_table *live,
                       const struct table_def *table, const enum value_type *wire_types)
{
    buffer_append_string(sql, ") SELECT ");
    for (size_t i = 0; i < table->n_columns; i++)
        buffer_printf(sql, "%sc%zu%s", i ? ", " : "", i + 1,
                      cast_suffix(wire_types[i], schema_column(live, table->columns[i].name)));
    buffer_append_string(sql, " FROM unnest(");
    for (size_t i = 0; i < table->n_columns; i++)
        buffer_printf(sql, "%s$%zu::%s", i ? ", " : "", i + 1, array_type(wire_types[i]));
    buffer_append_string(sql, ") AS u (");
    for (size_t i = 0; i < table->n_columns; i++)
        buffer_printf(sql, "%sc%zu", i ? ", " : "", i + 1);
    buffer_append_string(sql, ") ON CONFLICT (");
    for (size_t i = 0; i < table->n_key; i++) {
        buffer_append_string(sql, i ? ", " : "");
        quote_identifier(sql, table->columns[table->key[i]].name);
    }
    buffer_append_byte(sql, ')');
}

static bool add_assignments(struct buffer *sql, const struct table_def *table)
{
    bool any = false;
    for (size_t i = 0; i < table->n_columns; i++) {
        if (is_key(table, i))
            continue;
        buffer_append_string(sql, any ? ", " : " DO UPDATE SET ");
        quote_identifier(sql, table->columns[i].name);
        buffer_append_string(sql, " = EXCLUDED.");
        quote_identifier(sql, table->columns[i].name);
        any = true;
    }
    if (!any)
        buffer_append_string(sql, " DO NOTHING");
    return any;
}

/* Numbers that the table keeps as text are compared as numbers. */
static void add_newer(struct buffer *sql, const struct live_table *live,
                      const struct table_def *table, enum upsert_order order)
{
    const struct column_def *newer = &table->columns[table->newer];
    const struct live_column *real = schema_column(live, newer->name);
    bool is_number =
        newer->type == VALUE_INT8 || newer->type == VALUE_FLOAT8 || newer->type == VALUE_NUMERIC;
    const char *cast = real && real->is_string && is_number ? "::numeric" : "";
    struct buffer name = {0};
    quote_identifier(&name, newer->name);
    buffer_printf(sql, " WHERE t.%s IS NULL", name.data);
    if (order == UPSERT_LATE)
        buffer_printf(sql, " AND EXCLUDED.%s IS NOT NULL", name.data);
    buffer_printf(sql, " OR EXCLUDED.%s%s %s t.%s%s", name.data, cast,
                  order == UPSERT_LATE ? ">" : ">=", name.data, cast);
    buffer_free(&name);
}

char *schema_upsert_sql(const struct schema *schema, const struct table_def *table,
                        enum upsert_order order, enum value_type **wire_types)
{
    const struct live_table *live = schema_table(schema, table->name);
    struct buffer sql = {0};
    *wire_types = memory_alloc(table->n_columns * sizeof **wire_types);
    for (size_t i = 0; i < table->n_columns; i++)
        (*wire_types)[i] =
            wire_type(table->columns[i].type, schema_column(live, table->columns[i].name));
    buffer_append_string(&sql, "INSERT INTO ");
    quote_table(&sql, table->name);
    buffer_append_string(&sql, " AS t (");
    add_column_list(&sql, table);
    add_source(&sql, live, table, *wire_types);
    if (order == UPSERT_LATE && !table->has_newer)
        buffer_append_string(&sql, " DO NOTHING");
    else if (add_assignments(&sql, table) && table->has_newer)
        add_newer(&sql, live, table, order);
    return sql.data;
}
