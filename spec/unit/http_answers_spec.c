#include "http_fakes.h"

static struct http_server *server;
static int port;

static int set_up(void **state)
{
    (void)state;
    settings = fake_settings();
    server = start_server();
    port = http_server_port(server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool in_time = stop_server(server);
    assert_true(in_time);
    metrics_free(metrics);
    return 0;
}

static void answers_health_as_the_original_does(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/health", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"status\":\"ok\",\"service\":\"core-service\"}");
    get(port, "/healthz", "", &answer);
    assert_string_equal(answer.body, "{\"status\":\"alive\"}");
}

static void readyz_says_why_not(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/readyz", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"status\":\"ready\"}");
    fake_not_ready = true;
    get(port, "/readyz", "", &answer);
    fake_not_ready = false;
    assert_int_equal(answer.status, 503);
    assert_string_equal(answer.body, "{\"status\":\"unavailable\",\"reasons\":["
                                     "\"the \\\"database\\\" is away\",\"no rules\"]}");
    fake_disconnected = true;
    get(port, "/readyz", "", &answer);
    fake_disconnected = false;
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.body, "has no connection to PostgreSQL\"]"));
}

static void decodes_path_and_query(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/api/echo/a%2Fb%20c+d?x=1+2&y=%C3%A9&z&w==%3d", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"name\":\"a/b c+d\",\"x\":\"1 2\",\"y\":\"\xc3\xa9\","
                                     "\"z\":\"\",\"w\":\"==\"}");
    get(port, "/echo/second?", "", &answer);
    assert_string_equal(answer.body, "{\"name\":\"second\"}");
    get(port, "/echo/slash/?&&a=b&", "", &answer);
    assert_string_equal(answer.body, "{\"name\":\"slash\",\"a\":\"b\"}");
}

static void refuses_what_does_not_decode(void **state)
{
    (void)state;
    static const char *const TARGETS[] = {"/echo/x?a=%00",     "/echo/x?a=%ff", "/echo/x?a=%4",
                                          "/echo/x?a=%zz",     "/echo/%00",     "/echo/%c0%80",
                                          "/echo/x?%ed%a0%80", "/echo/x?a=\xff"};
    struct answer answer;
    for (size_t i = 0; i < sizeof TARGETS / sizeof TARGETS[0]; i++) {
        get(port, TARGETS[i], "", &answer);
        assert_int_equal(answer.status, 400);
        assert_non_null(strstr(answer.body, "is not valid UTF-8 in percent-encoding"));
    }
}

static void refuses_a_parameter_that_is_given_twice(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/echo/x?symbol=A&symbol=A", "", &answer);
    assert_error(&answer, 400, "symbol is given more than once");
    get(port, "/echo/x?name=A", "", &answer);
    assert_error(&answer, 400, "name is given more than once");
    get(port, "/echo/x?=A", "", &answer);
    assert_error(&answer, 400, "A parameter has no name");
}

static void says_404_and_405_with_allow(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/nowhere", "", &answer);
    assert_error(&answer, 404, "There is nothing at this path");
    get(port, "/body", "", &answer);
    assert_error(&answer, 405, "The method is not allowed here");
    assert_string_equal(header_of(&answer, "Allow"), "POST, OPTIONS");
    ask(port, "DELETE /broken HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_int_equal(answer.status, 405);
    assert_string_equal(header_of(&answer, "Allow"), "GET, HEAD, OPTIONS");
    ask(port, "TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_error(&answer, 405, "The method is not allowed here");
    ask(port, "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_error(&answer, 501, "The method is not implemented");
}

static void head_is_get_without_a_body(void **state)
{
    (void)state;
    struct answer with, without;
    get(port, "/echo/x", "", &with);
    int fd = dial(port);
    say(fd, "HEAD /echo/x HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    hear_within(fd, &without, false, PATIENCE_MS);
    assert_int_equal(without.status, 200);
    char etag[64];
    assert_true(snprintf(etag, sizeof etag, "%s", header_of(&with, "ETag")) < (int)sizeof etag);
    assert_string_equal(header_of(&without, "ETag"), etag);
    assert_string_equal(header_of(&without, "Content-Length"), "12");
    hear(fd, &without); /* the next answer begins where a body would */
    assert_int_equal(without.status, 200);
    close(fd);
}

static void answers_304_for_what_the_client_has(void **state)
{
    (void)state;
    struct answer answer;
    char headers[256];
    get(port, "/echo/x", "", &answer);
    char etag[64];
    assert_true(snprintf(etag, sizeof etag, "%s", header_of(&answer, "ETag")) < (int)sizeof etag);
    assert_memory_equal(etag, "W/\"", 3);
    assert_string_equal(header_of(&answer, "Cache-Control"), "no-cache");
    assert_string_equal(header_of(&answer, "Vary"), "Authorization, Origin");
    snprintf(headers, sizeof headers, "If-None-Match: \"other\" , %s\r\n", etag);
    get(port, "/echo/x", headers, &answer);
    assert_int_equal(answer.status, 304);
    assert_string_equal(header_of(&answer, "ETag"), etag);
    assert_null(header_of(&answer, "Content-Length"));
    get(port, "/echo/y", headers, &answer);
    assert_int_equal(answer.status, 200);
}

static void takes_over_a_sane_request_id(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/health", "X-Request-Id: abc-123.x\r\n", &answer);
    assert_string_equal(header_of(&answer, "X-Request-Id"), "abc-123.x");
    get(port, "/health", "X-Request-Id: not sane\r\n", &answer);
    assert_int_equal(strlen(header_of(&answer, "X-Request-Id")), 16);
    char first[32];
    assert_true(snprintf(first, sizeof first, "%s", header_of(&answer, "X-Request-Id")) <
                (int)sizeof first);
    get(port, "/health", "", &answer);
    assert_string_not_equal(header_of(&answer, "X-Request-Id"), first);
}

static void takes_the_trace_for_the_request_id_when_none_is_given(void **state)
{
    (void)state;
    struct answer answer;
    const char *trace = "0af7651916cd43dd8448eb211c80319c";
    get(port, "/health", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        &answer);
    assert_string_equal(header_of(&answer, "X-Request-Id"), trace);
    get(port, "/health",
        "X-Request-Id: mine\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        &answer);
    assert_string_equal(header_of(&answer, "X-Request-Id"), "mine");
    static const char *const broken[] = {
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\r\n",
        "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n",
        "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01\r\n",
        "traceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01\r\n",
        "traceparent:\r\n",
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        get(port, "/health", broken[i], &answer);
        assert_int_equal(strlen(header_of(&answer, "X-Request-Id")), 16);
    }
}

static void answers_a_preflight(void **state)
{
    (void)state;
    struct answer answer;
    ask(port,
        "OPTIONS /echo/x HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n"
        "Access-Control-Request-Method: GET\r\n"
        "Access-Control-Request-Headers: authorization,x-mine\r\n\r\n",
        &answer);
    assert_int_equal(answer.status, 204);
    assert_string_equal(header_of(&answer, "Access-Control-Allow-Origin"), "*");
    assert_string_equal(header_of(&answer, "Access-Control-Allow-Methods"), "GET, HEAD, OPTIONS");
    assert_string_equal(header_of(&answer, "Access-Control-Allow-Headers"), "authorization,x-mine");
    ask(port, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_int_equal(answer.status, 204);
    ask(port, "OPTIONS /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_int_equal(answer.status, 404);
}

static void runs_queries_and_answers_with_their_rows(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/ask/rows", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"sql\":\"rows\"}");
}

static void tells_nothing_of_what_postgresql_said(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/ask/away", "", &answer);
    assert_error(&answer, 503, "The database is not available, please try again");
    assert_string_equal(header_of(&answer, "Retry-After"), "1");
    get(port, "/ask/late", "", &answer);
    assert_int_equal(answer.status, 503);
    get(port, "/ask/wrong", "", &answer);
    assert_error(&answer, 500, "Internal server error");
    get(port, "/broken", "", &answer);
    assert_error(&answer, 500, "Internal server error");
    assert_string_equal(header_of(&answer, "Cache-Control"), "no-store");
}

static void sends_what_the_rules_say(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/status/429", "", &answer);
    assert_error(&answer, 429, "as you wish");
    assert_string_equal(header_of(&answer, "Retry-After"), "1");
    assert_null(header_of(&answer, "ETag"));
    assert_non_null(strstr(answer.head, "429 Too Many Requests"));
}

static void says_503_while_no_rules_are_published(void **state)
{
    (void)state;
    struct answer answer;
    fake_unpublished = true;
    get(port, "/echo/x", "", &answer);
    assert_int_equal(answer.status, 503);
    get(port, "/health", "", &answer);
    assert_int_equal(answer.status, 200);
    fake_unpublished = false;
    get(port, "/echo/x", "", &answer);
    assert_int_equal(answer.status, 200);
}

static void counts_by_pattern_and_never_by_path(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/echo/counted-1", "", &answer);
    get(port, "/api/echo/counted-2", "", &answer);
    WAIT_UNTIL(metric("core_service_http_requests_total{endpoint=\"/api/echo/:name\","
                      "method=\"GET\",status=\"200\"}") >= 2);
    WAIT_UNTIL(metric("core_service_http_requests_total{endpoint=\"none\","
                      "method=\"GET\",status=\"404\"}") >= 1);
    struct buffer text = {0};
    metrics_write(metrics, &text);
    assert_null(strstr(text.data, "counted"));
    buffer_free(&text);
}

static void nothing_is_held_after_all_answers(void **state)
{
    (void)state;
    WAIT_UNTIL(fake_holds == 0 && fake_calls == 0 && fake_queries == 0);
    assert_int_equal(fake_cancelled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_health_as_the_original_does),
        cmocka_unit_test(readyz_says_why_not),
        cmocka_unit_test(decodes_path_and_query),
        cmocka_unit_test(refuses_what_does_not_decode),
        cmocka_unit_test(refuses_a_parameter_that_is_given_twice),
        cmocka_unit_test(says_404_and_405_with_allow),
        cmocka_unit_test(head_is_get_without_a_body),
        cmocka_unit_test(answers_304_for_what_the_client_has),
        cmocka_unit_test(takes_over_a_sane_request_id),
        cmocka_unit_test(takes_the_trace_for_the_request_id_when_none_is_given),
        cmocka_unit_test(answers_a_preflight),
        cmocka_unit_test(runs_queries_and_answers_with_their_rows),
        cmocka_unit_test(tells_nothing_of_what_postgresql_said),
        cmocka_unit_test(sends_what_the_rules_say),
        cmocka_unit_test(says_503_while_no_rules_are_published),
        cmocka_unit_test(counts_by_pattern_and_never_by_path),
        cmocka_unit_test(nothing_is_held_after_all_answers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
