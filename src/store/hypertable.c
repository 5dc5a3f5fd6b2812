#include "store/hypertable.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Its settings are defined by the library that shared_preload_libraries loads. That list itself is
 * not shown to every role. */
static const char extension_sql[] =
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'),"
    " EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name LIKE 'timescaledb.%')";

#define HYPERTABLES                                                                                \
    " FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)"                                  \
    " JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.to_regclass(n.name)"                        \
    " JOIN pg_catalog.pg_namespace s ON s.oid = r.relnamespace"                                    \
    " JOIN _timescaledb_catalog.hypertable h"                                                      \
    "  ON h.schema_name = s.nspname AND h.table_name = r.relname"

/* Without the library only plain tables of the extension can be read. */
static const char unloaded_sql[] = "SELECT n.place, NULL" HYPERTABLES;

/* One row a column by which compressed rows are found: segmentby, orderby, and the dimensions,
 * which are always among the latter. One row without a column when no such settings were made. */
static const char loaded_sql[] =
    "WITH h AS (SELECT n.place, h.schema_name, h.table_name" HYPERTABLES "),"
    " c AS (SELECT h.place, c.attname FROM h JOIN timescaledb_information.compression_settings c"
    "  ON c.hypertable_schema = h.schema_name AND c.hypertable_name = h.table_name)"
    " SELECT h.place, NULL FROM h UNION ALL SELECT c.place, c.attname FROM c"
    " UNION ALL SELECT h.place, d.column_name FROM h JOIN timescaledb_information.dimensions d"
    "  ON d.hypertable_schema = h.schema_name AND d.hypertable_name = h.table_name"
    " WHERE h.place IN (SELECT c.place FROM c)";

static void on_extension(const struct pg_result *pg_result, void *arg)
{
    struct schema *schema = arg;
    const PGresult *result = (const PGresult *)pg_result;
    if (*PQgetvalue(result, 0, 0) != 't')
        schema->timescale = TIMESCALE_ABSENT;
    else
        schema->timescale =
            *PQgetvalue(result, 0, 1) == 't' ? TIMESCALE_LOADED : TIMESCALE_NOT_LOADED;
}

static void add_column(struct live_table *table, const char *column)
{
    size_t n = table->n_compressed_by + 1;
    table->compressed_by = memory_resize(table->compressed_by, n * sizeof *table->compressed_by);
    table->compressed_by[table->n_compressed_by++] = memory_string(column);
}

static void on_tables(const struct pg_result *pg_result, void *arg)
{
    struct schema *schema = arg;
    const PGresult *result = (const PGresult *)pg_result;
    for (int row = 0; row < PQntuples(result); row++) {
        size_t place = strtoul(PQgetvalue(result, row, 0), NULL, 10);
        if (place < 1 || place > schema->n_tables)
            die("hypertable: place %zu of %zu", place, schema->n_tables);
        struct live_table *table = &schema->tables[place - 1];
        table->is_hypertable = true;
        if (!PQgetisnull(result, row, 1))
            add_column(table, PQgetvalue(result, row, 1));
    }
}

bool hypertable_ask_extension(struct connection *connection, struct schema *schema)
{
    const struct statement statement = {.sql = extension_sql};
    return connection_send(connection, &statement, on_extension, schema);
}

bool hypertable_ask_tables(struct connection *connection, const char *names, struct schema *schema)
{
    const char *const values[] = {names};
    const struct statement statement = {
        .sql = schema->timescale == TIMESCALE_LOADED ? loaded_sql : unloaded_sql,
        .n_params = 1,
        .values = values,
    };
    return connection_send(connection, &statement, on_tables, schema);
}
