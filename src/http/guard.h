/* An evhttp that keeps its limits. evhttp itself has no connection limit, lets a byte a second
 * outlive its time-outs, answers with HTML pages of its own and may end the process when it is read
 * from while an answer is being made. So every connection is a `client` here: counted, always in
 * one phase, each phase with a hard deadline; what evhttp would refuse by a page of its own is
 * refused by {"error": ...}.
 *
 * All of it belongs to the thread of its event_base. */
#ifndef HTTP_GUARD_H
#define HTTP_GUARD_H

#include <event2/util.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "metrics/metrics.h"

struct event_base;
struct evhttp_request;

struct client; /* one connection; lives until its connection is closed */
struct guard;

struct guard_options {
    struct event_base *base;
    int max_connections;     /* of all guards that share `connections` */
    int n_sharing;           /* how many those are */
    atomic_int *connections; /* lives longer than the guard */
    size_t max_header_bytes; /* request line and header together */
    size_t max_body_bytes;   /* of a request's body */
    int request_timeout_ms;  /* from the first byte to the last of a request, and from the
                                connection to its first byte */
    int idle_timeout_ms;     /* between two requests, and for the client to take an answer */
    struct metrics *metrics; /* borrowed */
    const char *listener;    /* a literal, the label of the metrics: "public", "admin" */
    void (*on_request)(struct client *client, struct evhttp_request *request, void *request_arg);
    void *request_arg;
    void (*on_drained)(void *arg); /* after guard_drain(), when no connection is left; may free */
    void *arg;
};

struct guard *guard_new(const struct guard_options *options);
/* Closes all connections at once; on_gone is called for requests that were not answered. */
void guard_free(struct guard *guard);

/* Accepts from a listening, non-blocking socket, which other guards may share and which stays the
 * caller's. Whoever has more than its share of the connections leaves new ones to the others for a
 * moment: else the thread that is awake gets them all. */
void guard_accept(struct guard *guard, evutil_socket_t listening);

/* No new connections; idle ones are closed, the others after the answer that they wait for; who is
 * still sending or not taking its answer has a second or five left. Once. */
void guard_drain(struct guard *guard);

/* Who is asked by on_request answers exactly once, now or later, by client_answer() or
 * client_refuse(); until then `on_gone` (NULL: none) is called when the client goes away, and then
 * neither may be called any more and the request is gone too. */
void client_on_gone(struct client *client, void (*on_gone)(void *arg), void *arg);
/* `head` is the whole of it, with the empty line (see head.h); both are copied as far as the socket
 * does not take them at once. `closes`: `head` says Connection: close, and it is. The request may
 * be gone afterwards, and so may the client. */
void client_answer(struct client *client, struct bytes head, struct bytes body, bool closes);
/* The answer must close: no more is read from this client. */
bool client_must_close(const struct client *client);
/* Answers {"error": text} and closes: for requests after which the connection cannot be trusted to
 * be at the beginning of another one. `text` is a literal that JSON needs no escapes for. */
void client_refuse(struct client *client, int status, const char *text);

#endif
