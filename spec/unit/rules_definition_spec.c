/* The shape of rule files: what is extracted, and what is wrong with the others. */
#include "rules_kit.h"

#define TABLE  "{ columns = { v = 'text', n = 'int8?' }, key = { 'v' } }"
#define STREAM "name = 'x', topic = 'x', tables = { t = " TABLE " }, map = function() end"

static void expect_stream_trouble(const char *text, const char *part)
{
    const struct kit_file files[] = {{"init.lua", "return { streams = { require 'streams.x' } }"},
                                     {"streams/x.lua", text},
                                     {NULL, NULL}};
    char *whole = memory_printf("streams/x.lua: %s", part);
    kit_expect_trouble(files, whole);
    free(whole);
}

static void expect_endpoint_trouble(const char *text, const char *part)
{
    const struct kit_file files[] = {
        {"init.lua", "return { endpoints = { require 'endpoints.x' } }"},
        {"endpoints/x.lua", text},
        {NULL, NULL}};
    char *whole = memory_printf("endpoints/x.lua: %s", part);
    kit_expect_trouble(files, whole);
    free(whole);
}

static void extracts_a_stream(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(
        "return { name = 'Things', topic = 'things', saved = 'Kept %d of 100%%',\n"
        "fields = { b = 'text?', a = 'int8', c = 'ms' },\n"
        "shapes = { { a = { 'x.a', 'a' }, c = 'c' }, { a = 'y', b = 'z', c = 'c' } },\n"
        "numbering = { dense = { 'b' } }, identify = { sequence = 'a' },\n"
        "tables = { zebra = { columns = { z = 'jsonb?', at = 'timestamptz', n = 'int8' },\n"
        "key = { 'z', 'at' }, newer = 'n', track = { by = { 'z' }, sequence = 'n', time = 'at' } "
        "},\n"
        "ant = { columns = { k = 'numeric' }, key = { 'k' } } }, map = function() end }");
    const struct stream_def *stream = &rules_state_def(state)->streams[0];
    assert_string_equal(stream->name, "Things");
    assert_string_equal(stream->file, "streams/x.lua");
    assert_string_equal(stream->topic, "things");
    assert_string_equal(stream->saved, "Kept %d of 100%%");
    assert_false(stream->sequence_from_tracker);
    assert_int_equal(stream->reader.n_fields, 3);
    assert_string_equal(stream->reader.fields[0].name, "a");
    assert_true(stream->reader.fields[1].optional);
    assert_int_equal(stream->reader.fields[2].type, VALUE_TIME);
    assert_int_equal(stream->reader.n_shapes, 2);
    assert_int_equal(stream->reader.shapes[0].fields[0].n_paths, 2);
    assert_string_equal(stream->reader.shapes[0].fields[0].paths[1], "a");
    assert_int_equal(stream->reader.shapes[0].fields[1].n_paths, 0);
    assert_non_null(stream->plan);
    assert_int_equal(stream->n_dense, 1);
    assert_int_equal(stream->dense[0], 1);
    assert_int_equal(stream->identify_symbol, FIELD_NONE);
    assert_int_equal(stream->identify_sequence, 0);

    assert_int_equal(stream->n_tables, 2);
    assert_string_equal(stream->tables[0].name, "ant");
    assert_false(stream->tables[0].has_newer);
    assert_null(stream->tables[0].track.by);
    const struct table_def *zebra = &stream->tables[1];
    assert_int_equal(zebra->n_columns, 3);
    assert_string_equal(zebra->columns[0].name, "at");
    assert_string_equal(zebra->columns[1].name, "n");
    assert_int_equal(zebra->columns[2].type, VALUE_JSON);
    assert_true(zebra->columns[2].optional);
    assert_int_equal(zebra->n_key, 2);
    assert_int_equal(zebra->key[0], 2);
    assert_int_equal(zebra->key[1], 0);
    assert_true(zebra->has_newer);
    assert_int_equal(zebra->newer, 1);
    assert_int_equal(zebra->track.by[0], 2);
    assert_int_equal(zebra->track.sequence, 1);
    assert_int_equal(zebra->track.time, 0);
    rules_state_free(state);
}

static void takes_numbers_from_the_tracker(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream(
        "return { name = 'x', topic = 'x', sequence_from = 'tracker', map = function() end,\n"
        "tables = { t = { columns = { v = 'text', n = 'int8?' }, key = { 'v' }, newer = 'n' } } "
        "}");
    assert_true(rules_state_def(state)->streams[0].sequence_from_tracker);
    rules_state_free(state);
}

static void has_defaults(void **context)
{
    (void)context;
    struct rules_state *state = kit_stream("return { " STREAM " }");
    const struct stream_def *stream = &rules_state_def(state)->streams[0];
    assert_string_equal(stream->saved, "Saved %d rows");
    assert_null(stream->plan);
    assert_null(stream->dense);
    assert_int_equal(stream->identify_symbol, FIELD_NONE);
    assert_false(stream->sequence_from_tracker);
    assert_int_equal(rules_state_def(state)->n_endpoints, 0);
    rules_state_free(state);
}

static void says_what_is_wrong_with_a_stream(void **context)
{
    (void)context;
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"return { " STREAM ", tabels = {} }",
         "tabels: unknown key, known are name, topic, fields"},
        {"return { " STREAM ", 5 }", "a key is a number, expected name"},
        {"return { topic = 'x' }", "name: expected a string, got nil"},
        {"return { name = 5 }", "name: expected a string, got number"},
        {"return { name = '', topic = 'x' }", "name: expected a string of UTF-8 that is not empty"},
        {"return { name = 'a\\255', topic = 'x' }", "name: expected a string of UTF-8"},
        {"return { name = 'a\\nb', topic = 'x' }", "name: expected at most 100 bytes on one line"},
        {"return { name = ('x'):rep(101), topic = 'x' }", "name: expected at most 100 bytes"},
        {"return { name = 'x', topic = 'a b' }", "topic: expected at most 249 of the characters"},
        {"return { name = 'x', topic = '^a' }", "topic: expected at most 249 of the characters"},
        {"return { name = 'x', topic = '..' }", "topic: expected at most 249 of the characters"},
        {"return { name = 'x' }", "topic: expected a string, got nil"},
        {"return { name = 'x', topic = 'x' }", "tables: expected a table, got nil"},
        {"return { name = 'x', topic = 'x', tables = {} }", "tables: expected at least one"},
        {"return { name = 'x', topic = 'x', tables = { t = 5 } }",
         "tables.t: expected a table, got number"},
        {"return { name = 'x', topic = 'x', tables = { t = { keys = 1 } } }",
         "tables.t.keys: unknown key, known are columns, key, newer, track"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'txt' } } } }",
         "tables.t.columns.v: \"txt\" is no type, known are text"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { 'v' } } } }",
         "tables.t.columns: expected names as keys, got a number"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = {} } } }",
         "tables.t.columns: expected 1 to 200 columns, got 0"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' } } } }",
         "tables.t.key: expected a table, got nil"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, key = {} } "
         "} }",
         "tables.t.key: expected at least one column"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, key = { 'w' "
         "} } } }",
         "tables.t.key: w is none of the columns of t"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, key = { "
         "'v', 'v' } "
         "} } }",
         "tables.t.key: v is named twice"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, key = { 'v' "
         "}, "
         "newer = 'n' } } }",
         "tables.t.newer: n is none of the columns of t"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text', j = 'json' }, "
         "key = { 'v' }, newer = 'j' } } }",
         "tables.t.newer: expected a column with an order, j is of type json"},
        {"return { name = 'x', topic = 'x', tables = { t = { columns = { v = 'text' }, key = { 'v' "
         "}, "
         "track = { by = { 'v' }, sequence = 'v', time = 'v' } } } }",
         "tables.t.track.sequence: expected a column of type int8"},
        {"return { name = 'x', topic = 'x', tables = { t = " TABLE " } }",
         "map: expected a function, got nil"},
        {"return { name = 'x', topic = 'x', tables = { t = " TABLE " }, map = 5 }",
         "map: expected a function, got number"},
        {"return { " STREAM ", fields = { a = 'text' } }", "shapes: expected a table, got nil"},
        {"return { " STREAM ", shapes = {} }", "fields: expected a table, got nil"},
        {"return { " STREAM ", fields = { a = 'texts' }, shapes = {} }",
         "fields.a: \"texts\" is no type, known are text, int8"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = {} }",
         "shapes: expected at least one"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = { {} } }",
         "shapes[1]: no path for the field a, which is not optional"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = { { a = 'a', b = 'b' } } }",
         "shapes[1].b: there is no such field in fields"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = { { a = {} } } }",
         "shapes[1].a: expected a path or a list of paths, got an empty list"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = { { a = 5 } } }",
         "shapes[1].a: expected a string, got number"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = { { a = '..' } } }", "shapes: "},
        {"return { " STREAM ", numbering = 'locally' }", "numbering: expected \"global\" or"},
        {"return { " STREAM ", numbering = { dense = { 'a' } } }",
         "numbering.dense: a is none of the fields"},
        {"return { " STREAM ", fields = { a = 'text' }, shapes = { { a = 'a' } }, numbering = { "
         "dense = { 'a', 'a' } } }",
         "numbering.dense: a is named twice"},
        {"return { " STREAM ", identify = { symbol = 'a' } }",
         "identify.symbol: a is none of the fields"},
        {"return { " STREAM ", fields = { a = 'bool' }, shapes = { { a = 'a' } }, identify = { "
         "sequence = 'a' } }",
         "identify.sequence: expected a field of type int8, text or numeric"},
        {"return { " STREAM ", saved = 'Saved' }", "saved: expected a text with one %d"},
        {"return { " STREAM ", saved = '%d %s' }", "saved: expected a text with one %d"},
        {"return { " STREAM ", saved = '%d %' }", "saved: expected a text with one %d"},
        {"return { " STREAM ", sequence_from = 'x' }", "sequence_from: expected \"tracker\""},
        {"return { " STREAM ", sequence_from = 'tracker' }",
         "sequence_from: expected a table with newer or track"},
        {"return { name = 'x', topic = 'x', sequence_from = 'tracker', tables = { t = { columns = "
         "{ v = 'text' }, key = { 'v' }, newer = 'v' } } }",
         "sequence_from: expected tables.t.newer of type int8"},
        {"return { name = 'x', topic = 'x', fields = { s = 'text' }, shapes = { { s = 's' } },"
         " tables = { t = " TABLE " }, numbering = { dense = { 's' } }, sequence_from = 'tracker' "
         "}",
         "sequence_from: numbers of the tracker cannot be dense"},
        {"return { " STREAM ", examples = { a = 1 } }", "examples: expected a list"},
        {"return { " STREAM ", examples = { 1, nil, 3 } }",
         "examples: expected a list without holes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_stream_trouble(cases[i].text, cases[i].part);
}

#define ENDPOINT        "method = 'GET', paths = { '/x' }, reply = function() end"
#define WITH_PATH(path) "return { method = 'GET', paths = { '" path "' }, reply = function() end }"

static void says_what_is_wrong_with_an_endpoint(void **context)
{
    (void)context;
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"return { " ENDPOINT ", query = {} }", "query: unknown key, known are method"},
        {"return { method = 'GET' }", "paths: expected a table, got nil"},
        {"return { method = 'get' }", "method: expected GET, POST, PUT, PATCH or DELETE, got get"},
        {"return {}", "method: expected GET, POST, PUT, PATCH or DELETE, got nil"},
        {"return { method = 'GET', paths = {} }", "paths: expected at least one"},
        {"return { method = 'GET', paths = { 'x' } }", "paths[1]: expected something like"},
        {"return { method = 'GET', paths = { '/x?y' } }", "paths[1]: expected something like"},
        {"return { method = 'GET', paths = { '/x:y' } }", "paths[1]: expected something like"},
        {"return { method = 'GET', paths = { '/x', '/x' } }", "paths[2]: /x is paths[1] again"},
        {"return { method = 'GET', paths = { '/x/:a', '/x/:b/' } }",
         "paths[2]: /x/:b/ is paths[1] again"},
        {"return { method = 'GET', paths = { '/:a/x/:a' } }", "paths[1]: :a is named twice"},
        {"return { method = 'GET', paths = { ('/x'):rep(33) } }",
         "paths[1]: expected at most 32 parts"},
        {"return { method = 'GET', paths = { '/health' } }",
         "paths[1]: /health is answered by the service itself"},
        {"return { method = 'GET', paths = { '/x' } }", "reply: expected a function, got nil"},
        {"return { " ENDPOINT ", request = 5 }", "request: expected a function, got number"},
        {"return { " ENDPOINT ", queries = { {} } }", "queries[1].sql: expected a string, got nil"},
        {"return { " ENDPOINT ", queries = { { sql = 'x', type = {} } } }",
         "queries[1].type: unknown key, known are sql, types, params"},
        {"return { " ENDPOINT ", queries = { { sql = 'x', types = { 'int' } } } }",
         "queries[1].types[1]: \"int\" is no type"},
        {"return { " ENDPOINT ", queries = { { sql = 'x', types = { 'int8' } } } }",
         "queries[1].params: expected a function, got nil (types says there are 1 values)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_endpoint_trouble(cases[i].text, cases[i].part);
}

static void says_what_is_wrong_with_init(void **context)
{
    (void)context;
    static const struct {
        const char *text;
        const char *part;
    } cases[] = {
        {"", "init.lua: expected it to return { streams = {...}, endpoints = {...} }, got boolean"},
        {"return { stream = {} }", "init.lua: stream: unknown key, known are streams, endpoints"},
        {"return { streams = { 'x' } }",
         "init.lua: streams[1]: expected the table that a file returns, got string"},
        {"return { streams = 5 }", "init.lua: streams: expected a table, got number"},
        {"return { streams = { require 'streams.x', require 'streams.x' } }",
         "streams/x.lua: name: \"x\" is the name of streams/x.lua already"},
        {"return { endpoints = { require 'endpoints.x', require 'endpoints.x' } }",
         "endpoints/x.lua: paths: GET /x is answered by endpoints/x.lua already"},
        {"return { streams = { require 'streams.empty' } }",
         "init.lua: streams[1]: expected the table that a file returns, got boolean (no table "
         "comes from streams/empty.lua)"},
        {"return { endpoints = { require 'endpoints.a', require 'endpoints.b' } }",
         "endpoints/b.lua: paths: GET /x/:b is answered by endpoints/a.lua already"},
        {"return { streams = { { name = 5 } } }", "init.lua: name: expected a string, got number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct kit_file files[] = {{"init.lua", cases[i].text},
                                         {"streams/x.lua", "return { " STREAM " }"},
                                         {"streams/empty.lua", ""},
                                         {"endpoints/x.lua", "return { " ENDPOINT " }"},
                                         {"endpoints/a.lua", WITH_PATH("/x/:a")},
                                         {"endpoints/b.lua", WITH_PATH("/x/:b")},
                                         {NULL, NULL}};
        kit_expect_trouble(files, cases[i].part);
    }
}

/* ---- examples ---- */

static void expect_example_trouble(struct rules_state *state, const char *expected)
{
    struct error err = {.text = ""};
    assert_false(rules_state_run_examples(state, &err));
    assert_string_equal(err.text, expected);
    rules_state_free(state);
}

static void says_which_example_of_a_stream_fails_and_how(void **context)
{
    (void)context;
    static const struct {
        const char *examples;
        const char *expected;
    } cases[] = {
        {"{ message = '{\"v\":\"a\"}', rows = { t = { v = 'b' } } }",
         "streams/x.lua: examples[1]: rows: expected {\"t\":[{\"v\":\"b\"}]}, got "
         "{\"t\":[{\"v\":\"a\"}]}"},
        {"{ message = '{\"v\":\"a\",\"n\":1}', rows = { t = { v = 'a', n = '1' } } }, "
         "{ message = '{\"v\":\"a\"}', skip = 'x' }",
         "streams/x.lua: examples[2]: expected skip \"x\", got rows {\"t\":[{\"v\":\"a\"}]}"},
        {"{ message = '[]', skip = 'x' }",
         "streams/x.lua: examples[1]: expected skip \"x\", got reject \"no v\" at stage map"},
        {"{ message = '[]', reject = 'no w' }",
         "streams/x.lua: examples[1]: expected reject \"no w\", got reject \"no v\" at stage map"},
        {"{ message = '[]' }", "streams/x.lua: examples[1]: expected one of rows, skip and reject"},
        {"{ rows = {} }", "streams/x.lua: examples[1]: message: expected a string, got nil"},
        {"{ message = '[]', rows = { u = {} } }",
         "streams/x.lua: examples[1]: rows: u: the stream has no such table"},
        {"{ message = '[]', row = {} }", "streams/x.lua: examples[1]: row: unknown key, known are "
                                         "message, key, timestamp, rows, skip, "
                                         "reject"},
        {"5", "streams/x.lua: examples[1]: expected a table, got number"},
        {"{ message = '[]', timestamp = 'noon', skip = 'x' }",
         "streams/x.lua: examples[1]: timestamp: expected a whole number from 0 to "
         "253402300799999, got string"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *text = memory_printf("return { name = 'x', topic = 'x', tables = { t = " TABLE
                                   " }, map = function(m)\n"
                                   "if not m.v then return nil, 'reject', 'no v' end\n"
                                   "return { t = { v = m.v, n = m.n } } end, examples = { %s } }",
                                   cases[i].examples);
        expect_example_trouble(kit_stream(text), cases[i].expected);
        free(text);
    }
}

static void says_which_example_of_an_endpoint_fails_and_how(void **context)
{
    (void)context;
    static const struct {
        const char *examples;
        const char *expected;
    } cases[] = {
        {"{ results = { { { a = 1 } } }, status = 200, body = { n = 2 } }",
         "endpoints/x.lua: examples[1]: body: expected {\"n\":2}, got {\"n\":1}"},
        {"{ results = { { { a = 1 } } }, status = 201 }",
         "endpoints/x.lua: examples[1]: expected status 201, got 200 with {\"n\":1}"},
        {"{ status = 200 }",
         "endpoints/x.lua: examples[1]: results: expected rows of query 1, got nil"},
        {"{ results = { [2] = {} }, status = 200 }",
         "endpoints/x.lua: examples[1]: results[1]: expected a list of rows (the query is run), "
         "got nil"},
        {"{ results = {} }", "endpoints/x.lua: examples[1]: status: expected a number, got nil"},
        {"{ request = { path = 'x' }, status = 200 }",
         "endpoints/x.lua: examples[1]: request.path: unknown key, known are query, params, "
         "claims, body"},
        {"{ request = { params = { q = 'x' } }, status = 200 }",
         "endpoints/x.lua: examples[1]: request.params.q: no path of the file has it"},
        {"{ request = { query = { q = 5 } }, status = 200 }",
         "endpoints/x.lua: examples[1]: request.query.q: expected a string, got number"},
        {"{ request = { query = { q = '' } }, results = { {} }, status = 201 }",
         "endpoints/x.lua: examples[1]: expected status 201, got 200 with {\"n\":0}"},
        {"{ status = '200' }",
         "endpoints/x.lua: examples[1]: status: expected a whole number from 200 to 599, got "
         "string"},
        {"{ request = { query = { q = 'fail' } }, status = 500 }",
         "endpoints/x.lua: examples[1]: endpoints/x.lua:2: broken"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char *text =
            memory_printf("return { method = 'GET', paths = { '/x' }, request = function(req)\n"
                          "if req.query.q == 'fail' then error('broken') end return {} end,\n"
                          "queries = { { sql = 'x' } },\n"
                          "reply = function(_, _, results) return 200, { n = #results[1] } end,"
                          "examples = { %s } }",
                          cases[i].examples);
        expect_example_trouble(kit_endpoint(text), cases[i].expected);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extracts_a_stream),
        cmocka_unit_test(takes_numbers_from_the_tracker),
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(says_what_is_wrong_with_a_stream),
        cmocka_unit_test(says_what_is_wrong_with_an_endpoint),
        cmocka_unit_test(says_what_is_wrong_with_init),
        cmocka_unit_test(says_which_example_of_a_stream_fails_and_how),
        cmocka_unit_test(says_which_example_of_an_endpoint_fails_and_how),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
