/* What guard.c (all connections) and client.c (each of them) share. */
#ifndef HTTP_GUARD_INTERNAL_H
#define HTTP_GUARD_INTERNAL_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "http/guard.h"
#include "http/guard_meter.h"
#include "http/wire.h"

struct bufferevent;
struct evhttp;
struct evhttp_bound_socket;
struct evhttp_connection;
struct farewell;

enum phase {
    PHASE_OPENED,   /* nothing has come yet */
    PHASE_WAITING,  /* between two requests */
    PHASE_READING,  /* a request has begun to arrive */
    PHASE_HANDLING, /* an answer is being made; the socket is not read */
    PHASE_LEAVING,  /* the same, and the client has closed its side: gone, or only done sending */
    PHASE_WRITING,  /* the answer is on its way */
    PHASE_REFUSED,  /* it has been told why; to be closed in this turn of the loop */
    N_PHASES,
};

struct client {
    TAILQ_ENTRY(client) entry; /* in its phase's queue */
    struct guard *guard;
    enum phase phase;
    int64_t since_ms; /* in this phase; clock_coarse_ms() */
    struct bufferevent *bufferevent;
    struct evhttp_connection *connection; /* NULL until the end of the turn that accepted it */
    evutil_socket_t fd;                   /* valid with `connection` */
    struct evhttp_request *request;       /* while HANDLING and LEAVING */
    struct event peer;                    /* looks for the client's end while HANDLING */
    void (*on_gone)(void *arg);
    void *on_gone_arg;
    size_t received_bytes; /* of the request that is being read, at least */
    size_t line_bytes;     /* of its first line; 0: the line has not ended yet */
    struct wire wire;
};

TAILQ_HEAD(client_queue, client);

struct guard {
    struct guard_options options;
    struct guard_meter meter;
    struct evhttp *http;
    struct evhttp_bound_socket *bound; /* NULL when not accepting */
    struct client_queue queues[N_PHASES];
    int64_t limits_ms[N_PHASES]; /* 0: none */
    size_t n_clients;
    struct client *asking; /* its request is with the owner now; NULL: none, or it has gone */
    struct client **by_fd;
    size_t n_by_fd;
    struct farewell *farewell;
    struct event *yield;  /* others had their chance to accept */
    struct event *settle; /* what is left to do at the end of this turn of the loop */
    struct event *tick;
    bool draining;
    bool drained;
};

/* The next phase; what may not follow aborts. */
void client_set_phase(struct client *client, enum phase phase);

enum peer { PEER_QUIET, PEER_SENDING, PEER_ENDED, PEER_BROKEN };

/* What the socket says of the other side. */
enum peer client_look_at_peer(const struct client *client);

/* Callbacks of the buffers of a client's bufferevent; `arg` is the client. */
void client_on_input(struct evbuffer *input, const struct evbuffer_cb_info *info, void *arg);
void client_on_output(struct evbuffer *output, const struct evbuffer_cb_info *info, void *arg);
/* Callback of client.peer. */
void client_on_peer(evutil_socket_t fd, short what, void *arg);
/* A request is complete: asks the guard's owner. */
void client_on_request(struct client *client, struct evhttp_request *request);

#endif
