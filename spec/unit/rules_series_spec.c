/* Which series a message belongs to that was not stored: `series` and `track_key` of a stream. */
#include "rules_kit.h"

#define STREAM(numbering, functions)                                                               \
    "return { name = 'X', topic = 't',"                                                            \
    "  fields = { symbol = 'text', seq = 'int8?', volume = 'float8' },"                            \
    "  shapes = { { symbol = 's', seq = 'n', volume = 'v' } },"                                    \
    "  identify = { symbol = 'symbol', sequence = 'seq' }, " numbering "  tables = {"              \
    "    k = { columns = { symbol = 'text', n = 'int8', sequence = 'int8?', time = 'timestamptz' " \
    "},"                                                                                           \
    "          key = { 'time', 'symbol' },"                                                        \
    "          track = { by = { 'symbol', 'n' }, sequence = 'sequence', time = 'time' } },"        \
    "    plain = { columns = { symbol = 'text' }, key = { 'symbol' } } },"                         \
    "  map = function(k)"                                                                          \
    "    if k.volume == 0 then return nil, 'skip', 'nothing happened' end"                         \
    "    if k.volume < 0 then return nil, 'reject', 'negative' end"                                \
    "    return { k = { symbol = k.symbol, n = 1, sequence = k.seq, time = 0 } } end," functions   \
    "}"

#define DENSE "numbering = { dense = { 'symbol' } },"

#define FUNCTIONS                                                                                  \
    "series = function(k) if k.symbol then return 'k', { k.symbol, 5 } end end,"                   \
    "track_key = function(key) return 'k', { key, '7' } end"

static struct map_result map(struct rules_state *state, struct arena *arena, const char *payload,
                             const char *key)
{
    const struct message message = {.topic = "t",
                                    .timestamp_ms = -1,
                                    .key = bytes_of_string(key),
                                    .payload = bytes_of_string(payload)};
    struct map_result result;
    rules_map(state, 0, &message, arena, &result);
    return result;
}

static void expect(const char *rules, const char *payload, const char *key, const char *series)
{
    struct arena arena = {0};
    struct rules_state *state = kit_stream(rules);
    struct map_result result = map(state, &arena, payload, key);
    if (!series) {
        assert_null(result.series.data);
        assert_null(result.series_table.data);
    } else {
        assert_non_null(result.series.data);
        assert_string_equal(result.series_table.data, "k");
        assert_string_equal(result.series.data, series);
    }
    arena_free(&arena);
    rules_state_free(state);
}

static void says_it_for_a_refused_message(void **state)
{
    (void)state;
    expect(STREAM("", FUNCTIONS), "{\"s\":\"A/B\",\"v\":-1}", NULL, "A//B/5");
}

static void says_it_from_what_could_be_read(void **state)
{
    (void)state;
    expect(STREAM("", FUNCTIONS), "{\"s\":\"A\",\"v\":\"many\"}", NULL, "A/5");
}

static void is_told_which_fields_could_not_be_read(void **state)
{
    (void)state;
    static const char telling[] =
        "series = function(k, unread)"
        "  if unread.seq then return 'k', { 'unread', unread.volume and 1 or 0 } end"
        "  return 'k', { k.symbol, next(unread) and 1 or 0 } end";
    char text[2000];
    snprintf(text, sizeof(text), STREAM("", "%s"), telling);
    expect(text, "{\"s\":\"A\",\"n\":\"x\",\"v\":-1}", NULL, "unread/0");
    expect(text, "{\"s\":\"A\",\"n\":[],\"v\":[]}", NULL, "unread/1");
    expect(text, "{\"s\":\"A\",\"v\":\"many\"}", NULL, "A/1");
    expect(text, "{\"s\":\"A\",\"v\":-1}", NULL, "A/0");
    expect(text, "{\"s\":\"A\",\"n\":null,\"v\":-1}", NULL, "A/0");
}

static void says_it_from_the_key_when_nothing_could_be_read(void **state)
{
    (void)state;
    expect(STREAM("", FUNCTIONS), "no json", "A", "A/7");
    expect(STREAM("", FUNCTIONS), "no json", NULL, NULL);
    expect(STREAM("", FUNCTIONS), "{\"s\":1,\"v\":1}", "B", "B/7");
}

static void is_asked_for_skipped_messages_with_dense_numbers_only(void **state)
{
    (void)state;
    expect(STREAM("", FUNCTIONS), "{\"s\":\"A\",\"v\":0}", "A", NULL);
    expect(STREAM(DENSE, FUNCTIONS), "{\"s\":\"A\",\"v\":0}", "A", "A/5");
}

static void says_nothing_of_rows(void **state)
{
    (void)state;
    expect(STREAM(DENSE, FUNCTIONS), "{\"s\":\"A\",\"v\":1}", "A", NULL);
}

static void may_know_no_series(void **state)
{
    (void)state;
    expect(STREAM("", ""), "{\"s\":\"A\",\"v\":-1}", "A", NULL);
    expect(STREAM("", "series = function() end"), "{\"s\":\"A\",\"v\":-1}", "A", NULL);
    expect(STREAM("", "series = function() return 'k', { 'A' } end"), "{\"s\":\"A\",\"v\":-1}", "A",
           NULL);
}

static void names_no_series_when_it_breaks(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "series = function() error('broken') end",
        "series = function() while true do end end",
        "series = function() return 'k' end",
        "series = function() return 5, {} end",
        "series = function() return 'plain', { 'A' } end",
        "series = function() return 'other', { 'A', 1 } end",
        "series = function() return 'k', { 'A', 'x' } end",
        "series = function() return 'k', { 'A', 1, 2 } end",
        "series = function() return 'k', { {}, 1 } end",
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        char text[2000];
        snprintf(text, sizeof(text), STREAM("", "%s"), broken[i]);
        expect(text, "{\"s\":\"A\",\"v\":-1}", "A", NULL);
    }
}

static void has_to_be_a_function(void **state)
{
    (void)state;
    struct error err = {.text = ""};
    const struct kit_file files[] = {{"init.lua", "return { streams = { require 'streams.x' } }"},
                                     {"streams/x.lua", STREAM("", "series = 'k'")},
                                     {NULL, NULL}};
    assert_null(kit_load_with(&kit_options, files, &err));
    assert_non_null(strstr(err.text, "series: expected a function"));
}

int main(void)
{
    const struct CMUnitTest specs[] = {
        cmocka_unit_test(says_it_for_a_refused_message),
        cmocka_unit_test(says_it_from_what_could_be_read),
        cmocka_unit_test(is_told_which_fields_could_not_be_read),
        cmocka_unit_test(says_it_from_the_key_when_nothing_could_be_read),
        cmocka_unit_test(is_asked_for_skipped_messages_with_dense_numbers_only),
        cmocka_unit_test(says_nothing_of_rows),
        cmocka_unit_test(may_know_no_series),
        cmocka_unit_test(names_no_series_when_it_breaks),
        cmocka_unit_test(has_to_be_a_function),
    };
    return cmocka_run_group_tests(specs, NULL, NULL);
}
