/* What is answered: JSON bodies, the header lines that all answers carry, 304 for what the client
 * has.
 */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H

#include "base/buffer.h"
#include "base/bytes.h"
#include "http/guard.h"
#include "http/request.h"

/* Which origins may read answers: "*", a comma list, or "" for none. Borrowed. */
struct cors_policy {
    const char *origins;
};

/* Put together and not sent yet. */
struct response {
    struct client *client;
    int status;         /* that is sent: 304 when the client has what would be sent */
    struct buffer text; /* status line, header, and a body that was made here */
    struct bytes body;  /* one that was not, borrowed until it is sent */
    bool closes;
};

/* A 200 to GET or HEAD carries an ETag, and becomes 304 when the client has that already; 503 and
 * 429 carry Retry-After, 401 WWW-Authenticate. The ETag is made of `lasting`: the answer, or the
 * part of it that counts. `json` is borrowed until the response is sent. */
struct response response_json(struct client *client, const struct request *request,
                              const struct cors_policy *policy, int status, struct bytes json,
                              struct bytes lasting);
/* {"error": text} */
struct response response_error(struct client *client, const struct request *request,
                               const struct cors_policy *policy, int status, const char *text);
/* 405 with Allow. */
struct response response_not_allowed(struct client *client, struct request *request,
                                     const struct cors_policy *policy, const char *allow);
/* 204 with Allow, and what a browser asks before a request from another origin. */
struct response response_options(struct client *client, const struct request *request,
                                 const struct cors_policy *policy, const char *allow);
/* 200 with a body of another type, for /metrics; `text` is borrowed until it is sent. */
struct response response_text(struct client *client, const struct request *request,
                              const char *content_type, struct bytes text);

/* Sends and releases it. Afterwards the request as evhttp has it is gone, and with it what the
 * client's header said. */
void response_send(struct response *response);

#endif
