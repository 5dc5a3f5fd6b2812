#include "app/ask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

bool ask(int port, const char *method, const char *target, int timeout_s, struct buffer *answer,
         struct error *err)
{
    struct timeval timeout = {timeout_s, 0};
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct buffer question = {0};
    bool sent = false;
    ssize_t n = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, "no socket: %s", strerror(errno));
    buffer_printf(&question, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                  method, target);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        sent = send(fd, question.data, question.size, MSG_NOSIGNAL) == (ssize_t)question.size;
    while (sent && (n = recv(fd, buffer_reserve(answer, 4096), 4096, 0)) > 0)
        answer->size += (size_t)n;
    int trouble = errno;
    close(fd);
    buffer_free(&question);
    if (sent && n == 0 && answer->size > 12 && memcmp(answer->data, "HTTP/1.", 7) == 0)
        return true;
    return error_set(err, "no answer on 127.0.0.1:%d: %s", port,
                     sent && n == 0 ? "the connection was closed" : strerror(trouble));
}

int ask_status(const struct buffer *answer)
{
    return atoi(answer->data + 9);
}

const char *ask_body(struct buffer *answer)
{
    buffer_append_byte(answer, '\n');
    const char *end = strstr(answer->data, "\r\n\r\n");
    return end ? end + 4 : answer->data;
}
