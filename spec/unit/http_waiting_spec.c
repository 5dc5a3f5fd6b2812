/* Requests whose rule wants to be asked again. Each spec has a server of its own; 2 may wait. */
#include "http_fakes.h"

#include <signal.h>

#define WAITING "core_service_http_waiting"

static struct http_server *server;
static int port;

static int set_up(void **state)
{
    (void)state;
    settings = fake_settings();
    settings.http_max_in_flight = 8;
    metrics = metrics_new();
    fake_cancelled = 0;
    server = start_server();
    port = http_server_port(server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (server)
        assert_true(stop_server(server));
    assert_int_equal(fake_holds, 0);
    assert_int_equal(fake_calls, 0);
    assert_int_equal(fake_queries, 0);
    assert_true(metric("core_service_http_in_flight") == 0);
    assert_true(metric(WAITING) == 0);
    metrics_free(metrics);
    return 0;
}

static int begin(const char *target)
{
    char text[128];
    int fd = dial(port);
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target);
    say(fd, text);
    return fd;
}

static int waited_ms(const struct answer *answer)
{
    const char *waited = strstr(answer->body, "\"waited\":");
    return waited ? atoi(waited + strlen("\"waited\":")) : 0;
}

static void is_asked_again_until_it_answers(void **state)
{
    (void)state;
    struct answer answer;
    int asked = 0;
    for (int i = 0; i < 64; i++)
        asked -= fake_asked[i];
    int64_t began_ms = clock_monotonic_ms();
    get(port, "/ask/again", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_in_range(waited_ms(&answer), 300, 2000);
    assert_true(clock_monotonic_ms() - began_ms >= 300);
    for (int i = 0; i < 64; i++)
        asked += fake_asked[i];
    assert_in_range(asked, 2, 4); /* 5 ms each, 100 ms between them, up to 300 ms */
}

static void is_in_nobodys_way(void **state)
{
    (void)state;
    struct answer answer;
    int fds[] = {begin("/ask/always"), begin("/ask/always")};
    WAIT_UNTIL(metric(WAITING) == 2);
    assert_true(metric("core_service_http_in_flight") == 0);
    for (int i = 0; i < 20; i++) {
        get(port, "/ask/rows", "", &answer);
        assert_int_equal(answer.status, 200);
    }
    for (size_t i = 0; i < 2; i++)
        close(fds[i]);
}

/* Two may wait. Which of three does not is open: a place is free while somebody is asked again. */
static void answers_at_once_when_too_many_wait(void **state)
{
    (void)state;
    struct answer answer;
    int fds[] = {begin("/ask/always"), begin("/ask/always"), begin("/ask/always")};
    struct pollfd pollers[] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}, {fds[2], POLLIN, 0}};
    assert_true(poll(pollers, 3, 3000) > 0); /* not the 5 s that it may take */
    for (size_t i = 0; i < 3; i++) {
        if (pollers[i].revents) {
            hear(fds[i], &answer);
            assert_int_equal(answer.status, 200);
        }
        close(fds[i]);
    }
}

static void leaves_when_its_client_does(void **state)
{
    (void)state;
    int fd = begin("/ask/always");
    WAIT_UNTIL(metric(WAITING) == 1);
    close(fd);
    WAIT_UNTIL(fake_calls == 0 && metric(WAITING) == 0);
    assert_true(metric("core_service_http_abandoned_total") == 1);
}

static void answers_at_once_when_the_service_stops(void **state)
{
    (void)state;
    struct answer answer;
    int fds[] = {begin("/ask/always"), begin("/ask/always")};
    WAIT_UNTIL(metric(WAITING) == 2);
    int64_t began_ms = clock_monotonic_ms();
    http_server_drain(server);
    for (size_t i = 0; i < 2; i++) {
        hear(fds[i], &answer);
        assert_int_equal(answer.status, 200);
        assert_in_range(waited_ms(&answer), 0, 2500);
        close(fds[i]);
    }
    assert_true(http_server_join(server, 2000));
    assert_true(clock_monotonic_ms() - began_ms < 2500);
    server = NULL;
}

static void answers_after_five_seconds_at_the_latest(void **state)
{
    (void)state;
    struct answer answer;
    int fd = begin("/ask/always");
    hear_within(fd, &answer, true, 10000);
    assert_int_equal(answer.status, 200);
    assert_in_range(waited_ms(&answer), 5000, 9000);
    close(fd);
}

static void an_etag_leaves_out_what_does_not_last(void **state)
{
    (void)state;
    struct answer first, second;
    char header[128];
    get(port, "/ask/again", "", &first);
    assert_true(waited_ms(&first) > 0);
    snprintf(header, sizeof header, "If-None-Match: %s\r\n", header_of(&first, "ETag"));
    get(port, "/ask/again", header, &second);
    assert_int_equal(second.status, 304);
    snprintf(header, sizeof header, "%s", header_of(&first, "ETag"));
    get(port, "/ask/other", "", &second);
    assert_int_equal(second.status, 200);
    assert_string_not_equal(header, header_of(&second, "ETag"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(is_asked_again_until_it_answers),
        TEST(is_in_nobodys_way),
        TEST(answers_at_once_when_too_many_wait),
        TEST(leaves_when_its_client_does),
        TEST(answers_at_once_when_the_service_stops),
        TEST(answers_after_five_seconds_at_the_latest),
        TEST(an_etag_leaves_out_what_does_not_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
