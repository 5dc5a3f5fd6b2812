/* The ledger's statements of a batch, and what the functions behind them make of it. */
#include "kit.h"

#include <string.h>

static struct kit *kit;
static struct schema *schema;
static struct writer *writer;

static void start(void **state)
{
    static const char *const tables[] = {"market_klines"};
    kit = *state;
    kit_sql(kit, "TRUNCATE ingest_offsets, sequence_series, sequence_ranges, sequence_gaps,"
                 " sequence_bounds RESTART IDENTITY;"
                 "INSERT INTO ingest_offsets (group_id, topic, partition, next_offset)"
                 " VALUES ('g', 't', 0, 5), ('g', 't', 1, 6)");
    schema = kit_schema(kit, tables, 1);
    writer = kit_writer(kit, schema);
}

static void stop(void)
{
    writer_free(writer);
    schema_release(schema);
}

static struct ledger_found store(const struct offset_move *move, const struct ledger_update *update)
{
    const struct write_batch batch = {
        .group_id = "g", .offsets = move, .n_offsets = move ? 1 : 0, .ledger = update};
    struct write_result result = kit_write_batch(kit, writer, &batch);
    if (result.outcome != WRITE_COMMITTED)
        fail_msg("%s", result.failure.err.text);
    return result.found;
}

static struct series_name name(const char *series)
{
    return (struct series_name){"k", bytes_of_string(series)};
}

static struct series_run run(int32_t partition, int64_t from, int64_t to, bool accepted)
{
    return (struct series_run){{name("A"), "t", partition}, from, to, accepted};
}

static struct ledger_found send_runs(const struct series_run *runs, size_t n)
{
    return store(NULL, &(struct ledger_update){.runs = runs, .n_runs = n});
}

static const char gaps_sql[] =
    "SELECT coalesce(string_agg(concat_ws(' ', series, partition, from_seq,"
    " to_seq, reason), ', ' ORDER BY from_seq), '') FROM sequence_gaps";
static const char ranges_sql[] =
    "SELECT string_agg(concat_ws(' ', series, day, min_seq, max_seq), ', ' ORDER BY day, min_seq)"
    " FROM sequence_ranges";

static void on_done(bool ok, const struct error *err, void *arg)
{
    if (!ok)
        fail_msg("%s", err->text);
    *(bool *)arg = true;
}

static struct progress read_progress(void)
{
    struct partition_offset offset = {.topic = "t"};
    bool done = false;
    assert_true(writer_read_offsets(writer, "g", &offset, 1, on_done, &done));
    kit_run_until(kit, &done, "offsets are read");
    return offset.progress;
}

static void keeps_progress_with_the_offsets(void **state)
{
    start(state);
    struct offset_move move = {.topic = "t", .from = 5, .to = 7};
    assert_false(read_progress().has_max);
    move.progress = (struct progress){.has_max = true, .max_sequence = 9, .hole = HOLE_REJECTED};
    snprintf(move.progress.hole_table, sizeof move.progress.hole_table, "k");
    snprintf(move.progress.hole_series, sizeof move.progress.hole_series, "A//B");
    store(&move, NULL);
    struct progress found = read_progress();
    assert_true(found.has_max && !found.has_clear);
    assert_int_equal(found.max_sequence, 9);
    assert_int_equal(found.hole, HOLE_REJECTED);
    assert_string_equal(found.hole_table, "k");
    assert_string_equal(found.hole_series, "A//B");

    move = (struct offset_move){.topic = "t", .from = 7, .to = 8};
    store(&move, NULL);
    found = read_progress();
    assert_int_equal(found.max_sequence, 9); /* it never goes back */
    assert_int_equal(found.hole, HOLE_NONE);
    assert_string_equal(found.hole_series, "");
    stop();
}

static void clears_only_where_the_offset_still_stands(void **state)
{
    start(state);
    kit_sql(kit, "UPDATE ingest_offsets SET max_sequence = 40 WHERE partition = 1");
    struct topic_progress topics[] = {{.topic = "none"}, {.topic = "t"}};
    const struct quiet_partition quiet[] = {{"t", 0, 5, 40}, {"t", 1, 5, 41}};
    bool read = false, cleared = false;
    assert_true(writer_read_topics(writer, "g", topics, 2, on_done, &read));
    kit_run_until(kit, &read, "topics are read");
    assert_false(topics[0].has_max);
    assert_true(topics[1].has_max);
    assert_int_equal(topics[1].max_sequence, 40);

    assert_true(writer_clear(writer, "g", quiet, 2, on_done, &cleared));
    kit_run_until(kit, &cleared, "partitions are cleared");
    kit_expect(kit, "40 -",
               "SELECT string_agg(coalesce(clear_to::text, '-'), ' ' ORDER BY partition)"
               " FROM ingest_offsets");
    assert_int_equal(read_progress().clear_to, 40);
    kit_sql(kit, "UPDATE ingest_offsets SET hole = 'lost', clear_to = NULL");
    cleared = false;
    assert_true(writer_clear(writer, "g", quiet, 1, on_done, &cleared));
    kit_run_until(kit, &cleared, "partitions are cleared");
    assert_false(read_progress().has_clear);
    stop();
}

static void opens_gaps_between_dense_numbers(void **state)
{
    start(state);
    const struct series_run first[] = {run(0, 9, 12, true), run(0, 14, 15, true),
                                       run(0, 4, 5, true)};
    assert_int_equal(send_runs(first, 3).never_received, 1);
    kit_expect(kit, "A 0 12 14 never_received", "%s", gaps_sql);
    const struct series_run second[] = {run(0, 12, 13, false), run(0, 20, 21, true)};
    assert_int_equal(send_runs(second, 2).never_received, 1);
    kit_expect(kit, "A 0 13 14 never_received, A 0 15 20 never_received", "%s", gaps_sql);
    kit_expect(kit, "21", "SELECT max_seq FROM sequence_series");
    const struct series_run third[] = {run(0, 16, 18, true), run(0, 20, 23, true)};
    assert_int_equal(send_runs(third, 2).never_received, 0);
    kit_expect(kit, "A 0 13 14 never_received, A 0 15 16 never_received, A 0 18 20 never_received",
               "%s", gaps_sql);
    kit_expect(kit, "23", "SELECT max_seq FROM sequence_series");
    stop();
}

static void leaves_a_refused_number_in_its_gap_until_it_is_accepted(void **state)
{
    start(state);
    const struct series_run refused[] = {run(0, 0, 3, false)};
    const struct series_gap gap = {{name("A"), "t", 0}, 1, 3, HOLE_REJECTED};
    store(NULL, &(struct ledger_update){.runs = refused, .n_runs = 1, .gaps = &gap, .n_gaps = 1});
    send_runs(refused, 1); /* once more: still refused */
    kit_expect(kit, "A 0 1 3 rejected", "%s", gaps_sql);
    const struct series_run accepted[] = {run(0, 1, 2, true)};
    send_runs(accepted, 1);
    kit_expect(kit, "A 0 2 3 rejected", "%s", gaps_sql);
    stop();
}

static void tells_of_a_dense_series_in_two_partitions_once(void **state)
{
    start(state);
    const struct series_run first[] = {run(0, 0, 1, true)};
    const struct series_run second[] = {run(1, 1, 2, true)};
    const struct series_run third[] = {run(1, 7, 9, true)};
    assert_string_equal(send_runs(first, 1).split_series, "");
    assert_string_equal(send_runs(second, 1).split_series, "k A");
    assert_string_equal(send_runs(third, 1).split_series, "");
    kit_expect(kit, "", "%s", gaps_sql);
    stop();
}

static void forgets_dense_numbers_when_a_series_becomes_global(void **state)
{
    start(state);
    const struct series_run dense[] = {run(0, 0, 1, true)};
    const struct series_place place = {name("A"), "t", 0};
    send_runs(dense, 1);
    store(NULL, &(struct ledger_update){.places = &place, .n_places = 1});
    kit_expect(kit, "A -",
               "SELECT series || ' ' || coalesce(max_seq::text, '-')"
               " FROM sequence_series");
    stop();
}

static void takes_late_numbers_out_of_gaps(void **state)
{
    start(state);
    const struct series_gap gaps[] = {{{name("A"), "t", 0}, 3, 6, HOLE_REJECTED},
                                      {{{NULL, {NULL, 0}}, "t", 1}, 3, 6, HOLE_LOST}};
    const struct series_late late[] = {{name("A"), 5}, {name("A"), 9}, {name("B"), 5}};
    store(NULL, &(struct ledger_update){.gaps = gaps, .n_gaps = 2});
    store(NULL, &(struct ledger_update){.late = late, .n_late = 3});
    kit_expect(kit, "1 3 6 lost, A 0 3 4 rejected, A 0 5 6 rejected",
               "SELECT string_agg(concat_ws(' ', series, partition, from_seq, to_seq, reason), ', '"
               " ORDER BY partition DESC, from_seq) FROM sequence_gaps");
    stop();
}

static void widens_ranges_day_by_day(void **state)
{
    start(state);
    const struct series_range first[] = {{name("A"), 0, 5, 9, 0, 1000},
                                         {name("A"), -1, 2, 3, -5, -1},
                                         {name("A"), 0, 900000, 900001, 7, 7}};
    const struct series_range second[] = {{name("A"), 0, 7, 12, 500, 86399999}};
    store(NULL, &(struct ledger_update){.ranges = first, .n_ranges = 3});
    store(NULL, &(struct ledger_update){.ranges = second, .n_ranges = 1});
    kit_expect(kit, "A 1969-12-31 2 3, A 1970-01-01 5 12, A 1970-01-01 900000 900001", "%s",
               ranges_sql);
    kit_expect(kit, "1970-01-01 00:00:00+00 1970-01-01 23:59:59.999+00",
               "SELECT concat_ws(' ', min_time AT TIME ZONE 'UTC' || '+00', max_time AT TIME ZONE "
               "'UTC' || '+00')"
               " FROM sequence_ranges WHERE min_seq = 5");
    stop();
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(keeps_progress_with_the_offsets),
        cmocka_unit_test(clears_only_where_the_offset_still_stands),
        cmocka_unit_test(opens_gaps_between_dense_numbers),
        cmocka_unit_test(leaves_a_refused_number_in_its_gap_until_it_is_accepted),
        cmocka_unit_test(tells_of_a_dense_series_in_two_partitions_once),
        cmocka_unit_test(forgets_dense_numbers_when_a_series_becomes_global),
        cmocka_unit_test(takes_late_numbers_out_of_gaps),
        cmocka_unit_test(widens_ranges_day_by_day),
    };
    return cmocka_run_group_tests(specs, kit_setup_migrated, kit_teardown);
}
