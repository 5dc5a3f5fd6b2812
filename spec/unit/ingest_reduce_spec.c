/* Reducing a batch, however it is cut, gives what storing message by message gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ingest/batch.h"
#include "ingest/reduce.h"

enum { COLUMN_KEY, COLUMN_SEQUENCE, COLUMN_VALUE, N_COLUMNS };
#define N_KEYS 8

static struct column_def columns[N_COLUMNS] = {
    {"key", VALUE_INT8, false}, {"sequence", VALUE_INT8, true}, {"value", VALUE_INT8, false}};
static size_t key_columns[] = {COLUMN_KEY};

static struct table_def tables[2] = {
    {.name = "later", .columns = columns, .n_columns = N_COLUMNS, .key = key_columns, .n_key = 1},
    {.name = "newer",
     .columns = columns,
     .n_columns = N_COLUMNS,
     .key = key_columns,
     .n_key = 1,
     .has_newer = true,
     .newer = COLUMN_SEQUENCE},
};
static const struct stream_def stream = {.name = "Stream", .tables = tables, .n_tables = 2};

static int n_released;

static void release(void *kept)
{
    (void)kept;
    n_released++;
}

static struct value number(int64_t value)
{
    return (struct value){.type = VALUE_INT8, .int8 = value};
}

static struct part *add_message(struct batch *batch, struct partition *partition, size_t n_rows)
{
    const struct message message = {.topic = partition->topic,
                                    .partition = partition->number,
                                    .offset = partition->next,
                                    .payload = bytes_of_string("payload")};
    struct part *part = batch_add(batch, partition, &message, 1, batch)->parts;
    part->stream = &stream;
    part->mapped.verdict = MAP_ROWS;
    part->mapped.n_rows = n_rows;
    part->mapped.rows = arena_alloc(&batch->arena, (n_rows + 1) * sizeof(struct row));
    return part;
}

/* sequence -1 is NULL. */
static void set_row(struct batch *batch, struct part *part, size_t i, const struct table_def *table,
                    int64_t key, int64_t sequence, int64_t value)
{
    struct value *values = arena_alloc(&batch->arena, N_COLUMNS * sizeof(*values));
    values[COLUMN_KEY] = number(key);
    values[COLUMN_SEQUENCE] = number(sequence);
    values[COLUMN_SEQUENCE].is_null = sequence < 0;
    values[COLUMN_VALUE] = number(value);
    part->mapped.rows[i] = (struct row){table, values};
}

static void add_row(struct batch *batch, struct partition *partition, const struct table_def *table,
                    int64_t key, int64_t sequence, int64_t value)
{
    set_row(batch, add_message(batch, partition, 1), 0, table, key, sequence, value);
}

/* ---- the model: what PostgreSQL would hold ---- */

struct cell {
    bool is_there;
    int64_t sequence;
    int64_t value;
};

struct store {
    struct cell cells[2][N_KEYS];
};

/* ON CONFLICT DO UPDATE ... WHERE t.newer IS NULL OR EXCLUDED.newer >= t.newer */
static void upsert(struct store *store, const struct row *row)
{
    size_t t = (size_t)(row->table - tables);
    struct cell *cell = &store->cells[t][row->values[COLUMN_KEY].int8];
    const struct value *sequence = &row->values[COLUMN_SEQUENCE];
    int64_t newer = sequence->is_null ? -1 : sequence->int8;
    if (cell->is_there && tables[t].has_newer && newer < cell->sequence)
        return;
    *cell = (struct cell){true, newer, row->values[COLUMN_VALUE].int8};
}

static void write_reduced(struct store *store, const struct reduced *reduced)
{
    for (size_t t = 0; t < reduced->n_tables; t++)
        for (size_t i = 0; i < reduced->tables[t].n_rows; i++) {
            const struct row *row = reduced->tables[t].rows[i];
            if (i > 0)
                assert_true(reduced->tables[t].rows[i - 1]->values[COLUMN_KEY].int8 <
                            row->values[COLUMN_KEY].int8);
            upsert(store, row);
        }
}

static void write_each(struct store *store, const struct batch *batch)
{
    for (size_t i = 0; i < batch->n_entries; i++)
        for (size_t r = 0; r < batch->entries[i].parts[0].mapped.n_rows; r++)
            upsert(store, &batch->entries[i].parts[0].mapped.rows[r]);
}

static void check_same(const struct store *a, const struct store *b)
{
    for (size_t t = 0; t < 2; t++)
        for (size_t key = 0; key < N_KEYS; key++) {
            assert_int_equal(a->cells[t][key].is_there, b->cells[t][key].is_there);
            assert_int_equal(a->cells[t][key].sequence, b->cells[t][key].sequence);
            assert_int_equal(a->cells[t][key].value, b->cells[t][key].value);
        }
}

static void fill_at_random(struct batch *batch, struct partition *partition, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t n_rows = 1 + (size_t)rand() % 3;
        struct part *part = add_message(batch, partition, n_rows);
        for (size_t r = 0; r < n_rows; r++)
            set_row(batch, part, r, &tables[rand() % 2], rand() % N_KEYS, rand() % 6 - 1, rand());
    }
}

static void equals_message_by_message_however_it_is_cut(void **state)
{
    (void)state;
    srand(3);
    for (int trial = 0; trial < 400; trial++) {
        struct partition partition = {.topic = "topic", .next = 5};
        struct batch batch;
        batch_init(&batch, release);
        fill_at_random(&batch, &partition, 1 + (size_t)rand() % 120);

        struct store expected = {0}, found = {0};
        struct arena arena = {0};
        write_each(&expected, &batch);
        for (size_t from = 0; from < batch.n_entries;) {
            size_t to = from + 1 + (size_t)rand() % (batch.n_entries - from);
            struct reduced reduced;
            arena_reset(&arena);
            reduce_range(&batch, from, to, &arena, &reduced);
            write_reduced(&found, &reduced);
            assert_int_equal(reduced.n_offsets, 1);
            assert_int_equal(reduced.offsets[0].from, 5 + (int64_t)from);
            assert_int_equal(reduced.offsets[0].to, 5 + (int64_t)to);
            from = to;
        }
        check_same(&expected, &found);
        arena_free(&arena);
        batch_free(&batch);
    }
}

struct fixture {
    struct batch batch;
    struct partition partition;
    struct partition other;
    struct arena arena;
    struct reduced reduced;
};

static int open_fixture(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    batch_init(&fixture->batch, release);
    fixture->batch.rules_hash = "hash";
    fixture->partition = (struct partition){.topic = "topic", .number = 1, .next = 10};
    fixture->other = (struct partition){.topic = "other", .number = 2, .next = 70};
    n_released = 0;
    *state = fixture;
    return 0;
}

static int close_fixture(void **state)
{
    struct fixture *fixture = *state;
    batch_free(&fixture->batch);
    arena_free(&fixture->arena);
    free(fixture);
    return 0;
}

static void reduce_all(struct fixture *fixture)
{
    reduce_range(&fixture->batch, 0, fixture->batch.n_entries, &fixture->arena, &fixture->reduced);
}

static void keeps_the_row_with_the_greatest_number(void **state)
{
    struct fixture *fixture = *state;
    add_row(&fixture->batch, &fixture->partition, &tables[1], 1, 9, 100);
    add_row(&fixture->batch, &fixture->partition, &tables[1], 1, 7, 200);
    add_row(&fixture->batch, &fixture->partition, &tables[1], 1, -1, 300);
    reduce_all(fixture);
    assert_int_equal(fixture->reduced.n_tables, 1);
    assert_int_equal(fixture->reduced.n_seen[0], 3);
    assert_int_equal(fixture->reduced.tables[0].n_rows, 1);
    assert_int_equal(fixture->reduced.tables[0].rows[0]->values[COLUMN_VALUE].int8, 100);
}

static void keeps_every_row_whose_key_is_null(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 3; i++) {
        add_row(&fixture->batch, &fixture->partition, &tables[1], 1, i, 100 + i);
        fixture->batch.entries[i].parts[0].mapped.rows[0].values[COLUMN_KEY].is_null = true;
    }
    reduce_all(fixture);
    assert_int_equal(fixture->reduced.tables[0].n_rows, 3);
}

static void keeps_the_older_good_row_when_the_newer_one_is_rejected(void **state)
{
    struct fixture *fixture = *state;
    add_row(&fixture->batch, &fixture->partition, &tables[1], 1, 8, 100);
    add_row(&fixture->batch, &fixture->partition, &tables[1], 1, 9, 200);
    batch_reject_part(&fixture->batch, &fixture->batch.entries[1].parts[0], "22001", "too long");
    reduce_all(fixture);
    assert_int_equal(fixture->reduced.tables[0].n_rows, 1);
    assert_int_equal(fixture->reduced.tables[0].rows[0]->values[COLUMN_VALUE].int8, 100);

    assert_int_equal(fixture->reduced.n_rejections, 1);
    const struct rejection *rejection = &fixture->reduced.rejections[0];
    assert_string_equal(rejection->stage, "database");
    assert_string_equal(rejection->sqlstate, "22001");
    assert_string_equal(rejection->rules_hash, "hash");
    assert_int_equal(rejection->offset, 11);
    assert_true(bytes_equal(rejection->reason, bytes_of_string("too long")));
    assert_true(bytes_equal(rejection->payload, bytes_of_string("payload")));
}

static void moves_the_offsets_of_each_partition(void **state)
{
    struct fixture *fixture = *state;
    add_row(&fixture->batch, &fixture->partition, &tables[0], 1, 1, 1);
    add_row(&fixture->batch, &fixture->other, &tables[0], 2, 1, 1);
    add_row(&fixture->batch, &fixture->partition, &tables[0], 3, 1, 1);
    fixture->partition.next = 20; /* a hole in the offsets: a compacted topic */
    add_message(&fixture->batch, &fixture->partition, 0);
    fixture->batch.entries[3].from = 12;
    reduce_all(fixture);
    assert_int_equal(fixture->reduced.n_offsets, 2);
    assert_int_equal(fixture->reduced.offsets[0].from, 10);
    assert_int_equal(fixture->reduced.offsets[0].to, 21);
    assert_int_equal(fixture->reduced.offsets[1].from, 70);
    assert_int_equal(fixture->reduced.offsets[1].to, 71);
    assert_ptr_equal(fixture->reduced.partitions[1], &fixture->other);
}

static void a_jump_moves_an_offset_without_a_row(void **state)
{
    struct fixture *fixture = *state;
    batch_jump(&fixture->batch, &fixture->partition, 3, false);
    add_row(&fixture->batch, &fixture->partition, &tables[0], 1, 1, 1);
    reduce_all(fixture);
    assert_int_equal(fixture->reduced.offsets[0].from, 10);
    assert_int_equal(fixture->reduced.offsets[0].to, 4);
    assert_int_equal(fixture->batch.entries[1].message.offset, 3);
}

static void leaves_out_what_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    add_row(&fixture->batch, &fixture->other, &tables[0], 1, 1, 1);
    add_row(&fixture->batch, &fixture->partition, &tables[0], 2, 1, 1);
    add_row(&fixture->batch, &fixture->other, &tables[0], 3, 1, 1);
    batch_drop_topic(&fixture->batch, 1, "other");
    reduce_all(fixture);
    assert_int_equal(fixture->reduced.tables[0].n_rows, 2);
    assert_int_equal(fixture->reduced.offsets[0].to, 71);
}

static void gives_tables_in_the_order_of_their_names(void **state)
{
    struct fixture *fixture = *state;
    add_row(&fixture->batch, &fixture->partition, &tables[1], 1, 1, 1);
    add_row(&fixture->batch, &fixture->partition, &tables[0], 1, 1, 1);
    reduce_all(fixture);
    assert_string_equal(fixture->reduced.tables[0].table->name, "later");
    assert_string_equal(fixture->reduced.tables[1].table->name, "newer");
}

static void gives_messages_back_when_it_is_reset(void **state)
{
    struct fixture *fixture = *state;
    add_row(&fixture->batch, &fixture->partition, &tables[0], 1, 1, 1);
    add_row(&fixture->batch, &fixture->partition, &tables[0], 2, 1, 1);
    batch_jump(&fixture->batch, &fixture->partition, 50, false);
    assert_true(batch_bytes(&fixture->batch) >= 14);
    batch_reset(&fixture->batch);
    assert_int_equal(n_released, 2);
    assert_int_equal(fixture->batch.n_entries, 0);
    assert_int_equal(batch_bytes(&fixture->batch), 0);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_message_by_message_however_it_is_cut),
        WITH_FIXTURE(keeps_the_row_with_the_greatest_number),
        WITH_FIXTURE(keeps_every_row_whose_key_is_null),
        WITH_FIXTURE(keeps_the_older_good_row_when_the_newer_one_is_rejected),
        WITH_FIXTURE(moves_the_offsets_of_each_partition),
        WITH_FIXTURE(a_jump_moves_an_offset_without_a_row),
        WITH_FIXTURE(leaves_out_what_is_dropped),
        WITH_FIXTURE(gives_tables_in_the_order_of_their_names),
        WITH_FIXTURE(gives_messages_back_when_it_is_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
