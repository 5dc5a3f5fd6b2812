/* migrations/ and scripts/migrate, on an empty database and on what the original service left. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char *const files[] = {
    "000_base_schema.sql",
    "001_add_news_columns.sql",
    "002_add_sequence_numbers.sql",
    "003_update_market_klines_schema.sql",
    "004_ingest.sql",
    "005_rule_generations.sql",
};

#define N_FILES (sizeof files / sizeof files[0])

static void apply(struct kit *kit, const char *file)
{
    struct error err;
    if (!kit_apply(kit, file, &err))
        fail_msg("%s: %s", file, err.text);
}

static void apply_all_twice(struct kit *kit)
{
    for (size_t i = 0; i < 2 * N_FILES; i++)
        apply(kit, files[i % N_FILES]);
}

/* Name, type and NOT NULL of every column of a table, in their order. */
static const char *describe(struct kit *kit, const char *table)
{
    return kit_sql(kit,
                   "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) ||"
                   " CASE WHEN attnotnull THEN '!' ELSE '' END, ', ' ORDER BY attnum)"
                   " FROM pg_attribute WHERE attrelid = '%s'::regclass AND attnum > 0"
                   " AND NOT attisdropped",
                   table);
}

static void make_the_tables_of_the_seed(void **state)
{
    struct kit *kit = *state;
    apply_all_twice(kit);
    assert_string_equal(describe(kit, "market_klines"),
                        "time timestamp with time zone!, symbol character varying(20)!,"
                        " open double precision, high double precision, low double precision,"
                        " close double precision, volume double precision, sequence bigint");
    assert_string_equal(describe(kit, "sequence_tracker"),
                        "id integer!, last_sequence bigint!, updated_at timestamp without time "
                        "zone");
    kit_expect(kit,
               "CREATE INDEX idx_market_klines_symbol_sequence ON public.market_klines USING"
               " btree (symbol, sequence) WHERE (sequence IS NOT NULL)",
               "SELECT indexdef FROM pg_indexes"
               " WHERE indexname = 'idx_market_klines_symbol_sequence'");
    kit_expect(kit, "1",
               "SELECT count(*) FROM pg_indexes"
               " WHERE indexname = 'idx_klines_symbol_sequence'");
    kit_expect(kit, "time, symbol",
               "SELECT string_agg(attname, ', ' ORDER BY a.attnum) FROM pg_index i"
               " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
               " WHERE i.indrelid = 'market_klines'::regclass AND i.indisprimary");
}

static void hand_out_numbers_one_by_one(void **state)
{
    struct kit *kit = *state;
    apply_all_twice(kit);
    kit_expect(kit, "1", "SELECT get_next_sequence()");
    kit_expect(kit, "2", "SELECT get_next_sequence()");
    kit_expect(kit, "1 2", "SELECT count(*) || ' ' || max(last_sequence) FROM sequence_tracker");
}

static void answer_the_monitoring_queries_of_the_seed(void **state)
{
    struct kit *kit = *state;
    apply_all_twice(kit);
    kit_sql(kit, "INSERT INTO market_klines (time, symbol, sequence)"
                 " SELECT '2024-01-01'::timestamptz + i * interval '1 minute', 'S' || i %% 50,"
                 " CASE WHEN i %% 3 > 0 THEN i END FROM generate_series(1, 20000) i;"
                 "ANALYZE market_klines");
    kit_expect(kit, "S0 400 267",
               "SELECT symbol || ' ' || COUNT(*) || ' ' || COUNT(sequence)"
               " FROM market_klines GROUP BY symbol ORDER BY symbol LIMIT 1");
    kit_expect(kit, "50",
               "SELECT count(*) FROM (SELECT symbol,"
               " MAX(sequence) - MIN(sequence) + 1 - COUNT(*) as gap_count"
               " FROM market_klines WHERE sequence IS NOT NULL GROUP BY symbol) g");
    const char *plan = kit_sql(kit, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM market_klines"
                                    " WHERE symbol = 'S1' AND sequence > 100 AND sequence <= 150"
                                    " AND sequence IS NOT NULL");
    assert_non_null(strstr(plan, "\"Node Type\": \"Index Scan\""));
    assert_non_null(strstr(plan, "idx_market_klines_symbol_sequence"));
}

/* Text and numeric columns, a serial key, the conflict target as a constraint beside it. */
static const char original[] =
    "CREATE TABLE market_klines (id serial PRIMARY KEY, time timestamptz NOT NULL, symbol text,"
    " open numeric(18, 8), high numeric, low text, close numeric, volume text %s);"
    "INSERT INTO market_klines (time, symbol, open, low) VALUES ('2024-01-01', 'A', 1.5, '1.50')";

static void leave_the_tables_of_the_original_service_as_they_are(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, original, ", UNIQUE (time, symbol)");
    apply_all_twice(kit);
    assert_string_equal(describe(kit, "market_klines"),
                        "id integer!, time timestamp with time zone!, symbol text,"
                        " open numeric(18,8), high numeric, low text, close numeric, volume text,"
                        " sequence bigint");
    kit_expect(kit, "1.50000000 1.50", "SELECT open || ' ' || low FROM market_klines");
    kit_expect(kit, "2",
               "SELECT count(*) FROM pg_index"
               " WHERE indrelid = 'market_klines'::regclass AND indisunique");
}

static void make_a_conflict_target_that_is_missing(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, original, "");
    kit_sql(kit, "CREATE TABLE news_sentiment (id serial PRIMARY KEY, headline text)");
    kit_sql(kit, "CREATE UNIQUE INDEX half ON market_klines (time, symbol) WHERE low IS NULL");
    apply_all_twice(kit);
    kit_sql(kit, "INSERT INTO market_klines (time, symbol) VALUES ('2024-01-01', 'A')"
                 " ON CONFLICT (time, symbol) DO NOTHING");
    kit_sql(kit, "INSERT INTO news_sentiment (url, symbol) VALUES ('u', 'A')"
                 " ON CONFLICT (url) DO NOTHING");
    kit_expect(kit, "1", "SELECT count(*) FROM market_klines");
}

static void stop_at_duplicates_and_say_how_to_find_them(void **state)
{
    struct kit *kit = *state;
    struct error err;
    kit_sql(kit, original, "");
    kit_sql(kit, "INSERT INTO market_klines (time, symbol) VALUES ('2024-01-01', 'A')");
    assert_false(kit_apply(kit, files[0], &err));
    const char *start = strstr(err.text, "SELECT ");
    assert_non_null(start);
    char query[512];
    snprintf(query, sizeof query, "%.*s", (int)strcspn(start, "\n"), start);
    kit_expect(kit, "2024-01-01 00:00:00+00", "SET TimeZone = 'UTC'; %s", query);
    kit_expect(kit, "market_klines",
               "SELECT string_agg(tablename, ', ') FROM pg_tables"
               " WHERE schemaname = 'public'");
}

static void stop_at_times_that_are_no_timestamps(void **state)
{
    struct kit *kit = *state;
    struct error err;
    kit_sql(kit, "CREATE TABLE klines (time bigint, symbol text)");
    assert_false(kit_apply(kit, files[0], &err));
    assert_non_null(strstr(err.text, "table klines: column time is bigint"));
    kit_expect(kit, "klines",
               "SELECT string_agg(tablename, ', ') FROM pg_tables"
               " WHERE schemaname = 'public'");
}

static void apply_alone_where_the_seed_applies_them(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, original, ", UNIQUE (time, symbol)");
    apply(kit, files[2]); /* without a table klines */
    apply(kit, files[3]);
    kit_sql(kit, "CREATE TABLE klines (time timestamptz, symbol text, \"interval\" text,"
                 " sequence bigint)");
    apply_all_twice(kit);
}

/* ---- scripts/migrate ---- */

static int migrate(struct kit *kit, const char *arguments, char *output, size_t size)
{
    char *command = memory_printf("DATABASE_URL='%s' '%s/scripts/migrate' %s 2>&1", kit->conninfo,
                                  CS_SOURCE_DIR, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    output[fread(output, 1, size - 1, pipe)] = '\0';
    free(command);
    return pclose(pipe);
}

static void are_applied_once_by_the_script_and_recorded(void **state)
{
    struct kit *kit = *state;
    char output[4096];
    if (migrate(kit, "", output, sizeof output) != 0)
        fail_msg("%s", output);
    assert_non_null(strstr(output, "applied 000_base_schema.sql\n"));
    assert_non_null(strstr(output, "applied 005_rule_generations.sql\n"));
    assert_int_equal(migrate(kit, "", output, sizeof output), 0);
    assert_null(strstr(output, "applied"));
    assert_non_null(strstr(output, "present 004_ingest.sql\n"));
    kit_expect(kit, "64",
               "SELECT length(sha256) FROM schema_migrations"
               " WHERE name = '004_ingest.sql' AND applied_at <= now()");
    kit_sql(kit, "UPDATE schema_migrations SET sha256 = 'x' WHERE name = '004_ingest.sql'");
    assert_int_equal(migrate(kit, "", output, sizeof output), 0);
    assert_non_null(strstr(output, "present 004_ingest.sql (the file has changed since"));
}

static void wait_for_another_run(void **state)
{
    struct kit *kit = *state;
    char output[8192];
    char *twice = memory_printf("& DATABASE_URL='%s' '%s/scripts/migrate' && wait $!",
                                kit->conninfo, CS_SOURCE_DIR);
    int code = migrate(kit, twice, output, sizeof output);
    free(twice);
    if (code != 0)
        fail_msg("%s", output);
    kit_expect(kit, "t", "SELECT count(*) >= 6 FROM schema_migrations");
    const char *first = strstr(output, "applied 003_update");
    assert_non_null(first);
    assert_null(strstr(first + 1, "applied 003_update"));
}

static void stop_the_script_at_the_first_failure(void **state)
{
    struct kit *kit = *state;
    char output[4096];
    char directory[] = "/tmp/migrations.XXXXXX";
    assert_non_null(mkdtemp(directory));
    char *make = memory_printf("cd %s && echo 'CREATE TABLE first (a int);' >001_a.sql &&"
                               " echo 'CREATE TABLE second (a int); SELECT 1 / 0;' >002_b.sql &&"
                               " echo 'CREATE TABLE third (a int);' >003_c.sql",
                               directory);
    int made = system(make);
    char *arguments = memory_printf("--dir %s", directory);
    int code = migrate(kit, arguments, output, sizeof output);
    char *clean = memory_printf("rm -r %s", directory);
    int cleaned = system(clean);
    free(make);
    free(arguments);
    free(clean);
    assert_int_equal(made, 0);
    assert_int_equal(cleaned, 0);
    assert_int_not_equal(code, 0);
    assert_non_null(strstr(output, "applied 001_a.sql"));
    assert_non_null(strstr(output, "division by zero"));
    assert_non_null(strstr(output, "002_b.sql failed"));
    kit_expect(kit, "first",
               "SELECT string_agg(tablename, ', ') FROM pg_tables"
               " WHERE tablename IN ('first', 'second', 'third')");
}

#define with_database(spec) cmocka_unit_test_setup_teardown(spec, kit_setup, kit_teardown)

int main(void)
{
    const struct CMUnitTest specs[] = {
        with_database(make_the_tables_of_the_seed),
        with_database(hand_out_numbers_one_by_one),
        with_database(answer_the_monitoring_queries_of_the_seed),
        with_database(leave_the_tables_of_the_original_service_as_they_are),
        with_database(make_a_conflict_target_that_is_missing),
        with_database(stop_at_duplicates_and_say_how_to_find_them),
        with_database(stop_at_times_that_are_no_timestamps),
        with_database(apply_alone_where_the_seed_applies_them),
        with_database(are_applied_once_by_the_script_and_recorded),
        with_database(wait_for_another_run),
        with_database(stop_the_script_at_the_first_failure),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
