/* Endpoints: request, queries, reply. */
#include "rules_kit.h"

static const char things[] =
    "return {\n"
    "  method = 'GET', paths = { '/things/:symbol' }, name = 'Things', summary = 'All things',\n"
    "  parameters = { symbol = { schema = { type = 'string' } }, limit = { required = true,\n"
    "    description = 'How many', schema = { type = 'integer', enum = { 1, 2 } } } },\n"
    "  responses = { [404] = {}, ['200'] = { description = 'Things', schema = {} } },\n"
    "  request = function(req)\n"
    "    if req.query.limit == 'loop' then while true do end end\n"
    "    if req.query.limit == 'none' then return nil, 400, 'limit is required', { hint = 1 } end\n"
    "    return { symbol = req.params.symbol:upper(), limit = tonumber(req.query.limit),\n"
    "             user = req.claims and req.claims.sub }\n"
    "  end,\n"
    "  queries = {\n"
    "    { sql = 'select 1 where $1 = $2', types = { 'text', 'int8' },\n"
    "      params = function(req, params) return { params.symbol, params.limit } end },\n"
    "    { sql = 'select 2', types = {},\n"
    "      params = function(req, params, results) return #results[1] > 0 and {} end },\n"
    "    { sql = 'select 3', types = { 'timestamptz', 'bool', 'float8' },\n"
    "      params = function(req, params)\n"
    "        if params.limit == 99 then return nil, 404, 'no such thing' end\n"
    "        return { 1704067200123, true, 0.1 }\n"
    "      end },\n"
    "  },\n"
    "  reply = function(req, params, results)\n"
    "    if params.limit == 5 then error('broken') end\n"
    "    return 200, { symbol = params.symbol, user = params.user, rows = results[1],\n"
    "                  second = results[2] == nil, none = cs.json.array {}, gone = cs.null }\n"
    "  end,\n"
    "  examples = {\n"
    "    { request = { params = { symbol = 'a' }, query = { limit = '2' }, claims = { sub = 'u' } "
    "},\n"
    "      results = { {}, nil, {} },\n"
    "      status = 200, body = { symbol = 'A', user = 'u', rows = {}, second = true, none =\n"
    "      cs.json.array {}, gone = cs.null } },\n"
    "    { request = { params = { symbol = 'a' }, query = { limit = 'none' } },\n"
    "      status = 400, body = { error = 'limit is required', hint = 1.0 } },\n"
    "  },\n"
    "}\n";

static struct bytes cell_of_table(const struct result *result, size_t row, size_t column)
{
    const char *const *cells = result->source;
    return bytes_of_string(cells[row * result->n_columns + column]);
}

static struct rules_call *begin(struct rules_state *state, const char *limit, struct reply *reply)
{
    const struct pair params[] = {{bytes_of_string("symbol"), bytes_of_string("btc")},
                                  {bytes_of_string("limit"), bytes_of_string(limit)}};
    const struct request_view request = {.method = "GET",
                                         .path = "/things/btc",
                                         .params = params,
                                         .n_params = 2,
                                         .claims = bytes_of_string("{\"sub\":\"u1\"}"),
                                         .request_id = "r1"};
    return rules_call_begin(state, 0, &request, reply);
}

static void answers_from_the_rows_of_its_queries(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(things);
    struct reply reply;
    struct rules_call *call = begin(state, "10", &reply);
    assert_non_null(call);
    struct query_params query;
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_QUERY);
    assert_string_equal(query.query->sql, "select 1 where $1 = $2");
    assert_string_equal(query.values[0], "BTC");
    assert_string_equal(query.values[1], "10");

    const struct result_column columns[] = {
        {"a", VALUE_INT8}, {"b", VALUE_NUMERIC}, {"c", VALUE_FLOAT8},
        {"d", VALUE_BOOL}, {"e", VALUE_JSON},    {"f", VALUE_TEXT},
        {"g", VALUE_INT8}, {"h", VALUE_NUMERIC}, {"i", VALUE_FLOAT8}};
    const char *const cells[] = {"9223372036854775807",
                                 "50000.10000000",
                                 "0.1",
                                 "t",
                                 "{\"x\":[1]}",
                                 "\xc3\xa9\"",
                                 NULL,
                                 "NaN",
                                 "Infinity",
                                 "1",
                                 "2",
                                 "3",
                                 "f",
                                 "null",
                                 "",
                                 "7",
                                 "0",
                                 "-0.5"};
    const struct result result = {columns, 9, 2, cell_of_table, cells};
    assert_true(rules_call_result(call, &result, &reply));
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_QUERY);
    assert_string_equal(query.query->sql, "select 2");
    const struct result nothing = {columns, 9, 0, cell_of_table, cells};
    assert_true(rules_call_result(call, &nothing, &reply));
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_QUERY);
    assert_string_equal(query.values[0], "2024-01-01T00:00:00.123Z");
    assert_string_equal(query.values[1], "t");
    assert_string_equal(query.values[2], "0.1");
    assert_true(rules_call_result(call, &nothing, &reply));
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_REPLY);
    assert_int_equal(rules_call_reply(call, &reply), 0);
    assert_false(reply.failed);
    assert_int_equal(reply.status, 200);
    assert_string_equal(
        reply.body.data,
        "{\"gone\":null,\"none\":[],\"rows\":[{\"a\":9223372036854775807,\"b\":50000.10000000,"
        "\"c\":0.1,\"d\":true,\"e\":{\"x\":[1]},\"f\":\"\xc3\xa9\\\"\",\"h\":null,\"i\":null},"
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":false,\"e\":null,\"f\":\"\",\"g\":7,\"h\":0,\"i\":-0.5}],"
        "\"second\":false,\"symbol\":\"BTC\",\"user\":\"u1\"}");
    buffer_free(&reply.body);
    rules_call_free(call);
    rules_state_free(state);
}

static void answers_at_once_when_request_refuses(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(things);
    struct reply reply;
    assert_null(begin(state, "none", &reply));
    assert_false(reply.failed);
    assert_int_equal(reply.status, 400);
    assert_string_equal(reply.body.data, "{\"error\":\"limit is required\",\"hint\":1}");
    buffer_free(&reply.body);
    rules_state_free(state);
}

static void answers_500_when_the_rule_breaks_and_says_why_to_the_log(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(things);
    struct reply reply;
    assert_null(begin(state, "loop", &reply));
    assert_true(reply.failed);
    assert_int_equal(reply.status, 500);
    assert_string_equal(reply.body.data, "{\"error\":\"Internal server error\"}");
    assert_non_null(strstr(reply.err.text, "endpoints/x.lua:7: stopped after 50 ms"));
    buffer_free(&reply.body);

    struct rules_call *call = begin(state, "5", &reply);
    struct query_params query;
    const struct result nothing = {0};
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_QUERY);
    assert_true(rules_call_result(call, &nothing, &reply));
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_QUERY); /* 2 is skipped */
    assert_string_equal(query.query->sql, "select 3");
    assert_true(rules_call_result(call, &nothing, &reply));
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_REPLY);
    assert_int_equal(rules_call_reply(call, &reply), 0);
    assert_true(reply.failed);
    assert_string_equal(reply.err.text, "endpoints/x.lua:24: broken");
    buffer_free(&reply.body);
    rules_call_free(call);
    rules_state_free(state);
}

static void answers_between_two_queries(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(things);
    struct reply reply;
    struct rules_call *call = begin(state, "99", &reply);
    struct query_params query;
    const struct result nothing = {0};
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_QUERY);
    assert_true(rules_call_result(call, &nothing, &reply));
    assert_int_equal(rules_call_next(call, &query, &reply), CALL_ANSWERED);
    assert_int_equal(reply.status, 404);
    assert_string_equal(reply.body.data, "{\"error\":\"no such thing\"}");
    buffer_free(&reply.body);
    rules_call_free(call);
    rules_state_free(state);
}

static void names_the_endpoint_for_people(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(things);
    const struct endpoint_def *def = &rules_state_def(state)->endpoints[0];
    assert_string_equal(def->name, "Things");
    assert_string_equal(def->summary, "All things");
    assert_int_equal(def->n_params, 2);
    assert_string_equal(def->params[0].name, "limit");
    assert_true(def->params[0].is_required);
    assert_string_equal(def->params[0].description, "How many");
    assert_string_equal(def->params[0].schema, "{\"enum\":[1,2],\"type\":\"integer\"}");
    assert_string_equal(def->params[1].name, "symbol");
    assert_false(def->params[1].is_required);
    assert_null(def->params[1].description);
    assert_int_equal(def->n_responses, 2);
    assert_int_equal(def->responses[0].status, 200);
    assert_string_equal(def->responses[0].description, "Things");
    assert_string_equal(def->responses[0].schema, "{}");
    assert_int_equal(def->responses[1].status, 404);
    assert_null(def->responses[1].schema);
    rules_state_free(state);
}

/* Answers by what limit says. */
static const char patient[] =
    "return {\n"
    "  method = 'GET', paths = { '/things/:symbol' },\n"
    "  queries = {\n"
    "    { sql = 'select 1', types = {} },\n"
    "  },\n"
    "  reply = function(req, params, results)\n"
    "    local how = req.query.limit\n"
    "    if how == 'always' or how == 'again' and not req.final then\n"
    "      return nil, 'again', 19.5\n"
    "    end\n"
    "    if how == 'never' then return nil, 'again', 0 end\n"
    "    if how == 'text' then return 200, 'x', { a = 1 } end\n"
    "    if how == 'list' then return 200, { a = 1 }, { 1 } end\n"
    "    if how == 'word' then return 200, { a = 1 }, 'b' end\n"
    "    if how == 'empty' then return 200, {}, { b = 1 } end\n"
    "    if how == 'none' then return 200, { a = 1 }, {} end\n"
    "    return 200, { rows = #results[1], waited = req.waited_ms }, { a = 1, z = 2 }\n"
    "  end,\n"
    "  examples = {\n"
    "    { request = { params = { symbol = 'a' }, query = { limit = 'again' } },\n"
    "      results = { {} }, status = 200, body = { rows = 0, waited = 20 },\n"
    "      volatile = { a = 1, z = 2 } },\n"
    "  },\n"
    "}\n";

/* From the query to reply(), with no rows. */
static int go_on(struct rules_call *call, struct reply *reply)
{
    struct query_params query;
    const struct result nothing = {0};
    assert_int_equal(rules_call_next(call, &query, reply), CALL_QUERY);
    assert_true(rules_call_result(call, &nothing, reply));
    assert_int_equal(rules_call_next(call, &query, reply), CALL_REPLY);
    return rules_call_reply(call, reply);
}

static void runs_its_queries_again_when_reply_wants_to_wait(void **context)
{
    (void)context;
    struct error err = {.text = ""};
    struct rules_state *state = kit_endpoint(patient);
    struct reply reply;
    struct rules_call *call = begin(state, "again", &reply);
    assert_int_equal(go_on(call, &reply), 20);
    assert_true(rules_call_again(call, 21, false, &reply));
    assert_int_equal(go_on(call, &reply), 20);
    assert_true(rules_call_again(call, 45, true, &reply));
    assert_int_equal(go_on(call, &reply), 0);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body.data, "{\"rows\":0,\"waited\":45,\"a\":1,\"z\":2}");
    assert_int_equal(reply.lasting, strlen("{\"rows\":0,\"waited\":45"));
    buffer_free(&reply.body);
    rules_call_free(call);
    if (!rules_state_run_examples(state, &err))
        fail_msg("%s", err.text);
    rules_state_free(state);
}

/* The answer to a call that is final. */
static void answer_to(struct rules_state *state, const char *limit, struct reply *reply)
{
    struct rules_call *call = begin(state, limit, reply);
    assert_true(rules_call_again(call, 0, true, reply));
    assert_int_equal(go_on(call, reply), 0);
    rules_call_free(call);
}

static void breaks_when_it_waits_beyond_the_end_or_for_nothing(void **context)
{
    (void)context;
    struct rules_state *state = kit_endpoint(patient);
    struct reply reply;
    answer_to(state, "always", &reply);
    assert_true(reply.failed);
    assert_non_null(strstr(reply.err.text, "again was returned although req.final"));
    buffer_free(&reply.body);
    answer_to(state, "never", &reply);
    assert_true(reply.failed);
    assert_non_null(strstr(reply.err.text, "expected milliseconds above 0"));
    buffer_free(&reply.body);
    rules_state_free(state);
}

static void adds_fields_to_an_object_only(void **context)
{
    (void)context;
    static const char *const BROKEN[][2] = {
        {"text", "fields follow a body that is no object"},
        {"list", "a list follows the body, expected fields"},
        {"word", "a string follows the body, expected a table"},
    };
    struct rules_state *state = kit_endpoint(patient);
    struct reply reply;
    for (size_t i = 0; i < 3; i++) {
        answer_to(state, BROKEN[i][0], &reply);
        assert_true(reply.failed);
        assert_non_null(strstr(reply.err.text, BROKEN[i][1]));
        assert_string_equal(reply.body.data, "{\"error\":\"Internal server error\"}");
        buffer_free(&reply.body);
    }
    answer_to(state, "empty", &reply);
    assert_string_equal(reply.body.data, "{\"b\":1}");
    assert_int_equal(reply.lasting, 1);
    buffer_free(&reply.body);
    answer_to(state, "none", &reply);
    assert_string_equal(reply.body.data, "{\"a\":1}");
    buffer_free(&reply.body);
    rules_state_free(state);
}

static void runs_the_examples(void **context)
{
    (void)context;
    struct error err = {.text = ""};
    struct rules_state *state = kit_endpoint(things);
    if (!rules_state_run_examples(state, &err))
        fail_msg("%s", err.text);
    rules_state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_from_the_rows_of_its_queries),
        cmocka_unit_test(answers_at_once_when_request_refuses),
        cmocka_unit_test(answers_500_when_the_rule_breaks_and_says_why_to_the_log),
        cmocka_unit_test(answers_between_two_queries),
        cmocka_unit_test(runs_its_queries_again_when_reply_wants_to_wait),
        cmocka_unit_test(breaks_when_it_waits_beyond_the_end_or_for_nothing),
        cmocka_unit_test(adds_fields_to_an_object_only),
        cmocka_unit_test(names_the_endpoint_for_people),
        cmocka_unit_test(runs_the_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
