/* The rules that the service comes with, in the host; and streams that need not be live. */
#include "rules/snapshot.h"
#include "rules_kit.h"

static struct rules_state *load_shipped(void)
{
    struct error err = {.text = ""};
    struct rules_snapshot *snapshot = rules_snapshot_read(CS_SOURCE_DIR "/lua", &err);
    if (!snapshot)
        fail_msg("the rules cannot be read: %s", err.text);
    struct rules_state *state = rules_state_new(snapshot, &kit_options, &err);
    rules_snapshot_free(snapshot);
    if (!state)
        fail_msg("the rules do not load: %s", err.text);
    return state;
}

static void passes_every_example(void **context)
{
    (void)context;
    struct rules_state *state = load_shipped();
    struct error err = {.text = ""};
    if (!rules_state_run_examples(state, &err))
        fail_msg("%s", err.text);
    rules_state_free(state);
}

static void needs_the_candles_and_nothing_else(void **context)
{
    (void)context;
    struct rules_state *state = load_shipped();
    const struct rules_def *def = rules_state_def(state);
    assert_int_equal(def->n_streams, 3);
    for (size_t i = 0; i < def->n_streams; i++) {
        bool is_candles = strcmp(def->streams[i].file, "streams/market_data_v2.lua") == 0;
        assert_int_equal(def->streams[i].where_table_exists, !is_candles);
    }
    rules_state_free(state);
}

#define STREAM(optional)                                                                           \
    "return {\n"                                                                                   \
    "  name = 'S', topic = 's', optional = " optional ",\n"                                        \
    "  tables = { t = { columns = { id = 'int8' }, key = { 'id' } } },\n"                          \
    "  map = function(message) return { t = { id = message.id } } end,\n"                          \
    "}\n"

static void needs_the_tables_of_a_stream_that_is_not_optional(void **context)
{
    (void)context;
    static const struct {
        const char *text;
        bool where_table_exists;
    } cases[] = {{STREAM("nil"), false}, {STREAM("false"), false}, {STREAM("true"), true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct rules_state *state = kit_stream(cases[i].text);
        const struct stream_def *stream = &rules_state_def(state)->streams[0];
        assert_int_equal(stream->where_table_exists, cases[i].where_table_exists);
        rules_state_free(state);
    }
}

static void refuses_an_optional_that_is_neither_true_nor_false(void **context)
{
    (void)context;
    const struct kit_file files[] = {{"init.lua", "return { streams = { require 'streams.x' } }"},
                                     {"streams/x.lua", STREAM("'yes'")},
                                     {NULL, NULL}};
    kit_expect_trouble(files, "streams/x.lua: optional: expected true or false, got a string");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_every_example),
        cmocka_unit_test(needs_the_candles_and_nothing_else),
        cmocka_unit_test(needs_the_tables_of_a_stream_that_is_not_optional),
        cmocka_unit_test(refuses_an_optional_that_is_neither_true_nor_false),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
