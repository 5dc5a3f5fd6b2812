/* The server on real rules: what a reload does to requests under way. */
#include "http_harness.h"

static struct http_server *server;
static int port;
static uint64_t number;

static const struct rules_options RULES = {.load_ms = 1000,
                                           .map_ms = 1000,
                                           .request_ms = 100,
                                           .reply_ms = 100,
                                           .memory_bytes = 64 * 1024 * 1024,
                                           .message_max_bytes = 1024};

static const char INIT[] = "return { streams = {}, endpoints = { require 'endpoints.one' } }";

/* `paths` and what goes into the reply differ from generation to generation. */
static void publish(const char *paths, const char *reply)
{
    struct buffer file = {0}, json = {0};
    struct error err;
    buffer_printf(
        &file,
        "return { method = 'GET', paths = { %s },\n"
        "  request = function(req)\n"
        "    if req.query.spin then while true do end end\n"
        "    if req.query.refuse then return nil, 422, 'refused ' .. req.query.refuse end\n"
        "    return { sql = req.params.sql, q = req.query.q }\n"
        "  end,\n"
        "  queries = {{ sql = 'slow', types = {}, params = function(req, params)\n"
        "    return params.sql == 'slow' and {} or nil end }},\n"
        "  reply = function(req, params) return 200, %s end }",
        paths, reply);
    buffer_append_string(&json, "{\"init.lua\":");
    buffer_append_json(&json, bytes_of_string(INIT));
    buffer_append_string(&json, ",\"endpoints/one.lua\":");
    buffer_append_json(&json, buffer_bytes(&file));
    buffer_append_byte(&json, '}');
    struct rules_snapshot *snapshot = rules_snapshot_from_json(buffer_bytes(&json), &err);
    if (!snapshot)
        fail_msg("%s", err.text);
    struct rules_generation *generation = rules_generation_build(snapshot, 3, &RULES, &err);
    if (!generation)
        fail_msg("%s", err.text);
    rules_registry_publish(registry, generation, ++number);
    buffer_free(&file);
    buffer_free(&json);
}

static int set_up(void **state)
{
    (void)state;
    settings = fake_settings();
    registry = rules_registry_new();
    server = start_server();
    port = http_server_port(server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool in_time = stop_server(server);
    assert_true(in_time);
    assert_int_equal(fake_queries, 0);
    rules_registry_free(registry);
    metrics_free(metrics);
    return 0;
}

static void endpoints_come_with_the_first_generation(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/one/x", "", &answer);
    assert_error(&answer, 503, "The rules are not loaded yet, please try again");
    publish("'/one/:sql', '/uno/:sql'", "{ sql = params.sql, q = params.q }");
    get(port, "/one/x?q=%22", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"q\":\"\\\"\""));
    get(port, "/uno/y", "", &answer);
    assert_string_equal(answer.body, "{\"sql\":\"y\"}");
}

static void a_rule_refuses_in_its_own_words(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/one/x?refuse=me", "", &answer);
    assert_error(&answer, 422, "refused me");
}

static void a_runaway_rule_costs_its_request_only(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/one/x?spin=1", "", &answer);
    assert_error(&answer, 500, "Internal server error");
    get(port, "/one/x", "", &answer);
    assert_int_equal(answer.status, 200);
}

static void a_request_ends_on_the_generation_that_it_began_with(void **state)
{
    (void)state;
    struct answer answer;
    publish("'/one/:sql'", "{ version = 1 }");
    int fd = dial(port);
    say(fd, "GET /one/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_UNTIL(fake_queries == 1);
    publish("'/one/:sql', '/two/:sql'", "{ version = 2 }");
    rules_registry_reap(registry);
    get(port, "/two/x", "", &answer);
    assert_string_equal(answer.body, "{\"version\":2}");
    hear(fd, &answer);
    assert_string_equal(answer.body, "{\"version\":1}");
    say(fd, "GET /one/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fd, &answer);
    assert_string_equal(answer.body, "{\"version\":2}");
    close(fd);
    publish("'/three/:sql'", "{ version = 3 }");
    rules_registry_reap(registry);
    get(port, "/two/x", "", &answer);
    assert_int_equal(answer.status, 404);
    get(port, "/three/x", "", &answer);
    assert_string_equal(answer.body, "{\"version\":3}");
}

static void reloads_under_load_lose_no_request(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct answer answer;
        int fds[8];
        for (size_t i = 0; i < 8; i++) {
            fds[i] = dial(port);
            say(fds[i], i % 2 ? "GET /three/slow HTTP/1.1\r\nHost: x\r\n\r\n"
                              : "GET /three/x HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        publish("'/three/:sql'", "{ version = 3 }");
        rules_registry_reap(registry);
        for (size_t i = 0; i < 8; i++) {
            if (round % 5 == 0 || i % 2 == 0) {
                hear(fds[i], &answer);
                assert_string_equal(answer.body, "{\"version\":3}");
            }
            close(fds[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_come_with_the_first_generation),
        cmocka_unit_test(a_rule_refuses_in_its_own_words),
        cmocka_unit_test(a_runaway_rule_costs_its_request_only),
        cmocka_unit_test(a_request_ends_on_the_generation_that_it_began_with),
        cmocka_unit_test(reloads_under_load_lose_no_request),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
