#include "kit.h"

#include <dirent.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "store/control.h"

#define DEADLINE_MS 10000

/* ---- the database ---- */

static PGconn *connect_to(const char *conninfo)
{
    PGconn *session = PQconnectdb(conninfo);
    if (PQstatus(session) != CONNECTION_OK)
        fail_msg("%s: %s", conninfo, PQerrorMessage(session));
    return session;
}

static void admin_sql(const char *format, const char *name)
{
    char *sql = memory_printf(format, name);
    PGconn *session = connect_to(getenv("DATABASE_URL"));
    PGresult *result = PQexec(session, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(session));
    PQclear(result);
    PQfinish(session);
    free(sql);
}

/* DATABASE_URL with another database in it. */
static char *conninfo_of(const char *name)
{
    const char *url = getenv("DATABASE_URL");
    const char *from = "/postgres?";
    const char *at = strstr(url, from);
    if (!at)
        fail_msg("DATABASE_URL is not with-postgres': %s", url);
    return memory_printf("%.*s/%s?%s", (int)(at - url), url, name, at + strlen(from));
}

int kit_setup(void **state)
{
    static unsigned number;
    if (!getenv("DATABASE_URL")) {
        fprintf(stderr, "run this with spec/support/with-postgres\n");
        return -1;
    }
    struct kit *kit = memory_zero(1, sizeof *kit);
    kit->base = event_base_new();
    kit->name = memory_printf("spec_%d_%u", (int)getpid(), ++number);
    admin_sql("CREATE DATABASE %s", kit->name);
    kit->conninfo = conninfo_of(kit->name);
    *state = kit;
    return 0;
}

static int is_migration(const struct dirent *entry)
{
    return strstr(entry->d_name, ".sql") != NULL;
}

int kit_setup_migrated(void **state)
{
    struct dirent **files = NULL;
    if (kit_setup(state))
        return -1;
    int n = scandir(CS_SOURCE_DIR "/migrations", &files, is_migration, alphasort), bad = n <= 0;
    for (int i = 0; i < n; i++) {
        struct error err;
        if (!bad && !kit_apply(*state, files[i]->d_name, &err)) {
            fprintf(stderr, "%s: %s\n", files[i]->d_name, err.text);
            bad = 1;
        }
        free(files[i]);
    }
    free(files);
    return bad ? -1 : 0;
}

int kit_teardown(void **state)
{
    struct kit *kit = *state;
    admin_sql("DROP DATABASE %s WITH (FORCE)", kit->name);
    event_base_free(kit->base);
    free(kit->conninfo);
    free(kit->name);
    free(kit);
    return 0;
}

const char *kit_sql(struct kit *kit, const char *format, ...)
{
    static char cell[4096];
    char *sql = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&sql, format, args) < 0)
        fail_msg("out of memory");
    va_end(args);
    PGconn *session = connect_to(kit->conninfo);
    PQclear(PQexec(session, "SET client_min_messages = error"));
    PGresult *result = PQexec(session, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(session));
    cell[0] = '\0';
    if (status == PGRES_TUPLES_OK && PQntuples(result) && PQnfields(result))
        snprintf(cell, sizeof cell, "%s", PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(session);
    free(sql);
    return cell;
}

struct pg_conn *kit_session(struct kit *kit)
{
    return connect_to(kit->conninfo);
}

void kit_exec(struct pg_conn *session, const char *sql)
{
    PGresult *result = PQexec(session, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(session));
    PQclear(result);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot open %s", path);
    char *text = memory_zero(1, 65536);
    size_t size = fread(text, 1, 65535, file);
    assert_true(size < 65535);
    fclose(file);
    return text;
}

bool kit_apply(struct kit *kit, const char *file, struct error *err)
{
    char *path = memory_printf("%s/migrations/%s", CS_SOURCE_DIR, file);
    char *text = read_file(path);
    PGconn *session = connect_to(kit->conninfo);
    PQclear(PQexec(session, "SET client_min_messages = error"));
    PGresult *result = PQexec(session, text);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    if (!ok)
        error_set(err, "%s", PQerrorMessage(session));
    PQclear(result);
    PQfinish(session);
    free(text);
    free(path);
    return ok;
}

void kit_server(const char *verb)
{
    char *command = memory_printf("\"$TEST_POSTGRES\" %s", verb);
    int code = system(command);
    free(command);
    assert_int_equal(code, 0);
}

/* ---- waiting ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

void kit_run_until_true(struct kit *kit, bool (*check)(void *arg), void *arg, const char *what)
{
    const struct timeval tick_every = {0, 5000};
    int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
    struct event *tick = event_new(kit->base, -1, EV_PERSIST, on_tick, NULL);
    event_add(tick, &tick_every);
    bool so = check(arg);
    while (!so && clock_monotonic_ms() < deadline_ms) {
        event_base_loop(kit->base, EVLOOP_ONCE);
        so = check(arg);
    }
    event_free(tick);
    if (!so)
        fail_msg("not within %d ms: %s", DEADLINE_MS, what);
}

static bool is_set(void *arg)
{
    return *(const bool *)arg;
}

void kit_run_until(struct kit *kit, const bool *flag, const char *what)
{
    kit_run_until_true(kit, is_set, (void *)flag, what);
}

void kit_wait_sql(struct kit *kit, const char *expected, const char *sql)
{
    int64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
    while (strcmp(kit_sql(kit, "%s", sql), expected) != 0) {
        if (clock_monotonic_ms() > deadline_ms)
            fail_msg("not within %d ms: %s of \"%s\"", DEADLINE_MS, expected, sql);
        usleep(5000);
    }
}

/* ---- tables and rows ---- */

enum { CLOSE, HIGH, LOW, OPEN, SEQUENCE, SYMBOL, TIME, VOLUME, N_COLUMNS };

static struct column_def columns[] = {
    {"close", VALUE_FLOAT8, false}, {"high", VALUE_FLOAT8, false},   {"low", VALUE_FLOAT8, false},
    {"open", VALUE_FLOAT8, false},  {"sequence", VALUE_INT8, true},  {"symbol", VALUE_TEXT, false},
    {"time", VALUE_TIME, false},    {"volume", VALUE_FLOAT8, false},
};
static size_t key[] = {TIME, SYMBOL};

const struct table_def kit_market_klines = {
    .name = "market_klines",
    .columns = columns,
    .n_columns = N_COLUMNS,
    .key = key,
    .n_key = 2,
    .has_newer = true,
    .newer = SEQUENCE,
};
const struct table_def kit_unnumbered = {
    .name = "market_klines",
    .columns = columns,
    .n_columns = N_COLUMNS,
    .key = key,
    .n_key = 2,
};

struct row kit_row(const struct kit_candle *candle, struct value values[8])
{
    struct value price = {.type = VALUE_FLOAT8,
                          .float8 = strtod(candle->price, NULL),
                          .source = bytes_of_string(candle->price)};
    for (size_t i = 0; i < N_COLUMNS; i++)
        values[i] = price;
    values[SEQUENCE] = (struct value){.type = VALUE_INT8, .int8 = candle->sequence};
    values[SEQUENCE].is_null = candle->sequence < 0;
    values[SYMBOL] = (struct value){.type = VALUE_TEXT, .text = bytes_of_string(candle->symbol)};
    values[TIME] = (struct value){.type = VALUE_TIME, .int8 = candle->time_ms};
    return (struct row){.table = &kit_market_klines, .values = values};
}

/* ---- schema and writing ---- */

struct schema_wait {
    bool done;
    struct schema *schema;
    struct error err;
};

static void on_schema(struct schema *schema, const struct error *err, void *arg)
{
    struct schema_wait *wait = arg;
    wait->done = true;
    wait->schema = schema;
    if (!schema)
        wait->err = *err;
}

struct schema *kit_schema(struct kit *kit, const char *const *tables, size_t n_tables)
{
    struct schema_wait wait = {0};
    struct control *control = control_new(kit->base, kit->conninfo, 5000);
    const struct schema_wish wish = {.tables = tables, .n_tables = n_tables};
    control_load_schema(control, &wish, on_schema, &wait);
    kit_run_until(kit, &wait.done, "the schema");
    control_free(control);
    if (!wait.schema)
        fail_msg("%s", wait.err.text);
    return wait.schema;
}

static bool writer_ready(void *arg)
{
    return writer_is_ready(arg);
}

struct writer *kit_writer(struct kit *kit, struct schema *schema)
{
    return kit_writer_with(kit, schema, 5000);
}

struct writer *kit_writer_with(struct kit *kit, struct schema *schema, int write_timeout_ms)
{
    const struct writer_options options = {
        .conninfo = kit->conninfo,
        .application_name = "spec writer",
        .connect_timeout_ms = 5000,
        .write_timeout_ms = write_timeout_ms,
    };
    struct writer *writer = writer_new(kit->base, &options, NULL, NULL);
    if (schema)
        writer_set_schema(writer, schema);
    kit_run_until_true(kit, writer_ready, writer, "the writer is ready");
    return writer;
}

void kit_on_written(const struct write_result *result, void *arg)
{
    struct kit_write *write = arg;
    assert_false(write->done);
    write->done = true;
    write->result = *result;
}

struct write_result kit_write_batch(struct kit *kit, struct writer *writer,
                                    const struct write_batch *batch)
{
    struct kit_write write = {0};
    assert_true(writer_submit(writer, batch, kit_on_written, &write));
    kit_run_until(kit, &write.done, "the batch ends");
    return write.result;
}

struct write_result kit_write_candles(struct kit *kit, struct writer *writer,
                                      const struct table_def *table,
                                      const struct kit_candle *candles, size_t n)
{
    struct value(*values)[8] = memory_zero(n, sizeof *values);
    struct row *rows = memory_zero(n, sizeof *rows);
    const struct row **list = memory_zero(n, sizeof *list);
    for (size_t i = 0; i < n; i++) {
        rows[i] = kit_row(&candles[i], values[i]);
        list[i] = &rows[i];
    }
    const struct write_rows tables = {table, list, n};
    const struct write_batch batch = {.group_id = "g", .tables = &tables, .n_tables = 1};
    struct write_result result = kit_write_batch(kit, writer, &batch);
    free(values);
    free(rows);
    free(list);
    return result;
}
