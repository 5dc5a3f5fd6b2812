/* Messages without a number get one each, in their order; those with one keep it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ingest/batch.h"
#include "ingest/numbers.h"
#include "ingest/reduce.h"

enum { COLUMN_KEY, COLUMN_SEQUENCE, COLUMN_TRACKED, COLUMN_AT, N_COLUMNS };
#define NONE INT64_C(-1)

static struct column_def columns[N_COLUMNS] = {{"key", VALUE_INT8, false},
                                               {"sequence", VALUE_INT8, true},
                                               {"tracked", VALUE_INT8, true},
                                               {"at", VALUE_TIME, false}};
static size_t key_columns[] = {COLUMN_KEY};
static const struct table_def table = {
    .name = "numbered",
    .columns = columns,
    .n_columns = N_COLUMNS,
    .key = key_columns,
    .n_key = 1,
    .has_newer = true,
    .newer = COLUMN_SEQUENCE,
    .track = {.by = key_columns, .n_by = 1, .sequence = COLUMN_TRACKED, .time = COLUMN_AT},
};
static const struct stream_def ours = {.name = "Ours", .sequence_from_tracker = true};
static const struct stream_def theirs = {.name = "Theirs"};

struct kit {
    struct batch batch;
    struct partition partitions[2];
};

static void release(void *kept)
{
    (void)kept;
}

static int set_up(void **state)
{
    struct kit *kit = calloc(1, sizeof(*kit));
    batch_init(&kit->batch, release);
    for (int i = 0; i < 2; i++)
        kit->partitions[i] = (struct partition){.topic = "topic", .number = i};
    *state = kit;
    return 0;
}

static int tear_down(void **state)
{
    struct kit *kit = *state;
    batch_free(&kit->batch);
    free(kit);
    return 0;
}

static struct value number_or_null(int64_t number)
{
    return (struct value){.type = VALUE_INT8, .int8 = number, .is_null = number == NONE};
}

/* A message with `n_rows` rows, which have the key and those numbers. */
static struct part *add(struct kit *kit, int partition, const struct stream_def *stream,
                        size_t n_rows, int64_t key, int64_t sequence, int64_t tracked)
{
    struct partition *of = &kit->partitions[partition];
    const struct message message = {
        .topic = "topic", .partition = partition, .offset = of->next, .payload = bytes_of("x", 1)};
    struct arena *arena = &kit->batch.arena;
    struct part *part = batch_add(&kit->batch, of, &message, 1, kit)->parts;
    part->stream = stream;
    part->mapped = (struct map_result){.verdict = MAP_ROWS, .n_rows = n_rows};
    part->mapped.rows = arena_alloc(arena, n_rows * sizeof(struct row));
    for (size_t i = 0; i < n_rows; i++) {
        struct value *values = arena_alloc(arena, N_COLUMNS * sizeof(*values));
        values[COLUMN_KEY] = number_or_null(key + (int64_t)i);
        values[COLUMN_SEQUENCE] = number_or_null(sequence);
        values[COLUMN_TRACKED] = number_or_null(tracked);
        values[COLUMN_AT] = (struct value){.type = VALUE_TIME};
        part->mapped.rows[i] = (struct row){&table, values};
    }
    numbers_note(part, &kit->batch);
    return part;
}

static void expect(const struct kit *kit, size_t entry, size_t row, int64_t sequence,
                   int64_t tracked)
{
    const struct value *values = kit->batch.entries[entry].parts[0].mapped.rows[row].values;
    assert_int_equal(values[COLUMN_SEQUENCE].is_null ? NONE : values[COLUMN_SEQUENCE].int8,
                     sequence);
    assert_int_equal(values[COLUMN_TRACKED].is_null ? NONE : values[COLUMN_TRACKED].int8, tracked);
}

static void gives_one_number_a_message_in_the_order_of_offsets(void **state)
{
    struct kit *kit = *state;
    add(kit, 0, &ours, 1, 1, NONE, NONE);
    add(kit, 1, &ours, 2, 2, NONE, NONE);
    add(kit, 0, &ours, 1, 4, NONE, NONE);
    assert_int_equal(numbers_count(&kit->batch, 0, 3), 3);
    numbers_give(&kit->batch, 0, 3, 101);
    expect(kit, 0, 0, 101, 101);
    expect(kit, 1, 0, 102, 102);
    expect(kit, 1, 1, 102, 102);
    expect(kit, 2, 0, 103, 103);
}

static void keeps_the_numbers_that_messages_bring(void **state)
{
    struct kit *kit = *state;
    add(kit, 0, &ours, 1, 1, 7, 8);
    add(kit, 0, &ours, 1, 2, 9, NONE);
    add(kit, 0, &ours, 1, 3, NONE, NONE);
    assert_int_equal(numbers_count(&kit->batch, 0, 3), 2);
    numbers_give(&kit->batch, 0, 3, 101);
    expect(kit, 0, 0, 7, 8);
    expect(kit, 1, 0, 9, 101);
    expect(kit, 2, 0, 102, 102);
}

static void leaves_other_streams_alone(void **state)
{
    struct kit *kit = *state;
    add(kit, 0, &theirs, 1, 1, NONE, NONE);
    assert_int_equal(numbers_count(&kit->batch, 0, 1), 0);
    numbers_give(&kit->batch, 0, 1, 101);
    expect(kit, 0, 0, NONE, NONE);
}

static void numbers_anew_what_is_written_again(void **state)
{
    struct kit *kit = *state;
    for (int64_t key = 0; key < 4; key++)
        add(kit, 0, &ours, 1, key, NONE, NONE);
    numbers_give(&kit->batch, 0, 4, 101);
    assert_int_equal(numbers_count(&kit->batch, 2, 4), 2);
    numbers_give(&kit->batch, 2, 4, 205);
    expect(kit, 1, 0, 102, 102);
    expect(kit, 2, 0, 205, 205);
    expect(kit, 3, 0, 206, 206);
}

static void has_none_for_what_is_rejected_or_dropped(void **state)
{
    struct kit *kit = *state;
    struct part *refused = add(kit, 0, &ours, 1, 1, NONE, NONE);
    add(kit, 0, &ours, 1, 2, NONE, NONE);
    add(kit, 0, &ours, 1, 3, NONE, NONE);
    numbers_give(&kit->batch, 0, 3, 101);
    numbers_take_back(refused);
    batch_reject_part(&kit->batch, refused, "23514", "refused");
    batch_drop_topic(&kit->batch, 2, "topic");
    assert_int_equal(numbers_count(&kit->batch, 0, 3), 1);
    numbers_give(&kit->batch, 0, 3, 101);
    expect(kit, 0, 0, NONE, NONE);
    expect(kit, 1, 0, 101, 101);
}

static int64_t winner(struct kit *kit)
{
    struct arena arena = {0};
    struct reduced reduced;
    reduce_range(&kit->batch, 0, kit->batch.n_entries, &arena, &reduced);
    assert_int_equal(reduced.tables[0].n_rows, 1);
    int64_t sequence = reduced.tables[0].rows[0]->values[COLUMN_SEQUENCE].int8;
    arena_free(&arena);
    return sequence;
}

static void decides_by_real_numbers_which_row_wins(void **state)
{
    struct kit *kit = *state;
    add(kit, 0, &ours, 1, 1, 50, 50);
    add(kit, 0, &ours, 1, 1, NONE, NONE);
    add(kit, 0, &ours, 1, 1, NONE, NONE);
    add(kit, 0, &ours, 1, 1, 60, 60);
    numbers_give(&kit->batch, 0, 4, 101);
    assert_int_equal(winner(kit), 102);
    numbers_give(&kit->batch, 0, 4, 11);
    assert_int_equal(winner(kit), 60);
}

static void numbers_a_copy_for_a_rehearsal(void **state)
{
    struct kit *kit = *state;
    struct arena arena = {0};
    add(kit, 0, &ours, 1, 5, 7, NONE);
    const struct row *row = &kit->batch.entries[0].parts[0].mapped.rows[0];
    const struct row *copy = numbers_copy_row(row, 33, &arena);
    assert_ptr_equal(copy->table, &table);
    assert_int_equal(copy->values[COLUMN_KEY].int8, 5);
    assert_int_equal(copy->values[COLUMN_SEQUENCE].int8, 33);
    assert_false(copy->values[COLUMN_TRACKED].is_null);
    assert_int_equal(copy->values[COLUMN_TRACKED].int8, 33);
    expect(kit, 0, 0, 7, NONE);
    arena_free(&arena);
}

#define with_kit(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest specs[] = {
        with_kit(gives_one_number_a_message_in_the_order_of_offsets),
        with_kit(keeps_the_numbers_that_messages_bring),
        with_kit(leaves_other_streams_alone),
        with_kit(numbers_anew_what_is_written_again),
        with_kit(has_none_for_what_is_rejected_or_dropped),
        with_kit(decides_by_real_numbers_which_row_wins),
        with_kit(numbers_a_copy_for_a_rehearsal),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
