/* What a client may say, and what it may not. */
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
    assert_int_equal(fake_holds, 0);
    assert_true(metric("core_service_http_connections{listener=\"public\"}") == 0);
    metrics_free(metrics);
    return 0;
}

static void assert_serves(void)
{
    struct answer answer;
    get(port, "/health", "", &answer);
    assert_int_equal(answer.status, 200);
}

/* Refused with this status, in JSON, and the connection ends. */
static void assert_refused(const char *text, int status)
{
    struct answer answer;
    int fd = dial(port);
    say(fd, text);
    hear(fd, &answer);
    if (answer.status != status)
        fail_msg("%d instead of %d for: %.60s", answer.status, status, text);
    assert_string_equal(header_of(&answer, "Connection"), "close");
    assert_memory_equal(answer.body, "{\"error\":\"", 10);
    assert_ends(fd);
    close(fd);
}

static void keeps_a_connection_for_several_requests(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    for (int i = 0; i < 5; i++) {
        say(fd, "GET /ask/rows HTTP/1.1\r\nHost: x\r\n\r\n");
        hear(fd, &answer);
        assert_int_equal(answer.status, 200);
        assert_null(header_of(&answer, "Connection"));
    }
    close(fd);
}

static void answers_pipelined_requests_in_their_order(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\n"
            "GET /echo/second HTTP/1.1\r\nHost: x\r\n\r\n"
            "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nthird"
            "GET /ask/rows HTTP/1.1\r\nHost: x\r\n\r\n");
    static const char *const BODIES[] = {"{\"sql\":\"slow\"}", "{\"name\":\"second\"}", "\"third\"",
                                         "{\"sql\":\"rows\"}"};
    for (size_t i = 0; i < 4; i++) {
        hear(fd, &answer);
        assert_string_equal(answer.body, BODIES[i]);
    }
    close(fd);
}

static void takes_a_request_byte_by_byte(void **state)
{
    (void)state;
    static const char TEXT[] = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    struct answer answer;
    int fd = dial(port);
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &(int){1}, sizeof(int));
    for (size_t i = 0; i < sizeof TEXT - 1; i++) {
        assert_true(say_bytes(fd, TEXT + i, 1));
        usleep(500);
    }
    hear(fd, &answer);
    assert_string_equal(answer.body, "\"abc\"");
    close(fd);
}

static void speaks_http_1_0(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "GET /health HTTP/1.0\r\n\r\n");
    hear(fd, &answer);
    assert_int_equal(answer.status, 200);
    assert_ends(fd);
    close(fd);
    fd = dial(port);
    for (int i = 0; i < 2; i++) {
        say(fd, "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        hear(fd, &answer);
        assert_int_equal(answer.status, 200);
        assert_string_equal(header_of(&answer, "Connection"), "keep-alive");
    }
    close(fd);
}

static void closes_when_asked_and_ignores_what_follows(void **state)
{
    (void)state;
    static const char *const WORDS[] = {"close", "Close", "keep-alive, close"};
    for (size_t i = 0; i < 3; i++) {
        struct answer answer;
        char text[256];
        int fd = dial(port);
        snprintf(text, sizeof text,
                 "GET /health HTTP/1.1\r\nHost: x\r\nConnection: %s\r\n\r\n"
                 "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                 WORDS[i]);
        say(fd, text);
        hear(fd, &answer);
        assert_int_equal(answer.status, 200);
        assert_string_equal(header_of(&answer, "Connection"), "close");
        assert_ends(fd);
        close(fd);
    }
}

static void answers_a_client_that_has_closed_its_side(void **state)
{
    (void)state;
    static const char *const TARGETS[] = {"/health", "/ask/rows", "/ask/slow"};
    for (size_t i = 0; i < 3; i++) {
        struct answer answer;
        char text[128];
        int fd = dial(port);
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", TARGETS[i]);
        say(fd, text);
        shutdown(fd, SHUT_WR);
        hear(fd, &answer);
        assert_int_equal(answer.status, 200);
        assert_ends(fd);
        close(fd);
    }
}

static void takes_absolute_uris_like_others(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    for (int i = 0; i < 2; i++) {
        say(fd, "GET http://elsewhere.example/echo/x?a=b HTTP/1.1\r\nHost: x\r\n\r\n");
        hear(fd, &answer);
        assert_string_equal(answer.body, "{\"name\":\"x\",\"a\":\"b\"}");
    }
    close(fd);
    get(port, "http://elsewhere.example", "", &answer);
    assert_int_equal(answer.status, 404);
    get(port, "//elsewhere.example/health", "", &answer);
    assert_int_equal(answer.status, 404);
}

static void refuses_malformed_requests(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "GET /health\r\n\r\n", /* HTTP/0.9 */
        "GET /health HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /health HTTP/x\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02garbage of a TLS client\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nabcd",
        "GET /health HTTP/1.1\r\nHost: x\r\nX: a\x01z\r\n\r\n",
        "GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x y\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: user@x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x/y\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        assert_refused(TEXTS[i], 400);
    assert_refused("GET /health HTTP/1.7\r\nHost: x\r\n\r\n", 505);
    assert_refused("GET /health HTTP/0.3\r\nHost: x\r\n\r\n", 505);
    assert_refused("GET /health HTTP/1.-1\r\nHost: x\r\n\r\n", 505);
    static const char *const LENGTHS[] = {"3", "0"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "POST /body HTTP/1.2\r\nHost: x\r\nExpect: 100-continue\r\n"
                 "Content-Length: %s\r\n\r\n",
                 LENGTHS[i]);
        assert_refused(text, 505);
    }
    assert_refused(" GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 501);
    assert_refused("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", 501);
    assert_serves();
}

static void answers_400_for_targets_that_are_none(void **state)
{
    (void)state;
    static const char *const TARGETS[] = {"health", "*", "/a#b", "/a b", "ftp://x/y", "http://"};
    for (size_t i = 0; i < sizeof TARGETS / sizeof TARGETS[0]; i++) {
        struct answer answer;
        get(port, TARGETS[i], "", &answer);
        if (answer.status != 400)
            fail_msg("%d for %s", answer.status, TARGETS[i]);
        assert_memory_equal(answer.body, "{\"error\":\"", 10);
    }
}

static void refuses_to_guess_where_a_request_ends(void **state)
{
    (void)state;
    static const char *const HEADERS[] = {
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    };
    for (size_t i = 0; i < sizeof HEADERS / sizeof HEADERS[0]; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "POST /body HTTP/1.1\r\nHost: x\r\n%s\r\n0\r\n\r\n"
                 "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                 HEADERS[i]);
        assert_refused(text, 400);
    }
    assert_refused("HEAD /health HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n"
                   "GET /status/200 HTTP/1.1\r\nHost: x\r\n\r\n",
                   400);
    assert_refused("POST /body HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

static void reads_bodies_by_length_and_by_chunks(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: y\r\n\r\n"
            "POST /body HTTP/1.1\r\nHost: x\r\n\r\n" /* no length: no body */
            "GET /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fd, &answer);
    assert_string_equal(answer.body, "\"abcde\"");
    hear(fd, &answer);
    assert_string_equal(answer.body, "\"\"");
    hear(fd, &answer);
    assert_string_equal(answer.body, "{\"name\":\"x\"}");
    hear(fd, &answer);
    assert_int_equal(answer.status, 200);
    close(fd);
}

static void says_continue_before_a_body_that_waits_for_it(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, &answer);
    assert_int_equal(answer.status, 100);
    say(fd, "abc");
    hear(fd, &answer);
    assert_string_equal(answer.body, "\"abc\"");
    close(fd);
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: more\r\n\r\n",
                   417);
    assert_refused("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
                   "Expect: 100-continue\r\n\r\n",
                   413);
}

/* evhttp ends what it reads at a NUL; others may not. */
static void refuses_nul_bytes_in_the_head_and_behind_the_chunks(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "GET /health HTTP/1.1\r\nHost: x\r\nX: a@b\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x@.elsewhere\r\n\r\n",
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3@0\r\n\r\nabc",
        "GET /health@ HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: @\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        struct answer answer;
        char text[256];
        size_t size = strlen(TEXTS[i]);
        memcpy(text, TEXTS[i], size);
        *(char *)memchr(text, '@', size) = '\0';
        int fd = dial(port);
        say_bytes(fd, text, size);
        hear(fd, &answer);
        assert_int_equal(answer.status, 400);
        assert_ends(fd);
        close(fd);
    }
    assert_serves();
}

static void takes_any_bytes_in_a_body(void **state)
{
    (void)state;
    struct answer answer;
    static const char TEXT[] =
        "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\0\n\n"
        "POST /body HTTP/1.1\r\nHost: x\r\ntransfer-encoding: CHUNKED\r\n\r\n"
        "00A\r\n\0\r\n\r\n345 7\r\n0\r\n\r\n"
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = dial(port);
    for (size_t i = 0; i < sizeof TEXT - 1; i++)
        say_bytes(fd, TEXT + i, 1);
    for (int i = 0; i < 3; i++) {
        hear(fd, &answer);
        assert_int_equal(answer.status, 200);
    }
    close(fd);
}

static void refuses_chunks_that_are_none(void **state)
{
    (void)state;
    static const char BEGIN[] =
        "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const struct {
        const char *chunks;
        int status;
    } CASES[] = {
        {"nonsense\r\n", 400},
        {"3;extension\r\nabc\r\n0\r\n\r\n", 400},
        {"-1\r\n", 400},
        {"+3\r\nabc\r\n0\r\n\r\n", 400},
        {"0x3\r\nabc\r\n0\r\n\r\n", 400},
        {" 3\r\nabc\r\n0\r\n\r\n", 400},
        {"3 \r\nabc\r\n0\r\n\r\n", 400},
        {"3\nabc\n0\n\n", 400},
        {"\r\nabc\r\n0\r\n\r\n", 400},
        {"3\r\nabcd\r\n0\r\n\r\n", 400},
        {"3\r\nab\r\n0\r\n\r\n", 400},
        {"00000000000000003\r\nabc\r\n0\r\n\r\n", 400},
        {"ffffffffffffffff\r\n", 413},
        {"fffffff\r\n", 413},
        {"7fffffffffffffff\r\nabc", 413},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s%s", BEGIN, CASES[i].chunks);
        assert_refused(text, CASES[i].status);
    }
}

/* A text of this many bytes between two others, sent until the other side has had enough. */
static void assert_flood_refused(const char *begin, size_t size, const char *end, int status)
{
    struct answer answer;
    int fd = dial(port);
    char *flood = memory_alloc(size);
    memset(flood, 'a', size);
    say(fd, begin);
    if (say_bytes(fd, flood, size))
        say_bytes(fd, end, strlen(end));
    hear(fd, &answer);
    assert_int_equal(answer.status, status);
    assert_memory_equal(answer.body, "{\"error\":\"", 10);
    free(flood);
    close(fd);
}

static void refuses_what_is_too_large(void **state)
{
    (void)state;
    static const size_t MIB = 1024 * 1024;
    assert_flood_refused("GET /", MIB, " HTTP/1.1\r\nHost: x\r\n\r\n", 414);
    assert_flood_refused("GET /", 16500, " HTTP/1.1\r\nHost: x\r\n\r\n", 414);
    assert_flood_refused("GET /", 16000, " HTTP/1.1\r\nHost: x\r\n\r\n", 404);
    assert_flood_refused("", MIB, "", 414);
    assert_flood_refused("GET / HTTP/1.1\r\nHost: x\r\nX: ", MIB, "\r\n\r\n", 431);
    assert_flood_refused("GET / HTTP/1.1\r\nHost: x\r\nX: ", 16500, "\r\n\r\n", 431);
    assert_flood_refused("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n", MIB,
                         "", 413);
    assert_flood_refused("POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "100000\r\n",
                         MIB, "", 413);
    assert_serves();
}

static void refuses_a_flood_of_headers(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "GET /health HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 100000 && say_bytes(fd, "X: y\r\n", 6); i++)
        continue;
    hear(fd, &answer);
    assert_int_equal(answer.status, 431);
    close(fd);
    assert_serves();
}

static void takes_the_largest_body_that_is_allowed(void **state)
{
    (void)state;
    struct answer answer;
    char *body = memory_alloc(65536);
    memset(body, 'a', 65536);
    int fd = dial(port);
    say(fd, "POST /broken HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n");
    assert_true(say_bytes(fd, body, 65536));
    hear(fd, &answer);
    assert_int_equal(answer.status, 405);
    say(fd, "POST /broken HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n");
    assert_true(say_bytes(fd, body, 65536));
    say(fd, "\r\n0\r\n\r\n");
    hear(fd, &answer);
    assert_int_equal(answer.status, 405);
    free(body);
    close(fd);
}

/* Reads until `size` bytes have come, a little at a time. */
static void hear_slowly(int fd, char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        ssize_t n = recv(fd, text + at, size - at < 16384 ? size - at : 16384, 0);
        assert_true(n > 0);
        at += (size_t)n;
        usleep(100);
    }
}

/* Together they are more than the socket takes before it is read from. */
static void large_answers_come_whole_to_a_client_that_reads_slowly(void **state)
{
    (void)state;
    enum { REQUESTS = 12, SIZE = 65536, ESCAPED = 6 * SIZE + 2 };
    char *body = memory_alloc(ESCAPED);
    int fd = dial_with_window(port, 4096);
    memset(body, 1, SIZE);
    for (int i = 1; i <= REQUESTS; i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "POST /body HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n",
                 i < REQUESTS ? "" : "Connection: close\r\n", SIZE);
        say(fd, text);
        assert_true(say_bytes(fd, body, SIZE));
    }
    for (int i = 1; i <= REQUESTS; i++) {
        struct answer answer;
        hear_within(fd, &answer, false, PATIENCE_MS);
        assert_non_null(strstr(answer.head, "Content-Length: 393218\r\n"));
        hear_slowly(fd, body, ESCAPED);
        for (size_t at = 1; at < ESCAPED - 1; at += 6)
            assert_memory_equal(body + at, "\\u0001", 6);
    }
    assert_ends(fd);
    close(fd);
    free(body);
}

static void outlives_pipelined_garbage(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\ngarbage\r\n\r\n");
    hear(fd, &answer);
    assert_int_equal(answer.status, 200);
    hear(fd, &answer);
    assert_error(&answer, 400, "The request is malformed");
    assert_ends(fd);
    close(fd);
    assert_serves();
}

/* evhttp ends the process when it is read from while an answer is being made. */
static void is_not_ended_by_bytes_that_come_while_an_answer_is_made(void **state)
{
    (void)state;
    struct answer answer;
    int fd = dial(port);
    say(fd, "GET /ask/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        usleep(10000);
        say(fd, i == 0 ? "GET /health HTTP/1.1\r\nHost: x\r\n" : "X: y\r\n");
    }
    say(fd, "\r\n");
    hear(fd, &answer);
    assert_string_equal(answer.body, "{\"sql\":\"slow\"}");
    hear(fd, &answer);
    assert_int_equal(answer.status, 200);
    close(fd);
}

static void survives_random_bytes(void **state)
{
    (void)state;
    static const char *const PARTS[] = {
        "GET ",     "POST ",        "/health",      "/body",  " HTTP/1.1", " HTTP/1.0",
        "\r\n",     "\n",           "\r\n\r\n",     "Host: ", "x",         "Content-Length: ",
        "5",        "-1",           "chunked",      ":",      " ",         "Transfer-Encoding: ",
        "Expect: ", "100-continue", "Connection: ", "close",  "\r",        "%00"};
    unsigned seed = 1;
    for (int round = 0; round < 300; round++) {
        int fd = dial(port);
        for (int i = 0; i < 40; i++) {
            const char *part = PARTS[rand_r(&seed) % (sizeof PARTS / sizeof PARTS[0])];
            size_t size = rand_r(&seed) % 50 == 0 ? 1 : strlen(part);
            if (!say_bytes(fd, part, size))
                break;
        }
        if (rand_r(&seed) % 2)
            shutdown(fd, SHUT_WR);
        close(fd);
    }
    assert_serves();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_a_connection_for_several_requests),
        cmocka_unit_test(answers_pipelined_requests_in_their_order),
        cmocka_unit_test(takes_a_request_byte_by_byte),
        cmocka_unit_test(speaks_http_1_0),
        cmocka_unit_test(closes_when_asked_and_ignores_what_follows),
        cmocka_unit_test(answers_a_client_that_has_closed_its_side),
        cmocka_unit_test(takes_absolute_uris_like_others),
        cmocka_unit_test(refuses_malformed_requests),
        cmocka_unit_test(answers_400_for_targets_that_are_none),
        cmocka_unit_test(refuses_to_guess_where_a_request_ends),
        cmocka_unit_test(reads_bodies_by_length_and_by_chunks),
        cmocka_unit_test(says_continue_before_a_body_that_waits_for_it),
        cmocka_unit_test(refuses_nul_bytes_in_the_head_and_behind_the_chunks),
        cmocka_unit_test(takes_any_bytes_in_a_body),
        cmocka_unit_test(refuses_chunks_that_are_none),
        cmocka_unit_test(refuses_what_is_too_large),
        cmocka_unit_test(refuses_a_flood_of_headers),
        cmocka_unit_test(takes_the_largest_body_that_is_allowed),
        cmocka_unit_test(large_answers_come_whole_to_a_client_that_reads_slowly),
        cmocka_unit_test(outlives_pipelined_garbage),
        cmocka_unit_test(is_not_ended_by_bytes_that_come_while_an_answer_is_made),
        cmocka_unit_test(survives_random_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
