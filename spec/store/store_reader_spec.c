/* Queries of one HTTP thread: many in flight, each with an end of its own. */
#include "kit.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/reader.h"

/* What a query came to; cells of the first row as "text:type" joined by blanks. */
struct answer {
    bool done;
    enum query_outcome outcome;
    size_t n_rows;
    char text[sizeof((struct error *)0)->text];
};

static void on_answer(enum query_outcome outcome, const struct result *result,
                      const struct error *err, void *arg)
{
    struct answer *answer = arg;
    assert_false(answer->done);
    answer->done = true;
    answer->outcome = outcome;
    if (outcome != QUERY_OK) {
        snprintf(answer->text, sizeof answer->text, "%s", err->text);
        return;
    }
    answer->n_rows = result->n_rows;
    size_t size = 0;
    for (size_t i = 0; result->n_rows && i < result->n_columns; i++) {
        struct bytes cell = result->cell(result, 0, i);
        size += (size_t)snprintf(answer->text + size, sizeof answer->text - size, "%s%s=%.*s:%s",
                                 i ? " " : "", result->columns[i].name,
                                 cell.data ? (int)cell.size : 4, cell.data ? cell.data : "NULL",
                                 value_type_column_name(result->columns[i].type));
        assert_true(size < sizeof answer->text);
    }
}

static bool is_ready(void *pool)
{
    return reader_pool_is_ready(pool);
}

static struct reader_pool *start(struct kit *kit, int connections, int statement_timeout_ms)
{
    const struct reader_options options = {
        .conninfo = kit->conninfo,
        .application_name = "spec reader",
        .connections = connections,
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = statement_timeout_ms,
    };
    struct reader_pool *pool = reader_pool_new(kit->base, &options);
    assert_false(reader_pool_is_ready(pool));
    kit_run_until_true(kit, is_ready, pool, "the pool is ready");
    return pool;
}

static void ask(struct reader_pool *pool, struct answer *answer, const char *sql)
{
    memset(answer, 0, sizeof *answer);
    assert_non_null(reader_pool_query(pool, sql, NULL, 0, 0, on_answer, answer));
    assert_false(answer->done);
}

static struct answer ask_and_wait(struct kit *kit, struct reader_pool *pool, const char *sql)
{
    struct answer answer;
    ask(pool, &answer, sql);
    kit_run_until(kit, &answer.done, sql);
    return answer;
}

/* A pool is ready with its first connection. */
static void wait_for_both(struct kit *kit, struct reader_pool *pool)
{
    struct answer first, second;
    do {
        ask(pool, &first, "SELECT pg_backend_pid() a");
        ask(pool, &second, "SELECT pg_backend_pid() AS a");
        kit_run_until(kit, &first.done, "the first answer");
        kit_run_until(kit, &second.done, "the second answer");
    } while (strcmp(first.text, second.text) == 0);
}

static void lends_cells_with_their_types(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer answer = ask_and_wait(
        kit, pool,
        "SELECT 1::int2 a, 2::int4 b, 9007199254740993::int8 c, 0.1::float8 d, 'NaN'::float4 e,"
        " 1.50::numeric f, true g, '{\"x\": 1}'::jsonb h, 'text' i, NULL::int8 j, ''::text k,"
        " '2024-01-01 00:00:00+00'::timestamptz l");
    assert_int_equal(answer.outcome, QUERY_OK);
    assert_int_equal(answer.n_rows, 1);
    assert_string_equal(answer.text,
                        "a=1:int8 b=2:int8 c=9007199254740993:int8 d=0.1:float8 e=NaN:float8"
                        " f=1.50:numeric g=t:bool h={\"x\": 1}:json i=text:text j=NULL:int8 k=:text"
                        " l=2024-01-01 00:00:00+00:text");
    reader_pool_free(pool);
}

static void passes_values_as_parameters(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer answer = {0};
    const char *const values[] = {"'; DROP TABLE x; --", "41", NULL};
    reader_pool_query(pool, "SELECT $1::text a, $2::int8 + 1 b, $3::text c", values, 3, 0,
                      on_answer, &answer);
    kit_run_until(kit, &answer.done, "the answer");
    assert_string_equal(answer.text, "a='; DROP TABLE x; --:text b=42:int8 c=NULL:text");
    reader_pool_free(pool);
}

static void ends_each_query_by_itself(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer answers[5];
    ask(pool, &answers[0], "SELECT 1 a");
    ask(pool, &answers[1], "SELECT nonsense AS a");
    ask(pool, &answers[2], "SELECT nonsense");
    ask(pool, &answers[3], "SELECT 1 / 0");
    ask(pool, &answers[4], "SELECT 1 AS a");
    kit_run_until(kit, &answers[4].done, "the last answer");
    assert_string_equal(answers[0].text, "a=1:int8");
    assert_string_equal(answers[4].text, "a=1:int8");
    for (int i = 1; i < 4; i++)
        assert_int_equal(answers[i].outcome, QUERY_FAILED);
    assert_non_null(strstr(answers[2].text, "column \"nonsense\" does not exist"));
    assert_non_null(strstr(answers[3].text, "22012"));
    reader_pool_free(pool);
}

static void gives_a_query_to_the_connection_with_the_fewest(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 2, 5000);
    wait_for_both(kit, pool);
    struct answer slow, quick;
    ask(pool, &slow, "SELECT pg_sleep(0.3)");
    quick = ask_and_wait(kit, pool, "SELECT 1");
    assert_int_equal(quick.outcome, QUERY_OK);
    assert_false(slow.done);
    kit_run_until(kit, &slow.done, "the slow answer");
    reader_pool_free(pool);
}

static void stops_a_statement_that_takes_too_long(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 100);
    struct answer answer = ask_and_wait(kit, pool, "SELECT pg_sleep(5)");
    assert_int_equal(answer.outcome, QUERY_TIMEOUT);
    assert_int_equal(ask_and_wait(kit, pool, "SELECT 1").outcome, QUERY_OK);
    reader_pool_free(pool);
}

static void only_reads(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer answer = ask_and_wait(kit, pool, "CREATE TABLE x (a int)");
    assert_int_equal(answer.outcome, QUERY_FAILED);
    assert_non_null(strstr(answer.text, "read-only"));
    reader_pool_free(pool);
}

static void plans_each_query_for_its_values(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    assert_string_equal(ask_and_wait(kit, pool, "SHOW plan_cache_mode").text,
                        "plan_cache_mode=force_custom_plan:text");
    reader_pool_free(pool);
}

static void survives_a_change_of_the_schema_unseen(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, "CREATE TABLE changing (a int4); INSERT INTO changing VALUES (1)");
    struct reader_pool *pool = start(kit, 1, 5000);
    assert_string_equal(ask_and_wait(kit, pool, "SELECT * FROM changing").text, "a=1:int8");
    kit_sql(kit, "ALTER TABLE changing ALTER a TYPE text");
    assert_string_equal(ask_and_wait(kit, pool, "SELECT * FROM changing").text, "a=1:text");
    reader_pool_free(pool);
}

static void says_unavailable_when_the_connection_is_lost_and_comes_back(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer slow, refused;
    ask(pool, &slow, "SELECT pg_sleep(5)");
    event_base_loop(kit->base, EVLOOP_NONBLOCK);
    kit_wait_sql(kit, "t",
                 "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity"
                 " WHERE application_name = 'spec reader' AND state = 'active'");
    kit_run_until(kit, &slow.done, "the query in flight ends");
    assert_int_equal(slow.outcome, QUERY_UNAVAILABLE);
    assert_string_not_equal(reader_pool_trouble(pool), "");
    ask(pool, &refused, "SELECT 1");
    kit_run_until(kit, &refused.done, "a query without connection ends");
    assert_int_equal(refused.outcome, QUERY_UNAVAILABLE);
    kit_run_until_true(kit, is_ready, pool, "it is ready again");
    assert_string_equal(reader_pool_trouble(pool), "");
    assert_int_equal(ask_and_wait(kit, pool, "SELECT 1").outcome, QUERY_OK);
    reader_pool_free(pool);
}

static void waits_for_a_table_that_is_not_there(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer answer = ask_and_wait(kit, pool, "SELECT * FROM being_replaced");
    assert_int_equal(answer.outcome, QUERY_UNAVAILABLE);
    assert_non_null(strstr(answer.text, "being_replaced"));
    kit_sql(kit, "CREATE TABLE being_replaced (a int8); INSERT INTO being_replaced VALUES (7)");
    assert_string_equal(ask_and_wait(kit, pool, "SELECT * FROM being_replaced").text, "a=7:int8");
    reader_pool_free(pool);
}

static void calls_nobody_who_has_cancelled(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer cancelled = {0}, last;
    struct reader_query *query =
        reader_pool_query(pool, "SELECT 1", NULL, 0, 0, on_answer, &cancelled);
    reader_query_cancel(query);
    ask(pool, &last, "SELECT 2");
    kit_run_until(kit, &last.done, "the next answer");
    assert_false(cancelled.done);
    reader_pool_free(pool);
}

static void ends_what_is_in_flight_when_it_is_freed(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start(kit, 1, 5000);
    struct answer answer;
    ask(pool, &answer, "SELECT pg_sleep(5)");
    reader_pool_free(pool);
    assert_true(answer.done);
    assert_int_equal(answer.outcome, QUERY_UNAVAILABLE);
}

enum { N_ALIKE = 20 };

static struct metrics *counts;

static struct reader_pool *start_counting(struct kit *kit)
{
    counts = metrics_new();
    const struct reader_options options = {
        .conninfo = kit->conninfo,
        .application_name = "spec reader",
        .connections = 2,
        .connect_timeout_ms = 5000,
        .statement_timeout_ms = 5000,
        .shared = metrics_counter(counts, "shared_total", "For this spec", NULL, 0),
    };
    struct reader_pool *pool = reader_pool_new(kit->base, &options);
    kit_run_until_true(kit, is_ready, pool, "the pool is ready");
    wait_for_both(kit, pool);
    return pool;
}

static uint64_t n_shared(void)
{
    return counter_get(metrics_counter(counts, "shared_total", "For this spec", NULL, 0));
}

static void stop_counting(struct reader_pool *pool)
{
    reader_pool_free(pool);
    metrics_free(counts);
}

/* What tells one execution from another; two may begin in one microsecond. */
static const char WHICH[] = "SELECT gen_random_uuid()::text a, pg_sleep(0.1)::text b, $1::text c";

static void ask_which(struct reader_pool *pool, struct answer *answer, const char *value,
                      uint64_t since)
{
    const char *const values[] = {value};
    memset(answer, 0, sizeof *answer);
    reader_pool_query(pool, WHICH, values, 1, since, on_answer, answer);
    assert_false(answer->done);
}

static void runs_one_statement_for_those_who_ask_the_same(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start_counting(kit);
    struct answer alike[N_ALIKE], other, null, later;
    for (int i = 0; i < N_ALIKE; i++)
        ask_which(pool, &alike[i], "x", 0);
    ask_which(pool, &other, "y", 0);
    ask_which(pool, &null, NULL, 0);
    kit_run_until(kit, &alike[N_ALIKE - 1].done, "the last of those alike");
    for (int i = 0; i < N_ALIKE; i++)
        assert_string_equal(alike[i].text, alike[0].text);
    assert_int_equal(n_shared(), N_ALIKE - 1);
    ask_which(pool, &later, "x", 0);
    kit_run_until(kit, &later.done, "one who comes after the rows");
    kit_run_until(kit, &other.done, "another value");
    kit_run_until(kit, &null.done, "no value");
    assert_string_not_equal(later.text, alike[0].text);
    assert_non_null(strstr(other.text, "c=y"));
    assert_non_null(strstr(null.text, "c=NULL"));
    assert_int_equal(n_shared(), N_ALIKE - 1);
    stop_counting(pool);
}

static void goes_on_when_the_first_to_ask_cancels(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start_counting(kit);
    struct answer first = {0}, second, third;
    const char *const values[] = {"x"};
    struct reader_query *query = reader_pool_query(pool, WHICH, values, 1, 0, on_answer, &first);
    ask_which(pool, &second, "x", 0);
    reader_query_cancel(query);
    ask_which(pool, &third, "x", 0);
    kit_run_until(kit, &third.done, "the others");
    assert_false(first.done);
    assert_int_equal(second.outcome, QUERY_OK);
    assert_string_equal(second.text, third.text);
    assert_int_equal(n_shared(), 2);
    stop_counting(pool);
}

static void tells_all_who_share_what_went_wrong(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start_counting(kit);
    struct answer answers[3];
    for (int i = 0; i < 3; i++)
        ask(pool, &answers[i], "SELECT nonsense");
    kit_run_until(kit, &answers[2].done, "the failure");
    for (int i = 0; i < 3; i++)
        assert_int_equal(answers[i].outcome, QUERY_FAILED);
    assert_int_equal(n_shared(), 2);
    stop_counting(pool);
}

/* Else an answer could put what is known now beside rows from before. */
static void never_gives_older_rows_to_who_has_seen_newer_ones(void **state)
{
    struct kit *kit = *state;
    struct reader_pool *pool = start_counting(kit);
    struct answer old, quick, fresh, joined;
    ask_which(pool, &old, "x", 0);
    quick = ask_and_wait(kit, pool, "SELECT 1 a");
    assert_int_equal(quick.outcome, QUERY_OK);
    assert_false(old.done);
    uint64_t since = reader_pool_now(pool);
    ask_which(pool, &fresh, "x", since);
    ask_which(pool, &joined, "x", since);
    kit_run_until(kit, &old.done, "the old one");
    kit_run_until(kit, &joined.done, "the fresh ones");
    assert_string_not_equal(fresh.text, old.text);
    assert_string_equal(joined.text, fresh.text);
    assert_int_equal(n_shared(), 1);
    stop_counting(pool);
}

/* A query that is asked from the answer to another: how every endpoint with two steps works. */
struct chain {
    struct reader_pool *pool;
    unsigned left;
    bool done;
};

static void on_link(enum query_outcome outcome, const struct result *result,
                    const struct error *err, void *arg)
{
    struct chain *chain = arg;
    (void)result;
    if (outcome != QUERY_OK)
        fail_msg("%s", err->text);
    if (--chain->left == 0) {
        chain->done = true;
        return;
    }
    char sql[64];
    snprintf(sql, sizeof sql, "SELECT %u AS more_texts_than_are_kept", chain->left);
    reader_pool_query(chain->pool, sql, NULL, 0, 0, on_link, chain);
}

static void asks_from_within_an_answer_with_more_texts_than_it_keeps(void **state)
{
    struct kit *kit = *state;
    struct chain chain = {.pool = start(kit, 1, 5000), .left = 700};
    reader_pool_query(chain.pool, "SELECT 1", NULL, 0, 0, on_link, &chain);
    kit_run_until(kit, &chain.done, "all links");
    struct answer kept =
        ask_and_wait(kit, chain.pool, "SELECT count(*) < 300 AS few FROM pg_prepared_statements");
    assert_string_equal(kept.text, "few=t:bool");
    reader_pool_free(chain.pool);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(lends_cells_with_their_types),
        cmocka_unit_test(passes_values_as_parameters),
        cmocka_unit_test(ends_each_query_by_itself),
        cmocka_unit_test(gives_a_query_to_the_connection_with_the_fewest),
        cmocka_unit_test(stops_a_statement_that_takes_too_long),
        cmocka_unit_test(only_reads),
        cmocka_unit_test(plans_each_query_for_its_values),
        cmocka_unit_test(survives_a_change_of_the_schema_unseen),
        cmocka_unit_test(says_unavailable_when_the_connection_is_lost_and_comes_back),
        cmocka_unit_test(waits_for_a_table_that_is_not_there),
        cmocka_unit_test(calls_nobody_who_has_cancelled),
        cmocka_unit_test(runs_one_statement_for_those_who_ask_the_same),
        cmocka_unit_test(goes_on_when_the_first_to_ask_cancels),
        cmocka_unit_test(tells_all_who_share_what_went_wrong),
        cmocka_unit_test(never_gives_older_rows_to_who_has_seen_newer_ones),
        cmocka_unit_test(ends_what_is_in_flight_when_it_is_freed),
        cmocka_unit_test(asks_from_within_an_answer_with_more_texts_than_it_keeps),
    };
    return cmocka_run_group_tests(specs, kit_setup, kit_teardown);
}
