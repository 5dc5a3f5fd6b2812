/* Bisection against a fake table that accepts or refuses single rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ingest/refusal.h"

#define N 400

enum fate { FATE_OPEN, FATE_STORED, FATE_REJECTED, FATE_HELD };

struct table {
    bool refuses[N];
    bool refuses_all;
    bool is_mended; /* before the first rehearsal */
    bool has_witness;
    size_t n;
    enum fate fates[N];
    size_t n_writes;
    size_t n_rehearsals;
};

static bool refuses_row(const struct table *table, size_t i)
{
    return table->fates[i] == FATE_OPEN && (table->refuses_all || table->refuses[i]);
}

static enum refusal_answer write_run(struct table *table, const struct refusal *plan)
{
    table->n_writes++;
    for (size_t i = plan->from; i < plan->to; i++)
        if (refuses_row(table, i))
            return REFUSAL_REFUSED;
    for (size_t i = plan->from; i < plan->to; i++)
        if (table->fates[i] == FATE_OPEN)
            table->fates[i] = FATE_STORED;
    return REFUSAL_PASSED;
}

static enum refusal_answer try_other(struct table *table, const struct refusal *plan)
{
    size_t i = plan->from + 1 + plan->other;
    if (i >= table->n)
        return REFUSAL_MISSING;
    table->n_rehearsals++;
    return refuses_row(table, i) ? REFUSAL_REFUSED : REFUSAL_PASSED;
}

static enum refusal_answer try_witness(struct table *table)
{
    if (table->is_mended)
        table->refuses_all = false;
    if (!table->has_witness)
        return REFUSAL_MISSING;
    table->n_rehearsals++;
    return table->refuses_all ? REFUSAL_REFUSED : REFUSAL_PASSED;
}

static void run(struct table *table)
{
    struct refusal plan;
    refusal_begin(&plan, table->n);
    while (plan.step != REFUSAL_DONE) {
        switch (plan.step) {
        case REFUSAL_WRITE:
        case REFUSAL_AGAIN:
            refusal_tell(&plan, write_run(table, &plan));
            break;
        case REFUSAL_WITNESS:
            refusal_tell(&plan, try_witness(table));
            break;
        case REFUSAL_OTHER:
            refusal_tell(&plan, try_other(table, &plan));
            break;
        case REFUSAL_REJECT:
            table->fates[plan.from] = FATE_REJECTED;
            refusal_tell(&plan, REFUSAL_PASSED);
            break;
        case REFUSAL_HOLD:
            for (size_t i = plan.from; i < table->n; i++)
                table->fates[i] = FATE_HELD;
            refusal_tell(&plan, REFUSAL_PASSED);
            break;
        case REFUSAL_DONE:
            break;
        }
    }
}

static void writes_a_good_batch_once(void **state)
{
    (void)state;
    struct table table = {.n = N};
    run(&table);
    assert_int_equal(table.n_writes, 1);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(table.fates[i], FATE_STORED);
}

static void does_nothing_for_an_empty_batch(void **state)
{
    (void)state;
    struct table table = {.n = 0};
    run(&table);
    assert_int_equal(table.n_writes, 0);
}

static void rejects_one_bad_row_and_stores_all_others(void **state)
{
    (void)state;
    for (size_t bad = 0; bad < N; bad += 7) {
        struct table table = {.n = N, .has_witness = true};
        table.refuses[bad] = true;
        run(&table);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(table.fates[i], i == bad ? FATE_REJECTED : FATE_STORED);
        assert_true(table.n_writes <= 40);
    }
}

static void finds_the_bad_row_without_a_witness(void **state)
{
    (void)state;
    struct table table = {.n = 2};
    table.refuses[0] = true;
    run(&table);
    assert_int_equal(table.fates[0], FATE_REJECTED);
    assert_int_equal(table.fates[1], FATE_STORED);
}

static void rejects_nothing_when_the_table_refuses_everything(void **state)
{
    (void)state;
    for (int witness = 0; witness < 2; witness++) {
        struct table table = {.n = N, .has_witness = witness == 1, .refuses_all = true};
        run(&table);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(table.fates[i], FATE_HELD);
        assert_true(table.n_rehearsals <= REFUSAL_OTHERS_MAX + 1);
    }
}

static void rejects_nothing_when_the_trouble_ends_while_it_is_looked_into(void **state)
{
    (void)state;
    struct table table = {.n = N, .has_witness = true, .refuses_all = true, .is_mended = true};
    run(&table);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(table.fates[i], FATE_STORED);
}

static void holds_a_lone_refused_row_that_nothing_can_be_compared_with(void **state)
{
    (void)state;
    struct table table = {.n = 1};
    table.refuses[0] = true;
    run(&table);
    assert_int_equal(table.fates[0], FATE_HELD);
    assert_int_equal(table.n_rehearsals, 0);
}

static void rejects_a_lone_refused_row_when_the_witness_passes(void **state)
{
    (void)state;
    struct table table = {.n = 1, .has_witness = true};
    table.refuses[0] = true;
    run(&table);
    assert_int_equal(table.fates[0], FATE_REJECTED);
}

static void rejects_all_rows_of_a_flood_one_by_one_when_the_witness_passes(void **state)
{
    (void)state;
    struct table table = {.n = N, .has_witness = true};
    for (size_t i = 0; i < N; i++)
        table.refuses[i] = true;
    run(&table);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(table.fates[i], FATE_REJECTED);
    assert_true(table.n_writes < 5 * N);
}

static void gives_every_row_of_random_batches_its_own_fate(void **state)
{
    (void)state;
    srand(7);
    for (int trial = 0; trial < 300; trial++) {
        struct table table = {.n = 1 + (size_t)rand() % N, .has_witness = true};
        int one_in = 1 + rand() % 50;
        for (size_t i = 0; i < table.n; i++)
            table.refuses[i] = rand() % one_in == 0;
        run(&table);
        for (size_t i = 0; i < table.n; i++)
            assert_int_equal(table.fates[i], table.refuses[i] ? FATE_REJECTED : FATE_STORED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_a_good_batch_once),
        cmocka_unit_test(does_nothing_for_an_empty_batch),
        cmocka_unit_test(rejects_one_bad_row_and_stores_all_others),
        cmocka_unit_test(finds_the_bad_row_without_a_witness),
        cmocka_unit_test(rejects_nothing_when_the_table_refuses_everything),
        cmocka_unit_test(rejects_nothing_when_the_trouble_ends_while_it_is_looked_into),
        cmocka_unit_test(holds_a_lone_refused_row_that_nothing_can_be_compared_with),
        cmocka_unit_test(rejects_a_lone_refused_row_when_the_witness_passes),
        cmocka_unit_test(rejects_all_rows_of_a_flood_one_by_one_when_the_witness_passes),
        cmocka_unit_test(gives_every_row_of_random_batches_its_own_fate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
