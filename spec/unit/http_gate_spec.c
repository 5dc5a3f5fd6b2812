/* The server on real rules, with authentication and rate limits: what clients are told, and what
 * the rules get to know. */
#include "http_harness.h"
#include "jwt.h"

#define HS256 "{\"alg\":\"HS256\"}"

static const struct jwt_signer BY_SECRET = {.secret = JWT_SECRET_TEXT};

static const char RULES[] =
    "{\"init.lua\":\"return { streams = {}, endpoints = { require 'endpoints.who' } }\","
    "\"endpoints/who.lua\":\"return { method = 'GET', paths = { '/who' },"
    "  request = function(req)"
    "    if not req.claims then return { who = 'anybody' } end"
    "    if req.claims.role ~= 'reader' then return nil, 403, 'Readers only' end"
    "    return { who = req.claims.sub }"
    "  end, queries = {},"
    "  reply = function(req, params) return 200, { who = params.who } end }\"}";

static struct http_server *server;
static int port;
static struct answer answer;

static int set_up(void **state)
{
    (void)state;
    const struct rules_options options = {.load_ms = 1000,
                                          .map_ms = 1000,
                                          .request_ms = 1000,
                                          .reply_ms = 1000,
                                          .memory_bytes = 64 * 1024 * 1024,
                                          .message_max_bytes = 1024};
    struct error err;
    struct rules_snapshot *snapshot = rules_snapshot_from_json(bytes_of_string(RULES), &err);
    struct rules_generation *generation =
        snapshot ? rules_generation_build(snapshot, 3, &options, &err) : NULL;
    if (!generation)
        fail_msg("%s", err.text);
    registry = rules_registry_new();
    rules_registry_publish(registry, generation, 1);
    metrics = metrics_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rules_registry_free(registry);
    metrics_free(metrics);
    return 0;
}

static int begin(void **state)
{
    (void)state;
    settings = fake_settings();
    settings.jwt_clock_skew_s = 60;
    return 0;
}

static int end(void **state)
{
    (void)state;
    bool in_time = !server || stop_server(server);
    server = NULL;
    return in_time ? 0 : 1;
}

static void start(void)
{
    server = start_server();
    port = http_server_port(server);
}

/* GET /who with a token of these claims and these headers. */
static void ask_with(const char *claims, const char *headers)
{
    char all[4096];
    char *authorization = bearer(HS256, claims, BY_SECRET);
    snprintf(all, sizeof all, "Authorization: %s\r\n%s", authorization, headers);
    free(authorization);
    get(port, "/who", all, &answer);
}

static void assert_header(const char *name, const char *expected)
{
    const char *value = header_of(&answer, name);
    if (!value)
        fail_msg("there is no %s in\n%s", name, answer.head);
    assert_string_equal(value, expected);
}

/* ---- who ---- */

static void without_settings_everybody_comes_in(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 50; i++) {
        get(port, "/who", "", &answer);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.body, "{\"who\":\"anybody\"}");
        assert_null(header_of(&answer, "RateLimit-Limit"));
    }
}

static void claims_reach_the_rules(void **state)
{
    (void)state;
    settings.jwt_secret = JWT_SECRET_TEXT;
    start();
    ask_with(claims_for(60, ",\"sub\":\"ann\",\"role\":\"reader\""), "");
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"who\":\"ann\"}");
    ask_with(claims_for(60, ",\"sub\":\"bob\",\"role\":\"writer\""), "");
    assert_error(&answer, 403, "Readers only");
    ask_with(claims_for(60, ""), "");
    assert_error(&answer, 403, "Readers only");
}

static void a_missing_or_bad_token_is_401_with_a_challenge(void **state)
{
    (void)state;
    settings.jwt_secret = JWT_SECRET_TEXT;
    settings.jwt_audience = "candles";
    start();
    get(port, "/who", "", &answer);
    assert_error(&answer, 401, "A bearer token is required");
    assert_header("WWW-Authenticate", "Bearer realm=\"core-service\"");
    get(port, "/nowhere", "", &answer);
    assert_int_equal(answer.status, 401);
    ask_with(claims_for(60, ",\"aud\":\"news\",\"role\":\"reader\""), "");
    assert_error(&answer, 401, "The token is meant for another audience");
    assert_header("WWW-Authenticate", "Bearer error=\"invalid_token\", error_description=\"The "
                                      "token is meant for another audience\"");
    assert_header("Cache-Control", "no-store");
    ask_with(claims_for(60, ",\"aud\":\"candles\",\"role\":\"reader\",\"sub\":\"ann\""), "");
    assert_int_equal(answer.status, 200);
    assert_true(metric("core_service_http_auth_refused_total{reason=\"audience\"}") == 1);
    assert_true(metric("core_service_http_auth_refused_total{reason=\"no_token\"}") == 2);
}

/* Whoever stands in front of the service may have looked at the other one. */
static void two_tokens_are_none(void **state)
{
    (void)state;
    settings.jwt_secret = JWT_SECRET_TEXT;
    start();
    const char *claims = claims_for(60, ",\"role\":\"reader\"");
    ask_with(claims, "");
    assert_int_equal(answer.status, 200);
    ask_with(claims, "authorization: Bearer x.y.z\r\n");
    assert_error(&answer, 401, "The token is malformed");
    ask_with(claims, "Authorization: Basic YTpi\r\n");
    assert_int_equal(answer.status, 401);
    ask_with(claims, "Authorization:\r\n");
    assert_int_equal(answer.status, 401);
}

static void health_and_options_need_no_token_and_have_no_limit(void **state)
{
    (void)state;
    settings.jwt_secret = JWT_SECRET_TEXT;
    settings.rate_limit_rps = 0.001;
    start();
    static const char *const targets[] = {"/health", "/healthz", "/readyz", "/health/?x=1"};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        get(port, targets[i], "", &answer);
        assert_int_equal(answer.status, 200);
        get(port, targets[i], "Authorization: Bearer nonsense\r\n", &answer);
        assert_int_equal(answer.status, 200);
    }
    for (int i = 0; i < 3; i++) {
        ask(port, "OPTIONS /who HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\r\n", &answer);
        assert_int_equal(answer.status, 204);
    }
    static const char *const others[] = {"/health/x", "//health", "/Health", "/health%2f"};
    settings.rate_limit_rps = 0;
    end(NULL);
    start();
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        get(port, others[i], "", &answer);
        assert_int_equal(answer.status, 401);
    }
}

static void new_keys_are_taken_up_while_it_runs(void **state)
{
    (void)state;
    char path[] = "/tmp/gate_spec.XXXXXX";
    EVP_PKEY *first = EVP_EC_gen("P-256"), *second = EVP_EC_gen("P-256");
    char *first_pem = pem_of(first, false), *second_pem = pem_of(second, false);
    char *token = bearer("{\"alg\":\"ES256\"}", claims_for(60, ",\"role\":\"reader\""),
                         (struct jwt_signer){.pkey = second});
    char *headers = memory_printf("Authorization: %s\r\n", token);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_file(path, first_pem);
    settings.jwt_public_key_file = path;
    start();
    get(port, "/who", headers, &answer);
    int before = answer.status;
    write_file(path, second_pem);
    bool reloaded = http_server_reload(server, NULL);
    get(port, "/who", headers, &answer);
    int after = answer.status;
    write_file(path, "nonsense");
    bool reloaded_nonsense = http_server_reload(server, NULL);
    get(port, "/who", headers, &answer);
    int then = answer.status;
    unlink(path);
    free(headers);
    free(token);
    free(second_pem);
    free(first_pem);
    EVP_PKEY_free(second);
    EVP_PKEY_free(first);
    assert_int_equal(before, 401);
    assert_true(reloaded);
    assert_int_equal(after, 200);
    assert_false(reloaded_nonsense);
    assert_int_equal(then, 200);
}

static void settings_that_cannot_be_meant_end_the_start(void **state)
{
    (void)state;
    struct error err;
    const struct http_options options = {
        .settings = &settings, .metrics = metrics, .rules = registry, .is_ready = fake_is_ready};
    settings.trusted_proxies = "10.0.0.0/99";
    assert_null(http_server_start(&options, &err));
    assert_non_null(strstr(err.text, "TRUSTED_PROXIES: \"10.0.0.0/99\""));
    settings.trusted_proxies = "";
    settings.jwt_public_key_file = "/nonexistent/keys";
    assert_null(http_server_start(&options, &err));
    assert_non_null(strstr(err.text, "the key file /nonexistent/keys"));
}

/* ---- how often ---- */

static void too_many_requests_are_429_with_the_time_to_wait(void **state)
{
    (void)state;
    double before = metric("core_service_http_rate_limited_total");
    settings.rate_limit_rps = 0.01;
    settings.rate_limit_burst = 2;
    start();
    get(port, "/who", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_header("RateLimit-Limit", "2");
    assert_header("RateLimit-Remaining", "1");
    assert_header("RateLimit-Reset", "100");
    get(port, "/nowhere", "", &answer);
    assert_int_equal(answer.status, 404);
    assert_header("RateLimit-Remaining", "0");
    get(port, "/who", "Origin: http://a\r\n", &answer);
    assert_error(&answer, 429, "There are too many requests, please come back later");
    assert_header("RateLimit-Remaining", "0");
    assert_in_range(atoi(header_of(&answer, "Retry-After")), 90, 100);
    assert_non_null(strstr(header_of(&answer, "Access-Control-Expose-Headers"), "RateLimit-Reset"));
    assert_true(metric("core_service_http_rate_limited_total") == before + 1);
}

static void subjects_have_a_bucket_each_wherever_they_come_from(void **state)
{
    (void)state;
    settings.jwt_secret = JWT_SECRET_TEXT;
    settings.rate_limit_rps = 0.001;
    settings.rate_limit_burst = 1;
    settings.trusted_proxies = "127.0.0.1";
    start();
    ask_with(claims_for(60, ",\"sub\":\"ann\",\"role\":\"reader\""), "");
    assert_int_equal(answer.status, 200);
    ask_with(claims_for(60, ",\"sub\":\"ann\",\"role\":\"reader\""),
             "X-Forwarded-For: 203.0.113.9\r\n");
    assert_int_equal(answer.status, 429);
    ask_with(claims_for(60, ",\"sub\":\"bob\",\"role\":\"reader\""), "");
    assert_int_equal(answer.status, 200);
}

static void bad_tokens_count_for_the_address(void **state)
{
    (void)state;
    settings.jwt_secret = JWT_SECRET_TEXT;
    settings.rate_limit_rps = 0.001;
    settings.rate_limit_burst = 2;
    start();
    ask_with(claims_for(-3600, ",\"sub\":\"ann\""), "");
    assert_int_equal(answer.status, 401);
    ask_with(claims_for(-3600, ",\"sub\":\"bob\""), "");
    assert_int_equal(answer.status, 401);
    ask_with(claims_for(-3600, ",\"sub\":\"eve\""), "");
    assert_int_equal(answer.status, 429);
    ask_with(claims_for(60, ",\"sub\":\"ann\",\"role\":\"reader\""), "");
    assert_int_equal(answer.status, 200);
}

static void a_made_up_x_forwarded_for_does_not_help(void **state)
{
    (void)state;
    settings.rate_limit_rps = 0.001;
    settings.rate_limit_burst = 1;
    start();
    get(port, "/who", "X-Forwarded-For: 203.0.113.1\r\n", &answer);
    assert_int_equal(answer.status, 200);
    get(port, "/who", "X-Forwarded-For: 203.0.113.2\r\n", &answer);
    assert_int_equal(answer.status, 429);
}

static void clients_of_a_trusted_proxy_are_told_apart(void **state)
{
    (void)state;
    settings.rate_limit_rps = 0.001;
    settings.rate_limit_burst = 1;
    settings.trusted_proxies = "127.0.0.0/8";
    start();
    get(port, "/who", "X-Forwarded-For: 203.0.113.1\r\n", &answer);
    assert_int_equal(answer.status, 200);
    get(port, "/who", "X-Forwarded-For: 203.0.113.2\r\n", &answer);
    assert_int_equal(answer.status, 200);
    get(port, "/who", "X-Forwarded-For: 198.51.100.7, 203.0.113.1\r\n", &answer);
    assert_int_equal(answer.status, 429);
    get(port, "/who",
        "X-Forwarded-For: 198.51.100.8\r\nX-Forwarded-For: 203.0.113.1, 127.0.0.2\r\n", &answer);
    assert_int_equal(answer.status, 429);
    get(port, "/who",
        "X-Forwarded-For: 198.51.100.9, 203.0.113.1\r\nX-Forwarded-For: 127.0.0.2\r\n", &answer);
    assert_int_equal(answer.status, 429);
    get(port, "/who", "X-Forwarded-For: 2001:db8::1\r\n", &answer);
    assert_int_equal(answer.status, 200);
    get(port, "/who", "X-Forwarded-For: 2001:db8::2\r\n", &answer);
    assert_int_equal(answer.status, 429);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define SPEC(name) cmocka_unit_test_setup_teardown(name, begin, end)
        SPEC(without_settings_everybody_comes_in),
        SPEC(claims_reach_the_rules),
        SPEC(a_missing_or_bad_token_is_401_with_a_challenge),
        SPEC(two_tokens_are_none),
        SPEC(health_and_options_need_no_token_and_have_no_limit),
        SPEC(new_keys_are_taken_up_while_it_runs),
        SPEC(settings_that_cannot_be_meant_end_the_start),
        SPEC(too_many_requests_are_429_with_the_time_to_wait),
        SPEC(subjects_have_a_bucket_each_wherever_they_come_from),
        SPEC(bad_tokens_count_for_the_address),
        SPEC(a_made_up_x_forwarded_for_does_not_help),
        SPEC(clients_of_a_trusted_proxy_are_told_apart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
