/* The limit of writing: the rows that the rules make of the feed, sorted and in batches as the
 * service writes them, with the service's own statement, from memory, over one connection:
 *
 *   bench_write DATABASE_URL LUA_DIR STREAM COUNT BATCH
 *
 * Prints rows a second. The parameters of all batches are made before the clock starts. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/market.h"
#include "store/arrays.h"
#include "store/schema.h"

#define COLUMNS_MAX 32

struct statement_text {
    const struct table_def *table;
    char *sql;
    enum value_type *types; /* of the columns, as they travel */
};

/* The parameters of one execution: one array for each column. */
struct load {
    struct buffer *columns;
};

static struct load encode(const struct statement_text *statement, const struct row *rows, size_t n)
{
    size_t n_columns = statement->table->n_columns;
    struct load load = {memory_zero(n_columns, sizeof(*load.columns))};
    for (size_t column = 0; column < n_columns; column++) {
        enum value_type type = statement->types[column];
        array_begin(&load.columns[column], array_element(type), n);
        for (size_t i = 0; i < n; i++)
            array_add_value(&load.columns[column], type, &rows[i].values[column]);
    }
    return load;
}

static struct load make_load(struct rules_generation *generation, size_t stream, struct feed *feed,
                             size_t n, struct statement_text *statement)
{
    struct arena arena = {0};
    const struct row *rows = market_rows(generation, stream, feed, n, &arena);
    if (!statement->sql) {
        statement->table = rows[0].table;
        statement->sql =
            schema_upsert_sql(NULL, statement->table, UPSERT_IN_ORDER, &statement->types);
    }
    struct load load = encode(statement, rows, n);
    arena_free(&arena);
    return load;
}

static void check(PGconn *connection, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted)
        die("%s", PQerrorMessage(connection));
    PQclear(result);
}

static PGconn *connect_to(const char *url, const char *sql)
{
    PGconn *connection = PQconnectdb(url);
    if (PQstatus(connection) != CONNECTION_OK)
        die("%s", PQerrorMessage(connection));
    check(connection, PQexec(connection, "SET synchronous_commit = off"), PGRES_COMMAND_OK);
    check(connection, PQprepare(connection, "upsert", sql, 0, NULL), PGRES_COMMAND_OK);
    return connection;
}

static void execute(PGconn *connection, const struct load *load, size_t n_columns)
{
    const char *values[COLUMNS_MAX];
    int lengths[COLUMNS_MAX], formats[COLUMNS_MAX];
    if (n_columns > COLUMNS_MAX)
        die("a table of %zu columns", n_columns);
    for (size_t i = 0; i < n_columns; i++) {
        values[i] = load->columns[i].data;
        lengths[i] = (int)load->columns[i].size;
        formats[i] = 1;
    }
    check(connection,
          PQexecPrepared(connection, "upsert", (int)n_columns, values, lengths, formats, 0),
          PGRES_COMMAND_OK);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        die("usage: bench_write DATABASE_URL LUA_DIR STREAM COUNT BATCH");
    size_t count = (size_t)market_number(argv[4]), batch = (size_t)market_number(argv[5]);
    size_t stream, n_loads = 0;
    struct rules_generation *generation = market_rules(argv[2], argv[3], &stream);
    struct statement_text statement = {0};
    struct feed *feed = market_feed(1);
    struct load *loads = memory_zero(count / batch + 1, sizeof(*loads));
    for (size_t made = 0; made < count; made += batch)
        loads[n_loads++] = make_load(generation, stream, feed,
                                     count - made < batch ? count - made : batch, &statement);
    feed_free(feed);

    PGconn *connection = connect_to(argv[1], statement.sql);
    int64_t began_us = clock_monotonic_us();
    for (size_t i = 0; i < n_loads; i++)
        execute(connection, &loads[i], statement.table->n_columns);
    printf("%.0f\n", (double)count * 1e6 / (double)(clock_monotonic_us() - began_us));
    PQfinish(connection);
    return 0;
}
