#include "http_client.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/admin.h"

static struct metrics *metrics;
static struct settings settings;
static struct event_base *base;
static struct admin_server *server;
static struct event *tick;
static pthread_t thread;
static int port;
static atomic_bool ending;
static struct admin_request *_Atomic kept; /* for an answer later */
static atomic_bool may_answer;

static bool is_ready(struct buffer *reasons, void *arg)
{
    (void)arg;
    buffer_append_string(reasons, "the rules on disk are broken\n");
    return true;
}

static void post_echo(struct admin_request *request, void *arg)
{
    assert_ptr_equal(arg, &settings);
    struct buffer json = {0};
    buffer_append_byte(&json, '[');
    buffer_append_json(&json, admin_request_body(request));
    buffer_append_byte(&json, ',');
    struct bytes force = admin_request_param(request, "force");
    buffer_append_json(&json, force.data ? force : bytes_of_string("absent"));
    buffer_append_byte(&json, ']');
    admin_request_answer(request, 202, buffer_bytes(&json));
    buffer_free(&json);
}

static void get_failure(struct admin_request *request, void *arg)
{
    (void)arg;
    admin_request_fail(request, 409, "generation %d is \"gone\"", 3);
}

static void post_later(struct admin_request *request, void *arg)
{
    (void)arg;
    kept = request;
}

/* Everything of the server happens in its thread. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (kept && may_answer) {
        struct admin_request *request = kept;
        struct bytes body = admin_request_body(request);
        assert_true(bytes_equal(body, bytes_of_string("what is to be kept")));
        admin_request_answer(request, 200, bytes_of_string("{\"late\":true}"));
        kept = NULL;
    }
    if (ending)
        event_base_loopbreak(base);
}

static void *run(void *arg)
{
    (void)arg;
    event_base_dispatch(base);
    return NULL;
}

static void start(const char *token)
{
    struct error err;
    settings = (struct settings){.admin_host = "127.0.0.1",
                                 .admin_token = token,
                                 .http_max_header_bytes = 16384,
                                 .http_request_timeout_ms = 10000,
                                 .http_idle_timeout_ms = 65000};
    ending = false;
    metrics = metrics_new();
    base = event_base_new();
    const struct admin_options options = {
        .settings = &settings, .metrics = metrics, .is_ready = is_ready};
    server = admin_server_start(base, &options, &err);
    assert_non_null(server);
    admin_server_on(server, "POST", "/admin/echo", post_echo, &settings);
    admin_server_on(server, "GET", "/admin/failure", get_failure, NULL);
    admin_server_on(server, "POST", "/admin/later", post_later, NULL);
    port = admin_server_port(server);
    tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    event_add(tick, &(struct timeval){0, 10000});
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
}

static void stop(void)
{
    ending = true;
    pthread_join(thread, NULL);
    admin_server_free(server);
    event_free(tick);
    event_base_free(base);
    metrics_free(metrics);
}

static int start_open(void **state)
{
    (void)state;
    start("");
    return 0;
}

static int start_with_token(void **state)
{
    (void)state;
    start("s3cret");
    return 0;
}

static int stop_it(void **state)
{
    (void)state;
    stop();
    return 0;
}

static void serves_metrics_and_probes(void **state)
{
    (void)state;
    struct answer answer;
    counter_add(metrics_counter(metrics, "spec_total", "For this spec", NULL, 0), 3);
    get(port, "/metrics", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(header_of(&answer, "Content-Type"),
                        "text/plain; version=0.0.4; charset=utf-8");
    assert_non_null(strstr(answer.body, "\nspec_total 3\n"));
    get(port, "/health", "", &answer);
    assert_string_equal(answer.body, "{\"status\":\"ok\",\"service\":\"core-service\"}");
    get(port, "/healthz", "", &answer);
    assert_string_equal(answer.body, "{\"status\":\"alive\"}");
    get(port, "/readyz", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "{\"status\":\"degraded\",\"reasons\":["
                                     "\"the rules on disk are broken\"]}");
    assert_null(header_of(&answer, "Access-Control-Allow-Origin"));
}

static void hands_requests_to_those_who_registered(void **state)
{
    (void)state;
    struct answer answer;
    ask(port, "POST /admin/echo?force=true HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na\"b",
        &answer);
    assert_int_equal(answer.status, 202);
    assert_string_equal(answer.body, "[\"a\\\"b\",\"true\"]");
    ask(port, "POST /admin/echo HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_string_equal(answer.body, "[\"\",\"absent\"]");
    get(port, "/admin/failure", "", &answer);
    assert_int_equal(answer.status, 409);
    assert_string_equal(answer.body, "{\"error\":\"generation 3 is \\\"gone\\\"\"}");
}

static void says_404_and_405_and_400(void **state)
{
    (void)state;
    struct answer answer;
    get(port, "/nothing", "", &answer);
    assert_error(&answer, 404, "There is nothing at this path");
    get(port, "/admin/echo", "", &answer);
    assert_error(&answer, 405, "The method is not allowed here");
    assert_string_equal(header_of(&answer, "Allow"), "POST, OPTIONS");
    get(port, "/metrics?a=%00", "", &answer);
    assert_int_equal(answer.status, 400);
    ask(port, "garbage\r\n\r\n", &answer);
    assert_error(&answer, 400, "The request is malformed");
}

static void takes_a_body_of_megabytes(void **state)
{
    (void)state;
    enum { SIZE = 3 * 1024 * 1024 };
    struct answer answer;
    char *body = malloc(SIZE);
    memset(body, '\0', SIZE);
    int fd = dial(port);
    say(fd, "POST /admin/later HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\n");
    assert_true(say_bytes(fd, body, SIZE));
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!kept && clock_monotonic_ms() < deadline_ms)
        usleep(2000);
    assert_non_null(kept);
    assert_int_equal(admin_request_body(kept).size, SIZE);
    close(fd);
    free(body);
    ending = true;
    pthread_join(thread, NULL);
    ending = false;
    admin_request_fail(kept, 400, "the client has gone");
    kept = NULL;
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    get(port, "/healthz", "", &answer);
    assert_int_equal(answer.status, 200);
}

static void an_answer_may_come_later_and_after_the_client_has_left(void **state)
{
    (void)state;
    static const char TEXT[] = "POST /admin/later HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n"
                               "what is to be kept";
    struct answer answer;
    may_answer = true;
    ask(port, TEXT, &answer);
    assert_string_equal(answer.body, "{\"late\":true}");
    may_answer = false;
    int fd = dial(port);
    say(fd, TEXT);
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!kept && clock_monotonic_ms() < deadline_ms)
        usleep(2000);
    assert_non_null(kept);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
    usleep(50000); /* for the reset to be noticed; the answer has to be harmless either way */
    may_answer = true;
    while (kept && clock_monotonic_ms() < deadline_ms)
        usleep(2000);
    assert_null(kept);
    get(port, "/healthz", "", &answer);
    assert_int_equal(answer.status, 200);
}

static void wants_the_token_for_everything(void **state)
{
    (void)state;
    static const char *const PATHS[] = {"/metrics", "/healthz", "/nowhere"};
    static const char *const HEADERS[] = {
        "", "Authorization: Bearer s3cre\r\n", "Authorization: Bearer s3crets\r\n",
        "Authorization: Basic s3cret\r\n", "Authorization: Bearer \r\n"};
    struct answer answer;
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 5; j++) {
            get(port, PATHS[i], HEADERS[j], &answer);
            assert_error(&answer, 401, "The admin token is missing or wrong");
            assert_string_equal(header_of(&answer, "WWW-Authenticate"), "Bearer");
        }
    }
    get(port, "/healthz", "Authorization: Bearer s3cret\r\n", &answer);
    assert_int_equal(answer.status, 200);
}

#define TEST(name, start) cmocka_unit_test_setup_teardown(name, start, stop_it)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(serves_metrics_and_probes, start_open),
        TEST(hands_requests_to_those_who_registered, start_open),
        TEST(says_404_and_405_and_400, start_open),
        TEST(takes_a_body_of_megabytes, start_open),
        TEST(an_answer_may_come_later_and_after_the_client_has_left, start_open),
        TEST(wants_the_token_for_everything, start_with_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
