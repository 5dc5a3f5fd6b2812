/* The main thread's connection: there when it is needed, gone when it is not. */
#include "kit.h"

#include <stdio.h>
#include <string.h>

#include "store/control.h"

static const struct schema_wish nothing;

struct told {
    struct control *control;
    bool done;
    bool ok;
    unsigned order; /* in which it was told */
    char text[1024];
};

static unsigned n_told;

static void on_done(bool ok, const struct error *err, void *arg)
{
    struct told *told = arg;
    assert_false(told->done);
    told->done = true;
    told->ok = ok;
    told->order = ++n_told;
    snprintf(told->text, sizeof told->text, "%s", ok ? "" : err->text);
}

static void on_list(const struct stored_generation *generations, size_t n, const struct error *err,
                    void *arg)
{
    struct told *told = arg;
    on_done(err == NULL, err, told);
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(generations[i].id > 0);
        assert_true(generations[i].published_at_ms > INT64_C(1700000000000));
        size +=
            (size_t)snprintf(told->text + size, sizeof told->text - size, "%s:%s:%.*s ",
                             generations[i].hash, generations[i].state,
                             (int)generations[i].files_json.size, generations[i].files_json.data);
    }
}

static void on_schema(struct schema *schema, const struct error *err, void *arg)
{
    on_done(schema != NULL, err, arg);
    schema_release(schema);
}

static const char count_sessions[] =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'core-service control'";

static void keeps_generations_and_lists_the_newest_first(void **state)
{
    struct kit *kit = *state;
    struct control *control = control_new(kit->base, kit->conninfo, 5000);
    struct told told[5] = {0};
    control_save_generation(control, "h1", bytes_of_string("{\"a.lua\": \"1\"}"), on_done,
                            &told[0]);
    control_save_generation(control, "h2", bytes_of_string("{}"), on_done, &told[1]);
    control_mark_generation(control, "h1", "rolled_back", on_done, &told[2]);
    control_save_generation(control, "h1", bytes_of_string("{\"a.lua\": \"1\"}"), on_done,
                            &told[3]);
    control_load_generations(control, 2, on_list, &told[4]);
    assert_false(told[0].done);
    kit_run_until(kit, &told[4].done, "the list");
    for (unsigned i = 0; i < 5; i++) {
        assert_true(told[i].ok);
        assert_int_equal(told[i].order - told[0].order, i);
    }
    assert_string_equal(told[4].text, "h1:published:{\"a.lua\": \"1\"} h2:published:{} ");
    kit_expect(kit, "rolled_back",
               "SELECT state FROM rule_generations ORDER BY generation LIMIT 1");
    control_free(control);
}

static void holds_no_connection_without_work(void **state)
{
    struct kit *kit = *state;
    struct control *control = control_new(kit->base, kit->conninfo, 5000);
    for (int i = 0; i < 2; i++) {
        struct told told = {0};
        control_load_generations(control, 1, on_list, &told);
        kit_run_until(kit, &told.done, "the list");
        kit_wait_sql(kit, "0", count_sessions);
    }
    control_free(control);
}

static void goes_on_after_a_job_that_failed(void **state)
{
    struct kit *kit = *state;
    struct control *control = control_new(kit->base, kit->conninfo, 5000);
    struct told bad = {0}, good = {0};
    control_save_generation(control, "x", bytes_of_string("not json"), on_done, &bad);
    control_load_schema(control, &nothing, on_schema, &good);
    kit_run_until(kit, &good.done, "the second job");
    assert_false(bad.ok);
    assert_non_null(strstr(bad.text, "22P02"));
    assert_true(good.ok);
    control_free(control);
}

static void fails_each_job_once_when_the_database_is_away(void **state)
{
    struct kit *kit = *state;
    struct control *control = control_new(kit->base, "host=localhost port=1", 5000);
    struct told told[3] = {0};
    control_load_schema(control, &nothing, on_schema, &told[0]);
    control_save_generation(control, "x", bytes_of_string("{}"), on_done, &told[1]);
    control_load_generations(control, 1, on_list, &told[2]);
    kit_run_until(kit, &told[2].done, "the last job");
    for (int i = 0; i < 3; i++) {
        assert_true(told[i].done && !told[i].ok);
        assert_non_null(strstr(told[i].text, "refused"));
    }
    control_free(control);
}

static void fails_only_the_job_whose_connection_was_lost(void **state)
{
    struct kit *kit = *state;
    kit_sql(kit, "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                 " PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
                 "CREATE TRIGGER die BEFORE INSERT ON rule_generations FOR EACH ROW"
                 " WHEN (NEW.hash = 'deadly') EXECUTE FUNCTION die()");
    struct control *control = control_new(kit->base, kit->conninfo, 5000);
    struct told lost = {0}, next = {0};
    control_save_generation(control, "deadly", bytes_of_string("{}"), on_done, &lost);
    control_save_generation(control, "next", bytes_of_string("{}"), on_done, &next);
    kit_run_until(kit, &next.done, "the next job");
    assert_true(lost.done && !lost.ok);
    assert_non_null(strstr(lost.text, "administrator command"));
    assert_true(next.ok);
    control_free(control);
}

static void on_done_ask_again(bool ok, const struct error *err, void *arg)
{
    struct told *told = arg;
    assert_true(ok);
    (void)err;
    control_load_schema(told->control, &nothing, on_schema, told);
}

static void takes_work_from_within_an_answer(void **state)
{
    struct kit *kit = *state;
    struct told told = {.control = control_new(kit->base, kit->conninfo, 5000)};
    control_mark_generation(told.control, "none", "failed", on_done_ask_again, &told);
    kit_run_until(kit, &told.done, "the second job");
    assert_true(told.ok);
    kit_wait_sql(kit, "0", count_sessions);
    control_free(told.control);
}

static void forgets_its_work_when_it_is_freed(void **state)
{
    struct kit *kit = *state;
    struct told told[2] = {0};
    struct control *control = control_new(kit->base, kit->conninfo, 5000);
    control_load_schema(control, &nothing, on_schema, &told[0]);
    control_load_generations(control, 1, on_list, &told[1]);
    event_base_loop(kit->base, EVLOOP_ONCE);
    control_free(control);
    assert_false(told[0].done || told[1].done);
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(keeps_generations_and_lists_the_newest_first),
        cmocka_unit_test(holds_no_connection_without_work),
        cmocka_unit_test(goes_on_after_a_job_that_failed),
        cmocka_unit_test(fails_each_job_once_when_the_database_is_away),
        cmocka_unit_test(fails_only_the_job_whose_connection_was_lost),
        cmocka_unit_test(takes_work_from_within_an_answer),
        cmocka_unit_test(forgets_its_work_when_it_is_freed),
    };
    return cmocka_run_group_tests(specs, kit_setup_migrated, kit_teardown);
}
