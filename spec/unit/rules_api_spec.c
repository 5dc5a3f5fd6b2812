/* cs: what the host offers to scripts. */
#include <unistd.h>

#include "rules_kit.h"

struct attempt {
    const char *body;
    const char *expected;
};

static void expect_all(const struct attempt *attempts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        kit_expect(attempts[i].body, attempts[i].expected);
}

#define EXPECT_ALL(attempts) expect_all(attempts, sizeof(attempts) / sizeof(*(attempts)))

static void encodes_json_with_keys_in_order(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return cs.json.encode({ b = 1, a = 'x', c = { true, false, cs.null } })",
         "{\"a\":\"x\",\"b\":1,\"c\":[true,false,null]}"},
        {"return cs.json.encode({})", "{}"},
        {"return cs.json.encode(cs.json.array {})", "[]"},
        {"return cs.json.encode(cs.json.array({ 1 }))", "[1]"},
        {"return cs.json.encode(cs.json.array())", "[]"},
        {"return cs.json.encode({ 0.1, 50000.0, 1e300, -0.5, 9007199254740991 })",
         "[0.1,50000,1e+300,-0.5,9007199254740991]"},
        {"return cs.json.encode({ 1 / 0, -1 / 0, 0 / 0 })", "[null,null,null]"},
        {"return cs.json.encode('a\\0\\n\"\\\\\\xff')", "\"a\\u0000\\n\\\"\\\\\xef\xbf\xbd\""},
        {"return cs.json.encode(cs.json.number('0.10'))", "0.10"},
        {"return cs.json.encode({ a = cs.json.raw('{\"b\": [], \"c\":1.50}') })",
         "{\"a\":{\"b\": [], \"c\":1.50}}"},
        {"return cs.json.raw('[1,]')", "streams/x.lua:3: json: no JSON value begins so (byte 3)"},
        {"return cs.json.raw('\"\\xff\"')",
         "streams/x.lua:3: json: the text is not UTF-8 (byte 1)"},
        {"return cs.json.raw(5)", "streams/x.lua:3: json: expected JSON text, got a number"},
        {"return getmetatable(cs.json.raw('1'))", "false"},
        {"return cs.json.encode({ a = { [1] = 1, x = 2 } })",
         "json: a table has numbers as keys, but not 1 to n (mark it with cs.json.array, or use "
         "strings)"},
        {"return cs.json.encode({ 1, nil, 3, nil, 5 })",
         "json: a table has numbers as keys, but not 1 to n (mark it with cs.json.array, or use "
         "strings)"},
        {"return cs.json.encode({ [true] = 1 })", "json: a key is a boolean"},
        {"return cs.json.encode(print)", "null"},
        {"return cs.json.encode(error)", "json: a function has no JSON"},
        {"return cs.json.encode({ f = function() end })", "json: a function has no JSON"},
        {"local t = {} for i = 1, 40 do t['k' .. i] = i end "
         "return #cs.json.encode(t) .. cs.json.encode(t):sub(1, 22)",
         "343{\"k1\":1,\"k10\":10,\"k11\""},
    };
    EXPECT_ALL(attempts);
}

static void decodes_json_and_says_why_not(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return cs.json.decode('{\"a\":[1,2,{\"b\":\"x\"}]}').a[3].b", "x"},
        {"return cs.json.decode('null') == cs.null", "true"},
        {"return select(2, cs.json.decode('\"\\255\"'))", "the text is not UTF-8 (byte 1)"},
        {"return select(2, cs.json.decode('\"\\1\"'))", "a control character in a string (byte 1)"},
        {"return cs.json.decode('1e2')", "100"},
        {"return select('#', cs.json.decode('nope')) .. tostring(cs.json.decode('nope'))", "2nil"},
        {"return cs.json.decode('NaN')", "nil"},
        {"return cs.json.decode('Infinity')", "nil"},
        {"return cs.json.decode('0x10')", "nil"},
        {"return cs.json.decode('')", "nil"},
        {"local _, why = cs.json.decode('[1,') return type(why)", "string"},
        {"return cs.json.decode(5)", "(string expected, got number)"},
        {"return tostring(cs.null)", "null"},
    };
    EXPECT_ALL(attempts);
}

static void keeps_decimal_numbers_exact(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return type(cs.json.number(5))", "number"},
        {"return type(cs.json.number('5'))", "number"},
        {"return type(cs.json.number('0.5'))", "number"},
        {"return type(cs.json.number('9007199254740992'))", "number"},
        {"return type(cs.json.number('9007199254740993'))", "userdata"},
        {"return tostring(cs.json.number('9007199254740993'))", "9007199254740993"},
        {"return tostring(cs.json.number('50000.10000000'))", "50000.10000000"},
        {"return tostring(cs.json.number(cs.json.number('1.10')))", "1.10"},
        {"return cs.json.number('1.10') == cs.json.number('1.100')", "true"},
        {"return cs.json.number('9.10') < cs.json.number('10.00')", "true"},
        {"return cs.json.number('10.00') <= cs.json.number('9.10')", "false"},
        {"return cs.json.number('abc')", "(a decimal number expected)"},
        {"return cs.json.number('0x10')", "(a decimal number expected)"},
        {"return cs.json.number({})", "(string expected, got table)"},
    };
    EXPECT_ALL(attempts);
}

static void knows_the_calendar(void **context)
{
    (void)context;
    static const struct attempt attempts[] = {
        {"return cs.time.iso(0)", "1970-01-01T00:00:00.000Z"},
        {"return cs.time.iso(1704067200123)", "2024-01-01T00:00:00.123Z"},
        {"return cs.time.iso(-1)", "1969-12-31T23:59:59.999Z"},
        {"return cs.time.iso(951782400000)", "2000-02-29T00:00:00.000Z"},
        {"return cs.time.iso(253402300800000)", "10000-01-01T00:00:00.000Z"},
        {"return cs.time.iso(0.5)", "(whole milliseconds since 1970 expected)"},
        {"return cs.time.iso(1e18)", "(whole milliseconds since 1970 expected)"},
        {"return cs.time.iso(0 / 0)", "(whole milliseconds since 1970 expected)"},
        {"return ('%.0f'):format(cs.time.parse('2024-01-01T00:00:00.123Z'))", "1704067200123"},
        {"return ('%.0f'):format(cs.time.parse('2024-01-01 00:00:00'))", "1704067200000"},
        {"return ('%.0f'):format(cs.time.parse('2024-01-01'))", "1704067200000"},
        {"return ('%.0f'):format(cs.time.parse('2024-01-01T01:30:00+01:30'))", "1704067200000"},
        {"return ('%.0f'):format(cs.time.parse('2023-12-31T23:00:00-0100'))", "1704067200000"},
        {"return ('%.0f'):format(cs.time.parse('2024-01-01T00:00:00.1234567Z'))", "1704067200123"},
        {"return ('%.0f'):format(cs.time.parse('0001-01-01'))", "-62135596800000"},
        {"return cs.time.parse('2023-02-29')", "nil"},
        {"return cs.time.parse('2024-13-01')", "nil"},
        {"return cs.time.parse('2024-01-01T24:00:00')", "nil"},
        {"return cs.time.parse('2024-01-01T00:00:00.')", "nil"},
        {"return cs.time.parse('2024-01-01T00:00:00Zx')", "nil"},
        {"return cs.time.parse('2024-01-01\\0')", "nil"},
        {"return cs.time.parse('yesterday')", "nil"},
        {"return cs.time.parse(5)", "nil"},
        {"return cs.time.iso(cs.time.add_months(1706659200000, 1))", "2024-02-29T00:00:00.000Z"},
        {"return cs.time.iso(cs.time.add_months(1704067200000, -1))", "2023-12-01T00:00:00.000Z"},
        {"return cs.time.iso(cs.time.add_months(1704067200123, 12))", "2025-01-01T00:00:00.123Z"},
        {"return cs.time.add_months(0, 0.5)", "(a whole number of months expected)"},
        {"return cs.time.add_months(0, -100000)", "(the result is outside the calendar)"},
        {"return math.abs(cs.time.now_ms() - os.time() * 1000) < 5000", "true"},
        {"for d = -719162, 2900000, 977 do local ms = d * 86400000 "
         "if cs.time.iso(ms):len() == 24 then "
         "assert(cs.time.parse(cs.time.iso(ms)) == ms, ms) end end return 'same'",
         "same"},
    };
    EXPECT_ALL(attempts);
}

static void reads_only_allowed_variables(void **context)
{
    (void)context;
    setenv("RULES_SPEC_ALLOWED", "yes", 1);
    setenv("RULES_SPEC_SECRET", "no", 1);
    unsetenv("NEWS_TOPIC");
    kit_options.env_allow = "X, RULES_SPEC_ALLOWED,Y";
    kit_expect("return cs.env('RULES_SPEC_ALLOWED', 'default')", "yes");
    kit_expect("return cs.env('NEWS_TOPIC', 'news')", "news");
    kit_expect("return cs.env('NEWS_TOPIC')", "nil");
    kit_expect("return cs.env('RULES_SPEC_SECRET')",
               "cs.env: RULES_SPEC_SECRET may not be read (allowed are "
               "MARKET_DATA_TOPIC,MARKET_DATA_NUMBERING,NEWS_TOPIC,INSIGHTS_TOPIC,"
               "MARKET_CONSUMER_GROUP_ID,KAFKA_GROUP_ID,LOG_LEVEL and what RULES_ENV lists)");
    kit_expect("return pcall(cs.env, '')", "false");
    kit_expect("return pcall(cs.env, 'RULES_SPEC')", "false");
    kit_options.env_allow = NULL;
    kit_expect("return pcall(cs.env, 'RULES_SPEC_ALLOWED')", "false");
}

static void map_once(struct rules_state *state)
{
    free(kit_run(state, "{}"));
}

/* What runs wrote to stderr. free() it. */
static char *captured_log(struct rules_state *state, int runs,
                          void (*run)(struct rules_state *state))
{
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    for (int i = 0; i < runs; i++)
        run(state);
    dup2(kept, STDERR_FILENO);
    close(kept);
    char *text = memory_zero(1, 100000);
    rewind(file);
    size_t size = fread(text, 1, 99999, file);
    text[size] = '\0';
    fclose(file);
    return text;
}

static void logs_under_the_name_of_the_stream(void **context)
{
    (void)context;
    struct rules_state *state = kit_evaluator(
        "", "cs.log.info('100%s') cs.log.warn('w\\n2') cs.log.error(('x'):rep(5000)) return 1");
    char *text = captured_log(state, 1, map_once);
    assert_non_null(strstr(text, "info  [x] 100%s\n"));
    assert_non_null(strstr(text, "warn  [x] w"));
    assert_null(strstr(text, "w\n2"));
    assert_true(strlen(text) < 4000);
    free(text);
    rules_state_free(state);
}

static void holds_repeated_lines_back(void **context)
{
    (void)context;
    struct rules_state *state = kit_evaluator(
        "local n = 0", "n = n + 1 cs.log.limited('a', 60000, 'info', 'line ' .. n) "
                       "cs.log.limited('b', 60000, 'info', 'other ' .. n) "
                       "for i = 1, 200 do cs.log.limited('k' .. i, 0, 'debug', 'x') end");
    char *text = captured_log(state, 3, map_once);
    assert_non_null(strstr(text, "[x] line 1\n"));
    assert_non_null(strstr(text, "[x] other 1\n"));
    assert_null(strstr(text, "line 2"));
    assert_null(strstr(text, "other 3"));
    free(text);
    rules_state_free(state);
    kit_expect("cs.log.limited('a', -1, 'info', 'x')", "(0 to 86400000 ms expected)");
    kit_expect("cs.log.limited('a', 1, 'loud', 'x')", "(invalid option 'loud')");
}

static void ask_once(struct rules_state *state)
{
    const struct request_view request = {.method = "GET", .path = "/x", .request_id = "r7"};
    struct reply reply;
    struct rules_call *call = rules_call_begin(state, 0, &request, &reply);
    assert_non_null(call);
    assert_int_equal(rules_call_reply(call, &reply), 0);
    assert_int_equal(reply.status, 200);
    buffer_free(&reply.body);
    rules_call_free(call);
}

static void names_the_request_in_what_an_endpoint_logs(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(
        "return { name = 'Asker', method = 'GET', paths = { '/x' },\n"
        "request = function() cs.log.info('asked') return {} end,\n"
        "reply = function() cs.log.limited('a', 60000, 'warn', 'answered') return 200, {} end }");
    char *text = captured_log(state, 1, ask_once);
    assert_non_null(strstr(text, "info  [Asker] asked, request r7\n"));
    assert_non_null(strstr(text, "warn  [Asker] answered, request r7\n"));
    free(text);
    rules_state_free(state);
}

static void is_silent_while_examples_run(void **context)
{
    (void)context;
    struct rules_state *state =
        kit_stream("return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, "
                   "key = { 'v' } } "
                   "},\nmap = function() cs.log.error('loud') return nil, 'skip', 'x' end,\n"
                   "examples = { { message = '{}', skip = 'x' } } }");
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    dup2(fileno(file), STDERR_FILENO);
    struct error err;
    bool good = rules_state_run_examples(state, &err);
    dup2(kept, STDERR_FILENO);
    close(kept);
    assert_true(good);
    fseek(file, 0, SEEK_END);
    assert_int_equal(ftell(file), 0);
    fclose(file);
    rules_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_json_with_keys_in_order),
        cmocka_unit_test(decodes_json_and_says_why_not),
        cmocka_unit_test(keeps_decimal_numbers_exact),
        cmocka_unit_test(knows_the_calendar),
        cmocka_unit_test(reads_only_allowed_variables),
        cmocka_unit_test(logs_under_the_name_of_the_stream),
        cmocka_unit_test(holds_repeated_lines_back),
        cmocka_unit_test(names_the_request_in_what_an_endpoint_logs),
        cmocka_unit_test(is_silent_while_examples_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
