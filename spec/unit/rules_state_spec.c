/* Streams: loading them, mapping messages, and what they see. */
#include "rules_kit.h"

static const char candles[] =
    "return {\n"
    "  name = 'Candles', topic = 'market',\n"
    "  fields = { symbol = 'text', time = 'ms', open = 'float8', seq = 'int8?', raw = 'numeric?' "
    "},\n"
    "  shapes = { { symbol = 's', time = 't', open = 'k.o', seq = { 'seq', 'k.seq' }, raw = 'r' } "
    "},\n"
    "  identify = { symbol = 'symbol', sequence = 'seq' },\n"
    "  tables = {\n"
    "    candles = {\n"
    "      columns = { symbol = 'text', time = 'timestamptz', open = 'float8', exact = "
    "'numeric?',\n"
    "                  seq = 'int8?' },\n"
    "      key = { 'time', 'symbol' }, newer = 'seq',\n"
    "      track = { by = { 'symbol' }, sequence = 'seq', time = 'time' },\n"
    "    },\n"
    "    others = { columns = { symbol = 'text' }, key = { 'symbol' } },\n"
    "  },\n"
    "  map = function(k, meta)\n"
    "    if k.symbol == 'SKIP' then return nil, 'skip', 'not wanted' end\n"
    "    if k.symbol == 'NO' then return nil, 'reject', 'symbol: NO' end\n"
    "    if k.symbol == 'FAIL' then error('broken') end\n"
    "    if k.symbol == 'OBJECT' then error({}) end\n"
    "    if k.symbol == 'LOOP' then while true do end end\n"
    "    if k.symbol == 'NONE' then return {} end\n"
    "    if k.symbol == 'META' then\n"
    "      return { others = { { symbol = meta.topic .. meta.partition .. '/' .. meta.offset }, {\n"
    "        symbol = meta.key .. meta.timestamp .. meta.shape } } }\n"
    "    end\n"
    "    if k.symbol == 'TYPE' then return { others = { symbol = 1 } } end\n"
    "    if k.symbol == 'EXTRA' then return { others = { symbol = 'x', y = 1 } } end\n"
    "    if k.symbol == 'MISSING' then return { others = { { symbol = 'x' }, { symbol = nil } } } "
    "end\n"
    "    if k.symbol == 'TABLE' then return { nowhere = { symbol = 'x' } } end\n"
    "    return { candles = { symbol = k.symbol, time = k.time, open = k.open, exact = k.open,\n"
    "                         seq = k.seq } }\n"
    "  end,\n"
    "  examples = {\n"
    "    { message = [[{\"s\":\"A\",\"t\":1,\"k\":{\"o\":\"1.50\"}}]],\n"
    "      rows = { candles = { symbol = 'A', time = 1, open = 1.5, exact = 1.5 } } },\n"
    "    { message = [[{\"s\":\"NO\",\"t\":1,\"k\":{\"o\":1}}]], reject = 'symbol' },\n"
    "    { message = [[{\"s\":\"SKIP\",\"t\":1,\"k\":{\"o\":1}}]], skip = 'not wanted' },\n"
    "  },\n"
    "}\n";

#define CANDLE(symbol)                                                                             \
    "{\"s\":\"" symbol "\",\"t\":1704067200000,\"k\":{\"o\":\"50000.10\"},\"seq\":7}"

static void maps_a_message_to_a_row(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(candles);
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, CANDLE("BTCUSDT"));
    assert_int_equal(result.verdict, MAP_ROWS);
    assert_int_equal(result.n_rows, 1);
    const struct row *row = &result.rows[0];
    assert_string_equal(row->table->name, "candles");
    kit_expect_bytes(kit_value(row, "symbol")->text, "BTCUSDT");
    assert_int_equal(kit_value(row, "time")->int8, 1704067200000);
    assert_true(kit_value(row, "open")->float8 == 50000.1);
    kit_expect_bytes(kit_value(row, "open")->source, "50000.10");
    kit_expect_bytes(kit_value(row, "exact")->text, "50000.10");
    assert_int_equal(kit_value(row, "seq")->int8, 7);
    kit_expect_bytes(result.symbol, "BTCUSDT");
    assert_true(result.has_sequence);
    assert_int_equal(result.sequence, 7);
    arena_free(&arena);
    rules_state_free(state);
}

static void keeps_whole_numbers_beyond_a_double_exact(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(candles);
    struct arena arena = {0};
    struct map_result result =
        kit_map(state, &arena, "{\"s\":\"A\",\"t\":1,\"k\":{\"o\":1},\"seq\":9223372036854775807}");
    assert_int_equal(result.verdict, MAP_ROWS);
    assert_true(kit_value(&result.rows[0], "seq")->int8 == INT64_MAX);
    arena_free(&arena);
    rules_state_free(state);
}

static void refuses_in_the_words_of_the_rule_or_its_own(void **context)
{
    (void)context;
    static const struct {
        const char *payload;
        enum map_verdict verdict;
        enum reject_stage stage;
        const char *part;
    } cases[] = {
        {CANDLE("SKIP"), MAP_SKIP, STAGE_MAP, "not wanted"},
        {CANDLE("NO"), MAP_REJECT, STAGE_MAP, "symbol: NO"},
        {CANDLE("FAIL"), MAP_REJECT, STAGE_MAP, "streams/x.lua:18: broken"},
        {CANDLE("OBJECT"), MAP_REJECT, STAGE_MAP, "streams/x.lua: error object is a table"},
        {CANDLE("LOOP"), MAP_REJECT, STAGE_MAP,
         "streams/x.lua:20: stopped after 50 ms of CPU time"},
        {CANDLE("NONE"), MAP_REJECT, STAGE_ROW, "map returned no rows"},
        {CANDLE("TYPE"), MAP_REJECT, STAGE_ROW, "others.symbol: expected a string, got 1"},
        {CANDLE("EXTRA"), MAP_REJECT, STAGE_ROW, "others.y: there is no such column"},
        {CANDLE("MISSING"), MAP_REJECT, STAGE_ROW, "row 2: others.symbol: missing"},
        {CANDLE("TABLE"), MAP_REJECT, STAGE_ROW, "nowhere: the stream has no such table"},
        {"{\"s\":", MAP_REJECT, STAGE_DECODE, ""},
        {"[]", MAP_REJECT, STAGE_DECODE, ""},
        {"{\"s\":\"A\",\"t\":1,\"k\":{\"o\":\"x\"}}", MAP_REJECT, STAGE_DECODE, "k.o"},
    };
    struct rules_state *state = kit_stream(candles);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct arena arena = {0};
        struct map_result result = kit_map(state, &arena, cases[i].payload);
        kit_expect_refusal(&result, cases[i].verdict, cases[i].part);
        if (result.verdict == MAP_REJECT)
            assert_int_equal(result.stage, cases[i].stage);
        arena_free(&arena);
    }
    rules_state_free(state);
}

static void makes_text_of_every_reason(void **context)
{
    (void)context;
    struct rules_state *state =
        kit_stream("return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, "
                   "key = { 'v' } "
                   "} }, map = function(m)\n"
                   "if m.long then return nil, 'reject', ('\\xc3\\xa9'):rep(400) end\n"
                   "if m.number then return { t = { v = '\\xc3\\xa9\\xff' } } end\n"
                   "return nil, 'reject', 'a\\0b\\xff\\xc3' end }");
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, "{}");
    kit_expect_bytes(result.reason, "a\xef\xbf\xbd"
                                    "b\xef\xbf\xbd\xef\xbf\xbd");
    result = kit_map(state, &arena, "{\"long\":1}");
    assert_int_equal(result.reason.size, 500);
    result = kit_map(state, &arena, "{\"number\":1}");
    kit_expect_refusal(&result, MAP_REJECT, "t.v: expected text, got a string that is not UTF-8");
    arena_free(&arena);
    rules_state_free(state);
}

static void shows_the_message_around_the_fields_as_meta(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(candles);
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, CANDLE("META"));
    assert_int_equal(result.verdict, MAP_ROWS);
    assert_int_equal(result.n_rows, 2);
    kit_expect_bytes(kit_value(&result.rows[0], "symbol")->text, "topic3/42");
    kit_expect_bytes(kit_value(&result.rows[1], "symbol")->text, "BTCUSDT_1m17040672000001");
    arena_free(&arena);
    rules_state_free(state);
}

static void identifies_a_message_that_is_rejected(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(candles);
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, CANDLE("NO"));
    kit_expect_bytes(result.symbol, "NO");
    assert_true(result.has_sequence);
    result = kit_map(state, &arena, "{\"s\":\"A\",\"t\":1,\"k\":{\"o\":\"x\"},\"seq\":9}");
    assert_int_equal(result.verdict, MAP_REJECT);
    kit_expect_bytes(result.symbol, "A");
    assert_int_equal(result.sequence, 9);
    arena_free(&arena);
    rules_state_free(state);
}

static void skips_a_tombstone_and_rejects_what_is_too_large(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(candles);
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, NULL);
    kit_expect_refusal(&result, MAP_SKIP, "tombstone");
    char *large = memory_zero(1, kit_options.message_max_bytes + 2);
    memset(large, ' ', kit_options.message_max_bytes + 1);
    result = kit_map(state, &arena, large);
    kit_expect_refusal(&result, MAP_REJECT, "larger than the limit");
    assert_int_equal(result.stage, STAGE_DECODE);
    free(large);
    arena_free(&arena);
    rules_state_free(state);
}

static void decodes_the_whole_message_without_fields(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(
        "return { name = 'News', topic = 'news',\n"
        "  tables = { news = { columns = { id = 'int8', tags = 'json?' }, key = { 'id' } } },\n"
        "  map = function(m) return { news = { id = #m.tags, tags = m.tags } } end }\n");
    struct arena arena = {0};
    struct map_result result = kit_map(state, &arena, "{\"tags\":[\"a\",\"b\",null]}");
    assert_int_equal(result.verdict, MAP_ROWS);
    assert_int_equal(kit_value(&result.rows[0], "id")->int8, 3);
    kit_expect_bytes(kit_value(&result.rows[0], "tags")->text, "[\"a\",\"b\",null]");
    result = kit_map(state, &arena, "{\"tags\":[NaN]}");
    kit_expect_refusal(&result, MAP_REJECT, "not JSON");
    assert_int_equal(result.stage, STAGE_DECODE);
    arena_free(&arena);
    rules_state_free(state);
}

static void runs_the_examples(void **context)
{
    (void)context;
    struct error err = {.text = ""};
    struct rules_state *state = kit_stream(candles);
    if (!rules_state_run_examples(state, &err))
        fail_msg("%s", err.text);
    rules_state_free(state);
}

static void proves_its_limits(void **context)
{
    (void)context;
    struct error err = {.text = ""};
    if (!rules_prove_limits(&kit_options, &err))
        fail_msg("%s", err.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_a_message_to_a_row),
        cmocka_unit_test(keeps_whole_numbers_beyond_a_double_exact),
        cmocka_unit_test(refuses_in_the_words_of_the_rule_or_its_own),
        cmocka_unit_test(makes_text_of_every_reason),
        cmocka_unit_test(shows_the_message_around_the_fields_as_meta),
        cmocka_unit_test(identifies_a_message_that_is_rejected),
        cmocka_unit_test(skips_a_tombstone_and_rejects_what_is_too_large),
        cmocka_unit_test(decodes_the_whole_message_without_fields),
        cmocka_unit_test(runs_the_examples),
        cmocka_unit_test(proves_its_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
