/* For the specs of http/: raw sockets with deadlines. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/clock.h"

#define PATIENCE_MS 30000 /* of a machine that is busy with other things */

struct answer {
    int status;       /* 0: the connection ended before an answer was whole */
    char head[8192];  /* status line and header */
    char body[65536]; /* NUL-terminated */
};

/* `window`: how much of an answer the other side may send ahead, about; 0: as the system has it. */
static inline int dial_with_window(int port, int window)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (window > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static inline int dial(int port)
{
    return dial_with_window(port, 0);
}

/* False: the other side does not take it any more. */
static inline bool say_bytes(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

static inline void say(int fd, const char *text)
{
    assert_true(say_bytes(fd, text, strlen(text)));
}

/* One byte; false at the end of the connection. Fails when nothing comes in time. */
static inline bool hear_byte(int fd, char *byte, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms();
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&poller, 1, (int)left_ms) == 0)
            fail_msg("nothing came in time");
        ssize_t n = recv(fd, byte, 1, 0);
        if (n == 1)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        return false;
    }
}

static inline const char *header_of(const struct answer *answer, const char *name)
{
    static char value[512];
    size_t size = strlen(name);
    for (const char *line = strstr(answer->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(line + size + 2, "\r"),
                     line + size + 2);
            return value;
        }
    }
    return NULL;
}

static inline void hear_within(int fd, struct answer *answer, bool has_body, int ms)
{
    int64_t deadline_ms = clock_monotonic_ms() + ms;
    size_t n = 0;
    memset(answer, 0, sizeof *answer);
    while (!strstr(answer->head, "\r\n\r\n")) {
        assert_true(n < sizeof answer->head - 1);
        if (!hear_byte(fd, &answer->head[n++], deadline_ms))
            return;
    }
    const char *length = header_of(answer, "Content-Length");
    size_t size = has_body && length ? strtoul(length, NULL, 10) : 0;
    assert_true(size < sizeof answer->body);
    for (size_t i = 0; i < size; i++) {
        if (!hear_byte(fd, &answer->body[i], deadline_ms))
            return;
    }
    sscanf(answer->head, "HTTP/1.%*d %d", &answer->status);
}

static inline void hear(int fd, struct answer *answer)
{
    hear_within(fd, answer, true, PATIENCE_MS);
}

/* The connection must end, with nothing more to come. */
static inline void assert_ends(int fd)
{
    char byte;
    assert_false(hear_byte(fd, &byte, clock_monotonic_ms() + PATIENCE_MS));
}

/* Says it on a connection of its own. */
static inline void ask(int port, const char *text, struct answer *answer)
{
    int fd = dial(port);
    say(fd, text);
    hear_within(fd, answer, strncmp(text, "HEAD ", 5) != 0, PATIENCE_MS);
    close(fd);
}

static inline void get(int port, const char *target, const char *headers, struct answer *answer)
{
    char text[8192];
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, headers);
    assert_true(size > 0 && (size_t)size < sizeof text);
    ask(port, text, answer);
}

/* An error in the one shape that all errors have. */
static inline void assert_error(const struct answer *answer, int status, const char *text)
{
    assert_int_equal(answer->status, status);
    assert_string_equal(header_of(answer, "Content-Type"), "application/json; charset=utf-8");
    char expected[512];
    snprintf(expected, sizeof expected, "{\"error\":\"%s\"}", text);
    assert_string_equal(answer->body, expected);
}

#endif
