/* The limit of a static answer: nothing but evhttp, one event loop a thread on one listening
 * socket:
 *
 *   bench_static PORT THREADS */
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/memory.h"
#include "bench/market.h"

static void on_request(struct evhttp_request *request, void *arg)
{
    (void)arg;
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "{\"status\":\"ok\",\"service\":\"core-service\"}");
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
                      "application/json");
    evhttp_send_reply(request, 200, "OK", body);
    evbuffer_free(body);
}

static evutil_socket_t listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 512))
        die("cannot listen on port %d", port);
    return fd;
}

static void *serve(void *arg)
{
    struct event_base *base = event_base_new();
    struct evhttp *http = evhttp_new(base);
    evhttp_set_gencb(http, on_request, NULL);
    if (evhttp_accept_socket(http, *(evutil_socket_t *)arg))
        die("evhttp does not take the socket");
    event_base_dispatch(base);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        die("usage: bench_static PORT THREADS");
    signal(SIGPIPE, SIG_IGN);
    evutil_socket_t fd = listen_on((int)market_number(argv[1]));
    pthread_t thread;
    for (long i = market_number(argv[2]); i > 1; i--)
        if (pthread_create(&thread, NULL, serve, &fd))
            die("no thread");
    serve(&fd);
    return 0;
}
