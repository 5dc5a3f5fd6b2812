/* Orders for reloads that wait for the one that runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/reload_queue.h"

static void count(const struct reload_result *result, void *arg)
{
    (void)result;
    ++*(int *)arg;
}

static void add(struct reload_order **queue, enum reload_cause cause, bool force, int *told)
{
    const struct reload_order order = {
        .cause = cause, .force = force, .waiters = waiters_new(count, told, NULL)};
    reload_queue_add(queue, &order);
}

/* The first has this cause and force, and so many wait for it. */
static void expect_first(struct reload_order **queue, enum reload_cause cause, bool force,
                         int *told, int waiters)
{
    const struct reload_result result = {.outcome = RELOAD_UNCHANGED, .hash = ""};
    struct reload_order first;
    *told = 0;
    assert_true(reload_queue_take(queue, &first));
    assert_int_equal(first.cause, cause);
    assert_int_equal(first.force, force);
    waiters_answer(first.waiters, &result);
    assert_int_equal(*told, waiters);
}

static void one_reading_of_the_files_serves_all_that_ask_for_it(void **state)
{
    (void)state;
    struct reload_order *queue = NULL, none;
    int told;
    add(&queue, RELOAD_FILES, false, &told);
    add(&queue, RELOAD_ADMIN, true, &told);
    add(&queue, RELOAD_SIGNAL, false, &told);
    expect_first(&queue, RELOAD_SIGNAL, true, &told, 3);
    assert_false(reload_queue_take(&queue, &none));
}

static void a_rollback_keeps_its_place_among_them(void **state)
{
    (void)state;
    struct reload_order *queue = NULL;
    int told;
    add(&queue, RELOAD_ADMIN, false, &told);
    add(&queue, RELOAD_ROLLBACK, true, &told);
    add(&queue, RELOAD_ROLLBACK, true, &told);
    add(&queue, RELOAD_FILES, false, &told);
    add(&queue, RELOAD_ADMIN, false, &told);
    expect_first(&queue, RELOAD_ADMIN, false, &told, 1);
    expect_first(&queue, RELOAD_ROLLBACK, true, &told, 1);
    expect_first(&queue, RELOAD_ROLLBACK, true, &told, 1);
    expect_first(&queue, RELOAD_ADMIN, false, &told, 2);
}

static void what_is_left_is_freed_and_nobody_told(void **state)
{
    (void)state;
    struct reload_order *queue = NULL;
    int told = 0;
    add(&queue, RELOAD_ADMIN, false, &told);
    add(&queue, RELOAD_ROLLBACK, true, &told);
    reload_queue_free(&queue);
    assert_null(queue);
    assert_int_equal(told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_reading_of_the_files_serves_all_that_ask_for_it),
        cmocka_unit_test(a_rollback_keeps_its_place_among_them),
        cmocka_unit_test(what_is_left_is_freed_and_nobody_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
