/* Rejected messages: read in pages, settled all or none, stored late. */
#include "kit.h"

#include <stdlib.h>
#include <string.h>

#include "store/control.h"
#include "store/rejected.h"

#define MINUTE_MS INT64_C(1704067200000)

static const char *const tables[] = {"market_klines"};

/* ---- reading ---- */

static struct control *fill(struct kit *kit, const char *rows)
{
    kit_sql(kit, "TRUNCATE rejected_messages RESTART IDENTITY");
    kit_sql(kit,
            "INSERT INTO rejected_messages (group_id, stream, topic, partition, \"offset\", key,"
            " payload, stage, reason) VALUES %s",
            rows);
    return control_new(kit->base, kit->conninfo, 2000);
}

struct told {
    bool done;
    bool ok;
    char text[512]; /* the messages' ids and reasons */
};

static void note(struct told *told, const char *text)
{
    size_t used = strlen(told->text);
    snprintf(told->text + used, sizeof told->text - used, "%s%s", used ? ", " : "", text);
}

static void on_list(const struct rejected_message *messages, size_t n, const struct error *err,
                    void *arg)
{
    struct told *told = arg;
    (void)err;
    told->done = true;
    told->ok = messages != NULL;
    for (size_t i = 0; i < n; i++) {
        char text[128];
        snprintf(text, sizeof text, "%d %.*s", (int)messages[i].id, (int)messages[i].reason.size,
                 messages[i].reason.data);
        note(told, text);
    }
}

static void expect_list(struct kit *kit, struct control *control,
                        const struct rejected_filter *filter, struct rejected_page page,
                        const char *expected)
{
    struct told told = {0};
    rejected_list(control, filter, &page, on_list, &told);
    kit_run_until(kit, &told.done, "the page");
    assert_true(told.ok);
    assert_string_equal(told.text, expected);
}

static const char four[] = "('g', 'S', 't', 0, 1, NULL, 'aaaa', 'map', 'a%: one'),"
                           "('g', 'S', 't', 0, 2, NULL, 'aaaa', 'map', 'a_: two'),"
                           "('g', 'R', 't', 0, 3, NULL, NULL, 'decode', 'ab: three'),"
                           "('h', 'S', 't', 0, 4, NULL, 'aaaa', 'map', 'a: of another group')";

static void reads_pages_of_one_group_newest_first(void **state)
{
    struct kit *kit = *state;
    struct control *control = fill(kit, four);
    const struct rejected_filter all = {.group_id = "g"};
    expect_list(kit, control, &all, (struct rejected_page){INT64_MAX, 2, 1000},
                "3 ab: three, 2 a_: two");
    expect_list(kit, control, &all, (struct rejected_page){2, 2, 1000}, "1 a%: one");
    expect_list(kit, control, &all, (struct rejected_page){1, 2, 1000}, "");
    control_free(control);
}

static void ends_a_page_when_its_payloads_are_large_but_not_before_the_first(void **state)
{
    struct kit *kit = *state;
    struct control *control = fill(kit, four);
    const struct rejected_filter all = {.group_id = "g"};
    expect_list(kit, control, &all, (struct rejected_page){INT64_MAX, 9, 4},
                "3 ab: three, 2 a_: two");
    expect_list(kit, control, &all, (struct rejected_page){3, 9, 1}, "2 a_: two");
    control_free(control);
}

static void takes_a_reasons_beginning_as_it_is_written(void **state)
{
    struct kit *kit = *state;
    struct control *control = fill(kit, four);
    const struct rejected_page page = {INT64_MAX, 9, 1000};
    expect_list(kit, control, &(struct rejected_filter){.group_id = "g", .reason = "a%"}, page,
                "1 a%: one");
    expect_list(kit, control, &(struct rejected_filter){.group_id = "g", .reason = "a_"}, page,
                "2 a_: two");
    expect_list(kit, control, &(struct rejected_filter){.group_id = "g", .stream = "R"}, page,
                "3 ab: three");
    expect_list(kit, control, &(struct rejected_filter){.group_id = "g", .stage = "map"}, page,
                "2 a_: two, 1 a%: one");
    control_free(control);
}

static void on_bytes(const struct rejected_message *messages, size_t n, const struct error *err,
                     void *arg)
{
    struct told *told = arg;
    (void)err;
    told->done = true;
    assert_int_equal(n, 2);
    assert_true(bytes_equal(messages[1].key, bytes_of("\0\xff\x0a", 3)));
    assert_true(bytes_equal(messages[1].payload, bytes_of("", 0)));
    assert_null(messages[0].key.data);
    assert_null(messages[0].payload.data);
}

static void reads_every_byte_and_tells_none_from_empty(void **state)
{
    struct kit *kit = *state;
    struct control *control = fill(kit, "('g', 'S', 't', 0, 1, '\\x00ff0a', '', 'map', 'r'),"
                                        "('g', 'S', 't', 0, 2, NULL, NULL, 'map', 'r')");
    struct told told = {0};
    const struct rejected_filter all = {.group_id = "g"};
    const struct rejected_page page = {INT64_MAX, 9, 1000};
    rejected_list(control, &all, &page, on_bytes, &told);
    kit_run_until(kit, &told.done, "the page");
    control_free(control);
}

static void on_summary(const struct rejected_kind *kinds, size_t n, const struct error *err,
                       void *arg)
{
    struct told *told = arg;
    (void)err;
    told->done = true;
    for (size_t i = 0; i < n; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s %s [%.*s] %d/%d", kinds[i].stream, kinds[i].stage,
                 (int)kinds[i].reason.size, kinds[i].reason.data, (int)kinds[i].pending,
                 (int)kinds[i].redriven);
        note(told, text);
    }
}

static void counts_reasons_alike_that_differ_in_their_values(void **state)
{
    struct kit *kit = *state;
    struct control *control =
        fill(kit, "('g', 'S', 't', 0, 1, NULL, NULL, 'map', 'high: 1 is low'),"
                  "('g', 'S', 't', 0, 2, NULL, NULL, 'map', 'high: 2 is low'),"
                  "('g', 'S', 't', 0, 3, NULL, NULL, 'map', 'name \"x\"'),"
                  "('g', 'S', 't', 0, 4, NULL, NULL, 'map', '42')");
    struct told told = {0};
    kit_sql(kit, "UPDATE rejected_messages SET redriven_at = now() WHERE id = 2");
    rejected_summary(control, "g", 9, on_summary, &told);
    kit_run_until(kit, &told.done, "the summary");
    assert_string_equal(told.text, "S map [high: ] 1/1, S map [42] 1/0, S map [name ] 1/0");
    control_free(control);
}

/* ---- settling ---- */

static void settles_all_or_none(void **state)
{
    struct kit *kit = *state;
    control_free(fill(kit, four));
    struct writer *writer = kit_writer(kit, NULL);
    const struct settlement settlements[] = {
        {.id = 1, .passed = true},
        {.id = 2, .stage = "row", .reason = bytes_of("new\xff", 4), .sqlstate = NULL},
    };
    const struct write_batch batch = {
        .group_id = "g", .settlements = settlements, .n_settlements = 2, .rules_hash = "today"};
    assert_int_equal(kit_write_batch(kit, writer, &batch).outcome, WRITE_COMMITTED);
    kit_expect(kit, "1 map a%: one - t, 2 row new\xef\xbf\xbd today f",
               "SELECT string_agg(concat_ws(' ', id, stage, reason, coalesce(rules_hash, '-'),"
               " redriven_at IS NOT NULL), ', ' ORDER BY id) FROM rejected_messages WHERE id < 3");

    const struct settlement again[] = {{.id = 3, .passed = true}, {.id = 1, .passed = true}};
    const struct write_batch second = {
        .group_id = "g", .settlements = again, .n_settlements = 2, .rules_hash = "today"};
    assert_int_equal(kit_write_batch(kit, writer, &second).outcome, WRITE_SWAPPED);
    kit_expect(kit, "1", "SELECT count(redriven_at) FROM rejected_messages");
    writer_free(writer);
}

/* ---- rows that come late ---- */

static void expect_late(void **state, const struct table_def *table, const char *expected,
                        const struct kit_candle *candles, size_t n)
{
    struct kit *kit = *state;
    kit_sql(kit, "TRUNCATE market_klines");
    struct schema *schema = kit_schema(kit, tables, 1);
    struct writer *writer = kit_writer(kit, schema);
    for (size_t i = 0; i < n; i++) {
        struct value values[8];
        const struct row row = kit_row(&candles[i], values);
        const struct row *rows[] = {&row};
        const struct write_rows write = {table, rows, 1};
        const struct write_batch batch = {
            .group_id = "g", .tables = &write, .n_tables = 1, .order = UPSERT_LATE};
        assert_int_equal(kit_write_batch(kit, writer, &batch).outcome, WRITE_COMMITTED);
    }
    kit_expect(kit, expected,
               "SELECT string_agg(symbol || ' ' || close || ' ' || coalesce(sequence::text, '-'),"
               " ', ' ORDER BY symbol) FROM market_klines");
    writer_free(writer);
    schema_release(schema);
}

static void lets_only_a_greater_number_replace_a_row_that_comes_late(void **state)
{
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "1", 10}, {"A", MINUTE_MS, "2", 10},
                                         {"A", MINUTE_MS, "3", 9},  {"B", MINUTE_MS, "1", 10},
                                         {"B", MINUTE_MS, "2", 11}, {"C", MINUTE_MS, "1", -1},
                                         {"C", MINUTE_MS, "2", 0}};
    expect_late(state, &kit_market_klines, "A 1 10, B 2 11, C 2 0", candles, 7);
}

static void lets_a_late_row_without_number_only_fill_a_missing_one(void **state)
{
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "1", -1},
                                         {"A", MINUTE_MS, "2", -1},
                                         {"B", MINUTE_MS, "1", 0},
                                         {"B", MINUTE_MS, "2", -1}};
    expect_late(state, &kit_market_klines, "A 1 -, B 1 0", candles, 4);
}

static void never_replaces_by_a_late_row_where_the_rule_names_no_number(void **state)
{
    const struct kit_candle candles[] = {{"A", MINUTE_MS, "1", 5}, {"A", MINUTE_MS, "2", 10}};
    expect_late(state, &kit_unnumbered, "A 1 5", candles, 2);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(reads_pages_of_one_group_newest_first),
        cmocka_unit_test(ends_a_page_when_its_payloads_are_large_but_not_before_the_first),
        cmocka_unit_test(takes_a_reasons_beginning_as_it_is_written),
        cmocka_unit_test(reads_every_byte_and_tells_none_from_empty),
        cmocka_unit_test(counts_reasons_alike_that_differ_in_their_values),
        cmocka_unit_test(settles_all_or_none),
        cmocka_unit_test(lets_only_a_greater_number_replace_a_row_that_comes_late),
        cmocka_unit_test(lets_a_late_row_without_number_only_fill_a_missing_one),
        cmocka_unit_test(never_replaces_by_a_late_row_where_the_rule_names_no_number),
    };
    return cmocka_run_group_tests(specs, kit_setup_migrated, kit_teardown);
}
