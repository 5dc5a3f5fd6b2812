/* Deadlines, connections, requests in flight, clients that leave, and the drain. Each spec has a
 * server of its own. */
#include "http_fakes.h"

#include <pthread.h>
#include <sys/resource.h>

static struct http_server *server;
static int port;

static int set_up(void **state)
{
    (void)state;
    settings = fake_settings();
    metrics = metrics_new();
    fake_cancelled = 0;
    return 0;
}

static void start(void)
{
    server = start_server();
    port = http_server_port(server);
}

static int tear_down(void **state)
{
    (void)state;
    if (server)
        assert_true(stop_server(server));
    server = NULL;
    assert_int_equal(fake_holds, 0);
    assert_int_equal(fake_calls, 0);
    assert_int_equal(fake_queries, 0);
    assert_true(metric("core_service_http_in_flight") == 0);
    assert_true(metric("core_service_http_connections{listener=\"public\"}") == 0);
    metrics_free(metrics);
    return 0;
}

static double open_connections(void)
{
    return metric("core_service_http_connections{listener=\"public\"}");
}

/* Milliseconds until it ends; whatever comes is put into `answer`. */
static int64_t time_to_end(int fd, struct answer *answer)
{
    int64_t began_ms = clock_monotonic_ms();
    hear(fd, answer);
    if (answer->status != 0)
        assert_ends(fd);
    return clock_monotonic_ms() - began_ms;
}

static void a_half_request_has_a_deadline(void **state)
{
    (void)state;
    static const char *const HALVES[] = {"G", "GET /health HTTP/1.1\r\n",
                                         "GET /health HTTP/1.1\r\nHost: x\r\nX: ",
                                         ("POST /body HTTP/1.1\r\nHost: x\r\n"
                                          "Content-Length: 9\r\n\r\nabc")};
    settings.http_request_timeout_ms = 300;
    start();
    for (size_t i = 0; i < 4; i++) {
        struct answer answer;
        int fd = dial(port);
        say(fd, HALVES[i]);
        int64_t took_ms = time_to_end(fd, &answer);
        assert_error(&answer, 408, "The request did not arrive in time");
        assert_in_range(took_ms, 250, 8000);
        close(fd);
    }
    WAIT_UNTIL(metric("core_service_http_timeouts_total{listener=\"public\"}") == 4);
}

static void a_byte_now_and_then_does_not_move_the_deadline(void **state)
{
    (void)state;
    settings.http_request_timeout_ms = 400;
    start();
    static const char *const BEGINS[] = {
        "GET /health HTTP/1.1\r\nX: ",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"};
    for (size_t i = 0; i < 3; i++) {
        struct answer answer;
        int fd = dial(port);
        int64_t began_ms = clock_monotonic_ms();
        say(fd, BEGINS[i]);
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        while (poll(&poller, 1, 50) == 0 && clock_monotonic_ms() - began_ms < 9000)
            say_bytes(fd, "y", 1);
        assert_in_range(clock_monotonic_ms() - began_ms, 350, 8000);
        hear(fd, &answer);
        assert_int_equal(answer.status, 408);
        close(fd);
    }
}

/* Refused and completed in the same turn of the loop: one of the two must win. */
static void a_request_may_be_complete_just_at_its_deadline(void **state)
{
    (void)state;
    enum { N = 60, ROUNDS = 6 };
    settings.http_request_timeout_ms = 100;
    settings.http_threads = 1;
    start();
    for (int round = 0; round < ROUNDS; round++) {
        int fds[N];
        for (int i = 0; i < N; i++) {
            fds[i] = dial(port);
            say(fds[i], "GET /status/200 HTTP/1.1\r\nHost: x\r\n\r");
        }
        /* Holds the thread up across the tick, so that both are due when it goes on. */
        struct answer answer;
        usleep(70000 + 10000 * (useconds_t)round);
        int busy = dial(port);
        say(busy, "GET /ask/block HTTP/1.1\r\nHost: x\r\n\r\n");
        usleep(20000);
        for (int i = 0; i < N; i++) {
            /* Where this comes too late, the refusal is there; a byte after it could undo it. */
            struct pollfd poller = {.fd = fds[i], .events = POLLIN};
            if (poll(&poller, 1, 0) == 0)
                say_bytes(fds[i], "\n", 1);
        }
        for (int i = 0; i < N; i++) {
            hear(fds[i], &answer);
            assert_true(answer.status == 200 || answer.status == 408);
            close(fds[i]);
        }
        close(busy);
    }
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    settings.http_idle_timeout_ms = 300;
    settings.http_request_timeout_ms = 600;
    start();
    struct answer answer;
    int used = dial(port), unused = dial(port);
    say(used, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(used, &answer);
    int64_t took_ms = time_to_end(used, &answer);
    assert_int_equal(answer.status, 0);
    assert_in_range(took_ms, 250, 8000);
    time_to_end(unused, &answer);
    assert_int_equal(answer.status, 0);
    close(used);
    close(unused);
    WAIT_UNTIL(open_connections() == 0);
}

/* Answers pile up in the socket until it takes no more. */
static void a_client_that_does_not_read_is_dropped(void **state)
{
    (void)state;
    settings.http_idle_timeout_ms = 500;
    start();
    int fd = dial(port);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0, 200000}, sizeof(struct timeval));
    int64_t began_ms = clock_monotonic_ms();
    static const char TEXT[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    while (say_bytes(fd, TEXT, sizeof TEXT - 1) && clock_monotonic_ms() - began_ms < 4000)
        continue;
    WAIT_UNTIL(open_connections() == 0);
    close(fd);
}

static void refuses_more_connections_than_allowed(void **state)
{
    (void)state;
    settings.http_max_connections = 3;
    start();
    struct answer answer;
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = dial(port);
    WAIT_UNTIL(open_connections() == 3);
    int fd = dial(port);
    hear(fd, &answer);
    assert_error(&answer, 503, "There are too many connections");
    assert_string_equal(header_of(&answer, "Retry-After"), "1");
    assert_ends(fd);
    close(fd);
    say(fds[0], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fds[0], &answer);
    assert_int_equal(answer.status, 200);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    WAIT_UNTIL(open_connections() == 0);
    get(port, "/health", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_true(metric("core_service_http_refused_total{listener=\"public\","
                       "reason=\"connections\"}") == 1);
}

static void refuses_more_requests_in_flight_than_allowed(void **state)
{
    (void)state;
    settings.http_max_in_flight = 2;
    start();
    struct answer answer;
    int slow[2];
    for (int i = 0; i < 2; i++) {
        slow[i] = dial(port);
        say(slow[i], "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    WAIT_UNTIL(fake_queries == 2);
    int64_t began_ms = clock_monotonic_ms();
    get(port, "/ask/rows", "", &answer);
    assert_error(&answer, 503, "The service is busy, please try again");
    assert_string_equal(header_of(&answer, "Retry-After"), "1");
    get(port, "/health", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_true(clock_monotonic_ms() - began_ms < 250);
    for (int i = 0; i < 2; i++) {
        hear(slow[i], &answer);
        assert_int_equal(answer.status, 200);
        close(slow[i]);
    }
    get(port, "/ask/rows", "", &answer);
    assert_int_equal(answer.status, 200);
}

static void cancels_the_query_of_a_client_that_leaves(void **state)
{
    (void)state;
    start();
    int closed = dial(port), reset = dial(port);
    say(closed, "GET /ask/hang HTTP/1.1\r\nHost: x\r\n\r\n");
    say(reset, "GET /ask/hang HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_UNTIL(fake_queries == 2);
    setsockopt(reset, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(reset);
    close(closed);
    WAIT_UNTIL(fake_cancelled == 2 && fake_holds == 0 && fake_calls == 0);
    WAIT_UNTIL(metric("core_service_http_abandoned_total") == 2);
}

static void drops_requests_when_told_to_stop_at_once(void **state)
{
    (void)state;
    start();
    int fd = dial(port);
    say(fd, "GET /ask/hang HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_UNTIL(fake_queries == 1);
    http_server_drain(server);
    assert_false(http_server_join(server, 200));
    server = NULL;
    assert_int_equal(fake_cancelled, 1);
    assert_ends(fd);
    close(fd);
}

static void drains_what_is_under_way(void **state)
{
    (void)state;
    start();
    struct answer answer;
    int idle = dial(port), unused = dial(port), slow = dial(port), half = dial(port);
    say(idle, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(idle, &answer);
    say(slow, "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    say(half, "GET /health HTTP/1.1\r\n");
    WAIT_UNTIL(fake_queries == 1 && open_connections() == 4);
    usleep(20000); /* for the half request to be read */
    http_server_drain(server);
    http_server_drain(server);
    assert_ends(idle);
    assert_ends(unused);
    say(half, "Host: x\r\n\r\n");
    hear(half, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(header_of(&answer, "Connection"), "close");
    hear(slow, &answer);
    assert_int_equal(answer.status, 200);
    assert_string_equal(header_of(&answer, "Connection"), "close");
    assert_ends(slow);
    assert_true(http_server_join(server, 2000));
    server = NULL;
    int fds[] = {idle, unused, slow, half};
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
}

static void refuses_connections_once_drained(void **state)
{
    (void)state;
    start();
    int slow = dial(port);
    say(slow, "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_UNTIL(fake_queries == 1);
    http_server_drain(server);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool refused = false;
    int64_t deadline_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!refused && clock_monotonic_ms() < deadline_ms) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        refused = connect(fd, (struct sockaddr *)&address, sizeof address) < 0;
        close(fd);
    }
    assert_true(refused);
    struct answer answer;
    hear(slow, &answer);
    assert_int_equal(answer.status, 200);
    close(slow);
}

static void a_slow_sender_does_not_hold_up_the_drain(void **state)
{
    (void)state;
    start();
    int fd = dial(port);
    say(fd, "GET /health HTTP/1.1\r\n");
    WAIT_UNTIL(open_connections() == 1);
    int64_t began_ms = clock_monotonic_ms();
    assert_true(stop_server(server));
    server = NULL;
    assert_true(clock_monotonic_ms() - began_ms < 2500);
    close(fd);
}

static void a_taken_port_is_an_error(void **state)
{
    (void)state;
    struct error err;
    start();
    settings.port = port;
    const struct http_options options = {
        .settings = &settings, .metrics = metrics, .is_ready = fake_is_ready};
    assert_null(http_server_start(&options, &err));
    assert_non_null(strstr(err.text, "Address already in use"));
}

static void holds_2000_idle_connections_and_still_answers(void **state)
{
    (void)state;
    enum { N = 2000 };
    static int fds[N];
    struct rlimit files = {8192, 8192};
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 2 * N + 100) {
        files.rlim_cur = files.rlim_max < 8192 ? files.rlim_max : 8192;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    start();
    for (int i = 0; i < N; i++)
        fds[i] = dial(port);
    WAIT_UNTIL(open_connections() == N);
    struct answer answer;
    for (int i = 0; i < N; i += 100) {
        say(fds[i], "GET /ask/rows HTTP/1.1\r\nHost: x\r\n\r\n");
        hear(fds[i], &answer);
        assert_int_equal(answer.status, 200);
    }
    for (int i = 0; i < N; i++)
        close(fds[i]);
    WAIT_UNTIL(open_connections() == 0);
}

static void threads_share_the_connections(void **state)
{
    (void)state;
    enum { N = 80 };
    int fds[N];
    struct answer answer;
    int first = fake_pools;
    start();
    for (int i = 0; i < N; i++)
        fds[i] = dial(port);
    WAIT_UNTIL(open_connections() == N);
    for (int i = 0; i < N; i++) {
        say(fds[i], "GET /ask/rows HTTP/1.1\r\nHost: x\r\n\r\n");
        hear(fds[i], &answer);
        assert_int_equal(answer.status, 200);
        close(fds[i]);
    }
    assert_int_equal(fake_asked[first] + fake_asked[first + 1], N);
    assert_in_range(fake_asked[first], N / 4, N * 3 / 4);
}

static void *dial_and_leave(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 200; i++) {
        int fd = dial(port);
        say_bytes(fd, "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\n", rand_r(&seed) % 36);
        usleep(rand_r(&seed) % 2000);
        if (rand_r(&seed) % 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(fd);
    }
    return NULL;
}

static void clients_may_leave_at_any_byte(void **state)
{
    (void)state;
    start();
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, dial_and_leave, (void *)(i + 1));
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    WAIT_UNTIL(open_connections() == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_half_request_has_a_deadline),
        TEST(a_byte_now_and_then_does_not_move_the_deadline),
        TEST(a_request_may_be_complete_just_at_its_deadline),
        TEST(an_idle_connection_is_closed_without_a_word),
        TEST(a_client_that_does_not_read_is_dropped),
        TEST(refuses_more_connections_than_allowed),
        TEST(refuses_more_requests_in_flight_than_allowed),
        TEST(cancels_the_query_of_a_client_that_leaves),
        TEST(drops_requests_when_told_to_stop_at_once),
        TEST(drains_what_is_under_way),
        TEST(refuses_connections_once_drained),
        TEST(a_slow_sender_does_not_hold_up_the_drain),
        TEST(a_taken_port_is_an_error),
        TEST(holds_2000_idle_connections_and_still_answers),
        TEST(threads_share_the_connections),
        TEST(clients_may_leave_at_any_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
