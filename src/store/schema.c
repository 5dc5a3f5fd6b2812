#include "store/schema.h"

#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "store/hypertable.h"
#include "store/quote.h"
#include "store/schema_private.h"

/* ---- what is read ---- */

/* What the service needs for itself, and the file that makes it. */
struct requirement {
    const char *table;
    const char *column;
    const char *file;
};

static const struct requirement requirements[] = {
    {"ingest_offsets", "group_id", "004_ingest.sql"},
    {"ingest_offsets", "topic", "004_ingest.sql"},
    {"ingest_offsets", "partition", "004_ingest.sql"},
    {"ingest_offsets", "next_offset", "004_ingest.sql"},
    {"ingest_offsets", "updated_at", "004_ingest.sql"},
    {"rejected_messages", "id", "004_ingest.sql"},
    {"rejected_messages", "topic_id", "004_ingest.sql"},
    {"rejected_messages", "rules_hash", "004_ingest.sql"},
    {"rejected_messages", "redriven_at", "004_ingest.sql"},
    {"rule_generations", "hash", "005_rule_generations.sql"},
    {"rule_generations", "files", "005_rule_generations.sql"},
    {"rule_generations", "published_at", "005_rule_generations.sql"},
    {"rule_generations", "state", "005_rule_generations.sql"},
    {"rule_generations", "generation", "005_rule_generations.sql"},
    {"ingest_offsets", "max_sequence", "006_ledger.sql"},
    {"ingest_offsets", "clear_to", "006_ledger.sql"},
    {"ingest_offsets", "hole", "006_ledger.sql"},
    {"sequence_series", "max_seq", "006_ledger.sql"},
    {"sequence_ranges", "max_time", "006_ledger.sql"},
    {"sequence_gaps", "reason", "006_ledger.sql"},
    {"sequence_bounds", "base_seq", "006_ledger.sql"},
    {"ingest_offsets", "marks", "009_ingest_marks.sql"},
    {"sequence_gaps", "read_to", "010_settled_gaps.sql"},
};

#define N_REQUIREMENTS (sizeof requirements / sizeof requirements[0])
#define HOW_TO_MIGRATE "run scripts/migrate (installed: core-service-migrate)"
#define MOVE_FILE      "004_ingest.sql"

static const char *const own_tables[] = {
    "ingest_offsets",  "rejected_messages", "rule_generations", "sequence_series",
    "sequence_ranges", "sequence_gaps",     "sequence_bounds",
};

#define N_OWN (sizeof own_tables / sizeof own_tables[0])

/* One row a column: position of the table in $1, its kind, the column, its type with modifier, the
 * base type's name and category, whether NULL and leaving it out are possible, whether it can be
 * written at all, and for each of the types that travel whether PostgreSQL casts it by assignment:
 * itself, a cast of pg_cast that is not explicit, or anything to a string. */
static const char columns_sql[] =
    "SELECT n.place, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), b.typname,"
    " b.typcategory, a.attnotnull,"
    " a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,"
    " a.attgenerated <> '' OR a.attidentity = 'a',"
    " pg_catalog.array_to_string(ARRAY(SELECT s.name FROM"
    "  (VALUES ('text', 25), ('int8', 20), ('float8', 701), ('numeric', 1700), ('bool', 16),"
    "   ('timestamptz', 1184), ('json', 114), ('json', 3802)) AS s (name, type)"
    "  WHERE s.type = b.oid OR (b.typcategory = 'S' AND b.typelem = 0)"
    "   OR EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = s.type"
    "    AND c.casttarget = b.oid AND c.castcontext <> 'e')), ' ')"
    " FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)"
    " JOIN pg_catalog.pg_class r ON r.oid = pg_catalog.to_regclass(n.name)"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
    " JOIN pg_catalog.pg_type b ON b.oid ="
    "  CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END"
    " ORDER BY n.place, a.attnum";

/* One row a column of each index that ON CONFLICT (columns) can use, by index. */
static const char keys_sql[] =
    "SELECT n.place, i.indexrelid, a.attname"
    " FROM unnest($1::text[]) WITH ORDINALITY AS n (name, place)"
    " JOIN pg_catalog.pg_index i ON i.indrelid = pg_catalog.to_regclass(n.name)"
    " CROSS JOIN pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]"
    " WHERE i.indisunique AND i.indisvalid AND i.indisready AND i.indimmediate"
    " AND i.indpred IS NULL AND i.indexprs IS NULL"
    " ORDER BY n.place, i.indexrelid, k";

static const char functions_sql[] =
    "SELECT pg_catalog.to_regprocedure("
    "'ingest_move_offsets(text,text[],integer[],bigint[],bigint[])') IS NOT NULL";

/* ---- loading ---- */

struct loading {
    struct connection *connection;
    struct schema *schema;
    void (*done)(struct schema *schema, const struct error *err, void *arg);
    void *arg;
};

static const char *cell(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? "" : PQgetvalue(result, row, column);
}

static bool cell_bool(const PGresult *result, int row, int column)
{
    return *cell(result, row, column) == 't';
}

static struct live_table *table_of(struct schema *schema, const PGresult *result, int row)
{
    size_t place = strtoul(cell(result, row, 0), NULL, 10);
    if (place < 1 || place > schema->n_tables)
        die("schema: place %zu of %zu", place, schema->n_tables);
    return &schema->tables[place - 1];
}

static unsigned accepted_types(const char *names)
{
    unsigned accepts = 0;
    while (*names) {
        size_t size = strcspn(names, " ");
        enum value_type type;
        if (value_type_from_column_name(bytes_of(names, size), &type))
            accepts |= 1u << type;
        names += size + (names[size] == ' ');
    }
    return accepts;
}

static void on_columns(const struct pg_result *pg_result, void *arg)
{
    struct loading *loading = arg;
    const PGresult *result = (const PGresult *)pg_result;
    for (int row = 0; row < PQntuples(result); row++) {
        struct live_table *table = table_of(loading->schema, result, row);
        size_t n = table->n_columns + 1;
        table->columns = memory_resize(table->columns, n * sizeof *table->columns);
        table->columns[table->n_columns++] = (struct live_column){
            .name = memory_string(cell(result, row, 1)),
            .type = memory_string(cell(result, row, 2)),
            .base_type = memory_string(cell(result, row, 3)),
            .is_string = *cell(result, row, 4) == 'S',
            .not_null = cell_bool(result, row, 5),
            .has_default = cell_bool(result, row, 6),
            .read_only = cell_bool(result, row, 7),
            .accepts = accepted_types(cell(result, row, 8)),
        };
    }
}

static struct live_key *add_key(struct live_table *table, const char *index)
{
    size_t n = table->n_keys + 1;
    table->keys = memory_resize(table->keys, n * sizeof *table->keys);
    struct live_key *key = &table->keys[table->n_keys++];
    *key = (struct live_key){.index = strtoul(index, NULL, 10)};
    return key;
}

static void on_keys(const struct pg_result *pg_result, void *arg)
{
    struct loading *loading = arg;
    const PGresult *result = (const PGresult *)pg_result;
    for (int row = 0; row < PQntuples(result); row++) {
        struct live_table *table = table_of(loading->schema, result, row);
        unsigned long index = strtoul(cell(result, row, 1), NULL, 10);
        struct live_key *key = table->n_keys ? &table->keys[table->n_keys - 1] : NULL;
        if (!key || key->index != index)
            key = add_key(table, cell(result, row, 1));
        key->columns = memory_resize(key->columns, (key->n_columns + 1) * sizeof *key->columns);
        key->columns[key->n_columns++] = memory_string(cell(result, row, 2));
    }
}

static void on_functions(const struct pg_result *pg_result, void *arg)
{
    struct loading *loading = arg;
    loading->schema->has_move_offsets = cell_bool((const PGresult *)pg_result, 0, 0);
}

static void finish(struct loading *loading, enum segment_outcome outcome,
                   const struct segment_failure *failure)
{
    struct error err = {0};
    if (outcome != SEGMENT_DONE) {
        err = failure->err;
        error_context(&err, "reading the schema");
        schema_release(loading->schema);
        loading->schema = NULL;
    }
    loading->done(loading->schema, &err, loading->arg);
    free(loading);
}

static void on_described(enum segment_outcome outcome, const struct segment_failure *failure,
                         void *arg)
{
    finish(arg, outcome, failure);
}

/* The tables are read. */
static void describe_statements(struct loading *loading, enum segment_outcome outcome,
                                const struct segment_failure *failure)
{
    if (outcome == SEGMENT_DONE)
        statements_describe(loading->connection, loading->schema, on_described, loading);
    else
        finish(loading, outcome, failure);
}

static void on_hypertables(enum segment_outcome outcome, const struct segment_failure *failure,
                           void *arg)
{
    describe_statements(arg, outcome, failure);
}

static bool ask_hypertables(struct loading *loading);

static void on_loaded(enum segment_outcome outcome, const struct segment_failure *failure,
                      void *arg)
{
    struct loading *loading = arg;
    struct segment_failure unsent;
    if (outcome != SEGMENT_DONE || loading->schema->timescale == TIMESCALE_ABSENT) {
        describe_statements(loading, outcome, failure);
    } else if (!ask_hypertables(loading)) {
        error_set(&unsent.err, "the connection was lost");
        finish(loading, SEGMENT_LOST, &unsent);
    }
}

static struct schema *new_schema(const struct schema_wish *wish)
{
    struct schema *schema = memory_zero(1, sizeof *schema);
    atomic_init(&schema->holders, 1);
    schema->tables = memory_zero(wish->n_tables + N_OWN, sizeof *schema->tables);
    schema->n_tables = wish->n_tables + N_OWN;
    for (size_t i = 0; i < schema->n_tables; i++)
        schema->tables[i].name = memory_string(i < N_OWN ? own_tables[i] : wish->tables[i - N_OWN]);
    schema->statements = memory_zero(wish->n_statements + 1, sizeof *schema->statements);
    schema->n_statements = wish->n_statements;
    for (size_t i = 0; i < schema->n_statements; i++)
        schema->statements[i].sql = memory_string(wish->statements[i]);
    return schema;
}

/* The names as one text[] literal of quoted identifiers. */
static void names_literal(const struct schema *schema, struct buffer *out)
{
    struct buffer name = {0};
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < schema->n_tables; i++) {
        buffer_clear(&name);
        quote_table(&name, schema->tables[i].name);
        buffer_append_string(out, i ? ",\"" : "\"");
        for (const char *at = name.data; *at; at++) {
            if (*at == '"' || *at == '\\')
                buffer_append_byte(out, '\\');
            buffer_append_byte(out, *at);
        }
        buffer_append_byte(out, '"');
    }
    buffer_append_byte(out, '}');
    buffer_free(&name);
}

static bool ask_hypertables(struct loading *loading)
{
    struct buffer names = {0};
    names_literal(loading->schema, &names);
    bool sent = hypertable_ask_tables(loading->connection, names.data, loading->schema) &&
                connection_sync(loading->connection, on_hypertables, loading);
    buffer_free(&names);
    return sent;
}

static bool send_all(struct connection *connection, struct loading *loading)
{
    struct buffer names = {0};
    names_literal(loading->schema, &names);
    const char *const values[] = {names.data};
    const struct statement columns = {.sql = columns_sql, .n_params = 1, .values = values};
    const struct statement keys = {.sql = keys_sql, .n_params = 1, .values = values};
    const struct statement functions = {.sql = functions_sql};
    bool sent = connection_send(connection, &columns, on_columns, loading) &&
                connection_send(connection, &keys, on_keys, loading) &&
                connection_send(connection, &functions, on_functions, loading) &&
                hypertable_ask_extension(connection, loading->schema) &&
                connection_sync(connection, on_loaded, loading);
    buffer_free(&names);
    return sent;
}

bool schema_load(struct connection *connection, const struct schema_wish *wish,
                 void (*done)(struct schema *schema, const struct error *err, void *arg), void *arg)
{
    struct loading *loading = memory_zero(1, sizeof *loading);
    loading->connection = connection;
    loading->schema = new_schema(wish);
    loading->done = done;
    loading->arg = arg;
    if (send_all(connection, loading))
        return true;
    schema_release(loading->schema);
    free(loading);
    return false;
}

/* ---- holding ---- */

struct schema *schema_hold(struct schema *schema)
{
    atomic_fetch_add(&schema->holders, 1);
    return schema;
}

static void free_table(struct live_table *table)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        free(table->columns[i].name);
        free(table->columns[i].type);
        free(table->columns[i].base_type);
    }
    for (size_t i = 0; i < table->n_keys; i++) {
        for (size_t j = 0; j < table->keys[i].n_columns; j++)
            free(table->keys[i].columns[j]);
        free(table->keys[i].columns);
    }
    for (size_t i = 0; i < table->n_compressed_by; i++)
        free(table->compressed_by[i]);
    free(table->compressed_by);
    free(table->columns);
    free(table->keys);
    free(table->name);
}

void schema_release(struct schema *schema)
{
    if (!schema || atomic_fetch_sub(&schema->holders, 1) > 1)
        return;
    for (size_t i = 0; i < schema->n_tables; i++)
        free_table(&schema->tables[i]);
    free(schema->tables);
    statements_free(schema);
    free(schema);
}

/* ---- looking things up ---- */

const struct live_table *schema_table(const struct schema *schema, const char *name)
{
    for (size_t i = 0; schema && i < schema->n_tables; i++)
        if (schema->tables[i].n_columns && strcmp(schema->tables[i].name, name) == 0)
            return &schema->tables[i];
    return NULL;
}

const struct live_column *schema_column(const struct live_table *table, const char *name)
{
    for (size_t i = 0; table && i < table->n_columns; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return &table->columns[i];
    return NULL;
}

bool schema_has_table(const struct schema *schema, const char *table)
{
    return schema_table(schema, table) != NULL;
}

bool schema_check_migrations(const struct schema *schema, struct error *err)
{
    for (size_t i = 0; i < N_REQUIREMENTS; i++) {
        const struct requirement *need = &requirements[i];
        const struct live_table *table = schema_table(schema, need->table);
        if (!table)
            return error_set(err,
                             "migrations/%s is not applied: table %s is missing; " HOW_TO_MIGRATE,
                             need->file, need->table);
        if (!schema_column(table, need->column))
            return error_set(
                err, "migrations/%s is not applied: column %s.%s is missing; " HOW_TO_MIGRATE,
                need->file, need->table, need->column);
    }
    if (!schema->has_move_offsets)
        return error_set(err,
                         "migrations/" MOVE_FILE " is not applied: function ingest_move_offsets is "
                         "missing; " HOW_TO_MIGRATE);
    return true;
}
