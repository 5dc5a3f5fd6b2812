/* rules/generation: who holds what, and when it is freed. The Lua states are stand-ins that count
 * themselves: they take the place of rules/state.c in this program. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "rules/generation.h"

struct rules_state {
    struct rules_def def;
};

static atomic_int states_alive;
static int states_made;
static int examples_run;
static int failing_state; /* the how-manieth state cannot be made; 0: none */
static bool examples_fail;

struct rules_state *rules_state_new(const struct rules_snapshot *snapshot,
                                    const struct rules_options *options, struct error *err)
{
    (void)snapshot;
    (void)options;
    if (++states_made == failing_state) {
        error_set(err, "init.lua:1: unexpected symbol");
        return NULL;
    }
    states_alive++;
    return memory_zero(1, sizeof(struct rules_state));
}

void rules_state_free(struct rules_state *state)
{
    states_alive--;
    free(state);
}

const struct rules_def *rules_state_def(const struct rules_state *state)
{
    return &state->def;
}

bool rules_state_run_examples(struct rules_state *state, struct error *err)
{
    (void)state;
    examples_run++;
    return !examples_fail || error_set(err, "streams/a.lua: example 1");
}

static int reset(void **state)
{
    (void)state;
    assert_int_equal(states_alive, 0);
    states_made = examples_run = failing_state = 0;
    examples_fail = false;
    return 0;
}

static int expect_no_state_left(void **state)
{
    (void)state;
    assert_int_equal(states_alive, 0);
    return 0;
}

static struct rules_generation *build(size_t n_slots, struct error *err)
{
    static const struct rules_options options;
    struct bytes json = bytes_of_string("{\"init.lua\":\"return {}\"}");
    struct rules_snapshot *snapshot = rules_snapshot_from_json(json, err);
    assert_non_null(snapshot);
    return rules_generation_build(snapshot, n_slots, &options, err);
}

static struct rules_generation *must_build(size_t n_slots)
{
    struct error err = {0};
    struct rules_generation *generation = build(n_slots, &err);
    assert_non_null(generation);
    return generation;
}

static void a_generation_has_a_state_for_each_slot_and_runs_examples_once(void **state)
{
    (void)state;
    struct rules_generation *generation = must_build(3);
    assert_int_equal(states_alive, 3);
    assert_int_equal(examples_run, 1);
    assert_int_equal(generation->n_slots, 3);
    assert_ptr_not_equal(generation->states[0], generation->states[1]);
    assert_ptr_equal(rules_generation_def(generation), &generation->states[0]->def);
    rules_generation_free(generation);
    rules_generation_free(NULL);
}

static void what_fails_while_building_leaves_nothing_behind(void **state)
{
    (void)state;
    struct error err = {0};
    failing_state = 1;
    assert_null(build(3, &err));
    assert_string_equal(err.text, "init.lua:1: unexpected symbol");
    states_made = 0;
    failing_state = 3;
    assert_null(build(3, &err));
    states_made = failing_state = 0;
    examples_fail = true;
    assert_null(build(3, &err));
    assert_string_equal(err.text, "streams/a.lua: example 1");
    assert_int_equal(states_made, 1);
}

static void nothing_is_current_before_the_first_publish(void **state)
{
    (void)state;
    struct rules_registry *registry = rules_registry_new();
    assert_null(rules_registry_acquire(registry));
    assert_int_equal(rules_registry_number(registry), 0);
    rules_registry_reap(registry);
    rules_registry_free(registry);
    rules_registry_free(NULL);
}

static void who_began_with_a_generation_keeps_it(void **state)
{
    (void)state;
    struct rules_registry *registry = rules_registry_new();
    rules_registry_publish(registry, must_build(1), 7);
    assert_int_equal(rules_registry_number(registry), 7);
    struct rules_generation *old = rules_registry_acquire(registry);
    struct rules_generation *old_again = rules_registry_acquire(registry);
    assert_ptr_equal(old, old_again);
    assert_true(old->published_at_ms > 0);

    rules_registry_publish(registry, must_build(1), 8);
    rules_registry_reap(registry);
    assert_int_equal(states_alive, 2);
    assert_int_equal(old->number, 7);
    struct rules_generation *new = rules_registry_acquire(registry);
    assert_int_equal(new->number, 8);

    rules_registry_release(registry, old);
    rules_registry_reap(registry);
    assert_int_equal(states_alive, 2);
    rules_registry_release(registry, old_again);
    assert_int_equal(states_alive, 2); /* freed by the main thread, not by who lets go */
    rules_registry_reap(registry);
    assert_int_equal(states_alive, 1);
    rules_registry_release(registry, new);
    rules_registry_free(registry);
}

static void generations_are_freed_in_any_order(void **state)
{
    (void)state;
    enum { COUNT = 5 };
    static const int order[COUNT - 1] = {2, 0, 3, 1};
    struct rules_generation *held[COUNT];
    struct rules_registry *registry = rules_registry_new();
    for (int i = 0; i < COUNT; i++) {
        rules_registry_publish(registry, must_build(1), (uint64_t)i + 1);
        held[i] = rules_registry_acquire(registry);
    }
    for (int i = 0; i < COUNT - 1; i++) {
        rules_registry_release(registry, held[order[i]]);
        rules_registry_reap(registry);
        assert_int_equal(states_alive, COUNT - 1 - i);
    }
    rules_registry_release(registry, held[COUNT - 1]);
    rules_registry_free(registry);
}

static atomic_bool stopping;

static void *work(void *arg)
{
    struct rules_registry *registry = arg;
    uint64_t newest = 0;
    while (!stopping) {
        struct rules_generation *generation = rules_registry_acquire(registry);
        if (generation->number < newest || !rules_generation_def(generation))
            return "went back";
        newest = generation->number;
        rules_registry_release(registry, generation);
    }
    return NULL;
}

static void threads_go_on_while_generations_come_and_go(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    struct rules_registry *registry = rules_registry_new();
    stopping = false;
    rules_registry_publish(registry, must_build(THREADS), 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, registry), 0);
    for (uint64_t number = 2; number < 500; number++) {
        rules_registry_publish(registry, must_build(THREADS), number);
        rules_registry_reap(registry);
    }
    stopping = true;
    for (int i = 0; i < THREADS; i++) {
        void *trouble;
        pthread_join(threads[i], &trouble);
        assert_null(trouble);
    }
    rules_registry_reap(registry);
    assert_int_equal(states_alive, THREADS);
    rules_registry_free(registry);
}

int main(void)
{
#define spec(name) cmocka_unit_test_setup_teardown(name, reset, expect_no_state_left)
    const struct CMUnitTest tests[] = {
        spec(a_generation_has_a_state_for_each_slot_and_runs_examples_once),
        spec(what_fails_while_building_leaves_nothing_behind),
        spec(nothing_is_current_before_the_first_publish),
        spec(who_began_with_a_generation_keeps_it),
        spec(generations_are_freed_in_any_order),
        spec(threads_go_on_while_generations_come_and_go),
    };
    return cmocka_run_group_tests_name("generation", tests, NULL, NULL);
}
