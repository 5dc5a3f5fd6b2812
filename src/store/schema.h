/* The live tables as PostgreSQL describes them, and whether what the rules declare fits them. */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/table.h"
#include "store/connection.h"

struct schema; /* immutable once loaded; counted holds, any thread */

/* What rules need to know of. */
struct schema_wish {
    const char *const *tables; /* as rule files name them */
    size_t n_tables;
    const char *const *statements; /* of endpoints, none twice */
    size_t n_statements;
};

/* Reads the description of the tables, the applied migrations' marks and the service's own tables,
 * in one segment, or two where TimescaleDB is; then each statement is prepared, not run. The wish
 * is copied. `done` gets a held schema, or NULL with `err`; false when the connection is not READY,
 * and then it is not called. Main thread: see control_load_schema. */
bool schema_load(struct connection *connection, const struct schema_wish *wish,
                 void (*done)(struct schema *schema, const struct error *err, void *arg), void *arg)
    __attribute__((warn_unused_result));
struct schema *schema_hold(struct schema *schema);
void schema_release(struct schema *schema);

/* The service's own tables and columns are there; else `err` names the migration that makes what is
 * missing. */
bool schema_check_migrations(const struct schema *schema, struct error *err)
    __attribute__((warn_unused_result));

/* Table, columns and conflict target exist, and the table can be written at all; each declared type
 * casts to the real one by assignment; columns that the rule leaves out have a default or may be
 * NULL. `err` names table and column, what is declared and what is there. */
bool schema_check_table(const struct schema *schema, const struct table_def *table,
                        struct error *err) __attribute__((warn_unused_result));

/* PostgreSQL can prepare the statement, and it has so many parameters; what was not asked for, or
 * could not be told, passes. `err` is PostgreSQL's. *lacks_table: only that a table is not there.
 */
bool schema_check_statement(const struct schema *schema, const char *sql, size_t n_params,
                            bool *lacks_table, struct error *err)
    __attribute__((warn_unused_result));

/* Storing works but costs more than it needs to; `why` says what an operator can change. */
bool schema_is_slow(const struct schema *schema, const struct table_def *table, struct error *why);

/* The table exists at all: a stream whose tables do not is not the same as one whose columns are
 * wrong. */
bool schema_has_table(const struct schema *schema, const char *table);

/* Where rows stand in the order of their messages. */
enum upsert_order {
    UPSERT_IN_ORDER, /* later than what is stored: wins among equal numbers and among rows without
                      */
    UPSERT_LATE,     /* nobody knows (a re-driven message): only a greater number replaces a row, a
                        row without a number only fills a missing one */
};

/* The statement that upserts `table`'s rows, given as one array parameter per column (design:
 * "which row wins"), quoted for this schema. *wire_types gets for each column the type that
 * travels: VALUE_NUMERIC (decimal text) where the real column is numeric or text although the rule
 * says float8. What the schema does not know is taken as declared, and PostgreSQL will say what is
 * wrong with it. free() both. */
char *schema_upsert_sql(const struct schema *schema, const struct table_def *table,
                        enum upsert_order order, enum value_type **wire_types);

#endif
