/* The ways by which a batch of rows can reach a table, on the same rows:
 *
 *   bench_paths DATABASE_URL LUA_DIR STREAM COUNT
 *
 *   unnest   the service's own statement, one binary array a column
 *   staged   binary COPY into a temporary table, then INSERT ... SELECT ... ON CONFLICT from it
 *   copy     binary COPY into the table itself, which only takes keys that are new
 *
 * first into an empty table, each key new; then the same again, each row an update. Prints the CPU
 * time of the backend and the time that passed, in microseconds a row, medians of the rounds, as a
 * table. The database must be on this machine: the CPU time is read from /proc. */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/market.h"
#include "store/arrays.h"
#include "store/schema.h"

#define COLUMNS_MAX 32
#define ROUNDS      5

enum way { WAY_UNNEST, WAY_STAGED, WAY_COPY, N_WAYS };

static const char *const WAY_NAMES[] = {"unnest", "staged", "copy"};
static const size_t SIZES[] = {500, 5000, 20000};

/* One batch, as each way wants it. */
struct load {
    struct buffer columns[COLUMNS_MAX];
    struct buffer copy;
};

struct bench {
    PGconn *connection;
    const struct table_def *table;
    char *sql;
    char *staged_sql;
    enum value_type *types;
    struct load *loads;
    size_t n_loads;
};

struct spent {
    double cpu_us;
    double wall_us;
};

static void check(struct bench *bench, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted)
        die("%s", PQerrorMessage(bench->connection));
    PQclear(result);
}

static void run(struct bench *bench, const char *sql)
{
    check(bench, PQexec(bench->connection, sql), PGRES_COMMAND_OK);
}

/* ---- the rows ---- */

static void encode(struct bench *bench, const struct row *rows, size_t n, struct load *load)
{
    const struct table_def *table = bench->table;
    static const char signature[] = "PGCOPY\n\377\r\n"; /* and its NUL; flags and extension: none */
    buffer_append(&load->copy, signature, sizeof(signature));
    buffer_append_be64(&load->copy, 0);
    for (size_t column = 0; column < table->n_columns; column++)
        array_begin(&load->columns[column], array_element(bench->types[column]), n);
    for (size_t i = 0; i < n; i++) {
        buffer_append_be16(&load->copy, (uint16_t)table->n_columns);
        for (size_t column = 0; column < table->n_columns; column++) {
            const struct value *value = &rows[i].values[column];
            array_add_value(&load->columns[column], bench->types[column], value);
            array_add_value(&load->copy, bench->types[column], value);
        }
    }
    buffer_append_be16(&load->copy, UINT16_MAX);
}

static void make_loads(struct bench *bench, struct rules_generation *generation, size_t stream,
                       size_t count, size_t size)
{
    struct feed *feed = market_feed(1);
    bench->n_loads = count / size;
    bench->loads = memory_zero(bench->n_loads, sizeof(*bench->loads));
    for (size_t i = 0; i < bench->n_loads; i++) {
        struct arena arena = {0};
        const struct row *rows = market_rows(generation, stream, feed, size, &arena);
        bench->table = rows[0].table;
        if (!bench->sql)
            bench->sql = schema_upsert_sql(NULL, bench->table, UPSERT_IN_ORDER, &bench->types);
        if (bench->table->n_columns > COLUMNS_MAX)
            die("a table of %zu columns", bench->table->n_columns);
        encode(bench, rows, size, &bench->loads[i]);
        arena_free(&arena);
    }
    feed_free(feed);
}

static void free_loads(struct bench *bench)
{
    for (size_t i = 0; i < bench->n_loads; i++) {
        buffer_free(&bench->loads[i].copy);
        for (size_t column = 0; column < COLUMNS_MAX; column++)
            buffer_free(&bench->loads[i].columns[column]);
    }
    free(bench->loads);
}

/* ---- the ways ---- */

static void add_columns(struct buffer *sql, const struct table_def *table)
{
    for (size_t i = 0; i < table->n_columns; i++)
        buffer_printf(sql, "%s\"%s\"", i ? ", " : "", table->columns[i].name);
}

/* The service's statement with the temporary table where it has unnest(...). */
static void prepare(struct bench *bench)
{
    struct buffer sql = {0};
    const char *from = strstr(bench->sql, ") SELECT ");
    const char *conflict = strstr(bench->sql, " ON CONFLICT");
    buffer_append(&sql, bench->sql, (size_t)(from - bench->sql));
    buffer_append_string(&sql, ") SELECT ");
    add_columns(&sql, bench->table);
    buffer_printf(&sql, " FROM staged%s", conflict);
    bench->staged_sql = sql.data;

    struct buffer staged = {0};
    buffer_append_string(&staged, "CREATE TEMPORARY TABLE staged ON COMMIT DELETE ROWS AS SELECT ");
    add_columns(&staged, bench->table);
    buffer_printf(&staged, " FROM %s WITH NO DATA", bench->table->name);
    run(bench, staged.data);
    buffer_free(&staged);
    check(bench, PQprepare(bench->connection, "unnest", bench->sql, 0, NULL), PGRES_COMMAND_OK);
    check(bench, PQprepare(bench->connection, "staged", bench->staged_sql, 0, NULL),
          PGRES_COMMAND_OK);
}

static void copy_to(struct bench *bench, const char *table, const struct load *load)
{
    struct buffer sql = {0};
    buffer_printf(&sql, "COPY %s (", table);
    add_columns(&sql, bench->table);
    buffer_append_string(&sql, ") FROM STDIN (FORMAT binary)");
    check(bench, PQexec(bench->connection, sql.data), PGRES_COPY_IN);
    if (PQputCopyData(bench->connection, load->copy.data, (int)load->copy.size) != 1 ||
        PQputCopyEnd(bench->connection, NULL) != 1)
        die("%s", PQerrorMessage(bench->connection));
    PGresult *result;
    while ((result = PQgetResult(bench->connection)))
        check(bench, result, PGRES_COMMAND_OK);
    buffer_free(&sql);
}

static void write_unnest(struct bench *bench, const struct load *load)
{
    const char *values[COLUMNS_MAX];
    int lengths[COLUMNS_MAX], formats[COLUMNS_MAX];
    for (size_t i = 0; i < bench->table->n_columns; i++) {
        values[i] = load->columns[i].data;
        lengths[i] = (int)load->columns[i].size;
        formats[i] = 1;
    }
    check(bench,
          PQexecPrepared(bench->connection, "unnest", (int)bench->table->n_columns, values, lengths,
                         formats, 0),
          PGRES_COMMAND_OK);
}

static void write_load(struct bench *bench, enum way way, const struct load *load)
{
    switch (way) {
    case WAY_UNNEST:
        write_unnest(bench, load);
        return;
    case WAY_STAGED:
        run(bench, "BEGIN");
        copy_to(bench, "staged", load);
        check(bench, PQexecPrepared(bench->connection, "staged", 0, NULL, NULL, NULL, 0),
              PGRES_COMMAND_OK);
        run(bench, "COMMIT");
        return;
    case WAY_COPY:
        copy_to(bench, bench->table->name, load);
        return;
    case N_WAYS:
        break;
    }
    die("no such way: %d", (int)way);
}

/* ---- measuring ---- */

static double cpu_us(struct bench *bench)
{
    char path[64];
    unsigned long long run_ns = 0;
    snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(bench->connection));
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &run_ns) != 1)
        die("%s cannot be read: is the database on this machine?", path);
    fclose(file);
    return (double)run_ns / 1000;
}

static struct spent write_all(struct bench *bench, enum way way, size_t n_rows)
{
    double cpu = cpu_us(bench);
    int64_t began_us = clock_monotonic_us();
    for (size_t i = 0; i < bench->n_loads; i++)
        write_load(bench, way, &bench->loads[i]);
    return (struct spent){(cpu_us(bench) - cpu) / (double)n_rows,
                          (double)(clock_monotonic_us() - began_us) / (double)n_rows};
}

static int compare_spent(const void *left, const void *right)
{
    const struct spent *a = left, *b = right;
    return (a->cpu_us > b->cpu_us) - (a->cpu_us < b->cpu_us);
}

static void print_line(size_t size, const char *rows, enum way way, struct spent spent[ROUNDS])
{
    qsort(spent, ROUNDS, sizeof(*spent), compare_spent);
    printf("| %zu | %s | %s | %.2f | %.2f |\n", size, rows, WAY_NAMES[way],
           spent[ROUNDS / 2].cpu_us, spent[ROUNDS / 2].wall_us);
    fflush(stdout);
}

/* In turns, so that each way meets the same moments of a busy machine. */
static void measure(struct bench *bench, size_t size)
{
    struct spent first[N_WAYS][ROUNDS], again[N_WAYS][ROUNDS];
    size_t n_rows = bench->n_loads * size;
    char *empty = memory_printf("TRUNCATE %s", bench->table->name);
    for (int round = 0; round < ROUNDS; round++)
        for (enum way way = 0; way < N_WAYS; way++) {
            run(bench, empty);
            first[way][round] = write_all(bench, way, n_rows);
            if (way != WAY_COPY)
                again[way][round] = write_all(bench, way, n_rows);
        }
    for (enum way way = 0; way < N_WAYS; way++)
        print_line(size, "new", way, first[way]);
    for (enum way way = 0; way < WAY_COPY; way++)
        print_line(size, "updates", way, again[way]);
    free(empty);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: bench_paths DATABASE_URL LUA_DIR STREAM COUNT");
    struct bench bench = {0};
    size_t stream, count = (size_t)market_number(argv[4]);
    struct rules_generation *generation = market_rules(argv[2], argv[3], &stream);
    bench.connection = PQconnectdb(argv[1]);
    if (PQstatus(bench.connection) != CONNECTION_OK)
        die("%s", PQerrorMessage(bench.connection));
    run(&bench, "SET synchronous_commit = off");
    printf("| rows a batch | rows | way | CPU of the backend, us a row | passed, us a row |\n"
           "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        make_loads(&bench, generation, stream, count, SIZES[i]);
        if (!bench.staged_sql)
            prepare(&bench);
        measure(&bench, SIZES[i]);
        free_loads(&bench);
    }
    PQfinish(bench.connection);
    free(bench.sql);
    free(bench.staged_sql);
    free(bench.types);
    return 0;
}
